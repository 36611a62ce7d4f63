//! Clients that wait for a start.
//!
//! A client is expected from the moment its attach is taken, not only once its stream is here: the
//! answer to the attach is what makes it ask for the start, and that may overtake its stream. A
//! start waits for those that are expected, so that none of the output is lost to them.

use std::time::Duration;

use compute::Attachment;
use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::{Instant, timeout_at};

/// How long a start waits for streams on their way. They come at once, or their client has left;
/// this is for what should not happen.
const PATIENCE: Duration = Duration::from_secs(5);

/// Clients that wait for a start.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    here: Vec<Attachment>,
    expected: Vec<oneshot::Receiver<Attachment>>,
}

impl Parked {
    /// A client whose stream will come, or be given up.
    pub(crate) fn expect(&mut self, arrival: oneshot::Receiver<Attachment>) {
        self.tidy();
        self.expected.push(arrival);
    }

    /// A client whose stream is here.
    pub(crate) fn add(&mut self, attachment: Attachment) {
        self.tidy();
        self.here.push(attachment);
    }

    /// All of them, for a start.
    pub(crate) async fn take(&mut self) -> Vec<Attachment> {
        let end = Instant::now() + PATIENCE;
        for arrival in self.expected.drain(..) {
            if let Ok(Ok(attachment)) = timeout_at(end, arrival).await {
                self.here.push(attachment);
            }
        }
        std::mem::take(&mut self.here)
    }

    /// There will be no start: their streams close.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Lets go of those that left, lest a container that is never started collects them.
    fn tidy(&mut self) {
        let here = &mut self.here;
        self.expected
            .retain_mut(|arrival| match arrival.try_recv() {
                Ok(attachment) => {
                    here.push(attachment);
                    false
                }
                Err(TryRecvError::Empty) => true,
                Err(TryRecvError::Closed) => false,
            });
        here.retain(|attachment| !has_left(attachment));
    }
}

/// Closed on both sides; one that only ended its input still waits for output.
fn has_left(attachment: &Attachment) -> bool {
    let mut asked = [PollFd::new(&attachment.stream, PollFlags::empty())];
    let none = rustix::event::Timespec::default();
    matches!(poll(&mut asked, Some(&none)), Ok(1..))
        && asked[0]
            .revents()
            .intersects(PollFlags::HUP | PollFlags::ERR)
}
