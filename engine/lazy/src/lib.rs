//! Layers that are used before all of them has come.
//!
//! ```text
//!  daemon                          supplier (a process of its own, one for all layers)
//!   pull: Plan::of ─► lazy/<chain>    ┌─ FUSE: one file per layer ◄─ EROFS ◄─ containers
//!   Supplier (images::Devices) ──────►│     read ─► piece ─► blocks here? ─► decode, check
//!      add, forget, refetch, watch    │                        └─ no: part of the blob ◄─ registry
//!   whole ─► ordinary ingest          └─ background: the rest of the blob, in order
//! ```
//!
//! What is kept of a layer is its *compressed blob*, with holes: `lazy/<chain>/blob`. So a layer that
//! has come whole goes the way of every other one (digest, diff ID, tar, index), and nothing is
//! fetched twice. Blocks that are there are found by their data (SEEK_DATA), never by a note of
//! ours: whatever a crash left of them, no byte is shown to anybody but as part of a piece that has
//! the digest which the image's manifest vouches for.
//!
//! The supplier outlives the daemon, since containers read through it. It ends when nothing needs it:
//! no layer, or neither daemon nor open device. If it is killed, the kernel answers reads with
//! errors; the daemon starts another one for the next containers. Credentials are in memory only.

mod blocks;
#[cfg(test)]
#[path = "../../../wire/registry/tests/faulty/mod.rs"]
mod faulty;
mod layer;
mod pieces;
mod plan;
mod protocol;
mod server;
mod supplier;
mod table;

pub use plan::{Plan, Source};
pub use protocol::{News, Settings};
pub use server::main;
pub use supplier::{Program, Supplier};

/// Whether this machine can supply layers: found out by mounting once.
///
/// # Errors
/// Why it cannot.
pub fn possible() -> std::io::Result<()> {
    fuse::mount().map(|_| ())
}

/// File below a layer's directory: the blob, with holes.
pub const BLOB: &str = "blob";
/// The map of its device.
const MAP: &str = "map";
/// Where the blob comes from, and what the layer must turn out to be.
const SOURCE: &str = "source";
/// Histories at places where decompressing can begin.
const WINDOWS: &str = "windows";
