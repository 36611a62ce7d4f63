//! How versions of the API differ. Handlers speak the newest; here stands what older clients send
//! and expect instead, as moby has it.
//!
//! | before | request                                              | answer |
//! |--------|------------------------------------------------------|--------|
//! | 1.25   |                                                      | info: `SecurityOptions` without `name=` |
//! | 1.40   | empty `IpcMode` is shareable; no `NonRecursive`, `PidsLimit` of update | |
//! | 1.41   | empty `CgroupnsMode` is host (v1)                    |        |
//! | 1.42   | no `ConsoleSize`, `CreateMountpoint`; options of other mount types ignored | |
//! | 1.43   | no `Annotations`                                     | untagged images have `<none>:<none>` |
//! | 1.44   | one network; no `StartInterval`; read-only binds are not recursive | `VirtualSize`; no `DNSNames` |
//! | 1.45   | no `Subpath`                                         | aliases have the short ID; images `Container` |
//! | 1.46   |                                                      | list without `Annotations` |
//! | 1.48   | no `GwPriority`                                      | no `Descriptor` of images, no `ImageManifestDescriptor` |
//! | 1.49   |                                                      | info: `Expected` of commits; no `FirewallBackend` |
//! | 1.50   |                                                      | info: `BridgeNf*`; images' `Config` with a container's fields |
//! | 1.51   |                                                      | images: `Containers` is -1 |

use dockerapi::{
    ContainerInspect, ContainerSummary, CreateBody, DiskUsage, EndpointSettings, ImageInspect,
    ImageSummary, Info, JsonMessageError, MountSpec, UpdateBody,
};
use engine::{Error, ErrorKind, Result};
use serde::Serialize;
use serde_json::{Value, json};

use crate::version::ApiVersion;

/// Makes an older client's request mean what it meant; returns warnings.
///
/// # Errors
/// Invalid parameter for more than one network before 1.44.
pub(crate) fn create_body(
    body: &mut CreateBody,
    version: ApiVersion,
    cgroup_v1: impl FnOnce() -> bool,
) -> Result<Vec<String>> {
    let host = &mut body.host_config;
    if host.network_mode.is_empty() {
        host.network_mode = "default".into();
    }
    if host.resources.pids_limit.is_some_and(|limit| limit <= 0) {
        host.resources.pids_limit = None;
    }
    if version.before(40) && host.ipc_mode.is_empty() {
        host.ipc_mode = "shareable".into();
    }
    if version.before(41) && host.cgroupns_mode.is_empty() && cgroup_v1() {
        host.cgroupns_mode = "host".into();
    }
    if version.before(42) {
        host.console_size = [0, 0];
    }
    if version.before(43) {
        host.annotations.clear();
    }
    for mount in &mut host.mounts {
        mount_before(mount, version);
    }
    if version.before(44) {
        if let Some(check) = &mut body.config.healthcheck {
            check.start_interval = 0;
        }
        let endpoints = &body.networking_config.endpoints_config;
        if endpoints.len() > 1 {
            let names: Vec<&str> = endpoints.keys().map(String::as_str).collect();
            return Err(Error::invalid(format!(
                "Container cannot be created with multiple network endpoints: {}",
                names.join(", ")
            )));
        }
    }
    if version.before(48) {
        for endpoint in body
            .networking_config
            .endpoints_config
            .values_mut()
            .flatten()
        {
            endpoint.gw_priority = 0;
        }
    }
    Ok(container_mac(body, version))
}

fn mount_before(mount: &mut MountSpec, version: ApiVersion) {
    if version.before(42) {
        if mount.kind != "volume" {
            mount.volume_options = None;
        }
        if mount.kind != "tmpfs" {
            mount.tmpfs_options = None;
        }
    }
    if version.before(45)
        && let Some(options) = &mut mount.volume_options
    {
        options.subpath.clear();
    }
    if version.before(44) && mount.kind == "bind" && mount.read_only {
        mount.bind_options.get_or_insert_default();
    }
    let Some(options) = &mut mount.bind_options else {
        return;
    };
    if version.before(40) {
        options.non_recursive = false;
    }
    if version.before(42) {
        options.create_mountpoint = false;
    }
    if version.before(44) {
        options.read_only_non_recursive = mount.read_only;
        options.read_only_force_recursive = false;
    }
}

/// `Config.MacAddress` became a setting of the endpoint.
fn container_mac(body: &mut CreateBody, version: ApiVersion) -> Vec<String> {
    let address = std::mem::take(&mut body.config.mac_address);
    if address.is_empty() {
        return Vec::new();
    }
    let endpoints = &mut body.networking_config.endpoints_config;
    let network = match endpoints.keys().next() {
        Some(only) if endpoints.len() == 1 => only.clone(),
        _ => body.host_config.network_mode.clone(),
    };
    let endpoint = endpoints
        .entry(network)
        .or_default()
        .get_or_insert_default();
    if endpoint.mac_address.is_empty() {
        endpoint.mac_address = address;
    }
    match version.before(44) {
        true => Vec::new(),
        false => vec![
            "The container-wide MacAddress field is now deprecated. It should be specified in \
             EndpointsConfig instead."
                .into(),
        ],
    }
}

/// As [`create_body`] for updates.
pub(crate) fn update_body(body: &mut UpdateBody, version: ApiVersion) {
    if version.before(40) {
        body.resources.pids_limit = None;
    }
    if body.resources.pids_limit.is_some_and(|limit| limit < 0) {
        body.resources.pids_limit = Some(0);
    }
}

/// `GET /info`.
///
/// # Errors
/// When it cannot be encoded.
pub(crate) fn info(mut info: Info, version: ApiVersion) -> Result<Value> {
    if version.before(25) {
        let plain = |option: String| {
            let name = option.split(',').next().unwrap_or_default();
            name.strip_prefix("name=").unwrap_or(name).to_owned()
        };
        info.security_options = info.security_options.into_iter().map(plain).collect();
    }
    if version.before(49) {
        info.firewall_backend = None;
        for commit in [
            &mut info.containerd_commit,
            &mut info.runc_commit,
            &mut info.init_commit,
        ] {
            commit.expected.clone_from(&commit.id);
        }
    }
    let mut value = encode(&info)?;
    if version.before(50) {
        value["BridgeNfIptables"] = json!(false);
        value["BridgeNfIp6tables"] = json!(false);
        if let Some(info) = value.as_object_mut() {
            info.shift_remove("DiscoveredDevices");
        }
    }
    Ok(value)
}

/// `GET /containers/json`.
pub(crate) fn container_row(mut row: ContainerSummary, version: ApiVersion) -> ContainerSummary {
    if version.before(46) {
        row.host_config.annotations.clear();
    }
    if version.before(48) {
        row.image_manifest_descriptor = None;
    }
    row
}

/// `GET /containers/{id}/json`.
///
/// # Errors
/// When it cannot be encoded.
pub(crate) fn container(mut found: ContainerInspect, version: ApiVersion) -> Result<Value> {
    let short: String = found.id.chars().take(12).collect();
    if version.before(48) {
        found.image_manifest_descriptor = None;
    }
    if version.before(45) {
        for (name, endpoint) in &mut found.network_settings.networks {
            alias_before(name, endpoint, &short);
        }
    }
    let mut value = encode(&found)?;
    if version.before(44)
        && let Some(networks) = value["NetworkSettings"]["Networks"].as_object_mut()
    {
        for endpoint in networks.values_mut().filter_map(Value::as_object_mut) {
            endpoint.shift_remove("DNSNames");
        }
    }
    Ok(value)
}

/// Own networks resolved the short ID by an alias.
fn alias_before(network: &str, endpoint: &mut EndpointSettings, short: &str) {
    if matches!(network, "bridge" | "host" | "none") {
        return;
    }
    let aliases = endpoint.aliases.get_or_insert_default();
    if !aliases.iter().any(|alias| alias == short) {
        aliases.push(short.to_owned());
    }
}

/// `GET /images/json`.
pub(crate) fn image_list(mut list: Vec<ImageSummary>, version: ApiVersion) -> Vec<ImageSummary> {
    for row in &mut list {
        row.virtual_size = version.before(44).then_some(row.size);
        if version.before(48) {
            row.descriptor = None;
        }
        if version.before(51) {
            row.containers = -1;
        }
        if version.before(43) && row.repo_tags.is_empty() && row.repo_digests.is_empty() {
            row.repo_tags = vec!["<none>:<none>".into()];
            row.repo_digests = vec!["<none>@<none>".into()];
        }
    }
    list
}

/// `GET /system/df`.
pub(crate) fn disk_usage(mut usage: DiskUsage, version: ApiVersion) -> DiskUsage {
    for row in usage.images.iter_mut().flatten() {
        if version.before(48) {
            row.descriptor = None;
        }
        row.virtual_size = version.before(44).then_some(row.size);
    }
    usage
}

/// Fields of a container that images' `Config` had before 1.50.
const NOT_AN_IMAGES: [&str; 9] = [
    "Hostname",
    "Domainname",
    "AttachStdin",
    "AttachStdout",
    "AttachStderr",
    "Tty",
    "OpenStdin",
    "StdinOnce",
    "Image",
];

/// `GET /images/{name}/json`.
///
/// # Errors
/// When it cannot be encoded.
pub(crate) fn image(mut found: ImageInspect, version: ApiVersion) -> Result<Value> {
    found.virtual_size = version.before(44).then_some(found.size);
    if version.before(48) {
        found.descriptor = None;
    }
    let mut value = encode(&found)?;
    if version.before(45) {
        value["Container"] = json!("");
        value["ContainerConfig"] = value["Config"].clone();
    }
    if !version.before(50)
        && let Some(config) = value["Config"].as_object_mut()
    {
        for name in NOT_AN_IMAGES {
            config.shift_remove(name);
        }
    }
    Ok(value)
}

fn encode(value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value)
        .map_err(|error| Error::system(format!("cannot encode answer: {error}")))
}

/// The status of a pull or import that failed before its first line of progress.
pub(crate) fn early_failure(error: &JsonMessageError) -> Error {
    let text = error.message.to_ascii_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    let kind = match error.code {
        401 => ErrorKind::Unauthorized,
        403 => ErrorKind::Forbidden,
        404 => ErrorKind::NotFound,
        400 => ErrorKind::InvalidParameter,
        501 => ErrorKind::NotImplemented,
        503 => ErrorKind::Unavailable,
        _ if has(&["not found", "manifest unknown", "does not exist"]) => ErrorKind::NotFound,
        _ if has(&["unauthorized", "authentication required"]) => ErrorKind::Unauthorized,
        _ => ErrorKind::System,
    };
    Error {
        kind,
        message: error.message.clone(),
    }
}

#[cfg(test)]
mod tests;
