//! Packing: a directory tree into an archive, by confined descriptors.
//!
//! The form is that of docker's own archives: ustar headers, and PAX records for what does not fit.
//! How deep a tree is is somebody else's choice: of the directories on the way only the lowest is
//! open, the others are names. A path that the kernel would not take is refused.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::vec;

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, Stat, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use tar::{Builder, EntryType, Header};

use crate::Error;
use crate::decode::LONGEST_PATH;

/// What the kernel gives at most: XATTR_SIZE_MAX, and XATTR_LIST_MAX for all names.
const LARGEST_ATTRIBUTE: usize = 64 << 10;

/// What the names of removed files begin with in a layer.
const WHITEOUT: &[u8] = b".wh.";

/// A tree that is packed. Paths are relative to it, without dots.
pub trait Source {
    /// Opens what is at a path (`O_PATH`); a link at its end is not followed.
    ///
    /// # Errors
    /// When there is nothing.
    fn open(&self, path: &Path) -> io::Result<OwnedFd>;

    /// Whether something else is shown at this very path than what its directory has.
    fn is_mount(&self, path: &Path) -> bool;

    /// What the archive is to say of a file of this user and group.
    fn owner(&self, uid: u32, gid: u32) -> (u32, u32) {
        (uid, gid)
    }
}

/// A directory as if it were `/`.
impl Source for BorrowedFd<'_> {
    fn open(&self, path: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        Ok(sys::rooted::open(*self, path, flags, Mode::empty())?)
    }

    fn is_mount(&self, _: &Path) -> bool {
        false
    }
}

/// What is to be packed.
#[derive(Debug, Clone, Default)]
pub struct Pack {
    /// Path below the root; empty packs the root.
    pub path: PathBuf,
    /// Name of the first entry in the archive; empty gives the children of a directory names
    /// relative to it.
    pub name: OsString,
    /// Mounts in the tree are shown as the empty place they are on.
    pub one_file_system: bool,
    /// With the extended attributes that belong to users; else with file capabilities alone, as
    /// docker.
    pub user_attributes: bool,
    /// The tree is a writable directory of overlayfs; what that keeps for what was removed is
    /// written as a layer has it (image-spec, layer.md).
    pub layer: bool,
    /// Paths that get no entry; what is below them does.
    pub left_out: BTreeSet<PathBuf>,
}

/// Writes a tar of what `pack` says. Sockets are left out, as tar does: they are nothing without
/// their process.
///
/// # Errors
/// When a file cannot be read or the writer fails.
pub fn pack<W: Write>(source: &dyn Source, pack: &Pack, writer: W) -> Result<W, Error> {
    let mut packer = Packer {
        source,
        pack,
        tar: Builder::new(writer),
        links: HashMap::new(),
        path: pack.path.clone(),
        name: pack.name.clone().into_vec(),
        value: vec![0; LARGEST_ATTRIBUTE],
    };
    let done = packer.tree();
    let shown = packer.path.to_string_lossy().into_owned();
    done.and_then(|()| packer.tar.into_inner())
        .map_err(Error::at(&shown))
}

struct Packer<'a, W: Write> {
    source: &'a dyn Source,
    pack: &'a Pack,
    tar: Builder<W>,
    /// First name of files with several, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// Where we are in the tree, and in the archive.
    path: PathBuf,
    name: Vec<u8>,
    /// Room for the value of an attribute.
    value: Vec<u8>,
}

/// A directory on the way: what is still to come of it, and the length of its name.
struct Level {
    children: vec::IntoIter<OsString>,
    name: usize,
}

impl<W: Write> Packer<'_, W> {
    fn tree(&mut self) -> io::Result<()> {
        let object = self.source.open(&self.path)?;
        let Some(mut here) = self.entry(&object, false)? else {
            return Ok(());
        };
        let mut way = vec![self.level(&here)?];
        while let Some(level) = way.last_mut() {
            let Some(child) = level.children.next() else {
                way.pop();
                if let Some(above) = way.last_mut() {
                    self.path.pop();
                    self.name.truncate(above.name);
                    match self.source.open(&self.path) {
                        Ok(opened) => here = opened,
                        // It was removed meanwhile, with what was still to come.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {
                            above.children = Vec::new().into_iter();
                        }
                        Err(error) => return Err(error),
                    }
                }
                continue;
            };
            let name = level.name;
            match self.child(&here, child) {
                Ok(Some(below)) => {
                    way.push(self.level(&below)?);
                    here = below;
                    continue;
                }
                Ok(None) => {}
                // It, or the directory it is in, was removed or replaced meanwhile.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) => {}
                Err(error) => return Err(error),
            }
            self.path.pop();
            self.name.truncate(name);
        }
        Ok(())
    }

    /// Steps into a directory.
    fn level(&self, directory: &OwnedFd) -> io::Result<Level> {
        let mut children = Vec::new();
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let child = entry.file_name().to_bytes();
            if !matches!(child, b"." | b"..") {
                children.push(OsString::from_vec(child.to_vec()));
            }
        }
        // The same tree makes the same archive.
        children.sort();
        Ok(Level {
            children: children.into_iter(),
            name: self.name.len(),
        })
    }

    /// One entry of the directory `here`, from which on it is where we are.
    fn child(&mut self, here: &OwnedFd, child: OsString) -> io::Result<Option<OwnedFd>> {
        if !self.name.is_empty() && !self.name.ends_with(b"/") {
            self.name.push(b'/');
        }
        self.name.extend(child.as_bytes());
        self.path.push(&child);
        if self.path.as_os_str().len() >= LONGEST_PATH {
            return Err(Errno::NAMETOOLONG.into());
        }
        let object = if self.source.is_mount(&self.path) {
            self.source.open(&self.path)?
        } else {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            fs::openat(here, &child, flags, Mode::empty())?
        };
        let mounted = self.pack.one_file_system && is_mount_root(&object)?;
        self.entry(&object, mounted)
    }

    /// Writes one entry. Answers a directory that is to be stepped into.
    fn entry(&mut self, object: &OwnedFd, mounted: bool) -> io::Result<Option<OwnedFd>> {
        let mut stat = fs::fstat(object)?;
        (stat.st_uid, stat.st_gid) = self.source.owner(stat.st_uid, stat.st_gid);
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut header = header(&stat);
        let left_out = self.pack.left_out.contains(&self.path);
        if left_out && kind != FileType::Directory {
            return Ok(None);
        }
        if self.pack.layer && self.overlay(object, kind, stat.st_rdev)? {
            return Ok(None);
        }
        if kind != FileType::Directory && stat.st_nlink > 1 && !mounted {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)).cloned() {
                header.set_entry_type(EntryType::Link);
                self.append(header, Some(&first), &[], io::empty())?;
                return Ok(None);
            }
            let key = (stat.st_dev, stat.st_ino);
            self.links.insert(key, self.name.clone());
        }
        match kind {
            FileType::Directory => {
                if !self.name.is_empty() && !left_out {
                    header.set_entry_type(EntryType::Directory);
                    let attributes = self.attributes(object)?;
                    self.append(header, None, &attributes, io::empty())?;
                }
                if mounted {
                    return Ok(None);
                }
                if self.pack.layer && overlay_mark(object, "opaque")? == Some(b'y') {
                    self.whiteout(b".wh..opq")?;
                }
                return reopen(object, OFlags::RDONLY | OFlags::DIRECTORY).map(Some);
            }
            FileType::RegularFile => {
                header.set_entry_type(EntryType::Regular);
                if mounted {
                    self.append(header, None, &[], io::empty())?;
                    return Ok(None);
                }
                let attributes = self.attributes(object)?;
                let size = u64::try_from(stat.st_size).unwrap_or_default();
                header.set_size(size);
                let file = File::from(reopen(object, OFlags::RDONLY)?);
                // A file that shrinks while it is read is filled up: the size is already said.
                let content = file.take(size).chain(io::repeat(0)).take(size);
                self.append(header, None, &attributes, content)?;
            }
            FileType::Symlink => {
                header.set_entry_type(EntryType::Symlink);
                let target = fs::readlinkat(object, c"", Vec::new())?;
                self.append(header, Some(target.as_bytes()), &[], io::empty())?;
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                header.set_entry_type(match kind {
                    FileType::BlockDevice => EntryType::Block,
                    _ => EntryType::Char,
                });
                header.set_device_major(fs::major(stat.st_rdev))?;
                header.set_device_minor(fs::minor(stat.st_rdev))?;
                self.append(header, None, &[], io::empty())?;
            }
            FileType::Fifo => {
                header.set_entry_type(EntryType::Fifo);
                self.append(header, None, &[], io::empty())?;
            }
            FileType::Socket | FileType::Unknown => {}
        }
        Ok(None)
    }

    /// What is overlayfs's own. True: it was a whiteout, and is written.
    fn overlay(&mut self, object: &OwnedFd, kind: FileType, device: u64) -> io::Result<bool> {
        let name = self.path.file_name().unwrap_or_default().to_owned();
        if kind == FileType::CharacterDevice && device == 0 {
            let directory = self.name.len() - name.len();
            let whole = self.name.clone();
            self.name.truncate(directory);
            let written = self.whiteout(name.as_bytes());
            self.name = whole;
            return written.map(|()| true);
        }
        if name.as_bytes().starts_with(WHITEOUT) {
            return Err(io::Error::other(
                "in a layer, a file of this name would say that another is removed",
            ));
        }
        // They say that what is here is elsewhere in the layers below. Engines that commit mount
        // without them.
        let mark = match kind {
            FileType::Directory => "redirect",
            FileType::RegularFile => "metacopy",
            _ => return Ok(false),
        };
        match overlay_mark(object, mark)? {
            None => Ok(false),
            Some(_) => Err(io::Error::other(format!(
                "overlayfs keeps no files of its own here (trusted.overlay.{mark})"
            ))),
        }
    }

    /// Says in the directory where we are that `name` is removed. The same for the same tree,
    /// whenever it was removed.
    fn whiteout(&mut self, name: &[u8]) -> io::Result<()> {
        let length = self.name.len();
        if !self.name.is_empty() && !self.name.ends_with(b"/") {
            self.name.push(b'/');
        }
        self.name.extend(WHITEOUT);
        self.name.extend(name);
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        let written = self.append(header, None, &[], io::empty());
        self.name.truncate(length);
        written
    }

    /// Writes where we are as one entry; what does not fit in a header goes in front as PAX records.
    /// Links keep their target to the byte.
    fn append(
        &mut self,
        mut header: Header,
        link: Option<&[u8]>,
        attributes: &[(String, Vec<u8>)],
        content: impl Read,
    ) -> io::Result<()> {
        let mut name = self.name.as_slice();
        let slashed;
        // tar(1) and Go mark directories by a trailing slash.
        if header.entry_type().is_dir() && !name.ends_with(b"/") {
            slashed = [name, b"/"].concat();
            name = &slashed;
        }
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
        let attributes = attributes.iter();
        records.extend(attributes.map(|(key, value)| (key.as_str(), value.as_slice())));
        if !records.is_empty() {
            self.tar.append_pax_extensions(records)?;
        }
        header.set_cksum();
        self.tar.append(&header, content)
    }

    /// Extended attributes as PAX records.
    fn attributes(&mut self, object: &OwnedFd) -> io::Result<Vec<(String, Vec<u8>)>> {
        let path = format!("/proc/self/fd/{}", object.as_raw_fd());
        let mut names = b"security.capability".to_vec();
        if self.pack.user_attributes {
            names.resize(LARGEST_ATTRIBUTE, 0);
            let length = match fs::listxattr(path.as_str(), names.as_mut_slice()) {
                Ok(length) => length,
                Err(Errno::NOTSUP) => 0,
                Err(error) => return Err(error.into()),
            };
            names.truncate(length);
        }
        let mut found = Vec::new();
        for name in names.split(|byte| *byte == 0) {
            let Ok(name) = std::str::from_utf8(name) else {
                continue;
            };
            if name != "security.capability" && !name.starts_with("user.") {
                continue;
            }
            match fs::getxattr(path.as_str(), name, self.value.as_mut_slice()) {
                Ok(length) => {
                    let value = self.value[..length].to_vec();
                    found.push((format!("SCHILY.xattr.{name}"), value));
                }
                Err(Errno::NODATA | Errno::NOTSUP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }
}

/// The first byte of an attribute of overlayfs; 0 where it has none.
fn overlay_mark(object: &OwnedFd, name: &str) -> io::Result<Option<u8>> {
    let path = format!("/proc/self/fd/{}", object.as_raw_fd());
    let mut value = [0; 256];
    match fs::getxattr(path, format!("trusted.overlay.{name}"), &mut value) {
        Ok(_) => Ok(Some(value[0])),
        // Longer than what can be of interest.
        Err(Errno::RANGE) => Ok(Some(0)),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(error) => Err(error.into()),
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

/// A descriptor for reading of what was opened by path. It is this very object, no name is looked
/// up again.
fn reopen(object: &OwnedFd, flags: OFlags) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", object.as_raw_fd());
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(fs::open(path, flags, Mode::empty())?)
}

fn is_mount_root(object: &OwnedFd) -> io::Result<bool> {
    let stat = fs::statx(object, c"", AtFlags::EMPTY_PATH, StatxFlags::empty())?;
    Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}
