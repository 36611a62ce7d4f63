//! Flags of the network: addresses, names, ports.

use std::net::{IpAddr, Ipv4Addr};

use e2e::{Lab, ask_tcp, serve_tcp};

use super::row::{Row, Seen, by, prints, refused, sh};

pub(crate) const ROWS: &[Row] = &[
    prints(
        "add-host",
        &["--add-host", "other:192.0.2.7"],
        "grep other /etc/hosts",
        "192.0.2.7\tother",
    ),
    prints(
        "dns",
        &["--dns", "192.0.2.53"],
        "grep ^nameserver /etc/resolv.conf",
        "nameserver 192.0.2.53",
    ),
    prints(
        "dns-option",
        &["--dns-option", "ndots:3"],
        "grep ^options /etc/resolv.conf",
        "options ndots:3",
    ),
    prints(
        "dns-search",
        &["--dns-search", "example.org"],
        "grep ^search /etc/resolv.conf",
        "search example.org",
    ),
    by("expose", |lab| {
        // A port that is exposed is one that --publish-all opens.
        lab.sleeper("exposed", &["--expose", "7070", "-P"]);
        let seen = reached(lab, "exposed", 7070);
        lab.ok(&["rm", "-f", "exposed"]);
        seen
    }),
    refused(
        "ip",
        &["--ip", "172.17.0.77"],
        125,
        "user specified IP address is supported on user defined networks only",
    ),
    refused(
        "ip6",
        &["--ip6", "fd00::77"],
        125,
        "user specified IP address is supported on user defined networks only",
    ),
    by("link", |lab| {
        lab.sleeper("linked", &[]);
        let wanted = format!("{}\tfriend", lab.ip("linked"));
        let hosts = sh(lab, &["--link", "linked:friend"], "grep friend /etc/hosts");
        lab.ok(&["rm", "-f", "linked"]);
        assert!(hosts.starts_with(&wanted), "{hosts}");
        Seen::Yes
    }),
    by("link-local-ip", |lab| {
        let ran = lab.docker(&[
            "run",
            "--rm",
            "--link-local-ip",
            "169.254.7.7",
            "bb",
            "true",
        ]);
        assert_eq!(ran.code, 125, "{ran:?}");
        Seen::Yes
    }),
    prints(
        "mac-address",
        &["--mac-address", "92:d0:c6:0a:29:33"],
        "cat /sys/class/net/eth0/address",
        "92:d0:c6:0a:29:33",
    ),
    by("network", |lab| {
        let links = "ls /sys/class/net | grep -E '^(eth|lo|docker)'";
        assert_eq!(sh(lab, &["--network", "none"], links), "lo");
        assert_eq!(sh(lab, &[], links), "eth0\nlo");
        let host = sh(lab, &["--network", "host"], "readlink /proc/self/ns/net");
        let own = lab.in_network(|| std::fs::read_link("/proc/thread-self/ns/net").unwrap());
        assert_eq!(host, own.display().to_string());
        Seen::Yes
    }),
    refused(
        "network-alias",
        &["--network-alias", "other"],
        125,
        "network-scoped aliases are only supported for user-defined networks",
    ),
    by("publish", |lab| {
        lab.sleeper("published", &["--publish", "127.0.0.1:8070:7070"]);
        let seen = reached(lab, "published", 7070);
        lab.ok(&["rm", "-f", "published"]);
        seen
    }),
    by("publish-all", |lab| {
        lab.sleeper("published", &["--publish-all", "--expose", "7071"]);
        let seen = reached(lab, "published", 7071);
        lab.ok(&["rm", "-f", "published"]);
        seen
    }),
];

/// From the host, by the port that is published for a container's.
fn reached(lab: &Lab, name: &str, port: u16) -> Seen {
    lab.in_container(name, || serve_tcp(port));
    let published = lab.ok(&["port", name, &port.to_string()]);
    let (_, published) = published.lines().next().unwrap().rsplit_once(':').unwrap();
    let published = published.parse().unwrap();
    let answer = lab.in_network(|| ask_tcp((IpAddr::V4(Ipv4Addr::LOCALHOST), published)));
    assert!(answer.is_ok(), "{answer:?}");
    Seen::Yes
}
