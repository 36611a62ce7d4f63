//! The host's side of the network: the bridge, its address, the sysctls, and what earlier runs left.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use netlink::nft::{Nft, Policy, Transaction};
use netlink::route::{Ipv4Option, Link, Requests, Route};
use rustix::io::Errno;

use crate::error::Error;
use crate::firewall::{FAMILY, FORWARD};
use crate::ipam::default_subnet;
use crate::namespace::random_mac;
use crate::types::{Config, Ipv4Net};

const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
const BRIDGE_FILTER: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";
/// Longest interface name, bytes.
const NAME_MAX: usize = 15;

/// The bridge as it is now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostBridge {
    pub(crate) index: u32,
    /// Its address with the subnet's prefix.
    pub(crate) address: Ipv4Net,
    /// Whether this run made it.
    pub(crate) made: bool,
}

/// Refuses what cannot work before anything is touched.
pub(crate) fn validate(config: &Config) -> Result<(), Error> {
    let invalid = |what, why: &str| {
        Err(Error::Invalid {
            what,
            why: why.to_owned(),
        })
    };
    let name = &config.bridge;
    let plain = |b: u8| b.is_ascii_graphic() && b != b'/' && b != b':';
    if name.is_empty() || name.len() > NAME_MAX || name == "." || name == ".." {
        return invalid("bridge name", name);
    }
    if !name.bytes().all(plain) {
        return invalid("bridge name", name);
    }
    if config.nft_table.is_empty() || config.nft_table.len() > 64 {
        return invalid("table name", &config.nft_table);
    }
    if config.ipv6.is_some() {
        return Err(Error::Unsupported("IPv6 subnets are"));
    }
    if let Some(net) = config.address {
        let edge = net.address == net.network().address || net.address == net.last();
        if net.prefix < 8 || net.prefix > 30 || edge {
            return invalid("bridge address", &net.to_string());
        }
        if let Some(range) = config.fixed_cidr
            && (range.prefix < net.prefix || !net.contains(range.address))
        {
            return invalid(
                "fixed CIDR",
                &format!("{range} is not within {}", net.network()),
            );
        }
    }
    if !(68..=65535).contains(&config.mtu) {
        return invalid("MTU", &config.mtu.to_string());
    }
    Ok(())
}

/// Makes the bridge, or adopts the one that is there.
pub(crate) fn ensure_bridge(route: &mut Route, config: &Config) -> Result<HostBridge, Error> {
    fn failed<E: Into<io::Error>>(config: &Config) -> impl FnOnce(E) -> Error {
        Error::system(format!("set up bridge {}", config.bridge))
    }
    let mut made = false;
    let link = match route.link(&config.bridge).map_err(failed(config))? {
        Some(link) if link.kind.as_deref() == Some("bridge") => link,
        Some(_) => return Err(Error::NotABridge(config.bridge.clone())),
        None => {
            let mac = random_mac()?;
            route
                .run(Requests::new().add_bridge(&config.bridge, mac, config.mtu))
                .map_err(failed(config))?;
            made = true;
            let link = route.link(&config.bridge).map_err(failed(config))?;
            link.ok_or_else(|| failed(config)(io::Error::from(io::ErrorKind::NotFound)))?
        }
    };
    let ready = adjust_bridge(route, config, &link);
    if ready.is_err() && made {
        let _ = route.run(Requests::new().delete_link(&config.bridge));
    }
    ready.map(|address| HostBridge {
        index: link.index,
        address,
        made,
    })
}

/// Gives the bridge its address and options; returns the address.
fn adjust_bridge(route: &mut Route, config: &Config, link: &Link) -> Result<Ipv4Net, Error> {
    let failed = || Error::system(format!("set up bridge {}", config.bridge));
    let current: Vec<_> = route
        .addresses()
        .map_err(failed())?
        .into_iter()
        .filter(|address| address.index == link.index && address.scope == 0)
        .filter_map(|address| match address.ip {
            IpAddr::V4(ip) => Some(Ipv4Net {
                address: ip,
                prefix: address.prefix,
            }),
            IpAddr::V6(_) => None,
        })
        .collect();
    let wanted = match (config.address, current.first()) {
        (Some(wanted), _) => wanted,
        (None, Some(current)) => *current,
        (None, None) => free_subnet(route)?,
    };
    let mut requests = Requests::new();
    for old in current
        .iter()
        .filter(|old| config.address.is_some() && **old != wanted)
    {
        requests.delete_address(link.index, old.address.into(), old.prefix);
    }
    if !current.contains(&wanted) {
        requests.add_address(link.index, wanted.address.into(), wanted.prefix, true);
    }
    if link.mtu != config.mtu {
        requests.set_mtu(link.index, config.mtu);
    }
    requests.set_up(link.index, true);
    requests.set_ipv4_options(link.index, &[(Ipv4Option::RouteLocalnet, 1)]);
    route.run(&mut requests).map_err(failed())?;
    Ok(wanted)
}

fn free_subnet(route: &mut Route) -> Result<Ipv4Net, Error> {
    let routes = route
        .destinations(false)
        .map_err(Error::system("list routes"))?;
    let nets: Vec<_> = routes
        .iter()
        .filter_map(|destination| match destination.ip? {
            IpAddr::V4(address) => Some(Ipv4Net {
                address,
                prefix: destination.prefix,
            }),
            IpAddr::V6(_) => None,
        })
        .collect();
    default_subnet(&nets).ok_or(Error::NoSubnet)
}

/// Turns forwarding on if it is off. The policy for packets between other interfaces: a host that
/// was no router must not become one for all its interfaces, and stays so over restarts.
pub(crate) fn enable_forwarding(config: &Config, nft: &mut Nft) -> Result<Policy, Error> {
    let before = nft
        .chain(FAMILY, &config.nft_table, FORWARD)
        .map_err(Error::system("look at the nftables table"))?
        .and_then(|chain| chain.policy);
    let on = fs::read_to_string(IP_FORWARD)
        .map_err(Error::system("read ip_forward"))?
        .trim()
        != "0";
    if on || !config.ip_forward {
        return Ok(before.unwrap_or(Policy::Accept));
    }
    fs::write(IP_FORWARD, "1").map_err(Error::system("enable ip_forward"))?;
    Ok(Policy::Drop)
}

/// For a network whose endpoints must not talk to each other: has bridged packets go through the
/// rules where the kernel can do that. `true` means that the bridge itself must keep them apart.
pub(crate) fn separate_endpoints(config: &Config) -> Result<bool, Error> {
    if config.icc {
        return Ok(false);
    }
    if !Path::new(BRIDGE_FILTER).exists() {
        return Ok(true);
    }
    fs::write(BRIDGE_FILTER, "1").map_err(Error::system("have bridged packets filtered"))?;
    Ok(false)
}

/// Deletes links that carry the mark and are not to be kept; returns the names that are there.
pub(crate) fn sweep(
    route: &mut Route,
    mark: &str,
    keep: &HashSet<&str>,
) -> Result<HashSet<String>, Error> {
    let links = route.links().map_err(Error::system("list links"))?;
    let ours = links
        .into_iter()
        .filter(|link| link.alias.as_deref() == Some(mark) && link.kind.as_deref() == Some("veth"));
    let (stay, go): (Vec<_>, Vec<_>) = ours.partition(|link| keep.contains(link.name.as_str()));
    let mut requests = Requests::new();
    for link in &go {
        requests.delete_link(&link.name);
    }
    for outcome in route
        .outcomes(&mut requests)
        .map_err(Error::system("delete stale links"))?
    {
        match outcome {
            // Its namespace may be going away at this very moment.
            Err(error) if error.errno() != Some(Errno::NODEV) => {
                return Err(Error::system("delete stale links")(error));
            }
            _ => {}
        }
    }
    Ok(stay.into_iter().map(|link| link.name).collect())
}

/// Removes the table, all our links and the bridge; goes on after failures.
pub(crate) fn purge(config: &Config) -> Result<(), Error> {
    let mut errors = Vec::new();
    let table = Nft::open().and_then(|mut nft| match nft.has_table(FAMILY, &config.nft_table)? {
        true => {
            let mut transaction = Transaction::new(FAMILY, &config.nft_table);
            transaction.delete_table();
            nft.commit(transaction)
        }
        false => Ok(()),
    });
    errors.extend(
        table
            .map_err(Error::system("remove the nftables table"))
            .err(),
    );
    let links = Route::open()
        .map_err(Error::system("open rtnetlink"))
        .and_then(|mut route| {
            let swept = sweep(&mut route, &mark(config), &HashSet::new());
            let bridge = match route.link(&config.bridge) {
                Ok(Some(link)) if link.kind.as_deref() == Some("bridge") => {
                    route.run(Requests::new().delete_link(&config.bridge))
                }
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            };
            let bridge = bridge.map_err(Error::system("delete the bridge")).err();
            Error::gather(swept.err().into_iter().chain(bridge).collect())
        });
    errors.extend(links.err());
    Error::gather(errors)
}

/// The alias that marks links of this network.
pub(crate) fn mark(config: &Config) -> String {
    format!("{} {}", config.nft_table, config.bridge)
}
