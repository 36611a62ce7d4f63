//! A child that compresses one rotated file, so that the container is not kept waiting.
//!
//! The header of the gzip file carries what docker's carries, the time of the last entry, and the
//! number of the file it was made from, by which a reader finds its place again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use flate2::{Compression, GzBuilder};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, waitid};

use super::super::encode::Clock;

/// The clock that files are stamped with lags behind the one of the entries.
const LAG: i64 = 10_000_000;

/// The child.
#[derive(Debug)]
pub(crate) struct Compressor {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Compressor {
    /// Begins to compress `from`, number `inode`, last written at `last` (seconds and nanoseconds
    /// since 1970), into `to`.
    pub(crate) fn start(from: &File, to: &Path, inode: u64, last: (i64, i64)) -> io::Result<Self> {
        let into = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o640)
            .open(to)?;
        let parent = rustix::process::getpid();
        match sys::process::fork()? {
            Some(pid) => Ok(Self {
                pid,
                pidfd: pidfd_open(pid, PidfdFlags::empty())?,
            }),
            None => {
                let done = child(parent, from, &into, inode, last);
                sys::process::exit_now(i32::from(done.is_err()));
            }
        }
    }

    /// Names it.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it made a whole file; `None` while it works.
    pub(crate) fn ended(&self) -> io::Result<Option<bool>> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let status = waitid(WaitId::PidFd(self.pidfd.as_fd()), options)?;
        Ok(status.map(|status| status.exit_status() == Some(0)))
    }
}

impl AsFd for Compressor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Compressor {
    fn drop(&mut self) {
        // No effect on one that was reaped: the descriptor names no other process.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

/// Leaves a forked child nothing but the given descriptors, and ties its life to its parent's.
pub(crate) fn confine(parent: Pid, keep: &[BorrowedFd<'_>]) -> io::Result<()> {
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

fn child(parent: Pid, from: &File, into: &File, inode: u64, last: (i64, i64)) -> io::Result<()> {
    confine(parent, &[from.as_fd(), into.as_fd()])?;
    // The container's work goes first.
    let _ = rustix::process::nice(10);
    let mut from = from;
    let mut packer = GzBuilder::new()
        .extra(header(inode, last))
        .write(into, Compression::fast());
    io::copy(&mut from, &mut packer)?;
    packer.finish()?;
    Ok(())
}

fn header(inode: u64, (second, nanos): (i64, i64)) -> Vec<u8> {
    let total = second * 1_000_000_000 + nanos + LAG;
    let mut text = br#"{"lastTime":""#.to_vec();
    let (second, nanos) = (total / 1_000_000_000, total % 1_000_000_000);
    Clock::default().at(second.unsigned_abs(), nanos as u32, &mut text);
    text.extend_from_slice(format!(r#"","inode":{inode}}}"#).as_bytes());
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_header_is_what_docker_reads() {
        let text = super::header(7, (1, 999_000_000));
        let wanted = r#"{"lastTime":"1970-01-01T00:00:02.009Z","inode":7}"#;
        assert_eq!(String::from_utf8(text).expect("text"), wanted);
    }
}
