//! Limits as properties of units.

use super::property::{bits, invalid, one};
use super::{Property, devices};
use crate::apply_v2::{swap_max, weight};
use crate::{Error, Resources, Result};

/// The kernel's own period of processor quotas, in microseconds.
const PERIOD: u64 = 100_000;
/// systemd's "infinity".
const INFINITY: u64 = u64::MAX;

/// What systemd of this version has a property for; the rest is written to the cgroup alone. A
/// quota that systemd rounds up is changed in `resources` too, so that both are the same.
pub fn properties(resources: &mut Resources, v2: bool, version: u32) -> Result<Vec<Property>> {
    let mut out = devices::properties(&resources.devices, version);
    match v2 {
        true => memory_v2(&mut out, resources)?,
        false => {
            if let Some(limit) = resources.memory.limit.filter(|&l| l != 0) {
                out.push(one("MemoryLimit", number(limit)));
            }
        }
    }
    cpu(&mut out, resources, v2, version)?;
    if let Some(weight) = resources.block_io.weight.filter(|&w| w != 0) {
        let weight = u64::from(weight);
        out.push(match v2 {
            true => one("IOWeight", 1 + weight.saturating_sub(10) * 9999 / 990),
            false => one("BlockIOWeight", weight),
        });
    }
    if let Some(limit) = resources.pids {
        out.push(one(
            "TasksMax",
            if limit > 0 { number(limit) } else { INFINITY },
        ));
    }
    // Older ones have no property for them.
    if version >= 244 {
        for (name, list) in [
            ("AllowedCPUs", &resources.cpu.cpus),
            ("AllowedMemoryNodes", &resources.cpu.mems),
        ] {
            if !list.is_empty() {
                out.push(one(name, bits(name, list)?));
            }
        }
    }
    if v2 {
        unified(&mut out, resources, version)?;
    }
    Ok(out)
}

/// [`properties`] of a new unit, which take in what cannot be changed later.
pub fn first_properties(
    resources: &mut Resources,
    v2: bool,
    version: u32,
) -> Result<Vec<Property>> {
    let mut out = properties(resources, v2, version)?;
    let group = resources.unified.get("memory.oom.group");
    let policy = match group.map(|g| g.trim()) {
        Some("0") => "continue",
        Some("1") => "kill",
        _ => return Ok(out),
    };
    if version >= 253 {
        out.push(one("OOMPolicy", policy));
    }
    Ok(out)
}

/// Below zero is unlimited.
fn number(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(INFINITY)
}

fn memory_v2(out: &mut Vec<Property>, resources: &Resources) -> Result<()> {
    let memory = &resources.memory;
    let limit = memory.limit.filter(|&l| l != 0);
    if let Some(limit) = limit {
        out.push(one("MemoryMax", number(limit)));
    }
    if let Some(reservation) = memory.reservation.filter(|&r| r != 0) {
        out.push(one("MemoryLow", number(reservation)));
    }
    if let Some(swap) = swap_max(limit, memory.swap)? {
        out.push(one("MemorySwapMax", number(swap)));
    }
    Ok(())
}

fn cpu(out: &mut Vec<Property>, resources: &mut Resources, v2: bool, version: u32) -> Result<()> {
    let cpu = &mut resources.cpu;
    let idle = v2 && cpu.idle == Some(1) && version >= 252;
    if idle {
        // Its way to say cpu.idle = 1.
        out.push(one("CPUWeight", 0u64));
    }
    if let Some(shares) = cpu.shares.filter(|&s| s != 0) {
        match v2 {
            true if idle => {}
            true => out.push(one("CPUWeight", weight(shares))),
            false => out.push(one("CPUShares", shares)),
        }
    }
    let mut quota = cpu.quota.unwrap_or(0);
    cpu_quota(out, &mut quota, cpu.period.unwrap_or(0), version)?;
    if quota != 0 {
        cpu.quota = Some(quota);
    }
    Ok(())
}

/// systemd knows whole percents of a processor: rounded up, or what is below could not be given
/// what it was promised.
fn cpu_quota(out: &mut Vec<Property>, quota: &mut i64, period: u64, version: u32) -> Result<()> {
    if period != 0 && version >= 242 {
        out.push(one("CPUQuotaPeriodUSec", period));
    }
    if *quota == 0 && period == 0 {
        return Ok(());
    }
    let mut a_second = INFINITY;
    if *quota > 0 {
        let period = u128::from(if period == 0 { PERIOD } else { period });
        let percent = 10_000u128;
        let exact = u128::from(quota.unsigned_abs()) * 1_000_000 / period;
        let rounded = exact.next_multiple_of(percent);
        let bad = |_| Error::new(format!("CPU quota {quota} is out of range"));
        a_second = u64::try_from(rounded).map_err(bad)?;
        if rounded != exact {
            *quota = i64::try_from(rounded * period / 1_000_000).map_err(bad)?;
        }
    }
    out.push(one("CPUQuotaPerSecUSec", a_second));
    Ok(())
}

/// Files of cgroup v2 that systemd has properties for.
fn unified(out: &mut Vec<Property>, resources: &Resources, version: u32) -> Result<()> {
    let unified = &resources.unified;
    let idle =
        |value: Option<&String>| version >= 252 && value.is_some_and(|value| value.trim() == "1");
    for (key, value) in unified {
        let value = value.trim();
        if key.contains('/') || key.find('.').is_none_or(|at| at == 0) {
            return Err(Error::new(format!(
                "unified resource {key:?} must be in the form CONTROLLER.PARAMETER"
            )));
        }
        let max = || match value {
            "max" => Ok(INFINITY),
            value => value.parse::<u64>().map_err(|_| invalid(key, value)),
        };
        match key.as_str() {
            "cpu.idle" if idle(unified.get(key)) => out.push(one("CPUWeight", 0u64)),
            "cpu.weight" if !idle(unified.get("cpu.idle")) => {
                let weight: u64 = value.parse().map_err(|_| invalid(key, value))?;
                out.push(one("CPUWeight", weight));
            }
            "cpu.max" => {
                let mut words = value.split_whitespace();
                let (quota, period) = (words.next(), words.next());
                let number = |word: &str| word.parse::<i64>().map_err(|_| invalid(key, value));
                let mut quota = match quota {
                    Some("max") => 0,
                    Some(word) => number(word)?,
                    None => return Err(invalid(key, value)),
                };
                let period = match period {
                    Some(word) => number(word)?.unsigned_abs(),
                    None => PERIOD,
                };
                if words.next().is_some() {
                    return Err(invalid(key, value));
                }
                cpu_quota(out, &mut quota, period, version)?;
            }
            "cpuset.cpus" if version >= 244 => out.push(one("AllowedCPUs", bits(key, value)?)),
            "cpuset.mems" if version >= 244 => {
                out.push(one("AllowedMemoryNodes", bits(key, value)?));
            }
            "memory.high" => out.push(one("MemoryHigh", max()?)),
            "memory.low" => out.push(one("MemoryLow", max()?)),
            "memory.min" => out.push(one("MemoryMin", max()?)),
            "memory.max" => out.push(one("MemoryMax", max()?)),
            "memory.swap.max" => out.push(one("MemorySwapMax", max()?)),
            // It takes no 0.
            "pids.max" => out.push(one("TasksMax", max()?.max(1))),
            // Written to the cgroup alone.
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use dbus::Value;

    use super::*;
    use crate::{BlockIo, Cpu, Memory};

    fn limits() -> Resources {
        Resources {
            memory: Memory {
                limit: Some(64 << 20),
                reservation: Some(32 << 20),
                swap: Some(96 << 20),
                ..Memory::default()
            },
            cpu: Cpu {
                shares: Some(1024),
                quota: Some(12_345),
                period: Some(100_000),
                cpus: "0-1".into(),
                ..Cpu::default()
            },
            pids: Some(-1),
            block_io: BlockIo {
                weight: Some(500),
                ..BlockIo::default()
            },
            ..Resources::default()
        }
    }

    #[test]
    fn of_version_one() {
        let mut resources = limits();
        let list = properties(&mut resources, false, 252).unwrap();
        let wanted = [
            one("MemoryLimit", 64u64 << 20),
            one("CPUShares", 1024u64),
            one("CPUQuotaPeriodUSec", 100_000u64),
            one("CPUQuotaPerSecUSec", 130_000u64),
            one("BlockIOWeight", 500u64),
            one("TasksMax", INFINITY),
            one("AllowedCPUs", Value::Bytes(vec![3])),
        ];
        assert_eq!(list, wanted);
        assert_eq!(resources.cpu.quota, Some(13_000));
    }

    #[test]
    fn of_version_two() {
        let mut resources = limits();
        resources.unified.insert("memory.high".into(), "max".into());
        resources
            .unified
            .insert("cpu.max".into(), "max 50000".into());
        resources
            .unified
            .insert("io.latency".into(), "8:0 1".into());
        let list = properties(&mut resources, true, 240).unwrap();
        let wanted = [
            one("MemoryMax", 64u64 << 20),
            one("MemoryLow", 32u64 << 20),
            one("MemorySwapMax", 32u64 << 20),
            one("CPUWeight", weight(1024)),
            one("CPUQuotaPerSecUSec", 130_000u64),
            one("IOWeight", 4950u64),
            one("TasksMax", INFINITY),
            one("CPUQuotaPerSecUSec", INFINITY),
            one("MemoryHigh", INFINITY),
        ];
        assert_eq!(list, wanted);
    }

    #[test]
    fn no_quota_is_said_only_when_asked() {
        let mut none = Resources::default();
        assert_eq!(properties(&mut none, true, 252).unwrap(), []);
        none.cpu.quota = Some(-1);
        let list = properties(&mut none, true, 252).unwrap();
        assert_eq!(list, [one("CPUQuotaPerSecUSec", INFINITY)]);
        assert_eq!(none.cpu.quota, Some(-1));
    }

    #[test]
    fn unified_mistakes() {
        for (key, value) in [
            ("a/b.c", "1"),
            (".x", "1"),
            ("nodot", "1"),
            ("cpu.max", ""),
            ("cpu.max", "1 2 3"),
            ("memory.max", "lots"),
            ("cpuset.cpus", ""),
        ] {
            let mut resources = Resources::default();
            resources.unified.insert(key.into(), value.into());
            assert!(
                properties(&mut resources, true, 252).is_err(),
                "{key}={value}"
            );
        }
    }
}
