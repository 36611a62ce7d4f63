//! What can be wrong with a tree.

use std::io;

/// Why an entry cannot be added, or an image not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A path leads through something that is no directory.
    #[error("{0:?} leads through something that is not a directory")]
    NotADirectory(String),
    /// A path leads through a link that leads nowhere, or a hard link's target is missing.
    #[error("{0:?} leads to something that is not there")]
    NotFound(String),
    /// More than 40 symbolic links on the way.
    #[error("{0:?} leads through too many symbolic links")]
    Loop(String),
    /// A path that has no meaning: `..`, a zero byte, a link to a directory, an empty target.
    #[error("{path:?}: {reason}")]
    Invalid {
        /// The entry.
        path: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// Larger than the format or this crate takes.
    #[error("{what} is more than {limit}")]
    Limit {
        /// What.
        what: &'static str,
        /// How much there may be.
        limit: u64,
    },
    /// An encoded tree that is not one.
    #[error("the index is damaged: {0}")]
    Damaged(&'static str),
    /// The output refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Error {
    /// Whether the content is fine, but too large to be indexed.
    pub fn is_limit(&self) -> bool {
        matches!(self, Self::Limit { .. })
    }

    pub(crate) fn shown(path: &[u8]) -> String {
        String::from_utf8_lossy(path).into_owned()
    }

    pub(crate) fn invalid(path: &[u8], reason: &'static str) -> Self {
        Self::Invalid {
            path: Self::shown(path),
            reason,
        }
    }
}
