//! Mounts of type `cgroup`: the container's own part of the hierarchies.

use std::os::fd::AsFd;
use std::path::Path;

use crate::Error;
use crate::mounts::{Site, Step, at, make, put};
use crate::options::Options;
use crate::target::{self, Guest};
use oci::runtime::Mount;
use rustix::fs::{CWD, Mode};
use rustix::mount::{MoveMountFlags, OpenTreeFlags};

/// v2: the one directory, bound. v1: a tmpfs with one bind for each hierarchy.
pub(crate) fn mount(site: &Site<'_>, mount: &Mount, options: &Options) -> Step<()> {
    let Some(cgroup) = site.cgroup else {
        return Err(Error::invalid("the container has no cgroup of its own").into());
    };
    let (place, _) = target::open(site.root, site.destination(mount), Guest::Directory)?;
    let attr = options.attributes();
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if cgroup.version() == 2 {
        let Some((path, ..)) = cgroup.directories().next() else {
            return Err(Error::invalid("the container has no cgroup of its own").into());
        };
        // Where the container sees the names of the whole hierarchy it gets the whole hierarchy.
        let path = match site.cgroup_namespace {
            true => path,
            false => hierarchy(path, cgroup.path()),
        };
        let tree = at("open_tree", rustix::mount::open_tree(CWD, path, clone))?;
        at(
            "mount_setattr",
            sys::mount::set_attr(tree.as_fd(), &attr, false),
        )?;
        return put(&tree, &place, options);
    }
    let mut top = Options::default();
    top.data.push(("mode".into(), Some("755".into())));
    let tmpfs = make("tmpfs", "tmpfs", &top, None)?;
    put(&tmpfs, &place, &Options::default())?;
    // The v2 tree of a hybrid host controls nothing, and is left out.
    let controlling = cgroup.directories().filter(|(_, c, _)| !c.is_empty());
    for (path, controllers, _) in controlling {
        let name = match controllers {
            [one] => one.strip_prefix("name=").unwrap_or(one).to_owned(),
            several => several.join(","),
        };
        at(
            "mkdir",
            rustix::fs::mkdirat(&tmpfs, &name, Mode::from_raw_mode(0o755)),
        )?;
        let tree = at("open_tree", rustix::mount::open_tree(CWD, path, clone))?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        at(
            "move_mount",
            rustix::mount::move_mount(&tree, "", &tmpfs, &name, flags),
        )?;
        if controllers.len() > 1 {
            for controller in controllers {
                at("symlink", rustix::fs::symlinkat(&name, &tmpfs, controller))?;
            }
        }
    }
    // Once for all of them, and last: read-only would have kept the directories from being made.
    at(
        "mount_setattr",
        sys::mount::set_attr(tmpfs.as_fd(), &attr, true),
    )
}

/// The root of the hierarchy that has the directory `full` at `path`.
fn hierarchy<'p>(full: &'p Path, path: &str) -> &'p Path {
    let depth = Path::new(path).components().count();
    full.ancestors().nth(depth).unwrap_or(full)
}
