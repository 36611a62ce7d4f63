//! Places to mount on, found and made without leaving the root.
//!
//! A place is a descriptor: what is mounted later is moved onto it, so that no path is followed
//! twice (CVE-2021-30465). The way there may lead over symbolic links of the image, but never into
//! a procfs: files of /proc are what the runtime and the container's programs trust, and a mount
//! over them redirects what is written there (CVE-2019-16884, CVE-2023-27561, CVE-2025-52881).

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use sys::Errno;
use sys::rooted::Made;

use crate::error::Context;
use crate::mounts::{Problem, Step, at};
use crate::{Error, Result};

/// Files below /proc that may be covered: lxcfs answers these for a container, and programs only
/// read them.
const COVERABLE: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// What is going to be mounted, as far as the place depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guest {
    /// A file, over a file.
    File,
    /// A directory or a file system, over a directory.
    Directory,
    /// A new procfs: it may cover /proc.
    Proc,
    /// The root of one, bound: it may cover /proc too.
    BoundProc,
    /// A sysfs.
    Sys,
}

/// The place for `path`, made when missing; and whether it was there.
pub(crate) fn open(root: BorrowedFd<'_>, path: &str, guest: Guest) -> Step<(OwnedFd, bool)> {
    let lexical = lexical(path);
    if lexical == Path::new("/") {
        return Err(Error::invalid("nothing can be mounted over the root itself").into());
    }
    lexically_allowed(&lexical, guest)?;
    let mut flags = OFlags::PATH;
    if guest != Guest::File {
        flags |= OFlags::DIRECTORY;
    }
    match sys::rooted::open_with(root, &lexical, flags, Mode::empty(), STRAIGHT) {
        Ok(fd) => Ok((fd, true)),
        Err(Errno::NOENT) => {
            // No link is on the way as far as it goes, and nothing after that.
            let made = match guest {
                Guest::File => Made::File,
                _ => Made::Directory,
            };
            let fd = sys::rooted::make(root, &lexical, made, MODE, STRAIGHT);
            Ok((at("create mountpoint", fd)?, false))
        }
        // /proc and /sys are protected by path later on: no link may stand in for them.
        Err(Errno::LOOP | Errno::NOTDIR)
            if matches!(guest, Guest::Proc | Guest::Sys) || lexical == Path::new("/proc") =>
        {
            let kind = if guest == Guest::Sys { "sysfs" } else { "proc" };
            Err(Error::invalid(format!(
                "filesystem {kind:?} must be mounted on ordinary directory"
            ))
            .into())
        }
        Err(Errno::LOOP) => over_links(root, Path::new(path), flags, guest),
        Err(e) => Err(Problem::Errno("open mountpoint", e)),
    }
}

const STRAIGHT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_SYMLINKS);
const MODE: Mode = Mode::from_raw_mode(0o755);

/// The links are read first, also those that lead to nothing yet (an image's /etc/resolv.conf
/// often does); then the place they name is opened or made without following any.
fn over_links(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    guest: Guest,
) -> Step<(OwnedFd, bool)> {
    let path = at("open mountpoint", expand(root, path))?;
    let opened = sys::rooted::open_with(root, &path, flags, Mode::empty(), STRAIGHT);
    let (fd, existed) = match opened {
        Ok(fd) => (fd, true),
        Err(Errno::NOENT) => {
            let made = match guest {
                Guest::File => Made::File,
                _ => Made::Directory,
            };
            let fd = sys::rooted::make(root, &path, made, MODE, STRAIGHT);
            (at("create mountpoint", fd)?, false)
        }
        Err(e) => return Err(Problem::Errno("open mountpoint", e)),
    };
    if at("statfs", crate::procfs::is_procfs(fd.as_fd()))? {
        let path = path.display();
        return Err(Error::invalid(format!("{path} leads into /proc")).into());
    }
    Ok((fd, existed))
}

/// As many links as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// The path with all its links replaced by what they say, as seen from inside the root.
fn expand(root: BorrowedFd<'_>, path: &Path) -> sys::Result<PathBuf> {
    let mut todo: VecDeque<OsString> = parts(path);
    let (mut done, mut links, mut missing) = (PathBuf::from("/"), 0, false);
    while let Some(part) = todo.pop_front() {
        match part.as_bytes() {
            b"/" => {
                done = PathBuf::from("/");
                continue;
            }
            b"." => continue,
            b".." => {
                done.pop();
                continue;
            }
            _ => done.push(&part),
        }
        if missing {
            continue;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let fd = match sys::rooted::open_with(root, &done, flags, Mode::empty(), STRAIGHT) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => {
                missing = true;
                continue;
            }
            Err(e) => return Err(e),
        };
        let stat = rustix::fs::fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(Errno::LOOP);
        }
        let says = rustix::fs::readlinkat(&fd, "", Vec::new())?;
        done.pop();
        let mut says = parts(Path::new(OsStr::from_bytes(says.as_bytes())));
        says.append(&mut todo);
        todo = says;
    }
    Ok(done)
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .map(|part| part.as_os_str().to_owned())
        .collect()
}

/// The place for `tree` in a container that runs, found, made and refused as those of its
/// specification are. The caller is in the container's mount namespace, and `root` is its root.
pub fn place(root: BorrowedFd<'_>, path: &str, tree: &OwnedFd) -> Result<OwnedFd> {
    let opened = guest_of(tree).and_then(|guest| open(root, path, guest));
    opened.map(|(place, _)| place).map_err(Problem::alone)
}

/// Where [`place`] finds a path: the same without links.
pub fn place_of(root: BorrowedFd<'_>, path: &str) -> Result<PathBuf> {
    expand(root, Path::new(path)).context(|| "open mountpoint")
}

/// The topmost mount at a path that must be there, for changing it.
pub(crate) fn existing(root: BorrowedFd<'_>, path: &str) -> Step<OwnedFd> {
    let path = Path::new(path);
    let opened = sys::rooted::open(root, path, OFlags::PATH, Mode::empty());
    at("open mountpoint", opened)
}

/// By name alone, which is enough where no link is on the way.
fn lexically_allowed(path: &Path, guest: Guest) -> Step<()> {
    if !path.starts_with("/proc") || COVERABLE.iter().any(|c| path == Path::new(c)) {
        return Ok(());
    }
    match (path == Path::new("/proc"), guest) {
        (true, Guest::Proc | Guest::BoundProc) => Ok(()),
        (true, _) => Err(Error::invalid("only a procfs can be mounted at /proc").into()),
        (false, _) => Err(Error::invalid("it is inside /proc").into()),
    }
}

/// The path as it reads, absolute, without `.` and `..`. A relative destination is meant from the
/// root (config.md#mounts).
fn lexical(path: &str) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    out
}

/// What a bound tree is.
pub(crate) fn guest_of(tree: &OwnedFd) -> Step<Guest> {
    let stat = at("stat", rustix::fs::fstat(tree))?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        // Only the root of a procfs has this number (PROC_ROOT_INO in linux/proc_ns.h).
        FileType::Directory if stat.st_ino == crate::procfs::ROOT_INODE => {
            match at("statfs", crate::procfs::is_procfs(tree.as_fd()))? {
                true => Guest::BoundProc,
                false => Guest::Directory,
            }
        }
        FileType::Directory => Guest::Directory,
        _ => Guest::File,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(lexical("a/../b/./c//"), Path::new("/b/c"));
        assert_eq!(lexical("/../.."), Path::new("/"));
        let allowed = |path: &str, guest| lexically_allowed(&lexical(path), guest).is_ok();
        assert!(allowed("/proc", Guest::Proc) && !allowed("/proc", Guest::Directory));
        assert!(!allowed("/sys/../proc/self/attr", Guest::File));
        assert!(allowed("/proc/uptime", Guest::File) && allowed("/process", Guest::File));
        assert!(!allowed("/proc/sys", Guest::Proc));
    }
}
