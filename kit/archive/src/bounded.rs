//! An archive's entries, with a limit on what a header may make us keep in memory.
//!
//! The tar crate reads long names and PAX records whole before it hands out their entry, as long as
//! the archive says they are. Here a reader below it stops giving bytes once more of them were taken
//! than the last entry's content and the largest headers can need.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use crate::Error;

/// Bytes of all headers of one entry: two long names, PAX records, the map of a sparse file. Go's
/// reader, and so docker's, takes as much of each.
const LARGEST_HEADERS: u64 = 4 << 20;
/// What rounds content up.
const BLOCK: u64 = 512;

/// Calls `visit` for every entry, in order.
pub(crate) fn entries<R: Read>(
    reader: R,
    mut visit: impl FnMut(&mut tar::Entry<'_, Bounded<R>>) -> Result<(), Error>,
) -> Result<(), Error> {
    let left = Rc::new(Cell::new(LARGEST_HEADERS));
    let bounded = Bounded {
        inner: reader,
        left: Rc::clone(&left),
    };
    let mut archive = tar::Archive::new(bounded);
    for entry in archive.entries().map_err(Error::Malformed)? {
        let mut entry = entry.map_err(Error::Malformed)?;
        left.set(stored(&mut entry)?.saturating_add(BLOCK + LARGEST_HEADERS));
        visit(&mut entry)?;
    }
    Ok(())
}

/// Bytes of an entry's content in the archive.
fn stored<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<u64, Error> {
    if !entry.header().entry_type().is_gnu_sparse() {
        return Ok(entry.size());
    }
    // The size of a sparse file is that of the file.
    let mut size = entry.header().entry_size().map_err(Error::Malformed)?;
    if let Some(records) = entry.pax_extensions().map_err(Error::Malformed)? {
        for record in records {
            let record = record.map_err(Error::Malformed)?;
            if record.key() == Ok("size") {
                let said = record.value().ok().and_then(|value| value.parse().ok());
                size = said.unwrap_or(size);
            }
        }
    }
    Ok(size)
}

/// A reader of so many bytes and no more.
pub(crate) struct Bounded<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 && !buffer.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("headers of an entry are larger than {LARGEST_HEADERS} bytes"),
            ));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let length = buffer.len().min(most);
        let read = self.inner.read(&mut buffer[..length])?;
        self.left.set(left - read as u64);
        Ok(read)
    }
}
