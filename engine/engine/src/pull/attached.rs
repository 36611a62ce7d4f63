//! What comes with an image of an index: the index itself, and what that has of attestations.

use std::sync::Arc;

use images::{Attached, Indexed, VariantKind};
use oci::Digest;
use oci::image::Descriptor;
use registry::{Content, Document, Resolved};

use super::{Pull, blocking};
use crate::Result;

/// What an image's attestations may take together: they are held until the image is committed, and an
/// index may list thousands.
const ROOM: Room = Room {
    bytes: 32 << 20,
    blobs: 64,
};

/// What may still come.
struct Room {
    bytes: u64,
    blobs: usize,
}

impl Room {
    /// Takes a manifest and its blobs, if there is room for them.
    fn take(&mut self, manifest: &[u8], parts: &[&Descriptor]) -> bool {
        let sizes = parts.iter().map(|part| part.size);
        let bytes = sizes.fold(manifest.len() as u64, u64::saturating_add);
        let fits = bytes <= self.bytes && parts.len() <= self.blobs;
        if fits {
            self.bytes -= bytes;
            self.blobs -= parts.len();
        }
        fits
    }
}

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
        let (mut attached, mut room) = (Vec::new(), ROOM);
        for entry in &index.manifests {
            let is_of = VariantKind::of(entry, None) == VariantKind::Attestation(Some(own.clone()));
            if is_of && !self.has(&resolved.top.digest, &entry.digest).await? {
                attached.extend(self.attestation(entry, &mut room).await?);
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
    async fn attestation(&self, entry: &Descriptor, room: &mut Room) -> Result<Option<Attached>> {
        let fetched = self.fetch(entry, room);
        match self.cancel.run_until_cancelled(fetched).await {
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
        room: &mut Room,
    ) -> std::result::Result<Option<Attached>, registry::Error> {
        let document = self.repository.manifest(entry.digest.as_str()).await?;
        let Content::Manifest(manifest) = document.content else {
            return Ok(None);
        };
        let parts: Vec<&Descriptor> = [&manifest.config]
            .into_iter()
            .chain(&manifest.layers)
            .collect();
        if !room.take(&document.bytes, &parts) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attestations_share_their_room() {
        let part = Descriptor::new("", Digest::sha256(&[1; 32]), 8 << 20);
        let mut room = ROOM;
        let taken = (0..1000).filter(|_| room.take(b"{}", &[&part])).count();
        assert_eq!(taken, 3, "four and their manifests are more");
        let none = Descriptor { size: 0, ..part };
        let taken = (0..1000).filter(|_| room.take(b"", &[&none])).count();
        assert_eq!(taken, 61);
    }
}
