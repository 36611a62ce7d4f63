//! The non-blocking mode: entries go through a pipe to a child that writes the files, and are
//! dropped when the pipe is full. The container never waits for the disk.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};

use keeper_protocol::LogFile;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, waitid};

use super::compress::confine;
use super::files::Files;

/// How long the end of the container waits for what is buffered, as dockerd does.
const LAST: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

/// The writing end.
#[derive(Debug)]
pub(crate) struct Buffer {
    pipe: Option<OwnedFd>,
    pidfd: OwnedFd,
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
        let parent = rustix::process::getpid();
        match sys::process::fork()? {
            Some(pid) => Ok(Self {
                pipe: Some(write),
                pidfd: pidfd_open(pid, PidfdFlags::empty())?,
                begun: Vec::new(),
                dropped: false,
            }),
            None => {
                let done = child(parent, read, log);
                sys::process::exit_now(i32::from(done.is_err()));
            }
        }
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
    pub(crate) fn child(&self) -> std::sync::Arc<OwnedFd> {
        std::sync::Arc::new(self.pidfd.try_clone().expect("pidfd"))
    }

    fn dropping(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.dropped, true) {
            true => Ok(()),
            false => Err(io::Error::other(
                "its buffer is full: output is being dropped",
            )),
        }
    }

    /// Waits for what is buffered to be written.
    pub(crate) fn close(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            // The child takes it all sooner or later; the end is near, so waiting is right.
            let _ = rustix::io::ioctl_fionbio(&pipe, false);
            let begun = std::mem::take(&mut self.begun);
            let ready = poll(&mut [PollFd::new(&pipe, PollFlags::OUT)], Some(&LAST));
            if !begun.is_empty() && ready.is_ok_and(|n| n > 0) {
                let _ = io::Write::write_all(&mut File::from(pipe), &begun);
            }
        }
        let _ = poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&LAST));
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.close();
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

fn child(parent: Pid, read: OwnedFd, log: &LogFile) -> io::Result<()> {
    confine(parent, &[read.as_fd()])?;
    // A keeper that is killed closes the pipe; what is in it is still written.
    rustix::process::set_parent_process_death_signal(None)?;
    let mut files = Files::open(log)?;
    let mut pipe = File::from(read);
    let mut held = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let mut waiting = vec![PollFd::new(&pipe, PollFlags::IN)];
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
        let n = pipe.read(&mut buffer)?;
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
