//! Endpoints over time: conflicts, restarts, the pool, many at once, and what is left behind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::thread;

use bridge::{
    Bridge, Config, Endpoint, Error, HostPort, PortOwner, Protocol, Publish, Request, Restored,
};
use netlink::nft::{Family, Nft};
use netlink::route::{Requests, Route};
use support::*;

fn restored(n: usize, endpoint: &Endpoint) -> Restored {
    Restored {
        endpoint_id: id(n),
        ip: endpoint.ip,
        mac: endpoint.mac,
        veth: endpoint.veth.clone(),
        ports: endpoint.ports.clone(),
    }
}

#[test]
fn nothing_is_left_after_disconnect() {
    host(|| {
        let bridge = Bridge::open(config(), Vec::new()).unwrap();
        let one = connect(&bridge, 1, &[tcp(None, 8080, 80), udp(8080, 80)]);
        assert_eq!(
            (endpoint_links().len(), elements(), bridge.in_use()),
            (1, 2, 1)
        );
        drop(one);
        bridge.disconnect(&id(1)).unwrap();
        assert_eq!(elements(), 0, "ports are withdrawn at once");
        eventually("links go", || endpoint_links().is_empty());
        bridge.disconnect(&id(1)).unwrap();
        bridge.disconnect("nobody").unwrap();
        assert_eq!(bridge.in_use(), 0);
        // The same again, now that all of it is free.
        drop(connect(&bridge, 1, &[tcp(None, 8080, 80), udp(8080, 80)]));
        drop(bridge);
        Bridge::purge(&config()).unwrap();
        assert_eq!(Route::open().unwrap().link("docker0").unwrap(), None);
        assert_eq!(endpoint_links(), Vec::<String>::new());
        assert!(
            !Nft::open()
                .unwrap()
                .has_table(Family::Ip, "corten")
                .unwrap()
        );
        Bridge::purge(&config()).unwrap();
    });
}

#[test]
fn conflicts_name_the_owner() {
    host(|| {
        let bridge = Bridge::open(config(), Vec::new()).unwrap();
        let _one = connect(&bridge, 1, &[tcp(None, 8080, 80)]);
        let error = bridge
            .connect(plain(&id(2), &[tcp(None, 8080, 81)]))
            .unwrap_err();
        let Error::PortInUse(conflict) = &error else {
            panic!("{error}")
        };
        assert_eq!(conflict.endpoint(), Some(id(1).as_str()));
        let text = error.to_string();
        let expected = "Bind for 0.0.0.0:8080 failed: port is already allocated (held by endpoint \
                        0000";
        assert!(text.starts_with(expected), "{text}");
        // A socket that is nobody's endpoint: this very process.
        let foreign = TcpListener::bind("127.0.0.1:9090").unwrap();
        let error = bridge
            .connect(plain(&id(2), &[tcp(None, 9090, 81)]))
            .unwrap_err();
        let Error::PortInUse(conflict) = &error else {
            panic!("{error}")
        };
        let Some(PortOwner::Process { pid, .. }) = conflict.owner else {
            panic!("{error}")
        };
        assert_eq!(pid, std::process::id());
        drop(foreign);
        let foreign = UdpSocket::bind("[::1]:9091").unwrap();
        let error = bridge.connect(plain(&id(2), &[udp(9091, 81)])).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("for [::]:9091:172.17.0.") && text.contains("pid "),
            "{text}"
        );
        drop(foreign);
        // An address that is not the host's, and a protocol that is not ours.
        let elsewhere = tcp(Some(IpAddr::from([203, 0, 113, 9])), 80, 80);
        let text = bridge
            .connect(plain(&id(2), &[elsewhere]))
            .unwrap_err()
            .to_string();
        assert!(text.ends_with("cannot assign requested address"), "{text}");
        let sctp = Publish {
            proto: Protocol::Sctp,
            ..tcp(None, 80, 80)
        };
        let text = bridge
            .connect(plain(&id(2), &[sctp]))
            .unwrap_err()
            .to_string();
        assert_eq!(
            text,
            "publishing SCTP ports is not supported by bridge networks yet"
        );
        // A failure half way takes back what it had.
        let both = [tcp(None, 7070, 80), tcp(None, 8080, 80)];
        bridge.connect(plain(&id(2), &both)).unwrap_err();
        assert_eq!((elements(), bridge.in_use()), (1, 1));
        drop(TcpListener::bind("0.0.0.0:7070").unwrap());
        eventually("links of failures go", || endpoint_links().len() == 1);
        let again = bridge.connect(plain(&id(1), &[])).unwrap_err();
        assert!(matches!(again, Error::EndpointExists(_)), "{again}");
    });
}

#[test]
fn held_sockets_keep_others_out() {
    host(|| {
        let bridge = Bridge::open(config(), Vec::new()).unwrap();
        let one = connect(&bridge, 1, &[tcp(None, 8080, 80), udp(8080, 80)]);
        assert!(TcpListener::bind("0.0.0.0:8080").is_err());
        assert!(TcpListener::bind("127.0.0.1:8080").is_err());
        assert!(TcpListener::bind("[::1]:8080").is_err());
        assert!(UdpSocket::bind("127.0.0.1:8080").is_err());
        drop(one);
        assert!(TcpListener::bind("0.0.0.0:8080").is_ok());
    });
}

#[test]
fn ports_are_found_in_ranges() {
    host(|| {
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40003").unwrap();
        let bridge = Bridge::open(config(), Vec::new()).unwrap();
        let _busy = TcpListener::bind("0.0.0.0:40001").unwrap();
        let any = tcp(None, 0, 80);
        let mut got = Vec::new();
        let mut held = Vec::new();
        for n in 0..3 {
            let endpoint = connect(&bridge, n, &[any]);
            assert_eq!(endpoint.ports[0].host_port, endpoint.ports[1].host_port);
            got.push(endpoint.ports[0].host_port);
            held.push(endpoint);
        }
        assert_eq!(got, [40000, 40002, 40003]);
        let error = bridge.connect(plain(&id(9), &[any])).unwrap_err();
        assert!(
            error.to_string().ends_with("all ports are allocated"),
            "{error}"
        );
        let host_port = HostPort::Range {
            start: 40000,
            end: 40010,
        };
        let ranged = connect(&bridge, 4, &[Publish { host_port, ..any }]);
        assert_eq!(ranged.ports[0].host_port, 40004);
    });
}

#[test]
fn running_endpoints_survive_a_restart() {
    host(|| {
        let bridge = Bridge::open(
            Config {
                pool: 2,
                ..config()
            },
            Vec::new(),
        )
        .unwrap();
        let one = connect(&bridge, 1, &[tcp(None, 8080, 80)]);
        let stray = connect(&bridge, 2, &[tcp(None, 9090, 80)]);
        serve_tcp(fd(&one), 80);
        let before = bridge.facts().clone();
        drop(bridge);
        let to = SocketAddr::from(([127, 0, 0, 1], 8080));
        assert!(ask_tcp(to).is_ok(), "nobody runs, the rules stay");

        let bridge = Bridge::open(config(), vec![restored(1, &one)]).unwrap();
        assert_eq!(*bridge.facts(), before);
        assert_eq!(
            endpoint_links(),
            [one.veth.as_str()],
            "whom nobody restores goes"
        );
        assert_eq!((elements(), bridge.in_use()), (1, 1));
        assert!(ask_tcp(to).is_ok());
        let error = bridge
            .connect(plain(&id(3), &[tcp(None, 8080, 80)]))
            .unwrap_err();
        let Error::PortInUse(conflict) = &error else {
            panic!("{error}")
        };
        assert_eq!(conflict.endpoint(), Some(id(1).as_str()));
        let three = connect(&bridge, 3, &[]);
        assert!(three.ip != one.ip);
        let taken = Request {
            ip: Some(one.ip),
            ..plain("four", &[])
        };
        assert!(matches!(bridge.connect(taken), Err(Error::AddressInUse(_))));
        bridge.disconnect(&id(1)).unwrap();
        assert_eq!(elements(), 0);
        drop(stray);
    });
}

#[test]
fn asked_for_addresses_are_given() {
    host(|| {
        let bridge = Bridge::open(
            Config {
                pool: 2,
                ..config()
            },
            Vec::new(),
        )
        .unwrap();
        eventually("the pool fills", || endpoint_links().len() == 2);
        let ip = Ipv4Addr::new(172, 17, 0, 3);
        let mac = [0x02, 0x42, 1, 2, 3, 4];
        let id = id(1);
        let request = Request {
            ip: Some(ip),
            mac: Some(mac),
            ..plain(&id, &[])
        };
        let one = bridge.connect(request).unwrap();
        assert_eq!((one.ip, one.mac), (ip, mac), "even out of the pool");
        let seen = inside(fd(&one), move || {
            let mut route = Route::open().unwrap();
            let mac = route.link("eth0").unwrap().unwrap().mac;
            (
                mac,
                route
                    .addresses()
                    .unwrap()
                    .iter()
                    .any(|a| a.ip == IpAddr::V4(ip)),
            )
        });
        assert_eq!(seen, (Some(mac), true));
        bridge.disconnect(&id).unwrap();
        let again = bridge.connect(request).unwrap();
        assert_eq!(again.ip, ip, "waits for the link that had it");
        let outside = Request {
            ip: Some(Ipv4Addr::new(10, 0, 0, 1)),
            ..plain("x", &[])
        };
        assert!(matches!(
            bridge.connect(outside),
            Err(Error::Invalid { .. })
        ));
    });
}

#[test]
fn sysctls_are_written_inside() {
    host(|| {
        let bridge = Bridge::open(config(), Vec::new()).unwrap();
        let sysctls = [(
            "net.ipv4.conf.IFNAME.log_martians".to_owned(),
            "1".to_owned(),
        )];
        let id = id(1);
        let one = bridge
            .connect(Request {
                sysctls: &sysctls,
                ..plain(&id, &[])
            })
            .unwrap();
        let path = "/proc/sys/net/ipv4/conf/eth0/log_martians";
        assert_eq!(
            inside(fd(&one), move || fs::read_to_string(path).unwrap()),
            "1\n"
        );
        let bad = [("net.ipv4.conf.all.log_martians".to_owned(), "1".to_owned())];
        assert!(
            bridge
                .connect(Request {
                    sysctls: &bad,
                    ..plain("x", &[])
                })
                .is_err()
        );
        eventually("its link goes", || endpoint_links().len() == 1);
    });
}

#[test]
fn pool_is_kept_and_goes_with_the_bridge() {
    host(|| {
        let bridge = Bridge::open(
            Config {
                pool: 3,
                ..config()
            },
            Vec::new(),
        )
        .unwrap();
        eventually("the pool fills", || endpoint_links().len() == 3);
        let one = connect(&bridge, 1, &[]);
        assert_eq!(one.ip, Ipv4Addr::new(172, 17, 0, 2));
        eventually("it is filled up again", || endpoint_links().len() == 4);
        // Somebody takes a ready link away: it must not be handed out.
        let ready: Vec<_> = endpoint_links()
            .into_iter()
            .filter(|l| *l != one.veth)
            .collect();
        let mut requests = Requests::new();
        for link in &ready {
            requests.delete_link(link);
        }
        Route::open().unwrap().run(&mut requests).unwrap();
        let two = connect(&bridge, 2, &[]);
        serve_tcp(fd(&two), 80);
        assert!(ask_tcp(SocketAddr::new(two.ip.into(), 80)).is_ok());
        drop(bridge);
        let mut left = endpoint_links();
        left.sort();
        let mut held = vec![one.veth, two.veth];
        held.sort();
        assert_eq!(left, held, "only what was handed out stays");
    });
}

#[test]
fn a_conflict_leaves_the_pool_whole() {
    host(|| {
        let bridge = Bridge::open(
            Config {
                pool: 1,
                ..config()
            },
            Vec::new(),
        )
        .unwrap();
        let _one = connect(&bridge, 1, &[tcp(None, 8080, 80)]);
        for _ in 0..20 {
            bridge
                .connect(plain(&id(2), &[tcp(None, 8080, 80)]))
                .unwrap_err();
        }
        eventually("one ready, one connected", || endpoint_links().len() == 2);
    });
}

#[test]
fn many_at_once() {
    for pool in [0, 3] {
        host(move || {
            let bridge = Arc::new(Bridge::open(Config { pool, ..config() }, Vec::new()).unwrap());
            let workers: Vec<_> = (0..8usize)
                .map(|worker| {
                    let bridge = Arc::clone(&bridge);
                    thread::spawn(move || {
                        let mut seen = Vec::new();
                        for round in 0..25usize {
                            let n = worker * 100 + round;
                            let port = tcp(None, 10_000 + n as u16, 80);
                            let endpoint = connect(&bridge, n, &[port]);
                            seen.push((endpoint.ip, endpoint.veth.clone()));
                            if round % 2 == 0 {
                                drop(endpoint);
                                bridge.disconnect(&id(n)).unwrap();
                            }
                        }
                        seen
                    })
                })
                .collect();
            let all: Vec<_> = workers
                .into_iter()
                .flat_map(|w| w.join().unwrap())
                .collect();
            let different: HashSet<_> = all.iter().map(|(ip, _)| *ip).collect();
            assert_eq!(
                different.len(),
                200,
                "addresses rest before they are given again"
            );
            assert_eq!((bridge.in_use(), elements()), (96, 96));
            for worker in 0..8 {
                for round in 0..25 {
                    bridge.disconnect(&id(worker * 100 + round)).unwrap();
                }
            }
            assert_eq!((bridge.in_use(), elements()), (0, 0));
            drop(Arc::into_inner(bridge));
            assert_eq!(endpoint_links(), Vec::<String>::new());
        });
    }
}

#[test]
fn existing_bridges_are_adopted_or_refused() {
    host(|| {
        let mut route = Route::open().unwrap();
        route
            .run(Requests::new().add_bridge("docker0", [2, 0, 0, 0, 0, 1], 1400))
            .unwrap();
        let index = route.link("docker0").unwrap().unwrap().index;
        let ip = IpAddr::from([10, 5, 0, 1]);
        route
            .run(Requests::new().add_address(index, ip, 24, false))
            .unwrap();
        let bridge = Bridge::open(config(), Vec::new()).unwrap();
        assert_eq!(bridge.facts().subnet.to_string(), "10.5.0.0/24");
        assert_eq!((bridge.facts().index, bridge.facts().mtu), (index, 1500));
        drop(bridge);
        let moved = Config {
            address: Some("10.6.0.1/24".parse().unwrap()),
            ..config()
        };
        let bridge = Bridge::open(moved, Vec::new()).unwrap();
        assert_eq!(bridge.facts().gateway, Ipv4Addr::new(10, 6, 0, 1));
        assert!(
            route.addresses().unwrap().iter().all(|a| a.ip != ip),
            "the old address is gone"
        );
        drop(bridge);
        let loopback = Config {
            bridge: "lo".to_owned(),
            ..config()
        };
        assert!(matches!(
            Bridge::open(loopback, Vec::new()),
            Err(Error::NotABridge(_))
        ));
        // docker0 holds no default subnet now, so a second bridge takes the first of them.
        let second = Config {
            bridge: "br1".to_owned(),
            nft_table: "c2".to_owned(),
            ..config()
        };
        let second = Bridge::open(second, Vec::new()).unwrap();
        assert_eq!(second.facts().subnet.to_string(), "172.17.0.0/16");
        let third = Config {
            bridge: "br2".to_owned(),
            nft_table: "c3".to_owned(),
            ..config()
        };
        let third = Bridge::open(third, Vec::new()).unwrap();
        assert_eq!(third.facts().subnet.to_string(), "172.18.0.0/16");
    });
}

#[test]
fn bad_options_are_refused_before_anything_is_made() {
    host(|| {
        let net = |text: &str| Some(text.parse().unwrap());
        let bad = [
            Config {
                bridge: "a/b".to_owned(),
                ..config()
            },
            Config {
                bridge: "sixteen-bytes-xx".to_owned(),
                ..config()
            },
            Config {
                address: net("172.17.0.0/16"),
                ..config()
            },
            Config {
                address: net("172.17.0.1/31"),
                ..config()
            },
            Config {
                address: net("10.0.0.1/16"),
                fixed_cidr: net("10.1.0.0/24"),
                ..config()
            },
            Config {
                ipv6: Some(("fd00::".parse().unwrap(), 64)),
                ..config()
            },
            Config {
                mtu: 10,
                ..config()
            },
        ];
        for config in bad {
            assert!(
                Bridge::open(config.clone(), Vec::new()).is_err(),
                "{config:?}"
            );
        }
        assert_eq!(Route::open().unwrap().links().unwrap().len(), {
            // What a fresh namespace has: lo, and tunnels if such modules are loaded.
            let fresh = bridge::new_namespace(false).unwrap();
            inside(fresh, || Route::open().unwrap().links().unwrap().len())
        });
    });
}

#[test]
fn forwarding_that_we_turn_on_is_ours_alone() {
    host(|| {
        let policy = || {
            let chain = Nft::open()
                .unwrap()
                .chain(Family::Ip, "corten", "forward")
                .unwrap();
            chain.unwrap().policy.unwrap()
        };
        fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        drop(Bridge::open(config(), Vec::new()).unwrap());
        assert_eq!(
            fs::read_to_string("/proc/sys/net/ipv4/ip_forward")
                .unwrap()
                .trim(),
            "1"
        );
        assert_eq!(policy(), netlink::nft::Policy::Drop);
        drop(Bridge::open(config(), Vec::new()).unwrap());
        assert_eq!(policy(), netlink::nft::Policy::Drop, "after a restart, too");
        Bridge::purge(&config()).unwrap();
        drop(Bridge::open(config(), Vec::new()).unwrap());
        assert_eq!(policy(), netlink::nft::Policy::Accept, "it was on before");
    });
}

#[test]
fn a_flushed_table_does_not_stop_disconnecting() {
    host(|| {
        let bridge = Bridge::open(config(), Vec::new()).unwrap();
        let _one = connect(&bridge, 1, &[tcp(None, 8080, 80), udp(8080, 80)]);
        let mut flush = netlink::nft::Transaction::new(Family::Ip, "corten");
        let key = 8080u16.to_be_bytes().to_vec();
        let element = netlink::nft::Element {
            key,
            data: Vec::new(),
        };
        flush.delete_elements("tcp_any", &[element]);
        Nft::open().unwrap().commit(flush).unwrap();
        bridge.disconnect(&id(1)).unwrap();
        assert_eq!(elements(), 0);
        let _two = connect(&bridge, 2, &[tcp(None, 8081, 80)]);
        Bridge::purge(&config()).unwrap();
        bridge.disconnect(&id(2)).unwrap();
    });
}

/// Not a test: the process that the next one starts and that dies without cleaning up.
#[test]
#[ignore = "run by ready_namespaces_die_with_the_process"]
fn stand_in_that_dies() {
    // Only where the test has made a namespace for it, never on the machine itself.
    if std::env::var_os("BRIDGE_STAND_IN").is_none() {
        return;
    }
    let _bridge = Bridge::open(
        Config {
            pool: 2,
            ..config()
        },
        Vec::new(),
    )
    .unwrap();
    eventually("the pool fills", || endpoint_links().len() == 2);
    std::process::abort();
}

#[test]
fn ready_namespaces_die_with_the_process() {
    host(|| {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child
            .args(["--ignored", "--exact", "stand_in_that_dies"])
            .env("BRIDGE_STAND_IN", "1");
        let output = child.output().unwrap();
        assert!(!output.status.success());
        assert!(
            Route::open().unwrap().link("docker0").unwrap().is_some(),
            "it got that far"
        );
        eventually("its namespaces go", || endpoint_links().is_empty());
        let bridge = Bridge::open(config(), Vec::new()).unwrap();
        assert_eq!(connect(&bridge, 1, &[]).ip, Ipv4Addr::new(172, 17, 0, 2));
    });
}
