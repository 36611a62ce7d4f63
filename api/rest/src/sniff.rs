//! Clients that hijack without asking for an upgrade.
//!
//! HTTP servers give a socket up only after `Upgrade`; dockerd also does it for a plain
//! `POST …/attach` or `POST /exec/{id}/start`. So the head of a connection's first request is
//! looked at before hyper gets the connection; only such a request is read here, everything else
//! is put back untouched.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::answer::{Answer, failure, sign};
use crate::body::{RequestBody, ResponseBody};
use crate::connection::Service;
use crate::hijack::RAW;
use crate::stream::Stream;
use crate::version;

/// The largest head of such a request, in bytes; the same as Go's would be 1 MiB.
const MAX_HEAD: usize = 64 << 10;
/// The largest body of an exec start, in bytes.
const MAX_BODY: usize = 1 << 20;

/// The request of an old client.
#[derive(Debug)]
pub(crate) struct Old {
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
    /// What follows the request: input of the stream.
    rest: Vec<u8>,
}

/// Reads no more than is needed to tell. `Ok(None)` leaves the stream as it was.
pub(crate) async fn look(stream: &mut Stream) -> std::io::Result<Option<Old>> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(end) = find(&read, b"\r\n\r\n") {
            break end;
        }
        if !may_hijack(&read) || read.len() > MAX_HEAD || stream.read_buf(&mut read).await? == 0 {
            stream.put_back(read);
            return Ok(None);
        }
    };
    let parsed = parse(&read[..end]).filter(|(uri, headers)| {
        let (_, path) = version::split(uri.path());
        hijacks(path) && !headers.contains_key(UPGRADE) && !headers.contains_key(TRANSFER_ENCODING)
    });
    let length = parsed
        .as_ref()
        .map(|(_, headers)| match headers.get(CONTENT_LENGTH) {
            None => Some(0),
            Some(value) => value
                .to_str()
                .ok()
                .and_then(|text| text.parse::<usize>().ok()),
        });
    let (Some((uri, headers)), Some(Some(length @ 0..=MAX_BODY))) = (parsed, length) else {
        stream.put_back(read);
        return Ok(None);
    };
    if headers.get("expect").is_some() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let mut rest = read.split_off(end + 4);
    while rest.len() < length {
        if stream.read_buf(&mut rest).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let after = rest.split_off(length);
    Ok(Some(Old {
        uri,
        headers,
        body: rest.into(),
        rest: after,
    }))
}

/// Answers it and gives the socket away.
pub(crate) async fn serve<S: Service>(
    service: &S,
    mut stream: Stream,
    old: Old,
) -> std::io::Result<()> {
    let body = RequestBody::Full(old.body);
    let answer = match service.decode(Method::POST, &old.uri, old.headers, body) {
        Ok(call) => service.call(call).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(Answer::Hijack(hijack)) => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {RAW}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            stream.flush().await?;
            hijack.take(stream, old.rest).await;
            Ok(())
        }
        Ok(Answer::Response(response)) => respond(stream, response).await,
        // Only a GET becomes one.
        Ok(Answer::WebSocket(_)) => Err(std::io::ErrorKind::Unsupported.into()),
        Err(error) => respond(stream, failure(&error)).await,
    }
}

/// Writes a short response and ends the connection.
async fn respond(
    mut stream: Stream,
    mut response: http::Response<ResponseBody>,
) -> std::io::Result<()> {
    sign(&mut response);
    let (parts, body) = response.into_parts();
    let body = match body {
        ResponseBody::Full(bytes) => bytes.unwrap_or_default(),
        ResponseBody::Pieces(_) => return Err(std::io::ErrorKind::Unsupported.into()),
    };
    let reason = parts.status.canonical_reason().unwrap_or_default();
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", parts.status.as_u16()).into_bytes();
    for (name, value) in &parts.headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    head.extend_from_slice(b"connection: close\r\n\r\n");
    head.extend_from_slice(&body);
    stream.write_all(&head).await?;
    stream.shutdown().await
}

/// Whether what was read so far may become such a request.
fn may_hijack(read: &[u8]) -> bool {
    const START: &[u8] = b"POST /";
    let common = read.len().min(START.len());
    if read[..common] != START[..common] {
        return false;
    }
    match find(read, b"\r\n") {
        None => true,
        Some(end) => {
            let line = String::from_utf8_lossy(&read[..end]);
            let target = line.split(' ').nth(1).unwrap_or_default();
            let path = target.split('?').next().unwrap_or_default();
            hijacks(version::split(path).1)
        }
    }
}

fn hijacks(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(
        parts[..],
        ["", "containers", _, "attach"] | ["", "exec", _, "start"]
    )
}

fn parse(head: &[u8]) -> Option<(Uri, HeaderMap)> {
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (Some("POST"), Some(target), Some("HTTP/1.1"), None) =
        (first.next(), first.next(), first.next(), first.next())
    else {
        return None;
    };
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_str(value.trim()).ok()?);
    }
    Some((target.parse().ok()?, headers))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
