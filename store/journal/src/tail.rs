//! Where the last n lines begin, found by reading blocks from the end.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::files::Part;
use crate::records::Records;
use crate::{Error, Format, Result, local};

const BLOCK: usize = 64 << 10;

/// Drops the files that are not needed for the last `lines` lines; answers the offset in the first
/// file left. A line without its `\n` is not counted: it is torn, or still being written.
pub(crate) fn skip_to_tail(parts: &mut VecDeque<Part>, format: Format, lines: u64) -> Result<u64> {
    let mut wanted = lines;
    for at in (0..parts.len()).rev() {
        let path = parts[at].path.clone();
        let file = parts[at].plain()?;
        let found = match format {
            Format::Json => last_lines(file, wanted),
            Format::Local => last_messages(file, wanted),
        };
        let found = found.map_err(|error| Error::io(&path, error))?;
        match found {
            Found::At(offset) => {
                parts.drain(..at);
                return Ok(offset);
            }
            Found::Fewer(have) => wanted -= have,
        }
    }
    Ok(0)
}

enum Found {
    /// The last n lines begin here.
    At(u64),
    /// There are only so many.
    Fewer(u64),
}

fn last_lines(file: &File, wanted: u64) -> std::io::Result<Found> {
    let mut end = file.metadata()?.len();
    let mut block = vec![0; BLOCK];
    // Newlines seen; line number n from the end begins after newline n + 1 from the end.
    let mut seen = 0;
    while end > 0 {
        let length = usize::try_from(end).map_or(BLOCK, |end| end.min(BLOCK));
        let start = end - length as u64;
        let block = &mut block[..length];
        file.read_exact_at(block, start)?;
        for at in memchr::memrchr_iter(b'\n', block) {
            if seen == wanted {
                return Ok(Found::At(start + at as u64 + 1));
            }
            seen += 1;
        }
        end = start;
    }
    Ok(if seen == wanted && wanted > 0 {
        Found::At(0)
    } else {
        Found::Fewer(seen)
    })
}

/// Back from length to length.
fn last_messages(file: &File, wanted: u64) -> std::io::Result<Found> {
    const BOTH: usize = 2 * local::LENGTH;
    let size = file.metadata()?.len();
    if wanted == 0 {
        return Ok(Found::At(size));
    }
    let (mut end, mut seen) = (size, 0);
    // A block of the file that ends at `end`, read when the message before is not in it.
    let (mut block, mut have) = (vec![0; BLOCK], 0);
    while end > 0 {
        let Some(length) = before(&block[..have]) else {
            have = usize::try_from(end).map_or(BLOCK, |end| end.min(BLOCK));
            file.read_exact_at(&mut block[..have], end - have as u64)?;
            match before(&block[..have]) {
                Some(_) => continue,
                None => return messages_from_the_front(file, wanted),
            }
        };
        let whole = length + BOTH;
        end -= whole as u64;
        have -= whole;
        seen += 1;
        if seen == wanted {
            return Ok(Found::At(end));
        }
    }
    Ok(Found::Fewer(seen))
}

/// Length of the message at a block's end, if it is whole and one. One longer than a block is
/// found from the front.
fn before(block: &[u8]) -> Option<usize> {
    let length = u32::from_be_bytes(*block.last_chunk()?);
    let length = usize::try_from(length).ok()?;
    let start = block
        .len()
        .checked_sub(length.checked_add(2 * local::LENGTH)?)?;
    let first = u32::from_be_bytes(*block[start..].first_chunk()?);
    (usize::try_from(first) == Ok(length)).then_some(length)
}

/// For a file whose end was torn.
fn messages_from_the_front(file: &File, wanted: u64) -> std::io::Result<Found> {
    let mut starts = VecDeque::new();
    let mut seen = 0;
    let mut records = Records::at(Format::Local, 0);
    while let Some(record) = records.next(file)? {
        if seen >= wanted {
            starts.pop_front();
        }
        starts.push_back(records.start_of(&record));
        seen += 1;
    }
    Ok(match starts.front() {
        Some(start) if seen >= wanted => Found::At(*start),
        _ => Found::Fewer(seen),
    })
}
