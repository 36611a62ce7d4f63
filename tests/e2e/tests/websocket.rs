//! `attach/ws`: a container's streams over a websocket, with a client of a library's own.
#![allow(clippy::expect_used, reason = "a test fails loudly")]

use std::os::unix::net::UnixStream;
use std::time::Duration;

use e2e::{Lab, root, wait_for};
use tungstenite::{Error, Message, WebSocket};

const LONG: Duration = Duration::from_secs(20);

fn attach(lab: &Lab, path: &str) -> Result<WebSocket<UnixStream>, u16> {
    let stream = UnixStream::connect(lab.socket()).expect("engine's socket");
    stream.set_read_timeout(Some(LONG)).expect("timeout");
    match tungstenite::client(format!("ws://localhost{path}"), stream) {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => {
            Err(response.status().as_u16())
        }
        Err(error) => panic!("{path}: {error}"),
    }
}

/// Reads until `end` is there; frames are of the kind that is expected.
fn until(socket: &mut WebSocket<UnixStream>, end: &str, text: bool) -> String {
    let mut got = String::new();
    while !got.ends_with(end) {
        let message = socket
            .read()
            .unwrap_or_else(|error| panic!("{error} after {got:?}"));
        assert_eq!(message.is_text(), text, "{message:?} after {got:?}");
        got.push_str(&String::from_utf8_lossy(&message.into_data()));
    }
    got
}

fn patience(socket: &WebSocket<UnixStream>, time: Duration) {
    let set = socket.get_ref().set_read_timeout(Some(time));
    set.expect("timeout");
}

fn closes(socket: &mut WebSocket<UnixStream>) {
    match socket.read().expect("a Close") {
        Message::Close(Some(close)) => assert_eq!(u16::from(close.code), 1000),
        other => panic!("{other:?} where a Close should be"),
    }
}

#[test]
fn streams_go_over_a_websocket() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let script = "echo begun; echo wrong >&2; cat; echo over";
    lab.ok(&["create", "-i", "--name", "cat", "bb", "sh", "-c", script]);
    let all = "stdin=1&stdout=1&stderr=1&stream=1";
    let mut socket =
        attach(&lab, &format!("/v1.51/containers/cat/attach/ws?{all}")).expect("attached");
    lab.ok(&["start", "cat"]);
    let first = until(&mut socket, "wrong\n", false);
    assert_eq!(first, "begun\nwrong\n");
    socket.send(Message::binary(&b"one\n"[..])).expect("sent");
    assert_eq!(until(&mut socket, "one\n", false), "one\n");
    // A second one beside it, which gets what was before; old clients get text.
    let path = "/v1.27/containers/cat/attach/ws?logs=1&stream=1";
    let mut second = attach(&lab, path).expect("attached");
    assert_eq!(until(&mut second, "one\n", true), "begun\nwrong\none\n");
    // It joins the stream when the log was sent: what is said meanwhile passes it by.
    patience(&second, Duration::from_millis(100));
    let joined = wait_for(LONG, || {
        socket.send(Message::binary(&b"on\n"[..])).expect("sent");
        assert_eq!(until(&mut socket, "on\n", false), "on\n");
        matches!(second.read(), Ok(Message::Text(_)))
    });
    assert!(joined);
    patience(&second, LONG);
    // The Close is the end of the input, not of the output.
    socket.close(None).expect("closed");
    assert_eq!(until(&mut socket, "over\n", false), "over\n");
    closes(&mut socket);
    assert!(until(&mut second, "over\n", true).ends_with("over\n"));
    closes(&mut second);
    lab.becomes("cat", "{{.State.Status}}", "exited");
    // What was logged, and no more; without frames, and only what is asked for.
    let path = "/containers/cat/attach/ws?logs=1&stderr=1";
    let mut logs = attach(&lab, path).expect("attached");
    assert_eq!(until(&mut logs, "wrong\n", false), "wrong\n");
    closes(&mut logs);
}

#[test]
fn a_terminal_is_left_by_its_keys() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&["run", "-dit", "--name", "tty", "bb", "cat"]);
    let since = lab.now();
    let path = "/containers/tty/attach/ws?stdin=1&stdout=1&stream=1&detachKeys=ctrl-x,q";
    let mut socket = attach(&lab, path).expect("attached");
    socket.send(Message::binary(&b"typed\n"[..])).expect("sent");
    assert!(until(&mut socket, "typed\r\n", false).starts_with("typed"));
    socket.send(Message::binary(&b"\x18q"[..])).expect("sent");
    loop {
        match socket.read().expect("a frame") {
            Message::Close(_) => break,
            // The second of what the terminal echoes and what the process says.
            other => assert!(other.is_binary(), "{other:?}"),
        }
    }
    // The keeper closes the stream before the engine hears why.
    let told = || lab.events(&since, &["container=tty"], "{{.Action}}");
    let came = wait_for(LONG, || told().lines().any(|line| line == "detach"));
    assert!(came, "{}", told());
    assert_eq!(lab.inspect("tty", "{{.State.Status}}"), "running");
    // A client that goes away without a word leaves the container as it is.
    let socket = attach(&lab, path).expect("attached");
    drop(socket);
    assert_eq!(lab.ok(&["exec", "tty", "echo", "still"]), "still");
    lab.ok(&["rm", "-f", "tty"]);
}

#[test]
fn refusals_have_a_status() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.sleeper("up", &[]);
    let path = |name: &str| format!("/containers/{name}/attach/ws?stream=1&stdout=1");
    assert_eq!(attach(&lab, &path("none")).err(), Some(404));
    assert_eq!(
        attach(&lab, &format!("{}&detachKeys=zz", path("up"))).err(),
        Some(400)
    );
    lab.ok(&["pause", "up"]);
    assert_eq!(attach(&lab, &path("up")).err(), Some(409));
    lab.ok(&["unpause", "up"]);
    // No handshake at all, and one for something else.
    let answer = lab.get(&path("up"));
    assert_eq!(
        (answer.status, answer.message().as_str()),
        (400, "not websocket protocol")
    );
    let answer = lab.raw(&format!(
        "GET {} HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
        path("up")
    ));
    assert_eq!(answer.status, 400, "{answer:?}");
    lab.ok(&["rm", "-f", "up"]);
}
