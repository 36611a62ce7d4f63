//! Bodies of requests and responses.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use engine::{ByteStream, Error, Result};
use futures_util::{Stream, StreamExt as _};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::{mpsc, oneshot};

/// The largest JSON body that is read into memory, in bytes.
const MAX_JSON: usize = 8 << 20;
/// Chunks of a request's body that may wait for the engine.
const QUEUE: usize = 4;

/// What is read of a refused request's body: a connection that is closed on a client which still
/// sends takes the answer along that says why. Most archives and contexts are within this.
const LEFT_OVER: usize = 64 << 20;
/// How long a client may take to send it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The body of a request.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// From hyper.
    Incoming(Lent),
    /// Read already.
    Full(Bytes),
}

impl RequestBody {
    /// Whether the request said that it has no body.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Incoming(body) => body.get().is_none_or(Body::is_end_stream),
            Self::Full(bytes) => bytes.is_empty(),
        }
    }

    /// Its length, where the request told it.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Incoming(body) => body.get().and_then(|body| body.size_hint().exact()),
            Self::Full(bytes) => Some(bytes.len() as u64),
        }
    }

    /// All of it.
    ///
    /// # Errors
    /// Invalid parameter when it is larger than [`MAX_JSON`] or the client stops sending.
    pub(crate) async fn collect(self) -> Result<Bytes> {
        let all = self.collect_up_to(MAX_JSON).await?;
        all.ok_or_else(|| {
            Error::invalid(format!(
                "request body too large: more than {MAX_JSON} bytes"
            ))
        })
    }

    /// All of it; `None` when it has more than `most` bytes.
    ///
    /// # Errors
    /// Invalid parameter when the client stops sending.
    pub(crate) async fn collect_up_to(self, most: usize) -> Result<Option<Bytes>> {
        let mut body = match self {
            Self::Full(bytes) => return Ok((bytes.len() <= most).then_some(bytes)),
            Self::Incoming(body) => body,
        };
        let mut all = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| broken(&error))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if all.len() + data.len() > most {
                return Ok(None);
            }
            all.extend_from_slice(&data);
        }
        Ok(Some(all.freeze()))
    }

    /// As a bounded stream; an interrupted body ends in an error.
    pub(crate) fn stream(self) -> ByteStream {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            let mut body = match self {
                Self::Incoming(body) => body,
                Self::Full(bytes) => {
                    let _ = sender.send(Ok(bytes)).await;
                    return;
                }
            };
            loop {
                let frame = tokio::select! {
                    frame = body.frame() => frame,
                    () = sender.closed() => return,
                };
                let Some(frame) = frame else { return };
                let item = match frame.map(Frame::into_data) {
                    Ok(Ok(data)) => Ok(data),
                    Ok(Err(_trailers)) => continue,
                    Err(error) => Err(broken(&error)),
                };
                let last = item.is_err();
                if sender.send(item).await.is_err() || last {
                    return;
                }
            }
        });
        receiver
    }
}

/// hyper's body, given back when whoever got it lets go of it.
#[derive(Debug)]
pub(crate) struct Lent {
    body: Option<Incoming>,
    home: Option<oneshot::Sender<Incoming>>,
}

/// Where a lent body comes back to.
#[derive(Debug)]
pub(crate) struct Return(oneshot::Receiver<Incoming>);

/// Lends a body out.
pub(crate) fn lend(body: Incoming) -> (RequestBody, Return) {
    let (home, back) = oneshot::channel();
    let lent = Lent {
        body: Some(body),
        home: Some(home),
    };
    (RequestBody::Incoming(lent), Return(back))
}

impl Lent {
    fn get(&self) -> Option<&Incoming> {
        self.body.as_ref()
    }

    async fn frame(&mut self) -> Option<std::result::Result<Frame<Bytes>, hyper::Error>> {
        self.body.as_mut()?.frame().await
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(body), Some(home)) = (self.body.take(), self.home.take()) {
            // Nobody waits for it unless the request is refused.
            let _ = home.send(body);
        }
    }
}

impl Return {
    /// Reads what a refused client still sends, up to a bound. A connection that is closed over
    /// unread bytes is reset, and the client may see that before it sees the refusal.
    pub(crate) async fn drain(self) {
        let read = async {
            let Ok(mut body) = self.0.await else { return };
            let mut read = 0;
            while let Some(Ok(frame)) = body.frame().await {
                read += frame.data_ref().map_or(0, Bytes::len);
                if read > LEFT_OVER {
                    return;
                }
            }
        };
        // One that sends too slowly takes the reset.
        let _ = tokio::time::timeout(PATIENCE, read).await;
    }
}

fn broken(error: &hyper::Error) -> Error {
    Error::invalid(format!("error reading request body: {error}"))
}

/// Pieces of a response, made as they are asked for.
type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// The body of a response.
pub(crate) enum ResponseBody {
    /// Known at once.
    Full(Option<Bytes>),
    /// One piece at a time, each sent as soon as it is there.
    Pieces(Pieces),
}

impl ResponseBody {
    /// No body.
    pub(crate) fn empty() -> Self {
        Self::Full(None)
    }

    /// From a stream. An error aborts the response, so that the client does not take it for whole.
    pub(crate) fn pieces(stream: impl Stream<Item = Result<Bytes>> + Send + 'static) -> Self {
        Self::Pieces(Box::pin(stream))
    }

    /// Keeps something until it is sent or let go of.
    pub(crate) fn holding(self, held: impl Send + 'static) -> Self {
        match self {
            Self::Full(bytes) => Self::Full(bytes),
            Self::Pieces(pieces) => Self::pieces(pieces.map(move |piece| {
                let _ = &held;
                piece
            })),
        }
    }

    /// From the engine.
    pub(crate) fn channel(receiver: ByteStream) -> Self {
        Self::pieces(receive(receiver))
    }
}

/// A channel as a stream.
pub(crate) fn receive<T: Send + 'static>(
    receiver: mpsc::Receiver<T>,
) -> impl Stream<Item = T> + Send + 'static {
    futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|item| (item, receiver))
    })
}

impl std::fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full(bytes) => f.debug_tuple("Full").field(bytes).finish(),
            Self::Pieces(_) => f.write_str("Pieces"),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Pieces(stream) => stream
                .poll_next_unpin(context)
                .map(|next| next.map(|piece| piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}
