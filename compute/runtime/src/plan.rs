//! What a spec asks for, checked and with everything opened that must be open before clone3.

use std::os::fd::{AsFd, OwnedFd};

use oci::runtime::{Hooks, Process, Spec};
use rustix::fs::{Mode, OFlags};

use crate::error::{Context, errno_text};
use crate::{Build, Error, Name, Result};

/// Namespaces: to make, and to join.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// `CLONE_NEW*` for clone3.
    pub(crate) flags: u64,
    /// Joined by the child, user namespace first.
    pub(crate) joins: Vec<(OwnedFd, i32)>,
    /// Joined by the parent around clone3: it takes effect for children only.
    pub(crate) pid_join: Option<OwnedFd>,
    /// As for `pid_join`.
    pub(crate) time_join: Option<OwnedFd>,
    /// A new time namespace, made by the parent: offsets can be set only while it is empty.
    pub(crate) new_time: bool,
    /// v1: unshared by the child once it is in its cgroup.
    pub(crate) late_cgroup: bool,
    /// A user namespace is made: ids must be mapped before the child goes on.
    pub(crate) user: bool,
    /// A user namespace is made or joined.
    pub(crate) in_userns: bool,
    /// The child waits at its beginning for what only the parent can do.
    pub(crate) waits: bool,
}

impl Plan {
    pub(crate) fn new(build: &Build<'_>, name: Option<Name<'_>>) -> Result<Self> {
        let spec = build.spec;
        check(spec, name)?;
        let mut plan = Self::default();
        let Some(linux) = &spec.linux else {
            return Err(Error::invalid("linux is missing in config.json"));
        };
        for ns in &linux.namespaces {
            let flag = flag(&ns.kind)?;
            if flag == libc::CLONE_NEWNET && build.netns.is_some() {
                continue;
            }
            if ns.path.is_empty() {
                plan.make(flag, build);
                continue;
            }
            let fd = rustix::fs::open(&ns.path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .context(|| format!("open {} namespace {:?}", ns.kind, ns.path))?;
            match flag {
                libc::CLONE_NEWPID => plan.pid_join = Some(fd),
                libc::CLONE_NEWTIME => plan.time_join = Some(fd),
                libc::CLONE_NEWUSER => {
                    plan.in_userns = true;
                    plan.joins.insert(0, (fd, flag));
                }
                _ => plan.joins.push((fd, flag)),
            }
        }
        if let Some(netns) = build.netns {
            let fd = rustix::io::fcntl_dupfd_cloexec(netns, 3)
                .context(|| "duplicate network namespace")?;
            plan.joins.push((fd, libc::CLONE_NEWNET));
        }
        plan.validate(spec)?;
        plan.waits = plan.user;
        Ok(plan)
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

    fn validate(&self, spec: &Spec) -> Result<()> {
        let has =
            |flag: i32| self.flags & flag as u64 != 0 || self.joins.iter().any(|(_, f)| *f == flag);
        if self.flags & libc::CLONE_NEWNS as u64 == 0 {
            return Err(Error::unsupported(
                "a container without a mount namespace of its own is not supported",
            ));
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
        if !linux.time_offsets.is_empty() && !self.new_time {
            return Err(Error::invalid(
                "time namespace offsets specified, but no new time namespace is made",
            ));
        }
        crate::sysctl::validate(&linux.sysctl, has)
    }
}

/// The parent's own namespaces, to come back to after clone3.
#[derive(Debug)]
pub(crate) struct Excursion {
    back: Vec<(OwnedFd, i32)>,
}

impl Excursion {
    /// Makes the next child be born in the pid and time namespaces asked for.
    pub(crate) fn begin(plan: &Plan, spec: &Spec) -> Result<Self> {
        let mut trip = Self { back: Vec::new() };
        if let Some(fd) = &plan.pid_join {
            trip.enter(fd, "/proc/self/ns/pid", libc::CLONE_NEWPID, "pid")?;
        }
        if let Some(fd) = &plan.time_join {
            trip.enter(fd, "/proc/self/ns/time", libc::CLONE_NEWTIME, "time")?;
        }
        if plan.new_time {
            trip.remember("/proc/self/ns/time", libc::CLONE_NEWTIME)?;
            sys::process::unshare(libc::CLONE_NEWTIME).context(|| "make time namespace")?;
            write_offsets(spec)?;
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

fn write_offsets(spec: &Spec) -> Result<()> {
    let mut text = String::new();
    for (clock, offset) in spec.linux.iter().flat_map(|l| &l.time_offsets) {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(Error::invalid(format!(
                "unknown clock {clock:?} in timeOffsets"
            )));
        }
        text.push_str(&format!("{clock} {} {}\n", offset.secs, offset.nanosecs));
    }
    if text.is_empty() {
        return Ok(());
    }
    std::fs::write("/proc/self/timens_offsets", text)
        .map_err(|e| Error::internal(format!("write time namespace offsets: {e}")))
}

fn flag(kind: &str) -> Result<i32> {
    Ok(match kind {
        "pid" => libc::CLONE_NEWPID,
        "network" => libc::CLONE_NEWNET,
        "ipc" => libc::CLONE_NEWIPC,
        "mount" => libc::CLONE_NEWNS,
        "uts" => libc::CLONE_NEWUTS,
        "user" => libc::CLONE_NEWUSER,
        "cgroup" => libc::CLONE_NEWCGROUP,
        "time" => libc::CLONE_NEWTIME,
        _ => return Err(Error::invalid(format!("namespace {kind:?} does not exist"))),
    })
}

/// Names each key that would otherwise be ignored.
fn check(spec: &Spec, name: Option<Name<'_>>) -> Result<()> {
    let not = |key: &str| Err(Error::unsupported(format!("{key} is not supported yet")));
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
            return not("linux.intelRdt");
        }
        if linux.memory_policy.is_some() {
            return not("linux.memoryPolicy");
        }
        if !linux.net_devices.is_empty() {
            return not("linux.netDevices");
        }
        if !linux.mount_label.is_empty() {
            return not("linux.mountLabel");
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
        return Err(Error::unsupported(
            "process.selinuxLabel is not supported yet",
        ));
    }
    if process.exec_cpu_affinity.is_some() {
        return Err(Error::unsupported(
            "process.execCPUAffinity is not supported yet",
        ));
    }
    Ok(())
}

/// Joins in order; the user namespace comes first, so that the rest is joined with its rights.
pub(crate) fn join(joins: &[(OwnedFd, i32)]) -> Result<()> {
    for (fd, flag) in joins {
        sys::process::setns(fd.as_fd(), *flag).map_err(|e| {
            Error::internal(format!(
                "join namespace (setns {flag:#x}): {}",
                errno_text(e)
            ))
        })?;
    }
    Ok(())
}
