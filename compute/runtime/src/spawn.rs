//! Helper programs (hooks, newuidmap): fed, watched and bounded in time.
//!
//! ```text
//!   caller ── clone3 ──► helper: stdin, stdout, stderr, then execve
//!     │ poll: stdin writable · output readable · pidfd ended · time is up
//!     ◄── exit status, and the beginning of what it wrote
//! ```
//!
//! The helper is always reaped here. What it leaves running in the background is its own affair:
//! the end of the helper itself ends the wait, not the end of its output.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::pipe::PipeFlags;
use rustix::process::{WaitId, WaitIdOptions};
use sys::Errno;
use sys::process::{CloneArgs, Cloned};

use crate::error::{Context, errno_text};
use crate::{Error, Result};

/// Most of the output that is kept for an error message.
const KEPT: usize = 4096;

/// What to run.
#[derive(Debug)]
pub(crate) struct Helper<'a> {
    pub(crate) path: &'a CStr,
    pub(crate) args: &'a [CString],
    pub(crate) env: &'a [CString],
    /// Directory it begins in; `None` is the caller's.
    pub(crate) cwd: Option<&'a CStr>,
    pub(crate) stdin: &'a [u8],
    pub(crate) timeout: Option<Duration>,
}

/// How it went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Exited(i32),
    Killed(i32),
    TimedOut,
}

/// Runs a helper to its end; also gives the beginning of what it wrote to stdout and stderr.
pub(crate) fn run(helper: &Helper<'_>) -> Result<(Outcome, String)> {
    let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).context(|| "make pipe");
    let ((input, feed), (drain, output), (word, trouble)) = (pipe()?, pipe()?, pipe()?);
    let cloned = sys::process::clone3(&CloneArgs::default()).context(|| "clone3")?;
    let pidfd = match cloned {
        Cloned::Child => {
            let errno = become_helper(helper, input.as_fd(), output.as_fd());
            let _ = rustix::io::write(&trouble, &errno.raw_os_error().to_ne_bytes());
            sys::process::exit_now(127)
        }
        Cloned::Parent { pidfd, .. } => pidfd,
    };
    drop((output, trouble));
    let mut child = Child {
        pidfd,
        reaped: false,
        _input: input,
    };
    let mut errno = [0u8; 4];
    // The end of this pipe is execve; four bytes are why there was none.
    if matches!(retry(|| rustix::io::read(&word, &mut errno)), Ok(4)) {
        let errno = Errno::from_raw_os_error(i32::from_ne_bytes(errno));
        return Err(Error::internal(format!(
            "exec {}: {}",
            helper.path.to_string_lossy(),
            errno_text(errno)
        )));
    }
    child.watch(helper, feed, &drain)
}

/// In the new process; returns only when it could not become the helper.
fn become_helper(helper: &Helper<'_>, input: BorrowedFd<'_>, output: BorrowedFd<'_>) -> Errno {
    let ready = (|| {
        // Lifted first: a pipe of the caller may sit where a stream goes.
        let input = rustix::io::fcntl_dupfd_cloexec(input, 3)?;
        let output = rustix::io::fcntl_dupfd_cloexec(output, 3)?;
        sys::process::place_fd(input.as_fd(), 0)?;
        sys::process::place_fd(output.as_fd(), 1)?;
        sys::process::place_fd(output.as_fd(), 2)?;
        sys::process::cloexec_from(3)?;
        if let Some(cwd) = helper.cwd {
            rustix::process::chdir(cwd)?;
        }
        sys::process::reset_signals();
        Ok(())
    })();
    match ready {
        Ok(()) => sys::exec::execve(helper.path, helper.args, helper.env),
        Err(errno) => errno,
    }
}

struct Child {
    pidfd: OwnedFd,
    reaped: bool,
    /// Kept open, so that writing to a helper that does not read is never SIGPIPE.
    _input: OwnedFd,
}

impl Child {
    fn watch(
        &mut self,
        helper: &Helper<'_>,
        feed: OwnedFd,
        drain: &OwnedFd,
    ) -> Result<(Outcome, String)> {
        for fd in [&feed, drain] {
            rustix::fs::fcntl_setfl(fd, OFlags::NONBLOCK).context(|| "fcntl")?;
        }
        let end = helper.timeout.map(|t| Instant::now() + t);
        let mut feed = Some((feed, helper.stdin));
        let (mut text, mut open) = (Vec::new(), true);
        loop {
            let left = end.map(|e| e.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok((Outcome::TimedOut, shown(text)));
            }
            let ended = {
                let mut fds = vec![PollFd::new(&self.pidfd, PollFlags::IN)];
                if open {
                    fds.push(PollFd::new(drain, PollFlags::IN));
                }
                if let Some((feed, _)) = &feed {
                    fds.push(PollFd::new(feed, PollFlags::OUT));
                }
                let left = left.and_then(|l| Timespec::try_from(l).ok());
                match rustix::event::poll(&mut fds, left.as_ref()) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(e) => return Err(Error::internal(format!("poll: {}", errno_text(e)))),
                }
                fds.first().is_some_and(|fd| !fd.revents().is_empty())
            };
            feed = feed.and_then(|(fd, rest)| push(fd, rest));
            open = open && pull(drain, &mut text);
            if ended {
                return Ok((self.reap()?, shown(text)));
            }
        }
    }

    fn reap(&mut self) -> Result<Outcome> {
        let options = WaitIdOptions::EXITED;
        let status = retry(|| rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options))
            .context(|| "wait for helper")?;
        self.reaped = true;
        Ok(match status {
            Some(s) => match (s.exit_status(), s.terminating_signal()) {
                (Some(code), _) => Outcome::Exited(code),
                (None, signal) => Outcome::Killed(signal.unwrap_or_default()),
            },
            None => Outcome::Killed(0),
        })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = sys::process::pidfd_signal(self.pidfd.as_fd(), libc::SIGKILL);
            let _ = self.reap();
        }
    }
}

/// Writes what fits; `None` once everything is written or nobody reads.
fn push(fd: OwnedFd, rest: &[u8]) -> Option<(OwnedFd, &[u8])> {
    if rest.is_empty() {
        return None;
    }
    match rustix::io::write(&fd, rest) {
        Ok(n) if n < rest.len() => Some((fd, rest.get(n..).unwrap_or_default())),
        Err(Errno::AGAIN | Errno::INTR) => Some((fd, rest)),
        Ok(_) | Err(_) => None,
    }
}

/// Reads what is there; false once the other end is closed.
fn pull(fd: &OwnedFd, text: &mut Vec<u8>) -> bool {
    let mut chunk = [0u8; 4096];
    loop {
        match rustix::io::read(fd, &mut chunk) {
            Ok(0) => return false,
            Ok(n) => {
                let room = KEPT.saturating_sub(text.len()).min(n);
                text.extend_from_slice(chunk.get(..room).unwrap_or_default());
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return true,
            Err(_) => return false,
        }
    }
}

fn shown(text: Vec<u8>) -> String {
    String::from_utf8_lossy(&text).trim().to_owned()
}

fn retry<T>(mut call: impl FnMut() -> sys::Result<T>) -> sys::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}
