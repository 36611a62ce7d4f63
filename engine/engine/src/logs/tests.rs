use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use journal::{Query, Watch};
use tokio::sync::{mpsc, watch};

use super::{Follow, Format, Source, pump, register};
use crate::ByteStream;
use crate::options::LogsOptions;
use crate::record::{Phase, Record};

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("logs-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("make directory");
        Self(path)
    }

    fn source(&self, options: LogsOptions, tty: bool) -> Source {
        let query = Query {
            tail: options.tail,
            since: options.since,
            until: options.until,
        };
        let format = Format::new(options, tty);
        Source {
            reader: None,
            path: self.0.join("x.log"),
            written: journal::Format::Json,
            query,
            format,
        }
    }

    fn append(&self, text: &str) {
        let path = self.0.join("x.log");
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .expect("open log");
        file.write_all(text.as_bytes()).expect("write log");
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const LINES: &str = concat!(
    r#"{"log":"a\n","stream":"stdout","attrs":{"k":"v w","a":"1"},"time":"2026-01-02T03:04:05.12Z"}"#,
    "\n",
    r#"{"log":"par","stream":"stderr","time":"2026-01-02T03:04:05Z"}"#,
    "\n",
    r#"{"log":"tial\n","stream":"stderr","time":"2026-01-02T04:04:05.123456789+01:00"}"#,
    "\n",
);

fn both() -> LogsOptions {
    LogsOptions {
        stdout: true,
        stderr: true,
        ..LogsOptions::default()
    }
}

fn batch(dir: &Dir, options: LogsOptions, tty: bool) -> Vec<u8> {
    dir.source(options, tty).batch().expect("read").bytes
}

#[test]
fn framing() {
    let dir = Dir::new("framing");
    dir.append(LINES);
    assert_eq!(batch(&dir, both(), true), b"a\npartial\n");
    assert_eq!(
        batch(&dir, both(), false),
        b"\x01\0\0\0\0\0\0\x02a\n\x02\0\0\0\0\0\0\x03par\x02\0\0\0\0\0\0\x05tial\n"
    );
    let only = LogsOptions {
        stderr: false,
        ..both()
    };
    assert_eq!(batch(&dir, only, false), b"\x01\0\0\0\0\0\0\x02a\n");
}

#[test]
fn prefixes() {
    let dir = Dir::new("prefixes");
    dir.append(LINES);
    let options = LogsOptions {
        timestamps: true,
        details: true,
        ..both()
    };
    let text = String::from_utf8(batch(&dir, options, true)).expect("text");
    assert_eq!(
        text,
        "2026-01-02T03:04:05.120000000Z a=1,k=v+w a\n\
         2026-01-02T03:04:05.000000000Z  par\
         2026-01-02T03:04:05.123456789Z  tial\n"
    );
}

async fn next(stream: &mut ByteStream) -> Option<Vec<u8>> {
    let wait = tokio::time::timeout(std::time::Duration::from_secs(5), stream.recv());
    let bytes = wait.await.expect("in time")?;
    Some(bytes.expect("no error").to_vec())
}

fn followed(
    dir: &Dir,
) -> (
    watch::Sender<Arc<Record>>,
    ByteStream,
    tokio::task::JoinHandle<()>,
) {
    let mut record = Record::default();
    record.state.phase = Phase::Running;
    let (owner, snapshot) = watch::channel(Arc::new(record));
    let grown = Watch::new(&dir.0.join("x.log")).expect("watch");
    let grown = register(grown).expect("register");
    let (sender, receiver) = mpsc::channel(4);
    let follow = Follow {
        grown,
        snapshot,
        run: 0,
    };
    let task = tokio::spawn(pump(dir.source(both(), true), Some(follow), sender));
    (owner, receiver, task)
}

#[tokio::test]
async fn follows_until_the_end_of_the_run() {
    let dir = Dir::new("follow");
    dir.append(LINES);
    let (owner, mut stream, task) = followed(&dir);
    assert_eq!(next(&mut stream).await.expect("past"), b"a\npartial\n");
    dir.append(LINES);
    assert_eq!(next(&mut stream).await.expect("present"), b"a\npartial\n");
    // Ended and started again at once: the next run is not followed.
    dir.append(LINES);
    owner.send_modify(|record| Arc::make_mut(record).state.exits = 1);
    assert_eq!(
        next(&mut stream).await.expect("last words"),
        b"a\npartial\n"
    );
    assert_eq!(next(&mut stream).await, None);
    task.await.expect("ended");
}

#[tokio::test]
async fn stops_when_the_client_leaves() {
    let dir = Dir::new("leave");
    let (_owner, stream, task) = followed(&dir);
    drop(stream);
    tokio::time::timeout(std::time::Duration::from_secs(5), task)
        .await
        .expect("in time")
        .expect("no panic");
}
