//! Hijacked connections: the client's socket itself is handed on.
//!
//! ```text
//!  HTTP/1.1 with Upgrade      101 UPGRADED, the socket from hyper            (all of today's clients)
//!  HTTP/1.1 without, first    200, the socket, never given to hyper          (clients of 1.12, curl -N)
//!  request of a connection
//!  else (kept alive, HTTP/2)  200, a socketpair between the session and the bodies
//! ```
//!
//! A stream that has something to say begins when the client has read the head. Python's http.client
//! reads into a buffer, and docker-py goes on with the socket beneath it: what came together with the
//! head would be lost. (dockerd needs so long to start a process that it is read by then.) TCP does
//! not tell what was read. An attach before the start says nothing yet, and the start waits for it:
//! there the head is not waited for.
//!
//! A TLS connection has no socket that could be handed on in the clear: there it is a socketpair
//! and a pump, too. A half-close of either side goes through.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use bytes::BytesMut;
use engine::{Error, Result, Session};
use futures_util::future::BoxFuture;
use http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::ext::ReasonPhrase;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;

use crate::body::{RequestBody, ResponseBody};
use crate::stream::Stream;
use crate::version::ApiVersion;

/// Bytes copied at once.
const CHUNK: usize = 32 << 10;

/// How long a client may take to read the head of an answer before its stream begins.
pub(crate) const HEAD_READ: Duration = Duration::from_secs(5);

type Run = Box<dyn FnOnce(OwnedFd, Vec<u8>) -> BoxFuture<'static, Result<()>> + Send>;

/// What takes the socket over, and the type of what it will send.
pub(crate) struct Hijack {
    /// `Content-Type` of the stream.
    pub(crate) kind: &'static str,
    /// Takes the socket and what was read from it already.
    run: Run,
    /// Output may follow the head at once.
    pub(crate) speaks: bool,
    /// What else the client sends, where it comes as a body.
    pub(crate) rest: Option<RequestBody>,
}

impl std::fmt::Debug for Hijack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hijack")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Hijack {
    /// For a session of the engine.
    pub(crate) fn session(session: Session, version: ApiVersion) -> Self {
        let kind = stream_kind(session.tty, version);
        let speaks = session.speaks_at_once();
        let hijack = Self::new(kind, move |socket, read| {
            Box::pin(session.run(socket, read))
        });
        Self { speaks, ..hijack }
    }

    pub(crate) fn new(
        kind: &'static str,
        run: impl FnOnce(OwnedFd, Vec<u8>) -> BoxFuture<'static, Result<()>> + Send + 'static,
    ) -> Self {
        Self {
            kind,
            run: Box::new(run),
            speaks: true,
            rest: None,
        }
    }

    /// The 101, after which the socket comes from hyper.
    pub(crate) fn upgrade(
        self,
        on_upgrade: OnUpgrade,
        protocol: HeaderValue,
    ) -> Response<ResponseBody> {
        let kind = self.kind;
        tokio::spawn(async move {
            let upgraded = match on_upgrade.await {
                Ok(upgraded) => upgraded,
                Err(error) => return tracing::debug!(%error, "client left before the upgrade"),
            };
            match hyper_util::server::conn::auto::upgrade::downcast::<TokioIo<Stream>>(upgraded) {
                Ok(parts) => {
                    self.take(parts.io.into_inner(), parts.read_buf.into())
                        .await;
                }
                Err(_) => tracing::error!("an upgraded connection is of an unknown type"),
            }
        });
        let mut response = Response::new(ResponseBody::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response
            .extensions_mut()
            .insert(ReasonPhrase::from_static(b"UPGRADED"));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, protocol);
        response
    }

    /// Hands a connection's socket over, when the client has the head of the answer if that matters.
    pub(crate) async fn take(self, stream: Stream, mut read: Vec<u8>) {
        if self.speaks {
            // One that reads nothing gets its stream all the same.
            let _ = tokio::time::timeout(HEAD_READ, stream.read_by_client()).await;
        }
        let (socket, unread) = match stream.into_socket() {
            Ok(taken) => taken,
            Err(error) => return tracing::warn!(%error, "cannot take a client's socket over"),
        };
        read.extend_from_slice(&unread);
        self.run(socket, read).await;
    }

    /// Runs over a socket that somebody else joins to the client.
    pub(crate) async fn run(self, socket: OwnedFd, read: Vec<u8>) {
        report((self.run)(socket, read).await);
    }

    /// 200 with the output as the response's body and the rest of the request's body as input.
    ///
    /// # Errors
    /// When no socketpair can be made.
    pub(crate) fn bodies(mut self) -> Result<Response<ResponseBody>> {
        let failed = |error: std::io::Error| Error::system(format!("cannot join streams: {error}"));
        let (ours, theirs) = StdUnixStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let (output, input) = UnixStream::from_std(ours).map_err(failed)?.into_split();
        let feed = match self.rest.take().filter(|rest| !rest.is_empty()) {
            Some(rest) => Input::Fed {
                _task: AbortOnDrop(tokio::spawn(feed(rest, input))),
            },
            None => Input::Open { _end: input },
        };
        tokio::spawn(self.run(theirs.into(), Vec::new()));
        let pieces =
            futures_util::stream::unfold((output, feed), |(mut output, feed)| async move {
                let mut buffer = BytesMut::with_capacity(CHUNK);
                match output.read_buf(&mut buffer).await {
                    Ok(0) | Err(_) => None,
                    Ok(_) => Some((Ok(buffer.freeze()), (output, feed))),
                }
            });
        Ok(crate::answer::typed(
            StatusCode::OK,
            RAW,
            ResponseBody::pieces(pieces),
        ))
    }
}

/// The input side of a stream that runs over bodies; lives as long as the output is read.
enum Input {
    /// Copied from the request's body, whose end is the end of the input.
    Fed { _task: AbortOnDrop },
    /// The request had no body: its end must not be taken for the end of the input.
    Open { _end: OwnedWriteHalf },
}

async fn feed(body: RequestBody, mut input: OwnedWriteHalf) {
    let mut body = body.stream();
    while let Some(Ok(bytes)) = body.recv().await {
        if input.write_all(&bytes).await.is_err() {
            return;
        }
    }
    let _ = input.shutdown().await;
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn report(result: Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a hijacked stream ended");
    }
}

/// What a stream is called to clients that did not ask for an upgrade, whatever its framing.
pub(crate) const RAW: &str = "application/vnd.docker.raw-stream";

/// `Content-Type` of a stream of a container.
pub(crate) fn stream_kind(tty: bool, version: ApiVersion) -> &'static str {
    match tty || version.before(42) {
        true => RAW,
        false => "application/vnd.docker.multiplexed-stream",
    }
}

/// The protocol that the client wants to change to.
pub(crate) fn wanted_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(UPGRADE).cloned()
}
