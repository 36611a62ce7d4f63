//! Packets through the network: who reaches whom, and as whom.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use bridge::{Bridge, Config, Protocol};
use support::*;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Long enough for a packet that is not dropped, on a busy machine.
const REFUSAL: Duration = Duration::from_millis(400);

fn at(ip: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(ip.into(), port)
}

#[test]
fn endpoint_is_up_and_addressed() {
    host(|| {
        let bridge = Bridge::open(config(), Vec::new()).unwrap();
        let facts = bridge.facts().clone();
        assert_eq!(facts.subnet.to_string(), "172.17.0.0/16");
        assert_eq!(facts.gateway, Ipv4Addr::new(172, 17, 0, 1));
        let one = connect(&bridge, 1, &[]);
        assert_eq!(one.ip, Ipv4Addr::new(172, 17, 0, 2));
        assert_eq!((one.prefix, one.gateway), (16, facts.gateway));
        let mac = one.mac;
        inside(fd(&one), move || {
            let mut route = netlink::route::Route::open().unwrap();
            let eth0 = route.link("eth0").unwrap().unwrap();
            assert!(eth0.up && eth0.mac == Some(mac) && eth0.mtu == 1500);
            assert!(route.link("lo").unwrap().unwrap().up);
            let ipv6 = fs::read_to_string("/proc/sys/net/ipv6/conf/eth0/disable_ipv6");
            assert_eq!(ipv6.unwrap().trim(), "1");
            let mine: Vec<_> = route.addresses().unwrap();
            assert!(mine.iter().all(|a| a.index != eth0.index || a.ip.is_ipv4()));
        });
        // Host to endpoint and endpoint to host, by their own addresses.
        serve_tcp(fd(&one), 80);
        assert_eq!(ask_tcp(at(one.ip, 80)).unwrap(), facts.gateway);
        let listener = TcpListener::bind((facts.gateway, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let gateway = facts.gateway;
        inside(fd(&one), move || {
            std::net::TcpStream::connect((gateway, port)).unwrap()
        });
        assert_eq!(listener.accept().unwrap().1.ip(), one.ip);
    });
}

#[test]
fn published_port_is_reached_from_everywhere() {
    host(|| {
        let far = other_host();
        let bridge = Bridge::open(config(), Vec::new()).unwrap();
        let gateway = bridge.facts().gateway;
        let one = connect(&bridge, 1, &[tcp(None, 8080, 80), udp(5353, 53)]);
        let two = connect(&bridge, 2, &[]);
        serve_tcp(fd(&one), 80);
        serve_udp(fd(&one), 53);
        let uplink = Ipv4Addr::new(10, 9, 0, 1);
        // From the host, to any of its addresses.
        assert_eq!(ask_tcp(at(LOCALHOST, 8080)).unwrap(), gateway);
        assert_eq!(
            ask_tcp(at(Ipv4Addr::new(127, 1, 2, 3), 8080)).unwrap(),
            gateway
        );
        assert_eq!(ask_tcp(at(gateway, 8080)).unwrap(), gateway);
        assert_eq!(ask_tcp(at(uplink, 8080)).unwrap(), uplink);
        assert_eq!(ask_udp(at(LOCALHOST, 5353)).unwrap(), gateway);
        assert_eq!(ask_udp(at(uplink, 5353)).unwrap(), uplink);
        // From another host, whose address the endpoint sees.
        let peer = IpAddr::from([10, 9, 0, 2]);
        assert_eq!(
            inside(&far, move || ask_tcp(at(uplink, 8080))).unwrap(),
            peer
        );
        assert_eq!(
            inside(&far, move || ask_udp(at(uplink, 5353))).unwrap(),
            peer
        );
        // From another endpoint and from itself, through the host's address.
        for endpoint in [&two, &one] {
            for to in [uplink, gateway] {
                let seen = inside(fd(endpoint), move || ask_tcp(at(to, 8080)));
                assert_eq!(seen.unwrap(), gateway, "from {} to {to}", endpoint.ip);
                let seen = inside(fd(endpoint), move || ask_udp(at(to, 5353)));
                assert_eq!(seen.unwrap(), gateway, "from {} to {to}", endpoint.ip);
            }
        }
    });
}

#[test]
fn hairpin_works_without_bridge_netfilter() {
    host(|| {
        let bridge = Bridge::open(config(), Vec::new()).unwrap();
        let switch = "/proc/sys/net/bridge/bridge-nf-call-iptables";
        if fs::exists(switch).unwrap() {
            fs::write(switch, "0").unwrap();
        }
        let gateway = bridge.facts().gateway;
        let one = connect(&bridge, 1, &[tcp(None, 8080, 80)]);
        let two = connect(&bridge, 2, &[]);
        serve_tcp(fd(&one), 80);
        for endpoint in [&two, &one] {
            let seen = inside(fd(endpoint), move || ask_tcp(at(gateway, 8080)));
            assert_eq!(seen.unwrap(), gateway);
        }
    });
}

#[test]
fn outward_traffic_is_masqueraded() {
    host(|| {
        let far = other_host();
        serve_tcp(&far, 7000);
        let there = at(Ipv4Addr::new(10, 9, 0, 2), 7000);
        let bridge = Bridge::open(config(), Vec::new()).unwrap();
        let one = connect(&bridge, 1, &[]);
        let seen = inside(fd(&one), move || ask_tcp(there)).unwrap();
        assert_eq!(seen, IpAddr::from([10, 9, 0, 1]));
        drop(bridge);
        // Without masquerading the peer sees the endpoint itself, and can answer it.
        let bridge = Bridge::open(
            Config {
                ip_masq: false,
                ..config()
            },
            Vec::new(),
        )
        .unwrap();
        let two = connect(&bridge, 2, &[]);
        let ip = two.ip;
        let seen = inside(fd(&two), move || ask_tcp(there)).unwrap();
        assert_eq!(seen, IpAddr::V4(ip));
    });
}

#[test]
fn outsiders_reach_published_ports_only() {
    for ip_masq in [true, false] {
        host(move || {
            let far = other_host();
            // A router already: nothing is dropped but by the rules of the bridge.
            fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            let bridge = Bridge::open(
                Config {
                    ip_masq,
                    ..config()
                },
                Vec::new(),
            )
            .unwrap();
            let local = tcp(Some(LOCALHOST), 8081, 80);
            let one = connect(&bridge, 1, &[tcp(None, 8080, 80), local]);
            serve_tcp(fd(&one), 80);
            serve_tcp(fd(&one), 81);
            let (ip, uplink) = (one.ip, Ipv4Addr::new(10, 9, 0, 1));
            inside(&far, move || {
                assert!(ask_tcp(at(uplink, 8080)).is_ok());
                assert!(
                    ask_tcp_for(at(ip, 81), REFUSAL).is_err(),
                    "an unpublished port"
                );
                assert!(
                    ask_tcp_for(at(ip, 80), REFUSAL).is_err(),
                    "past the published port"
                );
                assert!(
                    ask_tcp_for(at(uplink, 8081), REFUSAL).is_err(),
                    "one for this host only"
                );
            });
            assert!(ask_tcp(at(LOCALHOST, 8081)).is_ok());
            assert!(ask_tcp(at(ip, 81)).is_ok(), "the host itself may");
        });
    }
}

#[test]
fn loopback_of_the_host_is_guarded() {
    host(|| {
        let far = other_host();
        // A host that routes 127/8 outside must still not be entered by it.
        fs::write("/proc/sys/net/ipv4/conf/uplink/route_localnet", "1").unwrap();
        let bridge = Bridge::open(config(), Vec::new()).unwrap();
        let one = connect(&bridge, 1, &[tcp(Some(LOCALHOST), 8081, 80)]);
        serve_tcp(fd(&one), 80);
        let victim = TcpListener::bind((Ipv4Addr::LOCALHOST, 9000)).unwrap();
        victim.set_nonblocking(true).unwrap();
        let aim = |netns, name: &'static str, gateway: Ipv4Addr| {
            inside(netns, move || {
                // Send 127/8 out of the link instead of keeping it, to the host's own MAC.
                fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
                let mut route = netlink::route::Route::open().unwrap();
                let lo = IpAddr::V4(Ipv4Addr::LOCALHOST);
                route
                    .run(netlink::route::Requests::new().delete_address(1, lo, 8))
                    .unwrap();
                let link = route.link(name).unwrap().unwrap().index;
                let _ = ask_tcp_for(at(gateway, 1), REFUSAL);
                route
                    .run(netlink::route::Requests::new().add_route(
                        link,
                        IpAddr::from([127, 0, 0, 0]),
                        8,
                        Some(IpAddr::V4(gateway)),
                    ))
                    .unwrap();
                for port in [8081, 9000] {
                    let reached = ask_tcp_for(at(LOCALHOST, port), REFUSAL);
                    assert!(reached.is_err(), "127.0.0.1:{port} from {name}");
                }
            });
        };
        aim(
            std::os::fd::AsFd::as_fd(&far),
            "far",
            Ipv4Addr::new(10, 9, 0, 1),
        );
        let two = connect(&bridge, 2, &[]);
        aim(fd(&two), "eth0", bridge.facts().gateway);
        let kind = victim.accept().unwrap_err().kind();
        assert_eq!(kind, std::io::ErrorKind::WouldBlock, "nobody got through");
    });
}

#[test]
fn icc_joins_or_separates_endpoints() {
    for bridge_netfilter in [true, false] {
        host(move || {
            let switch = "/proc/sys/net/bridge/bridge-nf-call-iptables";
            if !bridge_netfilter && fs::exists(switch).unwrap() {
                fs::write(switch, "0").unwrap();
            }
            let bridge = Bridge::open(config(), Vec::new()).unwrap();
            let (one, two) = (connect(&bridge, 1, &[]), connect(&bridge, 2, &[]));
            serve_tcp(fd(&one), 80);
            let to = at(one.ip, 80);
            let peer = IpAddr::V4(two.ip);
            assert_eq!(inside(fd(&two), move || ask_tcp(to)).unwrap(), peer);
        });
    }
    host(|| {
        let bridge = Bridge::open(
            Config {
                icc: false,
                ..config()
            },
            Vec::new(),
        )
        .unwrap();
        let gateway = bridge.facts().gateway;
        let one = connect(&bridge, 1, &[tcp(None, 8080, 80)]);
        let two = connect(&bridge, 2, &[]);
        serve_tcp(fd(&one), 80);
        let to = at(one.ip, 80);
        assert!(inside(fd(&two), move || ask_tcp_for(to, REFUSAL)).is_err());
        let seen = inside(fd(&two), move || ask_tcp(at(gateway, 8080)));
        assert!(seen.is_ok(), "published ports stay reachable");
        assert!(ask_tcp(to).is_ok(), "the host may");
    });
}

#[test]
fn ipv6_sockets_are_handed_out_for_forwarding() {
    host(|| {
        let bridge = Bridge::open(config(), Vec::new()).unwrap();
        let one = connect(&bridge, 1, &[tcp(None, 8080, 80)]);
        let shown: Vec<_> = one
            .ports
            .iter()
            .map(|p| SocketAddr::new(p.host_ip, p.host_port).to_string())
            .collect();
        assert_eq!(shown, ["0.0.0.0:8080", "[::]:8080"]);
        assert!(
            one.ports
                .iter()
                .all(|p| p.proto == Protocol::Tcp && p.container_port == 80)
        );
        let forwards: Vec<_> = one.held.iter().map(|held| held.forward).collect();
        assert_eq!(forwards, [None, Some(at(one.ip, 80))]);
        // Play the forwarder: what connects to [::1] arrives on the second socket.
        let socket = one.held[1].socket.try_clone().unwrap();
        let listener = TcpListener::from(socket);
        let client = std::net::TcpStream::connect("[::1]:8080").unwrap();
        assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
    });
}

#[test]
fn reused_address_reaches_the_new_endpoint() {
    host(|| {
        let small = Config {
            address: Some("10.7.0.1/29".parse().unwrap()),
            ..config()
        };
        let bridge = Bridge::open(small, Vec::new()).unwrap();
        let watcher = connect(&bridge, 0, &[]);
        for n in 1..12 {
            let one = loop {
                match bridge.connect(plain(&id(n), &[])) {
                    Ok(endpoint) => break endpoint,
                    Err(bridge::Error::AddressesExhausted(_)) => std::thread::yield_now(),
                    Err(error) => panic!("{error}"),
                }
            };
            serve_tcp(fd(&one), 80);
            let to = at(one.ip, 80);
            let quick = Duration::from_millis(900);
            assert!(ask_tcp_for(to, quick).is_ok(), "host to {to}");
            assert!(
                inside(fd(&watcher), move || ask_tcp_for(to, quick)).is_ok(),
                "{n} to {to}"
            );
            bridge.disconnect(&id(n)).unwrap();
        }
    });
}

#[test]
fn udp_flows_follow_the_port() {
    host(|| {
        let far = other_host();
        let bridge = Bridge::open(config(), Vec::new()).unwrap();
        let client = inside(&far, || {
            let client = std::net::UdpSocket::bind("10.9.0.2:6000").unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client
        });
        let ask = || {
            client.send_to(b"hello", "10.9.0.1:5353").unwrap();
            let mut buffer = [0; 64];
            client.recv_from(&mut buffer).map(|(length, _)| length)
        };
        // Sending before anybody is there: the host remembers the flow as its own.
        client.send_to(b"early", "10.9.0.1:5353").unwrap();
        for n in 1..4 {
            let one = connect(&bridge, n, &[udp(5353, 53)]);
            serve_udp(fd(&one), 53);
            assert!(ask().is_ok(), "endpoint {n} answers the same client");
            drop(one);
            bridge.disconnect(&id(n)).unwrap();
        }
    });
}
