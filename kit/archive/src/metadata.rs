//! Owner, mode, times and extended attributes of one entry.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid};

use crate::Error;

/// What an entry says about its file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metadata {
    pub(crate) mode: u32,
    /// `None` leaves the owner.
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) mtime: (i64, i64),
    pub(crate) xattrs: Vec<(String, Vec<u8>)>,
}

impl Metadata {
    /// Sets everything on `name` below `parent`. Times last, since the rest changes them.
    pub(crate) fn set(
        &self,
        parent: BorrowedFd<'_>,
        name: &str,
        is_link: bool,
        shown: &str,
    ) -> Result<(), Error> {
        if let Some((uid, gid)) = self.owner {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            rustix::fs::chownat(
                parent,
                name,
                Some(uid),
                Some(gid),
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_err(Error::at(shown))?;
        }
        if !is_link {
            let mode = Mode::from_raw_mode(self.mode & 0o7777);
            rustix::fs::chmodat(parent, name, mode, AtFlags::empty()).map_err(Error::at(shown))?;
        }
        if !self.xattrs.is_empty() {
            self.set_xattrs(parent, name, shown)?;
        }
        self.set_times(parent, name, shown)
    }

    pub(crate) fn set_times(
        &self,
        parent: BorrowedFd<'_>,
        name: &str,
        shown: &str,
    ) -> Result<(), Error> {
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: self.mtime.0,
                tv_nsec: self.mtime.1,
            },
        };
        rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(Error::at(shown))
    }

    fn set_xattrs(&self, parent: BorrowedFd<'_>, name: &str, shown: &str) -> Result<(), Error> {
        use rustix::fs::{OFlags, XattrFlags};
        // The entry was made by us below a descriptor we hold; its own link is not followed.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(Error::at(shown))?;
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        for (key, value) in &self.xattrs {
            match rustix::fs::setxattr(&path, key.as_str(), value, XattrFlags::empty()) {
                Ok(()) => {}
                // Attributes that this file system or kind of file cannot have, as docker does.
                Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::PERM)
                    if key.starts_with("user.") || key.starts_with("system.") => {}
                Err(error) => return Err(Error::at(shown)(error)),
            }
        }
        Ok(())
    }
}
