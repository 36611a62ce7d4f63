//! What the host did and has, to compare a container's share with.

use std::fs::read_to_string;

/// Ticks of /proc/stat: USER_HZ is 100 on every platform Linux runs containers on.
const NANOS_PER_TICK: u64 = 1_000_000_000 / 100;

/// One reading of the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Host {
    /// Processor time of all processors, idle time included.
    pub(super) cpu_nanos: u64,
    /// Processors online.
    pub(super) cpus: u64,
    /// Bytes of memory; 0 unknown.
    pub(super) memory: u64,
}

pub(super) fn read() -> Host {
    // /proc not mounted is the only way to fail here: zeros are then all there is to tell.
    let mut host = cpu(&read_to_string("/proc/stat").unwrap_or_default());
    host.memory = memory(&read_to_string("/proc/meminfo").unwrap_or_default());
    host
}

fn cpu(stat: &str) -> Host {
    let mut host = Host::default();
    for line in stat.lines().take_while(|line| line.starts_with("cpu")) {
        let mut fields = line.split_ascii_whitespace();
        if fields.next() == Some("cpu") {
            let ticks: u64 = fields
                .take(7)
                .filter_map(|field| field.parse::<u64>().ok())
                .sum();
            host.cpu_nanos = ticks.saturating_mul(NANOS_PER_TICK);
        } else {
            host.cpus += 1;
        }
    }
    host
}

pub(super) fn memory(meminfo: &str) -> u64 {
    let total = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|text| text.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

#[cfg(test)]
mod tests {
    use super::{Host, cpu, memory};

    #[test]
    fn proc_files() {
        let stat = "cpu  1 2 3 4 5 6 7 800 900 0\ncpu0 1 1 1 1 1 1 1 0 0 0\ncpu1 0 1 2 3 4 5 6 0 0 0\nintr 5\n";
        assert_eq!(
            cpu(stat),
            Host {
                cpu_nanos: 280_000_000,
                cpus: 2,
                memory: 0
            }
        );
        assert_eq!(memory("MemTotal:       2 kB\nMemFree: 1 kB\n"), 2048);
        let host = super::read();
        assert!(host.cpus > 0 && host.cpu_nanos > 0 && host.memory > 1 << 20);
    }
}
