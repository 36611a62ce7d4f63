//! Paths hidden and paths made read-only, inside the new root.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

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
        read_only(path).context(|| format!("linux.readonlyPaths: {path:?}"))?;
    }
    let mut blank = None;
    let mut hidden = BTreeSet::new();
    for path in &linux.masked_paths {
        // Once is enough; what is mounted there would only be covered by its like.
        if !hidden.insert(Path::new(path).components().collect::<PathBuf>()) {
            continue;
        }
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let place = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(place) => place,
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            Err(e) => {
                let text = errno_text(e);
                return Err(Error::internal(format!(
                    "linux.maskedPaths: {path:?}: {text}"
                )));
            }
        };
        let stat = rustix::fs::fstat(&place).context(|| format!("stat {path:?}"))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => hide_directory(&place, &mut blank),
            _ => hide_file(&place),
        }
        .map_err(|e| {
            Error::new(
                e.kind,
                format!("linux.maskedPaths: {path:?}: {}", e.message),
            )
        })?;
    }
    Ok(())
}

fn read_only(path: &str) -> sys::Result<()> {
    // A relative one is meant from the root, which is where this process is.
    let place = match rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        other => other?,
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(&place, "", flags)?;
    let attr = MountAttr {
        set: sys::mount::RDONLY,
        ..MountAttr::default()
    };
    sys::mount::set_attr(tree.as_fd(), &attr, true)?;
    attach(&tree, &place)
}

/// The container's /dev/null over it, once it is known to be one: a link, or a file that an image
/// brought, would put its own content there, or open what it leads to (CVE-2025-31133).
fn hide_file(place: &OwnedFd) -> Result<()> {
    let clone = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let null = rustix::mount::open_tree(CWD, "/dev/null", clone).context(|| "open /dev/null")?;
    let stat = rustix::fs::fstat(&null).context(|| "stat /dev/null")?;
    let device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if !device || stat.st_rdev != rustix::fs::makedev(1, 3) {
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
    attach(tree, place).context(|| "move_mount")
}

/// Onto the very file that was looked at, whatever its path leads to by now.
fn attach(tree: &OwnedFd, place: &OwnedFd) -> sys::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, "", place, "", flags)
}
