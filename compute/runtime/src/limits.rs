//! The spec's resources in the cgroup crate's own terms.

use oci::runtime as oci;

/// Converts; nothing is dropped silently, what a host cannot do is said by `Cgroup::apply`.
pub fn limits(from: &oci::Resources) -> cgroup::Resources {
    let mut to = cgroup::Resources {
        devices: from.devices.iter().map(device).collect(),
        unified: from.unified.clone(),
        rdma: from
            .rdma
            .iter()
            .map(|(name, r)| (name.clone(), r.hca_handles, r.hca_objects))
            .collect(),
        hugepages: from
            .hugepage_limits
            .iter()
            .map(|h| (h.page_size.clone(), h.limit))
            .collect(),
        pids: from.pids.as_ref().and_then(|p| p.limit),
        ..Default::default()
    };
    if let Some(m) = &from.memory {
        to.memory = cgroup::Memory {
            limit: m.limit,
            reservation: m.reservation,
            swap: m.swap,
            kernel_tcp: m.kernel_tcp,
            swappiness: m.swappiness,
            disable_oom_killer: m.disable_oom_killer.unwrap_or_default(),
            check_before_update: m.check_before_update.unwrap_or_default(),
        };
    }
    if let Some(c) = &from.cpu {
        to.cpu = cgroup::Cpu {
            shares: c.shares,
            quota: c.quota,
            burst: c.burst,
            period: c.period,
            realtime_runtime: c.realtime_runtime,
            realtime_period: c.realtime_period,
            cpus: c.cpus.clone(),
            mems: c.mems.clone(),
            idle: c.idle,
        };
    }
    if let Some(b) = &from.block_io {
        to.block_io = block_io(b);
    }
    if let Some(n) = &from.network {
        to.net_class = n.class_id;
        to.net_priorities = n
            .priorities
            .iter()
            .map(|p| (p.name.clone(), p.priority))
            .collect();
    }
    to
}

fn device(rule: &oci::DeviceRule) -> cgroup::DeviceRule {
    let number = |n: Option<i64>| n.and_then(|n| u32::try_from(n).ok());
    cgroup::DeviceRule {
        allow: rule.allow,
        kind: match rule.kind.as_str() {
            "c" | "u" => cgroup::DeviceKind::Char,
            "b" => cgroup::DeviceKind::Block,
            _ => cgroup::DeviceKind::All,
        },
        major: number(rule.major),
        minor: number(rule.minor),
        read: rule.access.contains('r'),
        write: rule.access.contains('w'),
        mknod: rule.access.contains('m'),
    }
}

fn block_io(from: &oci::BlockIo) -> cgroup::BlockIo {
    let throttle =
        |list: &[oci::ThrottleDevice]| list.iter().map(|d| (d.major, d.minor, d.rate)).collect();
    cgroup::BlockIo {
        weight: from.weight,
        leaf_weight: from.leaf_weight,
        device_weights: from
            .weight_device
            .iter()
            .map(|d| (d.major, d.minor, d.weight, d.leaf_weight))
            .collect(),
        read_bps: throttle(&from.throttle_read_bps_device),
        write_bps: throttle(&from.throttle_write_bps_device),
        read_iops: throttle(&from.throttle_read_iops_device),
        write_iops: throttle(&from.throttle_write_iops_device),
    }
}
