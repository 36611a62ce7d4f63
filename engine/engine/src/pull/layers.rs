//! The layers of one image: several at once, each in one pass from the socket to its files.
//!
//! ```text
//!  registry ──► Download (see there) ──► digest ► decompress ► digest ► files
//!  (async: this file, waits and retries)   (a thread: images::ingest_layer)
//! ```
//!
//! The chain of every layer is known from the configuration, so they need not wait for each other.
//! A pull that is given up keeps the bytes that came: the next one goes on with them. `all` returns
//! only when all threads have ended.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use images::{Expected, Lease, Partial};
use oci::Digest;
use oci::image::Descriptor;
use registry::{Kind, Piece, Repository};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::download::{self, Download, Feed, Part, Parts, Reader};
use super::report::Report;
use super::{blocking, checkpoints};
use crate::{Error, Inner, Result};

/// Pieces between the socket and the thread that writes them.
const QUEUE: usize = 8;
/// Between two lines about the bytes of one layer.
const INTERVAL: Duration = Duration::from_millis(100);
/// From here on a wait is told.
const TOLD: Duration = Duration::from_secs(1);

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
    pub(super) fn id(&self) -> &str {
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

/// One layer being fetched.
struct Fetching<'a> {
    fetch: &'a Fetch,
    layer: &'a Wanted,
    partial: Arc<Partial>,
    parts: Arc<Parts>,
    feed: Arc<Feed>,
    /// When the next try is, while one is waited for.
    retry: watch::Sender<Option<Instant>>,
    /// Ends this one; cancelled with the pull.
    stop: CancellationToken,
}

impl Fetch {
    /// Gets every layer that is not there. On the first failure all others are given up. Answers
    /// the downloads, for when the image is there.
    pub(super) async fn all(&self, wanted: Vec<Wanted>) -> Result<Vec<Arc<Download>>> {
        let mut missing = Vec::new();
        for layer in wanted {
            let images = &self.inner.images;
            if images.layer_or_same(&layer.chain, &layer.diff_id).is_some() {
                self.report.step(layer.id(), "Already exists").await;
            } else {
                self.report.step(layer.id(), "Pulling fs layer").await;
                let download = self.inner.registries.download(&layer.blob.digest);
                missing.push((layer, download));
            }
        }
        let downloads = missing.iter().map(|(_, it)| Arc::clone(it)).collect();
        let mut tasks = JoinSet::new();
        for (layer, download) in missing {
            let fetch = self.clone();
            tasks.spawn(async move { fetch.one(&layer, &download).await });
        }
        let mut first = Ok(());
        while let Some(done) = tasks.join_next().await {
            let done = done.unwrap_or_else(|_| Err(Error::system("interrupted")));
            if done.is_err() && first.is_ok() {
                first = done;
                self.cancel.cancel();
            }
        }
        first.map(|()| downloads)
    }

    async fn one(&self, layer: &Wanted, download: &Arc<Download>) -> Result<()> {
        let turn = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(cancelled()),
            turn = self.turn(layer, download) => turn,
        };
        if self.made_meanwhile(layer, download).await? {
            drop(turn);
            self.report.step(layer.id(), "Download complete").await;
            self.report.step(layer.id(), "Pull complete").await;
            return Ok(());
        }
        let (opening, inner) = (Arc::clone(download), Arc::clone(&self.inner));
        let (digest, size) = (layer.blob.digest.clone(), layer.blob.size);
        let opened = move || Ok(opening.open(&inner.images, &digest, size)?);
        let partial = blocking(opened).await?;
        let mut again = true;
        loop {
            let resumed = partial.is_resumed();
            match self.attempt(layer, &partial).await {
                Ok(()) => break,
                Err(Failed::Other(error)) => return Err(error),
                Err(Failed::Stream(error, sources)) => {
                    // Not to be believed, now or later. Where it came from is asked once more, or
                    // nothing more where there is another.
                    let emptied = Arc::clone(&partial);
                    blocking(move || Ok(emptied.reset()?)).await?;
                    let others = sources
                        .iter()
                        .filter(|source| self.repository.distrust(source))
                        .count();
                    if !resumed && others == 0 && !std::mem::take(&mut again) {
                        return Err(error);
                    }
                    tracing::debug!(layer = %layer.blob.digest, err = %error, "fetched again");
                }
            }
        }
        download.add_made(&layer.chain);
        // Not held while lines wait for a client that does not read: others want this layer.
        drop(turn);
        self.report.step(layer.id(), "Pull complete").await;
        Ok(())
    }

    /// Whether another pull made it, or the same layer on top of others.
    async fn made_meanwhile(&self, layer: &Wanted, download: &Download) -> Result<bool> {
        let (images, made) = (self.inner.images.clone(), download.made());
        let (chain, diff_id) = (layer.chain.clone(), layer.diff_id.clone());
        let lease = Arc::clone(&self.lease);
        blocking(move || {
            let there = images.layer_or_same(&chain, &diff_id).is_some()
                || made.iter().any(|other| images.take_over(other, &chain));
            drop(lease);
            Ok(there)
        })
        .await
    }

    /// Fetches what is missing and unpacks all of it.
    async fn attempt(&self, layer: &Wanted, partial: &Arc<Partial>) -> Attempt {
        let (retry, _) = watch::channel(None);
        let fetching = Fetching {
            fetch: self,
            layer,
            partial: Arc::clone(partial),
            parts: Arc::new(Parts::new(Arc::clone(partial))),
            feed: Arc::default(),
            retry,
            stop: self.cancel.child_token(),
        };
        let unpacking = fetching.unpack();
        let unpacked = async {
            let unpacked = unpacking.await;
            let unpacked =
                unpacked.unwrap_or_else(|_| Err(Failed::Other(Error::system("interrupted"))));
            if matches!(unpacked, Err(Failed::Other(_))) && !fetching.feed.is_given_up() {
                // The rest of the blob would be of no use.
                fetching.stop.cancel();
            }
            unpacked
        };
        let downloaded = async {
            let downloaded = fetching.download().await;
            if downloaded.is_err() {
                fetching.feed.give_up();
            }
            self.tell_downloaded(layer, downloaded.is_ok()).await;
            downloaded
        };
        let (unpacked, downloaded) = tokio::join!(unpacked, downloaded);
        let stopped = fetching.stop.is_cancelled() && !self.cancel.is_cancelled();
        match (downloaded, unpacked) {
            (_, Err(Failed::Other(error))) if stopped => Err(Failed::Other(error)),
            // A failed download is the reason why unpacking failed too.
            (Err(error), _) => Err(Failed::Other(error)),
            (Ok(()), Err(Failed::Stream(error, _))) => {
                Err(Failed::Stream(error, fetching.parts.sources()))
            }
            (Ok(()), unpacked) => unpacked,
        }
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

    /// Waits until nobody else fetches this blob; meanwhile tells how far they are.
    async fn turn(&self, layer: &Wanted, download: &Download) -> OwnedMutexGuard<()> {
        if let Ok(turn) = Arc::clone(&download.turn).try_lock_owned() {
            return turn;
        }
        self.report.step(layer.id(), "Waiting").await;
        let mut turn = pin!(Arc::clone(&download.turn).lock_owned());
        let mut tick = ticks();
        loop {
            tokio::select! {
                turn = &mut turn => return turn,
                _ = tick.tick() => if let Some(partial) = download.partial() {
                    let (id, size) = (layer.id(), layer.blob.size);
                    self.report.progress(id, "Downloading", partial.arrived(), size);
                },
            }
        }
    }

    /// Waits until there is room for one more download.
    async fn slot(&self, layer: &Wanted) -> Result<OwnedSemaphorePermit> {
        let slots = self.inner.registries.slots();
        if let Ok(slot) = Arc::clone(&slots).try_acquire_owned() {
            return Ok(slot);
        }
        self.report.step(layer.id(), "Waiting").await;
        let slot = slots.acquire_owned().await;
        slot.map_err(|_| Error::unavailable("the engine is stopping"))
    }
}

type Attempt = std::result::Result<(), Failed>;

/// Why a layer is not there.
enum Failed {
    /// What came is not the blob; who sent it.
    Stream(Error, Vec<String>),
    Other(Error),
}

impl Fetching<'_> {
    /// Unpacks the blob as it comes, on a thread.
    fn unpack(&self) -> tokio::task::JoinHandle<Attempt> {
        let (images, lease) = (
            self.fetch.inner.images.clone(),
            Arc::clone(&self.fetch.lease),
        );
        let expected = Expected {
            stream: Some((self.layer.blob.digest.clone(), self.layer.blob.size)),
            diff_id: Some(self.layer.diff_id.clone()),
            below: self.layer.below.clone(),
        };
        let reader = Reader::new(Arc::clone(&self.partial), Arc::clone(&self.feed));
        let watch = checkpoints::is_wanted(&self.fetch.inner, &self.layer.blob);
        let (blob, chain) = (self.layer.blob.clone(), self.layer.chain.clone());
        tokio::task::spawn_blocking(move || {
            let (reader, found) = checkpoints::watched(reader, watch);
            let unpacked = images.ingest_layer(reader, &expected);
            if let Ok(layer) = &unpacked {
                // The lease is held: the layer is there to be looked at.
                found.keep(&images, &blob, (&chain, &layer.diff_id));
            }
            drop(lease);
            match unpacked {
                Ok(_) => Ok(()),
                Err(error @ images::Error::Stream(_)) => {
                    Err(Failed::Stream(unpacking_failed(error), Vec::new()))
                }
                Err(error) => Err(Failed::Other(unpacking_failed(error))),
            }
        })
    }

    /// Fetches what is missing; returns when it is in the file.
    async fn download(&self) -> Result<()> {
        if self.parts.is_done() {
            return Ok(());
        }
        let slot = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(cancelled()),
            slot = self.fetch.slot(self.layer) => slot?,
        };
        let (sender, pieces) = mpsc::channel(QUEUE);
        let (partial, feed) = (Arc::clone(&self.partial), Arc::clone(&self.feed));
        let writing = tokio::task::spawn_blocking(move || download::write(pieces, &partial, &feed));
        let fetched = tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(cancelled()),
            fetched = self.fetch_all(&sender) => fetched,
        };
        drop((slot, sender));
        let written = writing.await.map_err(|_| Error::system("interrupted"))?;
        if written.as_ref().is_err_and(images::Error::is_full) {
            // The disk refused the bytes: they are in the way now.
            self.partial.spend();
        }
        written.map_err(unpacking_failed)?;
        fetched
    }

    /// Fetches all parts, over more than one connection where there are some to spare.
    async fn fetch_all(&self, to: &mpsc::Sender<download::Piece>) -> Result<()> {
        while !self.parts.is_done() {
            let mut helpers = JoinSet::new();
            let mut own = pin!(self.own(to));
            let mut tick = ticks();
            let mut told = 0;
            loop {
                tokio::select! {
                    done = &mut own => {
                        done?;
                        break;
                    }
                    _ = tick.tick() => {
                        self.tell(&mut told);
                        self.help(&mut helpers, to);
                    }
                    Some(_) = helpers.join_next() => {}
                }
            }
            while helpers.join_next().await.is_some() {
                self.tell(&mut told);
            }
        }
        Ok(())
    }

    /// Parts one after the other.
    async fn own(&self, to: &mpsc::Sender<download::Piece>) -> Result<()> {
        while let Some(part) = self.parts.take() {
            let (repository, blob) = (&self.fetch.repository, &self.layer.blob);
            let retry = Some(&self.retry);
            part_of(repository, blob, &self.parts, part, to, retry).await?;
        }
        Ok(())
    }

    /// Lets another connection take a share, where the limit on downloads leaves room for one.
    fn help(&self, helpers: &mut JoinSet<()>, to: &mpsc::Sender<download::Piece>) {
        let slots = self.fetch.inner.registries.slots();
        if !self.parts.divisible.load(Ordering::Relaxed) {
            return;
        }
        let Ok(slot) = slots.try_acquire_owned() else {
            return;
        };
        let (parts, to) = (Arc::clone(&self.parts), to.clone());
        let (repository, blob) = (self.fetch.repository.clone(), self.layer.blob.clone());
        helpers.spawn(async move {
            let _slot = slot;
            if let Some(part) = parts.share() {
                let helped = part_of(&repository, &blob, &parts, part, &to, None).await;
                if let Err(error) = helped {
                    // What it did not fetch falls back to the first connection.
                    tracing::debug!(blob = %blob.digest, err = %error, "one connection has to do");
                    parts.divisible.store(false, Ordering::Relaxed);
                }
            }
        });
    }

    /// How far it is, or how long it waits.
    fn tell(&self, told: &mut u64) {
        let (report, id) = (&self.fetch.report, self.layer.id());
        let until = *self.retry.borrow();
        let Some(left) = until.map(|at| at.saturating_duration_since(Instant::now())) else {
            *told = 0;
            report.progress(
                id,
                "Downloading",
                self.partial.arrived(),
                self.layer.blob.size,
            );
            return;
        };
        let seconds = left.as_millis().div_ceil(1000) as u64;
        if seconds > 0 && seconds != *told {
            *told = seconds;
            report.retrying(id, left);
        }
    }
}

/// Fetches one part. Whoever has nobody to tell of waits does not wait.
async fn part_of(
    repository: &Repository,
    blob: &Descriptor,
    parts: &Parts,
    part: Part<'_>,
    to: &mpsc::Sender<download::Piece>,
    retry: Option<&watch::Sender<Option<Instant>>>,
) -> Result<()> {
    let mut stream = repository.blob(blob, part.range());
    loop {
        stream.shorten(part.range().end);
        let offset = stream.offset();
        match stream.next().await {
            Ok(Some(Piece::Bytes(bytes))) => {
                if let Some(retry) = retry {
                    retry.send_if_modified(|until| until.take().is_some());
                }
                parts.add_source(stream.source());
                // A registry that cannot send parts starts helpers again from the beginning.
                let divisible = stream.ranges();
                if retry.is_some() && divisible {
                    parts.divisible.store(true, Ordering::Relaxed);
                } else if retry.is_none() && !divisible {
                    return Err(Error::system("the registry does not send parts"));
                }
                let bytes = part.advance(bytes);
                // The writer failed, and says why: what would still come is of no use.
                if !bytes.is_empty() && to.send((offset, bytes)).await.is_err() {
                    return Err(cancelled());
                }
            }
            Ok(Some(Piece::Retrying { after, why })) => {
                let Some(retry) = retry else {
                    return Err(why.into());
                };
                tracing::debug!(blob = %blob.digest, err = %why, ?after, "asking again");
                if after >= TOLD {
                    retry.send_replace(Some(Instant::now() + after));
                }
            }
            Ok(None) => return Ok(()),
            // It has something else under this name.
            Err(error) if error.kind == Kind::Corrupt && repository.distrust(stream.source()) => {
                stream = repository.blob(blob, part.range());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn ticks() -> Interval {
    let mut tick = interval_at(Instant::now() + INTERVAL, INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A registry with one blob of 100 bytes; answers its address.
    async fn registry() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let address = listener.local_addr().expect("address").to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while stream
                    .read_buf(&mut request)
                    .await
                    .is_ok_and(|read| read > 0)
                {
                    // TLS is tried first.
                    if request[0] == 0x16 {
                        break;
                    }
                    if !request.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    request.clear();
                    let body = "x".repeat(100);
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{body}");
                    let sent = stream.write_all(answer.as_bytes()).await;
                    sent.expect("sent");
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn nothing_more_is_asked_for_when_nothing_can_be_written() {
        let dir = tempfile::tempdir().expect("temp dir");
        let state = state::State::open(&dir.path().join("state.redb")).expect("state");
        let images = images::Images::open(dir.path(), state.database()).expect("store");
        let digest = Digest::sha256(&[1; 32]);
        let partial = Arc::new(images.partial(&digest, 100).expect("partial"));
        let parts = Parts::new(partial);
        let reference = format!("{}/x", registry().await);
        let reference: oci::Reference = reference.parse().expect("reference");
        let client = registry::Client::new(registry::Config::default());
        let repository = client.repository(&reference, &registry::Credentials::default());
        let blob = Descriptor::new(String::new(), digest, 100);
        // As when the writer has ended.
        let (to, _) = mpsc::channel(1);
        let (retry, _) = watch::channel(None);
        let part = parts.take().expect("all of it");
        let fetched = part_of(&repository, &blob, &parts, part, &to, Some(&retry)).await;
        // Otherwise the rest would be asked for, piece by piece, to be thrown away.
        assert!(fetched.is_err());
    }

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
