//! The container's root: from a mount to a place with nothing of the host in it.
//!
//! The root is attached over `/` of the child's own mount namespace, filled through its
//! descriptor with openat2 confinement, and then pivoted to; the old root is detached before any
//! path of the image is followed as a path.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use oci::runtime::{Linux, Spec};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags};
use sys::mount::MountAttr;

use crate::error::{Context, errno_text};
use crate::hooks::{self, Company};
use crate::plan::Plan;
use crate::terminal::{self, Pty};
use crate::{Build, Error, Result, Rootfs, Stdio};
use crate::{credentials, devices, masks, mounts, program, sysctl};

/// Builds the root and moves into it; the terminal, when one is asked for, is of its devpts.
pub(crate) fn build(build: &Build<'_>, plan: &Plan, company: &Company<'_>) -> Result<Option<Pty>> {
    let spec = build.spec;
    let Some(linux) = &spec.linux else {
        return Err(Error::invalid("linux is missing in config.json"));
    };
    if let Some(personality) = &linux.personality {
        credentials::personality(personality)?;
    }
    // The host's own mounts are left as they are.
    let shared = !plan.host_mounts && host_propagation(linux)?;
    let slave = matches!(linux.rootfs_propagation.as_str(), "slave" | "rslave");
    let at = match (plan.host_mounts, hooks::see_host_paths(spec)) {
        (true, _) => At::Host,
        (false, true) => At::Place,
        (false, false) => At::Top,
    };
    let root = attach(build.rootfs, at, slave)?;
    // Nodes and mountpoints get the modes asked for, whatever the caller's umask.
    rustix::process::umask(Mode::empty());
    let site = mounts::Site {
        root: root.as_fd(),
        cgroup: build.cgroup,
        cgroup_namespace: plan.cgroup_namespace,
        in_userns: plan.in_userns,
        bundle: company.name.map(|n| n.bundle),
        rootfs: build.rootfs.path(),
        line: company.line,
        label: &linux.mount_label,
        sources: &plan.sources,
    };
    let late = mounts::mount_all(&site, &spec.mounts, &plan.options)?;
    devices::populate(&site, spec)?;
    rustix::process::fchdir(&root).context(|| "chdir to root mount")?;
    hooks::before_pivot(spec, company)?;
    match (plan.host_mounts, build.extras.no_pivot) {
        (true, _) => confine()?,
        (false, false) => pivot(shared)?,
        (false, true) => enter()?,
    }
    let pty = match build.stdio {
        Stdio::Terminal(size) => Some(console(size)?),
        Stdio::Fds(_) => None,
    };
    sysctl::write(root.as_fd(), &linux.sysctl)?;
    late.settle()?;
    masks::apply(linux)?;
    if let (true, Some(process)) = (build.create_cwd, &spec.process) {
        // Before the root may become read-only.
        program::create_cwd(&process.cwd)?;
    }
    settle(spec, linux, root.as_fd())?;
    Ok(pty)
}

/// Cuts the copy of the host's mounts off from the host. True when it stays shared because the
/// spec wants mounts to travel back.
fn host_propagation(linux: &Linux) -> Result<bool> {
    let (flags, recursive) = match linux.rootfs_propagation.as_str() {
        "" | "slave" | "rslave" => (libc::MS_SLAVE, true),
        "private" | "rprivate" | "unbindable" | "runbindable" => (libc::MS_PRIVATE, true),
        // Bind mounts stay peers of the host's; only the mount that the root goes on is cut off.
        "shared" | "rshared" => (libc::MS_PRIVATE, false),
        other => {
            return Err(Error::invalid(format!(
                "invalid rootfsPropagation {other:?}"
            )));
        }
    };
    let flags_o = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open("/", flags_o, Mode::empty()).context(|| "open /")?;
    let attr = MountAttr {
        propagation: flags,
        ..MountAttr::default()
    };
    sys::mount::set_attr(top.as_fd(), &attr, recursive).context(|| "set mount propagation of /")?;
    Ok(!recursive)
}

/// Where the root is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Over `/`.
    Top,
    /// Over its own path: hooks of the create stage join this mount namespace and look for it, and
    /// for the host's files, where the host has them.
    Place,
    /// The same in the host's mount namespace.
    Host,
}

/// Puts the root there.
fn attach(rootfs: Rootfs<'_>, at: At, slave: bool) -> Result<OwnedFd> {
    let root = match rootfs {
        Rootfs::Mount(fd) => {
            rustix::io::fcntl_dupfd_cloexec(fd, 3).context(|| "duplicate root mount")?
        }
        Rootfs::Path(path) => {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_RECURSIVE;
            let root = rustix::mount::open_tree(CWD, path, flags)
                .context(|| format!("open rootfs {}", path.display()))?;
            // Private, so that nothing mounted in it appears at the path it came from. A slave is
            // one already, and stays one, so that what the host mounts there appears in it.
            if !slave {
                let attr = MountAttr {
                    propagation: libc::MS_PRIVATE,
                    ..MountAttr::default()
                };
                sys::mount::set_attr(root.as_fd(), &attr, true)
                    .context(|| "set mount propagation of rootfs")?;
            }
            root
        }
    };
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    let place = match rootfs {
        Rootfs::Path(path) if at != At::Top => {
            if at == At::Place {
                cut_off(path)?;
            }
            path
        }
        _ => Path::new("/"),
    };
    rustix::mount::move_mount(&root, "", CWD, place, flags).context(|| "attach root mount")?;
    Ok(root)
}

/// Makes the mount that `path` is on private: what is mounted on a shared one travels, and
/// pivot_root(2) refuses to leave one.
fn cut_off(path: &Path) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = rustix::fs::open(path, flags, Mode::empty())
        .context(|| format!("open rootfs {}", path.display()))?;
    let attr = MountAttr {
        propagation: libc::MS_PRIVATE,
        ..MountAttr::default()
    };
    match sys::mount::set_attr(place.as_fd(), &attr, false) {
        Ok(()) => Ok(()),
        // Not the root of a mount: its mount is then found one directory up.
        Err(sys::Errno::INVAL) => match path.parent() {
            Some(parent) => cut_off(parent),
            None => Ok(()),
        },
        Err(e) => Err(Error::internal(format!(
            "make the mount of rootfs {} private: {}",
            path.display(),
            errno_text(e)
        ))),
    }
}

/// Makes the attached root, where the caller is, the only one.
fn pivot(shared: bool) -> Result<()> {
    rustix::process::pivot_root(".", ".").context(|| "pivot_root")?;
    if shared {
        // Detaching must not travel to the host.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let old = rustix::fs::open(".", flags, Mode::empty()).context(|| "open old root")?;
        let attr = MountAttr {
            propagation: libc::MS_SLAVE,
            ..MountAttr::default()
        };
        sys::mount::set_attr(old.as_fd(), &attr, true).context(|| "make old root slave")?;
    }
    rustix::mount::unmount(".", UnmountFlags::DETACH).context(|| "detach old root")?;
    rustix::process::chdir("/").context(|| "chdir /")
}

/// Makes the attached root, where the caller is, the process's own without taking the old one
/// away.
///
/// The kernel lets nobody mount a proc or sysfs that shows more than those in sight; the host's
/// bare ones would be in sight below, so they go.
fn enter() -> Result<()> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(|e| Error::internal(format!("read /proc/self/mountinfo: {e}")))?;
    for line in table.lines() {
        let Some((front, back)) = line.split_once(" - ") else {
            continue;
        };
        let bare = matches!(back.split(' ').next(), Some("proc" | "sysfs"));
        let mut front = front.split(' ').skip(3);
        if let (true, Some("/"), Some(place)) = (bare, front.next(), front.next()) {
            // Paths lead through the old root still. EINVAL: one of the new root's own, whose
            // path here is nothing in the old one.
            match rustix::mount::unmount(place, UnmountFlags::DETACH) {
                Ok(()) | Err(sys::Errno::INVAL | sys::Errno::NOENT) => {}
                Err(e) => {
                    return Err(Error::internal(format!(
                        "detach {place} of the host: {}",
                        errno_text(e)
                    )));
                }
            }
        }
    }
    confine()
}

/// Makes the attached root, where the caller is, the process's own.
fn confine() -> Result<()> {
    rustix::process::chroot(".").context(|| "chroot")?;
    rustix::process::chdir("/").context(|| "chdir /")
}

/// Opens a terminal and binds it over /dev/console.
///
/// Neither end is found by its path: /dev/pts and /dev/console are what the image and its mounts
/// say they are, and a link there would bind something else, or onto something else
/// (CVE-2025-52565).
fn console(size: Option<oci::runtime::ConsoleSize>) -> Result<Pty> {
    let pty = terminal::open(size)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = rustix::mount::open_tree(&pty.slave, "", flags)
        .context(|| "open terminal for /dev/console")?;
    let fail = |e| Error::internal(format!("create /dev/console: {}", errno_text(e)));
    let open = |flags| {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open("/dev/console", flags, Mode::from_raw_mode(0o600))
    };
    let place = match open(OFlags::PATH) {
        Err(sys::Errno::NOENT) => {
            open(OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOCTTY).map_err(fail)?
        }
        other => other.map_err(fail)?,
    };
    let stat = rustix::fs::fstat(&place).map_err(fail)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        return Err(Error::invalid(
            "/dev/console of the container is a symbolic link",
        ));
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(&tree, "", &place, "", flags).context(|| "mount /dev/console")?;
    Ok(pty)
}

/// What can only be done once everything is in place.
fn settle(spec: &Spec, linux: &Linux, root: BorrowedFd<'_>) -> Result<()> {
    let mut attr = MountAttr::default();
    if spec.root.as_ref().is_some_and(|r| r.readonly) {
        attr.set = sys::mount::RDONLY;
    }
    attr.propagation = match linux.rootfs_propagation.as_str() {
        "shared" | "rshared" => libc::MS_SHARED,
        "slave" | "rslave" => libc::MS_SLAVE,
        "unbindable" | "runbindable" => libc::MS_UNBINDABLE,
        _ => 0,
    };
    if attr == MountAttr::default() {
        return Ok(());
    }
    sys::mount::set_attr(root, &attr, false).context(|| "set attributes of root mount")
}
