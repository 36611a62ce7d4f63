//! What an engine could leave on the host, looked for when a lab ends.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Lab;
use crate::lab::wait_for;

/// Files of containers that are gone; asked while the engine still runs, since it unlinks in the
/// background.
pub(crate) fn files(lab: &Lab) -> Vec<String> {
    let empty =
        |dir: &Path| std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none());
    let dirs = [
        lab.data_root().join("containers"),
        lab.data_root().join("trash"),
        lab.exec_root().join("containers"),
        lab.exec_root().join("files"),
    ];
    let mut found = Vec::new();
    for dir in dirs.map(|dir| lab.seen(&dir)).iter().filter(|d| d.exists()) {
        if !wait_for(Duration::from_secs(10), || empty(dir)) {
            let entries: Vec<String> = std::fs::read_dir(dir)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path().display().to_string())
                .collect();
            found.push(format!("files: {entries:?}"));
        }
    }
    found
}

/// Everything else, once the engine is down.
pub(crate) fn host(lab: &Lab, mounts_before: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let gone = wait_for(Duration::from_secs(10), || processes(lab).is_empty());
    if !gone {
        found.extend(
            processes(lab)
                .into_iter()
                .map(|process| format!("process: {process}")),
        );
    }
    let after = lab.mounts();
    if after != mounts_before {
        let new: Vec<&String> = after
            .iter()
            .filter(|mount| !mounts_before.contains(mount))
            .collect();
        found.push(format!("mounts: {new:?}"));
    }
    let quiet = wait_for(Duration::from_secs(10), || links(lab).is_empty());
    if !quiet {
        found.push(format!("links: {:?}", links(lab)));
    }
    let ports = lab.published();
    if !ports.is_empty() {
        found.push(format!("nft elements: {ports:?}"));
    }
    found.extend(cgroups(lab));
    found
}

/// After a test that failed: nobody else would take away what still runs.
pub(crate) fn clear(lab: &Lab) {
    wait_for(Duration::from_secs(10), || {
        let left = processes(lab);
        for process in &left {
            if let Some(pid) = process.split(' ').next().and_then(|pid| pid.parse().ok()) {
                crate::signal(pid, "KILL");
            }
        }
        left.is_empty()
    });
    for parent in parents(lab) {
        for entry in std::fs::read_dir(&parent).into_iter().flatten().flatten() {
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}

/// Processes in the lab's network namespace or cgroup, but for its holder.
fn processes(lab: &Lab) -> Vec<String> {
    let net = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let own = net(&lab.holder_pid().to_string());
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if !pid.bytes().all(|b| b.is_ascii_digit()) || pid == lab.holder_pid().to_string() {
            continue;
        }
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        if (own.is_some() && net(&pid) == own) || groups.contains(&format!("{}/", lab.cgroup)) {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            found.push(format!("{pid} {}", line.replace('\0', " ")));
        }
    }
    found
}

/// Links of the lab's namespace that are neither `lo` nor the bridge itself.
fn links(lab: &Lab) -> Vec<String> {
    let text = lab.inside(&["ip", "-o", "link"]).out;
    text.lines()
        .filter_map(|line| line.split(": ").nth(1))
        .filter(|name| {
            let name = name.split('@').next().unwrap_or_default();
            ![
                "lo", "docker0", "ifb0", "ifb1", "tunl0", "sit0", "ip6tnl0", "dummy0",
            ]
            .contains(&name)
        })
        .map(str::to_owned)
        .collect()
}

/// The lab's group in each hierarchy.
pub(crate) fn parents(lab: &Lab) -> Vec<PathBuf> {
    // Version 2 alone is mounted there; otherwise it and each of version 1 have a directory.
    let root = Path::new("/sys/fs/cgroup");
    let below = std::fs::read_dir(root).into_iter().flatten().flatten();
    let roots = below.map(|entry| entry.path()).chain([root.to_owned()]);
    roots
        .map(|root| root.join(lab.cgroup.trim_start_matches('/')))
        .filter(|parent| parent.is_dir())
        .collect()
}

/// Groups below the lab's parent; the parent itself is the harness's to remove.
fn cgroups(lab: &Lab) -> Vec<String> {
    let mut found = Vec::new();
    for parent in parents(lab) {
        for entry in std::fs::read_dir(&parent).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                found.push(format!("cgroup: {}", entry.path().display()));
            }
        }
        let _ = std::fs::remove_dir(&parent);
    }
    found
}
