//! The engine's durable state: one redb file, one writer thread that groups what waits into one
//! transaction, readers that never wait for it.
//!
//! A [`Change`] holds rows and events; they become durable together or not at all. Callers get
//! their answer after the fdatasync of the transaction their change went into.
//!
//! A full disk: redb cannot be used again after a failed write until it is reopened, so changes
//! that add something ([`Change::addition`]) are refused while the file system has less than
//! [`RESERVE`] bytes left. All others go through, at need in room that was kept aside (`reserve`).

mod reserve;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::oneshot;

use reserve::{Backend, Reserve};

/// Bytes that must be free before anything is added.
pub const RESERVE: u64 = 4 << 20;

/// How many events are kept for clients that ask for the past.
const EVENTS_KEPT: u64 = 1024;
/// Changes that may wait for the writer before callers are held back.
const QUEUE: usize = 256;
const SCHEMA: u64 = 1;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");

/// Why the state cannot be read or changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened, read or written.
    #[error("state database {path}: {reason}")]
    Database {
        /// The file.
        path: PathBuf,
        /// redb's words.
        reason: String,
    },
    /// A newer Corten wrote it.
    #[error(
        "state database {path} has schema {found}, this version reads {SCHEMA}: use the version that wrote it or a newer one"
    )]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u64,
    },
    /// Nothing can be added any more.
    #[error("no space left on device: {path} has {free} bytes free, {RESERVE} are kept in reserve")]
    Full {
        /// The file.
        path: PathBuf,
        /// What is left.
        free: u64,
    },
    /// The writer thread is gone.
    #[error("the state database is closed")]
    Closed,
}

/// Rows of one kind, JSON by key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Containers by ID.
    Containers,
    /// Volumes by name.
    Volumes,
    /// Facts about this engine by name.
    Engine,
}

impl Table {
    fn definition(self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        TableDefinition::new(match self {
            Self::Containers => "containers",
            Self::Volumes => "volumes",
            Self::Engine => "engine",
        })
    }
}

/// What one transaction is to change.
#[derive(Debug, Default)]
pub struct Change {
    rows: Vec<(Table, String, Option<Vec<u8>>)>,
    events: Vec<Vec<u8>>,
    addition: bool,
}

impl Change {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a row.
    ///
    /// # Panics
    /// Never for types whose serialization cannot fail (no maps with non-string keys).
    #[must_use]
    pub fn put<T: serde::Serialize>(mut self, table: Table, key: &str, row: &T) -> Self {
        // A row that cannot be serialized would be a bug in its type; an empty row is refused
        // by every reader, so it cannot be taken for data.
        let bytes = serde_json::to_vec(row).unwrap_or_default();
        self.rows.push((table, key.to_owned(), Some(bytes)));
        self
    }

    /// Removes a row, if it is there.
    #[must_use]
    pub fn delete(mut self, table: Table, key: &str) -> Self {
        self.rows.push((table, key.to_owned(), None));
        self
    }

    /// Adds an event.
    #[must_use]
    pub fn event<T: serde::Serialize>(mut self, event: &T) -> Self {
        self.events
            .push(serde_json::to_vec(event).unwrap_or_default());
        self
    }

    /// Marks it as adding something new: refused when the disk is nearly full. Changes that tell
    /// what became of what is there must go through as long as they can.
    #[must_use]
    pub fn addition(mut self) -> Self {
        self.addition = true;
        self
    }
}

struct Job {
    change: Change,
    done: oneshot::Sender<Result<(), Error>>,
}

/// The open state. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    database: Arc<Database>,
    writer: Option<SyncSender<Job>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl State {
    /// Opens or makes the file and starts the writer.
    ///
    /// # Errors
    /// When the file cannot be opened, is locked by another engine, or is newer than this code.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |reason: String| Error::Database {
            path: path.to_owned(),
            reason,
        };
        let reserve = Reserve::open(&path.with_extension("reserve"))
            .map_err(|error| failed(format!("its reserve: {error}")))?;
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|error| failed(error.to_string()))?;
        let database = Backend::new(file, Arc::clone(&reserve))
            .and_then(|backend| {
                let mut builder = Database::builder();
                builder.set_cache_size(4 << 20).create_with_backend(backend)
            })
            .map_err(|error| match error {
                redb::DatabaseError::DatabaseAlreadyOpen => {
                    failed("another daemon uses it".to_owned())
                }
                error => failed(error.to_string()),
            })?;
        let found = prepare(&database).map_err(|error| failed(error.to_string()))?;
        if found > SCHEMA {
            return Err(Error::Schema {
                path: path.to_owned(),
                found,
            });
        }
        let database = Arc::new(database);
        let (writer, jobs) = sync_channel(QUEUE);
        let thread = {
            let (database, path) = (Arc::clone(&database), path.to_owned());
            std::thread::Builder::new()
                .name("state".into())
                .spawn(move || write_loop(&database, &path, &reserve, &jobs))
                .map_err(|error| failed(error.to_string()))?
        };
        Ok(Self {
            path: path.to_owned(),
            database,
            writer: Some(writer),
            thread: Some(thread),
        })
    }

    /// The database, for stores that keep tables of their own in it.
    pub fn database(&self) -> Arc<Database> {
        Arc::clone(&self.database)
    }

    /// Makes a change durable, together with others that wait at the same time.
    ///
    /// # Errors
    /// When the disk is full or failing. Nothing of the change is there then.
    pub async fn commit(&self, change: Change) -> Result<(), Error> {
        let (done, answer) = oneshot::channel();
        let writer = self.writer.as_ref().ok_or(Error::Closed)?;
        match writer.try_send(Job { change, done }) {
            Ok(()) => {}
            Err(std::sync::mpsc::TrySendError::Full(job)) => {
                let writer = writer.clone();
                tokio::task::spawn_blocking(move || writer.send(job))
                    .await
                    .map_err(|_| Error::Closed)?
                    .map_err(|_| Error::Closed)?;
            }
            Err(std::sync::mpsc::TrySendError::Disconnected(_)) => return Err(Error::Closed),
        }
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Every row of a table, in key order. A row that does not parse is an error naming its key.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn load<T: serde::de::DeserializeOwned>(
        &self,
        table: Table,
    ) -> Result<Vec<(String, T)>, Error> {
        let read = || -> Result<_, redb::Error> {
            let transaction = self.database.begin_read()?;
            let rows = transaction.open_table(table.definition())?;
            let mut found = Vec::new();
            for row in rows.iter()? {
                let (key, value) = row?;
                found.push((key.value().to_owned(), value.value().to_vec()));
            }
            Ok(found)
        };
        let rows = read().map_err(|error| self.failed(error.to_string()))?;
        rows.into_iter()
            .map(|(key, bytes)| match serde_json::from_slice(&bytes) {
                Ok(row) => Ok((key, row)),
                Err(error) => Err(self.failed(format!("row {table:?}/{key}: {error}"))),
            })
            .collect()
    }

    /// The events that are kept, oldest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn events<T: serde::de::DeserializeOwned>(&self) -> Result<Vec<T>, Error> {
        let read = || -> Result<_, redb::Error> {
            let transaction = self.database.begin_read()?;
            let rows = transaction.open_table(EVENTS)?;
            let mut found = Vec::new();
            for row in rows.iter()? {
                found.push(row?.1.value().to_vec());
            }
            Ok(found)
        };
        let rows = read().map_err(|error| self.failed(error.to_string()))?;
        Ok(rows
            .iter()
            .filter_map(|bytes| serde_json::from_slice(bytes).ok())
            .collect())
    }

    fn failed(&self, reason: String) -> Error {
        Error::Database {
            path: self.path.clone(),
            reason,
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.writer = None;
        if let Some(thread) = self.thread.take() {
            // Its only ending is the channel's; a panic there has been answered as `Closed`.
            let _ = thread.join();
        }
    }
}

/// Makes the tables and returns the schema found.
fn prepare(database: &Database) -> Result<u64, redb::Error> {
    let transaction = database.begin_read()?;
    if let Ok(meta) = transaction.open_table(META)
        && let Some(schema) = meta.get("schema")?
    {
        return Ok(schema.value());
    }
    drop(transaction);
    let transaction = database.begin_write()?;
    {
        transaction.open_table(META)?.insert("schema", SCHEMA)?;
        transaction.open_table(EVENTS)?;
        for table in [Table::Containers, Table::Volumes, Table::Engine] {
            transaction.open_table(table.definition())?;
        }
    }
    transaction.commit()?;
    Ok(SCHEMA)
}

fn write_loop(database: &Database, path: &Path, reserve: &Reserve, jobs: &Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let mut batch = vec![first];
        batch.extend(jobs.try_iter().take(QUEUE));
        let full = free_below_reserve(path);
        if full.is_none() {
            reserve.fill();
        }
        let (refused, accepted): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .partition(|job| full.is_some() && job.change.addition);
        for job in refused {
            let error = Error::Full {
                path: path.to_owned(),
                free: full.unwrap_or(0),
            };
            let _ = job.done.send(Err(error));
        }
        if accepted.is_empty() {
            continue;
        }
        let result = write(database, &accepted).map_err(|error| Error::Database {
            path: path.to_owned(),
            reason: error.to_string(),
        });
        for job in accepted {
            // A caller that went away does not need its answer.
            let _ = job.done.send(result.clone());
        }
    }
}

fn write(database: &Database, jobs: &[Job]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    for job in jobs {
        for (table, key, row) in &job.change.rows {
            let mut rows = transaction.open_table(table.definition())?;
            match row {
                Some(bytes) => rows.insert(key.as_str(), bytes.as_slice())?,
                None => rows.remove(key.as_str())?,
            };
        }
    }
    if jobs.iter().any(|job| !job.change.events.is_empty()) {
        let mut events = transaction.open_table(EVENTS)?;
        let first = events.last()?.map_or(0, |(key, _)| key.value() + 1);
        let new = jobs.iter().flat_map(|job| &job.change.events);
        for (number, event) in (first..).zip(new) {
            events.insert(number, event.as_slice())?;
            if number >= EVENTS_KEPT {
                events.remove(number - EVENTS_KEPT)?;
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

fn free_below_reserve(path: &Path) -> Option<u64> {
    let facts = rustix::fs::statvfs(path).ok()?;
    let free = facts.f_bavail.saturating_mul(facts.f_frsize);
    (free < RESERVE).then_some(free)
}

#[cfg(test)]
mod tests {
    use super::{Change, State, Table};

    #[tokio::test]
    async fn rows_and_events_survive_reopening() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("state.redb");
        {
            let state = State::open(&path).expect("open");
            let change = Change::new()
                .put(Table::Containers, "a", &1)
                .event(&"created");
            state.commit(change).await.expect("commit");
            let change = Change::new()
                .put(Table::Containers, "b", &2)
                .delete(Table::Containers, "a")
                .event(&"deleted");
            state.commit(change).await.expect("commit");
        }
        let state = State::open(&path).expect("reopen");
        assert_eq!(
            state.load::<i32>(Table::Containers).expect("rows"),
            [("b".to_owned(), 2)]
        );
        assert_eq!(
            state.events::<String>().expect("events"),
            ["created", "deleted"]
        );
    }

    #[tokio::test]
    async fn only_the_newest_events_are_kept() {
        let dir = tempfile::tempdir().expect("temp dir");
        let state = State::open(&dir.path().join("state.redb")).expect("open");
        let all = (0..2000).fold(Change::new(), |change, n| change.event(&n));
        state.commit(all).await.expect("commit");
        let kept = state.events::<i32>().expect("events");
        assert_eq!((kept.len(), kept[0], kept[1023]), (1024, 976, 1999));
    }
}
