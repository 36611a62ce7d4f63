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
    Malformed(#[source] io::Error),
    /// A kind of entry that means nothing here. The text is docker's.
    #[error("unhandled tar header type {0}")]
    Type(u8),
    /// A directory stands where a file should go, or the other way round, and may not be replaced.
    #[error("cannot overwrite {} {path:?} with {}", kind(*directory), kind(!*directory))]
    Overwrite {
        /// The entry.
        path: String,
        /// A directory is there.
        directory: bool,
    },
    /// The file system refused.
    #[error("{path}: {source}")]
    Write {
        /// The entry.
        path: String,
        /// Its word.
        source: io::Error,
    },
}

fn kind(directory: bool) -> &'static str {
    match directory {
        true => "directory",
        false => "non-directory",
    }
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The archive's.
    Invalid,
    /// The system's.
    System,
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        match self {
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
