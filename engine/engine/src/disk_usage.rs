//! `system df`: what takes how much room.

use std::collections::BTreeMap;

use dockerapi::{ContainerSummary, DiskUsage, ImageSummary, VolumeUsage};
use images::Image;

use crate::options::{DiskUsageOptions, Filters, ImageListOptions, ListOptions};
use crate::{Engine, Error, Inner, Result};

impl Engine {
    /// What takes how much room, of those kinds that are asked for. Walks trees of files.
    ///
    /// # Errors
    /// When images cannot be listed.
    pub async fn disk_usage(&self, options: DiskUsageOptions) -> Result<DiskUsage> {
        let engine = self.clone();
        tokio::task::spawn_blocking(move || engine.measure(options))
            .await
            .map_err(|_| Error::system("interrupted"))?
    }

    fn measure(&self, options: DiskUsageOptions) -> Result<DiskUsage> {
        let mut usage = DiskUsage::default();
        if options.images {
            let store = self.0.images.usage()?;
            usage.layers_size = signed(store.layers.saturating_add(store.partial));
            let options = ImageListOptions {
                shared: true,
                ..ImageListOptions::default()
            };
            usage.images = Some(self.image_list(options, &Filters::default())?);
        }
        if options.containers {
            let all = ListOptions {
                all: true,
                size: true,
                ..ListOptions::default()
            };
            let rows = self.list_containers(&all)?.measured();
            let rows = rows.map(|row| ContainerSummary {
                // As moby: not here.
                image_manifest_descriptor: None,
                ..row
            });
            usage.containers = Some(rows.collect());
        }
        if options.volumes {
            let mut volumes = self.volume_list(&Filters::default())?.volumes;
            for volume in &mut volumes {
                let (ref_count, size) = crate::volumes::usage(&self.0, &volume.name);
                volume.usage_data = Some(VolumeUsage {
                    ref_count: i64::try_from(ref_count).unwrap_or(i64::MAX),
                    size: signed(size),
                });
            }
            usage.volumes = Some(volumes);
        }
        // Builds keep no cache yet.
        usage.build_cache = options.build_cache.then(Vec::new);
        Ok(usage)
    }
}

/// Tells of each row how much it shares with other images.
pub(crate) fn tell_shared(inner: &Inner, rows: &mut [ImageSummary], images: &[Image]) {
    let layers: BTreeMap<&str, BTreeMap<String, u64>> = images
        .iter()
        .map(|image| (image.id.as_str(), layers(inner, image)))
        .collect();
    let mut users: BTreeMap<&String, u32> = BTreeMap::new();
    for chain in layers.values().flat_map(BTreeMap::keys) {
        *users.entry(chain).or_default() += 1;
    }
    for row in rows {
        let Some(layers) = layers.get(row.id.as_str()) else {
            continue;
        };
        let shared = layers.iter();
        let shared = shared.filter(|(chain, _)| users.get(chain).is_some_and(|n| *n > 1));
        row.shared_size = signed(shared.map(|(_, size)| size).sum());
    }
}

/// Layers by chain, with their sizes, of an image and of the other platforms that go by its names.
pub(crate) fn layers(inner: &Inner, image: &Image) -> BTreeMap<String, u64> {
    let together = inner.images.together(image);
    together.iter().flat_map(chains).collect()
}

/// Chain IDs of an image's layers, and their sizes.
fn chains(image: &Image) -> impl Iterator<Item = (String, u64)> + '_ {
    let layers = image.layers.iter().zip(&image.layer_sizes);
    layers.scan(String::new(), |below, (diff_id, size)| {
        *below = images::chain_id(below, diff_id);
        Some((below.clone(), *size))
    })
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
