//! Hijacked connections as no client library makes them.
#![allow(clippy::expect_used, reason = "a test fails loudly")]

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use e2e::{Lab, root};

/// A connection that has sent `text`.
fn say(lab: &Lab, text: &str) -> UnixStream {
    let mut stream = UnixStream::connect(lab.socket()).expect("socket");
    let patience = Some(Duration::from_secs(20));
    stream.set_read_timeout(patience).expect("timeout");
    stream.write_all(text.as_bytes()).expect("request");
    stream
}

/// The head of the answer; what follows stays in the stream.
fn head(stream: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("head");
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).expect("text")
}

fn rest(mut stream: UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("rest");
    bytes
}

/// A frame of the multiplexed stream.
fn frame(kind: u8, text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("short").to_be_bytes();
    [&[kind, 0, 0, 0], &length[..], text.as_bytes()].concat()
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: tcp\r\n";

/// A started `cat` that ends with its input.
fn cat(lab: &Lab, name: &str) {
    let body = "{\"Image\":\"bb\",\"Cmd\":[\"cat\"],\"OpenStdin\":true,\"StdinOnce\":true}";
    let path = format!("/containers/create?name={name}");
    assert_eq!(lab.send("POST", &path, body).status, 201);
    lab.ok(&["start", name]);
}

fn attach(version: &str, name: &str, more: &str) -> String {
    format!(
        "POST {version}/containers/{name}/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\n\
         Host: d\r\n{more}\r\n"
    )
}

#[test]
fn upgraded_and_plain() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    for (n, version, more, status, kind) in [
        (1, "/v1.51", UPGRADE, "HTTP/1.1 101 UPGRADED", "multiplexed"),
        (2, "/v1.41", UPGRADE, "HTTP/1.1 101 UPGRADED", "raw"),
        (3, "", UPGRADE, "HTTP/1.1 101 UPGRADED", "multiplexed"),
        (4, "/v1.51", "", "HTTP/1.1 200 OK", "raw"),
        (
            5,
            "/v1.24",
            "Content-Length: 0\r\n",
            "HTTP/1.1 200 OK",
            "raw",
        ),
    ] {
        let name = format!("cat{n}");
        cat(&lab, &name);
        let mut stream = say(&lab, &attach(version, &name, more));
        let head = head(&mut stream);
        assert!(head.starts_with(status), "{version}: {head}");
        let kind = format!("application/vnd.docker.{kind}-stream");
        assert!(
            head.to_lowercase()
                .contains(&format!("content-type: {kind}")),
            "{version}: {head}"
        );
        assert_eq!(
            head.to_lowercase().contains("upgrade: tcp"),
            status.contains("101"),
            "{head}"
        );
        stream.write_all(b"one\n").expect("input");
        let mut first = vec![0; 12];
        stream.read_exact(&mut first).expect("echo");
        assert_eq!(first, frame(1, "one\n"));
        // The client's half-close ends the input, and the output still comes.
        stream.write_all(b"two\n").expect("input");
        stream.shutdown(Shutdown::Write).expect("half-close");
        assert_eq!(rest(stream), frame(1, "two\n"), "{version}");
        assert_eq!(lab.ok(&["wait", &name]), "0");
    }
}

#[test]
fn input_right_behind_the_request() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    for (n, more) in [(1, UPGRADE), (2, "")] {
        let name = format!("cat{n}");
        cat(&lab, &name);
        // Looks like a request, and is input.
        let text = format!("{}GET /_ping HTTP/1.1\r\n\r\n", attach("", &name, more));
        let mut stream = say(&lab, &text);
        stream.shutdown(Shutdown::Write).expect("half-close");
        head(&mut stream);
        // What was read with the request and what came after it may be two pieces of output.
        assert_eq!(
            payload(&rest(stream)),
            "GET /_ping HTTP/1.1\r\n\r\n",
            "{more:?}"
        );
    }
    // Garbage behind a request that is no hijack ends that connection alone.
    let mut stream = say(
        &lab,
        "GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n\x00\x01garbage\r\n\r\n",
    );
    assert!(head(&mut stream).starts_with("HTTP/1.1 200"));
    let _ = stream.read_to_end(&mut Vec::new());
    // Two requests at once are answered in order.
    let mut stream = say(
        &lab,
        "GET /_ping HTTP/1.1\r\nHost: d\r\n\r\nGET /nope HTTP/1.1\r\nHost: d\r\n\
        Connection: close\r\n\r\n",
    );
    assert!(head(&mut stream).starts_with("HTTP/1.1 200"));
    let text = String::from_utf8(rest(stream)).expect("text");
    assert!(text.starts_with("OKHTTP/1.1 404"), "{text}");
    assert_eq!(lab.get("/_ping").status, 200);
}

#[test]
fn both_outputs_and_a_terminal() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let script = "read x; echo out; usleep 100000; echo err >&2; usleep 100000; echo $x";
    lab.ok(&["run", "-di", "--name", "two", "bb", "sh", "-c", script]);
    let mut stream = say(&lab, &attach("/v1.51", "two", UPGRADE));
    head(&mut stream);
    stream.write_all(b"last\n").expect("input");
    let expected = [frame(1, "out\n"), frame(2, "err\n"), frame(1, "last\n")].concat();
    assert_eq!(rest(stream), expected);

    lab.ok(&[
        "run",
        "-dit",
        "--name",
        "tty",
        "bb",
        "sh",
        "-c",
        "read x; echo got $x",
    ]);
    let mut stream = say(&lab, &attach("/v1.51", "tty", UPGRADE));
    assert!(head(&mut stream).to_lowercase().contains("raw-stream"));
    stream.write_all(b"it\n").expect("input");
    assert_eq!(String::from_utf8_lossy(&rest(stream)), "it\r\ngot it\r\n");

    // Detach keys end the stream, not the container.
    lab.ok(&["run", "-dit", "--name", "stay", "bb", "cat"]);
    let mut stream = say(&lab, &attach("/v1.51", "stay", UPGRADE));
    head(&mut stream);
    stream.write_all(b"\x10\x11").expect("keys");
    rest(stream);
    assert_eq!(lab.inspect("stay", "{{.State.Status}}"), "running");
}

#[test]
fn old_clients() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&[
        "run",
        "-di",
        "--name",
        "one",
        "bb",
        "sh",
        "-c",
        "read x; echo done",
    ]);
    let mut stream = say(
        &lab,
        "POST /containers/one/attach?stream=1&stdout=1 HTTP/1.0\r\n\r\n",
    );
    let first = head(&mut stream);
    assert!(
        first.starts_with("HTTP/1.0 200") || first.starts_with("HTTP/1.1 200"),
        "{first}"
    );
    let mut other = say(&lab, &attach("", "one", UPGRADE));
    head(&mut other);
    other.write_all(b"go\n").expect("input");
    assert_eq!(rest(other), frame(1, "done\n"));
    let text = rest(stream);
    assert!(text.windows(5).any(|part| part == b"done\n"), "{text:?}");
    let mut stream = say(&lab, "GET /_ping HTTP/1.0\r\n\r\n");
    let first = head(&mut stream);
    assert!(first.contains(" 200 "), "{first}");
    assert_eq!(rest(stream), b"OK");
}

#[test]
fn exec() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&["run", "-d", "--name", "one", "bb", "sleep", "1000"]);
    let create = |body: &str| {
        let answer = lab.send("POST", "/containers/one/exec", body);
        assert_eq!(answer.status, 201, "{answer:?}");
        let body: serde_json::Value = serde_json::from_str(&answer.body).expect("json");
        body["Id"].as_str().expect("id").to_owned()
    };
    let start = |id: &str, more: &str, body: &str| {
        format!(
            "POST /v1.51/exec/{id}/start HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n{more}\r\n{body}",
            body.len()
        )
    };
    for (more, status) in [(UPGRADE, "HTTP/1.1 101"), ("", "HTTP/1.1 200")] {
        let id = create("{\"Cmd\":[\"cat\"],\"AttachStdin\":true,\"AttachStdout\":true}");
        let mut stream = say(&lab, &start(&id, more, "{}"));
        assert!(head(&mut stream).starts_with(status));
        stream.write_all(b"in\n").expect("input");
        stream.shutdown(Shutdown::Write).expect("half-close");
        assert_eq!(rest(stream), frame(1, "in\n"));
        let again = lab.raw(&start(&id, "Connection: close\r\n", "{}"));
        assert_eq!(again.status, 409, "{again:?}");
        let gone = lab.raw(&start(&id, UPGRADE, "{}"));
        assert_eq!(gone.status, 409, "{gone:?}");
    }
    let id = create("{\"Cmd\":[\"/nope\"],\"AttachStdout\":true}");
    let mut stream = say(&lab, &start(&id, UPGRADE, "{}"));
    let head = head(&mut stream);
    let text = rest(stream);
    let text = format!("{head}{}", String::from_utf8_lossy(&text));
    assert!(text.contains("no such file or directory"), "{text}");
    let answer = lab.raw(&start(
        &create("{\"Cmd\":[\"true\"]}"),
        "",
        "{\"Detach\":true}",
    ));
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// The text of frames that are all of standard output.
#[track_caller]
fn payload(mut frames: &[u8]) -> String {
    let mut text = Vec::new();
    while let Some((head, rest)) = frames.split_at_checked(8) {
        assert_eq!(head[..4], [1, 0, 0, 0], "{frames:?}");
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        text.extend_from_slice(&rest[..length]);
        frames = &rest[length..];
    }
    assert!(frames.is_empty(), "half a frame: {frames:?}");
    String::from_utf8(text).expect("text")
}
