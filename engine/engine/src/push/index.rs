//! Pushing an image that has an index: all of it when everything that it lists is here, else one
//! image of it, as moby chooses.
//!
//! Layers are kept unpacked. Where the registry lacks one, and no repository of it has it, the layer is
//! compressed again, and so its manifest becomes another one. Then the index is made anew around the
//! manifests that are new, without what was said of the old ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use images::{Image, Variant, VariantKind};
use oci::image::Descriptor;
use oci::{Digest, Platform, Reference};
use serde_json::Value;

use super::{Push, blocking};
use crate::{Error, Inner, Result};

/// What is pushed of an image.
pub(super) enum Chosen {
    /// One image; with the index it is pushed instead of.
    Image(Box<Image>, Option<Descriptor>),
    /// The index with everything in it.
    Index(Descriptor, Vec<Variant>),
}

/// As moby's `getPushDescriptor`.
pub(super) fn choose(
    inner: &Inner,
    image: &Image,
    tag: &Reference,
    platform: Option<&Platform>,
) -> Result<Chosen> {
    if let Some(wanted) = platform {
        let name = tag.to_string();
        let mut found = inner.images.resolve_all_for(&name, wanted)?.into_iter();
        return match (found.next(), found.next()) {
            (Some(only), None) => Ok(Chosen::Image(Box::new(only), None)),
            (Some(_), Some(_)) => Err(Error::conflict(format!(
                "multiple manifests found for platform {wanted}"
            ))),
            (None, _) => Err(Error::not_found(format!(
                "image with reference {} was found but does not provide the specified platform \
                 ({wanted})",
                tag.familiar()
            ))),
        };
    }
    let Some(index) = &image.index else {
        return Ok(Chosen::Image(Box::new(image.clone()), None));
    };
    let variants = inner.images.variants(image);
    if variants.iter().all(|variant| variant.available) {
        return Ok(Chosen::Index(index.clone(), variants));
    }
    let host = Platform::host();
    let suits = |image: &Image| {
        let listed = image.manifest.as_ref().and_then(|it| it.platform.clone());
        host.suits(&listed.unwrap_or_else(|| image.config.platform()))
    };
    let mut present: Vec<Image> = variants.into_iter().filter_map(|it| it.image).collect();
    let instead = Some(index.clone());
    match present.len() {
        0 => Err(Error::not_found(format!(
            "image with reference {} was found but does not provide any platform",
            tag.familiar()
        ))),
        1 => Ok(Chosen::Image(Box::new(present.swap_remove(0)), instead)),
        // What the name stands for here.
        _ if suits(image).is_some() => Ok(Chosen::Image(Box::new(image.clone()), instead)),
        _ => Err(Error::conflict(
            "multiple matching manifests found but no specific platform requested",
        )),
    }
}

impl Push {
    /// Makes the registry have an index and all that it lists. Answers what it is there, and whether
    /// it is the one that is here.
    pub(super) async fn index(
        &self,
        tag: &str,
        index: &Descriptor,
        variants: Vec<Variant>,
    ) -> Result<(Descriptor, bool)> {
        let mut new: BTreeMap<Digest, Descriptor> = BTreeMap::new();
        for variant in &variants {
            let Some(image) = &variant.image else {
                continue;
            };
            let pushed = self.manifest(image, None).await?;
            if pushed.digest != variant.descriptor.digest {
                new.insert(variant.descriptor.digest.clone(), pushed);
            }
        }
        for variant in &variants {
            let is_of_new = match &variant.kind {
                VariantKind::Attestation(Some(about)) => new.contains_key(about),
                _ => false,
            };
            if variant.image.is_none() && !is_of_new {
                self.attached(index, variant).await?;
            }
        }
        let (inner, digest) = (Arc::clone(&self.inner), index.digest.clone());
        let bytes = blocking(move || Ok(inner.images.blob(&digest)?)).await?;
        let bytes = match new.is_empty() {
            true => bytes,
            false => {
                let text = "layers were compressed anew: the index and its manifests have other \
                            digests than here";
                self.report.say("", text.to_owned()).await;
                made_anew(&bytes, &new, &variants)?
            }
        };
        let document = (index.media_type.clone(), bytes);
        let pushed = self.document(Some(tag), document).await?;
        Ok((pushed, new.is_empty()))
    }

    /// An attestation: its blobs, then its manifest.
    async fn attached(&self, index: &Descriptor, variant: &Variant) -> Result<()> {
        let (inner, of) = (Arc::clone(&self.inner), index.digest.clone());
        let manifest = variant.descriptor.digest.clone();
        let blobs = blocking(move || {
            let digests = inner.images.attached(&of, &manifest).into_iter();
            let read = digests.map(|digest| Ok((inner.images.blob(&digest)?, digest)));
            read.collect::<Result<Vec<_>>>()
        });
        let mut blobs = blobs.await?.into_iter();
        let Some((manifest, _)) = blobs.next() else {
            return Ok(());
        };
        for (bytes, digest) in blobs {
            self.small_blob(&digest, bytes).await?;
        }
        let document = (variant.descriptor.media_type.clone(), manifest);
        self.document(None, document).await?;
        Ok(())
    }
}

/// The index with some manifests in the place of others.
fn made_anew(
    bytes: &[u8],
    new: &BTreeMap<Digest, Descriptor>,
    variants: &[Variant],
) -> Result<Vec<u8>> {
    let broken = |error: serde_json::Error| Error::system(format!("image index: {error}"));
    let mut index: Value = serde_json::from_slice(bytes).map_err(broken)?;
    let stale: Vec<&str> = variants
        .iter()
        .filter(|variant| {
            matches!(&variant.kind, VariantKind::Attestation(Some(about)) if new.contains_key(about))
        })
        .map(|variant| variant.descriptor.digest.as_str())
        .collect();
    if let Some(manifests) = index["manifests"].as_array_mut() {
        manifests.retain(|entry| !stale.contains(&entry["digest"].as_str().unwrap_or_default()));
        for entry in manifests {
            let digest = entry["digest"].as_str().and_then(|text| text.parse().ok());
            if let Some(pushed) = digest.and_then(|digest: Digest| new.get(&digest)) {
                entry["mediaType"] = pushed.media_type.as_str().into();
                entry["digest"] = pushed.digest.as_str().into();
                entry["size"] = pushed.size.into();
            }
        }
    }
    serde_json::to_vec_pretty(&index).map_err(broken)
}
