//! News of the OOM killer.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::EventfdFlags;
use rustix::fs::OFlags;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::{Cgroup, Error, Result};

/// Becomes readable when the OOM killer may have been at work; then ask [`OomWatch::drain`].
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
    /// Held open: closing it ends v1's notification.
    control: Option<OwnedFd>,
}

impl Cgroup {
    /// Watches this cgroup.
    pub fn oom_watch(&self) -> Result<OomWatch> {
        let dir = self
            .dir("memory")
            .ok_or_else(|| Error::new("cgroup controller \"memory\" is not available"))?;
        if self.version == 1 {
            let fd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                .map_err(|e| Error::errno("make", "eventfd", e))?;
            let control = dir.open("memory.oom_control", OFlags::RDONLY)?;
            let line = format!("{} {}", fd.as_raw_fd(), control.as_raw_fd());
            dir.write("cgroup.event_control", &line)?;
            return Ok(OomWatch {
                fd,
                control: Some(control),
            });
        }
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(|e| Error::errno("make", "inotify", e))?;
        let path = dir.path.join("memory.events");
        inotify::add_watch(&fd, &path, WatchFlags::MODIFY)
            .map_err(|e| dir.error("watch", "memory.events", e))?;
        Ok(OomWatch { fd, control: None })
    }

    /// Processes of it (and below) that the OOM killer has taken; 0 when the kernel does not say.
    pub fn oom_kills(&self) -> u64 {
        let (file, key) = match self.version {
            1 => ("memory.oom_control", "oom_kill"),
            _ => ("memory.events", "oom_kill"),
        };
        let Some(text) = self.dir("memory").and_then(|d| d.read(file).ok()) else {
            return 0;
        };
        text.lines()
            .filter_map(|l| l.split_once(' '))
            .find(|(k, _)| *k == key)
            .and_then(|(_, v)| v.trim().parse().ok())
            .unwrap_or(0)
    }
}

impl OomWatch {
    /// Makes it wait for the next event; true when there was one that means a shortage of memory
    /// by itself. v1 tells it before the killer has counted its victim; on v2 an event may mean
    /// anything, and the count says.
    pub fn drain(&self) -> bool {
        let mut buffer = [0u8; 1024];
        let mut any = false;
        while matches!(rustix::io::read(&self.fd, &mut buffer), Ok(n) if n > 0) {
            any = true;
        }
        any && self.control.is_some()
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
