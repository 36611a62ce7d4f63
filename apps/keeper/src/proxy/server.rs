//! The forwarder's loop.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use rustix::process::{Resource, getrlimit, setrlimit};

use super::flows::Flows;
use super::relay::Relay;
use super::slots::Slots;

/// The largest datagram, and what is moved at a time.
const BUFFER: usize = 64 << 10;
/// Connections at a time, where the descriptor limit permits it.
const MOST_RELAYS: usize = 16 << 10;
/// Descriptors kept for everything else.
const RESERVED: u64 = 1200;
/// Connections accepted for one event.
const AT_ONCE: usize = 32;
/// How often quiet flows are looked for while there are any.
const SWEEP: Duration = Duration::from_secs(30);
/// When to try again after accepting failed for want of resources: nothing tells of their return.
const RETRY: Duration = Duration::from_millis(100);

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// The keeper is gone.
    Keeper,
    /// A TCP port.
    Listener(usize),
    /// An end of a relay.
    Relay(usize, usize),
    /// A UDP port.
    Service(usize),
    /// A client of one.
    Flow(usize),
}

impl Token {
    fn data(self) -> EventData {
        let (kind, number, end) = match self {
            Self::Keeper => (0, 0, 0),
            Self::Listener(n) => (1, n, 0),
            Self::Relay(n, end) => (2, n, end),
            Self::Service(n) => (3, n, 0),
            Self::Flow(n) => (4, n, 0),
        };
        EventData::new_u64(kind << 56 | (number as u64) << 1 | end as u64)
    }

    fn read(data: u64) -> Self {
        let number = (data << 8 >> 9) as usize;
        match data >> 56 {
            1 => Self::Listener(number),
            2 => Self::Relay(number, (data & 1) as usize),
            3 => Self::Service(number),
            4 => Self::Flow(number),
            _ => Self::Keeper,
        }
    }
}

/// A relay and what its ends are watched for.
#[derive(Debug)]
struct Watched {
    relay: Relay,
    interest: [EventFlags; 2],
}

/// All ports of a container.
#[derive(Debug)]
pub(crate) struct Server {
    epoll: OwnedFd,
    _keeper: OwnedFd,
    listeners: Vec<(OwnedFd, SocketAddr)>,
    relays: Slots<Watched>,
    most: usize,
    /// Nothing is accepted until there is room.
    paused: bool,
    flows: Flows,
    swept: Instant,
    buffer: Vec<u8>,
}

impl Server {
    /// A forwarder that ends with `keeper`'s other end.
    pub(crate) fn new(keeper: OwnedFd) -> Result<Self, Errno> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &keeper, Token::Keeper.data(), EventFlags::IN)?;
        Ok(Self {
            epoll,
            _keeper: keeper,
            listeners: Vec::new(),
            relays: Slots::default(),
            most: most_relays(),
            paused: false,
            flows: Flows::default(),
            swept: Instant::now(),
            buffer: vec![0; BUFFER],
        })
    }

    /// Forwards what comes to `socket`.
    pub(crate) fn add(&mut self, socket: OwnedFd, to: SocketAddr, udp: bool) -> Result<(), Errno> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        if udp {
            let number = self.flows.add(socket, to)?;
            if let Some(socket) = self.flows.service(number) {
                epoll::add(
                    &self.epoll,
                    socket,
                    Token::Service(number).data(),
                    EventFlags::IN,
                )?;
            }
        } else {
            let token = Token::Listener(self.listeners.len());
            epoll::add(&self.epoll, &socket, token.data(), EventFlags::IN)?;
            self.listeners.push((socket, to));
        }
        Ok(())
    }

    /// Until the keeper goes.
    pub(crate) fn serve(&mut self) -> Result<(), Errno> {
        const NONE: Event = Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        };
        let mut events = [NONE; 64];
        loop {
            let timeout = self.timeout();
            let count = match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
                Err(Errno::INTR) => 0,
                other => other?,
            };
            for event in &events[..count] {
                let data = event.data;
                match Token::read(data.u64()) {
                    Token::Keeper => return Ok(()),
                    Token::Listener(number) => self.accept(number),
                    Token::Relay(number, _) => self.pump(number),
                    Token::Service(number) => self.receive(number),
                    Token::Flow(number) => self.flows.answered(number, &mut self.buffer),
                }
            }
            self.relays.recycle();
            if self.paused && self.relays.len() < self.most {
                self.pause(false);
            }
            let sweep = self.swept.elapsed() > SWEEP;
            if sweep {
                self.swept = Instant::now();
            }
            self.flows.tidy(sweep);
        }
    }

    fn timeout(&self) -> Option<Timespec> {
        let time = match (self.paused, self.flows.is_empty()) {
            (true, _) => RETRY,
            (false, false) => SWEEP,
            (false, true) => return None,
        };
        Timespec::try_from(time).ok()
    }

    fn receive(&mut self, service: usize) {
        let epoll = &self.epoll;
        let watch = |socket: &OwnedFd, number| {
            epoll::add(epoll, socket, Token::Flow(number).data(), EventFlags::IN)
        };
        self.flows.asked(service, &mut self.buffer, watch);
    }

    fn accept(&mut self, number: usize) {
        for _ in 0..AT_ONCE {
            if self.relays.len() >= self.most {
                return self.pause(true);
            }
            let Some((listener, target)) = self.listeners.get(number) else {
                return;
            };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let client = match accept_with(listener, flags) {
                Ok(client) => client,
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(Errno::AGAIN) => return,
                Err(_) => return self.pause(true),
            };
            // A client that cannot be served is closed.
            if let Ok(relay) = Relay::new(client, *target) {
                let interest = [EventFlags::empty(); 2];
                let number = self.relays.insert(Watched { relay, interest });
                self.watch(number);
            }
        }
    }

    /// Stops or goes on accepting.
    fn pause(&mut self, paused: bool) {
        self.paused = paused;
        let flags = match paused {
            true => EventFlags::empty(),
            false => EventFlags::IN,
        };
        for (number, (listener, _)) in self.listeners.iter().enumerate() {
            let _ = epoll::modify(&self.epoll, listener, Token::Listener(number).data(), flags);
        }
    }

    fn pump(&mut self, number: usize) {
        let Some(watched) = self.relays.get_mut(number) else {
            return;
        };
        if watched.relay.pump(&mut self.buffer) {
            self.watch(number);
        } else {
            self.relays.remove(number);
        }
    }

    /// Brings what the ends are watched for up to date.
    fn watch(&mut self, number: usize) {
        let Some(watched) = self.relays.get_mut(number) else {
            return;
        };
        let mut failed = false;
        for end in [0, 1] {
            let (old, new) = (watched.interest[end], watched.relay.interest(end));
            let (socket, data) = (watched.relay.socket(end), Token::Relay(number, end).data());
            let done = match (old.is_empty(), new.is_empty()) {
                _ if old == new => Ok(()),
                (true, false) => epoll::add(&self.epoll, socket, data, new),
                (false, true) => epoll::delete(&self.epoll, socket),
                _ => epoll::modify(&self.epoll, socket, data, new),
            };
            failed |= done.is_err();
            watched.interest[end] = new;
        }
        if failed {
            self.relays.remove(number);
        }
    }
}

/// Raises the limit of descriptors as far as it goes; each relay takes two.
fn most_relays() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    let now = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let pairs = now.saturating_sub(RESERVED).max(32) / 2;
    usize::try_from(pairs).map_or(MOST_RELAYS, |pairs| pairs.min(MOST_RELAYS))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    /// A forwarder on a thread; it ends with the stream.
    fn forward(socket: OwnedFd, target: SocketAddr, udp: bool) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().expect("pair");
        thread::spawn(move || {
            let mut server = Server::new(theirs.into()).expect("server");
            server.add(socket, target, udp).expect("socket");
            server.serve().expect("served");
        });
        ours
    }

    #[test]
    fn tokens_come_back() {
        for token in [
            Token::Listener(7),
            Token::Relay(9, 1),
            Token::Relay(9, 0),
            Token::Flow(3),
        ] {
            assert_eq!(Token::read(token.data().u64()), token);
        }
    }

    #[test]
    fn bytes_and_half_closes_go_through() {
        let server = TcpListener::bind("127.0.0.1:0").expect("listen");
        let target = server.local_addr().expect("address");
        let front = TcpListener::bind("[::1]:0").expect("listen");
        let address = front.local_addr().expect("address");
        let _keeper = forward(front.into(), target, false);
        let client = thread::spawn(move || {
            let mut stream = TcpStream::connect(address).expect("connect");
            let mut other = stream.try_clone().expect("clone");
            let sender = thread::spawn(move || {
                // More than all buffers on the way hold.
                let block: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
                for _ in 0..24 {
                    other.write_all(&block).expect("send");
                }
                other.shutdown(Shutdown::Write).expect("half-close");
            });
            let mut text = String::new();
            stream.read_to_string(&mut text).expect("answer");
            sender.join().expect("sender");
            text
        });
        let (mut stream, _) = server.accept().expect("accept");
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("until the half-close");
        assert!(all.iter().enumerate().all(|(at, byte)| *byte == at as u8));
        stream
            .write_all(all.len().to_string().as_bytes())
            .expect("answer");
        drop(stream);
        assert_eq!(client.join().expect("client"), (24 << 20).to_string());
    }

    #[test]
    fn nobody_at_the_target_closes_the_client() {
        let closed = TcpListener::bind("127.0.0.1:0").expect("listen");
        let target = closed.local_addr().expect("address");
        drop(closed);
        let front = TcpListener::bind("[::1]:0").expect("listen");
        let address = front.local_addr().expect("address");
        let _keeper = forward(front.into(), target, false);
        let mut stream = TcpStream::connect(address).expect("connect");
        // An end or a reset, but not a wait.
        let read = stream.read(&mut [0; 1]);
        assert!(!matches!(read, Ok(1)), "{read:?}");
    }

    #[test]
    fn datagrams_find_their_way_back() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let target = server.local_addr().expect("address");
        let front = UdpSocket::bind("[::]:0").expect("bind");
        let port = front.local_addr().expect("address").port();
        let _keeper = forward(front.into(), target, true);
        let clients: Vec<UdpSocket> = (0..3)
            .map(|_| {
                let client = UdpSocket::bind("[::1]:0").expect("bind");
                client.connect(("::1", port)).expect("connect");
                client
            })
            .collect();
        let mut buffer = [0; 100];
        for (n, client) in clients.iter().enumerate() {
            client.send(format!("from {n}").as_bytes()).expect("send");
        }
        for _ in &clients {
            let (length, peer) = server.recv_from(&mut buffer).expect("asked");
            server.send_to(&buffer[..length], peer).expect("answer");
        }
        for (n, client) in clients.iter().enumerate() {
            let length = client.recv(&mut buffer).expect("answer");
            assert_eq!(buffer[..length], *format!("from {n}").as_bytes());
        }
    }
}
