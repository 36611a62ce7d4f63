//! The set of files that a rotated log is made of.
//!
//! Rotation renames `x.log.1` to `x.log.2`, `x.log` to `x.log.1` and makes a new `x.log`, while we
//! look. A set is therefore taken twice and used only when both looks saw the same files.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Looks before giving up on a log that never stands still.
const LOOKS: usize = 100;

/// One opened file of a log.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Plain {
        file: File,
        inode: u64,
    },
    /// An error as soon as its content is wanted.
    Compressed,
}

impl Part {
    pub(crate) fn inode(&self) -> Option<u64> {
        match &self.kind {
            Kind::Plain { inode, .. } => Some(*inode),
            Kind::Compressed => None,
        }
    }

    pub(crate) fn plain(&self) -> Result<&File> {
        match &self.kind {
            Kind::Plain { file, .. } => Ok(file),
            Kind::Compressed => Err(Error::Compressed {
                path: self.path.clone(),
            }),
        }
    }
}

/// Opens all files of the log, oldest first. A log that does not exist has none.
pub(crate) fn open_all(path: &Path) -> Result<VecDeque<Part>> {
    for _ in 0..LOOKS {
        let first = open_once(path)?;
        let second = open_once(path)?;
        let inodes = |parts: &VecDeque<Part>| parts.iter().map(Part::inode).collect::<Vec<_>>();
        if inodes(&first) == inodes(&second) {
            return Ok(first);
        }
    }
    Err(Error::Rotating {
        path: path.to_owned(),
    })
}

/// The files that come after the one with this inode, oldest first; all of them when it is gone.
pub(crate) fn open_after(path: &Path, inode: u64) -> Result<VecDeque<Part>> {
    let mut parts = open_all(path)?;
    if let Some(at) = parts.iter().position(|part| part.inode() == Some(inode)) {
        parts.drain(..=at);
    }
    Ok(parts)
}

fn open_once(path: &Path) -> Result<VecDeque<Part>> {
    let mut parts = VecDeque::new();
    if let Some(part) = open_part(path.to_owned())? {
        parts.push_back(part);
    }
    for n in 1.. {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{n}"));
        let rotated = PathBuf::from(name);
        if let Some(part) = open_part(rotated.clone())? {
            parts.push_front(part);
            continue;
        }
        let mut name = rotated.into_os_string();
        name.push(".gz");
        let compressed = PathBuf::from(name);
        if !compressed
            .try_exists()
            .map_err(|error| Error::io(&compressed, error))?
        {
            break;
        }
        parts.push_front(Part {
            path: compressed,
            kind: Kind::Compressed,
        });
    }
    Ok(parts)
}

fn open_part(path: PathBuf) -> Result<Option<Part>> {
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(&path, error)),
    };
    let inode = file
        .metadata()
        .map_err(|error| Error::io(&path, error))?
        .ino();
    Ok(Some(Part {
        path,
        kind: Kind::Plain { file, inode },
    }))
}
