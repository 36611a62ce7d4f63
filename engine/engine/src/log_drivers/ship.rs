//! Sending a container's output to a remote logger: one task per container, a reader of the cache
//! like any other.
//!
//! ```text
//!  begin ─► read ─► send ─► note the place ─┐   ends: the container has ended and all is sent,
//!            ▲        └ failed: connect anew │        it is removed (settle waits for the rest),
//!            └──── log grew ◄───────────────┘        or it is gone
//! ```
//!
//! A crash between sending and noting sends a batch again; nothing is left out, unless the cache's
//! files are rotated away while the logger is not there.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use journal::{Format, Place, Reader, Stream, Watch};
use tokio::sync::watch;

use super::attributes::{self, About};
use super::options::{Kept, plan};
use super::transport::Connection;
use super::wire::{Message, Piece, Remote};
use crate::record::{Phase, Record};
use crate::{Error, Inner, Result, clock};

/// Messages sent at once, and their bytes.
const BATCH: usize = 512;
const BYTES: usize = 256 << 10;
/// Pauses between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long a removal waits for the rest to be sent, as dockerd's does for its loggers.
const PATIENCE: Duration = Duration::from_secs(10);
/// An attempt that takes longer has failed.
const ATTEMPT: Duration = Duration::from_secs(30);
/// Where the place up to which all was sent is kept.
const SENT: &str = "log-sent.json";

/// The containers whose output is being sent, by id; `true` tells one to come to its end.
#[derive(Debug, Default)]
pub(crate) struct Shipping(Mutex<HashMap<String, watch::Sender<bool>>>);

impl Shipping {
    /// Of which containers.
    pub(crate) fn ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.lock().keys().cloned().collect();
        ids.sort();
        ids
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, watch::Sender<bool>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first connection, without which a container does not start; `None` when none is needed.
///
/// # Errors
/// With dockerd's words, when nobody listens.
pub(crate) async fn connect(record: &Record) -> Result<Option<Connection>> {
    let Some(remote) = plan(&record.host.log_config)?.remote else {
        return Ok(None);
    };
    if remote.connects_later() {
        return Ok(None);
    }
    let to = &remote.address;
    let why = match tokio::time::timeout(ATTEMPT, to.connect()).await {
        Ok(Ok(connection)) => return Ok(Some(connection)),
        Ok(Err(_)) if record.host.log_config.kind == "journald" => {
            "journald is not enabled on this host".to_owned()
        }
        Ok(Err(error)) => format!("dial {to}: connect: {}", words(&error)),
        Err(_) => format!("dial {to}: i/o timeout"),
    };
    Err(Error::system(format!(
        "failed to create task for container: failed to initialize logging driver: {why}"
    )))
}

/// The kernel's words as Go has them.
fn words(error: &io::Error) -> String {
    let text = error.to_string().to_lowercase();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

/// Begins to send, unless that goes on already. To be called when the container is known to run.
pub(crate) fn begin(inner: &Arc<Inner>, record: &Record, connection: Option<Connection>) {
    if let Err(error) = try_begin(inner, record, connection) {
        tracing::error!(id = %record.id, %error, "the log is not sent");
    }
}

fn try_begin(inner: &Arc<Inner>, record: &Record, connection: Option<Connection>) -> Result<()> {
    let Some(remote) = plan(&record.host.log_config)?.remote else {
        return Ok(());
    };
    let container = inner.containers.find(&record.id)?;
    let mut shipping = inner.shipping.lock();
    if shipping.contains_key(&record.id) {
        return Ok(());
    }
    let (ending, end) = watch::channel(false);
    let shipper = Shipper {
        id: record.id.clone(),
        about: attributes::about(record)?,
        remote,
        snapshot: container.snapshot.clone(),
        end,
        log: super::path(inner, &record.id, Kept::Cache),
        connection,
        told: false,
    };
    shipping.insert(record.id.clone(), ending);
    drop(shipping);
    tokio::spawn(shipper.run(Arc::clone(inner)));
    Ok(())
}

/// Goes on with what an earlier daemon had not sent.
pub(crate) fn resume(inner: &Arc<Inner>, record: &Record) {
    if super::path(inner, &record.id, Kept::Cache).exists() {
        begin(inner, record, None);
    }
}

/// Waits until all of an ended container is sent, for some seconds: its log is about to go.
pub(crate) async fn settle(inner: &Inner, id: &str) {
    let sender = inner.shipping.lock().get(id).cloned();
    let Some(sender) = sender else { return };
    sender.send_replace(true);
    if tokio::time::timeout(PATIENCE, sender.closed())
        .await
        .is_err()
    {
        tracing::warn!(id, "the rest of the log was not sent in time");
    }
}

struct Shipper {
    id: String,
    about: About,
    remote: Remote,
    snapshot: watch::Receiver<Arc<Record>>,
    end: watch::Receiver<bool>,
    log: PathBuf,
    connection: Option<Connection>,
    /// The failure was told; told again after a success.
    told: bool,
}

impl Shipper {
    async fn run(mut self, inner: Arc<Inner>) {
        if let Err(error) = self.ship(&inner).await {
            tracing::error!(id = %self.id, %error, "the log is not sent any more");
            inner.shipping.lock().remove(&self.id);
        }
    }

    async fn ship(&mut self, inner: &Inner) -> Result<()> {
        // Watched before it is read to the end, so that no growth is missed.
        let grown = crate::logs::register(Watch::new(&self.log)?)
            .map_err(|error| Error::system(format!("cannot watch log: {error}")))?;
        let mut source = Source {
            log: self.log.clone(),
            reader: None,
        };
        loop {
            // Looked at before the read: what was written before the end is read after it.
            let ended = self.ended();
            let batch = tokio::task::spawn_blocking(move || source.read());
            let (back, batch) = batch
                .await
                .map_err(|_| Error::system("the engine is going down"))?;
            source = back;
            let batch = batch?;
            if !batch.messages.is_empty() {
                if !self.deliver(&batch.messages).await {
                    inner.shipping.lock().remove(&self.id);
                    return Ok(());
                }
                source = note(source, batch.place).await?;
                continue;
            }
            {
                let mut shipping = inner.shipping.lock();
                // Not when it was started meanwhile: this task goes on with the next run.
                if ended && self.ended() {
                    shipping.remove(&self.id);
                    return Ok(());
                }
            }
            tokio::select! {
                ready = grown.readable() => {
                    let drained = ready.and_then(|mut ready| {
                        ready.get_inner().drain()?;
                        ready.clear_ready();
                        Ok(())
                    });
                    drained.map_err(|error| Error::system(format!("cannot watch log: {error}")))?;
                }
                _ = self.snapshot.changed() => {}
                _ = self.end.changed() => {}
            }
        }
    }

    /// Nothing more will be written, or waited for.
    fn ended(&self) -> bool {
        *self.end.borrow() || !self.snapshot.borrow().state.phase.is_alive()
    }

    /// Sends until it is sent; `false` when the container is gone, or going and nobody listens.
    async fn deliver(&mut self, messages: &[Message]) -> bool {
        let mut pause = FIRST_PAUSE;
        let mut sent = 0;
        loop {
            let attempt = tokio::time::timeout(ATTEMPT, self.attempt(messages, &mut sent));
            let result = attempt
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            let Err(error) = result else {
                self.told = false;
                return true;
            };
            self.connection = None;
            if !std::mem::replace(&mut self.told, true) {
                let to = self.remote.address.to_string();
                tracing::warn!(id = %self.id, to, %error, "the log cannot be sent now");
            }
            if *self.end.borrow() {
                return false;
            }
            let mut snapshot = self.snapshot.clone();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = self.end.changed() => {}
                _ = snapshot.wait_for(|record| record.state.phase == Phase::Removed) => return false,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn attempt(&mut self, messages: &[Message], sent: &mut usize) -> io::Result<()> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.remote.address.connect().await?),
        };
        let confirmed = messages
            .first()
            .is_some_and(|first| self.remote.confirmation(first).is_some());
        if !confirmed {
            let encode = |message| self.remote.encode(&self.about, message);
            let packets: Vec<Vec<u8>> = messages[*sent..].iter().flat_map(encode).collect();
            connection.send(&packets).await?;
            *sent = messages.len();
            return Ok(());
        }
        for message in &messages[*sent..] {
            connection
                .send(&self.remote.encode(&self.about, message))
                .await?;
            if let Some(by) = self.remote.confirmation(message) {
                connection.confirmed(&by).await?;
            }
            *sent += 1;
        }
        Ok(())
    }
}

struct Source {
    log: PathBuf,
    reader: Option<Reader>,
}

#[derive(Default)]
struct Batch {
    messages: Vec<Message>,
    place: Place,
}

impl Source {
    fn read(mut self) -> (Self, Result<Batch>) {
        let batch = self.batch();
        (self, batch)
    }

    fn batch(&mut self) -> Result<Batch> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => Reader::resume(&self.log, Format::Local, place(&self.log))?,
        };
        let mut batch = Batch::default();
        let mut bytes = 0;
        while batch.messages.len() < BATCH && bytes < BYTES {
            let Some(message) = reader.next(message)? else {
                break;
            };
            bytes += message.line.len();
            batch.messages.push(message);
        }
        batch.place = reader.place();
        self.reader = Some(reader);
        Ok(batch)
    }
}

fn message(entry: &journal::Entry<'_>) -> Message {
    Message {
        stderr: entry.stream == Stream::Stderr,
        nanos: i64::try_from(entry.nanos()).unwrap_or_else(|_| clock::now()),
        line: entry.log.to_vec(),
        partial: entry.partial.as_ref().map(|part| Piece {
            id: part.id.clone().into_owned(),
            ordinal: part.ordinal,
            last: part.last,
        }),
    }
}

/// Up to where all was sent; the beginning when that is not known.
fn place(log: &Path) -> Place {
    let text = std::fs::read(log.with_file_name(SENT)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

async fn note(source: Source, place: Place) -> Result<Source> {
    let write = move || {
        let (file, new) = (
            source.log.with_file_name(SENT),
            source.log.with_file_name("log-sent.new"),
        );
        let text = serde_json::to_vec(&place).map_err(io::Error::other)?;
        std::fs::write(&new, text)?;
        std::fs::rename(&new, &file)?;
        Ok::<_, io::Error>(source)
    };
    let written = tokio::task::spawn_blocking(write).await;
    written
        .map_err(|_| Error::system("the engine is going down"))?
        .map_err(|error| Error::system(format!("cannot note what was sent: {error}")))
}
