//! The layers of one image: several at once, each in one pass from the socket to its files.
//!
//! ```text
//!  registry ── Blob::next ──► bounded channel ──► digest ► decompress ► digest ► files
//!  (async: this file, resumes broken connections)   (a thread: images::ingest_layer)
//! ```
//!
//! The chain of every layer is known from the configuration, so they need not wait for each other.
//! A channel that ends without [`Piece::End`] is a pull that was given up: the thread then throws
//! away what it has. `fetch` returns only when all threads have done so.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use images::{Expected, Lease};
use oci::Digest;
use oci::image::Descriptor;
use registry::{Blob, Repository};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::report::Report;
use crate::{Error, Inner, Result};

/// Pieces between the socket and the thread that unpacks them.
const QUEUE: usize = 8;
/// Between two lines about the bytes of one layer.
const INTERVAL: Duration = Duration::from_millis(100);

/// One layer to be had.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) blob: Descriptor,
    pub(super) diff_id: Digest,
    /// Chain of the layers below; empty for the base.
    pub(super) below: String,
    pub(super) chain: String,
}

impl Wanted {
    /// The layer's name in progress lines.
    fn id(&self) -> &str {
        let hex = self.blob.digest.hex();
        hex.get(..12).unwrap_or(hex)
    }
}

/// What all layers of a pull need.
#[derive(Debug, Clone)]
pub(super) struct Fetch {
    pub(super) inner: Arc<Inner>,
    pub(super) repository: Repository,
    pub(super) report: Report,
    /// Ends the pull.
    pub(super) cancel: CancellationToken,
    /// Held by every thread that writes, so that nothing is written after it has ended.
    pub(super) lease: Arc<Lease>,
}

impl Fetch {
    /// Gets every layer that is not there. On the first failure all others are given up.
    pub(super) async fn all(&self, wanted: Vec<Wanted>) -> Result<()> {
        let mut missing = Vec::new();
        for layer in wanted {
            let images = &self.inner.images;
            if images.layer_or_same(&layer.chain, &layer.diff_id).is_some() {
                self.report.step(layer.id(), "Already exists").await;
            } else {
                self.report.step(layer.id(), "Pulling fs layer").await;
                missing.push(layer);
            }
        }
        let mut tasks = JoinSet::new();
        for layer in missing {
            let fetch = self.clone();
            tasks.spawn(async move { fetch.one(&layer).await });
        }
        let mut first = Ok(());
        while let Some(done) = tasks.join_next().await {
            let done = done.unwrap_or_else(|_| Err(Error::system("interrupted")));
            if done.is_err() && first.is_ok() {
                first = done;
                self.cancel.cancel();
            }
        }
        first
    }

    async fn one(&self, layer: &Wanted) -> Result<()> {
        let (turn, slot) = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(cancelled()),
            turn = self.turn(layer) => turn?,
        };
        if self.inner.images.layer(&layer.chain).is_some() {
            // Another pull made it meanwhile.
            drop((turn, slot));
            self.report.step(layer.id(), "Download complete").await;
            self.report.step(layer.id(), "Pull complete").await;
            return Ok(());
        }
        let (sender, receiver) = mpsc::channel(QUEUE);
        let unpacking = self.unpack(layer, receiver);
        let downloaded = self.download(layer, sender).await;
        drop(slot);
        let complete = *downloaded.as_ref().unwrap_or(&false);
        let unpacked = async {
            let unpacked = unpacking.await;
            // Not held while lines wait for a client that does not read: others want this layer.
            drop(turn);
            unpacked.unwrap_or_else(|_| Err(Error::system("interrupted")))
        };
        let (unpacked, ()) = tokio::join!(unpacked, self.tell_downloaded(layer, complete));
        // A failed download is the reason why unpacking failed too.
        downloaded?;
        unpacked?;
        self.report.step(layer.id(), "Pull complete").await;
        Ok(())
    }

    async fn tell_downloaded(&self, layer: &Wanted, complete: bool) {
        if complete {
            let (id, size) = (layer.id(), layer.blob.size);
            for action in ["Verifying Checksum", "Download complete"] {
                self.report.step(id, action).await;
            }
            self.report.progress(id, "Extracting", size, size);
        }
    }

    /// Waits until nobody else makes this layer and there is room for one more download.
    async fn turn(&self, layer: &Wanted) -> Result<(OwnedMutexGuard<()>, OwnedSemaphorePermit)> {
        let registries = self.inner.registries();
        let turn = registries.turn(&layer.chain);
        if let Ok(turn) = Arc::clone(&turn).try_lock_owned()
            && let Ok(slot) = Arc::clone(&registries.slots).try_acquire_owned()
        {
            return Ok((turn, slot));
        }
        self.report.step(layer.id(), "Waiting").await;
        let turn = turn.lock_owned().await;
        let slot = Arc::clone(&registries.slots).acquire_owned().await;
        Ok((
            turn,
            slot.map_err(|_| Error::unavailable("the engine is stopping"))?,
        ))
    }

    /// Unpacks what comes through the channel, on a thread.
    fn unpack(
        &self,
        layer: &Wanted,
        pieces: mpsc::Receiver<Piece>,
    ) -> tokio::task::JoinHandle<Result<()>> {
        let (images, lease) = (self.inner.images.clone(), Arc::clone(&self.lease));
        let expected = Expected {
            stream: Some((layer.blob.digest.clone(), layer.blob.size)),
            diff_id: Some(layer.diff_id.clone()),
            below: layer.below.clone(),
        };
        tokio::task::spawn_blocking(move || {
            let reader = Pieces {
                pieces,
                piece: Bytes::new(),
                ended: false,
            };
            let unpacked = images
                .ingest_layer(reader, &expected)
                .map_err(unpacking_failed);
            drop(lease);
            unpacked.map(|_| ())
        })
    }

    /// Sends a blob through the channel; false when its other end did not want all of it.
    async fn download(&self, layer: &Wanted, to: mpsc::Sender<Piece>) -> Result<bool> {
        let mut blob = self.repository.blob(&layer.blob);
        let mut told = Instant::now();
        loop {
            let sent = tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(cancelled()),
                sent = pass_on(&mut blob, &to) => sent?,
            };
            match sent {
                Sent::Some => {}
                Sent::All => return Ok(true),
                Sent::Refused => return Ok(false),
            }
            if told.elapsed() >= INTERVAL {
                told = Instant::now();
                self.report
                    .progress(layer.id(), "Downloading", blob.offset(), layer.blob.size);
            }
        }
    }
}

/// What became of a piece.
enum Sent {
    Some,
    All,
    Refused,
}

async fn pass_on(blob: &mut Blob, to: &mpsc::Sender<Piece>) -> Result<Sent> {
    let (piece, sent) = match blob.next().await? {
        Some(bytes) => (Piece::Data(bytes), Sent::Some),
        None => (Piece::End, Sent::All),
    };
    Ok(to.send(piece).await.map_or(Sent::Refused, |()| sent))
}

/// Never shown: whoever cancels has a reason of its own, or nobody to tell.
pub(super) fn cancelled() -> Error {
    Error::system("context canceled")
}

/// In dockerd's words.
fn unpacking_failed(error: images::Error) -> Error {
    let file = match &error {
        images::Error::Archive(archive::Error::Write { path, source }) => Some(format!(
            "write /{}: {source}",
            path.trim_start_matches("./").trim_start_matches('/')
        )),
        _ => None,
    };
    let error = Error::from(error);
    if error.kind != crate::ErrorKind::System {
        return error;
    }
    let (ours, go) = (
        "No space left on device (os error 28)",
        "no space left on device",
    );
    let text = file
        .unwrap_or_else(|| error.message.clone())
        .replace(ours, go);
    Error {
        message: format!("failed to register layer: {text}"),
        ..error
    }
}

/// What goes through the channel.
enum Piece {
    Data(Bytes),
    /// Nothing more will come.
    End,
}

/// The other end, to be read on a thread.
struct Pieces {
    pieces: mpsc::Receiver<Piece>,
    piece: Bytes,
    ended: bool,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Piece::Data(bytes)) => self.piece = bytes,
                Some(Piece::End) => self.ended = true,
                None => return Err(io::Error::other("the download was given up")),
            }
        }
        let length = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::unpacking_failed;

    #[test]
    fn a_full_disk_is_told_as_go_does() {
        let source = std::io::Error::from_raw_os_error(28);
        let write = archive::Error::Write {
            path: "./usr/x".into(),
            source,
        };
        assert_eq!(
            unpacking_failed(write.into()).message,
            "failed to register layer: write /usr/x: no space left on device"
        );
    }
}
