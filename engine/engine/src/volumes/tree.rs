//! Copies a directory with everything in it: owners, modes, times, extended attributes, hard
//! links, devices.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    self, AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::userns::IdMaps;

/// Copies the content of `from` into the empty directory `to`, which gets `from`'s own attributes.
///
/// How deep the tree is is somebody else's choice: of the directories on the way only the lowest is
/// open, the others are names.
///
/// Owners are as `ids` maps them to the host; one without a place there is refused.
pub(super) fn copy(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    ids: Option<&IdMaps>,
) -> io::Result<()> {
    let stat = fs::fstat(from)?;
    let mut copier = Copier {
        roots: (from, to),
        ids,
        path: Vec::new(),
        links: HashMap::new(),
    };
    copier.tree()?;
    copier.attributes(from, c".", to, c".", &stat)
}

/// A directory, and its copy.
type Pair = (OwnedFd, OwnedFd);

struct Copier<'a> {
    roots: (BorrowedFd<'a>, BorrowedFd<'a>),
    ids: Option<&'a IdMaps>,
    /// Where we are, below both roots.
    path: Vec<u8>,
    /// First path of files with several names, by device and inode.
    links: HashMap<(u64, u64), CString>,
}

/// A directory on the way: what is still to come of it, and the length of its path.
struct Level {
    children: std::vec::IntoIter<CString>,
    path: usize,
    /// What it is called, and its attributes, which are set last. Of the root there are none.
    own: Option<(CString, Stat)>,
}

impl Copier<'_> {
    fn tree(&mut self) -> io::Result<()> {
        let mut here = self.open()?;
        let mut way = vec![self.level(&here, None)?];
        while let Some(level) = way.last_mut() {
            if let Some(name) = level.children.next() {
                let length = level.path;
                if length > 0 {
                    self.path.push(b'/');
                }
                self.path.extend(name.to_bytes());
                match self.entry(&here, &name)? {
                    Some(stat) => {
                        here = (
                            open_directory(here.0.as_fd(), &name)?,
                            open_directory(here.1.as_fd(), &name)?,
                        );
                        way.push(self.level(&here, Some((name, stat)))?);
                    }
                    None => self.path.truncate(length),
                }
                continue;
            }
            let done = way.pop().and_then(|level| level.own);
            if let (Some((name, stat)), Some(above)) = (done, way.last()) {
                self.path.truncate(above.path);
                here = self.open()?;
                self.attributes(here.0.as_fd(), &name, here.1.as_fd(), &name, &stat)?;
            }
        }
        Ok(())
    }

    /// Where we are. Too long a path is refused here, by the kernel.
    fn open(&self) -> io::Result<Pair> {
        let path = Path::new(OsStr::from_bytes(&self.path));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let open = |root| sys::rooted::open(root, path, flags, Mode::empty());
        Ok((open(self.roots.0)?, open(self.roots.1)?))
    }

    fn level(&self, here: &Pair, own: Option<(CString, Stat)>) -> io::Result<Level> {
        let mut children = Vec::new();
        for entry in Dir::read_from(&here.0)? {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                children.push(entry.file_name().to_owned());
            }
        }
        Ok(Level {
            children: children.into_iter(),
            path: self.path.len(),
            own,
        })
    }

    /// Copies one entry. Of a directory, which is only made, answers what it is like.
    fn entry(&mut self, here: &Pair, name: &CStr) -> io::Result<Option<Stat>> {
        let (from, to) = (here.0.as_fd(), here.1.as_fd());
        let stat = fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory && stat.st_nlink > 1 {
            let path = CString::new(self.path.clone())?;
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                fs::linkat(self.roots.1, first, to, name, AtFlags::empty())?;
                return Ok(None);
            }
            self.links.insert((stat.st_dev, stat.st_ino), path);
        }
        match kind {
            FileType::Directory => {
                fs::mkdirat(to, name, Mode::RWXU)?;
                return Ok(Some(stat));
            }
            FileType::RegularFile => file(from, to, name)?,
            FileType::Symlink => {
                fs::symlinkat(&*fs::readlinkat(from, name, Vec::new())?, to, name)?;
            }
            FileType::Socket => return Ok(None),
            kind => fs::mknodat(to, name, kind, Mode::RUSR, stat.st_rdev)?,
        }
        self.attributes(from, name, to, name, &stat)?;
        Ok(None)
    }

    /// Owner before mode (chown clears set-id bits), times last.
    fn attributes(
        &self,
        from: BorrowedFd<'_>,
        from_name: &CStr,
        to: BorrowedFd<'_>,
        to_name: &CStr,
        stat: &Stat,
    ) -> io::Result<()> {
        let owner = match self.ids {
            None => Some((stat.st_uid, stat.st_gid)),
            Some(ids) => ids.to_host(stat.st_uid, stat.st_gid),
        };
        let (uid, gid) = owner.ok_or(Errno::OVERFLOW)?;
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        fs::chownat(to, to_name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            fs::chmodat(
                to,
                to_name,
                Mode::from_raw_mode(stat.st_mode),
                AtFlags::empty(),
            )?;
        }
        extended(from, from_name, to, to_name)?;
        let time = |seconds: i64, nanos: u64| fs::Timespec {
            tv_sec: seconds,
            tv_nsec: i64::try_from(nanos).unwrap_or_default(),
        };
        let times = Timestamps {
            last_access: time(stat.st_atime, stat.st_atime_nsec),
            last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
        };
        Ok(fs::utimensat(
            to,
            to_name,
            &times,
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }
}

fn open_directory(at: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(at, name, flags, Mode::empty())
}

fn file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = fs::openat(from, name, flags | OFlags::RDONLY, Mode::empty())?;
    let create = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let target = fs::openat(to, name, create, Mode::RUSR | Mode::WUSR)?;
    // copy_file_range where the kernel has it, read and write elsewhere.
    io::copy(&mut File::from(source), &mut File::from(target))?;
    Ok(())
}

fn extended(
    from: BorrowedFd<'_>,
    from_name: &CStr,
    to: BorrowedFd<'_>,
    to_name: &CStr,
) -> io::Result<()> {
    // There are no calls for extended attributes relative to a directory; this path leads through
    // the open directory and follows no link at its end.
    let at = |fd: BorrowedFd<'_>, name: &CStr| {
        let mut path = format!("/proc/self/fd/{}/", fd.as_raw_fd()).into_bytes();
        path.extend(name.to_bytes());
        CString::new(path)
    };
    let (source, target) = (at(from, from_name)?, at(to, to_name)?);
    let mut names = vec![0_u8; 64 << 10];
    let length = match fs::llistxattr(&source, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut value = vec![0_u8; 64 << 10];
    for name in names[..length].split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else {
            continue;
        };
        let read = fs::lgetxattr(&source, name, &mut value[..])?;
        match fs::lsetxattr(&target, name, &value[..read], XattrFlags::empty()) {
            // The file system of the volumes, or our rights, do not go that far.
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(Errno::PERM) if name.to_bytes().starts_with(b"trusted.") => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
