//! Meters of a cgroup, in the kernel's units.

use std::collections::BTreeMap;

/// One reading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Nanoseconds, user and kernel.
    pub cpu_total: u64,
    /// Nanoseconds in user mode.
    pub cpu_user: u64,
    /// Nanoseconds in kernel mode.
    pub cpu_system: u64,
    /// Nanoseconds per processor (v1).
    pub cpu_per_cpu: Vec<u64>,
    /// Enforcement periods passed.
    pub cpu_periods: u64,
    /// Of these, throttled.
    pub cpu_throttled_periods: u64,
    /// Nanoseconds throttled.
    pub cpu_throttled_time: u64,
    /// Bytes now.
    pub memory_usage: u64,
    /// Highest, bytes; 0 where the kernel does not say.
    pub memory_max_usage: u64,
    /// Times the limit was hit.
    pub memory_failcnt: u64,
    /// Bytes; `u64::MAX` is none.
    pub memory_limit: u64,
    /// memory.stat.
    pub memory_stat: BTreeMap<String, u64>,
    /// Tasks now.
    pub pids_current: u64,
    /// Limit of tasks; `u64::MAX` is none.
    pub pids_limit: u64,
    /// Bytes by device and operation (`read`, `write`, …).
    pub io_service_bytes: Vec<IoEntry>,
    /// Operations by device and operation.
    pub io_serviced: Vec<IoEntry>,
}

/// One counter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IoEntry {
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// `read`, `write`, `sync`, `async`, `discard`, `total`.
    pub op: String,
    /// Count.
    pub value: u64,
}
