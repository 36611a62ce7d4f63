//! Packing: a directory tree into an archive, by confined descriptors.

use std::collections::HashMap;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::Error;

/// What is to be packed.
#[derive(Debug, Clone, Default)]
pub struct Pack {
    /// Path below the root; empty packs the root.
    pub path: PathBuf,
    /// Name of the first entry in the archive; empty gives the children of a directory names
    /// relative to it.
    pub rename: PathBuf,
    /// Paths below the root that are left out, with all below them.
    pub skip: Vec<PathBuf>,
}

/// Writes a tar of what `pack` says. Sockets are left out, as tar does.
///
/// # Errors
/// When a file cannot be read or the writer fails.
pub fn pack<W: Write>(root: BorrowedFd<'_>, pack: &Pack, writer: W) -> Result<W, Error> {
    let shown = pack.path.to_string_lossy().into_owned();
    let (parent, name) = match (pack.path.parent(), pack.path.file_name()) {
        (Some(parent), Some(name)) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let parent =
                sys::rooted::open(root, parent, flags, Mode::empty()).map_err(Error::at(&shown))?;
            (parent, name.to_os_string())
        }
        _ => (
            root.try_clone_to_owned().map_err(Error::at(&shown))?,
            ".".into(),
        ),
    };
    let mut builder = tar::Builder::new(writer);
    builder.mode(tar::HeaderMode::Complete);
    let mut packer = Packer {
        builder,
        links: HashMap::new(),
        skip: &pack.skip,
    };
    packer.add(parent.as_fd(), Path::new(&name), &pack.rename, &pack.path)?;
    packer.builder.into_inner().map_err(Error::Malformed)
}

struct Packer<'a, W: Write> {
    builder: tar::Builder<W>,
    /// Device and inode of files with several links → their first name.
    links: HashMap<(u64, u64), PathBuf>,
    skip: &'a [PathBuf],
}

impl<W: Write> Packer<'_, W> {
    fn add(
        &mut self,
        parent: BorrowedFd<'_>,
        file: &Path,
        name: &Path,
        source: &Path,
    ) -> Result<(), Error> {
        let shown = source.to_string_lossy().into_owned();
        if self.skip.iter().any(|skipped| skipped == source) {
            return Ok(());
        }
        let facts = rustix::fs::statat(parent, file, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(Error::at(&shown))?;
        let kind = FileType::from_raw_mode(facts.st_mode);
        match kind {
            FileType::Socket | FileType::Unknown => Ok(()),
            FileType::Directory => self.directory(parent, file, name, source, &facts),
            FileType::RegularFile => self.regular(parent, file, name, &facts, &shown),
            FileType::Symlink => {
                let target =
                    rustix::fs::readlinkat(parent, file, Vec::new()).map_err(Error::at(&shown))?;
                let header = header(&facts, tar::EntryType::Symlink);
                self.link(header, name, target.to_bytes())
            }
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo => {
                let entry = match kind {
                    FileType::CharacterDevice => tar::EntryType::Char,
                    FileType::BlockDevice => tar::EntryType::Block,
                    _ => tar::EntryType::Fifo,
                };
                let mut header = header(&facts, entry);
                header.set_size(0);
                let (major, minor) = (
                    rustix::fs::major(facts.st_rdev),
                    rustix::fs::minor(facts.st_rdev),
                );
                header.set_device_major(major).map_err(Error::Malformed)?;
                header.set_device_minor(minor).map_err(Error::Malformed)?;
                self.builder
                    .append_data(&mut header, name, std::io::empty())
                    .map_err(Error::Malformed)
            }
        }
    }

    fn directory(
        &mut self,
        parent: BorrowedFd<'_>,
        file: &Path,
        name: &Path,
        source: &Path,
        facts: &Stat,
    ) -> Result<(), Error> {
        let shown = source.to_string_lossy().into_owned();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir =
            rustix::fs::openat(parent, file, flags, Mode::empty()).map_err(Error::at(&shown))?;
        if !name.as_os_str().is_empty() {
            self.attributes(&dir, &shown)?;
            let mut header = header(facts, tar::EntryType::Directory);
            header.set_size(0);
            // tar(1) and Go mark directories by a trailing slash.
            let mut slashed = name.as_os_str().to_os_string();
            slashed.push("/");
            self.builder
                .append_data(&mut header, Path::new(&slashed), std::io::empty())
                .map_err(Error::Malformed)?;
        }
        let mut children = Vec::new();
        for entry in Dir::read_from(&dir).map_err(Error::at(&shown))? {
            let entry = entry.map_err(Error::at(&shown))?;
            let child = entry.file_name();
            if child != c"." && child != c".." {
                children.push(std::ffi::OsStr::from_bytes(child.to_bytes()).to_os_string());
            }
        }
        // The same tree makes the same archive.
        children.sort();
        for child in children {
            let below = Path::new(&child);
            match self.add(dir.as_fd(), below, &name.join(below), &source.join(below)) {
                // It went away while we were packing.
                Err(Error::Write { source, .. })
                    if source.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn regular(
        &mut self,
        parent: BorrowedFd<'_>,
        file: &Path,
        name: &Path,
        facts: &Stat,
        shown: &str,
    ) -> Result<(), Error> {
        if facts.st_nlink > 1 {
            let key = (facts.st_dev, facts.st_ino);
            if let Some(first) = self.links.get(&key) {
                let header = header(facts, tar::EntryType::Link);
                let first = first.clone().into_os_string();
                return self.link(header, name, first.as_bytes());
            }
            self.links.insert(key, name.to_path_buf());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd =
            rustix::fs::openat(parent, file, flags, Mode::empty()).map_err(Error::at(shown))?;
        self.attributes(&fd, shown)?;
        let size = u64::try_from(facts.st_size).unwrap_or(0);
        let mut header = header(facts, tar::EntryType::Regular);
        header.set_size(size);
        // A file that shrinks or grows meanwhile must not break the archive.
        let content = std::io::Read::chain(std::fs::File::from(fd), std::io::repeat(0));
        let content = std::io::Read::take(content, size);
        self.builder
            .append_data(&mut header, name, content)
            .map_err(Error::Malformed)
    }

    /// A link whose target is kept to the byte: it means what it says, dots and slashes included.
    fn link(&mut self, mut header: tar::Header, name: &Path, target: &[u8]) -> Result<(), Error> {
        header.set_size(0);
        if header.set_link_name_literal(target).is_err() {
            self.builder
                .append_pax_extensions([("linkpath", target)])
                .map_err(Error::Malformed)?;
        }
        self.builder
            .append_data(&mut header, name, std::io::empty())
            .map_err(Error::Malformed)
    }

    /// Extended attributes as PAX records before the entry.
    fn attributes(&mut self, file: &OwnedFd, shown: &str) -> Result<(), Error> {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let mut names = vec![0u8; 64 << 10];
        let length = match rustix::fs::listxattr(path.as_str(), names.as_mut_slice()) {
            Ok(0) | Err(Errno::NOTSUP) => return Ok(()),
            Ok(length) => length,
            Err(error) => return Err(Error::at(shown)(error)),
        };
        let mut found: Vec<(String, Vec<u8>)> = Vec::new();
        for name in names[..length].split(|byte| *byte == 0) {
            let Ok(name) = std::str::from_utf8(name) else {
                continue;
            };
            let wanted = name == "security.capability" || name.starts_with("user.");
            if !wanted {
                continue;
            }
            let mut value = vec![0u8; 64 << 10];
            if let Ok(length) = rustix::fs::getxattr(path.as_str(), name, value.as_mut_slice()) {
                value.truncate(length);
                found.push((format!("SCHILY.xattr.{name}"), value));
            }
        }
        let records = found
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_slice()));
        if found.is_empty() {
            return Ok(());
        }
        self.builder
            .append_pax_extensions(records)
            .map_err(Error::Malformed)
    }
}

fn header(facts: &Stat, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(facts.st_mode & 0o7777);
    header.set_uid(facts.st_uid.into());
    header.set_gid(facts.st_gid.into());
    header.set_mtime(u64::try_from(facts.st_mtime).unwrap_or(0));
    header
}
