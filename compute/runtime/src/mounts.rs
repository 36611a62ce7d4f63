//! The mounts of a spec, each made detached and moved to its place by descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use oci::runtime::Mount;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};
use sys::Errno;
use sys::mount::MountAttr;

use crate::error::errno_text;
use crate::options::Options;
use crate::{Error, Kind, Result};

/// Where mounts go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site<'a> {
    /// The attached root mount.
    pub(crate) root: BorrowedFd<'a>,
    /// For mounts of type `cgroup`.
    pub(crate) cgroup: Option<&'a cgroup::Cgroup>,
    /// Device nodes cannot be made.
    pub(crate) in_userns: bool,
}

pub(crate) fn mount_all(site: &Site<'_>, mounts: &[Mount]) -> Result<()> {
    for mount in mounts {
        let options = Options::parse(&mount.options)?;
        if !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() {
            return Err(Error::unsupported(format!(
                "idmapped mount at {:?} is not supported yet",
                mount.destination
            )));
        }
        one(site, mount, &options).map_err(|problem| problem.about(mount))?;
    }
    Ok(())
}

/// A failure before it knows which mount it is about.
#[derive(Debug)]
pub(crate) enum Problem {
    Errno(&'static str, Errno),
    Said(Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Said(error)
    }
}

pub(crate) type Step<T> = std::result::Result<T, Problem>;

/// Names the call that failed.
pub(crate) fn at<T>(call: &'static str, result: sys::Result<T>) -> Step<T> {
    result.map_err(|errno| Problem::Errno(call, errno))
}

impl Problem {
    fn about(self, mount: &Mount) -> Error {
        let what = if mount.source.is_empty() {
            &mount.kind
        } else {
            &mount.source
        };
        let front = format!(
            "error mounting {what:?} to rootfs at {:?}",
            mount.destination
        );
        match self {
            Self::Errno(call, Errno::NOTDIR) => Error::new(
                // The exit status that clients expect of this mistake is that of a missing program.
                Kind::CommandNotFound,
                format!(
                    "{front}: {call}: not a directory: Are you trying to mount a directory onto \
                     a file (or vice-versa)? Check if the specified host path exists and is the \
                     expected type"
                ),
            ),
            Self::Errno(call, errno) => {
                Error::internal(format!("{front}: {call}: {}", errno_text(errno)))
            }
            Self::Said(error) => Error::new(error.kind, format!("{front}: {}", error.message)),
        }
    }
}

fn one(site: &Site<'_>, mount: &Mount, options: &Options) -> Step<()> {
    match (mount.kind.as_str(), options.bind) {
        ("bind", bind) => bind_mount(site, mount, options, bind.unwrap_or(false)),
        (_, Some(recursive)) => bind_mount(site, mount, options, recursive),
        ("cgroup" | "cgroup2", None) => crate::cgroup_mount::mount(site, mount, options),
        (kind, None) => {
            let (place, existed) = match kind {
                "proc" | "sysfs" => (
                    ordinary_directory(site.root, &mount.destination, kind)?,
                    true,
                ),
                _ => directory(site.root, &mount.destination)?,
            };
            let mode = (kind == "tmpfs" && existed)
                .then(|| rustix::fs::fstat(&place).ok().map(|s| s.st_mode & 0o7777))
                .flatten();
            let made = make(kind, &mount.source, options, mode)?;
            put(&made, &place, options)
        }
    }
}

/// `/proc/PID/root/PATH`: a place in the mount namespace of another process.
fn elsewhere(source: &str) -> Option<(&str, &str)> {
    let (pid, path) = source.strip_prefix("/proc/")?.split_once("/root/")?;
    let number = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
    number.then_some((pid, path))
}

/// A copy of what is mounted at a place of another mount namespace. The kernel makes one only for
/// who is inside; and inside, no link that the other process placed leads out.
fn tree_of(pid: &str, path: &str, flags: OpenTreeFlags) -> Step<OwnedFd> {
    let open = |path: &str, flags: OFlags| {
        let flags = flags | OFlags::CLOEXEC;
        at("open", rustix::fs::open(path, flags, Mode::empty()))
    };
    let place = OFlags::PATH | OFlags::DIRECTORY;
    let (root, cwd) = (open("/", place)?, open(".", place)?);
    let own = open("/proc/self/ns/mnt", OFlags::RDONLY)?;
    let theirs = open(&format!("/proc/{pid}/ns/mnt"), OFlags::RDONLY)?;
    at(
        "setns",
        sys::process::setns(theirs.as_fd(), libc::CLONE_NEWNS),
    )?;
    let tree = rustix::mount::open_tree(CWD, format!("/{path}"), flags);
    at("setns", sys::process::setns(own.as_fd(), libc::CLONE_NEWNS))?;
    // Entering a mount namespace moves root and working directory.
    at("fchdir", rustix::process::fchdir(&root))?;
    at("chroot", rustix::process::chroot("."))?;
    at("fchdir", rustix::process::fchdir(&cwd))?;
    at("open_tree", tree)
}

fn bind_mount(site: &Site<'_>, mount: &Mount, options: &Options, recursive: bool) -> Step<()> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    if let Some((key, _)) = options.data.first() {
        return Err(Error::invalid(format!("invalid option {key:?} for a bind mount")).into());
    }
    let tree = match elsewhere(&mount.source) {
        Some((pid, path)) => tree_of(pid, path, flags)?,
        None => at(
            "open_tree",
            rustix::mount::open_tree(CWD, &mount.source, flags),
        )?,
    };
    let stat = at("stat", rustix::fs::fstat(&tree))?;
    let path = Path::new(&mount.destination);
    let place = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => directory(site.root, &mount.destination)?.0,
        _ => at(
            "create mountpoint",
            sys::rooted::create_file(site.root, path, Mode::from_raw_mode(0o755)),
        )?,
    };
    if !options.own.is_empty() {
        let attr = MountAttr {
            set: options.own.set,
            clear: options.own.clear,
            ..MountAttr::default()
        };
        at(
            "mount_setattr",
            sys::mount::set_attr(tree.as_fd(), &attr, false),
        )?;
    }
    put(&tree, &place, options)
}

/// Makes a mount of a file system; `mode` is that of the directory below, for a tmpfs without
/// one of its own.
pub(crate) fn make(
    kind: &str,
    source: &str,
    options: &Options,
    mode: Option<u32>,
) -> Step<OwnedFd> {
    let fs = at(
        "fsopen",
        rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC),
    )?;
    if !source.is_empty() {
        at(
            "fsconfig source",
            rustix::mount::fsconfig_set_string(&fs, "source", source),
        )?;
    }
    if let Some(mode) = mode
        && !options.data.iter().any(|(key, _)| key == "mode")
    {
        let mode = format!("{mode:o}");
        at(
            "fsconfig mode",
            rustix::mount::fsconfig_set_string(&fs, "mode", mode),
        )?;
    }
    for (key, value) in &options.data {
        let done = match value {
            Some(value) => rustix::mount::fsconfig_set_string(&fs, key.as_str(), value.as_str()),
            None => rustix::mount::fsconfig_set_flag(&fs, key.as_str()),
        };
        done.map_err(|e| {
            let text = errno_text(e);
            Error::invalid(format!("option {key:?} for {kind}: {text}"))
        })?;
    }
    at("fsconfig create", rustix::mount::fsconfig_create(&fs))?;
    let attributes = MountAttrFlags::from_bits_retain(options.own.set as u32);
    at(
        "fsmount",
        rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes),
    )
}

/// Moves a detached mount to its place, with propagation and recursive attributes.
pub(crate) fn put(made: &OwnedFd, place: &OwnedFd, options: &Options) -> Step<()> {
    if !options.recursive.is_empty() {
        let attr = MountAttr {
            set: options.recursive.set,
            clear: options.recursive.clear,
            ..MountAttr::default()
        };
        at(
            "mount_setattr",
            sys::mount::set_attr(made.as_fd(), &attr, true),
        )?;
    }
    if let Some((propagation, recursive)) = options.propagation {
        // New mounts are private already.
        let fresh = options.bind.is_none() && propagation == libc::MS_PRIVATE;
        if !fresh {
            let attr = MountAttr {
                propagation,
                ..MountAttr::default()
            };
            at(
                "mount_setattr",
                sys::mount::set_attr(made.as_fd(), &attr, recursive),
            )?;
        }
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    at(
        "move_mount",
        rustix::mount::move_mount(made, "", place, "", flags),
    )
}

/// The directory to mount on, made when missing; whether it was there.
pub(crate) fn directory(root: BorrowedFd<'_>, path: &str) -> Step<(OwnedFd, bool)> {
    let path = Path::new(path);
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    match sys::rooted::open(root, path, flags, Mode::empty()) {
        Ok(fd) => Ok((fd, true)),
        Err(Errno::NOENT) => {
            let mode = Mode::from_raw_mode(0o755);
            let made = sys::rooted::create_dir_all(root, path, mode);
            Ok((at("create mountpoint", made)?, false))
        }
        Err(e) => Err(Problem::Errno("open mountpoint", e)),
    }
}

/// /proc and /sys are protected by path later on: no symbolic link may stand in for them.
fn ordinary_directory(root: BorrowedFd<'_>, path: &str, kind: &str) -> Step<OwnedFd> {
    let (flags, path) = (OFlags::PATH | OFlags::DIRECTORY, Path::new(path));
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    match sys::rooted::open_with(root, path, flags, Mode::empty(), resolve) {
        Ok(fd) => Ok(fd),
        Err(Errno::NOENT) => {
            let mode = Mode::from_raw_mode(0o755);
            at(
                "create mountpoint",
                sys::rooted::create_dir_all(root, path, mode),
            )
        }
        Err(Errno::LOOP | Errno::NOTDIR) => Err(Error::invalid(format!(
            "filesystem {kind:?} must be mounted on ordinary directory"
        ))
        .into()),
        Err(e) => Err(Problem::Errno("open mountpoint", e)),
    }
}
