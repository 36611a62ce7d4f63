//! Writes a tar of a part of a container.

use std::collections::HashMap;
use std::ffi::{CStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, Stat, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use tar::{Builder, EntryType, Header};

use super::view::View;

/// What is at `logical`, under the name `base`: a directory with everything below.
pub(super) fn tree(
    view: &View,
    logical: &[OsString],
    base: &[u8],
    out: &mut dyn Write,
) -> io::Result<()> {
    // Of the root, names begin with the slash that is its name.
    let base = if base == b"/" { b"" } else { base };
    let mut packer = Packer::new(view, out, false);
    packer.any(logical, base)?;
    packer.finish()
}

/// The root file system, without what is mounted in it.
pub(super) fn whole(view: &View, out: &mut dyn Write) -> io::Result<()> {
    let mut packer = Packer::new(view, out, true);
    let root = view.open(&[], OFlags::RDONLY | OFlags::DIRECTORY)?;
    packer.children(root, &mut Vec::new(), b"")?;
    packer.finish()
}

struct Packer<'a> {
    view: &'a View,
    tar: Builder<&'a mut dyn Write>,
    /// First name of files with several, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// Mounts are shown as the empty place they are on.
    one_file_system: bool,
}

impl<'a> Packer<'a> {
    fn new(view: &'a View, out: &'a mut dyn Write, one_file_system: bool) -> Self {
        Self {
            view,
            tar: Builder::new(out),
            links: HashMap::new(),
            one_file_system,
        }
    }

    fn finish(mut self) -> io::Result<()> {
        self.tar.finish()
    }

    /// One object and what is below it.
    fn any(&mut self, logical: &[OsString], name: &[u8]) -> io::Result<()> {
        let object = self.view.open(logical, OFlags::PATH | OFlags::NOFOLLOW)?;
        let stat = fs::fstat(&object)?;
        let mut logical = logical.to_vec();
        self.object(&object, &stat, &mut logical, name)
    }

    fn children(
        &mut self,
        directory: OwnedFd,
        logical: &mut Vec<OsString>,
        name: &[u8],
    ) -> io::Result<()> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        names.sort();
        for child in names {
            logical.push(OsString::from_vec(child.as_bytes().to_vec()));
            let done = self.child(directory.as_fd(), &child, logical, name);
            logical.pop();
            match done {
                // It was removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done?,
            }
        }
        Ok(())
    }

    fn child(
        &mut self,
        directory: BorrowedFd<'_>,
        child: &CStr,
        logical: &mut Vec<OsString>,
        parent: &[u8],
    ) -> io::Result<()> {
        let object = if self.view.is_mount(logical) {
            self.view.open(logical, OFlags::PATH | OFlags::NOFOLLOW)?
        } else {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            fs::openat(directory, child, flags, Mode::empty())?
        };
        let stat = fs::fstat(&object)?;
        let mut name = parent.to_vec();
        if !name.is_empty() || !self.one_file_system {
            name.push(b'/');
        }
        name.extend(child.to_bytes());
        self.object(&object, &stat, logical, &name)
    }

    fn object(
        &mut self,
        object: &OwnedFd,
        stat: &Stat,
        logical: &mut Vec<OsString>,
        name: &[u8],
    ) -> io::Result<()> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mounted = self.one_file_system && is_mount_root(object)?;
        let mut header = header(stat);
        if kind != FileType::Directory && stat.st_nlink > 1 && !mounted {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                header.set_entry_type(EntryType::Link);
                let first = first.clone();
                return self.append(header, name, Some(&first), &[], io::empty());
            }
            self.links.insert((stat.st_dev, stat.st_ino), name.to_vec());
        }
        match kind {
            FileType::Directory => {
                let mut with_slash = name.to_vec();
                with_slash.push(b'/');
                header.set_entry_type(EntryType::Directory);
                self.append(header, &with_slash, None, &capability(object)?, io::empty())?;
                if mounted {
                    return Ok(());
                }
                let directory = reopen(object, OFlags::RDONLY | OFlags::DIRECTORY)?;
                self.children(directory, logical, name)
            }
            FileType::RegularFile => {
                header.set_entry_type(EntryType::Regular);
                if mounted {
                    return self.append(header, name, None, &[], io::empty());
                }
                let capability = capability(object)?;
                let size = u64::try_from(stat.st_size).unwrap_or_default();
                header.set_size(size);
                let file = File::from(reopen(object, OFlags::RDONLY)?);
                // A file that shrinks while it is read is filled up: the size is already said.
                let content = file.take(size).chain(io::repeat(0)).take(size);
                self.append(header, name, None, &capability, content)
            }
            FileType::Symlink => {
                header.set_entry_type(EntryType::Symlink);
                let target = fs::readlinkat(object, c"", Vec::new())?;
                self.append(header, name, Some(target.as_bytes()), &[], io::empty())
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                header.set_entry_type(match kind {
                    FileType::BlockDevice => EntryType::Block,
                    _ => EntryType::Char,
                });
                header.set_device_major(fs::major(stat.st_rdev))?;
                header.set_device_minor(fs::minor(stat.st_rdev))?;
                self.append(header, name, None, &[], io::empty())
            }
            FileType::Fifo => {
                header.set_entry_type(EntryType::Fifo);
                self.append(header, name, None, &[], io::empty())
            }
            // A socket is nothing without its process.
            _ => Ok(()),
        }
    }

    /// Writes one entry; what does not fit in a header goes in front as pax records.
    fn append(
        &mut self,
        mut header: Header,
        name: &[u8],
        link: Option<&[u8]>,
        capability: &[u8],
        content: impl Read,
    ) -> io::Result<()> {
        let mut records: Vec<(&str, &[u8])> = Vec::new();
        let ustar = header.as_ustar_mut().ok_or(io::ErrorKind::InvalidInput)?;
        if !fit(name, &mut ustar.name) {
            records.push(("path", name));
        }
        if let Some(link) = link
            && !fit(link, &mut ustar.linkname)
        {
            records.push(("linkpath", link));
        }
        if !capability.is_empty() {
            records.push(("SCHILY.xattr.security.capability", capability));
        }
        if !records.is_empty() {
            self.tar.append_pax_extensions(records)?;
        }
        header.set_cksum();
        self.tar.append(&header, content)
    }
}

/// Puts a text into a fixed field; false when it was cut, or is not plain ASCII.
fn fit(text: &[u8], field: &mut [u8]) -> bool {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
    length == text.len() && text.is_ascii()
}

fn header(stat: &Stat) -> Header {
    let mut header = Header::new_ustar();
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or_default());
    header.set_size(0);
    header
}

/// File capabilities; nothing for files without.
fn capability(object: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut value = [0; 64];
    let path = format!("/proc/self/fd/{}", object.as_raw_fd());
    match fs::getxattr(path, c"security.capability", &mut value) {
        Ok(length) => Ok(value[..length].to_vec()),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// A descriptor for reading of what was opened by path. It is this very object, no name is looked
/// up again.
fn reopen(object: &OwnedFd, flags: OFlags) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", object.as_raw_fd());
    Ok(fs::open(
        path,
        flags | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
    )?)
}

fn is_mount_root(object: &OwnedFd) -> io::Result<bool> {
    let stat = fs::statx(object, c"", AtFlags::EMPTY_PATH, StatxFlags::empty())?;
    Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}
