//! Writes a tar of a part of a container: `archive` does it, the container's view says what is where.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use archive::{Pack, Source};
use rustix::fs::OFlags;

use super::view::{Logical, View};

/// What is at `logical`, under the name `base`: a directory with everything below.
pub(super) fn tree(
    view: &View,
    logical: &[OsString],
    base: &str,
    out: &mut dyn Write,
) -> io::Result<()> {
    let pack = Pack {
        path: logical.iter().collect(),
        name: base.into(),
        ..Pack::default()
    };
    write(view, &pack, out)
}

/// The root file system, without what is mounted in it.
pub(super) fn whole(view: &View, out: &mut dyn Write) -> io::Result<()> {
    let pack = Pack {
        one_file_system: true,
        ..Pack::default()
    };
    write(view, &pack, out)
}

fn write(view: &View, pack: &Pack, out: &mut dyn Write) -> io::Result<()> {
    match archive::pack(view, pack, out) {
        Ok(_) => Ok(()),
        // The client's own stream failed.
        Err(archive::Error::Write { source, .. }) if source.raw_os_error().is_none() => Err(source),
        Err(error) => Err(io::Error::other(error.to_string())),
    }
}

impl Source for View {
    fn open(&self, path: &Path) -> io::Result<OwnedFd> {
        Self::open(self, &logical(path), OFlags::PATH | OFlags::NOFOLLOW)
    }

    fn is_mount(&self, path: &Path) -> bool {
        self.has_mounts() && Self::is_mount(self, &logical(path))
    }

    fn owner(&self, uid: u32, gid: u32) -> (u32, u32) {
        self.ids()
            .map_or((uid, gid), |ids| ids.to_container(uid, gid))
    }
}

fn logical(path: &Path) -> Logical {
    path.iter().map(OsStr::to_os_string).collect()
}
