//! Where the last n lines begin, found by reading blocks from the end.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::files::Part;
use crate::{Error, Result};

const BLOCK: usize = 64 << 10;

/// Drops the files that are not needed for the last `lines` lines; answers the offset in the first
/// file left. A line without its `\n` is not counted: it is torn, or still being written.
pub(crate) fn skip_to_tail(parts: &mut VecDeque<Part>, lines: u64) -> Result<u64> {
    let mut wanted = lines;
    for at in (0..parts.len()).rev() {
        let file = parts[at].plain()?;
        let found = last_lines(file, wanted).map_err(|error| Error::io(&parts[at].path, error))?;
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
        for (at, byte) in block.iter().enumerate().rev() {
            if *byte != b'\n' {
                continue;
            }
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
