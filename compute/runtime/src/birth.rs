//! Where the first process comes from when a user namespace is in the way.
//!
//! Namespaces are joined with the rights of whoever owns them and made in the user namespace one
//! is in. So what is joined by path must be joined before the user namespace is entered, and what
//! is made must be made after; a helper does the first and gives birth in the middle:
//!
//! ```text
//!   caller ── clone3 ──► helper: joins all, the user namespace last
//!     │                    └─ clone3(CLONE_PARENT, CLONE_NEW…) ──► first process, the caller's child
//!     ◄── its pidfd ───────┘ gone
//! ```

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use oci::runtime::Process;
use rustix::process::{Pid, WaitId, WaitIdOptions};
use sys::Errno;
use sys::process::{CloneArgs, Cloned};

use crate::error::{Context, errno_text};
use crate::plan::Plan;
use crate::{Error, Result, credentials};

/// Clones the caller as the plan wants it.
pub(crate) fn clone(
    plan: &Plan,
    process: Option<&Process>,
    args: &CloneArgs<'_>,
) -> Result<Cloned> {
    match plan.by_helper() {
        true => by_helper(args, || {
            // Inherited; in the user namespace there is no right to lower it.
            if let Some(process) = process {
                credentials::oom_score(process)?;
                credentials::raise_limits(process);
            }
            join(plan)
        }),
        false => sys::process::clone3(args).map_err(clone_error),
    }
}

/// Clones a caller without privileges into the pid namespace of the process `target`: it gets the
/// right to that in the user namespace of the container, which is why that is joined first.
pub(crate) fn clone_into(
    target: BorrowedFd<'_>,
    process: &Process,
    args: &CloneArgs<'_>,
) -> Result<Cloned> {
    by_helper(args, || {
        let enter = |flag, name: &str| {
            sys::process::setns(target, flag).context(|| format!("join {name} namespace"))
        };
        // Inherited; later the file is not this process's to write.
        credentials::oom_score(process)?;
        credentials::raise_limits(process);
        enter(libc::CLONE_NEWUSER, "user")?;
        credentials::become_root()?;
        enter(libc::CLONE_NEWPID, "pid")
    })
}

/// What a further process joins of a container besides its user, pid and time namespaces.
pub(crate) const JOINED: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP;

/// Those of [`JOINED`] that are not the caller's too: without privileges the host's cannot be
/// joined, not even by who is in them.
pub(crate) fn other_namespaces(target: &OwnedFd) -> Result<i32> {
    let pid = pid_of(target)?.as_raw_pid();
    let kinds = [
        ("mnt", libc::CLONE_NEWNS),
        ("ipc", libc::CLONE_NEWIPC),
        ("uts", libc::CLONE_NEWUTS),
        ("net", libc::CLONE_NEWNET),
        ("cgroup", libc::CLONE_NEWCGROUP),
    ];
    let which = |process: &str, kind: &str| {
        let path = format!("/proc/{process}/ns/{kind}");
        rustix::fs::stat(&path)
            .map(|stat| (stat.st_dev, stat.st_ino))
            .context(|| format!("stat {path}"))
    };
    let mut out = 0;
    for (kind, flag) in kinds {
        if which("self", kind)? != which(&pid.to_string(), kind)? {
            out |= flag;
        }
    }
    Ok(out)
}

/// Clones from a helper that has made itself ready in namespaces of others.
fn by_helper(args: &CloneArgs<'_>, ready: impl FnOnce() -> Result<()>) -> Result<Cloned> {
    let (ours, theirs) = sys::fdpass::seqpacket_pair().context(|| "make channel")?;
    let first = CloneArgs {
        flags: 0,
        cgroup: args.cgroup,
    };
    let helper = match sys::process::clone3(&first).map_err(clone_error)? {
        Cloned::Parent { pidfd, .. } => pidfd,
        Cloned::Child => {
            drop(ours);
            let born = ready().and_then(|()| {
                let args = CloneArgs {
                    flags: args.flags | libc::CLONE_PARENT as u64,
                    cgroup: None,
                };
                sys::process::clone3(&args).map_err(clone_error)
            });
            match born {
                Ok(Cloned::Child) => return Ok(Cloned::Child),
                Ok(Cloned::Parent { pidfd, .. }) => {
                    let _ = sys::fdpass::send(theirs.as_fd(), b"+", &[pidfd.as_fd()]);
                    sys::process::exit_now(0)
                }
                Err(error) => {
                    let _ = sys::fdpass::send(theirs.as_fd(), &error.to_bytes(), &[]);
                    sys::process::exit_now(1)
                }
            }
        }
    };
    drop(theirs);
    let mut buffer = [0u8; 4096];
    let said = sys::fdpass::recv(ours.as_fd(), &mut buffer, 1);
    while let Err(Errno::INTR) =
        rustix::process::waitid(WaitId::PidFd(helper.as_fd()), WaitIdOptions::EXITED)
    {}
    let mut said = said.context(|| "hear from helper")?;
    match (said.fds.pop(), buffer.get(..said.len)) {
        (Some(pidfd), _) => {
            let pid = pid_of(&pidfd)?;
            Ok(Cloned::Parent { pid, pidfd })
        }
        (None, Some(&[kind, ref text @ ..])) => Err(Error::from_bytes(kind, text)),
        _ => Err(Error::internal("the helper that joins namespaces died")),
    }
}

/// Clones the caller into a cgroup of a container that runs. A container that divides its cgroup
/// on v2 has left no room for processes in it (EBUSY); the new one then goes to the first one's.
pub(crate) fn clone_beside(target: &OwnedFd, cgroup: Option<&cgroup::Cgroup>) -> Result<Cloned> {
    let args = CloneArgs {
        flags: 0,
        cgroup: cgroup.and_then(|c| c.v2_dir()),
    };
    let refused = match (sys::process::clone3(&args), cgroup) {
        (Err(Errno::BUSY | Errno::OPNOTSUPP), Some(cgroup)) => cgroup,
        (other, _) => return other.map_err(clone_error),
    };
    let pid = pid_of(target)?.as_raw_pid();
    let dir = refused.v2_dir_of(pid)?;
    let args = CloneArgs {
        flags: 0,
        cgroup: dir.as_ref().map(AsFd::as_fd).or(refused.v2_dir()),
    };
    sys::process::clone3(&args).map_err(clone_error)
}

/// With the caller's own rights first, and what these do not reach with those of the user
/// namespace.
fn join(plan: &Plan) -> Result<()> {
    let mut left = Vec::new();
    for (fd, flag) in &plan.joins {
        match sys::process::setns(fd.as_fd(), *flag) {
            Ok(()) => {}
            Err(Errno::PERM) if plan.user_join.is_some() => left.push((fd, *flag)),
            Err(e) => return Err(crate::plan::not_joined(*flag, e)),
        }
    }
    if let Some(user) = &plan.user_join {
        sys::process::setns(user.as_fd(), libc::CLONE_NEWUSER)
            .map_err(|e| crate::plan::not_joined(libc::CLONE_NEWUSER, e))?;
    }
    left.into_iter().try_for_each(|(fd, flag)| {
        sys::process::setns(fd.as_fd(), flag).map_err(|e| crate::plan::not_joined(flag, e))
    })
}

/// The pid as this process sees it: the helper may have been in another pid namespace.
fn pid_of(pidfd: &OwnedFd) -> Result<Pid> {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text =
        std::fs::read_to_string(&path).map_err(|e| Error::internal(format!("read {path}: {e}")))?;
    let line = text.lines().find_map(|l| l.strip_prefix("Pid:"));
    line.and_then(|n| n.trim().parse().ok())
        .and_then(Pid::from_raw)
        .ok_or_else(|| Error::internal("the first process has no pid here"))
}

fn clone_error(errno: Errno) -> Error {
    Error::internal(format!("clone3: {}", errno_text(errno)))
}
