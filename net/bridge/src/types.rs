//! What callers say to the bridge and what it answers: plain data.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How the network is set up; the names in brackets are dockerd's options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Name of the bridge (`--bridge`), at most 15 bytes.
    pub bridge: String,
    /// Address of the bridge with its subnet (`--bip`). When absent an existing bridge keeps its
    /// own, and a new one gets the first of 172.17.0.0/16, 172.18.0.0/16, … that no route overlaps.
    pub address: Option<Ipv4Net>,
    /// MTU of the bridge and of every `eth0` (`--mtu`).
    pub mtu: u32,
    /// Turn on `net.ipv4.ip_forward` when it is off (`--ip-forward`).
    pub ip_forward: bool,
    /// Masquerade what leaves the subnet (`--ip-masq`).
    pub ip_masq: bool,
    /// Let endpoints talk to each other (`--icc`).
    pub icc: bool,
    /// Host address for ports published without one (`--ip`).
    pub default_binding: IpAddr,
    /// Part of the subnet that addresses are given from (`--fixed-cidr`).
    pub fixed_cidr: Option<Ipv4Net>,
    /// Serve published ports on the host's IPv6 addresses through [`Held::forward`].
    pub userland_proxy: bool,
    /// IPv6 subnet of the network; not supported yet, `Some` is an error.
    pub ipv6: Option<(Ipv6Addr, u8)>,
    /// Name of the nftables table, and the mark on every link that is ours.
    pub nft_table: String,
    /// How many namespaces to keep ready.
    pub pool: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            bridge: "docker0".to_owned(),
            address: None,
            mtu: 1500,
            ip_forward: true,
            ip_masq: true,
            icc: true,
            default_binding: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            fixed_cidr: None,
            userland_proxy: true,
            ipv6: None,
            nft_table: "corten".to_owned(),
            pool: 3,
        }
    }
}

/// What the network is, once open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Name of the bridge.
    pub bridge: String,
    /// Interface index of the bridge.
    pub index: u32,
    /// The subnet, as its network address: `172.17.0.0/16`.
    pub subnet: Ipv4Net,
    /// Address of the bridge: `172.17.0.1`.
    pub gateway: Ipv4Addr,
    /// Part of the subnet that addresses are given from, where that was asked for.
    pub ip_range: Option<Ipv4Net>,
    /// MTU of the bridge.
    pub mtu: u32,
    /// `docker network inspect`'s options: `com.docker.network.bridge.*` and the driver's MTU.
    pub options: Vec<(String, String)>,
}

/// An endpoint to make.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Name of the endpoint, unique while it is connected: 64 hex digits by custom.
    pub endpoint_id: &'a str,
    /// Link-layer address of `eth0`; random and locally administered when absent.
    pub mac: Option<[u8; 6]>,
    /// Address of `eth0`; the next free one when absent.
    pub ip: Option<Ipv4Addr>,
    /// Ports to publish.
    pub ports: &'a [Publish],
    /// Sysctls of the interface, as the endpoint option `com.docker.network.endpoint.sysctls`
    /// writes them: names begin with `net.` and contain `IFNAME` (`net.ipv4.conf.IFNAME.rp_filter`).
    pub sysctls: &'a [(String, String)],
}

/// Transport protocol of a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP: named so that it can be refused by name.
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

/// Which port of the host to publish on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostPort {
    /// Any free port of the kernel's `ip_local_port_range`, in turn.
    Ephemeral,
    /// The first free port from `start` to `end`, both included; equal for exactly one port.
    Range {
        /// First port.
        start: u16,
        /// Last port.
        end: u16,
    },
}

impl HostPort {
    /// Exactly `port`; 0 stands for any.
    pub fn one(port: u16) -> HostPort {
        match port {
            0 => HostPort::Ephemeral,
            port => HostPort::Range {
                start: port,
                end: port,
            },
        }
    }
}

/// A port to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Publish {
    /// Port inside the endpoint.
    pub container_port: u16,
    /// Transport protocol.
    pub proto: Protocol,
    /// Address of the host; absent means the network's default, which on both families is "any".
    pub host_ip: Option<IpAddr>,
    /// Port of the host.
    pub host_port: HostPort,
}

/// A port that is published: one entry per host address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Published {
    /// Port inside the endpoint.
    pub container_port: u16,
    /// Transport protocol.
    pub proto: Protocol,
    /// Address of the host: `0.0.0.0`, `::` or a particular one.
    pub host_ip: IpAddr,
    /// Port of the host that was taken.
    pub host_port: u16,
}

/// A socket that keeps a published port taken. Whoever holds the endpoint open must hold it too.
#[derive(Debug)]
pub struct Held {
    /// Bound, and listening if TCP.
    pub socket: OwnedFd,
    /// Where to send what arrives on `socket`: `None` when the kernel translates the port and
    /// nothing ever arrives; `Some` when the holder must accept and copy (IPv6 host addresses).
    pub forward: Option<SocketAddr>,
    /// A UDP socket rather than a listening TCP one.
    pub udp: bool,
}

/// A connected endpoint.
#[derive(Debug)]
pub struct Endpoint {
    /// The namespace; it lives as long as this descriptor or a process in it.
    pub netns: OwnedFd,
    /// Address of `eth0`.
    pub ip: Ipv4Addr,
    /// Prefix length of the subnet.
    pub prefix: u8,
    /// Default gateway: the bridge.
    pub gateway: Ipv4Addr,
    /// Link-layer address of `eth0`.
    pub mac: [u8; 6],
    /// Name of the host's end of the pair.
    pub veth: String,
    /// Ports published, in the order asked for, IPv4 before IPv6.
    pub ports: Vec<Published>,
    /// Sockets that keep the ports taken.
    pub held: Vec<Held>,
}

/// An endpoint that outlived the process that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Name of the endpoint.
    pub endpoint_id: String,
    /// [`Endpoint::ip`].
    pub ip: Ipv4Addr,
    /// [`Endpoint::mac`].
    pub mac: [u8; 6],
    /// [`Endpoint::veth`].
    pub veth: String,
    /// [`Endpoint::ports`].
    pub ports: Vec<Published>,
}

/// An IPv4 address with a prefix length: `172.17.0.1/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ipv4Net {
    /// The address, host bits included.
    pub address: Ipv4Addr,
    /// Prefix length, 0 to 32.
    pub prefix: u8,
}

impl Ipv4Net {
    /// The same with the host bits cleared.
    pub fn network(self) -> Ipv4Net {
        Ipv4Net {
            address: Ipv4Addr::from_bits(self.address.to_bits() & self.mask()),
            ..self
        }
    }

    /// The last address: the broadcast address of a subnet.
    pub fn last(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() | !self.mask())
    }

    /// The netmask as a number.
    pub fn mask(self) -> u32 {
        u32::MAX
            .checked_shl(32 - u32::from(self.prefix.min(32)))
            .unwrap_or(0)
    }

    /// Whether `ip` lies in the net.
    pub fn contains(self, ip: Ipv4Addr) -> bool {
        (ip.to_bits() ^ self.address.to_bits()) & self.mask() == 0
    }

    /// Whether the nets share an address.
    pub fn overlaps(self, other: Ipv4Net) -> bool {
        (self.address.to_bits() ^ other.address.to_bits()) & self.mask() & other.mask() == 0
    }
}

impl fmt::Display for Ipv4Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Not an `address/prefix`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid CIDR address: {0}")]
pub struct ParseNetError(pub String);

impl FromStr for Ipv4Net {
    type Err = ParseNetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once('/').and_then(|(address, prefix)| {
            let prefix = prefix.parse::<u8>().ok().filter(|p| *p <= 32)?;
            Some(Ipv4Net {
                address: address.parse().ok()?,
                prefix,
            })
        });
        parsed.ok_or_else(|| ParseNetError(text.to_owned()))
    }
}
