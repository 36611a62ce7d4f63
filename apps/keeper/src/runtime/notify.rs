//! sd_notify(3) for a service in a container: its socket is one of ours, and its readiness is
//! handed on with the pid that the service manager is to watch.
//!
//! Only READY is handed on, as runc does: the manager would take everything else as said of the
//! runtime's own process.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci::runtime::{Mount, Spec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use sys::Errno;

use super::fail::{During, Fail, Result, reason};

const INSIDE: &str = "/run/notify";
const SOCKET: &str = "notify.sock";

/// The container's end, and where the manager listens.
#[derive(Debug)]
pub(crate) struct Notify {
    dir: PathBuf,
    socket: Option<OwnedFd>,
    manager: PathBuf,
}

impl Notify {
    /// Makes the directory that the container sees, when a manager waits for news; with `bind`
    /// also the socket in it.
    pub(crate) fn prepare(dir: &Path, bind: bool) -> Result<Option<Self>> {
        let Some(mut notify) = Self::find(dir) else {
            return Ok(None);
        };
        rustix::fs::mkdir(dir, Mode::from_raw_mode(0o755)).during("mkdir", dir.display())?;
        if bind {
            notify.bind()?;
        }
        Ok(Some(notify))
    }

    /// Makes the socket of a container that was created to be seen by a manager.
    pub(crate) fn listen(dir: &Path) -> Result<Option<Self>> {
        match Self::find(dir) {
            Some(mut notify) if dir.exists() => {
                notify.bind()?;
                Ok(Some(notify))
            }
            _ => Ok(None),
        }
    }

    fn find(dir: &Path) -> Option<Self> {
        let manager = std::env::var_os("NOTIFY_SOCKET").filter(|p| !p.is_empty())?;
        Some(Self {
            dir: dir.to_owned(),
            socket: None,
            manager: manager.into(),
        })
    }

    /// Adds mount and environment variable to the configuration.
    pub(crate) fn show(&self, spec: &mut Spec) {
        let options = ["bind", "nosuid", "noexec", "nodev", "ro"];
        spec.mounts.push(Mount {
            destination: INSIDE.into(),
            source: self.dir.to_string_lossy().into_owned(),
            options: options.map(str::to_owned).to_vec(),
            ..Mount::default()
        });
        if let Some(process) = &mut spec.process {
            process.env.push(format!("NOTIFY_SOCKET={INSIDE}/{SOCKET}"));
        }
    }

    fn bind(&mut self) -> Result<()> {
        let path = self.dir.join(SOCKET);
        let socket = datagram()?;
        let address = SocketAddrUnix::new(&path).during("bind", path.display())?;
        rustix::net::bind(&socket, &address).during("bind", path.display())?;
        // Whoever the service runs as may speak.
        rustix::fs::chmod(&path, Mode::from_raw_mode(0o777)).during("chmod", path.display())?;
        self.socket = Some(socket);
        Ok(())
    }

    /// Waits for readiness or the end of the process, and tells the manager of the first, with
    /// `pid` as the one to watch.
    pub(crate) fn forward(&self, process: &OwnedFd, pid: u32) -> Result<()> {
        let Some(socket) = &self.socket else {
            return Ok(());
        };
        let mut buffer = [0u8; 4096];
        loop {
            let mut polled = [
                PollFd::new(socket, PollFlags::IN),
                PollFd::new(process, PollFlags::IN),
            ];
            match poll(&mut polled, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(Fail::Said(format!("poll: {}", reason(e)))),
            }
            let (said, ended) = (
                !polled[0].revents().is_empty(),
                !polled[1].revents().is_empty(),
            );
            if said {
                let n = rustix::io::read(socket, &mut buffer).during("read", SOCKET)?;
                let text = String::from_utf8_lossy(buffer.get(..n).unwrap_or_default());
                if let Some(line) = text.lines().find(|l| l.starts_with("READY=")) {
                    return self.tell(line, pid);
                }
            } else if ended {
                return Ok(());
            }
        }
    }

    fn tell(&self, ready: &str, pid: u32) -> Result<()> {
        let socket = datagram()?;
        let shown = self.manager.display();
        let address = match self.manager.to_str().and_then(|p| p.strip_prefix('@')) {
            Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes()),
            None => SocketAddrUnix::new(&self.manager),
        };
        let address = address.during("dial unixgram", &shown)?;
        rustix::net::connect(&socket, &address).during("dial unixgram", &shown)?;
        for text in [format!("{ready}\n"), format!("MAINPID={pid}\n")] {
            rustix::io::write(&socket, text.as_bytes()).during("write", &shown)?;
        }
        barrier(&socket).during("barrier at", &shown)
    }
}

/// Waits until the manager has taken what was sent (sd_notify_barrier(3)): it closes the
/// descriptor that comes with the barrier.
fn barrier(socket: &OwnedFd) -> sys::Result<()> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    sys::fdpass::send(socket.as_fd(), b"BARRIER=1", &[write.as_fd()])?;
    drop(write);
    let limit = Timespec {
        tv_sec: 30,
        tv_nsec: 0,
    };
    let mut polled = [PollFd::new(&read, PollFlags::IN)];
    loop {
        match poll(&mut polled, Some(&limit)) {
            // A manager without barriers is none the worse for it.
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}

fn datagram() -> Result<OwnedFd> {
    rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .during("make", "socket")
}
