//! `system df`: what takes how much room.

use std::collections::BTreeMap;

use dockerapi::{DiskUsage, ImageSummary, VolumeUsage};
use images::Image;

use crate::options::{DiskUsageOptions, Filters, ListOptions};
use crate::{Engine, Error, Result};

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
            usage.images = Some(self.image_list(false, &Filters::default(), true)?);
        }
        if options.containers {
            let all = ListOptions {
                all: true,
                size: true,
                ..ListOptions::default()
            };
            usage.containers = Some(self.list_containers(&all)?);
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
pub(crate) fn tell_shared(rows: &mut [ImageSummary], images: &[Image]) {
    let mut users: BTreeMap<String, u32> = BTreeMap::new();
    for (chain, _) in images.iter().flat_map(chains) {
        *users.entry(chain).or_default() += 1;
    }
    for row in rows {
        let Some(image) = images.iter().find(|image| image.id.as_str() == row.id) else {
            continue;
        };
        let shared = chains(image).filter(|(chain, _)| users.get(chain).is_some_and(|n| *n > 1));
        row.shared_size = signed(shared.map(|(_, size)| size).sum());
    }
}

/// Chain IDs of an image's layers, and their sizes.
pub(crate) fn chains(image: &Image) -> impl Iterator<Item = (String, u64)> + '_ {
    let layers = image.layers.iter().zip(&image.layer_sizes);
    layers.scan(String::new(), |below, (diff_id, size)| {
        *below = images::chain_id(below, diff_id);
        Some((below.clone(), *size))
    })
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
