//! Where and when a process runs: scheduling policy, I/O priority, processors, memory nodes.

use oci::runtime::{
    IO_CLASSES, MEMORY_POLICIES, MEMORY_POLICY_FLAGS, MemoryPolicy, Process, SCHEDULER_FLAGS,
    SCHEDULER_POLICIES, Scheduler, number_list,
};

use crate::error::{Context, errno_text};
use crate::{Error, Result};

/// sched_setattr(2) and ioprio_set(2), where they are asked for.
pub(crate) fn apply(process: &Process) -> Result<()> {
    if let Some(scheduler) = &process.scheduler {
        schedule(scheduler)?;
    }
    if let Some(io) = &process.io_priority {
        let class = number(&IO_CLASSES, &io.class).map(|n| n as u16 + 1);
        let level = u16::try_from(io.priority).ok().filter(|l| *l < 8);
        let (Some(class), Some(level)) = (class, level) else {
            return Err(Error::invalid(format!(
                "process.ioPriority: {} {} does not exist",
                io.class, io.priority
            )));
        };
        sys::process::set_io_priority(class, level)
            .context(|| "process.ioPriority: set I/O priority")?;
    }
    Ok(())
}

fn schedule(from: &Scheduler) -> Result<()> {
    let unknown = |what: &str| Error::invalid(format!("process.scheduler: unknown {what}"));
    let policy = number(&SCHEDULER_POLICIES, &from.policy).ok_or_else(|| unknown("policy"))?;
    let mut flags = 0;
    for flag in &from.flags {
        flags |= 1 << number(&SCHEDULER_FLAGS, flag).ok_or_else(|| unknown("flag"))?;
    }
    let attr = sys::process::SchedAttr {
        policy: policy as u32,
        flags,
        nice: from.nice,
        priority: from.priority.unsigned_abs(),
        runtime: from.runtime,
        deadline: from.deadline,
        period: from.period,
        ..Default::default()
    };
    sys::process::set_scheduler(attr)
        .context(|| "process.scheduler: set scheduler attributes (sched_setattr)")
}

fn number(names: &[&str], name: &str) -> Option<usize> {
    names.iter().position(|n| *n == name)
}

/// set_mempolicy(2), inherited by everything the process starts.
pub(crate) fn memory(policy: &MemoryPolicy) -> Result<()> {
    let key = "linux.memoryPolicy";
    let known = |list: &[(&str, i32)], word: &str| {
        let found = list.iter().find(|(name, _)| *name == word);
        found
            .map(|(_, number)| *number)
            .ok_or_else(|| Error::invalid(format!("{key}: {word:?} is not known")))
    };
    let mut mode = known(&MEMORY_POLICIES, &policy.mode)?;
    for flag in &policy.flags {
        mode |= known(&MEMORY_POLICY_FLAGS, flag)?;
    }
    let nodes = number_list(&policy.nodes).map_err(|e| Error::invalid(format!("{key}: {e}")))?;
    sys::process::set_memory_policy(mode, &nodes).map_err(|e| {
        let text = errno_text(e);
        Error::unsupported(format!(
            "{key}: set_mempolicy {} on nodes {:?}: {text}",
            policy.mode, policy.nodes
        ))
    })
}

/// The caller on the processors that an exec begins on, until dropped
/// (config.md, `execCPUAffinity.initial`).
#[derive(Debug)]
pub(crate) struct Pinned(Vec<u64>);

impl Pinned {
    pub(crate) fn begin(process: &Process) -> Result<Option<Self>> {
        let list = match &process.exec_cpu_affinity {
            Some(affinity) if !affinity.initial.is_empty() => &affinity.initial,
            _ => return Ok(None),
        };
        let before = sys::process::affinity().context(|| "read CPU affinity")?;
        pin(list, "initial")?;
        Ok(Some(Self(before)))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = sys::process::set_affinity(&self.0);
    }
}

/// In the child, once it is in its cgroup. Without a word about it the kernel decides: then what
/// the child inherited from its pinned parent is undone, to all that the cgroup allows.
pub(crate) fn settle_affinity(process: &Process) -> Result<()> {
    match &process.exec_cpu_affinity {
        None => Ok(()),
        Some(a) if !a.last.is_empty() => pin(&a.last, "final"),
        Some(a) if !a.initial.is_empty() => {
            sys::process::set_affinity(&[u64::MAX; 128]).context(|| "reset CPU affinity")
        }
        Some(_) => Ok(()),
    }
}

fn pin(list: &str, which: &str) -> Result<()> {
    let key = || format!("process.execCPUAffinity.{which}");
    let numbers = number_list(list).map_err(|e| Error::invalid(format!("{}: {e}", key())))?;
    let mut mask = vec![0u64; numbers.iter().max().map_or(1, |n| *n as usize / 64 + 1)];
    for n in numbers {
        if let Some(word) = mask.get_mut(n as usize / 64) {
            *word |= 1 << (n % 64);
        }
    }
    sys::process::set_affinity(&mask).context(|| format!("{}: {list:?}", key()))
}
