//! The one error of this crate's edge.

use std::path::{Path, PathBuf};

/// Why a call failed. Texts reach clients.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No image of that name. The text is dockerd's.
    #[error("No such image: {0}")]
    NotFound(String),
    /// It (the first) is not here for a platform (the second). The text is dockerd's.
    #[error("image with reference {0} was found but does not provide the specified platform ({1})")]
    Platform(String, String),
    /// An archive has none of the platforms that were asked for.
    #[error("requested platform(s) ({0}) not found")]
    NotLoaded(String),
    /// An archive lists a platform that was asked for, and lacks some of it.
    #[error("requested platform(s) ({0}) found, but some content is missing")]
    Incomplete(String),
    /// The prefix of an ID fits several images.
    #[error("multiple IDs found with provided prefix: {0}")]
    Ambiguous(String),
    /// The name breaks the grammar of references.
    #[error(transparent)]
    Reference(#[from] oci::reference::InvalidReference),
    /// What was asked contradicts what is there.
    #[error("{0}")]
    Conflict(String),
    /// The input is broken: a wrong digest, a malformed archive or document.
    #[error("{0}")]
    Corrupt(String),
    /// What came is not the blob that it should be: another source may have it.
    #[error("{0}")]
    Stream(String),
    /// Valid, but not something this version does.
    #[error("{0}")]
    Unsupported(String),
    /// It is more than the policy takes.
    #[error(
        "the archive has more than {0} bytes unpacked, which is the most that the engine takes \
         (image-max-size)"
    )]
    Large(u64),
    /// A tar stream cannot be read or applied.
    #[error(transparent)]
    Archive(#[from] archive::Error),
    /// Nothing can be added any more.
    #[error("no space left on device: {path} has {free} bytes free")]
    Full {
        /// Where.
        path: PathBuf,
        /// What is left, in bytes.
        free: u64,
    },
    /// No more files can be made.
    #[error("no space left on device: {path} has {free} inodes free")]
    Inodes {
        /// Where.
        path: PathBuf,
        /// What is left.
        free: u64,
    },
    /// A file operation failed.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The database refused.
    #[error("image database: {0}")]
    Database(String),
}

/// What kind of failure; the engine maps these to its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There is no such thing.
    NotFound,
    /// The caller's input is at fault.
    Invalid,
    /// It contradicts the present state.
    Conflict,
    /// Not implemented.
    Unsupported,
    /// The system's fault.
    System,
}

impl Error {
    /// Whether the disk has no room for more.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } | Self::Inodes { .. } => true,
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
            _ => false,
        }
    }

    /// What kind of failure.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NotFound(_) | Self::Platform(..) | Self::NotLoaded(_) | Self::Incomplete(_) => {
                Kind::NotFound
            }
            Self::Ambiguous(_)
            | Self::Reference(_)
            | Self::Corrupt(_)
            | Self::Large(_)
            | Self::Stream(_) => Kind::Invalid,
            Self::Conflict(_) => Kind::Conflict,
            Self::Unsupported(_) => Kind::Unsupported,
            Self::Archive(error) => match error.kind() {
                archive::Kind::Invalid => Kind::Invalid,
                archive::Kind::System => Kind::System,
            },
            Self::Full { .. } | Self::Inodes { .. } | Self::Io { .. } | Self::Database(_) => {
                Kind::System
            }
        }
    }

    pub(crate) fn io(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    pub(crate) fn errno(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(rustix::io::Errno) -> Self + use<> {
        let wrap = Self::io(action, path);
        move |errno| wrap(errno.into())
    }
}

macro_rules! from_redb {
    ($($kind:ty),*) => { $(impl From<$kind> for Error {
        fn from(error: $kind) -> Self { Self::Database(error.to_string()) }
    })* };
}
from_redb!(
    redb::Error,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError
);
