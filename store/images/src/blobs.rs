//! Compressed layers elsewhere: what a layer's blob was called in the manifest it came with, or when
//! it was pushed. The blobs themselves are not kept.

use oci::image::{Descriptor, Manifest};
use oci::{Digest, Reference};

use crate::{Error, Images};

/// In a layer's directory: the descriptor of the blob that was made of it.
const BLOB: &str = "blob";

/// One compressed form of a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownBlob {
    /// As in a manifest.
    pub blob: Descriptor,
    /// Names, by digest, of images that came with it: where it may still be.
    pub origins: Vec<Reference>,
}

impl Images {
    /// What blobs are known of a layer.
    pub fn known_blobs(&self, diff_id: &Digest) -> Vec<KnownBlob> {
        let mut known: Vec<KnownBlob> = Vec::new();
        let mut add = |blob: Descriptor, origins: Vec<Reference>| match known
            .iter_mut()
            .find(|known| known.blob.digest == blob.digest)
        {
            Some(known) => known.origins.extend(origins),
            None => known.push(KnownBlob { blob, origins }),
        };
        for image in self.list().unwrap_or_default() {
            let layers = image.layers.iter();
            let places: Vec<usize> = layers
                .enumerate()
                .filter_map(|(at, other)| (other == diff_id).then_some(at))
                .collect();
            if places.is_empty() {
                continue;
            }
            let Some(manifest) = self.manifest(&image).ok().flatten() else {
                continue;
            };
            for at in places {
                if let Some(blob) = manifest.1.layers.get(at) {
                    add(blob.clone(), image.digests.clone());
                }
            }
        }
        for chain in self.0.catalog.same(diff_id) {
            let bytes = std::fs::read(self.0.layer_dir(&chain).join(BLOB));
            let blob = bytes
                .ok()
                .and_then(|bytes| serde_json::from_slice(&bytes).ok());
            if let Some(blob) = blob {
                // Where images with the layer were pushed to, or came from.
                let images = self.list().unwrap_or_default();
                let with = images.iter().filter(|it| it.layers.contains(diff_id));
                add(blob, with.flat_map(|it| it.digests.clone()).collect());
            }
        }
        known
    }

    /// Remembers the blob that was made of a layer.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn remember_blob(&self, diff_id: &Digest, blob: &Descriptor) -> Result<(), Error> {
        let bytes = serde_json::to_vec(blob).map_err(|error| Error::Corrupt(error.to_string()))?;
        let chains = self.0.catalog.same(diff_id);
        let Some(chain) = chains.iter().find(|chain| self.0.layer(chain).is_some()) else {
            return Ok(());
        };
        self.0.replace(&self.0.layer_dir(chain).join(BLOB), &bytes)
    }

    /// The manifest an image came with, as bytes and parsed.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn manifest(&self, image: &crate::Image) -> Result<Option<(Vec<u8>, Manifest)>, Error> {
        let Some(of) = &image.manifest else {
            return Ok(None);
        };
        let bytes = self.0.read_blob(&of.digest)?;
        let parsed = serde_json::from_slice(&bytes)
            .map_err(|error| Error::Corrupt(format!("image manifest: {error}")))?;
        Ok(Some((bytes, parsed)))
    }
}
