//! `events`: meters at intervals, and the OOM killer's work as it happens.

use std::time::{Duration, Instant};

use cgroup::{Cgroup, IoEntry, Meter, Pressure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Map, Value, json};
use sys::Errno;

use super::args::Args;
use super::fail::{Fail, Result, reason};
use super::pause;
use super::state::{Container, Status};
use super::{Global, id_of, print};

pub(crate) fn events(global: &Global, args: &Args) -> Result<u8> {
    let container = Container::load(&global.root, id_of(args))?;
    let interval = match args.text("interval") {
        None => Duration::from_secs(5),
        Some(text) => duration(text)
            .filter(|d| !d.is_zero())
            .ok_or_else(|| Fail::said("duration interval must be greater than 0"))?,
    };
    let id = &container.state.id;
    if container.status() == Status::Stopped {
        return Err(Fail::Said(format!("container with id {id} is not running")));
    }
    let cgroup = pause::cgroup(&container)?;
    if args.has("stats") {
        tell("stats", id, Some(stats(&cgroup)?));
        return Ok(0);
    }
    watch(&container, &cgroup, interval)
}

/// Until the container ends.
fn watch(container: &Container, cgroup: &Cgroup, interval: Duration) -> Result<u8> {
    let id = &container.state.id;
    let init = container.init().ok_or(Fail::NotRunning)?;
    let oom = cgroup.oom_watch()?;
    let mut kills = cgroup.oom_kills();
    let mut next = Instant::now() + interval;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap_or(Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        });
        let (news, ended) = {
            let mut polled = [
                PollFd::new(&oom, PollFlags::IN),
                PollFd::new(&init, PollFlags::IN),
            ];
            match poll(&mut polled, Some(&left)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(Fail::Said(format!("poll: {}", reason(e)))),
            }
            let set = |n: usize| polled.get(n).is_some_and(|p| !p.revents().is_empty());
            (set(0), set(1))
        };
        if news {
            oom.drain();
            // v1 wakes also when the cgroup goes; v2 on every change of its counters.
            let now = cgroup.oom_kills();
            let v1_alive = cgroup.version() == 1 && !ended && now == kills;
            if now > kills || v1_alive {
                tell("oom", id, None);
            }
            kills = now.max(kills);
        }
        if ended {
            return Ok(0);
        }
        if Instant::now() >= next {
            next += interval;
            tell("stats", id, Some(stats(cgroup)?));
        }
    }
}

/// In the order of runc's keys, which simple readers look for.
fn tell(kind: &str, id: &str, data: Option<Value>) {
    let data = data.map(|d| format!(",\"data\":{d}")).unwrap_or_default();
    print(&format!("{{\"type\":\"{kind}\",\"id\":\"{id}\"{data}}}\n"));
}

/// runc's form; what is zero there and left out is left out here.
fn stats(cgroup: &Cgroup) -> Result<Value> {
    let s = cgroup.stats()?;
    let x = cgroup.extended_stats();
    let limit = |n: u64| if n == u64::MAX { 0 } else { n };
    let mut cpuset = Map::new();
    if !x.cpuset.cpus.is_empty() {
        cpuset.insert("cpus".into(), json!(x.cpuset.cpus));
    }
    if !x.cpuset.mems.is_empty() {
        cpuset.insert("mems".into(), json!(x.cpuset.mems));
    }
    for (name, value) in &x.cpuset.flags {
        cpuset.insert((*name).into(), json!(value));
    }
    let usage = Meter {
        usage: s.memory_usage,
        max: s.memory_max_usage,
        failcnt: s.memory_failcnt,
        limit: s.memory_limit,
    };
    let mut data = json!({
        "cpu": {
            "usage": {
                "total": s.cpu_total,
                "percpu": s.cpu_per_cpu,
                "kernel": s.cpu_system,
                "user": s.cpu_user,
            },
            "throttling": {
                "periods": s.cpu_periods,
                "throttledPeriods": s.cpu_throttled_periods,
                "throttledTime": s.cpu_throttled_time,
            },
        },
        "cpuset": cpuset,
        "memory": {
            "cache": x.cache,
            "usage": meter(&usage),
            "swap": meter(&x.swap),
            "kernel": meter(&x.kernel),
            "kernelTCP": meter(&x.kernel_tcp),
            "raw": s.memory_stat,
        },
        "pids": {"current": s.pids_current, "limit": limit(s.pids_limit)},
        "blkio": {
            "ioServiceBytesRecursive": block(&s.io_service_bytes),
            "ioServicedRecursive": block(&s.io_serviced),
        },
        "hugetlb": x.hugetlb.iter().map(|(size, m)| {
            (size.clone(), json!({"usage": m.usage, "max": m.max, "failcnt": m.failcnt}))
        }).collect::<Map<_, _>>(),
        "intel_rdt": {},
        "network_interfaces": null,
    });
    let tables = [
        ("io_queued", "ioQueueRecursive"),
        ("io_service_time", "ioServiceTimeRecursive"),
        ("io_wait_time", "ioWaitTimeRecursive"),
        ("io_merged", "ioMergedRecursive"),
        ("time", "ioTimeRecursive"),
        ("sectors", "sectorsRecursive"),
    ];
    for (table, key) in tables {
        if let Some(entries) = x.block.get(table).filter(|e| !e.is_empty()) {
            data["blkio"][key] = block(entries);
        }
    }
    for (key, pressure) in ["cpu", "memory", "blkio"].into_iter().zip(&x.pressure) {
        if let Some(pressure) = pressure {
            data[key]["psi"] = stalls(pressure);
        }
    }
    Ok(data)
}

fn meter(m: &Meter) -> Value {
    json!({"limit": m.limit, "usage": m.usage, "max": m.max, "failcnt": m.failcnt})
}

fn block(entries: &[IoEntry]) -> Value {
    let one = |e: &IoEntry| {
        let mut op = e.op.clone();
        // As the kernel writes it.
        if let Some(first) = op.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        json!({"major": e.major, "minor": e.minor, "op": op, "value": e.value})
    };
    entries.iter().map(one).collect()
}

fn stalls(p: &Pressure) -> Value {
    let one = |s: &cgroup::Stall| {
        let [a, b, c] = s.average;
        json!({"avg10": a, "avg60": b, "avg300": c, "total": s.total})
    };
    json!({"some": one(&p.some), "full": one(&p.full)})
}

/// A duration as Go writes it: `100ms`, `1m30s`; a bare number is seconds.
fn duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit_end)?;
        sum += number.parse::<f64>().ok()?
            * match unit {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = tail;
    }
    Duration::try_from_secs_f64(sum).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("100ms"), Some(Duration::from_millis(100)));
        assert_eq!(duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(duration("2"), Some(Duration::from_secs(2)));
        assert_eq!(duration("soon"), None);
        assert_eq!(duration("-1s"), None);
    }
}
