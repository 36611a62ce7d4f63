//! Several platforms of one image: what an index lists, and what of it is here.

use std::collections::BTreeSet;

use oci::image::{Descriptor, Index, media};
use oci::{Digest, Platform, Reference};

use crate::catalog::{BLOB, Entry, IndexRow};
use crate::layers::digest;
use crate::{Error, Image, Images, Lease};

/// On what is no image (BuildKit's attestations): what kind of thing it is.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// The same: digest of the manifest that it is about.
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

/// The document that an image came by, where that lists several.
#[derive(Debug, Clone)]
pub struct Indexed {
    /// Its media type.
    pub media_type: String,
    /// The document, as it came.
    pub bytes: Vec<u8>,
    /// What it lists beside images and came as well.
    pub attached: Vec<Attached>,
}

/// Something in an index that is no image: an attestation.
#[derive(Debug, Clone)]
pub struct Attached {
    /// Digest of its manifest, as the index lists it.
    pub manifest: Digest,
    /// That manifest, and what it lists, byte by byte.
    pub blobs: Vec<Vec<u8>>,
}

/// One manifest of an image: as its index lists it, or the only one.
#[derive(Debug, Clone)]
pub struct Variant {
    /// As in the index.
    pub descriptor: Descriptor,
    /// The image, when it is here and this is one.
    pub image: Option<Image>,
    /// What kind of thing it is.
    pub kind: VariantKind,
    /// Everything of it is here.
    pub available: bool,
    /// Bytes of its blobs that are here: manifest, configuration, attestations. Layers are kept
    /// unpacked and count as files.
    pub content: u64,
}

/// What an index lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VariantKind {
    /// An image for this platform.
    Image(Platform),
    /// What says something of the image with this manifest.
    Attestation(Option<Digest>),
    /// Something else.
    Unknown,
}

/// What a manifest in an index is about, where it is an attestation.
pub(crate) fn about(descriptor: &Descriptor) -> Option<Digest> {
    descriptor.annotations.get(REFERENCE_DIGEST)?.parse().ok()
}

impl VariantKind {
    /// What a descriptor of an index says; `image` is there when it is known to be one.
    pub fn of(descriptor: &Descriptor, image: Option<&Image>) -> Self {
        if descriptor.annotations.contains_key(REFERENCE_TYPE) {
            return Self::Attestation(about(descriptor));
        }
        let platform = descriptor.platform.clone();
        match (platform, image) {
            (Some(platform), _)
                if platform.os == "unknown" && platform.architecture == "unknown" =>
            {
                Self::Unknown
            }
            (Some(platform), _) => Self::Image(platform),
            (None, Some(image)) => Self::Image(image.config.platform()),
            (None, None) => Self::Unknown,
        }
    }
}

impl Images {
    /// The same as [`Images::resolve`] for a platform, exactly that; without one the same.
    ///
    /// # Errors
    /// As there, and not found when there is no such platform here.
    pub fn resolve_for(&self, name: &str, platform: Option<&Platform>) -> Result<Image, Error> {
        let Some(wanted) = platform else {
            return self.resolve(name);
        };
        let found = self.resolve_all_for(name, wanted)?.into_iter().next();
        found.ok_or_else(|| Error::Platform(name.to_owned(), wanted.to_string()))
    }

    /// All of a name's images that are for exactly a platform, in the index's order.
    ///
    /// # Errors
    /// As [`Images::resolve`].
    pub fn resolve_all_for(&self, name: &str, wanted: &Platform) -> Result<Vec<Image>, Error> {
        self.0.catalog.resolve_all_for(name, wanted)
    }

    /// What an image's index lists; of an image without one its manifest, if it has that.
    pub fn variants(&self, image: &Image) -> Vec<Variant> {
        let index = image.index.as_ref();
        match index.and_then(|index| self.0.catalog.index(index.digest.hex())) {
            Some(index) => self.variants_of(&index),
            None => {
                let manifest = image.manifest.iter();
                manifest
                    .map(|manifest| self.variant(manifest.clone(), Some(image.clone()), &[]))
                    .collect()
            }
        }
    }

    fn variants_of(&self, index: &IndexRow) -> Vec<Variant> {
        let entries = self.0.catalog.entries(index).into_iter();
        entries
            .map(|(entry, image)| self.variant(entry.descriptor, image, &entry.blobs))
            .collect()
    }

    fn variant(
        &self,
        descriptor: Descriptor,
        image: Option<Image>,
        blobs: &[(Digest, u64)],
    ) -> Variant {
        let size = |digest: &Digest| {
            let facts = std::fs::metadata(self.0.blob_path(digest));
            facts.map_or(0, |facts| facts.len())
        };
        let attached: u64 = blobs.iter().map(|(_, size)| size).sum();
        let own = image.iter();
        let own = own.map(|image| descriptor.size.saturating_add(size(&image.id)));
        Variant {
            kind: VariantKind::of(&descriptor, image.as_ref()),
            available: image.is_some() || !blobs.is_empty(),
            content: attached.saturating_add(own.sum()),
            image,
            descriptor,
        }
    }

    /// Every image that goes by an image's names: itself, and those of other platforms in the
    /// indexes whose default it is.
    pub fn together(&self, image: &Image) -> Vec<Image> {
        let mut all = vec![image.clone()];
        for index in self.0.catalog.owned(&image.id) {
            let entries = self.0.catalog.entries(&index).into_iter();
            for other in entries.filter_map(|(_, image)| image) {
                if all.iter().all(|one| one.id != other.id) {
                    all.push(other);
                }
            }
        }
        all
    }

    /// Every image, also those of other platforms in an index.
    pub fn every(&self) -> Vec<Image> {
        self.0.catalog.all()
    }

    /// Publishes an image that came by an index; its names lead to the index. What the index lists
    /// and is here already, or comes later, goes by the same names.
    ///
    /// # Errors
    /// As [`Images::commit`]; corrupt when the index is none or does not list the manifest.
    pub fn commit_in(
        &self,
        config: &[u8],
        manifest: (&str, &[u8]),
        index: &Indexed,
        references: &[Reference],
    ) -> Result<Digest, Error> {
        let parsed: Index = serde_json::from_slice(&index.bytes)
            .map_err(|error| Error::Corrupt(format!("image index: {error}")))?;
        let own = digest(manifest.1);
        let image = digest(config);
        let mut entries: Vec<Entry> = Vec::new();
        for descriptor in parsed.manifests {
            let attached = index.attached.iter();
            let mut attached = attached.filter(|it| it.manifest == descriptor.digest);
            let blobs = attached.next().into_iter().flat_map(|it| &it.blobs);
            let blobs = blobs.map(|bytes| (digest(bytes), bytes.len() as u64));
            entries.push(Entry {
                image: (descriptor.digest == own).then(|| image.clone()),
                blobs: blobs.collect(),
                descriptor,
            });
        }
        if entries.iter().all(|entry| entry.image.is_none()) {
            return Err(Error::Corrupt(format!(
                "image index {} does not list {own}",
                digest(&index.bytes)
            )));
        }
        // Held until its row is there.
        let attached = index.attached.iter().flat_map(|attached| &attached.blobs);
        let blobs: Vec<&Vec<u8>> = [&index.bytes].into_iter().chain(attached).collect();
        let keys = blobs.iter().map(|bytes| digest(bytes));
        let _lease = self.lease(keys.map(|it| format!("{BLOB}{}", it.hex())).collect());
        for bytes in blobs {
            self.0.put_blob(bytes)?;
        }
        let length = index.bytes.len() as u64;
        let row = IndexRow {
            target: Descriptor::new(&index.media_type, digest(&index.bytes), length),
            entries,
        };
        self.publish(config, Some(manifest), Some(row), None, references)
    }

    /// Whether an image is one of an index already, with all that comes with it, and has these names
    /// by it.
    pub fn is_in(&self, image: &Image, index: &Indexed, references: &[Reference]) -> bool {
        let hex = digest(&index.bytes);
        let Some(row) = self.0.catalog.index(hex.hex()) else {
            return false;
        };
        let has = |attached: &Attached| {
            let mut entries = row.entries.iter();
            entries.any(|entry| {
                entry.descriptor.digest == attached.manifest && !entry.blobs.is_empty()
            })
        };
        let named = |reference: &Reference| {
            let found = self.resolve(&reference.to_string());
            found.is_ok_and(|found| found.index.is_some_and(|it| it.digest == hex))
        };
        let mut entries = row.entries.iter();
        entries.any(|entry| entry.image.as_ref() == Some(&image.id))
            && index.attached.iter().all(has)
            && references.iter().all(named)
            && row.needs().all(|key| self.0.is_sound(&key))
    }

    /// Takes the image with a manifest out of an index that has others, and removes it unless
    /// something else has it or it is among `keep`. Answers the images and the layers (by diff ID)
    /// that went.
    ///
    /// # Errors
    /// Not found.
    pub fn remove_variant(
        &self,
        index: &Digest,
        manifest: &Digest,
        keep: &BTreeSet<Digest>,
    ) -> Result<(Vec<Digest>, Vec<Digest>), Error> {
        let kept = !self.0.policy().keep_for.is_zero();
        let discard = |key: &str| self.0.discard(key);
        let catalog = &self.0.catalog;
        let gone = catalog.detach(index.hex(), manifest, keep, kept, &discard)?;
        if kept {
            self.0.expire(false)?;
        }
        Ok(gone.told())
    }

    /// Keeps everything of these images, with their indexes, until the lease is dropped, whoever
    /// removes them meanwhile.
    ///
    /// # Errors
    /// Not found when one has gone.
    pub fn hold<'a>(&self, images: impl IntoIterator<Item = &'a Image>) -> Result<Lease, Error> {
        let images = images.into_iter().map(|image| {
            let index = image.index.as_ref();
            let index = index.map(|index| index.digest.hex().to_owned());
            (image.id.clone(), index)
        });
        let images: Vec<_> = images.collect();
        let keys = self.0.catalog.hold(&images)?;
        Ok(Lease::counted(std::sync::Arc::clone(&self.0), keys))
    }

    /// A document or an attestation's blob as it came, by its digest.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn blob(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        self.0.read_blob(digest)
    }

    /// An attestation's blobs, its manifest first; empty when they are not here.
    pub fn attached(&self, index: &Digest, manifest: &Digest) -> Vec<Digest> {
        let index = self.0.catalog.index(index.hex());
        let entries = index.iter().flat_map(|index| &index.entries);
        let mut of = entries.filter(|entry| entry.descriptor.digest == *manifest);
        let blobs = of.next().into_iter().flat_map(|entry| &entry.blobs);
        blobs.map(|(digest, _)| digest.clone()).collect()
    }
}

/// Whether something is a list of manifests.
pub(crate) fn is_index(media_type: &str) -> bool {
    matches!(media_type, media::OCI_INDEX | media::DOCKER_LIST)
}

#[cfg(test)]
mod tests;
