//! What the kernel is asked to do, one method per request.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::{ACK, REQUEST, family, octets};
use crate::batch::{Attributes, Batch};

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const SETLINK: u16 = 19;
const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;
const NEWROUTE: u16 = 24;
const NEWNEIGH: u16 = 28;
const DELNEIGH: u16 = 29;
const REPLACE: u16 = 0x100;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
const UP: u32 = 1;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_AF_SPEC: u16 = 26;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_SLAVE_KIND: u16 = 4;
const INFO_SLAVE_DATA: u16 = 5;
const VETH_INFO_PEER: u16 = 1;
const BRPORT_MODE: u16 = 4;
const BRPORT_ISOLATED: u16 = 33;
const INET_CONF: u16 = 1;

/// An IPv4 option of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ipv4Option {
    /// Announce the link's addresses to the neighbours when it comes up or its link-layer address
    /// is set.
    ArpNotify = 22,
    /// Treat 127.0.0.0/8 as routable through this link.
    RouteLocalnet = 26,
}

/// Requests to be carried out in one system call.
#[derive(Debug, Default, Clone)]
pub struct Requests(pub(crate) Batch);

/// A veth pair with its far end in another namespace.
#[derive(Debug, Clone, Copy)]
pub struct Veth<'a> {
    /// Name of the near end.
    pub name: &'a str,
    /// Index of the bridge that the near end becomes a port of.
    pub master: u32,
    /// Largest packet of both ends, bytes.
    pub mtu: u32,
    /// Name of the far end.
    pub peer_name: &'a str,
    /// Link-layer address of the far end.
    pub peer_mac: [u8; 6],
    /// The namespace of the far end.
    pub peer_netns: BorrowedFd<'a>,
}

impl Requests {
    /// No requests yet.
    pub fn new() -> Requests {
        Requests::default()
    }

    /// Makes a bridge that is up, with a link-layer address that stays whatever its ports are.
    pub fn add_bridge(&mut self, name: &str, mac: [u8; 6], mtu: u32) -> &mut Self {
        self.push(
            "create bridge",
            NEWLINK,
            CREATE | EXCLUSIVE,
            &link(0, Some(true)),
            |a| {
                a.text(IFLA_IFNAME, name)
                    .bytes(IFLA_ADDRESS, &mac)
                    .u32(IFLA_MTU, mtu);
                a.nest(IFLA_LINKINFO, |a| {
                    a.text(INFO_KIND, "bridge");
                });
            },
        )
    }

    /// Makes a veth pair; the near end comes up as a port of its master, the far end stays down.
    pub fn add_veth(&mut self, veth: &Veth<'_>) -> &mut Self {
        self.push(
            "create veth pair",
            NEWLINK,
            CREATE | EXCLUSIVE,
            &link(0, Some(true)),
            |a| {
                a.text(IFLA_IFNAME, veth.name).u32(IFLA_MTU, veth.mtu);
                if veth.master != 0 {
                    a.u32(IFLA_MASTER, veth.master);
                }
                a.nest(IFLA_LINKINFO, |a| {
                    a.text(INFO_KIND, "veth");
                    a.nest(INFO_DATA, |a| {
                        a.nest(VETH_INFO_PEER, |a| {
                            a.raw(&link(0, None));
                            a.text(IFLA_IFNAME, veth.peer_name).u32(IFLA_MTU, veth.mtu);
                            a.bytes(IFLA_ADDRESS, &veth.peer_mac);
                            a.u32(IFLA_NET_NS_FD, veth.peer_netns.as_raw_fd() as u32);
                        });
                    });
                });
            },
        )
    }

    /// Marks a bridge port with an alias and lets packets leave by the port they came from;
    /// `isolated` ports reach the bridge itself but not each other.
    pub fn set_bridge_port(&mut self, name: &str, alias: &str, isolated: bool) -> &mut Self {
        self.push("set up bridge port", NEWLINK, 0, &link(0, None), |a| {
            a.text(IFLA_IFNAME, name)
                .bytes(IFLA_IFALIAS, alias.as_bytes());
            a.nest(IFLA_LINKINFO, |a| {
                a.text(INFO_SLAVE_KIND, "bridge");
                a.nest(INFO_SLAVE_DATA, |a| {
                    a.u8(BRPORT_MODE, 1).u8(BRPORT_ISOLATED, isolated.into());
                });
            });
        })
    }

    /// Brings a link up or down.
    pub fn set_up(&mut self, index: u32, up: bool) -> &mut Self {
        self.push("set link state", SETLINK, 0, &link(index, Some(up)), |_| {})
    }

    /// Moves a link, which must be down, to another namespace under this name; with `%d` in it the
    /// kernel puts a number there.
    pub fn move_link(&mut self, index: u32, name: &str, netns: BorrowedFd<'_>) -> &mut Self {
        self.push("move link", NEWLINK, 0, &link(index, None), |a| {
            a.text(IFLA_IFNAME, name)
                .u32(IFLA_NET_NS_FD, netns.as_raw_fd() as u32);
        })
    }

    /// Sets the largest packet of a link.
    pub fn set_mtu(&mut self, index: u32, mtu: u32) -> &mut Self {
        self.push("set link mtu", SETLINK, 0, &link(index, None), |a| {
            a.u32(IFLA_MTU, mtu);
        })
    }

    /// Sets the link-layer address of a link.
    pub fn set_mac(&mut self, index: u32, mac: [u8; 6]) -> &mut Self {
        self.push("set link address", SETLINK, 0, &link(index, None), |a| {
            a.bytes(IFLA_ADDRESS, &mac);
        })
    }

    /// Sets IPv4 options of a link, its `net.ipv4.conf.<name>` sysctls.
    pub fn set_ipv4_options(&mut self, index: u32, options: &[(Ipv4Option, u32)]) -> &mut Self {
        self.push("set link options", SETLINK, 0, &link(index, None), |a| {
            a.nest(IFLA_AF_SPEC, |a| {
                a.nest(libc::AF_INET as u16, |a| {
                    a.nest(INET_CONF, |a| {
                        for (option, value) in options {
                            a.u32(*option as u16, *value);
                        }
                    });
                });
            });
        })
    }

    /// Deletes a link by name.
    pub fn delete_link(&mut self, name: &str) -> &mut Self {
        self.push("delete link", DELLINK, 0, &link(0, None), |a| {
            a.text(IFLA_IFNAME, name);
        })
    }

    /// Gives a link an address; `replace` makes having it already no error.
    pub fn add_address(&mut self, index: u32, ip: IpAddr, prefix: u8, replace: bool) -> &mut Self {
        let flags = CREATE | if replace { REPLACE } else { EXCLUSIVE };
        self.address("add address", NEWADDR, flags, index, ip, prefix)
    }

    /// Takes an address from a link.
    pub fn delete_address(&mut self, index: u32, ip: IpAddr, prefix: u8) -> &mut Self {
        self.address("delete address", DELADDR, 0, index, ip, prefix)
    }

    /// Adds a default route through `gateway`.
    pub fn add_default_route(&mut self, index: u32, gateway: IpAddr) -> &mut Self {
        let any = match gateway {
            IpAddr::V4(_) => IpAddr::from([0; 4]),
            IpAddr::V6(_) => IpAddr::from([0u8; 16]),
        };
        self.add_route(index, any, 0, Some(gateway))
    }

    /// Adds a route to a network, through `gateway` or straight on the link.
    pub fn add_route(
        &mut self,
        index: u32,
        network: IpAddr,
        prefix: u8,
        gateway: Option<IpAddr>,
    ) -> &mut Self {
        // rtmsg: main table, static, unicast, and global or on-link scope.
        let scope = if gateway.is_some() { 0 } else { 253 };
        let header = [family(network), prefix, 0, 0, 254, 4, scope, 1, 0, 0, 0, 0];
        self.push("add route", NEWROUTE, CREATE | EXCLUSIVE, &header, |a| {
            if prefix > 0 {
                a.bytes(1, &octets(network));
            }
            if let Some(gateway) = gateway {
                a.bytes(5, &octets(gateway));
            }
            a.u32(4, index);
        })
    }

    /// Says which link-layer address an address has now, replacing what was learned before; it
    /// ages like one that was learned.
    pub fn set_neighbour(&mut self, index: u32, ip: IpAddr, mac: [u8; 6]) -> &mut Self {
        const REACHABLE: u16 = 2;
        let header = neighbour(index, ip, REACHABLE);
        self.push("set neighbour", NEWNEIGH, CREATE | REPLACE, &header, |a| {
            a.bytes(1, &octets(ip)).bytes(2, &mac);
        })
    }

    /// Forgets the link-layer address of an address.
    pub fn delete_neighbour(&mut self, index: u32, ip: IpAddr) -> &mut Self {
        self.push(
            "delete neighbour",
            DELNEIGH,
            0,
            &neighbour(index, ip, 0),
            |a| {
                a.bytes(1, &octets(ip));
            },
        )
    }

    /// How many requests there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    fn address(
        &mut self,
        label: &'static str,
        kind: u16,
        flags: u16,
        index: u32,
        ip: IpAddr,
        prefix: u8,
    ) -> &mut Self {
        let mut header = [family(ip), prefix, 0, 0, 0, 0, 0, 0];
        header[4..].copy_from_slice(&index.to_ne_bytes());
        self.push(label, kind, flags, &header, |a| {
            a.bytes(2, &octets(ip)).bytes(1, &octets(ip));
            if let IpAddr::V4(ip) = ip
                && prefix < 31
            {
                a.bytes(4, &(ip.to_bits() | (u32::MAX >> prefix)).to_be_bytes());
            }
        })
    }

    fn push(
        &mut self,
        label: &'static str,
        kind: u16,
        flags: u16,
        header: &[u8],
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) -> &mut Self {
        self.0
            .push(label, kind, REQUEST | ACK | flags, header, attributes);
        self
    }
}

/// `struct ifinfomsg`, with the flag that says whether the link is up where that is to change.
fn link(index: u32, up: Option<bool>) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    if let Some(up) = up {
        header[8..12].copy_from_slice(&u32::from(up).to_ne_bytes());
        header[12..16].copy_from_slice(&UP.to_ne_bytes());
    }
    header
}

/// `struct ndmsg`.
fn neighbour(index: u32, ip: IpAddr, state: u16) -> [u8; 12] {
    let mut header = [0; 12];
    header[0] = family(ip);
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..10].copy_from_slice(&state.to_ne_bytes());
    header
}
