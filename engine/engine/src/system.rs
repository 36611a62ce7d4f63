//! The engine about itself: version, info, registry log-in.

use dockerapi::{
    API_VERSION, AuthConfig, Commit, Component, DiscoveredDevice, Info, MIN_API_VERSION, Map,
    Plugins, RegistryConfig, RuntimeInfo, SwarmInfo, Version, VersionPlatform,
};

use crate::record::Phase;
use crate::registries::masked;
use crate::{Engine, EventsOptions, Lines, Result, cdi, clock};

const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Engine {
    /// `GET /version`.
    pub fn version(&self) -> Version {
        let kernel = kernel();
        let details = [
            ("ApiVersion", API_VERSION),
            ("Arch", architecture()),
            ("Experimental", "false"),
            ("KernelVersion", &kernel),
            ("MinAPIVersion", MIN_API_VERSION),
            ("Os", "linux"),
        ];
        let details: Map<String> = details
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Version {
            platform: VersionPlatform {
                name: "Corten".into(),
            },
            components: vec![Component {
                name: "Engine".into(),
                version: VERSION.into(),
                details,
            }],
            version: VERSION.into(),
            api_version: API_VERSION.into(),
            min_api_version: MIN_API_VERSION.into(),
            os: "linux".into(),
            arch: architecture().into(),
            kernel_version: kernel,
            ..Version::default()
        }
    }

    /// `GET /info`.
    pub fn info(&self) -> Info {
        let inner = &self.0;
        let (config, features) = (&inner.config, inner.compute.features());
        let live = inner.live();
        let count = |phases: &[Phase]| {
            let all = inner.containers.all();
            all.iter()
                .filter(|c| phases.contains(&c.record().state.phase))
                .count() as u64
        };
        let running = count(&[Phase::Running, Phase::Restarting]);
        let paused = count(&[Phase::Paused]);
        let stopped = count(&[Phase::Created, Phase::Exited, Phase::Dead, Phase::Removing]);
        let host = host();
        let settings = inner.registries.settings();
        let proxies = &inner.registries.client().config().proxy;
        let cdi = cdi::Registry::read(&config.cdi_spec_dirs);
        Info {
            id: inner.images.engine_id(),
            containers: running + paused + stopped,
            containers_running: running,
            containers_paused: paused,
            containers_stopped: stopped,
            images: inner.images.list().map_or(0, |images| images.len() as u64),
            driver: "overlay2".into(),
            driver_status: vec![["Native Overlay Diff".into(), "true".into()]],
            plugins: Plugins {
                volume: vec!["local".into()],
                network: vec!["bridge".into(), "host".into(), "null".into()],
                authorization: None,
                log: crate::log_drivers::NAMES.map(str::to_owned).into(),
            },
            memory_limit: features.memory_limit,
            swap_limit: features.swap_limit,
            cpu_cfs_period: features.cpu_cfs,
            cpu_cfs_quota: features.cpu_cfs,
            cpu_shares: features.cpu_shares,
            cpu_set: features.cpuset,
            pids_limit: features.pids_limit,
            ipv4_forwarding: std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward")
                .is_ok_and(|text| text.trim() == "1"),
            debug: live.debug,
            n_fd: std::fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count() as u64),
            oom_kill_disable: features.oom_kill_disable,
            n_goroutines: 0,
            system_time: clock::rfc3339(clock::now()),
            logging_driver: config.log_driver.clone(),
            cgroup_driver: features.cgroup_driver.into(),
            cgroup_version: features.cgroup_version.to_string(),
            n_events_listener: inner.events.listeners() as u64,
            kernel_version: kernel(),
            operating_system: host.operating_system,
            os_type: "linux".into(),
            architecture: host.architecture,
            index_server_address: "https://index.docker.io/v1/".into(),
            registry_config: registries(&settings.insecure, &settings.mirrors),
            http_proxy: masked(&proxies.http),
            https_proxy: masked(&proxies.https),
            no_proxy: proxies.none.clone(),
            ncpu: host.cpus,
            mem_total: host.memory,
            docker_root_dir: config.data_root.to_string_lossy().into_owned(),
            name: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            labels: live.labels.clone(),
            server_version: VERSION.into(),
            runtimes: runtimes(config),
            default_runtime: config.default_runtime.clone(),
            cdi_spec_dirs: config
                .cdi_spec_dirs
                .iter()
                .map(|dir| dir.to_string_lossy().into_owned())
                .collect(),
            discovered_devices: cdi
                .names()
                .map(|id| DiscoveredDevice {
                    source: "cdi".into(),
                    id: id.to_owned(),
                })
                .collect(),
            swarm: SwarmInfo {
                local_node_state: "inactive".into(),
                ..SwarmInfo::default()
            },
            live_restore_enabled: live.live_restore,
            firewall_backend: Some(serde_json::json!({ "Driver": "nftables" })),
            init_binary: "keeper".into(),
            containerd_commit: Commit::default(),
            security_options: security_options(features, config.userns_remap.is_some()),
            warnings: warnings(features),
            ..Info::default()
        }
    }

    /// `GET /events`: each once, in their order, whose times are unlike each other. A listener that
    /// reads more slowly than events are forgotten gets an error in place of those it missed.
    ///
    /// # Errors
    /// Invalid parameter for unknown filters.
    pub async fn events(&self, options: EventsOptions) -> Result<Lines<Result<dockerapi::Event>>> {
        self.0.events.subscribe(options).await
    }

    /// `POST /auth`: status text and identity token.
    ///
    /// # Errors
    /// Unauthorized when the registry refuses.
    pub async fn auth(&self, auth: AuthConfig) -> Result<(String, String)> {
        self.0.registries.login(auth).await
    }
}

/// The machine that the engine is on.
pub(crate) struct Host {
    pub(crate) architecture: String,
    pub(crate) kernel: String,
    pub(crate) operating_system: String,
    pub(crate) version: String,
    pub(crate) cpus: u64,
    /// Bytes.
    pub(crate) memory: u64,
}

/// Facts about the machine.
pub(crate) fn host() -> Host {
    let uname = rustix::system::uname();
    let memory = rustix::system::sysinfo();
    let release = os_release();
    Host {
        architecture: uname.machine().to_string_lossy().into_owned(),
        kernel: kernel(),
        operating_system: of_release(&release, "PRETTY_NAME=").unwrap_or_else(|| "Linux".into()),
        version: of_release(&release, "VERSION_ID=").unwrap_or_default(),
        cpus: processors().into(),
        memory: memory.totalram.saturating_mul(u64::from(memory.mem_unit)),
    }
}

fn kernel() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

/// Of this machine, in Go's names.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Major and minor version of the kernel.
pub(crate) fn kernel_version() -> (u32, u32) {
    let release = kernel();
    let mut numbers = release
        .split(['.', '-'])
        .map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Processors that this engine may run on. A quota of its own is no limit of its containers.
pub(crate) fn processors() -> u32 {
    sys::process::affinity().map_or(1, |mask| mask.iter().map(|bits| bits.count_ones()).sum())
}

fn os_release() -> String {
    std::fs::read_to_string("/etc/os-release")
        .or_else(|_| std::fs::read_to_string("/usr/lib/os-release"))
        .unwrap_or_default()
}

fn of_release(text: &str, key: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(key));
    value.map(|value| value.trim_matches(['"', '\'']).to_owned())
}

fn registries(insecure: &[String], mirrors: &[String]) -> RegistryConfig {
    let (cidrs, hosts): (Vec<&String>, Vec<&String>) =
        insecure.iter().partition(|r| r.contains('/'));
    let index = |name: &str, mirrors: &[String], secure: bool| {
        serde_json::json!({
            "Name": name, "Mirrors": mirrors, "Secure": secure, "Official": name == "docker.io",
        })
    };
    let mut configs: Map<serde_json::Value> = hosts
        .into_iter()
        .map(|host| (host.clone(), index(host, &[], false)))
        .collect();
    configs.insert("docker.io".into(), index("docker.io", mirrors, true));
    let loopback = ["::1/128".to_owned(), "127.0.0.0/8".to_owned()];
    RegistryConfig {
        insecure_registry_cidrs: cidrs.into_iter().cloned().chain(loopback).collect(),
        index_configs: configs,
        mirrors: (!mirrors.is_empty()).then(|| mirrors.to_vec()),
    }
}

/// The built-in one under its names, and the others.
fn runtimes(config: &crate::Config) -> Map<RuntimeInfo> {
    let built_in = crate::BUILT_IN_RUNTIMES.map(|name| {
        let path = "corten".into();
        let info = RuntimeInfo {
            path,
            ..RuntimeInfo::default()
        };
        (name.to_owned(), info)
    });
    let others = config.runtimes.iter().map(|(name, runtime)| {
        let info = RuntimeInfo {
            path: runtime.path.to_string_lossy().into_owned(),
            runtime_args: runtime.args.clone(),
            ..RuntimeInfo::default()
        };
        (name.clone(), info)
    });
    built_in.into_iter().chain(others).collect()
}

fn security_options(features: &compute::Features, remapped: bool) -> Vec<String> {
    let mut options = Vec::new();
    if features.apparmor {
        options.push("name=apparmor".into());
    }
    if features.seccomp {
        options.push("name=seccomp,profile=builtin".into());
    }
    if remapped {
        options.push("name=userns".into());
    }
    if features.cgroup_version == 2 {
        options.push("name=cgroupns".into());
    }
    options
}

fn warnings(features: &compute::Features) -> Option<Vec<String>> {
    let checks = [
        (features.memory_limit, "No memory limit support"),
        (features.swap_limit, "No swap limit support"),
        (features.cpu_cfs, "No cpu cfs quota support"),
        (features.cpu_shares, "No cpu shares support"),
        (features.cpuset, "No cpuset support"),
        (features.pids_limit, "No pids limit support"),
    ];
    let missing = checks.iter().filter(|(works, _)| !works);
    let warnings: Vec<String> = missing
        .map(|(_, text)| format!("WARNING: {text}"))
        .collect();
    (!warnings.is_empty()).then_some(warnings)
}
