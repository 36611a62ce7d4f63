//! top, stats, events, info, version, system df.

use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use e2e::{Lab, root, wait_for};

#[test]
fn processes() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&[
        "run",
        "-d",
        "--name",
        "top",
        "bb",
        "sh",
        "-c",
        "sleep 1001 & exec sleep 1000",
    ]);
    assert!(wait_for(Duration::from_secs(10), || lab
        .ok(&["top", "top"])
        .lines()
        .count()
        == 3));
    let top = lab.ok(&["top", "top"]);
    let mut lines = top.lines();
    let head: Vec<&str> = lines.next().expect("head").split_whitespace().collect();
    assert_eq!(
        head,
        ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    );
    let pid = lab.inspect("top", "{{.State.Pid}}");
    let first = lines.next().expect("first");
    assert!(
        first.contains(&pid) && first.ends_with("sleep 1000"),
        "{top}"
    );
    let asked = lab.ok(&["top", "top", "-o", "pid,args"]);
    let mut lines = asked.lines();
    assert_eq!(
        lines
            .next()
            .expect("head")
            .split_whitespace()
            .collect::<Vec<_>>(),
        ["PID", "COMMAND"]
    );
    assert!(asked.contains("sleep 1001"), "{asked}");
    let aux = lab.ok(&["top", "top", "aux"]);
    assert!(aux.starts_with("USER") && aux.contains("COMMAND"), "{aux}");
    lab.ok(&["stop", "-t", "0", "top"]);
    let id = lab.inspect("top", "{{.Id}}");
    assert_eq!(
        lab.fails(1, &["top", "top"]),
        format!("Error response from daemon: container {id} is not running\n")
    );
}

#[test]
fn measured() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&[
        "run",
        "-d",
        "--name",
        "busy",
        "-m",
        "64m",
        "bb",
        "sh",
        "-c",
        "while :; do :; done",
    ]);
    let line = lab.ok(&[
        "stats",
        "--no-stream",
        "--format",
        "{{.Name}}|{{.CPUPerc}}|{{.MemUsage}}|{{.MemPerc}}|{{.NetIO}}|{{.BlockIO}}|{{.PIDs}}",
        "busy",
    ]);
    let fields: Vec<&str> = line.split('|').collect();
    assert_eq!(fields[0], "busy");
    let percent: f64 = fields[1].trim_end_matches('%').parse().expect("percent");
    assert!(percent > 1.0, "{line}");
    assert!(fields[2].ends_with(" / 64MiB"), "{line}");
    assert!(
        fields[4].contains(" / ") && fields[5].contains(" / "),
        "{line}"
    );
    assert_eq!(fields[6], "1");
    lab.ok(&["create", "--name", "off", "bb", "true"]);
    let line = lab.ok(&[
        "stats",
        "--no-stream",
        "--format",
        "{{.Name}} {{.CPUPerc}} {{.PIDs}}",
        "off",
    ]);
    assert!(line == "off 0.00% 0" || line == "off -- --", "{line}");
    assert!(
        lab.fails(1, &["stats", "--no-stream", "nosuch"])
            .contains("No such container: nosuch")
    );
    let one: serde_json::Value = serde_json::from_str(
        &lab.get("/containers/busy/stats?stream=false&one-shot=true")
            .body,
    )
    .expect("json");
    assert!(
        one["cpu_stats"]["cpu_usage"]["total_usage"]
            .as_u64()
            .is_some_and(|n| n > 0)
    );
    assert_eq!(one["memory_stats"]["limit"], 67_108_864);
    assert_eq!(one["name"], "/busy");
    assert!(one["networks"]["eth0"]["rx_bytes"].is_u64(), "{one}");
    assert_eq!(one["pids_stats"]["current"], 1);
}

#[test]
fn told_as_it_happens() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let start = lab.now();
    let mut follower = lab.spawn(&[
        "events",
        "--format",
        "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}",
    ]);
    let mut lines = BufReader::new(follower.stdout.take().expect("stdout")).lines();
    let listening = || lab.ok(&["info", "--format", "{{.NEventsListener}}"]) == "1";
    assert!(wait_for(Duration::from_secs(10), listening));
    lab.docker(&[
        "run", "--rm", "--name", "ev", "--label", "l=v", "-v", "vol:/v", "bb", "sh", "-c", "exit 4",
    ]);
    let mut seen = Vec::new();
    while !seen
        .iter()
        .any(|line: &String| line == "container destroy ev")
    {
        seen.push(lines.next().expect("event").expect("line"));
    }
    for wanted in [
        "container create ev",
        "container attach ev",
        "container start ev",
        "container die ev",
        "container destroy ev",
    ] {
        assert!(
            seen.iter().any(|line| line == wanted),
            "{wanted} in {seen:?}"
        );
    }
    lab.inside(&["kill", &follower.id().to_string()]);
    let _ = follower.wait();
    let events = |args: &[&str]| {
        lab.ok(&[&["events", "--since", &start, "--until", &lab.now()], args].concat())
    };
    let only = |filter: &[&str]| {
        let args: Vec<&str> = filter
            .iter()
            .flat_map(|f| ["--filter", *f])
            .chain(["--format", "{{.Action}}"])
            .collect();
        events(&args)
    };
    assert_eq!(only(&["event=die"]), "die");
    assert_eq!(
        only(&["container=ev", "event=start", "event=create"]),
        "create\nstart"
    );
    assert_eq!(only(&["container=nosuch"]), "");
    assert_eq!(only(&["label=l=v", "event=die"]), "die");
    assert_eq!(only(&["label=l=x"]), "");
    assert_eq!(only(&["image=bb", "type=container", "event=die"]), "die");
    assert_eq!(only(&["type=volume", "event=create"]), "create");
    assert_eq!(only(&["volume=vol", "event=create"]), "create");
    let json: serde_json::Value =
        serde_json::from_str(&events(&["--filter", "event=die", "--format", "json"]))
            .expect("json");
    assert_eq!(
        (&json["Type"], &json["Action"], &json["scope"]),
        (&"container".into(), &"die".into(), &"local".into())
    );
    assert_eq!(json["Actor"]["Attributes"]["exitCode"], "4");
    assert_eq!(json["Actor"]["Attributes"]["image"], "bb");
    assert_eq!(json["Actor"]["Attributes"]["l"], "v");
    assert!(
        json["timeNano"]
            .as_u64()
            .is_some_and(|n| n / 1_000_000_000 == json["time"].as_u64().unwrap_or(0))
    );
    let plain = events(&["--filter", "event=die"]);
    assert!(
        plain.contains(" container die ") && plain.contains("exitCode=4"),
        "{plain}"
    );
    let err = lab.fails(
        1,
        &[
            "events", "--since", "0", "--until", "1", "--filter", "bogus=1",
        ],
    );
    assert!(err.contains("invalid filter 'bogus'"), "{err}");
}

#[test]
fn about_the_engine() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&["run", "-d", "--name", "up", "bb", "sleep", "1000"]);
    lab.ok(&["create", "bb", "true"]);
    assert_eq!(lab.ok(&["info", "--format", "{{.Containers}} {{.ContainersRunning}} {{.ContainersPaused}} {{.ContainersStopped}} {{.Images}}"]), "2 1 0 1 2");
    let text = lab.ok(&["info"]);
    for line in [
        "Storage Driver: overlay2",
        "Logging Driver: json-file",
        "Cgroup Driver: cgroupfs",
        "OSType: linux",
        "Default Runtime: corten",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert_eq!(
        lab.ok(&[
            "version",
            "--format",
            "{{.Server.Os}} {{.Server.APIVersion}} {{.Server.MinAPIVersion}}"
        ]),
        "linux 1.51 1.24"
    );
    let ping = lab.get("/_ping");
    assert_eq!((ping.status, ping.body.as_str()), (200, "OK"));
    assert!(
        ping.head.to_lowercase().contains("api-version: 1.51"),
        "{}",
        ping.head
    );
    let answer = lab.get("/v1.99/info");
    assert_eq!(answer.status, 400);
    assert!(answer.message().contains("1.99 is too new"), "{answer:?}");
    assert_eq!(lab.get("/v1.40/containers/json").status, 200);
}

#[test]
fn disk_usage() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.docker(&[
        "run",
        "--name",
        "wrote",
        "-v",
        "vol:/v",
        "bb",
        "sh",
        "-c",
        "head -c 50000 /dev/zero > /file; head -c 70000 /dev/zero > /v/file",
    ]);
    lab.ok(&["run", "-d", "--name", "up", "bb", "sleep", "1000"]);
    lab.ok(&["volume", "create", "spare"]);
    let rows = lab.ok(&[
        "system",
        "df",
        "--format",
        "{{.Type}}|{{.TotalCount}}|{{.Active}}|{{.Size}}|{{.Reclaimable}}",
    ]);
    let rows: Vec<Vec<&str>> = rows.lines().map(|row| row.split('|').collect()).collect();
    assert_eq!(rows[0][..3], ["Images", "2", "1"], "{rows:?}");
    assert_eq!(
        rows[1][..],
        ["Containers", "2", "1", "50kB", "50kB (100%)"],
        "{rows:?}"
    );
    assert_eq!(
        rows[2][..],
        ["Local Volumes", "2", "1", "70kB", "0B (0%)"],
        "{rows:?}"
    );
    assert_eq!(
        rows[3][..],
        ["Build Cache", "0", "0", "0B", "0B"],
        "{rows:?}"
    );
    let verbose = lab.ok(&["system", "df", "-v"]);
    assert!(
        verbose.contains("Images space usage:") && verbose.contains("wrote"),
        "{verbose}"
    );
}
