//! `spec`: a configuration to begin with.

use std::io::Write;
use std::path::Path;

use oci::runtime::Spec;
use rustix::fs::{Mode, OFlags};
use serde_json::{Value, json};

use super::Global;
use super::args::Args;
use super::bundle::CONFIG;
use super::fail::{During, Fail, Result};

pub(crate) fn spec(_: &Global, args: &Args) -> Result<u8> {
    let dir = Path::new(args.text("bundle").unwrap_or("."));
    let path = dir.join(CONFIG);
    let mut value = example();
    if args.has("rootless") {
        without_privileges(&mut value);
    }
    // Through the type, so that what is written is what is read back.
    let spec: Spec = serde_json::from_value(value).map_err(|e| Fail::Said(e.to_string()))?;
    let text = indented(&spec)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(&path, flags, Mode::from_raw_mode(0o666)) {
        Err(sys::Errno::EXIST) => {
            return Err(Fail::Said(format!("File {CONFIG} exists. Remove it first")));
        }
        other => other.during("open", path.display())?,
    };
    std::fs::File::from(file)
        .write_all(&text)
        .during("write", path.display())?;
    Ok(0)
}

fn indented(spec: &Spec) -> Result<Vec<u8>> {
    use serde::Serialize;
    let mut text = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut writer = serde_json::Serializer::with_formatter(&mut text, format);
    spec.serialize(&mut writer)
        .map_err(|e| Fail::Said(e.to_string()))?;
    Ok(text)
}

fn example() -> Value {
    let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": source, "options": options});
    let mut namespaces = vec!["pid", "network", "ipc", "uts", "mount"];
    if cgroup::Layout::detect().is_ok_and(|l| l.version == 2) {
        namespaces.push("cgroup");
    }
    let namespaces: Vec<Value> = namespaces.iter().map(|k| json!({"type": k})).collect();
    json!({
        "ociVersion": super::SPEC_VERSION,
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm",
            ],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities,
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "corten",
        "mounts": [
            mount("/proc", "proc", "proc", &[]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", "devpts", &[
                "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5",
            ]),
            mount("/dev/shm", "tmpfs", "shm", &[
                "nosuid", "noexec", "nodev", "mode=1777", "size=65536k",
            ]),
            mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", &[
                "nosuid", "noexec", "nodev", "relatime", "ro",
            ]),
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": namespaces,
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware",
                "/proc/scsi",
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
            ],
        },
    })
}

/// What a user without privileges can have: a user namespace with one id, the host's network, no
/// limits, nothing that belongs to other ids.
fn without_privileges(spec: &mut Value) {
    let linux = &mut spec["linux"];
    if let Some(namespaces) = linux["namespaces"].as_array_mut() {
        namespaces.retain(|n| n["type"] != "network");
        namespaces.push(json!({"type": "user"}));
    }
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    linux["uidMappings"] = json!([{"containerID": 0, "hostID": uid, "size": 1}]);
    linux["gidMappings"] = json!([{"containerID": 0, "hostID": gid, "size": 1}]);
    linux["resources"] = json!({});
    let Some(mounts) = spec["mounts"].as_array_mut() else {
        return;
    };
    for mount in mounts {
        if mount["destination"] == "/sys" {
            *mount = json!({
                "destination": "/sys",
                "type": "none",
                "source": "/sys",
                "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
            });
        } else if let Some(options) = mount["options"].as_array_mut() {
            options.retain(|o| {
                let text = o.as_str().unwrap_or_default();
                !text.starts_with("gid=") && !text.starts_with("uid=")
            });
        }
    }
}
