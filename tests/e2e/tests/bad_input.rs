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
        &lab.send("DELETE", "/containers/json/x/y", ""),
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
        ("GET", "/images/a/b/attestations", "image attestations are"),
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
