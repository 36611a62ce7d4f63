//! Keeps the program's own file out of the reach of containers.
//!
//! The first process of a container is a copy of this program until it becomes the container's:
//! its /proc/PID/exe leads a container's root to the host's file, which could be opened for
//! writing once nobody runs it (CVE-2019-5736). Commands that enter a container therefore run
//! from a read-only mount of that one file, which belongs to no namespace: open_tree(2) with
//! OPEN_TREE_CLONE, made read-only, executed, and let go by execve. From then on the mount is not
//! part of any mount namespace, and mount_setattr(2) and remounting refuse it, whatever
//! capabilities the container has. Where that cannot be had, a sealed copy in memory does as well.
//! Measured, the mount costs a tenth of a millisecond and the copy one and a half; starting anew
//! costs half a millisecond either way.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{CWD, Mode, OFlags, StatVfsMountFlags};
use rustix::mount::OpenTreeFlags;
use sys::mount::MountAttr;

use super::fail::{During, Fail, Result, reason};

const SELF: &str = "/proc/self/exe";

/// Returns in a process whose file cannot be written through it; begins it anew for that when
/// need be.
pub(crate) fn protect() -> Result<()> {
    if is_protected() {
        return Ok(());
    }
    let file = match read_only_mount() {
        Ok(file) => file,
        Err(_) => copy()?,
    };
    let arguments = |list: Vec<std::ffi::OsString>| -> Vec<CString> {
        let strings = list.into_iter().map(|s| CString::new(s.into_vec()));
        strings.flatten().collect()
    };
    let args = arguments(std::env::args_os().collect());
    let environment = std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        name
    });
    let errno = sys::exec::fexecve(file.as_fd(), &args, &arguments(environment.collect()));
    Err(Fail::Said(format!(
        "run a protected copy of the runtime: {}",
        reason(errno)
    )))
}

/// On a read-only mount, or in memory that is sealed.
fn is_protected() -> bool {
    if rustix::fs::statvfs(SELF).is_ok_and(|s| s.f_flag.contains(StatVfsMountFlags::RDONLY)) {
        return true;
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(SELF, flags, Mode::empty()) else {
        return false;
    };
    rustix::fs::fcntl_get_seals(&file)
        .is_ok_and(|seals| seals.contains(rustix::fs::SealFlags::WRITE))
}

fn read_only_mount() -> sys::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = rustix::mount::open_tree(CWD, SELF, flags)?;
    let attr = MountAttr {
        set: sys::mount::RDONLY | sys::mount::NODEV,
        ..MountAttr::default()
    };
    sys::mount::set_attr(mount.as_fd(), &attr, false)?;
    Ok(mount)
}

fn copy() -> Result<OwnedFd> {
    let program = std::fs::read(SELF).during("read", SELF)?;
    sys::memfd::sealed("corten-runtime", &program).during("make", "a protected copy")
}
