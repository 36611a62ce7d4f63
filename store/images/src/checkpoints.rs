//! How to read ordinary gzip layers from the middle, found when they came, for when they come again.
//!
//! ```text
//!  <root>/checkpoints/<hex of the blob>/   facts     blob's length, diff ID
//!                                          index     the layer's own (see `tarred`)
//!                                          map, windows   for whoever supplies it (kit/seekable)
//! ```
//!
//! They outlive their images: that is what they are for. The least recently used go when all of them
//! take more than [`MOST`] bytes, and all when the disk is full. Nothing here is needed: what is missing
//! or damaged lets a layer come as a whole.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use erofs::Tree;
use oci::Digest;

use crate::changes::disk_usage;
use crate::tarred::{INDEX, write_synced};
use crate::{Error, Images, Store};

/// Most bytes of the disk that they take together.
const MOST: u64 = 512 << 20;
/// Longest file that is read of one.
const LONGEST: u64 = 128 << 20;
const FACTS: &str = "facts";
const MAP: &str = "map";
const WINDOWS: &str = "windows";

/// What is known of one layer.
#[derive(Debug)]
pub struct Kept {
    /// [`Tree`], encoded.
    index: Vec<u8>,
    /// Bytes of its tar, which is what its map is of.
    pub device: u64,
    /// For whoever supplies it.
    pub map: Vec<u8>,
    /// The same.
    pub windows: Vec<u8>,
}

impl Images {
    /// Keeps what was found in a gzip layer that is whole and has just come.
    ///
    /// # Errors
    /// The disk's; not found when the layer is not kept as a tar.
    pub fn keep_checkpoints(
        &self,
        (blob, size): (&Digest, u64),
        (chain, diff_id): (&str, &Digest),
        map: &[u8],
        windows: &[u8],
    ) -> Result<(), Error> {
        let store = &self.0;
        let parent = store.checkpoints();
        std::fs::create_dir_all(&parent).map_err(Error::io("making", &parent))?;
        // It makes way for nothing else.
        store.room()?;
        let from = store.layer_dir(chain).join(INDEX);
        let index = read(&from).map_err(Error::io("reading", &from))?;
        let made = store.temporary("checkpoints")?;
        let place = parent.join(blob.hex());
        let facts = facts(size, diff_id);
        let files = [
            (FACTS, facts.as_bytes()),
            (INDEX, &index),
            (MAP, map),
            (WINDOWS, windows),
        ];
        let written = files
            .iter()
            .try_for_each(|(name, bytes)| write_synced(&made.join(name), bytes));
        let placed = written.and_then(|()| {
            store.trash.take(&place);
            std::fs::rename(&made, &place).map_err(Error::io("renaming to", &place))
        });
        store.trash.take(&made);
        store.sweep_checkpoints(false);
        placed
    }

    /// What is known of a layer by its blob.
    pub fn kept_checkpoints(&self, blob: &Digest, size: u64, diff_id: &Digest) -> Option<Kept> {
        let dir = self.0.checkpoints().join(blob.hex());
        let found = std::fs::read_to_string(dir.join(FACTS)).ok()?;
        if found != facts(size, diff_id) {
            return None;
        }
        let file = |name: &str| read(&dir.join(name)).ok();
        let index = file(INDEX)?;
        // Its checksum tells whether it is what was written; pieces have digests of their own.
        let Ok((_, known)) = Tree::decode(&index) else {
            self.0.trash.take(&dir);
            return None;
        };
        touch(&dir);
        Some(Kept {
            index,
            device: known.tar,
            map: file(MAP)?,
            windows: file(WINDOWS)?,
        })
    }

    /// Lets a layer be used before it comes by what is known of it; `files` as in [`crate::LazyFiles`].
    ///
    /// # Errors
    /// The disk's.
    pub fn begin_known(
        &self,
        chain: &str,
        kept: &Kept,
        files: &[(&'static str, Vec<u8>)],
    ) -> Result<(), Error> {
        self.0.check_room()?;
        self.0.place_lazy(chain, &kept.index, files)
    }
}

impl Store {
    fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// All of them, the least recently used first, with their bytes; and what was half made.
    fn all_checkpoints(&self) -> (Vec<(SystemTime, PathBuf, u64)>, Vec<PathBuf>) {
        let (mut all, mut half) = (Vec::new(), Vec::new());
        let entries = std::fs::read_dir(self.checkpoints());
        for entry in entries.into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with("tmp-") {
                half.push(path);
                continue;
            }
            let used = entry.metadata().and_then(|facts| facts.modified());
            let bytes = disk_usage(&path);
            all.push((used.unwrap_or(SystemTime::UNIX_EPOCH), path, bytes));
        }
        all.sort();
        (all, half)
    }

    /// Bytes of the disk that they take.
    pub(crate) fn checkpoints_on_disk(&self) -> u64 {
        self.all_checkpoints()
            .0
            .iter()
            .map(|(_, _, bytes)| bytes)
            .sum()
    }

    /// Takes away what is over the limit, or `all`. Answers the bytes that it had.
    pub(crate) fn sweep_checkpoints(&self, all: bool) -> u64 {
        let (found, half) = self.all_checkpoints();
        // Others may be making one: it is theirs for an hour.
        let old = |path: &Path| {
            let changed = std::fs::metadata(path).and_then(|facts| facts.modified());
            changed.is_ok_and(|at| at.elapsed().is_ok_and(|age| age.as_secs() > 3600))
        };
        for path in half.iter().filter(|path| old(path)) {
            self.trash.take(path);
        }
        let mut left: u64 = found.iter().map(|(_, _, bytes)| bytes).sum();
        let most = if all { 0 } else { MOST };
        let mut freed = 0;
        for (_, path, bytes) in found {
            if left <= most {
                break;
            }
            self.trash.take(&path);
            left -= bytes;
            freed += bytes;
        }
        freed
    }
}

fn facts(size: u64, diff_id: &Digest) -> String {
    format!("1 {size} {diff_id}\n")
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let file = std::fs::File::open(path)?;
    if file.metadata()?.len() > LONGEST {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Notes that something was used now.
fn touch(dir: &Path) {
    let opened = std::fs::File::open(dir);
    // Only the order in which they go depends on it.
    let _ = opened.and_then(|dir| dir.set_modified(SystemTime::now()));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Expected;

    #[test]
    fn what_is_known_of_a_layer_outlives_it() {
        let dir = tempfile::tempdir().expect("temp dir");
        let open = || {
            let database = redb::Database::create(dir.path().join("db")).expect("database");
            Images::open(dir.path(), Arc::new(database)).expect("store")
        };
        let images = open();
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        tar.append_data(&mut header, "a", b"abc".as_slice())
            .expect("tar");
        let tar = tar.into_inner().expect("tar");
        let stored = images.ingest_layer(tar.as_slice(), &Expected::default());
        let layer = stored.expect("layer");
        if !images.can_be_lazy() {
            return;
        }
        let blob = Digest::sha256(&[1; 32]);
        let keep = || {
            let layer = (layer.chain.as_str(), &layer.diff_id);
            images.keep_checkpoints((&blob, 7), layer, b"map", b"windows")
        };
        keep().expect("kept");
        keep().expect("again");
        let found = images.kept_checkpoints(&blob, 7, &layer.diff_id);
        let found = found.expect("found");
        assert_eq!(
            (found.device, found.map.as_slice()),
            (tar.len() as u64, &b"map"[..])
        );
        // Of another length, or another tar, it is another blob.
        assert!(images.kept_checkpoints(&blob, 8, &layer.diff_id).is_none());
        assert!(images.kept_checkpoints(&blob, 7, &blob).is_none());
        images
            .begin_known("a-chain", &found, &[("source", vec![1])])
            .expect("begun");
        assert_eq!(images.layer("a-chain"), Some(3));
        assert!(images.usage().expect("usage").partial > 0);
        // Over the limit the least recently used goes first.
        assert_eq!(images.0.sweep_checkpoints(false), 0);
        assert!(images.expire(true).expect("expired").bytes > 0);
        assert!(images.kept_checkpoints(&blob, 7, &layer.diff_id).is_none());

        // Damage is noticed.
        keep().expect("kept");
        let index = dir.path().join("checkpoints").join(blob.hex()).join(INDEX);
        let mut bytes = std::fs::read(&index).expect("index");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&index, bytes).expect("index");
        assert!(images.kept_checkpoints(&blob, 7, &layer.diff_id).is_none());
        assert!(!index.exists());
    }
}
