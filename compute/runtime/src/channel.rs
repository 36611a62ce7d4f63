//! What parent and child tell each other until execve closes the child's end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::{Context, errno_text};
use crate::{Error, Result};

const READY: u8 = 0xf0;
const TERMINAL: u8 = 0xf1;
const EXECUTING: u8 = 0xf2;
const GO: u8 = 0xf3;
const HOOKS: u8 = 0xf4;
const LISTENER: u8 = 0xf5;
const MAX_MESSAGE: usize = 4096;

/// What the child said.
#[derive(Debug)]
pub(crate) enum Said {
    /// Everything is built; it waits for [`go`].
    Ready,
    /// Master side of its terminal.
    Terminal(OwnedFd),
    /// execve is next.
    Executing,
    /// Everything is mounted; it waits for [`go`] while hooks are run.
    Hooks,
    /// A seccomp listener is at this number in it; it waits for [`go`].
    Listener(i32),
    /// It could not.
    Failed(Error),
    /// Its end is closed: execve succeeded, or it died.
    Closed,
}

pub(crate) fn ready(channel: BorrowedFd<'_>) -> Result<()> {
    write(channel, &[READY])
}

pub(crate) fn terminal(channel: BorrowedFd<'_>, master: BorrowedFd<'_>) -> Result<()> {
    say(channel, &[TERMINAL], &[master])
}

pub(crate) fn executing(channel: BorrowedFd<'_>) -> Result<()> {
    write(channel, &[EXECUTING])
}

pub(crate) fn hooks(channel: BorrowedFd<'_>) -> Result<()> {
    write(channel, &[HOOKS])
}

pub(crate) fn listener(channel: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> Result<()> {
    use std::os::fd::AsRawFd;
    let [a, b, c, d] = fd.as_raw_fd().to_ne_bytes();
    write(channel, &[LISTENER, a, b, c, d])
}

/// The child's last word; there is nobody to tell when it cannot be said.
pub(crate) fn failed(channel: BorrowedFd<'_>, error: &Error) {
    let mut bytes = error.to_bytes();
    bytes.truncate(MAX_MESSAGE);
    let _ = rustix::io::write(channel, &bytes);
}

/// Lets the child go on.
pub(crate) fn go(channel: BorrowedFd<'_>) -> Result<()> {
    say(channel, &[GO], &[])
}

/// Waits for [`go`]; an error when the parent is gone instead.
pub(crate) fn wait_go(channel: BorrowedFd<'_>) -> Result<()> {
    let mut byte = [0u8];
    match rustix::io::read(channel, &mut byte) {
        Ok(1) if byte == [GO] => Ok(()),
        Ok(_) => Err(Error::internal("parent is gone")),
        Err(e) => Err(Error::internal(format!(
            "wait for parent: {}",
            errno_text(e)
        ))),
    }
}

/// The child's next message.
pub(crate) fn listen(channel: BorrowedFd<'_>) -> Result<Said> {
    let mut buffer = [0u8; MAX_MESSAGE];
    let mut got = match sys::fdpass::recv(channel, &mut buffer, 1) {
        Ok(got) => got,
        Err(sys::Errno::CONNRESET) => return Ok(Said::Closed),
        Err(e) => {
            return Err(Error::internal(format!(
                "read from child: {}",
                errno_text(e)
            )));
        }
    };
    Ok(match buffer.get(..got.len).and_then(|b| b.split_first()) {
        None => Said::Closed,
        Some((&READY, _)) => Said::Ready,
        Some((&EXECUTING, _)) => Said::Executing,
        Some((&HOOKS, _)) => Said::Hooks,
        Some((&LISTENER, &[a, b, c, d])) => Said::Listener(i32::from_ne_bytes([a, b, c, d])),
        Some((&TERMINAL, _)) => match got.fds.pop() {
            Some(fd) => Said::Terminal(fd),
            None => return Err(Error::internal("child sent no terminal")),
        },
        Some((&kind, text)) => Said::Failed(Error::from_bytes(kind, text)),
    })
}

/// By write(2), as what a filter of the container's is sure to let through.
fn write(channel: BorrowedFd<'_>, bytes: &[u8]) -> Result<()> {
    rustix::io::write(channel, bytes)
        .map(drop)
        .context(|| "write to channel")
}

fn say(channel: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    sys::fdpass::send(channel.as_fd(), bytes, fds)
        .map(drop)
        .context(|| "write to channel")
}
