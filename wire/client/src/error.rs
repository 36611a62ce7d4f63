//! What can go wrong between a request and its answer, worded as docker's client words it.

use std::io;

/// Failure of one request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens at the host.
    #[error("Cannot connect to the Docker daemon at {host}. Is the docker daemon running?")]
    Unreachable {
        /// The host as given.
        host: String,
        /// What connect(2) said.
        source: io::Error,
    },
    /// The socket is there but may not be opened.
    #[error(
        "permission denied while trying to connect to the Docker daemon socket at {host}: {source}"
    )]
    Denied {
        /// The host as given.
        host: String,
        /// What connect(2) said.
        source: io::Error,
    },
    /// TLS material that cannot be read or used, or a handshake that failed.
    #[error("{0}")]
    Tls(String),
    /// The engine answered with an error.
    #[error("Error response from daemon: {message}")]
    Daemon {
        /// HTTP status.
        status: u16,
        /// Text of the answer.
        message: String,
    },
    /// The connection broke, or what came over it is no HTTP.
    #[error("error during connect: {0}")]
    Http(String),
    /// The answer's body ended early or could not be read.
    #[error("{0}")]
    Stream(#[from] io::Error),
    /// The answer's body is not what it should be.
    #[error("Error reading remote info: {0}")]
    Decode(#[from] serde_json::Error),
    /// The engine kept the connection instead of handing it over.
    #[error("unable to upgrade to {protocol}, received {status}")]
    NotHijacked {
        /// Protocol asked for.
        protocol: &'static str,
        /// HTTP status of the answer.
        status: u16,
    },
}

impl Error {
    /// Status of the engine's answer, when it was the engine that failed.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Daemon { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the engine said that the thing does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// Whether no engine was reached at all.
    pub fn is_connect(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Denied { .. } | Self::Tls(_)
        )
    }
}

impl From<hyper::Error> for Error {
    fn from(error: hyper::Error) -> Self {
        use std::error::Error as _;
        match error.source() {
            Some(source) => Self::Http(format!("{error}: {source}")),
            None => Self::Http(error.to_string()),
        }
    }
}
