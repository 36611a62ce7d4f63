//! `checkpoint`: writes a container's processes to files; they end unless they are left running.

use std::io::Write;

use oci::runtime::Spec;

use super::message::{self, Kind, Options};
use super::options::{Wanted, status_file};
use super::{DESCRIPTORS, Worker, explain, features, mounts, version};
use crate::runtime::args::Args;
use crate::runtime::fail::{During, Fail, Result};
use crate::runtime::state::{Container, Status};
use crate::runtime::{Global, bundle, delete, id_of};

const LOG: &str = "dump.log";
/// Since then it freezes by cgroup v2 too.
const FREEZES_V2: u64 = 31_400;
/// Since then pages that are served tell so by a notification.
const TELLS_READY: u64 = 31_500;

/// The command.
pub(crate) fn checkpoint(global: &Global, args: &Args) -> Result<u8> {
    if global.rootless() {
        global
            .log
            .warn("checkpoint is untested with rootless containers");
    }
    let (container, _lock) = Container::load_locked(&global.root, id_of(args))?;
    let status = container.status();
    if matches!(status, Status::Created | Status::Creating | Status::Stopped) {
        return Err(Fail::Said(format!(
            "Container cannot be checkpointed in {} state",
            status.name()
        )));
    }
    let wanted = Wanted::new(args)?;
    let version = version()?;
    check_features(&wanted)?;
    let mut status_fd = match (wanted.lazy_pages, wanted.status_fd) {
        (true, Some(fd)) if version >= TELLS_READY => Some(status_file(fd)?),
        (true, Some(_)) => {
            return Err(Fail::Said(format!(
                "--status-fd needs CRIU {TELLS_READY} or higher, this is {version}"
            )));
        }
        _ => None,
    };
    let spec = specification(&container)?;
    let (options, _opened) = wanted.open(true, LOG)?;
    let options = fill(options, &container, &spec, &wanted, version)?;
    let kind = match wanted.pre_dump {
        true => Kind::PreDump,
        false => Kind::Dump,
    };
    if kind == Kind::Dump {
        write_descriptors(&container, &wanted)?;
    }
    dump(global, kind, &options, &mut status_fd)
        .map_err(|e| explain(&global.log, e, &wanted.log(LOG)))?;
    if kind == Kind::Dump && !wanted.leave_running {
        // Its processes have ended; what cannot be cleared away does not undo the checkpoint.
        if let Err(error) = delete::finish(global, &container) {
            global.log.warn(&error.to_string());
        }
    }
    Ok(0)
}

fn check_features(wanted: &Wanted) -> Result<()> {
    if !wanted.pre_dump && !wanted.lazy_pages {
        return Ok(());
    }
    let features = features()?;
    let mut missing = Vec::new();
    if wanted.pre_dump && !features.tracks_memory {
        missing.push("MemTrack");
    }
    if wanted.lazy_pages && !features.lazy_pages {
        missing.push("LazyPages");
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Fail::Said(format!(
            "criu is missing features: [{}]",
            missing.join(" ")
        ))),
    }
}

/// The configuration that the container was made from.
fn specification(container: &Container) -> Result<Spec> {
    match &container.state.config_file {
        Some(path) => bundle::load(path),
        None => bundle::load(&container.state.bundle.join(bundle::CONFIG)),
    }
}

fn fill(
    mut options: Options,
    container: &Container,
    spec: &Spec,
    wanted: &Wanted,
    version: u64,
) -> Result<Options> {
    let (state, init) = (&container.state, container.state.init_process_pid);
    options.pid = Some(init);
    options.root = state.rootfs.to_string_lossy().into_owned();
    options.page_server = wanted.page_server.clone();
    options.config_file = config_file(spec);
    if !wanted.parent_path.is_empty() {
        options.parent_image = wanted.parent_path.clone();
        options.track_memory = true;
    }
    if let Some(freezer) = state.cgroup_paths.get("freezer") {
        freezer.clone_into(&mut options.freeze_cgroup);
    } else if let Some(path) = state.cgroup_paths.get("")
        && version >= FREEZES_V2
    {
        path.clone_into(&mut options.freeze_cgroup);
    }
    for (kind, name, key, needed) in EXTERNAL {
        let path = joined(spec, kind);
        if path.is_empty() {
            continue;
        }
        if version < needed {
            return Err(Fail::Said(format!(
                "criu lacks support for external {name} namespace during checkpointing process \
                 (old criu version?)"
            )));
        }
        let stat = rustix::fs::stat(path).during("stat", path)?;
        options
            .external
            .push(format!("{name}[{}]:{key}", stat.st_ino));
    }
    if !wanted.pre_dump {
        let cgroup = container.cgroup()?;
        options.mounts = mounts::named(spec, &state.rootfs, cgroup.as_ref(), init);
    }
    Ok(options)
}

/// Namespaces that criu takes as they are: the specification's name, criu's, the key, and the
/// version that can.
pub(super) const EXTERNAL: [(&str, &str, &str, u64); 2] = [
    ("network", "net", "extRootNetNS", 31_100),
    ("pid", "pid", "extRootPidNS", 31_500),
];

/// The path of a namespace that the container joined, or empty.
pub(super) fn joined<'s>(spec: &'s Spec, kind: &str) -> &'s str {
    let mut namespaces = spec.linux.iter().flat_map(|l| &l.namespaces);
    let found = namespaces.find(|n| n.kind == kind);
    found.map_or("", |n| n.path.as_str())
}

/// Settings of criu itself, which overrule what is sent: those of the annotation, or of all
/// containers; an empty annotation means none.
pub(super) fn config_file(spec: &Spec) -> String {
    let own = spec.annotations.get("org.criu.config");
    own.map_or("/etc/criu/runc.conf", String::as_str).to_owned()
}

/// What the standard streams were: a restored process is given others for those that were pipes.
fn write_descriptors(container: &Container, wanted: &Wanted) -> Result<()> {
    let pid = container.state.init_process_pid;
    let name = |fd| {
        let link = std::fs::read_link(format!("/proc/{pid}/fd/{fd}"));
        link.map_or_else(|_| String::new(), |l| l.to_string_lossy().into_owned())
    };
    let names: Vec<String> = (0..3).map(name).collect();
    let text = serde_json::to_vec(&names).map_err(|e| Fail::Said(e.to_string()))?;
    let path = wanted.image_path.join(DESCRIPTORS);
    std::fs::write(&path, text).during("write", path.display())
}

fn dump(
    global: &Global,
    kind: Kind,
    options: &Options,
    ready: &mut Option<std::fs::File>,
) -> Result<()> {
    let worker = Worker::start(false, &[])?;
    let request = message::request(kind, options);
    worker.ask(&request, &mut |told, _| {
        global.log.debug(&format!("notify: {}", told.script));
        if told.script == "status-ready"
            && let Some(mut file) = ready.take()
            && let Err(error) = file.write_all(&[0])
        {
            let text = format!("can't write \\0 to status fd: {error}");
            global.log.warn(&text);
        }
        Ok(())
    })?;
    Ok(())
}
