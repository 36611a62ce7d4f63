//! What a spec asks for, checked and with everything opened that must be open before clone3.

use std::os::fd::{AsFd, OwnedFd};

use oci::runtime::{Hooks, Namespace, Process, Spec};
use rustix::fs::{Mode, OFlags};

use crate::error::{Context, errno_text};
use crate::options::Options;
use crate::procfs::Proc;
use crate::sources::{Setting, Sources};
use crate::{Build, Error, Name, Result, Rootfs, credentials};

/// What is made, joined and mounted.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// `CLONE_NEW*` for clone3.
    pub(crate) flags: u64,
    /// Joined by the child, or by a helper before it is born.
    pub(crate) joins: Vec<(OwnedFd, i32)>,
    /// A user namespace to join.
    pub(crate) user_join: Option<OwnedFd>,
    /// Joined by the parent around clone3: it takes effect for children only.
    pub(crate) pid_join: Option<OwnedFd>,
    /// As for `pid_join`.
    pub(crate) time_join: Option<OwnedFd>,
    /// A new time namespace, made by the child, so that it belongs to its user namespace.
    pub(crate) new_time: bool,
    /// v1: unshared by the child once it is in its cgroup.
    pub(crate) late_cgroup: bool,
    /// A user namespace is made: ids must be mapped before the child goes on.
    pub(crate) user: bool,
    /// A user namespace is made or joined.
    pub(crate) in_userns: bool,
    /// The child waits at its beginning for what only the parent can do.
    pub(crate) waits: bool,
    /// The container has a cgroup namespace of its own.
    pub(crate) cgroup_namespace: bool,
    /// There is no mount namespace: everything is mounted in the caller's.
    pub(crate) host_mounts: bool,
    /// The options of each mount.
    pub(crate) options: Vec<Options>,
    /// Bind mounts that the parent prepares.
    pub(crate) sources: Sources,
}

impl Plan {
    pub(crate) fn new(build: &Build<'_>, name: Option<Name<'_>>) -> Result<Self> {
        let spec = build.spec;
        check(spec, name)?;
        let mut plan = Self {
            options: crate::mounts::parse(&spec.mounts)?,
            ..Self::default()
        };
        let Some(linux) = &spec.linux else {
            return Err(Error::invalid("linux is missing in config.json"));
        };
        for (n, ns) in linux.namespaces.iter().enumerate() {
            let flag = flag(&ns.kind)?;
            if flag == libc::CLONE_NEWNET && build.netns.is_some() {
                continue;
            }
            plan.cgroup_namespace |= flag == libc::CLONE_NEWCGROUP;
            if ns.path.is_empty() {
                plan.make(flag, build);
                continue;
            }
            let fd = open_namespace(ns, flag).map_err(|e| {
                let key = format!("linux.namespaces[{n}].path");
                Error::new(e.kind, format!("{key}: {}", e.message))
            })?;
            match flag {
                libc::CLONE_NEWPID => plan.pid_join = Some(fd),
                libc::CLONE_NEWTIME => plan.time_join = Some(fd),
                libc::CLONE_NEWUSER => {
                    plan.in_userns = true;
                    plan.user_join = Some(fd);
                }
                _ => plan.joins.push((fd, flag)),
            }
        }
        if let Some(netns) = build.netns {
            let fd = rustix::io::fcntl_dupfd_cloexec(netns, 3)
                .context(|| "duplicate network namespace")?;
            plan.joins.push((fd, libc::CLONE_NEWNET));
        }
        plan.validate(spec, build.rootfs)?;
        plan.host_mounts =
            plan.flags & libc::CLONE_NEWNS as u64 == 0 && plan.joined(libc::CLONE_NEWNS).is_none();
        plan.waits = plan.user || !linux.net_devices.is_empty() || linux.intel_rdt.is_some();
        let setting = Setting {
            linux,
            bundle: name.map(|n| n.bundle),
            rootfs: build.rootfs.path(),
            in_userns: plan.in_userns,
            joined: plan.user_join.as_ref(),
            trees: build.extras.trees,
        };
        plan.sources = Sources::prepare(&setting, &spec.mounts, &plan.options)?;
        Ok(plan)
    }

    /// A user namespace is in the way of what is joined.
    pub(crate) fn by_helper(&self) -> bool {
        self.user_join.is_some() || (self.user && !self.joins.is_empty())
    }

    /// The namespace of a kind that the child joins.
    pub(crate) fn joined(&self, flag: i32) -> Option<&OwnedFd> {
        let mut joins = self.joins.iter();
        joins.find(|(_, f)| *f == flag).map(|(fd, _)| fd)
    }

    fn make(&mut self, flag: i32, build: &Build<'_>) {
        match flag {
            libc::CLONE_NEWTIME => self.new_time = true,
            // On v1 the child moves itself: its cgroup namespace must begin there.
            libc::CLONE_NEWCGROUP if build.cgroup.is_some_and(|c| c.version() == 1) => {
                self.late_cgroup = true;
            }
            _ => self.flags |= flag as u64,
        }
        if flag == libc::CLONE_NEWUSER {
            self.user = true;
            self.in_userns = true;
        }
    }

    fn validate(&self, spec: &Spec, rootfs: Rootfs<'_>) -> Result<()> {
        let has = |flag: i32| {
            self.flags & flag as u64 != 0
                || self.joined(flag).is_some()
                || (flag == libc::CLONE_NEWUSER && self.user_join.is_some())
        };
        if !has(libc::CLONE_NEWNS) {
            crate::host_root::check(spec, rootfs, self.in_userns)?;
        }
        if !spec.hostname.is_empty() && !has(libc::CLONE_NEWUTS) {
            return Err(Error::invalid(
                "unable to set hostname without a private UTS namespace",
            ));
        }
        if !spec.domainname.is_empty() && !has(libc::CLONE_NEWUTS) {
            return Err(Error::invalid(
                "unable to set domainname without a private UTS namespace",
            ));
        }
        let Some(linux) = &spec.linux else {
            return Ok(());
        };
        if self.user && (linux.uid_mappings.is_empty() || linux.gid_mappings.is_empty()) {
            return Err(Error::invalid(
                "user namespaces enabled, but no uid or gid mappings found",
            ));
        }
        let mapped = !linux.uid_mappings.is_empty() || !linux.gid_mappings.is_empty();
        if mapped && !self.in_userns {
            return Err(Error::invalid(
                "user namespace mappings specified, but user namespace isn't enabled in the config",
            ));
        }
        if let (true, Some(fd)) = (mapped, self.user_join.as_ref()) {
            crate::userns::same_maps(fd, linux)?;
        }
        if !linux.time_offsets.is_empty() && !self.new_time {
            return Err(Error::invalid(
                "linux.timeOffsets: no new time namespace is made",
            ));
        }
        if !linux.net_devices.is_empty() {
            if !has(libc::CLONE_NEWNET) {
                return Err(Error::invalid(
                    "linux.netDevices: the container has no network namespace of its own",
                ));
            }
            crate::netdev::check(linux)?;
        }
        crate::sysctl::validate(&linux.sysctl, has)?;
        crate::sysctl::agrees(&linux.sysctl, &spec.domainname)
    }
}

/// The parent's own namespaces, to come back to after clone3.
#[derive(Debug)]
pub(crate) struct Excursion {
    back: Vec<(OwnedFd, i32)>,
}

impl Excursion {
    /// Makes the next child be born in the pid and time namespaces asked for.
    pub(crate) fn begin(plan: &Plan) -> Result<Self> {
        let mut trip = Self { back: Vec::new() };
        if let Some(fd) = &plan.pid_join {
            trip.enter(fd, "/proc/self/ns/pid", libc::CLONE_NEWPID, "pid")?;
        }
        if let Some(fd) = &plan.time_join {
            trip.enter(fd, "/proc/self/ns/time", libc::CLONE_NEWTIME, "time")?;
        }
        Ok(trip)
    }

    pub(crate) fn enter(&mut self, fd: &OwnedFd, own: &str, flag: i32, name: &str) -> Result<()> {
        self.remember(own, flag)?;
        sys::process::setns(fd.as_fd(), flag).context(|| format!("join {name} namespace"))
    }

    fn remember(&mut self, own: &str, flag: i32) -> Result<()> {
        let fd = rustix::fs::open(own, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .context(|| format!("open {own}"))?;
        self.back.push((fd, flag));
        Ok(())
    }

    pub(crate) fn none() -> Self {
        Self { back: Vec::new() }
    }
}

impl Drop for Excursion {
    fn drop(&mut self) {
        for (fd, flag) in &self.back {
            let _ = sys::process::setns(fd.as_fd(), *flag);
        }
    }
}

/// In the child: a time namespace of its own, and into it. The offsets can be set only while
/// nobody is in it (time_namespaces(7)).
pub(crate) fn make_time(spec: &Spec) -> Result<()> {
    sys::process::unshare(libc::CLONE_NEWTIME).context(|| "make time namespace")?;
    let mut text = String::new();
    for (clock, offset) in spec.linux.iter().flat_map(|l| &l.time_offsets) {
        text.push_str(&format!("{clock} {} {}\n", offset.secs, offset.nanosecs));
    }
    if !text.is_empty() {
        Proc::host()
            .and_then(|proc| proc.open_process("timens_offsets"))
            .and_then(|fd| rustix::io::write(&fd, text.as_bytes()))
            .map_err(|e| Error::invalid(format!("linux.timeOffsets: {}", errno_text(e))))?;
    }
    let path = "/proc/self/ns/time_for_children";
    let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .context(|| format!("open {path}"))?;
    sys::process::setns(fd.as_fd(), libc::CLONE_NEWTIME).context(|| "enter time namespace")
}

/// Opened once: whatever becomes of the path, this is what is checked and what is joined.
fn open_namespace(ns: &Namespace, flag: i32) -> Result<OwnedFd> {
    // Not blocking: somebody may have put a pipe there.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = rustix::fs::open(&ns.path, flags, Mode::empty())
        .context(|| format!("open {:?}", ns.path))?;
    match sys::process::namespace_type(fd.as_fd()) {
        Ok(kind) if kind == flag => Ok(fd),
        _ => Err(Error::invalid(format!(
            "{:?} is not a namespace of type {}",
            ns.path, ns.kind
        ))),
    }
}

const KINDS: [(&str, i32); 8] = [
    ("pid", libc::CLONE_NEWPID),
    ("network", libc::CLONE_NEWNET),
    ("ipc", libc::CLONE_NEWIPC),
    ("mount", libc::CLONE_NEWNS),
    ("uts", libc::CLONE_NEWUTS),
    ("user", libc::CLONE_NEWUSER),
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("time", libc::CLONE_NEWTIME),
];

fn flag(kind: &str) -> Result<i32> {
    let known = KINDS.iter().find(|(name, _)| *name == kind);
    known
        .map(|(_, flag)| *flag)
        .ok_or_else(|| Error::invalid(format!("namespace {kind:?} does not exist")))
}

fn kind(flag: i32) -> &'static str {
    let known = KINDS.iter().find(|(_, f)| *f == flag);
    known.map_or("a", |(name, _)| name)
}

/// What can be said of a configuration without opening what it names.
pub(crate) fn check_all(spec: &Spec, name: Option<Name<'_>>) -> Result<()> {
    check(spec, name)?;
    crate::mounts::parse(&spec.mounts)?;
    let Some(linux) = &spec.linux else {
        return Err(Error::invalid("linux is missing in config.json"));
    };
    crate::netdev::check(linux)?;
    let has = |flag: i32| linux.namespaces.iter().any(|n| n.kind == kind(flag));
    crate::sysctl::validate(&linux.sysctl, has)?;
    match &linux.seccomp {
        Some(profile) => crate::Filter::compile(profile).map(drop),
        None => Ok(()),
    }
}

/// What can be refused before anything is opened.
fn check(spec: &Spec, name: Option<Name<'_>>) -> Result<()> {
    spec.check().map_err(|e| Error::invalid(e.to_string()))?;
    if let Some(hooks) = &spec.hooks
        && *hooks != Hooks::default()
        && name.is_none()
    {
        return Err(Error::unsupported(
            "hooks: there is no bundle that could be told to them",
        ));
    }
    if let Some(linux) = &spec.linux {
        if linux.intel_rdt.is_some() {
            crate::rdt::check(linux, name.as_ref())?;
        }
        if !linux.mount_label.is_empty() {
            credentials::selinux("linux.mountLabel")?;
        }
    }
    match &spec.process {
        Some(process) => process_basics(process),
        None => Err(Error::invalid("process is missing in config.json")),
    }
}

/// What is checked of a process that comes without a spec around it.
pub(crate) fn check_process(process: &Process) -> Result<()> {
    process.check().map_err(|e| Error::invalid(e.to_string()))?;
    process_basics(process)
}

fn process_basics(process: &Process) -> Result<()> {
    if process.args.is_empty() {
        return Err(Error::invalid("process.args must not be empty"));
    }
    if !process.cwd.starts_with('/') {
        return Err(Error::invalid("Cwd must be an absolute path"));
    }
    if !process.selinux_label.is_empty() {
        credentials::selinux("process.selinuxLabel")?;
    }
    Ok(())
}

pub(crate) fn not_joined(flag: i32, errno: sys::Errno) -> Error {
    Error::internal(format!(
        "linux.namespaces: join {} namespace: {}",
        kind(flag),
        errno_text(errno)
    ))
}

/// Joins in order, where no helper has done so.
pub(crate) fn join(plan: &Plan) -> Result<()> {
    if plan.by_helper() {
        return Ok(());
    }
    let joins = &plan.joins;
    for (fd, flag) in joins {
        sys::process::setns(fd.as_fd(), *flag).map_err(|e| not_joined(*flag, e))?;
    }
    Ok(())
}
