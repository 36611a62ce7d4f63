//! Why a command did not succeed, in the words that callers of an OCI runtime look for.

use std::fmt::Display;

/// Result of every command.
pub(crate) type Result<T> = std::result::Result<T, Fail>;

/// A failure; the texts are those of runc, which engines search for them.
#[derive(Debug)]
pub(crate) enum Fail {
    /// An id that cannot name a directory.
    InvalidId,
    /// `create` of what is there.
    Exists,
    /// No such container.
    NotExist,
    /// Its first process is gone.
    NotRunning,
    /// Wrong arguments: the help of the command is shown too.
    Usage(String),
    /// Anything else, complete.
    Said(String),
}

impl Fail {
    /// A complete message.
    pub(crate) fn said(message: impl Into<String>) -> Self {
        Self::Said(message.into())
    }

    /// The same with what was being done in front.
    pub(crate) fn during(self, doing: impl Display) -> Self {
        Self::Said(format!("{doing}: {self}"))
    }
}

impl Display for Fail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::InvalidId => "invalid container ID format",
            Self::Exists => "container with given ID already exists",
            Self::NotExist => "container does not exist",
            Self::NotRunning => "container not running",
            Self::Usage(text) | Self::Said(text) => text,
        })
    }
}

impl std::error::Error for Fail {}

impl From<runtime::Error> for Fail {
    fn from(error: runtime::Error) -> Self {
        Self::Said(error.message)
    }
}

impl From<cgroup::Error> for Fail {
    fn from(error: cgroup::Error) -> Self {
        Self::Said(error.to_string())
    }
}

/// Says what was being done, and with what.
pub(crate) trait During<T> {
    /// `verb what: reason`.
    fn during(self, verb: &str, what: impl Display) -> Result<T>;
}

impl<T> During<T> for sys::Result<T> {
    fn during(self, verb: &str, what: impl Display) -> Result<T> {
        self.map_err(|e| Fail::Said(format!("{verb} {what}: {}", reason(e))))
    }
}

impl<T> During<T> for std::io::Result<T> {
    fn during(self, verb: &str, what: impl Display) -> Result<T> {
        self.map_err(|e| Fail::Said(format!("{verb} {what}: {}", io_reason(&e))))
    }
}

/// The errno's text without its number, first letter small, as Go and the C library write it.
pub(crate) fn reason(errno: sys::Errno) -> String {
    io_reason(&std::io::Error::from_raw_os_error(errno.raw_os_error()))
}

fn io_reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}
