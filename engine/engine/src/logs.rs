//! `logs`: what a container wrote, read from its log file. The daemon is not on the way of the
//! bytes when they are written; here it is a reader like any other.
//!
//! ```text
//!  read a batch (blocking pool) ─► send ─┐ at the end, following:
//!        ▲                               ▼
//!        └── log grew · container ended (last round) · client left (stop)
//! ```

use std::sync::Arc;

use bytes::Bytes;
use journal::{Entry, Query, Reader, Stream, Time, Watch};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};

use crate::options::LogsOptions;
use crate::record::{Phase, Record};
use crate::{ByteStream, Engine, Error, Result, clock, log_drivers};

/// Bytes sent at once.
const BATCH: usize = 64 << 10;
/// Batches that may wait for a slow client.
const QUEUE: usize = 4;

impl Engine {
    /// The log of a container; with `true` when it is raw (a terminal's), else each entry is
    /// framed with its stream.
    ///
    /// # Errors
    /// Invalid parameter without a stream, not implemented when nothing was logged to be read
    /// again, conflict while it is being removed.
    pub fn container_logs(&self, name: &str, options: LogsOptions) -> Result<(bool, ByteStream)> {
        if !options.stdout && !options.stderr {
            return Err(Error::invalid(
                "Bad parameters: you must choose at least one stream",
            ));
        }
        let container = self.0.containers.find(name)?;
        let record = container.record();
        if matches!(
            record.state.phase,
            Phase::Removing | Phase::Removed | Phase::Dead
        ) {
            return Err(Error::conflict(
                "can not get logs from container which is dead or marked for removal",
            ));
        }
        let (path, written) = log_drivers::readable(&self.0, &record)?;
        make_directory(&path)?;
        // Watched before it is read to the end, so that no growth is missed.
        let follow = match options.follow && record.state.phase.is_alive() {
            true => Some(Follow {
                grown: register(Watch::new(&path)?)
                    .map_err(|error| Error::system(format!("cannot watch log: {error}")))?,
                snapshot: container.snapshot.clone(),
                run: record.state.exits,
            }),
            false => None,
        };
        let query = Query {
            tail: options.tail,
            since: options.since,
            until: options.until,
        };
        let tty = record.config.tty;
        let source = Source {
            reader: None,
            path,
            written,
            query,
            format: Format::new(options, tty),
        };
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(pump(source, follow, sender));
        Ok((tty, receiver))
    }
}

struct Follow {
    grown: AsyncFd<Watch>,
    snapshot: watch::Receiver<Arc<Record>>,
    /// Number of the run that is followed: not the next one.
    run: u64,
}

impl Follow {
    /// Waits for a reason to read again; `false` when it is the last one.
    async fn wait(&mut self, until: Option<i128>) -> std::io::Result<bool> {
        let run = self.run;
        tokio::select! {
            ready = self.grown.readable() => {
                let mut ready = ready?;
                ready.get_inner().drain()?;
                ready.clear_ready();
                Ok(true)
            }
            _ = self.snapshot.wait_for(|record| ended(record, run)) => Ok(false),
            () = sleep_until(until) => Ok(false),
        }
    }
}

/// A watch owns its descriptor as long as it lives, and hands it to nobody.
#[expect(deprecated, reason = "the other constructor is unsafe")]
pub(crate) fn register(watch: Watch) -> std::io::Result<AsyncFd<Watch>> {
    AsyncFd::new(watch)
}

fn ended(record: &Record, run: u64) -> bool {
    !record.state.phase.is_alive() || record.state.exits != run
}

async fn sleep_until(until: Option<i128>) {
    let Some(until) = until else {
        return std::future::pending().await;
    };
    let left = u64::try_from(until - i128::from(clock::now())).unwrap_or(0);
    tokio::time::sleep(std::time::Duration::from_nanos(left)).await;
}

/// Sends batches until there is nothing more, or nobody listens.
async fn pump(mut source: Source, mut follow: Option<Follow>, sender: mpsc::Sender<Result<Bytes>>) {
    let mut until = source.query.until;
    loop {
        let batch = tokio::task::spawn_blocking(move || source.read());
        let Ok((back, batch)) = batch.await else {
            return;
        };
        source = back;
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                let _ = sender.send(Err(error)).await;
                return;
            }
        };
        if !batch.bytes.is_empty() && sender.send(Ok(batch.bytes.into())).await.is_err() {
            return;
        }
        if batch.more {
            continue;
        }
        let Some(following) = follow.as_mut().filter(|_| !batch.ended) else {
            return;
        };
        tokio::select! {
            () = sender.closed() => return,
            again = following.wait(until) => match again {
                Ok(true) => {}
                // What was written up to now is all: one more round, without waiting.
                Ok(false) => {
                    follow = None;
                    until = None;
                }
                Err(error) => {
                    let error = Error::system(format!("cannot watch log: {error}"));
                    let _ = sender.send(Err(error)).await;
                    return;
                }
            },
        }
    }
}

struct Source {
    /// Opened at the first read: that is blocking work, too.
    reader: Option<Reader>,
    path: std::path::PathBuf,
    written: journal::Format,
    query: Query,
    format: Format,
}

struct Batch {
    bytes: Vec<u8>,
    /// The batch is full: there may be more to read now.
    more: bool,
    /// Nothing will ever follow.
    ended: bool,
}

impl Source {
    fn read(mut self) -> (Self, Result<Batch>) {
        let batch = self.batch();
        (self, batch)
    }

    fn batch(&mut self) -> Result<Batch> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => Reader::open(&self.path, self.written, self.query)?,
        };
        let mut bytes = Vec::new();
        let mut more = true;
        while bytes.len() < BATCH {
            let written = reader.next(|entry| self.format.write(entry, &mut bytes))?;
            if written.is_none() {
                more = false;
                break;
            }
        }
        let ended = reader.ended();
        self.reader = Some(reader);
        Ok(Batch { bytes, more, ended })
    }
}

struct Format {
    options: LogsOptions,
    framed: bool,
    /// The text of a second, of which there are many entries.
    second: (i64, String),
}

impl Format {
    fn new(options: LogsOptions, tty: bool) -> Self {
        Self {
            framed: !tty && !options.unframed,
            options,
            second: (0, "1970-01-01T00:00:00".into()),
        }
    }

    /// Appends one entry as the client gets it, if its stream was asked for.
    fn write(&mut self, entry: &Entry<'_>, out: &mut Vec<u8>) {
        let (number, wanted) = match entry.stream {
            Stream::Stdout => (1, self.options.stdout),
            Stream::Stderr => (2, self.options.stderr),
        };
        if !wanted {
            return;
        }
        let start = out.len();
        if self.framed {
            out.extend([number, 0, 0, 0, 0, 0, 0, 0]);
        }
        let body = out.len();
        if self.options.timestamps {
            self.push_time(entry, out);
        }
        if self.options.details {
            push_attrs(entry, out);
        }
        out.extend(&*entry.log);
        if entry.newline {
            out.push(b'\n');
        }
        if self.framed {
            // An entry is limited by the reader to some MiB.
            let length = u32::try_from(out.len() - body).unwrap_or(u32::MAX);
            out[start + 4..start + 8].copy_from_slice(&length.to_be_bytes());
        }
    }
}

/// A container that has not run yet has no directory for its log, and may be followed.
fn make_directory(path: &std::path::Path) -> Result<()> {
    let directory = path.parent().unwrap_or(path);
    match std::fs::create_dir(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(Error::system(
            format!("cannot make {}: {error}", directory.display()),
        )),
        _ => Ok(()),
    }
}

impl Format {
    /// `2006-01-02T15:04:05.000000000Z `: always nine digits.
    fn push_time(&mut self, entry: &Entry<'_>, out: &mut Vec<u8>) {
        let nanos = match &entry.time {
            Time::Nanos(nanos) => *nanos,
            Time::Text(text) => {
                let time = text.as_bytes();
                match time.split_last() {
                    // The usual text: as the clock gives it, in UTC, with zeros cut off.
                    Some((b'Z', whole)) if (19..=29).contains(&whole.len()) => {
                        out.extend(whole);
                        if whole.len() == 19 {
                            out.push(b'.');
                        }
                        out.extend(&b"000000000"[whole.len().max(20) - 20..]);
                        out.extend(b"Z ");
                        return;
                    }
                    _ => i64::try_from(entry.nanos()).unwrap_or(0),
                }
            }
        };
        let (second, rest) = (
            nanos.div_euclid(1_000_000_000),
            nanos.rem_euclid(1_000_000_000),
        );
        if second != self.second.0 {
            let text = jiff::Timestamp::from_second(second).unwrap_or_default();
            let mut text = text.to_string();
            text.truncate(19);
            self.second = (second, text);
        }
        out.extend(self.second.1.as_bytes());
        out.extend(format!(".{rest:09}Z ").as_bytes());
    }
}

/// `key=value,key=value `, both percent-encoded as in a query.
fn push_attrs(entry: &Entry<'_>, out: &mut Vec<u8>) {
    for (n, (key, value)) in entry.attrs().iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        push_escaped(key, out);
        out.push(b'=');
        push_escaped(value, out);
    }
    out.push(b' ');
}

fn push_escaped(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte),
            b' ' => out.push(b'+'),
            _ => out.extend(format!("%{byte:02X}").as_bytes()),
        }
    }
}

impl From<journal::Error> for Error {
    fn from(error: journal::Error) -> Self {
        use std::error::Error as _;

        let cause = error
            .source()
            .map(|cause| format!(": {cause}"))
            .unwrap_or_default();
        Self::system(format!("{error}{cause}"))
    }
}

#[cfg(test)]
mod tests;
