use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use http::HeaderMap;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket as Peer};

use super::WebSocket;
use crate::hijack::Hijack;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| (name.parse().expect("name"), value.parse().expect("value")))
        .collect()
}

const ASKS: [(&str, &str); 4] = [
    ("upgrade", "WebSocket"),
    ("connection", "keep-alive, Upgrade"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// Sends back what it reads, and `bye` at the end of that.
fn echo() -> Hijack {
    Hijack::new("", |socket, _| {
        Box::pin(async move {
            let std = StdUnixStream::from(socket);
            std.set_nonblocking(true).expect("nonblocking");
            let mut stream = UnixStream::from_std(std).expect("stream");
            let mut buffer = vec![0; 64 << 10];
            loop {
                match stream.read(&mut buffer).await.expect("read") {
                    0 => break,
                    read => stream.write_all(&buffer[..read]).await.expect("write"),
                }
            }
            stream.write_all(b"bye").await.expect("write");
            Ok(())
        })
    })
}

/// Runs a client, with a library of its own, against a socket that echoes.
fn with<T: Send + 'static>(
    text: bool,
    input: bool,
    client: impl FnOnce(StdUnixStream) -> T + Send + 'static,
) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime");
    runtime.block_on(async move {
        let (ours, theirs) = StdUnixStream::pair().expect("pair");
        ours.set_read_timeout(Some(Duration::from_secs(20)))
            .expect("timeout");
        theirs.set_nonblocking(true).expect("nonblocking");
        let theirs = UnixStream::from_std(theirs).expect("stream");
        let socket = WebSocket::new(&headers(&ASKS), echo(), text, input).expect("asked for");
        let client = tokio::task::spawn_blocking(move || client(ours));
        // A client that leaves in the middle is an error of its own.
        let _ = socket.run(theirs).await;
        client.await.expect("client")
    })
}

fn peer(stream: StdUnixStream) -> Peer<StdUnixStream> {
    Peer::from_raw_socket(stream, Role::Client, None)
}

/// Everything up to the Close.
fn rest(peer: &mut Peer<StdUnixStream>) -> (Vec<u8>, Option<u16>) {
    let mut got = Vec::new();
    loop {
        match peer.read().expect("a frame") {
            Message::Close(close) => return (got, close.map(|close| close.code.into())),
            message => got.extend_from_slice(&message.into_data()),
        }
    }
}

#[test]
fn the_handshake_is_checked_and_answered() {
    let made = |pairs: &[(&'static str, &'static str)]| {
        WebSocket::new(&headers(pairs), echo(), false, true)
    };
    // The example of RFC 6455, section 1.3.
    let socket = made(&ASKS).expect("asked for");
    assert_eq!(socket.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert!(socket.protocol.is_none());
    let with = |more| made(&[&ASKS[..], &[more]].concat()).expect("asked for");
    let alone = with(("sec-websocket-protocol", "tty"));
    assert_eq!(alone.protocol.expect("agreed"), "tty");
    assert!(with(("sec-websocket-protocol", "a, b")).protocol.is_none());
    for (without, says) in [
        (0, "not websocket protocol"),
        (1, "not websocket protocol"),
        (2, "Version"),
        (3, "challenge"),
    ] {
        let mut pairs = ASKS.to_vec();
        pairs.remove(without);
        let error = made(&pairs).expect_err("not asked for");
        assert!(error.message.contains(says), "{error}");
    }
}

#[test]
fn bytes_go_both_ways_and_pings_are_answered() {
    for (text, long) in [(false, 200_000), (true, 70_000)] {
        let got = with(text, true, move |stream| {
            let mut peer = peer(stream);
            peer.send(Message::binary(vec![7; 3])).expect("sent");
            peer.send(Message::text("t")).expect("sent");
            peer.send(Message::Ping("ping".into())).expect("sent");
            let (mut data, mut pong) = (Vec::new(), false);
            while data.len() < 4 || !pong {
                match peer.read().expect("a frame") {
                    Message::Pong(payload) => pong = payload == "ping",
                    message => {
                        assert_eq!(message.is_text(), text, "{message}");
                        data.extend_from_slice(&message.into_data());
                    }
                }
            }
            assert_eq!(data, b"\x07\x07\x07t");
            peer.send(Message::binary(vec![b'l'; long])).expect("sent");
            peer.close(None).expect("closed");
            rest(&mut peer)
        });
        // The Close ended the input; what the process said of it still came, and then the end.
        let mut expected = vec![b'l'; long];
        expected.extend(b"bye");
        assert_eq!(got, (expected, Some(1000)));
    }
}

#[test]
fn a_half_closed_connection_gets_the_output() {
    let got = with(false, true, |mut stream| {
        // A frame of two bytes under a mask, by hand.
        stream
            .write_all(b"\x82\x82\x01\x02\x03\x04ij")
            .expect("sent");
        stream
            .shutdown(std::net::Shutdown::Write)
            .expect("half-close");
        let mut got = Vec::new();
        stream.read_to_end(&mut got).expect("read");
        got
    });
    let text = String::from_utf8_lossy(&got);
    assert!(text.contains("hh") && text.contains("bye"), "{got:?}");
    assert!(got.ends_with(b"\x88\x02\x03\xe8"), "{got:?}");
}

#[test]
fn who_gives_no_input_closes_all() {
    let got = with(false, false, |stream| {
        let mut peer = peer(stream);
        peer.close(None).expect("closed");
        rest(&mut peer)
    });
    assert_eq!(got, (Vec::new(), Some(1000)));
}

#[test]
fn what_breaks_the_protocol_is_told_so() {
    for frame in [
        // Without a mask; a reserved bit; a reserved kind; a long Ping; a Ping in pieces; a length
        // that is none.
        &b"\x82\x01x"[..],
        b"\xc2\x81\0\0\0\0x",
        b"\x83\x81\0\0\0\0x",
        b"\x89\xfe\x00\x7e\0\0\0\0",
        b"\x09\x81\0\0\0\0x",
        b"\x88\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
    ] {
        let got = with(false, true, move |mut stream| {
            stream.write_all(frame).expect("sent");
            let mut got = Vec::new();
            stream.read_to_end(&mut got).expect("read");
            got
        });
        assert_eq!(got, b"\x88\x02\x03\xea", "{frame:?}");
    }
}
