//! Layers that are used before all of them has come.
//!
//! ```text
//!  lazy/<chain>/index            as beside a tar, but of the layer's *device*
//!               merged.<…>       EROFS of images with this layer
//!               …                what whoever supplies the device keeps here
//! ```
//!
//! A device is a file that has the bytes of the layer's files and gets those that are missing when
//! they are read ([`Devices`]; the store does not know where from). A layer is in `layers` when it is
//! whole, in `lazy` when it is not, and for a moment in both: then the former counts. What was mounted
//! of a device stays so; new mounts are those of the tar.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use archive::ItemKind;
use erofs::{Facts, Tree};

use crate::tarred::{INDEX, write_synced};
use crate::{Error, Images, Store, index};

/// Supplies devices.
pub trait Devices: fmt::Debug + Send + Sync {
    /// Opens the device of a layer, whose directory is `dir`. May block.
    ///
    /// # Errors
    /// When nobody can supply it.
    fn open(&self, chain: &str, dir: &Path) -> std::io::Result<OwnedFd>;

    /// A layer is not needed any more: it is whole, or its images have been removed. Must not block.
    fn forget(&self, chain: &str);
}

/// What is known of a layer before it comes.
#[derive(Debug)]
pub struct LazyFiles {
    /// Entries, as of an archive; offsets are those in the device.
    pub items: Vec<archive::Item>,
    /// Bytes of the device, a multiple of [`erofs::BLOCK`].
    pub device: u64,
    /// Names and contents of files for whoever supplies the device.
    pub files: Vec<(&'static str, Vec<u8>)>,
}

impl Images {
    /// Sets who supplies devices. The first one stays.
    pub fn set_devices(&self, devices: Arc<dyn Devices>) {
        let _ = self.0.devices.set(devices);
    }

    /// Whether layers can be used before they are whole.
    pub fn can_be_lazy(&self) -> bool {
        self.0.indexes()
    }

    /// Stores what is known of a layer; from then on it is one like others. Answers the bytes of its
    /// files.
    ///
    /// # Errors
    /// Corrupt when the entries make no sense, unsupported when they cannot be indexed.
    pub fn begin_lazy(&self, chain: &str, lazy: LazyFiles) -> Result<u64, Error> {
        self.0.begin_lazy(chain, lazy)
    }

    /// Directory of a layer that is not whole.
    pub fn lazy(&self, chain: &str) -> Option<PathBuf> {
        self.0.lazy(chain)
    }

    /// All chains that are not whole, and have an image or a lease.
    pub fn lazy_chains(&self) -> Vec<String> {
        let chains = self.0.catalog.chains().into_iter();
        chains.filter(|chain| self.lazy(chain).is_some()).collect()
    }

    /// Chains of an image that are not whole, with their directories.
    pub fn unfinished(&self, image: &crate::Image) -> Vec<(String, PathBuf)> {
        let row = self.row(image);
        let chains = row.iter().flat_map(|row| &row.chains);
        chains
            .filter_map(|chain| Some((chain.clone(), self.lazy(chain)?)))
            .collect()
    }

    /// Whether an image has a layer, by chain.
    pub fn has_layer(&self, image: &crate::Image, chain: &str) -> bool {
        self.row(image)
            .is_ok_and(|row| row.chains.iter().any(|other| other == chain))
    }

    /// Whether a layer that became whole has the files that its table of contents told of; true when
    /// there is nothing to compare.
    pub fn kept_its_word(&self, chain: &str) -> bool {
        let store = &self.0;
        let (told, came) = (store.lazy_tree(&store.lazy_dir(chain)), store.tree(chain));
        match (told, came) {
            (Ok((told, _)), Ok((came, _))) => told.has_the_files_of(&came),
            _ => true,
        }
    }

    /// Lets go of what is left of a layer that became whole.
    pub fn settle(&self, chain: &str) {
        if self.0.whole_layer(chain).is_some() {
            self.0.discard_lazy(chain);
        }
    }

    /// Devices that were open give no more bytes: new mounts are not to use them.
    pub fn devices_died(&self) {
        self.0.mounts.forget(&self.0.root.join("lazy"));
    }
}

impl Store {
    pub(crate) fn lazy_dir(&self, chain: &str) -> PathBuf {
        self.root.join("lazy").join(chain)
    }

    pub(crate) fn lazy(&self, chain: &str) -> Option<PathBuf> {
        let dir = self.lazy_dir(chain);
        (dir.join(INDEX).exists() && self.whole_layer(chain).is_none()).then_some(dir)
    }

    /// Bytes of the files of a layer that is not whole.
    pub(crate) fn lazy_layer(&self, chain: &str) -> Option<u64> {
        use std::io::Read as _;
        let mut head = [0; Facts::HEADER];
        let mut index = std::fs::File::open(self.lazy_dir(chain).join(INDEX)).ok()?;
        index.read_exact(&mut head).ok()?;
        Facts::read(&head).map(|facts| facts.files)
    }

    pub(crate) fn device(&self, chain: &str, dir: &Path) -> Result<OwnedFd, Error> {
        let Some(devices) = self.devices.get() else {
            return Err(Error::Unsupported(format!(
                "layer {chain} has not come whole, and nothing supplies the rest"
            )));
        };
        devices
            .open(chain, dir)
            .map_err(Error::io("opening the device of", dir))
    }

    pub(crate) fn lazy_tree(&self, dir: &Path) -> Result<(Tree, Facts), Error> {
        let path = dir.join(INDEX);
        let bytes = std::fs::read(&path).map_err(Error::io("reading", &path))?;
        Tree::decode(&bytes).map_err(|_| {
            Error::Corrupt(format!(
                "{} is damaged on disk: remove the image and pull it again",
                path.display()
            ))
        })
    }

    pub(crate) fn discard_lazy(&self, chain: &str) {
        let dir = self.lazy_dir(chain);
        if !dir.exists() {
            return;
        }
        self.mounts.forget(&dir);
        self.trash.take(&dir);
        if let Some(devices) = self.devices.get() {
            devices.forget(chain);
        }
    }

    fn begin_lazy(&self, chain: &str, lazy: LazyFiles) -> Result<u64, Error> {
        self.check_room()?;
        let (mut tree, mut files) = (Tree::new(), 0u64);
        for item in lazy.items {
            if let ItemKind::File { size, .. } = item.kind {
                files = files.saturating_add(size);
            }
            let shown = item.path.to_string_lossy().into_owned();
            index::add(&mut tree, item).map_err(|error| match error.is_limit() {
                true => Error::Unsupported(error.to_string()),
                false => Error::Corrupt(format!("{shown}: {error}")),
            })?;
        }
        let facts = Facts {
            tar: lazy.device,
            files,
        };
        self.place_lazy(chain, &tree.encode(facts), &lazy.files)?;
        Ok(files)
    }

    /// Gives a layer that is not whole its directory.
    pub(crate) fn place_lazy(
        &self,
        chain: &str,
        index: &[u8],
        files: &[(&'static str, Vec<u8>)],
    ) -> Result<(), Error> {
        let made = self.temporary("lazy")?;
        let place = self.lazy_dir(chain);
        let written = (|| {
            for (name, bytes) in files {
                write_synced(&made.join(name), bytes)?;
            }
            write_synced(&made.join(INDEX), index)?;
            match std::fs::rename(&made, &place) {
                // Another pull was faster.
                Err(_) if self.lazy_layer(chain).is_some() => Ok(()),
                renamed => renamed.map_err(Error::io("renaming to", &place)),
            }
        })();
        self.trash.take(&made);
        written
    }
}

#[cfg(test)]
mod tests;
