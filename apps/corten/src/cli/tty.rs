//! The terminal: raw mode that is undone on every way out, its size, and its input.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Mutex;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{self, OptionalActions, Termios};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What the terminal was before it was made raw.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Raw mode of standard input, until dropped.
#[derive(Debug)]
pub(crate) struct Raw(());

impl Raw {
    /// Makes standard input raw when it is a terminal.
    pub(crate) fn enter() -> Option<Self> {
        let stdin = rustix::stdio::stdin();
        let before = termios::tcgetattr(stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        *lock() = Some(before);
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            previous(info);
        }));
        termios::tcsetattr(stdin, OptionalActions::Now, &raw).ok()?;
        Some(Self(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Undoes raw mode, if it is on.
pub(crate) fn restore() {
    if let Some(before) = lock().take() {
        // The terminal may be gone.
        let _ = termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &before);
    }
}

fn lock() -> std::sync::MutexGuard<'static, Option<Termios>> {
    BEFORE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Whether standard input is a terminal.
pub(crate) fn stdin_is_terminal() -> bool {
    termios::isatty(rustix::stdio::stdin())
}

/// Height and width of the terminal behind standard output; zeros when there is none.
pub(crate) fn size() -> (u16, u16) {
    termios::tcgetwinsize(rustix::stdio::stdout()).map_or((0, 0), |size| (size.ws_row, size.ws_col))
}

/// Standard input, read without a thread: waited for where the kernel can wait, read at once
/// where it is always ready (files).
#[derive(Debug)]
pub(crate) struct Input(Option<AsyncFd<BorrowedFd<'static>>>);

impl Input {
    /// Needs a running runtime.
    #[allow(
        deprecated,
        reason = "a BorrowedFd for 'static cannot be closed under it; the successor is unsafe"
    )]
    pub(crate) fn new() -> Self {
        // Files cannot be registered, and need not be.
        Self(AsyncFd::with_interest(rustix::stdio::stdin(), Interest::READABLE).ok())
    }

    /// Next bytes; 0 at the end.
    ///
    /// # Errors
    /// The input cannot be read.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let stdin = rustix::stdio::stdin();
        loop {
            if let Some(input) = &self.0 {
                let mut ready = input.readable().await?;
                // The descriptor is shared and stays blocking, so readiness is asked for afresh.
                if !readable_now(stdin)? {
                    ready.clear_ready();
                    continue;
                }
            }
            match rustix::io::read(stdin, &mut *buffer) {
                Ok(n) => return Ok(n),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

fn readable_now(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    Ok(poll(&mut fds, Some(&now))? > 0)
}

/// Standard input without echo, until dropped.
#[derive(Debug)]
pub(crate) struct Hidden(());

impl Hidden {
    /// Turns the echo off when standard input is a terminal.
    pub(crate) fn enter() -> Option<Self> {
        let stdin = rustix::stdio::stdin();
        let before = termios::tcgetattr(stdin).ok()?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(termios::LocalModes::ECHO);
        *lock() = Some(before);
        termios::tcsetattr(stdin, OptionalActions::Now, &hidden).ok()?;
        Some(Self(()))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        restore();
    }
}
