//! Starting a container.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use compute::{Attachment, Error, Kind, Launch, Result, Running};
use keeper_protocol::{Attach, Frame, Hierarchies, Port, Reply, Request, directory, system_time};
use tokio::sync::oneshot;

use crate::containers::{Link, Process, lock};
use crate::program::Program;
use crate::{Shared, connection, internal, release};

/// Builds and starts; on failure nothing is left.
pub(crate) async fn launch(shared: Arc<Shared>, launch: Launch) -> Result<Running> {
    let id = launch.id.clone();
    check_id(&id)?;
    if shared.containers.find(&id).is_some() {
        let message = format!("container {id} is running already");
        return Err(Error::new(Kind::Conflict, message));
    }
    let runtime = launch
        .runtime
        .as_ref()
        .map(|runtime| keeper_protocol::Runtime {
            path: runtime.path.clone(),
            args: runtime.args.clone(),
            systemd: shared.config.systemd_cgroups,
        });
    let cgroup = launch.spec.linux.as_ref().map(|l| l.cgroups_path.clone());
    let cgroup = cgroup.unwrap_or_default();
    let dir = match make_directory(&shared, &id, &cgroup, runtime.as_ref()) {
        Ok(dir) => dir,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            // Of an earlier run that was not released.
            release::release(&shared, &id).await?;
            make_directory(&shared, &id, &cgroup, runtime.as_ref())
                .map_err(|e| run_directory(&id, &e))?
        }
        Err(error) => return Err(run_directory(&id, &error)),
    };
    let result = start(&shared, launch, &cgroup, runtime, dir).await;
    Program::prepare_spare(&shared);
    if result.is_err()
        && let Err(error) = release::release(&shared, &id).await
    {
        tracing::warn!(container = id, %error, "clean up after a failed start");
    }
    result
}

async fn start(
    shared: &Arc<Shared>,
    launch: Launch,
    cgroup: &str,
    runtime: Option<keeper_protocol::Runtime>,
    dir: OwnedFd,
) -> Result<Running> {
    let link = Link::new(&launch.id, cgroup, runtime.is_some());
    let frame = frame(shared, launch, runtime, dir, &link)?;
    let (socket, child) = shared.program.keeper().await?.into_parts();
    let socket = socket.ok_or_else(|| internal("keeper without socket"))?;
    let connection = connection::start(shared, link, socket, child)?;
    let handle = connection.handle;
    let mut answer = handle.call(frame).await.map_err(|e| match e.kind {
        Kind::NotRunning => internal("the keeper ended while it built the container"),
        _ => e,
    })?;
    let Reply::Launched { pid, started_at } = answer.message else {
        return Err(internal("the keeper gave another answer"));
    };
    let pidfd = answer.take_fd().map_err(internal)?;
    let _ = handle.link.first.set(Process { pid, pidfd });
    // One that has ended already must not be put in after its task took it out.
    shared.containers.insert(Arc::clone(&handle));
    if *handle.link.ended.borrow() {
        shared.containers.remove(&handle.link);
    }
    Ok(Running {
        pid,
        started_at: system_time(started_at),
        paused: false,
        notices: connection.notices,
    })
}

/// Ids become file names.
pub(crate) fn check_id(id: &str) -> Result<()> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if id.is_empty() || id.len() > 128 || !id.bytes().all(good) {
        return Err(Error::new(
            Kind::Invalid,
            format!("invalid container id {id:?}"),
        ));
    }
    Ok(())
}

fn run_directory(id: &str, error: &std::io::Error) -> Error {
    internal(format!("run directory of container {id}: {error}"))
}

/// Makes the run directory, the cgroup's path in it from the beginning.
fn make_directory(
    shared: &Shared,
    id: &str,
    cgroup: &str,
    runtime: Option<&keeper_protocol::Runtime>,
) -> std::io::Result<OwnedFd> {
    use std::os::unix::fs::DirBuilderExt;
    let path = directory::of(&shared.config.run_dir, id);
    std::fs::DirBuilder::new().mode(0o700).create(&path)?;
    std::fs::write(path.join(directory::CGROUP), cgroup)?;
    if let Some(runtime) = runtime {
        std::fs::write(path.join(directory::RUNTIME), serde_json::to_vec(runtime)?)?;
    }
    Ok(File::open(&path)?.into())
}

/// Everything as the keeper wants it.
fn frame(
    shared: &Shared,
    mut launch: Launch,
    runtime: Option<keeper_protocol::Runtime>,
    dir: OwnedFd,
    link: &Link,
) -> Result<Frame<Request>> {
    let seccomp = match runtime {
        None => launch.spec.linux.as_mut().and_then(|l| l.seccomp.take()),
        // It compiles its own.
        Some(_) => None,
    };
    let filter = seccomp.map(|s| shared.filters.compiled(&s)).transpose()?;
    let mut bytes = filter.map_or_else(Vec::new, |f| f.to_vec());
    let filter = bytes.len();
    let netns = launch.netns.is_some();
    let mut fds = VecDeque::from([dir, launch.rootfs]);
    fds.extend(launch.netns);
    if launch.init {
        fds.push_back(shared.program.init()?);
    }
    let mut trees = Vec::new();
    for tree in launch.trees {
        trees.push(tree.destination);
        fds.push_back(tree.mount);
    }
    let mut attachments = Vec::new();
    for attachment in launch.attachments {
        let (attach, stream, first) = register(link, attachment);
        attachments.push(attach);
        fds.push_back(stream);
        bytes.extend(first);
    }
    let mut ports = Vec::new();
    for port in launch.ports {
        ports.push(Port {
            forward: port.forward,
            udp: port.udp,
        });
        fds.push_back(port.socket);
    }
    let message = Request::Launch(Box::new(keeper_protocol::Launch {
        id: launch.id,
        spec: launch.spec,
        runtime,
        identity: identity(launch.identity),
        create_cwd: launch.create_cwd,
        init: launch.init,
        netns,
        trees,
        filter,
        cgroups: hierarchies(&shared.layout),
        open_stdin: launch.open_stdin,
        stdin_once: launch.stdin_once,
        log: log(launch.log),
        attachments,
        ports,
    }));
    Ok(Frame {
        message,
        bytes,
        fds,
    })
}

/// Gives an attachment a number, under which its end will be told.
pub(crate) fn register(link: &Link, attachment: Attachment) -> (Attach, OwnedFd, Vec<u8>) {
    let token = token();
    if let Some(ended) = attachment.ended {
        remember(link, token, ended);
    }
    let attach = Attach {
        token,
        already_read: attachment.already_read.len(),
        stdin: attachment.stdin,
        stdout: attachment.stdout,
        stderr: attachment.stderr,
        framed: attachment.framed,
        detach_keys: attachment.detach_keys,
    };
    (attach, attachment.stream, attachment.already_read)
}

fn remember(link: &Link, token: u64, ended: oneshot::Sender<compute::AttachEnd>) {
    lock(&link.attachments).insert(token, ended);
}

/// Unlike those of an earlier daemon, whose attachments a keeper may still have.
fn token() -> u64 {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: OnceLock<AtomicU64> = OnceLock::new();
    let next = NEXT
        .get_or_init(|| AtomicU64::new(keeper_protocol::nanoseconds(std::time::SystemTime::now())));
    next.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn identity(identity: compute::Identity) -> keeper_protocol::Identity {
    keeper_protocol::Identity {
        user: identity.user,
        extra_groups: identity.extra_groups,
    }
}

fn hierarchies(layout: &cgroup::Layout) -> Hierarchies {
    let mount = |h: &cgroup::Hierarchy| (h.mountpoint.clone(), h.controllers.clone());
    Hierarchies {
        version: layout.version,
        mounts: layout.hierarchies.iter().map(mount).collect(),
    }
}

fn log(log: compute::Log) -> keeper_protocol::Log {
    match log {
        compute::Log::None => keeper_protocol::Log::None,
        compute::Log::File(file) => keeper_protocol::Log::File(keeper_protocol::LogFile {
            format: match file.format {
                compute::LogFormat::Json => keeper_protocol::LogFormat::Json,
                compute::LogFormat::Local => keeper_protocol::LogFormat::Local,
            },
            path: absolute(&file.path),
            max_size: file.max_size,
            max_files: file.max_files,
            compress: file.compress,
            attrs: file.attrs,
            buffer: file.buffer,
        }),
    }
}

/// The keeper's working directory is not ours.
fn absolute(path: &Path) -> std::path::PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}
