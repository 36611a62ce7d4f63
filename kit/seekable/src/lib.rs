//! Compressed tars that can be read from the middle, by a table of contents that came with them, or by
//! checkpoints that were found when they were read once.
//!
//! ```text
//!  eStargz       footer ─► gzip member with stargz.index.json ─┐
//!  zstd:chunked  annotation or footer ─► skippable frame ──────┼─► Layout { items, map }
//!  SOCI          zTOC, a document of its own ──────────────────┘
//!  gzip          Checkpoints ─► map (what is in the tar, its reader knows)
//!
//!  Map: bytes of a *device* ─► Piece ─► bytes of the compressed tar ─► Piece::decode
//! ```
//!
//! The device is what an index of the files can point into. For a table that says where files are in
//! the tar (SOCI) it is the tar itself; else it is the files' contents, each at the next multiple of
//! [`BLOCK`]. Every piece has a digest and is checked when it is decoded: wrong bytes are an error.
//!
//! Everything here reads foreign bytes: sizes are bounded, arithmetic is checked.

mod checkpoints;
mod error;
mod estargz;
mod map;
mod toc;
mod zstd_chunked;
mod ztoc;

pub use checkpoints::{Checkpointed, Checkpoints};
pub use error::Error;
pub use estargz::{ESTARGZ_FOOTER, Footer as EstargzFooter};
pub use map::{BLOCK, Coding, Map, Piece};
pub use zstd_chunked::{Position as ZstdPosition, ZSTD_FOOTER};
pub use ztoc::Ztoc;

/// Longest table of contents that is read, in bytes as it is in the blob and as it is decoded.
pub const LONGEST_TOC: u64 = 128 << 20;

/// What a table of contents says.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The entries in the archive's order; offsets of files are those in the device.
    pub items: Vec<archive::Item>,
    /// Where the device's bytes come from.
    pub map: Map,
    /// Bytes of the blob, from its start, that the image's maker wants to be there first.
    pub first: u64,
}
