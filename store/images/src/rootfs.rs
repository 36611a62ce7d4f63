//! Root file systems: an overlay of an image's layers and a writable directory, as a detached
//! mount. It is in no mount namespace until somebody moves it there, so nothing has to be unmounted
//! when the engine dies.

use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use crate::catalog::Row;
use crate::merged::{Mounted, Part};
use crate::{Error, RootfsOptions, Store};

/// overlayfs stacks no more.
const MOST_LAYERS: usize = 500;

/// One of overlayfs's lower layers.
#[derive(Debug)]
pub(crate) enum Lower {
    Directory(PathBuf),
    Mount(Mounted),
}

impl Lower {
    /// The same, with ids as `user` maps them.
    fn mapped(&self, user: BorrowedFd<'_>) -> Result<Self, Error> {
        let copy = match self {
            Self::Directory(dir) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let dir = rustix::fs::open(dir, flags, Mode::empty())
                    .map_err(Error::errno("opening", dir))?;
                sys::userns::mapped_copy(&dir, user)
            }
            Self::Mount(mounted) => sys::userns::mapped_copy(mounted, user),
        };
        match copy {
            Ok(copy) => Ok(Self::Mount(Arc::new(copy))),
            Err(Errno::INVAL | Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP) => {
                Err(Error::Unsupported(
                    "ids of the image's layers cannot be mapped for a user namespace: that takes \
                     Linux 6.15, and a file system of the data root that can be mounted so (ext4, \
                     xfs, btrfs, tmpfs)"
                        .into(),
                ))
            }
            Err(error) => Err(Error::Unsupported(format!(
                "mapping the ids of the image's layers: {error}"
            ))),
        }
    }

    fn has_opaque_root(&self) -> Result<bool, Error> {
        let path = match self {
            Self::Directory(dir) => dir.clone(),
            Self::Mount(mounted) => format!("/proc/self/fd/{}", mounted.as_raw_fd()).into(),
        };
        let mut value = [0; 1];
        match rustix::fs::getxattr(&path, "trusted.overlay.opaque", &mut value) {
            Ok(length) => Ok(value[..length] == *b"y"),
            Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => Ok(false),
            Err(error) => Err(Error::errno("reading", &path)(error)),
        }
    }
}

impl Store {
    /// Mounts an image's layers below `writable/diff`, their ids mapped as `user` maps them.
    pub(crate) fn mount(
        &self,
        row: &Row,
        writable: Option<&Path>,
        options: RootfsOptions,
        user: Option<BorrowedFd<'_>>,
    ) -> Result<OwnedFd, Error> {
        let explain = |error: Error| match missing(self, row) {
            Some(chain) => Error::Corrupt(format!(
                "layer {chain} of image {} is missing on disk: pull the image again",
                row.id
            )),
            None => error,
        };
        if let Some(chain) = row.chains.iter().find(|chain| self.is_damaged(chain)) {
            return Err(Error::Corrupt(format!(
                "layer {chain} of image {} is damaged on disk: pull the image again",
                row.id
            )));
        }
        let mut lower = self.lower(row).map_err(explain)?;
        if let Some(user) = user {
            for layer in &mut lower {
                *layer = layer.mapped(user)?;
            }
        }
        if let ([Lower::Mount(mounted)], None) = (lower.as_slice(), writable) {
            return mounted
                .try_clone()
                .map_err(Error::io("mounting the layers of", &self.root));
        }
        // Without a writable directory two lower ones are needed; an image may have none at all.
        if lower.is_empty() || writable.is_none() {
            lower.push(Lower::Directory(self.root.join("layers/empty")));
        }
        if lower.len() == 1 && writable.is_none() {
            lower.push(Lower::Directory(self.root.join("layers/empty2")));
        }
        let failed = Error::errno("mounting the layers of", &self.root);
        overlay(&lower, writable, options).map_err(|errno| explain(failed(errno)))
    }

    /// An image's files as a mount that nobody else has: it may be moved anywhere.
    pub(crate) fn own_view(&self, row: &Row) -> Result<OwnedFd, Error> {
        let mut lower = self.lower(row)?;
        // overlayfs wants two where none is for writing.
        lower.push(Lower::Directory(self.root.join("layers/empty")));
        if lower.len() == 1 {
            lower.push(Lower::Directory(self.root.join("layers/empty2")));
        }
        let failed = Error::errno("mounting the layers of", &self.root);
        overlay(&lower, None, RootfsOptions::default()).map_err(failed)
    }

    /// An image's lower layers, top first.
    fn lower(&self, row: &Row) -> Result<Vec<Lower>, Error> {
        if !self.indexes() {
            // Stored under a newer kernel than today's.
            for chain in &row.chains {
                if !self.layer_dir(chain).join("diff").exists() {
                    self.unpack_beside(chain)?;
                }
            }
        }
        let parts = self.parts(&row.chains);
        if parts.len() > MOST_LAYERS {
            return Err(Error::Unsupported(format!(
                "image {} has {} layers, overlayfs takes {MOST_LAYERS}",
                row.id,
                row.chains.len()
            )));
        }
        let mut lower = Vec::new();
        for part in parts.into_iter().rev() {
            let is_base = matches!(part, Part::Directory(0) | Part::Tars(0, _));
            let layer = match part {
                Part::Directory(number) => {
                    Lower::Directory(self.layer_dir(&row.chains[number]).join("diff"))
                }
                Part::Tars(start, end) => {
                    let diff_ids = &row.config.rootfs.diff_ids;
                    Lower::Mount(self.mounted(&row.chains, diff_ids, (start, end))?)
                }
            };
            // overlayfs does not ask whether a root is opaque.
            let opaque = !is_base && layer.has_opaque_root()?;
            lower.push(layer);
            if opaque {
                break;
            }
        }
        Ok(lower)
    }
}

/// An overlay of lower layers, top first.
pub(crate) fn overlay(
    lower: &[Lower],
    writable: Option<&Path>,
    options: RootfsOptions,
) -> rustix::io::Result<OwnedFd> {
    let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&overlay, "source", "overlay")?;
    for lower in lower {
        match lower {
            Lower::Directory(dir) => fsconfig_set_string(&overlay, "lowerdir+", dir)?,
            // It has no other name. overlayfs takes a private clone of the mount, which ends with
            // the overlay.
            Lower::Mount(mounted) => {
                let path = format!("/proc/self/fd/{}", mounted.as_raw_fd());
                fsconfig_set_string(&overlay, "lowerdir+", path)?;
            }
        }
    }
    if let Some(writable) = writable {
        forget_volatile(writable);
        fsconfig_set_string(&overlay, "upperdir", writable.join("diff"))?;
        fsconfig_set_string(&overlay, "workdir", writable.join("work"))?;
        // What the container changed is to be all in its directory: it may become a layer.
        fsconfig_set_string(&overlay, "redirect_dir", "off")?;
        fsconfig_set_string(&overlay, "metacopy", "off")?;
        if options.volatile {
            fsconfig_set_flag(&overlay, "volatile")?;
        }
    }
    fsconfig_create(&overlay)?;
    let mut attributes = MountAttrFlags::empty();
    attributes.set(
        MountAttrFlags::MOUNT_ATTR_RDONLY,
        options.readonly || writable.is_none(),
    );
    fsmount(&overlay, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn missing<'a>(store: &Store, row: &'a Row) -> Option<&'a String> {
    row.chains.iter().find(|chain| store.layer(chain).is_none())
}

/// overlayfs refuses a volatile upper directory a second time, since it cannot know whether the
/// machine crashed. A container that is thrown away when it ends does not care.
fn forget_volatile(writable: &Path) {
    let mark = writable.join("work/work/incompat/volatile");
    let _ = std::fs::remove_file(mark.join("dirty"));
    let _ = std::fs::remove_dir(mark);
}

#[cfg(test)]
mod tests;
