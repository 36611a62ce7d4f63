//! What comes with an image of an index: the index itself, and what that has of attestations.

use std::sync::Arc;

use images::{Attached, Indexed, VariantKind};
use oci::Digest;
use oci::image::Descriptor;
use registry::{Content, Document, Resolved};

use super::{Pull, blocking};
use crate::Result;

/// Most bytes of one image's attestations, and most blobs of one.
const LARGEST: u64 = 32 << 20;
const MOST: usize = 64;

impl Pull {
    /// The index that an image comes by; `None` without one, and where that is in another.
    pub(super) async fn index(&self, resolved: &Resolved) -> Result<Option<Indexed>> {
        let Content::Index(index) = &resolved.top.content else {
            return Ok(None);
        };
        let own = &resolved.document.digest;
        if index.manifests.iter().all(|entry| entry.digest != *own) {
            return Ok(None);
        }
        let mut attached = Vec::new();
        for entry in &index.manifests {
            let is_of = VariantKind::of(entry, None) == VariantKind::Attestation(Some(own.clone()));
            if is_of && !self.has(&resolved.top.digest, &entry.digest).await? {
                attached.extend(self.attestation(entry).await?);
            }
        }
        let Document {
            media_type, bytes, ..
        } = resolved.top.clone();
        Ok(Some(Indexed {
            media_type,
            bytes,
            attached,
        }))
    }

    /// Whether an attestation is here, with all that it has.
    async fn has(&self, index: &Digest, manifest: &Digest) -> Result<bool> {
        let (inner, index, manifest) = (Arc::clone(&self.inner), index.clone(), manifest.clone());
        blocking(move || {
            let blobs = inner.images.attached(&index, &manifest);
            Ok(!blobs.is_empty() && blobs.iter().all(|it| inner.images.blob(it).is_ok()))
        })
        .await
    }

    /// An attestation. An image without it is as good: one that cannot be had is left out.
    async fn attestation(&self, entry: &Descriptor) -> Result<Option<Attached>> {
        match self.cancel.run_until_cancelled(self.fetch(entry)).await {
            None => Err(super::cancelled()),
            Some(Ok(attached)) => Ok(attached),
            Some(Err(error)) => {
                let manifest = &entry.digest;
                tracing::warn!(%manifest, err = %error, "an attestation does not come");
                Ok(None)
            }
        }
    }

    async fn fetch(
        &self,
        entry: &Descriptor,
    ) -> std::result::Result<Option<Attached>, registry::Error> {
        let document = self.repository.manifest(entry.digest.as_str()).await?;
        let Content::Manifest(manifest) = document.content else {
            return Ok(None);
        };
        let parts: Vec<&Descriptor> = [&manifest.config]
            .into_iter()
            .chain(&manifest.layers)
            .collect();
        let length = parts.iter().map(|part| part.size);
        let length = length.fold(0, u64::saturating_add);
        if length > LARGEST || parts.len() > MOST {
            tracing::warn!(manifest = %entry.digest, "an attestation is too large");
            return Ok(None);
        }
        let mut blobs = vec![document.bytes];
        for part in parts {
            blobs.push(self.repository.config(part).await?);
        }
        Ok(Some(Attached {
            manifest: entry.digest.clone(),
            blobs,
        }))
    }
}
