//! Images of an OCI layout: single ones, and all that an index lists and the layout has.

use oci::image::{Descriptor, ImageConfig, Index, Manifest, media};
use oci::{Digest, Platform, Reference};

use super::{Spool, blob_path, chains, names, parse_config, wants};
use crate::save::ORIGINAL;
use crate::variants::{Attached, Indexed, VariantKind, about};
use crate::{Error, Images, LoadEvent};

/// Most bytes of an index's attestations.
const LARGEST_ATTACHED: u64 = 64 << 20;

/// An image of an archive that is all there.
struct Found {
    media_type: String,
    manifest: Vec<u8>,
    config: Vec<u8>,
    parsed: ImageConfig,
    /// Where its layers are, and what their files' digests and lengths are to be.
    layers: Vec<(String, Option<(Digest, u64)>)>,
}

impl Found {
    /// Whether its platform is wanted: what its descriptor says it is, else what it says itself.
    fn is_wanted(&self, descriptor: &Descriptor, platforms: &[Platform]) -> bool {
        let listed = descriptor.platform.clone();
        wants(platforms, &listed.unwrap_or_else(|| self.parsed.platform()))
    }
}

impl Images {
    /// One image; `None` when its descriptor is of something else, or of another platform.
    pub(super) fn load_manifest(
        &self,
        spool: &Spool,
        descriptor: &Descriptor,
        platforms: &[Platform],
        references: &[Reference],
        progress: &mut dyn FnMut(LoadEvent<'_>),
    ) -> Result<Option<Digest>, Error> {
        let kinds = [media::OCI_MANIFEST, media::DOCKER_MANIFEST];
        if !kinds.contains(&descriptor.media_type.as_str()) {
            return Ok(None);
        }
        let Some(found) = self.found(spool, descriptor, false)? else {
            let digest = &descriptor.digest;
            return Err(Error::Corrupt(format!(
                "the archive lacks some content of {digest}, or it is no image"
            )));
        };
        if !found.is_wanted(descriptor, platforms) {
            return Ok(None);
        }
        let _lease = self.lease(chains(&found.parsed));
        self.load_layers(spool, &found.parsed, found.layers, progress)?;
        let manifest = (found.media_type.as_str(), found.manifest.as_slice());
        let id = self.commit(&found.config, Some(manifest), references)?;
        Ok(Some(id))
    }

    /// Every image of an index that the layout has; answers the one that its names stand for.
    pub(super) fn load_index(
        &self,
        spool: &Spool,
        descriptor: &Descriptor,
        platforms: &[Platform],
        references: &[Reference],
        progress: &mut dyn FnMut(LoadEvent<'_>),
    ) -> Result<Option<Digest>, Error> {
        // One that was made for the archive leads to that which the image came by.
        let original = descriptor.annotations.get(ORIGINAL);
        let original = original.and_then(|digest| digest.parse::<Digest>().ok());
        let original = original.filter(|digest| spool.has(&blob_path(digest)));
        let is_original = original.is_some();
        let top = original.unwrap_or_else(|| descriptor.digest.clone());
        let bytes = spool.blob(&top)?;
        let index: Index = serde_json::from_slice(&bytes)
            .map_err(|error| Error::Corrupt(format!("image index: {error}")))?;
        let kind = [index.media_type.as_str(), descriptor.media_type.as_str()];
        let media_type = kind.into_iter().find(|kind| !kind.is_empty());
        let mut indexed = Indexed {
            media_type: media_type.unwrap_or(media::OCI_INDEX).to_owned(),
            bytes,
            attached: Vec::new(),
        };
        let mut images: Vec<&Descriptor> = Vec::new();
        for entry in &index.manifests {
            let kind = VariantKind::of(entry, None);
            let is_artifact = kind == VariantKind::Unknown && entry.platform.is_some();
            if is_artifact || matches!(kind, VariantKind::Attestation(_)) {
                continue;
            }
            let listed = matches!(&kind, VariantKind::Image(of) if wants(platforms, of));
            match self.found(spool, entry, is_original)? {
                Some(found) if found.is_wanted(entry, platforms) => images.push(entry),
                // What is missing is no error, unless it was asked for.
                None if listed && !platforms.is_empty() => {
                    return Err(Error::Incomplete(names(platforms)));
                }
                _ => {}
            }
        }
        let mut left = LARGEST_ATTACHED;
        let here = |digest: &Digest| images.iter().any(|entry| entry.digest == *digest);
        for entry in &index.manifests {
            let of = VariantKind::of(entry, None);
            if matches!(of, VariantKind::Attestation(_))
                && (platforms.is_empty() || about(entry).is_some_and(|of| here(&of)))
            {
                indexed
                    .attached
                    .extend(attestation(spool, entry, &mut left)?);
            }
        }
        if images.is_empty() {
            return Ok(None);
        }
        for entry in images {
            // Read again: there is no saying how many there are, nor how long.
            let Some(found) = self.found(spool, entry, is_original)? else {
                continue;
            };
            let _lease = self.lease(chains(&found.parsed));
            self.load_layers(spool, &found.parsed, found.layers, progress)?;
            let manifest = (found.media_type.as_str(), found.manifest.as_slice());
            self.commit_in(&found.config, manifest, &indexed, references)?;
        }
        Ok(Some(self.resolve(top.as_str())?.id))
    }

    /// An image whose manifest, configuration and layers the layout has, or of whose layers those
    /// that it lacks are here. `unpacked`: its layers may be there by their diff IDs.
    fn found(
        &self,
        spool: &Spool,
        descriptor: &Descriptor,
        unpacked: bool,
    ) -> Result<Option<Found>, Error> {
        if !spool.has(&blob_path(&descriptor.digest)) {
            return Ok(None);
        }
        let manifest = spool.blob(&descriptor.digest)?;
        let parsed: Manifest = serde_json::from_slice(&manifest)
            .map_err(|error| Error::Corrupt(format!("image manifest: {error}")))?;
        let kinds = [media::OCI_CONFIG, media::DOCKER_CONFIG, ""];
        let is_image = kinds.contains(&parsed.config.media_type.as_str());
        if !is_image || !spool.has(&blob_path(&parsed.config.digest)) {
            return Ok(None);
        }
        let config = spool.blob(&parsed.config.digest)?;
        let image = parse_config(&config)?;
        if image.rootfs.diff_ids.len() != parsed.layers.len() {
            return Err(Error::Corrupt(
                "manifest and configuration differ in their layers".into(),
            ));
        }
        let mut layers = Vec::new();
        let of = parsed.layers.iter().zip(&image.rootfs.diff_ids);
        for ((layer, diff_id), chain) in of.zip(chains(&image)) {
            let (blob, plain) = (blob_path(&layer.digest), blob_path(diff_id));
            if unpacked && !spool.has(&blob) && spool.has(&plain) {
                layers.push((plain, None));
            } else if spool.has(&blob) || self.layer(&chain).is_some() {
                layers.push((blob, Some((layer.digest.clone(), layer.size))));
            } else {
                return Ok(None);
            }
        }
        let media_type = match parsed.media_type.as_str() {
            "" => media::OCI_MANIFEST,
            own => own,
        };
        Ok(Some(Found {
            media_type: media_type.to_owned(),
            manifest,
            config,
            parsed: image,
            layers,
        }))
    }
}

/// An attestation of which the layout has everything, and that has no more than the bytes `left`.
fn attestation(
    spool: &Spool,
    entry: &Descriptor,
    left: &mut u64,
) -> Result<Option<Attached>, Error> {
    if !spool.has(&blob_path(&entry.digest)) {
        return Ok(None);
    }
    let manifest = spool.blob(&entry.digest)?;
    let parsed: Manifest = serde_json::from_slice(&manifest)
        .map_err(|error| Error::Corrupt(format!("attestation manifest: {error}")))?;
    let mut length = manifest.len() as u64;
    let mut blobs = vec![manifest];
    for part in [&parsed.config].into_iter().chain(&parsed.layers) {
        if length > *left || !spool.has(&blob_path(&part.digest)) {
            return Ok(None);
        }
        let blob = spool.blob(&part.digest)?;
        // What it has, not what it is said to have.
        length += blob.len() as u64;
        blobs.push(blob);
    }
    let Some(rest) = left.checked_sub(length) else {
        return Ok(None);
    };
    *left = rest;
    Ok(Some(Attached {
        manifest: entry.digest.clone(),
        blobs,
    }))
}
