//! `system df`: what images, containers and volumes take, and which part of it is in use.

use std::collections::HashMap;
use std::sync::Arc;

use dockerapi::{ContainerSummary, DiskUsage, ImageSummary, Volume, VolumeUsage};
use images::Image;

use crate::{Engine, Filters, Inner, ListOptions, Result, volumes};

/// Which kinds of objects are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "four independent switches of a query"
)]
pub struct DiskUsageOptions {
    /// Images and their layers.
    pub images: bool,
    /// Containers' writable layers.
    pub containers: bool,
    /// Volumes.
    pub volumes: bool,
    /// What builds keep: nothing yet.
    pub build_cache: bool,
}

impl Engine {
    /// `GET /system/df`. Looks at every file: takes its time, off the engine's threads.
    ///
    /// # Errors
    /// When the image store cannot be read.
    pub async fn disk_usage(&self, asked: DiskUsageOptions) -> Result<DiskUsage> {
        let engine = self.clone();
        tokio::task::spawn_blocking(move || measure(&engine, asked))
            .await
            .map_err(|_| crate::Error::system("disk usage: interrupted"))?
    }
}

fn measure(engine: &Engine, asked: DiskUsageOptions) -> Result<DiskUsage> {
    let mut usage = DiskUsage::default();
    if asked.images {
        usage.layers_size = signed(engine.0.images.usage()?.layers);
        usage.images = Some(images(engine)?);
    }
    if asked.containers {
        usage.containers = Some(containers(engine)?);
    }
    if asked.volumes {
        usage.volumes = Some(all_volumes(&engine.0));
    }
    if asked.build_cache {
        usage.build_cache = Some(Vec::new());
    }
    Ok(usage)
}

fn containers(engine: &Engine) -> Result<Vec<ContainerSummary>> {
    engine.container_list(&ListOptions {
        all: true,
        size: true,
        ..ListOptions::default()
    })
}

fn images(engine: &Engine) -> Result<Vec<ImageSummary>> {
    let inner = &engine.0;
    let chains: Vec<(String, Vec<String>)> = inner
        .images
        .list()?
        .iter()
        .map(|image| (image.id.to_string(), chains(image)))
        .collect();
    let mut users: HashMap<&str, usize> = HashMap::new();
    for chain in chains.iter().flat_map(|(_, chains)| chains) {
        *users.entry(chain).or_default() += 1;
    }
    let shared: HashMap<&str, u64> = chains
        .iter()
        .map(|(id, chains)| {
            let shared = chains.iter().filter(|chain| users[chain.as_str()] > 1);
            let bytes = shared.filter_map(|chain| inner.images.layer(chain)).sum();
            (id.as_str(), bytes)
        })
        .collect();
    let mut list = engine.image_list(false, &Filters::default(), false)?;
    let used: Vec<String> = inner
        .containers
        .all()
        .iter()
        .map(|container| container.record().image_id.clone())
        .collect();
    for row in &mut list {
        row.shared_size = signed(shared.get(row.id.as_str()).copied().unwrap_or(0));
        let users = used.iter().filter(|id| **id == row.id).count();
        row.containers = signed(users as u64);
    }
    Ok(list)
}

/// Chain IDs of an image's layers, lowest first.
fn chains(image: &Image) -> Vec<String> {
    let mut below = String::new();
    let chain = |diff_id| {
        below = ::images::chain_id(&below, diff_id);
        below.clone()
    };
    image.layers.iter().map(chain).collect()
}

fn all_volumes(inner: &Arc<Inner>) -> Vec<Volume> {
    let measured = |mut volume: Volume| {
        let users = volumes::references(inner, &volume.name).len();
        volume.usage_data = Some(VolumeUsage {
            ref_count: signed(users as u64),
            size: signed(volumes::size(inner, &volume.name)),
        });
        volume
    };
    volumes::all(inner).into_iter().map(measured).collect()
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
