//! `container inspect`.

use dockerapi::{
    ContainerInspect, ContainerState, EndpointSettings, GraphDriver, HostConfig, Map,
    NetworkSettings,
};

use crate::record::{Phase, Record};
use crate::{Engine, Inner, Result, clock, links, list, ports};

impl Engine {
    /// `GET /containers/{id}/json`.
    ///
    /// # Errors
    /// Not found.
    pub fn container_inspect(&self, name: &str, size: bool) -> Result<ContainerInspect> {
        let inner = &self.0;
        let record = inner.containers.find(name)?.record();
        let sizes = size.then(|| inner.sizes(&record));
        let dir = inner.runtime_dir(&record.id);
        let file = |name: &str| match record.state.started_at {
            0 => String::new(),
            _ => dir.join(name).to_string_lossy().into_owned(),
        };
        let execs = inner.execs.of_container(&record.id);
        let writable = inner.writable_dir(&record.id);
        let data = [
            ("UpperDir", writable.join("diff")),
            ("WorkDir", writable.join("work")),
        ]
        .map(|(key, path)| (key.to_owned(), path.to_string_lossy().into_owned()));
        Ok(ContainerInspect {
            id: record.id.clone(),
            created: clock::rfc3339(record.created),
            path: record.path.clone(),
            args: record.args.clone(),
            state: state(&record),
            image: record.image_id.clone(),
            resolv_conf_path: file("resolv.conf"),
            hostname_path: file("hostname"),
            hosts_path: file("hosts"),
            log_path: match record.host.log_config.kind.as_str() {
                "json-file" => {
                    let kept = crate::log_drivers::Kept::Json;
                    let path = crate::log_drivers::path(inner, &record.id, kept);
                    path.to_string_lossy().into_owned()
                }
                _ => String::new(),
            },
            name: format!("/{}", record.name),
            restart_count: record.state.restart_count,
            driver: "overlay2".into(),
            platform: record.platform.clone(),
            exec_ids: (!execs.is_empty()).then_some(execs),
            host_config: HostConfig {
                links: links::shown(inner, &record),
                ..record.host.clone()
            },
            graph_driver: GraphDriver {
                data: Some(data.into()),
                name: "overlay2".into(),
            },
            size_rw: sizes.map(|(rw, _)| rw),
            size_root_fs: sizes.map(|(_, root)| root),
            mounts: record
                .mounts
                .iter()
                .filter(|mount| {
                    mount.point.kind != "tmpfs"
                        || !record.host.tmpfs.contains_key(&mount.point.destination)
                })
                .map(|mount| mount.point.clone())
                .collect(),
            config: record.config.clone(),
            network_settings: network_settings(&record),
            image_manifest_descriptor: record.image_manifest.clone(),
            ..ContainerInspect::default()
        })
    }
}

impl Inner {
    /// Bytes written by the container, and of its whole root.
    pub(crate) fn sizes(&self, record: &Record) -> (i64, i64) {
        let bytes = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let written = images::disk_usage(&self.writable_dir(&record.id).join("diff"));
        let image = self
            .images
            .resolve(&record.image_id)
            .map_or(0, |image| image.size);
        (bytes(written), bytes(written.saturating_add(image)))
    }
}

fn state(record: &Record) -> ContainerState {
    let state = &record.state;
    ContainerState {
        status: state.phase.as_str().into(),
        running: matches!(
            state.phase,
            Phase::Running | Phase::Paused | Phase::Restarting
        ),
        paused: state.phase == Phase::Paused,
        restarting: state.phase == Phase::Restarting,
        oom_killed: state.oom_killed,
        dead: state.phase == Phase::Dead,
        pid: state.pid,
        exit_code: state.exit_code,
        error: state.error.clone(),
        started_at: clock::rfc3339(state.started_at),
        finished_at: clock::rfc3339(state.finished_at),
        health: state.health.clone(),
    }
}

/// By network name; without addresses when it does not run.
pub(crate) fn networks(record: &Record) -> Map<EndpointSettings> {
    let mode = record.host.network_mode.as_str();
    if mode.starts_with("container:") {
        return Map::new();
    }
    let asked = record
        .networking
        .endpoints_config
        .get(mode)
        .cloned()
        .flatten();
    let mut settings = asked.unwrap_or_default();
    if record.state.phase.is_alive() || record.state.started_at != 0 {
        settings.network_id = list::network_id(mode);
    }
    if let Some(endpoint) = &record.endpoint {
        settings.endpoint_id.clone_from(&endpoint.id);
        settings.gateway.clone_from(&endpoint.gateway);
        settings.ip_address.clone_from(&endpoint.ip);
        settings.ip_prefix_len = endpoint.prefix;
        settings.mac_address.clone_from(&endpoint.mac);
    }
    [(mode.to_owned(), settings)].into()
}

fn network_settings(record: &Record) -> NetworkSettings {
    let mut settings = NetworkSettings {
        networks: networks(record),
        ports: match &record.endpoint {
            Some(endpoint) => ports::shown(&record.config, &endpoint.ports),
            None => Map::new(),
        },
        ..NetworkSettings::default()
    };
    if record.state.phase.is_alive() {
        settings.sandbox_id = record.id.clone();
        settings.sandbox_key = format!("/proc/{}/ns/net", record.state.pid);
    }
    if let Some(endpoint) = &record.endpoint {
        settings.endpoint_id.clone_from(&endpoint.id);
        settings.gateway.clone_from(&endpoint.gateway);
        settings.ip_address.clone_from(&endpoint.ip);
        settings.ip_prefix_len = endpoint.prefix;
        settings.mac_address.clone_from(&endpoint.mac);
    }
    settings
}
