//! How much a stream may become once it is unpacked: a few bytes compressed can be a thousand times
//! as many, and whoever sent them does not pay for the disk.

use std::cell::Cell;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::StatVfs;

use crate::{Error, Store};

/// Bytes between two looks at the disk.
const STEP: u64 = 16 << 20;
/// Inodes that are left for the daemon's own files.
const INODES: u64 = 1024;

/// Whether a disk has room for more: bytes, and files where their number is limited.
pub(crate) fn check(path: &Path, disk: &StatVfs) -> Result<(), Error> {
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let path = || path.to_owned();
    if free < state::RESERVE {
        return Err(Error::Full { path: path(), free });
    }
    // File systems that make inodes as they need them tell of none at all.
    if disk.f_files > 0 && disk.f_favail < INODES {
        return Err(Error::Inodes {
            path: path(),
            free: disk.f_favail,
        });
    }
    Ok(())
}

/// Gives no more bytes than the policy and the disk allow.
pub(crate) struct Room<'a, R> {
    inner: R,
    largest: u64,
    read: u64,
    looked: u64,
    root: PathBuf,
    refused: &'a Cell<Option<Refused>>,
}

/// Why a stream was cut off.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Refused {
    Large(u64),
    Full(u64),
    Inodes(u64),
}

impl Store {
    /// Around what is to be stored. Why it ended early, if it did, is in `refused`.
    pub(crate) fn bounded<'a, R: Read>(
        &self,
        inner: R,
        refused: &'a Cell<Option<Refused>>,
    ) -> Room<'a, R> {
        Room {
            inner,
            largest: self.policy().largest.unwrap_or(u64::MAX),
            read: 0,
            looked: 0,
            root: self.root.clone(),
            refused,
        }
    }

    /// The error in place of the one that being cut off gave.
    pub(crate) fn refusal(&self, refused: Refused) -> Error {
        match refused {
            Refused::Large(largest) => Error::Large(largest),
            Refused::Full(free) => Error::Full {
                path: self.root.clone(),
                free,
            },
            Refused::Inodes(free) => Error::Inodes {
                path: self.root.clone(),
                free,
            },
        }
    }
}

impl<R: Read> Read for Room<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read += read as u64;
        if self.read > self.largest {
            self.refused.set(Some(Refused::Large(self.largest)));
        } else if self.read - self.looked >= STEP {
            self.looked = self.read;
            let facts = rustix::fs::statvfs(&self.root)?;
            match check(&self.root, &facts) {
                Err(Error::Full { free, .. }) => self.refused.set(Some(Refused::Full(free))),
                Err(Error::Inodes { free, .. }) => self.refused.set(Some(Refused::Inodes(free))),
                _ => {}
            }
        }
        match self.refused.get() {
            Some(_) => Err(io::Error::other("no more is taken")),
            None => Ok(read),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inodes_are_room_too() {
        let mut disk = rustix::fs::statvfs("/").expect("statvfs");
        (disk.f_frsize, disk.f_bavail) = (4096, 1 << 30);
        let mut of = |all, free| {
            (disk.f_files, disk.f_favail) = (all, free);
            check(Path::new("/x"), &disk)
        };
        assert!(of(1 << 20, INODES).is_ok());
        assert!(of(0, 0).is_ok(), "made as they are needed");
        let error = of(1 << 20, 7).expect_err("none left");
        assert_eq!(
            error.to_string(),
            "no space left on device: /x has 7 inodes free"
        );
        assert!(error.is_full());
        disk.f_bavail = 1;
        assert!(matches!(
            check(Path::new("/x"), &disk),
            Err(Error::Full { .. })
        ));
    }
}
