//! What can be limited. Absent means: leave as it is.

use std::collections::BTreeMap;

/// Limits of one cgroup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// Device rules, in order, later ones overriding; empty leaves devices alone.
    pub devices: Vec<DeviceRule>,
    /// Memory.
    pub memory: Memory,
    /// Processor.
    pub cpu: Cpu,
    /// Number of tasks; -1 (or 0) is unlimited.
    pub pids: Option<i64>,
    /// Block I/O.
    pub block_io: BlockIo,
    /// Page size as in "2MB", and bytes.
    pub hugepages: Vec<(String, u64)>,
    /// net_cls.classid (v1).
    pub net_class: Option<u32>,
    /// Interface and priority (v1).
    pub net_priorities: Vec<(String, u32)>,
    /// Device, handles, objects.
    pub rdma: Vec<(String, Option<u32>, Option<u32>)>,
    /// Files of cgroup v2, verbatim, written last.
    pub unified: BTreeMap<String, String>,
}

/// Memory in bytes; -1 is unlimited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// Hard limit.
    pub limit: Option<i64>,
    /// Soft limit.
    pub reservation: Option<i64>,
    /// Memory plus swap.
    pub swap: Option<i64>,
    /// Kernel TCP buffers (v1).
    pub kernel_tcp: Option<i64>,
    /// 0 to 100 (v1).
    pub swappiness: Option<u64>,
    /// No OOM killer (v1).
    pub disable_oom_killer: bool,
    /// Refuse a limit below current use.
    pub check_before_update: bool,
}

/// Processor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Relative weight, 2 to 262144.
    pub shares: Option<u64>,
    /// Microseconds a period; -1 is unlimited.
    pub quota: Option<i64>,
    /// Microseconds.
    pub burst: Option<u64>,
    /// Microseconds.
    pub period: Option<u64>,
    /// v1, microseconds.
    pub realtime_runtime: Option<i64>,
    /// v1, microseconds.
    pub realtime_period: Option<u64>,
    /// List of processors; empty inherits.
    pub cpus: String,
    /// List of memory nodes; empty inherits.
    pub mems: String,
    /// SCHED_IDLE group.
    pub idle: Option<i64>,
}

/// Block I/O; devices are major, minor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockIo {
    /// 10 to 1000.
    pub weight: Option<u16>,
    /// v1 CFQ leaves.
    pub leaf_weight: Option<u16>,
    /// Weight and leaf weight by device.
    pub device_weights: Vec<(i64, i64, Option<u16>, Option<u16>)>,
    /// Bytes a second.
    pub read_bps: Vec<(i64, i64, u64)>,
    /// Bytes a second.
    pub write_bps: Vec<(i64, i64, u64)>,
    /// Operations a second.
    pub read_iops: Vec<(i64, i64, u64)>,
    /// Operations a second.
    pub write_iops: Vec<(i64, i64, u64)>,
}

/// Kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// Both kinds.
    All,
    /// Character devices.
    Char,
    /// Block devices.
    Block,
}

/// One device rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    /// Allowed or denied.
    pub allow: bool,
    /// Which kind.
    pub kind: DeviceKind,
    /// `None` is any.
    pub major: Option<u32>,
    /// `None` is any.
    pub minor: Option<u32>,
    /// Reading.
    pub read: bool,
    /// Writing.
    pub write: bool,
    /// Making nodes.
    pub mknod: bool,
}
