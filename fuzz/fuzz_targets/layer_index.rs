//! Two layers' tars, indexed and merged: what the kernel is given to mount is read here by its rules.
//! Every number in it stays inside the image or inside the tar it speaks of, every directory is
//! sorted and a tree.
#![no_main]

use std::collections::BTreeSet;

use erofs::{Facts, Marks, Stack, Tree};
use libfuzzer_sys::fuzz_target;

const BLOCK: usize = 512;

struct Image<'a> {
    bytes: &'a [u8],
    /// Lengths of the tars, in blocks.
    devices: Vec<u32>,
    xattr_block: usize,
}

struct Inode {
    mode: u16,
    size: usize,
    links: u32,
    layout: u16,
    place: u32,
    /// Where its inline data or chunks begin.
    tail: usize,
}

impl Image<'_> {
    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.bytes[at..at + 2].try_into().expect("two"))
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().expect("four"))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes[at..at + 8].try_into().expect("eight"))
    }

    fn inode(&self, number: u64) -> Inode {
        let at = number as usize * 32;
        let format = self.u16(at);
        assert_eq!(format & 1, 1, "an extended inode");
        let words = usize::from(self.u16(at + 2));
        let body = if words == 0 { 0 } else { 12 + 4 * (words - 1) };
        let inode = Inode {
            mode: self.u16(at + 4),
            size: self.u64(at + 8) as usize,
            place: self.u32(at + 16),
            links: self.u32(at + 44),
            layout: format >> 1,
            tail: at + 64 + body,
        };
        self.attributes(at + 64, body);
        inode
    }

    fn attributes(&self, at: usize, length: usize) {
        if length == 0 {
            return;
        }
        let shared = usize::from(self.bytes[at + 4]);
        for n in 0..shared {
            let id = self.u32(at + 12 + 4 * n) as usize;
            self.attribute(self.xattr_block * BLOCK + 4 * id, self.bytes.len());
        }
        let (mut own, end) = (at + 12 + 4 * shared, at + length);
        while own < end {
            own = self.attribute(own, end);
        }
        assert_eq!(own, end, "attributes fill their place");
    }

    fn attribute(&self, at: usize, end: usize) -> usize {
        let length = usize::from(self.bytes[at]) + usize::from(self.u16(at + 2));
        let after = (at + 4 + length).next_multiple_of(4);
        assert!(after <= end, "an attribute leaves its place");
        after
    }

    /// Bytes of a directory or link.
    fn data(&self, inode: &Inode) -> Vec<u8> {
        let whole = match inode.layout {
            0 => inode.size,
            2 => inode.size / BLOCK * BLOCK,
            other => panic!("layout {other}"),
        };
        let start = inode.place as usize * BLOCK;
        let mut data = match whole {
            0 => Vec::new(),
            _ => self.bytes[start..start + whole].to_vec(),
        };
        let rest = inode.size - whole;
        if rest > 0 {
            assert!(inode.tail % BLOCK + rest <= BLOCK, "inline data in one block");
            data.extend(&self.bytes[inode.tail..inode.tail + rest]);
        }
        data
    }

    fn file(&self, inode: &Inode) {
        if inode.size == 0 {
            return;
        }
        assert_eq!(inode.layout, 4, "content is in chunks");
        let bits = 9 + (inode.place & 0x1f);
        let at = inode.tail.next_multiple_of(8);
        for chunk in 0..inode.size.div_ceil(1 << bits) {
            let device = usize::from(self.u16(at + 8 * chunk + 2));
            let block = u64::from(self.u32(at + 8 * chunk + 4));
            let length = (inode.size - (chunk << bits)).min(1 << bits);
            let end = block + length.div_ceil(BLOCK) as u64;
            assert!(end <= u64::from(self.devices[device - 1]), "beyond the tar");
        }
    }

    fn walk(&self, number: u64, parent: u64, seen: &mut BTreeSet<u64>) {
        let mut pending = vec![(number, parent)];
        while let Some((number, parent)) = pending.pop() {
            assert!(seen.insert(number), "a directory has one place");
            let inode = self.inode(number);
            assert!(inode.links >= 2);
            let data = self.data(&inode);
            let (mut last, mut dots): (Vec<u8>, u8) = (Vec::new(), 0);
            for block in data.chunks(BLOCK) {
                let first = usize::from(u16::from_le_bytes([block[8], block[9]]));
                assert!(first % 12 == 0 && first > 0, "entries before names");
                let at = |n: usize| {
                    let start = usize::from(u16::from_le_bytes([block[12 * n + 8], block[12 * n + 9]]));
                    start
                };
                let count = first / 12;
                for n in 0..count {
                    let end = if n + 1 < count { at(n + 1) } else { block.len() };
                    let mut name = &block[at(n)..end];
                    if n + 1 == count {
                        let zero = name.iter().position(|byte| *byte == 0);
                        name = &name[..zero.unwrap_or(name.len())];
                    }
                    assert!(!name.is_empty() && name.len() <= 255 && !name.contains(&b'/'));
                    assert!(last.as_slice() < name, "names are sorted");
                    last = name.to_vec();
                    let number_bytes = &block[12 * n..12 * n + 8];
                    let child = u64::from_le_bytes(number_bytes.try_into().expect("eight"));
                    match name {
                        b"." => {
                            assert_eq!(child, number);
                            dots += 1;
                        }
                        b".." => {
                            assert_eq!(child, parent);
                            dots += 1;
                        }
                        _ => self.entry(child, number, block[12 * n + 10], &mut pending),
                    }
                }
            }
            assert_eq!(dots, 2);
        }
    }

    fn entry(&self, child: u64, parent: u64, kind: u8, pending: &mut Vec<(u64, u64)>) {
        let inode = self.inode(child);
        let expected = match inode.mode & 0o170_000 {
            0o100_000 => 1,
            0o040_000 => 2,
            0o020_000 => 3,
            0o060_000 => 4,
            0o010_000 => 5,
            0o120_000 => 7,
            other => panic!("mode {other:o}"),
        };
        assert_eq!(kind, expected);
        match kind {
            1 => self.file(&inode),
            2 => pending.push((child, parent)),
            7 => {
                let target = self.data(&inode);
                assert!(!target.is_empty() && target.len() < 4096);
            }
            _ => assert_eq!(inode.size, 0),
        }
    }
}

fn check(bytes: &[u8], tars: &[u64]) {
    assert_eq!(bytes.len() % BLOCK, 0);
    let mut image = Image {
        bytes,
        devices: Vec::new(),
        xattr_block: 0,
    };
    assert_eq!(image.u32(1024), 0xe0f5_e1e2);
    assert_eq!(image.u32(1024 + 36) as usize * BLOCK, bytes.len());
    image.xattr_block = image.u32(1024 + 44) as usize;
    for (n, tar) in tars.iter().enumerate() {
        let blocks = image.u32(1152 + 128 * n + 64);
        assert_eq!(u64::from(blocks), tar.div_ceil(BLOCK as u64));
        image.devices.push(blocks);
    }
    let root = u64::from(image.u16(1024 + 14));
    image.walk(root, root, &mut BTreeSet::new());
}

fuzz_target!(|data: &[u8]| {
    let Some((length, rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let length = usize::from(u16::from_le_bytes(*length)) * BLOCK;
    let layers = match rest.split_at_checked(length) {
        Some((lower, upper)) => vec![lower, upper],
        None => vec![rest],
    };
    for marks in [Marks::Drop, Marks::Keep] {
        let (mut stack, mut tars) = (Stack::new(marks), Vec::new());
        for layer in &layers {
            let Ok(scanned) = images::scan(*layer) else {
                return;
            };
            let Some(tree) = scanned.tree else { return };
            let facts = Facts {
                tar: layer.len() as u64,
                files: scanned.applied.bytes,
            };
            let (read, told) = Tree::decode(&tree.encode(facts)).expect("what was encoded");
            assert_eq!(told, facts);
            stack.push(read, "", facts.tar).expect("few layers");
            tars.push(facts.tar);
        }
        let mut bytes = Vec::new();
        match stack.write(&mut bytes) {
            Ok(()) => check(&bytes, &tars),
            // More attributes than an inode can have.
            Err(error) => assert!(error.is_limit(), "{error}"),
        }
    }
});
