//! Flags whose effect is a file of the container's control group.

use e2e::Lab;

use super::row::{Row, Seen, by, group, refused, sh};

pub(crate) const ROWS: &[Row] = &[
    group(
        "blkio-weight",
        &["--blkio-weight", "300"],
        ("blkio", "blkio.bfq.weight", "300"),
        Some(("io.bfq.weight", "default 300")),
    ),
    by("blkio-weight-device", weight_of_a_device),
    by("cgroup-parent", |lab| {
        let parent = format!("{}/below", lab.group_parent());
        lab.sleeper("grouped", &["--cgroup-parent", &parent]);
        let pid = lab.inspect("grouped", "{{.State.Pid}}");
        let id = lab.inspect("grouped", "{{.Id}}");
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        assert!(groups.contains(&format!(":{parent}/{id}\n")), "{groups}");
        lab.ok(&["rm", "-f", "grouped"]);
        lab.remove_group("below");
        Seen::Yes
    }),
    refused("cpu-count", &["--cpu-count", "1"], 1, WINDOWS),
    refused("cpu-percent", &["--cpu-percent", "10"], 1, WINDOWS),
    group(
        "cpu-period",
        &["--cpu-period", "50000"],
        ("cpu", "cpu.cfs_period_us", "50000"),
        Some(("cpu.max", "max 50000")),
    ),
    group(
        "cpu-quota",
        &["--cpu-quota", "20000"],
        ("cpu", "cpu.cfs_quota_us", "20000"),
        Some(("cpu.max", "20000 100000")),
    ),
    by("cpu-rt-period", |lab| {
        realtime(lab, "cpu.rt_period_us", "500000")
    }),
    by("cpu-rt-runtime", |lab| {
        realtime(lab, "cpu.rt_runtime_us", "50000")
    }),
    group(
        "cpu-shares",
        &["--cpu-shares", "2"],
        ("cpu", "cpu.shares", "2"),
        Some(("cpu.weight", "1")),
    ),
    group(
        "cpus",
        &["--cpus", "0.25"],
        ("cpu", "cpu.cfs_quota_us", "25000"),
        Some(("cpu.max", "25000 100000")),
    ),
    group(
        "cpuset-cpus",
        &["--cpuset-cpus", "0"],
        ("cpuset", "cpuset.cpus", "0"),
        Some(("cpuset.cpus", "0")),
    ),
    group(
        "cpuset-mems",
        &["--cpuset-mems", "0"],
        ("cpuset", "cpuset.mems", "0"),
        Some(("cpuset.mems", "0")),
    ),
    by("device-read-bps", |lab| {
        throttle(lab, "device-read-bps", "read_bps", "rbps")
    }),
    by("device-read-iops", |lab| {
        throttle(lab, "device-read-iops", "read_iops", "riops")
    }),
    by("device-write-bps", |lab| {
        throttle(lab, "device-write-bps", "write_bps", "wbps")
    }),
    by("device-write-iops", |lab| {
        throttle(lab, "device-write-iops", "write_iops", "wiops")
    }),
    refused("io-maxbandwidth", &["--io-maxbandwidth", "1m"], 1, WINDOWS),
    refused("io-maxiops", &["--io-maxiops", "9"], 1, WINDOWS),
    by("kernel-memory", kernel_memory),
    group(
        "memory",
        &["--memory", "64m"],
        ("memory", "memory.limit_in_bytes", "67108864"),
        Some(("memory.max", "67108864")),
    ),
    group(
        "memory-reservation",
        &["--memory-reservation", "32m"],
        ("memory", "memory.soft_limit_in_bytes", "33554432"),
        Some(("memory.low", "33554432")),
    ),
    group(
        "memory-swap",
        &["--memory", "64m", "--memory-swap", "96m"],
        ("memory", "memory.memsw.limit_in_bytes", "100663296"),
        Some(("memory.swap.max", "33554432")),
    ),
    group(
        "memory-swappiness",
        &["--memory-swappiness", "7"],
        ("memory", "memory.swappiness", "7"),
        None,
    ),
    by("oom-kill-disable", |lab| {
        if !lab.groups_are_v1() {
            return Seen::Lacking("control groups of version 2 have no such limit");
        }
        lab.sleeper("grouped", &["-m", "64m", "--oom-kill-disable"]);
        let control = lab.group_file("grouped", "memory", "memory.oom_control");
        lab.ok(&["rm", "-f", "grouped"]);
        assert!(control.starts_with("oom_kill_disable 1\n"), "{control}");
        Seen::Yes
    }),
    group(
        "pids-limit",
        &["--pids-limit", "42"],
        ("pids", "pids.max", "42"),
        Some(("pids.max", "42")),
    ),
];

/// What clients say to flags of the other system's engines.
const WINDOWS: &str = "is only supported on a Docker daemon running on windows";

/// A block device that the kernel schedules, with its number.
fn disk() -> Option<(String, String)> {
    std::fs::read_dir("/sys/block")
        .ok()?
        .flatten()
        .find_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let number = std::fs::read_to_string(entry.path().join("dev")).ok()?;
            let size = std::fs::read_to_string(entry.path().join("size")).ok()?;
            let node = format!("/dev/{name}");
            let fits = size.trim() != "0" && std::path::Path::new(&node).exists();
            fits.then(|| (node, number.trim().to_owned()))
        })
}

fn throttle(lab: &Lab, flag: &str, v1: &str, v2: &str) -> Seen {
    let Some((node, number)) = disk() else {
        return Seen::Lacking("no block device is there");
    };
    lab.sleeper(
        "grouped",
        &[&format!("--{flag}"), &format!("{node}:7340032")],
    );
    let found = match lab.groups_are_v1() {
        true => lab.group_file("grouped", "blkio", &format!("blkio.throttle.{v1}_device")),
        false => lab.group_file("grouped", "io", "io.max"),
    };
    lab.ok(&["rm", "-f", "grouped"]);
    let limit = match lab.groups_are_v1() {
        true => format!("{number} 7340032"),
        false => format!("{v2}=7340032"),
    };
    assert!(
        found.starts_with(&number) && found.contains(&limit),
        "--{flag}: {found}"
    );
    Seen::Yes
}

fn weight_of_a_device(lab: &Lab) -> Seen {
    let Some((node, number)) = disk() else {
        return Seen::Lacking("no block device is there");
    };
    let name = node.rsplit('/').next().unwrap_or_default();
    let scheduler = std::fs::read_to_string(format!("/sys/block/{name}/queue/scheduler"));
    let option = format!("{node}:300");
    if !scheduler.unwrap_or_default().contains("[bfq]") {
        // The kernel refuses it then, and so must the engine.
        let run = [
            "run",
            "--rm",
            "--blkio-weight-device",
            &option,
            "bb",
            "true",
        ];
        let ran = lab.docker(&run);
        assert!(
            ran.code != 0 && ran.err.contains("weight_device"),
            "{ran:?}"
        );
        return Seen::Lacking("no device is scheduled by BFQ: only the refusal was looked at");
    }
    lab.sleeper("grouped", &["--blkio-weight-device", &option]);
    let found = match lab.groups_are_v1() {
        true => lab.group_file("grouped", "blkio", "blkio.bfq.weight_device"),
        false => lab.group_file("grouped", "io", "io.bfq.weight"),
    };
    lab.ok(&["rm", "-f", "grouped"]);
    assert!(found.contains(&format!("{number} 300")), "{found}");
    Seen::Yes
}

/// Real-time is handed down from group to group: the parent's must be given first, as dockerd's
/// `--cpu-rt-runtime` does.
fn realtime(lab: &Lab, file: &str, content: &str) -> Seen {
    lab.sleeper("grouped", &[]);
    let path = lab.group_path("grouped", "cpu", "cpu.rt_runtime_us");
    lab.ok(&["rm", "-f", "grouped"]);
    let parent = path.as_deref().and_then(|path| path.parent()?.parent());
    let Some(parent) = parent else {
        return Seen::Lacking("this kernel does not share out real-time");
    };
    if std::fs::write(parent.join("cpu.rt_runtime_us"), "100000").is_err() {
        return Seen::Lacking("the group above has no real-time to give");
    }
    let options = ["--cpu-rt-period", "500000", "--cpu-rt-runtime", "50000"];
    lab.sleeper("grouped", &options);
    let found = lab.group_file("grouped", "cpu", file);
    lab.ok(&["rm", "-f", "grouped"]);
    let _ = std::fs::write(parent.join("cpu.rt_runtime_us"), "0");
    assert_eq!(found, content);
    Seen::Yes
}

/// Kernels have no such limit any more; API 1.42 and later discard it, with a warning of the client.
fn kernel_memory(lab: &Lab) -> Seen {
    let limit = "cat /sys/fs/cgroup/memory/memory.kmem.limit_in_bytes 2>/dev/null | wc -l";
    let with = sh(lab, &["--kernel-memory", "64m"], limit);
    assert_eq!(with, sh(lab, &[], limit));
    Seen::Yes
}
