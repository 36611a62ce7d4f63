//! What the kernel tells of links, addresses and routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::parse::{Message, attribute, text, u32_at};

const NEWLINK: u16 = 16;
const NEWADDR: u16 = 20;
const NEWROUTE: u16 = 24;

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Interface index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Kind, for links that were made: `bridge`, `veth`.
    pub kind: Option<String>,
    /// Index of the bridge (or other master) it is a port of.
    pub master: Option<u32>,
    /// Link-layer address, if it is an Ethernet one.
    pub mac: Option<[u8; 6]>,
    /// Largest packet, bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Its alias, a free text.
    pub alias: Option<String>,
}

impl Link {
    /// Reads an `RTM_NEWLINK`.
    pub fn parse(message: &Message<'_>) -> Option<Link> {
        const IFF_UP: u32 = 1;
        if message.kind != NEWLINK {
            return None;
        }
        let fixed = message.payload.get(..16)?;
        let rest = &message.payload[16..];
        let info = attribute(rest, 18).unwrap_or_default();
        Some(Link {
            index: u32_at(fixed, 4)?,
            name: attribute(rest, 3).and_then(text)?,
            kind: attribute(info, 1).and_then(text),
            master: attribute(rest, 10).and_then(|v| u32_at(v, 0)),
            mac: attribute(rest, 1).and_then(|v| v.try_into().ok()),
            mtu: attribute(rest, 4).and_then(|v| u32_at(v, 0)).unwrap_or(0),
            up: u32_at(fixed, 8)? & IFF_UP != 0,
            alias: attribute(rest, 20).and_then(text),
        })
    }
}

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The interface.
    pub index: u32,
    /// The address.
    pub ip: IpAddr,
    /// Prefix length of its subnet.
    pub prefix: u8,
    /// Scope: 0 for global, 253 for the link, 254 for the host.
    pub scope: u8,
    /// It does not expire and was not learned.
    pub permanent: bool,
}

impl Address {
    /// Reads an `RTM_NEWADDR`.
    pub fn parse(message: &Message<'_>) -> Option<Address> {
        if message.kind != NEWADDR {
            return None;
        }
        let fixed = message.payload.get(..8)?;
        let rest = &message.payload[8..];
        // IFA_LOCAL is the address itself where IFA_ADDRESS is the peer's.
        const IFA_FLAGS: u16 = 8;
        const IFA_F_PERMANENT: u32 = 0x80;
        let flags = attribute(rest, IFA_FLAGS)
            .and_then(|v| u32_at(v, 0))
            .unwrap_or_else(|| fixed[2].into());
        let value = attribute(rest, 2).or_else(|| attribute(rest, 1))?;
        Some(Address {
            index: u32_at(fixed, 4)?,
            ip: address(value)?,
            prefix: fixed[1],
            scope: fixed[3],
            permanent: flags & IFA_F_PERMANENT != 0,
        })
    }
}

/// Where a route leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    /// The network's address; `None` for a default route.
    pub ip: Option<IpAddr>,
    /// Prefix length.
    pub prefix: u8,
    /// The interface it goes out of, where it has one.
    pub index: Option<u32>,
}

impl Destination {
    /// Reads an `RTM_NEWROUTE`.
    pub fn parse(message: &Message<'_>) -> Option<Destination> {
        if message.kind != NEWROUTE {
            return None;
        }
        let prefix = *message.payload.get(..12)?.get(1)?;
        let rest = &message.payload[12..];
        Some(Destination {
            ip: attribute(rest, 1).and_then(address),
            prefix,
            index: attribute(rest, 4).and_then(|v| u32_at(v, 0)),
        })
    }
}

fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => <[u8; 4]>::try_from(value)
            .ok()
            .map(|v| Ipv4Addr::from(v).into()),
        16 => <[u8; 16]>::try_from(value)
            .ok()
            .map(|v| Ipv6Addr::from(v).into()),
        _ => None,
    }
}
