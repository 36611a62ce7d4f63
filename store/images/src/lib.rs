//! Images: content by digest, layers, records and names, root file systems.
//!
//! ```text
//!  <root>/content/blobs/sha256/<hex>   manifests and configurations
//!  <root>/layers/<chain>               layers, whole whenever they have this name:
//!         tar, index                   as they came, and what is in them (see `tarred`)
//!         merged.<n>                   EROFS of the lowest or uppermost n layers up to this one
//!         diff, size                   unpacked, where the kernel mounts no EROFS from files
//!  <root>/partial/<hex>                compressed layers on their way (see `partial`)
//!  <root>/lazy/<chain>                 layers of which not all has come (see `lazy`)
//!  <root>/checkpoints/<hex>            how to read a gzip layer from the middle, should it come again
//!  <root>/trash                        what is being unlinked
//!  database: images, image-names       rows; all look-ups happen in memory
//! ```
//!
//! Crash story: a layer or blob gets its name by a rename after it was synced; an image's row is
//! written after its layers. Temporary names are swept at open, layers without an image too.
//! Calls block; they may be made from any number of threads.

mod blobs;
mod catalog;
mod changes;
mod checkpoints;
mod error;
mod image;
mod import;
mod index;
mod known;
mod layers;
mod lazy;
mod lease;
mod load;
mod merged;
mod partial;
mod probe;
mod removed;
mod room;
mod rootfs;
mod save;
mod scrub;
mod snapshot;
mod tarred;
mod trash;
mod variants;

use std::collections::BTreeSet;
use std::io::Read;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, RwLock};

use oci::image::{Descriptor, ImageConfig};
use oci::{Digest, Reference};

use crate::catalog::{BLOB, Catalog, IndexRow, Row};
use crate::merged::Mounts;
use crate::trash::Trash;

pub use blobs::KnownBlob;
pub use changes::disk_usage;
pub use checkpoints::Kept;
pub use error::{Error, Kind};
pub use image::{
    Change, ChangeKind, Image, ImportOptions, LoadEvent, Loaded, RootfsOptions, Step, Untagged,
    Usage,
};
pub use index::{Scanned, scan};
pub use known::Here;
pub use layers::{Expected, Layer, chain_id};
pub use lazy::{Devices, LazyFiles};
pub use lease::Lease;
pub use partial::Partial;
pub use removed::{Freed, Policy, RemovedImage};
pub use save::Saved;
pub use scrub::{Damage, Damaged, Scrubbed};
pub use snapshot::CommitOptions;
pub use tarred::LayerTar;
pub use variants::{Attached, Indexed, Variant, VariantKind};

/// The image store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Images(Arc<Store>);

#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
    catalog: Catalog,
    trash: Trash,
    mounts: Mounts,
    policy: RwLock<Policy>,
    /// Chains of layers that a scrub found to be damaged.
    damaged: RwLock<BTreeSet<String>>,
    /// Whether layers are kept as tars; found out when it is first asked.
    indexes: OnceLock<bool>,
    /// Who supplies the bytes of layers that are not whole.
    devices: OnceLock<Arc<dyn Devices>>,
}

/// In which form new layers are kept. Both may be in one store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// As tars below an EROFS index where the kernel can mount that, else unpacked.
    #[default]
    Best,
    /// Unpacked.
    Directories,
}

impl Images {
    /// Opens the store below `root`, with its tables in `database`.
    ///
    /// # Errors
    /// When directories or rows cannot be read.
    pub fn open(root: &Path, database: Arc<redb::Database>) -> Result<Self, Error> {
        Self::open_with(root, database, Form::Best)
    }

    /// The same, with a say in how layers are kept.
    ///
    /// # Errors
    /// As [`Images::open`].
    pub fn open_with(
        root: &Path,
        database: Arc<redb::Database>,
        form: Form,
    ) -> Result<Self, Error> {
        for dir in [
            "content/blobs/sha256",
            "layers/empty",
            "layers/empty2",
            "lazy",
        ] {
            let dir = root.join(dir);
            std::fs::create_dir_all(&dir).map_err(Error::io("making", &dir))?;
        }
        let trash = Trash::open(root.join("trash"))?;
        let catalog = Catalog::open(database)?;
        let store = Store {
            root: root.to_owned(),
            catalog,
            trash,
            mounts: Mounts::default(),
            policy: RwLock::default(),
            damaged: RwLock::default(),
            indexes: match form {
                Form::Best => OnceLock::new(),
                Form::Directories => OnceLock::from(false),
            },
            devices: OnceLock::new(),
        };
        store.sweep();
        store.sweep_partials(false);
        store.sweep_checkpoints(false);
        store.read_marks();
        Ok(Self(Arc::new(store)))
    }

    /// Identity of this engine, made at the first open.
    pub fn engine_id(&self) -> String {
        self.0.catalog.engine_id()
    }

    /// By ID, unique prefix of one, `name[:tag]` or `name@digest`.
    ///
    /// # Errors
    /// Not found, ambiguous, or not a reference.
    pub fn resolve(&self, name: &str) -> Result<Image, Error> {
        self.0.catalog.resolve(name)
    }

    /// All images, in ID order; of those for several platforms under one name the one that the name
    /// stands for. [`Images::every`] has all.
    ///
    /// # Errors
    /// None today; a store elsewhere may fail.
    pub fn list(&self) -> Result<Vec<Image>, Error> {
        Ok(self.0.catalog.listed())
    }

    /// The configuration as it came.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn config_bytes(&self, id: &Digest) -> Result<Vec<u8>, Error> {
        self.0.read_blob(id)
    }

    /// Gives an image one more name; what the name led to loses it. With an index it is that which
    /// gets the name, with all its platforms.
    ///
    /// # Errors
    /// Not found.
    pub fn tag(&self, image: &Image, reference: &Reference) -> Result<(), Error> {
        self.tag_all(image, std::slice::from_ref(reference))
    }

    /// The same with several names at once.
    ///
    /// # Errors
    /// Not found.
    pub fn tag_all(&self, image: &Image, references: &[Reference]) -> Result<(), Error> {
        let index = image.index.as_ref().map(|index| index.digest.hex());
        self.0.catalog.tag(&image.id, index, references)
    }

    /// Keeps layers, by chain, whether an image has them or not, until the lease is dropped. Ask
    /// for layers that are there only after that.
    pub fn lease(&self, chains: Vec<String>) -> Lease {
        Lease::new(Arc::clone(&self.0), chains)
    }

    /// Whether an image's files are all in place: its configuration, manifest and every layer.
    pub fn is_whole(&self, image: &Image) -> bool {
        let row = self.row(image);
        let manifest = image.manifest.as_ref().map(|manifest| &manifest.digest);
        row.is_ok_and(|row| row.chains.iter().all(|chain| self.0.layer(chain).is_some()))
            && [Some(&image.id), manifest]
                .into_iter()
                .flatten()
                .all(|digest| self.0.read_blob(digest).is_ok())
    }

    /// Takes a name away; `None` when nothing has it.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn untag(&self, reference: &Reference) -> Result<Option<Untagged>, Error> {
        let discard = |key: &str| self.0.discard(key);
        self.0.catalog.untag(reference, &discard)
    }

    /// Removes an image with all its names, and those of other platforms that go by them. Answers
    /// the diff IDs of the layers that no other image has. Where the policy says so it can be had
    /// back for a while.
    ///
    /// # Errors
    /// Not found.
    pub fn remove(&self, id: &Digest) -> Result<Vec<Digest>, Error> {
        let (_, layers) = self.remove_but(id, &BTreeSet::new())?;
        Ok(layers)
    }

    /// The same, but for images of other platforms that are to stay. Answers the images as well.
    ///
    /// # Errors
    /// Not found.
    pub fn remove_but(
        &self,
        id: &Digest,
        keep: &BTreeSet<Digest>,
    ) -> Result<(Vec<Digest>, Vec<Digest>), Error> {
        let discard = |key: &str| self.0.discard(key);
        let kept = !self.0.policy().keep_for.is_zero();
        // What is known of layers that others have stays known.
        let images = self.resolve(id.as_str()).map(|image| self.together(&image));
        let mut known = Vec::new();
        for image in images.unwrap_or_default() {
            let chains = self.row(&image).map(|row| row.chains.clone());
            let blobs = self.blobs_of(&image);
            known.extend(chains.unwrap_or_default().into_iter().zip(blobs));
        }
        let gone = self.0.catalog.remove(id, keep, kept, &discard)?;
        let stay = known.into_iter();
        for (chain, known) in stay.filter(|(chain, _)| !gone.chains.contains(chain)) {
            // Without it a push of the layer compresses it again, nothing more.
            let _ = self.remember(&chain, &known);
        }
        if kept {
            self.0.expire(false)?;
        }
        Ok(gone.told())
    }

    /// Steps of an image, newest first, with the sizes of their layers.
    pub fn history(&self, image: &Image) -> Vec<Step> {
        let mut sizes = image.layer_sizes.iter();
        let mut steps: Vec<Step> = image
            .config
            .history
            .iter()
            .map(|history| {
                let size = if history.empty_layer {
                    0
                } else {
                    sizes.next().copied().unwrap_or(0)
                };
                Step {
                    history: history.clone(),
                    size,
                }
            })
            .collect();
        // Layers that no step tells of (some builders write no history).
        steps.extend(sizes.map(|size| Step {
            history: oci::image::History::default(),
            size: *size,
        }));
        steps.reverse();
        steps
    }

    /// A root file system: the image below `writable/diff`. A detached mount, gone with its last
    /// descriptor.
    ///
    /// # Errors
    /// When a layer is missing or the kernel refuses.
    pub fn rootfs(
        &self,
        image: &Image,
        writable: &Path,
        options: RootfsOptions,
    ) -> Result<OwnedFd, Error> {
        let row = self.row(image)?;
        self.0.mount(&row, Some(writable), options, None)
    }

    /// The same for a container whose ids are mapped: what the image says is 0 is what the user
    /// namespace `user` maps 0 to. Nothing is copied or changed on disk. In `writable/diff` files
    /// have the mapped owners.
    ///
    /// # Errors
    /// As [`Images::rootfs`], and where the kernel or the file system of the layers cannot map
    /// mounts.
    pub fn rootfs_mapped(
        &self,
        image: &Image,
        writable: &Path,
        options: RootfsOptions,
        user: BorrowedFd<'_>,
    ) -> Result<OwnedFd, Error> {
        let row = self.row(image)?;
        self.0.mount(&row, Some(writable), options, Some(user))
    }

    /// The image's files alone, read-only.
    ///
    /// # Errors
    /// As [`Images::rootfs`].
    pub fn view(&self, image: &Image) -> Result<OwnedFd, Error> {
        let row = self.row(image)?;
        self.0.mount(
            &row,
            None,
            RootfsOptions {
                readonly: true,
                volatile: false,
            },
            None,
        )
    }

    /// The same as a mount of its own, which may be moved into another namespace.
    ///
    /// # Errors
    /// As [`Images::rootfs`].
    pub fn own_view(&self, image: &Image) -> Result<OwnedFd, Error> {
        self.0.own_view(&*self.row(image)?)
    }

    /// Makes the directories that [`Images::rootfs`] writes to.
    ///
    /// # Errors
    /// When the disk is nearly full or the directories cannot be made.
    pub fn create_writable(&self, dir: &Path) -> Result<(), Error> {
        self.0.check_room()?;
        for name in ["diff", "work"] {
            let dir = dir.join(name);
            std::fs::create_dir_all(&dir).map_err(Error::io("making", &dir))?;
        }
        Ok(())
    }

    /// Takes a directory away at once and unlinks it later.
    pub fn discard(&self, dir: &Path) {
        self.0.trash.take(dir);
    }

    /// What differs between `writable` and its image.
    ///
    /// # Errors
    /// When files cannot be read.
    pub fn upper_changes(&self, image: &Image, writable: &Path) -> Result<Vec<Change>, Error> {
        changes::changes(&self.view(image)?, &writable.join("diff"))
    }

    /// Bytes of the whole store.
    ///
    /// # Errors
    /// None today.
    pub fn usage(&self) -> Result<Usage, Error> {
        let expected = self.0.catalog.expected();
        let chains = expected.iter().filter(|key| !key.starts_with(BLOB));
        Ok(Usage {
            layers: chains.filter_map(|chain| self.0.layer(chain)).sum(),
            disk: self.0.layers_on_disk(),
            partial: self.0.partials_on_disk() + self.0.checkpoints_on_disk(),
            content: changes::disk_usage(&self.0.root.join("content")),
        })
    }

    /// Whether a layer is there; its size.
    pub fn layer(&self, chain: &str) -> Option<u64> {
        self.0.layer(chain)
    }

    /// The same. A layer that some image has on top of other layers is taken over from there,
    /// without another copy.
    pub fn layer_or_same(&self, chain: &str, diff_id: &Digest) -> Option<u64> {
        self.0.layer(chain).or_else(|| {
            let same = self.0.catalog.same(diff_id);
            let mut tars = same.iter().filter(|other| self.0.has_tar(other));
            tars.find_map(|other| self.0.adopt(other, chain).ok())?;
            self.0.layer(chain)
        })
    }

    /// A layer's uncompressed archive, to the byte.
    ///
    /// # Errors
    /// Not found; unsupported when it was unpacked and cannot be put together as it was.
    pub fn layer_tar(&self, diff_id: &Digest) -> Result<LayerTar, Error> {
        self.0.layer_tar(diff_id, None)
    }

    /// The same where the caller knows a chain that ends with it, and has a lease of that.
    ///
    /// # Errors
    /// As [`Images::layer_tar`].
    pub fn layer_tar_at(&self, chain: &str, diff_id: &Digest) -> Result<LayerTar, Error> {
        self.0.layer_tar(diff_id, Some(chain))
    }

    /// Stores a layer from a stream in one pass, verifying its digests.
    ///
    /// # Errors
    /// Corrupt when a digest or length differs, and those of the archive. Nothing is left then.
    pub fn ingest_layer(
        &self,
        stream: impl Read + Send,
        expected: &Expected,
    ) -> Result<Layer, Error> {
        self.0.ingest(stream, expected)
    }

    /// Publishes an image whose layers are all there, under `references`.
    ///
    /// # Errors
    /// Corrupt when the configuration is no configuration or a layer is missing.
    pub fn commit(
        &self,
        config: &[u8],
        manifest: Option<(&str, &[u8])>,
        references: &[Reference],
    ) -> Result<Digest, Error> {
        self.publish(config, manifest, None, None, references)
    }

    fn publish(
        &self,
        config: &[u8],
        manifest: Option<(&str, &[u8])>,
        index: Option<IndexRow>,
        parent: Option<&Digest>,
        references: &[Reference],
    ) -> Result<Digest, Error> {
        let parsed: ImageConfig = serde_json::from_slice(config)
            .map_err(|error| Error::Corrupt(format!("image configuration: {error}")))?;
        let (mut chains, mut layer_sizes) = (Vec::new(), Vec::new());
        let mut below = String::new();
        for diff_id in &parsed.rootfs.diff_ids {
            below = chain_id(&below, diff_id);
            let size = self.0.layer(&below).ok_or_else(|| {
                Error::Corrupt(format!("layer {diff_id} of the image is missing"))
            })?;
            chains.push(below.clone());
            layer_sizes.push(size);
        }
        // Now, so that the first container does not wait for it.
        if self.0.indexes() {
            self.0.merge_all(&chains, &parsed.rootfs.diff_ids)?;
        }
        // Held, or one who removes the same image would take them from under our row.
        let blobs = [Some(config), manifest.map(|(_, bytes)| bytes)];
        let blobs = blobs.into_iter().flatten();
        let blobs = blobs.map(|bytes| format!("{BLOB}{}", layers::digest(bytes).hex()));
        let _lease = self.lease(blobs.collect());
        let id = self.0.put_blob(config)?;
        let manifest = manifest
            .map(|(media_type, bytes)| -> Result<Descriptor, Error> {
                Ok(Descriptor::new(
                    media_type,
                    self.0.put_blob(bytes)?,
                    bytes.len() as u64,
                ))
            })
            .transpose()?;
        // What is known only here of an image that comes again stays.
        let before = self.0.catalog.row(&id);
        let before = before.as_deref();
        let row = Row {
            id: id.clone(),
            config: Arc::new(parsed),
            manifest: manifest.or_else(|| before.and_then(|row| row.manifest.clone())),
            chains,
            layer_sizes,
            parent: parent
                .or_else(|| before.and_then(|row| row.parent.as_ref()))
                .cloned(),
            last_tagged: before.map_or(0, |row| row.last_tagged),
        };
        self.0.catalog.add(row, index, references)?;
        Ok(id)
    }

    fn row(&self, image: &Image) -> Result<Arc<Row>, Error> {
        self.0
            .catalog
            .row(&image.id)
            .ok_or_else(|| Error::NotFound(image.id.to_string()))
    }
}

impl Store {
    /// Takes a layer away with everything that was made of it.
    fn discard_layer(&self, chain: &str) {
        let dir = self.layer_dir(chain);
        self.mounts.forget(&dir);
        self.forget_damage(chain);
        self.trash.take(&dir);
        self.discard_lazy(chain);
    }

    /// Takes away what no row names: half-made layers, blobs and spools of a crash. Whole layers of
    /// a pull that was cut off stay for a while.
    fn sweep(&self) {
        let needed = self.catalog.needed();
        let entries = |dir: &str| {
            let read = std::fs::read_dir(self.root.join(dir));
            read.into_iter().flatten().flatten().map(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                (name, entry.path())
            })
        };
        for (name, path) in entries("layers") {
            if name.starts_with("tmp-") {
                self.trash.take(&path);
            } else if name.len() == 64 && !needed.contains(&name) {
                match self.whole_layer(&name) {
                    Some(_) => self.catalog.keep_unclaimed(name, changed(&path)),
                    None => self.trash.take(&path),
                }
            }
        }
        for (name, path) in entries("lazy") {
            let stays = needed.contains(&name) && self.whole_layer(&name).is_none();
            if name.starts_with("tmp-") || name.len() == 64 && !stays {
                self.trash.take(&path);
            }
        }
        for (name, path) in entries("content") {
            if name.starts_with("tmp-") {
                self.trash.take(&path);
            }
        }
        for (name, path) in entries("content/blobs/sha256") {
            if !needed.contains(&format!("{BLOB}{name}")) {
                self.trash.take(&path);
            }
        }
        self.drop_unclaimed();
    }
}

/// When a directory was last changed, in nanoseconds since 1970; now where that cannot be told.
fn changed(path: &Path) -> i64 {
    let since = std::fs::metadata(path)
        .and_then(|facts| facts.modified())
        .ok()
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    since.map_or_else(catalog::now, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    })
}
