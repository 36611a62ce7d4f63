//! Layers over each other, as overlayfs lays directories.

use std::io::Write;

use crate::format::MOST_DEVICES;
use crate::tree::{Content, Directory, Id, Inode, ROOT, Tree};
use crate::{Error, write};

/// Most inodes of an image, replaced ones included.
const MOST_INODES: usize = 16 << 20;

/// What becomes of whiteouts and opaque directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marks {
    /// Nothing is below: they have done their work.
    Drop,
    /// They stay as overlayfs's marks: a character device 0:0, and the attribute
    /// `trusted.overlay.opaque` (Documentation/filesystems/overlayfs.rst).
    Keep,
}

/// Several layers as one tree.
#[derive(Debug)]
pub struct Stack {
    pub(crate) inodes: Vec<Inode>,
    pub(crate) devices: Vec<Device>,
    pub(crate) marks: Marks,
}

/// One layer's tar: what `struct erofs_deviceslot` says of it.
#[derive(Debug)]
pub(crate) struct Device {
    /// `tag`.
    pub(crate) tag: [u8; 64],
    /// Length.
    pub(crate) bytes: u64,
}

impl Stack {
    /// Nothing yet but a root.
    pub fn new(marks: Marks) -> Self {
        Self {
            inodes: vec![Inode::implied()],
            devices: Vec::new(),
            marks,
        }
    }

    /// Lays one more layer on top. `tag` (at most 64 bytes) names its tar in the image; `bytes` is
    /// the tar's length.
    ///
    /// # Errors
    /// When it becomes too much.
    pub fn push(&mut self, tree: Tree, tag: &str, bytes: u64) -> Result<(), Error> {
        if self.devices.len() >= MOST_DEVICES {
            return Err(Error::Limit {
                what: "the number of layers",
                limit: MOST_DEVICES as u64,
            });
        }
        if self.inodes.len() + tree.inodes.len() > MOST_INODES {
            return Err(Error::Limit {
                what: "the number of files",
                limit: MOST_INODES as u64,
            });
        }
        let mut device = Device {
            tag: [0; 64],
            bytes,
        };
        let length = tag.len().min(device.tag.len());
        device.tag[..length].copy_from_slice(&tag.as_bytes()[..length]);
        // Below `MOST_DEVICES`.
        let layer = self.devices.len() as u16;
        self.devices.push(device);
        self.lay(tree, layer);
        Ok(())
    }

    /// The EROFS image. Its devices are, in the order they were pushed, the layers' tars.
    ///
    /// # Errors
    /// Those of `out`; when something is larger than the format takes.
    pub fn write(&self, out: &mut dyn Write) -> Result<(), Error> {
        write::image(self, out)
    }

    fn lay(&mut self, tree: Tree, layer: u16) {
        let mut upper = Upper {
            moved: vec![None; tree.inodes.len()],
            inodes: tree.inodes.into_iter().map(Some).collect(),
            layer,
        };
        let Some(root) = upper.directory(ROOT) else {
            return;
        };
        // Pairs of directories that become one: ours, and the upper one's.
        let mut pending = vec![(ROOT, root)];
        while let Some((below, (inode, above))) = pending.pop() {
            let implied = above.implied;
            let Content::Directory(ours) = &mut self.inodes[below as usize].content else {
                continue;
            };
            if above.opaque {
                ours.entries.clear();
                ours.opaque = true;
            }
            // What no entry told of keeps what a lower one told.
            ours.implied &= implied;
            if !implied {
                self.inodes[below as usize].meta = inode.meta;
            }
            for (name, id) in above.entries {
                let before = self.child(below, &name);
                let merged = before.filter(|before| self.is_directory(*before));
                if let Some(found) = upper.directory(id) {
                    match merged {
                        Some(before) if !found.1.opaque => pending.push((before, found)),
                        _ => {
                            let made = self.make_directory(found.1.opaque || before.is_some());
                            self.set(below, name, Some(made));
                            pending.push((made, (found.0, without_opaque(found.1))));
                        }
                    }
                    continue;
                }
                let new = upper.take(id, &mut self.inodes);
                let hidden = new.filter(|new| {
                    self.marks == Marks::Drop
                        && self.inodes[*new as usize].content == Content::Whiteout
                });
                self.set(below, name, if hidden.is_some() { None } else { new });
            }
        }
    }

    fn child(&self, parent: Id, name: &[u8]) -> Option<Id> {
        let directory = self.inodes[parent as usize].directory()?;
        directory.entries.get(name).copied()
    }

    fn is_directory(&self, id: Id) -> bool {
        self.inodes[id as usize].directory().is_some()
    }

    fn make_directory(&mut self, opaque: bool) -> Id {
        let mut inode = Inode::implied();
        if let Content::Directory(directory) = &mut inode.content {
            directory.opaque = opaque;
        }
        self.inodes.push(inode);
        // `MOST_INODES` fits.
        (self.inodes.len() - 1) as Id
    }

    fn set(&mut self, parent: Id, name: Box<[u8]>, id: Option<Id>) {
        if let Content::Directory(directory) = &mut self.inodes[parent as usize].content {
            match id {
                Some(id) => directory.entries.insert(name, id),
                None => directory.entries.remove(&name),
            };
        }
    }
}

/// It was told to the directory that was made for it.
fn without_opaque(directory: Directory) -> Directory {
    Directory {
        opaque: false,
        ..directory
    }
}

/// A tree that is being taken apart.
struct Upper {
    inodes: Vec<Option<Inode>>,
    /// Where inodes went that may have several names.
    moved: Vec<Option<Id>>,
    layer: u16,
}

impl Upper {
    /// Takes out a directory; it has one name.
    fn directory(&mut self, id: Id) -> Option<(Inode, Directory)> {
        let place = &mut self.inodes[id as usize];
        place.as_ref()?.directory()?;
        let mut inode = place.take()?;
        match std::mem::replace(&mut inode.content, Content::Fifo) {
            Content::Directory(directory) => Some((inode, directory)),
            _ => None,
        }
    }

    /// Moves something else over, once.
    fn take(&mut self, id: Id, to: &mut Vec<Inode>) -> Option<Id> {
        if let Some(moved) = self.moved[id as usize] {
            return Some(moved);
        }
        let mut inode = self.inodes[id as usize].take()?;
        if let Content::File(file) = &mut inode.content {
            file.layer = self.layer;
        }
        to.push(inode);
        let moved = (to.len() - 1) as Id;
        self.moved[id as usize] = Some(moved);
        Some(moved)
    }
}
