//! `resolve(record, image, policy) → spec`: what is asked of the engine becomes what the platform
//! is asked to build. Pure: reads no file, asks no kernel.

mod devices;
mod mounts;
mod resources;
mod security;

use oci::runtime::{
    Capabilities, ConsoleSize, Linux, Namespace, Process, Rlimit, Root, Spec, User,
};

use crate::config::Config;
use crate::record::Record;
use crate::{Error, Result};

pub(crate) use resources::resources;
pub(crate) use security::{exec_capabilities, seccomp};

/// What resolving needs besides the record.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) config: &'a Config,
    pub(crate) features: &'a compute::Features,
    /// Directory of hosts, hostname and resolv.conf; `None` with another container's or the
    /// host's files.
    pub(crate) files: Files<'a>,
    /// Namespaces of other containers to join, by kind: `/proc/<pid>/ns/…`.
    pub(crate) joined: &'a [Namespace],
    /// Variables about linked containers.
    pub(crate) linked: &'a [String],
    /// Shared memory of the container whose ipc namespace is joined.
    pub(crate) shm: Option<&'a str>,
    /// Devices of the host, for `--privileged`.
    pub(crate) host_devices: &'a [oci::runtime::Device],
    /// `--device`, read from the host.
    pub(crate) devices: &'a [oci::runtime::Device],
    /// In Go's names.
    pub(crate) architecture: &'a str,
    /// Major and minor version.
    pub(crate) kernel: (u32, u32),
    /// How many there are.
    pub(crate) processors: u32,
}

/// Where the three files under /etc come from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Files<'a> {
    pub(crate) hosts: &'a str,
    pub(crate) hostname: &'a str,
    pub(crate) resolv_conf: &'a str,
}

/// The whole specification of a container's run.
///
/// # Errors
/// Invalid parameter or not implemented, naming the option.
pub(crate) fn resolve(record: &Record, context: &Context<'_>) -> Result<Spec> {
    let (config, host) = (&record.config, &record.host);
    let security = security::parse(host.security_opt.as_deref().unwrap_or_default())?;
    let unmasked = host.privileged || security.unmasked;
    let masked = host
        .masked_paths
        .clone()
        .unwrap_or_else(|| profile::masked_paths(0..context.processors));
    let readonly = host.readonly_paths.clone().unwrap_or_else(|| {
        profile::READONLY_PATHS
            .iter()
            .map(|&path| path.to_owned())
            .collect()
    });
    let capabilities = security::capabilities(host, context.features)?;
    let linux = Linux {
        namespaces: namespaces(record, context),
        devices: if host.privileged {
            context.host_devices
        } else {
            context.devices
        }
        .to_vec(),
        cgroups_path: cgroup_path(record, context.config),
        resources: Some(resources(
            &host.resources,
            host.privileged,
            context.devices,
        )?),
        rootfs_propagation: propagation(record).into(),
        seccomp: seccomp(&security, host.privileged, &capabilities, context)?,
        sysctl: sysctls(record),
        masked_paths: if unmasked { Vec::new() } else { masked },
        readonly_paths: if unmasked { Vec::new() } else { readonly },
        ..Linux::default()
    };
    Ok(Spec {
        oci_version: "1.2.1".into(),
        root: Some(Root {
            path: String::new(),
            readonly: host.readonly_rootfs,
        }),
        mounts: mounts::mounts(record, context)?,
        process: Some(Process {
            terminal: config.tty,
            console_size: console_size(host.console_size),
            user: User::default(),
            args: std::iter::once(&record.path)
                .chain(&record.args)
                .cloned()
                .collect(),
            env: environment(record, context.linked),
            cwd: if config.working_dir.is_empty() {
                "/".into()
            } else {
                config.working_dir.clone()
            },
            capabilities: Some(capabilities),
            rlimits: rlimits(record, context.config)?,
            no_new_privileges: security
                .no_new_privileges
                .unwrap_or(context.config.no_new_privileges),
            oom_score_adj: (host.oom_score_adj != 0).then_some(host.oom_score_adj),
            ..Process::default()
        }),
        hostname: if shares(&host.uts_mode) {
            String::new()
        } else {
            config.hostname.clone()
        },
        domainname: if shares(&host.uts_mode) {
            String::new()
        } else {
            config.domainname.clone()
        },
        annotations: host.annotations.clone(),
        linux: Some(linux),
        ..Spec::default()
    })
}

/// `TERM` and `HOSTNAME` where Docker sets them, the image's and the user's own after.
pub(crate) fn environment(record: &Record, linked: &[String]) -> Vec<String> {
    let config = &record.config;
    let given = config.env.as_deref().unwrap_or_default();
    let has = |name: &str| {
        given
            .iter()
            .any(|entry| entry.split('=').next() == Some(name))
    };
    let mut env = Vec::with_capacity(given.len() + 3);
    if !has("PATH") {
        env.push("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    }
    if !has("HOSTNAME") {
        env.push(format!("HOSTNAME={}", config.hostname));
    }
    if config.tty && !has("TERM") {
        env.push("TERM=xterm".into());
    }
    env.extend(linked.iter().cloned());
    // `K` without a value takes K away.
    env.extend(given.iter().filter(|entry| entry.contains('=')).cloned());
    last_of_each(&mut env);
    env
}

/// A variable given twice has its last value: programs differ in which one they take.
pub(crate) fn last_of_each(env: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    let mut kept: Vec<String> = Vec::with_capacity(env.len());
    while let Some(entry) = env.pop() {
        let name = entry.split('=').next().unwrap_or_default();
        if seen.insert(name.to_owned()) {
            kept.push(entry);
        }
    }
    kept.reverse();
    *env = kept;
}

/// Whether processes may gain privileges by exec(2) of set-id files.
pub(crate) fn no_new_privileges(host: &dockerapi::HostConfig, config: &Config) -> Result<bool> {
    let security = security::parse(host.security_opt.as_deref().unwrap_or_default())?;
    Ok(security
        .no_new_privileges
        .unwrap_or(config.no_new_privileges))
}

fn namespaces(record: &Record, context: &Context<'_>) -> Vec<Namespace> {
    let host = &record.host;
    let modes = [
        // Only where there is one to join.
        ("user", "host"),
        ("pid", host.pid_mode.as_str()),
        ("ipc", host.ipc_mode.as_str()),
        ("uts", host.uts_mode.as_str()),
        ("cgroup", host.cgroupns_mode.as_str()),
        ("network", host.network_mode.as_str()),
    ];
    let mut namespaces = vec![Namespace {
        kind: "mount".into(),
        path: String::new(),
    }];
    for (kind, mode) in modes {
        if let Some(joined) = context
            .joined
            .iter()
            .find(|namespace| namespace.kind == kind)
        {
            namespaces.push(joined.clone());
        } else if mode != "host" {
            namespaces.push(Namespace {
                kind: kind.into(),
                path: String::new(),
            });
        }
    }
    namespaces
}

fn cgroup_path(record: &Record, config: &Config) -> String {
    let parent = match record.host.resources.cgroup_parent.as_str() {
        "" => config.cgroup_parent.as_str(),
        own => own,
    };
    if config.systemd_cgroups {
        return format!("{parent}:corten:{}", record.id);
    }
    format!("/{}/{}", parent.trim_matches('/'), record.id).replace("//", "/")
}

/// The root must let through what a bind shares.
fn propagation(record: &Record) -> &'static str {
    let any = |wanted: [&str; 2]| {
        record
            .mounts
            .iter()
            .any(|mount| wanted.contains(&mount.point.propagation.as_str()))
    };
    if any(["shared", "rshared"]) {
        "shared"
    } else if any(["slave", "rslave"]) {
        "rslave"
    } else {
        "rprivate"
    }
}

fn sysctls(record: &Record) -> std::collections::BTreeMap<String, String> {
    let mut sysctls = record.host.sysctls.clone();
    let mode = record.host.network_mode.as_str();
    if mode != "host" && !mode.starts_with("container:") {
        let mut set = |key: &str, value: &str| {
            sysctls.entry(key.into()).or_insert_with(|| value.into());
        };
        set("net.ipv4.ip_unprivileged_port_start", "0");
        // Not all of these groups exist in a user namespace.
        if record.ids.is_none() {
            set("net.ipv4.ping_group_range", "0 2147483647");
        }
    }
    sysctls
}

fn rlimits(record: &Record, config: &Config) -> Result<Vec<Rlimit>> {
    let mut limits = config.default_ulimits.clone();
    for limit in record.host.resources.ulimits.iter().flatten() {
        limits.insert(limit.name.clone(), limit.clone());
    }
    let value = |n: i64| if n < 0 { u64::MAX } else { n.unsigned_abs() };
    limits
        .values()
        .map(|limit| {
            const KNOWN: [&str; 15] = [
                "core",
                "cpu",
                "data",
                "fsize",
                "locks",
                "memlock",
                "msgqueue",
                "nice",
                "nofile",
                "nproc",
                "rss",
                "rtprio",
                "rttime",
                "sigpending",
                "stack",
            ];
            if !KNOWN.contains(&limit.name.as_str()) {
                return Err(Error::invalid(format!(
                    "invalid ulimit type: {}",
                    limit.name
                )));
            }
            if value(limit.soft) > value(limit.hard) {
                return Err(Error::invalid(format!(
                    "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                    limit.soft, limit.hard
                )));
            }
            Ok(Rlimit {
                kind: format!("RLIMIT_{}", limit.name.to_uppercase()),
                hard: value(limit.hard),
                soft: value(limit.soft),
            })
        })
        .collect()
}

fn console_size([height, width]: [u32; 2]) -> Option<ConsoleSize> {
    let cells = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
    (height != 0 && width != 0).then(|| ConsoleSize {
        height: cells(height),
        width: cells(width),
    })
}

fn shares(mode: &str) -> bool {
    mode == "host"
}

/// For exec: the same sets in every place where Docker fills them.
pub(crate) fn all_sets(names: Vec<String>) -> Capabilities {
    Capabilities {
        bounding: names.clone(),
        effective: names.clone(),
        permitted: names,
        ..Capabilities::default()
    }
}
