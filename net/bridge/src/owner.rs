//! Which process has a port: best effort, for an error message only.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::PortOwner;
use crate::types::Protocol;

/// State of a listening TCP socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";
/// State of an unconnected UDP socket.
const UNCONNECTED: &str = "07";

/// The process whose socket keeps `ip:port` from being bound, if it can be found.
pub(crate) fn of_port(proto: Protocol, ip: IpAddr, port: u16) -> Option<PortOwner> {
    let (tables, state) = match proto {
        Protocol::Tcp => (["tcp", "tcp6"], LISTENING),
        Protocol::Udp => (["udp", "udp6"], UNCONNECTED),
        Protocol::Sctp => return None,
    };
    let inode = tables.iter().find_map(|table| {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).ok()?;
        text.lines()
            .skip(1)
            .find_map(|line| holder(line, state, ip, port))
    })?;
    process_with(&format!("socket:[{inode}]"))
}

/// The inode in a line of `/proc/net/*`, if that socket is in the way.
fn holder(line: &str, state: &str, ip: IpAddr, port: u16) -> Option<u64> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let (address, bound) = fields.get(1)?.split_once(':')?;
    if u16::from_str_radix(bound, 16).ok()? != port || *fields.get(3)? != state {
        return None;
    }
    let address = parse_address(address)?;
    let any = address.is_unspecified() || ip.is_unspecified();
    let in_the_way = address == ip || any && (address.is_ipv4() == ip.is_ipv4() || ip.is_ipv4());
    let inode = fields.get(9)?.parse().ok()?;
    in_the_way.then_some(inode)
}

/// An address as the kernel prints it: 32-bit words in the machine's order, in hexadecimal.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |n: usize| {
        let word = u32::from_str_radix(text.get(n * 8..n * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            let octets: [u8; 16] = words.try_into().ok()?;
            Some(Ipv6Addr::from(octets).to_canonical())
        }
        _ => None,
    }
}

fn process_with(link: &str) -> Option<PortOwner> {
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(entry.path().join("fd")) else {
            continue;
        };
        let has = descriptors
            .flatten()
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == link));
        if has {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            return Some(PortOwner::Process {
                pid,
                name: name.trim_end().to_owned(),
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_tables() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0";
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        if cfg!(target_endian = "little") {
            assert_eq!(holder(line, LISTENING, local, 8080), Some(4711));
        }
        assert_eq!(holder(line, LISTENING, any, 8080), Some(4711));
        assert_eq!(holder(line, LISTENING, any, 8081), None);
        assert_eq!(holder(line, UNCONNECTED, any, 8080), None);
        assert_eq!(holder("garbage", LISTENING, any, 1), None);
    }
}
