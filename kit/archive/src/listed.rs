//! Entries that were told by a list instead of an archive (a table of contents): the same rules.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::decode::{self, LONGEST_PATH};
use crate::scan::hiding;
use crate::{Error, Item, ItemKind, Metadata};

/// What [`crate::scan`] would say of an entry with this name. `None` for what has no meaning. The
/// target of an [`ItemKind::Link`] is taken as the archive has it.
///
/// # Errors
/// When the archive with this entry would be refused.
pub fn listed(name: &[u8], mut metadata: Metadata, kind: ItemKind) -> Result<Option<Item>, Error> {
    let path = decode::inside(name)?;
    let shown = path.to_string_lossy().into_owned();
    let last = path.file_name().map(OsStr::to_os_string);
    let Some(last) = last else {
        let root = kind == ItemKind::Directory;
        return Ok(root.then_some(Item {
            path,
            metadata,
            kind,
        }));
    };
    if let Some(hides) = decode::whiteout(last.as_bytes(), &shown)? {
        return Ok(hiding(path, hides));
    }
    // overlayfs's own marks are ours to make.
    metadata
        .xattrs
        .retain(|(name, _)| !name.starts_with("trusted.overlay."));
    let kind = match kind {
        ItemKind::Symlink(target) => {
            check_target(&target, &shown)?;
            ItemKind::Symlink(target)
        }
        ItemKind::Link(target) => {
            let target = target.into_os_string().into_encoded_bytes();
            check_target(&target, &shown)?;
            ItemKind::Link(decode::inside(&target)?)
        }
        other => other,
    };
    Ok(Some(Item {
        path,
        metadata,
        kind,
    }))
}

fn check_target(target: &[u8], shown: &str) -> Result<(), Error> {
    if target.is_empty() || target.len() >= LONGEST_PATH || target.contains(&0) {
        return Err(Error::Entry {
            path: shown.to_owned(),
            reason: "a link without a target".into(),
        });
    }
    Ok(())
}

/// A link's target as [`ItemKind::Link`] has it.
pub fn target(bytes: &[u8]) -> PathBuf {
    Path::new(OsStr::from_bytes(bytes)).to_path_buf()
}
