//! A terminal from the container's own devpts.

use std::os::fd::{AsFd, OwnedFd};

use oci::runtime::ConsoleSize;
use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, OutputModes, Winsize};

use crate::Result;
use crate::error::Context;

#[derive(Debug)]
pub(crate) struct Pty {
    pub(crate) master: OwnedFd,
    pub(crate) slave: OwnedFd,
}

/// Opens one through /dev/pts/ptmx of the current root.
pub(crate) fn open(size: Option<ConsoleSize>) -> Result<Pty> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty())
        .or_else(|_| rustix::fs::open("/dev/ptmx", flags, Mode::empty()))
        .context(|| "open /dev/pts/ptmx")?;
    rustix::pty::unlockpt(&master).context(|| "unlock terminal")?;
    // By the master's descriptor: a path could have been replaced.
    let slave = rustix::pty::ioctl_tiocgptpeer(
        master.as_fd(),
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )
    .context(|| "open terminal")?;
    if let Some(size) = size {
        let size = Winsize {
            ws_row: size.height,
            ws_col: size.width,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&slave, size).context(|| "set terminal size")?;
    }
    Ok(Pty { master, slave })
}

/// Ends the translation of newlines on output.
pub(crate) fn plain_newlines(pty: &Pty) -> Result<()> {
    let mut modes = rustix::termios::tcgetattr(&pty.slave).context(|| "get terminal modes")?;
    modes.output_modes.remove(OutputModes::ONLCR);
    rustix::termios::tcsetattr(&pty.slave, OptionalActions::Now, &modes)
        .context(|| "set terminal modes")
}
