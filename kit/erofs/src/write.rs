//! The bytes of an image, in one pass over its layout.

use std::io::Write;

use crate::checksum::crc32c;
use crate::format::{
    BLOCK, BLOCK_BITS, CHUNK_BASED, CHUNK_INDEX, CHUNK_INDEXES, COMPAT, DEVICE_SLOT, DIRENT,
    FLAT_INLINE, FLAT_PLAIN, INCOMPAT, MOST_BLOCKS, SUPER_MAGIC, SUPER_OFFSET,
};
use crate::layout::{Layout, chunks, mode};
use crate::stack::{Device, Stack};
use crate::tree::{Content, Directory, File, Id, ROOT};
use crate::{Error, xattr};

/// Writes a stack's image.
pub(crate) fn image(stack: &Stack, out: &mut dyn Write) -> Result<(), Error> {
    let layout = Layout::of(stack)?;
    let mut out = Counted { out, written: 0 };
    out.put(&[0; SUPER_OFFSET as usize])?;
    out.put(&head(&layout)?)?;
    for id in &layout.order {
        inode(&layout, *id, &mut out)?;
    }
    out.pad(BLOCK)?;
    out.put(&layout.shared.area)?;
    out.pad(BLOCK)?;
    for id in &layout.order {
        data(&layout, *id, &mut out)?;
    }
    out.pad(BLOCK)?;
    debug_assert_eq!(
        out.written,
        layout.blocks * BLOCK,
        "layout and bytes differ"
    );
    Ok(())
}

/// Superblock and device table.
fn head(layout: &Layout<'_>) -> Result<Vec<u8>, Error> {
    let devices = &layout.stack.devices;
    let root = u16::try_from(layout.number(ROOT)).map_err(|_| Error::Limit {
        what: "the number of layers",
        limit: u64::from(u16::MAX) * 32 / DEVICE_SLOT,
    })?;
    let mut head = Vec::new();
    head.extend(SUPER_MAGIC.to_le_bytes());
    head.extend([0; 4]); // checksum, below
    head.extend(COMPAT.to_le_bytes());
    head.extend([BLOCK_BITS, 0]); // blkszbits, sb_extslots
    head.extend(root.to_le_bytes());
    head.extend((layout.order.len() as u64).to_le_bytes()); // inos
    head.extend([0; 12]); // epoch, fixed_nsec: for compact inodes
    head.extend(block(layout.blocks)?.to_le_bytes());
    head.extend(0u32.to_le_bytes()); // meta_blkaddr
    head.extend(block(layout.xattr_block)?.to_le_bytes());
    head.extend([0; 32]); // uuid, volume_name
    head.extend(INCOMPAT.to_le_bytes());
    head.extend([0; 2]); // available_compr_algs
    head.extend((devices.len() as u16).to_le_bytes());
    // devt_slotoff: the table begins where the superblock ends.
    head.extend(((SUPER_OFFSET / DEVICE_SLOT) as u16 + 1).to_le_bytes());
    head.resize(DEVICE_SLOT as usize, 0);
    for device in devices {
        slot(device, &mut head)?;
    }
    // The sum covers the block that the superblock begins, itself as zero in it.
    head.resize(head.len().max(BLOCK as usize), 0);
    let sum = crc32c(!0, &head[..BLOCK as usize]);
    head[4..8].copy_from_slice(&sum.to_le_bytes());
    Ok(head)
}

fn slot(device: &Device, head: &mut Vec<u8>) -> Result<(), Error> {
    let end = head.len() + DEVICE_SLOT as usize;
    head.extend(device.tag);
    head.extend(block(device.bytes.div_ceil(BLOCK))?.to_le_bytes());
    // Not part of one address space (uniaddr is 0): chunks tell their device.
    head.resize(end, 0);
    Ok(())
}

fn block(number: u64) -> Result<u32, Error> {
    u32::try_from(number).map_err(|_| Error::Limit {
        what: "the size of a layer",
        limit: MOST_BLOCKS * BLOCK,
    })
}

/// `struct erofs_inode_extended` and what follows it.
fn inode(layout: &Layout<'_>, id: Id, out: &mut Counted<'_>) -> Result<(), Error> {
    let inode = &layout.stack.inodes[id as usize];
    let place = &layout.places[id as usize];
    let body = layout
        .shared
        .body(Layout::attributes(layout.stack, inode))?;
    let mut size = place.size;
    let start = match place.blocks {
        0 => 0,
        _ => block(layout.data_block + place.block)?,
    };
    let flat = match place.inline {
        true => FLAT_INLINE,
        false => FLAT_PLAIN,
    };
    let (format, union) = match &inode.content {
        Content::File(file) => {
            size = file.size;
            match file.size {
                0 => (FLAT_PLAIN, 0),
                _ => (
                    CHUNK_BASED,
                    CHUNK_INDEXES | (chunks(size).0 - u32::from(BLOCK_BITS)),
                ),
            }
        }
        Content::Char(device) | Content::Block(device) => (FLAT_PLAIN, *device),
        _ => (flat, start),
    };
    let meta = &inode.meta;
    let mut bytes = Vec::with_capacity(128 + body.len());
    bytes.extend(format.to_le_bytes());
    bytes.extend(xattr::word_count(&body).to_le_bytes());
    bytes.extend(mode(inode).to_le_bytes());
    bytes.extend([0; 2]); // i_nb
    bytes.extend(size.to_le_bytes());
    bytes.extend(union.to_le_bytes()); // i_u
    bytes.extend((layout.number(id) as u32).to_le_bytes()); // i_ino
    bytes.extend(meta.uid.to_le_bytes());
    bytes.extend(meta.gid.to_le_bytes());
    bytes.extend(meta.mtime.to_le_bytes());
    bytes.extend(meta.nanos.to_le_bytes());
    bytes.extend(place.links.to_le_bytes());
    bytes.extend([0; 16]);
    bytes.extend(body);
    out.pad_to(place.offset)?;
    match &inode.content {
        Content::File(file) if size > 0 => chunk_indexes(file, &mut bytes, place.offset)?,
        Content::Directory(directory) if place.inline => {
            let blocks = blocks_of(layout, id, directory);
            bytes.extend(blocks.last().map(Vec::as_slice).unwrap_or_default());
        }
        Content::Symlink(target) if place.inline => {
            bytes.extend(&target[(place.blocks * BLOCK) as usize..]);
        }
        _ => {}
    }
    out.put(&bytes)
}

/// `struct erofs_inode_chunk_index` of every chunk: all content is in one piece.
fn chunk_indexes(file: &File, bytes: &mut Vec<u8>, offset: u64) -> Result<(), Error> {
    let end = (offset + bytes.len() as u64).next_multiple_of(CHUNK_INDEX);
    bytes.resize((end - offset) as usize, 0);
    let (bits, count) = chunks(file.size);
    for chunk in 0..count {
        let at = file.offset / BLOCK + (chunk << (bits - u32::from(BLOCK_BITS)));
        bytes.extend([0; 2]);
        // Device 0 is the image itself.
        bytes.extend((file.layer + 1).to_le_bytes());
        bytes.extend(block(at)?.to_le_bytes());
    }
    Ok(())
}

/// Whole blocks of directories and links.
fn data(layout: &Layout<'_>, id: Id, out: &mut Counted<'_>) -> Result<(), Error> {
    let place = &layout.places[id as usize];
    if place.blocks == 0 {
        return Ok(());
    }
    match &layout.stack.inodes[id as usize].content {
        Content::Directory(directory) => {
            let blocks = blocks_of(layout, id, directory);
            for block in blocks.iter().take(place.blocks as usize) {
                out.put(block)?;
                out.pad(BLOCK)?;
            }
        }
        Content::Symlink(target) => {
            let length = target.len().min((place.blocks * BLOCK) as usize);
            out.put(&target[..length])?;
        }
        _ => {}
    }
    out.pad(BLOCK)
}

/// Blocks of `struct erofs_dirent`s, each followed by its names; the last is as long as it is.
fn blocks_of(layout: &Layout<'_>, id: Id, directory: &Directory) -> Vec<Vec<u8>> {
    let names = layout.names(id, directory);
    let mut blocks = Vec::new();
    let mut rest = names.as_slice();
    while !rest.is_empty() {
        let mut used = 0;
        let fits = |(name, _, _): &&(&[u8], u64, u8)| {
            used += DIRENT + name.len();
            used as u64 <= BLOCK
        };
        let count = rest.iter().take_while(fits).count();
        let (now, later) = rest.split_at(count);
        let mut block = Vec::with_capacity(BLOCK as usize);
        let mut name_at = DIRENT * count;
        for (name, number, kind) in now {
            block.extend(number.to_le_bytes());
            // Below the size of a block.
            block.extend((name_at as u16).to_le_bytes());
            block.extend([*kind, 0]);
            name_at += name.len();
        }
        for (name, _, _) in now {
            block.extend(*name);
        }
        blocks.push(block);
        rest = later;
    }
    blocks
}

/// Knows where it is.
struct Counted<'a> {
    out: &'a mut dyn Write,
    written: u64,
}

impl Counted<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self, multiple: u64) -> Result<(), Error> {
        self.pad_to(self.written.next_multiple_of(multiple))
    }

    fn pad_to(&mut self, offset: u64) -> Result<(), Error> {
        // Gaps are smaller than a block.
        let gap = offset.saturating_sub(self.written) as usize;
        self.put(&[0; BLOCK as usize][..gap.min(BLOCK as usize)])
    }
}
