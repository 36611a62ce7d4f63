//! `docker ps` with its filters and formats; `docker inspect`, `port` and `diff`.

use e2e::{Lab, root};

fn names(lab: &Lab, args: &[&str]) -> Vec<String> {
    let out = lab.ok(&[&["ps", "--format", "{{.Names}}"], args].concat());
    out.lines().map(str::to_owned).collect()
}

/// Five containers in several states, the newest last.
fn filled() -> Lab {
    let lab = Lab::new();
    lab.ok(&["tag", "bb", "other:tag"]);
    lab.ok(&[
        "create", "--name", "made", "--label", "kind=a", "--expose", "9000", "bb", "true",
    ]);
    lab.docker(&[
        "run",
        "--name",
        "ended",
        "--label",
        "kind=b",
        "--label",
        "extra",
        "-v",
        "vol:/vol",
        "other:tag",
        "sh",
        "-c",
        "exit 3",
    ]);
    lab.docker(&["run", "--name", "fine", "bb", "true"]);
    lab.ok(&[
        "run",
        "-d",
        "--name",
        "up",
        "--label",
        "kind=a",
        "-p",
        "127.0.0.1:18090:80",
        "-v",
        "/tmp:/bound",
        "bb",
        "sleep",
        "1000",
    ]);
    lab.ok(&[
        "run",
        "-d",
        "--name",
        "frozen",
        "--network",
        "none",
        "bb",
        "sleep",
        "1000",
    ]);
    lab.ok(&["pause", "frozen"]);
    lab
}

#[test]
fn filters() {
    if !root() {
        return;
    }
    let lab = filled();
    let up = lab.inspect("up", "{{.Id}}");
    let image = lab.ok(&["image", "inspect", "-f", "{{.Id}}", "bb"]);
    let short = format!("id={}", &up[..12]);
    let by_image = format!("ancestor={image}");
    let all: &[&str] = &["frozen", "up", "fine", "ended", "made"];
    for (args, expected) in [
        (&[][..], &["frozen", "up"][..]),
        (&["-a"], all),
        (&["-n", "2"], &["frozen", "up"]),
        (&["-n", "4"], &["frozen", "up", "fine", "ended"]),
        (&["-l"], &["frozen"]),
        (&["-a", "-f", "name=n"], &["frozen", "fine", "ended"]),
        (&["-a", "-f", "name=^/?e"], &["ended"]),
        (&["-a", "-f", "name=^up$"], &["up"]),
        (&["-a", "-f", "name=(up|made)"], &["up", "made"]),
        (&["-a", "-f", "name=f.n"], &["fine"]),
        (&["-a", "-f", "name=up", "-f", "name=made"], &["up", "made"]),
        (&["-a", "-f", "label=kind"], &["up", "ended", "made"]),
        (&["-a", "-f", "label=kind=a"], &["up", "made"]),
        (
            &["-a", "-f", "label=kind=b", "-f", "label=extra"],
            &["ended"],
        ),
        (&["-a", "-f", "label=kind=a", "-f", "label=extra"], &[]),
        (&["-f", "status=exited"], &["fine", "ended"]),
        (
            &["-f", "status=created", "-f", "status=paused"],
            &["frozen", "made"],
        ),
        (&["-f", "status=running"], &["up"]),
        (&["-f", "exited=3"], &["ended"]),
        (&["-f", "exited=0"], &["fine"]),
        (&["-a", "-f", "ancestor=bb"], all),
        (&["-a", "-f", &by_image], all),
        (&["-a", "-f", "ancestor=nosuch"], &[]),
        (&["-a", "-f", "before=fine"], &["ended", "made"]),
        (&["-a", "-f", "since=fine"], &["frozen", "up"]),
        (
            &["-a", "-f", "since=made", "-f", "before=up"],
            &["fine", "ended"],
        ),
        (&["-a", "-f", "volume=vol"], &["ended"]),
        (&["-a", "-f", "volume=/bound"], &["up"]),
        (&["-a", "-f", "network=none"], &["frozen"]),
        (&["-f", "network=bridge"], &["up"]),
        (&["-a", "-f", "publish=80"], &["up"]),
        (&["-a", "-f", "publish=18090"], &["up"]),
        (&["-a", "-f", "publish=1-79"], &[]),
        (&["-a", "-f", "expose=9000/tcp"], &["made"]),
        (&["-a", "-f", "expose=8000-9100"], &["made"]),
        (&["-a", "-f", "is-task=true"], &[]),
        (&["-a", "-f", "is-task=false"], all),
        (&["-a", "-f", "health=none"], all),
        (&["-a", "-f", "health=healthy"], &[]),
        (&["-a", "-f", &short], &["up"]),
    ] {
        assert_eq!(names(&lab, args), expected, "{args:?}");
    }
    for (filter, text) in [
        ("bogus=1", "invalid filter 'bogus'"),
        ("status=bogus", "invalid filter 'status=bogus'"),
        ("exited=x", "invalid filter 'exited=x'"),
        ("before=nosuch", "No such container: nosuch"),
        ("health=bogus", "invalid filter 'health=bogus'"),
        ("publish=x", "x"),
    ] {
        let err = lab.fails(1, &["ps", "-a", "-f", filter]);
        assert!(
            err.starts_with("Error response from daemon: ") && err.contains(text),
            "{filter}: {err}"
        );
    }
}

#[test]
fn columns() {
    if !root() {
        return;
    }
    let lab = filled();
    let table = lab.ok(&["ps", "-a"]);
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].starts_with("CONTAINER ID   IMAGE"), "{table}");
    assert_eq!(rows.len(), 6);
    let id = lab.inspect("ended", "{{.Id}}");
    assert_eq!(lab.ok(&["ps", "-aq", "--no-trunc", "-f", "name=ended"]), id);
    assert_eq!(lab.ok(&["ps", "-aq", "-f", "name=ended"]), id[..12]);
    let format = "{{.ID}}|{{.Image}}|{{.Command}}|{{.Ports}}|{{.Labels}}|{{.Mounts}}|{{.Networks}}|{{.LocalVolumes}}|{{.State}}";
    assert_eq!(
        lab.ok(&["ps", "-a", "--format", format, "-f", "name=ended"]),
        format!(
            "{}|other:tag|\"sh -c 'exit 3'\"||extra=,kind=b|vol|bridge|1|exited",
            &id[..12]
        )
    );
    assert_eq!(
        lab.ok(&[
            "ps",
            "--format",
            "{{.Ports}} {{.State}} {{.Mounts}}",
            "-f",
            "name=up"
        ]),
        "127.0.0.1:18090->80/tcp running /tmp"
    );
    let status = lab.ok(&["ps", "-a", "--format", "{{.Status}}", "-f", "name=ended"]);
    assert!(
        status.starts_with("Exited (3) ") && status.ends_with(" ago"),
        "{status}"
    );
    lab.ok(&["exec", "up", "sh", "-c", "head -c 100000 /dev/zero > /big"]);
    let size = lab.ok(&["ps", "-s", "--format", "{{.Size}}", "-f", "name=up"]);
    assert!(size.starts_with("100kB (virtual "), "{size}");
    // An image whose name went elsewhere is shown by its ID.
    let image = lab.inspect("ended", "{{.Image}}");
    lab.ok(&[
        "import",
        &lab.path("bb.tar").display().to_string(),
        "other:tag",
    ]);
    assert_eq!(
        lab.ok(&["ps", "-a", "--format", "{{.Image}}", "-f", "name=ended"]),
        image["sha256:".len()..][..12]
    );
    let json: serde_json::Value =
        serde_json::from_str(&lab.ok(&["ps", "--format", "json", "-f", "name=up"])).expect("json");
    assert_eq!(
        (&json["Names"], &json["State"]),
        (&"up".into(), &"running".into())
    );
}

#[test]
fn inspected() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&[
        "run",
        "-d",
        "--name",
        "all",
        "--hostname",
        "hh",
        "-e",
        "A=b",
        "-w",
        "/data",
        "-u",
        "user",
        "-p",
        "127.0.0.1:18091:80",
        "-v",
        "vol:/vol",
        "--memory",
        "64m",
        "--restart",
        "on-failure:3",
        "--entrypoint",
        "sleep",
        "--cap-add",
        "NET_ADMIN",
        "bb",
        "1000",
    ]);
    let text = lab.ok(&["inspect", "all"]);
    let list: serde_json::Value = serde_json::from_str(&text).expect("json");
    let found = &list[0];
    let at = |pointer: &str| {
        found
            .pointer(pointer)
            .unwrap_or_else(|| panic!("no {pointer} in {text}"))
            .clone()
    };
    for (pointer, expected) in [
        ("/Name", serde_json::json!("/all")),
        ("/Path", "sleep".into()),
        ("/Args", serde_json::json!(["1000"])),
        ("/State/Status", "running".into()),
        ("/State/Running", true.into()),
        ("/State/Error", "".into()),
        ("/State/FinishedAt", "0001-01-01T00:00:00Z".into()),
        ("/RestartCount", 0.into()),
        ("/Driver", "overlay2".into()),
        ("/Platform", "linux".into()),
        ("/Config/Hostname", "hh".into()),
        ("/Config/User", "user".into()),
        ("/Config/Image", "bb".into()),
        ("/Config/WorkingDir", "/data".into()),
        ("/Config/Entrypoint", serde_json::json!(["sleep"])),
        ("/Config/Cmd", serde_json::json!(["1000"])),
        ("/HostConfig/NetworkMode", "bridge".into()),
        ("/HostConfig/Memory", 67_108_864.into()),
        (
            "/HostConfig/RestartPolicy",
            serde_json::json!({"Name": "on-failure", "MaximumRetryCount": 3}),
        ),
        ("/HostConfig/CapAdd", serde_json::json!(["CAP_NET_ADMIN"])),
        ("/HostConfig/LogConfig/Type", "json-file".into()),
        ("/HostConfig/IpcMode", "private".into()),
        ("/HostConfig/ShmSize", 67_108_864.into()),
        ("/Mounts/0/Name", "vol".into()),
        ("/Mounts/0/Destination", "/vol".into()),
        (
            "/NetworkSettings/Ports/80~1tcp/0",
            serde_json::json!({"HostIp": "127.0.0.1", "HostPort": "18091"}),
        ),
    ] {
        assert_eq!(at(pointer), expected, "{pointer}");
    }
    // What clients read without asking whether it is there.
    for pointer in [
        "/Created",
        "/Image",
        "/ResolvConfPath",
        "/HostnamePath",
        "/HostsPath",
        "/LogPath",
        "/MountLabel",
        "/ProcessLabel",
        "/AppArmorProfile",
        "/ExecIDs",
        "/GraphDriver",
        "/HostConfig/Binds",
        "/HostConfig/PortBindings",
        "/HostConfig/MaskedPaths",
        "/HostConfig/ReadonlyPaths",
        "/State/Pid",
        "/State/StartedAt",
        "/NetworkSettings/SandboxKey",
        "/NetworkSettings/Networks/bridge/IPAddress",
        "/NetworkSettings/Networks/bridge/Gateway",
        "/NetworkSettings/Networks/bridge/MacAddress",
        "/NetworkSettings/Networks/bridge/NetworkID",
    ] {
        at(pointer);
    }
    let env = at("/Config/Env");
    assert!(
        env.as_array()
            .is_some_and(|env| env.iter().any(|e| e == "A=b")),
        "{env}"
    );
    assert!(at("/State/Pid").as_u64().is_some_and(|pid| pid > 0));
    let sized: serde_json::Value =
        serde_json::from_str(&lab.ok(&["inspect", "-s", "all"])).expect("json");
    assert!(
        sized[0]["SizeRootFs"]
            .as_u64()
            .is_some_and(|n| n > 1_000_000)
            && sized[0]["SizeRw"].is_u64()
    );
    let ran = lab.docker(&["inspect", "all", "nosuch"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.out.contains("\"/all\"") && ran.err.contains("No such object: nosuch"),
        "{ran:?}"
    );
    assert!(
        lab.fails(1, &["container", "inspect", "nosuch"])
            .contains("No such container: nosuch")
    );
    assert_eq!(
        lab.ok(&["inspect", "--type", "volume", "-f", "{{.Name}}", "vol"]),
        "vol"
    );
}

#[test]
fn ports_and_changes() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&[
        "run",
        "-d",
        "--name",
        "pp",
        "-p",
        "127.0.0.1:18080:80",
        "-p",
        "127.0.0.1:18081:81/udp",
        "bb",
        "sleep",
        "1000",
    ]);
    assert_eq!(
        lab.ok(&["port", "pp"]),
        "80/tcp -> 127.0.0.1:18080\n81/udp -> 127.0.0.1:18081"
    );
    assert_eq!(lab.ok(&["port", "pp", "80"]), "127.0.0.1:18080");
    assert_eq!(
        lab.fails(1, &["port", "pp", "82"]),
        "Error: No public port '82' published for pp\n"
    );
    assert_eq!(
        lab.ok(&["ps", "--format", "{{.Ports}}"]),
        "127.0.0.1:18080->80/tcp, 127.0.0.1:18081->81/udp"
    );
    lab.ok(&[
        "run",
        "--name",
        "dd",
        "bb",
        "sh",
        "-c",
        "echo changed >> /data/seed; mkdir -p /new/dir; touch /new/dir/file; rm /etc/group",
    ]);
    let diff = lab.ok(&["diff", "dd"]);
    let mut lines: Vec<&str> = diff.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "A /new",
            "A /new/dir",
            "A /new/dir/file",
            "C /data",
            "C /data/seed",
            "C /etc",
            "D /etc/group"
        ]
    );
    lab.ok(&["create", "--name", "none", "bb", "true"]);
    assert_eq!(lab.ok(&["diff", "none"]), "");
}
