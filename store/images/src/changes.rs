//! What a container changed: its writable directory compared with the layers below.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

use crate::{Change, ChangeKind, Error};

/// Every difference, in path order; a directory comes before what is in it.
pub(crate) fn changes(lower: &OwnedFd, upper: &Path) -> Result<Vec<Change>, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir =
        rustix::fs::open(upper, flags, Mode::empty()).map_err(Error::errno("opening", upper))?;
    let mut found = Vec::new();
    walk(lower.as_fd(), dir.as_fd(), Path::new("/"), &mut found)
        .map_err(Error::errno("comparing", upper))?;
    Ok(found)
}

fn walk(
    lower: BorrowedFd<'_>,
    upper: BorrowedFd<'_>,
    path: &Path,
    found: &mut Vec<Change>,
) -> rustix::io::Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut names: Vec<PathBuf> = Vec::new();
    for entry in Dir::read_from(upper)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(PathBuf::from(std::ffi::OsStr::from_bytes(name)));
        }
    }
    names.sort();
    for name in names {
        let facts = rustix::fs::statat(upper, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(facts.st_mode);
        let path = path.join(&name);
        let relative = path.strip_prefix("/").unwrap_or(&path);
        let was = sys::rooted::open(
            lower,
            relative,
            OFlags::PATH | OFlags::NOFOLLOW,
            Mode::empty(),
        );
        if kind == FileType::CharacterDevice && facts.st_rdev == 0 {
            if was.is_ok() {
                found.push(Change {
                    path,
                    kind: ChangeKind::Deleted,
                });
            }
            continue;
        }
        let change = if was.is_ok() {
            ChangeKind::Modified
        } else {
            ChangeKind::Added
        };
        found.push(Change {
            path: path.clone(),
            kind: change,
        });
        if kind == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let dir = rustix::fs::openat(upper, &name, flags, Mode::empty())?;
            walk(lower, dir.as_fd(), &path, found)?;
        }
    }
    Ok(())
}

/// Bytes of the regular files of a tree; what cannot be read counts nothing.
pub(crate) fn disk_usage(dir: &Path) -> u64 {
    let mut total = 0;
    let mut pending = vec![dir.to_path_buf()];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(facts) if facts.is_dir() => pending.push(entry.path()),
                Ok(facts) if facts.is_file() => total += facts.len(),
                _ => {}
            }
        }
    }
    total
}
