//! Limits as files of cgroup v2.

use std::os::fd::AsFd;

use sys::Errno;

use crate::{BlockIo, Cgroup, Cpu, Dir, Error, Memory, Resources, Result, device_program};

pub(crate) fn apply(cgroup: &Cgroup, r: &Resources) -> Result<()> {
    let Some(dir) = cgroup.dirs.first() else {
        return Err(Error::new("cgroup has no directory"));
    };
    memory(dir, &r.memory)?;
    cpu(dir, &r.cpu)?;
    if let Some(limit) = r.pids {
        let value = if limit > 0 {
            limit.to_string()
        } else {
            "max".into()
        };
        write(dir, "pids.max", &value)?;
    }
    block_io(dir, &r.block_io)?;
    for (size, limit) in &r.hugepages {
        write(dir, &format!("hugetlb.{size}.max"), &limit.to_string())?;
    }
    for (device, handles, objects) in &r.rdma {
        write(dir, "rdma.max", &rdma_line(device, *handles, *objects))?;
    }
    if r.net_class.is_some() || !r.net_priorities.is_empty() {
        return Err(Error::new("network classes and priorities need cgroup v1"));
    }
    if !r.devices.is_empty() {
        let program = device_program::compile(&r.devices);
        let fd = sys::bpf::load_device_program(&program)
            .map_err(|e| Error::errno("load device program for", &cgroup.path, e))?;
        sys::bpf::replace_device_program(dir.fd.as_fd(), fd.as_fd())
            .map_err(|e| Error::errno("attach device program to", &cgroup.path, e))?;
    }
    for (file, value) in &r.unified {
        if file.contains('/') {
            return Err(Error::new(format!(
                "unified resource {file:?} must be a file name"
            )));
        }
        for line in value.lines() {
            write(dir, file, line)?;
        }
    }
    Ok(())
}

pub(crate) fn rdma_line(device: &str, handles: Option<u32>, objects: Option<u32>) -> String {
    let mut line = device.to_owned();
    for (key, value) in [("hca_handle", handles), ("hca_object", objects)] {
        if let Some(value) = value {
            line.push_str(&format!(" {key}={value}"));
        }
    }
    line
}

/// A missing file means that its controller is not enabled for this directory: said as such.
fn write(dir: &Dir, file: &str, value: &str) -> Result<()> {
    match dir.write(file, value) {
        Err(e) if e.errno == Some(Errno::NOENT) => {
            let controller = file.split('.').next().unwrap_or(file);
            Err(Error::new(format!(
                "cannot set {file}: cgroup controller {controller:?} is not available"
            )))
        }
        other => other,
    }
}

fn memory(dir: &Dir, m: &Memory) -> Result<()> {
    if m.kernel_tcp.is_some_and(|v| v > 0) {
        return Err(Error::new("kernel TCP memory limit needs cgroup v1"));
    }
    let text = |v: i64| {
        if v < 0 {
            "max".to_owned()
        } else {
            v.to_string()
        }
    };
    let limit = m.limit.filter(|&l| l != 0);
    if let (true, Some(limit)) = (m.check_before_update, limit) {
        let usage = dir.number("memory.current");
        if limit > 0 && usage > limit.unsigned_abs() {
            return Err(Error::new(format!(
                "memory limit {limit} is below the current use of {usage} bytes"
            )));
        }
    }
    if let Some(swap) = swap_max(limit, m.swap)? {
        match write(dir, "memory.swap.max", &text(swap)) {
            // No swap accounting: "unlimited" and "none more than memory" hold anyway without swap.
            Err(_) if swap < 0 => {}
            other => other?,
        }
    }
    if let Some(limit) = limit {
        write(dir, "memory.max", &text(limit))?;
    }
    if let Some(v) = m.reservation.filter(|&v| v != 0) {
        write(dir, "memory.low", &text(v))?;
    }
    Ok(())
}

/// v2 counts swap alone, the caller's figure includes memory.
pub(crate) fn swap_max(limit: Option<i64>, total: Option<i64>) -> Result<Option<i64>> {
    match (limit, total) {
        (Some(-1), None | Some(0)) => Ok(Some(-1)),
        (_, None | Some(0)) => Ok(None),
        (_, Some(-1)) => Ok(Some(-1)),
        (Some(limit), Some(total)) if limit > 0 && total >= limit => Ok(Some(total - limit)),
        (Some(limit), Some(total)) if limit > 0 => Err(Error::new(format!(
            "memory+swap limit {total} is below memory limit {limit}"
        ))),
        (_, Some(_)) => Err(Error::new("memory+swap limit needs a memory limit")),
    }
}

fn cpu(dir: &Dir, c: &Cpu) -> Result<()> {
    if c.realtime_period.is_some_and(|v| v != 0) || c.realtime_runtime.is_some_and(|v| v != 0) {
        return Err(Error::new("realtime processor limits need cgroup v1"));
    }
    if let Some(idle) = c.idle {
        write(dir, "cpu.idle", &idle.to_string())?;
    }
    if let Some(shares) = c.shares.filter(|&s| s != 0) {
        write(dir, "cpu.weight", &weight(shares).to_string())?;
    }
    let quota = c.quota.filter(|&q| q != 0);
    let period = c.period.filter(|&p| p != 0);
    if quota.is_some() || period.is_some() {
        let mut line = match quota {
            Some(q) if q > 0 => q.to_string(),
            _ => "max".to_owned(),
        };
        if let Some(period) = period {
            line.push_str(&format!(" {period}"));
        }
        write(dir, "cpu.max", &line)?;
    }
    if let Some(burst) = c.burst {
        write(dir, "cpu.max.burst", &burst.to_string())?;
    }
    if !c.cpus.is_empty() {
        write(dir, "cpuset.cpus", &c.cpus)?;
    }
    if !c.mems.is_empty() {
        write(dir, "cpuset.mems", &c.mems)?;
    }
    Ok(())
}

/// v1 shares (2 to 262144, 1024 being normal) as v2 weight (1 to 10000, 100 being normal), on the
/// quadratic curve through these three points that other runtimes use.
pub(crate) fn weight(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let l = (shares as f64).log2();
    let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
    10f64.powf(exponent).ceil() as u64
}

fn block_io(dir: &Dir, b: &BlockIo) -> Result<()> {
    if b.leaf_weight.is_some_and(|w| w != 0) {
        return Err(Error::new("block I/O leaf weight needs cgroup v1"));
    }
    let linear = |w: u16| 1 + (u64::from(w).saturating_sub(10)) * 9999 / 990;
    if let Some(w) = b.weight.filter(|&w| w != 0) {
        match dir.write("io.bfq.weight", &w.to_string()) {
            Err(e) if e.errno == Some(Errno::NOENT) => {
                write(dir, "io.weight", &linear(w).to_string())?;
            }
            other => other?,
        }
    }
    for &(major, minor, weight, _) in &b.device_weights {
        if let Some(w) = weight {
            let line = format!("{major}:{minor} {w}");
            match dir.write("io.bfq.weight", &line) {
                Err(e) if e.errno == Some(Errno::NOENT) => {
                    write(dir, "io.weight", &format!("{major}:{minor} {}", linear(w)))?;
                }
                other => other?,
            }
        }
    }
    let throttles = [
        ("rbps", &b.read_bps),
        ("wbps", &b.write_bps),
        ("riops", &b.read_iops),
        ("wiops", &b.write_iops),
    ];
    for (key, list) in throttles {
        for (major, minor, rate) in list {
            write(dir, "io.max", &format!("{major}:{minor} {key}={rate}"))?;
        }
    }
    Ok(())
}
