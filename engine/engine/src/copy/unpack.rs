//! Unpacks a client's tar into a directory of a container.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{
    self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};

use super::stream::Reader;
use super::view::{View, shown};
use crate::{Error, Result};

/// How to unpack.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Options {
    /// A directory stays a directory, anything else does not become one.
    pub(super) keep_kinds: bool,
    /// Owner of everything; else as the archive says.
    pub(super) owner: Option<(u32, u32)>,
}

/// Unpacks below `at`. Links that are there are followed inside the container, as for a process
/// in it.
pub(super) fn into(view: &View, at: &[OsString], options: &Options, body: Reader) -> Result<()> {
    let (_, plain) = archive::decompress(body).map_err(|error| match error {
        archive::Error::Malformed(error) => bad(error),
        other => Error::invalid(other.to_string()),
    })?;
    let mut archive = Archive::new(plain);
    let mut unpacker = Unpacker {
        view,
        at,
        options,
        parent: None,
        directories: Vec::new(),
    };
    for entry in archive.entries().map_err(bad)? {
        unpacker.entry(&mut entry.map_err(bad)?)?;
    }
    // The end of the archive is not the end of the stream: let the client finish.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(bad)?;
    unpacker
        .finish()
        .map_err(|error| Error::system(error.to_string()))
}

fn bad(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        // The client's own stream failed.
        Ok(error) => error,
        Err(error) => Error::invalid(format!("invalid archive: {error}")),
    }
}

struct Unpacker<'a> {
    view: &'a View,
    at: &'a [OsString],
    options: &'a Options,
    /// The directory of the last entry, kept open: archives are sorted by directory.
    parent: Option<(Vec<OsString>, OwnedFd)>,
    /// Their times are set last, when nothing changes in them any more.
    directories: Vec<(OwnedFd, i64)>,
}

/// Directories whose times are remembered; those beyond keep the time of unpacking.
const MAX_DIRECTORIES: usize = 512;

impl Unpacker<'_> {
    fn entry(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<()> {
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let raw = entry.path_bytes().into_owned();
        let names = below(&raw)?;
        let Some((name, directories)) = names.split_last() else {
            // `./`: the directory itself stays as it is.
            return Ok(());
        };
        let path = String::from_utf8_lossy(&raw).into_owned();
        let failed = |error: io::Error| match error.downcast::<Error>() {
            Ok(error) => error,
            Err(error) => Error::system(format!("{path}: {error}")),
        };
        let parent = self.parent(directories).map_err(failed)?;
        let is_directory = kind == EntryType::Directory;
        let kept = self.make_room(parent.as_fd(), name, &path, is_directory)?;
        self.make(parent.as_fd(), name, entry, kept).map_err(failed)
    }

    /// The directory that an entry goes into; made where it is missing.
    fn parent(&mut self, directories: &[OsString]) -> io::Result<OwnedFd> {
        if let Some((names, parent)) = &self.parent
            && names == directories
        {
            return parent.try_clone();
        }
        let mut path = shown(self.at);
        let mut logical = self.view.resolve(&path.to_string_lossy(), true)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let mut parent = self.view.open(&logical, flags)?;
        for name in directories {
            path = shown(&logical);
            path.push(name);
            // Links are followed by the view: inside the container, mounts included.
            let text = path.to_string_lossy().into_owned();
            logical = match self.view.resolve(&text, true) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::mkdirat(&parent, name.as_os_str(), Mode::from_raw_mode(0o755))?;
                    self.view.resolve(&text, true)?
                }
                found => found?,
            };
            parent = self.view.open(&logical, flags)?;
        }
        self.parent = Some((directories.to_vec(), parent.try_clone()?));
        Ok(parent)
    }

    /// Removes what is in the way; true when a directory is there that stays.
    fn make_room(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsString,
        path: &str,
        is_directory: bool,
    ) -> Result<bool> {
        let failed = |error: Errno| Error::system(format!("{path}: {error}"));
        let stat = match fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        let was_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let there = shown(self.at).join(path);
        match (was_directory, is_directory) {
            (true, true) => return Ok(true),
            (true, false) if self.options.keep_kinds => {
                return Err(Error::invalid(format!(
                    "cannot overwrite directory {there:?} with non-directory {path:?}"
                )));
            }
            (false, true) if self.options.keep_kinds => {
                return Err(Error::invalid(format!(
                    "cannot overwrite non-directory {there:?} with directory {path:?}"
                )));
            }
            (true, false) => {
                // What was remembered may be below it.
                self.parent = None;
                remove_tree(parent, name).map_err(|e| Error::system(format!("{path}: {e}")))?;
            }
            (false, _) => {
                fs::unlinkat(parent, name, AtFlags::empty()).map_err(failed)?;
            }
        }
        Ok(false)
    }

    fn make(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsString,
        entry: &mut Entry<'_, impl Read>,
        kept: bool,
    ) -> io::Result<()> {
        let header = entry.header().clone();
        match header.entry_type() {
            EntryType::Directory => {
                if !kept {
                    fs::mkdirat(parent, name, Mode::RWXU)?;
                }
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let file = fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?;
                io::copy(entry, &mut File::from(file))?;
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().ok_or(io::ErrorKind::InvalidData)?;
                fs::symlinkat(&*target, parent, name)?;
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().ok_or(io::ErrorKind::InvalidData)?;
                return self.link(parent, name, &target);
            }
            kind @ (EntryType::Char | EntryType::Block | EntryType::Fifo) => {
                let major = header.device_major()?.unwrap_or_default();
                let minor = header.device_minor()?.unwrap_or_default();
                let kind = match kind {
                    EntryType::Char => FileType::CharacterDevice,
                    EntryType::Block => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                fs::mknodat(parent, name, kind, Mode::RUSR, fs::makedev(major, minor))?;
            }
            kind => {
                return Err(io::Error::other(Error::invalid(format!(
                    "unhandled tar header type {}",
                    char::from(kind.as_byte())
                ))));
            }
        }
        self.attributes(parent, name, entry)
    }

    /// A hard link to what an earlier entry made, or was there.
    fn link(&self, parent: BorrowedFd<'_>, name: &OsString, target: &[u8]) -> io::Result<()> {
        let mut path = shown(self.at);
        path.extend(below(target).map_err(io::Error::other)?);
        let logical = self.view.resolve(&path.to_string_lossy(), false)?;
        let target = self.view.open(&logical, OFlags::PATH | OFlags::NOFOLLOW)?;
        let path = format!("/proc/self/fd/{}", target.as_raw_fd());
        Ok(fs::linkat(
            fs::CWD,
            path,
            parent,
            name,
            AtFlags::SYMLINK_FOLLOW,
        )?)
    }

    /// Owner before mode (chown clears set-id bits), times last.
    fn attributes(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsString,
        entry: &mut Entry<'_, impl Read>,
    ) -> io::Result<()> {
        let header = entry.header().clone();
        let number = |id: u64| u32::try_from(id).map_err(io::Error::other);
        let (uid, gid) = match self.options.owner {
            Some(owner) => owner,
            None => (number(header.uid()?)?, number(header.gid()?)?),
        };
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        fs::chownat(
            parent,
            name,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
        let kind = header.entry_type();
        if kind != EntryType::Symlink {
            let mode = Mode::from_raw_mode(header.mode()? & 0o7777);
            fs::chmodat(parent, name, mode, AtFlags::empty())?;
        }
        extended(parent, name, entry)?;
        let mtime = i64::try_from(header.mtime()?).unwrap_or_default();
        if kind == EntryType::Directory {
            if self.directories.len() < MAX_DIRECTORIES {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let directory = fs::openat(parent, name, flags, Mode::empty())?;
                self.directories.push((directory, mtime));
            }
            return Ok(());
        }
        Ok(fs::utimensat(
            parent,
            name,
            &times(mtime),
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    fn finish(self) -> io::Result<()> {
        for (directory, mtime) in self.directories {
            fs::futimens(&directory, &times(mtime))?;
        }
        Ok(())
    }
}

/// Extended attributes from pax records.
fn extended(
    parent: BorrowedFd<'_>,
    name: &OsString,
    entry: &mut Entry<'_, impl Read>,
) -> io::Result<()> {
    let Some(records) = entry.pax_extensions()? else {
        return Ok(());
    };
    let mut path = OsString::from(format!("/proc/self/fd/{}/", parent.as_raw_fd()));
    path.push(name);
    for record in records {
        let record = record?;
        let Some(key) = record
            .key()
            .ok()
            .and_then(|key| key.strip_prefix("SCHILY.xattr."))
        else {
            continue;
        };
        match fs::lsetxattr(&path, key, record.value_bytes(), XattrFlags::empty()) {
            // As docker does: what the file system does not keep is left out.
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(Errno::PERM) if key.starts_with("user.") => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Names of an entry's path, `..` taken back; those that leave the directory are refused.
fn below(raw: &[u8]) -> Result<Vec<OsString>> {
    let mut names: Vec<OsString> = Vec::new();
    for name in raw.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                if names.pop().is_none() {
                    let path = String::from_utf8_lossy(raw);
                    return Err(Error::invalid(format!(
                        "{path:?} is outside of the directory"
                    )));
                }
            }
            name => names.push(OsString::from_vec(name.to_vec())),
        }
    }
    Ok(names)
}

fn times(mtime: i64) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime,
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// Removes a directory with everything in it, by descriptors only.
fn remove_tree(parent: BorrowedFd<'_>, name: &OsString) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = fs::openat(parent, name, flags, Mode::empty())?;
    for entry in fs::Dir::read_from(&directory)? {
        let entry = entry?;
        let child = entry.file_name();
        if matches!(child.to_bytes(), b"." | b"..") {
            continue;
        }
        match fs::unlinkat(&directory, child, AtFlags::empty()) {
            Err(Errno::ISDIR) => {
                let child = OsString::from_vec(child.to_bytes().to_vec());
                remove_tree(directory.as_fd(), &child)?;
            }
            removed => removed?,
        }
    }
    Ok(fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}
