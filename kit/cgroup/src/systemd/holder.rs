//! A process that does nothing: a scope is started around one, and would end at once without.

use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use sys::process::{CloneArgs, Cloned};

use crate::{Error, Result};

/// Sleeps until it is dropped, or its maker ends in whatever way.
#[derive(Debug)]
pub struct Holder {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Holder {
    /// For programs with one thread.
    pub fn begin() -> Result<Self> {
        let maker = rustix::process::getpid();
        match sys::process::clone3(&CloneArgs::default()) {
            Ok(Cloned::Parent { pid, pidfd }) => Ok(Self { pid, pidfd }),
            Ok(Cloned::Child) => sleep(maker),
            Err(errno) => Err(Error::errno("make", "a process for the unit", errno)),
        }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = sys::process::pidfd_signal(self.pidfd.as_fd(), Signal::KILL.as_raw());
        let _ = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

fn sleep(maker: Pid) -> ! {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    // It ended before that was set.
    if rustix::process::getppid() != Some(maker) {
        sys::process::exit_now(0);
    }
    // Nothing of its maker's is held open by it.
    let _ = sys::process::close_range(0, i32::MAX);
    loop {
        rustix::event::pause();
    }
}
