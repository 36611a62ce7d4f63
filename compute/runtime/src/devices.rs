//! Device nodes and the customary links in /dev.

use std::os::fd::OwnedFd;
use std::path::Path;

use oci::runtime::{Device, Spec};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
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
    for (n, device) in spec.linux.iter().flat_map(|l| &l.devices).enumerate() {
        // Made below, as a link to the container's own.
        if Path::new(&device.path) != Path::new("/dev/ptmx") {
            from_spec(site, &dev, device)
                .map_err(|e| Error::new(e.kind, format!("linux.devices[{n}]: {}", e.message)))?;
        }
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

/// How a node came to be where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Made,
    /// It was there, and is the one asked for.
    Found,
    /// The host's own, bound: its owner and mode are the host's.
    Bound,
}

fn from_spec(site: &Site<'_>, dev: &OwnedFd, device: &Device) -> Result<()> {
    let invalid = || Error::invalid(format!("invalid device {:?}", device.path));
    let number = |n: i64| u32::try_from(n).map_err(|_| invalid());
    let kind = match device.kind.as_str() {
        "c" | "u" => FileType::CharacterDevice,
        "b" => FileType::BlockDevice,
        "p" => FileType::Fifo,
        _ => return Err(invalid()),
    };
    let numbered = kind != FileType::Fifo;
    let node = Node {
        kind,
        mode: device.file_mode.unwrap_or(0o666) & 0o7777,
        major: if numbered { number(device.major)? } else { 0 },
        minor: if numbered { number(device.minor)? } else { 0 },
    };
    let path = Path::new(&device.path);
    let (parent, name) = sys::rooted::split(path).map_err(|_| invalid())?;
    let mode = Mode::from_raw_mode(0o755);
    let parent = if parent == Path::new("/dev") {
        None
    } else {
        let made = sys::rooted::create_dir_all(site.root, parent, mode);
        Some(made.context(|| format!("create directory of {:?}", device.path))?)
    };
    let parent = parent.as_ref().unwrap_or(dev);
    let name = name.to_string_lossy();
    let origin = make(site, parent, &name, &device.path, &node)?;
    if origin == Origin::Bound {
        return Ok(());
    }
    let (uid, gid) = (device.uid.unwrap_or(0), device.gid.unwrap_or(0));
    if uid != 0 || gid != 0 {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(parent, &*name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            .context(|| format!("chown {:?}", device.path))?;
    }
    if origin == Origin::Found && device.file_mode.is_some() {
        // Not through the name: it could have become a link.
        let node = open_node(parent, &name).context(|| format!("open {:?}", device.path))?;
        chmod(&node, node_mode(device)).context(|| format!("chmod {:?}", device.path))?;
    }
    Ok(())
}

fn node_mode(device: &Device) -> Mode {
    Mode::from_raw_mode(device.file_mode.unwrap_or(0o666) & 0o7777)
}

fn open_node(dir: &OwnedFd, name: &str) -> sys::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// fchmod(2) takes no `O_PATH` descriptor; its link in the host's /proc is as good.
fn chmod(node: &OwnedFd, mode: Mode) -> sys::Result<()> {
    use std::os::fd::AsRawFd;
    rustix::fs::chmod(format!("/proc/self/fd/{}", node.as_raw_fd()), mode)
}

/// Makes the node; where that is not permitted, binds the host's.
fn make(site: &Site<'_>, dir: &OwnedFd, name: &str, host: &str, node: &Node) -> Result<Origin> {
    // A pipe is no device: it can be made anywhere.
    if !site.in_userns || node.kind == FileType::Fifo {
        let mode = Mode::from_raw_mode(node.mode);
        let number = rustix::fs::makedev(node.major, node.minor);
        match rustix::fs::mknodat(dir, name, node.kind, mode, number) {
            Ok(()) => return Ok(Origin::Made),
            Err(Errno::EXIST) => return found(dir, name, host, node),
            Err(Errno::PERM) if node.kind != FileType::Fifo => {}
            Err(e) => {
                let text = errno_text(e);
                return Err(Error::internal(format!("make device {host:?}: {text}")));
            }
        }
    }
    let tree = host_node(host, node)?;
    let place = mountpoint(dir, name).context(|| format!("create {host:?}"))?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(&tree, "", &place, "", flags)
        .context(|| format!("bind device {host:?}"))?;
    Ok(Origin::Bound)
}

/// A file to bind over; what is there already is not opened, for it could be a pipe.
fn mountpoint(dir: &OwnedFd, name: &str) -> sys::Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o644)) {
        Err(Errno::EXIST) => {
            let there = open_node(dir, name)?;
            let stat = rustix::fs::fstat(&there)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => Err(Errno::LOOP),
                _ => Ok(there),
            }
        }
        other => other,
    }
}

/// What is there already must be the device (config-linux.md#devices).
fn found(dir: &OwnedFd, name: &str, shown: &str, node: &Node) -> Result<Origin> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .context(|| format!("stat {shown:?}"))?;
    match is(&stat, node) {
        true => Ok(Origin::Found),
        false => Err(Error::invalid(format!(
            "{shown:?} exists in the container and is not the device"
        ))),
    }
}

fn is(stat: &rustix::fs::Stat, node: &Node) -> bool {
    FileType::from_raw_mode(stat.st_mode) == node.kind
        && (node.kind == FileType::Fifo
            || stat.st_rdev == rustix::fs::makedev(node.major, node.minor))
}

/// The host's node of these numbers: by the same path, or by its numbers.
fn host_node(path: &str, node: &Node) -> Result<OwnedFd> {
    let kind = match node.kind {
        FileType::BlockDevice => "block",
        _ => "char",
    };
    let by_number = format!("/dev/{kind}/{}:{}", node.major, node.minor);
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mut problem = None;
    for candidate in [path, &by_number] {
        match rustix::mount::open_tree(CWD, candidate, clone) {
            Ok(tree) if rustix::fs::fstat(&tree).is_ok_and(|s| is(&s, node)) => return Ok(tree),
            Ok(_) => {}
            Err(e) => {
                problem.get_or_insert(e);
            }
        }
    }
    Err(Error::internal(match problem {
        Some(e) => format!("bind device {path:?}: {}", errno_text(e)),
        None => format!(
            "bind device {path:?}: the host's is not {}:{}",
            node.major, node.minor
        ),
    }))
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
