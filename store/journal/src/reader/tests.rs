use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::Reader;
use crate::{Error, Query, Watch};

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("journal-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("make directory");
        Self(path)
    }

    fn log(&self) -> PathBuf {
        self.0.join("x.log")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn line(n: u32) -> String {
    let time = format!("1970-01-01T00:{:02}:{:02}Z", n / 60, n % 60);
    format!("{{\"log\":\"{n}\\n\",\"stream\":\"stdout\",\"time\":\"{time}\"}}\n")
}

fn append(path: &Path, numbers: std::ops::Range<u32>) {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .expect("open");
    for n in numbers {
        file.write_all(line(n).as_bytes()).expect("write");
    }
}

fn rotate(log: &Path) {
    let name = |n: u32| PathBuf::from(format!("{}.{n}", log.display()));
    for n in (1..9).rev() {
        let _ = fs::rename(name(n), name(n + 1));
    }
    fs::rename(log, name(1)).expect("rotate");
}

fn read(reader: &mut Reader) -> Vec<u32> {
    let mut numbers = Vec::new();
    let number = |entry: &crate::Entry<'_>| entry.log.trim_end().parse().expect("a number");
    while let Some(n) = reader.next(number).expect("read") {
        numbers.push(n);
    }
    numbers
}

fn all(log: &Path, query: Query) -> Vec<u32> {
    read(&mut Reader::open(log, query).expect("open"))
}

#[test]
fn tail_and_times_over_rotated_files() {
    let dir = Dir::new("tail");
    let log = dir.log();
    for n in 0..3 {
        append(&log, n * 10..n * 10 + 10);
        if n < 2 {
            rotate(&log);
        }
    }
    assert_eq!(all(&log, Query::default()), (0..30).collect::<Vec<_>>());
    for (tail, first) in [
        (0, 30),
        (1, 29),
        (10, 20),
        (11, 19),
        (20, 10),
        (25, 5),
        (30, 0),
        (99, 0),
    ] {
        let query = Query {
            tail: Some(tail),
            ..Query::default()
        };
        assert_eq!(
            all(&log, query),
            (first..30).collect::<Vec<_>>(),
            "tail {tail}"
        );
    }
    let second = 1_000_000_000;
    let query = Query {
        since: Some(8 * second),
        until: Some(21 * second),
        ..Query::default()
    };
    let mut reader = Reader::open(&log, query).expect("open");
    assert_eq!(read(&mut reader), (8..22).collect::<Vec<_>>());
    assert!(reader.ended());
    let query = Query {
        tail: Some(5),
        since: Some(27 * second),
        until: None,
    };
    assert_eq!(all(&log, query), [27, 28, 29]);
}

#[test]
fn follows_rotation_and_truncation() {
    let dir = Dir::new("follow");
    let log = dir.log();
    let mut reader = Reader::open(&log, Query::default()).expect("no log yet");
    assert!(read(&mut reader).is_empty());
    append(&log, 0..3);
    assert_eq!(read(&mut reader), [0, 1, 2]);
    append(&log, 3..4);
    rotate(&log);
    append(&log, 4..6);
    rotate(&log);
    append(&log, 6..7);
    assert_eq!(read(&mut reader), [3, 4, 5, 6]);
    fs::write(&log, "").expect("truncate");
    assert!(read(&mut reader).is_empty());
    append(&log, 7..8);
    assert_eq!(read(&mut reader), [7]);
}

#[test]
fn torn_lines() {
    let dir = Dir::new("torn");
    let log = dir.log();
    append(&log, 0..2);
    let mut file = OpenOptions::new().append(true).open(&log).expect("open");
    file.write_all(&line(2).as_bytes()[..20]).expect("write");
    let tail = Query {
        tail: Some(1),
        ..Query::default()
    };
    assert_eq!(all(&log, tail), [1]);
    let mut reader = Reader::open(&log, Query::default()).expect("open");
    assert_eq!(read(&mut reader), [0, 1]);
    file.write_all(&line(2).as_bytes()[20..]).expect("write");
    assert_eq!(read(&mut reader), [2]);
    file.write_all(b"{\"log\":\"lost\0\0").expect("write");
    append(&log, 3..4);
    file.write_all(b"rubbish\n\n").expect("write");
    append(&log, 4..5);
    assert_eq!(read(&mut reader), [3, 4]);
    file.write_all(&vec![b'x'; 9 << 20]).expect("write");
    file.write_all(b"\n").expect("write");
    append(&log, 5..6);
    assert_eq!(read(&mut reader), [5]);
}

#[test]
fn compressed_only_matters_when_reached() {
    let dir = Dir::new("gz");
    let log = dir.log();
    append(&log, 0..5);
    fs::write(dir.0.join("x.log.1.gz"), b"\x1f\x8b").expect("write");
    let tail = Query {
        tail: Some(5),
        ..Query::default()
    };
    assert_eq!(all(&log, tail), [0, 1, 2, 3, 4]);
    let mut reader = Reader::open(&log, Query::default()).expect("open");
    assert!(matches!(reader.next(|_| ()), Err(Error::Compressed { .. })));
}

#[test]
fn tail_of_a_long_log_is_quick() {
    let dir = Dir::new("long");
    let log = dir.log();
    let chunk: String = (0..1000).map(line).collect();
    fs::write(&log, chunk.repeat(1000)).expect("write");
    let begin = std::time::Instant::now();
    let tail = Query {
        tail: Some(10),
        ..Query::default()
    };
    assert_eq!(all(&log, tail).len(), 10);
    assert!(
        begin.elapsed() < std::time::Duration::from_millis(50),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn watch_is_told() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let dir = Dir::new("watch");
    let log = dir.log();
    let watch = Watch::new(&log).expect("watch");
    let readable = |milliseconds: i64| {
        let mut fds = [PollFd::new(&watch, PollFlags::IN)];
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: milliseconds * 1_000_000,
        };
        poll(&mut fds, Some(&wait)).expect("poll") > 0
    };
    assert!(!readable(0));
    append(&log, 0..1);
    assert!(readable(900));
    watch.drain().expect("drain");
    assert!(!readable(0));
    rotate(&log);
    assert!(readable(900));
}
