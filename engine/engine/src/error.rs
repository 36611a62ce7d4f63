//! The one error of the engine's edge. Its kind maps once to an HTTP status (in `rest`).

/// What kind of failure; the classes are moby's `errdefs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// 404.
    NotFound,
    /// 400.
    InvalidParameter,
    /// 409.
    Conflict,
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 501.
    NotImplemented,
    /// 503.
    Unavailable,
    /// 500.
    System,
}

/// A failure with the text that clients show.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What kind.
    pub kind: ErrorKind,
    /// dockerd's text where clients parse it.
    pub message: String,
}

/// Result of every call of the engine.
pub type Result<T> = std::result::Result<T, Error>;

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident;)*) => {
        impl Error {
            $($(#[$doc])* pub fn $name(message: impl Into<String>) -> Self {
                Self { kind: ErrorKind::$kind, message: message.into() }
            })*
        }
    };
}

constructors! {
    /// [`ErrorKind::NotFound`].
    not_found => NotFound;
    /// [`ErrorKind::InvalidParameter`].
    invalid => InvalidParameter;
    /// [`ErrorKind::Conflict`].
    conflict => Conflict;
    /// [`ErrorKind::Unauthorized`].
    unauthorized => Unauthorized;
    /// [`ErrorKind::Forbidden`].
    forbidden => Forbidden;
    /// [`ErrorKind::NotImplemented`].
    not_implemented => NotImplemented;
    /// [`ErrorKind::Unavailable`].
    unavailable => Unavailable;
    /// [`ErrorKind::System`].
    system => System;
}

impl From<compute::Error> for Error {
    fn from(error: compute::Error) -> Self {
        use compute::Kind;
        let kind = match error.kind {
            Kind::NotFound => ErrorKind::NotFound,
            Kind::NotRunning | Kind::Conflict => ErrorKind::Conflict,
            Kind::Invalid | Kind::CommandNotFound | Kind::CannotInvoke => {
                ErrorKind::InvalidParameter
            }
            Kind::Unsupported => ErrorKind::NotImplemented,
            Kind::Internal => ErrorKind::System,
        };
        Self {
            kind,
            message: error.message,
        }
    }
}
