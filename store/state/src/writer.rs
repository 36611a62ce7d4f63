//! The thread that writes: what waits at the same time becomes one transaction.
//!
//! Changes are durable when they are answered. Events that belong to none are shown at once, and
//! written with the next change, when there are many, or after [`SETTLE`].

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use redb::Database;
use tokio::sync::oneshot;

use crate::log::{Entry, Log, RECENT, Told};
use crate::reserve::Reserve;
use crate::{Change, Error, QUEUE, RESERVE};

/// For how long loose events may be in memory only.
const SETTLE: Duration = Duration::from_millis(100);
/// Loose events that are written at once. Readers find those that are not written in memory: there
/// must be fewer than it holds.
const MANY: usize = RECENT / 2;

/// What the thread is asked for.
#[derive(Debug)]
pub(crate) enum Job {
    /// A change.
    Commit(Change, oneshot::Sender<Result<Told, Error>>),
    /// To answer when all that was told before can be read.
    Flush(oneshot::Sender<()>),
    /// To look for loose events.
    Wake,
}

pub(crate) struct Writer {
    pub(crate) database: Arc<Database>,
    pub(crate) path: std::path::PathBuf,
    pub(crate) reserve: Arc<Reserve>,
    pub(crate) log: Arc<Log>,
    /// Shown and not yet written.
    pub(crate) unwritten: Vec<Entry>,
}

type Waiting = (Change, oneshot::Sender<Result<Told, Error>>);

impl Writer {
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) {
        let mut due = None;
        loop {
            let first = match due {
                Some(due) => {
                    jobs.recv_timeout(Instant::saturating_duration_since(&due, Instant::now()))
                }
                None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match first {
                Ok(first) => self.batch(first, jobs),
                Err(RecvTimeoutError::Timeout) => self.write_loose(),
                Err(RecvTimeoutError::Disconnected) => {
                    // The last word of those who told something and left.
                    self.batch(Job::Wake, jobs);
                    return self.write_loose();
                }
            }
            if self.unwritten.len() >= MANY {
                self.write_loose();
            }
            due = match self.unwritten.is_empty() {
                true => None,
                false => due.or_else(|| Some(Instant::now() + SETTLE)),
            };
        }
    }

    fn batch(&mut self, first: Job, jobs: &Receiver<Job>) {
        let (mut changes, mut flushes) = (Vec::new(), Vec::new());
        for job in std::iter::once(first).chain(jobs.try_iter().take(QUEUE)) {
            match job {
                Job::Commit(change, done) => changes.push((change, done)),
                Job::Flush(done) => flushes.push(done),
                Job::Wake => {}
            }
        }
        // Taken after the changes: what was told before one of them comes before it.
        self.show_loose();
        if !changes.is_empty() {
            let full = self.look_for_room();
            let changes = self.refuse_additions(changes, full);
            if !changes.is_empty() {
                self.write_changes(changes, full.is_some());
            }
        }
        for done in flushes {
            let _ = done.send(());
        }
    }

    /// Bytes that are free, when they are too few.
    fn look_for_room(&self) -> Option<u64> {
        let full = free_below_reserve(&self.path);
        if full.is_none() {
            self.reserve.fill();
        }
        full
    }

    fn show_loose(&mut self) {
        for some in self.log.take_loose().chunks(MANY) {
            if self.unwritten.len() + some.len() > MANY {
                self.write_loose();
            }
            let mut last = None;
            let entries: Vec<Entry> = some
                .iter()
                .map(|event| {
                    let stamp = self.log.next_stamp(last);
                    last = Some(stamp);
                    Entry {
                        stamp,
                        event: event.as_slice().into(),
                    }
                })
                .collect();
            self.unwritten.extend_from_slice(&entries);
            self.log.show(entries, &[]);
        }
    }

    fn refuse_additions(&self, changes: Vec<Waiting>, full: Option<u64>) -> Vec<Waiting> {
        let Some(free) = full else { return changes };
        let (refused, accepted): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|(change, _)| change.addition);
        for (_, done) in refused {
            let path = self.path.clone();
            let _ = done.send(Err(Error::Full { path, free }));
        }
        accepted
    }

    /// Entries of changes in their order, and the first of each.
    fn stamp(&self, changes: &[Waiting]) -> (Vec<Entry>, Vec<Option<i64>>) {
        let mut entries: Vec<Entry> = Vec::new();
        let mut firsts = Vec::new();
        for (change, _) in changes {
            let mut first = None;
            for event in &change.events {
                let stamp = self.log.next_stamp(entries.last().map(|last| last.stamp));
                entries.push(Entry {
                    stamp,
                    event: event.as_slice().into(),
                });
                first.get_or_insert(stamp);
            }
            firsts.push(first);
        }
        (entries, firsts)
    }

    /// Readers that listen have seen them, even when they cannot be written.
    fn write_loose(&mut self) {
        let entries = std::mem::take(&mut self.unwritten);
        if entries.is_empty() {
            return;
        }
        if self.look_for_room().is_some() {
            let count = entries.len();
            return tracing::warn!(count, "events not written: no space left on device");
        }
        if let Err(error) = self.write(&[], &entries, false) {
            tracing::error!(%error, "events not written");
        }
    }

    fn write_changes(&mut self, changes: Vec<Waiting>, full: bool) {
        let (entries, firsts) = self.stamp(&changes);
        let all = [std::mem::take(&mut self.unwritten), entries.clone()].concat();
        match self.write(&changes, &all, full) {
            Ok(()) => {
                let held: Vec<i64> = firsts.iter().flatten().copied().collect();
                self.log.show(entries, &held);
                for ((_, done), first) in changes.into_iter().zip(firsts) {
                    // A caller that went away lets go of its events with its answer.
                    let _ = done.send(Ok(Told::new(&self.log, first)));
                }
            }
            Err(error) => {
                let error = Error::Database {
                    path: self.path.clone(),
                    reason: error.to_string(),
                };
                for (_, done) in changes {
                    let _ = done.send(Err(error.clone()));
                }
            }
        }
    }

    fn write(&self, changes: &[Waiting], entries: &[Entry], full: bool) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        for (change, _) in changes {
            for (table, key, row) in &change.rows {
                let mut rows = transaction.open_table(table.definition())?;
                match row {
                    Some(bytes) => rows.insert(key.as_str(), bytes.as_slice())?,
                    None => rows.remove(key.as_str())?,
                };
            }
        }
        if !entries.is_empty() {
            self.log.write(&transaction, entries, full)?;
        }
        transaction.commit()?;
        Ok(())
    }
}

fn free_below_reserve(path: &Path) -> Option<u64> {
    let facts = rustix::fs::statvfs(path).ok()?;
    let free = facts.f_bavail.saturating_mul(facts.f_frsize);
    (free < RESERVE).then_some(free)
}
