//! What can be said about a configuration without looking at a machine.
//!
//! Words that the specification lists are checked against its lists, so that a typing mistake is
//! an error that names the key instead of a default silently taken. Words it leaves open (file
//! system types, mount options, capability names) are not checked here.

use std::fmt::Display;

use super::{Hook, Hooks, IdMapping, IntelRdt, Linux, Mount, Process, Resources, Scheduler, Spec};

/// A key of the configuration and what is wrong with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Where, as in `linux.namespaces[2].type`; empty for the document as a whole.
    pub key: String,
    /// What is wrong, to be read after the key.
    pub reason: String,
}

impl Invalid {
    /// About one key.
    pub fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            reason: reason.into(),
        }
    }
}

impl Display for Invalid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.key.as_str() {
            "" => f.write_str(&self.reason),
            key => write!(f, "{key}: {}", self.reason),
        }
    }
}

impl std::error::Error for Invalid {}

type Checked = Result<(), Invalid>;

/// Resource limits in the order of their kernel numbers (getrlimit(2)).
pub const RLIMITS: [&str; 16] = [
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

/// Types of namespaces.
pub const NAMESPACES: [&str; 8] = [
    "pid", "network", "ipc", "mount", "uts", "user", "cgroup", "time",
];

/// Scheduling policies in the order of their kernel numbers (sched(7)).
pub const SCHEDULER_POLICIES: [&str; 7] = [
    "SCHED_OTHER",
    "SCHED_FIFO",
    "SCHED_RR",
    "SCHED_BATCH",
    "SCHED_ISO",
    "SCHED_IDLE",
    "SCHED_DEADLINE",
];

/// Scheduling flags in the order of their bits (sched_setattr(2)).
pub const SCHEDULER_FLAGS: [&str; 7] = [
    "SCHED_FLAG_RESET_ON_FORK",
    "SCHED_FLAG_RECLAIM",
    "SCHED_FLAG_DL_OVERRUN",
    "SCHED_FLAG_KEEP_POLICY",
    "SCHED_FLAG_KEEP_PARAMS",
    "SCHED_FLAG_UTIL_CLAMP_MIN",
    "SCHED_FLAG_UTIL_CLAMP_MAX",
];

/// I/O scheduling classes; the first is number 1 (ioprio_set(2)).
pub const IO_CLASSES: [&str; 3] = ["IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"];

/// Memory policies with their kernel numbers (set_mempolicy(2)).
pub const MEMORY_POLICIES: [(&str, i32); 7] = [
    ("MPOL_DEFAULT", 0),
    ("MPOL_PREFERRED", 1),
    ("MPOL_BIND", 2),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", 4),
    ("MPOL_PREFERRED_MANY", 5),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
];

/// Flags of memory policies with their bits.
pub const MEMORY_POLICY_FLAGS: [(&str, i32); 3] = [
    ("MPOL_F_STATIC_NODES", 1 << 15),
    ("MPOL_F_RELATIVE_NODES", 1 << 14),
    ("MPOL_F_NUMA_BALANCING", 1 << 13),
];

const PROPAGATIONS: [&str; 9] = [
    "",
    "private",
    "rprivate",
    "slave",
    "rslave",
    "shared",
    "rshared",
    "unbindable",
    "runbindable",
];

impl Spec {
    /// The first mistake, if there is one. Touches no file.
    pub fn check(&self) -> Checked {
        check_version(&self.oci_version)?;
        for (n, mount) in self.mounts.iter().enumerate() {
            check_mount(mount)
                .map_err(|(key, reason)| Invalid::new(format!("mounts[{n}].{key}"), reason))?;
        }
        if let Some(process) = &self.process {
            process.check()?;
        }
        if let Some(hooks) = &self.hooks {
            check_hooks(hooks)?;
        }
        if self.annotations.contains_key("") {
            return Err(Invalid::new("annotations", "has an empty key"));
        }
        match &self.linux {
            Some(linux) => check_linux(linux),
            None => Ok(()),
        }
    }
}

/// SemVer; a later major version may mean anything, an absent one is the caller's affair.
fn check_version(version: &str) -> Checked {
    if version.is_empty() {
        return Ok(());
    }
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<Option<u32>> = core.split('.').map(|n| n.parse().ok()).collect();
    match numbers.as_slice() {
        [Some(0 | 1), Some(_), Some(_)] => Ok(()),
        [Some(_), Some(_), Some(_)] => Err(Invalid::new(
            "ociVersion",
            format!("{version:?} is not supported: this is version 1"),
        )),
        _ => Err(Invalid::new(
            "ociVersion",
            format!("{version:?} is not a version"),
        )),
    }
}

fn check_mount(mount: &Mount) -> Result<(), (&'static str, String)> {
    if mount.destination.is_empty() {
        return Err(("destination", "is required".into()));
    }
    if mount.uid_mappings.is_empty() != mount.gid_mappings.is_empty() {
        let key = match mount.uid_mappings.is_empty() {
            true => "uidMappings",
            false => "gidMappings",
        };
        return Err((
            key,
            "must be given too: uidMappings and gidMappings go together".into(),
        ));
    }
    for (key, list) in [
        ("uidMappings", &mount.uid_mappings),
        ("gidMappings", &mount.gid_mappings),
    ] {
        mappings(list).map_err(|reason| (key, reason))?;
    }
    Ok(())
}

fn mappings(list: &[IdMapping]) -> Result<(), String> {
    for m in list {
        if m.size == 0 {
            return Err("has a mapping of size 0".into());
        }
        let end = |first: u32| u64::from(first) + u64::from(m.size);
        if end(m.container_id).max(end(m.host_id)) > u64::from(u32::MAX) {
            return Err("has a mapping past the largest id".into());
        }
    }
    Ok(())
}

impl Process {
    /// The first mistake, if there is one.
    pub fn check(&self) -> Checked {
        let wrong = |key: &str, reason: String| Err(Invalid::new(format!("process.{key}"), reason));
        let mut seen = Vec::with_capacity(self.rlimits.len());
        for (n, limit) in self.rlimits.iter().enumerate() {
            let key = || format!("rlimits[{n}].type");
            one_of(|| format!("process.{}", key()), &limit.kind, &RLIMITS)?;
            if seen.contains(&limit.kind.as_str()) {
                return wrong(&key(), format!("{:?} is given twice", limit.kind));
            }
            seen.push(&limit.kind);
        }
        if let Some(scheduler) = &self.scheduler {
            check_scheduler(scheduler)?;
        }
        if let Some(io) = &self.io_priority {
            one_of(|| "process.ioPriority.class", &io.class, &IO_CLASSES)?;
            if !(0..=7).contains(&io.priority) {
                let reason = format!("{} is not in 0 to 7", io.priority);
                return wrong("ioPriority.priority", reason);
            }
        }
        if let Some(affinity) = &self.exec_cpu_affinity {
            for (key, list) in [("initial", &affinity.initial), ("final", &affinity.last)] {
                if let Err(reason) = number_list(list) {
                    return wrong(&format!("execCPUAffinity.{key}"), reason);
                }
            }
        }
        if let Some(score) = self.oom_score_adj
            && !(-1000..=1000).contains(&score)
        {
            return wrong("oomScoreAdj", format!("{score} is not in -1000 to 1000"));
        }
        Ok(())
    }
}

fn check_scheduler(s: &Scheduler) -> Checked {
    let key = |name: &str| format!("process.scheduler.{name}");
    one_of(|| key("policy"), &s.policy, &SCHEDULER_POLICIES)?;
    for (n, flag) in s.flags.iter().enumerate() {
        one_of(|| key(&format!("flags[{n}]")), flag, &SCHEDULER_FLAGS)?;
    }
    let policy = s.policy.as_str();
    if matches!(policy, "SCHED_OTHER" | "SCHED_BATCH") && !(-20..=19).contains(&s.nice) {
        return Err(Invalid::new(
            key("nice"),
            format!("{} is not in -20 to 19", s.nice),
        ));
    }
    if s.priority != 0 && !matches!(policy, "SCHED_FIFO" | "SCHED_RR") {
        let reason = "can be set for SCHED_FIFO and SCHED_RR only";
        return Err(Invalid::new(key("priority"), reason));
    }
    if (s.runtime, s.deadline, s.period) != (0, 0, 0) && policy != "SCHED_DEADLINE" {
        let reason = "runtime, deadline and period can be set for SCHED_DEADLINE only";
        return Err(Invalid::new("process.scheduler", reason));
    }
    match policy {
        "SCHED_DEADLINE" => check_deadline(s),
        _ => Ok(()),
    }
}

/// What sched_setattr(2) would refuse with a bare EINVAL (sched(7), "SCHED_DEADLINE"), in crun's
/// words.
fn check_deadline(s: &Scheduler) -> Checked {
    /// Nanoseconds that the kernel can count, and the fewest that it does.
    const RANGE: std::ops::RangeInclusive<u64> = 1024..=(1 << 63) - 1;
    let fail = |name: &str, why: String| {
        let reason = format!("sched_setattr: `SCHED_DEADLINE` {why}");
        Err(Invalid::new(format!("process.scheduler.{name}"), reason))
    };
    let times = [
        ("runtime", s.runtime),
        ("deadline", s.deadline),
        ("period", s.period),
    ];
    for (name, time) in times {
        match time {
            // Without a period it is the deadline.
            0 if name == "period" => {}
            0 => {
                let why = format!("requires `{name}`: {name} must be greater than 0");
                return fail(name, why);
            }
            _ => {}
        }
    }
    if s.runtime > s.deadline {
        let why = format!(
            "runtime ({}) must be <= deadline ({})",
            s.runtime, s.deadline
        );
        return fail("runtime", why);
    }
    if s.period != 0 && s.deadline > s.period {
        let why = format!("deadline ({}) must be <= period ({})", s.deadline, s.period);
        return fail("deadline", why);
    }
    for (name, time) in times {
        if !RANGE.contains(&time) && time != 0 {
            let (least, most) = (RANGE.start(), RANGE.end());
            let why = format!("{name} ({time}) must be between {least} and {most}");
            return fail(name, why);
        }
    }
    Ok(())
}

fn check_hooks(hooks: &Hooks) -> Checked {
    for (stage, list) in hooks.stages() {
        for (n, hook) in list.iter().enumerate() {
            check_hook(hook).map_err(|(key, reason)| {
                Invalid::new(format!("hooks.{stage}[{n}].{key}"), reason)
            })?;
        }
    }
    Ok(())
}

fn check_hook(hook: &Hook) -> Result<(), (&'static str, String)> {
    if !hook.path.starts_with('/') {
        return Err(("path", format!("{:?} must be absolute", hook.path)));
    }
    match hook.timeout {
        Some(seconds) if seconds <= 0 => Err(("timeout", "must be greater than zero".into())),
        _ => Ok(()),
    }
}

fn check_linux(linux: &Linux) -> Checked {
    for (n, ns) in linux.namespaces.iter().enumerate() {
        let key = |part: &str| format!("linux.namespaces[{n}].{part}");
        one_of(|| key("type"), &ns.kind, &NAMESPACES)?;
        if !ns.path.is_empty() && !ns.path.starts_with('/') {
            return Err(Invalid::new(
                key("path"),
                format!("{:?} must be absolute", ns.path),
            ));
        }
        if linux.namespaces.iter().take(n).any(|o| o.kind == ns.kind) {
            return Err(Invalid::new(
                key("type"),
                format!("{:?} is given twice", ns.kind),
            ));
        }
    }
    for (key, list) in [
        ("linux.uidMappings", &linux.uid_mappings),
        ("linux.gidMappings", &linux.gid_mappings),
    ] {
        mappings(list).map_err(|reason| Invalid::new(key, reason))?;
    }
    for (clock, offset) in &linux.time_offsets {
        one_of(|| "linux.timeOffsets", clock, &["monotonic", "boottime"])?;
        if offset.nanosecs >= 1_000_000_000 {
            let key = format!("linux.timeOffsets.{clock}.nanosecs");
            return Err(Invalid::new(key, "is not below a second"));
        }
    }
    for (n, device) in linux.devices.iter().enumerate() {
        let key = |part: &str| format!("linux.devices[{n}].{part}");
        one_of(|| key("type"), &device.kind, &["c", "b", "u", "p"])?;
        if !device.path.starts_with('/') {
            return Err(Invalid::new(
                key("path"),
                format!("{:?} must be absolute", device.path),
            ));
        }
        for (part, number) in [("major", device.major), ("minor", device.minor)] {
            if u32::try_from(number).is_err() && device.kind != "p" {
                return Err(Invalid::new(
                    key(part),
                    format!("{number} is not a device number"),
                ));
            }
        }
    }
    one_of(
        || "linux.rootfsPropagation",
        &linux.rootfs_propagation,
        &PROPAGATIONS,
    )?;
    // Relative readonlyPaths are let stand: as in runc they are taken from the root.
    if let Some(n) = linux.masked_paths.iter().position(|p| !p.starts_with('/')) {
        let reason = "must be absolute".to_owned();
        return Err(Invalid::new(format!("linux.maskedPaths[{n}]"), reason));
    }
    if let Some(resources) = &linux.resources {
        check_resources(resources)?;
    }
    if let Some(rdt) = &linux.intel_rdt {
        check_rdt(rdt)?;
    }
    check_policies(linux)
}

fn check_policies(linux: &Linux) -> Checked {
    if let Some(personality) = &linux.personality {
        let key = "linux.personality.domain";
        one_of(|| key, &personality.domain, &["LINUX", "LINUX32"])?;
        if !personality.flags.is_empty() {
            let reason = "no flag is defined yet";
            return Err(Invalid::new("linux.personality.flags", reason));
        }
    }
    let Some(policy) = &linux.memory_policy else {
        return Ok(());
    };
    // The reasons are runc's, whose callers look for them.
    let said = |what: &str, text: &str, invalid: Invalid| {
        let reason = format!("invalid memory policy {what} {text:?}: {}", invalid.reason);
        Invalid::new(invalid.key, reason)
    };
    let named = MEMORY_POLICIES.map(|(name, _)| name);
    one_of(|| "linux.memoryPolicy.mode", &policy.mode, &named)
        .map_err(|e| said("mode", &policy.mode, e))?;
    for (n, flag) in policy.flags.iter().enumerate() {
        let named = MEMORY_POLICY_FLAGS.map(|(name, _)| name);
        one_of(|| format!("linux.memoryPolicy.flags[{n}]"), flag, &named)
            .map_err(|e| said("flag", flag, e))?;
    }
    let key = "linux.memoryPolicy.nodes";
    let nodes = number_list(&policy.nodes)
        .map_err(|reason| said("nodes", &policy.nodes, Invalid::new(key, reason)))?;
    match (policy.mode.as_str(), nodes.is_empty()) {
        ("MPOL_DEFAULT" | "MPOL_LOCAL", false) => Err(Invalid::new(
            key,
            format!(
                "must be empty for {}: memory policy mode requires 0 nodes but got {}",
                policy.mode,
                nodes.len()
            ),
        )),
        (
            "MPOL_BIND" | "MPOL_INTERLEAVE" | "MPOL_WEIGHTED_INTERLEAVE" | "MPOL_PREFERRED_MANY",
            true,
        ) => Err(Invalid::new(
            key,
            format!("must name a node for {}", policy.mode),
        )),
        _ => Ok(()),
    }
}

fn check_resources(resources: &Resources) -> Checked {
    for (n, rule) in resources.devices.iter().enumerate() {
        let key = |part: &str| format!("linux.resources.devices[{n}].{part}");
        one_of(|| key("type"), &rule.kind, &["", "a", "b", "c", "u"])?;
        for (part, number) in [("major", rule.major), ("minor", rule.minor)] {
            // -1 is how some callers write "any".
            if number.is_some_and(|n| n != -1 && u32::try_from(n).is_err()) {
                return Err(Invalid::new(key(part), "is not a device number"));
            }
        }
        // 'a', of the rules' types, is often written here too; there is a warning of it.
        if let Some(bad) = rule.access.chars().find(|c| !"rwma".contains(*c)) {
            return Err(Invalid::new(
                key("access"),
                format!("{bad:?} is not one of r, w and m"),
            ));
        }
    }
    for (n, page) in resources.hugepage_limits.iter().enumerate() {
        let number = page.page_size.strip_suffix('B').and_then(|s| {
            let number = s.strip_suffix(['K', 'M', 'G'])?;
            number.parse::<u64>().ok().filter(|n| *n > 0)
        });
        if number.is_none() {
            return Err(Invalid::new(
                format!("linux.resources.hugepageLimits[{n}].pageSize"),
                format!("{:?} is not a page size such as 2MB", page.page_size),
            ));
        }
    }
    for (name, limit) in &resources.rdma {
        if limit.hca_handles.is_none() && limit.hca_objects.is_none() {
            let key = format!("linux.resources.rdma.{name}");
            return Err(Invalid::new(key, "must set hcaHandles or hcaObjects"));
        }
    }
    Ok(())
}

fn check_rdt(rdt: &IntelRdt) -> Checked {
    let wrong =
        |key: &str, reason: &str| Err(Invalid::new(format!("linux.intelRdt.{key}"), reason));
    let id = rdt.clos_id.as_str();
    if matches!(id, "." | "..") || (id.len() > 1 && id.contains('/')) {
        return wrong("closID", "is not the name of a directory");
    }
    if !rdt.mem_bw_schema.is_empty() && !rdt.mem_bw_schema.starts_with("MB:") {
        return wrong("memBwSchema", "must start with \"MB:\"");
    }
    if rdt.mem_bw_schema.contains('\n') {
        return wrong("memBwSchema", "must not contain newlines");
    }
    if rdt.schemata.iter().any(|line| line.contains('\n')) {
        return wrong("schemata", "must not contain newlines");
    }
    Ok(())
}

/// The key is rendered only for an error: most documents have none.
fn one_of<K: Display>(key: impl FnOnce() -> K, word: &str, known: &[&str]) -> Checked {
    if known.contains(&word) {
        return Ok(());
    }
    let known: Vec<&str> = known.iter().copied().filter(|k| !k.is_empty()).collect();
    Err(Invalid::new(
        key().to_string(),
        format!("{word:?} is not known (one of {})", known.join(", ")),
    ))
}

/// Numbers of a list such as `0-3,7`, the form of cpuset(7).
pub fn number_list(text: &str) -> Result<Vec<u32>, String> {
    /// More than any kernel has processors or nodes.
    const MOST: u32 = 65_536;
    let mut out = Vec::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<u32>().ok().filter(|n| *n < MOST);
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => out.extend(first..=last),
            _ => return Err(format!("{part:?} is not a number or a range")),
        }
        if out.len() > MOST as usize {
            return Err("is too long".into());
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let text = format!(r#"{{"ociVersion":"1.3.0",{text}}}"#);
        let spec = Spec::from_json(text.as_bytes()).unwrap();
        spec.check().unwrap_err().to_string()
    }

    /// Part of a document, and how what is said of it begins.
    const MISTAKES: &[(&str, &str)] = &[
        (
            r#""linux":{"namespaces":[{"type":"uts"},{"type":"net"}]}"#,
            "linux.namespaces[1].type: \"net\" is not known",
        ),
        (
            r#""linux":{"namespaces":[{"type":"uts"},{"type":"uts"}]}"#,
            "linux.namespaces[1].type: \"uts\" is given twice",
        ),
        (
            r#""linux":{"namespaces":[{"type":"uts","path":"x"}]}"#,
            "linux.namespaces[0].path: \"x\" must be absolute",
        ),
        (
            r#""linux":{"rootfsPropagation":"none"}"#,
            "linux.rootfsPropagation: \"none\"",
        ),
        (
            r#""linux":{"devices":[{"type":"d","path":"/x"}]}"#,
            "linux.devices[0].type: \"d\"",
        ),
        (
            r#""linux":{"devices":[{"type":"c","path":"/x","major":-1}]}"#,
            "linux.devices[0].major: -1",
        ),
        (
            r#""linux":{"personality":{"domain":"BSD"}}"#,
            "linux.personality.domain: \"BSD\"",
        ),
        (
            r#""linux":{"memoryPolicy":{"mode":"MPOL_BIND"}}"#,
            "linux.memoryPolicy.nodes: must name",
        ),
        (
            r#""linux":{"memoryPolicy":{"mode":"MPOL_LOCAL","nodes":"0"}}"#,
            "linux.memoryPolicy.nodes: must be empty",
        ),
        (
            r#""linux":{"intelRdt":{"closID":"a/b"}}"#,
            "linux.intelRdt.closID: ",
        ),
        (
            r#""linux":{"timeOffsets":{"realtime":{"secs":1}}}"#,
            "linux.timeOffsets: \"realtime\"",
        ),
        (
            r#""linux":{"resources":{"devices":[{"allow":true,"access":"rx"}]}}"#,
            "linux.resources.devices[0].access: 'x'",
        ),
        (
            r#""linux":{"resources":{"devices":[{"allow":true,"major":4294967296}]}}"#,
            "linux.resources.devices[0].major: is not",
        ),
        (
            r#""linux":{"resources":{"hugepageLimits":[{"pageSize":"0MB","limit":1}]}}"#,
            "linux.resources.hugepageLimits[0].pageSize: ",
        ),
        (
            r#""linux":{"maskedPaths":["/a","b"]}"#,
            "linux.maskedPaths[1]: must be absolute",
        ),
        (
            r#""process":{"cwd":"/","scheduler":{"policy":"SCHED_DEADLINE","runtime":5000,
                "deadline":4000}}"#,
            "process.scheduler.runtime: sched_setattr: `SCHED_DEADLINE` runtime (5000) must be <=",
        ),
        (
            r#""hooks":{"poststop":[{"path":"x"}]}"#,
            "hooks.poststop[0].path: \"x\" must be absolute",
        ),
        (
            r#""hooks":{"prestart":[{"path":"/x","timeout":0}]}"#,
            "hooks.prestart[0].timeout: must be greater",
        ),
        (
            r#""process":{"cwd":"/","scheduler":{"policy":"SCHED_X"}}"#,
            "process.scheduler.policy: \"SCHED_X\"",
        ),
        (
            r#""process":{"cwd":"/","scheduler":{"policy":"SCHED_OTHER","priority":3}}"#,
            "process.scheduler.priority: can be",
        ),
        (
            r#""process":{"cwd":"/","ioPriority":{"class":"IOPRIO_CLASS_BE","priority":8}}"#,
            "process.ioPriority.priority: 8",
        ),
        (
            r#""process":{"cwd":"/","rlimits":[{"type":"RLIMIT_X","hard":1,"soft":1}]}"#,
            "process.rlimits[0].type: \"RLIMIT_X\"",
        ),
        (
            r#""process":{"cwd":"/","execCPUAffinity":{"final":"3-1"}}"#,
            "process.execCPUAffinity.final: \"3-1\"",
        ),
        (
            r#""mounts":[{"destination":""}]"#,
            "mounts[0].destination: is required",
        ),
        (
            r#""mounts":[{"destination":"/a","uidMappings":[{"containerID":0,"hostID":0,"size":1}]}]"#,
            "mounts[0].gidMappings: must be given too",
        ),
    ];

    #[test]
    fn words_are_those_of_the_specification() {
        for (text, want) in MISTAKES {
            let got = error(text);
            assert!(
                got.starts_with(want),
                "{got:?} does not start with {want:?}"
            );
        }
    }

    #[test]
    fn versions() {
        let check = |v: &str| check_version(v).is_ok();
        assert!(check("1.3.0") && check("1.0.2-dev") && check("1.2.0+x") && check(""));
        assert!(!check("2.0.0") && !check("1.3") && !check("x"));
    }

    #[test]
    fn lists() {
        assert_eq!(number_list("0-2, 7").unwrap(), [0, 1, 2, 7]);
        assert_eq!(number_list("").unwrap(), [0u32; 0]);
        assert!(number_list("1-").is_err() && number_list("0-99999999").is_err());
    }
}
