//! `create` and `run`: from a bundle to a container.
//!
//! ```text
//!   <root>/<id> made · lock · state.json (cgroup) · cgroup · limits · fifo
//!     │ clone3 ──► state.json (pid) while the process builds its root
//!     ◄── ready: creating marker gone; pid file, terminal to its socket
//!   create: ends, the process waits at the fifo     run: go; stays with it, or -d
//! ```
//!
//! A failure anywhere takes everything back: process, cgroup, directory.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use cgroup::systemd::Holder;
use cgroup::{Cgroup, Layout};
use oci::runtime::{Hooks, Spec};
use runtime::{Build, Extras, Filter, Rootfs, Started, Stdio};
use rustix::fs::{Mode, OFlags};

use super::args::Args;
use super::bundle;
use super::delete;
use super::fail::{During, Fail, Result};
use super::notify::Notify;
use super::state::{Container, Place, State, stat};
use super::streams::{self, Wishes};
use super::supervise::{self, Signals};
use super::systemd::Driver;
use super::{Global, clock, guard};

/// `create`: returns 0 with a process that waits for `start`.
pub(crate) fn create(global: &Global, args: &Args) -> Result<u8> {
    launch(global, args, false).map_err(|e| failed(global, "create", e))
}

/// `run`: its exit code is the container's, or 0 when detached.
pub(crate) fn run(global: &Global, args: &Args) -> Result<u8> {
    launch(global, args, true).map_err(|e| failed(global, "run", e))
}

fn failed(global: &Global, verb: &str, error: Fail) -> Fail {
    match error {
        Fail::Usage(..) => error,
        error => error.during(format!("{} {verb} failed", global.program)),
    }
}

fn launch(global: &Global, args: &Args, run: bool) -> Result<u8> {
    guard::protect()?;
    let plan = Plan::new(global, args, run)?;
    let signals = match plan.wishes.detach {
        true => None,
        false => Some(Signals::take()?),
    };
    supervise::reset_affinity();
    let mut making = Making::begin(global, &plan)?;
    let started = match making.build(global, &plan) {
        Ok(started) => started,
        Err(error) => {
            making.undo(global);
            return Err(error);
        }
    };
    if let Err(error) = making.tell(&plan, &started) {
        making.undo(global);
        return Err(error);
    }
    let Some(signals) = signals else {
        if let Some(notify) = making.notify.take() {
            notify.forward(&started.pidfd, started.pid)?;
        }
        return Ok(0);
    };
    making.stay(global, &plan, &signals, &started)
}

/// What is asked for, checked before anything is made.
pub(super) struct Plan {
    id: String,
    pub(super) spec: Spec,
    pub(super) bundle: PathBuf,
    config_file: Option<PathBuf>,
    pub(super) rootfs: PathBuf,
    pub(super) wishes: Wishes,
    run: bool,
    keep: bool,
    no_pivot: bool,
    keep_keyring: bool,
    pub(super) subreaper: bool,
}

impl Plan {
    pub(super) fn new(global: &Global, args: &Args, run: bool) -> Result<Self> {
        let id = args.rest.first().cloned().unwrap_or_default();
        let config = args.text("config").map(streams::absolute).transpose()?;
        let mut wishes = Wishes::new(args, !run || args.has("detach"), false)?;
        if let Some(bundle) = args.text("bundle") {
            rustix::process::chdir(bundle).during("chdir", bundle)?;
        }
        let mut spec = bundle::load(config.as_deref().unwrap_or(Path::new(bundle::CONFIG)))?;
        bundle::settle_capabilities(&mut spec.process, &global.log);
        let process = bundle::check_process(spec.process.as_ref())?;
        wishes.terminal = process.terminal;
        bundle::check_scheduler(&spec)?;
        if id.is_empty() {
            return Err(Fail::said("container id cannot be empty"));
        }
        Place::new(&global.root, &id)?;
        wishes.check()?;
        // What the specification lets a runtime go on without, and wants to be told.
        let ignored = runtime::grantable(&mut spec);
        for line in spec.warnings().iter().chain(&ignored) {
            global.log.warn(line);
        }
        let bundle = std::env::current_dir().during("get", "working directory")?;
        let rootfs = bundle::rootfs(&spec, &bundle)?;
        if let Some(process) = &mut spec.process
            && wishes.listen_fds > 0
        {
            process
                .env
                .push(format!("LISTEN_FDS={}", wishes.listen_fds));
            process.env.push("LISTEN_PID=1".into());
        }
        Ok(Self {
            id,
            spec,
            bundle,
            config_file: config,
            rootfs,
            wishes,
            run,
            keep: args.has("keep"),
            no_pivot: args.has("no-pivot"),
            keep_keyring: args.has("no-new-keyring"),
            subreaper: run && !args.has("no-subreaper"),
        })
    }

    fn state(&self, rootless: bool) -> State {
        let later = self.spec.hooks.as_ref().and_then(|h| {
            let later = Hooks {
                poststart: h.poststart.clone(),
                poststop: h.poststop.clone(),
                ..Hooks::default()
            };
            (later != Hooks::default()).then_some(later)
        });
        State {
            id: self.id.clone(),
            created: clock::nanoseconds(),
            rootless,
            oci_version: self.spec.oci_version.clone(),
            bundle: self.bundle.clone(),
            config_file: self.config_file.clone(),
            rootfs: self.rootfs.clone(),
            annotations: self.spec.annotations.clone(),
            own_pid_namespace: bundle::makes_namespace(&self.spec, "pid"),
            no_new_keyring: self.keep_keyring,
            chrooted: self.no_pivot || !bundle::has_namespace(&self.spec, "mount"),
            personality: self.spec.linux.as_ref().and_then(|l| l.personality.clone()),
            memory_policy: self
                .spec
                .linux
                .as_ref()
                .and_then(|l| l.memory_policy.clone()),
            hooks: later,
            ..State::default()
        }
    }
}

/// A container while it is being made.
pub(super) struct Making {
    pub(super) container: Container,
    pub(super) cgroup: Option<Cgroup>,
    /// Keeps the unit of systemd until there is a process.
    pub(super) holder: Option<Holder>,
    notify: Option<Notify>,
    /// Ends with this process, or when the container is taken back.
    _lock: OwnedFd,
}

impl Making {
    /// Directory, lock and memory of a container of which nothing else is there yet.
    pub(super) fn begin(global: &Global, plan: &Plan) -> Result<Self> {
        // The first thing to say, though only its making decides.
        if Place::new(&global.root, &plan.id)?.dir.exists() {
            return Err(Fail::Exists);
        }
        let layout = match Layout::detect_hybrid() {
            _ if !global.cgroups => None,
            Ok(layout) => Some(layout),
            Err(_) if global.rootless() => None,
            Err(e) => return Err(e.into()),
        };
        let mut state = plan.state(global.rootless());
        if !bundle::has_namespace(&plan.spec, "mount") {
            state.host_root = Some(runtime::mounted_at(&plan.rootfs)?);
        }
        let systemd = match &layout {
            Some(layout) if global.systemd => {
                Some(Driver::connect(global, &plan.spec, &plan.id, layout)?)
            }
            _ => None,
        };
        state.systemd_unit = systemd.as_ref().map(Driver::unit);
        let relative = match (&layout, &systemd) {
            (Some(layout), Some(driver)) => driver.paths(layout),
            (Some(layout), None) => bundle::cgroup_paths(&plan.spec, &plan.id, layout)?,
            (None, _) => Vec::new(),
        };
        if let Some(layout) = &layout {
            state.cgroup_paths = bundle::cgroup_directories(layout, &relative);
            bundle::check_unused(&state.cgroup_paths)?;
        }
        let place = Place::make(&global.root, &plan.id)?;
        let lock = place.lock()?;
        let mut making = Self {
            container: Container { place, state },
            cgroup: None,
            holder: None,
            notify: None,
            _lock: lock,
        };
        let prepared = making.prepare(plan, layout.as_ref(), systemd, relative);
        match prepared {
            Ok(()) => Ok(making),
            Err(error) => {
                making.undo(global);
                Err(error)
            }
        }
    }

    fn prepare(
        &mut self,
        plan: &Plan,
        layout: Option<&Layout>,
        systemd: Option<Driver>,
        relative: Vec<String>,
    ) -> Result<()> {
        let place = &self.container.place;
        place.save(&self.container.state)?;
        self.notify = Notify::prepare(&place.file("notify"), plan.run)?;
        let Some(layout) = layout else {
            return Ok(());
        };
        if let Some(driver) = systemd {
            return self.join_unit(driver, layout, bundle::resources(&plan.spec));
        }
        let mut relative = relative.into_iter();
        let made = Cgroup::create_each(layout, |_| Ok(relative.next().unwrap_or_default()));
        let cgroup = match made {
            Ok(cgroup) => cgroup,
            Err(e) if self.container.state.rootless && forbidden(&e) => {
                self.container.state.cgroup_paths.clear();
                return Ok(());
            }
            Err(e) => {
                // What is there is not ours to remove.
                self.container.state.cgroup_paths.clear();
                return Err(e.into());
            }
        };
        if cgroup.reused()
            && let Err(error) = bundle::check_idle(&cgroup)
        {
            self.container.state.cgroup_paths.clear();
            return Err(error);
        }
        let limits = bundle::resources(&plan.spec);
        match cgroup.apply(&limits) {
            Err(e) if self.container.state.rootless && forbidden(&e) => {}
            other => other?,
        }
        if !self.container.state.rootless
            && let Some(owner) = bundle::cgroup_owner(&plan.spec)
        {
            cgroup.delegate(owner)?;
        }
        self.cgroup = Some(cgroup);
        Ok(())
    }

    /// A cgroup of systemd's.
    fn join_unit(
        &mut self,
        mut driver: Driver,
        layout: &Layout,
        limits: cgroup::Resources,
    ) -> Result<()> {
        let made = match driver.make(layout, limits) {
            Ok(made) => made,
            Err(error) => {
                // What is there is not ours to stop.
                self.container.state.systemd_unit = None;
                self.container.state.cgroup_paths.clear();
                return Err(error);
            }
        };
        self.holder = made.holder;
        match made.cgroup.apply(&made.resources) {
            Err(e) if self.container.state.rootless && forbidden(&e) => {}
            other => other?,
        }
        self.cgroup = Some(made.cgroup);
        Ok(())
    }

    /// Up to a process that waits at its FIFO, or one that runs.
    fn build(&mut self, global: &Global, plan: &Plan) -> Result<Started> {
        let place = self.container.place.clone();
        let marker = place.file("creating");
        let fifo = marker_file(&marker, plan.run)?;
        let filter = filter(&plan.spec, &place)?;
        if let Some(filter) = &filter {
            global.log.filter_flags(filter);
        }
        let mut spec = std::borrow::Cow::Borrowed(&plan.spec);
        if let Some(notify) = &self.notify {
            notify.show(spec.to_mut());
        }
        if self.cgroup.is_none() {
            // There is none of its own to show; a bound /sys shows the host's.
            let shown = |kind: &str| matches!(kind, "cgroup" | "cgroup2");
            if spec.mounts.iter().any(|m| shown(&m.kind)) {
                spec.to_mut().mounts.retain(|m| !shown(&m.kind));
            }
        }
        let size = spec.process.as_ref().and_then(|p| p.console_size);
        let build = Build {
            spec: &spec,
            rootfs: Rootfs::Path(&plan.rootfs),
            netns: None,
            identity: None,
            create_cwd: true,
            init: None,
            stdio: match plan.wishes.terminal {
                true => Stdio::Terminal(size),
                false => Stdio::Fds([
                    rustix::stdio::stdin(),
                    rustix::stdio::stdout(),
                    rustix::stdio::stderr(),
                ]),
            },
            cgroup: self.cgroup.as_ref(),
            seccomp: filter.as_ref(),
            extras: Extras {
                preserve_fds: plan.wishes.preserve_fds,
                no_pivot: plan.no_pivot,
                keep_keyring: plan.keep_keyring,
                keep_groups: bundle::keeps_groups(&plan.spec.annotations),
                plain_newlines: !plan.wishes.detach,
                fifo: fifo.as_ref().map(AsFd::as_fd),
                ..Extras::default()
            },
        };
        let receivers = plan.wishes.connect()?;
        if plan.subreaper {
            supervise::become_subreaper();
        }
        let Container { state, .. } = &mut self.container;
        let (id, bundle) = (state.id.clone(), state.bundle.clone());
        let name = runtime::Name {
            id: &id,
            bundle: &bundle,
        };
        let mut born = |started: &Started| {
            global.log.born(started.pid);
            remember(&place, state, &plan.spec, started.pid)
                .map_err(|e| runtime::Error::internal(e.to_string()))
        };
        let created = runtime::create_telling(&build, &name, &mut born)
            .map_err(|e| Fail::from(e).during(IN_INIT))?;
        global.log.built(created.process().pid);
        self.holder = None;
        let started = match plan.run {
            false => {
                rustix::fs::rename(&marker, place.file("exec.fifo")).during("rename", "fifo")?;
                created.into_waiting()
            }
            true => {
                let started = created.start().map_err(|e| Fail::from(e).during(IN_INIT))?;
                let _ = rustix::fs::unlink(&marker);
                started
            }
        };
        if let Err(error) = receivers.tell(&started) {
            end(&started);
            return Err(error);
        }
        Ok(started)
    }

    /// After the process is there: hooks of a started one, and the pid file.
    fn tell(&self, plan: &Plan, started: &Started) -> Result<()> {
        let told = (|| {
            if plan.run
                && let Some(spec) = self.container.hook_spec()
            {
                let name = self.container.name();
                runtime::hooks::run(runtime::hooks::Stage::Poststart, &spec, &name, started.pid)?;
            }
            match &plan.wishes.pid_file {
                Some(path) => streams::write_pid(path, started.pid),
                None => Ok(()),
            }
        })();
        if told.is_err() {
            end(started);
        }
        told
    }

    /// In the foreground up to the end of the process.
    pub(super) fn stay(
        mut self,
        global: &Global,
        plan: &Plan,
        signals: &Signals,
        started: &Started,
    ) -> Result<u8> {
        if let Some(notify) = self.notify.take() {
            notify.forward(&started.pidfd, std::process::id())?;
        }
        let code = supervise::stay(signals, started);
        if !plan.keep {
            self.undo(global);
        }
        code
    }

    /// Takes everything back; what cannot be is left for `delete`.
    pub(super) fn undo(&mut self, global: &Global) {
        self.holder = None;
        if let Err(error) = delete::finish(global, &self.container) {
            global.log.warn(&error.to_string());
        }
        if let Some(cgroup) = self.cgroup.take() {
            let _ = cgroup.remove();
        }
    }
}

const IN_INIT: &str = "unable to start container process: error during container init";

/// The marker of a container being built: for `create` it is already the FIFO of `start`.
pub(super) fn marker_file(path: &Path, run: bool) -> Result<Option<OwnedFd>> {
    if run {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::open(path, flags, mode).during("create", path.display())?;
        return Ok(None);
    }
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0)
        .during("mkfifo", path.display())?;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let fifo = rustix::fs::open(path, flags, Mode::empty()).during("open", path.display())?;
    Ok(Some(fifo))
}

/// Compiles the filter and leaves it for `exec`.
fn filter(spec: &Spec, place: &Place) -> Result<Option<Filter>> {
    let Some(profile) = spec.linux.as_ref().and_then(|l| l.seccomp.as_ref()) else {
        return Ok(None);
    };
    let filter = Filter::compile(profile)?;
    let path = place.file("seccomp.bpf");
    std::fs::write(&path, filter.to_bytes()).during("write", path.display())?;
    Ok(Some(filter))
}

/// Writes down who the process is.
pub(super) fn remember(place: &Place, state: &mut State, spec: &Spec, pid: u32) -> Result<()> {
    let pid = pid as i32;
    state.init_process_pid = pid;
    state.init_process_start = stat(pid).map_or(0, |(_, start)| start);
    let kinds = [
        ("NEWCGROUP", "cgroup", "cgroup"),
        ("NEWIPC", "ipc", "ipc"),
        ("NEWNET", "network", "net"),
        ("NEWNS", "mount", "mnt"),
        ("NEWPID", "pid", "pid"),
        ("NEWTIME", "time", "time"),
        ("NEWUSER", "user", "user"),
        ("NEWUTS", "uts", "uts"),
    ];
    for (key, kind, file) in kinds {
        let mut namespaces = spec.linux.iter().flat_map(|l| &l.namespaces);
        if namespaces.any(|n| n.kind == kind) {
            let path = format!("/proc/{pid}/ns/{file}");
            state.namespace_paths.insert(key.into(), path);
        }
    }
    place.save(state)
}

pub(super) fn end(started: &Started) {
    let _ = sys::process::pidfd_signal(started.pidfd.as_fd(), super::kill::SIGKILL);
    let _ = supervise::reap(started);
}

/// No right to it, which a user without privileges is forgiven.
fn forbidden(error: &cgroup::Error) -> bool {
    use sys::Errno;
    matches!(
        error.errno,
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::NOENT)
    )
}
