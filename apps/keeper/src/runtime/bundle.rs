//! A bundle's configuration, read and checked before anything is made of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cgroup::{Cgroup, Layout};
use oci::runtime::{DeviceRule, Process, Resources, Spec};

use super::fail::{During, Fail, Result};
use super::log::Log;

/// The configuration's file name.
pub(crate) const CONFIG: &str = "config.json";

/// Reads a configuration.
pub(crate) fn load(path: &Path) -> Result<Spec> {
    let bytes = match std::fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Fail::Said(format!(
                "JSON specification file {} not found",
                path.display()
            )));
        }
        other => other.during("open", path.display())?,
    };
    // The second reading names the key that is wrong and forgives nulls; it takes several times
    // as long.
    let spec = match serde_json::from_slice::<Spec>(&bytes) {
        Ok(spec) => spec,
        Err(_) => {
            Spec::from_json(&bytes).map_err(|e| Fail::Said(format!("{}: {e}", path.display())))?
        }
    };
    version(&spec.oci_version)?;
    Ok(spec)
}

/// config.md: a version of the specification in SemVer form; this runtime implements 1.x.
fn version(text: &str) -> Result<()> {
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let mut parts = core.split('.').map(str::parse::<u64>);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Ok(1)), Some(Ok(_)), Some(Ok(_)), None) => Ok(()),
        _ => Err(Fail::Said(format!(
            "unknown version specified: ociVersion {text:?}"
        ))),
    }
}

/// What runc checks of a process before anything else.
pub(crate) fn check_process(process: Option<&Process>) -> Result<&Process> {
    let Some(process) = process else {
        return Err(Fail::said("process property must not be empty"));
    };
    if process.cwd.is_empty() {
        return Err(Fail::said("Cwd property must not be empty"));
    }
    if !process.cwd.starts_with('/') {
        return Err(Fail::said("Cwd must be an absolute path"));
    }
    if process.args.is_empty() {
        return Err(Fail::said("args must not be empty"));
    }
    Ok(process)
}

/// Takes out capabilities that cannot be given, which the specification wants logged and no more
/// (config.md, "capabilities"): unknown ones, those not held here, and ambient ones that are not
/// inheritable too (capabilities(7)).
pub(crate) fn settle_capabilities(process: &mut Option<Process>, log: &Log) {
    let mut spec = Spec {
        process: process.take(),
        ..Spec::default()
    };
    for line in runtime::grantable(&mut spec) {
        log.warn(&line);
    }
    *process = spec.process;
    if let Some(sets) = process.as_mut().and_then(|p| p.capabilities.as_mut()) {
        let (inheritable, permitted) = (&sets.inheritable, &sets.permitted);
        sets.ambient.retain(|name| {
            let can = inheritable.contains(name) && permitted.contains(name);
            if !can {
                log.warn(&format!(
                    "can't raise ambient capability {name}: operation not permitted"
                ));
            }
            can
        });
    }
}

/// What sched_setattr(2) would refuse with a bare EPERM.
pub(crate) fn check_scheduler(spec: &Spec) -> Result<()> {
    let scheduled = spec.process.as_ref().is_some_and(|p| p.scheduler.is_some());
    let resources = spec.linux.as_ref().and_then(|l| l.resources.as_ref());
    let cpu = resources.and_then(|r| r.cpu.as_ref());
    match scheduled && cpu.is_some_and(|c| !c.cpus.is_empty()) {
        true => Err(Fail::said(
            "process scheduler can't be used together with AllowedCPUs",
        )),
        false => Ok(()),
    }
}

/// The root file system's absolute path.
pub(crate) fn rootfs(spec: &Spec, bundle: &Path) -> Result<PathBuf> {
    let Some(root) = &spec.root else {
        return Err(Fail::said("root must be specified"));
    };
    let path = bundle.join(&root.path);
    let path = std::fs::canonicalize(&path).map_err(|e| {
        let text = e.to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        let text = text.to_lowercase();
        Fail::Said(format!("invalid rootfs: stat {}: {text}", path.display()))
    })?;
    match path.is_dir() {
        true => Ok(path),
        false => Err(Fail::Said(format!(
            "invalid rootfs: {} is not a directory",
            path.display()
        ))),
    }
}

/// A namespace of this kind is made or joined.
pub(crate) fn has_namespace(spec: &Spec, kind: &str) -> bool {
    let mut namespaces = spec.linux.iter().flat_map(|l| &l.namespaces);
    namespaces.any(|n| n.kind == kind)
}

/// crun's annotation, which podman writes for `--group-add keep-groups`: of every process of the
/// container.
pub(crate) fn keeps_groups(annotations: &BTreeMap<String, String>) -> bool {
    let wish = annotations.get("run.oci.keep_original_groups");
    wish.is_some_and(|value| value == "1")
}

/// A namespace of this kind is made for the container alone.
pub(crate) fn makes_namespace(spec: &Spec, kind: &str) -> bool {
    let linux = spec.linux.iter();
    let mut namespaces = linux.flat_map(|l| &l.namespaces);
    namespaces.any(|n| n.kind == kind && n.path.is_empty())
}

/// Where the container's cgroup is to be in each hierarchy, relative to its root (config-linux.md,
/// "Cgroups Path"): absolute paths as they are, others, and by default the id, from the cgroup of
/// this process.
pub(crate) fn cgroup_paths(spec: &Spec, id: &str, layout: &Layout) -> Result<Vec<String>> {
    let wanted = spec.linux.as_ref().map_or("", |l| l.cgroups_path.as_str());
    let wanted = if wanted.is_empty() { id } else { wanted };
    let clean = cleaned(wanted);
    if wanted.starts_with('/') {
        return Ok(vec![clean; layout.hierarchies.len()]);
    }
    let own = std::fs::read_to_string("/proc/self/cgroup").during("read", "/proc/self/cgroup")?;
    let hierarchies = layout.hierarchies.iter();
    let path = |h| own_path(&own, layout.version, h).join(&clean);
    let text = |p: PathBuf| p.to_string_lossy().into_owned();
    Ok(hierarchies.map(path).map(text).collect())
}

/// The name that the v2 tree of a hybrid host has among the controllers of v1.
pub(crate) const UNIFIED: &str = "unified";

/// The same as host paths by controller, for remembering.
pub(crate) fn cgroup_directories(layout: &Layout, relative: &[String]) -> BTreeMap<String, String> {
    let mut paths = BTreeMap::new();
    for (hierarchy, path) in layout.hierarchies.iter().zip(relative) {
        let full = hierarchy.mountpoint.join(path);
        let full = full.to_string_lossy().into_owned();
        match layout.version {
            1 if hierarchy.controllers.is_empty() => drop(paths.insert(UNIFIED.into(), full)),
            1 => {
                for controller in &hierarchy.controllers {
                    paths.insert(controller.clone(), full.clone());
                }
            }
            _ => drop(paths.insert(String::new(), full)),
        }
    }
    paths
}

/// This process's own place in a hierarchy, relative to its root. On v2 the place above: a cgroup
/// with processes cannot hand controllers on to children.
fn own_path(own: &str, version: u8, hierarchy: &cgroup::Hierarchy) -> PathBuf {
    for line in own.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let path = Path::new(path.trim_start_matches('/'));
        if version == 2 && controllers.is_empty() {
            return path.parent().unwrap_or(Path::new("")).to_owned();
        }
        let mut names = controllers.split(',');
        let unified = controllers.is_empty() && hierarchy.controllers.is_empty();
        if version == 1 && (unified || names.any(|c| hierarchy.has(c))) {
            return path.to_owned();
        }
    }
    PathBuf::new()
}

/// Without `.` and `..`, relative.
fn cleaned(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Refuses a cgroup that somebody else lives in, or that would hold every process still.
pub(crate) fn check_unused(paths: &BTreeMap<String, String>) -> Result<()> {
    let Some(cgroup) = super::state::open_cgroup(paths, Path::to_owned)? else {
        return Ok(());
    };
    check_idle(&cgroup)
}

/// As [`check_unused`], of one that is open.
pub(crate) fn check_idle(cgroup: &Cgroup) -> Result<()> {
    let pids = cgroup.all_procs()?;
    if !pids.is_empty() {
        return Err(Fail::Said(format!(
            "container's cgroup is not empty: {} process(es) found",
            pids.len()
        )));
    }
    if cgroup.frozen().unwrap_or(false) {
        return Err(Fail::said("container's cgroup unexpectedly frozen"));
    }
    Ok(())
}

/// The limits to apply: the configuration's, its device rules between "nothing" and what every
/// container needs (config-linux.md, "Default Devices").
pub(crate) fn resources(spec: &Spec) -> cgroup::Resources {
    let mut resources = spec
        .linux
        .as_ref()
        .and_then(|l| l.resources.clone())
        .unwrap_or_default();
    let rule = |allow, kind: &str, major, minor, access: &str| DeviceRule {
        allow,
        kind: kind.into(),
        major,
        minor,
        access: access.into(),
    };
    let mut rules = vec![rule(false, "a", None, None, "rwm")];
    // What denies everything once more changes nothing.
    let denies_all = |r: &DeviceRule| {
        !r.allow && r.major.is_none() && r.minor.is_none() && matches!(r.kind.as_str(), "" | "a")
    };
    rules.extend(resources.devices.drain(..).skip_while(denies_all));
    for kind in ["c", "b"] {
        rules.push(rule(true, kind, None, None, "m"));
    }
    // null, zero, full, random, urandom, tty, ptmx
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)] {
        rules.push(rule(true, "c", Some(major), Some(minor), "rwm"));
    }
    // The container's terminals.
    rules.push(rule(true, "c", Some(136), None, "rwm"));
    resources.devices = rules;
    limits(&resources)
}

/// Who the cgroup is to belong to (config-linux.md, "Cgroup ownership"): whoever the container's
/// first user is on the host, when the container has a user and a cgroup namespace of its own and
/// its view of the cgroup is writable.
pub(crate) fn cgroup_owner(spec: &Spec) -> Option<u32> {
    let linux = spec.linux.as_ref()?;
    let own = |kind: &str| {
        let mut all = linux.namespaces.iter();
        all.any(|n| n.kind == kind && n.path.is_empty())
    };
    let writable = spec.mounts.iter().any(|mount| {
        let mut access = mount.options.iter().rev();
        let last = access.find(|o| matches!(o.as_str(), "ro" | "rw"));
        matches!(mount.kind.as_str(), "cgroup" | "cgroup2")
            && last.is_none_or(|option| option == "rw")
    });
    if !own("user") || !own("cgroup") || !writable {
        return None;
    }
    let user = spec.process.as_ref().map_or(0, |p| p.user.uid);
    let mut maps = linux.uid_mappings.iter();
    maps.find_map(|map| {
        let into = user.checked_sub(map.container_id)?;
        (into < map.size).then(|| map.host_id.saturating_add(into))
    })
}

/// In the cgroup crate's terms.
pub(crate) fn limits(resources: &Resources) -> cgroup::Resources {
    let mut limits = runtime::limits(resources);
    // The container's first process would be one too many for 0; only -1 is unlimited.
    limits.pids = limits.pids.map(|limit| if limit == 0 { 1 } else { limit });
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for good in ["1.0.0", "1.3.0", "1.0.2-dev", "1.0.0-rc5", "1.2.1+x"] {
            assert!(version(good).is_ok(), "{good}");
        }
        for bad in ["", "2.0.0", "0.9.0", "1.0", "1.a.0", "bogus"] {
            assert!(version(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_stay_below_the_root() {
        assert_eq!(cleaned("/a/../../b//./c"), "b/c");
        assert_eq!(cleaned("../x"), "x");
    }

    #[test]
    fn relative_to_ones_own() {
        let hierarchy = |name: &str| cgroup::Hierarchy {
            mountpoint: "/sys/fs/cgroup/x".into(),
            controllers: vec![name.into()],
        };
        let own = "4:memory:/a/b\n1:cpu,cpuacct:/\n0::/v2/leaf\n";
        assert_eq!(own_path(own, 1, &hierarchy("memory")), Path::new("a/b"));
        assert_eq!(own_path(own, 1, &hierarchy("cpuacct")), Path::new(""));
        assert_eq!(own_path(own, 2, &hierarchy("memory")), Path::new("v2"));
        let unified = cgroup::Hierarchy {
            mountpoint: "/sys/fs/cgroup/unified".into(),
            controllers: Vec::new(),
        };
        assert_eq!(own_path(own, 1, &unified), Path::new("v2/leaf"));
    }

    #[test]
    fn device_rules_are_framed() {
        let spec: Spec = serde_json::from_str(
            r#"{"linux":{"resources":{"devices":[
                {"allow":false,"access":"rwm"},
                {"allow":true,"type":"c","major":10,"minor":229,"access":"rw"}]}}}"#,
        )
        .unwrap();
        let rules = resources(&spec).devices;
        assert_eq!(rules.len(), 2 + 2 + 7 + 1);
        assert!(!rules[0].allow && rules[1].major == Some(10));
    }
}
