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

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use ::bridge::Bridge as BridgeNetwork;
use bytes::Bytes;
use compute::Compute;
use tokio::sync::mpsc;

mod admission;
mod cdi;
mod clock;
mod config;
mod container;
mod copy;
mod create;
mod devices;
mod disk_usage;
mod distribution;
mod error;
mod events;
mod exec;
mod health;
mod image_ops;
mod import_url;
mod inside;
mod inspect;
mod lazy;
mod lifecycle;
mod links;
mod list;
mod log_drivers;
mod logs;
mod merge;
mod mounts;
mod names;
mod network;
mod open;
mod options;
mod order;
mod owner;
mod pattern;
mod ports;
mod pull;
mod push;
mod record;
mod registries;
mod reload;
mod resolve;
mod search;
mod session;
mod shutdown;
mod signal;
mod stats;
mod system;
mod top;
mod trust;
mod userns;
mod verify;
mod volumes;

pub use compute::Runtime;
pub use config::{
    BUILT_IN_RUNTIMES, Bridge, Config, Live, RegistriesSource, RegistrySettings, Ulimits,
};
pub use error::{Error, ErrorKind, Result};
pub use image_ops::collect::{Collection, Watermarks, removed_at};
pub use images::Policy as ImagePolicy;
pub use inside::Figures;
pub use list::Rows as ContainerRows;
pub use options::{
    ArchivePut, AttachOptions, CommitOptions, DiskUsageOptions, EventsOptions, Filters,
    ImageListOptions, ImageRemoveOptions, ImportOptions, ListOptions, LogsOptions, RemoveOptions,
    WaitCondition,
};
pub use state::Limits as EventLimits;

pub use ::lazy::Program as SupplierProgram;
pub use pull::plan::{Presence, PullPlan};
pub use session::Session;
pub use userns::{DEFAULT_USER, IdMaps, Remap};

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
    /// Keeps other daemons out of the exec root.
    pub(crate) _lock: std::fs::File,
    pub(crate) config: Config,
    pub(crate) state: Arc<state::State>,
    pub(crate) compute: Arc<dyn Compute>,
    pub(crate) images: images::Images,
    pub(crate) registries: registries::Registries,
    /// Held by the one that reads the image store again.
    pub(crate) scrubbing: Arc<tokio::sync::Mutex<()>>,
    /// Layers that are used before they are whole; `None` where nobody was named to supply them.
    pub(crate) lazy: Option<lazy::Lazy>,
    /// Settings that may change while the engine is open.
    live: RwLock<Arc<Live>>,
    pub(crate) containers: container::Containers,
    pub(crate) events: events::Events,
    pub(crate) volumes: volumes::Volumes,
    pub(crate) execs: exec::Execs,
    /// Ids of containers that are being created.
    pub(crate) id_blocks: Mutex<Vec<userns::IdMaps>>,
    /// Held while the /etc/hosts of a running container is changed.
    pub(crate) hosts: Mutex<()>,
    /// Logs that are being sent elsewhere.
    pub(crate) shipping: log_drivers::Shipping,
    /// Set at opening, unless there is to be no bridge.
    pub(crate) bridge: OnceLock<BridgeNetwork>,
    pub(crate) health_checks: inside::HealthChecks,
    pub(crate) started: std::time::Instant,
    /// The engine ends and takes its containers along: ends are no longer restarted.
    pub(crate) ending: std::sync::atomic::AtomicBool,
}

impl Inner {
    /// Settings that may change, as they are now.
    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether containers are being ended with the engine.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(std::sync::atomic::Ordering::Acquire)
    }

    /// The default bridge.
    pub(crate) fn bridge(&self) -> Result<&BridgeNetwork> {
        self.bridge
            .get()
            .ok_or_else(|| Error::not_found("network bridge not found"))
    }

    /// What `host-gateway` means.
    pub(crate) fn gateway(&self) -> Ipv4Addr {
        self.bridge
            .get()
            .map_or(Ipv4Addr::LOCALHOST, |bridge| bridge.facts().gateway)
    }

    /// Bytes of a container's writable layer.
    pub(crate) async fn writable_size(&self, id: &str) -> u64 {
        let dir = self.writable_dir(id).join("diff");
        tokio::task::spawn_blocking(move || images::disk_usage(&dir))
            .await
            .unwrap_or(0)
    }

    /// Directory of a container's files on disk.
    pub(crate) fn container_dir(&self, id: &str) -> PathBuf {
        self.config.data_root.join("containers").join(id)
    }

    /// Its writable layer: `diff` and `work` live here.
    pub(crate) fn writable_dir(&self, id: &str) -> PathBuf {
        self.container_dir(id).join("fs")
    }

    /// Files made anew at each start (hosts, hostname, resolv.conf).
    pub(crate) fn runtime_dir(&self, id: &str) -> PathBuf {
        self.config.exec_root.join("files").join(id)
    }
}
