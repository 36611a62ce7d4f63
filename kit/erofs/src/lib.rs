//! EROFS images that hold metadata only: the bytes of files stay where they are, in plain tar files
//! that the kernel opens as the image's *devices*.
//!
//! ```text
//!  tar entries ──► Tree ──► encode / decode      one layer: checked, normalised, kept on disk
//!                    │
//!  Tree, Tree, … ──► Stack::push ──► Stack::write    an image: one EROFS, one device per layer
//! ```
//!
//! A [`Tree`] has the meaning of "the archive unpacked into an empty directory": later entries win,
//! symbolic links in paths are followed inside the tree, whiteouts are kept as marks. A [`Stack`]
//! lays trees over each other as overlayfs lays directories.
//!
//! The format is that of the kernel's `fs/erofs/erofs_fs.h`, whose names are used here; its
//! description is `Documentation/filesystems/erofs.rst`. Tar aligns content at 512 bytes, hence the
//! block size; what the image looks like otherwise is told in `layout`. No input and no output is
//! done here but through [`std::io::Write`].

mod checksum;
mod compare;
mod encode;
mod error;
mod format;
mod layout;
mod path;
mod stack;
mod tree;
mod write;
mod xattr;

pub use encode::Facts;
pub use error::Error;
pub use format::BLOCK;
pub use stack::{Marks, Stack};
pub use tree::{Attribute, Meta, Node, Tree};
