//! Checks of what a client asks for, with moby's texts; and the defaults of what it leaves out.

use std::ops::RangeInclusive;

use compute::Features;
use dockerapi::{ContainerConfig, HostConfig, Resources};

use crate::config::Config;
use crate::{Error, Result, health, signal, system};

const MIN_MEMORY: i64 = 6 << 20;
/// More processors than any kernel has: as far as a range is looked through.
const MOST_CPUS: usize = 8192;
/// HOST_NAME_MAX of the kernel.
const MAX_HOSTNAME: usize = 64;

/// What cannot be done yet, by name: accepted nowhere, so that nothing is silently ignored.
pub(crate) fn unsupported(host: &HostConfig) -> Result<()> {
    let resources = &host.resources;
    let checks = [
        (!host.cgroup.is_empty(), "HostConfig.Cgroup"),
        (resources.cpu_count != 0, "HostConfig.CpuCount"),
    ];
    if !matches!(host.isolation.as_str(), "" | "default") {
        return Err(Error::invalid(format!(
            "invalid isolation ({}): linux only supports 'default'",
            host.isolation
        )));
    }
    if resources.io_maximum_bandwidth != 0 {
        return Err(Error::invalid(
            "invalid option: QoS maximum bandwidth configuration is not supported on linux",
        ));
    }
    if resources.io_maximum_iops != 0 {
        return Err(Error::invalid(
            "invalid option: QoS maximum IOPs configuration is not supported on linux",
        ));
    }
    if !host.storage_opt.is_empty() {
        // Layers are directories of one file system; quotas per directory are not set up.
        return Err(Error::system(
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option",
        ));
    }
    match checks.iter().find(|(asked, _)| *asked) {
        Some((_, name)) => Err(Error::not_implemented(format!(
            "{name} is not supported yet"
        ))),
        None => Ok(()),
    }
}

/// Fills what the client left to the engine.
pub(crate) fn defaults(host: &mut HostConfig, config: &Config, features: &Features) {
    let fill = |field: &mut String, value: &str| {
        if field.is_empty() {
            value.clone_into(field);
        }
    };
    if matches!(host.network_mode.as_str(), "" | "default") {
        host.network_mode = if config.bridge.is_some() {
            "bridge"
        } else {
            "none"
        }
        .into();
    }
    fill(&mut host.ipc_mode, &config.default_ipc_mode);
    let cgroupns = match config.default_cgroupns_mode.as_str() {
        "" if features.cgroup_version == 2 => "private",
        "" => "host",
        mode => mode,
    };
    let cgroupns = if host.privileged && features.cgroup_version != 2 {
        "host"
    } else {
        cgroupns
    };
    fill(&mut host.cgroupns_mode, cgroupns);
    fill(&mut host.log_config.kind, &config.log_driver);
    if host.log_config.kind == config.log_driver {
        let asked = std::mem::replace(&mut host.log_config.config, config.log_opts.clone());
        host.log_config.config.extend(asked);
    }
    fill(&mut host.restart_policy.name, "no");
    fill(&mut host.runtime, &config.default_runtime);
    if host.shm_size == 0 {
        host.shm_size = config.default_shm_size;
    }
    let resources = &mut host.resources;
    if resources.memory > 0 && resources.memory_swap == 0 {
        resources.memory_swap = resources.memory.saturating_mul(2);
    }
    if resources.pids_limit.is_some_and(|limit| limit <= 0) {
        resources.pids_limit = None;
    }
    if resources.memory_swappiness == Some(-1) {
        resources.memory_swappiness = None;
    }
}

/// The runtime of this name; `None` is the built-in one.
pub(crate) fn runtime<'a>(
    name: &str,
    runtimes: &'a dockerapi::Map<compute::Runtime>,
) -> Result<Option<&'a compute::Runtime>> {
    match runtimes.get(name) {
        Some(own) => Ok(Some(own)),
        None if crate::BUILT_IN_RUNTIMES.contains(&name) => Ok(None),
        None => Err(Error::invalid(format!(
            "unknown or invalid runtime name: {name}"
        ))),
    }
}

/// The container's own side.
pub(crate) fn config(config: &ContainerConfig) -> Result<()> {
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return Err(Error::invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        )));
    }
    if let Some(check) = &config.healthcheck {
        health::verify(check)?;
    }
    health::action(&config.labels)?;
    if !config.stop_signal.is_empty() {
        signal::parse(&config.stop_signal)?;
    }
    for entry in config.env.iter().flatten() {
        if entry.is_empty() || entry.starts_with('=') {
            return Err(Error::invalid(format!(
                "invalid environment variable: {entry}"
            )));
        }
        if entry.contains('\0') {
            return Err(Error::invalid(
                "invalid environment variable: it contains a null byte",
            ));
        }
    }
    let words = config
        .entrypoint
        .iter()
        .flatten()
        .chain(config.cmd.iter().flatten());
    if words.into_iter().any(|word| word.contains('\0')) {
        return Err(Error::invalid("invalid command: it contains a null byte"));
    }
    if config.hostname.len() > MAX_HOSTNAME {
        return Err(Error::invalid(format!(
            "hostname {:?} is too long (maximum {MAX_HOSTNAME} bytes)",
            config.hostname
        )));
    }
    if config.hostname.contains(['\0', '\n', '/']) {
        return Err(Error::invalid(format!(
            "invalid hostname format: {}",
            config.hostname
        )));
    }
    Ok(())
}

/// A unit name of systemd's that a container's scope can be in.
fn is_slice(name: &str) -> bool {
    name.len() > ".slice".len() && name.ends_with(".slice") && !name.contains(['/', ':'])
}

/// The host's side, after [`defaults`].
pub(crate) fn host(host: &HostConfig, features: &Features) -> Result<Vec<String>> {
    let policy = &host.restart_policy;
    restart_policy(policy)?;
    let parent = host.resources.cgroup_parent.as_str();
    if features.cgroup_driver == "systemd" && !parent.is_empty() && !is_slice(parent) {
        return Err(Error::invalid(
            "cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"",
        ));
    }
    if host.auto_remove && policy.name != "no" {
        return Err(Error::invalid(
            "can't create 'AutoRemove' container with restart policy",
        ));
    }
    if host.shm_size < 0 {
        return Err(Error::invalid("SHM size can not be less than 0"));
    }
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return Err(Error::invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        )));
    }
    if !matches!(host.cgroupns_mode.as_str(), "host" | "private") {
        return Err(Error::invalid(format!(
            "invalid cgroup namespace mode: {}",
            host.cgroupns_mode
        )));
    }
    if host.annotations.contains_key("") {
        return Err(Error::invalid(
            "invalid Annotations: the empty string is not permitted as an annotation key",
        ));
    }
    let mut warnings = resources(&host.resources, features)?;
    let forwards = || std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward");
    if !matches!(host.network_mode.as_str(), "host" | "none")
        && forwards().is_ok_and(|text| text.trim() == "0")
    {
        warnings.push("IPv4 forwarding is disabled. Networking will not work.".into());
    }
    if host.network_mode == "host" && !host.port_bindings.is_empty() {
        warnings.push("Published ports are discarded when using host network mode".into());
    }
    Ok(warnings)
}

/// A restart policy by itself.
pub(crate) fn restart_policy(policy: &dockerapi::RestartPolicy) -> Result<()> {
    match policy.name.as_str() {
        "no" | "always" | "unless-stopped" if policy.maximum_retry_count != 0 => {
            return Err(Error::invalid(format!(
                "invalid restart policy: maximum retry count can only be used with 'on-failure'{}",
                if policy.maximum_retry_count < 0 {
                    " and cannot be negative"
                } else {
                    ""
                }
            )));
        }
        "on-failure" if policy.maximum_retry_count < 0 => {
            return Err(Error::invalid(
                "invalid restart policy: maximum retry count cannot be negative",
            ));
        }
        "no" | "always" | "unless-stopped" | "on-failure" => {}
        other => {
            return Err(Error::invalid(format!(
                "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', \
                 'on-failure', or 'unless-stopped'"
            )));
        }
    }
    Ok(())
}

/// Limits. Answers warnings about those that this host cannot keep.
pub(crate) fn resources(resources: &Resources, features: &Features) -> Result<Vec<String>> {
    let invalid = |text: &str| Err(Error::invalid(text));
    let (memory, swap) = (resources.memory, resources.memory_swap);
    if memory != 0 && memory < MIN_MEMORY {
        return invalid("Minimum memory limit allowed is 6MB");
    }
    if memory > 0 && swap > 0 && swap < memory {
        return invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if memory == 0 && swap > 0 {
        return invalid(
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        );
    }
    let reservation = resources.memory_reservation;
    if reservation > 0 && reservation < MIN_MEMORY {
        return invalid("Minimum memory reservation allowed is 6MB");
    }
    if memory > 0 && reservation > memory {
        return invalid(
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        );
    }
    if let Some(swappiness) = resources.memory_swappiness
        && !(0..=100).contains(&swappiness)
    {
        return Err(Error::invalid(format!(
            "Invalid value: {swappiness}, valid memory swappiness range is 0-100"
        )));
    }
    processor(resources, features)?;
    cpuset(
        &resources.cpuset_mems,
        ("mems", "memory nodes"),
        memory_nodes,
    )?;
    if resources.blkio_weight > 0 && !(10..=1000).contains(&resources.blkio_weight) {
        return invalid("Range of blkio weight is from 10 to 1000");
    }
    Ok(warnings(resources, features))
}

fn processor(resources: &Resources, features: &Features) -> Result<()> {
    let invalid = |text: &str| Err(Error::invalid(text));
    if resources.nano_cpus != 0 {
        if resources.cpu_period > 0 {
            return invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set");
        }
        if resources.cpu_quota > 0 {
            return invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
        }
        let available = system::processors();
        let most = i64::from(available) * 1_000_000_000;
        if !(10_000_000..=most).contains(&resources.nano_cpus) {
            return Err(Error::invalid(format!(
                "range of CPUs is from 0.01 to {available}.00, as there are only {available} CPUs \
                 available"
            )));
        }
    }
    if resources.cpu_period != 0 && !(1000..=1_000_000).contains(&resources.cpu_period) {
        return invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if resources.cpu_quota > 0 && resources.cpu_quota < 1000 {
        return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if resources.nano_cpus > 0 && !features.cpu_cfs {
        return invalid(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the \
             cgroup is not mounted",
        );
    }
    let (period, runtime) = (
        resources.cpu_realtime_period,
        resources.cpu_realtime_runtime,
    );
    if (period != 0 || runtime != 0) && !features.cpu_realtime {
        return invalid("kernel does not support CPU real-time scheduler");
    }
    if period != 0 && runtime > period {
        return invalid("cpu real-time runtime cannot be higher than cpu real-time period");
    }
    if resources.cpu_shares < 0 {
        return Err(Error::invalid(format!(
            "invalid CPU shares ({}): value must be a positive integer",
            resources.cpu_shares
        )));
    }
    let all = || match system::processors() {
        1 => "0".to_owned(),
        many => format!("0-{}", many - 1),
    };
    cpuset(&resources.cpuset_cpus, ("cpus", "CPUs"), all)
}

/// The host's memory nodes, as a list of ranges.
fn memory_nodes() -> String {
    let text = std::fs::read_to_string("/sys/devices/system/node/online");
    let text = text.unwrap_or_default();
    match text.trim() {
        "" => "0".into(),
        nodes => nodes.to_owned(),
    }
}

/// A list of numbers and ranges, all of which must be among those available.
fn cpuset(
    asked: &str,
    (key, what): (&str, &str),
    available: impl FnOnce() -> String,
) -> Result<()> {
    if asked.is_empty() {
        return Ok(());
    }
    let Some(wanted) = ranges(asked) else {
        return Err(Error::invalid(format!(
            "Invalid value {asked} for cpuset {key}: invalid format: {asked}"
        )));
    };
    let available = available();
    let there = ranges(&available).unwrap_or_default();
    let covered = |n: u32| there.iter().any(|range| range.contains(&n));
    let fits = |range: &RangeInclusive<u32>| range.clone().take(MOST_CPUS + 1).all(covered);
    if wanted.iter().all(fits) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "Requested {what} are not available - requested {asked}, available: {available}"
    )))
}

/// `0-3,7`.
fn ranges(text: &str) -> Option<Vec<RangeInclusive<u32>>> {
    text.split(',')
        .map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last).then_some(first..=last)
        })
        .collect()
}

fn warnings(resources: &Resources, features: &Features) -> Vec<String> {
    let some = |list: &Option<Vec<_>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let weights = resources.blkio_weight_device.as_ref();
    let kernel = "Your kernel does not support";
    let cgroup = "or the cgroup is not mounted.";
    let limits = resources.memory > 0;
    let cpuset = !resources.cpuset_cpus.is_empty() || !resources.cpuset_mems.is_empty();
    let disables = resources.oom_kill_disable == Some(true);
    let throttles = [
        (
            &resources.blkio_device_read_bps,
            "BPS Block I/O read limit",
            "BPS read",
        ),
        (
            &resources.blkio_device_write_bps,
            "BPS Block I/O write limit",
            "BPS write",
        ),
        (
            &resources.blkio_device_read_iops,
            "IOPS Block read limit",
            "IOPS read",
        ),
        (
            &resources.blkio_device_write_iops,
            "IOPS Block write limit",
            "IOPS write",
        ),
    ];
    let mut all = vec![
        (
            limits && !features.memory_limit,
            format!("{kernel} memory limit capabilities {cgroup} Limitation discarded."),
        ),
        (
            limits && features.memory_limit && resources.memory_swap != -1 && !features.swap_limit,
            format!("{kernel} swap limit capabilities {cgroup} Memory limited without swap."),
        ),
        (
            disables && !features.oom_kill_disable,
            format!("{kernel} OomKillDisable. OomKillDisable discarded."),
        ),
        (
            disables && features.oom_kill_disable && resources.memory == 0,
            "OOM killer is disabled for the container, but no memory limit is set, this can result \
             in the system running out of resources."
                .to_owned(),
        ),
        (
            resources.pids_limit.is_some_and(|limit| limit > 0) && !features.pids_limit,
            format!("{kernel} PIDs limit capabilities {cgroup} PIDs limit discarded."),
        ),
        (
            resources.cpu_shares > 0 && !features.cpu_shares,
            format!("{kernel} CPU shares {cgroup} Shares discarded."),
        ),
        (
            (resources.cpu_period != 0 || resources.cpu_quota != 0) && !features.cpu_cfs,
            format!("{kernel} CPU CFS scheduler. CPU period/quota discarded."),
        ),
        (
            resources.cpu_percent > 0,
            "linux does not support CPU percent. Percent discarded.".to_owned(),
        ),
        (
            cpuset && !features.cpuset,
            format!("{kernel} cpuset {cgroup} Cpuset discarded."),
        ),
        (
            resources.blkio_weight > 0 && !features.block_io,
            format!("{kernel} Block I/O weight {cgroup} Weight discarded."),
        ),
        (
            weights.is_some_and(|list| !list.is_empty()) && !features.block_io,
            format!("{kernel} Block I/O weight_device {cgroup} Weight-device discarded."),
        ),
    ];
    all.extend(throttles.map(|(list, what, short)| {
        (
            some(list) && !features.block_io,
            format!("{kernel} {what} {cgroup} Block I/O {short} limit discarded."),
        )
    }));
    let told = all.into_iter().filter(|(tell, _)| *tell);
    told.map(|(_, text)| text).collect()
}

#[cfg(test)]
mod tests {
    use dockerapi::{HostConfig, Resources};

    #[test]
    fn log_options_of_ones_own_add_to_the_defaults() {
        let options = |pairs: &[(&str, &str)]| {
            let owned = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into()));
            owned.collect::<dockerapi::Map<String>>()
        };
        let config = crate::Config {
            log_driver: "json-file".into(),
            log_opts: options(&[("max-size", "1m"), ("max-file", "3")]),
            ..crate::Config::default()
        };
        let merged = |kind: &str| {
            let mut host = HostConfig::default();
            host.log_config.kind = kind.into();
            host.log_config.config = options(&[("max-size", "9m"), ("tag", "x")]);
            super::defaults(&mut host, &config, &compute::Features::default());
            host.log_config.config
        };
        let both = options(&[("max-size", "9m"), ("max-file", "3"), ("tag", "x")]);
        assert_eq!(merged(""), both);
        assert_eq!(merged("json-file"), both);
        assert_eq!(
            merged("local"),
            options(&[("max-size", "9m"), ("tag", "x")]),
            "they are another driver's"
        );
    }

    #[test]
    fn limits() {
        let check = |resources| super::resources(&resources, &compute::Features::default());
        let error = |resources| check(resources).expect_err("refused").message;
        let memory = |memory, memory_swap| Resources {
            memory,
            memory_swap,
            ..Resources::default()
        };
        assert_eq!(error(memory(1, 0)), "Minimum memory limit allowed is 6MB");
        assert!(error(memory(8 << 20, 7 << 20)).starts_with("Minimum memoryswap"));
        assert!(error(memory(0, 1)).starts_with("You should always set the Memory limit"));
        let cpus = |nano_cpus| Resources {
            nano_cpus,
            ..Resources::default()
        };
        assert!(error(cpus(1)).starts_with("range of CPUs is from 0.01"));
        let set = |cpuset_cpus: &str| Resources {
            cpuset_cpus: cpuset_cpus.into(),
            ..Resources::default()
        };
        assert!(error(set("9999")).starts_with("Requested CPUs are not available"));
        assert!(error(set("1-0")).starts_with("Invalid value"));
        assert!(check(set("0")).is_ok());
    }
}
