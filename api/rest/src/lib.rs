//! The Engine REST API, v1.24 to v1.51: decode a request, one call of the engine, encode the
//! answer as that version of the API has it.
//!
//! ```text
//!  listen ─► connection ─┬─ hyper (HTTP/1.1, h2c) ─► call ─► router ─► handlers ─► engine
//!                        └─ sniff: an old client's POST …/attach without Upgrade ──┘
//!                                   answer: a response │ a hijack, which takes the socket itself
//! ```
//!
//! `compat` is the one place that knows how versions of the API differ.

mod answer;
mod archive;
mod authz;
mod body;
mod call;
mod commit;
mod compat;
mod connection;
mod containers;
mod create;
mod debug;
mod events;
mod exec;
mod hijack;
mod images;
mod listen;
mod metrics;
mod query;
mod router;
mod sniff;
mod store;
mod stream;
mod streams;
mod system;
mod timestamp;
mod tls;
mod unsupported;
mod version;
mod volumes;
mod websocket;

pub use listen::{Listener, serve};
pub use metrics::serve as serve_metrics;
pub use tls::{Tls, TlsError};
pub use version::ApiVersion;

use std::sync::Arc;

use engine::Engine;

/// What all connections share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Api(Arc<Shared>, Option<Arc<authz::Peer>>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) min_version: ApiVersion,
    pub(crate) authorization: authz::Chain,
    pub(crate) metrics: metrics::Metrics,
}

impl Api {
    /// The API of an engine. Requests for versions older than `min_version` are refused.
    pub fn new(engine: Engine, min_version: ApiVersion) -> Self {
        let shared = Shared {
            engine,
            min_version,
            authorization: authz::Chain::default(),
            metrics: metrics::Metrics::default(),
        };
        Self(Arc::new(shared), None)
    }

    /// For the connection of a client with this certificate.
    pub(crate) fn with_peer(&self, peer: Option<authz::Peer>) -> Self {
        Self(Arc::clone(&self.0), peer.map(Arc::new))
    }
}
