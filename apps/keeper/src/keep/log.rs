//! The log of one container: text in, whole entries out in as few writes as possible, rotation.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::encode::{Encoder, PIECE, Stream};

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
    path: PathBuf,
    file: File,
    size: u64,
    max_size: u64,
    max_files: u32,
}

impl Log {
    /// Opens the file, going on where an earlier run of the container ended.
    pub(crate) fn open(log: &keeper_protocol::Log) -> io::Result<Self> {
        let target = match log {
            keeper_protocol::Log::None => None,
            keeper_protocol::Log::JsonFile {
                path,
                max_size,
                max_files,
                attrs,
            } => {
                let named = |e: io::Error| {
                    io::Error::new(e.kind(), format!("open log {}: {e}", path.display()))
                };
                let file = open(path, false).map_err(named)?;
                Some(Target {
                    encoder: Encoder::new(attrs),
                    size: file.metadata()?.len(),
                    path: path.clone(),
                    file,
                    max_size: *max_size,
                    max_files: (*max_files).max(1),
                })
            }
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

    fn emit(&mut self) -> io::Result<()> {
        let Some(target) = &mut self.target else {
            return Ok(());
        };
        let result = target.write(&self.out);
        if self.out.capacity() > KEEP {
            self.out = Vec::new();
        }
        match result {
            Err(error) if !std::mem::replace(&mut self.failing, true) => Err(io::Error::new(
                error.kind(),
                format!("write log {}: {error}", target.path.display()),
            )),
            Err(_) => Ok(()),
            Ok(()) => {
                self.failing = false;
                Ok(())
            }
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
        if let Some(end) = window.iter().position(|b| *b == b'\n') {
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

impl Target {
    /// Writes whole entries, rotating between them where the file would grow too large.
    fn write(&mut self, mut entries: &[u8]) -> io::Result<()> {
        while !entries.is_empty() {
            let fits = self.fitting(entries);
            if fits == 0 {
                self.rotate()?;
                continue;
            }
            let (now, later) = entries.split_at(fits);
            let result = self.file.write_all(now);
            self.size += now.len() as u64;
            result?;
            entries = later;
        }
        Ok(())
    }

    /// Bytes of whole entries that the current file still takes; an empty file takes one always.
    fn fitting(&self, entries: &[u8]) -> usize {
        let room = self.max_size.saturating_sub(self.size);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        if self.max_size == 0 || entries.len() <= room {
            return entries.len();
        }
        let fits = entries[..room].iter().rposition(|b| *b == b'\n');
        match fits {
            Some(end) => end + 1,
            None if self.size > 0 => 0,
            None => entries
                .iter()
                .position(|b| *b == b'\n')
                .map_or(entries.len(), |end| end + 1),
        }
    }

    /// `log` becomes `log.1`, `log.1` becomes `log.2`, …; the last falls away.
    fn rotate(&mut self) -> io::Result<()> {
        for n in (1..self.max_files).rev() {
            match std::fs::rename(numbered(&self.path, n - 1), numbered(&self.path, n)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        self.file = open(&self.path, true)?;
        self.size = 0;
        Ok(())
    }
}

fn numbered(path: &Path, n: u32) -> PathBuf {
    if n == 0 {
        return path.to_path_buf();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}

fn open(path: &Path, truncate: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o640);
    if truncate {
        // With one file only, what it held is dropped.
        options.write(true).truncate(true).open(path)?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o640)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(dir: &Path, max_size: u64, max_files: u32) -> Log {
        Log::open(&keeper_protocol::Log::JsonFile {
            path: dir.join("log"),
            max_size,
            max_files,
            attrs: String::new(),
        })
        .expect("open")
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
}
