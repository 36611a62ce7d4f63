//! Paths that cannot leave a root directory, whatever symbolic links are in the way.

use std::ffi::OsStr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::{Errno, Result};

/// Opens `path` inside `root` as if `root` were `/`: absolute links and `..` stay inside. Magic
/// links of /proc are refused.
pub fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    open_with(
        root,
        path,
        flags,
        mode,
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
}

/// [`open`] with one's own resolve flags. EAGAIN (a rename raced with `..`) is tried again.
pub fn open_with(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    // The kernel answers EAGAIN only while something under the root is being renamed.
    for _ in 0..128 {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, mode, resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// Opens the directory `path` inside `root`, making what is missing of it with `mode`.
pub fn create_dir_all(root: BorrowedFd<'_>, path: &Path, mode: Mode) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    match open(root, path, flags, Mode::empty()) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    let (parent, name) = split(path)?;
    let parent = create_dir_all(root, parent, mode)?;
    match rustix::fs::mkdirat(&parent, name, mode) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    open(root, path, flags, Mode::empty())
}

/// Opens the regular file `path` inside `root` (`O_PATH`), making it, and the directories it is
/// in, when missing. A directory there is `EISDIR`.
pub fn create_file(root: BorrowedFd<'_>, path: &Path, mode: Mode) -> Result<OwnedFd> {
    match open(root, path, OFlags::PATH, Mode::empty()) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    let (parent, name) = split(path)?;
    let parent = create_dir_all(root, parent, Mode::from_raw_mode(0o755))?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(&parent, name, flags, mode) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    open(root, path, OFlags::PATH, Mode::empty())
}

/// What [`make`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// A directory.
    Directory,
    /// An empty regular file.
    File,
}

/// Makes what a lookup with the same `resolve` has just not found (`O_PATH`), with the
/// directories above it. What somebody else made in the meantime is taken as it is, if `resolve`
/// lets it be reached.
pub fn make(
    root: BorrowedFd<'_>,
    path: &Path,
    what: Made,
    mode: Mode,
    resolve: ResolveFlags,
) -> Result<OwnedFd> {
    let (above, name) = split(path)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let parent = match open_with(root, above, flags, Mode::empty(), resolve) {
        Err(Errno::NOENT) => make(
            root,
            above,
            Made::Directory,
            Mode::from_raw_mode(0o755),
            resolve,
        )?,
        other => other?,
    };
    let made = match what {
        Made::Directory => rustix::fs::mkdirat(&parent, name, mode),
        Made::File => {
            let flags =
                OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(&parent, name, flags, mode).map(drop)
        }
    };
    match made {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    let flags = match what {
        Made::Directory => flags,
        Made::File => OFlags::PATH,
    };
    open_with(root, path, flags, Mode::empty(), resolve)
}

/// Parent and last name of a path; `EEXIST` for the root itself, `EINVAL` when it ends in `..`.
pub fn split(path: &Path) -> Result<(&Path, &OsStr)> {
    let mut components = path.components();
    loop {
        match components.next_back() {
            Some(Component::Normal(name)) => return Ok((components.as_path(), name)),
            Some(Component::CurDir) => {}
            Some(Component::ParentDir) => return Err(Errno::INVAL),
            Some(_) | None => return Err(Errno::EXIST),
        }
    }
}

/// Reads a whole file of at most `limit` bytes; larger is `EFBIG`.
pub fn read_all(file: BorrowedFd<'_>, limit: usize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut chunk = [0u8; 16384];
    loop {
        match rustix::io::read(file, &mut chunk) {
            Ok(0) => return Ok(out),
            Ok(n) => out.extend_from_slice(chunk.get(..n).unwrap_or_default()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        if out.len() > limit {
            return Err(Errno::FBIG);
        }
    }
}

/// The text of a descriptor's own link in /proc, for messages only.
pub fn describe(path: &OsStr) -> String {
    String::from_utf8_lossy(path.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn root() -> (std::path::PathBuf, OwnedFd) {
        let dir = std::env::temp_dir().join(format!(
            "sys-rooted-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir_all(&dir).unwrap();
        let fd = rustix::fs::open(&dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        (dir, fd)
    }

    #[test]
    fn links_stay_inside() {
        let (dir, fd) = root();
        std::os::unix::fs::symlink("/etc", dir.join("e")).unwrap();
        std::os::unix::fs::symlink("../../../../..", dir.join("up")).unwrap();
        create_file(
            fd.as_fd(),
            Path::new("/e/new/file"),
            Mode::from_raw_mode(0o644),
        )
        .unwrap_err();
        std::fs::create_dir(dir.join("etc")).unwrap();
        create_file(
            fd.as_fd(),
            Path::new("/e/new/file"),
            Mode::from_raw_mode(0o644),
        )
        .unwrap();
        assert!(dir.join("etc/new/file").is_file());
        create_dir_all(fd.as_fd(), Path::new("up/x"), Mode::from_raw_mode(0o755)).unwrap();
        assert!(dir.join("x").is_dir());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn last_names() {
        assert_eq!(
            split(Path::new("/a/b")).unwrap(),
            (Path::new("/a"), OsStr::new("b"))
        );
        assert_eq!(split(Path::new("/")), Err(Errno::EXIST));
        assert_eq!(split(Path::new("a/..")), Err(Errno::INVAL));
    }
}
