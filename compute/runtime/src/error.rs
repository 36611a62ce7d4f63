//! The one error of this crate: a kind for the exit status, and a complete message.

use std::fmt::Display;

/// Result of every call here.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The configuration cannot be right.
    Invalid,
    /// The program is not there: exit code 127.
    CommandNotFound,
    /// The program cannot be run: exit code 126.
    CannotInvoke,
    /// This host, or this version, cannot do it.
    Unsupported,
    /// The container to join is not running.
    NotRunning,
    /// Anything else.
    Internal,
}

/// A failure, its message complete (causes included) and without trailing period.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What kind.
    pub kind: Kind,
    /// What went wrong.
    pub message: String,
}

impl Error {
    /// Of this kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// [`Kind::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// [`Kind::Unsupported`].
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(Kind::Unsupported, message)
    }

    /// [`Kind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![self.kind as u8];
        out.extend_from_slice(self.message.as_bytes());
        out
    }

    pub(crate) fn from_bytes(kind: u8, text: &[u8]) -> Self {
        let kind = match kind {
            0 => Kind::Invalid,
            1 => Kind::CommandNotFound,
            2 => Kind::CannotInvoke,
            3 => Kind::Unsupported,
            4 => Kind::NotRunning,
            _ => Kind::Internal,
        };
        Self::new(kind, String::from_utf8_lossy(text))
    }
}

impl From<cgroup::Error> for Error {
    fn from(error: cgroup::Error) -> Self {
        Self::internal(error.to_string())
    }
}

/// Adds what was being done to a bare errno.
pub(crate) trait Context<T> {
    /// `doing: errno text`.
    fn context<D: Display>(self, doing: impl FnOnce() -> D) -> Result<T>;
}

impl<T> Context<T> for sys::Result<T> {
    fn context<D: Display>(self, doing: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|errno| Error::internal(format!("{}: {}", doing(), errno_text(errno))))
    }
}

/// The errno's text as Go and the C library write it, first letter small.
pub(crate) fn errno_text(errno: sys::Errno) -> String {
    let text = std::io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}
