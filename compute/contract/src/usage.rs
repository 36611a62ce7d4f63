//! Meters of a container, in the kernel's units.

/// One reading.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// Processor.
    pub cpu: CpuUsage,
    /// Memory.
    pub memory: MemoryUsage,
    /// Tasks.
    pub pids: PidsUsage,
    /// Block I/O.
    pub block_io: BlockIoUsage,
    /// Interfaces of its network namespace, `lo` left out.
    pub networks: Vec<NetworkUsage>,
}

/// Processor time in nanoseconds.
#[derive(Debug, Clone, Default)]
pub struct CpuUsage {
    /// User and kernel.
    pub total: u64,
    /// User mode.
    pub user: u64,
    /// Kernel mode.
    pub system: u64,
    /// Per processor (v1 only).
    pub per_cpu: Vec<u64>,
    /// Enforcement periods passed.
    pub periods: u64,
    /// Of these, throttled.
    pub throttled_periods: u64,
    /// Time throttled.
    pub throttled_time: u64,
}

/// Memory in bytes.
#[derive(Debug, Clone, Default)]
pub struct MemoryUsage {
    /// Now.
    pub usage: u64,
    /// Highest (v1).
    pub max_usage: u64,
    /// Times the limit was hit.
    pub failcnt: u64,
    /// The limit; `u64::MAX` is none.
    pub limit: u64,
    /// memory.stat.
    pub stats: std::collections::BTreeMap<String, u64>,
}

/// Tasks.
#[derive(Debug, Clone, Default)]
pub struct PidsUsage {
    /// Now.
    pub current: u64,
    /// The limit; `u64::MAX` is none.
    pub limit: u64,
}

/// Block I/O by device and operation.
#[derive(Debug, Clone, Default)]
pub struct BlockIoUsage {
    /// Bytes.
    pub service_bytes: Vec<BlockIoEntry>,
    /// Operations.
    pub serviced: Vec<BlockIoEntry>,
}

/// One counter.
#[derive(Debug, Clone, Default)]
pub struct BlockIoEntry {
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// `read`, `write`, `sync`, `async`, `total`, …
    pub op: String,
    /// Count.
    pub value: u64,
}

/// Counters of one interface.
#[derive(Debug, Clone, Default)]
pub struct NetworkUsage {
    /// Its name inside the container.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Receive errors.
    pub rx_errors: u64,
    /// Receive drops.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Send errors.
    pub tx_errors: u64,
    /// Send drops.
    pub tx_dropped: u64,
}
