//! Limits as files of cgroup v1.

use rustix::fs::OFlags;

use crate::{Cgroup, DeviceKind, DeviceRule, Dir, Error, Memory, Resources, Result};

pub(crate) fn apply(cgroup: &Cgroup, r: &Resources) -> Result<()> {
    if let Some((file, _)) = r.unified.first_key_value() {
        return Err(Error::new(format!(
            "invalid configuration: unified resource {file:?} needs cgroup v2, this host has v1"
        )));
    }
    if let Some((device, ..)) = r.rdma.first() {
        let dir = need(cgroup, "rdma")?;
        let _ = device;
        for (device, handles, objects) in &r.rdma {
            dir.write(
                "rdma.max",
                &crate::apply_v2::rdma_line(device, *handles, *objects),
            )?;
        }
    }
    memory(cgroup, &r.memory)?;
    cpu(cgroup, r)?;
    if let Some(limit) = r.pids {
        let value = if limit > 0 {
            limit.to_string()
        } else {
            "max".into()
        };
        need(cgroup, "pids")?.write("pids.max", &value)?;
    }
    block_io(cgroup, r)?;
    for (size, limit) in &r.hugepages {
        let file = format!("hugetlb.{size}.limit_in_bytes");
        need(cgroup, "hugetlb")?.write(&file, &limit.to_string())?;
    }
    if let Some(class) = r.net_class {
        need(cgroup, "net_cls")?.write("net_cls.classid", &class.to_string())?;
    }
    for (name, priority) in &r.net_priorities {
        need(cgroup, "net_prio")?.write("net_prio.ifpriomap", &format!("{name} {priority}"))?;
    }
    devices(cgroup, &r.devices)
}

fn need<'a>(cgroup: &'a Cgroup, controller: &str) -> Result<&'a Dir> {
    cgroup
        .dir(controller)
        .ok_or_else(|| Error::new(format!("cgroup controller {controller:?} is not available")))
}

/// The kernel insists on limit <= memory+swap at every moment, so the order of the two writes
/// depends on whether they grow or shrink.
fn memory(cgroup: &Cgroup, m: &Memory) -> Result<()> {
    if *m == Memory::default() {
        return Ok(());
    }
    let dir = need(cgroup, "memory")?;
    if let (true, Some(limit)) = (m.check_before_update, m.limit) {
        let usage = dir.number("memory.usage_in_bytes");
        if limit > 0 && usage > limit.unsigned_abs() {
            return Err(Error::new(format!(
                "memory limit {limit} is below the current use of {usage} bytes"
            )));
        }
    }
    let swap = match (m.limit, m.swap) {
        // Without a memory limit there can be none with swap either.
        (Some(-1), None | Some(0)) => Some(-1),
        (_, Some(0)) => None,
        (_, swap) => swap,
    };
    let limit = m.limit.filter(|&l| l != 0);
    let set_limit = || {
        limit.map_or(Ok(()), |l| {
            dir.write("memory.limit_in_bytes", &l.to_string())
        })
    };
    let set_swap = || match swap {
        Some(s) => match dir.write("memory.memsw.limit_in_bytes", &s.to_string()) {
            // -1 asks for nothing that a kernel without swap accounting would not give.
            Err(e) if s == -1 && e.errno == Some(sys::Errno::NOENT) => Ok(()),
            other => other,
        },
        None => Ok(()),
    };
    let swap_first = match (limit, swap) {
        (Some(_), Some(-1)) => true,
        (Some(_), Some(s)) => s.unsigned_abs() > dir.number("memory.limit_in_bytes"),
        _ => false,
    };
    // A fresh group has no limits: lowering the plain one first is right then.
    if swap_first && dir.number("memory.memsw.limit_in_bytes") < i64::MAX as u64 / 2 {
        set_swap()?;
        set_limit()?;
    } else {
        set_limit()?;
        set_swap()?;
    }
    if let Some(v) = m.reservation.filter(|&v| v != 0) {
        dir.write("memory.soft_limit_in_bytes", &v.to_string())?;
    }
    if let Some(v) = m.kernel_tcp.filter(|&v| v != 0) {
        dir.write("memory.kmem.tcp.limit_in_bytes", &v.to_string())?;
    }
    if let Some(v) = m.swappiness {
        if v > 100 {
            return Err(Error::new(format!(
                "memory swappiness {v} is not in 0 to 100"
            )));
        }
        dir.write("memory.swappiness", &v.to_string())?;
    }
    if m.disable_oom_killer {
        dir.write("memory.oom_control", "1")?;
    }
    Ok(())
}

fn cpu(cgroup: &Cgroup, r: &Resources) -> Result<()> {
    let c = &r.cpu;
    let write = |file: &str, value: String| need(cgroup, "cpu")?.write(file, &value);
    if let Some(v) = c.shares.filter(|&v| v != 0) {
        write("cpu.shares", v.to_string())?;
        // The kernel clamps silently; an answer other than asked must not pass for success.
        let got = need(cgroup, "cpu")?.number("cpu.shares");
        if got != v {
            let bound = if v > got { "maximum" } else { "minimum" };
            return Err(Error::new(format!(
                "the {bound} allowed cpu-shares is {got}"
            )));
        }
    }
    if let Some(v) = c.period.filter(|&v| v != 0) {
        // A period that makes the present quota too large is set again after the quota.
        match write("cpu.cfs_period_us", v.to_string()) {
            Err(e) if e.errno == Some(sys::Errno::INVAL) && c.quota.is_some() => {}
            other => other?,
        }
    }
    if let Some(v) = c.quota.filter(|&v| v != 0) {
        write("cpu.cfs_quota_us", v.to_string())?;
        if let Some(p) = c.period.filter(|&v| v != 0) {
            write("cpu.cfs_period_us", p.to_string())?;
        }
    }
    if let Some(v) = c.burst {
        write("cpu.cfs_burst_us", v.to_string())?;
    }
    let period = c.realtime_period.filter(|&v| v != 0);
    let runtime = c.realtime_runtime.filter(|&v| v != 0);
    if let Some(v) = period {
        // As above: one that is shorter than the present runtime waits for the new runtime.
        match write("cpu.rt_period_us", v.to_string()) {
            Err(e) if e.errno == Some(sys::Errno::INVAL) && runtime.is_some() => {}
            other => other?,
        }
    }
    if let Some(v) = runtime {
        write("cpu.rt_runtime_us", v.to_string())?;
        if let Some(p) = period {
            write("cpu.rt_period_us", p.to_string())?;
        }
    }
    if let Some(v) = c.idle {
        write("cpu.idle", v.to_string())?;
    }
    if !c.cpus.is_empty() {
        need(cgroup, "cpuset")?.write("cpuset.cpus", &c.cpus)?;
    }
    if !c.mems.is_empty() {
        need(cgroup, "cpuset")?.write("cpuset.mems", &c.mems)?;
    }
    Ok(())
}

fn block_io(cgroup: &Cgroup, r: &Resources) -> Result<()> {
    let b = &r.block_io;
    let write = |file: &str, value: String| need(cgroup, "blkio")?.write(file, &value);
    if let Some(w) = b.weight.filter(|&w| w != 0) {
        either(write("blkio.weight", w.to_string()), || {
            write("blkio.bfq.weight", w.to_string())
        })?;
    }
    if let Some(w) = b.leaf_weight.filter(|&w| w != 0) {
        write("blkio.leaf_weight", w.to_string())?;
    }
    for &(major, minor, weight, leaf) in &b.device_weights {
        if let Some(w) = weight {
            let line = format!("{major}:{minor} {w}");
            either(write("blkio.weight_device", line.clone()), || {
                write("blkio.bfq.weight_device", line)
            })?;
        }
        if let Some(w) = leaf {
            write("blkio.leaf_weight_device", format!("{major}:{minor} {w}"))?;
        }
    }
    let throttles = [
        ("blkio.throttle.read_bps_device", &b.read_bps),
        ("blkio.throttle.write_bps_device", &b.write_bps),
        ("blkio.throttle.read_iops_device", &b.read_iops),
        ("blkio.throttle.write_iops_device", &b.write_iops),
    ];
    for (file, list) in throttles {
        for (major, minor, rate) in list {
            write(file, format!("{major}:{minor} {rate}"))?;
        }
    }
    Ok(())
}

/// The second way when the first one's file is not there.
fn either(first: Result<()>, second: impl FnOnce() -> Result<()>) -> Result<()> {
    match first {
        Err(e) if e.errno == Some(sys::Errno::NOENT) => second(),
        other => other,
    }
}

fn devices(cgroup: &Cgroup, rules: &[DeviceRule]) -> Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    let dir = need(cgroup, "devices")?;
    let allow = dir.open("devices.allow", OFlags::WRONLY)?;
    let deny = dir.open("devices.deny", OFlags::WRONLY)?;
    for rule in rules {
        let (fd, file) = match rule.allow {
            true => (&allow, "devices.allow"),
            false => (&deny, "devices.deny"),
        };
        for line in device_lines(rule) {
            dir.write_to(fd, file, &line)?;
        }
    }
    Ok(())
}

/// `a` to the kernel means everything whatever else the line says, so that a rule for both kinds
/// with numbers or part of the access becomes two.
fn device_lines(rule: &DeviceRule) -> Vec<String> {
    let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
    let mut access = String::new();
    for (on, letter) in [(rule.read, 'r'), (rule.write, 'w'), (rule.mknod, 'm')] {
        if on {
            access.push(letter);
        }
    }
    let whole = rule.major.is_none() && rule.minor.is_none() && matches!(access.len(), 0 | 3);
    let line = |kind: char| {
        format!(
            "{kind} {}:{} {access}",
            number(rule.major),
            number(rule.minor)
        )
    };
    match rule.kind {
        DeviceKind::All if whole => vec!["a".into()],
        DeviceKind::All => vec![line('c'), line('b')],
        DeviceKind::Char => vec![line('c')],
        DeviceKind::Block => vec![line('b')],
    }
}
