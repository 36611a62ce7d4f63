//! Mounts that come and go while a container runs.
//!
//! A thread of its own enters the container's mount namespace and ends with its work, so that no
//! thread of the process is ever found there. Places are found as the runtime finds those of a
//! specification: no link of the container's leads out of its root or into /proc, and what is mounted or
//! taken away is at the end of the links.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use compute::{Error, Kind, Result};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};
use sys::Errno;

use crate::internal;

/// Puts a detached mount at `destination`, making what is missing of the path. `pid` is the process
/// of `pidfd`.
pub(crate) fn add(pid: u32, pidfd: &OwnedFd, tree: &OwnedFd, destination: &str) -> Result<()> {
    let ids = (root_of(pid, "uid_map")?, root_of(pid, "gid_map")?);
    // By the pidfd, so that the number was still its process's above.
    inside(pidfd, |root| {
        make_as(ids).map_err(|e| internal(format!("be the container's root: {e}")))?;
        let place = runtime::place(root.as_fd(), destination, tree).map_err(internal)?;
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(tree, "", &place, "", flags).map_err(internal)
    })
    .map_err(|error| Error::new(error.kind, format!("mount at {destination}: {error}")))
}

/// The host's id for the root of a process's user namespace.
fn root_of(pid: u32, map: &str) -> Result<u32> {
    let path = format!("/proc/{pid}/{map}");
    let text = std::fs::read_to_string(&path).map_err(|e| internal(format!("{path}: {e}")))?;
    let root = text.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        (fields.next()? == "0").then(|| fields.next()?.parse().ok())?
    });
    root.ok_or_else(|| internal(format!("{path}: there is no root in it")))
}

/// What this thread makes from now on belongs to these ids. Its rights stay.
fn make_as((user, group): (u32, u32)) -> sys::Result<()> {
    if (user, group) == (0, 0) {
        return Ok(());
    }
    // The kernel takes it from the whole process when ids change (PR_SET_DUMPABLE): one at a time,
    // or another's loss would be kept.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let rights = rustix::thread::capabilities(None)?;
    let dumpable = rustix::process::dumpable_behavior()?;
    set_thread_res_gid(None, Gid::from_raw(group), None)?;
    set_thread_res_uid(None, Uid::from_raw(user), None)?;
    rustix::thread::set_capabilities(None, rights)?;
    if rustix::process::dumpable_behavior()? != dumpable {
        rustix::process::set_dumpable_behavior(dumpable)?;
    }
    Ok(())
}

/// Takes away what is mounted at `destination`; files of it that are open stay open.
pub(crate) fn remove(pidfd: &OwnedFd, destination: &str) -> Result<()> {
    let removed = inside(pidfd, |root| {
        let path = runtime::place_of(root.as_fd(), destination).map_err(internal)?;
        let taken = sys::rooted::split(&path).and_then(|(parent, name)| {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let parent = sys::rooted::open(root.as_fd(), parent, flags, Mode::empty())?;
            rustix::process::fchdir(&parent)?;
            unmount(name, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        });
        match taken {
            // The container may have moved what it is in, and have it still.
            Err(Errno::INVAL | Errno::NOENT) => Err(Error::new(
                Kind::Conflict,
                "the container has moved it or taken it away itself: it can be removed when the \
                 container is stopped",
            )),
            taken => taken.map_err(internal),
        }
    });
    removed.map_err(|error| Error::new(error.kind, format!("unmount {destination}: {error}")))
}

/// Works in the mount namespace of a process, with its root.
fn inside(pidfd: &OwnedFd, work: impl FnOnce(&OwnedFd) -> Result<()> + Send) -> Result<()> {
    let enter = || {
        sys::process::unshare(sys::process::OWN_PATHS)?;
        sys::process::setns(pidfd.as_fd(), sys::process::NEW_MOUNT_NAMESPACE)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open("/", flags, Mode::empty())
    };
    std::thread::scope(|scope| {
        let entered = || {
            let root = enter().map_err(|e| internal(format!("enter mount namespace: {e}")))?;
            work(&root)
        };
        let thread = std::thread::Builder::new().spawn_scoped(scope, entered);
        let thread = thread.map_err(|e| internal(format!("start thread: {e}")))?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
