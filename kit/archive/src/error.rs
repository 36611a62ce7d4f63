//! What can be wrong with an archive or with the place it goes to.

use std::io;

/// A failure while reading or writing an archive.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An entry that would leave the root.
    #[error("invalid archive: {0:?} would be outside of the root")]
    Escape(String),
    /// An entry that cannot be what it says.
    #[error("invalid archive: {path:?}: {reason}")]
    Entry {
        /// The entry.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The stream is no tar, or is cut off.
    #[error("invalid archive: {0}")]
    Malformed(io::Error),
    /// A compression that is not read here.
    #[error("{0} compression is not supported: use gzip, zstd or none")]
    Compression(&'static str),
    /// A directory stands where a file should go, or the other way round, and may not be replaced.
    #[error("cannot overwrite {0}")]
    Overwrite(String),
    /// The file system refused.
    #[error("{path}: {source}")]
    Write {
        /// The entry.
        path: String,
        /// Its word.
        source: io::Error,
    },
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The archive's.
    Invalid,
    /// Ours: it is valid, but not read here.
    Unsupported,
    /// The system's.
    System,
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Compression(_) => Kind::Unsupported,
            Self::Write { .. } => Kind::System,
            _ => Kind::Invalid,
        }
    }

    pub(crate) fn at<E: Into<io::Error>>(path: &str) -> impl FnOnce(E) -> Self + '_ {
        move |source| Self::Write {
            path: path.to_owned(),
            source: source.into(),
        }
    }

    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Write { source, .. } if source.raw_os_error() == Some(28))
    }
}
