//! Published ports: from everywhere, by every family and protocol, and who is in the way.
#![allow(clippy::expect_used, reason = "a test fails loudly")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};

use e2e::{Lab, Outside, ask_tcp, ask_udp, root, serve_tcp, serve_udp};

const LOCAL4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LOCAL6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const BRIDGE: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 17, 0, 1));

/// A container that waits, its name being the last of `args`.
#[track_caller]
fn idle(lab: &Lab, name: &str, args: &[&str]) {
    lab.ok(&[
        &["run", "-d", "--name", name],
        args,
        &["bb", "sleep", "1000"],
    ]
    .concat());
}

#[test]
fn reached_from_everywhere() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let outside = Outside::of(&lab);
    idle(&lab, "web", &["-p", "8080:80", "-p", "5353:53/udp"]);
    idle(&lab, "other", &[]);
    lab.in_container("web", || {
        serve_tcp(80);
        serve_udp(53);
    });
    let [uplink4, uplink6] = Outside::LAB;
    for address in [LOCAL4, LOCAL6, BRIDGE, uplink4, uplink6] {
        let seen = lab.in_network(|| ask_tcp((address, 8080)));
        assert!(seen.is_ok(), "tcp from the host to {address}: {seen:?}");
        let seen = lab.in_network(|| ask_udp((address, 5353)));
        assert!(seen.is_ok(), "udp from the host to {address}: {seen:?}");
    }
    // The source address is kept for those outside, by the family that the kernel translates.
    let seen = outside.run(|| (ask_tcp((uplink4, 8080)), ask_udp((uplink4, 5353))));
    assert_eq!(seen.0.expect("tcp"), Outside::OWN[0]);
    assert_eq!(seen.1.expect("udp"), Outside::OWN[0]);
    let seen = outside.run(|| (ask_tcp((uplink6, 8080)), ask_udp((uplink6, 5353))));
    assert!(seen.0.is_ok() && seen.1.is_ok(), "{seen:?}");
    // From another container and from itself, by the host's addresses.
    for name in ["other", "web"] {
        for address in [BRIDGE, uplink4] {
            let seen = lab.in_container(name, || {
                (ask_tcp((address, 8080)), ask_udp((address, 5353)))
            });
            assert!(
                seen.0.is_ok() && seen.1.is_ok(),
                "{name} to {address}: {seen:?}"
            );
        }
    }
    // Not by its own address: only published ports are open to others.
    let own = lab.ip("web");
    assert!(
        outside.run(|| ask_tcp((own, 80))).is_err(),
        "{own} from outside"
    );
    assert_eq!(lab.in_network(|| ask_tcp((own, 80))).expect("host"), BRIDGE);
    let from_other = lab.in_container("other", || ask_tcp((own, 80)));
    assert_eq!(from_other.expect("container"), lab.ip("other"));
    // Outwards under the host's address.
    outside.run(|| serve_tcp(7000));
    let seen = lab.in_container("other", || ask_tcp((Outside::OWN[0], 7000)));
    assert_eq!(seen.expect("outwards"), uplink4);

    lab.ok(&["rm", "-f", "web"]);
    assert_eq!(lab.published(), Vec::<String>::new());
    for address in [LOCAL4, LOCAL6, uplink4] {
        assert!(lab.in_network(|| ask_tcp((address, 8080))).is_err());
    }
    lab.in_network(|| TcpListener::bind(("0.0.0.0", 8080)))
        .expect("free again");
}

#[test]
fn addresses_ranges_and_all() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let outside = Outside::of(&lab);
    idle(&lab, "local", &["-p", "127.0.0.1:8081:80"]);
    idle(&lab, "local6", &["-p", "[::1]:8081:80"]);
    lab.in_container("local", || serve_tcp(80));
    lab.in_container("local6", || serve_tcp(80));
    assert_eq!(lab.ok(&["port", "local"]), "80/tcp -> 127.0.0.1:8081");
    assert_eq!(lab.ok(&["port", "local6"]), "80/tcp -> [::1]:8081");
    lab.in_network(|| ask_tcp((LOCAL4, 8081)))
        .expect("127.0.0.1");
    lab.in_network(|| ask_tcp((LOCAL6, 8081))).expect("::1");
    for address in Outside::LAB {
        assert!(lab.in_network(|| ask_tcp((address, 8081))).is_err());
        assert!(outside.run(|| ask_tcp((address, 8081))).is_err());
    }

    idle(&lab, "range", &["-p", "9000-9002:80-82"]);
    assert_eq!(
        lab.ok(&["port", "range"]),
        "80/tcp -> 0.0.0.0:9000\n80/tcp -> [::]:9000\n81/tcp -> 0.0.0.0:9001\n\
         81/tcp -> [::]:9001\n82/tcp -> 0.0.0.0:9002\n82/tcp -> [::]:9002"
    );
    // One port of a range: the first that is free.
    idle(&lab, "first", &["-p", "9000-9005:80"]);
    assert_eq!(lab.ok(&["port", "first", "80"]), "0.0.0.0:9003\n[::]:9003");

    idle(&lab, "all", &["-P", "--expose", "80", "--expose", "53/udp"]);
    lab.in_container("all", || {
        serve_tcp(80);
        serve_udp(53);
    });
    let port = |proto: &str| -> u16 {
        let text = lab.ok(&["port", "all", proto]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        let number = |line: &str| line.rsplit(':').next().and_then(|n| n.parse().ok());
        assert_eq!(
            number(lines[0]),
            number(lines[1]),
            "one number for both: {text}"
        );
        number(lines[0]).expect("a port")
    };
    let (tcp, udp) = (port("80/tcp"), port("53/udp"));
    for address in [LOCAL4, LOCAL6] {
        lab.in_network(|| ask_tcp((address, tcp))).expect("-P tcp");
        lab.in_network(|| ask_udp((address, udp))).expect("-P udp");
    }
    let shown = lab.ok(&["ps", "--filter", "name=all", "--format", "{{.Ports}}"]);
    assert!(shown.contains(&format!("0.0.0.0:{tcp}->80/tcp")), "{shown}");
}

#[test]
fn ports_in_use() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    idle(&lab, "first", &["-p", "8080:80"]);
    let error = lab.fails(
        125,
        &["run", "--name", "second", "-p", "8080:81", "bb", "true"],
    );
    for part in [
        "docker: Error response from daemon: failed to set up container networking: driver failed \
         programming external connectivity on endpoint second (",
        "Bind for 0.0.0.0:8080 failed: ",
        "port is already allocated",
        "(published by container first)",
    ] {
        assert!(error.contains(part), "{part:?} in {error}");
    }
    assert_eq!(
        lab.inspect("second", "{{.State.Status}} {{.State.ExitCode}}"),
        "created 128"
    );
    // The same container starts once the port is free.
    lab.ok(&["stop", "-t", "0", "first"]);
    lab.ok(&["start", "second"]);
    assert_eq!(lab.ok(&["wait", "second"]), "0");
    lab.ok(&["start", "first"]);

    let foreign = lab
        .in_network(|| TcpListener::bind("0.0.0.0:7070"))
        .expect("bind");
    let error = lab.fails(
        125,
        &["run", "--name", "third", "-p", "7070:81", "bb", "true"],
    );
    let pid = format!("pid {}", std::process::id());
    for part in ["0.0.0.0:7070", "address already in use", &pid] {
        assert!(error.contains(part), "{part:?} in {error}");
    }
    drop(foreign);
    lab.ok(&["start", "-a", "third"]);
    // What is busy is found on every address, and taking it back frees the rest.
    let foreign = lab
        .in_network(|| TcpListener::bind("[::1]:7071"))
        .expect("bind");
    let error = lab.fails(
        125,
        &[
            "run", "--rm", "-p", "7072:80", "-p", "7071:81", "bb", "true",
        ],
    );
    assert!(error.contains("7071"), "{error}");
    lab.in_network(|| TcpListener::bind("0.0.0.0:7072"))
        .expect("7072 is free");
    drop(foreign);
    let error = lab.fails(
        125,
        &["run", "--rm", "-p", "203.0.113.9:80:80", "bb", "true"],
    );
    assert!(error.contains("cannot assign requested address"), "{error}");
    assert_eq!(lab.published().len(), 1);
    // A container that asks for the same port twice.
    let error = lab.fails(
        125,
        &["run", "--rm", "-p", "81:80", "-p", "81:82", "bb", "true"],
    );
    assert!(error.contains("port is already allocated"), "{error}");
}
