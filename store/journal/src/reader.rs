//! Reading a log from its first wanted entry on, over its rotated files.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use crate::files::{self, Part};
use crate::lines::Lines;
use crate::{Entry, Error, Query, Result, tail};

/// A place in a log.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    query: Query,
    /// What is read now; `None` before the log exists.
    current: Option<Part>,
    lines: Lines,
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
    pub fn open(path: &Path, query: Query) -> Result<Self> {
        let mut later = files::open_all(path)?;
        let offset = match query.tail {
            Some(lines) => tail::skip_to_tail(&mut later, lines)?,
            None => 0,
        };
        let current = later.pop_front();
        Ok(Self {
            path: path.to_owned(),
            query,
            current,
            lines: Lines::at(offset),
            later,
            ended: false,
        })
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
            let Some(entry) = Entry::parse(self.lines.bytes(line)) else {
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
                self.begin(first);
                continue;
            };
            let file = current.plain()?;
            let io = |error| Error::io(&current.path, error);
            if let Some(line) = self.lines.next(file).map_err(io)? {
                return Ok(Some(line));
            }
            if let Some(next) = self.later.pop_front() {
                self.begin(next);
                continue;
            }
            // The end of the newest file we know: was it truncated, or rotated away?
            if file.metadata().map_err(io)?.len() < self.lines.offset() {
                self.lines = Lines::at(0);
                continue;
            }
            let inode = current.inode().unwrap_or_default();
            let mut after = files::open_after(&self.path, inode)?;
            if after.is_empty() {
                return Ok(None);
            }
            // What was written between our last read and the rotation.
            if let Some(line) = self.lines.next(file).map_err(io)? {
                return Ok(Some(line));
            }
            if let Some(next) = after.pop_front() {
                self.later = after;
                self.begin(next);
            }
        }
    }

    fn begin(&mut self, part: Part) {
        self.current = Some(part);
        self.lines = Lines::at(0);
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
