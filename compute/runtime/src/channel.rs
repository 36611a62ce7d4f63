//! What parent and child tell each other until execve closes the child's end.
//!
//! A container that is created now and started by another process later has a second line: a
//! FIFO that the caller made and that both inherit. The child holds it for reading and writing.
//! Who starts the container writes one byte; execve closes the child's end, and a failure before
//! that is written into the FIFO first. Only read(2) and write(2) are used once the filter may be
//! loaded.

use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::error::{Context, errno_text};
use crate::{Error, Result};

const READY: u8 = 0xf0;
const TERMINAL: u8 = 0xf1;
const EXECUTING: u8 = 0xf2;
const GO: u8 = 0xf3;
const HOOKS: u8 = 0xf4;
const LISTENER: u8 = 0xf5;
const SOURCE: u8 = 0xf6;
/// Stays below PIPE_BUF: written to a FIFO in one piece.
const MAX_MESSAGE: usize = 4096;

/// What the child said.
#[derive(Debug)]
pub(crate) enum Said {
    /// Everything is built; it waits for [`go`], or at the FIFO.
    Ready,
    /// Master side of its terminal.
    Terminal(OwnedFd),
    /// execve is next.
    Executing,
    /// Everything is mounted; it waits for [`go`] while hooks are run.
    Hooks,
    /// A seccomp listener is at this number in it; it waits for [`go`].
    Listener(i32),
    /// The tree of mount number so and so, whose ids are to be mapped; it waits for [`go`].
    Source(usize, OwnedFd),
    /// It could not.
    Failed(Error),
    /// Its end is closed: execve succeeded, or it died.
    Closed,
}

/// The child's end.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    socket: RefCell<Option<OwnedFd>>,
    fifo: Option<BorrowedFd<'a>>,
}

impl<'a> Line<'a> {
    pub(crate) fn new(socket: OwnedFd, fifo: Option<BorrowedFd<'a>>) -> Self {
        Self {
            socket: RefCell::new(Some(socket)),
            fifo,
        }
    }

    /// Descriptors that must stay open up to execve.
    pub(crate) fn descriptors(&self) -> Vec<i32> {
        let socket = self.socket.borrow().as_ref().map(AsRawFd::as_raw_fd);
        let fifo = self.fifo.map(|f| f.as_raw_fd());
        socket.into_iter().chain(fifo).collect()
    }

    pub(crate) fn terminal(&self, master: BorrowedFd<'_>) -> Result<()> {
        self.say(&[TERMINAL], &[master])
    }

    /// Lets the parent run its hooks and waits until it has.
    pub(crate) fn hooks(&self) -> Result<()> {
        self.say(&[HOOKS], &[])?;
        self.wait_go()
    }

    /// Lets the parent fetch a listener and waits until it has.
    pub(crate) fn listener(&self, fd: BorrowedFd<'_>) -> Result<()> {
        let [a, b, c, d] = fd.as_raw_fd().to_ne_bytes();
        self.say(&[LISTENER, a, b, c, d], &[])?;
        self.wait_go()
    }

    /// Lets the parent map the ids of the tree of a mount and waits until it has.
    pub(crate) fn source(&self, mount: usize, tree: BorrowedFd<'_>) -> Result<()> {
        let mut bytes = vec![SOURCE];
        bytes.extend(mount.to_ne_bytes());
        self.say(&bytes, &[tree])?;
        self.wait_go()
    }

    /// Waits for the start: at the FIFO, the parent being free to go, or else for the parent.
    pub(crate) fn wait_start(&self) -> Result<()> {
        self.say(&[READY], &[])?;
        let Some(fifo) = self.fifo else {
            return self.wait_go();
        };
        self.socket.borrow_mut().take();
        let mut byte = [0u8];
        loop {
            match rustix::io::read(fifo, &mut byte) {
                Ok(1) if byte == [GO] => return Ok(()),
                Err(sys::Errno::INTR) => {}
                Ok(_) => return Err(Error::internal("exec fifo: unexpected message")),
                Err(e) => return Err(Error::internal(format!("exec fifo: {}", errno_text(e)))),
            }
        }
    }

    pub(crate) fn executing(&self) -> Result<()> {
        self.say(&[EXECUTING], &[])
    }

    /// Waits for [`go`]; an error when the parent is gone instead.
    pub(crate) fn wait_go(&self) -> Result<()> {
        let socket = self.socket.borrow();
        let Some(socket) = socket.as_ref() else {
            return Err(Error::internal("parent is gone"));
        };
        let mut byte = [0u8];
        loop {
            match rustix::io::read(socket, &mut byte) {
                Ok(1) if byte == [GO] => return Ok(()),
                Ok(_) => return Err(Error::internal("parent is gone")),
                Err(sys::Errno::INTR) => {}
                Err(e) => {
                    return Err(Error::internal(format!(
                        "wait for parent: {}",
                        errno_text(e)
                    )));
                }
            }
        }
    }

    /// The child's last word; there is nobody to tell when it cannot be said.
    pub(crate) fn failed(&self, error: &Error) {
        let mut bytes = error.to_bytes();
        bytes.truncate(MAX_MESSAGE);
        match self.socket.borrow().as_ref() {
            Some(socket) => drop(rustix::io::write(socket, &bytes)),
            None => drop(self.fifo.map(|fifo| rustix::io::write(fifo, &bytes))),
        }
    }

    /// Nobody listens any more after a start through the FIFO: then it is not said.
    fn say(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
        match self.socket.borrow().as_ref() {
            Some(socket) if fds.is_empty() => rustix::io::write(socket, bytes).map(drop),
            Some(socket) => sys::fdpass::send(socket.as_fd(), bytes, fds).map(drop),
            None => Ok(()),
        }
        .context(|| "write to channel")
    }
}

/// Lets the child go on.
pub(crate) fn go(channel: BorrowedFd<'_>) -> Result<()> {
    sys::fdpass::send(channel, &[GO], &[])
        .map(drop)
        .context(|| "write to channel")
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
        Some((&SOURCE, number)) => match (got.fds.pop(), number.try_into()) {
            (Some(tree), Ok(number)) => Said::Source(usize::from_ne_bytes(number), tree),
            _ => return Err(Error::internal("child sent no tree")),
        },
        Some((&kind, text)) => Said::Failed(Error::from_bytes(kind, text)),
    })
}

/// The other side of [`Line::wait_start`]: releases the process that waits at the FIFO `path` and
/// returns once execve has succeeded.
///
/// The kernel tells a writer with POLLERR when the last reader has gone (fifo(7), pipe(7)), and
/// refuses a writer with ENXIO when there is none to begin with.
pub(crate) fn release(path: &std::path::Path) -> Result<()> {
    use rustix::event::{PollFd, PollFlags};
    use rustix::fs::{Mode, OFlags};
    let gone = || Error::new(crate::Kind::NotRunning, "container init is not running");
    let open = |flags| {
        let flags = flags | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::open(path, flags, Mode::empty())
    };
    let fifo = match open(OFlags::WRONLY) {
        Ok(fifo) => fifo,
        Err(sys::Errno::NXIO) => return Err(gone()),
        Err(e) => {
            return Err(Error::internal(format!(
                "open exec fifo: {}",
                errno_text(e)
            )));
        }
    };
    match rustix::io::write(&fifo, &[GO]) {
        Ok(_) => {}
        Err(sys::Errno::PIPE) => return Err(gone()),
        Err(e) => {
            return Err(Error::internal(format!(
                "write exec fifo: {}",
                errno_text(e)
            )));
        }
    }
    let mut polled = [PollFd::new(&fifo, PollFlags::empty())];
    loop {
        match rustix::event::poll(&mut polled, None) {
            Ok(_) => break,
            Err(sys::Errno::INTR) => {}
            Err(e) => {
                return Err(Error::internal(format!(
                    "poll exec fifo: {}",
                    errno_text(e)
                )));
            }
        }
    }
    // What it wrote stays in the pipe as long as this end holds it.
    let reader = open(OFlags::RDONLY).context(|| "open exec fifo")?;
    let mut buffer = [0u8; MAX_MESSAGE];
    match rustix::io::read(&reader, &mut buffer) {
        Ok(0) | Err(sys::Errno::AGAIN) => Ok(()),
        Ok(n) => match buffer.get(..n).and_then(|b| b.split_first()) {
            // Nobody has taken it: the process died while it waited.
            Some((&GO, _)) | None => Err(gone()),
            Some((&kind, text)) => Err(Error::from_bytes(kind, text)),
        },
        Err(e) => Err(Error::internal(format!(
            "read exec fifo: {}",
            errno_text(e)
        ))),
    }
}
