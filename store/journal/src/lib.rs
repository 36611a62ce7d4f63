//! Container log files in Docker's `json-file` and `local` formats, read side.
//!
//! The keeper of a container appends entries; here they are read back: the whole
//! log, its last lines, or a part by time, over the rotated files (`x.log.2`, `x.log.1`, `x.log`,
//! oldest first, `.gz` when compressed), and on as the log grows. Nothing here starts a thread: [`Reader::next`] answers
//! `None` at the end of what is written, and a caller that wants more waits until the descriptor
//! of a [`Watch`] is readable and calls it again.
//!
//! ```text
//!  Reader::open ─ files (rotated set) ─ tail, since (where to begin) ─► next ─► Entry
//!                                                                 │ None
//!                                                 Watch readable ◄┘
//! ```
//!
//! After a crash a line may be torn or overwritten by zeros: such lines are left out, entries that
//! follow on the same line are found again.

use std::path::PathBuf;

mod entry;
mod files;
mod local;
mod reader;
mod records;
mod since;
mod tail;
mod watch;

pub use entry::{Entry, Partial, Stream, Time};
pub use reader::{Place, Reader};
pub use watch::Watch;

/// How a log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Format {
    /// A line of JSON each.
    #[default]
    Json,
    /// Protocol buffers between their lengths.
    Local,
}

/// What to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query {
    /// The last n lines only; `None` is all. Counted before the times are looked at, as docker does.
    pub tail: Option<u64>,
    /// Leave out what is older; nanoseconds since 1970.
    pub since: Option<i128>,
    /// End at the first entry that is newer.
    pub until: Option<i128>,
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error("cannot read log {path}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Its words.
        source: std::io::Error,
    },
    /// Rotation is faster than reading.
    #[error("log {path} is rotated faster than it can be opened")]
    Rotating {
        /// Which log.
        path: PathBuf,
    },
}

impl Error {
    pub(crate) fn io(path: &std::path::Path, source: impl Into<std::io::Error>) -> Self {
        Self::Io {
            path: path.to_owned(),
            source: source.into(),
        }
    }
}

/// Result of every call here.
pub type Result<T> = std::result::Result<T, Error>;
