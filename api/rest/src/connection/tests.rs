//! Whole connections over a socket pair, with a service in place of the engine.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;

use engine::{Error, Result};
use http::{HeaderMap, Method, Uri};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::{Service, serve};
use crate::answer::{self, Answer};
use crate::body::{RequestBody, ResponseBody};
use crate::call::Call;
use crate::hijack::{HEAD_READ, Hijack};
use crate::stream::{Stream, Transport};
use crate::version::ApiVersion;
use crate::{system, unsupported};

/// Answers like the API, with an echo in place of containers. Holds its client's end, too.
#[derive(Clone)]
struct Echo(Arc<StdUnixStream>);

impl Echo {
    fn of(client: &UnixStream) -> Self {
        let end = client.as_fd().try_clone_to_owned().expect("handle");
        Self(Arc::new(end.into()))
    }
}

impl Service for Echo {
    fn decode(
        &self,
        method: Method,
        uri: &Uri,
        headers: HeaderMap,
        body: RequestBody,
    ) -> Result<Call> {
        Call::decode(method, uri, headers, body, ApiVersion::oldest())
    }

    async fn call(&self, call: Call) -> Result<Answer> {
        match call.path.as_str() {
            "/_ping" => system::ping(),
            "/containers/x/wait" => {
                let never = futures_util::stream::pending();
                answer::bytes("application/json", ResponseBody::pieces(never))
            }
            "/containers/gone/attach" => Err(Error::not_found("No such container: gone")),
            "/containers/x/attach" => {
                let mut hijack = echo();
                hijack.rest = Some(call.body);
                Ok(Answer::Hijack(hijack))
            }
            "/exec/prompt/start" => Ok(Answer::Hijack(prompt(Arc::clone(&self.0)))),
            "/exec/quiet/start" => {
                let mut hijack = prompt(Arc::clone(&self.0));
                hijack.speaks = false;
                Ok(Answer::Hijack(hijack))
            }
            "/exec/x/start" => {
                let body: serde_json::Value = call.json().await?;
                assert_eq!(body["Detach"], false);
                Ok(Answer::Hijack(echo()))
            }
            _ => Err(unsupported::explain(call.method.as_str(), &call.path)
                .unwrap_or_else(|| Error::not_found("page not found"))),
        }
    }
}

/// Sends back all that it reads until the end of it, then `bye`, and closes.
fn echo() -> Hijack {
    Hijack::new("application/vnd.docker.raw-stream", |socket, read| {
        Box::pin(async move {
            let std = StdUnixStream::from(socket);
            std.set_nonblocking(true).expect("nonblocking");
            let mut stream = UnixStream::from_std(std).expect("stream");
            stream.write_all(&read).await.expect("write");
            let mut buffer = [0; 64];
            loop {
                match stream.read(&mut buffer).await.expect("read") {
                    0 => break,
                    n => stream.write_all(&buffer[..n]).await.expect("write"),
                }
            }
            stream.write_all(b"bye").await.expect("write");
            Ok(())
        })
    })
}

/// Sends what its client had not read before: a client may look for the head in a buffer, and lose
/// what came with it.
fn prompt(client: Arc<StdUnixStream>) -> Hijack {
    Hijack::new("application/vnd.docker.raw-stream", move |socket, _| {
        Box::pin(async move {
            use rustix::net::{RecvFlags, recv};
            let mut unread = [0; 1024];
            let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
            let length = recv(&*client, &mut unread, flags).map_or(0, |(_, length)| length);
            let mut stream = StdUnixStream::from(socket);
            stream.write_all(&unread[..length]).expect("write");
            stream.write_all(b"!").expect("write");
            Ok(())
        })
    })
}

struct Client {
    stream: UnixStream,
    _stop: watch::Sender<bool>,
}

impl Client {
    fn new() -> Self {
        let (client, server) = UnixStream::pair().expect("pair");
        let (stop, stopped) = watch::channel(false);
        let echo = Echo::of(&client);
        tokio::spawn(serve(echo, Stream::new(Transport::Unix(server)), stopped));
        Self {
            stream: client,
            _stop: stop,
        }
    }

    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.expect("send");
    }

    /// Reads up to and with `end`.
    async fn until(&mut self, end: &str) -> String {
        let mut got = Vec::new();
        while !got.ends_with(end.as_bytes()) {
            let byte = self.stream.read_u8().await;
            got.push(byte.unwrap_or_else(|error| {
                panic!("{error} after {:?}", String::from_utf8_lossy(&got))
            }));
        }
        String::from_utf8(got).expect("text")
    }

    async fn rest(&mut self) -> String {
        let mut text = String::new();
        self.stream.read_to_string(&mut text).await.expect("rest");
        text
    }
}

#[tokio::test]
async fn every_answer_names_the_server() {
    let mut client = Client::new();
    client
        .send("GET /v1.40/_ping HTTP/1.1\r\nHost: d\r\n\r\n")
        .await;
    let head = client.until("\r\n\r\n").await.to_ascii_lowercase();
    for line in [
        "http/1.1 200 ok",
        "api-version: 1.51",
        "docker-experimental: false",
        "ostype: linux",
        "server: corten/",
        "content-type: text/plain; charset=utf-8",
        "content-length: 2",
    ] {
        assert!(head.contains(line), "{line} in {head}");
    }
    assert_eq!(client.until("OK").await, "OK");
    client.send("HEAD /_ping HTTP/1.1\r\nHost: d\r\n\r\n").await;
    let head = client.until("\r\n\r\n").await.to_ascii_lowercase();
    assert!(head.contains("api-version: 1.51"), "{head}");
    for (path, status, message) in [
        ("/nowhere", "404", r#"{"message":"page not found"}"#),
        (
            "/v1.10/info",
            "400",
            // Clients as old as that show the body as it is.
            "client version 1.10 is too old. Minimum supported API version is 1.24, please \
             upgrade your client to a newer version\n",
        ),
        (
            "/networks",
            "501",
            r#"{"message":"networks are not supported yet: GET /networks"}"#,
        ),
    ] {
        client
            .send(&format!("GET {path} HTTP/1.1\r\nHost: d\r\n\r\n"))
            .await;
        let head = client.until("\r\n\r\n").await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert!(head.contains("api-version: 1.51"), "{head}");
        assert_eq!(client.until(message).await, message);
    }
}

#[tokio::test]
async fn headers_of_wait_come_before_its_answer() {
    let mut client = Client::new();
    client
        .send("POST /v1.40/containers/x/wait HTTP/1.1\r\nHost: d\r\n\r\n")
        .await;
    let head = client.until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
}

#[tokio::test]
async fn upgrade_gives_the_socket_away() {
    let mut client = Client::new();
    // Input that is sent together with the request must not be lost.
    let body = r#"{"Detach":false}"#;
    client
        .send(&format!(
            "POST /v1.50/exec/x/start HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}early ",
            body.len()
        ))
        .await;
    let head = client.until("\r\n\r\n").await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 upgraded\r\n"), "{head}");
    assert!(head.contains("connection: upgrade"), "{head}");
    assert!(head.contains("upgrade: tcp"), "{head}");
    assert!(
        head.contains("content-type: application/vnd.docker.raw-stream"),
        "{head}"
    );
    client.send("late").await;
    client.stream.shutdown().await.expect("half-close");
    assert_eq!(client.rest().await, "early latebye");
}

const PROMPT: &str = "POST /exec/prompt/start HTTP/1.1\r\nHost: d\r\n";

#[tokio::test]
async fn the_stream_begins_when_the_head_was_read() {
    for (wish, end) in [
        ("Connection: Upgrade\r\nUpgrade: tcp\r\n", "UPGRADED"),
        ("", "OK"),
    ] {
        let mut client = Client::new();
        client
            .send(&format!("{PROMPT}{wish}Content-Length: 0\r\n\r\n"))
            .await;
        // It is there before it is read, byte by byte.
        client.stream.readable().await.expect("a head");
        let head = client.until("\r\n\r\n").await;
        assert!(
            head.lines().next().is_some_and(|line| line.ends_with(end)),
            "{head}"
        );
        assert_eq!(client.rest().await, "!");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_gets_its_stream_nevertheless() {
    for wish in ["Connection: Upgrade\r\nUpgrade: tcp\r\n", ""] {
        let began = tokio::time::Instant::now();
        let mut client = Client::new();
        client
            .send(&format!("{PROMPT}{wish}Content-Length: 0\r\n\r\n"))
            .await;
        tokio::time::sleep(HEAD_READ * 2).await;
        let head = client.until("\r\n\r\n").await;
        assert_eq!(client.rest().await, format!("{head}!"));
        assert_eq!(began.elapsed(), HEAD_READ * 2);
    }
}

#[tokio::test(start_paused = true)]
async fn what_says_nothing_yet_waits_for_no_reader() {
    let mut client = Client::new();
    client
        .send("POST /exec/quiet/start HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n")
        .await;
    tokio::time::sleep(HEAD_READ / 2).await;
    let head = client.until("\r\n\r\n").await;
    assert_eq!(client.rest().await, format!("{head}!"));
}

#[tokio::test]
async fn old_clients_hijack_without_asking() {
    let mut client = Client::new();
    client
        .send("POST /v1.24/containers/x/attach?stdin=1 HT")
        .await;
    client
        .send("TP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\nin")
        .await;
    let head = client.until("\r\n\r\n").await;
    let raw = "Content-Type: application/vnd.docker.raw-stream";
    assert_eq!(head, format!("HTTP/1.1 200 OK\r\n{raw}\r\n\r\n"));
    client.send("put").await;
    client.stream.shutdown().await.expect("half-close");
    assert_eq!(client.rest().await, "inputbye");
}

#[tokio::test]
async fn old_clients_are_told_what_is_wrong() {
    let mut client = Client::new();
    client
        .send("POST /containers/gone/attach HTTP/1.1\r\nHost: d\r\n\r\n")
        .await;
    let text = client.rest().await;
    assert!(text.starts_with("HTTP/1.1 404 Not Found\r\n"), "{text}");
    assert!(text.contains("api-version: 1.51\r\n"), "{text}");
    assert!(
        text.ends_with(r#"{"message":"No such container: gone"}"#),
        "{text}"
    );
}

#[tokio::test]
async fn later_requests_without_upgrade_are_streamed() {
    let mut client = Client::new();
    client.send("GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n").await;
    client.until("\r\n\r\nOK").await;
    client
        .send(
            "POST /containers/x/attach HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nhello\r\n0\r\n\r\n",
        )
        .await;
    let head = client.until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    let text = client.until("0\r\n\r\n").await;
    let joined: String = text.split("\r\n").skip(1).step_by(2).collect();
    assert_eq!(joined, "hellobye");
}

#[tokio::test]
async fn http2_is_taken_on_sight() {
    let mut client = Client::new();
    // Preface and empty SETTINGS.
    client
        .send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await;
    let mut head = [0; 9];
    client.stream.read_exact(&mut head).await.expect("a frame");
    assert_eq!(head[3], 4, "SETTINGS");
}

#[tokio::test]
async fn a_stop_ends_idle_connections() {
    let (mut client, server) = UnixStream::pair().expect("pair");
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(serve(
        Echo::of(&client),
        Stream::new(Transport::Unix(server)),
        stopped,
    ));
    client
        .write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
        .await
        .expect("send");
    let mut buffer = [0; 4096];
    assert!(client.read(&mut buffer).await.expect("answer") > 0);
    stop.send(true).expect("stop");
    while client.read(&mut buffer).await.expect("end") > 0 {}
    stop.closed().await;
}
