//! Ports of the host: planned, claimed in our own book, then taken for real by binding sockets.
//!
//! The book ([`PortTable`]) answers who of ours has a port even while the sockets live in other
//! processes; binding settles it with everybody else on the host. Both happen for all addresses of
//! a publication with the same port number, or for none.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use crate::error::{Error, PortInUse, PortOwner};
use crate::owner;
use crate::types::{Held, HostPort, Protocol, Publish, Published};

/// Used when the kernel does not tell its range.
const FALLBACK_RANGE: (u16, u16) = (49153, 65535);
/// What a forwarder may let wait; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Which ports our endpoints have. Pure.
#[derive(Debug, Default)]
pub(crate) struct PortTable {
    claims: HashMap<(Protocol, u16), Vec<(IpAddr, String)>>,
    /// Where the search for an ephemeral port goes on.
    next: u16,
}

impl PortTable {
    /// Notes that `owner` has the port, or says who else does. "Any" clashes with every address of
    /// its family.
    pub(crate) fn claim(
        &mut self,
        proto: Protocol,
        ip: IpAddr,
        port: u16,
        owner: &str,
    ) -> Result<(), String> {
        let claims = self.claims.entry((proto, port)).or_default();
        let clash = |other: &IpAddr| {
            other.is_ipv4() == ip.is_ipv4()
                && (*other == ip || other.is_unspecified() || ip.is_unspecified())
        };
        match claims.iter().find(|(other, _)| clash(other)) {
            Some((_, holder)) => Err(holder.clone()),
            None => {
                claims.push((ip, owner.to_owned()));
                Ok(())
            }
        }
    }

    /// Undoes [`claim`](Self::claim).
    pub(crate) fn release(&mut self, proto: Protocol, ip: IpAddr, port: u16) {
        if let Some(claims) = self.claims.get_mut(&(proto, port)) {
            claims.retain(|(other, _)| *other != ip);
            if claims.is_empty() {
                self.claims.remove(&(proto, port));
            }
        }
    }

    /// Where to begin among `start..=end`, another place each time.
    fn turn(&mut self, start: u16, end: u16) -> u16 {
        let from = if (start..=end).contains(&self.next) {
            self.next
        } else {
            start
        };
        self.next = if from == end { start } else { from + 1 };
        from
    }

    fn resume_after(&mut self, port: u16) {
        self.next = port.wrapping_add(1);
    }
}

/// The addresses to publish on. Without an address it is the network's default, and "any" then
/// means both families where IPv6 can be served.
pub(crate) fn host_addresses(asked: Option<IpAddr>, default: IpAddr, ipv6: bool) -> Vec<IpAddr> {
    match asked {
        Some(ip) => vec![ip],
        None if default == IpAddr::V4(Ipv4Addr::UNSPECIFIED) && ipv6 => {
            vec![default, IpAddr::V6(Ipv6Addr::UNSPECIFIED)]
        }
        None => vec![default],
    }
}

/// Ports to try in order: `start..=end`, beginning at `from` and wrapping.
pub(crate) fn candidates(start: u16, end: u16, from: u16) -> impl Iterator<Item = u16> {
    (from..=end).chain(start..from)
}

/// What publishing depends on besides the request.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) default_binding: IpAddr,
    /// Whether ports may be served on IPv6 addresses by a forwarder.
    pub(crate) ipv6: bool,
    pub(crate) table: Mutex<PortTable>,
}

/// Why one port could not be had.
enum Failure {
    Endpoint(IpAddr, String),
    Kernel(IpAddr, Errno),
}

impl Publisher {
    /// Takes host ports for all of `ports`, or for none of them.
    pub(crate) fn reserve(
        &self,
        endpoint_id: &str,
        endpoint: Ipv4Addr,
        ports: &[Publish],
    ) -> Result<(Vec<Published>, Vec<Held>), Error> {
        let (mut published, mut held) = (Vec::new(), Vec::new());
        for publish in ports {
            match self.reserve_one(endpoint_id, endpoint, publish) {
                Ok((more_published, more_held)) => {
                    published.extend(more_published);
                    held.extend(more_held);
                }
                Err(error) => {
                    self.release(&published);
                    return Err(error);
                }
            }
        }
        Ok((published, held))
    }

    /// Strikes ports from the book.
    pub(crate) fn release(&self, ports: &[Published]) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        for port in ports {
            table.release(port.proto, port.host_ip, port.host_port);
        }
    }

    fn reserve_one(
        &self,
        endpoint_id: &str,
        endpoint: Ipv4Addr,
        publish: &Publish,
    ) -> Result<(Vec<Published>, Vec<Held>), Error> {
        let target = SocketAddrV4::new(endpoint, publish.container_port);
        let proto = publish.proto;
        let addresses = self.addresses(publish)?;
        let (start, end) = match publish.host_port {
            HostPort::Ephemeral => ephemeral_range(),
            HostPort::Range { start, end } => (start, end),
        };
        if start > end || start == 0 || publish.container_port == 0 {
            let why = format!("{start}-{end} to {}", publish.container_port);
            return Err(Error::Invalid {
                what: "published port",
                why,
            });
        }
        let from = match publish.host_port {
            HostPort::Ephemeral => self.with_table(|table| table.turn(start, end)),
            HostPort::Range { .. } => start,
        };
        for port in candidates(start, end, from) {
            match self.try_port(endpoint_id, target, proto, &addresses, port) {
                Ok(taken) => {
                    if publish.host_port == HostPort::Ephemeral && port != from {
                        self.with_table(|table| table.resume_after(port));
                    }
                    return Ok(taken);
                }
                Err(Failure::Endpoint(..) | Failure::Kernel(_, Errno::ADDRINUSE))
                    if start < end => {}
                Err(failure) => return Err(explain(failure, port, proto, target)),
            }
        }
        let host_ip = addresses.first().copied().unwrap_or(self.default_binding);
        Err(Error::PortsExhausted {
            host_ip,
            start,
            end,
            proto,
            target,
        })
    }

    fn addresses(&self, publish: &Publish) -> Result<Vec<IpAddr>, Error> {
        if publish.proto == Protocol::Sctp {
            return Err(Error::Unsupported("publishing SCTP ports is"));
        }
        let addresses = host_addresses(publish.host_ip, self.default_binding, self.ipv6);
        if !self.ipv6 && addresses.iter().any(IpAddr::is_ipv6) {
            return Err(Error::Unsupported(
                "publishing on IPv6 addresses without the proxy is",
            ));
        }
        Ok(addresses)
    }

    /// Claims and binds one port on all addresses, or on none.
    fn try_port(
        &self,
        endpoint_id: &str,
        target: SocketAddrV4,
        proto: Protocol,
        addresses: &[IpAddr],
        port: u16,
    ) -> Result<(Vec<Published>, Vec<Held>), Failure> {
        let (mut published, mut held) = (Vec::new(), Vec::new());
        for ip in addresses.iter().copied() {
            let claim = self.with_table(|table| table.claim(proto, ip, port, endpoint_id));
            let taken = claim
                .map_err(|owner| Failure::Endpoint(ip, owner))
                .and_then(|()| {
                    take(proto, SocketAddr::new(ip, port)).map_err(|errno| {
                        self.with_table(|table| table.release(proto, ip, port));
                        Failure::Kernel(ip, errno)
                    })
                });
            match taken {
                Ok(socket) => {
                    let forward = ip.is_ipv6().then_some(SocketAddr::V4(target));
                    held.push(Held {
                        socket,
                        forward,
                        udp: proto == Protocol::Udp,
                    });
                    published.push(Published {
                        container_port: target.port(),
                        proto,
                        host_ip: ip,
                        host_port: port,
                    });
                }
                Err(failure) => {
                    self.release(&published);
                    return Err(failure);
                }
            }
        }
        Ok((published, held))
    }

    fn with_table<T>(&self, work: impl FnOnce(&mut PortTable) -> T) -> T {
        work(&mut self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether the host can bind IPv6 at all.
pub(crate) fn host_has_ipv6() -> bool {
    take(
        Protocol::Udp,
        SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0),
    )
    .is_ok()
}

/// Binds a port; a TCP one also listens, since only then does `SO_REUSEADDR` keep others out.
fn take(proto: Protocol, address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let kind = match proto {
        Protocol::Udp => SocketType::DGRAM,
        Protocol::Tcp | Protocol::Sctp => SocketType::STREAM,
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if kind == SocketType::STREAM {
        // Connections of an earlier forwarder may linger on the port.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &address)?;
    if kind == SocketType::STREAM {
        listen(&socket, if address.is_ipv6() { BACKLOG } else { 0 })?;
    }
    Ok(socket)
}

fn ephemeral_range() -> (u16, u16) {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().map(str::parse::<u16>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(start)), Some(Ok(end))) if 0 < start && start <= end => (start, end),
        _ => FALLBACK_RANGE,
    }
}

fn explain(failure: Failure, host_port: u16, proto: Protocol, target: SocketAddrV4) -> Error {
    match failure {
        Failure::Endpoint(host_ip, id) => {
            let owner = Some(PortOwner::Endpoint(id));
            Error::PortInUse(Box::new(PortInUse {
                host_ip,
                host_port,
                proto,
                target,
                owner,
            }))
        }
        Failure::Kernel(host_ip, Errno::ADDRINUSE) => {
            let owner = owner::of_port(proto, host_ip, host_port);
            Error::PortInUse(Box::new(PortInUse {
                host_ip,
                host_port,
                proto,
                target,
                owner,
            }))
        }
        Failure::Kernel(host_ip, errno) => Error::Bind {
            host_ip,
            host_port,
            proto,
            target,
            source: io::Error::from(errno),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANY4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    const ANY6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn any_clashes_within_its_family() {
        let mut table = PortTable::default();
        assert_eq!(table.claim(Protocol::Tcp, ANY4, 80, "a"), Ok(()));
        assert_eq!(
            table.claim(Protocol::Tcp, LOCAL, 80, "b"),
            Err("a".to_owned())
        );
        assert_eq!(table.claim(Protocol::Tcp, ANY6, 80, "b"), Ok(()));
        assert_eq!(table.claim(Protocol::Udp, LOCAL, 80, "b"), Ok(()));
        assert_eq!(
            table.claim(Protocol::Udp, ANY4, 80, "c"),
            Err("b".to_owned())
        );
        table.release(Protocol::Tcp, ANY4, 80);
        assert_eq!(table.claim(Protocol::Tcp, LOCAL, 80, "b"), Ok(()));
    }

    #[test]
    fn both_families_only_by_default() {
        assert_eq!(host_addresses(None, ANY4, true), [ANY4, ANY6]);
        assert_eq!(host_addresses(None, ANY4, false), [ANY4]);
        assert_eq!(host_addresses(None, LOCAL, true), [LOCAL]);
        assert_eq!(host_addresses(Some(ANY4), ANY4, true), [ANY4]);
        assert_eq!(host_addresses(Some(ANY6), ANY4, true), [ANY6]);
    }

    proptest! {
        #[test]
        fn candidates_are_the_range_once(start in 1u16.., length in 0u16..300, skip in 0u16..300) {
            let end = start.saturating_add(length);
            let from = start + skip.min(end - start);
            let mut ports: Vec<_> = candidates(start, end, from).collect();
            prop_assert_eq!(ports[0], from);
            ports.sort_unstable();
            prop_assert_eq!(ports, (start..=end).collect::<Vec<_>>());
        }
    }
}
