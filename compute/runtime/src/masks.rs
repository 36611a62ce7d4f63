//! Paths hidden and paths made read-only, inside the new root.

use std::os::fd::{AsFd, OwnedFd};

use oci::runtime::Linux;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags};
use sys::Errno;
use sys::mount::MountAttr;

use crate::error::{Context, errno_text};
use crate::options::Options;
use crate::{Error, Result};

/// Read-only ones first: one that is hidden as well must end hidden.
pub(crate) fn apply(linux: &Linux) -> Result<()> {
    for path in &linux.readonly_paths {
        read_only(path).context(|| format!("make {path:?} read-only"))?;
    }
    let mut blank = None;
    for path in &linux.masked_paths {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let place = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(place) => place,
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            Err(e) => return Err(Error::internal(format!("mask {path:?}: {}", errno_text(e)))),
        };
        let stat = rustix::fs::fstat(&place).context(|| format!("stat {path:?}"))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => hide_directory(&place, &mut blank),
            _ => hide_file(&place),
        }
        .map_err(|e| Error::new(e.kind, format!("mask {path:?}: {}", e.message)))?;
    }
    Ok(())
}

fn read_only(path: &str) -> sys::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = match rustix::mount::open_tree(CWD, path, flags) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    let attr = MountAttr {
        set: sys::mount::RDONLY,
        ..MountAttr::default()
    };
    sys::mount::set_attr(tree.as_fd(), &attr, true)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&tree, "", CWD, path, flags)
}

fn hide_file(place: &OwnedFd) -> Result<()> {
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let null = rustix::mount::open_tree(CWD, "/dev/null", clone).context(|| "open /dev/null")?;
    // An image may bring a /dev/null of its own making where no /dev is mounted.
    let stat = rustix::fs::fstat(&null).context(|| "stat /dev/null")?;
    if stat.st_rdev != rustix::fs::makedev(1, 3) {
        return Err(Error::invalid(
            "/dev/null of the container is not the null device",
        ));
    }
    put(&null, place)
}

/// One empty read-only tmpfs serves all of them.
fn hide_directory(place: &OwnedFd, blank: &mut Option<OwnedFd>) -> Result<()> {
    let clone = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let again = blank
        .as_ref()
        .and_then(|first| rustix::mount::open_tree(first, "", clone).ok());
    let tmpfs = match again {
        Some(tree) => tree,
        None => {
            let mut options = Options::default();
            options.own.set = sys::mount::RDONLY;
            options.data.push(("nr_blocks".into(), Some("1".into())));
            options.data.push(("nr_inodes".into(), Some("1".into())));
            crate::mounts::make("tmpfs", "tmpfs", &options, None)
                .map_err(|_| Error::internal("cannot make an empty tmpfs"))?
        }
    };
    put(&tmpfs, place)?;
    blank.get_or_insert(tmpfs);
    Ok(())
}

fn put(tree: &OwnedFd, place: &OwnedFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, "", place, "", flags).context(|| "move_mount")
}
