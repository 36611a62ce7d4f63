//! Tar streams to and from directory trees, confined to their root.
//!
//! Every path of an archive and of a tree is resolved by openat2(2) below a directory descriptor:
//! no entry, symbolic link or race can lead outside. Reading streams: no entry is held in memory.

mod apply;
mod bounded;
mod compression;
mod create;
mod decode;
mod digest;
mod error;
mod listed;
mod metadata;
mod scan;

pub use apply::{Applied, Place, Target, apply, apply_at};
pub use compression::{Compression, Gzip, decompress};
pub use create::{Pack, Source, pack};
pub use digest::{Digesting, DigestingWriter, hex};
pub use error::{Error, Kind};
pub use listed::{listed, target};
pub use metadata::Metadata;
pub use scan::{Item, ItemKind, scan};
