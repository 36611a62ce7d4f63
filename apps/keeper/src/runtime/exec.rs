//! `exec`: one more process in a container.

use std::path::{Path, PathBuf};

use oci::runtime::{Capabilities, Process};
use runtime::{Exec, Extras, Filter, Started, Stdio};
use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsFd, OwnedFd};

use super::args::Args;
use super::bundle;
use super::fail::{During, Fail, Result};
use super::state::{Container, Status, open_cgroup};
use super::streams::{self, Wishes};
use super::supervise::{self, Signals};
use super::{Global, guard, id_of};

/// What callers take for "exec itself failed".
pub(crate) const FAILED: u8 = 255;

pub(crate) fn exec(global: &Global, args: &Args) -> Result<u8> {
    run(global, args).map_err(|e| match e {
        Fail::Usage(..) => e,
        e => e.during("exec failed"),
    })
}

fn run(global: &Global, args: &Args) -> Result<u8> {
    guard::protect()?;
    let container = Container::load(&global.root, id_of(args))?;
    match container.status() {
        Status::Stopped => return Err(Fail::said("cannot exec in a stopped container")),
        Status::Paused if !args.has("ignore-paused") => {
            return Err(Fail::said(
                "cannot exec in a paused container (use --ignore-paused to override)",
            ));
        }
        _ => {}
    }
    let mut process = Some(process(&container, args)?);
    bundle::settle_capabilities(&mut process, &global.log);
    let mut process = process.unwrap_or_default();
    let wishes = Wishes::new(args, args.has("detach"), process.terminal)?;
    wishes.check()?;
    if wishes.listen_fds > 0 {
        process
            .env
            .push(format!("LISTEN_FDS={}", wishes.listen_fds));
    }
    let receivers = wishes.connect()?;
    let init = container
        .init()
        .ok_or_else(|| Fail::said("cannot exec in a stopped container"))?;
    let cgroup = match sub_cgroups(args)? {
        None => container.cgroup()?,
        Some(below) => below.open(&container)?,
    };
    let filter = filter(&container)?;
    if let Some(filter) = &filter {
        global.log.filter_flags(filter);
    }
    let signals = match wishes.detach {
        true => None,
        false => Some(Signals::take()?),
    };
    let root = root(&container)?;
    supervise::reset_affinity();
    let exec = Exec {
        target: init.as_fd(),
        process: &process,
        identity: None,
        create_cwd: false,
        stdio: match process.terminal {
            true => Stdio::Terminal(process.console_size),
            false => Stdio::Fds([
                rustix::stdio::stdin(),
                rustix::stdio::stdout(),
                rustix::stdio::stderr(),
            ]),
        },
        cgroup: cgroup.as_ref(),
        seccomp: filter.as_ref(),
        extras: Extras {
            preserve_fds: wishes.preserve_fds,
            keep_keyring: container.state.no_new_keyring,
            keep_groups: bundle::keeps_groups(&container.state.annotations),
            plain_newlines: !wishes.detach,
            personality: container.state.personality.as_ref(),
            root: root.as_ref().map(AsFd::as_fd),
            memory_policy: container.state.memory_policy.as_ref(),
            ..Extras::default()
        },
    };
    let state = container.oci_state(container.status());
    let mut born = |started: &Started| {
        global.log.born(started.pid);
        if let Some(mask) = sys::process::affinity()
            .ok()
            .and_then(|m| m.first().copied())
        {
            global
                .log
                .debug(&format!("nsexec[{}]: affinity: {mask:#x}", started.pid));
        }
        global
            .log
            .debug(&format!("setns_init: about to exec {:?}", process.args));
        Ok(())
    };
    let started = runtime::exec_telling(&exec, &state, &mut born).map_err(|e| {
        Fail::from(e).during("unable to start container process: error during container init")
    })?;
    global.log.built(started.pid);
    let told = receivers
        .tell(&started)
        .and_then(|()| match &wishes.pid_file {
            Some(path) => streams::write_pid(path, started.pid),
            None => Ok(()),
        });
    if let Err(error) = told {
        let _ = sys::process::pidfd_signal(started.pidfd.as_fd(), super::kill::SIGKILL);
        let _ = supervise::reap(&started);
        return Err(error);
    }
    match signals {
        Some(signals) => supervise::stay(&signals, &started),
        None => Ok(0),
    }
}

/// `--process`, or the container's own process with the changes of the command line.
fn process(container: &Container, args: &Args) -> Result<Process> {
    if let Some(path) = args.text("process") {
        let bytes = std::fs::read(path).during("open", path)?;
        let process = Process::from_json(&bytes).map_err(|e| Fail::Said(format!("{path}: {e}")))?;
        bundle::check_process(Some(&process))?;
        return Ok(process);
    }
    let config = match &container.state.config_file {
        Some(path) => path.clone(),
        None => container.state.bundle.join(bundle::CONFIG),
    };
    let mut process = bundle::load(&config)?
        .process
        .ok_or_else(|| Fail::said("process property must not be empty"))?;
    process.args = args.rest.get(1..).unwrap_or_default().to_vec();
    if process.args.is_empty() {
        return Err(Fail::said("exec args cannot be empty"));
    }
    // Of the first process alone; the scheduling too would be refused to a second one.
    process.terminal = args.has("tty");
    if let Some(cwd) = args.text("cwd") {
        process.cwd = cwd.to_owned();
    }
    if let Some(profile) = args.text("apparmor") {
        process.apparmor_profile = profile.to_owned();
    }
    if let Some(label) = args.text("process-label") {
        process.selinux_label = label.to_owned();
    }
    process.env.extend(args.all("env").map(str::to_owned));
    if args.get("no-new-privs").is_some() {
        process.no_new_privileges = args.has("no-new-privs");
    }
    add_capabilities(&mut process, args);
    change_user(&mut process, args)?;
    bundle::check_process(Some(&process))?;
    Ok(process)
}

/// Into the sets that a program gets without having inherited them; ambient only where the
/// configuration lets some be inherited, as it could not be set otherwise.
fn add_capabilities(process: &mut Process, args: &Args) {
    let more: Vec<String> = args.all("cap").map(str::to_owned).collect();
    if more.is_empty() {
        return;
    }
    let sets = process
        .capabilities
        .get_or_insert_with(Capabilities::default);
    let inherits = !sets.inheritable.is_empty();
    for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
        set.extend_from_slice(&more);
    }
    if inherits {
        sets.ambient.extend(more);
    }
}

fn change_user(process: &mut Process, args: &Args) -> Result<()> {
    let id = |what: &str, text: &str| {
        text.parse::<u32>()
            .map_err(|_| Fail::Said(format!("bad {what}: parsing {text:?}: invalid syntax")))
    };
    if let Some(user) = args.text("user") {
        let (uid, gid) = match user.split_once(':') {
            Some((uid, gid)) => (uid, Some(gid)),
            None => (user, None),
        };
        if let Some(gid) = gid {
            process.user.gid = id("gid", gid)?;
        }
        process.user.uid = id("uid", uid)?;
    }
    for list in args.all("additional-gids") {
        for gid in list.split(',') {
            let gid = gid.parse().map_err(|_| {
                Fail::Said(format!("additional-gids must be a positive number {gid}"))
            })?;
            process.user.additional_gids.push(gid);
        }
    }
    Ok(())
}

/// The root of the first process, where no mount namespace has it.
fn root(container: &Container) -> Result<Option<OwnedFd>> {
    if !container.state.chrooted {
        return Ok(None);
    }
    let path = format!("/proc/{}/root", container.state.init_process_pid);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&path, flags, Mode::empty()).during("open", &path)?;
    // Of this very process, not of one that got its number since.
    match container.is_running() {
        true => Ok(Some(root)),
        false => Err(Fail::said("cannot exec in a stopped container")),
    }
}

/// The container's own filter, compiled at its creation.
fn filter(container: &Container) -> Result<Option<Filter>> {
    let path = container.place.file("seccomp.bpf");
    let bytes = match std::fs::read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.during("read", path.display())?,
    };
    match Filter::from_bytes(&bytes) {
        Some(filter) => Ok(Some(filter)),
        None => Err(Fail::Said(format!("{} is damaged", path.display()))),
    }
}

/// `--cgroup`: below the container's own, for all controllers or by controller.
struct Below(Vec<(String, String)>);

fn sub_cgroups(args: &Args) -> Result<Option<Below>> {
    let list: Vec<&str> = args.all("cgroup").collect();
    let mut out: Vec<(String, String)> = Vec::new();
    for item in &list {
        let Some((controllers, path)) = item.split_once(':') else {
            if list.len() != 1 {
                return Err(Fail::Said(format!(
                    "invalid --cgroup argument: {item} (missing <controller>: prefix)"
                )));
            }
            out.push((String::new(), (*item).to_owned()));
            continue;
        };
        for controller in controllers.split(',') {
            if controller.is_empty() {
                return Err(Fail::Said(format!(
                    "invalid --cgroup argument: {item} (empty <controller> prefix)"
                )));
            }
            if out.iter().any(|(c, _)| c == controller) {
                return Err(Fail::Said(format!(
                    "invalid --cgroup argument(s): controller {controller} specified multiple times"
                )));
            }
            out.push((controller.to_owned(), path.to_owned()));
        }
    }
    Ok((!out.is_empty()).then_some(Below(out)))
}

impl Below {
    fn open(&self, container: &Container) -> Result<Option<cgroup::Cgroup>> {
        let mut paths = container.state.cgroup_paths.clone();
        let unified = paths.contains_key("");
        for (controller, below) in &self.0 {
            if unified && !controller.is_empty() {
                return Err(Fail::said(
                    "--cgroup with <controller>: prefix is only for cgroup v1",
                ));
            }
            if !controller.is_empty() && !paths.contains_key(controller) {
                return Err(Fail::Said(format!(
                    "unknown controller {controller} in --cgroup"
                )));
            }
            let mine = paths
                .iter_mut()
                .filter(|(c, _)| controller.is_empty() || *c == controller);
            for (name, path) in mine {
                let full = joined(path, below)?;
                // Sub-cgroups are for controllers; the v2 tree of a hybrid host has none.
                if name == bundle::UNIFIED && controller.is_empty() && !full.is_dir() {
                    continue;
                }
                if !full.is_dir() {
                    return Err(Fail::Said(format!(
                        "error adding pid to cgroup {}: no such file or directory",
                        full.display()
                    )));
                }
                *path = full.to_string_lossy().into_owned();
            }
        }
        open_cgroup(&paths, Path::to_owned)
    }
}

fn joined(own: &str, below: &str) -> Result<PathBuf> {
    if below.split('/').any(|part| part == "..") {
        return Err(Fail::Said(format!(
            "bad sub cgroup path: {below}: it must stay below the container's"
        )));
    }
    Ok(Path::new(own).join(below.trim_start_matches('/')))
}
