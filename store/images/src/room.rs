//! How much a stream may become once it is unpacked: a few bytes compressed can be a thousand times
//! as many, and whoever sent them does not pay for the disk.

use std::cell::Cell;
use std::io::{self, Read};
use std::path::PathBuf;

use crate::{Error, Store};

/// Bytes between two looks at the disk.
const STEP: u64 = 16 << 20;

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
            let free = facts.f_bavail.saturating_mul(facts.f_frsize);
            if free < state::RESERVE {
                self.refused.set(Some(Refused::Full(free)));
            }
        }
        match self.refused.get() {
            Some(_) => Err(io::Error::other("no more is taken")),
            None => Ok(read),
        }
    }
}
