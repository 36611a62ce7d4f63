//! Compressed layers elsewhere: what a layer's blob was called in the manifest it came with, or when
//! it was pushed. The blobs themselves are not kept.

use oci::image::{Descriptor, Manifest};
use oci::{Digest, Reference};
use serde::{Deserialize, Serialize};

use crate::{Error, Images};

/// In a layer's directory: the blob that was made of it, or that it was in an image which has gone.
const BLOB: &str = "blob";
/// Most origins that are remembered of a blob.
const ORIGINS: usize = 16;

/// One compressed form of a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownBlob {
    /// As in a manifest.
    pub blob: Descriptor,
    /// Names, by digest, of images that came with it: where it may still be.
    pub origins: Vec<Reference>,
}

/// The same as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    #[serde(flatten)]
    blob: Descriptor,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    origins: Vec<String>,
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
        let images = self.every();
        for image in images.iter().filter(|it| it.layers.contains(diff_id)) {
            let of = image.layers.iter().zip(self.blobs_of(image));
            for (_, known) in of.filter(|(layer, _)| *layer == diff_id) {
                add(known.blob, known.origins);
            }
        }
        for chain in self.0.catalog.same(diff_id) {
            if let Some(known) = self.remembered(&chain) {
                // Where images with the layer were pushed to, or came from.
                let with = images.iter().filter(|it| it.layers.contains(diff_id));
                let now = with.flat_map(|it| it.digests.clone());
                add(known.blob, known.origins.into_iter().chain(now).collect());
            }
        }
        known
    }

    /// Remembers the blob that was made of a layer.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn remember_blob(&self, diff_id: &Digest, blob: &Descriptor) -> Result<(), Error> {
        let chains = self.0.catalog.same(diff_id);
        let whole = |chain: &&String| self.0.whole_layer(chain).is_some();
        let Some(chain) = chains.iter().find(whole) else {
            return Ok(());
        };
        let known = KnownBlob {
            blob: blob.clone(),
            origins: Vec::new(),
        };
        self.remember(chain, &known)
    }

    fn remembered(&self, chain: &str) -> Option<KnownBlob> {
        let bytes = std::fs::read(self.0.layer_dir(chain).join(BLOB)).ok()?;
        let Written { blob, origins } = serde_json::from_slice(&bytes).ok()?;
        let origins = origins.iter().filter_map(|name| name.parse().ok());
        Some(KnownBlob {
            blob,
            origins: origins.collect(),
        })
    }

    /// The blobs that an image's layers came as, base first.
    pub(crate) fn blobs_of(&self, image: &crate::Image) -> Vec<KnownBlob> {
        let manifest = self.manifest(image).ok().flatten();
        // Names go before their image does.
        let mut origins = self.0.catalog.untagged(&image.id);
        origins.retain(|name| name.digest().is_some());
        origins.extend(image.digests.iter().cloned());
        origins.extend(self.0.catalog.origins(&image.id));
        let blobs = manifest.into_iter().flat_map(|(_, parsed)| parsed.layers);
        blobs
            .map(|blob| KnownBlob {
                blob,
                origins: origins.clone(),
            })
            .collect()
    }

    /// Writes down what blob a layer is.
    pub(crate) fn remember(&self, chain: &str, known: &KnownBlob) -> Result<(), Error> {
        let dir = self.0.layer_dir(chain);
        if !dir.exists() {
            return Ok(());
        }
        let mut origins = known.origins.clone();
        if let Some(before) = self.remembered(chain)
            && before.blob.digest == known.blob.digest
        {
            if origins.iter().all(|one| before.origins.contains(one)) {
                return Ok(());
            }
            origins.extend(before.origins);
        }
        let mut names: Vec<String> = origins.iter().map(Reference::to_string).collect();
        names.sort();
        names.dedup();
        names.truncate(ORIGINS);
        let bytes = serde_json::to_vec(&Written {
            blob: known.blob.clone(),
            origins: names,
        });
        let bytes = bytes.map_err(|error| Error::Corrupt(error.to_string()))?;
        // A removal does it for every layer that stays: none waits for the disk.
        self.0.replace_unsynced(&dir.join(BLOB), &bytes)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Expected;

    #[test]
    fn what_blob_a_layer_came_as_is_known_after_its_image() {
        let dir = tempfile::tempdir().expect("temp dir");
        let database = redb::Database::create(dir.path().join("db")).expect("database");
        let images = Images::open(dir.path(), std::sync::Arc::new(database)).expect("store");
        let tar = tar::Builder::new(Vec::new()).into_inner().expect("tar");
        let layer = images.ingest_layer(tar.as_slice(), &Expected::default());
        let diff_id = layer.expect("layer").diff_id;
        let config = |author: &str| {
            let rootfs = format!(r#"{{"type":"layers","diff_ids":["{diff_id}"]}}"#);
            format!(r#"{{"os":"linux","author":"{author}","rootfs":{rootfs}}}"#)
        };
        let blob = Digest::sha256(&[7; 32]);
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"","digest":"{blob}","size":1}},
            "layers":[{{"mediaType":"","digest":"{blob}","size":1}}]}}"#
        );
        let origin: Reference = "a.lan/base".parse().expect("name");
        let origin = origin.with_digest(Digest::sha256(&[8; 32]));
        let base = images.commit(
            config("base").as_bytes(),
            Some(("x/y", manifest.as_bytes())),
            std::slice::from_ref(&origin),
        );
        // Another image on the same layer, without a manifest.
        images
            .commit(config("made").as_bytes(), None, &[])
            .expect("image");
        let before = images.known_blobs(&diff_id);
        assert_eq!((&before[0].blob.digest, before.len()), (&blob, 1));
        images.untag(&origin).expect("untagged");
        images.remove(&base.expect("image")).expect("removed");
        let after = images.known_blobs(&diff_id);
        assert_eq!(after.len(), 1);
        assert_eq!(
            (&after[0].blob.digest, after[0].origins.as_slice()),
            (&blob, [origin].as_slice())
        );
    }
}
