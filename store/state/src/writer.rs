//! The thread that writes: what waits at the same time becomes one transaction.
//!
//! Changes are durable when they are answered. Events that belong to none are written without
//! waiting for the disk, which follows with the next change or after [`SETTLE`].

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use redb::{Database, Durability, ReadableTable as _};
use tokio::sync::oneshot;

use crate::log::{Entry, Log, Told};
use crate::reserve::Reserve;
use crate::{Change, Error, META, QUEUE, RESERVE};

/// For how long loose events may be in memory only.
const SETTLE: Duration = Duration::from_millis(100);

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
}

type Waiting = (Change, oneshot::Sender<Result<Told, Error>>);

impl Writer {
    pub(crate) fn run(self, jobs: &Receiver<Job>) {
        let mut unsettled = false;
        loop {
            let first = match unsettled {
                true => jobs.recv_timeout(SETTLE),
                false => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match first {
                Ok(first) => unsettled = self.batch(first, jobs, unsettled),
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(error) = self.settle() {
                        tracing::error!(%error, "events are not durable yet");
                    }
                    unsettled = false;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    // The last word of those who told something and left.
                    self.batch(Job::Wake, jobs, unsettled);
                    let _ = self.settle();
                    return;
                }
            }
        }
    }

    /// Whether there is something that the disk does not have yet.
    fn batch(&self, first: Job, jobs: &Receiver<Job>, unsettled: bool) -> bool {
        let (mut changes, mut flushes) = (Vec::new(), Vec::new());
        for job in std::iter::once(first).chain(jobs.try_iter().take(QUEUE)) {
            match job {
                Job::Commit(change, done) => changes.push((change, done)),
                Job::Flush(done) => flushes.push(done),
                Job::Wake => {}
            }
        }
        // Taken after the changes: what was told before one of them comes before it.
        let loose = self.log.take_loose();
        let full = free_below_reserve(&self.path);
        if full.is_none() {
            self.reserve.fill();
        }
        let changes = self.refuse_additions(changes, full);
        let (entries, firsts) = self.stamp(loose, &changes);
        let unsettled = match (changes.is_empty(), entries.is_empty()) {
            (true, true) => unsettled,
            (true, false) => {
                self.write_loose(entries, full.is_some());
                true
            }
            (false, _) => {
                self.write_changes(changes, entries, &firsts, full.is_some());
                false
            }
        };
        for done in flushes {
            let _ = done.send(());
        }
        unsettled
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

    /// Entries in their order, and the first of each change.
    fn stamp(&self, loose: Vec<Vec<u8>>, changes: &[Waiting]) -> (Vec<Entry>, Vec<Option<i64>>) {
        let mut entries: Vec<Entry> = Vec::new();
        let add = |entries: &mut Vec<Entry>, event: Arc<[u8]>| {
            let stamp = self.log.next_stamp(entries.last().map(|last| last.stamp));
            entries.push(Entry { stamp, event });
            stamp
        };
        for event in loose {
            add(&mut entries, event.into());
        }
        let mut firsts = Vec::new();
        for (change, _) in changes {
            let mut first = None;
            for event in &change.events {
                let stamp = add(&mut entries, event.as_slice().into());
                first.get_or_insert(stamp);
            }
            firsts.push(first);
        }
        (entries, firsts)
    }

    /// Readers that listen get them even when they cannot be written.
    fn write_loose(&self, entries: Vec<Entry>, full: bool) {
        let mut dropped = None;
        if !full {
            match self.write(&[], &entries, false, Durability::None) {
                Ok(gone) => dropped = gone,
                Err(error) => tracing::error!(%error, "events not written"),
            }
        }
        self.log.show(entries, &[], dropped);
    }

    fn write_changes(
        &self,
        changes: Vec<Waiting>,
        entries: Vec<Entry>,
        firsts: &[Option<i64>],
        full: bool,
    ) {
        match self.write(&changes, &entries, full, Durability::Immediate) {
            Ok(dropped) => {
                let held: Vec<i64> = firsts.iter().flatten().copied().collect();
                self.log.show(entries, &held, dropped);
                for ((_, done), first) in changes.into_iter().zip(firsts) {
                    // A caller that went away lets go of its events with its answer.
                    let _ = done.send(Ok(Told::new(&self.log, *first)));
                }
            }
            Err(error) => {
                // Of the changes nothing is there; loose events come first.
                let loose = entries
                    .iter()
                    .position(|entry| Some(entry.stamp) == firsts.iter().flatten().next().copied())
                    .unwrap_or(entries.len());
                self.log.show(entries[..loose].to_vec(), &[], None);
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

    fn write(
        &self,
        changes: &[Waiting],
        entries: &[Entry],
        full: bool,
        durability: Durability,
    ) -> Result<Option<i64>, redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(durability)?;
        for (change, _) in changes {
            for (table, key, row) in &change.rows {
                let mut rows = transaction.open_table(table.definition())?;
                match row {
                    Some(bytes) => rows.insert(key.as_str(), bytes.as_slice())?,
                    None => rows.remove(key.as_str())?,
                };
            }
        }
        let dropped = match entries.is_empty() {
            true => None,
            false => self.log.write(&transaction, entries, full)?,
        };
        transaction.commit()?;
        Ok(dropped)
    }

    /// Makes durable what was written without.
    fn settle(&self) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            let settled = meta.get("settled")?.map_or(0, |count| count.value());
            meta.insert("settled", settled.wrapping_add(1))?;
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
