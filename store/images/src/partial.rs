//! Blobs on their way: bytes of compressed layers that arrived, kept on disk until an image has the
//! layers made of them, so that no broken connection, failed pull or killed daemon loses any.
//!
//! ```text
//!  <root>/partial/<hex>     blob bytes, sparse | bytes there of each segment, 8 each | mark
//! ```
//!
//! A blob is cut into segments that fill from their beginnings, each by one writer. A count is
//! written after the bytes it stands for, so after a kill it never says too much; after a power
//! failure it may, which the blob's digest tells. Nothing here is verified: bytes are on their way
//! to `ingest_layer`, which is.

use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use oci::Digest;

use crate::{Error, Images, Store};

/// Least length of a segment, and most segments of a blob.
const SEGMENT: u64 = 4 << 20;
const SEGMENTS: u64 = 4096;
/// At the end of a file whose counts can be read.
const MARK: &[u8; 16] = b"corten-partial-1";
/// Between two looks at how full the disk is.
const ROOM: u64 = 64 << 20;
/// What nobody came back for in this time goes.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// The bytes of one blob that are here. Shared by who writes and who reads; one at a time for each
/// digest, which is for its maker to see to.
#[derive(Debug)]
pub struct Partial {
    store: Arc<Store>,
    path: PathBuf,
    file: File,
    size: u64,
    segment: u64,
    /// Bytes there of each segment.
    filled: Mutex<Vec<u64>>,
    arrived: AtomicU64,
    /// What was here when it was opened has not been replaced since.
    resumed: AtomicBool,
    /// It is of no more use.
    spent: AtomicBool,
}

impl Images {
    /// The blob's bytes that are here from before, or none yet.
    ///
    /// # Errors
    /// When the disk is nearly full or the file cannot be made.
    pub fn partial(&self, digest: &Digest, size: u64) -> Result<Partial, Error> {
        if i64::try_from(size).is_err() {
            return Err(Error::Corrupt(format!("a blob of {size} bytes")));
        }
        let dir = self.0.partials();
        std::fs::create_dir_all(&dir).map_err(Error::io("making", &dir))?;
        self.0.check_room()?;
        let path = dir.join(digest.hex());
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .and_then(|file| file.lock_shared().map(|()| file))
            .map_err(Error::io("opening", &path))?;
        let segment = segment_of(size);
        let count = size.div_ceil(segment);
        let known = read_counts(&file, size, segment, count);
        let fresh = known.is_none();
        let filled = known.unwrap_or_else(|| vec![0; usize::try_from(count).unwrap_or(0)]);
        let arrived = filled.iter().sum();
        let partial = Partial {
            store: Arc::clone(&self.0),
            path,
            file,
            size,
            segment,
            filled: Mutex::new(filled),
            arrived: AtomicU64::new(arrived),
            resumed: AtomicBool::new(arrived > 0),
            spent: AtomicBool::new(false),
        };
        if fresh {
            partial.reset()?;
        }
        Ok(partial)
    }

    /// Gives a layer that is there as a tar to another chain too, without another copy. False when
    /// that cannot be.
    pub fn take_over(&self, from: &str, to: &str) -> bool {
        self.0.whole_layer(from).is_some() && self.0.has_tar(from) && self.0.adopt(from, to).is_ok()
    }
}

impl Store {
    fn partials(&self) -> PathBuf {
        self.root.join("partial")
    }

    /// Takes away what nobody came back for in a week, or with `all` what nobody has open now.
    /// Answers the bytes of the disk that it had.
    pub(crate) fn sweep_partials(&self, all: bool) -> u64 {
        let mut freed = 0;
        for (path, facts) in self.partial_files() {
            let age = facts.modified().map(|at| at.elapsed().unwrap_or_default());
            if !all && age.is_ok_and(|age| age <= KEPT) {
                continue;
            }
            // Whoever has it open has a share of its lock.
            let free = File::open(&path).is_ok_and(|file| file.try_lock().is_ok());
            if free {
                freed += facts.blocks() * 512;
                self.trash.take(&path);
            }
        }
        freed
    }

    /// Bytes of the disk that blobs on their way take.
    pub(crate) fn partials_on_disk(&self) -> u64 {
        let files = self.partial_files();
        files.map(|(_, facts)| facts.blocks() * 512).sum()
    }

    fn partial_files(&self) -> impl Iterator<Item = (PathBuf, Metadata)> {
        let entries = std::fs::read_dir(self.partials());
        entries
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
    }
}

/// How many bytes of a blob of `size` are here. Nothing is made.
pub(crate) fn bytes_of(store: &Store, digest: &Digest, size: u64) -> u64 {
    let segment = segment_of(size);
    let counts = File::open(store.partials().join(digest.hex()))
        .ok()
        .and_then(|file| read_counts(&file, size, segment, size.div_ceil(segment)));
    counts.map_or(0, |counts| counts.iter().sum())
}

fn segment_of(size: u64) -> u64 {
    SEGMENT.max(size.div_ceil(SEGMENTS).next_multiple_of(4096))
}

fn read_counts(file: &File, size: u64, segment: u64, count: u64) -> Option<Vec<u64>> {
    let length = file.metadata().ok()?.len();
    if length != size.checked_add(count * 8 + MARK.len() as u64)? {
        return None;
    }
    let mut tail = vec![0; usize::try_from(length - size).ok()?];
    file.read_exact_at(&mut tail, size).ok()?;
    let counts = tail.strip_suffix(MARK)?;
    let mut filled = Vec::new();
    for (number, bytes) in (0u64..).zip(counts.chunks_exact(8)) {
        let count = u64::from_le_bytes(bytes.try_into().ok()?);
        // The last segment may be shorter.
        if count > segment.min(size - number * segment) {
            return None;
        }
        filled.push(count);
    }
    Some(filled)
}

impl Partial {
    /// Length of the whole blob.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many bytes are here.
    pub fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Whether some of them were here before.
    pub fn is_resumed(&self) -> bool {
        self.resumed.load(Ordering::Relaxed)
    }

    /// The parts that are not here, longest possible each: one begins where a segment stops, and
    /// goes on as long as following segments are empty.
    pub fn missing(&self) -> Vec<Range<u64>> {
        let filled = self.filled();
        let mut parts: Vec<Range<u64>> = Vec::new();
        for (number, count) in (0u64..).zip(filled.iter()) {
            let start = number * self.segment;
            let end = (start + self.segment).min(self.size);
            if start + count == end {
                continue;
            }
            match parts.last_mut() {
                Some(part) if part.end == start && *count == 0 => part.end = end,
                _ => parts.push(start + count..end),
            }
        }
        parts
    }

    /// Where a second writer could begin to take over the latter half of a part; `None` when it is
    /// too short for two.
    pub fn middle(&self, part: &Range<u64>) -> Option<u64> {
        let middle = part.start + (part.end.saturating_sub(part.start)) / 2;
        let middle = middle.next_multiple_of(self.segment);
        (middle < part.end && middle > part.start && part.end - part.start >= 2 * self.segment)
            .then_some(middle)
    }

    /// Up to where everything from `from` on is here.
    pub fn contiguous(&self, from: u64) -> u64 {
        let filled = self.filled();
        let mut end = from;
        while end < self.size {
            let number = end / self.segment;
            let start = number * self.segment;
            let count = usize::try_from(number).ok().and_then(|it| filled.get(it));
            let there = start + count.copied().unwrap_or(0);
            if there <= end {
                break;
            }
            end = there;
            if there < (start + self.segment).min(self.size) {
                break;
            }
        }
        end
    }

    /// Keeps bytes that follow directly what is here before them.
    ///
    /// # Errors
    /// When the disk is nearly full or refuses.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let before = self.arrived();
        if before / ROOM != (before + bytes.len() as u64) / ROOM {
            self.store.check_room()?;
        }
        let (mut offset, mut rest) = (offset, bytes);
        while !rest.is_empty() && offset < self.size {
            let number = offset / self.segment;
            let end = ((number + 1) * self.segment).min(self.size);
            let length = usize::try_from(end - offset)
                .unwrap_or(usize::MAX)
                .min(rest.len());
            let (piece, later) = rest.split_at(length);
            let failed = Error::io("writing", &self.path);
            self.file.write_all_at(piece, offset).map_err(failed)?;
            offset += length as u64;
            rest = later;
            self.count(number, offset - number * self.segment)?;
            self.arrived.fetch_add(length as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    fn count(&self, number: u64, count: u64) -> Result<(), Error> {
        self.file
            .write_all_at(&count.to_le_bytes(), self.size + number * 8)
            .map_err(Error::io("writing", &self.path))?;
        let mut filled = self.filled();
        if let Some(place) = usize::try_from(number)
            .ok()
            .and_then(|it| filled.get_mut(it))
        {
            *place = count;
        }
        Ok(())
    }

    /// Reads bytes that are here.
    ///
    /// # Errors
    /// The disk's.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    /// Forgets everything that is here.
    ///
    /// # Errors
    /// The disk's.
    pub fn reset(&self) -> Result<(), Error> {
        let failed = |error| Error::io("writing", &self.path)(error);
        let mut filled = self.filled();
        filled.fill(0);
        self.arrived.store(0, Ordering::Relaxed);
        self.resumed.store(false, Ordering::Relaxed);
        let tail = (filled.len() * 8) as u64;
        self.file.set_len(0).map_err(failed)?;
        self.file.set_len(self.size + tail).map_err(failed)?;
        self.file
            .write_all_at(MARK, self.size + tail)
            .map_err(failed)
    }

    /// It goes when nobody uses it any more.
    pub fn spend(&self) {
        self.spent.store(true, Ordering::Relaxed);
    }

    fn filled(&self) -> MutexGuard<'_, Vec<u64>> {
        self.filled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if *self.spent.get_mut() || *self.arrived.get_mut() == 0 {
            self.store.trash.take(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn store(root: &Path) -> Images {
        let database = redb::Database::create(root.join("db")).expect("database");
        Images::open(root, Arc::new(database)).expect("store")
    }

    fn digest(number: u8) -> Digest {
        Digest::sha256(&[number; 32])
    }

    #[test]
    fn what_arrived_is_there_after_a_crash() {
        let dir = tempfile::tempdir().expect("temp dir");
        let images = store(dir.path());
        let size = 3 * SEGMENT + 10;
        let partial = images.partial(&digest(1), size).expect("partial");
        assert_eq!(partial.missing(), vec![0..size]);
        partial.write(0, b"abc").expect("write");
        partial.write(2 * SEGMENT, b"x").expect("write");
        partial.write(3, b"def").expect("write");
        // As after a kill: the file stays, nothing is said.
        std::mem::forget(partial);
        let partial = images.partial(&digest(1), size).expect("partial");
        assert!(partial.is_resumed());
        assert_eq!(partial.arrived(), 7);
        let missing = [6..2 * SEGMENT, 2 * SEGMENT + 1..size];
        assert_eq!(partial.missing(), missing);
        assert_eq!((partial.contiguous(0), partial.contiguous(6)), (6, 6));
        let mut buffer = [0; 9];
        partial.read(0, &mut buffer).expect("read");
        assert_eq!(&buffer[..6], b"abcdef");
        // Another length is another blob.
        std::mem::forget(partial);
        let partial = images.partial(&digest(1), size + 1).expect("partial");
        assert!(!partial.is_resumed());
        assert_eq!(partial.missing(), vec![0..size + 1]);
    }

    #[test]
    fn writes_cross_segments_and_readers_follow() {
        let dir = tempfile::tempdir().expect("temp dir");
        let images = store(dir.path());
        let size = 2 * SEGMENT + 5;
        let partial = images.partial(&digest(2), size).expect("partial");
        let piece = vec![7; usize::try_from(SEGMENT).expect("length") + 100];
        partial.write(0, &piece).expect("write");
        assert_eq!(partial.contiguous(0), SEGMENT + 100);
        partial.write(2 * SEGMENT, &[7; 5]).expect("write");
        assert_eq!(partial.missing(), vec![SEGMENT + 100..2 * SEGMENT]);
        partial.write(SEGMENT + 100, &piece[200..]).expect("write");
        assert_eq!(partial.contiguous(0), size);
        assert!(partial.missing().is_empty());
    }

    #[test]
    fn halves_begin_at_segments() {
        let dir = tempfile::tempdir().expect("temp dir");
        let images = store(dir.path());
        let partial = images.partial(&digest(3), 8 * SEGMENT).expect("partial");
        assert_eq!(partial.middle(&(5..8 * SEGMENT)), Some(5 * SEGMENT));
        assert_eq!(partial.middle(&(5..SEGMENT)), None);
        assert_eq!(partial.middle(&(SEGMENT..2 * SEGMENT)), None);
    }

    #[test]
    fn what_is_spent_or_empty_goes() {
        let dir = tempfile::tempdir().expect("temp dir");
        let images = store(dir.path());
        let place = dir.path().join("partial").join(digest(4).hex());
        let partial = images.partial(&digest(4), 9).expect("partial");
        assert!(place.exists());
        drop(partial);
        assert!(!place.exists());
        let partial = images.partial(&digest(4), 9).expect("partial");
        partial.write(0, b"abc").expect("write");
        drop(partial);
        assert!(place.exists());
        let partial = images.partial(&digest(4), 9).expect("partial");
        partial.spend();
        drop(partial);
        assert!(!place.exists());
        // What is in use stays, whoever wants room.
        let partial = images.partial(&digest(4), 9).expect("partial");
        partial.write(0, b"abc").expect("write");
        assert!(images.usage().expect("usage").partial > 0);
        assert_eq!(images.expire(true).expect("expired").bytes, 0);
        assert!(place.exists());
        drop(partial);
        assert_eq!(images.expire(false).expect("expired").bytes, 0);
        assert!(place.exists(), "it may be wanted yet");
        assert!(images.expire(true).expect("expired").bytes > 0);
        assert!(!place.exists());
        assert_eq!(images.usage().expect("usage").partial, 0);
        // A length that no disk holds is the disk's to refuse, not ours to believe.
        assert!(images.partial(&digest(5), u64::MAX / 2).is_err());
    }
}
