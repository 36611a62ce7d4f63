//! Bind mounts that only the parent can prepare.
//!
//! A child in a user namespace may not reach a source below a directory that is closed to its
//! root, and may not map the ids of a mount of the host's. Such trees are cloned, mapped and given
//! their attributes by the parent, and are inherited, detached, as descriptors.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use oci::runtime::{IdMapping, Linux, Mount};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::OpenTreeFlags;
use sys::mount::{Borrowed, MountAttr};

use crate::mounts::{self, Problem, Site, Step, at};
use crate::options::Options;
use crate::{Error, Result, Tree, bind_flags, userns};

/// One for each mount of the spec; empty when none needs it.
#[derive(Debug, Default)]
pub(crate) struct Sources(Vec<Option<OwnedFd>>);

/// What the trees depend on besides their own mounts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting<'a> {
    pub(crate) linux: &'a Linux,
    pub(crate) bundle: Option<&'a Path>,
    /// Where the root file system is on the host.
    pub(crate) rootfs: Option<&'a Path>,
    /// Every bind mount is prepared.
    pub(crate) in_userns: bool,
    /// A user namespace that is joined.
    pub(crate) joined: Option<&'a OwnedFd>,
    /// Given by the caller.
    pub(crate) trees: &'a [Tree<'a>],
}

impl Sources {
    pub(crate) fn prepare(
        setting: &Setting<'_>,
        list: &[Mount],
        options: &[Options],
    ) -> Result<Self> {
        let mut out = Vec::new();
        let mut namespaces = Namespaces::default();
        for (n, (mount, options)) in list.iter().zip(options).enumerate() {
            let bind = mount.kind == "bind" || options.bind.is_some();
            let given = setting
                .trees
                .iter()
                .find(|tree| tree.destination == mount.destination);
            if let Some(given) = given.filter(|_| bind) {
                let tree = at("dup", rustix::io::fcntl_dupfd_cloexec(given.mount, 3))
                    .and_then(|tree| crate::mounts::attributes(&tree, options).map(|()| tree))
                    .map_err(|problem| problem.about(mount))?;
                out.resize_with(n, || None);
                out.push(Some(tree));
                continue;
            }
            let mapped = options.idmap.is_some() || !mount.uid_mappings.is_empty();
            // Without privileges here it is left to the child, who has them in its namespaces.
            let early = setting.in_userns && rustix::process::geteuid().is_root();
            if !bind || options.remount || !(mapped || early) {
                continue;
            }
            if mounts::inside(setting.rootfs, &mount.source).is_some() {
                // Of what is not there yet.
                continue;
            }
            let tree = (|| -> Step<OwnedFd> {
                let tree = clone(mount, options, setting.bundle)?;
                cut_off(&tree, setting.linux)?;
                if mapped {
                    let namespace = namespaces.of(mount, setting.linux, setting.joined)?;
                    map(&tree, namespace, options)?;
                }
                bind_flags::apply(&tree, options, setting.in_userns)?;
                mounts::spread(&tree, options)?;
                Ok(tree)
            })()
            .map_err(|problem| problem.about(mount))?;
            out.resize_with(n, || None);
            out.push(Some(tree));
        }
        Ok(Self(out))
    }

    /// The prepared tree of mount number `n`.
    pub(crate) fn of(&self, n: usize) -> Option<&OwnedFd> {
        self.0.get(n).and_then(Option::as_ref)
    }
}

/// A detached copy of what a bind mount is of; a relative source is meant from the bundle.
pub(crate) fn clone(mount: &Mount, options: &Options, bundle: Option<&Path>) -> Step<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if options.bind == Some(true) {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    if let Some((pid, path)) = elsewhere(&mount.source) {
        return tree_of(pid, path, flags);
    }
    let source = Path::new(&mount.source);
    let tree = match bundle {
        Some(bundle) if source.is_relative() => {
            rustix::mount::open_tree(CWD, bundle.join(source), flags)
        }
        _ => rustix::mount::open_tree(CWD, source, flags),
    };
    at("open_tree", tree)
}

/// A copy of a place in the root being built, with what has been mounted there so far. No link of
/// the image leads out of it.
pub(crate) fn clone_inside(
    site: &Site<'_>,
    number: usize,
    mount: &Mount,
    options: &Options,
    path: &Path,
) -> Step<OwnedFd> {
    let path = Path::new("/").join(path);
    let place = sys::rooted::open(site.root, &path, OFlags::PATH, Mode::empty());
    let place = at("open", place)?;
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if options.bind == Some(true) {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = at("open_tree", rustix::mount::open_tree(&place, "", flags))?;
    if options.idmap.is_some() || !mount.uid_mappings.is_empty() {
        site.line.source(number, tree.as_fd())?;
    }
    Ok(tree)
}

/// In the parent: maps the ids of a tree that the child `pid` has cloned in its own mount
/// namespace, which is where the kernel lets it be changed.
pub(crate) fn map_inside(
    linux: &Linux,
    joined: Option<&OwnedFd>,
    mount: &Mount,
    options: &Options,
    pid: u32,
    tree: &OwnedFd,
) -> Step<()> {
    let mut namespaces = Namespaces::default();
    let namespace = namespaces.of(mount, linux, joined)?;
    within(&pid.to_string(), || map(tree, namespace, options))?
}

fn map(tree: &OwnedFd, namespace: &OwnedFd, options: &Options) -> Step<()> {
    let attr = MountAttr {
        userns: Some(Borrowed(namespace.as_fd())),
        ..MountAttr::default()
    };
    let recursive = options.idmap == Some(true);
    sys::mount::set_attr(tree.as_fd(), &attr, recursive)
        .map_err(|e| Problem::Errno("map ids (MOUNT_ATTR_IDMAP)", e))
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
    let tree = within(pid, || {
        rustix::mount::open_tree(CWD, format!("/{path}"), flags)
    })?;
    at("open_tree", tree)
}

/// Does something in the mount namespace of another process, and comes back whatever it gives.
fn within<T>(pid: &str, what: impl FnOnce() -> T) -> Step<T> {
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
    let result = what();
    at("setns", sys::process::setns(own.as_fd(), libc::CLONE_NEWNS))?;
    // Entering a mount namespace moves root and working directory.
    at("fchdir", rustix::process::fchdir(&root))?;
    at("chroot", rustix::process::chroot("."))?;
    at("fchdir", rustix::process::fchdir(&cwd))?;
    Ok(result)
}

/// A copy made in the host's mount namespace is a peer of its original; in the container's, made
/// a slave of the host's, it would not be one.
fn cut_off(tree: &OwnedFd, linux: &Linux) -> Step<()> {
    let propagation = match linux.rootfs_propagation.as_str() {
        "" | "slave" | "rslave" => libc::MS_SLAVE,
        "private" | "rprivate" | "unbindable" | "runbindable" => libc::MS_PRIVATE,
        _ => return Ok(()),
    };
    let attr = MountAttr {
        propagation,
        ..MountAttr::default()
    };
    at(
        "mount_setattr",
        sys::mount::set_attr(tree.as_fd(), &attr, true),
    )
}

/// User namespaces that exist for their maps, each made once.
#[derive(Debug, Default)]
struct Namespaces(Vec<(Vec<IdMapping>, Vec<IdMapping>, OwnedFd)>);

impl Namespaces {
    fn of<'s>(
        &'s mut self,
        mount: &'s Mount,
        linux: &'s Linux,
        joined: Option<&'s OwnedFd>,
    ) -> Step<&'s OwnedFd> {
        let (uids, gids) = match (mount.uid_mappings.is_empty(), joined) {
            (false, _) => (&mount.uid_mappings, &mount.gid_mappings),
            (true, Some(joined)) => return Ok(joined),
            (true, None) => (&linux.uid_mappings, &linux.gid_mappings),
        };
        if uids.is_empty() || gids.is_empty() {
            return Err(Error::invalid(
                "idmap needs uidMappings and gidMappings, of the mount or of a user namespace",
            )
            .into());
        }
        let known = self.0.iter().position(|(u, g, _)| u == uids && g == gids);
        let at = match known {
            Some(at) => at,
            None => {
                let fd = userns::make(uids, gids)?;
                self.0.push((uids.clone(), gids.clone(), fd));
                self.0.len() - 1
            }
        };
        match self.0.get(at) {
            Some((_, _, fd)) => Ok(fd),
            None => Err(Error::internal("a user namespace went missing").into()),
        }
    }
}
