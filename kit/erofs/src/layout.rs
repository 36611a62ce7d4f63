//! Where everything of an image stands.
//!
//! ```text
//!  0        zeros
//!  1024     struct erofs_super_block
//!  1152     device table: one struct erofs_deviceslot per layer
//!  …        inodes, the root first (its number has only 16 bits), each followed by its attributes
//!           and either the end of its directory or link (inline), or its chunk's place
//!  block    shared attributes (xattr_blkaddr)
//!  block    whole blocks of directories and long links
//! ```
//!
//! Inode numbers count slots of 32 bytes from the start (`meta_blkaddr` is 0). Inline data must not
//! cross a block, which moves an inode forward at times.

use crate::encode::order;
use crate::format::{
    BLOCK, BLOCK_BITS, CHUNK_INDEX, DEVICE_SLOT, DIRENT, INODE_SIZE, INODE_SLOT, MOST_BLOCKS,
    MOST_CHUNK_BITS, SUPER_OFFSET, SUPER_SIZE,
};
use crate::stack::{Marks, Stack};
use crate::tree::{Content, Directory, Id, Inode, ROOT};
use crate::xattr::Shared;
use crate::{Error, format};

const OPAQUE: (&[u8], &[u8]) = (b"trusted.overlay.opaque", b"y");

/// Everything about a stack's image but its bytes.
pub(crate) struct Layout<'a> {
    pub(crate) stack: &'a Stack,
    /// Inodes in the order they are written.
    pub(crate) order: Vec<Id>,
    /// By inode.
    pub(crate) places: Vec<Place>,
    pub(crate) shared: Shared<'a>,
    /// Block of the shared attributes.
    pub(crate) xattr_block: u64,
    /// First block of data.
    pub(crate) data_block: u64,
    /// Blocks of the whole image.
    pub(crate) blocks: u64,
}

/// Where an inode stands.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) parent: Id,
    /// Names; of directories, as stat(2) counts them.
    pub(crate) links: u32,
    /// `i_size` of directories and links.
    pub(crate) size: u64,
    /// First block of its data, counted from the first of all data.
    pub(crate) block: u64,
    /// Whole blocks there.
    pub(crate) blocks: u64,
    /// The rest of its data follows the inode.
    pub(crate) inline: bool,
}

impl<'a> Layout<'a> {
    pub(crate) fn of(stack: &'a Stack) -> Result<Self, Error> {
        let order = order(&stack.inodes);
        let mut layout = Self {
            stack,
            places: vec![Place::default(); stack.inodes.len()],
            shared: Shared::default(),
            xattr_block: 0,
            data_block: 0,
            blocks: 0,
            order,
        };
        layout.count();
        layout.shared.settle()?;
        layout.place()?;
        Ok(layout)
    }

    /// An inode's attributes, with the marks of overlayfs that are kept.
    pub(crate) fn attributes(
        stack: &'a Stack,
        inode: &'a Inode,
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let opaque = inode.directory().is_some_and(|directory| directory.opaque);
        let marked = opaque && stack.marks == Marks::Keep;
        let own = inode.meta.xattrs.iter();
        own.map(|(name, value)| (&**name, &**value))
            .chain(marked.then_some(OPAQUE))
    }

    /// Number of an inode: `nid`.
    pub(crate) fn number(&self, id: Id) -> u64 {
        self.places[id as usize].offset / INODE_SLOT
    }

    fn count(&mut self) {
        self.places[ROOT as usize].links = 2;
        for id in &self.order {
            let inode = &self.stack.inodes[*id as usize];
            for (name, value) in Self::attributes(self.stack, inode) {
                self.shared.count(name, value);
            }
            for child in inode
                .directory()
                .into_iter()
                .flat_map(|dir| dir.entries.values())
            {
                let below = &mut self.places[*child as usize];
                below.parent = *id;
                if self.stack.inodes[*child as usize].directory().is_some() {
                    below.links = 2;
                    self.places[*id as usize].links += 1;
                } else {
                    below.links += 1;
                }
            }
        }
    }

    fn place(&mut self) -> Result<(), Error> {
        let table = DEVICE_SLOT * self.stack.devices.len() as u64;
        // The superblock's checksum covers its block: nothing else begins in it.
        let mut at = (SUPER_OFFSET + SUPER_SIZE + table).max(SUPER_OFFSET + BLOCK);
        let mut data = 0;
        for id in &self.order {
            let inode = &self.stack.inodes[*id as usize];
            let body = self.shared.body(Self::attributes(self.stack, inode))?;
            let head = INODE_SIZE + body.len() as u64;
            let size = match &inode.content {
                Content::Directory(directory) => directory_size(directory),
                Content::Symlink(target) => target.len() as u64,
                _ => 0,
            };
            let place = &mut self.places[*id as usize];
            place.size = size;
            at = at.next_multiple_of(INODE_SLOT);
            let tail = size % BLOCK;
            // The least of a block that is before the tail wherever the inode stands.
            place.inline = tail > 0 && head % INODE_SLOT + tail <= BLOCK;
            place.blocks = match place.inline {
                true => size / BLOCK,
                false => size.div_ceil(BLOCK),
            };
            if place.inline {
                while (at + head) % BLOCK + tail > BLOCK {
                    at += INODE_SLOT;
                }
            }
            place.offset = at;
            place.block = data;
            data += place.blocks;
            at += head + if place.inline { tail } else { 0 };
            if let Content::File(file) = &inode.content
                && file.size > 0
            {
                at = at.next_multiple_of(CHUNK_INDEX) + chunks(file.size).1 * CHUNK_INDEX;
            }
        }
        self.xattr_block = at.div_ceil(BLOCK);
        self.data_block = self.xattr_block + (self.shared.area.len() as u64).div_ceil(BLOCK);
        self.blocks = self.data_block + data;
        if self.blocks >= MOST_BLOCKS {
            return Err(Error::Limit {
                what: "the number of blocks",
                limit: MOST_BLOCKS,
            });
        }
        Ok(())
    }

    /// A directory's names in the order they are searched, with `.` and `..` among them, inode
    /// numbers and types.
    pub(crate) fn names(&self, id: Id, directory: &'a Directory) -> Vec<(&'a [u8], u64, u8)> {
        let of = |id: Id| {
            let inode = &self.stack.inodes[id as usize];
            (self.number(id), format::file_type(mode(inode)))
        };
        let mut names: Vec<(&[u8], u64, u8)> = directory
            .entries
            .iter()
            .map(|(name, id)| {
                let (number, kind) = of(*id);
                (&**name, number, kind)
            })
            .collect();
        for (name, id) in [(&b"."[..], id), (b"..", self.places[id as usize].parent)] {
            let at = names.partition_point(|other| other.0 < name);
            let (number, kind) = of(id);
            names.insert(at, (name, number, kind));
        }
        names
    }
}

/// Bits of the chunk's size, and how many chunks: one, but for files of more than a terabyte.
pub(crate) fn chunks(size: u64) -> (u32, u64) {
    let bits = size.next_power_of_two().trailing_zeros();
    let bits = bits.clamp(u32::from(BLOCK_BITS), MOST_CHUNK_BITS);
    (bits, size.div_ceil(1 << bits))
}

/// `i_mode`.
pub(crate) fn mode(inode: &Inode) -> u16 {
    let kind = match &inode.content {
        Content::Directory(_) => format::S_IFDIR,
        Content::File(_) => format::S_IFREG,
        Content::Symlink(_) => format::S_IFLNK,
        Content::Char(_) | Content::Whiteout => format::S_IFCHR,
        Content::Block(_) => format::S_IFBLK,
        Content::Fifo => format::S_IFIFO,
    };
    // Links have no mode of their own; what symlink(2) gives.
    if kind == format::S_IFLNK {
        return kind | 0o777;
    }
    kind | inode.meta.mode
}

/// How many of these lengths fill blocks of directory entries, in bytes; no entry crosses a block.
fn directory_size(directory: &Directory) -> u64 {
    let (mut full, mut used) = (0, 0);
    // Where `.` and `..` stand among the others matters for what fits into which block.
    let mut dots = [&b"."[..], b".."].into_iter().peekable();
    let mut names = directory.entries.keys().map(|name| &**name).peekable();
    loop {
        let dot_first = match (dots.peek(), names.peek()) {
            (Some(dot), Some(name)) => dot < name,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let next = if dot_first { dots.next() } else { names.next() };
        let Some(name) = next else {
            return full * BLOCK + used;
        };
        let length = (DIRENT + name.len()) as u64;
        if used + length > BLOCK {
            full += 1;
            used = 0;
        }
        used += length;
    }
}
