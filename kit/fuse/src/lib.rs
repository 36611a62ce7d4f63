//! Read-only files whose bytes a program supplies when somebody reads them: the kernel's side of
//! FUSE, spoken over `/dev/fuse` (`include/uapi/linux/fuse.h`, whose names are used here).
//!
//! ```text
//!  mount() ──► Connection ── serve(files) ──► Files::read(.., Reply)   any thread may answer
//!         └──► a detached mount: one directory with one name per file
//! ```
//!
//! A file is opened for direct reads: nothing is kept in the page cache here, since whoever reads
//! (another file system on top) keeps it. When the last descriptor of `/dev/fuse` is closed, because
//! the program ended however it did, the kernel answers every read with an error: there is no way in
//! which bytes that were not supplied are seen as zeros.

mod protocol;
mod serve;

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

pub use serve::{File, Files, Reply};

/// A mounted file system's other end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Connection(Arc<OwnedFd>);

/// A new file system, and its mount: detached, in no mount namespace. Nothing can be looked up in it
/// before [`Connection::serve`] runs.
///
/// # Errors
/// When there is no `/dev/fuse`, or the kernel refuses.
pub fn mount() -> io::Result<(Connection, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let device = rustix::fs::open("/dev/fuse", flags, Mode::empty())?;
    let context = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in [
        ("source", "corten"),
        ("fd", &device.as_raw_fd().to_string()),
        ("rootmode", "40000"),
        ("user_id", "0"),
        ("group_id", "0"),
    ] {
        fsconfig_set_string(&context, key, value)?;
    }
    fsconfig_set_flag(&context, "allow_other")?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mounted = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    Ok((Connection(Arc::new(device)), mounted))
}
