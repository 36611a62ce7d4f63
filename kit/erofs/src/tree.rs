//! One layer's files in memory, with the meaning of an archive that is unpacked into an empty
//! directory.

use std::collections::BTreeMap;

use crate::format::{LONGEST_NAME, LONGEST_TARGET, device_number};
use crate::xattr;
use crate::{Error, path};

/// Most inodes of a tree: bounds the memory that an archive can ask for (some 200 bytes each).
pub(crate) const MOST_INODES: usize = 4 << 20;

/// Most bytes of names, link targets and attributes of a tree: what a small compressed archive can
/// say at length must not fill our memory.
const MOST_TEXT: usize = 512 << 20;

/// Largest file: far above what 32 bits of block numbers reach.
pub(crate) const LARGEST_FILE: u64 = 1 << 48;

/// Index of an inode in its tree.
pub(crate) type Id = u32;
/// The root directory.
pub(crate) const ROOT: Id = 0;

/// Name and value.
pub type Attribute = (Box<[u8]>, Box<[u8]>);

/// Owner, mode, time and extended attributes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// The lowest twelve bits.
    pub mode: u16,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Nanoseconds.
    pub nanos: u32,
    /// Full names and values; those that EROFS has no name space for are dropped.
    pub xattrs: Vec<Attribute>,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Unless one is there already: then only its metadata is new.
    Directory,
    /// Content at `offset` of the layer's tar.
    File {
        /// Bytes.
        size: u64,
        /// A multiple of [`crate::BLOCK`], unless the file is empty.
        offset: u64,
    },
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// A character device; 0:0 is overlayfs's whiteout.
    Char(u32, u32),
    /// A block device.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inode {
    pub(crate) meta: Meta,
    pub(crate) content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Directory(Directory),
    File(File),
    Symlink(Box<[u8]>),
    Char(u32),
    Block(u32),
    Fifo,
    /// Hides what is below.
    Whiteout,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Directory {
    pub(crate) entries: BTreeMap<Box<[u8]>, Id>,
    /// Nothing below shows through.
    pub(crate) opaque: bool,
    /// No entry tells of it, only of what is in it.
    pub(crate) implied: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) size: u64,
    pub(crate) offset: u64,
    /// Which layer's tar, from 0.
    pub(crate) layer: u16,
}

impl Inode {
    /// A directory that has no entry of its own: as mkdir(2) by root makes it, at the epoch so that
    /// the same archive gives the same tree.
    pub(crate) fn implied() -> Self {
        Self {
            meta: Meta {
                mode: 0o755,
                ..Meta::default()
            },
            content: Content::Directory(Directory {
                implied: true,
                ..Directory::default()
            }),
        }
    }

    pub(crate) fn directory(&self) -> Option<&Directory> {
        match &self.content {
            Content::Directory(directory) => Some(directory),
            _ => None,
        }
    }
}

/// The files of one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Replaced ones stay as holes that nothing refers to.
    pub(crate) inodes: Vec<Inode>,
    /// The last entry's parent: archives list a directory's files together.
    parent: Option<(Box<[u8]>, Id)>,
    /// Bytes of names, targets and attributes that were ever added.
    text: usize,
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    /// An empty root directory.
    pub fn new() -> Self {
        Self {
            inodes: vec![Inode::implied()],
            parent: None,
            text: 0,
        }
    }

    /// From inodes that were checked.
    pub(crate) fn from_inodes(inodes: Vec<Inode>) -> Self {
        Self {
            inodes,
            parent: None,
            text: 0,
        }
    }

    /// Puts something at a path, in the place of what was there. Missing parents are made.
    ///
    /// # Errors
    /// When the path or what is to be there makes no sense.
    pub fn add(&mut self, path: &[u8], mut meta: Meta, node: Node) -> Result<(), Error> {
        meta.mode &= 0o7777;
        meta.xattrs.retain(|(name, _)| xattr::split(name).is_some());
        // As the kernel has it: user attributes are for files and directories only.
        if !matches!(node, Node::Directory | Node::File { .. }) {
            meta.xattrs.retain(|(name, _)| !name.starts_with(b"user."));
        }
        let content = content(path, node)?;
        self.weigh(path, &meta, &content)?;
        let (parent_path, Some(name)) = path::split(path)? else {
            return self.set_root(path, meta, &content);
        };
        let parent = self.parent(&parent_path, path)?;
        let inode = Inode { meta, content };
        let before = self.child(parent, name);
        match before {
            Some(before) if inode.directory().is_some() => {
                self.directory_over(parent, name, before, inode)
            }
            _ => self.replace(parent, name, before, inode),
        }
    }

    fn weigh(&mut self, path: &[u8], meta: &Meta, content: &Content) -> Result<(), Error> {
        let attributes = meta.xattrs.iter();
        let attributes = attributes.map(|(name, value)| name.len() + value.len() + 32);
        let target = match content {
            Content::Symlink(target) => target.len(),
            _ => 0,
        };
        let name = path.len().min(LONGEST_NAME);
        self.text += name + target + attributes.sum::<usize>();
        match self.text > MOST_TEXT {
            true => Err(Error::Limit {
                what: "the size of all names and attributes",
                limit: MOST_TEXT as u64,
            }),
            false => Ok(()),
        }
    }

    fn set_root(&mut self, path: &[u8], meta: Meta, content: &Content) -> Result<(), Error> {
        // Anything else in the root's place is as meaningless as its name.
        if !matches!(content, Content::Directory(_)) {
            return Err(Error::invalid(path, "not a name"));
        }
        let root = &mut self.inodes[ROOT as usize];
        root.meta = meta;
        if let Content::Directory(directory) = &mut root.content {
            directory.implied = false;
        }
        Ok(())
    }

    /// A directory where something is: kept, with new metadata, when that is a directory.
    fn directory_over(
        &mut self,
        parent: Id,
        name: &[u8],
        before: Id,
        inode: Inode,
    ) -> Result<(), Error> {
        let old = &mut self.inodes[before as usize];
        match &mut old.content {
            Content::Directory(directory) => {
                directory.implied = false;
                let attributes = std::mem::take(&mut old.meta.xattrs);
                old.meta = inode.meta;
                // Those that are not given again stay: nobody takes them away.
                for (name, value) in attributes {
                    if !old.meta.xattrs.iter().any(|(other, _)| *other == name) {
                        old.meta.xattrs.push((name, value));
                    }
                }
                Ok(())
            }
            // A whiteout speaks of the layers below only (image-spec, layer.md#whiteouts).
            Content::Whiteout => {
                let opaque = Directory {
                    opaque: true,
                    ..Directory::default()
                };
                let inode = Inode {
                    content: Content::Directory(opaque),
                    ..inode
                };
                self.replace(parent, name, Some(before), inode)
            }
            _ => self.replace(parent, name, Some(before), inode),
        }
    }

    /// One more name for what is at `target`.
    ///
    /// # Errors
    /// When that is not there or a directory.
    pub fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), Error> {
        let (parent_path, Some(name)) = path::split(path)? else {
            return Err(Error::invalid(path, "not a name"));
        };
        // First, as linkat(2) would find it: what is in the way goes only if the link can be made.
        let (target_parent, Some(target_name)) = path::split(target)? else {
            return Err(Error::invalid(path, "a link to the root"));
        };
        let dir = self.walk(&target_parent, target, false)?;
        let found = self
            .child(dir, target_name)
            .filter(|id| self.inodes[*id as usize].content != Content::Whiteout)
            .ok_or_else(|| Error::NotFound(Error::shown(target)))?;
        if self.inodes[found as usize].directory().is_some() {
            return Err(Error::invalid(path, "a hard link to a directory"));
        }
        let parent = self.parent(&parent_path, path)?;
        self.forget_below(self.child(parent, name));
        self.link(parent, name, found);
        Ok(())
    }

    /// Hides what lower layers have at `path`; what this layer has there stays.
    ///
    /// # Errors
    /// When the path makes no sense.
    pub fn whiteout(&mut self, path: &[u8]) -> Result<(), Error> {
        let (parent_path, Some(name)) = path::split(path)? else {
            return Err(Error::invalid(path, "not a whiteout"));
        };
        let parent = self.parent(&parent_path, path)?;
        let Some(before) = self.child(parent, name) else {
            let inode = Inode {
                meta: Meta::default(),
                content: Content::Whiteout,
            };
            return self.replace(parent, name, None, inode);
        };
        if let Content::Directory(directory) = &mut self.inodes[before as usize].content {
            directory.opaque = true;
        }
        Ok(())
    }

    /// Hides everything that lower layers have in the directory `path`.
    ///
    /// # Errors
    /// When that is not a directory.
    pub fn opaque(&mut self, path: &[u8]) -> Result<(), Error> {
        let components = path::components(path)?;
        let at = self.walk(&components, path, true)?;
        if let Content::Directory(directory) = &mut self.inodes[at as usize].content {
            directory.opaque = true;
        }
        Ok(())
    }

    pub(crate) fn child(&self, parent: Id, name: &[u8]) -> Option<Id> {
        self.inodes[parent as usize]
            .directory()?
            .entries
            .get(name)
            .copied()
    }

    fn link(&mut self, parent: Id, name: &[u8], id: Id) {
        if let Content::Directory(directory) = &mut self.inodes[parent as usize].content {
            directory.entries.insert(name.into(), id);
        }
    }

    fn push(&mut self, inode: Inode) -> Result<Id, Error> {
        if self.inodes.len() >= MOST_INODES {
            return Err(Error::Limit {
                what: "the number of files",
                limit: MOST_INODES as u64,
            });
        }
        self.inodes.push(inode);
        // Below the limit, which fits.
        Ok((self.inodes.len() - 1) as Id)
    }

    fn replace(
        &mut self,
        parent: Id,
        name: &[u8],
        before: Option<Id>,
        inode: Inode,
    ) -> Result<(), Error> {
        self.forget_below(before);
        let id = self.push(inode)?;
        self.link(parent, name, id);
        Ok(())
    }

    /// A directory that goes may be the remembered parent or above it; a link may have led there.
    fn forget_below(&mut self, gone: Option<Id>) {
        let is_way =
            |inode: &Inode| matches!(inode.content, Content::Directory(_) | Content::Symlink(_));
        if gone.is_some_and(|gone| is_way(&self.inodes[gone as usize])) {
            self.parent = None;
        }
    }

    /// The directory an entry goes to, made when missing.
    fn parent(&mut self, components: &[&[u8]], shown: &[u8]) -> Result<Id, Error> {
        let key = components.join(&b'/');
        if let Some((last, id)) = &self.parent
            && **last == *key
        {
            return Ok(*id);
        }
        let id = self.walk(components, shown, true)?;
        self.parent = Some((key.into(), id));
        Ok(id)
    }

    /// Follows a path of directories and links, inside the tree. `make`: what is missing of the
    /// path itself, not of where links lead, becomes a directory.
    fn walk(&mut self, components: &[&[u8]], shown: &[u8], make: bool) -> Result<Id, Error> {
        let mut way = path::Way::new(components);
        let mut above = vec![ROOT];
        while let Some((name, of_link)) = way.next() {
            let here = *above.last().unwrap_or(&ROOT);
            if *name == *b".." {
                if above.len() > 1 {
                    above.pop();
                }
                continue;
            }
            let Some(found) = self.child(here, &name) else {
                if of_link || !make {
                    return Err(Error::NotFound(Error::shown(shown)));
                }
                let made = self.push(Inode::implied())?;
                self.link(here, &name, made);
                above.push(made);
                continue;
            };
            match &self.inodes[found as usize].content {
                Content::Directory(_) => above.push(found),
                Content::Symlink(target) => {
                    if target.starts_with(b"/") {
                        above.truncate(1);
                    }
                    let target = target.clone();
                    way.follow(&target)
                        .ok_or_else(|| Error::Loop(Error::shown(shown)))?;
                }
                Content::Whiteout if make && !of_link => {
                    let mut inode = Inode::implied();
                    if let Content::Directory(directory) = &mut inode.content {
                        directory.opaque = true;
                    }
                    let made = self.push(inode)?;
                    self.link(here, &name, made);
                    above.push(made);
                }
                _ => return Err(Error::NotADirectory(Error::shown(shown))),
            }
        }
        Ok(*above.last().unwrap_or(&ROOT))
    }
}

fn content(path: &[u8], node: Node) -> Result<Content, Error> {
    Ok(match node {
        Node::Directory => Content::Directory(Directory::default()),
        Node::File { size, offset } => {
            if size > 0 && offset % crate::BLOCK != 0 {
                return Err(Error::invalid(path, "content at an odd place"));
            }
            if size > LARGEST_FILE {
                return Err(Error::Limit {
                    what: "the size of a file",
                    limit: LARGEST_FILE,
                });
            }
            Content::File(File {
                size,
                offset: if size == 0 { 0 } else { offset },
                layer: 0,
            })
        }
        Node::Symlink(target) => {
            if target.is_empty() || target.contains(&0) {
                return Err(Error::invalid(path, "a link without a target"));
            }
            if target.len() > LONGEST_TARGET {
                return Err(Error::invalid(
                    path,
                    "a link with a target that is too long",
                ));
            }
            Content::Symlink(target.into())
        }
        // overlayfs, Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories".
        Node::Char(0, 0) => Content::Whiteout,
        Node::Char(major, minor) => Content::Char(device_number(major, minor)),
        Node::Block(major, minor) => Content::Block(device_number(major, minor)),
        Node::Fifo => Content::Fifo,
    })
}

#[cfg(test)]
mod tests;
