//! A layer's tar as a tree: what `erofs` needs to know of it.

use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;

use archive::{Applied, Item, ItemKind};
use erofs::{Meta, Node, Tree};

/// What became of a tar.
#[derive(Debug)]
pub struct Scanned {
    /// What it holds.
    pub applied: Applied,
    /// `None`: it is valid, but has to be unpacked.
    pub tree: Option<Tree>,
}

/// Reads a layer's plain tar as an index has it; contents are skipped.
///
/// # Errors
/// At the first entry that makes no sense.
pub fn scan(reader: impl Read) -> Result<Scanned, archive::Error> {
    let mut tree = Some(Tree::new());
    let applied = archive::scan(reader, &mut |item| {
        let Some(growing) = &mut tree else {
            return Ok(());
        };
        // Content in pieces is not where an index could point.
        let sparse = matches!(item.kind, ItemKind::File { offset: None, .. });
        let shown = item.path.to_string_lossy().into_owned();
        match add(growing, item) {
            Ok(()) if !sparse => Ok(()),
            Ok(()) => {
                tree = None;
                Ok(())
            }
            Err(error) if error.is_limit() => {
                tree = None;
                Ok(())
            }
            Err(error) => Err(archive::Error::Entry {
                path: shown,
                reason: error.to_string(),
            }),
        }
    })?;
    Ok(Scanned { applied, tree })
}

pub(crate) fn add(tree: &mut Tree, item: Item) -> Result<(), erofs::Error> {
    let path = item.path.as_os_str().as_bytes();
    let node = match item.kind {
        ItemKind::Whiteout => return tree.whiteout(path),
        ItemKind::Opaque => return tree.opaque(path),
        ItemKind::Link(target) => return tree.hard_link(path, target.as_os_str().as_bytes()),
        ItemKind::Directory => Node::Directory,
        ItemKind::File { size, offset } => Node::File {
            size,
            offset: offset.unwrap_or(0),
        },
        ItemKind::Symlink(target) => Node::Symlink(target),
        ItemKind::Char(major, minor) => Node::Char(major, minor),
        ItemKind::Block(major, minor) => Node::Block(major, minor),
        ItemKind::Fifo => Node::Fifo,
    };
    let (uid, gid) = item.metadata.owner.unwrap_or_default();
    let (mtime, nanos) = item.metadata.mtime;
    let xattrs = item.metadata.xattrs.into_iter();
    let meta = Meta {
        mode: (item.metadata.mode & 0o7777) as u16,
        uid,
        gid,
        mtime,
        nanos: u32::try_from(nanos).unwrap_or(0),
        xattrs: xattrs
            .map(|(name, value)| (name.into_bytes().into(), value.into()))
            .collect(),
    };
    tree.add(path, meta, node)
}
