//! Compute on Linux: one keeper process per container, which outlives the daemon.
//!
//! The daemon side of `keeper-protocol`. A keeper builds the container, holds its stdio and writes
//! its log; signals, limits and meters go from here to the kernel directly (pidfd, cgroup).
//!
//! ```text
//!   Linux ── map of running containers ── Handle ──calls──► task (connection) ◄──► keeper
//!                                            └─ Link: execs, attachments ◄─events─┘
//! ```
//!
//! The connection's task owns the socket and is the only one to take a container out of the map.
//! When the socket ends without `Ended`, the keeper was killed: its container is killed too, as
//! nobody would take its output. Everything [`Compute::release`] needs is in the container's run
//! directory (`keeper_protocol::directory`), so it also works for an earlier daemon's containers.

mod adopt;
mod connection;
mod containers;
mod features;
mod filters;
mod launch;
mod mounts;
mod program;
mod release;
mod requests;
mod units;
mod usage;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use compute::{
    Adopted, Attachment, Compute, Error, Exec, ExecRunning, Features, Launch, Result, Running,
    Usage,
};
use keeper_protocol::Order;
use oci::runtime::{ConsoleSize, Resources};
use std::os::fd::OwnedFd;

use containers::Containers;
use filters::Filters;
use program::Program;

/// Where things are.
#[derive(Debug, Clone)]
pub struct Config {
    /// Run directory on a tmpfs, e.g. `/run/corten`; containers get `containers/<id>/` below it.
    pub run_dir: PathBuf,
    /// Cgroups are systemd's: paths in specifications are `slice:prefix:name`.
    pub systemd_cgroups: bool,
}

/// [`Compute`] by keepers. Dropping it leaves containers running; a new one adopts them.
#[derive(Debug)]
pub struct Linux {
    shared: Arc<Shared>,
}

/// What calls and connection tasks share; the tasks hold it weakly.
#[derive(Debug)]
struct Shared {
    config: Config,
    layout: cgroup::Layout,
    features: Features,
    program: Program,
    filters: Filters,
    containers: Containers,
}

impl Linux {
    /// Prepares the run directory and the keeper's program. Must be called inside a tokio
    /// runtime, and so must everything else here.
    pub fn new(config: Config) -> Result<Self> {
        let dir = config.run_dir.join(keeper_protocol::directory::CONTAINERS);
        make_private(&dir).map_err(|e| internal(format!("make {}: {e}", dir.display())))?;
        let mut layout = cgroup::Layout::detect().map_err(internal)?;
        if config.systemd_cgroups {
            if !cgroup::systemd::is_running() {
                let message =
                    "systemd not running on this host, cannot use systemd cgroups manager";
                return Err(internal(message));
            }
            // There systemd looks whether anybody is left in a unit.
            layout = cgroup::Layout::detect_hybrid().map_err(internal)?;
        }
        let shared = Arc::new(Shared {
            features: features::detect(&layout, config.systemd_cgroups),
            layout,
            program: Program::new()?,
            filters: Filters::default(),
            containers: Containers::default(),
            config,
        });
        Program::prepare_spare(&shared);
        Ok(Self { shared })
    }
}

fn make_private(dir: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

/// An unexpected failure.
fn internal(message: impl std::fmt::Display) -> Error {
    Error::internal(message.to_string())
}

/// Runs what may block the thread for more than a moment.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(internal(error)),
    }
}

#[async_trait]
impl Compute for Linux {
    fn features(&self) -> &Features {
        &self.shared.features
    }

    async fn launch(&self, launch: Launch) -> Result<Running> {
        let shared = Arc::clone(&self.shared);
        // A task of its own: a caller that goes away must not leave half a container.
        match tokio::spawn(launch::launch(shared, launch)).await {
            Ok(result) => result,
            Err(error) => Err(internal(error)),
        }
    }

    async fn adopt(&self, id: &str) -> Result<Adopted> {
        adopt::adopt(&self.shared, id).await
    }

    async fn exec(&self, id: &str, exec: Exec) -> Result<ExecRunning> {
        self.shared.containers.get(id)?.exec(exec).await
    }

    async fn attach(&self, id: &str, exec: Option<&str>, attachment: Attachment) -> Result<()> {
        let handle = self.shared.containers.get(id)?;
        handle.attach(exec, attachment).await
    }

    async fn signal(&self, id: &str, exec: Option<&str>, signal: i32) -> Result<()> {
        let handle = self.shared.containers.get(id)?;
        match exec {
            None if handle.link.foreign => handle.order(Order::Kill(signal)).await,
            exec => handle.signal(exec, signal),
        }
    }

    async fn resize(&self, id: &str, exec: Option<&str>, size: ConsoleSize) -> Result<()> {
        self.shared.containers.get(id)?.resize(exec, size).await
    }

    async fn pause(&self, id: &str) -> Result<()> {
        let handle = self.shared.containers.get(id)?;
        if handle.link.foreign {
            return handle.order(Order::Pause).await;
        }
        self.with_cgroup(id, |id, cgroup| {
            if cgroup.frozen().map_err(internal)? {
                let message = format!("container {id} is already paused");
                return Err(Error::new(compute::Kind::Conflict, message));
            }
            cgroup.freeze().map_err(internal)
        })
        .await
    }

    async fn resume(&self, id: &str) -> Result<()> {
        let handle = self.shared.containers.get(id)?;
        if handle.link.foreign {
            return handle.order(Order::Resume).await;
        }
        self.with_cgroup(id, |id, cgroup| {
            if !cgroup.frozen().map_err(internal)? {
                let message = format!("container {id} is not paused");
                return Err(Error::new(compute::Kind::Conflict, message));
            }
            cgroup.thaw().map_err(internal)
        })
        .await
    }

    async fn update(&self, id: &str, resources: &Resources) -> Result<()> {
        let handle = self.shared.containers.get(id)?;
        if handle.link.foreign {
            return handle
                .order(Order::Update(Box::new(resources.clone())))
                .await;
        }
        let limits = runtime::limits(resources);
        let path = handle.cgroup().to_owned();
        self.with_cgroup(id, move |_, cgroup| units::limit(&path, cgroup, &limits))
            .await
    }

    async fn mount(&self, id: &str, tree: OwnedFd, destination: &str) -> Result<()> {
        let handle = self.shared.containers.get(id)?;
        let (pid, pidfd) = (handle.pid()?, handle.pidfd()?);
        let destination = destination.to_owned();
        blocking(move || mounts::add(pid, &pidfd, &tree, &destination)).await
    }

    async fn unmount(&self, id: &str, destination: &str) -> Result<()> {
        let pidfd = self.shared.containers.get(id)?.pidfd()?;
        let destination = destination.to_owned();
        blocking(move || mounts::remove(&pidfd, &destination)).await
    }

    async fn usage(&self, id: &str) -> Result<Usage> {
        let pid = self.shared.containers.get(id)?.pid()?;
        self.with_cgroup(id, move |_, cgroup| {
            let stats = cgroup.stats().map_err(internal)?;
            Ok(usage::usage(stats, usage::networks(pid)))
        })
        .await
    }

    async fn processes(&self, id: &str) -> Result<Vec<u32>> {
        self.with_cgroup(id, |_, cgroup| cgroup.procs().map_err(internal))
            .await
    }

    async fn root(&self, id: &str) -> Result<OwnedFd> {
        self.shared.containers.get(id)?.root()
    }

    async fn known(&self) -> Result<Vec<String>> {
        let dir = (self.shared.config.run_dir).join(keeper_protocol::directory::CONTAINERS);
        let list = |e| internal(format!("list {}: {e}", dir.display()));
        let mut ids = Vec::new();
        for entry in std::fs::read_dir(&dir).map_err(list)? {
            ids.extend(entry.map_err(list)?.file_name().into_string());
        }
        Ok(ids)
    }

    async fn release(&self, id: &str) -> Result<()> {
        release::release(&self.shared, id).await
    }
}

impl Linux {
    async fn with_cgroup<T: Send + 'static>(
        &self,
        id: &str,
        work: impl FnOnce(&str, &cgroup::Cgroup) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let path = self.shared.containers.get(id)?.cgroup().to_owned();
        let (shared, id) = (Arc::clone(&self.shared), id.to_owned());
        blocking(move || {
            let cgroup = release::open(&shared, &path)?;
            let cgroup = cgroup.ok_or_else(|| internal(format!("container {id} has no cgroup")))?;
            work(&id, &cgroup)
        })
        .await
    }
}
