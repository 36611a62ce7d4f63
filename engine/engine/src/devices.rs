//! Device nodes of the host: those of `--device`, and all of them for `--privileged`.

use std::path::{Path, PathBuf};

use dockerapi::DeviceMapping;
use oci::runtime::{Device, Mount, Spec};
use rustix::fs::{FileType, Stat, major, minor};

use crate::{Error, Result};

/// The nodes that mappings name; a directory stands for the nodes below it.
pub(crate) fn asked(mappings: &[DeviceMapping]) -> Result<Vec<Device>> {
    let mut devices = Vec::new();
    for mapping in mappings {
        let host = &mapping.path_on_host;
        let fine = |b: u8| b"rwm".contains(&b);
        if !mapping.cgroup_permissions.bytes().all(fine) {
            let wrong = &mapping.cgroup_permissions;
            return Err(Error::invalid(format!("invalid device mode: {wrong}")));
        }
        let inside = match mapping.path_in_container.as_str() {
            "" => host,
            own => own,
        };
        let failed = |reason: String| {
            Error::system(format!(
                "error gathering device information while adding custom device \"{host}\": {reason}"
            ))
        };
        let real =
            std::fs::canonicalize(host).map_err(|_| failed("no such file or directory".into()))?;
        let facts = rustix::fs::stat(&real).map_err(|error| failed(error.to_string()))?;
        if FileType::from_raw_mode(facts.st_mode) == FileType::Directory {
            let below = walk(&real).map_err(|error| failed(error.to_string()))?;
            devices.extend(below.into_iter().filter_map(|(path, facts)| {
                let rest = path.strip_prefix(&real).ok()?.to_path_buf();
                node(&Path::new(inside).join(rest), &facts)
            }));
        } else {
            let device = node(Path::new(inside), &facts)
                .ok_or_else(|| failed("not a device node".into()))?;
            devices.push(device);
        }
    }
    Ok(devices)
}

/// For a container in a user namespace, where no node can be made: the runtime binds the host's of
/// the same name, and those that are to have another name become bind mounts here.
pub(crate) fn bind_renamed(spec: &mut Spec, mappings: &[DeviceMapping]) {
    let Some(linux) = &mut spec.linux else { return };
    let mounts = &mut spec.mounts;
    linux.devices.retain(|device| {
        let on_host = mappings.iter().find_map(|mapping| {
            let inside = match mapping.path_in_container.as_str() {
                "" => &mapping.path_on_host,
                own => own,
            };
            let rest = Path::new(&device.path).strip_prefix(inside).ok()?;
            let host = Path::new(&mapping.path_on_host);
            Some(match rest.as_os_str().is_empty() {
                true => host.to_path_buf(),
                false => host.join(rest),
            })
        });
        let Some(on_host) = on_host.filter(|host| host != Path::new(&device.path)) else {
            return true;
        };
        mounts.push(Mount {
            destination: device.path.clone(),
            kind: "bind".into(),
            source: on_host.to_string_lossy().into_owned(),
            options: ["bind", "nosuid", "noexec"].map(str::to_owned).into(),
            ..Mount::default()
        });
        false
    });
}

/// Every node under /dev, but for terminals' and shared memory's own file systems.
pub(crate) fn all() -> Result<Vec<Device>> {
    let nodes = walk(Path::new("/dev")).map_err(|error| Error::system(format!("/dev: {error}")))?;
    Ok(nodes
        .into_iter()
        .filter_map(|(path, facts)| node(&path, &facts))
        .collect())
}

fn walk(root: &Path) -> std::io::Result<Vec<(PathBuf, Stat)>> {
    const SKIPPED: [&str; 9] = [
        "pts",
        "shm",
        "fd",
        "mqueue",
        ".lxc",
        ".lxd-mounts",
        ".udev",
        "console",
        "ptmx",
    ];
    let mut nodes = Vec::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            if SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
                continue;
            }
            let Ok(facts) = rustix::fs::lstat(entry.path()) else {
                continue;
            };
            match FileType::from_raw_mode(facts.st_mode) {
                FileType::Directory => pending.push(entry.path()),
                FileType::CharacterDevice | FileType::BlockDevice => {
                    nodes.push((entry.path(), facts));
                }
                _ => {}
            }
        }
    }
    Ok(nodes)
}

/// The node at a path of the host, under another path of the container.
pub(crate) fn at(host: &Path, inside: &Path) -> Option<Device> {
    node(inside, &rustix::fs::stat(host).ok()?)
}

fn node(path: &Path, facts: &Stat) -> Option<Device> {
    let kind = match FileType::from_raw_mode(facts.st_mode) {
        FileType::CharacterDevice => "c",
        FileType::BlockDevice => "b",
        _ => return None,
    };
    Some(Device {
        kind: kind.into(),
        path: path.to_string_lossy().into_owned(),
        major: major(facts.st_rdev).into(),
        minor: minor(facts.st_rdev).into(),
        file_mode: Some(facts.st_mode & 0o777),
        uid: Some(facts.st_uid),
        gid: Some(facts.st_gid),
    })
}
