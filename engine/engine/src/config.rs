//! What the daemon's flags and daemon.json say, once parsed.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use dockerapi::{Map, Ulimit};

/// Settings of the engine.
#[derive(Debug, Clone)]
pub struct Config {
    /// Everything that must survive: `/var/lib/corten`.
    pub data_root: PathBuf,
    /// Everything that need not: `/run/corten`.
    pub exec_root: PathBuf,
    /// cgroup below which containers get theirs.
    /// With systemd's cgroups a slice.
    pub cgroup_parent: String,
    /// Cgroups are systemd's.
    pub systemd_cgroups: bool,
    /// Where specifications of CDI devices are; none: there are no such devices.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// Other OCI runtimes than the built-in one, by name.
    pub runtimes: Map<compute::Runtime>,
    /// Name of the runtime of containers that ask for none.
    pub default_runtime: String,
    /// The default bridge; `None` for `--bridge none`.
    pub bridge: Option<Bridge>,
    /// DNS servers of containers; empty takes the host's.
    pub dns: Vec<IpAddr>,
    /// resolv.conf options.
    pub dns_options: Vec<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// Limits of containers that ask for none.
    pub default_ulimits: Ulimits,
    /// Bytes of /dev/shm.
    pub default_shm_size: i64,
    /// `private` or `shareable`.
    pub default_ipc_mode: String,
    /// `host` or `private`; empty takes the kernel's custom (v1 host, v2 private).
    pub default_cgroupns_mode: String,
    /// `--init` for all.
    pub init: bool,
    /// The log driver of containers that ask for none.
    pub log_driver: String,
    /// Its options.
    pub log_opts: Map<String>,
    /// Containers have user namespaces with these ids, unless they are asked for without.
    pub userns_remap: Option<crate::Remap>,
    /// `no_new_privs` for all.
    pub no_new_privileges: bool,
    /// A seccomp profile's JSON in place of the built-in one; `unconfined` for none.
    pub seccomp_profile: Option<String>,
    /// Answers new settings of registries when they have changed since it was last asked.
    pub registries_source: Option<RegistriesSource>,
    /// What the image store keeps of what was removed, and takes.
    pub image_policy: images::Policy,
    /// When images are collected; `None` for never.
    pub image_gc: Option<crate::Watermarks>,
    /// Layers with a table of contents are used before all of them has come.
    pub lazy_pull: bool,
    /// Who supplies such layers' bytes; `None` for nobody.
    pub supplier: Option<crate::SupplierProgram>,
}

/// Names of the runtime that is built in.
pub const BUILT_IN_RUNTIMES: [&str; 3] = ["corten", "runc", "io.containerd.runc.v2"];

/// Settings that may change while the engine is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Labels of the engine.
    pub labels: Vec<String>,
    /// Debug mode, told by info.
    pub debug: bool,
    /// Containers outlive the daemon; told by info.
    pub live_restore: bool,
    /// Seconds given to containers when the engine is asked to stop them.
    pub shutdown_timeout: u64,
    /// Seconds from the stop signal to SIGKILL for containers that ask for none.
    pub default_stop_timeout: i64,
    /// How registries are reached.
    pub registries: RegistrySettings,
    /// How many past events are kept.
    pub events: state::Limits,
    /// Layers fetched at once.
    pub max_concurrent_downloads: usize,
    /// Tries for one layer.
    pub max_download_attempts: u32,
}

/// How registries are reached. May change while the engine runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistrySettings {
    /// Registries spoken to without TLS: hosts, host:port or CIDRs.
    pub insecure: Vec<String>,
    /// Mirrors of Docker Hub.
    pub mirrors: Vec<String>,
    /// Directories of `<host>/hosts.toml` and certificates, best first.
    pub hosts_dirs: Vec<PathBuf>,
    /// Proxies in place of those of the environment; empty for none.
    pub http_proxy: String,
    /// The same for TLS.
    pub https_proxy: String,
    /// Who is reached without them.
    pub no_proxy: String,
    /// No registry is asked for anything.
    pub offline: bool,
    /// A policy in the format of containers-policy.json(5): what is pulled must satisfy it.
    pub signature_policy: Option<PathBuf>,
}

/// Where settings of registries are read anew.
#[derive(Clone)]
pub struct RegistriesSource(pub Arc<Reread>);

/// `Ok(None)` when nothing has changed.
type Reread = dyn Fn() -> std::result::Result<Option<RegistrySettings>, String> + Send + Sync;

impl fmt::Debug for RegistriesSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RegistriesSource")
    }
}

impl Default for Live {
    fn default() -> Self {
        Self {
            labels: Vec::new(),
            debug: false,
            live_restore: true,
            shutdown_timeout: 15,
            default_stop_timeout: 10,
            registries: RegistrySettings::default(),
            events: state::Limits::default(),
            max_concurrent_downloads: 3,
            max_download_attempts: 5,
        }
    }
}

/// Limits by name.
pub type Ulimits = Map<Ulimit>;

/// Settings of the default bridge.
#[derive(Debug, Clone)]
pub struct Bridge {
    /// Interface name.
    pub name: String,
    /// Its address and prefix length; `None` chooses.
    pub address: Option<(Ipv4Addr, u8)>,
    /// Containers get addresses of this part only.
    pub fixed_cidr: Option<(Ipv4Addr, u8)>,
    /// 0 takes 1500.
    pub mtu: u32,
    /// Containers may talk to each other.
    pub icc: bool,
    /// Turn on forwarding.
    pub ip_forward: bool,
    /// Masquerade outwards.
    pub ip_masq: bool,
    /// Forward in user space where the kernel cannot.
    pub userland_proxy: bool,
    /// Published ports are bound here unless said otherwise.
    pub default_ip: IpAddr,
}

impl Default for Bridge {
    fn default() -> Self {
        Self {
            name: "docker0".into(),
            address: None,
            fixed_cidr: None,
            mtu: 1500,
            icc: true,
            ip_forward: true,
            ip_masq: true,
            userland_proxy: true,
            default_ip: Ipv4Addr::UNSPECIFIED.into(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_root: "/var/lib/corten".into(),
            exec_root: "/run/corten".into(),
            cgroup_parent: "/corten".into(),
            systemd_cgroups: false,
            cdi_spec_dirs: vec!["/etc/cdi".into(), "/var/run/cdi".into()],
            runtimes: Map::new(),
            default_runtime: "corten".into(),
            bridge: Some(Bridge::default()),
            dns: Vec::new(),
            dns_options: Vec::new(),
            dns_search: Vec::new(),
            default_ulimits: Ulimits::new(),
            default_shm_size: 64 << 20,
            default_ipc_mode: "private".into(),
            default_cgroupns_mode: String::new(),
            init: false,
            log_driver: "json-file".into(),
            log_opts: Map::new(),
            userns_remap: None,
            no_new_privileges: false,
            seccomp_profile: None,
            registries_source: None,
            image_policy: images::Policy::default(),
            image_gc: None,
            lazy_pull: false,
            supplier: None,
        }
    }
}
