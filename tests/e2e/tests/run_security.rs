//! `docker run`: capabilities, privileges, seccomp, namespaces, devices, sysctls.

use e2e::{Lab, root};

/// Effective capabilities as a number.
fn capabilities(lab: &Lab, args: &[&str]) -> u64 {
    let text = lab.ok(&[
        &["run", "--rm"],
        args,
        &["bb", "grep", "CapEff", "/proc/self/status"],
    ]
    .concat());
    u64::from_str_radix(text.split_whitespace().last().unwrap_or(""), 16).expect("hex")
}

#[test]
fn capabilities_as_asked() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    const DEFAULT: u64 = 0xa804_25fb;
    assert_eq!(capabilities(&lab, &[]), DEFAULT);
    assert_eq!(
        capabilities(&lab, &["--cap-add", "NET_ADMIN"]),
        DEFAULT | 1 << 12
    );
    assert_eq!(
        capabilities(&lab, &["--cap-add", "cap_sys_ptrace"]),
        DEFAULT | 1 << 19
    );
    assert_eq!(capabilities(&lab, &["--cap-drop", "CHOWN"]), DEFAULT & !1);
    assert_eq!(capabilities(&lab, &["--cap-drop", "ALL"]), 0);
    assert_eq!(
        capabilities(&lab, &["--cap-drop", "ALL", "--cap-add", "NET_RAW"]),
        1 << 13
    );
    let all = capabilities(&lab, &["--privileged"]);
    assert!(all > DEFAULT && all & DEFAULT == DEFAULT, "{all:x}");
    assert_eq!(capabilities(&lab, &["--cap-add", "ALL"]), all);
    assert_eq!(capabilities(&lab, &["-u", "user"]), 0);
    let ran = lab.docker(&[
        "run",
        "--rm",
        "--cap-drop",
        "CHOWN",
        "bb",
        "chown",
        "1",
        "/tmp",
    ]);
    assert!(
        ran.code == 1 && ran.err.contains("Operation not permitted"),
        "{ran:?}"
    );
}

#[test]
fn privileged_or_not() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let ran = lab.docker(&["run", "--rm", "bb", "mount", "-t", "tmpfs", "x", "/mnt"]);
    assert!(ran.code != 0, "{ran:?}");
    lab.ok(&["run", "--rm", "--privileged", "bb", "sh", "-c", "mkdir /m && mount -t tmpfs x /m && test -e /dev/kmsg && echo 1 > /proc/sys/net/ipv4/ip_forward"]);
    let ran = lab.docker(&[
        "run",
        "--rm",
        "bb",
        "sh",
        "-c",
        "echo 1 > /proc/sys/net/ipv4/ip_forward",
    ]);
    assert!(
        ran.code == 1 && ran.err.contains("Read-only file system"),
        "{ran:?}"
    );
    // What tells of the host is hidden.
    assert_eq!(
        lab.ok(&["run", "--rm", "bb", "sh", "-c", "wc -c < /proc/keys"]),
        "0"
    );
    let devices = lab.ok(&["run", "--rm", "bb", "ls", "/dev"]);
    let expected =
        "console core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
    let devices: Vec<&str> = devices.lines().collect();
    for name in &devices {
        assert!(
            expected.split(' ').any(|known| known == *name),
            "{name} in {devices:?}"
        );
    }
}

#[test]
fn security_options() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let status = |args: &[&str], field: &str| {
        let field = format!("^{field}:");
        let text = lab.ok(&[
            &["run", "--rm"],
            args,
            &["bb", "grep", &field, "/proc/self/status"],
        ]
        .concat());
        text.split_whitespace().last().unwrap_or("").to_owned()
    };
    assert_eq!(status(&[], "NoNewPrivs"), "0");
    assert_eq!(
        status(&["--security-opt", "no-new-privileges"], "NoNewPrivs"),
        "1"
    );
    assert_eq!(
        status(&["--security-opt", "no-new-privileges:true"], "NoNewPrivs"),
        "1"
    );
    assert_eq!(status(&[], "Seccomp"), "2");
    assert_eq!(
        status(&["--security-opt", "seccomp=unconfined"], "Seccomp"),
        "0"
    );
    assert_eq!(status(&["--privileged"], "Seccomp"), "0");
    let profile = lab.path("profile.json");
    std::fs::write(&profile, r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#).expect("profile");
    let option = format!("seccomp={}", profile.display());
    let ran = lab.docker(&[
        "run",
        "--rm",
        "--security-opt",
        &option,
        "bb",
        "mkdir",
        "/x",
    ]);
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (
            1,
            "mkdir: can't create directory '/x': Operation not permitted\n"
        )
    );
    lab.ok(&["run", "--rm", "bb", "mkdir", "/x"]);
    let err = lab.fails(
        125,
        &["run", "--rm", "--security-opt", "bogus=1", "bb", "true"],
    );
    assert!(
        err.contains("invalid --security-opt 2: \"bogus=1\"") || err.contains("bogus"),
        "{err}"
    );
    std::fs::write(&profile, "{").expect("profile");
    let err = lab.fails(
        125,
        &["run", "--rm", "--security-opt", &option, "bb", "true"],
    );
    assert!(err.contains("seccomp"), "{err}");
}

/// A profile with an agent: it is told who the container is, of further processes too, and what
/// nobody answers for fails once it has let go.
#[test]
fn seccomp_agents() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let (profile, socket) = (lab.path("profile.json"), lab.path("agent.sock"));
    let text = format!(
        r#"{{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"{}","listenerMetadata":"from-here",
            "syscalls":[{{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_NOTIFY"}}]}}"#,
        socket.display()
    );
    std::fs::write(&profile, text).expect("profile");
    let option = format!("seccomp={}", profile.display());
    let run = [
        "run",
        "-d",
        "--security-opt",
        &option,
        "bb",
        "sleep",
        "1000",
    ];
    // Without an agent there is no container. The client makes 127 of "no such file".
    let err = lab.fails(127, &run);
    assert!(
        err.contains("failed to connect with seccomp agent"),
        "{err}"
    );
    let agent = std::os::unix::net::UnixListener::bind(&socket).expect("bind");
    let told = std::thread::spawn(move || {
        let mut said = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = agent.accept().expect("accept");
            let mut text = String::new();
            // The listener's descriptor is not taken: with the message it is gone.
            std::io::Read::read_to_string(&mut stream, &mut text).expect("read");
            said.push(text);
        }
        said
    });
    let id = lab.ok(&run).trim().to_owned();
    let ran = lab.docker(&["exec", &id, "mkdir", "/x"]);
    assert_ne!(ran.code, 0);
    assert!(ran.err.contains("Function not implemented"), "{}", ran.err);
    let said = told.join().expect("agent");
    let states: Vec<serde_json::Value> = said
        .iter()
        .map(|text| serde_json::from_str(text).expect("state"))
        .collect();
    for state in &states {
        assert_eq!(state["metadata"], "from-here");
        assert_eq!(state["fds"], serde_json::json!(["seccompFd"]));
        assert_eq!(state["state"]["id"], id.as_str());
    }
    assert_eq!(states[0]["state"]["status"], "creating");
    assert_eq!(states[1]["state"]["status"], "running");
    assert_eq!(states[0]["pid"], states[1]["state"]["pid"]);
    assert_ne!(states[1]["pid"], states[1]["state"]["pid"]);
    lab.ok(&["rm", "-f", &id]);
}

#[test]
fn namespaces() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let link = |path: &str| std::fs::read_link(path).expect(path).display().to_string();
    let own = |args: &[&str], kind: &str| {
        lab.ok(&[
            &["run", "--rm"],
            args,
            &["bb", "readlink", &format!("/proc/self/ns/{kind}")],
        ]
        .concat())
    };
    for (flag, kind) in [
        ("--ipc=host", "ipc"),
        ("--pid=host", "pid"),
        ("--uts=host", "uts"),
        ("--cgroupns=host", "cgroup"),
    ] {
        let host = link(&format!("/proc/self/ns/{kind}"));
        assert_eq!(own(&[flag], kind), host, "{flag}");
        let private: &[&str] = if kind == "cgroup" {
            &["--cgroupns=private"]
        } else {
            &[]
        };
        assert_ne!(own(private, kind), host, "{kind}");
    }
    assert_eq!(own(&["--userns=host"], "user"), link("/proc/self/ns/user"));
    let err = lab.fails(125, &["run", "--rm", "--userns=nosuch", "bb", "true"]);
    assert!(
        err.contains("invalid USER mode") || err.contains("--userns"),
        "{err}"
    );
    // Another's.
    lab.ok(&[
        "run",
        "-d",
        "--name",
        "other",
        "--ipc",
        "shareable",
        "--hostname",
        "otherhost",
        "bb",
        "sleep",
        "1000",
    ]);
    let of_other =
        |kind: &str| lab.ok(&["exec", "other", "readlink", &format!("/proc/1/ns/{kind}")]);
    assert_eq!(own(&["--ipc=container:other"], "ipc"), of_other("ipc"));
    assert_eq!(own(&["--pid=container:other"], "pid"), of_other("pid"));
    assert_eq!(own(&["--network=container:other"], "net"), of_other("net"));
    lab.ok(&["exec", "other", "sh", "-c", "echo shared > /dev/shm/file"]);
    assert_eq!(
        lab.ok(&[
            "run",
            "--rm",
            "--ipc=container:other",
            "bb",
            "cat",
            "/dev/shm/file"
        ]),
        "shared"
    );
    let processes = lab.ok(&["run", "--rm", "--pid=container:other", "bb", "ps"]);
    assert!(processes.contains("sleep 1000"), "{processes}");
    lab.ok(&["run", "-d", "--name", "closed", "bb", "sleep", "1000"]);
    let err = lab.fails(
        125,
        &["run", "--rm", "--ipc=container:closed", "bb", "true"],
    );
    assert!(
        err.contains("non-shareable IPC (hint: use IpcMode:shareable for the donor container)"),
        "{err}"
    );
    let err = lab.fails(
        125,
        &["run", "--rm", "--pid=container:nosuch", "bb", "true"],
    );
    assert!(err.contains("No such container: nosuch"), "{err}");
    lab.ok(&["stop", "-t", "0", "closed"]);
    let err = lab.fails(
        125,
        &["run", "--rm", "--network=container:closed", "bb", "true"],
    );
    assert!(
        err.contains("cannot join network") && err.contains("of a non running container: "),
        "{err}"
    );
    // With the host's name space for names goes the host's name.
    let name = lab.inside(&["hostname"]).out;
    assert_eq!(
        lab.ok(&["run", "--rm", "--uts=host", "bb", "hostname"]),
        name.trim()
    );
    let err = lab.fails(
        125,
        &["run", "--rm", "--uts=host", "--hostname", "x", "bb", "true"],
    );
    assert!(
        err.contains("conflicting options: hostname and the UTS mode"),
        "{err}"
    );
}

#[test]
fn devices_and_sysctls() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    // The loop devices' control: none of the devices that every container has.
    let node = lab.path("node").display().to_string();
    assert_eq!(lab.inside(&["mknod", &node, "c", "10", "237"]).code, 0);
    let device = format!("{node}:/dev/mine:r");
    let script = "test -c /dev/mine && (: < /dev/mine) && echo read; (: > /dev/mine) && echo write";
    let ran = lab.docker(&["run", "--rm", "--device", &device, "bb", "sh", "-c", script]);
    assert_eq!(ran.out, "read\n", "{ran:?}");
    assert!(ran.err.contains("Operation not permitted"), "{ran:?}");
    assert_eq!(
        lab.ok(&[
            "run",
            "--rm",
            "--device",
            "/dev/zero:/dev/z:rw",
            "bb",
            "sh",
            "-c",
            "head -c 3 /dev/z | wc -c"
        ]),
        "3"
    );
    let err = lab.fails(
        127,
        &["run", "--rm", "--device", "/dev/nosuch", "bb", "true"],
    );
    assert!(err.contains("error gathering device information while adding custom device \"/dev/nosuch\": no such file or directory"), "{err}");
    assert_eq!(
        lab.ok(&[
            "run",
            "--rm",
            "--sysctl",
            "net.ipv4.ip_unprivileged_port_start=77",
            "--sysctl",
            "kernel.msgmax=4096",
            "bb",
            "cat",
            "/proc/sys/net/ipv4/ip_unprivileged_port_start",
            "/proc/sys/kernel/msgmax"
        ]),
        "77\n4096"
    );
    let err = lab.fails(
        125,
        &["run", "--rm", "--sysctl", "kernel.panic=1", "bb", "true"],
    );
    assert!(
        err.contains("sysctl") && err.contains("kernel.panic"),
        "{err}"
    );
    let err = lab.fails(
        125,
        &[
            "run",
            "--rm",
            "--network",
            "host",
            "--sysctl",
            "net.ipv4.ip_forward=1",
            "bb",
            "true",
        ],
    );
    assert!(err.contains("net.ipv4.ip_forward"), "{err}");
    assert_eq!(
        lab.ok(&[
            "run",
            "--rm",
            "--oom-score-adj",
            "500",
            "bb",
            "cat",
            "/proc/self/oom_score_adj"
        ]),
        "500"
    );
}
