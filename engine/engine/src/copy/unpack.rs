//! Unpacks a client's tar into a directory of a container: `archive` does it, the container's view
//! says where.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use archive::{Place, Target};
use rustix::fs::{self, AtFlags, Gid, Mode, OFlags, Uid};

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
    let failed = |error| failed(at, error);
    let (_, mut plain) = archive::decompress(body).map_err(failed)?;
    let target = Target::Files {
        keep_types: options.keep_kinds,
        owner: options.owner,
    };
    archive::apply_at(&mut plain, &Below { view, at }, target, None).map_err(failed)?;
    // The end of the archive is not the end of the stream: let the client finish.
    io::copy(&mut plain, &mut io::sink())
        .map(drop)
        .map_err(|error| failed(archive::Error::Malformed(error)))
}

fn failed(at: &[OsString], error: archive::Error) -> Error {
    match error {
        archive::Error::Malformed(error) => match error.downcast::<Error>() {
            // The client's own stream failed.
            Ok(error) => error,
            Err(error) => Error::invalid(format!("invalid archive: {error}")),
        },
        archive::Error::Escape(path) => {
            Error::invalid(format!("{path:?} is outside of {:?}", shown(at)))
        }
        archive::Error::Overwrite { path, directory } => {
            let (what, with) = match directory {
                true => ("directory", "non-directory"),
                false => ("non-directory", "directory"),
            };
            let (there, at) = (shown(at).join(&path), shown(at));
            Error::invalid(format!(
                "cannot overwrite {what} {there:?} with {with} {at:?}"
            ))
        }
        error => match error.kind() {
            archive::Kind::System => Error::system(error.to_string()),
            archive::Kind::Invalid => Error::invalid(error.to_string()),
        },
    }
}

/// A directory of the container as the place of an archive.
struct Below<'a> {
    view: &'a View,
    at: &'a [OsString],
}

impl Below<'_> {
    fn open(&self, logical: &[OsString]) -> io::Result<OwnedFd> {
        self.view.open(logical, OFlags::RDONLY | OFlags::DIRECTORY)
    }
}

impl Place for Below<'_> {
    fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut logical = self.at.to_vec();
        let mut parent = self.open(&logical)?;
        for name in path {
            // Links are followed by the view: inside the container, mounts included.
            logical = match self.view.step(&logical, name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
                    if let Some(ids) = self.view.ids() {
                        let (uid, gid) = ids.root();
                        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
                        let flags = AtFlags::SYMLINK_NOFOLLOW;
                        fs::chownat(&parent, name, Some(uid), Some(gid), flags)?;
                    }
                    self.view.step(&logical, name)?
                }
                found => found?,
            };
            parent = self.open(&logical)?;
        }
        Ok(parent)
    }

    fn owner(&self, uid: u32, gid: u32) -> io::Result<(u32, u32)> {
        let Some(ids) = self.view.ids() else {
            return Ok((uid, gid));
        };
        ids.to_host(uid, gid).ok_or_else(|| {
            io::Error::other(format!(
                "container IDs {uid}:{gid} cannot be mapped to host IDs"
            ))
        })
    }

    fn existing(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut logical = self.at.to_vec();
        for name in path {
            logical = self.view.step(&logical, name)?;
        }
        self.open(&logical)
    }

    fn link(&self, file: &Path, parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        let mut logical = self.at.to_vec();
        for name in file.parent().into_iter().flatten() {
            logical = self.view.step(&logical, name)?;
        }
        logical.extend(file.file_name().map(OsStr::to_os_string));
        // By its descriptor: what is mounted over it is what is meant.
        let target = self.view.open(&logical, OFlags::PATH | OFlags::NOFOLLOW)?;
        let mut path = b"/proc/self/fd/".to_vec();
        path.extend(target.as_raw_fd().to_string().into_bytes());
        Ok(fs::linkat(
            fs::CWD,
            OsString::from_vec(path),
            parent,
            name,
            AtFlags::SYMLINK_FOLLOW,
        )?)
    }
}
