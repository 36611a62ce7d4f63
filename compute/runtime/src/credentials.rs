//! Limits, identity and capabilities of the process about to run.

use oci::runtime::Process;
use rustix::fs::{Gid, Mode, OFlags, Uid};

use crate::capabilities::Sets;
use crate::error::{Context, errno_text};
use crate::identity::Who;
use crate::{Error, Result};

/// Root of the user namespace just entered, to build the root file system as.
pub(crate) fn become_root() -> Result<()> {
    let (gid, uid) = (Gid::ROOT, Uid::ROOT);
    rustix::thread::set_thread_res_gid(gid, gid, gid).context(|| "setgid 0 in user namespace")?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).context(|| "setuid 0 in user namespace")
}

/// Written through whichever /proc is at hand: before the root changes.
pub(crate) fn oom_score(process: &Process) -> Result<()> {
    let Some(score) = process.oom_score_adj else {
        return Ok(());
    };
    let path = "/proc/self/oom_score_adj";
    let current = std::fs::read_to_string(path).unwrap_or_default();
    if current.trim() == score.to_string() {
        return Ok(());
    }
    std::fs::write(path, score.to_string()).map_err(|e| {
        let errno = sys::Errno::from_io_error(&e).unwrap_or(sys::Errno::IO);
        Error::unsupported(format!(
            "set oom_score_adj to {score}: {}",
            errno_text(errno)
        ))
    })
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
    if let Some(scheduler) = &process.scheduler {
        schedule(scheduler)?;
    }
    if let Some(io) = &process.io_priority {
        let class = match io.class.as_str() {
            "IOPRIO_CLASS_RT" => 1,
            "IOPRIO_CLASS_BE" => 2,
            "IOPRIO_CLASS_IDLE" => 3,
            other => {
                return Err(Error::invalid(format!(
                    "invalid I/O priority class {other:?}"
                )));
            }
        };
        let level = u16::try_from(io.priority)
            .ok()
            .filter(|l| *l < 8)
            .ok_or_else(|| Error::invalid(format!("invalid I/O priority {}", io.priority)))?;
        sys::process::set_io_priority(class, level).context(|| "set I/O priority")?;
    }
    Ok(())
}

/// In the order of their numbers.
const RLIMITS: [&str; 16] = [
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];

fn schedule(from: &oci::runtime::Scheduler) -> Result<()> {
    let invalid = |what: &str, text: &str| Error::invalid(format!("invalid {what} {text:?}"));
    let policy = match from.policy.as_str() {
        "" | "SCHED_OTHER" => 0,
        "SCHED_FIFO" => 1,
        "SCHED_RR" => 2,
        "SCHED_BATCH" => 3,
        "SCHED_ISO" => 4,
        "SCHED_IDLE" => 5,
        "SCHED_DEADLINE" => 6,
        other => return Err(invalid("scheduler policy", other)),
    };
    let mut flags = 0;
    for flag in &from.flags {
        flags |= match flag.as_str() {
            "SCHED_FLAG_RESET_ON_FORK" => 0x01,
            "SCHED_FLAG_RECLAIM" => 0x02,
            "SCHED_FLAG_DL_OVERRUN" => 0x04,
            "SCHED_FLAG_KEEP_POLICY" => 0x08,
            "SCHED_FLAG_KEEP_PARAMS" => 0x10,
            "SCHED_FLAG_UTIL_CLAMP_MIN" => 0x20,
            "SCHED_FLAG_UTIL_CLAMP_MAX" => 0x40,
            other => return Err(invalid("scheduler flag", other)),
        };
    }
    let attr = sys::process::SchedAttr {
        policy,
        flags,
        nice: from.nice,
        priority: from.priority.unsigned_abs(),
        runtime: from.runtime,
        deadline: from.deadline,
        period: from.period,
        ..Default::default()
    };
    sys::process::set_scheduler(attr).context(|| "set scheduler attributes")
}

/// Becomes the user, with exactly the capabilities asked for.
pub(crate) fn take(process: &Process, who: &Who) -> Result<()> {
    let sets = Sets::parse(process.capabilities.as_ref())?;
    apparmor(&process.apparmor_profile)?;
    sets.bound()?;
    rustix::thread::set_keep_capabilities(true).context(|| "keep capabilities")?;
    match sys::process::set_groups(&who.groups) {
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

/// Asks for the profile at the next execve.
fn apparmor(profile: &str) -> Result<()> {
    if profile.is_empty() {
        return Ok(());
    }
    let attempt = ["/proc/self/attr/apparmor/exec", "/proc/self/attr/exec"]
        .iter()
        .find_map(|path| {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::open(*path, flags, Mode::empty()).ok()
        })
        .ok_or(sys::Errno::NOENT)
        .and_then(|fd| rustix::io::write(&fd, format!("exec {profile}").as_bytes()));
    attempt.map(drop).map_err(|e| {
        Error::unsupported(format!(
            "unable to apply apparmor profile {profile:?}: {}",
            errno_text(e)
        ))
    })
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
