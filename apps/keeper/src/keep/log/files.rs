//! The files of a log: whole entries in, rotation by size, rotated files compressed by a process
//! of their own.
//!
//! ```text
//!   x.log ─full─► x.log.1 ─► x.log.2 ─► …        a new x.log
//!                    └─ child: x.log.partial ─done─► x.log.N.gz, x.log.N goes
//! ```
//!
//! Only the keeper renames, so a file moves on while it is being compressed. The child is killed
//! with the keeper, and what it left is dropped at the next opening.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use keeper_protocol::{LogFile, LogFormat};
use rustix::process::Pid;

use super::child::Child;
use super::{compress, local};

/// Rotated files, the current one, and its size.
#[derive(Debug)]
pub(crate) struct Files {
    format: LogFormat,
    path: PathBuf,
    file: File,
    size: u64,
    max_size: u64,
    max_files: u32,
    compress: bool,
    /// At work, and the number that the file it reads has now.
    compressor: Option<(Child, u32)>,
}

impl Files {
    /// Opens the log, going on where an earlier run of the container ended.
    pub(crate) fn open(log: &LogFile) -> io::Result<Self> {
        let named = |e: io::Error| {
            io::Error::new(e.kind(), format!("open log {}: {e}", log.path.display()))
        };
        if let Some(dir) = log.path.parent()
            && log.format == LogFormat::Local
        {
            std::fs::create_dir_all(dir).map_err(named)?;
        }
        let file = open(&log.path, false).map_err(named)?;
        let mut size = file.metadata()?.len();
        if log.format == LogFormat::Local && size > 0 {
            let readable = File::open(&log.path).map_err(named)?;
            let whole = local::whole(&readable).map_err(named)?;
            if whole < size {
                file.set_len(whole).map_err(named)?;
                size = whole;
            }
        }
        let files = Self {
            format: log.format,
            path: log.path.clone(),
            file,
            size,
            max_size: log.max_size,
            max_files: log.max_files.max(1),
            compress: log.compress && log.max_files > 1,
            compressor: None,
        };
        match std::fs::remove_file(files.partial()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(named(e)),
            _ => Ok(files),
        }
    }

    /// Writes whole entries, rotating between them where the file would grow too large. What
    /// befalls the compressing of rotated files is told when the entries are written.
    pub(crate) fn write(&mut self, mut entries: &[u8]) -> io::Result<()> {
        let mut compressing = Ok(());
        while !entries.is_empty() {
            let fits = self.fitting(entries);
            if fits == 0 {
                let before = self.compressed();
                self.rotate()?;
                compressing = compressing.and(before).and(self.compress_next());
                continue;
            }
            let (now, later) = entries.split_at(fits);
            if let Err(error) = self.file.write_all(now) {
                match self.format {
                    // Readers find the next line by themselves.
                    LogFormat::Json => self.size = self.file.metadata()?.len(),
                    LogFormat::Local => self.file.set_len(self.size)?,
                }
                return Err(error);
            }
            self.size += now.len() as u64;
            entries = later;
        }
        compressing
    }

    /// Bytes of whole entries that the current file still takes; an empty file takes one always.
    fn fitting(&self, entries: &[u8]) -> usize {
        let room = self.max_size.saturating_sub(self.size);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        if self.max_size == 0 || entries.len() <= room {
            return entries.len();
        }
        let first = |entries: &[u8]| match self.format {
            LogFormat::Local => local::first(entries),
            LogFormat::Json => memchr::memchr(b'\n', entries).map_or(entries.len(), |end| end + 1),
        };
        let fits = match self.format {
            LogFormat::Json => memchr::memrchr(b'\n', &entries[..room]).map_or(0, |end| end + 1),
            LogFormat::Local => {
                let mut fits = 0;
                while fits < entries.len() && fits + first(&entries[fits..]) <= room {
                    fits += first(&entries[fits..]);
                }
                fits
            }
        };
        if fits == 0 && self.size == 0 {
            return first(entries);
        }
        fits
    }

    /// `log` becomes `log.1`, `log.1` becomes `log.2`, …; the last falls away.
    fn rotate(&mut self) -> io::Result<()> {
        if self.max_files > 1 {
            let last = self.max_files - 1;
            missing_is_fine(std::fs::remove_file(self.numbered(last, "")))?;
            missing_is_fine(std::fs::remove_file(self.numbered(last, ".gz")))?;
        }
        for n in (1..self.max_files).rev() {
            for kind in ["", ".gz"] {
                if n > 1 || kind.is_empty() {
                    let (from, to) = (self.numbered(n - 1, kind), self.numbered(n, kind));
                    missing_is_fine(std::fs::rename(from, to))?;
                }
            }
        }
        self.file = open(&self.path, true)?;
        self.size = 0;
        match &mut self.compressor {
            Some((_, at)) if *at + 1 < self.max_files => *at += 1,
            // What it reads is gone.
            _ => self.compressor = None,
        }
        Ok(())
    }

    /// Begins with the oldest file that is not compressed yet.
    fn compress_next(&mut self) -> io::Result<()> {
        if !self.compress || self.compressor.is_some() {
            return Ok(());
        }
        for at in (1..self.max_files).rev() {
            match File::open(self.numbered(at, "")) {
                Ok(file) => {
                    let about = file.metadata()?;
                    let last = (about.mtime(), about.mtime_nsec());
                    let made = compress::start(&file, &self.partial(), about.ino(), last)?;
                    self.compressor = Some((made, at));
                    return Ok(());
                }
                Err(error) => missing_is_fine(Err(error))?,
            }
        }
        Ok(())
    }

    /// Takes what the child finished, and goes on with the next file.
    pub(crate) fn compressed(&mut self) -> io::Result<()> {
        let Some((compressor, at)) = &self.compressor else {
            return Ok(());
        };
        let Some(whole) = compressor.ended()? else {
            return Ok(());
        };
        let at = *at;
        self.compressor = None;
        if !whole {
            self.compress = false;
            missing_is_fine(std::fs::remove_file(self.partial()))?;
            return Err(io::Error::other(
                "cannot compress it: rotated files stay as they are",
            ));
        }
        std::fs::rename(self.partial(), self.numbered(at, ".gz"))?;
        missing_is_fine(std::fs::remove_file(self.numbered(at, "")))?;
        self.compress_next()
    }

    /// The child at work; readable when there is something for [`Self::compressed`].
    pub(crate) fn compressing(&self) -> Option<(BorrowedFd<'_>, Pid)> {
        self.compressor.as_ref().map(|(c, _)| (c.as_fd(), c.pid()))
    }

    /// No more is written: a child at work is stopped, its file stays plain.
    pub(crate) fn close(&mut self) {
        let _ = self.compressed();
        if self.compressor.take().is_some() {
            let _ = std::fs::remove_file(self.partial());
        }
    }

    fn partial(&self) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".partial");
        name.into()
    }

    fn numbered(&self, n: u32, kind: &str) -> PathBuf {
        if n == 0 {
            return self.path.clone();
        }
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{n}{kind}"));
        name.into()
    }
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
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
