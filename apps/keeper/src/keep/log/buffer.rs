//! The non-blocking mode: entries go through a pipe to a child that writes the files, and are
//! dropped when the pipe is full. The container never waits for the disk.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use keeper_protocol::LogFile;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use super::child::Child;
use super::files::Files;

/// How long the end of the container waits for what is buffered, as dockerd does.
const LAST: Duration = Duration::from_secs(10);

/// The writing end. Dropped, it waits for what is buffered to be written, so long and no longer.
#[derive(Debug)]
pub(crate) struct Buffer {
    pipe: Option<OwnedFd>,
    child: Child,
    /// End of an entry of which the pipe took the beginning.
    begun: Vec<u8>,
    /// Entries dropped since this was told last.
    dropped: bool,
}

impl Buffer {
    /// Starts the child. `size` is in bytes; the kernel rounds it up to a power of two.
    pub(crate) fn start(log: &LogFile, size: u64) -> io::Result<Self> {
        // Opened here first, so that what cannot be opened fails the start.
        Files::open(log)?;
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let size = usize::try_from(size)
            .unwrap_or(usize::MAX)
            .clamp(64 << 10, 64 << 20);
        fcntl_setpipe_size(&write, size)?;
        rustix::io::ioctl_fionbio(&write, true)?;
        let child = Child::start(&[read.as_fd()], || take(&read, log))?;
        Ok(Self {
            pipe: Some(write),
            child,
            begun: Vec::new(),
            dropped: false,
        })
    }

    /// Takes whole entries, or drops them; an error is given for the first of a row.
    pub(crate) fn write(&mut self, entries: &[u8]) -> io::Result<()> {
        let Some(pipe) = &self.pipe else {
            return Ok(());
        };
        while !self.begun.is_empty() {
            match rustix::io::write(pipe, &self.begun) {
                Ok(n) => drop(self.begun.drain(..n)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return self.dropping(),
                Err(errno) => return Err(errno.into()),
            }
        }
        let mut sent = 0;
        while sent < entries.len() {
            match rustix::io::write(pipe, &entries[sent..]) {
                Ok(n) => sent += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if sent == 0 => return self.dropping(),
                Err(Errno::AGAIN) => {
                    // What follows an entry's beginning must be the rest of it.
                    self.begun = entries[sent..].to_vec();
                    return Ok(());
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        self.dropped = false;
        Ok(())
    }

    /// For tests that stop it.
    #[cfg(test)]
    pub(crate) fn child(&self) -> OwnedFd {
        self.child.as_fd().try_clone_to_owned().expect("pidfd")
    }

    fn dropping(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.dropped, true) {
            true => Ok(()),
            false => Err(io::Error::other(
                "its buffer is full: output is being dropped",
            )),
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let until = Instant::now() + LAST;
        if let Some(pipe) = self.pipe.take() {
            let mut rest = self.begun.as_slice();
            while !rest.is_empty() && happens(&pipe, PollFlags::OUT, until) {
                match rustix::io::write(&pipe, rest) {
                    Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(_) => break,
                }
            }
        }
        happens(&self.child, PollFlags::IN, until);
    }
}

/// Waits for it; false when it does not happen until then.
fn happens(fd: impl AsFd, what: PollFlags, until: Instant) -> bool {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap_or_default();
        match poll(&mut [PollFd::new(&fd, what)], Some(&left)) {
            Err(Errno::INTR) => {}
            other => return other.is_ok_and(|n| n > 0),
        }
    }
}

/// The child's work.
fn take(pipe: &OwnedFd, log: &LogFile) -> io::Result<()> {
    // A keeper that is killed closes the pipe; what is in it is still written.
    rustix::process::set_parent_process_death_signal(None)?;
    let mut files = Files::open(log)?;
    let mut held = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let mut waiting = vec![PollFd::new(pipe, PollFlags::IN)];
        if let Some((compressing, _)) = files.compressing() {
            waiting.push(PollFd::from_borrowed_fd(compressing, PollFlags::IN));
        }
        match poll(&mut waiting, None) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        let ready = !waiting[0].revents().is_empty();
        drop(waiting);
        // Failing there or here loses entries; the next ones may fit again.
        let _ = files.compressed();
        if !ready {
            continue;
        }
        let n = rustix::io::read(pipe, &mut buffer[..])?;
        if n == 0 {
            files.close();
            return Ok(());
        }
        held.extend_from_slice(&buffer[..n]);
        let whole = super::whole(log.format, &held);
        let _ = files.write(&held[..whole]);
        held.drain(..whole);
    }
}
