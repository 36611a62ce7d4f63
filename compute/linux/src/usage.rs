//! Meters in the contract's terms.

use cgroup::{IoEntry, Stats};
use compute::{BlockIoEntry, BlockIoUsage, CpuUsage, MemoryUsage, NetworkUsage, PidsUsage, Usage};

pub(crate) fn usage(stats: Stats, networks: Vec<NetworkUsage>) -> Usage {
    Usage {
        cpu: CpuUsage {
            total: stats.cpu_total,
            user: stats.cpu_user,
            system: stats.cpu_system,
            per_cpu: stats.cpu_per_cpu,
            periods: stats.cpu_periods,
            throttled_periods: stats.cpu_throttled_periods,
            throttled_time: stats.cpu_throttled_time,
        },
        memory: MemoryUsage {
            usage: stats.memory_usage,
            max_usage: stats.memory_max_usage,
            failcnt: stats.memory_failcnt,
            limit: stats.memory_limit,
            stats: stats.memory_stat,
        },
        pids: PidsUsage {
            current: stats.pids_current,
            limit: stats.pids_limit,
        },
        block_io: BlockIoUsage {
            service_bytes: block_io(stats.io_service_bytes),
            serviced: block_io(stats.io_serviced),
        },
        networks,
    }
}

fn block_io(entries: Vec<IoEntry>) -> Vec<BlockIoEntry> {
    let convert = |e: IoEntry| BlockIoEntry {
        major: e.major,
        minor: e.minor,
        op: e.op,
        value: e.value,
    };
    entries.into_iter().map(convert).collect()
}

/// The interfaces in the network namespace of `pid`; none when it is gone.
pub(crate) fn networks(pid: u32) -> Vec<NetworkUsage> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    text.lines().filter_map(interface).collect()
}

/// A line of `net/dev`: name, eight counters received, eight sent.
fn interface(line: &str) -> Option<NetworkUsage> {
    let (name, counters) = line.split_once(':')?;
    let counters: Vec<u64> = counters
        .split_whitespace()
        .map_while(|c| c.parse().ok())
        .collect();
    let name = name.trim();
    if name == "lo" || counters.len() < 12 {
        return None;
    }
    Some(NetworkUsage {
        name: name.to_owned(),
        rx_bytes: counters[0],
        rx_packets: counters[1],
        rx_errors: counters[2],
        rx_dropped: counters[3],
        tx_bytes: counters[8],
        tx_packets: counters[9],
        tx_errors: counters[10],
        tx_dropped: counters[11],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_interfaces_but_not_the_loopback() {
        let line = "  eth0:  1500  10 1 2 0 0 0 0 2500 20 3 4 0 0 0 0";
        let eth0 = interface(line).expect("interface");
        assert_eq!(
            (eth0.name.as_str(), eth0.rx_bytes, eth0.rx_dropped),
            ("eth0", 1500, 2)
        );
        assert_eq!(
            (eth0.tx_bytes, eth0.tx_errors, eth0.tx_dropped),
            (2500, 3, 4)
        );
        assert!(interface("    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0").is_none());
        assert!(interface("Inter-|   Receive  |  Transmit").is_none());
    }
}
