//! The one error of this edge.

/// What kind of failure it is; the engine maps it to a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No such container or exec.
    NotFound,
    /// It is not running.
    NotRunning,
    /// It is not paused, or is already.
    Conflict,
    /// The request cannot be right.
    Invalid,
    /// The program is not in the image: exit code 127.
    CommandNotFound,
    /// The program cannot be run: exit code 126.
    CannotInvoke,
    /// This host cannot do it.
    Unsupported,
    /// Anything else.
    Internal,
}

/// A failure, its message complete (causes included) and without trailing period.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What kind.
    pub kind: Kind,
    /// What went wrong and, where one can, what to do.
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

    /// [`Kind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// [`Kind::NotRunning`] for container `id`.
    pub fn not_running(id: &str) -> Self {
        Self::new(Kind::NotRunning, format!("container {id} is not running"))
    }
}
