//! Scrubbing: everything that is stored is read again and compared with its digest.
//!
//! What can be made again of what is sound (indexes, merged images) is made again at once. A layer
//! whose bytes are not those of its digest is marked (`damaged` in its directory): from then on it
//! counts as missing, so that containers are refused with a clear text instead of reading rubbish,
//! and the next pull fetches that layer and no other. Its bytes stay until then.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use archive::Digesting;
use erofs::{Facts, Tree};
use oci::Digest;

use crate::catalog::{BLOB, IndexRow, Row};
use crate::merged::Part;
use crate::tarred::{INDEX, TAR, write_synced};
use crate::{Error, Images, Store, index};

/// In a layer's directory: its bytes are not what they should be.
pub(crate) const MARK: &str = "damaged";

/// What a scrub found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Layers looked at.
    pub layers: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Layers that are kept unpacked, whose bytes nothing tells of.
    pub unpacked: u64,
    /// What is wrong.
    pub damaged: Vec<Damage>,
    /// What belongs to nothing, relative to the store; it is swept at the next start.
    pub strays: Vec<PathBuf>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What kind of thing.
    pub part: Damaged,
    /// Its digest: of configurations and manifests the blob's, of all others the layer's diff ID.
    pub digest: Digest,
    /// Images that need it.
    pub images: Vec<Digest>,
    /// What is wrong with it.
    pub reason: String,
    /// It was made again; else pulling an image again mends it.
    pub repaired: bool,
}

/// What can be damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damaged {
    /// A layer's bytes.
    Layer,
    /// What was made of a layer to mount it.
    Index,
    /// An image's configuration.
    Configuration,
    /// An image's manifest, its index, or an attestation in that.
    Manifest,
}

impl Damaged {
    /// In a word, lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::Index => "index",
            Self::Configuration => "configuration",
            Self::Manifest => "manifest",
        }
    }
}

impl Images {
    /// Reads everything again. Takes as long as that; others go on meanwhile.
    ///
    /// # Errors
    /// When marks cannot be written. What is wrong with the content is no error.
    pub fn scrub(&self) -> Result<Scrubbed, Error> {
        let store = &self.0;
        let mut found = Scrubbed::default();
        let mut seen = BTreeSet::new();
        for index in store.catalog.indexes() {
            store.scrub_index(&index, &mut found);
        }
        for image in self.every() {
            let Ok(row) = self.row(&image) else { continue };
            store.scrub_blobs(&row, &mut found);
            let layers = row.chains.iter().zip(&row.config.rootfs.diff_ids);
            for (chain, diff_id) in layers {
                if seen.insert(chain.clone()) {
                    store.scrub_layer(chain, diff_id, &row.id, &mut found)?;
                } else {
                    let same = found
                        .damaged
                        .iter_mut()
                        .filter(|damage| damage.digest == *diff_id);
                    same.for_each(|damage| damage.images.push(row.id.clone()));
                }
            }
            store.scrub_merged(&row, &mut found)?;
        }
        store.strays(&mut found);
        Ok(found)
    }
}

impl Store {
    /// Whether a scrub found a layer to be damaged.
    pub(crate) fn is_damaged(&self, chain: &str) -> bool {
        let damaged = self.damaged.read().unwrap_or_else(PoisonError::into_inner);
        damaged.contains(chain)
    }

    /// A layer's directory was replaced or went.
    pub(crate) fn forget_damage(&self, chain: &str) {
        if self.is_damaged(chain) {
            let mut damaged = self.damaged.write().unwrap_or_else(PoisonError::into_inner);
            damaged.remove(chain);
        }
    }

    /// Reads the marks of earlier scrubs.
    pub(crate) fn read_marks(&self) {
        let marked = self.catalog.needed();
        let marked = marked
            .into_iter()
            .filter(|key| !key.starts_with(BLOB) && self.layer_dir(key).join(MARK).exists());
        let mut damaged = self.damaged.write().unwrap_or_else(PoisonError::into_inner);
        damaged.extend(marked);
    }

    fn scrub_blobs(&self, row: &Row, found: &mut Scrubbed) {
        let manifest = row.manifest.as_ref().map(|manifest| &manifest.digest);
        let blobs = [
            (Damaged::Configuration, Some(&row.id)),
            (Damaged::Manifest, manifest),
        ];
        for (part, digest) in blobs {
            let Some(digest) = digest else { continue };
            // It was in an index: told already.
            if found.damaged.iter().any(|damage| damage.digest == *digest) {
                continue;
            }
            match self.read_blob(digest) {
                Ok(bytes) => found.bytes += bytes.len() as u64,
                // Its image went meanwhile.
                Err(_) if self.catalog.row(&row.id).is_none() => {}
                Err(error) => found.damaged.push(Damage {
                    part,
                    digest: digest.clone(),
                    images: vec![row.id.clone()],
                    reason: error.to_string(),
                    repaired: false,
                }),
            }
        }
    }

    /// The index, manifests in it, and what it has that is no image.
    pub(crate) fn scrub_index(&self, index: &IndexRow, found: &mut Scrubbed) {
        let entries = index.entries.iter();
        let images: Vec<Digest> = entries.filter_map(|entry| entry.image.clone()).collect();
        for key in index.needs() {
            let hex = key.trim_start_matches(BLOB);
            let Ok(digest) = format!("sha256:{hex}").parse::<Digest>() else {
                continue;
            };
            match self.read_blob(&digest) {
                Ok(bytes) => found.bytes += bytes.len() as u64,
                // It went meanwhile, with the index or alone.
                Err(_) if !self.catalog.needed().contains(&key) => {}
                Err(error) => found.damaged.push(Damage {
                    part: Damaged::Manifest,
                    digest,
                    images: images.clone(),
                    reason: error.to_string(),
                    repaired: false,
                }),
            }
        }
    }

    /// Whether a blob is here and has its digest; true of what is no blob.
    pub(crate) fn is_sound(&self, key: &str) -> bool {
        let Some(hex) = key.strip_prefix(BLOB) else {
            return true;
        };
        let digest = format!("sha256:{hex}").parse::<Digest>();
        digest.is_ok_and(|digest| self.read_blob(&digest).is_ok())
    }

    fn scrub_layer(
        &self,
        chain: &str,
        diff_id: &Digest,
        image: &Digest,
        found: &mut Scrubbed,
    ) -> Result<(), Error> {
        // Checked when it comes whole.
        if self.lazy(chain).is_some() {
            return Ok(());
        }
        found.layers += 1;
        let damage = |part, reason: String, repaired| Damage {
            part,
            digest: diff_id.clone(),
            images: vec![image.clone()],
            reason,
            repaired,
        };
        let dir = self.layer_dir(chain);
        let tar = match File::open(dir.join(TAR)) {
            Ok(tar) => tar,
            Err(_) if dir.join("diff").is_dir() && dir.join("size").exists() => {
                found.unpacked += 1;
                return Ok(());
            }
            // Its image went meanwhile.
            Err(_) if !self.catalog.needed().contains(chain) => return Ok(()),
            Err(error) => {
                let reason = format!("missing: {error}");
                found.damaged.push(damage(Damaged::Layer, reason, false));
                return Ok(());
            }
        };
        let read = Digesting::new(BufReader::with_capacity(256 << 10, &tar)).finish();
        let (hash, length) = match read {
            Ok(read) => read,
            Err(error) => {
                self.mark(chain)?;
                let reason = format!("cannot be read: {error}");
                found.damaged.push(damage(Damaged::Layer, reason, false));
                return Ok(());
            }
        };
        found.bytes += length;
        let is = Digest::sha256(&hash);
        if is != *diff_id {
            self.mark(chain)?;
            let reason = format!("its bytes have digest {is}");
            found.damaged.push(damage(Damaged::Layer, reason, false));
            return Ok(());
        }
        if let Some(reason) = self.check_index(&dir, length)? {
            found.damaged.push(damage(Damaged::Index, reason, true));
        }
        // An earlier scrub, or the disk, was wrong.
        if self.is_damaged(chain) && std::fs::remove_file(dir.join(MARK)).is_ok() {
            self.forget_damage(chain);
        }
        Ok(())
    }

    /// Compares a layer's index with what its tar says, and writes it again where they differ.
    fn check_index(&self, dir: &Path, length: u64) -> Result<Option<String>, Error> {
        let open = || -> Result<_, Error> {
            let path = dir.join(TAR);
            let file = File::open(&path).map_err(Error::io("opening", &path))?;
            Ok(index::scan(BufReader::with_capacity(256 << 10, file))?)
        };
        let scanned = open()?;
        let Some(tree) = scanned.tree else {
            return Ok(None);
        };
        let facts = Facts {
            tar: length,
            files: scanned.applied.bytes,
        };
        let right = tree.encode(facts);
        let reason = match std::fs::read(dir.join(INDEX)) {
            Ok(bytes) if bytes == right => return Ok(None),
            Ok(bytes) => match Tree::decode(&bytes) {
                Ok(_) => "it differs from its layer".to_owned(),
                Err(error) => error.to_string(),
            },
            Err(error) => format!("missing: {error}"),
        };
        self.replace(&dir.join(INDEX), &right)?;
        Ok(Some(reason))
    }

    /// Compares what an image's layers are mounted by with what it would be if it were made now.
    fn scrub_merged(&self, row: &Row, found: &mut Scrubbed) -> Result<(), Error> {
        let diff_ids = &row.config.rootfs.diff_ids;
        for part in self.parts(&row.chains) {
            let Part::Tars(start, end) = part else {
                continue;
            };
            let chains = &row.chains[start..end];
            if chains.iter().any(|chain| self.whole_layer(chain).is_none()) {
                continue;
            }
            let run = self.run(chains, &diff_ids[start..end], start == 0);
            let Ok(bytes) = std::fs::read(&run.image) else {
                // Made when it is needed.
                continue;
            };
            found.bytes += bytes.len() as u64;
            let right = self.merged_bytes(&run)?;
            if right == bytes {
                continue;
            }
            self.merge(&run)?;
            self.mounts.forget(&self.layer_dir(&row.chains[end - 1]));
            found.damaged.push(Damage {
                part: Damaged::Index,
                digest: diff_ids[end - 1].clone(),
                images: vec![row.id.clone()],
                reason: "what it is mounted by differs from its layers".into(),
                repaired: true,
            });
        }
        Ok(())
    }

    fn mark(&self, chain: &str) -> Result<(), Error> {
        write_synced(&self.layer_dir(chain).join(MARK), b"")?;
        let mut damaged = self.damaged.write().unwrap_or_else(PoisonError::into_inner);
        damaged.insert(chain.to_owned());
        // What is mounted of it is not used for new containers.
        drop(damaged);
        self.mounts.forget(&self.layer_dir(chain));
        Ok(())
    }

    /// Finds what belongs to nothing. Things in the making have names of their own, and what was
    /// finished since the names were read is looked for again.
    fn strays(&self, found: &mut Scrubbed) {
        let names = |dir: &str| -> Vec<String> {
            let read = std::fs::read_dir(self.root.join(dir));
            let entries = read.into_iter().flatten().flatten();
            entries
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect()
        };
        let layers = names("layers");
        let blobs = names("content/blobs/sha256");
        // After the directories were read: what was committed meanwhile is among these.
        let expected = self.catalog.expected();
        for name in layers {
            let ours = name == "empty" || name == "empty2" || name.starts_with("tmp-");
            if !ours && !expected.contains(&name) {
                found.strays.push(Path::new("layers").join(name));
            }
        }
        for name in blobs {
            if !expected.contains(&format!("{BLOB}{name}")) {
                found
                    .strays
                    .push(Path::new("content/blobs/sha256").join(name));
            }
        }
    }
}
