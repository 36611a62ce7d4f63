//! User namespaces: `--userns-remap` and `--userns`.

use std::os::unix::fs::MetadataExt as _;

use e2e::{Lab, Options, root};

/// First id of the container's, on the host.
const FIRST: u32 = 700_000;

fn lab(flags: &[&str]) -> Lab {
    let ranges = format!("dockremap:{FIRST}:131072\n");
    Lab::with(Options {
        flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
        files: vec![
            ("/etc/subuid".into(), ranges.clone()),
            ("/etc/subgid".into(), ranges),
        ],
        ..Options::default()
    })
}

fn remapped() -> Lab {
    lab(&["--userns-remap", "default"])
}

/// Real, effective, saved and file system uid of a process as the host has them.
fn uids(pid: &str) -> Vec<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = status.lines().find(|line| line.starts_with("Uid:"));
    let numbers = line.expect("Uid").split_whitespace().skip(1);
    numbers.map(|n| n.parse().expect("a number")).collect()
}

fn upper(lab: &Lab, name: &str, path: &str) -> std::path::PathBuf {
    let id = lab.inspect(name, "{{.Id}}");
    let dir = lab.data_root().join("containers").join(id);
    dir.join("fs/diff").join(path.trim_start_matches('/'))
}

#[test]
fn root_of_a_container_is_nobody_on_the_host() {
    if !root() {
        return;
    }
    let lab = remapped();
    lab.sleeper("one", &[]);
    let map = lab.ok(&["exec", "one", "cat", "/proc/self/uid_map"]);
    let map: Vec<&str> = map.split_whitespace().collect();
    assert_eq!(map, ["0", "700000", "131072"]);
    assert_eq!(uids(&lab.inspect("one", "{{.State.Pid}}")), [FIRST; 4]);
    assert_eq!(lab.ok(&["exec", "one", "id", "-u"]), "0");
    // Files of the image and new ones: root's inside.
    let owners = lab.ok(&[
        "exec",
        "one",
        "sh",
        "-c",
        "touch /new && chown 1000:1234 /new && echo x >> /data/seed && mkdir /d && \
         stat -c '%n %u %g' / /new /d /data/seed /bin/busybox /etc/hosts /dev/null",
    ]);
    let owners: Vec<&str> = owners.lines().collect();
    assert_eq!(
        owners,
        [
            "/ 0 0",
            "/new 1000 1234",
            "/d 0 0",
            "/data/seed 0 0",
            "/bin/busybox 0 0",
            "/etc/hosts 0 0",
            "/dev/null 65534 65534"
        ]
    );
    // On the host they are the mapped ids', those copied up from the image too.
    for (path, uid, gid) in [
        ("", FIRST, FIRST),
        ("new", FIRST + 1000, FIRST + 1234),
        ("d", FIRST, FIRST),
        ("data/seed", FIRST, FIRST),
    ] {
        let facts = upper(&lab, "one", path).symlink_metadata().expect(path);
        assert_eq!((facts.uid(), facts.gid()), (uid, gid), "{path}");
    }
    // set-user-ID programs work within.
    let script = "mkdir /su && cp /bin/busybox /su/passwd && chmod 4755 /su/passwd";
    lab.ok(&["exec", "one", "sh", "-c", script]);
    lab.ok(&["exec", "-d", "-t", "-u", "1000", "one", "/su/passwd"]);
    let mut seen = String::new();
    let came = e2e::wait_for(std::time::Duration::from_secs(20), || {
        seen = lab.ok(&["top", "one", "-eo", "pid,args"]);
        seen.contains("/su/passwd")
    });
    assert!(came, "{seen}");
    let line = seen.lines().find(|line| line.contains("/su/passwd"));
    let pid = line.and_then(|line| line.split_whitespace().next());
    let ids = uids(pid.expect("its pid"));
    assert_eq!(ids[1..], [FIRST; 3], "{ids:?}");
    // What needs privilege on the machine is refused, although the capability is there.
    let ran = lab.docker(&["exec", "one", "mknod", "/null", "c", "1", "3"]);
    assert!(
        ran.code == 1 && ran.err.contains("Operation not permitted"),
        "{ran:?}"
    );
    // The same image without: the layers on disk are as they were.
    let plain = ["run", "--rm", "--userns", "host", "bb", "sh", "-c"];
    let text = "cat /proc/self/uid_map; stat -c %u /bin/busybox";
    let plain = lab.ok(&[&plain[..], &[text]].concat());
    let plain: Vec<&str> = plain.split_whitespace().collect();
    assert_eq!(plain, ["0", "0", "4294967295", "0"]);
    let info = lab.ok(&["info", "--format", "{{.SecurityOptions}}"]);
    assert!(info.contains("name=userns"), "{info}");
}

#[test]
fn what_a_container_needs_is_there() {
    if !root() {
        return;
    }
    let lab = remapped();
    let run = |options: &[&str], script: &str| {
        lab.ok(&[&["run", "--rm"], options, &["bb", "sh", "-c", script]].concat())
    };
    assert_eq!(
        run(
            &[
                "--ulimit",
                "nofile=777",
                "--oom-score-adj",
                "500",
                "--shm-size",
                "8m"
            ],
            "ulimit -n; cat /proc/self/oom_score_adj; ls /sys/class/net; df -m /dev/shm | tail -1 | \
             awk '{print $2}'; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; \
             test -d /sys/fs/cgroup && ls /dev/mqueue"
        ),
        "777\n500\neth0\nlo\n8\n0"
    );
    // Networks of every kind, and what the runtime hides.
    assert_eq!(run(&["--network", "none"], "ls /sys/class/net"), "lo");
    run(
        &[],
        "ip addr show eth0 | grep -q 'inet 172' && ip route | grep -q default",
    );
    assert_eq!(run(&[], "wc -c < /proc/keys"), "0");
    assert_eq!(run(&["--init"], "cat /proc/1/comm"), "init");
    assert_eq!(
        run(
            &["--read-only", "--tmpfs", "/t"],
            "touch /t/a; touch /b || stat -c %u /t/a"
        ),
        "0"
    );
    assert_eq!(run(&["-u", "user"], "id -u"), "1000");
    assert_eq!(run(&["-w", "/made/here"], "stat -c %u /made"), "0");
    assert_eq!(
        run(
            &["--device", "/dev/zero:/dev/z"],
            "head -c 3 /dev/z | wc -c"
        ),
        "3"
    );
    assert_eq!(run(&["--ipc", "host"], "ls -d /dev/mqueue"), "/dev/mqueue");
    let script = "tty && test $(stat -c %u /dev/console) = 0";
    let mut tty = lab.terminal(&["run", "--rm", "-t", "bb", "sh", "-c", script]);
    tty.see("/dev/");
    assert_eq!(tty.end(), 0);
    // Logs and health checks.
    lab.ok(&[
        "run",
        "-d",
        "--name",
        "helper",
        "--health-cmd",
        "test $(id -u) = 0",
        "--health-interval",
        "1s",
        "bb",
        "sh",
        "-c",
        "echo hello; sleep 1000",
    ]);
    lab.becomes("helper", "{{.State.Health.Status}}", "healthy");
    assert_eq!(lab.ok(&["logs", "helper"]), "hello");
    // A namespace of another one, with its user namespace.
    let other = ["--network", "container:helper", "--pid", "container:helper"];
    assert_eq!(
        run(
            &other,
            "ps | grep -c '[s]leep 1000'; head -c 9 /proc/self/uid_map | wc -c"
        ),
        "1\n9"
    );
    let error = lab.docker(&[
        "run",
        "--rm",
        "--userns",
        "host",
        "--pid",
        "container:helper",
        "bb",
        "true",
    ]);
    assert_eq!(error.code, 0, "the host's root may look into it: {error:?}");
}

#[test]
fn copies_and_exports_have_the_containers_ids() {
    if !root() {
        return;
    }
    let lab = remapped();
    let dir = lab.directory("in");
    std::fs::write(dir.join("mine"), "x").expect("file");
    std::os::unix::fs::chown(dir.join("mine"), Some(1000), Some(77)).expect("chown");
    let from = dir.display().to_string();
    lab.sleeper("one", &[]);
    lab.ok(&[
        "create",
        "--name",
        "still",
        "bb",
        "stat",
        "-c",
        "%u %g",
        "/in/mine",
        "/in",
        "/etc/passwd",
    ]);
    for name in ["one", "still"] {
        lab.ok(&["cp", "-a", &from, &format!("{name}:/")]);
        let facts = upper(&lab, name, "in/mine").metadata().expect("copied");
        assert_eq!(
            (facts.uid(), facts.gid()),
            (FIRST + 1000, FIRST + 77),
            "{name}"
        );
        let tar = lab.path(&format!("{name}.tar"));
        lab.ok(&["export", "-o", &tar.display().to_string(), name]);
        let mut archive = tar::Archive::new(std::fs::File::open(&tar).expect("tar"));
        let path = format!("/containers/{name}/archive?path=/in/mine");
        let copied = lab.get(&path).body;
        let owner = |at: usize| copied.get(at..at + 7).map(str::to_owned);
        assert_eq!(
            (owner(108), owner(116)),
            (Some("0001750".into()), Some("0000115".into()))
        );
        let mut seen = 0;
        for entry in archive.entries().expect("entries") {
            let entry = entry.expect("entry");
            let path = entry.path().expect("path").into_owned();
            let (uid, gid) = (
                entry.header().uid().expect("uid"),
                entry.header().gid().expect("gid"),
            );
            match path.to_str() {
                Some("in/mine") => assert_eq!((uid, gid), (1000, 77)),
                Some("bin/busybox" | "in/" | "etc/passwd") => assert_eq!((uid, gid), (0, 0)),
                _ => continue,
            }
            seen += 1;
        }
        assert_eq!(seen, 4, "{name}");
    }
    assert_eq!(lab.ok(&["start", "-a", "still"]), "1000 77\n0 0\n0 0");
    assert_eq!(lab.ok(&["diff", "still"]), "A /in\nA /in/mine");
}

#[test]
fn a_commit_has_the_containers_ids() {
    if !root() {
        return;
    }
    let lab = remapped();
    lab.sleeper("one", &[]);
    lab.ok(&[
        "exec",
        "one",
        "sh",
        "-c",
        "touch /new /his && chown 1000:1234 /his",
    ]);
    lab.ok(&["commit", "one", "made"]);
    let show = ["stat", "-c", "%n %u %g", "/new", "/his"];
    for userns in [&[][..], &["--userns", "host"][..]] {
        let run = [&["run", "--rm"][..], userns, &["made"][..], &show[..]].concat();
        let owners = lab.ok(&run);
        let owners: Vec<&str> = owners.lines().collect();
        assert_eq!(owners, ["/new 0 0", "/his 1000 1234"], "{userns:?}");
    }
}

#[test]
fn volumes_belong_to_the_containers_root_and_binds_to_whom_they_belong() {
    if !root() {
        return;
    }
    let lab = remapped();
    lab.ok(&[
        "run",
        "--rm",
        "-v",
        "vol:/data",
        "-v",
        "new:/empty",
        "bb",
        "sh",
        "-c",
        "touch /empty/a && echo more >> /data/seed",
    ]);
    let owner = |volume: &str, file: &str| {
        let path = lab.ok(&["volume", "inspect", "--format", "{{.Mountpoint}}", volume]);
        let facts = std::path::Path::new(&path)
            .join(file)
            .metadata()
            .expect("file");
        (facts.uid(), facts.gid())
    };
    for (volume, file) in [("vol", ""), ("vol", "seed"), ("new", ""), ("new", "a")] {
        assert_eq!(owner(volume, file), (FIRST, FIRST), "{volume}/{file}");
    }
    // What is root's on the host stays so: nobody's inside, and closed to the container's root.
    let bind = lab.directory("bind");
    let bind = format!("{}:/b", bind.display());
    let ran = lab.docker(&[
        "run",
        "--rm",
        "-v",
        &bind,
        "bb",
        "sh",
        "-c",
        "stat -c %u /b; touch /b/x",
    ]);
    assert!(
        ran.code == 1 && ran.out == "65534\n" && ran.err.contains("Permission denied"),
        "{ran:?}"
    );
    // A source that is made for it is its root's.
    let made = lab.path("made/deep");
    lab.ok(&[
        "run",
        "--rm",
        "-v",
        &format!("{}:/b", made.display()),
        "bb",
        "touch",
        "/b/x",
    ]);
    assert_eq!(
        made.parent()
            .expect("parent")
            .metadata()
            .expect("made")
            .uid(),
        FIRST
    );
    assert_eq!(made.metadata().expect("made").uid(), FIRST);
}

#[test]
fn places_of_live_mounts_are_the_containers_roots() {
    if !root() {
        return;
    }
    let lab = remapped();
    let dir = lab.path("shared");
    std::fs::create_dir(&dir).expect("dir");
    std::fs::write(dir.join("file"), "from the host\n").expect("file");
    lab.sleeper("one", &[]);
    let spec = format!("type=bind,source={},target=/new/place", dir.display());
    let ran = lab.corten(&["update", "--mount-add", &spec, "one"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        lab.ok(&["exec", "one", "cat", "/new/place/file"]),
        "from the host"
    );
    let ran = lab.corten(&["update", "--mount-rm", "/new/place", "one"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let owners = ["exec", "one", "stat", "-c", "%u %g", "/new", "/new/place"];
    assert_eq!(lab.ok(&owners), "0 0\n0 0");
}

#[test]
fn what_does_not_go_together_is_refused() {
    if !root() {
        return;
    }
    let lab = remapped();
    for (options, text) in [
        (
            &["--privileged"][..],
            "privileged mode is incompatible with user namespaces.  You must run the container in \
             the host namespace when running privileged mode",
        ),
        (
            &["--network", "host"],
            "cannot share the host's network namespace when user namespaces are enabled",
        ),
        (
            &["--pid", "host"],
            "cannot share the host PID namespace when user namespaces are enabled",
        ),
    ] {
        let said = lab.fails(1, &[&["create"], options, &["bb", "true"]].concat());
        assert!(said.contains(text), "{said}");
        lab.ok(&[
            &["run", "--rm", "--userns", "host"],
            options,
            &["bb", "true"],
        ]
        .concat());
    }
    let body = r#"{"Image":"bb","Cmd":["true"],"HostConfig":{"UsernsMode":"keep-id"}}"#;
    let said = lab.send("POST", "/containers/create", body);
    assert_eq!(
        (
            said.status,
            said.message().contains("invalid userns mode: keep-id")
        ),
        (400, true)
    );
}

#[test]
fn ranges_of_ones_own_without_the_daemons_asking() {
    if !root() {
        return;
    }
    let mut lab = lab(&[]);
    let first = |name: &str| {
        let map = lab.ok(&["exec", name, "cat", "/proc/self/uid_map"]);
        let mut numbers = map.split_whitespace().map(str::to_owned);
        (
            numbers.nth(1).expect("first"),
            numbers.next().expect("count"),
        )
    };
    let create = |name: &str, mode: &str| {
        let body = format!(
            r#"{{"Image":"bb","Cmd":["sleep","1000"],"HostConfig":{{"UsernsMode":"{mode}"}}}}"#
        );
        lab.send("POST", &format!("/containers/create?name={name}"), &body)
    };
    for (name, mode) in [("first", "auto"), ("second", "auto")] {
        assert_eq!(create(name, mode).status, 201, "{name}");
        lab.ok(&["start", name]);
    }
    assert_eq!(first("first"), ("700000".into(), "65536".into()));
    assert_eq!(first("second"), ("765536".into(), "65536".into()));
    let full = create("one", "auto");
    assert!(
        full.status == 400 && full.message().contains("no 65536 subordinate ids are left"),
        "{full:?}"
    );
    // Together with others, all of them.
    assert_eq!(create("wide", "private").status, 201);
    lab.ok(&["start", "wide"]);
    assert_eq!(first("wide"), ("700000".into(), "131072".into()));
    // Files keep their owners whatever the daemon is told later.
    lab.ok(&["exec", "second", "touch", "/mine"]);
    lab.stop_daemon();
    lab.set_flags(&["--userns-remap", "default"]);
    lab.start_daemon();
    lab.ok(&["restart", "-t", "0", "second"]);
    assert_eq!(
        lab.ok(&["exec", "second", "stat", "-c", "%u", "/mine"]),
        "0"
    );
    lab.ok(&["rm", "-f", "first"]);
    let body = r#"{"Image":"bb","Cmd":["true"],"HostConfig":{"UsernsMode":"auto"}}"#;
    assert_eq!(
        lab.send("POST", "/containers/create", body).status,
        400,
        "wide has all"
    );
    lab.ok(&["rm", "-f", "wide"]);
    assert_eq!(lab.send("POST", "/containers/create", body).status, 201);
}
