//! The engine's durable state: one redb file, one writer thread that groups what waits into one
//! transaction, readers that never wait for it.
//!
//! A [`Change`] holds rows and events; they become durable together or not at all. Callers get
//! their answer after the fdatasync of the transaction their change went into.
//!
//! A full disk: redb cannot be used again after a failed write until it is reopened, so changes
//! that add something ([`Change::addition`]) are refused while the file system has less than
//! [`RESERVE`] bytes left. All others go through, at need in room that was kept aside (`reserve`).

mod log;
mod reserve;
mod writer;

pub use log::{Entry, Limits, Log, Told};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::oneshot;

use reserve::{Backend, Reserve};
use writer::{Job, Writer};

/// Bytes that must be free before anything is added.
pub const RESERVE: u64 = 4 << 20;

/// Changes that may wait for the writer before callers are held back.
const QUEUE: usize = 256;
const SCHEMA: u64 = 2;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

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
    /// The log of events cannot be read.
    #[error("log of events: {0}")]
    Log(String),
    /// A reader of the log was too slow.
    #[error("events that were to be read next are no longer kept")]
    Overtaken,
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

/// The open state. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    database: Arc<Database>,
    log: Arc<Log>,
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
        let log = Log::open(Arc::clone(&database)).map_err(|error| failed(error.to_string()))?;
        let log = Arc::new(log);
        let (writer, jobs) = sync_channel(QUEUE);
        let thread = {
            let writer = Writer {
                database: Arc::clone(&database),
                path: path.to_owned(),
                reserve,
                log: Arc::clone(&log),
                unwritten: Vec::new(),
            };
            std::thread::Builder::new()
                .name("state".into())
                .spawn(move || writer.run(&jobs))
                .map_err(|error| failed(error.to_string()))?
        };
        Ok(Self {
            path: path.to_owned(),
            database,
            log,
            writer: Some(writer),
            thread: Some(thread),
        })
    }

    /// The database, for stores that keep tables of their own in it.
    pub fn database(&self) -> Arc<Database> {
        Arc::clone(&self.database)
    }

    /// Makes a change durable, together with others that wait at the same time. Its events are
    /// shown to readers of the log when the answer is dropped.
    ///
    /// # Errors
    /// When the disk is full or failing. Nothing of the change is there then.
    pub async fn commit(&self, change: Change) -> Result<Told, Error> {
        let (done, answer) = oneshot::channel();
        self.send(Job::Commit(change, done)).await?;
        answer.await.map_err(|_| Error::Closed)?
    }

    async fn send(&self, job: Job) -> Result<(), Error> {
        let writer = self.writer.as_ref().ok_or(Error::Closed)?;
        match writer.try_send(job) {
            Ok(()) => Ok(()),
            Err(std::sync::mpsc::TrySendError::Full(job)) => {
                let writer = writer.clone();
                tokio::task::spawn_blocking(move || writer.send(job))
                    .await
                    .map_err(|_| Error::Closed)?
                    .map_err(|_| Error::Closed)
            }
            Err(std::sync::mpsc::TrySendError::Disconnected(_)) => Err(Error::Closed),
        }
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

    /// Tells an event that belongs to no change: it is in the log in a moment, and durable a little
    /// later. Waits only when very many are told at once.
    ///
    /// # Panics
    /// Never for types whose serialization cannot fail.
    pub fn tell<T: serde::Serialize>(&self, event: &T) {
        self.log.tell(serde_json::to_vec(event).unwrap_or_default());
        if let Some(writer) = &self.writer {
            // A full queue wakes the writer as well.
            let _ = writer.try_send(Job::Wake);
        }
    }

    /// Returns when all that was told before can be read.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.send(Job::Flush(done)).await.is_ok() {
            let _ = flushed.await;
        }
    }

    /// The log of events.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
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

/// Makes the tables and returns the schema found; an older one is brought up to date.
fn prepare(database: &Database) -> Result<u64, redb::Error> {
    let found = {
        let transaction = database.begin_read()?;
        match transaction.open_table(META) {
            Ok(meta) => meta.get("schema")?.map(|schema| schema.value()),
            Err(redb::TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(error.into()),
        }
    };
    if let Some(found) = found
        && found >= SCHEMA
    {
        return Ok(found);
    }
    let transaction = database.begin_write()?;
    {
        transaction.open_table(META)?.insert("schema", SCHEMA)?;
        transaction.open_table(log::LOG)?;
        for table in [Table::Containers, Table::Volumes, Table::Engine] {
            transaction.open_table(table.definition())?;
        }
    }
    if found.is_some() {
        log::migrate(&transaction)?;
    }
    transaction.commit()?;
    Ok(SCHEMA)
}

#[cfg(test)]
mod tests;
