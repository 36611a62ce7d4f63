//! A request's body that tells when it gets on, so that a slow line is not taken for a silent registry.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::watch;

/// Bytes that are handed on at once.
const PIECE: usize = 64 << 10;

/// The bytes of a request.
#[derive(Debug)]
pub(crate) struct Paced {
    rest: Bytes,
    /// Bytes that have been handed on.
    sent: watch::Sender<usize>,
}

impl Paced {
    pub(crate) fn new(bytes: Bytes) -> (Self, Progress) {
        let sent = watch::Sender::new(0);
        let progress = Progress(sent.subscribe());
        (Self { rest: bytes, sent }, progress)
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(length);
        self.sent.send_modify(|sent| *sent += length);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// How a body gets on.
#[derive(Debug)]
pub(crate) struct Progress(watch::Receiver<usize>);

impl Progress {
    /// The answer, unless for so long neither it came nor the body got on.
    pub(crate) async fn within<T>(
        mut self,
        patience: Duration,
        answer: impl Future<Output = T>,
    ) -> Option<T> {
        let mut answer = std::pin::pin!(answer);
        loop {
            let more = async {
                // All of it was sent, or it was dropped: the answer is next.
                if self.0.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            let step = async {
                tokio::select! {
                    biased;
                    answer = &mut answer => Some(answer),
                    () = more => None,
                }
            };
            match tokio::time::timeout(patience, step).await {
                Ok(Some(answer)) => return Some(answer),
                Ok(None) => {}
                Err(_) => return None,
            }
        }
    }
}
