use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::Reader;
use crate::{Error, Format, Query, Watch, local};

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
    let number = |entry: &crate::Entry<'_>| {
        let text = std::str::from_utf8(&entry.log).expect("text");
        text.trim_end().parse().expect("a number")
    };
    while let Some(n) = reader.next(number).expect("read") {
        numbers.push(n);
    }
    numbers
}

fn all(log: &Path, query: Query) -> Vec<u32> {
    read(&mut Reader::open(log, Format::Json, query).expect("open"))
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
    let mut reader = Reader::open(&log, Format::Json, query).expect("open");
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
    let mut reader = Reader::open(&log, Format::Json, Query::default()).expect("no log yet");
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
    let mut reader = Reader::open(&log, Format::Json, Query::default()).expect("open");
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

fn pack(from: &Path, to: &Path, header: &str) {
    let file = fs::File::create(to).expect("create");
    let mut packer = flate2::GzBuilder::new()
        .extra(header)
        .write(file, flate2::Compression::fast());
    packer
        .write_all(&fs::read(from).expect("read"))
        .expect("write");
    packer.finish().expect("finish");
    fs::remove_file(from).expect("remove");
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
    assert!(matches!(
        Reader::open(&log, Format::Json, Query::default()),
        Err(Error::Io { .. })
    ));
}

#[test]
fn a_file_that_is_compressed_while_it_is_read() {
    use std::os::unix::fs::MetadataExt as _;
    let dir = Dir::new("pack");
    let log = dir.log();
    let first = dir.0.join("x.log.1");
    append(&log, 0..3);
    let mut reader = Reader::open(&log, Format::Json, Query::default()).expect("open");
    assert_eq!(read(&mut reader), [0, 1, 2]);
    append(&log, 3..5);
    rotate(&log);
    append(&log, 5..6);
    let inode = fs::metadata(&first).expect("rotated").ino();
    let header = format!(r#"{{"lastTime":"1970-01-01T00:00:04Z","inode":{inode}}}"#);
    pack(&first, &dir.0.join("x.log.1.gz"), &header);
    assert_eq!(read(&mut reader), [3, 4, 5]);
    assert_eq!(all(&log, Query::default()), [0, 1, 2, 3, 4, 5]);
    let since = |second: i128| Query {
        since: Some(second * 1_000_000_000),
        ..Query::default()
    };
    assert_eq!(all(&log, since(4)), [4, 5]);
    // What ended before is not unpacked: rubbish there does not matter.
    let packed = dir.0.join("x.log.1.gz");
    let bytes = fs::read(&packed).expect("read");
    fs::write(&packed, &bytes[..bytes.len() - 9]).expect("cut");
    assert_eq!(all(&log, since(5)), [5]);
    assert!(Reader::open(&log, Format::Json, since(4)).is_err());
}

/// A long log of either format, `count` entries with a second between them.
fn long(log: &Path, format: Format, count: i64) {
    let mut bytes = Vec::new();
    for n in 0..count {
        let time = jiff::Timestamp::from_second(n).expect("time");
        match format {
            Format::Json => bytes.extend(
                format!("{{\"log\":\"{n}\\n\",\"stream\":\"stdout\",\"time\":\"{time}\"}}\n")
                    .as_bytes(),
            ),
            Format::Local => {
                bytes.extend(local::encode(n.to_string().as_bytes(), n * 1_000_000_000));
            }
        }
    }
    fs::write(log, bytes).expect("write");
}

#[test]
fn ends_and_times_of_long_logs() {
    const COUNT: i64 = 60_000;
    for format in [Format::Json, Format::Local] {
        let dir = Dir::new(&format!("long-{format:?}"));
        let log = dir.log();
        long(&log, format, COUNT);
        for first in [0, 1, 59, 29_999, 30_000, 59_998, 59_999, 60_000] {
            let tail = Query {
                tail: Some((COUNT - first).unsigned_abs()),
                ..Query::default()
            };
            let since = Query {
                since: Some(i128::from(first) * 1_000_000_000),
                ..Query::default()
            };
            for query in [tail, since] {
                let mut reader = Reader::open(&log, format, query).expect("open");
                let numbers = read(&mut reader);
                let expected: Vec<u32> = (first as u32..COUNT as u32).collect();
                assert_eq!(numbers.len(), expected.len(), "{format:?} {query:?}");
                assert_eq!(numbers, expected);
            }
        }
    }
}

#[test]
fn resumes_where_it_was() {
    let dir = Dir::new("resume");
    let log = dir.log();
    append(&log, 0..3);
    let mut reader = Reader::open(&log, Format::Json, Query::default()).expect("open");
    assert_eq!(read(&mut reader), [0, 1, 2]);
    let place = reader.place();
    append(&log, 3..5);
    rotate(&log);
    append(&log, 5..6);
    let mut again = Reader::resume(&log, Format::Json, place).expect("resume");
    assert_eq!(read(&mut again), [3, 4, 5]);
    let nowhere = crate::Place::default();
    let mut all = Reader::resume(&log, Format::Json, nowhere).expect("resume");
    assert_eq!(read(&mut all), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn torn_messages() {
    let dir = Dir::new("torn-local");
    let log = dir.log();
    let one = |n: i64| local::encode(n.to_string().as_bytes(), n);
    let mut bytes = [one(0), one(1)].concat();
    bytes.extend(&one(2)[..20]);
    bytes.extend([one(3), vec![0; 100], one(4), vec![0xff; 3], one(5)].concat());
    let whole = bytes.len();
    bytes.extend(&one(6)[..13]);
    fs::write(&log, &bytes).expect("write");
    let mut reader = Reader::open(&log, Format::Local, Query::default()).expect("open");
    assert_eq!(read(&mut reader), [0, 1, 3, 4, 5]);
    let tail = Query {
        tail: Some(2),
        ..Query::default()
    };
    let mut last = Reader::open(&log, Format::Local, tail).expect("open");
    assert_eq!(read(&mut last), [4, 5]);
    // What was being written goes on.
    bytes.truncate(whole);
    bytes.extend(one(6));
    fs::write(&log, &bytes).expect("write");
    assert_eq!(read(&mut reader), [6]);
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
