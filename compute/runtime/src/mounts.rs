//! The mounts of a spec, each made detached and moved to its place by descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use oci::runtime::Mount;
use rustix::mount::{FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MoveMountFlags};
use sys::Errno;
use sys::mount::MountAttr;

use crate::channel::Line;
use crate::error::{Context, errno_text};
use crate::options::Options;
use crate::sources::{self, Sources};
use crate::target::{self, Guest};
use crate::{Error, Kind, Result, bind_flags, copyup};

/// Where mounts go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site<'a> {
    /// The attached root mount.
    pub(crate) root: BorrowedFd<'a>,
    /// For mounts of type `cgroup`.
    pub(crate) cgroup: Option<&'a cgroup::Cgroup>,
    /// The container sees only its own part of the cgroups.
    pub(crate) cgroup_namespace: bool,
    /// Device nodes cannot be made.
    pub(crate) in_userns: bool,
    /// What relative sources are relative to.
    pub(crate) bundle: Option<&'a Path>,
    /// Where the root file system is on the host; bind mounts may be of what is in it, with what
    /// has been mounted there by then.
    pub(crate) rootfs: Option<&'a Path>,
    /// To the parent, which maps the ids of such mounts.
    pub(crate) line: &'a Line<'a>,
    /// SELinux context of new file systems.
    pub(crate) label: &'a str,
    /// Trees that the parent has prepared.
    pub(crate) sources: &'a Sources,
}

impl Site<'_> {
    /// Where a mount goes: some callers write the path that the root file system has on the host
    /// in front, which runc takes for the root too.
    pub(crate) fn destination<'m>(&self, mount: &'m Mount) -> &'m str {
        inside(self.rootfs, &mount.destination)
            .and_then(Path::to_str)
            .unwrap_or(&mount.destination)
    }
}

/// What comes after the root file system's path on the host.
pub(crate) fn inside<'p>(rootfs: Option<&Path>, path: &'p str) -> Option<&'p Path> {
    Path::new(path).strip_prefix(rootfs?).ok()
}

/// Mounts that become read-only once what is below them is there.
#[derive(Debug, Default)]
pub(crate) struct Late(Vec<OwnedFd>);

impl Late {
    pub(crate) fn settle(&self) -> Result<()> {
        let attr = MountAttr {
            set: sys::mount::RDONLY,
            ..MountAttr::default()
        };
        self.0.iter().try_for_each(|mount| {
            sys::mount::set_attr(mount.as_fd(), &attr, false).context(|| "make mount read-only")
        })
    }
}

/// The options of all mounts, as they are checked before anything is done.
pub(crate) fn parse(mounts: &[Mount]) -> Result<Vec<Options>> {
    let parsed = mounts.iter().enumerate().map(|(n, mount)| {
        Options::parse(&mount.options)
            .and_then(|options| options.check(mount).map(|()| options))
            .map_err(|e| Error::new(e.kind, format!("mounts[{n}].options: {}", e.message)))
    });
    parsed.collect()
}

pub(crate) fn mount_all(site: &Site<'_>, mounts: &[Mount], options: &[Options]) -> Result<Late> {
    let mut late = Late::default();
    for (n, (mount, options)) in mounts.iter().zip(options).enumerate() {
        one(site, n, mount, options, &mut late).map_err(|problem| problem.about(mount))?;
    }
    Ok(late)
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
    /// Where no mount of a specification is meant.
    pub(crate) fn alone(self) -> Error {
        match self {
            Self::Errno(call, errno) => Error::internal(format!("{call}: {}", errno_text(errno))),
            Self::Said(error) => error,
        }
    }

    pub(crate) fn about(self, mount: &Mount) -> Error {
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

fn one(site: &Site<'_>, n: usize, mount: &Mount, options: &Options, late: &mut Late) -> Step<()> {
    if options.remount {
        return remount(site, mount, options);
    }
    match (mount.kind.as_str(), options.bind) {
        ("bind", _) | (_, Some(_)) => bind_mount(site, n, mount, options),
        ("cgroup" | "cgroup2", None) => crate::cgroup_mount::mount(site, mount, options),
        (kind, None) => file_system(site, kind, mount, options, late),
    }
}

fn file_system(
    site: &Site<'_>,
    kind: &str,
    mount: &Mount,
    options: &Options,
    late: &mut Late,
) -> Step<()> {
    let guest = match kind {
        "proc" => Guest::Proc,
        "sysfs" => Guest::Sys,
        _ => Guest::Directory,
    };
    let (place, existed) = target::open(site.root, site.destination(mount), guest)?;
    let mode = (kind == "tmpfs" && existed)
        .then(|| rustix::fs::fstat(&place).ok().map(|s| s.st_mode & 0o7777))
        .flatten();
    // What comes later needs mountpoints and nodes in it.
    let writable = options.own.set & sys::mount::RDONLY != 0
        && (kind == "tmpfs" || Path::new(&mount.destination) == Path::new("/dev"));
    let made = match writable {
        false => make_labelled(kind, &mount.source, options, mode, site.label)?,
        true => {
            let mut writable = options.clone();
            writable.own.set &= !sys::mount::RDONLY;
            make_labelled(kind, &mount.source, &writable, mode, site.label)?
        }
    };
    if options.copy_up && existed {
        at("tmpcopyup", copyup::copy(place.as_fd(), made.as_fd()))?;
    }
    put(&made, &place, options)?;
    if writable {
        late.0.push(made);
    }
    Ok(())
}

fn bind_mount(site: &Site<'_>, n: usize, mount: &Mount, options: &Options) -> Step<()> {
    let own;
    let (tree, prepared) = match site.sources.of(n) {
        Some(tree) => (tree, true),
        None => {
            own = match inside(site.rootfs, &mount.source) {
                Some(path) => sources::clone_inside(site, n, mount, options, path)?,
                None => sources::clone(mount, options, site.bundle)?,
            };
            (&own, false)
        }
    };
    let guest = target::guest_of(tree)?;
    let (place, _) = target::open(site.root, site.destination(mount), guest)?;
    if !prepared {
        bind_flags::apply(tree, options, false)?;
        spread(tree, options)?;
    }
    attach(tree, &place)
}

/// Changes what is mounted at the destination: attributes of the mount and, unless it is about a
/// bind mount, parameters of its file system (mount(8), `remount`).
fn remount(site: &Site<'_>, mount: &Mount, options: &Options) -> Step<()> {
    let place = target::existing(site.root, site.destination(mount))?;
    if options.bind.is_none() && !(options.data.is_empty() && options.common.is_empty()) {
        let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
        let fs = at("fspick", rustix::mount::fspick(&place, "", flags))?;
        configure(&fs, &mount.kind, options)?;
        at(
            "fsconfig reconfigure",
            rustix::mount::fsconfig_reconfigure(&fs),
        )?;
    }
    attributes(&place, options)
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
    configure(&fs, kind, options)?;
    at("fsconfig create", rustix::mount::fsconfig_create(&fs))?;
    let attributes = MountAttrFlags::from_bits_retain(options.own.set as u32);
    at(
        "fsmount",
        rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes),
    )
}

fn configure(fs: &OwnedFd, kind: &str, options: &Options) -> Step<()> {
    let failed = |key: &str, e| {
        let text = errno_text(e);
        Error::invalid(format!("option {key:?} for {kind}: {text}"))
    };
    for (key, value) in &options.data {
        match value {
            Some(value) => rustix::mount::fsconfig_set_string(fs, key.as_str(), value.as_str()),
            None => rustix::mount::fsconfig_set_flag(fs, key.as_str()),
        }
        .map_err(|e| failed(key, e))?;
    }
    for key in &options.common {
        rustix::mount::fsconfig_set_flag(fs, *key).map_err(|e| failed(key, e))?;
    }
    Ok(())
}

/// [`make`] with an SELinux context, on file systems that have labels of their own.
fn make_labelled(
    kind: &str,
    source: &str,
    options: &Options,
    mode: Option<u32>,
    label: &str,
) -> Step<OwnedFd> {
    if label.is_empty() || matches!(kind, "proc" | "sysfs" | "mqueue") {
        return make(kind, source, options, mode);
    }
    let mut labelled = options.clone();
    labelled.data.push(("context".into(), Some(label.into())));
    make(kind, source, &labelled, mode)
}

/// Gives a mount its attributes and propagation.
pub(crate) fn attributes(made: &OwnedFd, options: &Options) -> Step<()> {
    if !options.own.is_empty() {
        at(
            "mount_setattr",
            sys::mount::set_attr(made.as_fd(), &options.attributes(), false),
        )?;
    }
    spread(made, options)
}

/// Gives it what reaches below it: recursive attributes and propagation.
pub(crate) fn spread(made: &OwnedFd, options: &Options) -> Step<()> {
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
        let fresh = options.bind.is_none() && !options.remount && propagation == libc::MS_PRIVATE;
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
    Ok(())
}

/// Moves a detached mount, made with its own attributes, to its place.
pub(crate) fn put(made: &OwnedFd, place: &OwnedFd, options: &Options) -> Step<()> {
    spread(made, options)?;
    attach(made, place)
}

fn attach(made: &OwnedFd, place: &OwnedFd) -> Step<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    at(
        "move_mount",
        rustix::mount::move_mount(made, "", place, "", flags),
    )
}
