//! From the daemon's Launch to a running container.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::SystemTime;

use cgroup::systemd::{Holder, Made, Manager, Unit};
use cgroup::{Cgroup, Hierarchy, Layout, OomWatch};
use keeper_protocol::{
    Call, Event, Failure, FailureKind, Frame, Hierarchies, Launch, Message, Reply, Request,
    directory, nanoseconds,
};
use oci::runtime::{Spec, State};
use runtime::{Build, Filter, Identity, Name, Rootfs, Started, Stdio};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::Keeper;
use super::control::Control;
use super::foreign::{Foreign, Sources};
use super::log::Log;
use super::poll::{IN, Poll, Token};
use super::process::{Context, Ends, Process, READ};
use crate::proxy::Proxy;

/// What is held for the container as long as it runs.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) filter: Option<Filter>,
    /// Its own runtime, where that is not the built-in one.
    pub(crate) foreign: Option<Foreign>,
    /// What the filter's agent is told of the container, where it has one.
    pub(crate) state: Option<State>,
    pub(crate) oom: Option<OomWatch>,
    /// Its processes die with its first one by themselves.
    pub(crate) own_pid_namespace: bool,
    /// Sockets of published ports.
    pub(crate) ports: Vec<OwnedFd>,
    pub(crate) proxy: Option<Proxy>,
    /// Closed last: with it goes the teardown of every mount.
    pub(crate) mount_namespace: Option<OwnedFd>,
}

/// The descriptors and bytes of a Launch.
struct Parts {
    dir: OwnedFd,
    rootfs: OwnedFd,
    netns: Option<OwnedFd>,
    init: Option<OwnedFd>,
    trees: Vec<OwnedFd>,
    streams: VecDeque<OwnedFd>,
    ports: VecDeque<OwnedFd>,
    bytes: Vec<u8>,
}

/// Builds, starts and answers; `None` when there is nothing to keep.
pub(crate) fn launch(mut control: Control, frame: Frame<Call>) -> Option<Keeper> {
    let seq = frame.message.seq;
    let answer = |reply| Frame::new(Message::Reply { seq, reply });
    let (launch, parts) = match take(frame) {
        Ok(taken) => taken,
        Err(failure) => {
            let _ = control.send_now(answer(Reply::Failed(failure)));
            return None;
        }
    };
    match build(&launch, parts) {
        Ok(mut keeper) => {
            let mut reply = answer(Reply::Launched {
                pid: keeper.first().map_or(0, |p| p.pid),
                started_at: keeper.started_at,
            });
            if let Some(pidfd) = keeper.first().and_then(|p| p.pidfd.try_clone().ok()) {
                reply.fds.push_back(pidfd);
            }
            // A daemon that went away meanwhile finds the container by its socket.
            if control.send_now(reply).is_ok()
                && keeper
                    .context
                    .poll
                    .add(&control, Token::Control, IN)
                    .is_ok()
            {
                keeper.control = Some(control);
            }
            keeper.watch_oom();
            Some(keeper)
        }
        Err(failure) => {
            let _ = control.send_now(answer(Reply::Failed(failure)));
            None
        }
    }
}

fn take(mut frame: Frame<Call>) -> Result<(Box<Launch>, Parts), Failure> {
    let Request::Launch(launch) = std::mem::replace(&mut frame.message.request, Request::Adopt)
    else {
        return Err(failure(
            FailureKind::Invalid,
            "the first call must be Launch",
        ));
    };
    let mut fd = || frame.take_fd().map_err(internal);
    let parts = Parts {
        dir: fd()?,
        rootfs: fd()?,
        netns: launch.netns.then(&mut fd).transpose()?,
        init: launch.init.then(&mut fd).transpose()?,
        trees: (0..launch.trees.len())
            .map(|_| fd())
            .collect::<Result<_, _>>()?,
        streams: (0..launch.attachments.len())
            .map(|_| fd())
            .collect::<Result<_, _>>()?,
        ports: (0..launch.ports.len())
            .map(|_| fd())
            .collect::<Result<_, _>>()?,
        bytes: frame.bytes,
    };
    Ok((launch, parts))
}

fn build(launch: &Launch, mut parts: Parts) -> Result<Keeper, Failure> {
    let log = Log::open(&launch.log).map_err(internal)?;
    let listener = listen(&parts.dir).map_err(|e| internal(format!("keeper socket: {e}")))?;
    let filter = match launch.filter {
        0 => None,
        n => Some(
            parts
                .bytes
                .get(..n)
                .and_then(Filter::from_bytes)
                .ok_or_else(|| failure(FailureKind::Invalid, "seccomp filter is damaged"))?,
        ),
    };
    let proxy = Proxy::start(&launch.ports, &mut parts.ports)
        .map_err(|e| internal(format!("port proxy: {e}")))?;
    let (cgroup, holder) = match launch.runtime {
        None => make_cgroup(&launch.cgroups, launch)?,
        // It makes its own.
        Some(_) => (None, None),
    };
    let mut held = Held {
        cgroup,
        filter,
        foreign: None,
        state: None,
        oom: None,
        own_pid_namespace: owns_pid_namespace(&launch.spec),
        ports: std::mem::take(&mut parts.ports).into(),
        proxy,
        mount_namespace: None,
    };
    let started = start(launch, &parts, &mut held);
    drop(holder);
    let result = started.and_then(|(started, ends)| {
        let started_at = nanoseconds(SystemTime::now());
        assemble(launch, parts, log, listener, (started, ends, started_at))
    });
    match result {
        Ok(mut keeper) => {
            held.mount_namespace = keeper.held.mount_namespace.take();
            keeper.held = held;
            Ok(keeper)
        }
        Err(failure) => {
            if let Some(foreign) = &held.foreign {
                foreign.delete();
            }
            if let Some(cgroup) = &held.cgroup {
                let _ = cgroup.remove();
            }
            Err(failure)
        }
    }
}

/// Puts the keeper together around a process that runs.
fn assemble(
    launch: &Launch,
    parts: Parts,
    log: Log,
    listener: OwnedFd,
    (mut started, ends, started_at): (Started, Ends, u64),
) -> Result<Keeper, Failure> {
    let context = |e: Errno| internal(format!("epoll: {e}"));
    let poll = Poll::new().map_err(context)?;
    poll.add(&listener, Token::Listener, IN).map_err(context)?;
    let mut shared = Context {
        poll,
        log,
        news: Vec::new(),
        buffer: vec![0; READ],
    };
    let mount_namespace = started.mntns.take();
    let mut first = Process::new(
        0,
        started.pid,
        started.pidfd,
        ends,
        launch.stdin_once,
        &shared,
    )
    .map_err(context)?;
    let mut at = launch.filter;
    for (attach, stream) in launch.attachments.iter().zip(parts.streams) {
        let end = at.saturating_add(attach.already_read);
        let bytes = parts.bytes.get(at..end).unwrap_or_default();
        at = end;
        first
            .attach(attach.clone(), stream, bytes, &mut shared)
            .map_err(context)?;
    }
    Ok(Keeper {
        context: shared,
        processes: BTreeMap::from([(0, first)]),
        next_number: 1,
        control: None,
        listener: Some(listener),
        dir: parts.dir,
        held: Held {
            cgroup: None,
            filter: None,
            foreign: None,
            state: None,
            oom: None,
            own_pid_namespace: true,
            ports: Vec::new(),
            proxy: None,
            mount_namespace,
        },
        started_at,
        oom_kills: 0,
        ooms_told: 0,
    })
}

/// Has another runtime build it.
fn start_foreign(
    runtime: &keeper_protocol::Runtime,
    launch: &Launch,
    parts: &Parts,
    held: &mut Held,
    streams: Streams,
) -> Result<(Started, Ends), Failure> {
    let sources = Sources {
        rootfs: parts.rootfs.as_fd(),
        netns: parts.netns.as_ref().map(AsFd::as_fd),
        init: parts.init.as_ref().map(AsFd::as_fd),
        trees: &parts.trees,
    };
    let foreign = Foreign::prepare(runtime, launch, &path_of(&parts.dir)?, &sources)?;
    let process = launch.spec.process.as_ref();
    let started = foreign.launch(&streams.child(process.and_then(|p| p.console_size)))?;
    // From here on a failure takes it away with all that is held.
    held.foreign = Some(foreign);
    let path = launch.spec.linux.as_ref().map(|l| l.cgroups_path.as_str());
    if let Some(path) = path.filter(|path| !path.is_empty()) {
        let unit = Unit::of_path(path, "system.slice").map_err(internal)?;
        let path = unit.map_or_else(|| path.to_owned(), |unit| unit.path());
        held.cgroup = Cgroup::open(&layout(&launch.cgroups), &path).map_err(internal)?;
    }
    finish_start(started, streams)
}

fn start(launch: &Launch, parts: &Parts, held: &mut Held) -> Result<(Started, Ends), Failure> {
    let process = launch.spec.process.as_ref();
    let process = process.ok_or_else(|| failure(FailureKind::Invalid, "spec without process"))?;
    let streams = Streams::new(process.terminal, launch.open_stdin, [true, true])
        .map_err(|e| internal(format!("stdio: {e}")))?;
    if let Some(runtime) = &launch.runtime {
        return start_foreign(runtime, launch, parts, held, streams);
    }
    let trees: Vec<runtime::Tree<'_>> = launch
        .trees
        .iter()
        .zip(&parts.trees)
        .map(|(destination, mount)| runtime::Tree {
            destination,
            mount: mount.as_fd(),
        })
        .collect();
    let build = Build {
        spec: &launch.spec,
        rootfs: Rootfs::Mount(parts.rootfs.as_fd()),
        netns: parts.netns.as_ref().map(AsFd::as_fd),
        identity: Some(Identity {
            user: &launch.identity.user,
            extra_groups: &launch.identity.extra_groups,
        }),
        create_cwd: launch.create_cwd,
        init: parts.init.as_ref().map(AsFd::as_fd),
        stdio: streams.child(process.console_size),
        cgroup: held.cgroup.as_ref(),
        seccomp: held.filter.as_ref(),
        extras: runtime::Extras {
            die_with_parent: true,
            trees: &trees,
            ..runtime::Extras::default()
        },
    };
    let agent = held.filter.as_ref().and_then(|f| f.agent.as_ref());
    let started = match agent {
        None => runtime::launch(&build),
        // Its agent is told who the container is, and that its bundle is its run directory.
        Some(_) => {
            let bundle = path_of(&parts.dir)?;
            let name = Name {
                id: &launch.id,
                bundle: &bundle,
            };
            let started = runtime::launch_named(&build, &name);
            held.state = started
                .as_ref()
                .ok()
                .map(|started| runtime::hooks::state(&launch.spec, &name, "running", started.pid));
            started
        }
    };
    finish_start(started.map_err(from_runtime)?, streams)
}

fn path_of(dir: &OwnedFd) -> Result<PathBuf, Failure> {
    let link = format!("/proc/self/fd/{}", dir.as_raw_fd());
    std::fs::read_link(&link).map_err(|e| internal(format!("readlink {link}: {e}")))
}

/// Joins a started process with the keeper's ends of its streams.
pub(crate) fn finish_start(
    mut started: Started,
    streams: Streams,
) -> Result<(Started, Ends), Failure> {
    let ends = streams
        .keep(started.terminal.take())
        .map_err(|e| internal(format!("stdio: {e}")))?;
    Ok((started, ends))
}

/// The cgroup, and who holds systemd's unit until there is a process in it. When this fails or the
/// container does, the daemon stops the unit; without a daemon it ends by itself, being empty.
fn make_cgroup(
    hierarchies: &Hierarchies,
    launch: &Launch,
) -> Result<(Option<Cgroup>, Option<Holder>), Failure> {
    let linux = launch.spec.linux.as_ref();
    let Some(path) = linux.map(|l| &l.cgroups_path).filter(|p| !p.is_empty()) else {
        return Ok((None, None));
    };
    let limits = linux
        .and_then(|l| l.resources.as_ref())
        .map(runtime::limits);
    let layout = layout(hierarchies);
    let unit = Unit::of_path(path, "system.slice").map_err(internal)?;
    let (cgroup, holder, limits) = match unit {
        None => (
            Cgroup::create(&layout, path).map_err(internal)?,
            None,
            limits,
        ),
        Some(unit) => {
            let made = make_unit(&layout, &unit, &launch.id, limits.unwrap_or_default());
            let made = made.map_err(internal)?;
            (made.cgroup, made.holder, Some(made.resources))
        }
    };
    if let Some(limits) = limits
        && let Err(error) = cgroup.apply(&limits)
    {
        drop(holder);
        let _ = cgroup.remove();
        return Err(internal(error));
    }
    Ok((Some(cgroup), holder))
}

fn layout(hierarchies: &Hierarchies) -> Layout {
    Layout {
        version: hierarchies.version,
        hierarchies: hierarchies
            .mounts
            .iter()
            .map(|(mountpoint, controllers)| Hierarchy {
                mountpoint: mountpoint.clone(),
                controllers: controllers.clone(),
            })
            .collect(),
    }
}

fn make_unit(
    layout: &Layout,
    unit: &Unit,
    id: &str,
    limits: cgroup::Resources,
) -> cgroup::Result<Made> {
    let description = format!("Corten container {id}");
    let description = ("Description".to_owned(), description.as_str().into());
    Manager::connect(false)?.make(layout, unit, vec![description], limits)
}

fn owns_pid_namespace(spec: &Spec) -> bool {
    let namespaces = spec.linux.as_ref().map(|l| l.namespaces.as_slice());
    namespaces
        .unwrap_or_default()
        .iter()
        .any(|n| n.kind == "pid" && n.path.is_empty())
}

/// The socket for a later daemon, in the run directory, for this user only.
fn listen(dir: &OwnedFd) -> Result<OwnedFd, Errno> {
    use std::os::fd::AsRawFd;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    // By descriptor: the directory's own path may be longer than an address allows.
    let path = format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), directory::SOCKET);
    let old = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = rustix::net::bind(&socket, &SocketAddrUnix::new(path)?);
    rustix::process::umask(old);
    bound?;
    rustix::net::listen(&socket, 8)?;
    Ok(socket)
}

/// Both ends of a process's standard streams.
#[derive(Debug)]
pub(crate) struct Streams {
    terminal: bool,
    child: [OwnedFd; 3],
    keep: [Option<OwnedFd>; 3],
}

impl Streams {
    /// Pipes for those wanted, /dev/null for the others; nothing for a terminal.
    pub(crate) fn new(terminal: bool, stdin: bool, outputs: [bool; 2]) -> Result<Self, Errno> {
        let null = null()?;
        let mut child = [null.try_clone(), null.try_clone(), Ok(null)]
            .map(|fd| fd.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::MFILE)));
        let mut keep = [None, None, None];
        for (at, wanted) in [stdin, outputs[0], outputs[1]].into_iter().enumerate() {
            if wanted && !terminal {
                let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
                let (theirs, ours) = if at == 0 {
                    (read, write)
                } else {
                    (write, read)
                };
                unblock(&ours)?;
                child[at] = Ok(theirs);
                keep[at] = Some(ours);
            }
        }
        let [a, b, c] = child;
        Ok(Self {
            terminal,
            child: [a?, b?, c?],
            keep,
        })
    }

    pub(crate) fn child(&self, size: Option<oci::runtime::ConsoleSize>) -> Stdio<'_> {
        match self.terminal {
            true => Stdio::Terminal(size),
            false => Stdio::Fds(self.child.each_ref().map(AsFd::as_fd)),
        }
    }

    /// The process has its ends: closes them here.
    pub(crate) fn keep(self, terminal: Option<OwnedFd>) -> Result<Ends, Errno> {
        let Some(terminal) = terminal else {
            let [stdin, stdout, stderr] = self.keep;
            return Ok(Ends {
                stdin,
                outputs: [stdout, stderr],
                terminal: None,
            });
        };
        unblock(&terminal)?;
        let again = || rustix::io::fcntl_dupfd_cloexec(&terminal, 3);
        Ok(Ends {
            stdin: Some(again()?),
            outputs: [Some(again()?), None],
            terminal: Some(terminal),
        })
    }
}

fn unblock(fd: &OwnedFd) -> Result<(), Errno> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)
}

/// /dev/null.
pub(crate) fn null() -> Result<OwnedFd, Errno> {
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

/// A failure of this kind.
pub(crate) fn failure(kind: FailureKind, message: impl std::fmt::Display) -> Failure {
    Failure {
        kind,
        message: message.to_string(),
    }
}

/// An unexpected one.
pub(crate) fn internal(message: impl std::fmt::Display) -> Failure {
    failure(FailureKind::Internal, message)
}

/// The runtime's.
pub(crate) fn from_runtime(error: runtime::Error) -> Failure {
    let kind = match error.kind {
        runtime::Kind::Invalid => FailureKind::Invalid,
        runtime::Kind::CommandNotFound => FailureKind::CommandNotFound,
        runtime::Kind::CannotInvoke => FailureKind::CannotInvoke,
        runtime::Kind::Unsupported => FailureKind::Unsupported,
        runtime::Kind::NotRunning => FailureKind::NotRunning,
        runtime::Kind::Internal => FailureKind::Internal,
    };
    failure(kind, error.message)
}

impl Keeper {
    /// The container's first process.
    pub(crate) fn first(&self) -> Option<&Process> {
        self.processes.get(&0)
    }

    /// After the answer, as nobody waits for it.
    fn watch_oom(&mut self) {
        let watch = self.held.cgroup.as_ref().map(Cgroup::oom_watch);
        match watch {
            Some(Ok(watch)) => {
                let added = self.context.poll.add(&watch, Token::Oom, IN);
                self.held.oom = added.is_ok().then_some(watch);
            }
            Some(Err(error)) => self.context.news.push(Event::Warning {
                message: format!("out-of-memory events: {error}"),
            }),
            None => {}
        }
        // Kills between the start and the watch.
        self.look_for_oom();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn only_an_own_pid_namespace_takes_everyone_down() {
        let spec = |path: &str| Spec {
            linux: Some(oci::runtime::Linux {
                namespaces: vec![oci::runtime::Namespace {
                    kind: "pid".into(),
                    path: path.into(),
                }],
                ..Default::default()
            }),
            ..Default::default()
        };
        assert!(owns_pid_namespace(&spec("")));
        assert!(!owns_pid_namespace(&spec("/proc/1/ns/pid")));
        assert!(!owns_pid_namespace(&Spec::default()));
    }

    #[test]
    fn the_socket_is_for_this_user_only() {
        let dir = tempfile::tempdir().expect("tempdir");
        let fd = OwnedFd::from(std::fs::File::open(dir.path()).expect("open"));
        let _socket = listen(&fd).expect("listen");
        let meta = std::fs::metadata(dir.path().join(directory::SOCKET)).expect("stat");
        assert_eq!(meta.mode() & 0o777, 0o600);
    }

    #[test]
    fn streams_not_wanted_are_null() {
        let streams = Streams::new(false, false, [true, false]).expect("streams");
        let ends = streams.keep(None).expect("keep");
        assert!(ends.stdin.is_none() && ends.outputs[0].is_some() && ends.outputs[1].is_none());
    }
}
