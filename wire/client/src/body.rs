//! Request bodies: nothing, bytes, or chunks that are produced while they are sent.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;

/// Body of a request.
#[derive(Debug, Default)]
pub enum Body {
    /// None.
    #[default]
    Empty,
    /// Known bytes and their content type.
    Bytes(Bytes, &'static str),
    /// Chunks from a [`BodySender`], sent with chunked encoding.
    Chunks(mpsc::Receiver<Result<Bytes, std::io::Error>>, &'static str),
}

/// Feeds a [`Body::Chunks`]; dropping it ends the body.
#[derive(Debug, Clone)]
pub struct BodySender(mpsc::Sender<Result<Bytes, std::io::Error>>);

impl Body {
    /// JSON of `value`.
    ///
    /// # Errors
    /// When `value` cannot be written as JSON.
    pub fn json<T: serde::Serialize>(value: &T) -> crate::Result<Self> {
        let text = serde_json::to_vec(value)?;
        Ok(Self::Bytes(text.into(), "application/json"))
    }

    /// A body that is fed chunk by chunk; at most four chunks wait.
    pub fn chunks(content_type: &'static str) -> (BodySender, Self) {
        let (sender, receiver) = mpsc::channel(4);
        (BodySender(sender), Self::Chunks(receiver, content_type))
    }

    pub(crate) fn content_type(&self) -> Option<&'static str> {
        match self {
            Self::Empty => None,
            Self::Bytes(_, kind) | Self::Chunks(_, kind) => Some(kind),
        }
    }

    /// The same body again, where that is possible.
    pub(crate) fn replay(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Bytes(bytes, kind) => Some(Self::Bytes(bytes.clone(), kind)),
            Self::Chunks(..) => None,
        }
    }
}

impl BodySender {
    /// Sends one chunk, waiting until there is room. False when the request has ended: the
    /// engine's answer says why.
    pub async fn send(&self, chunk: Bytes) -> bool {
        self.0.send(Ok(chunk)).await.is_ok()
    }

    /// The same from a thread outside the runtime.
    pub fn blocking_send(&self, chunk: Bytes) -> bool {
        self.0.blocking_send(Ok(chunk)).is_ok()
    }

    /// Breaks the request off, so that the engine sees a truncated body and not its end.
    pub async fn abort(self, error: std::io::Error) {
        let _ = self.0.send(Err(error)).await;
    }

    /// The same from a thread outside the runtime.
    pub fn blocking_abort(self, error: std::io::Error) {
        let _ = self.0.blocking_send(Err(error));
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Bytes(bytes, _) if bytes.is_empty() => Poll::Ready(None),
            Self::Bytes(bytes, _) => {
                let all = std::mem::take(bytes);
                Poll::Ready(Some(Ok(Frame::data(all))))
            }
            Self::Chunks(receiver, _) => receiver
                .poll_recv(cx)
                .map(|chunk| chunk.map(|chunk| chunk.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Bytes(bytes, _) => bytes.is_empty(),
            Self::Chunks(..) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Bytes(bytes, _) => SizeHint::with_exact(bytes.len() as u64),
            Self::Chunks(..) => SizeHint::default(),
        }
    }
}
