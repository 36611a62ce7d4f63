//! UDP: a socket towards the container for each client, forgotten when it is quiet.

use std::collections::HashMap;
use std::net::{SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
};
use sys::datagram::{self, Local};

use super::slots::Slots;

/// Clients known at a time; one more takes the place of the longest quiet.
const MOST: usize = 1024;
/// As long as docker's proxy remembers a client.
const QUIET: Duration = Duration::from_secs(90);
/// Datagrams moved for one event.
const AT_ONCE: usize = 64;

/// A published port.
#[derive(Debug)]
struct Service {
    socket: OwnedFd,
    target: SocketAddr,
}

/// Who asked, and on which of our addresses.
type Client = (usize, SocketAddrV6, Local);

#[derive(Debug)]
struct Flow {
    client: Client,
    socket: OwnedFd,
    used: Instant,
}

/// All ports and clients.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    services: Vec<Service>,
    flows: Slots<Flow>,
    numbers: HashMap<Client, usize>,
}

impl Flows {
    /// Adds a port; returns its number.
    pub(crate) fn add(&mut self, socket: OwnedFd, target: SocketAddr) -> Result<usize, Errno> {
        datagram::tell_destination(&socket)?;
        self.services.push(Service { socket, target });
        Ok(self.services.len() - 1)
    }

    pub(crate) fn service(&self, number: usize) -> Option<&OwnedFd> {
        self.services.get(number).map(|service| &service.socket)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.flows.len() == 0
    }

    /// Clients sent something. `watch` is given each new flow's socket and number.
    pub(crate) fn asked(
        &mut self,
        service: usize,
        buffer: &mut [u8],
        mut watch: impl FnMut(&OwnedFd, usize) -> Result<(), Errno>,
    ) {
        for _ in 0..AT_ONCE {
            let Some(found) = self.services.get(service) else {
                return;
            };
            let datagram = match datagram::receive(found.socket.as_fd(), buffer) {
                Ok(datagram) => datagram,
                Err(Errno::INTR) => continue,
                Err(_) => return,
            };
            let target = found.target;
            let client = (service, datagram.peer, datagram.local);
            let number = match self.numbers.get(&client) {
                Some(number) => *number,
                None => match self.open(client, target, &mut watch) {
                    Ok(number) => number,
                    // As on a network that is full: lost.
                    Err(_) => continue,
                },
            };
            if let Some(flow) = self.flows.get_mut(number) {
                flow.used = Instant::now();
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                let _ = send(&flow.socket, &buffer[..datagram.length], flags);
            }
        }
    }

    fn open(
        &mut self,
        client: Client,
        target: SocketAddr,
        watch: &mut impl FnMut(&OwnedFd, usize) -> Result<(), Errno>,
    ) -> Result<usize, Errno> {
        if self.flows.len() >= MOST
            && let Some((oldest, _)) = self.flows.iter().min_by_key(|(_, flow)| flow.used)
        {
            self.close(oldest);
        }
        let family = match target {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::DGRAM, flags, None)?;
        connect(&socket, &target)?;
        let used = Instant::now();
        let number = self.flows.insert(Flow {
            client,
            socket,
            used,
        });
        self.numbers.insert(client, number);
        let watched = match self.flows.get_mut(number) {
            Some(flow) => watch(&flow.socket, number),
            None => Ok(()),
        };
        if let Err(errno) = watched {
            self.close(number);
            return Err(errno);
        }
        Ok(number)
    }

    /// The container answered a client.
    pub(crate) fn answered(&mut self, number: usize, buffer: &mut [u8]) {
        for _ in 0..AT_ONCE {
            let Some(flow) = self.flows.get_mut(number) else {
                return;
            };
            let length = match recv(&flow.socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((_, length)) => length.min(buffer.len()),
                Err(Errno::AGAIN) => return,
                // Nobody listens in the container, or a signal: the next may do better.
                Err(_) => continue,
            };
            flow.used = Instant::now();
            let (service, peer, local) = flow.client;
            if let Some(service) = self.services.get(service) {
                let _ = datagram::send(service.socket.as_fd(), &buffer[..length], peer, local);
            }
        }
    }

    /// Forgets who was quiet for long, and has numbers used again.
    pub(crate) fn tidy(&mut self, sweep: bool) {
        if sweep {
            let quiet = self
                .flows
                .iter()
                .filter(|(_, flow)| flow.used.elapsed() > QUIET);
            for number in quiet.map(|(number, _)| number).collect::<Vec<_>>() {
                self.close(number);
            }
        }
        self.flows.recycle();
    }

    fn close(&mut self, number: usize) {
        if let Some(flow) = self.flows.remove(number) {
            self.numbers.remove(&flow.client);
        }
    }
}
