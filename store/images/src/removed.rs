//! Removal with undo: an image that is removed may be kept for a time, up to so many bytes, and be
//! had back as if nothing had happened. What it needs stays where it is; only its row moves, in the
//! transaction that removes it. Nothing is kept unless [`Policy`] says so.
//!
//! Layers that came whole for an image that never came to be (the engine was killed in a pull) are
//! kept in the same spirit: pulling again takes them as they are.

use std::time::Duration;

use oci::{Digest, Reference};

use crate::catalog::{BLOB, Removed, now};
use crate::{Error, Image, Images, Store};

/// How long layers without an image are kept.
const UNCLAIMED: Duration = Duration::from_hours(24);

/// What the store may keep and take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// How long removed images can be had back; zero keeps none.
    pub keep_for: Duration,
    /// Most bytes of layers that only removed images have; `None` for no limit but the time.
    pub keep_bytes: Option<u64>,
    /// Most bytes that one layer, or one archive of images, may have unpacked; `None` for what the
    /// disk has room for.
    pub largest: Option<u64>,
}

/// An image that can be had back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedImage {
    /// Its ID.
    pub id: Digest,
    /// What it was called.
    pub names: Vec<String>,
    /// When it was removed, in nanoseconds since 1970.
    pub removed: i64,
    /// Bytes of its layers' files, with those of other platforms that went with it.
    pub size: u64,
    /// Bytes of those that no image has.
    pub unique: u64,
}

/// What cleaning freed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Freed {
    /// Removed images that are gone for good.
    pub images: Vec<Digest>,
    /// Layers that went, by chain.
    pub layers: Vec<String>,
    /// Bytes of their files.
    pub bytes: u64,
}

impl Images {
    /// Sets what is kept from now on.
    pub fn set_policy(&self, policy: Policy) {
        *self
            .0
            .policy
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = policy;
    }

    /// Images that can be had back, the one removed last first.
    pub fn removed(&self) -> Vec<RemovedImage> {
        let live = self.0.catalog.chains();
        let shown = |removed: &std::sync::Arc<Removed>| {
            let layers: std::collections::BTreeMap<_, _> = removed.layers().collect();
            let unique = layers.iter().filter(|(chain, _)| !live.contains(**chain));
            RemovedImage {
                id: removed.row.id.clone(),
                names: removed.names.clone(),
                removed: removed.at,
                size: layers.values().sum(),
                unique: unique.map(|(_, size)| size).sum(),
            }
        };
        self.0.catalog.removed().iter().map(shown).collect()
    }

    /// Bytes of the layers that only removed images have, each counted once.
    pub fn kept_bytes(&self) -> u64 {
        let live = self.0.catalog.chains();
        let removed = self.0.catalog.removed();
        let layers = removed.iter().flat_map(|removed| removed.layers());
        let only = layers.filter(|(chain, _)| !live.contains(*chain));
        let once: std::collections::BTreeMap<_, _> = only.collect();
        once.values().sum()
    }

    /// Takes a removed image back, by ID, unique prefix of one, or a name it had; of several the
    /// one removed last. Answers it and the names it has again: those that others took stay theirs.
    ///
    /// # Errors
    /// Not found; ambiguous.
    pub fn restore(&self, name: &str) -> Result<(Image, Vec<Reference>), Error> {
        let all = self.0.catalog.removed();
        let hex = name.strip_prefix("sha256:").unwrap_or(name);
        let by_id: Vec<_> = all
            .iter()
            .filter(|removed| {
                !hex.is_empty() && removed.rows().any(|row| row.id.hex().starts_with(hex))
            })
            .collect();
        let full = name.parse::<Reference>().map(Reference::or_latest);
        let by_name = full.ok().and_then(|full| {
            let full = full.to_string();
            all.iter().find(|removed| removed.names.contains(&full))
        });
        let found = match (by_name, by_id.as_slice()) {
            (Some(found), _) => found,
            (None, [found]) => *found,
            (None, []) => return Err(Error::NotFound(name.to_owned())),
            (None, _) => return Err(Error::Ambiguous(name.to_owned())),
        };
        let names = self.0.catalog.restore(&found.row.id)?;
        Ok((self.resolve(found.row.id.as_str())?, names))
    }

    /// Lets go of what is kept longer, or is more, than the policy says. With `all`, of everything
    /// that no image has.
    ///
    /// # Errors
    /// When rows cannot be written.
    pub fn expire(&self, all: bool) -> Result<Freed, Error> {
        self.0.catalog.write_used()?;
        self.0.expire(all)
    }

    /// Notes that an image was used now.
    pub fn touch(&self, id: &Digest) {
        self.0.catalog.touch(id);
    }

    /// When an image was last used, in nanoseconds since 1970.
    pub fn last_used(&self, id: &Digest) -> i64 {
        self.0.catalog.last_used(id)
    }

    /// Bytes of the disk that the store is on, and how many of them are free.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn disk(&self) -> Result<(u64, u64), Error> {
        let facts =
            rustix::fs::statvfs(&self.0.root).map_err(Error::errno("statvfs", &self.0.root))?;
        let bytes = |blocks: u64| blocks.saturating_mul(facts.f_frsize);
        Ok((bytes(facts.f_blocks), bytes(facts.f_bavail)))
    }
}

impl Store {
    pub(crate) fn policy(&self) -> Policy {
        *self
            .policy
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes away a layer or blob that nothing needs.
    pub(crate) fn discard(&self, key: &str) {
        match key.strip_prefix(BLOB) {
            Some(hex) => self
                .trash
                .take(&self.root.join("content/blobs/sha256").join(hex)),
            None => self.discard_layer(key),
        }
    }

    pub(crate) fn expire(&self, all: bool) -> Result<Freed, Error> {
        let policy = self.policy();
        let mut freed = Freed::default();
        // The newest are kept first, as far as there is room for them.
        let live = self.catalog.chains();
        let mut counted = std::collections::BTreeSet::new();
        let mut kept = 0u64;
        for removed in self.catalog.removed() {
            for (chain, size) in removed.layers() {
                if !live.contains(chain) && counted.insert(chain.clone()) {
                    kept = kept.saturating_add(size);
                }
            }
            let old = removed.at <= ago(policy.keep_for);
            if !all && !old && policy.keep_bytes.is_none_or(|most| kept <= most) {
                continue;
            }
            let sizes: std::collections::BTreeMap<&String, u64> = removed.layers().collect();
            let (images, gone) = self
                .catalog
                .purge(&removed.row.id, &|key| self.discard(key))?;
            freed.bytes += gone
                .iter()
                .filter_map(|chain| sizes.get(chain))
                .sum::<u64>();
            freed.layers.extend(gone);
            freed.images.extend(images);
        }
        let (layers, bytes) = self.purge_unclaimed(if all { i64::MAX } else { ago(UNCLAIMED) });
        freed.bytes += bytes;
        freed.layers.extend(layers);
        freed.bytes += self.sweep_partials(all) + self.sweep_checkpoints(all);
        Ok(freed)
    }

    /// Lets go of layers that came long ago for an image that never came to be.
    pub(crate) fn drop_unclaimed(&self) {
        self.purge_unclaimed(ago(UNCLAIMED));
    }

    fn purge_unclaimed(&self, before: i64) -> (Vec<String>, u64) {
        let size = std::cell::Cell::new(0);
        let gone = self.catalog.purge_unclaimed(before, &|chain| {
            size.set(size.get() + self.layer(chain).unwrap_or(0));
            self.discard(chain);
        });
        (gone, size.get())
    }
}

fn ago(time: Duration) -> i64 {
    let nanos = i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    now().saturating_sub(nanos)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use oci::Reference;

    use super::Policy;
    use crate::{Expected, Images};

    pub(crate) fn tar(content: &str) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, "file", content.as_bytes())
            .expect("entry");
        tar.into_inner().expect("archive")
    }

    /// A store that keeps for an hour what is removed.
    pub(crate) fn open(root: &Path, database: &Arc<redb::Database>) -> Images {
        let images = Images::open(root, Arc::clone(database)).expect("store");
        images.set_policy(Policy {
            keep_for: Duration::from_secs(3600),
            ..Policy::default()
        });
        images
    }

    fn add(images: &Images, content: &str, name: &str) -> oci::Digest {
        let layer = images
            .ingest_layer(tar(content).as_slice(), &Expected::default())
            .expect("layer");
        let config = format!(
            r#"{{"os":"linux","rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
            layer.diff_id
        );
        let name: Reference = name.parse().expect("name");
        images
            .commit(config.as_bytes(), None, &[name.or_latest()])
            .expect("image")
    }

    #[test]
    fn a_removed_image_can_be_had_back_also_later() {
        let dir = tempfile::tempdir().expect("temp dir");
        let database = Arc::new(redb::Database::create(dir.path().join("db")).expect("database"));
        let images = open(dir.path(), &database);
        let id = add(&images, "one", "a");
        assert_eq!(images.remove(&id).expect("removed").len(), 1);
        assert!(images.resolve("a").is_err());
        drop(images);
        let images = open(dir.path(), &database);
        let removed = images.removed();
        assert_eq!(removed.len(), 1);
        assert_eq!(removed[0].names, ["docker.io/library/a:latest"]);
        assert_eq!(removed[0].unique, 3);
        // The name has gone to another one meanwhile: that one keeps it.
        let other = add(&images, "other", "a");
        let (image, names) = images.restore(&id.hex()[..12]).expect("restored");
        assert!(names.is_empty() && image.id == id);
        assert!(images.is_whole(&image));
        assert_eq!(images.resolve("a").expect("the other").id, other);
        assert!(images.removed().is_empty());
        images.remove(&other).expect("removed");
        let (image, names) = images.restore("a").expect("restored");
        assert_eq!((image.id, names.len()), (other, 1));
    }

    #[test]
    fn what_is_kept_goes_by_time_by_size_and_when_asked() {
        let dir = tempfile::tempdir().expect("temp dir");
        let database = Arc::new(redb::Database::create(dir.path().join("db")).expect("database"));
        let images = open(dir.path(), &database);
        let ids = ["1", "22", "333"].map(|text| add(&images, text, &format!("n{text}")));
        for id in &ids {
            images.remove(id).expect("removed");
        }
        images.set_policy(Policy {
            keep_for: Duration::from_secs(3600),
            keep_bytes: Some(5),
            largest: None,
        });
        let freed = images.expire(false).expect("expired");
        assert_eq!((freed.images.as_slice(), freed.bytes), (&ids[..1], 1));
        images.set_policy(Policy::default());
        let freed = images.expire(false).expect("expired");
        assert_eq!((freed.images.len(), freed.bytes), (2, 5));
        assert!(images.removed().is_empty());
        let scrubbed = images.scrub().expect("scrubbed");
        assert_eq!((scrubbed.damaged, scrubbed.strays), (vec![], vec![]));
        assert_eq!(scrubbed.layers, 0);
    }

    #[test]
    fn what_went_for_good_does_not_come_back_without_its_layers() {
        let dir = tempfile::tempdir().expect("temp dir");
        let database = Arc::new(redb::Database::create(dir.path().join("db")).expect("database"));
        let images = open(dir.path(), &database);
        let id = add(&images, "one", "a");
        images.remove(&id).expect("removed");
        assert_eq!(images.kept_bytes(), 3);
        // Between a look at the list and the restoring of what it shows.
        images.expire(true).expect("expired");
        assert!(images.0.catalog.restore(&id).is_err());
        assert!(images.list().expect("list").is_empty());
    }

    #[test]
    fn a_store_whose_rows_cannot_be_read_is_not_swept() {
        let dir = tempfile::tempdir().expect("temp dir");
        let database = Arc::new(redb::Database::create(dir.path().join("db")).expect("database"));
        let id = add(&open(dir.path(), &database), "one", "a");
        let other = redb::Database::create(dir.path().join("other")).expect("database");
        let write = other.begin_write().expect("write");
        let strange: redb::TableDefinition<'_, u64, u64> = redb::TableDefinition::new("images");
        write.open_table(strange).expect("table");
        let facts: redb::TableDefinition<'_, &str, &str> =
            redb::TableDefinition::new("image-facts");
        let mut facts = write.open_table(facts).expect("table");
        facts.insert("engine-id", "other").expect("row");
        drop(facts);
        write.commit().expect("commit");
        assert!(Images::open(dir.path(), Arc::new(other)).is_err());
        let images = open(dir.path(), &database);
        let image = images.resolve(id.as_str()).expect("there");
        assert!(images.is_whole(&image));
    }

    #[test]
    fn whole_layers_of_a_crash_stay_for_the_next_pull() {
        let dir = tempfile::tempdir().expect("temp dir");
        let database = Arc::new(redb::Database::create(dir.path().join("db")).expect("database"));
        let images = open(dir.path(), &database);
        let layer = images
            .ingest_layer(tar("arrived").as_slice(), &Expected::default())
            .expect("layer");
        drop(images);
        let images = open(dir.path(), &database);
        assert!(images.layer(&layer.chain).is_some());
        // A pull that fails leaves it, one that succeeds takes it.
        drop(images.lease(vec![layer.chain.clone()]));
        assert!(images.layer(&layer.chain).is_some());
        let id = add(&images, "arrived", "a");
        assert!(images.expire(true).expect("expired").layers.is_empty());
        images.set_policy(Policy::default());
        images.remove(&id).expect("removed");
        assert!(images.layer(&layer.chain).is_none());
        // Half of one does not stay.
        let layer = images
            .ingest_layer(tar("again").as_slice(), &Expected::default())
            .expect("layer");
        let place = dir.path().join("layers").join(&layer.chain);
        let file = place.join("tar");
        if file.exists() {
            std::fs::File::options()
                .write(true)
                .open(&file)
                .and_then(|file| file.set_len(512))
                .expect("cut");
            drop(images);
            let _images = open(dir.path(), &database);
            assert!(!place.exists());
        }
    }
}
