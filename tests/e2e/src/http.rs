//! HTTP by hand over the engine's socket: for what no client library would send.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// Status code; 0 when there was no answer.
    pub status: u16,
    /// Headers as they came.
    pub head: String,
    /// Body, chunks joined.
    pub body: String,
}

impl Response {
    /// The body's `message`.
    pub fn message(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["message"].as_str().unwrap_or_default().to_owned()
    }
}

/// The text of a request with a JSON body.
pub(crate) fn with_json(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

/// Sends one request and reads until the engine closes or the body is whole.
pub(crate) fn request(socket: &Path, text: &str) -> Response {
    let (answer, _) = exchange(socket, text).expect("engine's socket");
    answer
}

/// The same; none when nobody listens, or who does ends before the answer does.
pub(crate) fn attempt(socket: &Path, text: &str) -> Option<Response> {
    let (answer, whole) = exchange(socket, text)?;
    whole.then_some(answer)
}

fn exchange(socket: &Path, text: &str) -> Option<(Response, bool)> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("timeout");
    // An engine that refuses a request need not read all of it.
    let _ = stream.write_all(text.as_bytes());
    let mut bytes = Vec::new();
    let mut buffer = [0; 65536];
    while !complete(&bytes) {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(read) => bytes.extend(&buffer[..read]),
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked {
        unchunk(body)
    } else {
        body.to_owned()
    };
    let answer = Response {
        status,
        head: head.to_owned(),
        body,
    };
    Some((answer, complete(&bytes)))
}

fn complete(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let head = head.to_lowercase();
    if head.contains("transfer-encoding: chunked") {
        return body.ends_with("0\r\n\r\n");
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    match length.and_then(|n| n.trim().parse::<usize>().ok()) {
        Some(length) => body.len() >= length,
        None => head.starts_with("http/1.1 204") || head.starts_with("http/1.1 304"),
    }
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        if size == 0 || rest.len() < size {
            break;
        }
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}
