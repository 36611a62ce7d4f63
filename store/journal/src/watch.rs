//! Being told when a log grows, by inotify.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::fs::inotify;

use crate::{Error, Result};

/// A descriptor that is readable when something was written to the log, or it was rotated.
#[derive(Debug)]
pub struct Watch(OwnedFd);

impl Watch {
    /// Watches the directory of the log, and with it its present and future files. Make it before
    /// reading to the end, so that nothing falls in between.
    ///
    /// # Errors
    /// When the directory is not there, or the user has no inotify instances left.
    pub fn new(log: &Path) -> Result<Self> {
        let directory = log.parent().unwrap_or(Path::new("/"));
        let io = |error| Error::io(directory, std::io::Error::from(error));
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .map_err(io)?;
        let flags = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::ONLYDIR;
        inotify::add_watch(&fd, directory, flags).map_err(io)?;
        Ok(Self(fd))
    }

    /// Forgets what it was told so far: not readable until the next change.
    ///
    /// # Errors
    /// When the descriptor cannot be read.
    pub fn drain(&self) -> std::io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match rustix::io::read(&self.0, &mut buffer) {
                Ok(0) | Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
