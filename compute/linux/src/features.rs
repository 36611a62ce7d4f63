//! What this host can do.

use std::path::Path;

use cgroup::Layout;
use compute::Features;

/// Looks once.
pub(crate) fn detect(layout: &Layout, systemd: bool) -> Features {
    let v2 = layout.version == 2;
    let has = |name: &str| layout.controllers().any(|c| c == name);
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    // On v1 every file is also in the root of its hierarchy; on v2 what a controller has is fixed.
    let file = |controller: &str, name: &str| {
        let mut hierarchies = layout.hierarchies.iter();
        let found = hierarchies.find(|h| h.has(controller));
        found.is_some_and(|h| v2 || h.mountpoint.join(name).exists())
    };
    Features {
        cgroup_version: layout.version,
        cgroup_driver: if systemd { "systemd" } else { "cgroupfs" },
        controllers: layout.controllers().map(str::to_owned).collect(),
        seccomp: Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
        apparmor: text("/sys/module/apparmor/parameters/enabled").starts_with('Y'),
        selinux: Path::new("/sys/fs/selinux/enforce").exists(),
        capabilities: runtime::available_capabilities(),
        memory_limit: has("memory"),
        swap_limit: file("memory", "memory.memsw.limit_in_bytes"),
        oom_kill_disable: !v2 && file("memory", "memory.oom_control"),
        cpu_cfs: file("cpu", "cpu.cfs_quota_us"),
        cpu_realtime: !v2 && file("cpu", "cpu.rt_period_us"),
        cpu_shares: has("cpu"),
        cpuset: has("cpuset"),
        pids_limit: has("pids"),
        block_io: has("blkio") || has("io"),
    }
}
