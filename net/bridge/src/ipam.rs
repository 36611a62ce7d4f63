//! Addresses of one subnet: which are taken, and which one is next. Pure.
//!
//! Addresses are given in turn, the next free one after the last given, so that one that was just
//! released rests as long as possible before somebody else answers to it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::types::Ipv4Net;

/// The addresses of a subnet.
#[derive(Debug, Clone)]
pub(crate) struct Ipam {
    subnet: Ipv4Net,
    /// First and last address that are given without being asked for.
    range: (u32, u32),
    taken: BTreeSet<u32>,
    /// Where to look first.
    next: u32,
}

/// Why an address asked for cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Somebody has it.
    Taken,
    /// It is not an endpoint's address in this subnet.
    Outside,
}

impl Ipam {
    /// The subnet around `gateway`, which is taken, as are the network's own address and the
    /// broadcast address. `range` narrows what is given.
    pub(crate) fn new(gateway: Ipv4Net, range: Option<Ipv4Net>) -> Ipam {
        let subnet = gateway.network();
        let wide = range.unwrap_or(subnet);
        let range = (wide.network().address.to_bits(), wide.last().to_bits());
        let mut taken = BTreeSet::from([gateway.address.to_bits()]);
        if subnet.prefix < 31 {
            taken.extend([subnet.address.to_bits(), subnet.last().to_bits()]);
        }
        Ipam {
            subnet,
            range,
            taken,
            next: range.0,
        }
    }

    /// Takes the next free address.
    pub(crate) fn take(&mut self) -> Option<Ipv4Addr> {
        let found = self.free(self.next, self.range.1).or_else(|| {
            let before = self.next.checked_sub(1)?;
            self.free(self.range.0, before)
        })?;
        self.taken.insert(found);
        self.next = if found == self.range.1 {
            self.range.0
        } else {
            found + 1
        };
        Some(Ipv4Addr::from_bits(found))
    }

    /// Takes one particular address.
    pub(crate) fn take_exactly(&mut self, ip: Ipv4Addr) -> Result<(), Refused> {
        let edge =
            self.subnet.prefix < 31 && (ip == self.subnet.address || ip == self.subnet.last());
        if !self.subnet.contains(ip) || edge {
            return Err(Refused::Outside);
        }
        if self.taken.insert(ip.to_bits()) {
            Ok(())
        } else {
            Err(Refused::Taken)
        }
    }

    /// Gives an address back.
    pub(crate) fn release(&mut self, ip: Ipv4Addr) {
        self.taken.remove(&ip.to_bits());
    }

    /// Addresses are given after this one from now on.
    pub(crate) fn resume_after(&mut self, ip: Ipv4Addr) {
        let ip = ip.to_bits();
        if (self.range.0..self.range.1).contains(&ip) {
            self.next = ip + 1;
        }
    }

    /// The lowest free address of `from..=to`.
    fn free(&self, from: u32, to: u32) -> Option<u32> {
        if from > to {
            return None;
        }
        let mut candidate = from;
        for taken in self.taken.range(from..=to) {
            if *taken != candidate {
                return Some(candidate);
            }
            candidate = candidate.checked_add(1)?;
        }
        (candidate <= to).then_some(candidate)
    }
}

/// The first of dockerd's default subnets that shares no address with a route of the host; the
/// bridge's address is the first one in it.
pub(crate) fn default_subnet(routes: &[Ipv4Net]) -> Option<Ipv4Net> {
    let class_b = (17..=31).map(|n| (Ipv4Addr::new(172, n, 0, 1), 16));
    let class_c = (0..16).map(|n| (Ipv4Addr::new(192, 168, n * 16, 1), 20));
    class_b
        .chain(class_c)
        .map(|(address, prefix)| Ipv4Net { address, prefix })
        .find(|net| {
            routes
                .iter()
                .all(|route| route.prefix == 0 || !route.overlaps(*net))
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().expect("a net")
    }

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().expect("an address")
    }

    #[test]
    fn goes_on_after_the_last_and_wraps() {
        let mut ipam = Ipam::new(net("10.1.0.1/29"), None);
        let all: Vec<_> = std::iter::from_fn(|| ipam.take()).collect();
        let expected: Vec<_> = (2..=6).map(|n| Ipv4Addr::new(10, 1, 0, n)).collect();
        assert_eq!(all, expected);
        ipam.release(ip("10.1.0.3"));
        ipam.release(ip("10.1.0.5"));
        assert_eq!(ipam.take(), Some(ip("10.1.0.3")));
        ipam.release(ip("10.1.0.3"));
        assert_eq!(
            ipam.take(),
            Some(ip("10.1.0.5")),
            "the one just released rests"
        );
    }

    #[test]
    fn keeps_to_the_range_unless_asked() {
        let mut ipam = Ipam::new(net("10.1.0.1/24"), Some(net("10.1.0.128/30")));
        let all: Vec<_> = std::iter::from_fn(|| ipam.take()).collect();
        assert_eq!(
            all,
            (128..=131)
                .map(|n| Ipv4Addr::new(10, 1, 0, n))
                .collect::<Vec<_>>()
        );
        assert_eq!(ipam.take_exactly(ip("10.1.0.9")), Ok(()));
        assert_eq!(ipam.take_exactly(ip("10.1.0.9")), Err(Refused::Taken));
        assert_eq!(ipam.take_exactly(ip("10.1.0.1")), Err(Refused::Taken));
        assert_eq!(ipam.take_exactly(ip("10.1.0.255")), Err(Refused::Outside));
        assert_eq!(ipam.take_exactly(ip("10.2.0.9")), Err(Refused::Outside));
    }

    #[test]
    fn default_subnet_steps_over_routes() {
        assert_eq!(default_subnet(&[]), Some(net("172.17.0.1/16")));
        assert_eq!(
            default_subnet(&[net("0.0.0.0/0")]),
            Some(net("172.17.0.1/16"))
        );
        let routes = [net("172.17.4.0/24"), net("172.18.0.0/15")];
        assert_eq!(default_subnet(&routes), Some(net("172.20.0.1/16")));
        assert_eq!(
            default_subnet(&[net("172.16.0.0/12")]),
            Some(net("192.168.0.1/20"))
        );
        assert_eq!(
            default_subnet(&[net("172.16.0.0/12"), net("192.168.0.0/16")]),
            None
        );
    }

    proptest! {
        #[test]
        fn never_gives_one_twice(steps in proptest::collection::vec(any::<Option<u8>>(), 1..400)) {
            let gateway = net("10.9.0.1/26");
            let mut ipam = Ipam::new(gateway, None);
            let mut held: Vec<Ipv4Addr> = Vec::new();
            for step in steps {
                match step {
                    Some(n) if !held.is_empty() => {
                        ipam.release(held.swap_remove(usize::from(n) % held.len()));
                    }
                    _ => match ipam.take() {
                        Some(ip) => {
                            prop_assert!(gateway.contains(ip) && ip != gateway.address);
                            prop_assert!(ip != gateway.last() && ip != gateway.network().address);
                            prop_assert!(!held.contains(&ip));
                            held.push(ip);
                        }
                        None => prop_assert_eq!(held.len(), 61),
                    },
                }
            }
        }
    }
}
