//! What overlayfs gets as lower layers: a run of layers that are kept as tars is one EROFS mount,
//! with an image of all their metadata (`merged.<n>` beside the run's top layer) and one device per
//! tar; a layer that is a plain directory is itself.
//!
//! Mounts are kept while they are in use and a while longer: mounting takes longer than an overlay
//! over it, and containers of one image share its page cache only when they share the mount. They
//! are detached: nothing is in any mount namespace, nothing is left when the process ends.

use std::collections::HashMap;
use std::io::{BufWriter, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use erofs::{Marks, Stack};
use oci::Digest;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use crate::tarred::TAR;
use crate::{Error, Store};

/// Mounts that are kept; each has its tars open.
const MOST_MOUNTS: usize = 64;

/// One lower layer, or several as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// A directory: number of the layer, from the base.
    Directory(usize),
    /// Layers from the first number to before the second.
    Tars(usize, usize),
}

/// A mounted EROFS.
pub(crate) type Mounted = Arc<OwnedFd>;

/// Mounts by the name of their image.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    slots: Mutex<HashMap<PathBuf, Arc<Slot>>>,
    clock: AtomicU64,
}

#[derive(Debug, Default)]
struct Slot {
    /// Held while it is being mounted, so that it is done once.
    mounted: Mutex<Option<Mounted>>,
    used: AtomicU64,
}

impl Mounts {
    fn slot(&self, image: &Path) -> Arc<Slot> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = Arc::clone(slots.entry(image.to_owned()).or_default());
        slot.used.store(now, Ordering::Relaxed);
        if slots.len() > MOST_MOUNTS {
            let used = |slot: &Arc<Slot>| slot.used.load(Ordering::Relaxed);
            let oldest = slots.iter().min_by_key(|(_, slot)| used(slot));
            if let Some(oldest) = oldest.map(|(image, _)| image.clone()) {
                slots.remove(&oldest);
            }
        }
        slot
    }

    /// Lets go of what a layer that goes away is the top of.
    pub(crate) fn forget(&self, layer: &Path) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|image, _| !image.starts_with(layer));
    }

    /// The number of mounts that are kept whose image is below a directory.
    #[cfg(test)]
    pub(crate) fn below(&self, dir: &Path) -> usize {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.keys().filter(|image| image.starts_with(dir)).count()
    }
}

impl Store {
    /// How the layers of an image are to be mounted, base first.
    pub(crate) fn parts(&self, chains: &[String]) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        for (number, chain) in chains.iter().enumerate() {
            let unpacked = self.layer_dir(chain).join("diff").exists();
            match parts.last_mut() {
                _ if unpacked => parts.push(Part::Directory(number)),
                Some(Part::Tars(_, end)) => *end = number + 1,
                _ => parts.push(Part::Tars(number, number + 1)),
            }
        }
        parts
    }

    /// Makes what an image's mounts need, so that its first container does not wait for it.
    pub(crate) fn merge_all(&self, chains: &[String], diff_ids: &[Digest]) -> Result<(), Error> {
        for part in self.parts(chains) {
            if let Part::Tars(start, end) = part {
                let run = self.run(&chains[start..end], &diff_ids[start..end], start == 0);
                if !run.image.exists() {
                    self.merge(&run)?;
                }
            }
        }
        Ok(())
    }

    /// A run of layers, mounted.
    pub(crate) fn mounted(
        &self,
        chains: &[String],
        diff_ids: &[Digest],
        (start, end): (usize, usize),
    ) -> Result<Mounted, Error> {
        let (chains, diff_ids) = (&chains[start..end], &diff_ids[start..end]);
        loop {
            let run = self.run(chains, diff_ids, start == 0);
            let mounted = self.mounted_run(&run);
            // Meanwhile a layer became whole: what there was of it has gone.
            if mounted.is_err() && run.lazy != self.run(chains, diff_ids, start == 0).lazy {
                continue;
            }
            return mounted;
        }
    }

    fn mounted_run(&self, run: &Run<'_>) -> Result<Mounted, Error> {
        let image = &run.image;
        let slot = self.mounts.slot(image);
        let mut mounted = slot.mounted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mounted) = &*mounted {
            return Ok(Arc::clone(mounted));
        }
        // Open until it is mounted: a device has no other name than its descriptor.
        let mut open = Vec::new();
        let mut tars = Vec::new();
        for (chain, lazy) in run.chains.iter().zip(&run.lazy) {
            tars.push(match lazy {
                None => self.layer_dir(chain).join(TAR),
                Some(dir) => {
                    let device = self.device(chain, dir)?;
                    let path = format!("/proc/self/fd/{}", device.as_raw_fd());
                    open.push(device);
                    path.into()
                }
            });
        }
        let existed = image.exists();
        if !existed {
            self.merge(run)?;
        }
        let new = match mount(image, &tars) {
            // It can be made again; damage of the tars cannot.
            Err(_) if existed => {
                self.merge(run)?;
                mount(image, &tars)
            }
            new => new,
        };
        drop(open);
        let new = Arc::new(new.map_err(Error::errno("mounting", image))?);
        *mounted = Some(Arc::clone(&new));
        Ok(new)
    }

    /// How a run of layers stands just now.
    pub(crate) fn run<'a>(
        &self,
        chains: &'a [String],
        diff_ids: &'a [Digest],
        base: bool,
    ) -> Run<'a> {
        let lazy: Vec<Option<PathBuf>> = chains.iter().map(|chain| self.lazy(chain)).collect();
        let length = chains.len();
        let top = chains.last().map_or("", |top| top.as_str());
        let image = match lazy.iter().flatten().next() {
            None => self.layer_dir(top).join(format!("merged.{length}")),
            // It points into what goes when the layer becomes whole, and goes with it.
            Some(dir) => {
                let which = lazy
                    .iter()
                    .map(|lazy| if lazy.is_some() { '1' } else { '0' });
                let which: String = which.collect();
                dir.join(format!("merged.{top}.{}", lazy_name(&which)))
            }
        };
        Run {
            chains,
            diff_ids,
            base,
            lazy,
            image,
        }
    }

    pub(crate) fn merge(&self, run: &Run<'_>) -> Result<(), Error> {
        self.check_room()?;
        let stack = self.stack(run)?;
        let dir = self.temporary("layers")?;
        let (made, image) = (dir.join("merged"), &run.image);
        let written = write(&stack, &made)
            .and_then(|()| std::fs::rename(&made, image).map_err(Error::io("renaming to", image)));
        self.trash.take(&dir);
        written
    }

    /// What [`Store::merge`] writes.
    pub(crate) fn merged_bytes(&self, run: &Run<'_>) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        match self.stack(run)?.write(&mut bytes) {
            Ok(()) => Ok(bytes),
            Err(error) => Err(Error::Unsupported(format!("layers of the image: {error}"))),
        }
    }

    fn stack(&self, run: &Run<'_>) -> Result<Stack, Error> {
        let marks = if run.base { Marks::Drop } else { Marks::Keep };
        let mut stack = Stack::new(marks);
        for ((chain, diff_id), lazy) in run.chains.iter().zip(run.diff_ids).zip(&run.lazy) {
            let (tree, facts) = match lazy {
                None => self.tree(chain)?,
                Some(dir) => self.lazy_tree(dir)?,
            };
            stack
                .push(tree, diff_id.hex(), facts.tar)
                .map_err(|error| Error::Unsupported(format!("layers of the image: {error}")))?;
        }
        Ok(stack)
    }
}

/// Layers that become one mount.
pub(crate) struct Run<'a> {
    chains: &'a [String],
    diff_ids: &'a [Digest],
    /// Nothing is below.
    base: bool,
    /// The directories of those that are not whole.
    pub(crate) lazy: Vec<Option<PathBuf>>,
    /// Where their EROFS image is, once it was made.
    pub(crate) image: PathBuf,
}

/// A name for which layers are lazy: short for as many as there are.
fn lazy_name(which: &str) -> String {
    use sha2::Digest as _;
    archive::hex(&sha2::Sha256::digest(which)[..8])
}

/// Writes an image, synced: the kernel would not see that the end of it is missing.
pub(crate) fn write(stack: &Stack, path: &Path) -> Result<(), Error> {
    let file = std::fs::File::create(path).map_err(Error::io("making", path))?;
    let mut out = BufWriter::with_capacity(256 << 10, file);
    match stack.write(&mut out) {
        Err(erofs::Error::Io(error)) => return Err(Error::io("writing", path)(error)),
        Err(error) => {
            return Err(Error::Unsupported(format!("layers of the image: {error}")));
        }
        Ok(()) => {}
    }
    out.flush()
        .and_then(|()| out.get_ref().sync_data())
        .map_err(Error::io("writing", path))
}

/// A detached EROFS mount of an image and its devices. Neither needs a loop device: the kernel reads
/// regular files since 6.12 (`CONFIG_EROFS_FS_BACKED_BY_FILE`).
pub(crate) fn mount(image: &Path, tars: &[PathBuf]) -> rustix::io::Result<OwnedFd> {
    let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", image)?;
    for tar in tars {
        fsconfig_set_string(&context, "device", tar)?;
    }
    fsconfig_set_flag(&context, "ro")?;
    fsconfig_create(&context)?;
    fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_RDONLY,
    )
}
