//! What callers see of an image.

use std::path::PathBuf;
use std::sync::Arc;

use oci::image::{Descriptor, Execution, History, ImageConfig};
use oci::{Digest, Platform, Reference};

/// One image: a snapshot of its record.
#[derive(Debug, Clone)]
pub struct Image {
    /// Digest of the configuration.
    pub id: Digest,
    /// The configuration.
    pub config: Arc<ImageConfig>,
    /// Bytes of all files of all layers, as unpacked.
    pub size: u64,
    /// `repository:tag` names, sorted.
    pub tags: Vec<Reference>,
    /// `repository@digest` names, sorted.
    pub digests: Vec<Reference>,
    /// The image it was made from, where that is known (commits and builds).
    pub parent: Option<Digest>,
    /// RFC 3339, as in the configuration.
    pub created: Option<String>,
    /// The manifest it came with; with an index as that lists it.
    pub manifest: Option<Descriptor>,
    /// The index that its names lead to, where they lead to one.
    pub index: Option<Descriptor>,
    /// Uncompressed digests of the layers, base first.
    pub layers: Vec<Digest>,
    /// Bytes of each layer's files, same order as `layers`.
    pub layer_sizes: Vec<u64>,
    /// When it was last given a name here, in nanoseconds since 1970; 0 when never.
    pub last_tagged: i64,
}

/// One step of an image's history, newest first in lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// As in the configuration.
    pub history: History,
    /// Bytes of the layer it made; 0 without one.
    pub size: u64,
}

/// What [`crate::Images::untag`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untagged {
    /// The image that lost the name.
    pub id: Digest,
    /// Every name that went: the one asked for, and with the last tag of a repository its
    /// `repository@digest`.
    pub references: Vec<Reference>,
    /// Whether the image has any name left.
    pub named: bool,
    /// Images of other platforms that nothing has any more but they themselves.
    pub orphans: Vec<Digest>,
}

/// How to mount a root file system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RootfsOptions {
    /// No sync at unmount: for containers that are removed when they end.
    pub volatile: bool,
    /// The mount cannot be written to.
    pub readonly: bool,
}

/// A difference between a container's files and its image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Absolute path inside the container.
    pub path: PathBuf,
    /// What happened.
    pub kind: ChangeKind,
}

/// The numbers are the Engine API's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// `C`
    Modified = 0,
    /// `A`
    Added = 1,
    /// `D`
    Deleted = 2,
}

/// What an archive held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The image.
    pub id: Digest,
    /// Names it got; empty when the archive gave none.
    pub references: Vec<Reference>,
}

/// Progress of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadEvent<'a> {
    /// A layer is being read: bytes so far and in all (of the stored form).
    Layer {
        /// Its uncompressed digest.
        diff_id: &'a Digest,
        /// Bytes read.
        current: u64,
        /// Of so many.
        total: u64,
    },
    /// The layer is in place.
    LayerDone {
        /// Its uncompressed digest.
        diff_id: &'a Digest,
    },
}

/// What an import is to become.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Defaults for containers, `--change` applied.
    pub execution: Execution,
    /// Message, kept in the configuration.
    pub message: String,
    /// For which machine; the host's when `None`.
    pub platform: Option<Platform>,
    /// Name to give it.
    pub reference: Option<Reference>,
    /// RFC 3339 time of creation.
    pub created: String,
}

/// Bytes on disk, for `system df`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Files of all layers, each counted once: in the terms of images' sizes.
    pub layers: u64,
    /// What the layers really take: archives, indexes, each file once whoever has it.
    pub disk: u64,
    /// Blobs of pulls that are under way or were cut off, and what is known of layers for when they
    /// come again.
    pub partial: u64,
    /// Stored blobs (manifests, configurations, layers as they came).
    pub content: u64,
}
