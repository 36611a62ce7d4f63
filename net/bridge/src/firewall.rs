//! The table's plan: which chains, rules and maps there are, and which elements a published port is.
//! Pure; [`Firewall::install`] and [`change`] only turn it into transactions.
//!
//! ```text
//! guard       prerouting raw   nobody outside reaches 127/8 or an endpoint's own address
//! prerouting  ┐                ┌ publish: (address . port) in tcp_addr, udp_addr → dnat
//! output      ┴─ nat ── jump ──┤          not one of our addresses → return
//!                              └          port in tcp_any, udp_any → dnat
//! forward     filter           into the bridge: answers and published ports; among endpoints: icc
//! postrouting nat              outwards, hairpins and from 127/8: masquerade
//! ```
//!
//! Publishing adds elements; the rules are the same for one endpoint or a thousand.

use std::net::{IpAddr, Ipv4Addr};

use netlink::nft::{
    Base, Chain, CtKey, Element, Expression, Family, Hook, HookPoint, Map, MetaKey, NatTarget,
    Operator, Policy, Register, Rule, Transaction, Verdict,
};

use crate::types::{Ipv4Net, Protocol, Published};

/// The table is of this family: the network is IPv4.
pub(crate) const FAMILY: Family = Family::Ip;
/// The chain whose policy remembers whether forwarding was ours to turn on.
pub(crate) const FORWARD: &str = "forward";

const IPV4_ADDR: u32 = 7;
const INET_SERVICE: u32 = 13;
const TARGET: u32 = IPV4_ADDR << 6 | INET_SERVICE;
const LOOPBACK: Ipv4Net = Ipv4Net {
    address: Ipv4Addr::new(127, 0, 0, 0),
    prefix: 8,
};
const TCP: u8 = 6;
const UDP: u8 = 17;
const SOURCE: u32 = 12;
const DESTINATION: u32 = 16;

/// What the rules depend on.
#[derive(Debug, Clone)]
pub(crate) struct Firewall {
    pub(crate) table: String,
    pub(crate) bridge: String,
    /// The bridge's address with its prefix.
    pub(crate) gateway: Ipv4Net,
    pub(crate) masquerade: bool,
    pub(crate) icc: bool,
    /// What becomes of packets between other interfaces.
    pub(crate) forward: Policy,
}

/// An element together with the map that it belongs to.
pub(crate) type Entry = (&'static str, Element);

impl Firewall {
    /// Replaces the whole table by one with these elements.
    pub(crate) fn install(&self, entries: &[Entry]) -> Transaction {
        let mut transaction = Transaction::new(FAMILY, &self.table);
        // Adding what is there is no error, deleting what is not there would be.
        transaction.add_table().delete_table().add_table();
        for map in maps() {
            transaction.add_map(&map);
        }
        for chain in self.chains() {
            transaction.add_chain(&chain);
        }
        for rule in self.rules() {
            transaction.add_rule(&rule);
        }
        for map in maps() {
            let of_map = |(name, element): &Entry| (*name == map.name).then(|| element.clone());
            let elements: Vec<_> = entries.iter().filter_map(of_map).collect();
            transaction.add_elements(&map.name, &elements);
        }
        transaction
    }

    pub(crate) fn chains(&self) -> Vec<Chain> {
        let hooked = |name: &str, kind, point, priority, policy| Chain {
            name: name.to_owned(),
            hook: Some(Hook {
                kind,
                point,
                priority,
                policy,
            }),
        };
        vec![
            Chain {
                name: "publish".to_owned(),
                hook: None,
            },
            hooked(
                "guard",
                "filter",
                HookPoint::Prerouting,
                -300,
                Policy::Accept,
            ),
            hooked(
                "prerouting",
                "nat",
                HookPoint::Prerouting,
                -100,
                Policy::Accept,
            ),
            hooked("output", "nat", HookPoint::Output, -100, Policy::Accept),
            hooked(FORWARD, "filter", HookPoint::Forward, 0, self.forward),
            hooked(
                "postrouting",
                "nat",
                HookPoint::Postrouting,
                100,
                Policy::Accept,
            ),
        ]
    }

    pub(crate) fn rules(&self) -> Vec<Rule> {
        let mut rules = publish_rules();
        rules.extend(self.guard_rules());
        for chain in ["prerouting", "output"] {
            rules.push(rule(chain, [], Verdict::Jump("publish".to_owned())));
        }
        rules.extend(self.forward_rules());
        rules.extend(self.postrouting_rules());
        rules
    }

    fn guard_rules(&self) -> Vec<Rule> {
        use Operator::NotEqual;
        let foreign = interface(MetaKey::InputName, NotEqual, "lo");
        let mut rules = vec![
            rule(
                "guard",
                [foreign.clone(), within(DESTINATION, LOOPBACK)],
                Verdict::Drop,
            ),
            rule(
                "guard",
                [foreign.clone(), within(SOURCE, LOOPBACK)],
                Verdict::Drop,
            ),
        ];
        if self.masquerade {
            // Without masquerading the outside must know these addresses, to answer.
            let outside = interface(MetaKey::InputName, NotEqual, &self.bridge);
            let endpoint = within(DESTINATION, self.gateway);
            let gateway = Ipv4Net {
                prefix: 32,
                ..self.gateway
            };
            rules.push(rule(
                "guard",
                [within(DESTINATION, gateway)],
                Verdict::Accept,
            ));
            rules.push(rule("guard", [foreign, outside, endpoint], Verdict::Drop));
        }
        rules
    }

    fn forward_rules(&self) -> Vec<Rule> {
        use Operator::{Equal, NotEqual};
        let from = interface(MetaKey::InputName, Equal, &self.bridge);
        let to = interface(MetaKey::OutputName, Equal, &self.bridge);
        let outwards = interface(MetaKey::OutputName, NotEqual, &self.bridge);
        let mut rules = vec![
            rule(FORWARD, [to.clone(), answering()], Verdict::Accept),
            rule(FORWARD, [from.clone(), outwards], Verdict::Accept),
            rule(FORWARD, [to.clone(), published()], Verdict::Accept),
        ];
        if self.icc {
            rules.push(rule(FORWARD, [from, to.clone()], Verdict::Accept));
        }
        rules.push(rule(FORWARD, [to], Verdict::Drop));
        rules
    }

    fn postrouting_rules(&self) -> Vec<Rule> {
        use Operator::{Equal, NotEqual};
        let to = interface(MetaKey::OutputName, Equal, &self.bridge);
        let ours = within(SOURCE, self.gateway);
        let hairpin = [to.clone(), ours.clone(), published()];
        let mut rules = vec![
            masquerade("postrouting", hairpin),
            masquerade("postrouting", [to, within(SOURCE, LOOPBACK)]),
        ];
        if self.masquerade {
            let outwards = interface(MetaKey::OutputName, NotEqual, &self.bridge);
            rules.push(masquerade("postrouting", [ours, outwards]));
        }
        rules
    }
}

/// The maps that published ports are elements of.
pub(crate) fn maps() -> [Map; 4] {
    let map = |name: &str, key_type, key_length| Map {
        name: name.to_owned(),
        key_type,
        key_length,
        data_type: TARGET,
        data_length: 8,
    };
    [
        map("tcp_addr", TARGET, 8),
        map("udp_addr", TARGET, 8),
        map("tcp_any", INET_SERVICE, 2),
        map("udp_any", INET_SERVICE, 2),
    ]
}

/// The element that a published port is; `None` for what the kernel does not translate.
pub(crate) fn entry(published: &Published, endpoint: Ipv4Addr) -> Option<Entry> {
    let IpAddr::V4(host) = published.host_ip else {
        return None;
    };
    let any = host.is_unspecified();
    let map = match (published.proto, any) {
        (Protocol::Tcp, false) => "tcp_addr",
        (Protocol::Udp, false) => "udp_addr",
        (Protocol::Tcp, true) => "tcp_any",
        (Protocol::Udp, true) => "udp_any",
        (Protocol::Sctp, _) => return None,
    };
    let key = match any {
        true => published.host_port.to_be_bytes().to_vec(),
        false => concatenated(host, published.host_port),
    };
    Some((
        map,
        Element {
            key,
            data: concatenated(endpoint, published.container_port),
        },
    ))
}

/// Adds or deletes elements.
pub(crate) fn change(table: &str, entries: &[Entry], add: bool) -> Transaction {
    let mut transaction = Transaction::new(FAMILY, table);
    for (map, element) in entries {
        let element = std::slice::from_ref(element);
        match add {
            true => transaction.add_elements(map, element),
            false => transaction.delete_elements(map, element),
        };
    }
    transaction
}

/// `address . port`, each part padded to 4 bytes.
fn concatenated(address: Ipv4Addr, port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    [address.octets(), [high, low, 0, 0]].concat()
}

fn publish_rules() -> Vec<Rule> {
    const FOUND: (Register, Register) = (Register(2), Register(3));
    let address = Expression::Payload {
        base: Base::Network,
        offset: DESTINATION,
        length: 4,
        to: Register(0),
    };
    let port = |to| Expression::Payload {
        base: Base::Transport,
        offset: 2,
        length: 2,
        to,
    };
    let find = |map: &str| Expression::Lookup {
        map: map.to_owned(),
        key: Register(0),
        data: FOUND.0,
    };
    let dnat = Expression::Nat {
        target: NatTarget::Destination,
        address: FOUND.0,
        port: FOUND.1,
    };
    let one = |proto, map, load: Vec<Expression>| Rule {
        chain: "publish".to_owned(),
        expressions: [protocol(proto), load, vec![find(map), dnat.clone()]].concat(),
    };
    let local = vec![
        Expression::DestinationType(Register(0)),
        Expression::Compare(Operator::NotEqual, Register(0), 2u32.to_ne_bytes().to_vec()),
    ];
    vec![
        one(TCP, "tcp_addr", vec![address.clone(), port(Register(1))]),
        one(UDP, "udp_addr", vec![address, port(Register(1))]),
        rule("publish", [local], Verdict::Return),
        one(TCP, "tcp_any", vec![port(Register(0))]),
        one(UDP, "udp_any", vec![port(Register(0))]),
    ]
}

fn rule<const N: usize>(chain: &str, matches: [Vec<Expression>; N], verdict: Verdict) -> Rule {
    let mut expressions = matches.concat();
    expressions.push(Expression::Verdict(verdict));
    Rule {
        chain: chain.to_owned(),
        expressions,
    }
}

fn masquerade<const N: usize>(chain: &str, matches: [Vec<Expression>; N]) -> Rule {
    let mut expressions = matches.concat();
    expressions.push(Expression::Masquerade);
    Rule {
        chain: chain.to_owned(),
        expressions,
    }
}

/// `meta l4proto`.
fn protocol(number: u8) -> Vec<Expression> {
    vec![
        Expression::Meta(MetaKey::Protocol, Register(0)),
        Expression::Compare(Operator::Equal, Register(0), vec![number]),
    ]
}

/// `iifname` or `oifname`, in the sixteen bytes that the kernel compares.
fn interface(key: MetaKey, operator: Operator, name: &str) -> Vec<Expression> {
    let mut padded = name.as_bytes().to_vec();
    padded.resize(16, 0);
    vec![
        Expression::Meta(key, Register(0)),
        Expression::Compare(operator, Register(0), padded),
    ]
}

/// `ip saddr` or `ip daddr`, by the offset in the header.
fn within(offset: u32, net: Ipv4Net) -> Vec<Expression> {
    let load = Expression::Payload {
        base: Base::Network,
        offset,
        length: 4,
        to: Register(0),
    };
    vec![
        load,
        Expression::Mask(Register(0), net.mask().to_be_bytes().to_vec()),
        Expression::Compare(
            Operator::Equal,
            Register(0),
            net.network().address.octets().to_vec(),
        ),
    ]
}

/// `ct state established,related`.
fn answering() -> Vec<Expression> {
    has_bits(CtKey::State, 2 | 4)
}

/// `ct status dnat`: somebody translated the destination, so the port is published.
fn published() -> Vec<Expression> {
    has_bits(CtKey::Status, 32)
}

fn has_bits(key: CtKey, bits: u32) -> Vec<Expression> {
    vec![
        Expression::Ct(key, Register(0)),
        Expression::Mask(Register(0), bits.to_ne_bytes().to_vec()),
        Expression::Compare(Operator::NotEqual, Register(0), vec![0; 4]),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::Ipv6Addr;

    use proptest::prelude::*;

    use super::*;

    fn firewall(masquerade: bool, icc: bool) -> Firewall {
        Firewall {
            table: "t".to_owned(),
            bridge: "br0".to_owned(),
            gateway: Ipv4Net {
                address: Ipv4Addr::new(10, 1, 0, 1),
                prefix: 24,
            },
            masquerade,
            icc,
            forward: Policy::Accept,
        }
    }

    #[test]
    fn rules_only_name_chains_and_maps_that_are_made() {
        for (masquerade, icc) in [(true, true), (true, false), (false, true), (false, false)] {
            let firewall = firewall(masquerade, icc);
            let chains: HashSet<_> = firewall.chains().into_iter().map(|c| c.name).collect();
            let maps: HashSet<_> = maps().into_iter().map(|m| m.name).collect();
            for rule in firewall.rules() {
                assert!(chains.contains(&rule.chain));
                for expression in rule.expressions {
                    match expression {
                        Expression::Lookup { map, .. } => assert!(maps.contains(&map)),
                        Expression::Verdict(Verdict::Jump(to)) => assert!(chains.contains(&to)),
                        _ => {}
                    }
                }
            }
        }
    }

    #[test]
    fn into_the_bridge_ends_with_a_drop() {
        for icc in [true, false] {
            let rules = firewall(true, icc).rules();
            let last = rules
                .iter()
                .rfind(|rule| rule.chain == FORWARD)
                .expect("forward rules");
            let to = interface(MetaKey::OutputName, Operator::Equal, "br0");
            assert_eq!(*last, rule(FORWARD, [to], Verdict::Drop));
        }
    }

    #[test]
    fn options_add_their_rules() {
        let count = |masquerade, icc| firewall(masquerade, icc).rules().len();
        assert_eq!(count(true, true), count(true, false) + 1);
        // Masquerading outwards, and the two rules that keep outsiders from endpoints' addresses.
        assert_eq!(count(true, true), count(false, true) + 3);
    }

    #[test]
    fn ipv6_is_not_for_the_kernel_to_translate() {
        let host_ip = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let port = Published {
            container_port: 80,
            proto: Protocol::Tcp,
            host_ip,
            host_port: 80,
        };
        assert_eq!(entry(&port, Ipv4Addr::LOCALHOST), None);
    }

    proptest! {
        #[test]
        fn elements_fit_their_map_and_differ(
            ports in proptest::collection::hash_set((any::<u32>(), 1u16.., any::<bool>()), 1..40),
            endpoint in any::<u32>(),
        ) {
            let mut keys = HashSet::new();
            for (host, host_port, tcp) in &ports {
                let published = Published {
                    container_port: 80,
                    proto: if *tcp { Protocol::Tcp } else { Protocol::Udp },
                    host_ip: Ipv4Addr::from_bits(*host).into(),
                    host_port: *host_port,
                };
                let endpoint = Ipv4Addr::from_bits(endpoint);
                let (name, element) = entry(&published, endpoint).expect("an IPv4 port");
                let maps = maps();
                let map = maps.iter().find(|map| map.name == name).expect("its map");
                prop_assert_eq!(element.key.len(), map.key_length as usize);
                prop_assert_eq!(element.data.len(), map.data_length as usize);
                prop_assert_eq!(&element.data[..6], &[&endpoint.octets()[..], &[0, 80]].concat()[..]);
                prop_assert!(keys.insert((name, element.key)));
            }
        }
    }
}
