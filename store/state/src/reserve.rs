//! Bytes kept aside on the disk for the database.
//!
//! redb cannot be used again after a failed write, and what tells of an end or of a removal must be
//! written on a full disk too. So the database's file has no holes: all of its length is taken on
//! the disk, and a page that is free is one that can be written. To grow, room is held by a file
//! beside it, which lets go of its own when there is none left, and takes it back when there is
//! enough.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};
use rustix::fs::FallocateFlags;

use crate::RESERVE;

/// The file that holds room.
#[derive(Debug)]
pub(crate) struct Reserve {
    file: File,
    held: Mutex<bool>,
}

impl Reserve {
    /// Opens or makes it. A disk that is full already is no error: it is filled later.
    pub(crate) fn open(path: &Path) -> io::Result<Arc<Self>> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        let reserve = Arc::new(Self {
            file,
            held: Mutex::new(false),
        });
        // What is held already is held again at no cost.
        reserve.fill();
        Ok(reserve)
    }

    /// Takes room unless it is held.
    pub(crate) fn fill(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !*held {
            *held = rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, RESERVE).is_ok();
            if !*held {
                // Half of it would only keep others from what is left.
                let _ = self.file.set_len(0);
            }
        }
    }

    /// Lets go; whether there was something to let go.
    fn release(&self) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let released = *held && self.file.set_len(0).is_ok();
        *held = false;
        released
    }

    /// Does `work`, once more if the disk is full and room was held.
    fn with_room(&self, work: impl Fn() -> io::Result<()>) -> io::Result<()> {
        match work() {
            Err(error) if is_full(&error) && self.release() => work(),
            result => result,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// redb's file, with the reserve behind it.
#[derive(Debug)]
pub(crate) struct Backend {
    file: FileBackend,
    /// The same file.
    handle: File,
    reserve: Arc<Reserve>,
}

impl Backend {
    pub(crate) fn new(file: File, reserve: Arc<Reserve>) -> Result<Self, DatabaseError> {
        let backend = Self {
            handle: file.try_clone()?,
            file: FileBackend::new(file)?,
            reserve,
        };
        // One that was written without: as much as there is room for.
        let _ = backend.take(backend.len()?);
        Ok(backend)
    }

    /// Takes the file's first `len` bytes on the disk.
    fn take(&self, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        match rustix::fs::fallocate(&self.handle, FallocateFlags::empty(), 0, len) {
            // Not every file system can: then holes stay, and the reserve is all there is.
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            result => Ok(result?),
        }
    }
}

type Locked = Result<bool, BackendError>;

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.reserve.with_room(|| {
            self.file.set_len(len)?;
            self.take(len)
        })
    }

    // After a failed sync nobody knows what was written: that is not done again.
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.reserve.with_room(|| self.file.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_let_go_once_and_taken_again() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("reserve");
        let size = || path.metadata().expect("metadata").len();
        let reserve = Reserve::open(&path).expect("reserve");
        assert_eq!(size(), RESERVE);
        let tries = std::cell::Cell::new(0);
        let full = || {
            tries.set(tries.get() + 1);
            Err(io::Error::from(io::ErrorKind::StorageFull))
        };
        assert!(reserve.with_room(full).is_err());
        assert_eq!((tries.get(), size()), (2, 0));
        assert!(reserve.with_room(full).is_err());
        assert_eq!(tries.get(), 3, "nothing is left to let go");
        reserve.fill();
        assert_eq!(size(), RESERVE);
        let other = || Err(io::Error::from(io::ErrorKind::NotFound));
        assert!(reserve.with_room(other).is_err());
        assert_eq!(size(), RESERVE, "only a full disk takes it");
    }
}
