//! One layer: its blob with holes, and how they are filled.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use oci::image::{Descriptor, media};
use registry::{Client, Credentials, Repository};
use rustix::fs::SeekFrom;
use seekable::Map;
use tokio::sync::{Notify, watch};

use crate::blocks::{Blocks, Need};
use crate::plan::text;
use crate::{BLOB, MAP, SOURCE, Source, WINDOWS};

/// Tries of a part that somebody waits for, and the pauses between them.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(1000)];
/// Bytes that are fetched together with what somebody waits for.
const AHEAD: u64 = 256 << 10;
/// Longest part: while it comes, what somebody waits for has to wait.
const PART: u64 = 2 << 20;
/// A registry that wants to be left alone for longer is asked again anyway.
const LONGEST_BUSY: Duration = Duration::from_secs(3600);
/// Between two complaints about one layer.
const QUIET: Duration = Duration::from_secs(1);

/// A layer that is supplied.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) chain: String,
    /// Its file's number.
    pub(crate) number: u64,
    pub(crate) map: Map,
    pub(crate) source: Source,
    blob: File,
    windows: File,
    descriptor: Descriptor,
    reference: oci::Reference,
    state: Mutex<State>,
    /// Blocks came, or will not.
    changed: Notify,
    /// How often its device is open.
    pub(crate) open: AtomicU32,
    /// Nobody will ask for it again.
    forgotten: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    blocks: Blocks,
    /// How many parts failed, and how the last one did.
    failures: u64,
    failure: String,
    login: Credentials,
    /// Kept while it works: it has connections and tokens.
    repository: Option<Repository>,
    complained: Option<Instant>,
    /// Until then the registry wants to be left alone.
    busy: Option<Instant>,
}

impl Layer {
    /// Opens what the store has of a layer.
    pub(crate) fn open(
        chain: &str,
        dir: &Path,
        number: u64,
        login: Credentials,
    ) -> Result<Self, String> {
        let named = |name: &str, error: &dyn std::fmt::Display| {
            format!("{}: {error}", dir.join(name).display())
        };
        let source = Source::read(dir)?;
        let map = std::fs::read(dir.join(MAP)).map_err(|error| named(MAP, &error))?;
        let map = Map::decode(&map).map_err(|error| named(MAP, &error))?;
        let windows = File::open(dir.join(WINDOWS)).map_err(|error| named(WINDOWS, &error))?;
        let reference = source
            .reference
            .parse()
            .map_err(|error: oci::reference::InvalidReference| named(SOURCE, &error))?;
        let blob = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join(BLOB))
            .and_then(|blob| blob.set_len(source.size).map(|()| blob))
            .map_err(|error| named(BLOB, &error))?;
        let here = data(&blob, source.size).map_err(|error| named(BLOB, &error))?;
        let descriptor = Descriptor::new(media::OCI_LAYER, source.blob.clone(), source.size);
        let state = State {
            blocks: Blocks::new(source.size, &here),
            failures: 0,
            failure: String::new(),
            login,
            repository: None,
            complained: None,
            busy: None,
        };
        Ok(Self {
            chain: chain.to_owned(),
            number,
            map,
            source,
            blob,
            windows,
            descriptor,
            reference,
            state: Mutex::new(state),
            changed: Notify::new(),
            open: AtomicU32::new(0),
            forgotten: watch::Sender::new(false),
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_login(&self, login: Credentials) {
        let mut state = self.state();
        state.login = login;
        state.repository = None;
        state.busy = None;
    }

    /// The next part is asked for as settings are then.
    pub(crate) fn reconnect(&self) {
        let mut state = self.state();
        state.repository = None;
        state.busy = None;
    }

    /// For how long the registry wants to be left alone still.
    pub(crate) fn busy(&self) -> Option<Duration> {
        let until = self.state().busy?;
        until.checked_duration_since(Instant::now())
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.state().blocks.is_whole()
    }

    pub(crate) fn is_forgotten(&self) -> bool {
        *self.forgotten.borrow()
    }

    pub(crate) fn set_forgotten(&self) {
        self.forgotten.send_replace(true);
    }

    /// Waits for a while, unless nobody will ask for it again.
    pub(crate) async fn pause(&self, pause: Duration) {
        let mut forgotten = self.forgotten.subscribe();
        let forgotten = forgotten.wait_for(|forgotten| *forgotten);
        let _ = tokio::time::timeout(pause, forgotten).await;
    }

    /// Whether a directory is the one that this layer's blob is in.
    pub(crate) fn is_in(&self, dir: &Path) -> bool {
        let ours = self.blob.metadata();
        let there = std::fs::metadata(dir.join(BLOB));
        match (ours, there) {
            (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
            _ => false,
        }
    }

    /// Whether a complaint may be made now.
    pub(crate) fn may_complain(&self) -> bool {
        let mut state = self.state();
        let quiet = state.complained.is_none_or(|then| then.elapsed() >= QUIET);
        if quiet {
            state.complained = Some(Instant::now());
        }
        quiet
    }

    /// Bytes of the blob that are here.
    pub(crate) fn bytes(&self, range: &Range<u64>) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
        self.blob.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes)
    }

    /// The history before a place, by its number.
    pub(crate) fn window(&self, number: u32) -> io::Result<Vec<u8>> {
        let mut window = vec![0; seekable::Ztoc::WINDOW];
        let at = u64::from(number) * window.len() as u64;
        self.windows.read_exact_at(&mut window, at)?;
        Ok(window)
    }

    /// Bytes of the blob turned out to be wrong.
    pub(crate) fn drop_here(&self, range: &Range<u64>) {
        self.state().blocks.drop_here(range);
        self.changed.notify_waiters();
    }

    /// Has bytes of the blob come, if they are not here; somebody waits for them.
    pub(crate) async fn ensure(&self, client: &Client, range: &Range<u64>) -> Result<(), String> {
        let mut tries = PAUSES.iter();
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let (need, failures) = {
                let mut state = self.state();
                let need = state.blocks.need(range.clone(), AHEAD, PART);
                (need, state.failures)
            };
            let failed = match need {
                Need::Nothing => return Ok(()),
                Need::Wait => {
                    changed.await;
                    let state = self.state();
                    (state.failures != failures).then(|| state.failure.clone())
                }
                Need::Fetch(part) => self.fetch(client, part).await.err(),
            };
            if let Some(failure) = failed {
                // Whoever reads is told at once, and may read again later.
                if self.busy().is_some() {
                    return Err(failure);
                }
                match tries.next() {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => return Err(failure),
                }
            }
        }
    }

    /// Fetches one more part of what is missing, from an offset on. Answers where it ended and how,
    /// `None` when nothing is left to do for the caller.
    pub(crate) async fn fetch_next(
        &self,
        client: &Client,
        from: u64,
    ) -> Option<(u64, Result<(), String>)> {
        let part = self.state().blocks.next(from, PART)?;
        let end = part.end;
        Some((end, self.fetch(client, part).await))
    }

    /// Waits for what others are fetching to have come, or not.
    pub(crate) async fn wait_for_others(&self) {
        let mut changed = pin!(self.changed.notified());
        changed.as_mut().enable();
        let need = self.state().blocks.need(0..self.source.size, 0, 0);
        match need {
            Need::Wait => changed.await,
            Need::Nothing => {}
            Need::Fetch(part) => self.gave_up(&part),
        }
    }

    fn gave_up(&self, part: &Range<u64>) {
        self.state().blocks.gave_up(part);
        self.changed.notify_waiters();
    }

    async fn fetch(&self, client: &Client, part: Range<u64>) -> Result<(), String> {
        // What has not come is given up also when the caller is.
        let coming = Coming { layer: self, part };
        let fetched = match self.busy() {
            Some(left) => Err(format!(
                "the registry wants to be left alone for {} s more",
                left.as_secs() + 1
            )),
            None => self.fetch_part(client, &coming.part).await,
        };
        if let Err(failure) = &fetched {
            let mut state = self.state();
            state.failures += 1;
            state.failure.clone_from(failure);
            // It may have given up its endpoints.
            state.repository = None;
        }
        drop(coming);
        fetched
    }

    async fn fetch_part(&self, client: &Client, part: &Range<u64>) -> Result<(), String> {
        self.check_room(part.end - part.start)?;
        let repository = {
            let mut state = self.state();
            let credentials = state.login.clone();
            let make = || client.repository(&self.reference, &credentials);
            state.repository.get_or_insert_with(make).clone()
        };
        let asked = repository.part(&self.descriptor, part.clone()).await;
        let mut answer = asked.map_err(|error| {
            if let Some(wait) = error.retry_after {
                self.state().busy = Some(Instant::now() + wait.min(LONGEST_BUSY));
            }
            text(error)
        })?;
        let mut at = part.start;
        while let Some(bytes) = answer.next().await.map_err(text)? {
            self.blob
                .write_all_at(&bytes, at)
                .map_err(|error| format!("writing layer {}: {error}", self.chain))?;
            at += bytes.len() as u64;
            self.arrived(part.start, at);
        }
        Ok(())
    }

    /// Leaves of the disk what the daemon's own writing needs.
    fn check_room(&self, bytes: u64) -> Result<(), String> {
        let facts = rustix::fs::fstatvfs(&self.blob).map_err(|errno| errno.to_string())?;
        let free = facts.f_bavail.saturating_mul(facts.f_frsize);
        match free < state::RESERVE + bytes {
            true => Err(format!("no space left on device: {free} bytes are free")),
            false => Ok(()),
        }
    }

    /// Bytes up to `end` have been written: whole blocks are here.
    fn arrived(&self, start: u64, end: u64) {
        let whole = match end == self.source.size {
            true => end,
            false => end / crate::blocks::BLOCK * crate::blocks::BLOCK,
        };
        if whole > start {
            self.state().blocks.arrived(&(start..whole));
            self.changed.notify_waiters();
        }
    }
}

/// Blocks on their way.
struct Coming<'a> {
    layer: &'a Layer,
    part: Range<u64>,
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        self.layer.gave_up(&self.part);
    }
}

/// What of a file has data: not holes.
fn data(file: &File, size: u64) -> io::Result<Vec<Range<u64>>> {
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(start))?;
        ranges.push(start..end.min(size));
        at = end.max(start + 1);
    }
    Ok(ranges)
}

/// A layer in use.
pub(crate) type Shared = Arc<Layer>;

#[cfg(test)]
mod tests {
    use seekable::Coding;

    use super::*;
    use crate::faulty::{Registry, Reply};

    #[tokio::test]
    async fn a_busy_registry_is_left_alone_and_readers_do_not_wait() {
        let registry = Registry::start().await;
        let bytes = vec![7u8; 1000];
        let digest = registry.blob("x", &bytes);
        let dir = tempfile::tempdir().expect("temp dir");
        let piece = seekable::Piece {
            at: 0,
            length: 512,
            blob: 0..1000,
            inner: 0,
            coding: Coding::Gzip,
            digest: "0".repeat(64),
        };
        let map = Map::new(512, vec![piece]).expect("map");
        let source = Source {
            reference: format!("{}/x:1", registry.address),
            blob: digest.parse().expect("digest"),
            size: 1000,
            diff_id: digest.parse().expect("digest"),
            below: String::new(),
            first: 0,
        };
        let source = serde_json::to_vec(&source).expect("json");
        for (name, bytes) in [(MAP, map.encode()), (SOURCE, source), (WINDOWS, vec![])] {
            std::fs::write(dir.path().join(name), bytes).expect(name);
        }
        let layer = Layer::open("chain", dir.path(), 2, Credentials::default()).expect("layer");
        let client = Client::new(registry::Config {
            longest_wait: Duration::from_secs(10),
            ..registry::Config::default()
        });
        // More than a read waits for, less than a pull does: without a bound it would not end here.
        registry.order(|request, reply| match request.line.contains("/blobs/") {
            true => Reply::new(429, "").with("Retry-After", "250"),
            false => reply,
        });
        let asked = || registry.seen("/blobs/").len();
        let refused = layer.ensure(&client, &(0..10)).await.expect_err("busy");
        assert!(refused.contains("toomanyrequests"), "{refused}");
        assert_eq!(asked(), 1);
        let refused = layer.ensure(&client, &(0..10)).await.expect_err("busy");
        assert!(refused.contains("left alone"), "{refused}");
        assert_eq!(asked(), 1, "nobody was asked");
        registry.order(|_, reply| reply);
        layer.reconnect();
        layer.ensure(&client, &(0..10)).await.expect("it came");
        assert!(layer.is_whole());
    }
}
