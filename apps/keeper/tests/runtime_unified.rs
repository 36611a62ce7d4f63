//! cgroup v2 where it is the only hierarchy: what is written is what the kernel has, and what the
//! kernel does about it. `cargo xtask guest` boots a machine for these.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]
#![allow(unreachable_pub, dead_code, reason = "shared with other tests")]

mod runtime;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use runtime::{Lab, alive, wait};
use serde_json::{Value, json};

/// A lab on a machine like that; these tests run nowhere else.
fn lab(name: &str) -> Lab {
    let layout = cgroup::Layout::detect().unwrap();
    assert_eq!(layout.version, 2, "cgroup v1 is mounted here");
    Lab::new(name).unwrap()
}

fn dir(lab: &Lab) -> PathBuf {
    lab.cgroups().pop().unwrap()
}

/// A file of the container's cgroup.
fn file(lab: &Lab, name: &str) -> String {
    std::fs::read_to_string(dir(lab).join(name))
        .unwrap()
        .trim()
        .to_owned()
}

/// A line `key value` of one.
fn count(lab: &Lab, name: &str, key: &str) -> u64 {
    let text = file(lab, name);
    let line = text.lines().find_map(|l| l.strip_prefix(key));
    line.unwrap().trim().parse().unwrap()
}

/// A container that runs the script; what it said.
fn said(lab: &Lab, script: &str, change: impl FnOnce(&mut Value)) -> String {
    lab.configure(&["/bin/sh", "-c", script], change);
    lab.run(&["run", "s"]).ok()
}

#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask guest"]
fn limits_are_what_the_kernel_has() {
    let lab = lab("limits");
    lab.configure(&["/bin/sleep", "1000"], |c| {
        c["linux"]["resources"] = json!({
            "memory": {"limit": 64 << 20, "swap": 96 << 20, "reservation": 32 << 20},
            "cpu": {"shares": 512, "quota": 50_000, "period": 100_000, "burst": 10_000, "cpus": "0", "mems": "0"},
            "pids": {"limit": 30},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}],
        });
    });
    lab.run(&["create", "l"]).ok();
    for (name, value) in [
        ("memory.max", "67108864"),
        ("memory.swap.max", "33554432"),
        ("memory.low", "33554432"),
        ("cpu.weight", "59"),
        ("cpu.max", "50000 100000"),
        ("cpu.max.burst", "10000"),
        ("cpuset.cpus", "0"),
        ("cpuset.mems", "0"),
        ("pids.max", "30"),
        ("hugetlb.2MB.max", "4194304"),
    ] {
        assert_eq!(file(&lab, name), value, "{name}");
    }
    // What is not told stays as it is, and zero and less are no limit.
    lab.run(&["update", "--memory", "48M", "--memory-swap", "48M", "l"])
        .ok();
    assert_eq!(file(&lab, "memory.max"), (48 << 20).to_string());
    assert_eq!(file(&lab, "memory.swap.max"), "0");
    assert_eq!(file(&lab, "cpu.max"), "50000 100000");
    lab.run(&["update", "--cpu-quota", "25000", "--pids-limit", "-1", "l"])
        .ok();
    assert_eq!(file(&lab, "cpu.max"), "25000 100000");
    assert_eq!(file(&lab, "pids.max"), "max");
    lab.run(&["update", "--memory", "-1", "l"]).ok();
    assert_eq!(file(&lab, "memory.max"), "max");
    assert_eq!(file(&lab, "memory.swap.max"), "max");
}

#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask guest"]
fn what_version_one_had_is_refused() {
    let lab = lab("refused");
    for (resources, words) in [
        (json!({"memory": {"kernelTCP": 1 << 20}}), "kernel TCP"),
        (json!({"cpu": {"realtimeRuntime": 1000}}), "realtime"),
        (json!({"network": {"classID": 1}}), "network classes"),
        (json!({"blockIO": {"leafWeight": 10}}), "leaf weight"),
        (
            json!({"unified": {"../cgroup.kill": "1"}}),
            "../cgroup.kill",
        ),
        (
            json!({"unified": {"memory.nothing": "1"}}),
            "memory.nothing",
        ),
        (json!({"unified": {"memory.high": "lots"}}), "memory.high"),
    ] {
        lab.configure(&["/bin/true"], |c| c["linux"]["resources"] = resources);
        lab.run(&["run", "r"]).failed(1, words);
        lab.assert_clean();
    }
}

#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask guest"]
fn unified_keys() {
    let lab = lab("keys");
    lab.configure(&["/bin/sleep", "1000"], |c| {
        c["linux"]["resources"] = json!({
            "memory": {"limit": 64 << 20},
            "unified": {"memory.high": "50331648", "cgroup.max.depth": "3", "memory.oom.group": "1"},
        });
    });
    lab.run(&["run", "-d", "u"]).ok();
    assert_eq!(file(&lab, "memory.high"), "50331648");
    assert_eq!(file(&lab, "cgroup.max.depth"), "3");
    assert_eq!(file(&lab, "memory.oom.group"), "1");
    assert_eq!(file(&lab, "memory.max"), "67108864");
}

#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask guest"]
fn too_many_processes() {
    let lab = lab("pids");
    let script = "for i in 1 2 3 4 5 6; do sleep 1000 & done; echo not here";
    lab.configure(&["/bin/sh", "-c", script], |c| {
        c["linux"]["resources"]["pids"] = json!({"limit": 4});
    });
    let answer = lab.run(&["run", "p"]);
    assert!(
        answer.err.contains("can't fork") && answer.code != 0,
        "{answer:?}"
    );
}

/// Frozen processes get no processor time, and all of them are meant.
#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask guest"]
fn frozen() {
    let lab = lab("freeze");
    let script = "(while :; do :; done) & while :; do :; done";
    lab.configure(&["/bin/sh", "-c", script], |_| {});
    lab.run(&["run", "-d", "f"]).ok();
    wait("two processes", || file(&lab, "pids.current") == "2");
    lab.run(&["pause", "f"]).ok();
    assert_eq!(count(&lab, "cgroup.events", "frozen"), 1);
    assert_eq!(lab.status("f"), "paused");
    let used = || count(&lab, "cpu.stat", "usage_usec");
    let before = used();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(used(), before);
    lab.run(&["resume", "f"]).ok();
    assert_eq!(count(&lab, "cgroup.events", "frozen"), 0);
    wait("them to run", || used() > before);
    // SIGKILL reaches what is frozen.
    lab.run(&["pause", "f"]).ok();
    let pid = lab.state("f")["pid"].as_i64().unwrap();
    lab.run(&["delete", "-f", "f"]).ok();
    assert!(!alive(pid));
    lab.assert_clean();
}

/// Without a pid namespace nothing but cgroup.kill ends the children.
#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask guest"]
fn killed_with_all_that_it_started() {
    let lab = lab("kill");
    let script = "for i in 1 2 3 4 5 6 7 8; do setsid sleep 1000 & done; exec sleep 1000";
    lab.configure(&["/bin/busybox", "sh", "-c", script], |c| {
        let namespaces = c["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|n| n["type"] != "pid");
    });
    std::os::unix::fs::symlink("busybox", lab.bundle().join("rootfs/bin/setsid")).unwrap();
    lab.run(&["run", "-d", "k"]).ok();
    wait("nine processes", || file(&lab, "pids.current") == "9");
    let procs = file(&lab, "cgroup.procs");
    lab.run(&["delete", "-f", "k"]).ok();
    for pid in procs.lines() {
        assert!(!alive(pid.parse().unwrap()), "{pid}");
    }
    lab.assert_clean();
    // kill --all, too.
    lab.run(&["run", "-d", "k"]).ok();
    wait("nine processes", || file(&lab, "pids.current") == "9");
    lab.run(&["kill", "--all", "k", "KILL"]).ok();
    lab.until("k", "stopped");
    wait("an empty cgroup", || {
        count(&lab, "cgroup.events", "populated") == 0
    });
    lab.run(&["delete", "k"]).ok();
}

#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask guest"]
fn memory_runs_out() {
    let lab = lab("oom");
    lab.configure(&["/bin/sleep", "1000"], |c| {
        c["linux"]["resources"]["memory"] = json!({"limit": 20 << 20, "swap": 20 << 20});
    });
    lab.run(&["run", "-d", "o"]).ok();
    let mut watching = lab.spawn(&["events", "--interval", "1h", "o"]);
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    wait("the watch", || {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", watching.id())).unwrap();
        let mut targets = fds
            .flatten()
            .filter_map(|f| std::fs::read_link(f.path()).ok());
        targets.any(|t| t.to_string_lossy().contains("inotify"))
    });
    let hog = [
        "exec",
        "o",
        "/bin/sh",
        "-c",
        "x=x; while :; do x=$x$x; done",
    ];
    assert_eq!(lab.run(&hog).code, 137);
    let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(event, json!({"type": "oom", "id": "o"}));
    assert_eq!(count(&lab, "memory.events", "oom_kill "), 1);
    // The container is there still.
    assert_eq!(lab.status("o"), "running");
    lab.run(&["delete", "-f", "o"]).ok();
    watching.wait().unwrap();
    // As one: what shares the cgroup goes with the one that took too much.
    let script = "sleep 1000 & x=x; while :; do x=$x$x; done";
    lab.configure(
        &["/bin/sh", "-c", &format!("({script}); echo not here")],
        |c| {
            c["linux"]["resources"]["memory"] = json!({"limit": 20 << 20, "swap": 20 << 20});
            c["linux"]["resources"]["unified"] = json!({"memory.oom.group": "1"});
        },
    );
    let answer = lab.run(&["run", "g"]);
    assert_eq!((answer.code, answer.out.as_str()), (137, ""));
}

/// The eBPF program lets through what is listed, and nothing else; nodes can be made.
#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask guest"]
fn devices() {
    let lab = lab("devices");
    for applet in ["mknod", "od"] {
        std::os::unix::fs::symlink("busybox", lab.bundle().join("rootfs/bin").join(applet))
            .unwrap();
    }
    let script = "mknod /tmp/mem c 1 1; mknod /tmp/full c 1 7; mknod /tmp/rng c 10 183; \
        for f in /dev/null /tmp/full /tmp/mem /tmp/rng; do \
        if (: <$f) 2>/dev/null; then echo r; else echo -; fi; \
        if (: >$f) 2>/dev/null; then echo w; else echo -; fi; done";
    let with = |rules: Value| {
        let out = said(&lab, script, |c| {
            c["linux"]["resources"]["devices"] = rules;
            let caps = json!(["CAP_MKNOD", "CAP_SYS_RAWIO", "CAP_DAC_OVERRIDE"]);
            for set in ["bounding", "effective", "permitted"] {
                c["process"]["capabilities"][set] = caps.clone();
            }
        });
        out.split_whitespace().collect::<Vec<_>>().concat()
    };
    let deny = json!({"allow": false, "access": "rwm"});
    assert_eq!(with(json!([deny])), "rwrw----");
    let read = json!({"allow": true, "type": "c", "major": 1, "minor": 1, "access": "r"});
    assert_eq!(with(json!([deny, read])), "rwrwr---");
    let but = json!({"allow": false, "type": "c", "major": 1, "minor": 1, "access": "w"});
    assert_eq!(
        with(json!([{"allow": true, "access": "rwm"}, but]))
            .get(..6)
            .unwrap(),
        "rwrwr-"
    );
    // Rules are replaced, not added to.
    lab.configure(&["/bin/sleep", "1000"], |c| {
        c["linux"]["resources"]["devices"] = json!([deny]);
    });
    lab.run(&["run", "-d", "d"]).ok();
    lab.run(&["update", "--pids-limit", "20", "d"]).ok();
    let open = [
        "exec",
        "--cap",
        "CAP_MKNOD",
        "--cap",
        "CAP_SYS_RAWIO",
        "d",
        "/bin/sh",
        "-c",
    ];
    let answer = lab.run(&[&open[..], &["mknod /tmp/n c 1 1; : </tmp/n"]].concat());
    assert!(answer.err.contains("not permitted"), "{answer:?}");
}

#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask guest"]
fn meters() {
    let lab = lab("stats");
    let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exec sleep 1000";
    lab.configure(&["/bin/sh", "-c", script], |c| {
        c["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 9}});
    });
    lab.run(&["run", "-d", "m"]).ok();
    wait("some processor time", || {
        count(&lab, "cpu.stat", "usage_usec") > 1000
    });
    let event: Value = serde_json::from_str(&lab.run(&["events", "--stats", "m"]).ok()).unwrap();
    let data = &event["data"];
    let number = |path: &str| data.pointer(path).and_then(Value::as_u64).unwrap();
    let total = number("/cpu/usage/total");
    assert!(total >= 1_000_000, "{data}");
    assert!(number("/cpu/usage/kernel") + number("/cpu/usage/user") <= total + 1_000_000);
    assert_eq!(number("/memory/usage/limit"), 64 << 20);
    assert!(number("/memory/usage/usage") > 0 && number("/memory/usage/max") > 0);
    assert!(number("/memory/raw/anon") > 0);
    assert_eq!((number("/pids/current"), number("/pids/limit")), (1, 9));
    assert!(data["cpu"]["psi"]["some"].is_object(), "{data}");
}

#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask guest"]
fn processors() {
    let lab = lab("cpuset");
    let out = said(&lab, "cat /proc/self/status", |c| {
        c["linux"]["resources"]["cpu"] = json!({"cpus": "1", "mems": "0"});
    });
    let line = out.lines().find(|l| l.starts_with("Cpus_allowed_list:"));
    assert_eq!(line.unwrap().split_whitespace().nth(1), Some("1"));
    lab.configure(&["/bin/true"], |c| {
        c["linux"]["resources"]["cpu"] = json!({"cpus": "999"});
    });
    lab.run(&["run", "n"]).failed(1, "cpuset.cpus");
}

/// The disk is the guest's own, made for this.
#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask guest"]
fn block_devices() {
    let disk = std::env::var("CORTEN_GUEST_DISK").unwrap();
    let name = disk.rsplit('/').next().unwrap();
    let numbers = std::fs::read_to_string(format!("/sys/block/{name}/dev")).unwrap();
    let (major, minor) = numbers.trim().split_once(':').unwrap();
    let (major, minor): (u64, u64) = (major.parse().unwrap(), minor.parse().unwrap());
    let lab = lab("io");
    let script =
        "dd if=/dev/disk of=/dev/null bs=1M count=4 iflag=direct 2>/dev/null; exec sleep 1000";
    lab.configure(&["/bin/sh", "-c", script], |c| {
        c["linux"]["devices"] =
            json!([{"path": "/dev/disk", "type": "b", "major": major, "minor": minor}]);
        c["linux"]["resources"] = json!({
            "devices": [{"allow": false, "access": "rwm"},
                {"allow": true, "type": "b", "major": major, "minor": minor, "access": "r"}],
            "blockIO": {
                "weight": 500,
                "throttleReadBpsDevice": [{"major": major, "minor": minor, "rate": 64 << 20}],
                "throttleWriteIOPSDevice": [{"major": major, "minor": minor, "rate": 100}],
            },
        });
    });
    lab.run(&["run", "-d", "b"]).ok();
    let limits = file(&lab, "io.max");
    assert!(
        limits.contains("rbps=67108864") && limits.contains("wiops=100"),
        "{limits}"
    );
    assert_eq!(file(&lab, "io.weight"), "default 4950");
    wait("the reading", || {
        file(&lab, "io.stat").contains("rbytes=4194304")
    });
    let event: Value = serde_json::from_str(&lab.run(&["events", "--stats", "b"]).ok()).unwrap();
    let bytes = &event["data"]["blkio"]["ioServiceBytesRecursive"];
    let read = json!({"major": major, "minor": minor, "op": "Read", "value": 4 << 20});
    assert!(bytes.as_array().unwrap().contains(&read), "{bytes}");
}

/// The container sees its own cgroup as the root, which it cannot write to.
#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask guest"]
fn a_namespace_of_its_own() {
    let lab = lab("ns");
    let script = "cat /proc/self/cgroup; stat -f -c %t /sys/fs/cgroup; cat /sys/fs/cgroup/pids.max; \
        mkdir /sys/fs/cgroup/x 2>/dev/null || echo read-only";
    let out = said(&lab, script, |c| {
        let namespaces = c["linux"]["namespaces"].as_array_mut().unwrap();
        if !namespaces.iter().any(|n| n["type"] == "cgroup") {
            namespaces.push(json!({"type": "cgroup"}));
        }
        c["linux"]["resources"]["pids"] = json!({"limit": 33});
    });
    assert_eq!(out, "0::/\n63677270\n33\nread-only\n");
}

/// The container divides what it was given, as an init of its own would; then others can still be
/// let in, beside its first process.
#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask guest"]
fn delegated() {
    let lab = lab("delegated");
    let script = "cd /sys/fs/cgroup && mkdir init && echo 1 >init/cgroup.procs && \
        echo +pids +memory >cgroup.subtree_control && cat init/pids.max && exec sleep 1000";
    lab.configure(&["/bin/sh", "-c", script], |c| {
        for mount in c["mounts"].as_array_mut().unwrap() {
            if mount["type"] == "cgroup" {
                mount["options"] = json!(["nosuid", "noexec", "nodev", "rw"]);
            }
        }
        let namespaces = c["linux"]["namespaces"].as_array_mut().unwrap();
        if !namespaces.iter().any(|n| n["type"] == "cgroup") {
            namespaces.push(json!({"type": "cgroup"}));
        }
    });
    lab.run(&["run", "-d", "d"]).ok();
    wait("the division", || {
        file(&lab, "cgroup.subtree_control").contains("pids")
            && dir(&lab).join("init/pids.max").exists()
    });
    let out = lab.run(&["exec", "d", "cat", "/proc/self/cgroup"]).ok();
    assert_eq!(out, "0::/init\n");
    lab.run(&["exec", "--cgroup", "init", "d", "true"]).ok();
    let told = lab.run(&["ps", "-f", "json", "d"]).ok();
    assert_eq!(serde_json::from_str::<Vec<i64>>(&told).unwrap().len(), 1);
    lab.run(&["pause", "d"]).ok();
    lab.run(&["resume", "d"]).ok();
    lab.run(&["delete", "-f", "d"]).ok();
    lab.assert_clean();
}

/// With a user namespace, a cgroup namespace and a writable mount the cgroup belongs to the
/// container's root (config-linux.md#cgroup-ownership).
#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask guest"]
fn owned_by_the_root_of_a_user_namespace() {
    let lab = lab("owned");
    let script = "cd /sys/fs/cgroup && mkdir a && echo 1 >a/cgroup.procs && \
        echo +pids >cgroup.subtree_control && cat /proc/self/cgroup && stat -c %u . cgroup.procs pids.max";
    let out = said(&lab, script, |c| {
        for mount in c["mounts"].as_array_mut().unwrap() {
            if mount["type"] == "cgroup" {
                mount["options"] = json!(["nosuid", "noexec", "nodev", "rw"]);
            }
        }
        let namespaces = c["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|n| n["type"] != "cgroup");
        namespaces.push(json!({"type": "cgroup"}));
        namespaces.push(json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
        c["linux"]["uidMappings"] = map.clone();
        c["linux"]["gidMappings"] = map;
    });
    // The limits stay the host's.
    assert_eq!(out, "0::/a\n0\n0\n65534\n");
}
