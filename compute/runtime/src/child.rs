//! The child's side: from clone3 to execve.
//!
//! The order matters: cgroups before the cgroup namespace, sources of bind mounts while the old
//! root is still there, everything that needs privilege before the credentials, the filter as
//! late as it can be loaded.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use oci::runtime::{MemoryPolicy, Process, Spec};
use rustix::process::DumpableBehavior;

use crate::channel::Line;
use crate::credentials::Labels;
use crate::error::Context;
use crate::hooks::{self, Company};
use crate::identity::Who;
use crate::plan::Plan;
use crate::{Build, Error, Exec, Filter, Identity, Kind, Name, Result, Stdio};
use crate::{credentials, identity, program, rootfs, scheduler, terminal};

/// Runs `body`, which only ever comes back with an error, and reports it.
pub(crate) fn run(line: &Line<'_>, body: impl FnOnce() -> Result<std::convert::Infallible>) -> ! {
    // A panic must not unwind into the caller's half of the program.
    let error = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(never)) => match never {},
        Ok(Err(error)) => error,
        Err(_) => Error::internal("panic while building the container"),
    };
    line.failed(&error);
    sys::process::exit_now(1)
}

/// Becomes the container's first process.
pub(crate) fn container(
    build: &Build<'_>,
    plan: &Plan,
    tasks: &[OwnedFd],
    filter: Option<&Filter>,
    name: Option<Name<'_>>,
    line: &Line<'_>,
    stop: bool,
) -> Result<std::convert::Infallible> {
    join_cgroup(tasks)?;
    if plan.waits {
        line.wait_go()?;
    }
    let process = build
        .spec
        .process
        .as_ref()
        .ok_or_else(|| Error::invalid("process is missing in config.json"))?;
    // With the host's own /proc, and before a change of user closes its files to this process.
    credentials::oom_score(process)?;
    let labels = Labels::open(process)?;
    crate::plan::join(plan)?;
    if plan.new_time {
        crate::plan::make_time(build.spec)?;
    }
    if plan.in_userns {
        credentials::become_root()?;
    }
    if plan.late_cgroup {
        sys::process::unshare(libc::CLONE_NEWCGROUP).context(|| "make cgroup namespace")?;
    }
    let _ = rustix::process::setsid();
    if !build.extras.keep_keyring {
        let _ = sys::process::new_session_keyring();
    }
    names(build)?;
    let pty = rootfs::build(build, plan, &Company { line, name })?;
    let subject = Subject {
        process,
        identity: build.identity,
        // Made with the root.
        create_cwd: false,
        init: build.init,
        filter,
        labels,
        memory: build
            .spec
            .linux
            .as_ref()
            .and_then(|l| l.memory_policy.as_ref()),
        hooks: name.map(|name| (build.spec, name)),
        preserve_fds: build.extras.preserve_fds,
        watched: stop || plan.pid_join.is_some(),
        plain_newlines: build.extras.plain_newlines,
        die_with_parent: build.extras.die_with_parent,
        keep_groups: build.extras.keep_groups,
    };
    let stdio = match (build.stdio, pty) {
        (Stdio::Fds(fds), _) => Streams::Fds(fds),
        (Stdio::Terminal(_), Some(pty)) => Streams::Pty(pty),
        (Stdio::Terminal(_), None) => return Err(Error::internal("no terminal was made")),
    };
    finish(&subject, stdio, line, stop)
}

/// Becomes one more process of a running container, in its `namespaces` (`CLONE_NEW*`) and, if it
/// has one, its user namespace.
pub(crate) fn joined(
    exec: &Exec<'_>,
    namespaces: i32,
    tasks: &[OwnedFd],
    line: &Line<'_>,
) -> Result<std::convert::Infallible> {
    join_cgroup(tasks)?;
    if let Some(personality) = exec.extras.personality {
        credentials::personality(personality)?;
    }
    scheduler::settle_affinity(exec.process)?;
    let labels = Labels::open(exec.process)?;
    // Written while the host's /proc is at hand; the container's may be masked or missing.
    credentials::oom_score(exec.process)?;
    credentials::raise_limits(exec.process);
    // The container's user namespace first where it has one: joining one's own is EINVAL.
    match sys::process::setns(exec.target, namespaces | libc::CLONE_NEWUSER) {
        Ok(()) => credentials::become_root()?,
        Err(sys::Errno::INVAL) => {
            sys::process::setns(exec.target, namespaces).map_err(not_running)?;
        }
        Err(errno) => return Err(not_running(errno)),
    }
    if let Some(root) = exec.extras.root {
        rustix::process::fchdir(root)
            .and_then(|()| rustix::process::chroot("."))
            .context(|| "chroot to the container's root")?;
    }
    // Its time namespace too, where the kernel has them.
    let _ = sys::process::setns(exec.target, libc::CLONE_NEWTIME);
    let _ = rustix::process::setsid();
    if !exec.extras.keep_keyring {
        let _ = sys::process::new_session_keyring();
    }
    let stdio = match exec.stdio {
        Stdio::Fds(fds) => Streams::Fds(fds),
        Stdio::Terminal(size) => Streams::Pty(terminal::open(size)?),
    };
    let subject = Subject {
        process: exec.process,
        identity: exec.identity,
        create_cwd: exec.create_cwd,
        init: None,
        filter: exec.seccomp,
        labels,
        memory: exec.extras.memory_policy,
        hooks: None,
        preserve_fds: exec.extras.preserve_fds,
        watched: true,
        plain_newlines: exec.extras.plain_newlines,
        die_with_parent: exec.extras.die_with_parent,
        keep_groups: exec.extras.keep_groups,
    };
    finish(&subject, stdio, line, false)
}

fn not_running(errno: sys::Errno) -> Error {
    Error::new(
        Kind::NotRunning,
        format!(
            "join the container's namespaces: {}",
            crate::error::errno_text(errno)
        ),
    )
}

/// What both kinds of process have in common.
struct Subject<'a> {
    process: &'a Process,
    identity: Option<Identity<'a>>,
    create_cwd: bool,
    init: Option<BorrowedFd<'a>>,
    filter: Option<&'a Filter>,
    labels: Labels,
    memory: Option<&'a MemoryPolicy>,
    /// For the hooks that come right before the program.
    hooks: Option<(&'a Spec, Name<'a>)>,
    preserve_fds: u32,
    /// Processes of a container can see this one before it is its program.
    watched: bool,
    plain_newlines: bool,
    die_with_parent: bool,
    keep_groups: bool,
}

enum Streams<'a> {
    Fds([BorrowedFd<'a>; 3]),
    Pty(terminal::Pty),
}

/// From inside the root to the program.
fn finish(
    subject: &Subject<'_>,
    stdio: Streams<'_>,
    line: &Line<'_>,
    stop: bool,
) -> Result<std::convert::Infallible> {
    let process = subject.process;
    let who = identity::resolve(&process.user, subject.identity)?;
    if subject.create_cwd {
        program::create_cwd(&process.cwd)?;
    }
    if let (true, Streams::Pty(pty)) = (subject.plain_newlines, &stdio) {
        terminal::plain_newlines(pty)?;
    }
    connect(stdio, &who, line)?;
    // Before the filter, which may know nothing of this call.
    let first = 3 + subject.preserve_fds as i32;
    close_foreign(first, subject, line)?;
    if subject.watched {
        // From the moment that its rights are those of the container's processes these could
        // reach the runtime's program and memory through it (CVE-2016-9962, CVE-2019-5736).
        // execve undoes it.
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .context(|| "set not dumpable")?;
    }
    credentials::limits(process)?;
    if let Some(policy) = subject.memory {
        scheduler::memory(policy)?;
    }
    if process.no_new_privileges {
        rustix::thread::set_no_new_privs(true).context(|| "set no_new_privs")?;
    } else if let Some(filter) = subject.filter {
        // Without no_new_privs loading takes CAP_SYS_ADMIN, which is about to go.
        load(filter, line)?;
    }
    let entered = program::chdir(&process.cwd);
    credentials::take(process, &who, &subject.labels, subject.keep_groups)?;
    // A directory that only the user may enter (NFS, FUSE): again as the user.
    if entered.is_err() {
        program::chdir(&process.cwd)?;
    }
    if subject.die_with_parent {
        // Changes of credentials undo it. A parent that is gone already is noticed on the line.
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .context(|| "set parent death signal")?;
    }
    let program = program::prepare(process, &who, subject.init.is_some())?;
    sys::process::reset_signals();
    let last = subject.filter.filter(|_| process.no_new_privileges);
    if let Some(filter) = last.filter(|f| f.agent.is_some()) {
        // Its agent is told by whoever creates, who may be gone when it is started.
        load(filter, line)?;
    }
    if stop {
        sys::process::exit_on(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT]);
        line.wait_start()?;
    }
    let mut late = last.filter(|f| f.agent.is_none());
    if let Some((spec, name)) = subject.hooks
        && hooks::any_before_program(spec)
    {
        // They are programs of the container and get its filter too.
        if let Some(filter) = late.take() {
            load(filter, line)?;
        }
        hooks::before_program(spec, &name, program.environment())?;
    }
    line.executing()?;
    if let Some(filter) = late {
        load(filter, line)?;
    }
    Err(program.execute(subject.init))
}

/// Closes what execve would close, and before it: a path such as /proc/self/fd/7/bin/sh is looked
/// up by execve while descriptors of the host are still open (CVE-2024-21626), and a process that
/// waits can be looked into by others of its container.
fn close_foreign(first: i32, subject: &Subject<'_>, line: &Line<'_>) -> Result<()> {
    let mut kept = line.descriptors();
    kept.extend(subject.labels.descriptors());
    kept.extend(subject.init.map(|fd| fd.as_raw_fd()));
    kept.retain(|fd| *fd >= first);
    kept.sort_unstable();
    let mut from = first;
    for fd in kept {
        if from < fd {
            sys::process::close_range(from, fd - 1).context(|| "close_range")?;
        }
        from = fd + 1;
    }
    sys::process::close_range(from, i32::MAX).context(|| "close_range")
}

fn load(filter: &Filter, line: &Line<'_>) -> Result<()> {
    let listener = sys::seccomp::load(&filter.program, filter.flags)
        .context(|| "unable to init seccomp: load filter")?;
    match listener {
        None => Ok(()),
        Some(listener) => line.listener(listener.as_fd()),
    }
}

fn join_cgroup(tasks: &[OwnedFd]) -> Result<()> {
    for fd in tasks {
        rustix::io::write(fd, b"0").context(|| "join cgroup: write to tasks")?;
    }
    Ok(())
}

fn names(build: &Build<'_>) -> Result<()> {
    let spec = build.spec;
    if !spec.hostname.is_empty() {
        sys::process::set_hostname(spec.hostname.as_bytes())
            .context(|| format!("sethostname {:?}", spec.hostname))?;
    }
    if !spec.domainname.is_empty() {
        sys::process::set_domainname(spec.domainname.as_bytes())
            .context(|| format!("setdomainname {:?}", spec.domainname))?;
    }
    Ok(())
}

/// Puts the streams at 0 to 2 and gives them to the user, so that /dev/stdout can be opened.
fn connect(stdio: Streams<'_>, who: &Who, line: &Line<'_>) -> Result<()> {
    match stdio {
        Streams::Fds(fds) => {
            // Lifted above 2 first: one of them may be where another one goes.
            let mut lifted = Vec::with_capacity(3);
            for fd in fds {
                let copy = rustix::io::fcntl_dupfd_cloexec(fd, 3).context(|| "duplicate stdio")?;
                lifted.push(own_null(fd).unwrap_or(copy));
            }
            for (target, fd) in lifted.iter().enumerate() {
                own(fd.as_fd(), who);
                sys::process::place_fd(fd.as_fd(), target as i32).context(|| "place stdio")?;
            }
        }
        Streams::Pty(pty) => {
            own(pty.slave.as_fd(), who);
            sys::process::set_controlling_terminal(pty.slave.as_fd())
                .context(|| "set controlling terminal")?;
            for target in 0..3 {
                sys::process::place_fd(pty.slave.as_fd(), target).context(|| "place terminal")?;
            }
            line.terminal(pty.master.as_fd())?;
        }
    }
    Ok(())
}

/// The container's own null device for the host's, which nobody could find again by its path in
/// the container: criu(8) for one, which writes down where each descriptor leads to.
fn own_null(fd: BorrowedFd<'_>) -> Option<OwnedFd> {
    use rustix::fs::OFlags;
    let is_null = |fd: BorrowedFd<'_>| {
        let stat = rustix::fs::fstat(fd).ok()?;
        let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
        let null = stat.st_rdev == rustix::fs::makedev(1, 3);
        (kind == rustix::fs::FileType::CharacterDevice && null).then_some(())
    };
    is_null(fd)?;
    let access = rustix::fs::fcntl_getfl(fd).ok()? & (OFlags::RDWR | OFlags::WRONLY);
    let flags = access | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let own = rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty()).ok()?;
    is_null(own.as_fd())?;
    // 0 to 2 may be closed in the caller; they are about to be taken.
    rustix::io::fcntl_dupfd_cloexec(own, 3).ok()
}

fn own(fd: BorrowedFd<'_>, who: &Who) {
    let Ok(stat) = rustix::fs::fstat(fd) else {
        return;
    };
    // Shared devices stay as they are: /dev/null must not change hands.
    let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    let shared =
        kind == rustix::fs::FileType::CharacterDevice && rustix::fs::major(stat.st_rdev) == 1;
    if stat.st_uid != who.uid && !shared {
        // Read-only or foreign ones cannot be given; the stream itself works all the same.
        let _ = rustix::fs::fchown(fd, Some(rustix::fs::Uid::from_raw(who.uid)), None);
    }
}
