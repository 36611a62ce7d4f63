//! Lines of a growing file.

use std::fs::File;
use std::os::unix::fs::FileExt;

const BLOCK: usize = 64 << 10;
/// Longest line; docker cuts output at 16 KiB, which escaped is some 100 KiB.
const LONGEST: usize = 4 << 20;

/// Reads whole lines by position. What has no `\n` yet stays in the buffer until it has.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    buffer: Vec<u8>,
    /// Consumed part of the buffer.
    start: usize,
    /// Searched for a newline up to here.
    searched: usize,
    /// Position in the file of the buffer's end.
    offset: u64,
    /// Inside a line that was too long: drop up to its end.
    dropping: bool,
}

impl Lines {
    pub(crate) fn at(offset: u64) -> Self {
        Self {
            offset,
            ..Self::default()
        }
    }

    /// Position in the file up to which it was read.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next line without its `\n`, as a range of [`Self::bytes`]; `None` at the end of what is
    /// written. More may come.
    pub(crate) fn next(&mut self, file: &File) -> std::io::Result<Option<std::ops::Range<usize>>> {
        loop {
            let rest = &self.buffer[self.searched..];
            if let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
                let line = self.start..self.searched + at;
                self.start = line.end + 1;
                self.searched = self.start;
                if !std::mem::take(&mut self.dropping) {
                    return Ok(Some(line));
                }
                continue;
            }
            self.searched = self.buffer.len();
            if !self.fill(file)? {
                return Ok(None);
            }
        }
    }

    pub(crate) fn bytes(&self, line: std::ops::Range<usize>) -> &[u8] {
        &self.buffer[line]
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
