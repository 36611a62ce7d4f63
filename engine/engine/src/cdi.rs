//! Devices by the Container Device Interface: specifications below `/etc/cdi` and `/var/run/cdi`
//! say what a container gets with a device's name (nodes, mounts, variables, hooks). `--gpus` is a
//! request for the devices of a maker of GPUs. Format:
//! <https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md>.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use dockerapi::DeviceRequest;
use oci::runtime::{Device, DeviceRule, Hook, Hooks, Mount, Spec};
use serde::Deserialize;

use crate::{Error, Result, devices};

/// The largest specification that is read.
const LARGEST: u64 = 4 << 20;
/// Kinds of device that `--gpus` stands for, in the order they are looked for.
const GPUS: [(&str, &str); 2] = [("nvidia", "nvidia.com/gpu"), ("amd", "amd.com/gpu")];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    kind: String,
    devices: Vec<Named>,
    container_edits: Edits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Named {
    name: String,
    container_edits: Edits,
}

/// What is done to a container's specification.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    mounts: Vec<Place>,
    hooks: Vec<Told>,
    #[serde(rename = "additionalGids")]
    additional_gids: Vec<u32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Node {
    path: String,
    host_path: String,
    #[serde(rename = "type")]
    kind: String,
    major: i64,
    minor: i64,
    file_mode: Option<u32>,
    permissions: String,
    uid: Option<u32>,
    gid: Option<u32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Place {
    host_path: String,
    container_path: String,
    options: Vec<String>,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Told {
    hook_name: String,
    path: String,
    args: Vec<String>,
    env: Vec<String>,
    timeout: Option<i64>,
}

/// Every device that some specification describes.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// By `vendor/class=name`: the edits of its specification and its own.
    devices: BTreeMap<String, (PathBuf, Edits, Edits)>,
    /// What could not be read or is described twice.
    pub(crate) warnings: Vec<String>,
}

impl Registry {
    /// Reads all specifications; those of later directories replace those of earlier ones.
    pub(crate) fn read(directories: &[PathBuf]) -> Self {
        let mut registry = Self::default();
        for directory in directories {
            let mut found = Self::default();
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            paths.sort();
            let mut conflicts = BTreeSet::new();
            for path in paths {
                if let Err(reason) = found.add(&path, &mut conflicts) {
                    let text = format!(
                        "CDI: Error associated with spec file {}: {reason}",
                        path.display()
                    );
                    registry.warnings.push(text);
                }
            }
            found.devices.retain(|name, _| !conflicts.contains(name));
            registry.devices.append(&mut found.devices);
        }
        registry
    }

    /// Takes a file's devices. A name of `conflicts` is nobody's in the end, however many have it.
    fn add(
        &mut self,
        path: &Path,
        conflicts: &mut BTreeSet<String>,
    ) -> std::result::Result<(), String> {
        let extension = path.extension().and_then(|e| e.to_str());
        if !matches!(extension, Some("json" | "yaml" | "yml")) {
            return Ok(());
        }
        let text = text(path).map_err(|error| error.to_string())?;
        let file = parse(&text, extension == Some("json"))?;
        let mut told = Ok(());
        for device in file.devices {
            let name = format!("{}={}", file.kind, device.name);
            let known = (
                path.to_owned(),
                file.container_edits.clone(),
                device.container_edits,
            );
            if let Some((other, ..)) = self.devices.insert(name.clone(), known) {
                let other = other.display();
                told = Err(format!("conflicting device {name:?}, also of {other}"));
                conflicts.insert(name);
            }
        }
        told
    }

    /// Names of all devices.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.devices.keys().map(String::as_str)
    }

    /// The devices that requests stand for.
    ///
    /// # Errors
    /// Invalid parameter for a request that no device can meet.
    fn wanted(&self, requests: &[DeviceRequest]) -> Result<Vec<String>> {
        let mut wanted = Vec::new();
        for request in requests {
            let ids = request.device_ids.as_deref().unwrap_or_default();
            if request.driver == "cdi" {
                if request.count != 0 {
                    return Err(Error::invalid("unexpected count in CDI device request"));
                }
                if request.options.as_ref().is_some_and(|all| !all.is_empty()) {
                    return Err(Error::invalid("unexpected options in CDI device request"));
                }
                wanted.extend_from_slice(ids);
                continue;
            }
            let kind = self.gpus(request)?;
            match (request.count, ids) {
                (0, ids) => wanted.extend(ids.iter().map(|id| format!("{kind}={id}"))),
                (_, [_, ..]) => {
                    return Err(Error::invalid(
                        "cannot set both Count and DeviceIDs on device request",
                    ));
                }
                (..0, []) => wanted.push(format!("{kind}=all")),
                // One more than there are is as missing as any number of them.
                (1.., []) => wanted.extend(
                    (0..request.count)
                        .take(self.devices.len() + 1)
                        .map(|n| format!("{kind}={n}")),
                ),
            }
        }
        Ok(wanted)
    }

    /// The kind of device of a request for GPUs.
    fn gpus(&self, request: &DeviceRequest) -> Result<&'static str> {
        let capabilities = request.capabilities.as_deref().unwrap_or_default();
        let asks = capabilities
            .iter()
            .any(|all| all.iter().any(|word| word == "gpu"));
        let has = |kind: &str| {
            let prefix = format!("{kind}=");
            self.names().any(|name| name.starts_with(&prefix))
        };
        let kind = GPUS.iter().find(|(driver, kind)| {
            (request.driver.is_empty() && asks || request.driver == *driver) && has(kind)
        });
        kind.map(|(_, kind)| *kind).ok_or_else(|| {
            let sets: Vec<String> = capabilities
                .iter()
                .map(|all| format!("[{}]", all.join(" ")))
                .collect();
            Error::invalid(format!(
                "could not select device driver {:?} with capabilities: [{}]",
                request.driver,
                sets.join(" ")
            ))
        })
    }

    /// Puts what requests stand for into a specification; answers groups that the process needs.
    ///
    /// # Errors
    /// Invalid parameter when it cannot be.
    pub(crate) fn inject(
        &self,
        spec: &mut Spec,
        requests: &[DeviceRequest],
    ) -> Result<Vec<String>> {
        let names = self.wanted(requests)?;
        let missing: Vec<&str> = names
            .iter()
            .map(String::as_str)
            .filter(|name| !self.devices.contains_key(*name))
            .collect();
        if !missing.is_empty() {
            return Err(Error::system(format!(
                "CDI device injection failed: unresolvable CDI devices {}",
                missing.join(", ")
            )));
        }
        let (mut groups, mut seen) = (Vec::new(), Vec::new());
        for (path, common, own) in names.iter().filter_map(|name| self.devices.get(name)) {
            // What devices of one file have in common is done once.
            if !seen.contains(&path) {
                seen.push(path);
                apply(spec, common, &mut groups)?;
            }
            apply(spec, own, &mut groups)?;
        }
        Ok(groups)
    }
}

/// A file's text. What is no file (a pipe that nobody writes to) would be waited for.
fn text(path: &Path) -> std::io::Result<String> {
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = std::fs::File::options()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)?;
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    if facts.len() > LARGEST {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text)?;
    Ok(text)
}

fn parse(text: &str, json: bool) -> std::result::Result<File, String> {
    let file: File = if json {
        serde_json::from_str(text).map_err(|error| error.to_string())?
    } else {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())?
    };
    let word = |text: &str, more: &[u8]| {
        let fine = |b: u8| b.is_ascii_alphanumeric() || more.contains(&b);
        text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.bytes().all(fine)
    };
    let kind = file.kind.split_once('/');
    if !kind.is_some_and(|(vendor, class)| word(vendor, b"_-.") && word(class, b"_-")) {
        return Err(format!("invalid kind {:?}", file.kind));
    }
    match file
        .devices
        .iter()
        .find(|device| !word(&device.name, b"_-.:"))
    {
        Some(device) => Err(format!("invalid device name {:?}", device.name)),
        None => Ok(file),
    }
}

fn apply(spec: &mut Spec, edits: &Edits, groups: &mut Vec<String>) -> Result<()> {
    if let Some(process) = &mut spec.process {
        for entry in &edits.env {
            let name = entry.split('=').next();
            process.env.retain(|old| old.split('=').next() != name);
            process.env.push(entry.clone());
        }
    }
    let linux = spec.linux.get_or_insert_default();
    for node in &edits.device_nodes {
        let (device, rule) = device(node)?;
        linux.devices.retain(|old| old.path != device.path);
        linux.devices.push(device);
        linux.resources.get_or_insert_default().devices.push(rule);
    }
    for place in &edits.mounts {
        spec.mounts
            .retain(|old| old.destination != place.container_path);
        spec.mounts.push(Mount {
            destination: place.container_path.clone(),
            kind: match place.kind.as_str() {
                "" => "bind".into(),
                own => own.into(),
            },
            source: place.host_path.clone(),
            options: match place.options.as_slice() {
                [] => vec!["rbind".into(), "rprivate".into()],
                own => own.to_vec(),
            },
            ..Mount::default()
        });
    }
    for hook in &edits.hooks {
        let hooks = spec.hooks.get_or_insert_default();
        stage(hooks, &hook.hook_name)?.push(Hook {
            path: hook.path.clone(),
            args: hook.args.clone(),
            env: hook.env.clone(),
            timeout: hook.timeout,
        });
    }
    groups.extend(
        edits
            .additional_gids
            .iter()
            .filter(|gid| **gid != 0)
            .map(u32::to_string),
    );
    Ok(())
}

fn stage<'a>(hooks: &'a mut Hooks, name: &str) -> Result<&'a mut Vec<Hook>> {
    Ok(match name {
        "prestart" => &mut hooks.prestart,
        "createRuntime" => &mut hooks.create_runtime,
        "createContainer" => &mut hooks.create_container,
        "startContainer" => &mut hooks.start_container,
        "poststart" => &mut hooks.poststart,
        "poststop" => &mut hooks.poststop,
        _ => {
            return Err(Error::system(format!(
                "CDI device injection failed: unknown hook name {name:?}"
            )));
        }
    })
}

fn device(node: &Node) -> Result<(Device, DeviceRule)> {
    let on_host = match node.host_path.as_str() {
        "" => node.path.as_str(),
        own => own,
    };
    let device = if node.kind.is_empty() || (node.major == 0 && node.kind != "p") {
        let found = devices::at(Path::new(on_host), Path::new(&node.path));
        let mut found = found.ok_or_else(|| {
            Error::system(format!(
                "CDI device injection failed: failed to stat CDI host device {on_host:?}: no such \
                 device node"
            ))
        })?;
        found.file_mode = node.file_mode.or(found.file_mode);
        found.uid = node.uid.or(found.uid);
        found.gid = node.gid.or(found.gid);
        found
    } else {
        Device {
            kind: node.kind.clone(),
            path: node.path.clone(),
            major: node.major,
            minor: node.minor,
            file_mode: node.file_mode,
            uid: node.uid,
            gid: node.gid,
        }
    };
    let rule = DeviceRule {
        allow: true,
        kind: device.kind.clone(),
        major: Some(device.major),
        minor: Some(device.minor),
        access: match node.permissions.as_str() {
            "" => "rwm".into(),
            own => own.into(),
        },
    };
    Ok((device, rule))
}

#[cfg(test)]
mod tests {
    use dockerapi::DeviceRequest;
    use oci::runtime::{Process, Spec};

    use super::Registry;

    const YAML: &str = r#"
cdiVersion: "0.6.0"
kind: nvidia.com/gpu
containerEdits:
  env: ["DRIVER=1"]
devices:
- name: "0"
  containerEdits:
    env: [GPU=zero]
    deviceNodes: [{path: /dev/gpu0, type: c, major: 1, minor: 3, permissions: rw}]
- name: all
  containerEdits:
    additionalGids: [44]
    mounts: [{hostPath: /usr/lib, containerPath: /gpu/lib, options: [ro, bind]}]
    hooks: [{hookName: createContainer, path: /bin/true}]
"#;

    fn registry() -> (tempfile::TempDir, Registry) {
        let dir = tempfile::tempdir().expect("directory");
        let write =
            |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("file");
        write("nvidia.yaml", YAML);
        write(
            "other.json",
            r#"{"kind":"x.org/thing","devices":[{"name":"a"},{"name":"a"},{"name":"a"}]}"#,
        );
        write("bad.json", "{");
        write("kind.json", r#"{"kind":"nothing","devices":[]}"#);
        write("note.txt", "no specification");
        let pipe = dir.path().join("pipe.json");
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0)
            .expect("pipe");
        let registry = Registry::read(&[dir.path().to_owned(), "/nonexistent".into()]);
        (dir, registry)
    }

    fn request(driver: &str, count: i64, ids: &[&str], capability: &str) -> DeviceRequest {
        DeviceRequest {
            driver: driver.into(),
            count,
            device_ids: Some(ids.iter().map(|&id| id.to_owned()).collect()),
            capabilities: Some(vec![vec![capability.into()]]),
            options: None,
        }
    }

    #[test]
    fn files_are_read() {
        let (_dir, registry) = registry();
        let names: Vec<&str> = registry.names().collect();
        assert_eq!(names, ["nvidia.com/gpu=0", "nvidia.com/gpu=all"]);
        assert_eq!(registry.warnings.len(), 4, "{:?}", registry.warnings);
    }

    #[test]
    fn requests_choose() {
        let (_dir, registry) = registry();
        let wanted = |request| registry.wanted(&[request]).map(|all| all.join(" "));
        assert_eq!(
            wanted(request("", -1, &[], "gpu")).expect("all"),
            "nvidia.com/gpu=all"
        );
        assert_eq!(
            wanted(request("nvidia", 2, &[], "")).expect("two"),
            "nvidia.com/gpu=0 nvidia.com/gpu=1"
        );
        assert_eq!(
            wanted(request("", 0, &["7"], "gpu")).expect("one"),
            "nvidia.com/gpu=7"
        );
        assert_eq!(
            wanted(request("cdi", 0, &["x.org/y=z"], "")).expect("named"),
            "x.org/y=z"
        );
        assert_eq!(
            wanted(request("", 1, &[], "tpu"))
                .expect_err("no such")
                .message,
            "could not select device driver \"\" with capabilities: [[tpu]]"
        );
        assert!(wanted(request("cdi", 1, &[], "")).is_err());
        assert!(wanted(request("nvidia", 1, &["7"], "")).is_err());
        assert_eq!(
            wanted(request("nvidia", -2, &[], "")).expect("all"),
            "nvidia.com/gpu=all"
        );
        let absurd = registry.wanted(&[request("nvidia", i64::MAX, &[], "")]);
        assert_eq!(absurd.expect("some are missing").len(), 3);
    }

    #[test]
    fn edits_are_made() {
        let (_dir, registry) = registry();
        let mut spec = Spec {
            process: Some(Process {
                env: vec!["GPU=none".into(), "A=b".into()],
                ..Process::default()
            }),
            ..Spec::default()
        };
        let ids = ["nvidia.com/gpu=0", "nvidia.com/gpu=all"];
        let groups = registry
            .inject(&mut spec, &[request("cdi", 0, &ids, "")])
            .expect("injected");
        assert_eq!(groups, ["44"]);
        assert_eq!(
            spec.process.expect("process").env,
            ["A=b", "DRIVER=1", "GPU=zero"]
        );
        let linux = spec.linux.expect("linux");
        assert_eq!(
            (linux.devices[0].major, linux.devices[0].path.as_str()),
            (1, "/dev/gpu0")
        );
        assert_eq!(linux.resources.expect("limits").devices[0].access, "rw");
        assert_eq!(spec.mounts[0].options, ["ro", "bind"]);
        assert_eq!(
            spec.hooks.expect("hooks").create_container[0].path,
            "/bin/true"
        );
        let error = registry.inject(&mut Spec::default(), &[request("cdi", 0, &["a.b/c=d"], "")]);
        assert_eq!(
            error.expect_err("unknown").message,
            "CDI device injection failed: unresolvable CDI devices a.b/c=d"
        );
    }
}
