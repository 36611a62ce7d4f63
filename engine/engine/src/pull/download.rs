//! One blob on its way, shared by all pulls that want it: fetched in one part or several at once
//! into a file (`images::Partial`), and read from there in order while it grows.
//!
//! ```text
//!  registry ── part ─┐
//!  registry ── part ─┼─► channel ─► writer (a thread) ─► file ─► Reader (the unpacking thread)
//!  file, from before ┘
//! ```
//!
//! What is in the file is never asked for again: not after a broken connection, by another pull, or
//! after the daemon was killed.

use std::collections::HashSet;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use images::{Images, Partial};
use oci::Digest;
use tokio::sync::{Mutex as AsyncMutex, mpsc};

/// A second connection for what is left of a part is worth its while from here on.
const SHARED: u64 = 16 << 20;

/// One blob that pulls want.
#[derive(Debug, Default)]
pub(crate) struct Download {
    /// Who has it fetches the blob and makes a layer of it.
    pub(crate) turn: Arc<AsyncMutex<()>>,
    partial: Mutex<Option<Arc<Partial>>>,
    /// Chains that got a layer of it.
    made: Mutex<Vec<String>>,
}

impl Download {
    /// The file, opened by the first who asks. Blocks.
    pub(crate) fn open(
        &self,
        images: &Images,
        digest: &Digest,
        size: u64,
    ) -> Result<Arc<Partial>, images::Error> {
        let mut partial = lock(&self.partial);
        if let Some(known) = partial.as_ref().filter(|known| known.size() == size) {
            return Ok(Arc::clone(known));
        }
        let opened = Arc::new(images.partial(digest, size)?);
        *partial = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// The file, if somebody opened it.
    pub(crate) fn partial(&self) -> Option<Arc<Partial>> {
        lock(&self.partial).clone()
    }

    /// Remembers that a chain has a layer of it.
    pub(crate) fn add_made(&self, chain: &str) {
        lock(&self.made).push(chain.to_owned());
    }

    /// Chains that have, or had, a layer of it.
    pub(crate) fn made(&self) -> Vec<String> {
        lock(&self.made).clone()
    }

    /// An image has the layer: the bytes go when nobody uses them any more.
    pub(crate) fn spend(&self) {
        if let Some(partial) = self.partial() {
            partial.spend();
        }
    }
}

/// Tells the reader of new bytes.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    state: Mutex<Flow>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Flow {
    #[default]
    Open,
    /// Nothing more will come.
    GivenUp,
}

impl Feed {
    fn told(&self) {
        // Held for a moment, so that a reader that just looked is not missed.
        drop(lock(&self.state));
        self.changed.notify_all();
    }

    /// Whether what has not come will not come.
    pub(crate) fn is_given_up(&self) -> bool {
        *lock(&self.state) == Flow::GivenUp
    }

    /// What has not come will not come.
    pub(crate) fn give_up(&self) {
        *lock(&self.state) = Flow::GivenUp;
        self.changed.notify_all();
    }
}

/// The blob from its beginning, as far as it is here; waits for the rest.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) partial: Arc<Partial>,
    pub(crate) feed: Arc<Feed>,
    /// What was read, and up to where it is known to be there.
    at: u64,
    until: u64,
}

impl Reader {
    pub(crate) fn new(partial: Arc<Partial>, feed: Arc<Feed>) -> Self {
        Self {
            partial,
            feed,
            at: 0,
            until: 0,
        }
    }

    /// Waits for bytes behind `at`.
    fn wait(&mut self) -> io::Result<()> {
        let mut flow = lock(&self.feed.state);
        loop {
            self.until = self.partial.contiguous(self.at);
            if self.until > self.at {
                return Ok(());
            }
            if *flow == Flow::GivenUp {
                return Err(io::Error::other("the download was given up"));
            }
            flow = self
                .feed
                .changed
                .wait(flow)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.partial.size() || buffer.is_empty() {
            return Ok(0);
        }
        if self.at == self.until {
            self.wait()?;
        }
        let there = usize::try_from(self.until - self.at).unwrap_or(usize::MAX);
        let length = there.min(buffer.len());
        let read = self.partial.read(self.at, &mut buffer[..length])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        Ok(read)
    }
}

/// Bytes for the writer: where they belong, and they.
pub(crate) type Piece = (u64, Bytes);

/// Writes what comes through the channel, until its other ends are gone. Blocks.
pub(crate) fn write(
    mut pieces: mpsc::Receiver<Piece>,
    partial: &Partial,
    feed: &Feed,
) -> Result<(), images::Error> {
    while let Some((offset, bytes)) = pieces.blocking_recv() {
        partial.write(offset, &bytes)?;
        feed.told();
    }
    Ok(())
}

/// Which part of a blob is fetched by whom.
#[derive(Debug)]
pub(crate) struct Parts {
    partial: Arc<Partial>,
    state: Mutex<Shares>,
    /// The registry can send parts, and has not refused a second connection.
    pub(crate) divisible: AtomicBool,
}

#[derive(Debug, Default)]
struct Shares {
    free: Vec<Range<u64>>,
    taken: Vec<(u64, Range<u64>)>,
    next: u64,
    sources: HashSet<String>,
}

/// A part that somebody fetches; its end moves when another takes a share of it.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    parts: &'a Parts,
    id: u64,
}

impl Parts {
    /// Everything that is missing.
    pub(crate) fn new(partial: Arc<Partial>) -> Self {
        let mut free = partial.missing();
        // The first is wanted first.
        free.reverse();
        Self {
            partial,
            state: Mutex::new(Shares {
                free,
                ..Shares::default()
            }),
            divisible: AtomicBool::new(false),
        }
    }

    /// Whether nothing is left to be taken and nobody fetches.
    pub(crate) fn is_done(&self) -> bool {
        let shares = lock(&self.state);
        shares.free.is_empty() && shares.taken.is_empty()
    }

    /// A part that nobody fetches.
    pub(crate) fn take(&self) -> Option<Part<'_>> {
        let mut shares = lock(&self.state);
        let range = shares.free.pop()?;
        Some(self.add(&mut shares, range))
    }

    /// The same, or the latter half of the longest that somebody does.
    pub(crate) fn share(&self) -> Option<Part<'_>> {
        let mut shares = lock(&self.state);
        if !self.divisible.load(Ordering::Relaxed) {
            return None;
        }
        if let Some(range) = shares.free.pop() {
            return Some(self.add(&mut shares, range));
        }
        let longest = shares
            .taken
            .iter_mut()
            .max_by_key(|(_, range)| range.end - range.start)?;
        let range = &mut longest.1;
        if range.end - range.start < SHARED {
            return None;
        }
        let middle = self.partial.middle(range)?;
        let latter = middle..range.end;
        range.end = middle;
        Some(self.add(&mut shares, latter))
    }

    fn add(&self, shares: &mut Shares, range: Range<u64>) -> Part<'_> {
        let id = shares.next;
        shares.next += 1;
        shares.taken.push((id, range));
        Part { parts: self, id }
    }

    /// Remembers who sent something.
    pub(crate) fn add_source(&self, source: &str) {
        let mut shares = lock(&self.state);
        if !shares.sources.contains(source) {
            shares.sources.insert(source.to_owned());
        }
    }

    /// Everybody who sent something.
    pub(crate) fn sources(&self) -> Vec<String> {
        lock(&self.state).sources.iter().cloned().collect()
    }
}

impl Part<'_> {
    /// What is left of it.
    pub(crate) fn range(&self) -> Range<u64> {
        let shares = lock(&self.parts.state);
        let own = shares.taken.iter().find(|(id, _)| *id == self.id);
        own.map_or(0..0, |(_, range)| range.clone())
    }

    /// Takes bytes from its beginning, as many of them as still belong to it.
    pub(crate) fn advance(&self, bytes: Bytes) -> Bytes {
        let mut shares = lock(&self.parts.state);
        let Some((_, range)) = shares.taken.iter_mut().find(|(id, _)| *id == self.id) else {
            return Bytes::new();
        };
        let left = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut bytes = bytes;
        bytes.truncate(left);
        range.start += bytes.len() as u64;
        bytes
    }
}

impl Drop for Part<'_> {
    /// What was not fetched is for somebody else.
    fn drop(&mut self) {
        let mut shares = lock(&self.parts.state);
        if let Some(at) = shares.taken.iter().position(|(id, _)| *id == self.id) {
            let (_, range) = shares.taken.swap_remove(at);
            if !range.is_empty() {
                shares.free.push(range);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
