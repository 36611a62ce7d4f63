//! Mounts that criu does not make itself: those whose source is outside of the container. At a dump
//! they are named, at a restore it is told where they are now.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use cgroup::Cgroup;
use oci::runtime::{Mount, Spec};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};
use sys::Errno;
use sys::rooted::Made;

use crate::runtime::fail::{During, Result};

const NULL: &str = "/dev/null";
const NEW_MOUNTS: i32 = 0x2_0000;

fn is_bind(mount: &Mount) -> bool {
    let option = |o: &String| matches!(o.as_str(), "bind" | "rbind");
    mount.kind == "bind" || mount.options.iter().any(option)
}

fn is_cgroup(mount: &Mount) -> bool {
    matches!(mount.kind.as_str(), "cgroup" | "cgroup2")
}

/// The mounts from outside: where each is in the container, and what is there.
pub(super) fn foreign(
    spec: &Spec,
    rootfs: &Path,
    cgroup: Option<&Cgroup>,
) -> Vec<(String, PathBuf)> {
    let mut out = Vec::new();
    for mount in &spec.mounts {
        let at = within(rootfs, &mount.destination);
        if is_cgroup(mount) {
            if let Some(cgroup) = cgroup {
                of_cgroup(&mut out, &at, cgroup, spec);
            }
        } else if is_bind(mount) {
            out.push((at, PathBuf::from(&mount.source)));
        }
    }
    for device in spec.linux.iter().flat_map(|l| &l.devices) {
        // Bound where nodes cannot be made; where they were, nobody asks for the name.
        out.push((within(rootfs, &device.path), PathBuf::from(&device.path)));
    }
    out
}

/// As the runtime mounts them: v2's directory, or one of v1's for each hierarchy.
fn of_cgroup(out: &mut Vec<(String, PathBuf)>, at: &str, cgroup: &Cgroup, spec: &Spec) {
    let own = spec
        .linux
        .iter()
        .flat_map(|l| &l.namespaces)
        .any(|n| n.kind == "cgroup");
    for (path, controllers, _) in cgroup.directories() {
        if cgroup.version() == 2 {
            let depth = match own {
                true => 0,
                false => Path::new(cgroup.path()).components().count(),
            };
            let path = path.ancestors().nth(depth).unwrap_or(path);
            out.push((at.to_owned(), path.to_owned()));
            continue;
        }
        let name = match controllers {
            [one] => one.strip_prefix("name=").unwrap_or(one).to_owned(),
            several => several.join(","),
        };
        out.push((format!("{at}/{name}"), path.to_owned()));
    }
}

/// Names for a dump: each mount is called by its place, and hidden files are the null device.
pub(super) fn named(
    spec: &Spec,
    rootfs: &Path,
    cgroup: Option<&Cgroup>,
    init: i32,
) -> Vec<(String, String)> {
    let foreign = foreign(spec, rootfs, cgroup).into_iter();
    let mut out: Vec<(String, String)> = foreign.map(|(at, _)| (at.clone(), at)).collect();
    for path in spec.linux.iter().flat_map(|l| &l.masked_paths) {
        let seen = format!("/proc/{init}/root/{}", path.trim_start_matches('/'));
        if std::fs::metadata(seen).is_ok_and(|m| !m.is_dir()) {
            out.push((path.clone(), NULL.to_owned()));
        }
    }
    out
}

/// Where they are, for a restore.
///
/// A source may be relative to the bundle.
pub(super) fn placed(
    spec: &Spec,
    bundle: &Path,
    rootfs: &Path,
    cgroup: Option<&Cgroup>,
) -> Vec<(String, String)> {
    let foreign = foreign(spec, rootfs, cgroup).into_iter();
    let text = |path: PathBuf| bundle.join(path).to_string_lossy().into_owned();
    let mut out: Vec<(String, String)> = foreign.map(|(at, path)| (at, text(path))).collect();
    if spec
        .linux
        .as_ref()
        .is_some_and(|l| !l.masked_paths.is_empty())
    {
        out.push((NULL.to_owned(), NULL.to_owned()));
    }
    out
}

/// The place after the links of the root file system, as the kernel shows it.
fn within(rootfs: &Path, destination: &str) -> String {
    let resolved = || {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(rootfs, flags, Mode::empty()).ok()?;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let path = Path::new(destination);
        let place = sys::rooted::open(root.as_fd(), path, flags, Mode::empty()).ok()?;
        let shown = std::fs::read_link(format!("/proc/self/fd/{}", place.as_raw_fd())).ok()?;
        let inside = shown.strip_prefix(rootfs).ok()?;
        Some(format!("/{}", inside.to_string_lossy()))
    };
    resolved().unwrap_or_else(|| {
        let parts = destination.split('/').filter(|p| !matches!(*p, "" | "."));
        format!("/{}", parts.collect::<Vec<_>>().join("/"))
    })
}

/// The caller's mount namespace, to come back to.
#[derive(Debug)]
pub(super) struct Home {
    namespace: OwnedFd,
    directory: OwnedFd,
}

impl Home {
    /// Goes into a mount namespace of its own, which ends with whoever is started in it: what is
    /// mounted there is left behind nowhere.
    pub(super) fn leave() -> Result<Self> {
        let open = |path, flags| rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty());
        let namespace =
            open("/proc/self/ns/mnt", OFlags::RDONLY).during("open", "mount namespace")?;
        let directory =
            open(".", OFlags::PATH | OFlags::DIRECTORY).during("open", "working directory")?;
        sys::process::unshare(NEW_MOUNTS).during("unshare", "mount namespace")?;
        let home = Self {
            namespace,
            directory,
        };
        let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        match rustix::mount::mount_change("/", flags).during("set propagation of", "/") {
            Ok(()) => Ok(home),
            Err(error) => {
                home.back()?;
                Err(error)
            }
        }
    }

    /// Comes back.
    pub(super) fn back(self) -> Result<()> {
        sys::process::setns(self.namespace.as_fd(), NEW_MOUNTS)
            .during("rejoin", "mount namespace")?;
        rustix::process::fchdir(&self.directory).during("chdir", "working directory")
    }
}

/// Binds the root file system to `root`, a directory: criu wants a mount that nothing is mounted
/// over. The places of mounts that a new container would be given are made there too.
pub(super) fn prepare_root(spec: &Spec, rootfs: &Path, root: &Path) -> Result<()> {
    rustix::mount::mount_bind_recursive(rootfs, root).during("bind", rootfs.display())?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags, Mode::empty()).during("open", root.display())?;
    let mut covering: Vec<OwnedFd> = Vec::new();
    for mount in &spec.mounts {
        // What is on a tmpfs comes back with it; cgroups are on one, or below /sys.
        if is_cgroup(mount) || on_tmpfs(&mount.destination, &spec.mounts) {
            continue;
        }
        let directory = !is_bind(mount) || Path::new(&mount.source).is_dir();
        let place = place(&root, &mount.destination, directory)?;
        if is_bind(mount) {
            // Others may be mounted inside of it.
            let clone = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_RECURSIVE;
            let tree = rustix::mount::open_tree(CWD, mount.source.as_str(), clone)
                .during("open", &mount.source)?;
            let flags =
                MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
            rustix::mount::move_mount(&tree, "", &place, "", flags)
                .during("mount at", &mount.destination)?;
            covering.push(tree);
        }
    }
    for tree in covering.iter().rev() {
        let path = format!("/proc/self/fd/{}", tree.as_raw_fd());
        rustix::mount::unmount(&path, UnmountFlags::DETACH).during("umount", &path)?;
    }
    Ok(())
}

fn place(root: &OwnedFd, destination: &str, directory: bool) -> Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let path = Path::new(destination);
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let place = match sys::rooted::open_with(root.as_fd(), path, flags, Mode::empty(), resolve) {
        Err(Errno::NOENT) => {
            let kind = if directory {
                Made::Directory
            } else {
                Made::File
            };
            let mode = Mode::from_raw_mode(0o755);
            sys::rooted::make(root.as_fd(), path, kind, mode, resolve)
        }
        other => other,
    };
    place.during("create criu restore mountpoint for", destination)
}

fn on_tmpfs(path: &str, mounts: &[Mount]) -> bool {
    let above = |m: &&Mount| m.kind == "tmpfs" && !is_bind(m);
    mounts.iter().filter(above).any(|m| {
        let rest = path.strip_prefix(m.destination.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.starts_with('/') && rest.len() > 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        serde_json::from_str(
            r#"{"mounts":[
                {"destination":"/proc","type":"proc"},
                {"destination":"/dev/","type":"tmpfs"},
                {"destination":"/dev/pts","type":"devpts"},
                {"destination":"/link/file","type":"bind","source":"/etc/hosts"},
                {"destination":"/data//x/","source":"srv","options":["rbind","ro"]},
                {"destination":"/sys/fs/cgroup","type":"cgroup"}],
              "linux":{"maskedPaths":["/proc/version"],"devices":[
                {"path":"/dev/fuse","type":"c","major":10,"minor":229}]}}"#,
        )
        .unwrap()
    }

    #[test]
    fn foreign_ones_by_their_places() {
        let dir = tempfile::tempdir().unwrap();
        let rootfs = dir.path().canonicalize().unwrap();
        std::fs::create_dir(rootfs.join("etc")).unwrap();
        std::fs::write(rootfs.join("etc/file"), "").unwrap();
        std::os::unix::fs::symlink("/etc", rootfs.join("link")).unwrap();
        let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            let owned = list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
            owned.collect()
        };
        let wanted = [
            ("/etc/file", "/etc/hosts"),
            ("/data/x", "/bundle/srv"),
            ("/dev/fuse", "/dev/fuse"),
            ("/dev/null", "/dev/null"),
        ];
        assert_eq!(
            placed(&spec(), Path::new("/bundle"), &rootfs, None),
            pairs(&wanted)
        );
        let named = named(&spec(), &rootfs, None, std::process::id() as i32);
        let wanted = [
            ("/etc/file", "/etc/file"),
            ("/data/x", "/data/x"),
            ("/dev/fuse", "/dev/fuse"),
            ("/proc/version", "/dev/null"),
        ];
        assert_eq!(named, pairs(&wanted));
    }

    #[test]
    fn below_a_tmpfs() {
        let mounts = spec().mounts;
        assert!(on_tmpfs("/dev/pts", &mounts));
        assert!(!on_tmpfs("/dev/", &mounts) && !on_tmpfs("/device", &mounts));
    }
}
