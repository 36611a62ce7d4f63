//! Limits: the API's fields → the specification's.

use dockerapi::{Resources as Asked, ThrottleDevice as AskedThrottle};
use oci::runtime::{
    BlockIo, Cpu, Device, DeviceRule, Memory, Pids, Resources, ThrottleDevice, WeightDevice,
};

use super::devices;
use crate::Result;

const PERIOD: i64 = 100_000;

/// The cgroup limits of a container. `devices` are those of `--device`.
///
/// # Errors
/// Invalid parameter, naming the rule or device that cannot be right.
pub(crate) fn resources(asked: &Asked, privileged: bool, devices: &[Device]) -> Result<Resources> {
    Ok(Resources {
        devices: device_rules(asked, privileged, devices)?,
        memory: memory(asked),
        cpu: cpu(asked),
        pids: asked.pids_limit.map(|limit| Pids { limit: Some(limit) }),
        block_io: block_io(asked)?,
        ..Resources::default()
    })
}

fn memory(asked: &Asked) -> Option<Memory> {
    let set = |value: i64| (value != 0).then_some(value);
    let memory = Memory {
        limit: set(asked.memory),
        reservation: set(asked.memory_reservation),
        swap: set(asked.memory_swap),
        swappiness: asked.memory_swappiness.and_then(|n| u64::try_from(n).ok()),
        disable_oom_killer: asked.oom_kill_disable.filter(|disable| *disable),
        ..Memory::default()
    };
    (memory != Memory::default()).then_some(memory)
}

fn cpu(asked: &Asked) -> Option<Cpu> {
    let unsigned = |value: i64| u64::try_from(value).ok().filter(|n| *n != 0);
    let (quota, period) = match asked.nano_cpus {
        0 => (asked.cpu_quota, asked.cpu_period),
        // nano = 1e-9 processors: quota of a 100 ms period in µs.
        nano => (nano / (1_000_000_000 / PERIOD), PERIOD),
    };
    let cpu = Cpu {
        shares: unsigned(asked.cpu_shares),
        quota: (quota != 0).then_some(quota),
        period: unsigned(period),
        realtime_runtime: (asked.cpu_realtime_runtime != 0).then_some(asked.cpu_realtime_runtime),
        realtime_period: unsigned(asked.cpu_realtime_period),
        cpus: asked.cpuset_cpus.clone(),
        mems: asked.cpuset_mems.clone(),
        ..Cpu::default()
    };
    (cpu != Cpu::default()).then_some(cpu)
}

fn block_io(asked: &Asked) -> Result<Option<BlockIo>> {
    let throttle = |list: &Option<Vec<AskedThrottle>>| -> Result<Vec<ThrottleDevice>> {
        list.iter()
            .flatten()
            .map(|device| {
                let (major, minor) = devices::block_numbers(&device.path)?;
                Ok(ThrottleDevice {
                    major,
                    minor,
                    rate: device.rate,
                })
            })
            .collect()
    };
    let weights = asked.blkio_weight_device.iter().flatten().map(|device| {
        let (major, minor) = devices::block_numbers(&device.path)?;
        Ok(WeightDevice {
            major,
            minor,
            weight: Some(device.weight),
            leaf_weight: None,
        })
    });
    let block_io = BlockIo {
        weight: (asked.blkio_weight != 0).then_some(asked.blkio_weight),
        weight_device: weights.collect::<Result<_>>()?,
        throttle_read_bps_device: throttle(&asked.blkio_device_read_bps)?,
        throttle_write_bps_device: throttle(&asked.blkio_device_write_bps)?,
        throttle_read_iops_device: throttle(&asked.blkio_device_read_iops)?,
        throttle_write_iops_device: throttle(&asked.blkio_device_write_iops)?,
        ..BlockIo::default()
    };
    Ok((block_io != BlockIo::default()).then_some(block_io))
}

fn device_rules(asked: &Asked, privileged: bool, devices: &[Device]) -> Result<Vec<DeviceRule>> {
    if privileged {
        let all = DeviceRule {
            allow: true,
            access: "rwm".into(),
            ..DeviceRule::default()
        };
        return Ok(vec![all]);
    }
    let mut rules = profile::device_rules();
    let mappings = asked.devices.iter().flatten();
    for device in devices {
        let mapping = mappings.clone().find(|mapping| {
            device.path == mapping.path_in_container
                || device
                    .path
                    .starts_with(&format!("{}/", mapping.path_in_container))
        });
        let access = mapping.map_or("rwm", |mapping| mapping.cgroup_permissions.as_str());
        rules.push(DeviceRule {
            allow: true,
            kind: device.kind.clone(),
            major: Some(device.major),
            minor: Some(device.minor),
            access: if access.is_empty() {
                "rwm".into()
            } else {
                access.into()
            },
        });
    }
    for rule in asked.device_cgroup_rules.iter().flatten() {
        rules.push(devices::parse_rule(rule)?);
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    #[test]
    fn processors_become_a_quota() {
        let asked = dockerapi::Resources {
            nano_cpus: 1_500_000_000,
            ..Default::default()
        };
        let cpu = super::cpu(&asked).expect("limited");
        assert_eq!((cpu.quota, cpu.period), (Some(150_000), Some(100_000)));
    }
}
