//! Starting: root file system and network are made side by side, then the platform is asked once.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use compute::{Attachment, HeldPort, Identity, Launch, Tree};
use oci::runtime::{Namespace, Spec};
use tokio::time::Instant;

use super::Owner;
use crate::network::{self, Connected, Mode};
use crate::record::{Mounted, Phase, Record};
use crate::resolve::{self, Context, Files};
use crate::userns::IdMaps;
use crate::{Error, Inner, Result, cdi, clock, events, links, log_drivers, names, system, verify};

impl Owner {
    /// Starts the container; on failure it is as ended with the error's code, and what was made
    /// for it is gone.
    pub(super) async fn launch(&mut self) -> Result<()> {
        self.restart_at = None;
        if let Some(clearing) = self.clearing.take() {
            // The last run's cgroup has the same path.
            let _ = clearing.await;
        }
        let parked = self.parked.take().await;
        let launched = match log_drivers::connect(&self.record).await {
            Ok(logger) => self.build(parked).await.map(|running| (running, logger)),
            Err(error) => Err(error),
        };
        match launched {
            Ok((running, logger)) => {
                let state = &mut self.record.state;
                state.phase = Phase::Running;
                state.pid = running.pid;
                state.started_at = clock::nanos(running.started_at);
                state.error.clear();
                state.exit_code = 0;
                state.oom_killed = false;
                self.notices = Some(running.notices);
                self.watch_anew();
                let event = events::container(&self.record, "start", &[]);
                let committed = self.commit(vec![event]).await;
                log_drivers::begin(&self.inner, &self.record, logger);
                committed
            }
            Err(error) => {
                self.failed(&error).await;
                Err(error)
            }
        }
    }

    /// By policy.
    pub(super) async fn restart(&mut self) {
        let started = self.launch().await;
        if let Err(error) = started {
            tracing::warn!(id = %self.record.id, %error, "restart failed");
        }
    }

    async fn failed(&mut self, error: &Error) {
        let state = &mut self.record.state;
        state.phase = if state.exits == 0 {
            Phase::Created
        } else {
            Phase::Exited
        };
        state.exit_code = exit_code(&error.message);
        state.error = error.message.clone();
        state.pid = 0;
        self.record.endpoint = None;
        if self.record.host.auto_remove {
            self.take_away(true).await;
            return;
        }
        if let Err(error) = self.commit(Vec::new()).await {
            tracing::error!(id = %self.record.id, %error, "state not written");
        }
    }

    async fn build(&mut self, attachments: Vec<Attachment>) -> Result<compute::Running> {
        let joins = joins(&self.inner, &self.record)?;
        let inner = Arc::clone(&self.inner);
        let runtime = verify::runtime(&self.record.host.runtime, &inner.config.runtimes)?;
        let endpoint_id = names::random_id()?;
        let (user, own_network) = match &self.record.ids {
            Some(ids) => user_namespace(ids.clone(), &self.record, &joins).await?,
            None => (None, None),
        };
        let root = {
            let (inner, record) = (Arc::clone(&self.inner), self.record.clone());
            let user = user.clone();
            tokio::task::spawn_blocking(move || root_file_system(&inner, &record, user.as_deref()))
        };
        let net = {
            let (inner, record) = (Arc::clone(&self.inner), self.record.clone());
            let id = endpoint_id.clone();
            tokio::task::spawn_blocking(move || {
                let connected = network::connect(&inner, &record, &id, own_network)?;
                let written = network::write_files(&inner, &record, connected.endpoint.as_ref());
                if let Some(endpoint) = &connected.endpoint {
                    links::tell_parents(&inner, &record, endpoint);
                }
                Ok::<_, Error>((connected, written))
            })
        };
        let spec = spec(&self.inner, &self.record, &joins, user.as_deref());
        let (root, net) = tokio::join!(root, net);
        let lost = |_| Error::system("the engine is going down");
        let (connected, written): (Connected, Result<()>) = net.map_err(lost)??;
        self.record.endpoint = connected.endpoint;
        let launched = async {
            written?;
            let (spec, groups) = spec?;
            let (rootfs, trees) = root.map_err(lost)??;
            let mut extra_groups = self.record.host.group_add.clone().unwrap_or_default();
            extra_groups.extend(groups);
            let launch = Launch {
                id: self.record.id.clone(),
                spec,
                runtime: runtime.cloned(),
                rootfs,
                trees,
                netns: connected.netns,
                identity: Identity {
                    user: self.record.config.user.clone(),
                    extra_groups,
                },
                create_cwd: true,
                init: self.record.host.init.unwrap_or(self.inner.config.init),
                open_stdin: self.record.config.open_stdin,
                stdin_once: self.record.config.stdin_once,
                log: log_drivers::log(&self.inner, &self.record)?,
                attachments,
                ports: connected
                    .held
                    .into_iter()
                    .map(|held| HeldPort {
                        socket: held.socket,
                        forward: held.forward,
                        udp: held.udp,
                    })
                    .collect(),
            };
            self.inner.compute.launch(launch).await.map_err(wrap)
        };
        let launched = launched.await;
        // The specification names it by its number here.
        drop(user);
        if launched.is_err() {
            self.disconnect().await;
        }
        launched
    }

    /// Leaves the network. The veth goes in the background; ports are free when this returns.
    pub(super) async fn disconnect(&mut self) {
        let Some(endpoint) = self.record.endpoint.take() else {
            return;
        };
        let inner = Arc::clone(&self.inner);
        let leave = move || {
            if let Ok(bridge) = inner.bridge()
                && let Err(error) = bridge.disconnect(&endpoint.id)
            {
                tracing::warn!(endpoint = %endpoint.id, %error, "leaving the network");
            }
        };
        let _ = tokio::task::spawn_blocking(leave).await;
    }
}

/// Namespaces of others that a container joins, and their shared memory.
struct Joins {
    namespaces: Vec<Namespace>,
    shm: Option<String>,
    /// Process of another container whose user namespace is this one's too.
    user_of: Option<u32>,
    /// Whose files under /etc are used.
    files_of: Option<String>,
}

fn joins(inner: &Inner, record: &Record) -> Result<Joins> {
    let host = &record.host;
    let mut joins = Joins {
        namespaces: Vec::new(),
        shm: None,
        user_of: None,
        files_of: None,
    };
    // What should have been there is a fault of the system for the network, and of the request for
    // the others: so dockerd has it, and its client takes 404 for a missing image.
    let other = |name: &str, what: &str| -> Result<Arc<Record>> {
        let network = what == "network";
        let other = match inner.containers.find(name) {
            Ok(other) => other.record(),
            Err(error) if network => {
                return Err(Error::system(format!(
                    "joining network namespace of container: {error}"
                )));
            }
            Err(error) => return Err(Error::invalid(error.message)),
        };
        if other.id == record.id {
            return Err(Error::system(format!("cannot join own {what} namespace")));
        }
        crate::userns::same(record, &other)?;
        match other.state.phase {
            Phase::Running => Ok(other),
            Phase::Restarting => Err(Error::conflict(format!(
                "Container {name} is restarting, wait until the container is running"
            ))),
            phase if network => Err(Error::conflict(format!(
                "cannot join network namespace of a non running container: container {} is {}",
                other.name,
                phase.as_str()
            ))),
            _ => Err(Error::conflict(format!("container {name} is not running"))),
        }
    };
    let path = |pid: u32, kind: &str| format!("/proc/{pid}/ns/{kind}");
    let mut join = |kind: &str, file: &str, other: &Record| {
        joins.namespaces.push(Namespace {
            kind: kind.into(),
            path: path(other.state.pid, file),
        });
        if record.ids.is_some() {
            joins.user_of.get_or_insert(other.state.pid);
        }
    };
    if let Mode::Container(name) = Mode::parse(&host.network_mode)? {
        let other = other(&name, "network")?;
        join("network", "net", &other);
        joins.files_of = Some(other.id.clone());
    }
    if let Some(name) = host.pid_mode.strip_prefix("container:") {
        join("pid", "pid", &*other(name, "PID")?);
    }
    if let Some(name) = host.ipc_mode.strip_prefix("container:") {
        let other = other(name, "IPC")?;
        if other.host.ipc_mode != "shareable" {
            return Err(Error::invalid(format!(
                "cannot join IPC of container {name}: non-shareable IPC (hint: use IpcMode:shareable \
                 for the donor container)"
            )));
        }
        join("ipc", "ipc", &other);
        joins.shm = Some(format!("/proc/{}/root/dev/shm", other.state.pid));
    }
    Ok(joins)
}

/// The user namespace of a container with ids of its own, and an empty network namespace that
/// belongs to it: what may be mounted of the kernel's depends on who owns what is shown.
async fn user_namespace(
    ids: IdMaps,
    record: &Record,
    joins: &Joins,
) -> Result<(Option<Arc<OwnedFd>>, Option<OwnedFd>)> {
    if let Some(pid) = joins.user_of {
        let path = format!("/proc/{pid}/ns/user");
        let file = std::fs::File::open(&path)
            .map_err(|error| Error::system(format!("{path}: {error}")))?;
        // What is not joined is made in it; so is the network.
        let network = !matches!(Mode::parse(&record.host.network_mode)?, Mode::Container(_));
        if network {
            return Err(Error::conflict(
                "with a user namespace, a container that joins the PID or IPC namespace of another \
                 one must join its network too",
            ));
        }
        return Ok((Some(Arc::new(file.into())), None));
    }
    let made = tokio::task::spawn_blocking(move || ids.namespaces(true));
    let made = made
        .await
        .map_err(|_| Error::system("the engine is going down"))??;
    Ok((Some(Arc::new(made.user)), made.network))
}

/// The specification, and groups that its devices need.
fn spec(
    inner: &Inner,
    record: &Record,
    joins: &Joins,
    user: Option<&OwnedFd>,
) -> Result<(Spec, Vec<String>)> {
    let dir = inner.runtime_dir(joins.files_of.as_deref().unwrap_or(&record.id));
    let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let (hosts, hostname, resolv_conf) = (file("hosts"), file("hostname"), file("resolv.conf"));
    let (devices, host_devices) = if record.host.privileged {
        (Vec::new(), crate::devices::all()?)
    } else {
        (
            crate::devices::asked(record.host.resources.devices.as_deref().unwrap_or_default())?,
            Vec::new(),
        )
    };
    let mut joined = joins.namespaces.clone();
    joined.extend(user.map(|user| Namespace {
        kind: "user".into(),
        path: format!("/proc/{}/fd/{}", std::process::id(), user.as_raw_fd()),
    }));
    let mut spec = resolve::resolve(
        record,
        &Context {
            config: &inner.config,
            features: inner.compute.features(),
            files: Files {
                hosts: &hosts,
                hostname: &hostname,
                resolv_conf: &resolv_conf,
            },
            joined: &joined,
            linked: &links::environment(inner, record)?,
            shm: joins.shm.as_deref(),
            host_devices: &host_devices,
            devices: &devices,
            architecture: system::architecture(),
            kernel: system::kernel_version(),
            processors: system::processors(),
        },
    )?;
    if record.ids.is_some() {
        let mappings = record.host.resources.devices.as_deref();
        crate::devices::bind_renamed(&mut spec, mappings.unwrap_or_default());
    }
    let requests = record.host.resources.device_requests.as_deref();
    let requests = requests.unwrap_or_default();
    let groups = match requests {
        [] => Vec::new(),
        some => cdi::Registry::read(&inner.config.cdi_spec_dirs).inject(&mut spec, some)?,
    };
    Ok((spec, groups))
}

/// The mounted root and images, and bind sources that are to be made. Blocking.
fn root_file_system(
    inner: &Inner,
    record: &Record,
    user: Option<&OwnedFd>,
) -> Result<(OwnedFd, Vec<Tree>)> {
    for mounted in record.mounts.iter().filter(|mounted| mounted.create_source) {
        make_source(&mounted.point.source, record.ids.as_ref())?;
    }
    let image = inner
        .images
        .resolve(&record.image_id)
        .map_err(Error::from)?;
    let options = images::RootfsOptions {
        volatile: record.host.auto_remove,
        ..Default::default()
    };
    let writable = inner.writable_dir(&record.id);
    let root = match user {
        None => inner.images.rootfs(&image, &writable, options)?,
        Some(user) => {
            let user = user.as_fd();
            inner
                .images
                .rootfs_mapped(&image, &writable, options, user)?
        }
    };
    let images = record.mounts.iter().filter(|m| m.point.kind == "image");
    let trees = images.map(|mounted| {
        Ok(Tree {
            destination: mounted.point.destination.clone(),
            mount: image_tree(inner, mounted)?,
        })
    });
    Ok((root, trees.collect::<Result<_>>()?))
}

/// Makes a directory on the host; what is new of its path is the container's root's.
pub(super) fn make_source(source: &str, ids: Option<&IdMaps>) -> Result<()> {
    let path = std::path::Path::new(source);
    let missing = path.ancestors().take_while(|path| !path.exists()).count();
    let made = std::fs::create_dir_all(path).and_then(|()| {
        let Some(ids) = ids else { return Ok(()) };
        let (uid, gid) = ids.root();
        let mut new = path.ancestors().take(missing);
        new.try_for_each(|new| std::os::unix::fs::chown(new, Some(uid), Some(gid)))
    });
    match made {
        // A file is as good a source as a directory.
        Err(error) if missing > 0 => Err(Error::invalid(format!(
            "error while creating mount source path '{source}': mkdir {source}: {error}"
        ))),
        _ => Ok(()),
    }
}

/// The files of another image, or a part of them, as a detached mount.
fn image_tree(inner: &Inner, mounted: &Mounted) -> Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags, ResolveFlags};
    use rustix::mount::OpenTreeFlags;
    let view = inner
        .images
        .own_view(&inner.images.resolve(&mounted.point.name)?)?;
    if mounted.subpath.is_empty() {
        return Ok(view);
    }
    let failed = |error: rustix::io::Errno| {
        let (image, subpath) = (&mounted.point.source, &mounted.subpath);
        let error = std::io::Error::from(error);
        Error::system(format!(
            "cannot mount {subpath:?} of image {image}: {error}"
        ))
    };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let part = rustix::fs::openat2(&view, &mounted.subpath, flags, Mode::empty(), resolve);
    // Of a detached mount the kernel makes copies since 6.15.
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    rustix::mount::open_tree(part.map_err(failed)?, "", flags).map_err(failed)
}

/// The words that dockerd puts before a runtime's.
fn wrap(error: compute::Error) -> Error {
    let mut error = Error::from(error);
    if error.message.starts_with("OCI runtime ") {
        // Of another runtime than the built-in one.
        error.message = format!(
            "failed to create task for container: failed to create shim task: {}",
            error.message
        );
        return error;
    }
    error.message = format!(
        "failed to create task for container: failed to start the container: unable to start \
         container process: error during container init: {}",
        error.message
    );
    error
}

/// What a shell would make of a failed start (docker's client reads the text the same way).
fn exit_code(message: &str) -> i32 {
    // Runtimes of others write it as the system does.
    let message = message.to_lowercase();
    let has = |text: &str| message.contains(text);
    if has("executable file not found") || has("no such file or directory") {
        127
    } else if has("permission denied") || has("is a directory") || has("exec format error") {
        126
    } else {
        128
    }
}

/// When the policy's next try is due.
pub(super) fn after(delay: std::time::Duration) -> Instant {
    Instant::now() + delay
}
