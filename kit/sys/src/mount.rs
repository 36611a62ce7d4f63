#![expect(unsafe_code, reason = "mount_setattr is not in rustix")]
//! mount_setattr(2); the rest of the mount API is in rustix.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::{Result, check};

/// `MOUNT_ATTR_RDONLY`.
pub const RDONLY: u64 = 0x1;
/// `MOUNT_ATTR_NOSUID`.
pub const NOSUID: u64 = 0x2;
/// `MOUNT_ATTR_NODEV`.
pub const NODEV: u64 = 0x4;
/// `MOUNT_ATTR_NOEXEC`.
pub const NOEXEC: u64 = 0x8;
/// `MOUNT_ATTR__ATIME`: the mask of the access-time modes; relatime is its zero.
pub const ATIME: u64 = 0x70;
/// `MOUNT_ATTR_NOATIME`.
pub const NOATIME: u64 = 0x10;
/// `MOUNT_ATTR_STRICTATIME`.
pub const STRICTATIME: u64 = 0x20;
/// `MOUNT_ATTR_NODIRATIME`.
pub const NODIRATIME: u64 = 0x80;
/// `MOUNT_ATTR_IDMAP`.
pub const IDMAP: u64 = 0x0010_0000;
/// `MOUNT_ATTR_NOSYMFOLLOW`.
pub const NOSYMFOLLOW: u64 = 0x0020_0000;

/// `MS_SLAVE`, a propagation.
pub const SLAVE: u64 = libc::MS_SLAVE;

/// `MS_PRIVATE`, a propagation.
pub const PRIVATE: u64 = libc::MS_PRIVATE;

/// Changes to the attributes of a mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MountAttr<'a> {
    /// Attributes to set.
    pub set: u64,
    /// Attributes to clear.
    pub clear: u64,
    /// Propagation: one of `libc::MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`, or 0.
    pub propagation: u64,
    /// User namespace of an idmapped mount; sets [`IDMAP`].
    pub userns: Option<Borrowed<'a>>,
}

/// A borrowed descriptor that can be compared.
#[derive(Debug, Clone, Copy)]
pub struct Borrowed<'a>(pub BorrowedFd<'a>);

impl PartialEq for Borrowed<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_raw_fd() == other.0.as_raw_fd()
    }
}

impl Eq for Borrowed<'_> {}

/// Applies `attr` to the mount that `fd` is the root of, and to all below it when `recursive`.
pub fn set_attr(fd: BorrowedFd<'_>, attr: &MountAttr<'_>, recursive: bool) -> Result<()> {
    #[repr(C)]
    struct Raw {
        set: u64,
        clear: u64,
        propagation: u64,
        userns: u64,
    }
    let mut raw = Raw {
        set: attr.set,
        clear: attr.clear,
        propagation: attr.propagation,
        userns: 0,
    };
    if let Some(Borrowed(userns)) = attr.userns {
        raw.set |= IDMAP;
        raw.userns = userns.as_raw_fd() as u64;
    }
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: `raw` has the kernel's layout (MOUNT_ATTR_SIZE_VER0) and outlives the call.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const raw,
            size_of::<Raw>(),
        )
    };
    check(ret).map(drop)
}
