//! Meters that only a detailed report wants, beside [`crate::Stats`].

use std::collections::BTreeMap;

use crate::stats_v1::io;
use crate::{Cgroup, Dir, IoEntry};

/// Use, highest use, limit and refusals of one kind of memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Meter {
    /// Bytes now.
    pub usage: u64,
    /// Highest, bytes.
    pub max: u64,
    /// Times the limit was hit.
    pub failcnt: u64,
    /// Bytes; `u64::MAX` is none.
    pub limit: u64,
}

/// State of a v1 cpuset (cpuset(7)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpuset {
    /// Processors.
    pub cpus: Vec<u16>,
    /// Memory nodes.
    pub mems: Vec<u16>,
    /// The flags by the names of their files, without `cpuset.`.
    pub flags: BTreeMap<&'static str, i64>,
}

/// One stall record (Documentation/accounting/psi.rst): percentages and microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stall {
    /// Over 10, 60 and 300 seconds.
    pub average: [f64; 3],
    /// In all.
    pub total: u64,
}

/// `some` and `full` of one resource.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// Some tasks waited.
    pub some: Stall,
    /// All did.
    pub full: Stall,
}

/// One reading of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extended {
    /// Page cache, bytes.
    pub cache: u64,
    /// Memory with swap (v1), swap alone (v2).
    pub swap: Meter,
    /// Kernel memory (v1).
    pub kernel: Meter,
    /// Kernel TCP buffers (v1).
    pub kernel_tcp: Meter,
    /// v1.
    pub cpuset: Cpuset,
    /// By page size.
    pub hugetlb: BTreeMap<String, Meter>,
    /// v1: other block I/O tables, by the names of their files without `blkio.`.
    pub block: BTreeMap<&'static str, Vec<IoEntry>>,
    /// v2: cpu, memory, io.
    pub pressure: [Option<Pressure>; 3],
}

const CPUSET_FLAGS: [&str; 9] = [
    "cpu_exclusive",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
    "sched_relax_domain_level",
];

const BLOCK_TABLES: [&str; 6] = [
    "io_queued",
    "io_service_time",
    "io_wait_time",
    "io_merged",
    "time",
    "sectors",
];

impl Cgroup {
    /// Reads them; missing ones stay zero.
    pub fn extended_stats(&self) -> Extended {
        let mut out = Extended::default();
        let stat = |key: &str| {
            let table = self
                .dir("memory")
                .map(|d| crate::stats_v1::table(d, "memory.stat"));
            table.and_then(|t| t.get(key).copied()).unwrap_or(0)
        };
        if self.version == 1 {
            out.cache = stat("cache");
            if let Some(dir) = self.dir("memory") {
                out.swap = meter(dir, "memory.memsw");
                out.kernel = meter(dir, "memory.kmem");
                out.kernel_tcp = meter(dir, "memory.kmem.tcp");
            }
            if let Some(dir) = self.dir("cpuset") {
                out.cpuset = cpuset(dir);
            }
            if let Some(dir) = self.dir("blkio") {
                for name in BLOCK_TABLES {
                    out.block.insert(name, io(dir, &format!("blkio.{name}")));
                }
            }
        } else if let Some(dir) = self.dirs.first() {
            out.cache = stat("file");
            out.swap = Meter {
                usage: dir.number("memory.swap.current"),
                max: dir.number("memory.swap.peak"),
                failcnt: 0,
                limit: dir.number("memory.swap.max"),
            };
            for (slot, file) in out.pressure.iter_mut().zip(["cpu", "memory", "io"]) {
                let text = dir.read(&format!("{file}.pressure"));
                *slot = text.ok().map(|t| pressure(&t));
            }
        }
        out.hugetlb = self.hugetlb();
        out
    }

    fn hugetlb(&self) -> BTreeMap<String, Meter> {
        let mut out = BTreeMap::new();
        let (Some(dir), Ok(sizes)) = (
            self.dir("hugetlb"),
            std::fs::read_dir("/sys/kernel/mm/hugepages"),
        ) else {
            return out;
        };
        for size in sizes.flatten() {
            let name = size.file_name();
            let kilobytes = name.to_str().and_then(|n| {
                n.strip_prefix("hugepages-")?
                    .strip_suffix("kB")?
                    .parse()
                    .ok()
            });
            let Some(size) = kilobytes.map(page_size) else {
                continue;
            };
            let meter = match self.version {
                1 => meter(dir, &format!("hugetlb.{size}")),
                _ => Meter {
                    usage: dir.number(&format!("hugetlb.{size}.current")),
                    max: dir.number(&format!("hugetlb.{size}.max")),
                    ..Meter::default()
                },
            };
            out.insert(size, meter);
        }
        out
    }
}

/// As the controller's files have it: 2048 is "2MB".
fn page_size(kilobytes: u64) -> String {
    match kilobytes {
        k if k >= 1 << 20 => format!("{}GB", k >> 20),
        k if k >= 1 << 10 => format!("{}MB", k >> 10),
        k => format!("{k}KB"),
    }
}

fn meter(dir: &Dir, prefix: &str) -> Meter {
    let number = |file: &str| dir.number(&format!("{prefix}.{file}"));
    Meter {
        usage: number("usage_in_bytes"),
        max: number("max_usage_in_bytes"),
        failcnt: number("failcnt"),
        limit: number("limit_in_bytes"),
    }
}

fn cpuset(dir: &Dir) -> Cpuset {
    let list = |file: &str| ranges(&dir.read(file).unwrap_or_default());
    let flag = |name: &'static str| {
        let text = dir.read(&format!("cpuset.{name}")).unwrap_or_default();
        (name, text.trim().parse().unwrap_or(0))
    };
    Cpuset {
        cpus: list("cpuset.cpus"),
        mems: list("cpuset.mems"),
        flags: CPUSET_FLAGS.into_iter().map(flag).collect(),
    }
}

/// `0-3,8` one by one.
fn ranges(text: &str) -> Vec<u16> {
    let mut out = Vec::new();
    for part in text.trim().split(',').filter(|p| !p.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(from), Ok(to)) = (from.parse::<u16>(), to.parse()) {
            out.extend(from..=to);
        }
    }
    out
}

fn pressure(text: &str) -> Pressure {
    let mut out = Pressure::default();
    for line in text.lines() {
        let mut words = line.split(' ');
        let stall = match words.next() {
            Some("some") => &mut out.some,
            Some("full") => &mut out.full,
            _ => continue,
        };
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            match key {
                "avg10" => stall.average[0] = value.parse().unwrap_or(0.0),
                "avg60" => stall.average[1] = value.parse().unwrap_or(0.0),
                "avg300" => stall.average[2] = value.parse().unwrap_or(0.0),
                "total" => stall.total = value.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        assert_eq!(ranges("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(ranges("\n"), [0u16; 0]);
        assert_eq!(page_size(2048), "2MB");
        assert_eq!(page_size(64), "64KB");
        assert_eq!(page_size(1 << 20), "1GB");
        let p = pressure(
            "some avg10=1.50 avg60=0.00 avg300=0.25 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n",
        );
        assert_eq!(
            (p.some.average[0], p.some.total, p.full.total),
            (1.5, 77, 3)
        );
    }
}
