//! Typed client of the Engine API over unix sockets, TCP and TLS.
//!
//! One [`Client`] keeps idle connections and hands them out again; a request that needs a
//! connection of its own while another answer is still streaming simply opens a second one.
//! Streams ([`Response`], [`Hijacked`]) are read at the caller's pace: nothing is buffered beyond
//! one chunk. Runs on any tokio runtime, a current-thread one included.

mod body;
mod connect;
mod containers;
mod error;
mod execs;
mod frames;
mod hijack;
mod host;
mod images;
mod query;
mod response;
mod system;
mod tls;
mod transport;

pub use body::{Body, BodySender};
pub use connect::Stream;
pub use containers::{AttachOptions, LogsOptions, WaitCondition};
pub use error::Error;
pub use frames::{Frame, FrameReader, StreamKind};
pub use hijack::Hijacked;
pub use host::{Host, InvalidHost};
pub use images::{PullOptions, PushOptions};
pub use query::{Query, escape};
pub use response::{JsonLines, Response};
pub use tls::TlsFiles;
pub use transport::{ApiVersion, Client, Config};

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
