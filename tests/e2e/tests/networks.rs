//! Network modes, the files under /etc, and options of the bridge.
#![allow(clippy::expect_used, reason = "a test fails loudly")]

use std::net::{IpAddr, Ipv4Addr, TcpListener};

use e2e::{Lab, Options, Outside, ask_tcp, root, serve_tcp};

const BRIDGE: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 17, 0, 1));

#[track_caller]
fn idle(lab: &Lab, name: &str, args: &[&str]) {
    lab.ok(&[
        &["run", "-d", "--name", name],
        args,
        &["bb", "sleep", "1000"],
    ]
    .concat());
}

fn with_flags(flags: &[&str]) -> Lab {
    Lab::with(Options {
        flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        ..Options::default()
    })
}

#[test]
fn default_bridge() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    idle(&lab, "one", &[]);
    idle(&lab, "two", &["--mac-address", "02:42:ac:11:00:99"]);
    let format = "{{with .NetworkSettings.Networks.bridge}}{{.Gateway}} {{.IPPrefixLen}} \
                  {{.MacAddress}}{{end}}";
    assert_eq!(
        lab.inspect("two", format),
        "172.17.0.1 16 02:42:ac:11:00:99"
    );
    let mac = lab.ok(&["exec", "two", "cat", "/sys/class/net/eth0/address"]);
    assert_eq!(mac, "02:42:ac:11:00:99");
    let (one, two) = (lab.ip("one"), lab.ip("two"));
    assert_ne!(one, two);
    // Container to container, container to host, host to container.
    for (name, to) in [("one", two), ("two", one), ("one", BRIDGE)] {
        lab.ok(&["exec", name, "ping", "-c1", "-W5", &to.to_string()]);
    }
    lab.in_container("one", || serve_tcp(80));
    assert_eq!(
        lab.in_container("two", || ask_tcp((one, 80))).expect("one"),
        two
    );
    assert_eq!(lab.in_network(|| ask_tcp((one, 80))).expect("host"), BRIDGE);
    lab.in_network(|| serve_tcp(7000));
    let seen = lab.in_container("two", || ask_tcp((BRIDGE, 7000)));
    assert_eq!(seen.expect("to the host"), two);
    // A stopped container has no address and gets one again.
    lab.ok(&["stop", "-t0", "one"]);
    let format = "{{.NetworkSettings.Networks.bridge.IPAddress}}";
    assert_eq!(lab.inspect("one", format), "");
    lab.ok(&["start", "one"]);
    lab.ok(&[
        "exec",
        "two",
        "ping",
        "-c1",
        "-W5",
        &lab.ip("one").to_string(),
    ]);
}

#[test]
fn modes() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    idle(&lab, "web", &["-h", "web.example"]);
    let links = |args: &[&str]| {
        let text = lab.ok(&[&["run", "--rm"], args, &["bb", "ls", "/sys/class/net"]].concat());
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(links(&["--network", "none"]), ["lo"]);
    assert!(links(&["--network", "host"]).contains(&"docker0".to_owned()));
    assert!(links(&["--network", "container:web"]).contains(&"eth0".to_owned()));
    let host = lab.ok(&["run", "--rm", "--network", "host", "bb", "hostname"]);
    assert_eq!(host, lab.inside(&["hostname"]).out.trim());

    // None: not even the bridge, and lo works.
    let none = lab.ok(&[
        "run",
        "--rm",
        "--network",
        "none",
        "bb",
        "sh",
        "-c",
        "ping -c1 -W5 127.0.0.1 >/dev/null && cat /proc/net/route | wc -l",
    ]);
    assert_eq!(none, "1");

    // Joined: the same address, hostname and files.
    lab.in_container("web", || serve_tcp(80));
    let inside = lab.ok(&[
        "run",
        "--rm",
        "--network",
        "container:web",
        "bb",
        "sh",
        "-c",
        "hostname; tail -n1 /etc/hosts; echo | nc 127.0.0.1 80 | head -n1",
    ]);
    let ip = lab.ip("web").to_string();
    assert_eq!(
        inside,
        format!("web.example\n{ip}\tweb.example web\n127.0.0.1")
    );
    let error = lab.fails(
        125,
        &["run", "--rm", "--network", "container:none", "bb", "true"],
    );
    assert!(
        error.contains("joining network namespace of container: No such container: none"),
        "{error}"
    );
    lab.ok(&["create", "--name", "still", "bb", "true"]);
    let error = lab.fails(
        125,
        &["run", "--rm", "--network", "container:still", "bb", "true"],
    );
    assert!(
        error.contains(
            "cannot join network namespace of a non running container: container still is created"
        ),
        "{error}"
    );
    // The other is known by its ID: it may be renamed.
    lab.ok(&[
        "create",
        "--name",
        "joined",
        "--network",
        "container:web",
        "bb",
        "true",
    ]);
    let id = lab.inspect("web", "{{.Id}}");
    let mode = lab.inspect("joined", "{{.HostConfig.NetworkMode}}");
    assert_eq!(mode, format!("container:{id}"));
    lab.ok(&["rename", "web", "www"]);
    lab.ok(&["start", "-a", "joined"]);
    lab.ok(&["rename", "www", "web"]);
    let error = lab.fails(
        125,
        &["run", "--rm", "--network", "elsewhere", "bb", "true"],
    );
    assert!(error.contains("network elsewhere not found"), "{error}");

    // Host: ports are told to be discarded; the namespace is the host's.
    let ran = lab.docker(&[
        "run",
        "-d",
        "--name",
        "hh",
        "--network",
        "host",
        "-p",
        "80:80",
        "bb",
        "sleep",
        "1000",
    ]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.err
            .contains("Published ports are discarded when using host network mode")
    );
    let listener = lab
        .in_container("hh", || TcpListener::bind("127.0.0.1:0"))
        .expect("bind");
    let port = listener.local_addr().expect("address").port();
    lab.in_network(|| std::net::TcpStream::connect(("127.0.0.1", port)))
        .expect("the same lo");
    for (option, value, what) in [
        ("-h", "x", "hostname and the network mode"),
        ("--dns", "1.1.1.1", "dns and the network mode"),
        (
            "--add-host",
            "a:1.1.1.1",
            "custom host-to-IP mapping and the network mode",
        ),
        (
            "-p",
            "1:1",
            "port publishing and the container type network mode",
        ),
        (
            "--expose",
            "1",
            "port exposing and the container type network mode",
        ),
    ] {
        // The client looks for some of these itself.
        let error = lab.fails(
            125,
            &["run", "--network", "container:web", option, value, "bb"],
        );
        assert!(
            error.contains(&format!("conflicting options: {what}")),
            "{error}"
        );
    }
}

#[test]
fn files_under_etc() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let text = lab.ok(&[
        "run",
        "--rm",
        "-h",
        "me",
        "--domainname",
        "example.org",
        "--add-host",
        "a:10.1.2.3",
        "--add-host",
        "gate=host-gateway",
        "--add-host",
        "v6:fd00::1",
        "--dns",
        "10.0.0.53",
        "--dns",
        "fd00::53",
        "--dns-search",
        "one.test",
        "--dns-search",
        "two.test",
        "--dns-option",
        "ndots:3",
        "bb",
        "sh",
        "-c",
        "cat /etc/hosts; echo --; cat /etc/hostname; hostname; hostname -f; echo --; \
         grep -v '^#' /etc/resolv.conf; echo --; stat -c %a /etc/hosts /etc/resolv.conf",
    ]);
    let parts: Vec<&str> = text.split("--\n").collect();
    let hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
                 fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\n\
                 ff02::2\tip6-allrouters\n10.1.2.3\ta\n172.17.0.1\tgate\nfd00::1\tv6\n";
    let own = parts[0].strip_prefix(hosts).expect(parts[0]);
    assert!(
        own.starts_with("172.17.0.") && own.ends_with("\tme.example.org me\n"),
        "{own}"
    );
    assert_eq!(parts[1], "me.example.org\nme\nme.example.org\n");
    assert_eq!(
        parts[2],
        "nameserver 10.0.0.53\nnameserver fd00::53\nsearch one.test two.test\noptions ndots:3\n"
    );
    assert_eq!(parts[3], "644\n644");

    // What is written there stays while it runs, and is made anew by the next start.
    idle(&lab, "cc", &["--dns-search", "."]);
    lab.ok(&[
        "exec",
        "cc",
        "sh",
        "-c",
        "echo 10.9.8.7 extra >> /etc/hosts; echo x > /etc/hostname",
    ]);
    assert!(
        lab.ok(&["exec", "cc", "cat", "/etc/hosts"])
            .contains("10.9.8.7 extra")
    );
    assert!(
        !lab.ok(&["exec", "cc", "cat", "/etc/resolv.conf"])
            .contains("search")
    );
    lab.ok(&["restart", "-t0", "cc"]);
    let id = lab.inspect("cc", "{{.Id}}");
    assert_eq!(lab.ok(&["exec", "cc", "cat", "/etc/hostname"]), id[..12]);
    assert!(
        !lab.ok(&["exec", "cc", "cat", "/etc/hosts"])
            .contains("extra")
    );

    // The host's servers, but for its loopback.
    std::fs::write(
        lab.path("resolv"),
        "nameserver 127.0.0.53\nnameserver 10.0.0.1\nsearch h.test\n",
    )
    .expect("file");
    let file = lab.path("resolv").display().to_string();
    assert_eq!(
        lab.inside(&["mount", "--bind", &file, "/etc/resolv.conf"])
            .code,
        0
    );
    let text = lab.ok(&["run", "--rm", "bb", "grep", "-v", "^#", "/etc/resolv.conf"]);
    assert_eq!(text, "nameserver 10.0.0.1\nsearch h.test");
    let text = lab.ok(&[
        "run",
        "--rm",
        "--network",
        "host",
        "bb",
        "grep",
        "-c",
        "127.0.0.53",
        "/etc/resolv.conf",
    ]);
    assert_eq!(text, "1");
    assert_eq!(lab.inside(&["umount", "/etc/resolv.conf"]).code, 0);
}

#[test]
fn options_of_the_bridge() {
    if !root() {
        return;
    }
    let lab = with_flags(&[
        "--icc=false",
        "--bip",
        "10.77.0.1/24",
        "--fixed-cidr",
        "10.77.0.128/25",
        "--mtu",
        "1400",
        "--ip",
        "127.0.0.1",
        "--dns",
        "10.0.0.9",
    ]);
    let outside = Outside::of(&lab);
    idle(&lab, "one", &["-p", "8080:80"]);
    idle(&lab, "two", &[]);
    let one = lab.ip("one");
    let IpAddr::V4(v4) = one else { panic!("{one}") };
    assert!(v4.octets()[3] >= 128, "{one} is within the fixed range");
    lab.in_container("one", || {
        serve_tcp(80);
        serve_tcp(81);
    });
    assert_eq!(
        lab.ok(&["exec", "one", "cat", "/sys/class/net/eth0/mtu"]),
        "1400"
    );
    assert_eq!(
        lab.ok(&["exec", "one", "grep", "-c", "10.0.0.9", "/etc/resolv.conf"]),
        "1"
    );
    // Containers do not reach each other, but the host, the outside and published ports do.
    assert!(
        lab.in_container("two", || ask_tcp((one, 81))).is_err(),
        "icc=false"
    );
    lab.in_network(|| ask_tcp((one, 81)))
        .expect("from the host");
    lab.in_network(|| ask_tcp((Ipv4Addr::LOCALHOST, 8080)))
        .expect("published");
    assert_eq!(lab.ok(&["port", "one"]), "80/tcp -> 127.0.0.1:8080");
    outside.run(|| serve_tcp(7000));
    let seen = lab.in_container("two", || ask_tcp((Outside::OWN[0], 7000)));
    assert_eq!(seen.expect("outwards"), Outside::LAB[0]);
    drop(outside);
    drop(lab);

    // No bridge at all.
    let lab = with_flags(&["--bridge", "none"]);
    assert_eq!(lab.ok(&["run", "--rm", "bb", "ls", "/sys/class/net"]), "lo");
    assert!(!lab.inside(&["ip", "-o", "link"]).out.contains("docker0"));
}
