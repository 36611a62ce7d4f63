//! Children that do slow work for the log, with nothing of the keeper but the descriptors they need.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, pidfd_open, waitid,
};

/// A child; dropped, it is killed and reaped.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Child {
    /// Begins `work` in a child that has the descriptors of `keep` alone, and that is killed with
    /// the keeper.
    pub(super) fn start(
        keep: &[BorrowedFd<'_>],
        work: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<Self> {
        let parent = rustix::process::getpid();
        let Some(pid) = sys::process::fork()? else {
            let done = confine(parent, keep).and_then(|()| work());
            sys::process::exit_now(i32::from(done.is_err()));
        };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Self { pid, pidfd }),
            Err(errno) => {
                // Nobody would look after it.
                let _ = kill_process(pid, Signal::KILL);
                let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
                Err(errno.into())
            }
        }
    }

    /// Names it.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether its work succeeded; `None` while it works.
    pub(super) fn ended(&self) -> io::Result<Option<bool>> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let status = waitid(WaitId::PidFd(self.pidfd.as_fd()), options)?;
        Ok(status.map(|status| status.exit_status() == Some(0)))
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // No effect on one that was reaped: the descriptor names no other process.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

fn confine(parent: Pid, keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() != Some(parent) {
        return Err(io::Error::other("the keeper is gone"));
    }
    let mut keep: Vec<i32> = keep.iter().map(|fd| fd.as_raw_fd()).collect();
    keep.sort_unstable();
    let mut next = 0;
    for fd in keep {
        if fd > next {
            sys::process::close_range(next, fd - 1)?;
        }
        next = fd + 1;
    }
    sys::process::close_range(next, i32::MAX)?;
    Ok(())
}
