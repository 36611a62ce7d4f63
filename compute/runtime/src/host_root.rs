//! Containers without a mount namespace of their own.
//!
//! Their root is mounted over its own directory in the caller's mount namespace, with all that is
//! mounted in it, and entered with chroot(2). It stays there when the container ends; whoever
//! builds such a container takes the mount away with [`detach`].

use std::path::Path;

use oci::runtime::Spec;
use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::mount::UnmountFlags;
use sys::Errno;

use crate::error::{Context, errno_text};
use crate::{Error, Result, Rootfs};

/// `STATX_MNT_ID_UNIQUE`, since Linux 6.8: never given to a second mount.
const UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// What cannot be had without a mount namespace.
pub(crate) fn check(spec: &Spec, rootfs: Rootfs<'_>, in_userns: bool) -> Result<()> {
    let linux = spec.linux.as_ref();
    if linux.is_some_and(|l| !l.masked_paths.is_empty() || !l.readonly_paths.is_empty()) {
        return Err(Error::invalid(
            "unable to restrict sys entries without a private MNT namespace",
        ));
    }
    if in_userns {
        return Err(Error::unsupported(
            "linux.namespaces: a user namespace without a mount namespace could not mount anything",
        ));
    }
    if rootfs.path().is_none() {
        return Err(Error::unsupported(
            "linux.namespaces: without a mount namespace the root must be a directory of its own",
        ));
    }
    Ok(())
}

/// Which mount is on top at `path`: to be asked before a container without a mount namespace is
/// built there, for [`detach`].
pub fn mounted(path: &Path) -> Result<u64> {
    let ask = |what| rustix::fs::statx(CWD, path, AtFlags::NO_AUTOMOUNT, what);
    let told = ask(UNIQUE).context(|| format!("stat {}", path.display()))?;
    if told.stx_mask & UNIQUE.bits() != 0 {
        return Ok(told.stx_mnt_id);
    }
    let told = ask(StatxFlags::MNT_ID).context(|| format!("stat {}", path.display()))?;
    Ok(told.stx_mnt_id)
}

/// Takes away the root of a container without a mount namespace, and all that is mounted in it;
/// `before` is what [`mounted`] said. Nothing is done when it is not there, or not any more.
pub fn detach(path: &Path, before: u64) -> Result<()> {
    match mounted(path) {
        Ok(now) if now != before => {}
        _ => return Ok(()),
    }
    match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        // No mount begins here.
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(e) => Err(Error::internal(format!(
            "detach {}: {}",
            path.display(),
            errno_text(e)
        ))),
    }
}
