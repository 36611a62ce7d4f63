//! Extended attributes: names as an index of the name space and the rest, values that several
//! inodes have kept once.
//!
//! ```text
//!  inode │ erofs_xattr_ibody_header │ ids of shared ones (4 bytes each) │ own entries (4-aligned)
//!  shared area, at xattr_blkaddr: entries; an id is an offset in it divided by four
//! ```

use std::collections::HashMap;

use crate::Error;

/// `sizeof(struct erofs_xattr_ibody_header)`.
const HEADER: usize = 12;
/// `sizeof(struct erofs_xattr_entry)`.
const ENTRY: usize = 4;
/// `h_shared_count` has eight bits.
const MOST_SHARED: usize = 255;
/// `e_value_size` has sixteen bits.
const LONGEST_VALUE: usize = 0xffff;
/// `i_xattr_icount` has sixteen bits and counts words after the header.
const LARGEST_BODY: usize = HEADER + 4 * 0xfffe;

/// `EROFS_XATTR_INDEX_*` and the rest of the name; `None` where the format has no index.
pub(crate) fn split(name: &[u8]) -> Option<(u8, &[u8])> {
    const SPACES: [(&[u8], u8); 3] = [(b"user.", 1), (b"trusted.", 4), (b"security.", 6)];
    match name {
        b"system.posix_acl_access" => return Some((2, b"")),
        b"system.posix_acl_default" => return Some((3, b"")),
        _ => {}
    }
    SPACES.iter().find_map(|(prefix, index)| {
        let rest = name.strip_prefix(*prefix)?;
        (!rest.is_empty() && rest.len() <= 255 && !rest.contains(&0)).then_some((*index, rest))
    })
}

/// Name and value.
type Pair<'a> = (&'a [u8], &'a [u8]);

/// The shared area in the making.
#[derive(Debug, Default)]
pub(crate) struct Shared<'a> {
    counts: HashMap<Pair<'a>, u32>,
    ids: HashMap<Pair<'a>, u32>,
    pub(crate) area: Vec<u8>,
}

impl<'a> Shared<'a> {
    /// Tells of one inode's attribute.
    pub(crate) fn count(&mut self, name: &'a [u8], value: &'a [u8]) {
        *self.counts.entry((name, value)).or_default() += 1;
    }

    /// Lays out what several inodes have, in the order of names, so that the same trees give the
    /// same image.
    pub(crate) fn settle(&mut self) -> Result<(), Error> {
        let several = self.counts.iter().filter(|(_, count)| **count > 1);
        let mut several: Vec<Pair<'a>> = several.map(|(pair, _)| *pair).collect();
        several.sort_unstable();
        for (name, value) in several {
            let id = u32::try_from(self.area.len() / 4).map_err(|_| Error::Limit {
                what: "the size of all attributes",
                limit: u64::from(u32::MAX) * 4,
            })?;
            self.ids.insert((name, value), id);
            push_entry(&mut self.area, name, value)?;
        }
        Ok(())
    }

    /// What follows an inode with these attributes.
    pub(crate) fn body(
        &self,
        attributes: impl Iterator<Item = Pair<'a>>,
    ) -> Result<Vec<u8>, Error> {
        let (mut ids, mut own) = (Vec::new(), Vec::new());
        for pair in attributes {
            match self.ids.get(&pair) {
                Some(id) if ids.len() < MOST_SHARED => ids.push(*id),
                _ => push_entry(&mut own, pair.0, pair.1)?,
            }
        }
        if ids.is_empty() && own.is_empty() {
            return Ok(Vec::new());
        }
        let mut body = vec![0u8; HEADER];
        // At most `MOST_SHARED`.
        body[4] = ids.len() as u8;
        body.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
        body.append(&mut own);
        if body.len() > LARGEST_BODY {
            return Err(Error::Limit {
                what: "the size of a file's attributes",
                limit: LARGEST_BODY as u64,
            });
        }
        Ok(body)
    }
}

/// `i_xattr_icount` of a body.
pub(crate) fn word_count(body: &[u8]) -> u16 {
    match body.len() {
        0 => 0,
        length => u16::try_from((length - HEADER) / 4 + 1).unwrap_or(u16::MAX),
    }
}

fn push_entry(to: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Result<(), Error> {
    let Some((index, rest)) = split(name) else {
        return Ok(());
    };
    let size = u16::try_from(value.len()).map_err(|_| Error::Limit {
        what: "the size of an attribute",
        limit: LONGEST_VALUE as u64,
    })?;
    let start = to.len();
    // `split` gives no longer ones.
    to.extend([rest.len() as u8, index]);
    to.extend(size.to_le_bytes());
    to.extend(rest);
    to.extend(value);
    let length = (ENTRY + rest.len() + value.len()).next_multiple_of(4);
    to.resize(start + length, 0);
    Ok(())
}
