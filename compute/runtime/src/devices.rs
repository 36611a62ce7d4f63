//! Device nodes and the customary links in /dev.

use std::os::fd::OwnedFd;
use std::path::Path;

use oci::runtime::{Device, Spec};
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::mount::{MoveMountFlags, OpenTreeFlags};
use sys::Errno;

use crate::error::{Context, errno_text};
use crate::mounts::Site;
use crate::{Error, Result};

/// Name, major, minor of what every container has.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// Fills /dev, unless it is the host's own, bound.
pub(crate) fn populate(site: &Site<'_>, spec: &Spec) -> Result<()> {
    let is_dev = |d: &str| Path::new(d) == Path::new("/dev");
    let bound = |o: &String| o == "bind" || o == "rbind";
    let host = spec
        .mounts
        .iter()
        .any(|m| is_dev(&m.destination) && (m.kind == "bind" || m.options.iter().any(bound)));
    if host {
        return Ok(());
    }
    let mode = Mode::from_raw_mode(0o755);
    let dev = sys::rooted::create_dir_all(site.root, Path::new("/dev"), mode)
        .context(|| "open /dev of the container")?;
    for (name, major, minor) in DEFAULT {
        let node = Node {
            kind: FileType::CharacterDevice,
            mode: 0o666,
            major,
            minor,
        };
        make(site, &dev, name, &format!("/dev/{name}"), &node)?;
    }
    for device in spec.linux.iter().flat_map(|l| &l.devices) {
        from_spec(site, &dev, device)?;
    }
    for (target, name) in LINKS {
        link(&dev, target, name)?;
    }
    // What the kernel was built without must not dangle.
    if rustix::fs::access("/proc/kcore", rustix::fs::Access::EXISTS).is_ok() {
        link(&dev, "/proc/kcore", "core")?;
    }
    Ok(())
}

struct Node {
    kind: FileType,
    mode: u32,
    major: u32,
    minor: u32,
}

fn from_spec(site: &Site<'_>, dev: &OwnedFd, device: &Device) -> Result<()> {
    let invalid = || Error::invalid(format!("invalid device {:?}", device.path));
    let number = |n: i64| u32::try_from(n).map_err(|_| invalid());
    let node = Node {
        kind: match device.kind.as_str() {
            "c" | "u" => FileType::CharacterDevice,
            "b" => FileType::BlockDevice,
            "p" => FileType::Fifo,
            _ => return Err(invalid()),
        },
        mode: device.file_mode.unwrap_or(0o666) & 0o7777,
        major: number(device.major)?,
        minor: number(device.minor)?,
    };
    let path = Path::new(&device.path);
    let (parent, name) = sys::rooted::split(path).map_err(|_| invalid())?;
    let mode = Mode::from_raw_mode(0o755);
    let parent = if parent == Path::new("/dev") {
        None
    } else {
        let made = sys::rooted::create_dir_all(site.root, parent, mode);
        Some(made.context(|| format!("create directory of device {:?}", device.path))?)
    };
    let parent = parent.as_ref().unwrap_or(dev);
    let name = name.to_string_lossy();
    make(site, parent, &name, &device.path, &node)?;
    let (uid, gid) = (device.uid.unwrap_or(0), device.gid.unwrap_or(0));
    if uid != 0 || gid != 0 {
        rustix::fs::chownat(
            parent,
            &*name,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        )
        .context(|| format!("chown device {:?}", device.path))?;
    }
    Ok(())
}

/// Makes the node; where that is not permitted, binds the host's.
fn make(site: &Site<'_>, dir: &OwnedFd, name: &str, host: &str, node: &Node) -> Result<()> {
    if !site.in_userns {
        let mode = Mode::from_raw_mode(node.mode);
        let number = rustix::fs::makedev(node.major, node.minor);
        match rustix::fs::mknodat(dir, name, node.kind, mode, number) {
            Ok(()) | Err(Errno::EXIST) => return Ok(()),
            Err(Errno::PERM) => {}
            Err(e) => {
                return Err(Error::internal(format!(
                    "make device {host:?}: {}",
                    errno_text(e)
                )));
            }
        }
    }
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree =
        rustix::mount::open_tree(CWD, host, clone).context(|| format!("bind device {host:?}"))?;
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o644))
        .context(|| format!("create {host:?}"))?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&tree, "", dir, name, flags)
        .context(|| format!("bind device {host:?}"))
}

fn link(dev: &OwnedFd, target: &str, name: &str) -> Result<()> {
    match rustix::fs::symlinkat(target, dev, name) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(Error::internal(format!(
            "symlink /dev/{name}: {}",
            errno_text(e)
        ))),
    }
}
