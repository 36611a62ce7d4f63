//! Root file systems: an overlay of an image's layers and a writable directory, as a detached
//! mount. It is in no mount namespace until somebody moves it there, so nothing has to be unmounted
//! when the engine dies.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use crate::catalog::Row;
use crate::{Error, RootfsOptions, Store};

/// overlayfs stacks no more.
const MOST_LAYERS: usize = 500;

impl Store {
    /// Mounts an image's layers below `writable/diff`.
    pub(crate) fn mount(
        &self,
        row: &Row,
        writable: Option<&Path>,
        options: RootfsOptions,
    ) -> Result<OwnedFd, Error> {
        if row.chains.len() > MOST_LAYERS {
            return Err(Error::Unsupported(format!(
                "image {} has {} layers, overlayfs takes {MOST_LAYERS}",
                row.id,
                row.chains.len()
            )));
        }
        let failed = Error::errno("mounting the layers of", &self.root);
        let mounted = self.overlay(row, writable, options);
        mounted.map_err(|errno| match missing(self, row) {
            Some(chain) => Error::Corrupt(format!(
                "layer {chain} of image {} is missing on disk: pull the image again",
                row.id
            )),
            None => failed(errno),
        })
    }

    fn overlay(
        &self,
        row: &Row,
        writable: Option<&Path>,
        options: RootfsOptions,
    ) -> Result<OwnedFd, rustix::io::Errno> {
        let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&overlay, "source", "overlay")?;
        let empty = self.root.join("layers/empty");
        for chain in row.chains.iter().rev() {
            fsconfig_set_string(&overlay, "lowerdir+", self.layer_dir(chain).join("diff"))?;
        }
        // Without a writable directory two lower ones are needed; an image may have none at all.
        if row.chains.is_empty() || writable.is_none() {
            fsconfig_set_string(&overlay, "lowerdir+", &empty)?;
        }
        if row.chains.is_empty() && writable.is_none() {
            fsconfig_set_string(&overlay, "lowerdir+", self.root.join("layers/empty2"))?;
        }
        if let Some(writable) = writable {
            forget_volatile(writable);
            fsconfig_set_string(&overlay, "upperdir", writable.join("diff"))?;
            fsconfig_set_string(&overlay, "workdir", writable.join("work"))?;
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
