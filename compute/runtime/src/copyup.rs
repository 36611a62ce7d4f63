//! `tmpcopyup`: a tmpfs that begins as a copy of the directory it covers.
//!
//! Works on descriptors only and follows no link, so what the image has there cannot lead the
//! copy out of it. Owners, modes, times and attributes are kept; what was hard-linked becomes
//! several files, as in runc.

use std::collections::VecDeque;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use sys::Errno;

/// Copies everything in `from` to `to`; both are directories, `to` empty.
pub(crate) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> sys::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |fd: BorrowedFd<'_>| rustix::fs::openat(fd, ".", flags, Mode::empty());
    let mut queue = VecDeque::from([(open(from)?, open(to)?)]);
    // Directories get their times last: filling them changes these.
    let mut done = Vec::new();
    while let Some((from, to)) = queue.pop_front() {
        for entry in Dir::read_from(&from)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = rustix::fs::statat(&from, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let name = name.to_owned();
            if let Some(pair) = one(&from, &to, &name, &stat)? {
                queue.push_back(pair);
            }
        }
        done.push((from, to));
    }
    for (from, to) in done.iter().rev() {
        let stat = rustix::fs::fstat(from)?;
        rustix::fs::futimens(to, &times(&stat))?;
    }
    Ok(())
}

/// Copies one entry; a directory comes back open on both sides, to be gone through.
fn one(
    from: &OwnedFd,
    to: &OwnedFd,
    name: &CString,
    stat: &Stat,
) -> sys::Result<Option<(OwnedFd, OwnedFd)>> {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let mut deeper = None;
    match kind {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, mode)?;
            let read = read | OFlags::DIRECTORY;
            let source = rustix::fs::openat(from, name, read, Mode::empty())?;
            let copy = rustix::fs::openat(to, name, read, Mode::empty())?;
            attributes(source.as_fd(), copy.as_fd())?;
            deeper = Some((source, copy));
        }
        FileType::RegularFile => {
            let source = rustix::fs::openat(from, name, read, Mode::empty())?;
            let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let copy = rustix::fs::openat(to, name, write, mode)?;
            bytes(&source, &copy)?;
            attributes(source.as_fd(), copy.as_fd())?;
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(target, to, name)?;
        }
        // Sockets are nothing without who made them, but their names are kept, as nodes.
        other => rustix::fs::mknodat(to, name, other, mode, stat.st_rdev)?,
    }
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if kind != FileType::Symlink {
        // After the owner: changing that takes set-user-ID bits away.
        rustix::fs::chmodat(to, name, mode, AtFlags::empty())?;
    }
    rustix::fs::utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(deeper)
}

fn bytes(from: &OwnedFd, to: &OwnedFd) -> sys::Result<()> {
    let mut chunk = vec![0u8; 64 * 1024];
    loop {
        let n = match rustix::io::read(from, &mut chunk[..]) {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(Errno::INTR) => continue,
            Err(e) => return Err(e),
        };
        let mut rest = chunk.get(..n).unwrap_or_default();
        while !rest.is_empty() {
            let written = rustix::io::write(to, rest)?;
            rest = rest.get(written..).unwrap_or_default();
        }
    }
}

/// Extended attributes; those that a tmpfs does not take are left out.
fn attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> sys::Result<()> {
    let mut names = vec![0u8; 64 * 1024];
    let n = match rustix::fs::flistxattr(from, &mut names[..]) {
        Ok(n) => n,
        Err(Errno::NOTSUP) => return Ok(()),
        Err(e) => return Err(e),
    };
    let names = names.get(..n).unwrap_or_default();
    for name in names.split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let mut value = vec![0u8; 64 * 1024];
        let n = rustix::fs::fgetxattr(from, name, &mut value[..])?;
        let value = value.get(..n).unwrap_or_default();
        match rustix::fs::fsetxattr(to, name, value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::NOTSUP | Errno::PERM) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn times(stat: &Stat) -> Timestamps {
    let time = |sec: i64, nsec: u64| Timespec {
        tv_sec: sec,
        tv_nsec: nsec as i64,
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}
