//! Lifecycle hooks (runtime-spec config.md#posix-platform-hooks).
//!
//! ```text
//!   stage            namespaces   path resolves in   moment                        failure
//!   prestart         runtime      runtime            all mounted, before pivot     ends the container
//!   createRuntime    runtime      runtime            after prestart                ends the container
//!   createContainer  container    runtime            after createRuntime           ends the container
//!   startContainer   container    container          after start, before execve    ends the container
//!   poststart        runtime      runtime            after execve                  caller ends it
//!   poststop         runtime      runtime            after delete                  told, the rest goes on
//! ```
//!
//! The first four are run by [`crate::create_named`] and [`crate::Created::start`]; the last two by
//! whoever started and deletes the container, with [`run`] and [`poststop`]. Each gets the state
//! as JSON on its stdin. A hook that writes to stdout or stderr is quoted when it fails.

use std::ffi::CString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::Duration;

use oci::runtime::{Hook, Hooks, Spec, State};

use crate::channel::Line;
use crate::spawn::{self, Helper, Outcome};
use crate::{Error, Name, Result};

/// When hooks are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Deprecated by the specification in favour of the next three.
    Prestart,
    /// In the runtime's namespaces, once the container's are made.
    CreateRuntime,
    /// In the container's namespaces, while the host's files are in sight.
    CreateContainer,
    /// In the container, before its program.
    StartContainer,
    /// In the runtime's namespaces, after the program was started.
    Poststart,
    /// In the runtime's namespaces, after the container was deleted.
    Poststop,
}

impl Stage {
    /// The key in `hooks`.
    pub fn key(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }

    /// The container's status at that moment.
    pub fn status(self) -> &'static str {
        match self {
            Self::Prestart | Self::CreateRuntime | Self::CreateContainer => "creating",
            Self::StartContainer => "created",
            Self::Poststart => "running",
            Self::Poststop => "stopped",
        }
    }

    fn list(self, hooks: &Hooks) -> &[Hook] {
        match self {
            Self::Prestart => &hooks.prestart,
            Self::CreateRuntime => &hooks.create_runtime,
            Self::CreateContainer => &hooks.create_container,
            Self::StartContainer => &hooks.start_container,
            Self::Poststart => &hooks.poststart,
            Self::Poststop => &hooks.poststop,
        }
    }
}

/// The hooks of one stage; empty in every container of the engine.
pub(crate) fn of(spec: &Spec, stage: Stage) -> &[Hook] {
    spec.hooks.as_ref().map_or(&[], |hooks| stage.list(hooks))
}

/// The state as it is told at a stage; `pid` as the one who is told sees it.
pub fn state(spec: &Spec, name: &Name<'_>, status: &str, pid: u32) -> State {
    State {
        oci_version: spec.oci_version.clone(),
        id: name.id.to_owned(),
        status: status.to_owned(),
        pid: i32::try_from(pid).unwrap_or_default(),
        bundle: name.bundle.to_string_lossy().into_owned(),
        annotations: spec.annotations.clone(),
    }
}

/// Runs the hooks of a stage in order, in the caller's namespaces; the first failure ends it.
pub fn run(stage: Stage, spec: &Spec, name: &Name<'_>, pid: u32) -> Result<()> {
    let hooks = of(spec, stage);
    if hooks.is_empty() {
        return Ok(());
    }
    let surroundings = Surroundings {
        state: state(spec, name, stage.status(), pid),
        env: inherited(),
        cwd: Some(name.bundle),
    };
    run_all(stage, hooks, &surroundings)
}

/// Runs the hooks of the last stage, all of them; the failures are for the log.
pub fn poststop(spec: &Spec, name: &Name<'_>) -> Vec<Error> {
    let stage = Stage::Poststop;
    let surroundings = Surroundings {
        state: state(spec, name, stage.status(), 0),
        env: inherited(),
        cwd: Some(name.bundle),
    };
    let hooks = of(spec, stage).iter().enumerate();
    hooks
        .filter_map(|(n, hook)| one(stage, n, hook, &surroundings).err())
        .collect()
}

/// The child's companions while it builds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Company<'a> {
    pub(crate) line: &'a Line<'a>,
    pub(crate) name: Option<Name<'a>>,
}

/// In the child, its root filled and current, the host's files still in sight: lets the parent
/// run its hooks, then runs those of the container's namespaces.
pub(crate) fn before_pivot(spec: &Spec, company: &Company<'_>) -> Result<()> {
    let parents = [Stage::Prestart, Stage::CreateRuntime];
    if parents.iter().any(|stage| !of(spec, *stage).is_empty()) {
        company.line.hooks()?;
    }
    match company.name {
        Some(name) => run_inside(Stage::CreateContainer, spec, &name, inherited),
        None => Ok(()),
    }
}

/// Hooks are run that expect the host's view of paths in the container's mount namespace.
pub(crate) fn see_host_paths(spec: &Spec) -> bool {
    let stages = [
        Stage::Prestart,
        Stage::CreateRuntime,
        Stage::CreateContainer,
    ];
    stages.iter().any(|stage| !of(spec, *stage).is_empty())
}

/// There are hooks for [`before_program`].
pub(crate) fn any_before_program(spec: &Spec) -> bool {
    !of(spec, Stage::StartContainer).is_empty()
}

/// In the child, as the container's user, right before its program.
pub(crate) fn before_program(spec: &Spec, name: &Name<'_>, env: &[CString]) -> Result<()> {
    run_inside(Stage::StartContainer, spec, name, || env.to_vec())
}

fn run_inside(
    stage: Stage,
    spec: &Spec,
    name: &Name<'_>,
    env: impl FnOnce() -> Vec<CString>,
) -> Result<()> {
    let hooks = of(spec, stage);
    if hooks.is_empty() {
        return Ok(());
    }
    let pid = rustix::process::getpid().as_raw_pid().unsigned_abs();
    let around = Surroundings {
        state: state(spec, name, stage.status(), pid),
        env: env(),
        cwd: None,
    };
    run_all(stage, hooks, &around)
}

/// What all hooks of a stage have in common.
#[derive(Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) state: State,
    /// Of a hook that sets none.
    pub(crate) env: Vec<CString>,
    /// `None`: where the caller is.
    pub(crate) cwd: Option<&'a Path>,
}

pub(crate) fn run_all(stage: Stage, hooks: &[Hook], around: &Surroundings<'_>) -> Result<()> {
    for (n, hook) in hooks.iter().enumerate() {
        one(stage, n, hook, around)?;
    }
    Ok(())
}

fn one(stage: Stage, n: usize, hook: &Hook, around: &Surroundings<'_>) -> Result<()> {
    let fail = |why: String| {
        Error::internal(format!(
            "error running {} hook #{n}: {}: {why}",
            stage.key(),
            hook.path
        ))
    };
    let strings = |list: &[String]| -> Result<Vec<CString>> {
        let one = |s: &String| CString::new(s.as_str());
        list.iter()
            .map(|s| one(s).map_err(|_| fail("a NUL byte in its configuration".into())))
            .collect()
    };
    let path = CString::new(hook.path.as_str()).map_err(|_| fail("a NUL byte".into()))?;
    let args = match hook.args.is_empty() {
        true => vec![path.clone()],
        false => strings(&hook.args)?,
    };
    let own = strings(&hook.env)?;
    let cwd = around
        .cwd
        .map(|p| CString::new(p.as_os_str().as_bytes()))
        .transpose()
        .map_err(|_| fail("a NUL byte in the path of the bundle".into()))?;
    let stdin = serde_json::to_vec(&around.state).map_err(|e| fail(e.to_string()))?;
    let seconds = hook.timeout.and_then(|s| u64::try_from(s).ok());
    let helper = Helper {
        path: &path,
        args: &args,
        env: if own.is_empty() { &around.env } else { &own },
        cwd: cwd.as_deref(),
        stdin: &stdin,
        timeout: seconds.map(Duration::from_secs),
    };
    let (outcome, said) = spawn::run(&helper).map_err(|e| fail(e.message))?;
    let why = match outcome {
        Outcome::Exited(0) => return Ok(()),
        Outcome::Exited(code) if stage == Stage::Poststop => {
            format!("poststop hook failed with exit code {code}")
        }
        Outcome::Exited(code) => format!("exit status {code}"),
        Outcome::Killed(libc::SIGSYS) => "killed by signal 31: bad system call".into(),
        Outcome::Killed(signal) => format!("killed by signal {signal}"),
        Outcome::TimedOut => format!(
            "ran past its timeout of {} seconds",
            seconds.unwrap_or_default()
        ),
    };
    Err(fail(match said.is_empty() {
        true => why,
        false => format!("{why}: {said}"),
    }))
}

/// The caller's own environment: what a hook without one has always been given.
pub(crate) fn inherited() -> Vec<CString> {
    std::env::vars_os()
        .filter_map(|(key, value)| {
            let mut pair = key.into_vec();
            pair.push(b'=');
            pair.extend(value.into_vec());
            CString::new(pair).ok()
        })
        .collect()
}
