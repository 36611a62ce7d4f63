//! `stats`: the meters of a container, once or every second, as moby writes them.

use std::sync::Arc;
use std::time::Duration;

use compute::{BlockIoEntry, MemoryUsage, Usage};
use dockerapi::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, Map, MemoryStats, NetworkStats, PidsStats, Stats,
    ThrottlingData,
};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::container::Container;
use crate::record::{Phase, Record};
use crate::{Engine, Inner, Lines, Result, clock};

mod host;
mod names;

const INTERVAL: Duration = Duration::from_secs(1);
/// Samples a slow client may be behind before sampling pauses.
const QUEUE: usize = 2;

impl Engine {
    /// Readings of a container's meters: one per second until it is removed or the client leaves
    /// (`stream`), one with the reading before it (neither), or one alone (`one_shot`). Zeros when
    /// it does not run.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn container_stats(
        &self,
        name: &str,
        stream: bool,
        one_shot: bool,
    ) -> Result<Lines<Stats>> {
        let container = self.0.containers.find(name)?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let sampler = Sampler {
            inner: Arc::clone(&self.0),
            container,
            before: None,
        };
        tokio::spawn(async move {
            // Only the client's leave ends it early: what it waits for are ticks and the kernel.
            tokio::select! {
                () = sender.closed() => {}
                () = sampler.run(stream, one_shot, &sender) => {}
            }
        });
        Ok(receiver)
    }
}

struct Sampler {
    inner: Arc<Inner>,
    container: Arc<Container>,
    /// What the next reading is compared with: its time and processor counters.
    before: Option<(String, CpuStats)>,
}

impl Sampler {
    async fn run(mut self, stream: bool, one_shot: bool, out: &mpsc::Sender<Stats>) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut skip = !stream && !one_shot && self.container.record().state.phase.is_alive();
        let mut snapshot = self.container.snapshot.clone();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = snapshot.wait_for(|record| record.state.phase == Phase::Removed) => return,
            }
            let stats = self.sample().await;
            self.before = Some((stats.read.clone(), stats.cpu_stats.clone()));
            if std::mem::take(&mut skip) {
                continue;
            }
            if out.send(stats).await.is_err() || !stream {
                return;
            }
        }
    }

    async fn sample(&mut self) -> Stats {
        let record = self.container.record();
        let mut stats = empty(&record);
        if !record.state.phase.is_alive() {
            return stats;
        }
        match self.inner.compute.usage(&record.id).await {
            Ok(usage) => {
                let version = self.inner.compute.features().cgroup_version;
                fill(&mut stats, usage, version, host::read());
            }
            Err(error) => {
                let ended = matches!(
                    error.kind,
                    compute::Kind::NotFound | compute::Kind::NotRunning
                );
                if !ended {
                    tracing::warn!(id = record.id, err = %error, "cannot read the meters");
                }
                return stats;
            }
        }
        if let Some((read, cpu)) = self.before.take() {
            stats.preread = read;
            stats.precpu_stats = cpu;
        }
        stats
    }
}

fn empty(record: &Record) -> Stats {
    Stats {
        name: format!("/{}", record.name),
        id: record.id.clone(),
        read: clock::ZERO.into(),
        preread: clock::ZERO.into(),
        ..Stats::default()
    }
}

fn fill(stats: &mut Stats, usage: Usage, cgroup_version: u8, host: host::Host) {
    let v1 = cgroup_version == 1;
    stats.read = clock::rfc3339(clock::now());
    stats.pids_stats = PidsStats {
        current: usage.pids.current,
        // Of no limit, v1 says nothing, v2 says the highest number.
        limit: if v1 && usage.pids.limit == u64::MAX {
            0
        } else {
            usage.pids.limit
        },
    };
    stats.cpu_stats = CpuStats {
        cpu_usage: CpuUsage {
            total_usage: usage.cpu.total,
            percpu_usage: usage.cpu.per_cpu,
            usage_in_kernelmode: usage.cpu.system,
            usage_in_usermode: usage.cpu.user,
        },
        system_cpu_usage: host.cpu_nanos,
        online_cpus: host.cpus,
        throttling_data: ThrottlingData {
            periods: usage.cpu.periods,
            throttled_periods: usage.cpu.throttled_periods,
            throttled_time: usage.cpu.throttled_time,
        },
    };
    stats.memory_stats = memory(&usage.memory, v1, host.memory);
    stats.blkio_stats = if v1 {
        block_io_v1(&usage.block_io.service_bytes, &usage.block_io.serviced)
    } else {
        block_io_v2(&usage.block_io.service_bytes)
    };
    let networks: Map<NetworkStats> = usage
        .networks
        .into_iter()
        .map(|network| {
            let counters = NetworkStats {
                rx_bytes: network.rx_bytes,
                rx_packets: network.rx_packets,
                rx_errors: network.rx_errors,
                rx_dropped: network.rx_dropped,
                tx_bytes: network.tx_bytes,
                tx_packets: network.tx_packets,
                tx_errors: network.tx_errors,
                tx_dropped: network.tx_dropped,
            };
            (network.name, counters)
        })
        .collect();
    stats.networks = (!networks.is_empty()).then_some(networks);
}

fn memory(usage: &MemoryUsage, v1: bool, machine: u64) -> MemoryStats {
    let names: &[&str] = if v1 {
        &names::MEMORY_V1
    } else {
        &names::MEMORY_V2
    };
    let value = |name: &str| usage.stats.get(name).copied().unwrap_or_default();
    let limit = if machine > 0 {
        usage.limit.min(machine)
    } else {
        usage.limit
    };
    MemoryStats {
        usage: usage.usage,
        max_usage: usage.max_usage,
        stats: names
            .iter()
            .map(|name| ((*name).to_owned(), value(name)))
            .collect(),
        failcnt: usage.failcnt,
        limit,
    }
}

/// v1: every operation, as the kernel spells it; nothing is an empty list.
fn block_io_v1(bytes: &[BlockIoEntry], operations: &[BlockIoEntry]) -> BlkioStats {
    let list = |entries: &[BlockIoEntry]| Some(entries.iter().map(|e| entry(e, true)).collect());
    BlkioStats {
        io_service_bytes_recursive: list(bytes),
        io_serviced_recursive: list(operations),
        io_queue_recursive: Some(Vec::new()),
        io_service_time_recursive: Some(Vec::new()),
        io_wait_time_recursive: Some(Vec::new()),
        io_merged_recursive: Some(Vec::new()),
        io_time_recursive: Some(Vec::new()),
        sectors_recursive: Some(Vec::new()),
    }
}

/// v2: bytes read and written only; nothing is null.
fn block_io_v2(bytes: &[BlockIoEntry]) -> BlkioStats {
    let wanted = |entry: &&BlockIoEntry| matches!(entry.op.as_str(), "read" | "write");
    let list: Vec<_> = bytes
        .iter()
        .filter(wanted)
        .map(|e| entry(e, false))
        .collect();
    BlkioStats {
        io_service_bytes_recursive: (!list.is_empty()).then_some(list),
        ..BlkioStats::default()
    }
}

fn entry(entry: &BlockIoEntry, capital: bool) -> BlkioEntry {
    let mut op = entry.op.to_ascii_lowercase();
    if capital && let Some(first) = op.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    BlkioEntry {
        major: entry.major,
        minor: entry.minor,
        op,
        value: entry.value,
    }
}

#[cfg(test)]
mod tests;
