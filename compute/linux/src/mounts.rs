//! Mounts that come and go while a container runs.
//!
//! A thread of its own enters the container's mount namespace and ends with its work, so that no
//! thread of the process is ever found there. Paths are resolved below the container's root, by
//! descriptors: no link of its leads out, and none is followed at the end.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use compute::Result;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};
use sys::Errno;

use crate::internal;

/// Puts a detached mount at `destination`, making what is missing of the path.
pub(crate) fn add(pidfd: &OwnedFd, tree: &OwnedFd, destination: &str) -> Result<()> {
    inside(pidfd, |root| {
        let place = place(root, tree, destination)?;
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(tree, "", &place, "", flags)
    })
    .map_err(|errno| internal(format!("mount at {destination}: {errno}")))
}

/// Takes away what is mounted at `destination`; files of it that are open stay open.
pub(crate) fn remove(pidfd: &OwnedFd, destination: &str) -> Result<()> {
    let removed = inside(pidfd, |root| {
        let (parent, name) = sys::rooted::split(Path::new(destination))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let parent = sys::rooted::open(root.as_fd(), parent, flags, Mode::empty())?;
        rustix::process::fchdir(&parent)?;
        unmount(name, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
    });
    match removed {
        Ok(()) => Ok(()),
        // The container has done so itself.
        Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(errno) => Err(internal(format!("unmount {destination}: {errno}"))),
    }
}

/// The directory or file that the mount goes on.
fn place(root: &OwnedFd, tree: &OwnedFd, destination: &str) -> sys::Result<OwnedFd> {
    let path = Path::new(destination);
    let is_directory =
        FileType::from_raw_mode(rustix::fs::fstat(tree)?.st_mode) == FileType::Directory;
    let mode = Mode::from_raw_mode(0o755);
    match sys::rooted::open(root.as_fd(), path, OFlags::PATH, Mode::empty()) {
        Err(Errno::NOENT) if is_directory => sys::rooted::create_dir_all(root.as_fd(), path, mode),
        Err(Errno::NOENT) => {
            let (parent, _) = sys::rooted::split(path)?;
            sys::rooted::create_dir_all(root.as_fd(), parent, mode)?;
            sys::rooted::create_file(root.as_fd(), path, mode)?;
            sys::rooted::open(root.as_fd(), path, OFlags::PATH, Mode::empty())
        }
        opened => opened,
    }
}

/// Works in the mount namespace of a process, with its root.
fn inside<T: Send>(
    pidfd: &OwnedFd,
    work: impl FnOnce(&OwnedFd) -> sys::Result<T> + Send,
) -> sys::Result<T> {
    let enter = || {
        sys::process::unshare(sys::process::OWN_PATHS)?;
        sys::process::setns(pidfd.as_fd(), sys::process::NEW_MOUNT_NAMESPACE)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open("/", flags, Mode::empty())
    };
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| enter().and_then(|root| work(&root)));
        thread.join().unwrap_or(Err(Errno::IO))
    })
}
