//! Options of a container that cannot be: each is refused, with dockerd's status and words.
#![allow(clippy::expect_used, reason = "a test fails loudly")]

use e2e::{Lab, root};

/// The refusal of a create with this body.
#[track_caller]
fn create(lab: &Lab, body: &str, status: u16, message: &str) {
    let answer = lab.send("POST", "/v1.51/containers/create", body);
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.message(), message, "{answer:?}");
}

#[test]
fn options() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let host = |options: &str, status: u16, message: &str| {
        let body = format!("{{\"Image\":\"bb\",\"Cmd\":[\"true\"],\"HostConfig\":{{{options}}}}}");
        create(&lab, &body, status, message);
    };
    let config = |options: &str, message: &str| {
        create(
            &lab,
            &format!("{{\"Image\":\"bb\",\"Cmd\":[\"true\"],{options}}}"),
            400,
            message,
        );
    };
    for (options, message) in [
        ("\"Memory\":1", "Minimum memory limit allowed is 6MB"),
        ("\"Memory\":-5", "Minimum memory limit allowed is 6MB"),
        (
            "\"Memory\":8388608,\"MemorySwap\":8000000",
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ),
        (
            "\"MemorySwappiness\":101",
            "Invalid value: 101, valid memory swappiness range is 0-100",
        ),
        (
            "\"CpuShares\":-1",
            "invalid CPU shares (-1): value must be a positive integer",
        ),
        (
            "\"NanoCpus\":1000000000,\"CpuQuota\":5000",
            "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
        ),
        (
            "\"CpuPeriod\":1",
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ),
        (
            "\"CpuQuota\":1",
            "CPU cfs quota can not be less than 1ms (i.e. 1000)",
        ),
        (
            "\"BlkioWeight\":5",
            "Range of blkio weight is from 10 to 1000",
        ),
        (
            "\"OomScoreAdj\":2000",
            "Invalid value 2000, range for oom score adj is [-1000, 1000]",
        ),
        ("\"ShmSize\":-1", "SHM size can not be less than 0"),
        ("\"PidMode\":\"x\"", "invalid PID mode: x"),
        ("\"IpcMode\":\"x\"", "invalid IPC mode: x"),
        ("\"UTSMode\":\"x\"", "invalid UTS mode: x"),
        ("\"UsernsMode\":\"x\"", "invalid userns mode: x"),
        ("\"CgroupnsMode\":\"x\"", "invalid cgroup namespace mode: x"),
        (
            "\"AutoRemove\":true,\"RestartPolicy\":{\"Name\":\"always\"}",
            "can't create 'AutoRemove' container with restart policy",
        ),
        (
            "\"RestartPolicy\":{\"Name\":\"x\"}",
            "invalid restart policy: unknown policy 'x'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
        ),
        (
            "\"RestartPolicy\":{\"Name\":\"always\",\"MaximumRetryCount\":1}",
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        ),
        ("\"ExtraHosts\":[\"x\"]", "bad format for add-host: \"x\""),
        (
            "\"ExtraHosts\":[\"x:y\"]",
            "invalid IP address in add-host: \"y\"",
        ),
        (
            "\"PortBindings\":{\"80/tcp\":[{\"HostPort\":\"x\"}]}",
            "invalid port specification: \"x\"",
        ),
        (
            "\"PortBindings\":{\"80/tcp\":[{\"HostPort\":\"99999\"}]}",
            "invalid port specification: \"99999\"",
        ),
        (
            "\"PortBindings\":{\"0/tcp\":[{}]}",
            "invalid port specification: \"0/tcp\"",
        ),
        (
            "\"Binds\":[\"/a:b\"]",
            "invalid volume specification: '/a:b': invalid mount config for type \"bind\": invalid mount path: 'b' mount path must be absolute",
        ),
        ("\"Binds\":[\"/a:/b:zz\"]", "invalid mode: zz"),
        (
            "\"Binds\":[\"/a:/b\",\"/c:/b\"]",
            "Duplicate mount point: /b",
        ),
        (
            "\"Mounts\":[{\"Type\":\"bind\",\"Source\":\"/no/such\",\"Target\":\"/x\"}]",
            "invalid mount config for type \"bind\": bind source path does not exist: /no/such",
        ),
        (
            "\"Mounts\":[{\"Type\":\"bind\",\"Source\":\"/tmp\",\"Target\":\"x\"}]",
            "invalid mount config for type \"bind\": invalid mount path: 'x' mount path must be absolute",
        ),
        (
            "\"Mounts\":[{\"Type\":\"bind\",\"Target\":\"/x\"}]",
            "invalid mount config for type \"bind\": field Source must not be empty",
        ),
        (
            "\"Mounts\":[{\"Type\":\"x\",\"Target\":\"/x\"}]",
            "invalid mount config for type \"x\": mount type unknown",
        ),
        (
            "\"NetworkMode\":\"container:\"",
            "invalid network mode: invalid container format container:<name|id>",
        ),
        (
            "\"CapAdd\":[\"NOPE\"]",
            "invalid CapAdd: unknown capability: \"CAP_NOPE\"",
        ),
        ("\"Runtime\":\"x\"", "unknown or invalid runtime name: x"),
    ] {
        host(options, 400, message);
    }
    config("\"Env\":[\"=x\"]", "invalid environment variable: =x");
    config(
        "\"WorkingDir\":\"x\"",
        "the working directory 'x' is invalid, it needs to be an absolute path",
    );
    config("\"StopSignal\":\"x\"", "invalid signal: x");
    // Known, and not there yet: by name, never ignored.
    for (name, value) in [("CpuCount", "5"), ("Cgroup", "\"x\"")] {
        let body = format!("{{\"Image\":\"bb\",\"HostConfig\":{{\"{name}\":{value}}}}}");
        let answer = lab.send("POST", "/containers/create", &body);
        assert!(matches!(answer.status, 400 | 501), "{name}: {answer:?}");
        assert!(answer.message().contains(name), "{name}: {answer:?}");
    }
    let body = r#"{"Image":"bb","Cmd":["true"],"HostConfig":{"StorageOpt":{"size":"1"}}}"#;
    let answer = lab.send("POST", "/containers/create", body);
    assert_eq!(
        answer.message(),
        "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"
    );
    assert_eq!(lab.ok(&["ps", "-aq"]), "", "nothing was made");
}
