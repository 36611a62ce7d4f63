//! Meters of cgroup v2.

use crate::stats_v1::table;
use crate::{Cgroup, IoEntry, Stats};

pub(crate) fn read(cgroup: &Cgroup) -> Stats {
    let mut stats = Stats {
        memory_limit: u64::MAX,
        pids_limit: u64::MAX,
        ..Stats::default()
    };
    let Some(dir) = cgroup.dirs.first() else {
        return stats;
    };
    let cpu = table(dir, "cpu.stat");
    let nanoseconds = |key: &str| cpu.get(key).copied().unwrap_or(0).saturating_mul(1000);
    stats.cpu_total = nanoseconds("usage_usec");
    stats.cpu_user = nanoseconds("user_usec");
    stats.cpu_system = nanoseconds("system_usec");
    stats.cpu_throttled_time = nanoseconds("throttled_usec");
    stats.cpu_periods = cpu.get("nr_periods").copied().unwrap_or(0);
    stats.cpu_throttled_periods = cpu.get("nr_throttled").copied().unwrap_or(0);

    stats.memory_usage = dir.number("memory.current");
    stats.memory_max_usage = dir.number("memory.peak");
    if let Ok(limit) = dir.read("memory.max") {
        stats.memory_limit = limit.trim().parse().unwrap_or(u64::MAX);
    }
    stats.memory_failcnt = table(dir, "memory.events").get("max").copied().unwrap_or(0);
    stats.memory_stat = table(dir, "memory.stat");

    stats.pids_current = dir.number("pids.current");
    if let Ok(limit) = dir.read("pids.max") {
        stats.pids_limit = limit.trim().parse().unwrap_or(u64::MAX);
    }
    let io = dir.read("io.stat").unwrap_or_default();
    (stats.io_service_bytes, stats.io_serviced) = parse_io(&io);
    stats
}

/// Lines of `major:minor rbytes=… wbytes=… rios=… wios=… …`.
fn parse_io(text: &str) -> (Vec<IoEntry>, Vec<IoEntry>) {
    let (mut bytes, mut counts) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let device = words.next().and_then(|d| d.split_once(':'));
        let Some((Ok(major), Ok(minor))) = device.map(|(a, b)| (a.parse(), b.parse())) else {
            continue;
        };
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut bytes, "read"),
                "wbytes" => (&mut bytes, "write"),
                "rios" => (&mut counts, "read"),
                "wios" => (&mut counts, "write"),
                _ => continue,
            };
            if let Ok(value) = value.parse() {
                list.push(IoEntry {
                    major,
                    minor,
                    op: op.to_owned(),
                    value,
                });
            }
        }
    }
    (bytes, counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_lines() {
        let (bytes, counts) = parse_io("8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n");
        assert_eq!((bytes[1].op.as_str(), bytes[1].value), ("write", 20));
        assert_eq!((counts[0].op.as_str(), counts[0].value), ("read", 1));
    }
}
