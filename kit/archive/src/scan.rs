//! Reading a layer's archive without unpacking it: what each entry says, and where its content is.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use tar::EntryType;

use crate::decode::{self, Hides};
use crate::metadata::Metadata;
use crate::{Applied, Error, bounded};

/// One entry of a layer.
#[derive(Debug, Clone)]
pub struct Item {
    /// Relative to the root, without dots; empty for the root itself. Of whiteouts: what they hide,
    /// or the directory.
    pub path: PathBuf,
    /// Owner, mode, times, attributes. Links and whiteouts have none of their own.
    pub metadata: Metadata,
    /// What it is.
    pub kind: ItemKind,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
        /// Where they are in the archive, in one piece; `None` for sparse files.
        offset: Option<u64>,
    },
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// One more name for the file at this path.
    Link(PathBuf),
    /// A character device's numbers.
    Char(u32, u32),
    /// A block device's numbers.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
    /// Hides what lower layers have at the path.
    Whiteout,
    /// Hides all that lower layers have in the directory.
    Opaque,
}

/// Reads a plain tar, to the end of the archive, not of the stream. Content is skipped.
///
/// # Errors
/// At the first entry that is wrong, and those of `visit`.
pub fn scan(
    reader: impl Read,
    visit: &mut dyn FnMut(Item) -> Result<(), Error>,
) -> Result<Applied, Error> {
    let mut done = Applied::default();
    bounded::entries(reader, |entry| {
        if entry.header().entry_type() == EntryType::XGlobalHeader {
            return Ok(());
        }
        done.entries += 1;
        if let Some(item) = item(entry)? {
            if let ItemKind::File { size, .. } = item.kind {
                done.bytes = done.bytes.saturating_add(size);
            }
            visit(item)?;
        }
        Ok(())
    })?;
    Ok(done)
}

fn item<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Option<Item>, Error> {
    let kind = entry.header().entry_type();
    let path = decode::inside(&entry.path_bytes())?;
    let shown = path.to_string_lossy().into_owned();
    let Some(name) = path.file_name().map(OsStr::to_os_string) else {
        let metadata = match kind.is_dir() {
            true => decode::metadata(entry, &shown)?,
            // As extraction has it: nothing else can stand in the root's place.
            false => return Ok(None),
        };
        return Ok(Some(Item {
            path,
            metadata,
            kind: ItemKind::Directory,
        }));
    };
    if let Some(hides) = decode::whiteout(name.as_bytes(), &shown)? {
        return Ok(hiding(path, hides));
    }
    let metadata = decode::metadata(entry, &shown)?;
    let kind = match kind {
        EntryType::Regular | EntryType::Continuous => ItemKind::File {
            size: entry.size(),
            offset: Some(entry.raw_file_position()),
        },
        EntryType::GNUSparse => ItemKind::File {
            size: entry.size(),
            offset: None,
        },
        EntryType::Directory => ItemKind::Directory,
        EntryType::Symlink => {
            let target = decode::link_name(entry, &shown)?;
            ItemKind::Symlink(target.into_os_string().into_encoded_bytes())
        }
        EntryType::Link => {
            let target = decode::link_name(entry, &shown)?;
            ItemKind::Link(decode::inside(target.as_os_str().as_bytes())?)
        }
        EntryType::Char | EntryType::Block => {
            let (major, minor) = decode::device(entry)?;
            match kind {
                EntryType::Char => ItemKind::Char(major, minor),
                _ => ItemKind::Block(major, minor),
            }
        }
        EntryType::Fifo => ItemKind::Fifo,
        other => return Err(Error::Type(other.as_byte())),
    };
    Ok(Some(Item {
        path,
        metadata,
        kind,
    }))
}

/// What an entry at `path` whose name is a whiteout's stands for.
pub(crate) fn hiding(mut path: PathBuf, hides: Hides<'_>) -> Option<Item> {
    path.pop();
    let kind = match hides {
        Hides::Nothing => return None,
        Hides::Everything => ItemKind::Opaque,
        Hides::Name(hidden) => {
            path.push(OsStr::from_bytes(hidden));
            ItemKind::Whiteout
        }
    };
    Some(Item {
        path,
        metadata: Metadata::default(),
        kind,
    })
}
