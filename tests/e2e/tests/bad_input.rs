//! Requests that no client library would send: each is refused, with dockerd's status and words.
#![allow(clippy::expect_used, reason = "a test fails loudly")]

use e2e::{Lab, Response, root};

#[track_caller]
fn refused(answer: &Response, status: u16, message: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.message(), message, "{answer:?}");
}

/// The refusal of a create with this body; nothing is made.
#[track_caller]
fn create(lab: &Lab, body: &str, status: u16, message: &str) {
    let answer = lab.send("POST", "/v1.51/containers/create", body);
    refused(&answer, status, message);
}

#[test]
fn bodies() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let create = |body: &str, message: &str| create(&lab, body, 400, message);
    create("", "invalid JSON: got EOF while reading request body");
    create(
        "null",
        "config cannot be empty in order to create a container",
    );
    create("{} {}", "unexpected content after JSON");
    for body in [
        "{",
        "[]",
        "{\"Image\":5}",
        "{\"Image\":\"bb\",\"Cmd\":{\"a\":1}}",
        "nonsense",
        "{\"Image\":\"bb\",\"HostConfig\":[]}",
        "{\"Image\":\"bb\",\"HostConfig\":{\"Memory\":\"1g\"}}",
        "{\"Image\":\"bb\",\"ExposedPorts\":[1]}",
        "\"\\ud800\"",
    ] {
        let answer = lab.send("POST", "/containers/create", body);
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert!(
            answer.message().starts_with("invalid JSON: "),
            "{body}: {answer:?}"
        );
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(lab.send("POST", "/containers/create", &deep).status, 400);

    let typed = |kind: &str, body: &str| {
        lab.raw(&format!(
            "POST /containers/create HTTP/1.1\r\nHost: d\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    };
    refused(
        &typed("Content-Type: text/plain\r\n", "{}"),
        400,
        "unsupported Content-Type header (text/plain): must be 'application/json'",
    );
    refused(
        &typed("", "{}"),
        400,
        "malformed Content-Type header (): mime: no media type",
    );
    let answer = typed(
        "Content-Type: application/json; charset=utf-8\r\n",
        "{\"Image\":\"nope\"}",
    );
    assert_eq!(answer.status, 404, "{answer:?}");

    // Chunked, and cut off in the middle.
    let answer = lab.raw(
        "POST /containers/create HTTP/1.1\r\nHost: d\r\n\
        Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
        f\r\n{\"Image\":\"nope\"\r\n1\r\n}\r\n0\r\n\r\n",
    );
    assert_eq!(answer.status, 404, "{answer:?}");
    let answer = lab.raw(
        "POST /containers/create HTTP/1.1\r\nHost: d\r\n\
        Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    );
    assert_eq!(answer.status, 400, "{answer:?}");

    // Larger than anybody needs: refused without being kept.
    let large = format!("{{\"Image\":\"{}\"}}", "x".repeat(9 << 20));
    let answer = lab.send("POST", "/containers/create", &large);
    assert_eq!(answer.status, 400, "{}", answer.head);
    assert!(
        answer.message().contains("too large"),
        "{}",
        answer.message()
    );
    let header = format!(
        "GET /_ping HTTP/1.1\r\nHost: d\r\nX: {}\r\n\r\n",
        "x".repeat(2 << 20)
    );
    assert!(matches!(lab.raw(&header).status, 0 | 431));
    let line = format!("GET /{} HTTP/1.1\r\nHost: d\r\n\r\n", "x".repeat(2 << 20));
    assert!(matches!(lab.raw(&line).status, 0 | 414 | 431));
    assert!(matches!(
        lab.raw("\x16\x03\x01 garbage\r\n\r\n").status,
        0 | 400
    ));
    assert_eq!(lab.get("/_ping").status, 200);
}

#[test]
fn routes_and_versions() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    refused(&lab.get("/nonsense"), 404, "page not found");
    refused(&lab.get("/v1.51/nonsense"), 404, "page not found");
    refused(&lab.send("PUT", "/version", ""), 404, "page not found");
    refused(
        &lab.send("DELETE", "/containers/json/x", ""),
        404,
        "page not found",
    );
    refused(
        &lab.get("/v1.99/version"),
        400,
        "client version 1.99 is too new. Maximum supported API version is 1.51",
    );
    let old = lab.get("/v1.10/version");
    assert_eq!(old.status, 400);
    // Clients as old as that show the body as it is.
    assert_eq!(
        old.body.trim(),
        "client version 1.10 is too old. Minimum supported API version is \
        1.24, please upgrade your client to a newer version"
    );
    for (method, path, what) in [
        ("POST", "/networks/create", "networks are"),
        ("POST", "/v1.40/build", "builds are"),
        ("GET", "/swarm", "swarm mode is"),
        ("POST", "/images/a/b/push", "image push is"),
        ("GET", "/plugins", "plugins are"),
        ("POST", "/containers/x/checkpoints", "checkpoints are"),
    ] {
        let answer = lab.send(method, path, "");
        assert_eq!(answer.status, 501, "{path}: {answer:?}");
        let text = answer.message();
        assert!(
            text.starts_with(&format!("{what} not supported yet: {method} /")),
            "{text}"
        );
    }
    for (path, status) in [
        ("/containers/json?filters=x", 400),
        ("/containers/json?filters=%zz", 400),
        ("/containers/json?limit=x", 400),
        ("/events?since=x", 400),
        ("/images/json?filters={\"no\":[\"x\"]}", 400),
    ] {
        assert_eq!(lab.get(path).status, status, "{path}");
    }
    let all = lab.raw("OPTIONS /anything HTTP/1.1\r\nHost: d\r\n\r\n");
    assert_eq!(all.status, 200);
    let head = lab.raw("HEAD /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n");
    assert_eq!(head.status, 200);
    for header in [
        "api-version: 1.51",
        "ostype: linux",
        "docker-experimental: false",
    ] {
        assert!(head.head.to_lowercase().contains(header), "{}", head.head);
    }
}

#[test]
fn names() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    for (method, path) in [
        ("GET", "/containers/nope/json"),
        ("POST", "/containers/nope/start"),
        ("POST", "/containers/nope/stop"),
        ("DELETE", "/containers/nope"),
        ("GET", "/containers/nope/logs?stdout=1"),
        ("POST", "/containers/nope/attach?stream=1"),
        ("POST", "/containers/nope/wait"),
        ("POST", "/containers/nope/pause"),
        ("GET", "/containers/nope/stats"),
        ("GET", "/containers/nope/top"),
        ("GET", "/containers/nope/archive?path=/"),
        ("POST", "/containers/nope/rename?name=xx"),
        ("POST", "/containers/nope/resize?h=1&w=1"),
        ("GET", "/containers/nope/export"),
        ("GET", "/containers/nope/changes"),
    ] {
        refused(&lab.send(method, path, ""), 404, "No such container: nope");
    }
    let kill = lab.send("POST", "/containers/nope/kill", "");
    assert_eq!(kill.status, 404, "{kill:?}");
    refused(
        &lab.send("POST", "/containers/nope/exec", "{\"Cmd\":[\"x\"]}"),
        404,
        "No such container: nope",
    );
    refused(
        &lab.send("POST", "/exec/nope/start", "{}"),
        404,
        "No such exec instance: nope",
    );
    refused(
        &lab.get("/exec/nope/json"),
        404,
        "No such exec instance: nope",
    );
    refused(
        &lab.get("/images/nope/json"),
        404,
        "No such image: nope:latest",
    );
    create(
        &lab,
        "{\"Image\":\"nope\"}",
        404,
        "No such image: nope:latest",
    );
    create(
        &lab,
        "{\"Image\":\"Not Valid\"}",
        400,
        "invalid reference format: repository name (library/Not Valid) must be lowercase",
    );
    for name in ["a", "-ab", "a b", "ab/c", "\u{e4}b", "a:b"] {
        let path = format!("/containers/create?name={}", name.replace(' ', "%20"));
        let answer = lab.send("POST", &path, "{\"Image\":\"bb\"}");
        refused(
            &answer,
            400,
            &format!("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"),
        );
    }
    let made = lab.send(
        "POST",
        "/containers/create?name=one",
        "{\"Image\":\"bb\",\"Cmd\":[\"true\"]}",
    );
    assert_eq!(made.status, 201, "{made:?}");
    let id = lab.inspect("one", "{{.Id}}");
    refused(
        &lab.send(
            "POST",
            "/containers/create?name=/one",
            "{\"Image\":\"bb\",\"Cmd\":[\"true\"]}",
        ),
        409,
        &format!(
            "Conflict. The container name \"/one\" is already in use by container \"{id}\". \
            You have to remove (or rename) that container to be able to reuse that name."
        ),
    );
    refused(
        &lab.send("POST", "/containers/one/pause", ""),
        409,
        &format!("container {id} is not running"),
    );
    refused(
        &lab.send("POST", "/containers/one/kill", ""),
        409,
        &format!("cannot kill container: one: container {id} is not running"),
    );
    refused(
        &lab.send("POST", "/containers/one/kill?signal=NONE", ""),
        400,
        "invalid signal: NONE",
    );
    refused(
        &lab.send("POST", "/containers/one/wait?condition=x", ""),
        400,
        "invalid condition: \"x\"",
    );
    refused(
        &lab.send("POST", "/containers/one/start", "{\"Binds\":[]}"),
        400,
        "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
    );
    refused(
        &lab.get("/containers/one/logs"),
        400,
        "Bad parameters: you must choose at least one stream",
    );
    refused(
        &lab.get("/containers/one/stats?stream=1&one-shot=1"),
        400,
        "cannot have stream=true and one-shot=true",
    );
    refused(
        &lab.send("POST", "/containers/one/exec", "{}"),
        400,
        "No exec command specified",
    );
    refused(
        &lab.get("/containers/one/archive"),
        400,
        "bad parameter: \"path\" cannot be empty",
    );
    assert_eq!(lab.send("POST", "/containers/one/stop", "").status, 304);
    assert_eq!(lab.send("POST", "/containers/one/stop?t=x", "").status, 400);
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
        (
            "\"Binds\":[\"/a:/b:zz\"]",
            "invalid volume specification: '/a:/b:zz': invalid mode: zz",
        ),
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
            "mount type unknown: \"x\"",
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
    for (name, value) in [
        ("Links", "[\"a:b\"]"),
        ("StorageOpt", "{\"size\":\"1\"}"),
        ("DeviceRequests", "[{\"Count\":1}]"),
        ("Isolation", "\"hyperv\""),
        ("CpuPercent", "5"),
        ("UsernsMode", "\"x\""),
    ] {
        let body = format!("{{\"Image\":\"bb\",\"HostConfig\":{{\"{name}\":{value}}}}}");
        let answer = lab.send("POST", "/containers/create", &body);
        assert!(matches!(answer.status, 400 | 501), "{name}: {answer:?}");
        assert!(answer.message().contains(name), "{name}: {answer:?}");
    }
    assert_eq!(lab.ok(&["ps", "-aq"]), "", "nothing was made");
}
