//! Extraction: an archive onto a directory tree.
//!
//! As an image layer ([`Target::Layer`]) whiteouts become overlayfs's own marks; as files of a client
//! ([`Target::Files`]) they have no meaning. Later entries win over earlier ones, as in tar(1).
//!
//! The security argument: a [`Place`] opens parent directories, following links inside the tree only
//! (of a plain directory by openat2 with `RESOLVE_IN_ROOT`); the last component is made with
//! `O_EXCL`, `O_NOFOLLOW` or a call that does not follow links.
//!
//! Memory is bounded whatever the archive says: no entry's content is held, headers are limited
//! (`bounded`), and of directories whose times are to be set last only so many are remembered.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, XattrFlags};
use rustix::io::Errno;
use tar::EntryType;

use crate::decode::{self, Hides, inside, link_name};
use crate::metadata::Metadata;
use crate::{Error, bounded};

/// Bytes of paths and attributes that are remembered of directories; those beyond keep the time of
/// the extraction.
const MOST_REMEMBERED: usize = 64 << 20;
/// Directories within each other that a later entry may take away.
const DEEPEST: usize = 512;

/// A tree that an archive goes to. Paths are relative to it, without dots.
pub trait Place {
    /// Opens a directory, making what is missing of it.
    ///
    /// # Errors
    /// When it cannot be made, or something else is there.
    fn directory(&self, path: &Path) -> io::Result<OwnedFd>;

    /// Opens a directory that is there.
    ///
    /// # Errors
    /// When it is not.
    fn existing(&self, path: &Path) -> io::Result<OwnedFd>;

    /// Gives a file one more name, `name` in `parent`.
    ///
    /// # Errors
    /// When there is no such file, and the file system's.
    fn link(&self, file: &Path, parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        let dir = self.existing(file.parent().unwrap_or(Path::new("")))?;
        let file = file.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        Ok(rustix::fs::linkat(
            &dir,
            file,
            parent,
            name,
            AtFlags::empty(),
        )?)
    }

    /// The user and group that a file is given of which the archive says these.
    ///
    /// # Errors
    /// When they have no counterpart in this place.
    fn owner(&self, uid: u32, gid: u32) -> io::Result<(u32, u32)> {
        Ok((uid, gid))
    }
}

/// A directory as if it were `/`.
impl Place for BorrowedFd<'_> {
    fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let mode = Mode::from_raw_mode(0o755);
        Ok(sys::rooted::create_dir_all(*self, path, mode)?)
    }

    fn existing(&self, path: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        Ok(sys::rooted::open(*self, path, flags, Mode::empty())?)
    }
}

/// What an archive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A layer of an image, for overlayfs.
    Layer,
    /// A client's files.
    Files {
        /// Refuse to replace a directory by something else, and the other way round.
        keep_types: bool,
        /// Keep the archive's owners; else everything belongs to this user and group.
        owner: Option<(u32, u32)>,
    },
}

/// What was extracted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Entries.
    pub entries: u64,
    /// Bytes of regular files.
    pub bytes: u64,
}

/// Extracts a plain tar below `root`. The reader is read to the end of the archive, not of the
/// stream.
///
/// # Errors
/// At the first entry that is wrong or cannot be made; what came before stays.
pub fn apply(reader: impl Read, root: BorrowedFd<'_>, kind: Target) -> Result<Applied, Error> {
    apply_at(reader, &root, kind, None)
}

/// [`apply`] to a tree of any kind, with another name for the first component of paths that have it:
/// `("a", "b")` makes `b/c` of `a/c`, `(".", "b")` puts everything below `b`.
///
/// # Errors
/// As [`apply`].
pub fn apply_at(
    reader: impl Read,
    place: &dyn Place,
    kind: Target,
    rename: Option<(&OsStr, &OsStr)>,
) -> Result<Applied, Error> {
    let mut apply = Apply {
        place,
        kind,
        rename,
        parent: None,
        directories: BTreeMap::new(),
        remembered: 0,
        done: Applied::default(),
    };
    bounded::entries(reader, |entry| apply.entry(entry))?;
    apply.finish()
}

struct Apply<'a> {
    place: &'a dyn Place,
    kind: Target,
    rename: Option<(&'a OsStr, &'a OsStr)>,
    /// The last parent: archives list a directory's files together.
    parent: Option<(PathBuf, OwnedFd)>,
    /// Times of directories, set when nothing is made in them any more.
    directories: BTreeMap<PathBuf, Metadata>,
    /// About how many bytes those are.
    remembered: usize,
    done: Applied,
}

impl Apply<'_> {
    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<(), Error> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let path = self.renamed(inside(&entry.path_bytes())?);
        let shown = path.to_string_lossy().into_owned();
        self.done.entries += 1;
        let Some(name) = path.file_name().map(OsStr::to_os_string) else {
            // The root itself: its metadata, when it is a layer's. A client's directory stays as it is.
            if kind.is_dir() && self.kind == Target::Layer {
                let metadata = self.metadata(entry, &shown)?;
                self.remember(PathBuf::new(), metadata);
            }
            return Ok(());
        };
        let parent_path = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let parent = self.parent(&parent_path, &shown)?;
        if self.kind == Target::Layer && name.as_bytes().starts_with(decode::WHITEOUT) {
            return self.whiteout(&parent, &name, &shown);
        }
        let metadata = self.metadata(entry, &shown)?;
        let hid = self.make_way(&parent, &path, kind.is_dir(), &shown)?;
        let mut is_link = false;
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(entry, &parent, &name, &shown)?;
            }
            EntryType::Directory => {
                match rustix::fs::mkdirat(&parent, &name, Mode::from_raw_mode(0o700)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(Error::at(&shown)(error)),
                }
                if hid {
                    hide_below(parent.as_fd(), &name).map_err(Error::at(&shown))?;
                }
                self.set(&metadata, parent.as_fd(), &name, false, &shown)?;
                self.remember(path, metadata);
                return Ok(());
            }
            EntryType::Symlink => {
                let target = link_name(entry, &shown)?;
                is_link = true;
                rustix::fs::symlinkat(&target, &parent, &name).map_err(Error::at(&shown))?;
            }
            // The link shares its target's metadata.
            EntryType::Link => {
                let target = link_name(entry, &shown)?;
                return self.hard_link(&target, &parent, &name, &shown);
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                node(entry, kind, &parent, &name, &shown)?;
            }
            other => return Err(Error::Type(other.as_byte())),
        }
        self.set(&metadata, parent.as_fd(), &name, is_link, &shown)
    }

    fn set(
        &self,
        metadata: &Metadata,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        is_link: bool,
        shown: &str,
    ) -> Result<(), Error> {
        // As docker does: what the place of a client's files cannot keep is left out.
        let lenient = self.kind != Target::Layer;
        metadata.set(parent, name, is_link, lenient, shown)
    }

    fn remember(&mut self, path: PathBuf, metadata: Metadata) {
        let weight = path.as_os_str().len() + 256;
        if self.remembered + weight > MOST_REMEMBERED {
            return;
        }
        self.remembered += weight;
        // Those of the root are still to be set; all others have theirs but for times.
        let metadata = match path.as_os_str().is_empty() {
            true => metadata,
            false => Metadata {
                xattrs: Vec::new(),
                ..metadata
            },
        };
        self.directories.insert(path, metadata);
    }

    fn renamed(&self, path: PathBuf) -> PathBuf {
        let Some((from, to)) = self.rename else {
            return path;
        };
        let rest = if from == "." || from == "/" {
            Ok(path.as_path())
        } else {
            path.strip_prefix(from)
        };
        match rest {
            // Joining nothing would add a slash.
            Ok(rest) if rest.as_os_str().is_empty() => to.into(),
            Ok(rest) => Path::new(to).join(rest),
            Err(_) => path,
        }
    }

    /// Opens the directory an entry goes to, making what is missing.
    fn parent(&mut self, path: &Path, shown: &str) -> Result<OwnedFd, Error> {
        if let Some((last, fd)) = &self.parent
            && last == path
        {
            return fd.try_clone().map_err(Error::at(shown));
        }
        let fd = match self.place.directory(path) {
            Err(error)
                if error.kind() == io::ErrorKind::NotADirectory && self.kind == Target::Layer =>
            {
                self.uncover(path).map_err(Error::at(shown))?;
                self.place.directory(path)
            }
            opened => opened,
        };
        let fd = fd.map_err(Error::at(shown))?;
        let copy = fd.try_clone().map_err(Error::at(shown))?;
        self.parent = Some((path.to_path_buf(), copy));
        Ok(fd)
    }

    /// Makes directories of the whiteouts on the way to a directory of this layer: they speak of the
    /// layers below only.
    fn uncover(&self, path: &Path) -> io::Result<()> {
        let mut above = PathBuf::new();
        for name in path {
            let parent = match self.place.existing(&above) {
                // What is missing from here on is made.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                opened => opened?,
            };
            if is_whiteout(parent.as_fd(), name)? {
                rustix::fs::unlinkat(&parent, name, AtFlags::empty())?;
                rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
                hide_below(parent.as_fd(), name)?;
            }
            above.push(name);
        }
        Ok(())
    }

    fn metadata<R: Read>(
        &self,
        entry: &mut tar::Entry<'_, R>,
        shown: &str,
    ) -> Result<Metadata, Error> {
        let mut metadata = decode::metadata(entry, shown)?;
        if let Target::Files {
            owner: Some(all), ..
        } = self.kind
        {
            metadata.owner = Some(all);
        }
        if let Some((uid, gid)) = metadata.owner {
            let owner = self.place.owner(uid, gid).map_err(Error::at(shown))?;
            metadata.owner = Some(owner);
        }
        Ok(metadata)
    }

    /// Takes away what stands where an entry goes; directories stay for directories. Answers whether
    /// it was a whiteout of this layer.
    fn make_way(
        &mut self,
        parent: &OwnedFd,
        path: &Path,
        is_dir: bool,
        shown: &str,
    ) -> Result<bool, Error> {
        let name = path.file_name().unwrap_or_default();
        let facts = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(facts) => facts,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(Error::at(shown)(error)),
        };
        let was_dir = FileType::from_raw_mode(facts.st_mode) == FileType::Directory;
        if was_dir && is_dir {
            return Ok(false);
        }
        if let Target::Files {
            keep_types: true, ..
        } = self.kind
            && was_dir != is_dir
        {
            return Err(Error::Overwrite {
                path: shown.to_owned(),
                directory: was_dir,
            });
        }
        if was_dir {
            // Directories remembered below it are gone with it.
            let below = |other: &&PathBuf| other.starts_with(path);
            while let Some(gone) = self.directories.range(path.to_path_buf()..).next()
                && below(&gone.0)
            {
                let gone = gone.0.clone();
                self.directories.remove(&gone);
            }
            self.parent = None;
            remove_tree(parent.as_fd(), name, 0).map_err(Error::at(shown))?;
            return Ok(false);
        }
        rustix::fs::unlinkat(parent, name, AtFlags::empty()).map_err(Error::at(shown))?;
        Ok(self.kind == Target::Layer && is_mark(&facts))
    }

    fn file<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        parent: &OwnedFd,
        name: &OsStr,
        shown: &str,
    ) -> Result<(), Error> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))
            .map_err(Error::at(shown))?;
        let mut file = std::fs::File::from(fd);
        if entry.header().entry_type().is_gnu_sparse() {
            return self.sparse(entry, file, shown);
        }
        let mut buffer = [0u8; 64 << 10];
        loop {
            let read = entry.read(&mut buffer).map_err(Error::Malformed)?;
            if read == 0 {
                return Ok(());
            }
            file.write_all(&buffer[..read]).map_err(Error::at(shown))?;
            self.done.bytes = self.done.bytes.saturating_add(read as u64);
        }
    }

    /// Holes stay holes. A file that is larger than the disk has room, holes included, is refused
    /// at once: whoever copies it would fill the disk, and reading it would take for ever.
    fn sparse<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        mut file: std::fs::File,
        shown: &str,
    ) -> Result<(), Error> {
        let size = entry.size();
        let disk = rustix::fs::fstatvfs(&file).map_err(Error::at(shown))?;
        if size > disk.f_bavail.saturating_mul(disk.f_frsize) {
            return Err(Error::at(shown)(Errno::NOSPC));
        }
        file.set_len(size).map_err(Error::at(shown))?;
        let mut buffer = [0u8; 64 << 10];
        loop {
            let read = entry.read(&mut buffer).map_err(Error::Malformed)?;
            let piece = &buffer[..read];
            let done = match piece {
                [] => break,
                _ if piece.iter().all(|byte| *byte == 0) => {
                    file.seek(SeekFrom::Current(read as i64)).map(drop)
                }
                _ => file.write_all(piece),
            };
            done.map_err(Error::at(shown))?;
        }
        self.done.bytes = self.done.bytes.saturating_add(size);
        Ok(())
    }

    fn hard_link(
        &self,
        target: &Path,
        parent: &OwnedFd,
        name: &OsStr,
        shown: &str,
    ) -> Result<(), Error> {
        let target = self.renamed(inside(target.as_os_str().as_bytes())?);
        let refused = |reason: &str| Error::Entry {
            path: shown.to_owned(),
            reason: reason.to_owned(),
        };
        if target.file_name().is_none() {
            return Err(refused("a link to the root"));
        }
        let missing = || refused(&format!("a hard link to {target:?}, which is not there"));
        match self.place.link(&target, parent.as_fd(), name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
            linked => linked.map_err(Error::at(shown))?,
        }
        if self.kind == Target::Layer
            && is_whiteout(parent.as_fd(), name).map_err(Error::at(shown))?
        {
            return Err(missing());
        }
        Ok(())
    }

    fn whiteout(&self, parent: &OwnedFd, name: &OsStr, shown: &str) -> Result<(), Error> {
        let hidden = match decode::whiteout(name.as_bytes(), shown)? {
            Some(Hides::Name(hidden)) => OsStr::from_bytes(hidden),
            Some(Hides::Everything) => {
                return hide_below(parent.as_fd(), OsStr::new(".")).map_err(Error::at(shown));
            }
            Some(Hides::Nothing) | None => return Ok(()),
        };
        match rustix::fs::mknodat(parent, hidden, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => Ok(()),
            // What this layer has of that name stays: a file hides the lower one by itself, a
            // directory has to be told.
            Err(Errno::EXIST) => match hide_below(parent.as_fd(), hidden) {
                Err(Errno::NOTDIR | Errno::LOOP) => Ok(()),
                told => told.map_err(Error::at(shown)),
            },
            Err(error) => Err(Error::at(shown)(error)),
        }
    }

    fn finish(self) -> Result<Applied, Error> {
        for (path, metadata) in &self.directories {
            let shown = path.to_string_lossy();
            let dir = match self.place.existing(path) {
                Ok(dir) => dir,
                // Replaced by a later entry.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) =>
                {
                    continue;
                }
                Err(error) => return Err(Error::at(&shown)(error)),
            };
            if path.as_os_str().is_empty() {
                metadata.set(dir.as_fd(), OsStr::new("."), false, false, "/")?;
            } else {
                metadata.set_times(dir.as_fd(), OsStr::new("."), &shown)?;
            }
        }
        Ok(self.done)
    }
}

/// overlayfs's mark that nothing of the layers below shows through in a directory.
const OPAQUE: &str = "trusted.overlay.opaque";

fn hide_below(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    rustix::fs::fsetxattr(&directory, OPAQUE, b"y", XattrFlags::empty())
}

fn is_whiteout(parent: BorrowedFd<'_>, name: &OsStr) -> Result<bool, Errno> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(false),
        facts => facts.map(|facts| is_mark(&facts)),
    }
}

/// overlayfs's mark of a whiteout: a character device without a number.
fn is_mark(facts: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(facts.st_mode) == FileType::CharacterDevice && facts.st_rdev == 0
}

/// Removes `name` below `parent` with everything in it, following nothing. Its depth is somebody
/// else's choice, the stack is ours.
fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr, depth: usize) -> Result<(), Errno> {
    if depth > DEEPEST {
        return Err(Errno::NAMETOOLONG);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&dir)? {
        let entry = entry?;
        let child = entry.file_name();
        if child == c"." || child == c".." {
            continue;
        }
        match rustix::fs::unlinkat(&dir, child, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::ISDIR | Errno::PERM) => {
                let child = OsStr::from_bytes(child.to_bytes());
                remove_tree(dir.as_fd(), child, depth + 1)?;
            }
            Err(error) => return Err(error),
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

fn node<R: Read>(
    entry: &tar::Entry<'_, R>,
    kind: EntryType,
    parent: &OwnedFd,
    name: &OsStr,
    shown: &str,
) -> Result<(), Error> {
    let (file_type, device) = match kind {
        EntryType::Fifo => (FileType::Fifo, 0),
        _ => {
            let (major, minor) = decode::device(entry)?;
            let file_type = match kind {
                EntryType::Block => FileType::BlockDevice,
                _ => FileType::CharacterDevice,
            };
            (file_type, rustix::fs::makedev(major, minor))
        }
    };
    rustix::fs::mknodat(parent, name, file_type, Mode::from_raw_mode(0o600), device)
        .map_err(Error::at(shown))
}

#[cfg(test)]
mod tests;
