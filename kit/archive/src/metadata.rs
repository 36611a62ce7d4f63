//! Owner, mode, times and extended attributes of one entry.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};

use crate::Error;

/// What an entry says about its file.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    /// Permissions and set-ID bits.
    pub mode: u32,
    /// User and group; `None` leaves the owner.
    pub owner: Option<(u32, u32)>,
    /// Seconds since 1970, and nanoseconds.
    pub mtime: (i64, i64),
    /// Names and values.
    pub xattrs: Vec<(String, Vec<u8>)>,
}

impl Metadata {
    /// Sets everything on `name` below `parent`. Times last, since the rest changes them. Nothing
    /// is followed: whoever shares the directory may have put a link in the file's place. `lenient`:
    /// attributes that cannot be kept are left out.
    pub(crate) fn set(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        is_link: bool,
        lenient: bool,
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
        if !is_link || !self.xattrs.is_empty() {
            // chmod(2) and setxattr(2) take no descriptor opened with O_PATH, but its name in /proc,
            // which leads to the very file and no further.
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file =
                rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(Error::at(shown))?;
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            if !is_link {
                let mode = Mode::from_raw_mode(self.mode & 0o7777);
                rustix::fs::chmod(&path, mode).map_err(Error::at(shown))?;
            }
            self.set_xattrs(&path, lenient, shown)?;
        }
        self.set_times(parent, name, shown)
    }

    pub(crate) fn set_times(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
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

    fn set_xattrs(&self, path: &str, lenient: bool, shown: &str) -> Result<(), Error> {
        for (key, value) in &self.xattrs {
            match rustix::fs::setxattr(path, key.as_str(), value, XattrFlags::empty()) {
                Ok(()) => {}
                // Attributes that this file system or kind of file cannot have, as docker does.
                Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::PERM)
                    if lenient || key.starts_with("user.") || key.starts_with("system.") => {}
                Err(error) => return Err(Error::at(shown)(error)),
            }
        }
        Ok(())
    }
}
