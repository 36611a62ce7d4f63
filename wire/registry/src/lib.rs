//! Registry client: OCI distribution 1.1 and docker v2.
//!
//! ```text
//!  Client ── repository(reference, credentials) ──> Repository
//!     Repository::resolve(platform) ──> Resolved { top, document, manifest }
//!     Repository::config(descriptor) ──> bytes          (verified)
//!     Repository::blob(descriptor, range) ──> Blob::next()…    (resumed; verified by its taker)
//!     Repository::part(descriptor, range) ──> Part::next()…
//!  Client ── open(url) ──> Opened::next()…               (no registry's)
//!  Client ── writable(reference, credentials) ──> Repository
//!     Repository::begin(mount) ──> Upload::send(piece)…, Upload::commit(digest)
//!     Repository::put_manifest(name, …)
//! ```
//!
//! HTTPS is tried first; plain HTTP only with loopback and configured insecure registries.
//! Nothing is read without a limit on its size and on silence.

mod anywhere;
mod auth;
mod backoff;
mod blob;
mod client;
mod config;
mod documents;
mod error;
mod hosts;
mod manifest;
mod paced;
#[doc(hidden)]
pub mod parsers;
mod push;
mod range;
mod redirect;
mod search;
mod session;
mod tls;
mod transport;

pub use anywhere::Opened;
pub use auth::Credentials;
pub use blob::{Blob, Piece};
pub use client::Client;
pub use config::{Config, Proxy};
pub use documents::Resolved;
pub use error::{Error, Kind};
pub use manifest::{Content, Document, choose};
pub use push::{Begun, Upload};
pub use range::Part;
pub use search::Found;
pub use session::Repository;
