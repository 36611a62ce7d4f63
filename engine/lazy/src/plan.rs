//! Whether a layer can be used before all of it has come, found out by its table of contents.

use std::ops::Range;

use images::LazyFiles;
use oci::Digest;
use oci::image::Descriptor;
use registry::{Piece, Repository};
use seekable::{ESTARGZ_FOOTER, EstargzFooter, LONGEST_TOC, Layout, Map, ZstdPosition, Ztoc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{MAP, SOURCE, WINDOWS};

/// A blob of fewer bytes is had at once before its table is.
const SMALL: u64 = 128 << 10;
/// One of more is not believed: the size is the registry's word, and the supplier, through which other
/// images are read too, has to keep account of its blocks.
const LARGEST: u64 = 1 << 40;
/// Digest of an eStargz's table, uncompressed.
const ESTARGZ: &str = "containerd.io/snapshot/stargz/toc.digest";
/// Digest of a zstd:chunked's table, compressed, and its position; with their earlier names.
const CHUNKED: [(&str, &str); 2] = [
    (
        "io.github.containers.zstd-chunked.manifest-checksum",
        "io.github.containers.zstd-chunked.manifest-position",
    ),
    (
        "io.containers.zstd-chunked.manifest-checksum",
        "io.containers.zstd-chunked.manifest-position",
    ),
];

/// Where a layer comes from and what it must turn out to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The image's name.
    pub reference: String,
    /// The blob.
    pub blob: Digest,
    /// Its bytes.
    pub size: u64,
    /// Digest of the tar in it.
    pub diff_id: Digest,
    /// Chain of the layers below; empty for the base.
    pub below: String,
    /// Bytes from the blob's start that are wanted first.
    pub first: u64,
}

impl Source {
    /// What was written in a layer's directory.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(dir: &std::path::Path) -> Result<Self, String> {
        let path = dir.join(SOURCE);
        let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let bytes = std::fs::read(&path).map_err(|error| named(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| named(&error))
    }
}

/// How a layer is made usable before it comes.
#[derive(Debug)]
pub struct Plan(LazyFiles);

impl Plan {
    /// Reads a layer's table of contents. `ztoc`: the one that is in a document of its own. `None`
    /// when the layer has none, or none that can be used: then it is to come as a whole.
    ///
    /// # Errors
    /// Why a table that is there cannot be used: for a log.
    pub async fn of(
        repository: &Repository,
        layer: &Descriptor,
        ztoc: Option<&Descriptor>,
        source: Source,
    ) -> Result<Option<Self>, String> {
        if !(SMALL..=LARGEST).contains(&layer.size) {
            return Ok(None);
        }
        let from = Blob { repository, layer };
        let mut windows = Vec::new();
        let layout = if let Some(digest) = layer.annotations.get(ESTARGZ) {
            from.estargz(digest).await?
        } else if let Some((digest, position)) = CHUNKED.iter().find_map(|(digest, position)| {
            let annotations = &layer.annotations;
            Some((annotations.get(*digest)?, annotations.get(*position)?))
        }) {
            from.chunked(digest, position).await?
        } else if let Some(ztoc) = ztoc {
            let found = from.ztoc(ztoc).await?;
            windows = found.windows;
            found.layout
        } else {
            return Ok(None);
        };
        let source = Source {
            first: layout.first.min(layer.size),
            ..source
        };
        let source = serde_json::to_vec(&source).map_err(|error| error.to_string())?;
        Ok(Some(Self(LazyFiles {
            items: layout.items,
            device: layout.map.length,
            files: vec![
                (SOURCE, source),
                (MAP, layout.map.encode()),
                (WINDOWS, windows),
            ],
        })))
    }

    /// The files of a layer of which is known how to read it from the middle, because it was read once
    /// ([`seekable::Checkpoints`]): for whoever supplies it. `None` when it is to come as a whole.
    ///
    /// # Errors
    /// Why what is known cannot be used: for a log.
    pub async fn known(
        repository: &Repository,
        layer: &Descriptor,
        source: Source,
        (device, map, windows): (u64, Vec<u8>, Vec<u8>),
    ) -> Result<Option<Vec<(&'static str, Vec<u8>)>>, String> {
        if layer.size < SMALL {
            return Ok(None);
        }
        let decoded = Map::decode(&map).map_err(text)?;
        if decoded.length != device {
            return Err("what is known of the layer is of another one".into());
        }
        // Whether the layer is there, may be had, and in parts.
        Blob { repository, layer }.bytes(0..1).await?;
        let source = serde_json::to_vec(&source).map_err(|error| error.to_string())?;
        Ok(Some(vec![(SOURCE, source), (MAP, map), (WINDOWS, windows)]))
    }

    /// For the store.
    pub fn into_files(self) -> LazyFiles {
        self.0
    }
}

struct Blob<'a> {
    repository: &'a Repository,
    layer: &'a Descriptor,
}

impl Blob<'_> {
    async fn estargz(&self, digest: &str) -> Result<Layout, String> {
        let size = self.layer.size;
        let start = size
            .checked_sub(ESTARGZ_FOOTER)
            .ok_or("a blob shorter than a footer")?;
        let footer = self.bytes(start..size).await?;
        let footer = EstargzFooter::parse(&footer, size).map_err(text)?;
        let member = self.bytes(footer.toc..footer.end).await?;
        let digest = hex(digest)?;
        blocking(move || footer.layout(&member, &digest).map_err(text)).await
    }

    async fn chunked(&self, digest: &str, position: &str) -> Result<Layout, String> {
        let position = ZstdPosition::annotation(position, self.layer.size).map_err(text)?;
        let end = position.offset + position.length;
        let table = self.bytes(position.offset..end).await?;
        let digest = hex(digest)?;
        blocking(move || position.layout(&table, &digest).map_err(text)).await
    }

    async fn ztoc(&self, of: &Descriptor) -> Result<Ztoc, String> {
        if of.size > LONGEST_TOC {
            return Err(format!("a zTOC of {} bytes", of.size));
        }
        let mut blob = self.repository.blob(of, 0..of.size);
        let mut bytes = Vec::new();
        while let Some(piece) = blob.next().await.map_err(text)? {
            if let Piece::Bytes(piece) = piece {
                bytes.extend_from_slice(&piece);
            }
        }
        let (size, wanted) = (self.layer.size, of.digest.clone());
        blocking(move || {
            let found = Digest::sha256(&Sha256::digest(&bytes).into());
            if found != wanted {
                return Err(format!("zTOC {wanted}: {found} came"));
            }
            Ztoc::parse(&bytes, size).map_err(text)
        })
        .await
    }

    async fn bytes(&self, range: Range<u64>) -> Result<Vec<u8>, String> {
        let part = self
            .repository
            .part(self.layer, range)
            .await
            .map_err(text)?;
        part.read(LONGEST_TOC).await.map_err(text)
    }
}

fn hex(digest: &str) -> Result<String, String> {
    let digest: Digest = digest.parse().map_err(|_| format!("digest {digest:?}"))?;
    Ok(digest.hex().to_owned())
}

/// An error and its reasons.
pub(crate) fn text(error: impl std::error::Error) -> String {
    let mut all = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        all.push_str(": ");
        all.push_str(&inner.to_string());
        source = inner.source();
    }
    all
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err("interrupted".into()))
}

#[cfg(test)]
mod tests {
    use registry::{Client, Config, Credentials};

    use super::*;
    use crate::faulty::Registry;

    #[tokio::test]
    async fn sizes_that_cannot_be_are_not_believed() {
        let registry = Registry::start().await;
        let reference: oci::Reference = format!("{}/x", registry.address).parse().expect("name");
        let client = Client::new(Config::default());
        let repository = client.repository(&reference, &Credentials::default());
        let blob = Digest::sha256(&[1; 32]);
        let mut layer = Descriptor::new("", blob.clone(), LARGEST + 1);
        layer.annotations.insert(ESTARGZ.into(), blob.to_string());
        let source = Source {
            reference: reference.to_string(),
            blob: blob.clone(),
            size: layer.size,
            diff_id: blob,
            below: String::new(),
            first: 0,
        };
        let plan = Plan::of(&repository, &layer, None, source).await;
        assert!(plan.expect("no error").is_none());
        assert!(registry.seen("").is_empty(), "nobody was asked");
    }
}
