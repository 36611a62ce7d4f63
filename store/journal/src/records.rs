//! Records of a growing file: lines of JSON, or messages between their lengths.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::{Format, local};

const BLOCK: usize = 64 << 10;
/// Longest line; docker cuts output at 16 KiB, which escaped is some 100 KiB.
const LONGEST: usize = 4 << 20;

/// Reads whole records by position. What is not whole yet stays in the buffer until it is.
#[derive(Debug)]
pub(crate) struct Records {
    format: Format,
    buffer: Vec<u8>,
    /// Consumed part of the buffer.
    start: usize,
    /// Searched for a newline up to here.
    searched: usize,
    /// Position in the file of the buffer's end.
    offset: u64,
    /// Inside of something that is no record: drop up to its end.
    dropping: bool,
}

impl Records {
    /// From a place where a record begins.
    pub(crate) fn at(format: Format, offset: u64) -> Self {
        Self {
            format,
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            offset,
            dropping: false,
        }
    }

    /// From the first record that begins after any place.
    pub(crate) fn after(format: Format, offset: u64) -> Self {
        Self {
            dropping: true,
            ..Self::at(format, offset)
        }
    }

    /// How they are written.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Position in the file up to which it was read.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Position in the file of what was not given out yet.
    pub(crate) fn position(&self) -> u64 {
        self.offset - (self.buffer.len() - self.start) as u64
    }

    /// Where in the file a record just given out begins.
    pub(crate) fn start_of(&self, record: &Range<usize>) -> u64 {
        let lead = match self.format {
            Format::Json => 0,
            Format::Local => local::LENGTH,
        };
        self.offset - (self.buffer.len() - record.start + lead) as u64
    }

    /// The next record without what bounds it, as a range of [`Self::bytes`]; `None` at the end of
    /// what is written. More may come.
    pub(crate) fn next(&mut self, file: &File) -> std::io::Result<Option<Range<usize>>> {
        loop {
            let found = match self.format {
                Format::Json => self.line(),
                Format::Local => self.message(),
            };
            if found.is_some() {
                return Ok(found);
            }
            if !self.fill(file)? {
                return Ok(None);
            }
        }
    }

    pub(crate) fn bytes(&self, record: Range<usize>) -> &[u8] {
        &self.buffer[record]
    }

    fn line(&mut self) -> Option<Range<usize>> {
        loop {
            let rest = &self.buffer[self.searched..];
            let Some(at) = memchr::memchr(b'\n', rest) else {
                self.searched = self.buffer.len();
                return None;
            };
            let line = self.start..self.searched + at;
            self.start = line.end + 1;
            self.searched = self.start;
            if !std::mem::take(&mut self.dropping) {
                return Some(line);
            }
        }
    }

    fn message(&mut self) -> Option<Range<usize>> {
        loop {
            if self.dropping {
                // What begins like a message with its length before it; checked below.
                let from = self.start + local::LENGTH;
                let rest = self.buffer.get(from..)?;
                let Some(at) = memchr::memmem::find(rest, local::START) else {
                    let keep = local::LENGTH + local::START.len();
                    self.start = self.start.max(self.buffer.len().saturating_sub(keep));
                    return None;
                };
                self.start += at;
                self.dropping = false;
            }
            let length = length_at(&self.buffer, self.start)?;
            let body = self.start + local::LENGTH..self.start + local::LENGTH + length;
            if length > 0 && length <= local::LARGEST {
                let Some(again) = length_at(&self.buffer, body.end) else {
                    // Not all of it is here. What does not begin as a message is not waited for.
                    let begun = &self.buffer[body.start..];
                    let enough = begun.len().min(local::START.len());
                    if begun[..enough] == local::START[..enough] {
                        return None;
                    }
                    self.start += 1;
                    self.dropping = true;
                    continue;
                };
                if again == length {
                    self.start = body.end + local::LENGTH;
                    return Some(body);
                }
            }
            self.start += 1;
            self.dropping = true;
        }
    }

    fn fill(&mut self, file: &File) -> std::io::Result<bool> {
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.len() > LONGEST {
            self.buffer.clear();
            self.dropping = true;
        }
        let have = self.buffer.len();
        self.searched = have;
        self.buffer.resize(have + BLOCK, 0);
        let read = file.read_at(&mut self.buffer[have..], self.offset);
        self.buffer.truncate(have + *read.as_ref().unwrap_or(&0));
        let read = read?;
        self.offset += read as u64;
        Ok(read > 0)
    }
}

fn length_at(buffer: &[u8], at: usize) -> Option<usize> {
    let length = buffer.get(at..)?.first_chunk::<{ local::LENGTH }>()?;
    usize::try_from(u32::from_be_bytes(*length)).ok()
}
