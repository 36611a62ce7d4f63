//! Changes of limits and of the restart policy: what is left out stays. Rules and texts are moby's.

use compute::Features;
use dockerapi::{HostConfig, Resources, RestartPolicy, UpdateBody};

use crate::{Error, Result, verify};

/// Checks what is asked for, apart from what the container has.
///
/// # Errors
/// Invalid parameter.
pub(super) fn verify(body: &UpdateBody, features: &Features) -> Result<()> {
    let mut resources = body.resources.clone();
    if resources.memory == 0 {
        // The limit it belongs to may be there already.
        resources.memory_swap = 0;
    }
    verify::resources(&resources, features)?;
    if !body.restart_policy.name.is_empty() {
        verify::restart_policy(&body.restart_policy)?;
    }
    Ok(())
}

/// Takes a change in.
///
/// # Errors
/// Conflict, with what the container has.
pub(super) fn merge(host: &mut HostConfig, body: UpdateBody) -> Result<()> {
    conflicts(&host.resources, &body.resources)?;
    let none = Resources::default();
    macro_rules! take {
        ($($field:ident),*) => {
            $(if body.resources.$field != none.$field {
                host.resources.$field = body.resources.$field;
            })*
        };
    }
    take!(
        cpu_shares,
        memory,
        nano_cpus,
        blkio_weight,
        blkio_weight_device,
        blkio_device_read_bps,
        blkio_device_write_bps,
        blkio_device_read_iops,
        blkio_device_write_iops,
        cpu_period,
        cpu_quota,
        cpu_realtime_period,
        cpu_realtime_runtime,
        cpuset_cpus,
        cpuset_mems,
        memory_reservation,
        memory_swap,
        memory_swappiness,
        pids_limit
    );
    let policy: RestartPolicy = body.restart_policy;
    if !policy.name.is_empty() {
        if host.auto_remove && policy.name != "no" {
            return Err(Error::conflict(
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
            ));
        }
        host.restart_policy = policy;
    }
    Ok(())
}

fn conflicts(has: &Resources, asked: &Resources) -> Result<()> {
    let checks = [
        (
            asked.nano_cpus > 0 && has.cpu_period > 0,
            "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set",
        ),
        (
            asked.nano_cpus > 0 && has.cpu_quota > 0,
            "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set",
        ),
        (
            asked.cpu_period > 0 && has.nano_cpus > 0,
            "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set",
        ),
        (
            asked.cpu_quota > 0 && has.nano_cpus > 0,
            "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set",
        ),
        (
            asked.memory != 0 && asked.memory > has.memory_swap && asked.memory_swap == 0
                // Without any limit of swap there is none to stay below.
                && has.memory_swap != -1,
            "Memory limit should be smaller than already set memoryswap limit, update the \
             memoryswap at the same time",
        ),
    ];
    match checks.iter().find(|(wrong, _)| *wrong) {
        Some((_, text)) => Err(Error::conflict(*text)),
        None => Ok(()),
    }
}
