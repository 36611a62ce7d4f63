//! The body of `POST /containers/create` from the options of `create` and `run`.

use dockerapi::{
    ContainerConfig, CreateBody, DeviceRequest, HostConfig, LogConfig, Map, Resources,
};
use oci::image::{Empty, Healthcheck};

use super::{envfile, limits, mount, network, ports, security};
use crate::cli::flags::Parsed;

/// Reads everything but the image and the command, which come from the arguments. `args` are
/// image, command and its arguments.
///
/// # Errors
/// docker's text, to be shown with `docker: ` before it.
pub(crate) fn build(flags: &Parsed, args: &[String]) -> Result<CreateBody, String> {
    let ports = ports::parse(&flags.list("publish"), &flags.list("expose"))?;
    let health = health(flags)?;
    let mut config = config(flags, args)?;
    config.exposed_ports = ports.exposed;
    config.healthcheck = health;
    let (mode, networking_config) = network::config(flags)?;
    let mut host_config = host(flags)?;
    host_config.port_bindings = ports.bindings;
    host_config.network_mode = mode;
    volumes(flags, &mut config, &mut host_config)?;
    if flags.on("rm") && !matches!(host_config.restart_policy.name.as_str(), "" | "no") {
        return Err("conflicting options: cannot specify both --restart and --rm".into());
    }
    // With a terminal there is no end of input but the terminal's.
    config.stdin_once = config.open_stdin && config.attach_stdin;
    Ok(CreateBody {
        config,
        host_config,
        networking_config,
    })
}

fn config(flags: &Parsed, args: &[String]) -> Result<ContainerConfig, String> {
    let attach: Vec<String> = flags
        .list("attach")
        .iter()
        .map(|name| name.to_lowercase())
        .collect();
    let attached = |name: &str| attach.iter().any(|attach| attach == name);
    let open = flags.on("interactive");
    let none = attach.is_empty();
    let entrypoint = flags
        .changed("entrypoint")
        .then(|| vec![flags.text("entrypoint").to_owned()]);
    let env = envfile::environment(&flags.list("env-file"), &flags.list("env"))?;
    Ok(ContainerConfig {
        hostname: flags.text("hostname").into(),
        domainname: flags.text("domainname").into(),
        user: flags.text("user").into(),
        attach_stdin: attached("stdin") || (none && open),
        attach_stdout: none || attached("stdout"),
        attach_stderr: none || attached("stderr"),
        tty: flags.on("tty"),
        open_stdin: open,
        env: Some(env).filter(|env| !env.is_empty()),
        cmd: Some(args[1..].to_vec()).filter(|cmd| !cmd.is_empty()),
        image: args[0].clone(),
        working_dir: flags.text("workdir").into(),
        entrypoint,
        labels: envfile::labels(&flags.list("label-file"), &flags.list("label"))?,
        stop_signal: flags.text("stop-signal").into(),
        stop_timeout: flags
            .changed("stop-timeout")
            .then(|| flags.int("stop-timeout")),
        ..ContainerConfig::default()
    })
}

fn health(flags: &Parsed) -> Result<Option<Healthcheck>, String> {
    let cmd = flags.text("health-cmd");
    let given = !cmd.is_empty()
        || [
            "health-interval",
            "health-timeout",
            "health-start-period",
            "health-start-interval",
            "health-retries",
        ]
        .iter()
        .any(|name| flags.changed(name) && !matches!(flags.text(name), "0" | "0s"));
    if flags.on("no-healthcheck") {
        if given {
            return Err("--no-healthcheck conflicts with --health-* options".into());
        }
        return Ok(Some(Healthcheck {
            test: vec!["NONE".into()],
            ..Healthcheck::default()
        }));
    }
    if !given {
        return Ok(None);
    }
    let span = |name: &str| {
        let nanos = flags.quantity(name);
        if nanos < 0 {
            Err(format!("--{name} cannot be negative"))
        } else {
            Ok(nanos)
        }
    };
    let retries = flags.int("health-retries");
    if retries < 0 {
        return Err("--health-retries cannot be negative".into());
    }
    let test = if cmd.is_empty() {
        Vec::new()
    } else {
        vec!["CMD-SHELL".into(), cmd.into()]
    };
    Ok(Some(Healthcheck {
        test,
        interval: span("health-interval")?,
        timeout: span("health-timeout")?,
        start_period: span("health-start-period")?,
        start_interval: span("health-start-interval")?,
        retries,
    }))
}

fn host(flags: &Parsed) -> Result<HostConfig, String> {
    let some = |name: &str| Some(flags.list(name)).filter(|list| !list.is_empty());
    modes(flags)?;
    let (security_opt, unconfined_paths) = security::options(&flags.list("security-opt"))?;
    let driver = flags.text("log-driver");
    let log_options = envfile::pairs(&flags.list("log-opt"));
    if driver == "none" && !log_options.is_empty() {
        return Err(format!("invalid logging opts for driver {driver}"));
    }
    let volumes_from = some("volumes-from");
    let (cap_add, cap_drop) =
        security::capabilities(&flags.list("cap-add"), &flags.list("cap-drop"));
    let extra_hosts: Vec<String> = flags
        .list("add-host")
        .iter()
        .map(|entry| super::check::host_entry(entry))
        .collect();
    Ok(HostConfig {
        container_id_file: flags.text("cidfile").into(),
        log_config: LogConfig {
            kind: driver.into(),
            config: log_options,
        },
        restart_policy: limits::restart(flags.text("restart"))?,
        auto_remove: flags.on("rm"),
        volume_driver: flags.text("volume-driver").into(),
        volumes_from,
        annotations: envfile::pairs(&flags.list("annotation")),
        cap_add,
        cap_drop,
        cgroupns_mode: flags.text("cgroupns").into(),
        dns: Some(flags.list("dns")),
        dns_options: Some(flags.list("dns-option")),
        dns_search: Some(flags.list("dns-search")),
        extra_hosts: Some(extra_hosts).filter(|hosts| !hosts.is_empty()),
        group_add: some("group-add"),
        ipc_mode: flags.text("ipc").into(),
        links: some("link"),
        oom_score_adj: i32::try_from(flags.int("oom-score-adj"))
            .map_err(|_| "--oom-score-adj is out of range".to_owned())?,
        pid_mode: flags.text("pid").into(),
        privileged: flags.on("privileged"),
        publish_all_ports: flags.on("publish-all"),
        readonly_rootfs: flags.on("read-only"),
        security_opt: Some(security_opt).filter(|all| !all.is_empty()),
        storage_opt: security::storage(&flags.list("storage-opt"))?,
        uts_mode: flags.text("uts").into(),
        userns_mode: flags.text("userns").into(),
        shm_size: flags.quantity("shm-size"),
        sysctls: envfile::pairs(&flags.list("sysctl")),
        runtime: flags.text("runtime").into(),
        isolation: flags.text("isolation").into(),
        masked_paths: unconfined_paths.then(Vec::new),
        readonly_paths: unconfined_paths.then(Vec::new),
        init: flags.changed("init").then(|| flags.on("init")),
        resources: resources(flags)?,
        ..HostConfig::default()
    })
}

fn modes(flags: &Parsed) -> Result<(), String> {
    let container = |mode: &str| {
        mode.strip_prefix("container:")
            .is_some_and(|id| !id.is_empty())
    };
    let pid = flags.text("pid");
    if !matches!(pid, "" | "host") && !container(pid) {
        return Err("--pid: invalid PID mode".into());
    }
    if !matches!(flags.text("uts"), "" | "host") {
        return Err("--uts: invalid UTS mode".into());
    }
    // The last two are Corten's own.
    if !matches!(flags.text("userns"), "" | "host" | "private" | "auto") {
        return Err("--userns: invalid USER mode".into());
    }
    if !matches!(flags.text("cgroupns"), "" | "host" | "private") {
        return Err("--cgroupns: invalid CGROUP mode".into());
    }
    if flags.on("use-api-socket") {
        return Err("--use-api-socket is not supported yet".into());
    }
    Ok(())
}

fn resources(flags: &Parsed) -> Result<Resources, String> {
    let swappiness = flags.int("memory-swappiness");
    if swappiness != -1 && !(0..=100).contains(&swappiness) {
        return Err(format!(
            "invalid value: {swappiness}. Valid memory swappiness range is 0-100"
        ));
    }
    let throttles = |name: &str, bytes: bool| {
        let all: Result<Vec<_>, String> = flags
            .list(name)
            .iter()
            .map(|text| limits::throttle(text, bytes))
            .collect();
        all.map(Some)
    };
    let mut devices = Vec::new();
    let mut cdi = Vec::new();
    for text in flags.list("device") {
        if limits::is_cdi(&text) {
            cdi.push(text);
        } else {
            devices.push(limits::device(&text)?);
        }
    }
    let mut requests = flags
        .list("gpus")
        .iter()
        .map(|text| limits::gpus(text))
        .collect::<Result<Vec<DeviceRequest>, _>>()?;
    if !cdi.is_empty() {
        requests.push(DeviceRequest {
            driver: "cdi".into(),
            device_ids: Some(cdi),
            ..DeviceRequest::default()
        });
    }
    let weights: Result<Vec<_>, String> = flags
        .list("blkio-weight-device")
        .iter()
        .map(|text| limits::weight(text))
        .collect();
    let mut ulimits = flags
        .list("ulimit")
        .iter()
        .map(|text| limits::ulimit(text))
        .collect::<Result<Vec<_>, _>>()?;
    ulimits.sort_by(|a, b| a.name.cmp(&b.name));
    let unsigned = |name: &str| u64::try_from(flags.int(name)).unwrap_or(0);
    Ok(Resources {
        cpu_shares: flags.int("cpu-shares"),
        memory: flags.quantity("memory"),
        nano_cpus: flags.quantity("cpus"),
        cgroup_parent: flags.text("cgroup-parent").into(),
        blkio_weight: u16::try_from(flags.int("blkio-weight")).unwrap_or(0),
        blkio_weight_device: Some(weights?),
        blkio_device_read_bps: throttles("device-read-bps", true)?,
        blkio_device_write_bps: throttles("device-write-bps", true)?,
        blkio_device_read_iops: throttles("device-read-iops", false)?,
        blkio_device_write_iops: throttles("device-write-iops", false)?,
        cpu_period: flags.int("cpu-period"),
        cpu_quota: flags.int("cpu-quota"),
        cpu_realtime_period: flags.int("cpu-rt-period"),
        cpu_realtime_runtime: flags.int("cpu-rt-runtime"),
        cpuset_cpus: flags.text("cpuset-cpus").into(),
        cpuset_mems: flags.text("cpuset-mems").into(),
        devices: Some(devices),
        device_cgroup_rules: Some(flags.list("device-cgroup-rule")).filter(|all| !all.is_empty()),
        device_requests: Some(requests).filter(|all| !all.is_empty()),
        memory_reservation: flags.quantity("memory-reservation"),
        memory_swap: flags.quantity("memory-swap"),
        memory_swappiness: Some(swappiness),
        oom_kill_disable: Some(flags.on("oom-kill-disable")),
        pids_limit: Some(flags.int("pids-limit")),
        ulimits: Some(ulimits),
        cpu_count: flags.int("cpu-count"),
        cpu_percent: flags.int("cpu-percent"),
        io_maximum_iops: unsigned("io-maxiops"),
        io_maximum_bandwidth: u64::try_from(flags.quantity("io-maxbandwidth")).unwrap_or(0),
    })
}

/// `-v`, `--tmpfs` and `--mount`. A volume without a source is made by the engine.
fn volumes(
    flags: &Parsed,
    config: &mut ContainerConfig,
    host: &mut HostConfig,
) -> Result<(), String> {
    let mut binds = Vec::new();
    let mut anonymous: Map<Empty> = Map::new();
    for text in flags.list("volume") {
        match text.split_once(':') {
            None => {
                anonymous.insert(text, Empty {});
            }
            Some((source, rest)) if source.starts_with('.') => {
                let here = std::env::current_dir().map_err(|error| error.to_string())?;
                binds.push(format!("{}:{rest}", mount::clean(&here.join(source))));
            }
            Some(_) => binds.push(text),
        }
    }
    for text in flags.list("tmpfs") {
        let (path, options) = text.split_once(':').unwrap_or((&text, ""));
        host.tmpfs.insert(path.into(), options.into());
    }
    host.mounts = flags
        .list("mount")
        .iter()
        .map(|text| mount::parse(text))
        .collect::<Result<_, _>>()?;
    host.binds = Some(binds).filter(|binds| !binds.is_empty());
    config.volumes = Some(anonymous);
    Ok(())
}
