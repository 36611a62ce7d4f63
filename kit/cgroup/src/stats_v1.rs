//! Meters of cgroup v1.

use std::collections::BTreeMap;

use crate::{Cgroup, Dir, IoEntry, Stats};

pub(crate) fn read(cgroup: &Cgroup) -> Stats {
    let mut stats = Stats {
        memory_limit: u64::MAX,
        pids_limit: u64::MAX,
        ..Stats::default()
    };
    if let Some(dir) = cgroup.dir("cpuacct") {
        stats.cpu_total = dir.number("cpuacct.usage");
        stats.cpu_user = dir.number("cpuacct.usage_user");
        stats.cpu_system = dir.number("cpuacct.usage_sys");
        let per_cpu = dir.read("cpuacct.usage_percpu").unwrap_or_default();
        stats.cpu_per_cpu = per_cpu
            .split_whitespace()
            .filter_map(|n| n.parse().ok())
            .collect();
    }
    if let Some(dir) = cgroup.dir("cpu") {
        let table = table(dir, "cpu.stat");
        let get = |key: &str| table.get(key).copied().unwrap_or(0);
        stats.cpu_periods = get("nr_periods");
        stats.cpu_throttled_periods = get("nr_throttled");
        stats.cpu_throttled_time = get("throttled_time");
    }
    if let Some(dir) = cgroup.dir("memory") {
        stats.memory_usage = dir.number("memory.usage_in_bytes");
        stats.memory_max_usage = dir.number("memory.max_usage_in_bytes");
        stats.memory_failcnt = dir.number("memory.failcnt");
        // "None" is the largest multiple of the page size that fits a signed counter.
        stats.memory_limit = match dir.number("memory.limit_in_bytes") {
            limit if limit >= 0x7fff_ffff_ffff_0000 => u64::MAX,
            limit => limit,
        };
        stats.memory_stat = table(dir, "memory.stat");
    }
    if let Some(dir) = cgroup.dir("pids") {
        stats.pids_current = dir.number("pids.current");
        stats.pids_limit = dir.number("pids.max");
    }
    if let Some(dir) = cgroup.dir("blkio") {
        stats.io_service_bytes = io(dir, "blkio.throttle.io_service_bytes");
        stats.io_serviced = io(dir, "blkio.throttle.io_serviced");
    }
    stats
}

/// Lines of `key number`.
pub(crate) fn table(dir: &Dir, file: &str) -> BTreeMap<String, u64> {
    let text = dir.read(file).unwrap_or_default();
    text.lines()
        .filter_map(|l| l.split_once(' '))
        .filter_map(|(k, v)| Some((k.to_owned(), v.trim().parse().ok()?)))
        .collect()
}

/// Lines of `major:minor Operation number`; the recursive file where the kernel has it.
pub(crate) fn io(dir: &Dir, file: &str) -> Vec<IoEntry> {
    let text = dir
        .read(&format!("{file}_recursive"))
        .or_else(|_| dir.read(file));
    parse_io(&text.unwrap_or_default())
}

fn parse_io(text: &str) -> Vec<IoEntry> {
    let mut out = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(device), Some(op), Some(value)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let Some((Ok(major), Ok(minor))) =
            device.split_once(':').map(|(a, b)| (a.parse(), b.parse()))
        else {
            continue;
        };
        if let Ok(value) = value.parse() {
            out.push(IoEntry {
                major,
                minor,
                op: op.to_lowercase(),
                value,
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_lines() {
        let got = parse_io("254:0 Read 4096\n254:0 Total 4096\nTotal 4096\n");
        assert_eq!(got.len(), 2);
        assert_eq!(
            (got[0].major, got[0].op.as_str(), got[0].value),
            (254, "read", 4096)
        );
    }
}
