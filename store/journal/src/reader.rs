//! Reading a log from its first wanted entry on, over its rotated files.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use crate::files::{self, Part};
use crate::records::Records;
use crate::{Entry, Error, Format, Query, Result, since, tail};

/// Up to where a log was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Place {
    inode: u64,
    offset: u64,
}

/// A log being read.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    format: Format,
    query: Query,
    /// What is read now; `None` before the log exists.
    current: Option<Part>,
    records: Records,
    /// What comes after.
    later: VecDeque<Part>,
    /// The end by time was met.
    ended: bool,
}

impl Reader {
    /// Opens the log whose newest file is `path`. It need not exist yet.
    ///
    /// # Errors
    /// When a file cannot be read, or the query reaches into a compressed one.
    pub fn open(path: &Path, format: Format, query: Query) -> Result<Self> {
        let mut later = files::open_all(path)?;
        let offset = match (query.tail, query.since) {
            (Some(lines), _) => tail::skip_to_tail(&mut later, format, lines)?,
            (None, Some(nanos)) => since::skip_to(&mut later, format, nanos)?,
            (None, None) => 0,
        };
        let mut current = later.pop_front();
        if let Some(first) = &mut current {
            first.plain()?;
        }
        Ok(Self {
            path: path.to_owned(),
            format,
            query,
            current,
            records: Records::at(format, offset),
            later,
            ended: false,
        })
    }

    /// Goes on where an earlier reader of the whole log was; from the beginning of what is left
    /// when that is no longer there.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn resume(path: &Path, format: Format, place: Place) -> Result<Self> {
        let mut later = files::open_all(path)?;
        let at = later.iter().rposition(|part| part.inode() == place.inode);
        let offset = match at {
            Some(at) => {
                later.drain(..at);
                place.offset
            }
            None => 0,
        };
        let mut current = later.pop_front();
        if let Some(first) = &mut current {
            first.plain()?;
        }
        Ok(Self {
            path: path.to_owned(),
            format,
            query: Query::default(),
            current,
            records: Records::at(format, offset),
            later,
            ended: false,
        })
    }

    /// Up to where it was read.
    pub fn place(&self) -> Place {
        Place {
            inode: self.current.as_ref().map_or(0, Part::inode),
            offset: self.records.position(),
        }
    }

    /// The end by time (`until`) was met: no more entries will come.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Hands the next entry to `take` and answers what it makes of it; `None` at the end of what is
    /// written so far. It may be asked again later: it goes on over rotation, and starts again at
    /// the top of a log that was truncated.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn next<T>(&mut self, take: impl FnOnce(&Entry<'_>) -> T) -> Result<Option<T>> {
        while !self.ended {
            let Some(line) = self.next_line()? else {
                return Ok(None);
            };
            let Some(entry) = Entry::parse(self.format, self.records.bytes(line)) else {
                continue;
            };
            match judge(&entry, self.query) {
                Verdict::Skip => {}
                Verdict::End => self.ended = true,
                Verdict::Take => return Ok(Some(take(&entry))),
            }
        }
        Ok(None)
    }

    fn next_line(&mut self) -> Result<Option<std::ops::Range<usize>>> {
        loop {
            let Some(current) = &self.current else {
                self.later = files::open_all(&self.path)?;
                let Some(first) = self.later.pop_front() else {
                    return Ok(None);
                };
                self.begin(first)?;
                continue;
            };
            let file = current.file();
            let io = |error| Error::io(&current.path, error);
            if let Some(line) = self.records.next(file).map_err(io)? {
                return Ok(Some(line));
            }
            if let Some(next) = self.later.pop_front() {
                self.begin(next)?;
                continue;
            }
            // The end of the newest file we know: was it truncated, or rotated away?
            if file.metadata().map_err(io)?.len() < self.records.offset() {
                self.records = Records::at(self.format, 0);
                continue;
            }
            let inode = current.inode();
            let mut after = files::open_after(&self.path, inode)?;
            if after.is_empty() {
                return Ok(None);
            }
            // What was written between our last read and the rotation.
            if let Some(line) = self.records.next(file).map_err(io)? {
                return Ok(Some(line));
            }
            if let Some(next) = after.pop_front() {
                self.later = after;
                self.begin(next)?;
            }
        }
    }

    fn begin(&mut self, mut part: Part) -> Result<()> {
        part.plain()?;
        self.current = Some(part);
        self.records = Records::at(self.format, 0);
        Ok(())
    }
}

enum Verdict {
    Take,
    Skip,
    End,
}

fn judge(entry: &Entry<'_>, query: Query) -> Verdict {
    if query.since.is_none() && query.until.is_none() {
        return Verdict::Take;
    }
    let time = entry.nanos();
    if query.since.is_some_and(|since| time < since) {
        Verdict::Skip
    } else if query.until.is_some_and(|until| time > until) {
        Verdict::End
    } else {
        Verdict::Take
    }
}

#[cfg(test)]
mod tests;
