//! Mounts that come and go while a container runs.
//!
//! A thread of its own enters the container's mount namespace and ends with its work, so that no
//! thread of the process is ever found there. Places are found as the runtime finds those of a
//! specification: no link of the container's leads out of its root or into /proc, and what is mounted or
//! taken away is at the end of the links.

use std::os::fd::{AsFd, OwnedFd};

use compute::{Error, Kind, Result};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};
use sys::Errno;

use crate::internal;

/// Puts a detached mount at `destination`, making what is missing of the path.
pub(crate) fn add(pidfd: &OwnedFd, tree: &OwnedFd, destination: &str) -> Result<()> {
    inside(pidfd, |root| {
        let place = runtime::place(root.as_fd(), destination, tree).map_err(internal)?;
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(tree, "", &place, "", flags).map_err(internal)
    })
    .map_err(|error| Error::new(error.kind, format!("mount at {destination}: {error}")))
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
