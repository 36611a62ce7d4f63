//! The caller's side: clone, map ids, listen to the child, clean up after a failure.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oci::runtime::State;
use rustix::fs::{Mode, OFlags};
use rustix::process::{WaitId, WaitIdOptions};
use sys::process::{CloneArgs, Cloned};

use crate::channel::{self, Said};
use crate::duties::Duties;
use crate::error::Context;
use crate::plan::{Excursion, Plan};
use crate::scheduler::Pinned;
use crate::{
    Build, Created, Error, Exec, Filter, Kind, Name, Result, Started, birth, child, host_root,
};

/// Builds the container; with `stop` its process waits before the program. `born` is told its pid
/// at once, while it is being built.
pub(crate) fn build(
    build: &Build<'_>,
    name: Option<Name<'_>>,
    stop: bool,
    born: &mut dyn FnMut(&Started) -> Result<()>,
) -> Result<Created> {
    let plan = Plan::new(build, name)?;
    let compiled = match (
        build.seccomp,
        build.spec.linux.as_ref().and_then(|l| l.seccomp.as_ref()),
    ) {
        (None, Some(profile)) => Some(Filter::compile(profile)?),
        _ => None,
    };
    let filter = build.seccomp.or(compiled.as_ref());
    let duties = Duties::of_build(build.spec, name, filter)?;
    let tasks = match build.cgroup {
        Some(cgroup) => cgroup.task_files()?,
        None => Vec::new(),
    };
    let host_root = match build.rootfs.path() {
        Some(path) if plan.host_mounts => Some((path, host_root::mounted(path)?)),
        _ => None,
    };
    let args = CloneArgs {
        flags: plan.flags,
        cgroup: build.cgroup.and_then(|c| c.v2_dir()),
    };
    let trip = Excursion::begin(&plan)?;
    let (ours, theirs) = sys::fdpass::seqpacket_pair().context(|| "make channel")?;
    let (pid, pidfd) = match birth::clone(&plan, build.spec.process.as_ref(), &args)? {
        Cloned::Child => {
            drop(ours);
            let fifo = build.extras.fifo.filter(|_| stop);
            let line = channel::Line::new(theirs, fifo);
            child::run(&line, || {
                child::container(build, &plan, &tasks, filter, name, &line, stop)
            })
        }
        Cloned::Parent { pid, pidfd } => (pid, pidfd),
    };
    drop((trip, theirs));
    let mntns = mount_namespace(pidfd.as_fd(), pid.as_raw_pid());
    let mut created = Created {
        process: Started {
            pid: pid.as_raw_pid().unsigned_abs(),
            pidfd,
            mntns,
            terminal: None,
        },
        channel: ours,
    };
    let answer = (|| {
        if plan.waits {
            duties.before(build, &plan, &created.process)?;
            channel::go(created.channel.as_fd())?;
        }
        born(&created.process)?;
        let until = match (stop, build.extras.fifo) {
            (true, Some(_)) => Until::Waiting,
            (true, None) => Until::Ready,
            (false, _) => Until::Running,
        };
        created.hear(until, &duties, Some(&plan))
    })();
    created.or_end(answer).inspect_err(|_| {
        if let Some((path, before)) = host_root {
            // The reason of the failure is what is to be told.
            let _ = host_root::detach(path, before);
        }
    })
}

/// Runs one more process in the container of `exec.target`.
pub(crate) fn exec(
    exec: &Exec<'_>,
    state: Option<&State>,
    born: &mut dyn FnMut(&Started) -> Result<()>,
) -> Result<Started> {
    crate::plan::check_process(exec.process)?;
    let duties = Duties::of_exec(exec.seccomp, state)?;
    let tasks = match exec.cgroup {
        Some(cgroup) => cgroup.task_files()?,
        None => Vec::new(),
    };
    let target = rustix::io::fcntl_dupfd_cloexec(exec.target, 3).context(|| "duplicate pidfd")?;
    let mut trip = Excursion::none();
    // Without privileges the right to it is only to be had inside.
    let inside = !rustix::process::geteuid().is_root();
    if !inside {
        trip.enter(&target, "/proc/self/ns/pid", libc::CLONE_NEWPID, "pid")
            .map_err(|e| Error::new(Kind::NotRunning, e.message))?;
    }
    let others = match inside {
        true => birth::other_namespaces(&target)?,
        false => birth::JOINED,
    };
    let (ours, theirs) = sys::fdpass::seqpacket_pair().context(|| "make channel")?;
    let pinned = Pinned::begin(exec.process)?;
    let cloned = match inside {
        true => {
            let args = CloneArgs {
                flags: 0,
                cgroup: exec.cgroup.and_then(|c| c.v2_dir()),
            };
            birth::clone_into(target.as_fd(), exec.process, &args)?
        }
        false => birth::clone_beside(&target, exec.cgroup)?,
    };
    let (pid, pidfd) = match cloned {
        Cloned::Child => {
            drop(ours);
            let line = channel::Line::new(theirs, None);
            child::run(&line, || child::joined(exec, others, &tasks, &line))
        }
        Cloned::Parent { pid, pidfd } => (pid, pidfd),
    };
    drop((trip, theirs));
    let mut created = Created {
        process: Started {
            pid: pid.as_raw_pid().unsigned_abs(),
            pidfd,
            mntns: None,
            terminal: None,
        },
        channel: ours,
    };
    let answer = born(&created.process).and_then(|()| {
        drop(pinned);
        created.hear(Until::Running, &duties, None)
    });
    created.or_end(answer).map(|c| c.process)
}

/// What to listen for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    Ready,
    /// Ready, and with this channel left for the FIFO.
    Waiting,
    Running,
}

impl Created {
    pub(crate) fn go(mut self) -> Result<Started> {
        let answer = channel::go(self.channel.as_fd())
            .and_then(|()| self.hear(Until::Running, &Duties::default(), None));
        self.or_end(answer).map(|c| c.process)
    }

    pub(crate) fn into_process(self) -> Started {
        self.process
    }

    fn hear(&mut self, until: Until, duties: &Duties<'_>, plan: Option<&Plan>) -> Result<()> {
        let (mut executing, mut waiting) = (false, false);
        loop {
            match channel::listen(self.channel.as_fd())? {
                Said::Ready if until == Until::Waiting => waiting = true,
                Said::Ready if until == Until::Ready => return Ok(()),
                Said::Ready => {}
                Said::Terminal(fd) => self.process.terminal = Some(fd),
                Said::Executing => executing = true,
                Said::Hooks => {
                    duties.hooks(self.process.pid)?;
                    channel::go(self.channel.as_fd())?;
                }
                Said::Listener(number) => {
                    duties.listener(&self.process, number)?;
                    channel::go(self.channel.as_fd())?;
                }
                Said::Source(number, tree) => {
                    duties.source(number, &tree, plan, self.process.pid)?;
                    channel::go(self.channel.as_fd())?;
                }
                Said::Failed(error) => return Err(error),
                Said::Closed if executing || waiting => return Ok(()),
                Said::Closed => {
                    return Err(Error::internal(
                        "the container's first process died while it was being built",
                    ));
                }
            }
        }
    }

    /// On failure the process is killed and reaped, so that nothing of it is left.
    fn or_end(self, answer: Result<()>) -> Result<Self> {
        match answer {
            Ok(()) => Ok(self),
            Err(error) => {
                let _ = sys::process::pidfd_signal(self.process.pidfd.as_fd(), libc::SIGKILL);
                reap(self.process.pidfd.as_fd());
                Err(error)
            }
        }
    }
}

fn reap(pidfd: BorrowedFd<'_>) {
    while let Err(sys::Errno::INTR) =
        rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED)
    {}
}

/// A child that has exited already has none; then there is nothing to keep.
fn mount_namespace(pidfd: BorrowedFd<'_>, pid: i32) -> Option<OwnedFd> {
    sys::process::pidfd_mount_namespace(pidfd).ok().or_else(|| {
        let path = format!("/proc/{pid}/ns/mnt");
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
    })
}
