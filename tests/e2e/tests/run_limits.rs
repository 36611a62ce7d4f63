//! `docker run`: limits, seen in the container's own cgroup, and what happens at them.

use std::time::Duration;

use e2e::{Lab, root, wait_for};

#[test]
fn limits_reach_the_kernel() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let limits = [
        "-m",
        "64m",
        "--memory-reservation",
        "32m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "50",
        "--cpu-shares",
        "512",
        "--cpuset-cpus",
        "0",
    ];
    lab.ok(&[
        &["run", "-d", "--name", "lim"],
        &limits[..],
        &["bb", "sleep", "1000"],
    ]
    .concat());
    let file = |controller: &str, file: &str| lab.group_file("lim", controller, file);
    let v1 = lab.groups_are_v1();
    if v1 {
        assert_eq!(file("memory", "memory.limit_in_bytes"), "67108864");
        assert_eq!(file("memory", "memory.soft_limit_in_bytes"), "33554432");
        assert_eq!(file("cpu", "cpu.cfs_quota_us"), "50000");
        assert_eq!(file("cpu", "cpu.cfs_period_us"), "100000");
        assert_eq!(file("cpu", "cpu.shares"), "512");
    } else {
        assert_eq!(file("memory", "memory.max"), "67108864");
        assert_eq!(file("memory", "memory.low"), "33554432");
        assert_eq!(file("cpu", "cpu.max"), "50000 100000");
    }
    assert_eq!(file("pids", "pids.max"), "50");
    assert_eq!(file("cpuset", "cpuset.cpus"), "0");
    assert_eq!(
        lab.inspect("lim", "{{with .HostConfig}}{{.Memory}} {{.MemorySwap}} {{.MemoryReservation}} {{.NanoCpus}} {{.PidsLimit}} {{.CpuShares}} {{.CpusetCpus}}{{end}}"),
        "67108864 134217728 33554432 500000000 50 512 0"
    );
    // The whole of the container is in it, execs too.
    lab.ok(&["exec", "-d", "lim", "sleep", "2000"]);
    assert!(wait_for(Duration::from_secs(10), || file(
        "pids",
        "pids.current"
    ) == "2"));

    assert_eq!(
        lab.ok(&[
            "update",
            "-m",
            "128m",
            "--memory-swap",
            "256m",
            "--cpus",
            "0.25",
            "--pids-limit",
            "60",
            "--cpu-shares",
            "256",
            "lim"
        ]),
        "lim"
    );
    assert_eq!(file("pids", "pids.max"), "60");
    if v1 {
        assert_eq!(file("memory", "memory.limit_in_bytes"), "134217728");
        assert_eq!(file("cpu", "cpu.cfs_quota_us"), "25000");
        assert_eq!(file("cpu", "cpu.shares"), "256");
    } else {
        assert_eq!(file("memory", "memory.max"), "134217728");
    }
    let err = lab.fails(1, &["update", "-m", "1m", "lim"]);
    assert!(err.contains("Minimum memory limit allowed is 6MB"), "{err}");
    // Smaller again.
    lab.ok(&[
        "update",
        "-m",
        "32m",
        "--memory-swap",
        "32m",
        "--memory-reservation",
        "16m",
        "lim",
    ]);
    assert_eq!(
        lab.inspect("lim", "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}"),
        "33554432 33554432"
    );
    // What a stopped container is told holds at its next start.
    lab.ok(&["stop", "-t", "0", "lim"]);
    lab.ok(&["update", "--pids-limit", "33", "lim"]);
    lab.ok(&["start", "lim"]);
    assert_eq!(file("pids", "pids.max"), "33");
    // Nothing given, nothing limited.
    lab.ok(&["run", "-d", "--name", "free", "bb", "sleep", "1000"]);
    assert_eq!(lab.group_file("free", "pids", "pids.max"), "max");
}

#[test]
fn out_of_memory_is_told() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let hog = ["bb", "sh", "-c", "x=x; while :; do x=$x$x; done"];
    let ran = lab.docker(
        &[
            &["run", "--name", "hog", "-m", "16m", "--memory-swap", "16m"],
            &hog[..],
        ]
        .concat(),
    );
    assert_eq!(ran.code, 137, "{ran:?}");
    assert_eq!(
        lab.inspect(
            "hog",
            "{{.State.OOMKilled}} {{.State.ExitCode}} {{.State.Status}}"
        ),
        "true 137 exited"
    );
    let events = lab.ok(&[
        "events",
        "--since",
        "0",
        "--until",
        &lab.now(),
        "--filter",
        "container=hog",
        "--format",
        "{{.Action}}",
    ]);
    assert!(events.lines().any(|action| action == "oom"), "{events}");
    // A child that is killed is told of, too, and does not end the container.
    lab.ok(&[
        "run",
        "-d",
        "--name",
        "parent",
        "-m",
        "16m",
        "--memory-swap",
        "16m",
        "bb",
        "sh",
        "-c",
        "sh -c 'x=x; while :; do x=$x$x; done'; echo child $?; sleep 1000",
    ]);
    assert!(wait_for(Duration::from_secs(20), || lab
        .docker(&["logs", "parent"])
        .out
        .contains("child 137")));
    assert!(wait_for(Duration::from_secs(10), || lab
        .inspect("parent", "{{.State.OOMKilled}} {{.State.Running}}")
        == "true true"));
}

#[test]
fn too_many_processes() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let ran = lab.docker(&[
        "run",
        "--rm",
        "--pids-limit",
        "4",
        "bb",
        "sh",
        "-c",
        "for i in 1 2 3 4 5 6; do sleep 1000 & done; echo not here",
    ]);
    assert!(ran.err.contains("can't fork"), "{ran:?}");
    assert_eq!(
        lab.ok(&[
            "run",
            "--rm",
            "--ulimit",
            "nofile=77:88",
            "--ulimit",
            "core=0",
            "bb",
            "sh",
            "-c",
            "ulimit -Sn; ulimit -Hn; ulimit -c"
        ]),
        "77\n88\n0"
    );
    let err = lab.fails(
        125,
        &["run", "--rm", "--ulimit", "nofile=88:77", "bb", "true"],
    );
    assert!(
        err.contains("ulimit soft limit must be less than or equal to hard limit"),
        "{err}"
    );
}
