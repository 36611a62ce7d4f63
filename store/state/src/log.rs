//! The log of events: everything that was told, in one order, for whoever reads it now or later.
//!
//! ```text
//!  change + events ─┐                 ┌─► recent (memory) ──► readers that keep up
//!                   ├─► writer thread ┤
//!  loose events ────┘  (stamps them)  └─► table ────────────► readers that are behind
//! ```
//!
//! An event's stamp is its time in nanoseconds since 1970 and its place in the order: each is later
//! than the one before, whatever the clock does, so that a reader can go on from the last one it
//! has seen. Those of a change are held back until the [`Told`] that its caller got is dropped:
//! nobody hears of what cannot be seen yet, nor of anything out of order.
//!
//! The table is bounded by [`Limits`]: the oldest go first. A reader that is overtaken by that is
//! told ([`Error::Overtaken`]) instead of missing some without knowing.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};
use tokio::sync::watch;

use crate::Error;

/// Stamp to the bytes that were ever written, with these (8 bytes, little endian), and the event.
pub(crate) const LOG: TableDefinition<'_, i64, &[u8]> = TableDefinition::new("event_log");
/// The table of schema 1: a number to an event with its time in it.
const OLD: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");

/// Events kept in memory for readers that keep up.
pub(crate) const RECENT: usize = 1024;
/// Events that may wait for the writer; those who tell more wait for it.
const LOOSE: usize = 16 << 10;
/// What a row takes besides its event, for the bound.
const ROW: u64 = 32;
/// Rows that one transaction drops beyond twice what it adds: a lowered bound is reached in steps.
const DROPPED: usize = 64;

/// How much of the past is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of events.
    pub bytes: u64,
    /// How old one may become; `None` for no such limit.
    pub age: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            age: None,
        }
    }
}

/// An event as it was written.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When, in nanoseconds since 1970, and in which order.
    pub stamp: i64,
    /// What the teller said.
    pub event: Arc<[u8]>,
}

/// The log. Writing is the writer thread's.
#[derive(Debug)]
pub struct Log {
    database: Arc<Database>,
    tail: Mutex<Tail>,
    visible: watch::Sender<i64>,
    loose: Mutex<Vec<Vec<u8>>>,
    taken: Condvar,
    limits: Mutex<Limits>,
}

/// The newest part of the log.
#[derive(Debug)]
struct Tail {
    recent: VecDeque<Entry>,
    /// All entries after this one are in `recent`.
    floor: i64,
    last: i64,
    /// First stamps of changes whose callers have not shown them yet.
    held: BTreeSet<i64>,
    /// The newest that the limits took away.
    dropped: i64,
    /// Entries since the opening.
    told: u64,
}

impl Tail {
    fn visible(&self) -> i64 {
        self.held.first().map_or(self.last, |first| first - 1)
    }
}

impl Log {
    pub(crate) fn open(database: Arc<Database>) -> Result<Self, redb::Error> {
        let (first, last) = {
            let transaction = database.begin_read()?;
            let rows = transaction.open_table(LOG)?;
            let stamp = |row: Option<(redb::AccessGuard<'_, i64>, _)>| row.map(|row| row.0.value());
            (stamp(rows.first()?), stamp(rows.last()?))
        };
        let last = last.unwrap_or(0);
        let tail = Tail {
            recent: VecDeque::new(),
            floor: last,
            last,
            held: BTreeSet::new(),
            dropped: first.map_or(0, |first| first - 1),
            told: 0,
        };
        Ok(Self {
            database,
            tail: Mutex::new(tail),
            visible: watch::channel(last).0,
            loose: Mutex::default(),
            taken: Condvar::new(),
            limits: Mutex::default(),
        })
    }

    /// From now on this much is kept.
    pub fn limit(&self, limits: Limits) {
        *lock(&self.limits) = limits;
    }

    /// Stamp of the newest entry that can be read, and of each that follows.
    pub fn watch(&self) -> watch::Receiver<i64> {
        self.visible.subscribe()
    }

    /// Stamp of the newest entry that can be read.
    pub fn newest(&self) -> i64 {
        lock(&self.tail).visible()
    }

    /// Stamp of the newest entry, even if it is held back for now.
    pub fn written(&self) -> i64 {
        lock(&self.tail).last
    }

    /// Stamp of the newest entry that the limits have taken away; 0 for none.
    pub fn dropped(&self) -> i64 {
        lock(&self.tail).dropped
    }

    /// How many entries there were since the opening.
    pub fn told(&self) -> u64 {
        lock(&self.tail).told
    }

    /// Up to `most` entries after `after`, when they are in memory. `None`: read what is
    /// [`Log::stored`].
    pub fn recent(&self, after: i64, most: usize) -> Option<Vec<Entry>> {
        let tail = lock(&self.tail);
        (after >= tail.floor).then(|| tail.after(after, most))
    }

    /// Up to `most` entries after `after`. Reads the database: blocking.
    ///
    /// # Errors
    /// When it cannot be read; when some of those that were to follow are gone.
    pub fn stored(&self, after: i64, most: usize) -> Result<Vec<Entry>, Error> {
        let visible = self.newest();
        let found = self.rows(after, visible, most);
        let found = found.map_err(|error| Error::Log(error.to_string()))?;
        // Asked afterwards: what was dropped while the rows were read is seen.
        let tail = lock(&self.tail);
        if after < tail.dropped {
            return Err(Error::Overtaken);
        }
        if found.is_empty() {
            // What is not written yet, or could not be, is in memory only.
            return Ok(tail.after(after, most));
        }
        Ok(found)
    }

    fn rows(&self, after: i64, until: i64, most: usize) -> Result<Vec<Entry>, redb::Error> {
        let mut found = Vec::new();
        if after >= until {
            return Ok(found);
        }
        let transaction = self.database.begin_read()?;
        let rows = transaction.open_table(LOG)?;
        for row in rows.range(after.saturating_add(1)..=until)?.take(most) {
            let (stamp, value) = row?;
            found.push(Entry {
                stamp: stamp.value(),
                event: value.value().get(8..).unwrap_or_default().into(),
            });
        }
        Ok(found)
    }

    /// Hands an event to the writer; waits only when it is far behind.
    pub(crate) fn tell(&self, event: Vec<u8>) {
        let mut loose = lock(&self.loose);
        while loose.len() >= LOOSE {
            loose = self
                .taken
                .wait(loose)
                .unwrap_or_else(PoisonError::into_inner);
        }
        loose.push(event);
    }

    /// What was told since the last time.
    pub(crate) fn take_loose(&self) -> Vec<Vec<u8>> {
        let taken = std::mem::take(&mut *lock(&self.loose));
        self.taken.notify_all();
        taken
    }

    /// The stamp of an event that happens now.
    pub(crate) fn next_stamp(&self, last: Option<i64>) -> i64 {
        let last = last.unwrap_or_else(|| lock(&self.tail).last);
        now().max(last.saturating_add(1))
    }

    /// Writes entries and drops what is too much.
    ///
    /// `full`: the disk has no room, so that more goes than comes.
    pub(crate) fn write(
        &self,
        transaction: &WriteTransaction,
        entries: &[Entry],
        full: bool,
    ) -> Result<(), redb::Error> {
        let mut rows = transaction.open_table(LOG)?;
        let mut total = rows.last()?.map_or(0, |(_, value)| total(value.value()));
        for entry in entries {
            total = total.wrapping_add(entry.event.len() as u64 + ROW);
            let row = [&total.to_le_bytes()[..], &entry.event].concat();
            rows.insert(entry.stamp, row.as_slice())?;
        }
        let limits = *lock(&self.limits);
        let horizon = limits.age.map_or(i64::MIN, |age| {
            now().saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX))
        });
        let most = 2 * entries.len() + if full { 0 } else { DROPPED };
        if let Some(dropped) = drop_oldest(&mut rows, total, limits.bytes, horizon, most, full)? {
            // Before anybody can find them gone: who looks for them then knows why.
            lock(&self.tail).dropped = dropped;
        }
        Ok(())
    }

    /// Shows entries to readers; `held` are first stamps of changes whose callers show them.
    pub(crate) fn show(&self, entries: Vec<Entry>, held: &[i64]) {
        let mut tail = lock(&self.tail);
        if let Some(last) = entries.last() {
            tail.last = last.stamp;
        }
        tail.told += entries.len() as u64;
        tail.recent.extend(entries);
        while tail.recent.len() > RECENT {
            if let Some(old) = tail.recent.pop_front() {
                tail.floor = old.stamp;
            }
        }
        tail.held.extend(held);
        self.announce(&tail);
    }

    fn announce(&self, tail: &Tail) {
        let visible = tail.visible();
        self.visible.send_if_modified(|known| {
            let news = *known != visible;
            *known = visible;
            news
        });
    }
}

impl Tail {
    fn after(&self, after: i64, most: usize) -> Vec<Entry> {
        let visible = self.visible();
        let start = self.recent.partition_point(|entry| entry.stamp <= after);
        self.recent
            .range(start..)
            .take_while(|entry| entry.stamp <= visible)
            .take(most)
            .cloned()
            .collect()
    }
}

/// A change that is durable. Dropping it shows its events to readers.
#[derive(Debug)]
pub struct Told {
    log: Arc<Log>,
    first: Option<i64>,
}

impl Told {
    pub(crate) fn new(log: &Arc<Log>, first: Option<i64>) -> Self {
        Self {
            log: Arc::clone(log),
            first,
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(first) = self.first {
            let mut tail = lock(&self.log.tail);
            tail.held.remove(&first);
            self.log.announce(&tail);
        }
    }
}

/// Takes away up to `most` rows while there are too many, or `full` whatever there is.
fn drop_oldest(
    rows: &mut Table<'_, i64, &'static [u8]>,
    written: u64,
    bytes: u64,
    horizon: i64,
    most: usize,
    full: bool,
) -> Result<Option<i64>, redb::Error> {
    let mut dropped = None;
    for _ in 0..most {
        let Some((stamp, size)) = rows.first()?.map(|(stamp, value)| {
            let value = value.value();
            let own = (value.len() as u64).saturating_sub(8) + ROW;
            let kept = written.wrapping_sub(total(value)).wrapping_add(own);
            (stamp.value(), kept)
        }) else {
            break;
        };
        if size <= bytes && stamp >= horizon && !full {
            break;
        }
        rows.remove(stamp)?;
        dropped = Some(stamp);
    }
    Ok(dropped)
}

/// Moves the events of schema 1 over.
pub(crate) fn migrate(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    {
        let old = transaction.open_table(OLD)?;
        let mut rows = transaction.open_table(LOG)?;
        let (mut last, mut total) = (0, 0_u64);
        for row in old.iter()? {
            let (_, value) = row?;
            let event = value.value();
            let time = serde_json::from_slice::<serde_json::Value>(event)
                .ok()
                .and_then(|event| event.get("timeNano")?.as_i64());
            // One without a time would not have been shown either.
            let Some(time) = time else { continue };
            last = time.max(last + 1);
            total += event.len() as u64 + ROW;
            let row = [&total.to_le_bytes()[..], event].concat();
            rows.insert(last, row.as_slice())?;
        }
    }
    transaction.delete_table(OLD)?;
    Ok(())
}

fn total(row: &[u8]) -> u64 {
    row.first_chunk()
        .map_or(0, |total| u64::from_le_bytes(*total))
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
