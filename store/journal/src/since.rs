//! Where the entries since a time begin, found by halving: times only grow in a log.

use std::collections::VecDeque;
use std::fs::File;

use crate::files::Part;
use crate::records::Records;
use crate::{Entry, Error, Format, Result};

/// What is left to be read through.
const NEAR: u64 = 64 << 10;

/// Drops the files that are older; answers the offset in the first file left.
pub(crate) fn skip_to(parts: &mut VecDeque<Part>, format: Format, nanos: i128) -> Result<u64> {
    for at in (0..parts.len()).rev() {
        if parts[at].ends_before(nanos) {
            parts.drain(..=at);
            return Ok(0);
        }
        let path = parts[at].path.clone();
        let io = |error| Error::io(&path, error);
        let file = parts[at].plain()?;
        if let Some((_, first)) = time_after(file, Records::at(format, 0)).map_err(io)?
            && first < nanos
        {
            let offset = halve(file, format, nanos).map_err(io)?;
            parts.drain(..at);
            return Ok(offset);
        }
    }
    Ok(0)
}

fn halve(file: &File, format: Format, nanos: i128) -> std::io::Result<u64> {
    // An entry that is too old begins at `low`; none does from `high` on.
    let (mut low, mut high) = (0, file.metadata()?.len());
    while high - low > NEAR {
        let middle = low + (high - low) / 2;
        match time_after(file, Records::after(format, middle))? {
            Some((start, time)) if time < nanos && start < high => low = start,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// Place and time of the next entry.
fn time_after(file: &File, mut records: Records) -> std::io::Result<Option<(u64, i128)>> {
    while let Some(record) = records.next(file)? {
        let start = records.start_of(&record);
        if let Some(entry) = Entry::parse(records.format(), records.bytes(record)) {
            return Ok(Some((start, entry.nanos())));
        }
    }
    Ok(None)
}
