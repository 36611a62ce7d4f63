//! The log of one container: text in, whole entries out in as few writes as possible.
//!
//! ```text
//!   stdout, stderr ─► lines and pieces ─► Encoder ─┬─► Files
//!                                                  └─► Buffer (non-blocking) ─► a child's Files
//! ```

mod buffer;
mod child;
mod compress;
mod files;
mod local;

use std::io;
use std::os::fd::BorrowedFd;

use keeper_protocol::LogFormat;

use self::buffer::Buffer;
use self::files::Files;
use super::encode::{self, PIECE, Stream};

/// A buffer that grew beyond this is given back after use.
const KEEP: usize = 16 << 10;

/// Where output is kept, or nowhere.
#[derive(Debug, Default)]
pub(crate) struct Log {
    target: Option<Target>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    out: Vec<u8>,
    failing: bool,
}

#[derive(Debug)]
struct Target {
    encoder: Encoder,
    sink: Sink,
    /// For messages.
    path: std::path::PathBuf,
}

#[derive(Debug)]
enum Sink {
    Files(Files),
    Buffer(Buffer),
}

#[derive(Debug)]
enum Encoder {
    Json(encode::Encoder),
    Local(local::Encoder),
}

impl Encoder {
    fn entry(
        &mut self,
        out: &mut Vec<u8>,
        stream: Stream,
        head: &[u8],
        tail: &[u8],
        newline: bool,
    ) {
        match self {
            Self::Json(json) => json.entry(out, stream, head, tail, newline),
            Self::Local(local) => local.entry(out, stream, head, tail, newline),
        }
    }
}

impl Log {
    /// Opens the file, going on where an earlier run of the container ended.
    pub(crate) fn open(log: &keeper_protocol::Log) -> io::Result<Self> {
        let target = match log {
            keeper_protocol::Log::None => None,
            keeper_protocol::Log::File(log) => Some(Target {
                encoder: match log.format {
                    LogFormat::Json => Encoder::Json(encode::Encoder::new(&log.attrs)),
                    LogFormat::Local => Encoder::Local(local::Encoder::new(&log.attrs)?),
                },
                sink: match log.buffer {
                    Some(size) => Sink::Buffer(Buffer::start(log, size)?),
                    None => Sink::Files(Files::open(log)?),
                },
                path: log.path.clone(),
            }),
        };
        Ok(Self {
            target,
            ..Self::default()
        })
    }

    /// Takes what was read from a stream. An error is given once until writing works again; the
    /// entries it befell are lost, as the container must go on.
    pub(crate) fn write(&mut self, stream: Stream, data: &[u8]) -> io::Result<()> {
        let Some(target) = &mut self.target else {
            return Ok(());
        };
        let held = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        self.out.clear();
        entries(&mut target.encoder, &mut self.out, held, stream, data);
        self.emit()
    }

    /// The stream has ended: what has no newline yet is an entry without one.
    pub(crate) fn end(&mut self, stream: Stream) -> io::Result<()> {
        let Some(target) = &mut self.target else {
            return Ok(());
        };
        let held = match stream {
            Stream::Stdout => std::mem::take(&mut self.stdout),
            Stream::Stderr => std::mem::take(&mut self.stderr),
        };
        self.out.clear();
        if !held.is_empty() {
            target
                .encoder
                .entry(&mut self.out, stream, &[], &held, false);
        }
        self.emit()
    }

    /// Readable when [`Self::compressed`] should be called; another one each time.
    pub(crate) fn compressing(&self) -> Option<(BorrowedFd<'_>, rustix::process::Pid)> {
        match &self.target.as_ref()?.sink {
            Sink::Files(files) => files.compressing(),
            Sink::Buffer(_) => None,
        }
    }

    /// A rotated file was compressed.
    pub(crate) fn compressed(&mut self) -> io::Result<()> {
        match &mut self.target {
            Some(Target {
                sink: Sink::Files(files),
                path,
                ..
            }) => files.compressed().map_err(|e| named(path, &e)),
            _ => Ok(()),
        }
    }

    /// Everything was written: nothing is left behind but the files.
    pub(crate) fn close(&mut self) {
        match self.target.take().map(|target| target.sink) {
            Some(Sink::Files(mut files)) => files.close(),
            Some(Sink::Buffer(buffer)) => drop(buffer),
            None => {}
        }
    }

    fn emit(&mut self) -> io::Result<()> {
        let Some(target) = &mut self.target else {
            return Ok(());
        };
        let result = match &mut target.sink {
            Sink::Files(files) => files.write(&self.out),
            Sink::Buffer(buffer) => buffer.write(&self.out),
        };
        if self.out.capacity() > KEEP {
            self.out = Vec::new();
        }
        match result {
            Err(error) if !std::mem::replace(&mut self.failing, true) => {
                Err(named(&target.path, &error))
            }
            Err(_) => Ok(()),
            Ok(()) => {
                self.failing = false;
                Ok(())
            }
        }
    }
}

fn named(path: &std::path::Path, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("write log {}: {error}", path.display()),
    )
}

/// Bytes of the whole entries at the beginning of `held`.
fn whole(format: LogFormat, held: &[u8]) -> usize {
    match format {
        LogFormat::Json => memchr::memrchr(b'\n', held).map_or(0, |end| end + 1),
        LogFormat::Local => {
            let mut end = 0;
            while let Some(length) = held.get(end..).and_then(|rest| rest.first_chunk::<4>()) {
                let next = end + 8 + u32::from_be_bytes(*length) as usize;
                if next > held.len() {
                    break;
                }
                end = next;
            }
            end
        }
    }
}

/// Cuts `held` and `data` into lines, and lines into pieces.
fn entries(
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
    held: &mut Vec<u8>,
    stream: Stream,
    mut data: &[u8],
) {
    out.reserve(data.len() + data.len() / 2);
    loop {
        let room = PIECE - held.len();
        let window = &data[..data.len().min(room)];
        if let Some(end) = memchr::memchr(b'\n', window) {
            encoder.entry(out, stream, held, &data[..end], true);
            held.clear();
            data = &data[end + 1..];
        } else if window.len() == room {
            encoder.entry(out, stream, held, window, false);
            held.clear();
            data = &data[room..];
        } else {
            held.extend_from_slice(window);
            if held.is_empty() {
                // Nothing is kept for a stream that pauses between lines.
                *held = Vec::new();
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn log(dir: &Path, max_size: u64, max_files: u32) -> Log {
        open(dir, LogFormat::Json, max_size, max_files, None)
    }

    fn open(
        dir: &Path,
        format: LogFormat,
        max_size: u64,
        max_files: u32,
        buffer: Option<u64>,
    ) -> Log {
        Log::open(&keeper_protocol::Log::File(keeper_protocol::LogFile {
            format,
            path: dir.join("log"),
            max_size,
            max_files,
            compress: format == LogFormat::Local,
            attrs: String::new(),
            buffer,
        }))
        .expect("open")
    }

    fn unpacked(path: &Path) -> Vec<u8> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).expect("compressed file");
        let mut reader = flate2::read::GzDecoder::new(file);
        reader.read_to_end(&mut bytes).expect("gzip");
        bytes
    }

    /// The `log` and `stream` members of every entry.
    fn texts(path: &Path) -> Vec<(String, String)> {
        std::fs::read_to_string(path)
            .expect("read")
            .lines()
            .map(|line| {
                let entry: serde_json::Value = serde_json::from_str(line).expect("json");
                let text = |key: &str| entry[key].as_str().expect("text").to_owned();
                (text("log"), text("stream"))
            })
            .collect()
    }

    #[test]
    fn lines_come_out_whole_whatever_the_reads_were() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut log = log(dir.path(), 0, 1);
        for byte in b"one\n\ntwo" {
            log.write(Stream::Stdout, &[*byte]).expect("write");
        }
        log.write(Stream::Stderr, b"err\n").expect("write");
        log.end(Stream::Stdout).expect("end");
        log.end(Stream::Stderr).expect("end");
        let texts: Vec<_> = texts(&dir.path().join("log"));
        let texts: Vec<_> = texts.iter().map(|(l, s)| (&**l, &**s)).collect();
        assert_eq!(
            texts,
            [
                ("one\n", "stdout"),
                ("\n", "stdout"),
                ("err\n", "stderr"),
                ("two", "stdout")
            ]
        );
    }

    #[test]
    fn long_lines_are_cut_at_sixteen_kibibytes() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut log = log(dir.path(), 0, 1);
        let mut data = vec![b'x'; 2 * PIECE + 5];
        data.push(b'\n');
        log.write(Stream::Stdout, &data[..100]).expect("write");
        log.write(Stream::Stdout, &data[100..]).expect("write");
        // Exactly one piece and its newline: the newline is an entry of its own.
        log.write(Stream::Stdout, &data[..PIECE]).expect("write");
        log.write(Stream::Stdout, b"\n").expect("write");
        let lengths: Vec<_> = texts(&dir.path().join("log"))
            .iter()
            .map(|(l, _)| (l.len(), l.ends_with('\n')))
            .collect();
        assert_eq!(
            lengths,
            [
                (PIECE, false),
                (PIECE, false),
                (6, true),
                (PIECE, false),
                (1, true)
            ]
        );
    }

    #[test]
    fn rotation_keeps_entries_whole_and_the_newest_files() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut log = log(dir.path(), 1000, 3);
        for burst in 0..20 {
            let lines: String = (0..5).map(|n| format!("{}\n", burst * 5 + n)).collect();
            log.write(Stream::Stdout, lines.as_bytes()).expect("write");
        }
        let mut seen = Vec::new();
        for name in ["log.2", "log.1", "log"] {
            let path = dir.path().join(name);
            assert!(
                std::fs::metadata(&path).expect(name).len() <= 1000,
                "{name}"
            );
            seen.extend(texts(&path).into_iter().map(|(l, _)| l));
        }
        assert!(!dir.path().join("log.3").exists());
        let first = 100 - seen.len();
        let expected: Vec<_> = (first..100).map(|n| format!("{n}\n")).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_single_file_starts_over_and_a_huge_entry_still_fits() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut log = log(dir.path(), 50, 1);
        log.write(Stream::Stdout, b"first\n").expect("write");
        log.write(Stream::Stdout, &[&[b'y'; 500][..], b"\n"].concat())
            .expect("write");
        let texts = texts(&dir.path().join("log"));
        assert_eq!(texts.len(), 1);
        assert_eq!(texts[0].0.len(), 501);
    }

    #[test]
    fn rotated_files_are_compressed_and_nothing_is_lost() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut log = open(dir.path(), LogFormat::Local, 20_000, 50, None);
        for n in 0..5000 {
            let line = format!("line {n}\n");
            log.write(Stream::Stdout, line.as_bytes()).expect("write");
            if n % 100 == 0 {
                log.compressed().expect("compressed");
            }
        }
        while let Some((child, _)) = log.compressing() {
            let mut fds = [rustix::event::PollFd::new(
                &child,
                rustix::event::PollFlags::IN,
            )];
            rustix::event::poll(&mut fds, None).expect("poll");
            log.compressed().expect("compressed");
        }
        log.close();
        let name = |n: u32, kind: &str| dir.path().join(format!("log.{n}{kind}"));
        let count = (1..).find(|n| !name(*n, ".gz").exists()).expect("end") - 1;
        assert!(count > 5, "{count}");
        let mut all = Vec::new();
        for n in (1..=count).rev() {
            assert!(!name(n, "").exists());
            all.extend(unpacked(&name(n, ".gz")));
        }
        all.extend(std::fs::read(dir.path().join("log")).expect("log"));
        assert!(!dir.path().join("log.partial").exists());
        let mut at = 0;
        for n in 0..5000 {
            let length = local::first(&all[at..]);
            let text = format!("line {n}");
            let entry = &all[at..at + length];
            assert!(
                entry.windows(text.len()).any(|w| w == text.as_bytes()),
                "{n}"
            );
            at += length;
        }
        assert_eq!(at, all.len());
    }

    #[test]
    fn what_cannot_be_compressed_loses_no_entries() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut log = open(dir.path(), LogFormat::Local, 1000, 100, None);
        std::fs::create_dir(dir.path().join("log.partial")).expect("in the way");
        let mut told = Vec::new();
        for n in 0..100 {
            let line = format!("line {n:03}\n");
            told.extend(log.write(Stream::Stdout, line.as_bytes()).err());
        }
        assert!(!told.is_empty());
        log.close();
        let files = (1..).map(|n| dir.path().join(format!("log.{n}")));
        let files: Vec<_> = files.take_while(|path| path.exists()).collect();
        assert!(files.len() > 2, "{files:?}");
        let mut all = Vec::new();
        for path in files.iter().rev().chain([&dir.path().join("log")]) {
            all.extend(std::fs::read(path).expect("log"));
        }
        for n in 0..100 {
            let text = format!("line {n:03}");
            assert!(
                all.windows(text.len()).any(|w| w == text.as_bytes()),
                "{text}"
            );
        }
    }

    #[test]
    fn a_child_that_hangs_holds_the_end_up_only_so_long() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut log = open(dir.path(), LogFormat::Json, 0, 1, Some(64 << 10));
        let Some(Target {
            sink: Sink::Buffer(buffer),
            ..
        }) = &log.target
        else {
            panic!("not buffered");
        };
        let child = buffer.child();
        let stop = rustix::process::Signal::STOP;
        rustix::process::pidfd_send_signal(&child, stop).expect("stop");
        // More than the pipe takes at once: a part of it is left over.
        let lines = [&[b'x'; 999][..], b"\n"].concat().repeat(60);
        for _ in 0..3 {
            let _ = log.write(Stream::Stdout, &lines);
        }
        log.close();
        let mut fds = [rustix::event::PollFd::new(
            &child,
            rustix::event::PollFlags::IN,
        )];
        assert_eq!(rustix::event::poll(&mut fds, None), Ok(1), "it is gone");
    }

    #[test]
    fn a_buffered_log_never_waits_and_keeps_entries_whole() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut log = open(dir.path(), LogFormat::Json, 0, 1, Some(64 << 10));
        let Some(Target {
            sink: Sink::Buffer(buffer),
            ..
        }) = &log.target
        else {
            panic!("not buffered");
        };
        let child = buffer.child();
        let signal = |signal| rustix::process::pidfd_send_signal(&child, signal);
        signal(rustix::process::Signal::STOP).expect("stop");
        let line = [&[b'x'; 999][..], b"\n"].concat();
        let told: Vec<_> = (0..500)
            .filter_map(|_| log.write(Stream::Stdout, &line).err())
            .collect();
        // Once for the whole row of losses.
        assert_eq!(told.len(), 1);
        assert!(told[0].to_string().contains("being dropped"), "{}", told[0]);
        signal(rustix::process::Signal::CONT).expect("go on");
        log.close();
        let texts = texts(&dir.path().join("log"));
        assert!((40..500).contains(&texts.len()), "{}", texts.len());
        assert!(texts.iter().all(|(text, _)| text.len() == 1000));
    }
}
