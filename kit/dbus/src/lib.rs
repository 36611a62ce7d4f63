//! A D-Bus client for programs without threads or an async runtime: one call at a time over a Unix
//! socket (the D-Bus specification, version 0.42).
//!
//! ```no_run
//! use std::time::{Duration, Instant};
//!
//! let until = Instant::now() + Duration::from_secs(5);
//! let mut bus = dbus::Connection::open("unix:path=/run/dbus/system_bus_socket", until)?;
//! bus.hello(until)?;
//! let ids = dbus::Message::call("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "GetId");
//! let answer = bus.call(ids, until)?;
//! # Ok::<(), dbus::Error>(())
//! ```
//!
//! Why not a crate: the one with libdbus below it needs a C library, the complete ones bring an
//! async runtime, and the small synchronous one has had no release for years. What is needed is a
//! codec of some hundred lines; descriptors and serving objects are left out.

mod address;
mod connection;
mod message;
mod signature;
mod text;
mod value;

pub use connection::Connection;
pub use message::{Kind, Message};
pub use text::from_text;
pub use value::Value;

/// Result of every call here.
pub type Result<T> = std::result::Result<T, Error>;

/// Most bytes of a message that is taken; the specification allows 128 MiB.
pub const MOST: usize = 4 << 20;

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address of no kind that can be connected to.
    #[error("unsupported D-Bus address {0:?}")]
    Address(String),
    /// The socket.
    #[error("{doing}")]
    Socket {
        /// What was being done.
        doing: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The other side does not accept this user.
    #[error("D-Bus authentication was rejected: {0:?}")]
    Rejected(String),
    /// The other side closed the connection.
    #[error("D-Bus connection closed by the other side")]
    Closed,
    /// No answer in time.
    #[error("no answer on D-Bus in time")]
    Timeout,
    /// Bytes that are no message, or a value that cannot be in one.
    #[error("malformed D-Bus message: {0}")]
    Malformed(&'static str),
    /// Text that is no value.
    #[error("{0}")]
    Text(String),
    /// An error returned by what was called.
    #[error("{text}")]
    Remote {
        /// As `org.freedesktop.DBus.Error.AccessDenied`.
        name: String,
        /// Its words, or its name where it has none.
        text: String,
    },
}

impl Error {
    /// The name of a returned error; empty for others.
    pub fn name(&self) -> &str {
        match self {
            Self::Remote { name, .. } => name,
            _ => "",
        }
    }

    /// With the reason of the source, for those who print one line.
    pub fn complete(&self) -> String {
        match self {
            Self::Socket { doing, source } => format!("{doing}: {source}"),
            other => other.to_string(),
        }
    }
}
