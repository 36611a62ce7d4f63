//! A container's file system by paths as the container sees them.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{self, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::record::Mounted;
use crate::userns::IdMaps;

/// Links followed before giving up, as the kernel does.
const MAX_LINKS: usize = 40;

/// The root, and what is mounted in it where the kernel does not show it.
#[derive(Debug)]
pub(super) struct View {
    root: OwnedFd,
    /// Later ones hide earlier ones at the same place.
    mounts: Vec<Mount>,
    /// How the container's ids are the host's.
    ids: Option<IdMaps>,
}

#[derive(Debug)]
struct Mount {
    at: Vec<OsString>,
    /// A directory or file, opened by path only.
    source: OwnedFd,
}

/// A logical path: no links, no dots.
pub(super) type Logical = Vec<OsString>;

impl View {
    pub(super) fn new(root: OwnedFd, ids: Option<IdMaps>) -> Self {
        Self {
            root,
            mounts: Vec::new(),
            ids,
        }
    }

    /// How the container's ids are the host's; `None` where they are the same.
    pub(super) fn ids(&self) -> Option<&IdMaps> {
        self.ids.as_ref()
    }

    /// Shows a volume or bind at its destination. Those that cannot be seen on the host (tmpfs,
    /// missing sources) are left out: the container would not find their content either.
    pub(super) fn mount(&mut self, mounted: &Mounted) -> io::Result<()> {
        if !matches!(mounted.point.kind.as_str(), "volume" | "bind") {
            return Ok(());
        }
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let source = match fs::open(&mounted.point.source, flags, Mode::empty()) {
            Ok(source) => source,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let source = match mounted.subpath.as_str() {
            "" => source,
            subpath => {
                let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
                match fs::openat2(&source, subpath, flags, Mode::empty(), resolve) {
                    Ok(source) => source,
                    Err(Errno::NOENT) => return Ok(()),
                    Err(error) => return Err(error.into()),
                }
            }
        };
        // A destination that is not there yet is made at the start, under this very path.
        let at = self.walk(&mounted.point.destination, true, true)?;
        self.mounts.push(Mount { at, source });
        Ok(())
    }

    /// Only the root file system itself.
    pub(super) fn forget_mounts(&mut self) {
        self.mounts.clear();
    }

    /// The logical path of what is at `path`; the last name is followed as a link where asked.
    pub(super) fn resolve(&self, path: &str, follow: bool) -> io::Result<Logical> {
        let logical = self.walk(path, follow, false)?;
        if wants_directory(path) && !self.is_directory(&logical)? {
            return Err(Errno::NOTDIR.into());
        }
        Ok(logical)
    }

    /// Where a link leads in the end, or would lead.
    pub(super) fn target(&self, path: &str) -> io::Result<PathBuf> {
        Ok(shown(&self.walk(path, true, true)?))
    }

    /// The logical path of `name` in a directory, links followed.
    pub(super) fn step(&self, from: &[OsString], name: &OsStr) -> io::Result<Logical> {
        self.walk_names(from.to_vec(), [name.to_os_string()].into(), true, false)
    }

    fn walk(&self, path: &str, follow: bool, lenient: bool) -> io::Result<Logical> {
        let waiting = names(Path::new(path)).collect();
        self.walk_names(Logical::new(), waiting, follow, lenient)
    }

    fn walk_names(
        &self,
        mut logical: Logical,
        mut waiting: VecDeque<OsString>,
        follow: bool,
        lenient: bool,
    ) -> io::Result<Logical> {
        let mut links = 0;
        while let Some(name) = waiting.pop_front() {
            if name == ".." {
                logical.pop();
                continue;
            }
            logical.push(name);
            let found = match self.open(&logical, OFlags::PATH | OFlags::NOFOLLOW) {
                Ok(found) => found,
                Err(error) if lenient && error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let last = waiting.is_empty();
            let kind = FileType::from_raw_mode(fs::fstat(&found)?.st_mode);
            if kind != FileType::Symlink || (last && !follow) {
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP.into());
            }
            let target = fs::readlinkat(&found, c"", Vec::new())?.into_bytes();
            if target.first() == Some(&b'/') {
                logical.clear();
            } else {
                logical.pop();
            }
            let target = PathBuf::from(OsString::from_vec(target));
            for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
                waiting.push_front(name);
            }
        }
        Ok(logical)
    }

    /// Opens what is at a logical path. What became a link meanwhile is refused.
    pub(super) fn open(&self, logical: &[OsString], flags: OFlags) -> io::Result<OwnedFd> {
        let (base, rest) = self.locate(logical);
        let relative: PathBuf = if rest.is_empty() {
            ".".into()
        } else {
            rest.iter().collect()
        };
        if rest.is_empty() && flags.contains(OFlags::PATH) {
            return Ok(rustix::io::fcntl_dupfd_cloexec(base, 0)?);
        }
        let resolve =
            ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match fs::openat2(
            base,
            &relative,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        ) {
            // The mount is of a file: reopened by its descriptor.
            Err(Errno::NOTDIR) if rest.is_empty() => {
                use std::os::fd::AsRawFd;
                let path = format!("/proc/self/fd/{}", base.as_raw_fd());
                Ok(fs::open(
                    path,
                    (flags - OFlags::NOFOLLOW) | OFlags::CLOEXEC,
                    Mode::empty(),
                )?)
            }
            opened => Ok(opened?),
        }
    }

    pub(super) fn is_directory(&self, logical: &[OsString]) -> io::Result<bool> {
        let found = self.open(logical, OFlags::PATH | OFlags::NOFOLLOW)?;
        Ok(FileType::from_raw_mode(fs::fstat(found)?.st_mode) == FileType::Directory)
    }

    pub(super) fn has_mounts(&self) -> bool {
        !self.mounts.is_empty()
    }

    /// Whether something of ours is shown at exactly this place.
    pub(super) fn is_mount(&self, logical: &[OsString]) -> bool {
        self.mounts.iter().any(|mount| mount.at == logical)
    }

    /// The innermost mount that holds the path, and the rest of the path in it.
    fn locate<'a>(&self, logical: &'a [OsString]) -> (BorrowedFd<'_>, &'a [OsString]) {
        let inside = self
            .mounts
            .iter()
            .filter(|mount| logical.starts_with(&mount.at));
        match inside.max_by_key(|mount| mount.at.len()) {
            Some(mount) => (mount.source.as_fd(), &logical[mount.at.len()..]),
            None => (self.root.as_fd(), logical),
        }
    }
}

/// Names of a path, without empty ones and `.`.
pub(super) fn components(path: &str) -> impl Iterator<Item = OsString> {
    names(Path::new(path))
}

fn names(path: &Path) -> impl Iterator<Item = OsString> {
    let names = path.as_os_str().as_bytes().split(|byte| *byte == b'/');
    names
        .filter(|name| !matches!(*name, b"" | b"."))
        .map(|name| OsString::from_vec(name.to_vec()))
}

/// As an absolute path.
pub(super) fn shown(logical: &[OsString]) -> PathBuf {
    let mut path = PathBuf::from("/");
    path.extend(logical);
    path
}

fn wants_directory(path: &str) -> bool {
    path.ends_with('/') || path.ends_with("/.")
}
