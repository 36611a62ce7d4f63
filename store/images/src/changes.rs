//! What a container changed: its writable directory compared with the layers below.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::{Change, ChangeKind, Error};

/// Every difference, in path order; a directory comes before what is in it.
///
/// How deep the tree is is the container's choice: directories that are still to be looked at are
/// paths, and one that the kernel would not take is refused.
pub(crate) fn changes(lower: &OwnedFd, upper: &Path) -> Result<Vec<Change>, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root =
        rustix::fs::open(upper, flags, Mode::empty()).map_err(Error::errno("opening", upper))?;
    let mut found = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(path) = pending.pop() {
        compare(lower.as_fd(), root.as_fd(), &path, &mut found, &mut pending)
            .map_err(Error::errno("comparing", &upper.join(&path)))?;
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Compares what is in one directory; those in it are added to `pending`.
fn compare(
    lower: BorrowedFd<'_>,
    upper: BorrowedFd<'_>,
    path: &Path,
    found: &mut Vec<Change>,
    pending: &mut Vec<PathBuf>,
) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let dir = match sys::rooted::open(upper, path, flags, Mode::empty()) {
        // It was removed or replaced meanwhile.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        opened => opened?,
    };
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let facts = match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            facts => facts?,
        };
        let file_type = FileType::from_raw_mode(facts.st_mode);
        let path = path.join(OsStr::from_bytes(name.to_bytes()));
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let existed = sys::rooted::open(lower, &path, flags, Mode::empty()).is_ok();
        let is_whiteout = file_type == FileType::CharacterDevice && facts.st_rdev == 0;
        let kind = match (is_whiteout, existed) {
            (true, false) => continue,
            (true, true) => ChangeKind::Deleted,
            (false, true) => ChangeKind::Modified,
            (false, false) => ChangeKind::Added,
        };
        found.push(Change {
            path: Path::new("/").join(&path),
            kind,
        });
        if file_type == FileType::Directory {
            pending.push(path);
        }
    }
    Ok(())
}

/// Bytes of all files below a directory, each inode counted once, as docker counts them.
pub fn disk_usage(dir: &Path) -> u64 {
    let mut seen = HashSet::new();
    let mut pending = vec![dir.to_path_buf()];
    let mut total = 0;
    while let Some(dir) = pending.pop() {
        // What vanishes or cannot be read is not counted.
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(facts) if facts.is_dir() => pending.push(entry.path()),
                Ok(facts) if facts.nlink() == 1 || seen.insert((facts.dev(), facts.ino())) => {
                    total += facts.len();
                }
                _ => {}
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd as _, OwnedFd};

    use rustix::fs::{Mode, OFlags};

    use super::changes;

    #[test]
    fn a_tree_deeper_than_any_stack_is_compared_or_refused() {
        let dir = tempfile::tempdir().expect("temp dir");
        let open = |path: &std::path::Path| -> OwnedFd {
            rustix::fs::open(path, OFlags::DIRECTORY, Mode::empty()).expect("open")
        };
        let (lower, upper) = (dir.path().join("lower"), dir.path().join("upper"));
        std::fs::create_dir(&lower).expect("lower");
        std::fs::create_dir(&upper).expect("upper");
        let lower = open(&lower);
        let mut at = open(&upper);
        let deepen = |at: &mut OwnedFd, levels: usize| {
            for _ in 0..levels {
                rustix::fs::mkdirat(at.as_fd(), "d", 0o700.into()).expect("mkdir");
                let below = rustix::fs::openat(&*at, "d", OFlags::DIRECTORY, Mode::empty());
                *at = below.expect("open");
            }
        };
        // "d/d" and so on, as long as a path may be.
        deepen(&mut at, 2047);
        let found = changes(&lower, &upper).expect("compared");
        assert_eq!(found.len(), 2047);
        assert!(found.is_sorted_by_key(|change| change.path.as_os_str().len()));
        deepen(&mut at, 10);
        let error = changes(&lower, &upper).expect_err("too deep").to_string();
        assert!(error.contains("File name too long"), "{error}");
    }
}
