//! Extraction: an archive onto a directory tree.
//!
//! As an image layer ([`Target::Layer`]) whiteouts become overlayfs's own marks; as files of a client
//! ([`Target::Files`]) they have no meaning. Later entries win over earlier ones, as in tar(1).
//!
//! The security argument: a parent directory is opened by openat2 with `RESOLVE_IN_ROOT`, so links
//! inside the tree are followed inside the tree; the last component is made with `O_EXCL`,
//! `O_NOFOLLOW` or a call that does not follow links.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, XattrFlags};
use rustix::io::Errno;
use tar::EntryType;

use crate::Error;
use crate::metadata::Metadata;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Leftovers of AUFS.
const AUFS: &[u8] = b".wh..wh.";
const LONGEST_PATH: usize = 4096;

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
    apply_renamed(reader, root, kind, None)
}

/// The same with another name for the first component of paths that have it: `("a", "b")` makes
/// `b/c` of `a/c`, `(".", "b")` puts everything below `b`.
///
/// # Errors
/// As [`apply`].
pub fn apply_renamed(
    reader: impl Read,
    root: BorrowedFd<'_>,
    kind: Target,
    rename: Option<(&OsStr, &OsStr)>,
) -> Result<Applied, Error> {
    let mut archive = tar::Archive::new(reader);
    let mut apply = Apply {
        root,
        kind,
        rename,
        parent: None,
        directories: BTreeMap::new(),
        done: Applied::default(),
    };
    for entry in archive.entries().map_err(Error::Malformed)? {
        apply.entry(entry.map_err(Error::Malformed)?)?;
    }
    apply.finish()
}

struct Apply<'a> {
    root: BorrowedFd<'a>,
    kind: Target,
    rename: Option<(&'a OsStr, &'a OsStr)>,
    /// The last parent: archives list a directory's files together.
    parent: Option<(PathBuf, OwnedFd)>,
    /// Times of directories, set when nothing is made in them any more.
    directories: BTreeMap<PathBuf, Metadata>,
    done: Applied,
}

impl Apply<'_> {
    fn entry<R: Read>(&mut self, mut entry: tar::Entry<'_, R>) -> Result<(), Error> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let path = self.renamed(inside(&entry.path_bytes())?);
        let shown = path.to_string_lossy().into_owned();
        self.done.entries += 1;
        let Some(name) = path.file_name().map(OsStr::to_os_string) else {
            // The root itself: its metadata, when it is a directory.
            if kind.is_dir() {
                self.directories
                    .insert(PathBuf::new(), self.metadata(&mut entry, &shown)?);
            }
            return Ok(());
        };
        let parent_path = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let parent = self.parent(&parent_path, &shown)?;
        if self.kind == Target::Layer && name.as_bytes().starts_with(WHITEOUT) {
            return self.whiteout(&parent, &name, &shown);
        }
        let metadata = self.metadata(&mut entry, &shown)?;
        self.make_way(&parent, &name, kind.is_dir(), &shown)?;
        let mut is_link = false;
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(&mut entry, &parent, &name, &shown)?;
            }
            EntryType::Directory => {
                match rustix::fs::mkdirat(&parent, &name, Mode::from_raw_mode(0o700)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(Error::at(&shown)(error)),
                }
                metadata.set(parent.as_fd(), &name, false, &shown)?;
                self.directories.insert(path, metadata);
                return Ok(());
            }
            EntryType::Symlink => {
                let target = link_name(&entry, &shown)?;
                is_link = true;
                rustix::fs::symlinkat(&target, &parent, &name).map_err(Error::at(&shown))?;
            }
            // The link shares its target's metadata.
            EntryType::Link => {
                let target = link_name(&entry, &shown)?;
                return self.hard_link(&target, &parent, &name, &shown);
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                node(&entry, kind, &parent, &name, &shown)?;
            }
            other => {
                return Err(Error::Entry {
                    path: shown,
                    reason: format!(
                        "entries of type {:?} are not supported",
                        other.as_byte() as char
                    ),
                });
            }
        }
        metadata.set(parent.as_fd(), &name, is_link, &shown)
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
        let mode = Mode::from_raw_mode(0o755);
        let fd = sys::rooted::create_dir_all(self.root, path, mode).map_err(Error::at(shown))?;
        let copy = fd.try_clone().map_err(Error::at(shown))?;
        self.parent = Some((path.to_path_buf(), copy));
        Ok(fd)
    }

    fn metadata<R: Read>(
        &self,
        entry: &mut tar::Entry<'_, R>,
        shown: &str,
    ) -> Result<Metadata, Error> {
        let invalid = |reason: std::io::Error| Error::Entry {
            path: shown.to_owned(),
            reason: reason.to_string(),
        };
        let header = entry.header();
        let old = header.as_old();
        let owner = |n: u64, what: &str| {
            u32::try_from(n).map_err(|_| Error::Entry {
                path: shown.to_owned(),
                reason: format!("{what} {n} is out of range"),
            })
        };
        // Some archivers leave fields empty, which other readers take for zero.
        let or_zero = |field: &[u8], value: std::io::Result<u64>| match value {
            Err(_) if field.iter().all(|byte| matches!(byte, 0 | b' ')) => Ok(0),
            value => value.map_err(invalid),
        };
        let mtime = or_zero(&old.mtime, header.mtime())?;
        let (mut uid, mut gid) = (
            or_zero(&old.uid, header.uid())?,
            or_zero(&old.gid, header.gid())?,
        );
        let mut metadata = Metadata {
            mode: u32::try_from(or_zero(&old.mode, header.mode().map(u64::from))?)
                .unwrap_or_default(),
            owner: None,
            mtime: (i64::try_from(mtime).unwrap_or(i64::MAX), 0),
            xattrs: Vec::new(),
        };
        if let Some(extensions) = entry.pax_extensions().map_err(invalid)? {
            for extension in extensions {
                let extension = extension.map_err(invalid)?;
                let Ok(key) = extension.key() else { continue };
                let text = || String::from_utf8_lossy(extension.value_bytes()).into_owned();
                match key {
                    "mtime" => metadata.mtime = pax_time(&text()).unwrap_or(metadata.mtime),
                    "uid" => uid = text().parse().unwrap_or(u64::MAX),
                    "gid" => gid = text().parse().unwrap_or(u64::MAX),
                    _ => {
                        if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                            // overlayfs's own marks are ours to make.
                            if !name.starts_with("trusted.overlay.") {
                                let value = extension.value_bytes().to_vec();
                                metadata.xattrs.push((name.to_owned(), value));
                            }
                        }
                    }
                }
            }
        }
        metadata.owner = Some(match self.kind {
            Target::Files {
                owner: Some(all), ..
            } => all,
            _ => (owner(uid, "user")?, owner(gid, "group")?),
        });
        Ok(metadata)
    }

    /// Takes away what stands where an entry goes; directories stay for directories.
    fn make_way(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        is_dir: bool,
        shown: &str,
    ) -> Result<(), Error> {
        let facts = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(facts) => facts,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(Error::at(shown)(error)),
        };
        let was_dir = FileType::from_raw_mode(facts.st_mode) == FileType::Directory;
        if was_dir && is_dir {
            return Ok(());
        }
        if let Target::Files {
            keep_types: true, ..
        } = self.kind
            && was_dir != is_dir
        {
            let what = if was_dir {
                "directory"
            } else {
                "non-directory"
            };
            let with = if is_dir { "directory" } else { "non-directory" };
            return Err(Error::Overwrite(format!("{what} {shown:?} with {with}")));
        }
        if was_dir {
            // Directories remembered below it are gone with it.
            let below = PathBuf::from(shown);
            self.directories.retain(|path, _| !path.starts_with(&below));
            self.parent = None;
            remove_tree(parent.as_fd(), name).map_err(Error::at(shown))
        } else {
            rustix::fs::unlinkat(parent, name, AtFlags::empty()).map_err(Error::at(shown))
        }
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
        let mut buffer = [0u8; 64 << 10];
        loop {
            let read = entry.read(&mut buffer).map_err(Error::Malformed)?;
            if read == 0 {
                return Ok(());
            }
            std::io::Write::write_all(&mut file, &buffer[..read]).map_err(Error::at(shown))?;
            self.done.bytes += read as u64;
        }
    }

    fn hard_link(
        &self,
        target: &Path,
        parent: &OwnedFd,
        name: &OsStr,
        shown: &str,
    ) -> Result<(), Error> {
        let target = self.renamed(inside(target.as_os_str().as_bytes())?);
        let (dir, file) = (target.parent(), target.file_name());
        let (Some(dir), Some(file)) = (dir, file) else {
            return Err(Error::Entry {
                path: shown.to_owned(),
                reason: "a link to the root".into(),
            });
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let dir =
            sys::rooted::open(self.root, dir, flags, Mode::empty()).map_err(Error::at(shown))?;
        rustix::fs::linkat(&dir, file, parent, name, AtFlags::empty()).map_err(Error::at(shown))
    }

    fn whiteout(&self, parent: &OwnedFd, name: &OsStr, shown: &str) -> Result<(), Error> {
        let bytes = name.as_bytes();
        if bytes == OPAQUE {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let dir =
                rustix::fs::openat(parent, ".", flags, Mode::empty()).map_err(Error::at(shown))?;
            return rustix::fs::fsetxattr(
                &dir,
                "trusted.overlay.opaque",
                b"y",
                XattrFlags::empty(),
            )
            .map_err(Error::at(shown));
        }
        if bytes.starts_with(AUFS) {
            return Ok(());
        }
        let hidden = OsStr::from_bytes(&bytes[WHITEOUT.len()..]);
        if hidden.is_empty() || hidden == "." || hidden == ".." {
            return Err(Error::Entry {
                path: shown.to_owned(),
                reason: "not a whiteout".into(),
            });
        }
        match rustix::fs::mknodat(parent, hidden, FileType::CharacterDevice, Mode::empty(), 0) {
            // This layer has a file of that name: it hides the lower one by itself.
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(Error::at(shown)(error)),
        }
    }

    fn finish(self) -> Result<Applied, Error> {
        for (path, metadata) in &self.directories {
            let shown = path.to_string_lossy();
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let dir = match sys::rooted::open(self.root, path, flags, Mode::empty()) {
                Ok(dir) => dir,
                // Replaced by a later entry.
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                Err(error) => return Err(Error::at(&shown)(error)),
            };
            if path.as_os_str().is_empty() {
                metadata.set(dir.as_fd(), OsStr::new("."), false, "/")?;
            } else {
                metadata.set_times(dir.as_fd(), OsStr::new("."), &shown)?;
            }
        }
        Ok(self.done)
    }
}

/// Removes `name` below `parent` with everything in it, following nothing.
fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
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
                remove_tree(dir.as_fd(), OsStr::from_bytes(child.to_bytes()))?;
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
    let header = entry.header();
    let number = |n: std::io::Result<Option<u32>>| {
        n.map(Option::unwrap_or_default).map_err(Error::Malformed)
    };
    let (file_type, device) = match kind {
        EntryType::Fifo => (FileType::Fifo, 0),
        _ => {
            let device = rustix::fs::makedev(
                number(header.device_major())?,
                number(header.device_minor())?,
            );
            let block = kind == EntryType::Block;
            (
                if block {
                    FileType::BlockDevice
                } else {
                    FileType::CharacterDevice
                },
                device,
            )
        }
    };
    rustix::fs::mknodat(parent, name, file_type, Mode::from_raw_mode(0o600), device)
        .map_err(Error::at(shown))
}

fn link_name<R: Read>(entry: &tar::Entry<'_, R>, shown: &str) -> Result<PathBuf, Error> {
    match entry.link_name_bytes() {
        Some(name) if !name.is_empty() && name.len() < LONGEST_PATH => {
            Ok(Path::new(OsStr::from_bytes(&name)).to_path_buf())
        }
        _ => Err(Error::Entry {
            path: shown.to_owned(),
            reason: "a link without a target".into(),
        }),
    }
}

/// The path relative to the root: leading slashes and `.` are dropped, `..` is refused.
fn inside(bytes: &[u8]) -> Result<PathBuf, Error> {
    let shown = || String::from_utf8_lossy(bytes).into_owned();
    if bytes.len() >= LONGEST_PATH || bytes.contains(&0) {
        let reason = "not a path".to_owned();
        return Err(Error::Entry {
            path: shown(),
            reason,
        });
    }
    let mut path = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(bytes)).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => return Err(Error::Escape(shown())),
            _ => {}
        }
    }
    Ok(path)
}

/// `1700000000.123456789`.
fn pax_time(text: &str) -> Option<(i64, i64)> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    Some((seconds.parse().ok()?, digits.parse().ok()?))
}

#[cfg(test)]
mod tests;
