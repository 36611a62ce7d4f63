//! /proc that is known to be procfs.
//!
//! What is written there decides about privileges, so a look-alike must not receive it, and no
//! link or mount inside it may redirect it (CVE-2019-19921, CVE-2025-52881): the root is checked
//! by the magic number of its file system and its inode, and from there on openat2(2) neither
//! follows links nor crosses mounts.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use sys::Errno;

/// Inode of the root of every procfs (PROC_ROOT_INO in linux/proc_ns.h).
pub(crate) const ROOT_INODE: u64 = 1;
/// PROC_SUPER_MAGIC of linux/magic.h.
const MAGIC: u64 = 0x9fa0;

/// A root of a procfs.
#[derive(Debug)]
pub(crate) struct Proc(OwnedFd);

impl Proc {
    /// The one at /proc of the current root, which must be one.
    pub(crate) fn host() -> sys::Result<Self> {
        Self::at(CWD, "/proc")
    }

    /// The one at /proc of a container that is being built; where the image has something else
    /// there, one that is mounted nowhere.
    pub(crate) fn of_container(root: BorrowedFd<'_>) -> sys::Result<Self> {
        Self::at(root, "proc").or_else(|_| {
            let fs = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
            rustix::mount::fsconfig_create(&fs)?;
            let flags = FsMountFlags::FSMOUNT_CLOEXEC;
            rustix::mount::fsmount(&fs, flags, MountAttrFlags::empty()).map(Self)
        })
    }

    fn at(dir: BorrowedFd<'_>, path: &str) -> sys::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::openat(dir, path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&root)?;
        if stat.st_ino != ROOT_INODE || !is_procfs(root.as_fd())? {
            return Err(Errno::XDEV);
        }
        Ok(Self(root))
    }

    /// Opens a file of it for writing, by a path without `self`.
    pub(crate) fn open(&self, path: &str) -> sys::Result<OwnedFd> {
        Self::open_in(self.0.as_fd(), path)
    }

    /// Opens a file about the calling process for writing.
    pub(crate) fn open_process(&self, path: &str) -> sys::Result<OwnedFd> {
        // A link that procfs itself makes, so it is the one that may be followed.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let name = Path::new("self");
        let own = sys::rooted::open_with(self.0.as_fd(), name, flags, Mode::empty(), resolve)?;
        Self::open_in(own.as_fd(), path)
    }

    fn open_in(dir: BorrowedFd<'_>, path: &str) -> sys::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        let (path, flags) = (Path::new(path), OFlags::WRONLY);
        sys::rooted::open_with(dir, path, flags, Mode::empty(), resolve)
    }
}

/// It is on a procfs.
pub(crate) fn is_procfs(fd: BorrowedFd<'_>) -> sys::Result<bool> {
    Ok(rustix::fs::fstatfs(fd)?.f_type as u64 == MAGIC)
}
