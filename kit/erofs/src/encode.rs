//! A tree as bytes, to be kept beside its tar.
//!
//! ```text
//!  magic · crc32c of the rest · number of inodes · length of the tar · bytes of files
//!  inodes, parents before children; a directory names its children by number
//! ```
//!
//! All numbers little endian. What is read back is checked as if somebody else had written it.

use std::collections::BTreeMap;

use crate::checksum::crc32c;
use crate::format::{LONGEST_NAME, LONGEST_TARGET};
use crate::tree::{Content, Directory, File, Id, Inode, MOST_INODES, Meta, ROOT, Tree};
use crate::{BLOCK, Error};

/// Ends with the version of this format.
const MAGIC: [u8; 8] = *b"layeridx";
const VERSION: u32 = 1;
const HEADER: usize = 8 + 4 + 4 + 4 + 8 + 8;
/// Where the part that is summed begins.
const SUMMED: usize = 12;

const DIRECTORY: u8 = 0;
const FILE: u8 = 1;
const SYMLINK: u8 = 2;
const CHAR: u8 = 3;
const BLOCK_DEVICE: u8 = 4;
const FIFO: u8 = 5;
const WHITEOUT: u8 = 6;
const OPAQUE: u8 = 1;
const IMPLIED: u8 = 2;

/// What an encoded tree tells of its layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// Length of the tar.
    pub tar: u64,
    /// Bytes of regular files.
    pub files: u64,
}

impl Facts {
    /// Bytes that [`Facts::read`] needs.
    pub const HEADER: usize = HEADER;

    /// From the first bytes of an encoded tree; those after it are not looked at.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        if input.array().ok()? != MAGIC {
            return None;
        }
        let (_, version, _) = (input.u32().ok()?, input.u32().ok()?, input.u32().ok()?);
        let facts = Self {
            tar: input.u64().ok()?,
            files: input.u64().ok()?,
        };
        (version == VERSION).then_some(facts)
    }
}

impl Tree {
    /// As bytes.
    pub fn encode(&self, facts: Facts) -> Vec<u8> {
        let order = self.order();
        let mut numbers = vec![Id::MAX; self.inodes.len()];
        for (number, id) in (0..).zip(&order) {
            numbers[*id as usize] = number;
        }
        let mut out = Vec::with_capacity(HEADER + order.len() * 96);
        out.extend(MAGIC);
        out.extend([0; 4]);
        out.extend(VERSION.to_le_bytes());
        // At most `MOST_INODES`.
        out.extend((order.len() as u32).to_le_bytes());
        out.extend(facts.tar.to_le_bytes());
        out.extend(facts.files.to_le_bytes());
        for id in order {
            encode_inode(&self.inodes[id as usize], &numbers, &mut out);
        }
        let sum = crc32c(!0, &out[SUMMED..]);
        out[8..SUMMED].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// Back from bytes.
    ///
    /// # Errors
    /// When they are not what [`Tree::encode`] made.
    pub fn decode(bytes: &[u8]) -> Result<(Self, Facts), Error> {
        let facts = Facts::read(bytes).ok_or(Error::Damaged("no header"))?;
        let sum = crc32c(!0, &bytes[SUMMED..]);
        if bytes[8..SUMMED] != sum.to_le_bytes() {
            return Err(Error::Damaged("wrong checksum"));
        }
        let mut input = Input(&bytes[16..]);
        let count = input.u32()?;
        input.take(16)?;
        if count == 0 || count as usize > MOST_INODES {
            return Err(Error::Damaged("number of inodes"));
        }
        let mut inodes = Vec::new();
        // Every directory but the root has exactly one name, and that in an earlier directory: so
        // they are a tree.
        let mut named = vec![false; count as usize];
        for number in 0..count {
            let inode = decode_inode(&mut input, number, count)?;
            inodes.push(inode);
        }
        for (number, inode) in (0..).zip(&inodes) {
            for child in inode
                .directory()
                .into_iter()
                .flat_map(|dir| dir.entries.values())
            {
                let is_directory = inodes[*child as usize].directory().is_some();
                let again = std::mem::replace(&mut named[*child as usize], true);
                if is_directory && (again || *child <= number) {
                    return Err(Error::Damaged("a directory with two names"));
                }
            }
        }
        let root_is_fine = inodes[ROOT as usize].directory().is_some() && !named[ROOT as usize];
        if !input.0.is_empty() || !root_is_fine {
            return Err(Error::Damaged("structure"));
        }
        Ok((Self::from_inodes(inodes), facts))
    }

    /// Inodes that have a name, parents before children, each once.
    fn order(&self) -> Vec<Id> {
        order(&self.inodes)
    }
}

/// Inodes that the root leads to, parents before children, each once.
pub(crate) fn order(inodes: &[Inode]) -> Vec<Id> {
    let mut seen = vec![false; inodes.len()];
    let mut order = Vec::with_capacity(inodes.len());
    let mut pending = vec![ROOT];
    while let Some(id) = pending.pop() {
        if std::mem::replace(&mut seen[id as usize], true) {
            continue;
        }
        order.push(id);
        if let Some(directory) = inodes[id as usize].directory() {
            pending.extend(directory.entries.values().rev());
        }
    }
    order
}

fn encode_inode(inode: &Inode, numbers: &[Id], out: &mut Vec<u8>) {
    let (kind, flags) = match &inode.content {
        Content::Directory(directory) => (
            DIRECTORY,
            (u8::from(directory.opaque) * OPAQUE) | (u8::from(directory.implied) * IMPLIED),
        ),
        Content::File(_) => (FILE, 0),
        Content::Symlink(_) => (SYMLINK, 0),
        Content::Char(_) => (CHAR, 0),
        Content::Block(_) => (BLOCK_DEVICE, 0),
        Content::Fifo => (FIFO, 0),
        Content::Whiteout => (WHITEOUT, 0),
    };
    out.extend([kind, flags]);
    if kind == WHITEOUT {
        return;
    }
    let meta = &inode.meta;
    out.extend(meta.mode.to_le_bytes());
    out.extend(meta.uid.to_le_bytes());
    out.extend(meta.gid.to_le_bytes());
    out.extend(meta.mtime.to_le_bytes());
    out.extend(meta.nanos.to_le_bytes());
    out.extend((meta.xattrs.len() as u32).to_le_bytes());
    for (name, value) in &meta.xattrs {
        push_bytes(out, name);
        push_bytes(out, value);
    }
    match &inode.content {
        Content::Directory(directory) => {
            out.extend((directory.entries.len() as u32).to_le_bytes());
            for (name, child) in &directory.entries {
                push_bytes(out, name);
                out.extend(numbers[*child as usize].to_le_bytes());
            }
        }
        Content::File(file) => {
            out.extend(file.size.to_le_bytes());
            out.extend(file.offset.to_le_bytes());
        }
        Content::Symlink(target) => push_bytes(out, target),
        Content::Char(device) | Content::Block(device) => out.extend(device.to_le_bytes()),
        Content::Fifo | Content::Whiteout => {}
    }
}

/// Lengths here come from a tar that was in memory, or are below [`LONGEST_TARGET`].
fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(bytes);
}

fn decode_inode(input: &mut Input<'_>, number: Id, count: u32) -> Result<Inode, Error> {
    let [kind, flags] = input.array()?;
    if kind == WHITEOUT {
        return Ok(Inode {
            meta: Meta::default(),
            content: Content::Whiteout,
        });
    }
    let mut meta = Meta {
        mode: input.u16()?,
        uid: input.u32()?,
        gid: input.u32()?,
        mtime: i64::from_le_bytes(input.array()?),
        nanos: input.u32()?,
        xattrs: Vec::new(),
    };
    for _ in 0..input.u32()? {
        let (name, value) = (input.bytes()?, input.bytes()?);
        meta.xattrs.push((name.into(), value.into()));
    }
    let content = match kind {
        DIRECTORY => Content::Directory(decode_directory(input, flags, number, count)?),
        FILE => {
            let (size, offset) = (input.u64()?, input.u64()?);
            if offset % BLOCK != 0 || size > crate::tree::LARGEST_FILE {
                return Err(Error::Damaged("content at an odd place"));
            }
            Content::File(File {
                size,
                offset,
                layer: 0,
            })
        }
        SYMLINK => {
            let target = input.bytes()?;
            if target.is_empty() || target.len() > LONGEST_TARGET || target.contains(&0) {
                return Err(Error::Damaged("target of a link"));
            }
            Content::Symlink(target.into())
        }
        CHAR => Content::Char(input.u32()?),
        BLOCK_DEVICE => Content::Block(input.u32()?),
        FIFO => Content::Fifo,
        _ => return Err(Error::Damaged("kind of an inode")),
    };
    Ok(Inode { meta, content })
}

fn decode_directory(
    input: &mut Input<'_>,
    flags: u8,
    number: Id,
    count: u32,
) -> Result<Directory, Error> {
    let mut entries = BTreeMap::new();
    for _ in 0..input.u32()? {
        let (name, child) = (input.bytes()?, input.u32()?);
        let named = !name.is_empty()
            && name.len() <= LONGEST_NAME
            && !matches!(name, b"." | b"..")
            && !name.iter().any(|byte| matches!(byte, 0 | b'/'));
        if !named || child >= count || child == number {
            return Err(Error::Damaged("entry of a directory"));
        }
        entries.insert(name.into(), child);
    }
    Ok(Directory {
        entries,
        opaque: flags & OPAQUE != 0,
        implied: flags & IMPLIED != 0,
    })
}

/// What is left to be read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(Error::Damaged("it ends early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let length = self.u32()?;
        self.take(length as usize)
    }
}
