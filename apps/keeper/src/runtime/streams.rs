//! Descriptors that a process of a container is given, and what is told of it to the caller.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use runtime::Started;
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::args::Args;
use super::fail::{During, Fail, Result};

/// What a command line says of one process.
#[derive(Debug)]
pub(crate) struct Wishes {
    /// Nobody here stays with it.
    pub(crate) detach: bool,
    /// It has a terminal.
    pub(crate) terminal: bool,
    pub(crate) pid_file: Option<PathBuf>,
    console_socket: Option<PathBuf>,
    pidfd_socket: Option<PathBuf>,
    /// Descriptors from 3 on that it inherits.
    pub(crate) preserve_fds: u32,
    /// Of these, the sockets of service activation.
    pub(crate) listen_fds: u32,
}

/// Connected before anything is made, so that a wrong path costs nothing.
#[derive(Debug, Default)]
pub(crate) struct Receivers {
    console: Option<OwnedFd>,
    pidfd: Option<OwnedFd>,
}

impl Wishes {
    /// Takes them from the options; paths are made absolute, as the caller changes directory.
    pub(crate) fn new(args: &Args, detach: bool, terminal: bool) -> Result<Self> {
        let path = |name| args.text(name).map(absolute).transpose();
        let listen_fds = listen_fds();
        let more: u32 = args.number("preserve-fds")?.unwrap_or(0);
        Ok(Self {
            detach,
            terminal,
            pid_file: path("pid-file")?,
            console_socket: path("console-socket")?,
            pidfd_socket: path("pidfd-socket")?,
            preserve_fds: listen_fds + more,
            listen_fds,
        })
    }

    /// What cannot go together, and descriptors that are not there.
    pub(crate) fn check(&self) -> Result<()> {
        if self.detach && self.terminal && self.console_socket.is_none() {
            return Err(Fail::said(
                "cannot allocate tty if runc will detach without setting console socket",
            ));
        }
        if (!self.detach || !self.terminal) && self.console_socket.is_some() {
            return Err(Fail::said(
                "cannot use console socket if runc will not detach or allocate tty",
            ));
        }
        for n in self.listen_fds..self.preserve_fds {
            if rustix::fs::stat(format!("/proc/self/fd/{}", n + 3)).is_err() {
                return Err(Fail::Said(format!(
                    "unable to stat preserved-fd {} (of {}): no such file or directory",
                    n - self.listen_fds,
                    self.preserve_fds - self.listen_fds
                )));
            }
        }
        Ok(())
    }

    pub(crate) fn connect(&self) -> Result<Receivers> {
        let one = |path: &Option<PathBuf>| path.as_deref().map(connect).transpose();
        Ok(Receivers {
            console: one(&self.console_socket)?,
            pidfd: one(&self.pidfd_socket)?,
        })
    }
}

impl Receivers {
    /// Sends what each one waits for.
    pub(crate) fn tell(&self, started: &Started) -> Result<()> {
        if let (Some(socket), Some(master)) = (&self.console, &started.terminal) {
            // The name is what runc sends along; receivers use the descriptor.
            send(socket, b"/dev/ptmx", master.as_fd()).during("send", "terminal")?;
        }
        if let Some(socket) = &self.pidfd {
            send(socket, b"pidfd", started.pidfd.as_fd()).during("send", "pidfd")?;
        }
        Ok(())
    }
}

fn send(socket: &OwnedFd, name: &[u8], fd: BorrowedFd<'_>) -> sys::Result<()> {
    sys::fdpass::send(socket.as_fd(), name, &[fd]).map(drop)
}

/// Sockets handed over by service activation (sd_listen_fds(3)), if they are meant for this
/// process.
fn listen_fds() -> u32 {
    let number = |name| std::env::var(name).ok().and_then(|v| v.parse::<u32>().ok());
    match (number("LISTEN_PID"), number("LISTEN_FDS")) {
        (Some(pid), Some(count)) if pid == std::process::id() => count,
        _ => 0,
    }
}

/// The path from the root, its links as they are.
pub(crate) fn absolute(path: &str) -> Result<PathBuf> {
    std::path::absolute(path).during("resolve", path)
}

fn connect(path: &Path) -> Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .during("make", "socket")?;
    let address = SocketAddrUnix::new(path).during("dial unix", path.display())?;
    rustix::net::connect(&socket, &address).during("dial unix", path.display())?;
    Ok(socket)
}

/// Writes the pid where the caller looks for it: complete as soon as it is there.
pub(crate) fn write_pid(path: &Path, pid: u32) -> Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Fail::Said(format!("invalid pid file {}", path.display())));
    };
    let new = dir.join(format!(".{}", name.to_string_lossy()));
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file =
        rustix::fs::open(&new, flags, Mode::from_raw_mode(0o666)).during("open", new.display())?;
    let done = rustix::io::write(&file, pid.to_string().as_bytes())
        .and_then(|_| rustix::fs::rename(&new, path));
    if done.is_err() {
        let _ = rustix::fs::unlink(&new);
    }
    done.during("write", path.display())
}
