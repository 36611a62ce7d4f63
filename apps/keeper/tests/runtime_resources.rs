//! cgroups: where they are, what is refused, pause, update, events.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]
#![allow(unreachable_pub, dead_code, reason = "shared with other tests")]

mod runtime;

use std::io::{BufRead, BufReader};

use runtime::{Lab, alive, wait};
use serde_json::{Value, json};

fn is_v1() -> bool {
    cgroup::Layout::detect().is_ok_and(|l| l.version == 1)
}

#[test]
fn limits_of_the_configuration() {
    let Some(lab) = Lab::new("limits") else {
        return;
    };
    if !is_v1() {
        return;
    }
    lab.configure(&["/bin/sleep", "1000"], |c| {
        c["linux"]["resources"] = json!({
            "memory": {"limit": 64 << 20, "swap": 64 << 20},
            "cpu": {"shares": 512, "quota": 50_000, "period": 100_000},
            "pids": {"limit": 30},
            "devices": [{"allow": false, "access": "rwm"}],
        });
    });
    lab.run(&["create", "l"]).ok();
    assert_eq!(
        lab.cgroup_file("memory", "memory.limit_in_bytes"),
        (64 << 20).to_string()
    );
    assert_eq!(lab.cgroup_file("cpu", "cpu.shares"), "512");
    assert_eq!(lab.cgroup_file("pids", "pids.max"), "30");
    // What every container needs, and nothing else.
    let devices = lab.cgroup_file("devices", "devices.list");
    assert!(
        devices.contains("c 1:3 rwm") && devices.contains("c 136:* rwm"),
        "{devices}"
    );
    assert!(!devices.contains("a *:* rwm"), "{devices}");
}

/// Without a path of its own it is below the caller's cgroups, by its id.
#[test]
fn default_and_relative_paths() {
    let Some(lab) = Lab::new("paths") else { return };
    let id = format!("corten-oci-test-{}", std::process::id());
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    for (path, expected) in [
        ("", id.clone()),
        ("x/../corten-oci-rel", "corten-oci-rel".into()),
    ] {
        lab.configure(&["/bin/sleep", "1000"], |c| {
            c["linux"]["cgroupsPath"] = path.into();
        });
        lab.run(&["create", &id]).ok();
        let pid = lab.state(&id)["pid"].as_i64().unwrap();
        let theirs = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        for (ours, theirs) in own.lines().zip(theirs.lines()) {
            if is_v1() && ours.starts_with("0::") {
                continue;
            }
            let below = format!("{}/{expected}", ours.trim_end_matches('/'));
            assert_eq!(theirs, below);
        }
        lab.run(&["delete", "-f", &id]).ok();
    }
}

#[test]
fn used_and_frozen_cgroups_are_refused() {
    let Some(lab) = Lab::new("used") else { return };
    lab.run(&["create", "a"]).ok();
    lab.run(&["create", "b"])
        .failed(1, "container's cgroup is not empty: 1 process(es) found");
    assert_eq!(lab.status("a"), "created");
    lab.run(&["delete", "-f", "a"]).ok();
    lab.assert_clean();
    // An empty one that was there is used.
    let layout = cgroup::Layout::detect().unwrap();
    let group = cgroup::Cgroup::create(&layout, &lab.cgroup).unwrap();
    group.freeze().unwrap();
    lab.run(&["create", "a"])
        .failed(1, "container's cgroup unexpectedly frozen");
    assert!(!lab.cgroups().is_empty());
    group.thaw().unwrap();
    lab.run(&["run", "-d", "a"]).ok();
}

#[test]
fn paused_and_resumed() {
    let Some(lab) = Lab::new("pause") else { return };
    lab.run(&["run", "-d", "p"]).ok();
    lab.run(&["resume", "p"]).failed(1, "container not paused");
    lab.run(&["pause", "p"]).ok();
    assert_eq!(lab.status("p"), "paused");
    lab.run(&["pause", "p"]).failed(1, "container not running");
    lab.run(&["exec", "p", "true"]).failed(
        255,
        "cannot exec in a paused container (use --ignore-paused to override)",
    );
    lab.run(&["delete", "p"])
        .failed(1, "that is not stopped: paused");
    // One that is let in waits with the others.
    let mut waiting = lab.spawn(&["exec", "--ignore-paused", "-d", "p", "true"]);
    lab.run(&["resume", "p"]).ok();
    assert!(waiting.wait().unwrap().success());
    lab.run(&["pause", "p"]).ok();
    lab.run(&["kill", "p", "KILL"]).ok();
    lab.until("p", "stopped");
    lab.run(&["delete", "p"]).ok();
    lab.run(&["run", "-d", "p"]).ok();
    let pid = lab.state("p")["pid"].as_i64().unwrap();
    lab.run(&["pause", "p"]).ok();
    lab.run(&["delete", "-f", "p"]).ok();
    assert!(!alive(pid));
    lab.assert_clean();
}

#[test]
fn updated() {
    let Some(lab) = Lab::new("update") else {
        return;
    };
    if !is_v1() {
        return;
    }
    lab.configure(&["/bin/sleep", "1000"], |c| {
        c["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
    });
    lab.run(&["run", "-d", "u"]).ok();
    let memory = || lab.cgroup_file("memory", "memory.limit_in_bytes");
    lab.run(&[
        "update",
        "--memory",
        "32M",
        "--pids-limit",
        "20",
        "--cpu-share",
        "77",
        "u",
    ])
    .ok();
    assert_eq!(memory(), (32 << 20).to_string());
    assert_eq!(lab.cgroup_file("pids", "pids.max"), "20");
    assert_eq!(lab.cgroup_file("cpu", "cpu.shares"), "77");
    let file = lab.dir.path().join("r.json");
    std::fs::write(
        &file,
        r#"{"memory":{"limit":41943040},"cpu":{"quota":30000,"period":60000}}"#,
    )
    .unwrap();
    lab.run(&["update", "-r", file.to_str().unwrap(), "u"]).ok();
    assert_eq!(memory(), "41943040");
    assert_eq!(lab.cgroup_file("cpu", "cpu.cfs_quota_us"), "30000");
    let mut command = lab.command(&["update", "--resources", "-", "u"]);
    let status = command
        .stdin(
            std::fs::File::open({
                std::fs::write(&file, r#"{"pids":{"limit":-1}}"#).unwrap();
                &file
            })
            .unwrap(),
        )
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(lab.cgroup_file("pids", "pids.max"), "max");
    lab.run(&["update", "--memory", "lots", "u"])
        .failed(1, "invalid value for memory");
    // Where there is no resctrl nothing is changed.
    if !std::fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .contains(" - resctrl ")
    {
        let words = [
            "update",
            "--l3-cache-schema",
            "L3:0=f",
            "--pids-limit",
            "5",
            "u",
        ];
        lab.run(&words)
            .failed(1, "linux.intelRdt: no resctrl file system is mounted");
        assert_eq!(lab.cgroup_file("pids", "pids.max"), "max");
    }
    // The device rules stay as they are.
    assert!(
        lab.cgroup_file("devices", "devices.list")
            .contains("c 1:3 rwm")
    );
    lab.run(&["kill", "u", "KILL"]).ok();
    lab.until("u", "stopped");
    lab.run(&["update", "--pids-limit", "9", "u"])
        .failed(1, "container not running");
}

#[test]
fn meters() {
    let Some(lab) = Lab::new("stats") else { return };
    lab.run(&["run", "-d", "e"]).ok();
    let event: Value = serde_json::from_str(&lab.run(&["events", "--stats", "e"]).ok()).unwrap();
    assert_eq!(
        (&event["type"], &event["id"]),
        (&json!("stats"), &json!("e"))
    );
    let data = &event["data"];
    assert!(data["cpu"]["usage"]["total"].as_u64().unwrap() > 0);
    assert_eq!(data["pids"]["current"], 1);
    assert!(data["memory"]["usage"]["usage"].as_u64().unwrap() > 0);
    assert!(data["memory"]["raw"].as_object().is_some());
    lab.run(&["events", "--interval", "0", "e"])
        .failed(1, "duration interval must be greater than 0");
    let mut watching = lab.spawn(&["events", "--interval", "20ms", "e"]);
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(event["type"], "stats");
    }
    // It ends with the container. What it says until then must be read, or it waits to say it.
    let rest = std::thread::spawn(move || lines.count());
    lab.run(&["delete", "-f", "e"]).ok();
    rest.join().unwrap();
    assert!(watching.wait().unwrap().success());
    lab.run(&["events", "e"])
        .failed(1, "container does not exist");
}

#[test]
fn memory_runs_out() {
    let Some(lab) = Lab::new("oom") else { return };
    let script = "sleep 0.2; head -c 80000000 /dev/zero | dd bs=80000000 of=/dev/null iflag=fullblock; sleep 1000";
    lab.configure(&["/bin/sh", "-c", "sleep 1000"], |c| {
        c["linux"]["resources"]["memory"] = json!({"limit": 20 << 20, "swap": 20 << 20});
    });
    lab.run(&["run", "-d", "o"]).ok();
    let mut watching = lab.spawn(&["events", "--interval", "1h", "o"]);
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    // Until it watches, nothing is told.
    wait("the watch", || {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", watching.id())).unwrap();
        let mut targets = fds
            .flatten()
            .filter_map(|f| std::fs::read_link(f.path()).ok());
        targets.any(|t| {
            t.to_string_lossy().contains("event") || t.to_string_lossy().contains("inotify")
        })
    });
    let hog = lab.run(&[
        "exec",
        "o",
        "/bin/sh",
        "-c",
        script.rsplit_once(';').unwrap().0,
    ]);
    let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(event, json!({"type": "oom", "id": "o"}), "{hog:?}");
    lab.run(&["delete", "-f", "o"]).ok();
    watching.wait().unwrap();
}
