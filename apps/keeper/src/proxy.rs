//! Forwards published ports in user space, where the kernel cannot translate them: from the host's
//! IPv6 addresses to a container's IPv4 address.
//!
//! ```text
//!   keeper ──spawns──► proxy      one per container that needs it
//!      └── sockets, targets ──►      one thread, epoll: relays (TCP), flows (UDP)
//! ```
//!
//! A process of its own, so that a port's traffic never keeps the container's output or status
//! waiting. Crash story: it holds nothing but sockets and ends when the keeper's end of its stdin
//! closes, however that came about.

mod flows;
mod relay;
mod server;
mod slots;

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitCode, Stdio};

use keeper_protocol::{Error, Frame, Inbox, Outbox, Port, Received};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use server::Server;

/// The forwarder of this keeper's container. Dropped, it is gone, and its ports are free.
#[derive(Debug)]
pub(crate) struct Proxy {
    child: Child,
    socket: OwnedFd,
}

impl Proxy {
    /// Takes the sockets that are to be forwarded out of `fds` (one for each of `ports`, in order)
    /// and starts a forwarder if there are any.
    pub(crate) fn start(
        ports: &[Port],
        fds: &mut VecDeque<OwnedFd>,
    ) -> std::io::Result<Option<Self>> {
        let mut frame = Frame::new(Vec::new());
        for (port, socket) in ports.iter().zip(std::mem::take(fds)) {
            if port.forward.is_some() {
                frame.message.push(port.clone());
                frame.fds.push_back(socket);
            } else {
                fds.push_back(socket);
            }
        }
        if frame.message.is_empty() {
            return Ok(None);
        }
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let child = Command::new("/proc/self/exe")
            .arg("proxy")
            .env_clear()
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let proxy = Self {
            child,
            socket: ours,
        };
        proxy.tell(frame).map_err(std::io::Error::other)?;
        Ok(Some(proxy))
    }

    fn tell(&self, frame: Frame<Vec<Port>>) -> keeper_protocol::Result<()> {
        let mut outbox = Outbox::default();
        outbox.push(frame)?;
        while !outbox.flush(self.socket.as_fd())? {
            poll(&mut [PollFd::new(&self.socket, PollFlags::OUT)], None)?;
        }
        Ok(())
    }

    /// Ends it; the ports are free when this returns.
    pub(crate) fn stop(self) {}
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It has no state: nothing is lost but connections to a container that ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `keeper proxy`, a socket of the keeper on stdin.
pub(crate) fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run() -> keeper_protocol::Result<()> {
    let keeper = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3)?;
    let _ = rustix::thread::set_name(c"keeper-proxy");
    let mut inbox = Inbox::default();
    let mut frame = loop {
        if let Some(frame) = inbox.take::<Vec<Port>>()? {
            break frame;
        }
        if inbox.fill(keeper.as_fd(), true)? == Received::End {
            return Err(Error::Closed);
        }
    };
    let mut server = Server::new(keeper)?;
    for port in std::mem::take(&mut frame.message) {
        let socket = frame.take_fd()?;
        if let Some(target) = port.forward {
            server.add(socket, target, port.udp)?;
        }
    }
    Ok(server.serve()?)
}
