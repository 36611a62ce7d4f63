//! Limits, identity and capabilities of the process about to run.

use std::os::fd::{AsRawFd, OwnedFd};

use oci::runtime::{Process, RLIMITS};
use rustix::fs::{Gid, Mode, Uid};

use crate::capabilities::Sets;
use crate::error::{Context, errno_text};
use crate::identity::Who;
use crate::procfs::Proc;
use crate::{Error, Result};

/// Root of the user namespace just entered, to build the root file system as.
pub(crate) fn become_root() -> Result<()> {
    let (gid, uid) = (Gid::ROOT, Uid::ROOT);
    rustix::thread::set_thread_res_gid(gid, gid, gid).context(|| "setgid 0 in user namespace")?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).context(|| "setuid 0 in user namespace")
}

/// Written through the host's own /proc: before the root changes.
pub(crate) fn oom_score(process: &Process) -> Result<()> {
    let Some(score) = process.oom_score_adj else {
        return Ok(());
    };
    // Lowering it takes privilege even when it is what it is.
    let current = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    if current.trim() == score.to_string() {
        return Ok(());
    }
    Proc::host()
        .and_then(|proc| proc.open_process("oom_score_adj"))
        .and_then(|fd| rustix::io::write(&fd, score.to_string().as_bytes()))
        .map(drop)
        .map_err(|e| {
            Error::unsupported(format!(
                "process.oomScoreAdj: set to {score}: {}",
                errno_text(e)
            ))
        })
}

/// Where the labels of the next program are written: opened while the host's /proc is at hand,
/// written at the end. The container's /proc would be whatever its image says it is.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    apparmor: Option<OwnedFd>,
    selinux: Option<OwnedFd>,
}

impl Labels {
    pub(crate) fn open(process: &Process) -> Result<Self> {
        let mut out = Self::default();
        if !process.apparmor_profile.is_empty() {
            let own = |path: &str| Proc::host().and_then(|proc| proc.open_process(path));
            let fd = own("attr/apparmor/exec").or_else(|_| match apparmor_is_on() {
                true => own("attr/exec"),
                false => Err(sys::Errno::NOENT),
            });
            out.apparmor = Some(fd.map_err(|e| {
                Error::unsupported(format!(
                    "process.apparmorProfile: unable to apply apparmor profile {:?}: {}",
                    process.apparmor_profile,
                    match e {
                        sys::Errno::NOENT => "AppArmor is not enabled on this machine".into(),
                        e => errno_text(e),
                    }
                ))
            })?);
        }
        if !process.selinux_label.is_empty() {
            let fd = Proc::host().and_then(|proc| proc.open_process("attr/exec"));
            out.selinux = Some(fd.context(|| "process.selinuxLabel: open attr/exec")?);
        }
        Ok(out)
    }

    /// Numbers that must stay open until [`take`].
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = i32> {
        [&self.apparmor, &self.selinux]
            .into_iter()
            .flatten()
            .map(AsRawFd::as_raw_fd)
    }

    /// Asks for the labels at the next execve.
    fn take(&self, process: &Process) -> Result<()> {
        if let Some(fd) = &self.apparmor {
            let profile = &process.apparmor_profile;
            rustix::io::write(fd, format!("exec {profile}").as_bytes())
                .context(|| format!("process.apparmorProfile: {profile:?}"))?;
        }
        if let Some(fd) = &self.selinux {
            let label = &process.selinux_label;
            rustix::io::write(fd, label.as_bytes())
                .context(|| format!("process.selinuxLabel: {label:?}"))?;
        }
        Ok(())
    }
}

fn apparmor_is_on() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|t| t.starts_with(b"Y"))
}

/// Refuses a label where nobody would look at it.
pub(crate) fn selinux(key: &str) -> Result<()> {
    /// SELINUX_MAGIC of linux/magic.h.
    const MAGIC: u64 = 0xf97c_ff8c;
    match rustix::fs::statfs("/sys/fs/selinux") {
        Ok(fs) if fs.f_type as u64 & 0xffff_ffff == MAGIC => Ok(()),
        _ => Err(Error::unsupported(format!(
            "{key}: SELinux is disabled or not supported on this machine"
        ))),
    }
}

/// Raises hard limits as far as they are to be, with the caller's rights: root of a user namespace
/// has none to that. What goes wrong is told by [`limits`].
pub(crate) fn raise_limits(process: &Process) {
    for limit in &process.rlimits {
        let number = RLIMITS.iter().position(|n| *n == limit.kind);
        if let Some(number) = number.map(|number| number as u32)
            && let Ok((soft, hard)) = sys::process::rlimit(number)
            && limit.hard > hard
        {
            let _ = sys::process::set_rlimit(number, soft, limit.hard);
        }
    }
}

/// Resource limits, scheduling and personality.
pub(crate) fn limits(process: &Process) -> Result<()> {
    for limit in &process.rlimits {
        let Some(number) = RLIMITS.iter().position(|n| *n == limit.kind) else {
            return Err(Error::invalid(format!("invalid rlimit {:?}", limit.kind)));
        };
        sys::process::set_rlimit(number as u32, limit.soft, limit.hard).map_err(|e| {
            Error::unsupported(format!(
                "error setting rlimit type {number} ({} to {}:{}): {}",
                limit.kind,
                limit.soft,
                limit.hard,
                errno_text(e)
            ))
        })?;
    }
    crate::scheduler::apply(process)
}

/// Becomes the user, with exactly the capabilities asked for.
pub(crate) fn take(process: &Process, who: &Who, labels: &Labels, keep_groups: bool) -> Result<()> {
    let sets = Sets::parse(process.capabilities.as_ref())?;
    labels.take(process)?;
    sets.bound()?;
    rustix::thread::set_keep_capabilities(true).context(|| "keep capabilities")?;
    let groups = match keep_groups {
        true => Ok(()),
        false => sys::process::set_groups(&who.groups),
    };
    match groups {
        Ok(()) => {}
        // A user namespace mapped without the right to change groups has none to drop.
        Err(sys::Errno::PERM) if who.groups.is_empty() => {}
        Err(e) => return Err(Error::internal(format!("setgroups: {}", errno_text(e)))),
    }
    let (gid, uid) = (Gid::from_raw(who.gid), Uid::from_raw(who.uid));
    rustix::thread::set_thread_res_gid(gid, gid, gid).context(|| format!("setgid {}", who.gid))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).context(|| format!("setuid {}", who.uid))?;
    rustix::thread::set_keep_capabilities(false).context(|| "clear keep capabilities")?;
    sets.apply()?;
    rustix::process::umask(Mode::from_raw_mode(process.user.umask.unwrap_or(0o022)));
    Ok(())
}

/// personality(2) as the spec names it.
pub(crate) fn personality(spec: &oci::runtime::Personality) -> Result<()> {
    let domain = match spec.domain.as_str() {
        "" | "LINUX" => 0,
        "LINUX32" => 8,
        other => {
            return Err(Error::invalid(format!(
                "invalid personality domain {other:?}"
            )));
        }
    };
    if let Some(flag) = spec.flags.first() {
        return Err(Error::unsupported(format!(
            "personality flag {flag:?} is not supported"
        )));
    }
    sys::process::personality(domain).context(|| "set personality")
}
