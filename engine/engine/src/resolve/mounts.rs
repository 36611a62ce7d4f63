//! The mounts of a container: the system's, the three files under /etc, and the user's, ordered so
//! that a parent comes before what is mounted below it.

use oci::runtime::Mount;

use super::Context;
use crate::Result;
use crate::record::{Mounted, Record};

pub(super) fn mounts(record: &Record, context: &Context<'_>) -> Result<Vec<Mount>> {
    let user = &record.mounts;
    let taken = |destination: &str| user.iter().any(|m| m.point.destination == destination);
    let mut mounts: Vec<Mount> = system(record, context)
        .into_iter()
        .filter(|mount| !taken(&mount.destination))
        .collect();
    mounts.extend(
        etc(context)
            .into_iter()
            .filter(|mount| !taken(&mount.destination)),
    );
    mounts.extend(user.iter().map(from_record));
    // Stable: at equal depth the order above stays.
    let depth = |path: &str| path.split('/').filter(|part| !part.is_empty()).count();
    mounts.sort_by_key(|mount| depth(&mount.destination));
    Ok(mounts)
}

fn system(record: &Record, context: &Context<'_>) -> Vec<Mount> {
    let host = &record.host;
    let writable = host.privileged;
    let access = |options: &[&str]| {
        let mut all: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        all.push(if writable { "rw" } else { "ro" }.into());
        all
    };
    let mount = |destination: &str, kind: &str, source: &str, options: Vec<String>| Mount {
        destination: destination.into(),
        kind: kind.into(),
        source: source.into(),
        options,
        ..Mount::default()
    };
    let words = |options: &[&str]| options.iter().map(|&o| o.to_owned()).collect::<Vec<_>>();
    let mut mounts = vec![
        mount(
            "/proc",
            "proc",
            "proc",
            words(&["nosuid", "noexec", "nodev"]),
        ),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            words(&["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            words(&[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ]),
        ),
        mount(
            "/sys",
            "sysfs",
            "sysfs",
            access(&["nosuid", "noexec", "nodev"]),
        ),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            access(&["nosuid", "noexec", "nodev"]),
        ),
    ];
    // A new mount of it shows the queues of the namespace that it is made in, which must be one's own.
    if record.ids.is_some() && host.ipc_mode == "host" {
        mounts.push(mount(
            "/dev/mqueue",
            "bind",
            "/dev/mqueue",
            words(&["rbind"]),
        ));
    } else {
        mounts.push(mount(
            "/dev/mqueue",
            "mqueue",
            "mqueue",
            words(&["nosuid", "noexec", "nodev"]),
        ));
    }
    if host.ipc_mode == "host" {
        mounts.push(mount("/dev/shm", "bind", "/dev/shm", words(&["rbind"])));
        return mounts;
    }
    match context.shm {
        Some(shared) => mounts.push(mount(
            "/dev/shm",
            "bind",
            shared,
            words(&["rbind", "rprivate"]),
        )),
        None if host.ipc_mode == "none" => {}
        None => {
            let mut options = words(&["nosuid", "noexec", "nodev", "mode=1777"]);
            options.push(format!("size={}", host.shm_size));
            mounts.push(mount("/dev/shm", "tmpfs", "shm", options));
        }
    }
    mounts
}

fn etc(context: &Context<'_>) -> Vec<Mount> {
    let files = context.files;
    [
        ("/etc/resolv.conf", files.resolv_conf),
        ("/etc/hostname", files.hostname),
        ("/etc/hosts", files.hosts),
    ]
    .into_iter()
    .filter(|(_, source)| !source.is_empty())
    .map(|(destination, source)| Mount {
        destination: destination.into(),
        kind: "bind".into(),
        source: source.into(),
        options: vec!["rbind".into(), "rprivate".into()],
        ..Mount::default()
    })
    .collect()
}

fn from_record(mounted: &Mounted) -> Mount {
    let point = &mounted.point;
    let access = if point.rw { "rw" } else { "ro" };
    if point.kind == "tmpfs" {
        let mut options: Vec<String> = ["nosuid", "nodev", "noexec"]
            .iter()
            .map(|&option| option.to_owned())
            .collect();
        options.extend(mounted.options.iter().cloned());
        if !point.rw {
            options.push("ro".into());
        }
        return Mount {
            destination: point.destination.clone(),
            kind: "tmpfs".into(),
            source: "tmpfs".into(),
            options,
            ..Mount::default()
        };
    }
    let mut options = vec![
        if mounted.non_recursive {
            "bind"
        } else {
            "rbind"
        }
        .to_owned(),
    ];
    options.push(if point.rw || !mounted.options.iter().any(|o| o == "rro") {
        access.to_owned()
    } else {
        "rro".to_owned()
    });
    options.push(match point.propagation.as_str() {
        "" => "rprivate".to_owned(),
        own => own.to_owned(),
    });
    let source = if mounted.subpath.is_empty() || point.kind == "image" {
        point.source.clone()
    } else {
        format!("{}/{}", point.source, mounted.subpath)
    };
    Mount {
        destination: point.destination.clone(),
        kind: "bind".into(),
        source,
        options,
        ..Mount::default()
    }
}
