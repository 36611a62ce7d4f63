//! The set of files that a rotated log is made of.
//!
//! Rotation renames `x.log.1` to `x.log.2`, `x.log` to `x.log.1` and makes a new `x.log`, and a
//! rotated file is replaced by a compressed one, while we look. A set is therefore taken twice and
//! used only when both looks saw the same files. A compressed file says of which file (inode) it
//! was made: a reader that is in the midst of one finds what comes after it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;

use crate::{Error, Result};

/// Looks before giving up on a log that never stands still.
const LOOKS: usize = 100;

/// One opened file of a log.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) path: PathBuf,
    file: File,
    /// Its inode, or that of the file it was made from.
    inode: u64,
    /// It is compressed; the time of its last entry in nanoseconds since 1970, if known.
    packed: Option<Option<i128>>,
}

/// What a compressed file says of itself.
#[derive(Debug, Default, serde::Deserialize)]
struct Header {
    #[serde(rename = "lastTime", default)]
    last: String,
    inode: Option<u64>,
}

impl Part {
    /// Names it among the files of its log.
    pub(crate) fn inode(&self) -> u64 {
        self.inode
    }

    /// All that it has is older.
    pub(crate) fn ends_before(&self, nanos: i128) -> bool {
        matches!(self.packed, Some(Some(last)) if last < nanos)
    }

    /// Its content as a file, unpacked (into one without a name) the first time it is wanted.
    pub(crate) fn plain(&mut self) -> Result<&File> {
        if self.packed.is_some() {
            let io = |error| Error::io(&self.path, error);
            let directory = self.path.parent().unwrap_or(Path::new("/"));
            let mut plain = tempfile::tempfile_in(directory).map_err(io)?;
            let mut unpacked = GzDecoder::new(BufReader::new(&self.file));
            std::io::copy(&mut unpacked, &mut plain).map_err(io)?;
            drop(unpacked);
            self.file = plain;
            self.packed = None;
        }
        Ok(&self.file)
    }

    /// Its content as a file; of one that was not unpacked it is not the content.
    pub(crate) fn file(&self) -> &File {
        &self.file
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
/// Its reader has it open, so no later file can have its number.
pub(crate) fn open_after(path: &Path, inode: u64) -> Result<VecDeque<Part>> {
    let mut parts = open_all(path)?;
    if let Some(at) = parts.iter().rposition(|part| part.inode() == inode) {
        parts.drain(..=at);
    }
    Ok(parts)
}

fn open_once(path: &Path) -> Result<VecDeque<Part>> {
    let mut parts = VecDeque::new();
    if let Some(part) = open_part(path.to_owned(), false)? {
        parts.push_back(part);
    }
    for n in 1.. {
        let numbered = |kind: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{n}{kind}"));
            PathBuf::from(name)
        };
        let part = match open_part(numbered(""), false)? {
            None => open_part(numbered(".gz"), true)?,
            found => found,
        };
        let Some(part) = part else { break };
        parts.push_front(part);
    }
    Ok(parts)
}

fn open_part(path: PathBuf, packed: bool) -> Result<Option<Part>> {
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(&path, error)),
    };
    let io = |error| Error::io(&path, error);
    let own = file.metadata().map_err(io)?.ino();
    let header = match packed {
        true => header(&file).map_err(io)?,
        false => Header::default(),
    };
    Ok(Some(Part {
        file,
        inode: header.inode.unwrap_or(own),
        packed: packed.then(|| {
            let last: Option<jiff::Timestamp> = header.last.parse().ok();
            last.map(jiff::Timestamp::as_nanosecond)
        }),
        path,
    }))
}

/// Reads the header only, and leaves the file at its beginning.
fn header(file: &File) -> std::io::Result<Header> {
    use std::io::Seek as _;
    let mut first = Vec::new();
    file.take(4096).read_to_end(&mut first)?;
    let mut file = file;
    file.rewind()?;
    let unpacked = GzDecoder::new(&first[..]);
    let extra = unpacked.header().and_then(|header| header.extra());
    // Somebody else's may say something else, or nothing.
    Ok(extra
        .and_then(|extra| serde_json::from_slice(extra).ok())
        .unwrap_or_default())
}
