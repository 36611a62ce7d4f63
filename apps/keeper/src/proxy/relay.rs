//! One TCP connection and its other half: bytes and half-closes both ways.
//!
//! Each end is watched for just what can go on: for input while what came before has gone to the
//! other end, for room while something waits for it. An end that waits for neither is not watched,
//! as a hang-up would wake us again and again.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, connect, recv, send,
    shutdown, socket_with, sockopt,
};

/// Buffers moved for one event, so that one connection does not hold up the others.
const AT_ONCE: usize = 8;

/// The client's end, then the container's.
#[derive(Debug)]
pub(crate) struct Relay {
    ends: [End; 2],
    /// The container's end is not connected yet.
    connecting: bool,
}

#[derive(Debug)]
struct End {
    socket: OwnedFd,
    /// On its way to this end.
    waiting: Vec<u8>,
    sent: usize,
    /// Nothing more comes from it.
    read: bool,
    /// Nothing more goes to it.
    closed: bool,
}

impl End {
    fn new(socket: OwnedFd) -> Self {
        // Both better latency or hygiene only.
        let _ = sockopt::set_tcp_nodelay(&socket, true);
        let _ = sockopt::set_socket_keepalive(&socket, true);
        Self {
            socket,
            waiting: Vec::new(),
            sent: 0,
            read: false,
            closed: false,
        }
    }

    /// Sends what waits; whether all of it went.
    fn flush(&mut self) -> Result<bool, Errno> {
        while self.sent < self.waiting.len() {
            match put(&self.socket, &self.waiting[self.sent..])? {
                0 => return Ok(false),
                n => self.sent += n,
            }
        }
        self.waiting = Vec::new();
        self.sent = 0;
        Ok(true)
    }

    /// Sends, and keeps what does not go now.
    fn give(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let sent = put(&self.socket, bytes)?;
        self.waiting.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    /// Passes on that nothing more comes.
    fn close(&mut self) -> Result<(), Errno> {
        if self.closed {
            return Ok(());
        }
        self.closed = true;
        shutdown(&self.socket, Shutdown::Write)
    }
}

/// Bytes that went; 0 when none do now.
fn put(socket: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    match send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        other => other,
    }
}

impl Relay {
    /// Begins to connect a client to `target`.
    pub(crate) fn new(client: OwnedFd, target: SocketAddr) -> Result<Self, Errno> {
        let family = match target {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        match connect(&socket, &target) {
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        Ok(Self {
            ends: [End::new(client), End::new(socket)],
            connecting: true,
        })
    }

    /// The socket of an end.
    pub(crate) fn socket(&self, end: usize) -> &OwnedFd {
        &self.ends[end].socket
    }

    /// What an end is to be watched for.
    pub(crate) fn interest(&self, end: usize) -> EventFlags {
        if self.connecting {
            return match end {
                0 => EventFlags::empty(),
                _ => EventFlags::OUT,
            };
        }
        let (this, other) = (&self.ends[end], &self.ends[1 - end]);
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, !this.read && other.waiting.is_empty());
        flags.set(EventFlags::OUT, !this.waiting.is_empty());
        flags
    }

    /// Moves what can be moved; false when the connection is over.
    pub(crate) fn pump(&mut self, buffer: &mut [u8]) -> bool {
        if self.connecting {
            match sockopt::socket_error(&self.ends[1].socket) {
                Ok(Ok(())) => self.connecting = false,
                _ => return false,
            }
        }
        for from in [0, 1] {
            if self.forward(from, buffer).is_err() {
                self.reset();
                return false;
            }
        }
        !self.ends.iter().all(|end| end.closed)
    }

    fn forward(&mut self, from: usize, buffer: &mut [u8]) -> Result<(), Errno> {
        let [client, container] = &mut self.ends;
        let (from, to) = match from {
            0 => (client, container),
            _ => (container, client),
        };
        for _ in 0..AT_ONCE {
            if !to.flush()? {
                return Ok(());
            }
            if from.read {
                return to.close();
            }
            match recv(&from.socket, &mut *buffer, RecvFlags::DONTWAIT) {
                // Closed here, not in a further round that may not come: nothing is left to be
                // watched for that would bring us back.
                Ok((_, 0)) => {
                    from.read = true;
                    if to.waiting.is_empty() {
                        return to.close();
                    }
                }
                Ok((_, n)) => to.give(&buffer[..n])?,
                Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// One end failed: the other must not take what it has for all there was.
    fn reset(&mut self) {
        for end in &self.ends {
            let at_once = Some(std::time::Duration::ZERO);
            let _ = sockopt::set_socket_linger(&end.socket, at_once);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    /// However the bytes and the end fall into rounds, one call that met the end passes it on.
    #[test]
    fn an_end_met_in_the_last_round_is_passed_on() {
        for blocks in 0..=2 * AT_ONCE {
            let server = TcpListener::bind("127.0.0.1:0").expect("listen");
            let front = TcpListener::bind("127.0.0.1:0").expect("listen");
            let mut client =
                TcpStream::connect(front.local_addr().expect("address")).expect("connect");
            let (accepted, _) = front.accept().expect("accept");
            let target = server.local_addr().expect("address");
            let mut relay = Relay::new(accepted.into(), target).expect("relay");
            let (mut end, _) = server.accept().expect("accept");
            end.set_read_timeout(Some(Duration::from_secs(20)))
                .expect("timeout");
            client.write_all(&vec![b'x'; blocks]).expect("send");
            client
                .shutdown(std::net::Shutdown::Write)
                .expect("half-close");
            // A byte a round; as the server does, only while the client is to be watched.
            let mut byte = [0; 1];
            while {
                assert!(relay.pump(&mut byte), "the other half is open");
                !relay.interest(0).is_empty()
            } {}
            let mut text = String::new();
            end.read_to_string(&mut text).expect("the end");
            assert_eq!(text.len(), blocks);
        }
    }
}
