//! The decisions: what containers and images there are, what is wanted of them and what follows
//! when something happens. Knows neither HTTP nor which platform is below.
//!
//! ```text
//!  Engine (this file: what is shared)
//!   ├ containers: create · owner (one task each) · list · inspect · wait · attach · exec
//!   ├ files of containers: logs · copy · stats · top
//!   ├ images: image_ops · pull
//!   ├ networks: network (modes, ports, files)     volumes
//!   └ events
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use compute::Compute;
use tokio::sync::mpsc;

mod clock;
mod config;
mod container;
mod error;
mod events;
mod image_ops;
mod logs;
mod options;
mod owner;
mod record;
mod stats;
mod top;
mod volumes;

pub use config::{Bridge, Config, Ulimits};
pub use error::{Error, ErrorKind, Result};
pub use options::{
    ArchivePut, AttachOptions, EventsOptions, Filters, ImageRemoveOptions, ImportOptions,
    ListOptions, LogsOptions, RemoveOptions, WaitCondition,
};

/// A stream of bytes, bounded.
pub type ByteStream = mpsc::Receiver<Result<Bytes>>;
/// A stream of values, bounded.
pub type Lines<T> = mpsc::Receiver<T>;

/// The engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine(Arc<Inner>);

/// What all parts of the engine share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) state: state::State,
    pub(crate) compute: Arc<dyn Compute>,
    pub(crate) images: images::Images,
    pub(crate) containers: container::Containers,
    pub(crate) events: events::Events,
    pub(crate) volumes: volumes::Volumes,
}

impl Inner {
    /// Directory of a container's files on disk.
    pub(crate) fn container_dir(&self, id: &str) -> PathBuf {
        self.config.data_root.join("containers").join(id)
    }

    /// Its writable layer: `diff` and `work` live here.
    pub(crate) fn writable_dir(&self, id: &str) -> PathBuf {
        self.container_dir(id).join("fs")
    }

    /// Its log.
    pub(crate) fn log_path(&self, id: &str) -> PathBuf {
        self.container_dir(id).join(format!("{id}-json.log"))
    }

    /// Files made anew at each start (hosts, hostname, resolv.conf).
    pub(crate) fn runtime_dir(&self, id: &str) -> PathBuf {
        self.config.exec_root.join("files").join(id)
    }

    /// Where a volume's files are.
    pub(crate) fn volume_dir(&self, name: &str) -> PathBuf {
        self.config
            .data_root
            .join("volumes")
            .join(name)
            .join("_data")
    }
}
