//! `restore`: a container from the files of a checkpoint.
//!
//! ```text
//!   <root>/<id> · lock · state.json · cgroup      as for create
//!     │ mount namespace of criu's own: criu-root, mountpoints
//!     │ criu swrk, moved into the cgroup ──► makes the processes, siblings of its own
//!     ◄── setup-namespaces: hooks · orphan-pts-master: the terminal · post-restore: state.json
//! ```

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use runtime::Started;
use runtime::hooks::Stage;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags};

use super::checkpoint::{EXTERNAL, config_file, joined};
use super::message::{self, Kind, Options, Response};
use super::mounts::{self, Home};
use super::options::Wanted;
use super::{DESCRIPTORS, Worker, explain, version};
use crate::runtime::Global;
use crate::runtime::args::Args;
use crate::runtime::fail::{During, Fail, Result};
use crate::runtime::launch::{Making, Plan, end, marker_file, remember};
use crate::runtime::streams;
use crate::runtime::supervise::{self, Signals};

const LOG: &str = "restore.log";
/// Since then another security profile can be given.
const CHANGES_PROFILE: u64 = 31_600;
const NAMESPACE_NAMES: [(&str, &str); 4] = [
    ("mount", "mnt"),
    ("uts", "uts"),
    ("ipc", "ipc"),
    ("user", "user"),
];

/// The command: its exit code is the container's, or 0 when detached.
pub(crate) fn restore(global: &Global, args: &Args) -> Result<u8> {
    if global.rootless() {
        global
            .log
            .warn("restore is untested with rootless containers");
    }
    let wanted = Wanted::new(args)?;
    let version = version()?;
    let plan = Plan::new(global, args, true)?;
    // Before anything is made.
    drop(wanted.open(false, LOG)?);
    let signals = match plan.wishes.detach {
        true => None,
        false => Some(Signals::take()?),
    };
    let mut making = Making::begin(global, &plan)?;
    let made = making.restore(global, &plan, &wanted, version);
    let started = match made {
        Ok(started) => started,
        Err(error) => {
            making.undo(global);
            return Err(error);
        }
    };
    if let Some(path) = &plan.wishes.pid_file
        && let Err(error) = streams::write_pid(path, started.pid)
    {
        end(&started);
        making.undo(global);
        return Err(error);
    }
    match signals {
        Some(signals) => making.stay(global, &plan, &signals, &started),
        None => Ok(0),
    }
}

impl Making {
    fn restore(
        &mut self,
        global: &Global,
        plan: &Plan,
        wanted: &Wanted,
        version: u64,
    ) -> Result<Started> {
        let place = self.container.place.clone();
        let marker = place.file("creating");
        marker_file(&marker, true)?;
        let receivers = plan.wishes.connect()?;
        if plan.subreaper {
            supervise::become_subreaper();
        }
        let (worker, options) = self.start(plan, wanted, version)?;
        let request = message::request(Kind::Restore, &options);
        let mut revived = Revived::default();
        let answer = worker.ask(&request, &mut |told, fds| {
            global.log.debug(&format!("notify: {}", told.script));
            self.notified(plan, &mut revived, told, fds)
        });
        let _ = rustix::fs::rmdir(place.file("criu-root"));
        let answer = answer.map_err(|e| explain(&global.log, e, &wanted.log(LOG)));
        let Revived { process, terminal } = revived;
        let started = match (answer, process) {
            (Ok(_), Some((pid, pidfd))) => Started {
                pid,
                pidfd,
                mntns: None,
                terminal,
            },
            (answer, process) => {
                if let Some((pid, pidfd)) = process {
                    end(&Started {
                        pid,
                        pidfd,
                        mntns: None,
                        terminal,
                    });
                }
                answer?;
                return Err(Fail::said("criu failed: it told of no restored process"));
            }
        };
        self.holder = None;
        let _ = rustix::fs::unlink(&marker);
        if let Err(error) = receivers.tell(&started) {
            end(&started);
            return Err(error);
        }
        Ok(started)
    }

    fn fill(
        &self,
        plan: &Plan,
        wanted: &Wanted,
        mut options: Options,
        version: u64,
    ) -> Result<(Options, Vec<OwnedFd>)> {
        let profile = [
            ("lsm-profile", &options.lsm_profile),
            ("lsm-mount-context", &options.lsm_mount_context),
        ];
        for (name, _) in profile.iter().filter(|(_, value)| !value.is_empty()) {
            if version < CHANGES_PROFILE {
                return Err(Fail::Said(format!("--{name} requires at least CRIU 3.16")));
            }
        }
        options.evasive_devices = true;
        options.sibling = true;
        options.config_file = config_file(&plan.spec);
        options.mounts =
            mounts::placed(&plan.spec, &plan.bundle, &plan.rootfs, self.cgroup.as_ref());
        let mut kept = Vec::new();
        for (kind, name, key, needed) in EXTERNAL {
            let path = joined(&plan.spec, kind);
            if path.is_empty() {
                continue;
            }
            if version < needed {
                return Err(Fail::Said(format!(
                    "criu lacks support for external {name} namespace during the restoration \
                     process (old criu version?)"
                )));
            }
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|_| {
                Fail::Said(format!("Requested {kind} namespace {path} does not exist"))
            })?;
            options.inherit.push((key.to_owned(), file.as_raw_fd()));
            kept.push(file);
        }
        if !joined(&plan.spec, "cgroup").is_empty() {
            return Err(Fail::said("Do not know how to handle namespace cgroup"));
        }
        for (kind, name) in NAMESPACE_NAMES {
            let path = joined(&plan.spec, kind);
            if !path.is_empty() {
                options.join.push((name.to_owned(), path.to_owned()));
            }
        }
        let path = wanted.image_path.join(DESCRIPTORS);
        let bytes = std::fs::read(&path).during("open", path.display())?;
        let names: Vec<String> = serde_json::from_slice(&bytes)
            .map_err(|e| Fail::Said(format!("{}: {e}", path.display())))?;
        for (fd, name) in (0..3).zip(names) {
            if name.contains("pipe:") {
                options.inherit.push((name, fd));
            }
        }
        Ok((options, kept))
    }

    /// Starts criu where nothing that is mounted for it stays, and in the container's cgroup. The
    /// directories are opened there too: criu mounts in them.
    fn start(&self, plan: &Plan, wanted: &Wanted, version: u64) -> Result<(Worker, Options)> {
        let root = self.container.place.file("criu-root");
        rustix::fs::mkdir(&root, Mode::from_raw_mode(0o755)).during("mkdir", root.display())?;
        let root = std::fs::canonicalize(&root).during("resolve", root.display())?;
        let home = Home::leave()?;
        let started = (|| -> Result<(Worker, Options)> {
            let (options, opened) = wanted.open(false, LOG)?;
            let (mut options, kept) = self.fill(plan, wanted, options, version)?;
            options.root = root.to_string_lossy().into_owned();
            mounts::prepare_root(&plan.spec, &plan.rootfs, &root)?;
            let kept: Vec<_> = kept.iter().map(AsFd::as_fd).collect();
            Ok((Worker::start(true, &kept)?.holding(opened), options))
        })();
        home.back()?;
        let (worker, mut options) = started?;
        for directory in self.container.state.cgroup_paths.values() {
            let file = Path::new(directory).join("cgroup.procs");
            std::fs::write(&file, worker.pid().to_string()).during("write", file.display())?;
        }
        options.cgroup_roots = cgroup_roots(worker.pid())?;
        Ok((worker, options))
    }

    fn notified(
        &mut self,
        plan: &Plan,
        revived: &mut Revived,
        told: &Response,
        fds: Vec<OwnedFd>,
    ) -> Result<()> {
        match told.script.as_str() {
            "setup-namespaces" => {
                let (name, pid) = (self.container.name(), told.script_pid.unsigned_abs());
                for stage in [Stage::Prestart, Stage::CreateRuntime] {
                    runtime::hooks::run(stage, &plan.spec, &name, pid)?;
                }
            }
            "orphan-pts-master" => revived.terminal = fds.into_iter().next(),
            "post-restore" => {
                let pid = told.script_pid;
                let raw = Pid::from_raw(pid)
                    .ok_or_else(|| Fail::said("criu told of a process without a number"))?;
                let pidfd = rustix::process::pidfd_open(raw, PidfdFlags::empty())
                    .during("open process", pid)?;
                let (pid, _) = revived.process.insert((pid.unsigned_abs(), pidfd));
                let place = self.container.place.clone();
                remember(&place, &mut self.container.state, &plan.spec, *pid)?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// What criu has told of so far.
#[derive(Debug, Default)]
struct Revived {
    process: Option<(u32, OwnedFd)>,
    terminal: Option<OwnedFd>,
}

/// Where the processes are to be in each hierarchy: where criu is.
fn cgroup_roots(pid: u32) -> Result<Vec<(String, String)>> {
    let path = format!("/proc/{pid}/cgroup");
    let text = std::fs::read_to_string(&path).during("read", &path)?;
    Ok(parse_cgroups(&text))
}

fn parse_cgroups(text: &str) -> Vec<(String, String)> {
    let mut roots = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        if let (Some(controllers), Some(path)) = (parts.next(), parts.next()) {
            let each = controllers.split(',');
            roots.extend(each.map(|c| (c.to_owned(), path.to_owned())));
        }
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_by_controller() {
        let text = "3:cpu,cpuacct:/a:b\n1:name=systemd:/x\n0::/\nnonsense\n";
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let wanted = [
            pair("cpu", "/a:b"),
            pair("cpuacct", "/a:b"),
            pair("name=systemd", "/x"),
            pair("", "/"),
        ];
        assert_eq!(parse_cgroups(text), wanted);
    }
}
