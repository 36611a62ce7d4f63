//! What is remembered of a container between commands.
//!
//! ```text
//!   <root>/<id>/state.json    replaced as a whole, so that readers need no lock
//!   <root>/<id>/lock          held by whoever changes the container
//!   <root>/<id>/creating      there while it is being built
//!   <root>/<id>/exec.fifo     there from create to start; its process waits at it
//!   <root>/<id>/seccomp.bpf   the compiled filter, for exec
//! ```
//!
//! Crash story: state.json names the cgroup before the cgroup is made, and the process as soon as
//! there is one; the lock is of the process (fcntl), so it neither survives its holder nor passes
//! to the container. Whenever a command is killed, `delete -f` finds all that it left.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use cgroup::Cgroup;
use oci::runtime::{Hooks, IntelRdt, MemoryPolicy, Personality, Spec};
use runtime::Name;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};
use sys::Errno;

use super::bundle::UNIFIED;
use super::fail::{During, Fail, Result, reason};
use super::systemd::SystemdUnit;

/// The file; names as in runc's where it has them, for those who read that.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct State {
    pub(crate) id: String,
    /// 0 until there is a process.
    pub(crate) init_process_pid: i32,
    /// Clock ticks after boot (proc_pid_stat(5)): a number used again has another one.
    pub(crate) init_process_start: u64,
    pub(crate) created: String,
    pub(crate) rootless: bool,
    /// By controller; the empty name is cgroup v2, [`UNIFIED`] its tree on a hybrid host.
    pub(crate) cgroup_paths: BTreeMap<String, String>,
    /// Where systemd owns the cgroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) systemd_unit: Option<SystemdUnit>,
    pub(crate) namespace_paths: BTreeMap<String, String>,
    #[serde(rename = "ociVersion")]
    pub(crate) oci_version: String,
    pub(crate) bundle: PathBuf,
    /// Configuration file, where it is not the bundle's config.json.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) config_file: Option<PathBuf>,
    pub(crate) rootfs: PathBuf,
    pub(crate) annotations: BTreeMap<String, String>,
    /// Its processes die with the first one by themselves.
    pub(crate) own_pid_namespace: bool,
    pub(crate) no_new_keyring: bool,
    /// Execution domain of its processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) personality: Option<Personality>,
    /// Memory policy of its processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory_policy: Option<MemoryPolicy>,
    /// Its class of service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) intel_rdt: Option<IntelRdt>,
    /// What was mounted at `rootfs` before the container was, of one without a mount namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host_root: Option<u64>,
    /// Its processes are kept in its root by chroot(2).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) chrooted: bool,
    /// Those of later commands: poststart and poststop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hooks: Option<Hooks>,
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    /// As the specification and runc write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// A container's directory.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
}

impl Place {
    /// Below `root`, which need not exist.
    pub(crate) fn new(root: &Path, id: &str) -> Result<Self> {
        valid(id)?;
        Ok(Self { dir: root.join(id) })
    }

    /// Makes it, and the root above.
    pub(crate) fn make(root: &Path, id: &str) -> Result<Self> {
        let place = Self::new(root, id)?;
        let mkdir = || rustix::fs::mkdir(&place.dir, Mode::from_raw_mode(0o711));
        let made = match mkdir() {
            Err(Errno::NOENT) => {
                let mut all = std::fs::DirBuilder::new();
                std::os::unix::fs::DirBuilderExt::mode(&mut all, 0o700);
                all.recursive(true)
                    .create(root)
                    .during("mkdir", root.display())?;
                mkdir()
            }
            other => other,
        };
        match made {
            Ok(()) => Ok(place),
            Err(Errno::EXIST) => Err(Fail::Exists),
            Err(e) => Err(Fail::Said(format!(
                "mkdir {}: {}",
                place.dir.display(),
                reason(e)
            ))),
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Waits for and takes the right to change the container; it ends with the result, or the
    /// process.
    pub(crate) fn lock(&self) -> Result<OwnedFd> {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let path = self.file("lock");
        let file = match rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600)) {
            Err(Errno::NOENT) => return Err(Fail::NotExist),
            other => other.during("open", path.display())?,
        };
        loop {
            match rustix::fs::fcntl_lock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(file),
                Err(Errno::INTR) => {}
                Err(e) => {
                    return Err(Fail::Said(format!(
                        "lock {}: {}",
                        path.display(),
                        reason(e)
                    )));
                }
            }
        }
    }

    pub(crate) fn load(&self) -> Result<State> {
        let path = self.file("state.json");
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|e| Fail::Said(format!("{}: {e}", path.display()))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(Fail::NotExist),
            Err(e) => Err(e).during("open", path.display()),
        }
    }

    /// Replaces state.json as a whole. Not flushed: the root is on a tmpfs and speaks of
    /// processes that do not survive a crash of the machine.
    pub(crate) fn save(&self, state: &State) -> Result<()> {
        let (new, path) = (self.file("state.json.new"), self.file("state.json"));
        let text = serde_json::to_vec(state).map_err(|e| Fail::Said(e.to_string()))?;
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(&new, flags, Mode::from_raw_mode(0o600))
            .during("open", new.display())?;
        std::fs::File::from(file)
            .write_all(&text)
            .during("write", new.display())?;
        rustix::fs::rename(&new, &path).during("rename", new.display())
    }

    /// Removes the directory with what is in it.
    pub(crate) fn remove(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).during("unable to remove container state dir", self.dir.display())
            }
            _ => Ok(()),
        }
    }
}

/// A container as it is now.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) place: Place,
    pub(crate) state: State,
}

impl Container {
    /// Reads it; [`Fail::NotExist`] when there is none.
    pub(crate) fn load(root: &Path, id: &str) -> Result<Self> {
        if id.is_empty() {
            return Err(Fail::said("container id cannot be empty"));
        }
        let place = Place::new(root, id)?;
        let state = place.load()?;
        Ok(Self { place, state })
    }

    /// Reads it with the right to change it.
    pub(crate) fn load_locked(root: &Path, id: &str) -> Result<(Self, OwnedFd)> {
        // Before the lock, which would make a file in a directory of another kind.
        let mut container = Self::load(root, id)?;
        let lock = container.place.lock()?;
        container.state = container.place.load()?;
        Ok((container, lock))
    }

    /// The first process, held so that its number cannot pass to another one; `None` when it has
    /// ended.
    pub(crate) fn init(&self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(self.state.init_process_pid)?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let (state, start) = stat(self.state.init_process_pid)?;
        let same = start == self.state.init_process_start && !matches!(state, b'Z' | b'X');
        same.then_some(pidfd)
    }

    pub(crate) fn is_running(&self) -> bool {
        stat(self.state.init_process_pid).is_some_and(|(state, start)| {
            start == self.state.init_process_start && !matches!(state, b'Z' | b'X')
        })
    }

    pub(crate) fn status(&self) -> Status {
        if self.place.file("creating").exists() && self.state.init_process_pid == 0 {
            return Status::Creating;
        }
        if !self.is_running() {
            return Status::Stopped;
        }
        if self.is_frozen() {
            return Status::Paused;
        }
        if self.place.file("creating").exists() {
            return Status::Creating;
        }
        match self.place.file("exec.fifo").exists() {
            true => Status::Created,
            false => Status::Running,
        }
    }

    /// Read by path: opening every directory of the cgroup would cost more than the answer.
    fn is_frozen(&self) -> bool {
        let read = |dir: &str, file: &str| {
            std::fs::read_to_string(Path::new(dir).join(file)).unwrap_or_default()
        };
        if let Some(dir) = self.state.cgroup_paths.get("freezer") {
            return matches!(read(dir, "freezer.state").trim(), "FROZEN" | "FREEZING");
        }
        match self.state.cgroup_paths.get("") {
            Some(dir) => read(dir, "cgroup.freeze").trim() == "1",
            None => false,
        }
    }

    /// Its cgroup, as far as it is still there.
    pub(crate) fn cgroup(&self) -> Result<Option<Cgroup>> {
        open_cgroup(&self.state.cgroup_paths, |path| path.to_owned())
    }

    /// The pid shown to callers: none of a stopped one.
    pub(crate) fn shown_pid(&self, status: Status) -> i32 {
        match status {
            Status::Stopped => 0,
            _ => self.state.init_process_pid,
        }
    }

    /// As much of the configuration as hooks of later stages are told, for `runtime::hooks`.
    pub(crate) fn hook_spec(&self) -> Option<Spec> {
        self.state.hooks.as_ref().map(|hooks| Spec {
            oci_version: self.state.oci_version.clone(),
            annotations: self.state.annotations.clone(),
            hooks: Some(hooks.clone()),
            ..Spec::default()
        })
    }

    /// The state of the specification (runtime.md#state).
    pub(crate) fn oci_state(&self, status: Status) -> oci::runtime::State {
        oci::runtime::State {
            oci_version: self.state.oci_version.clone(),
            id: self.state.id.clone(),
            status: status.name().to_owned(),
            pid: self.shown_pid(status),
            bundle: self.state.bundle.to_string_lossy().into_owned(),
            annotations: self.state.annotations.clone(),
        }
    }

    /// Who it is, for hooks and agents.
    pub(crate) fn name(&self) -> Name<'_> {
        Name {
            id: &self.state.id,
            bundle: &self.state.bundle,
        }
    }
}

/// Opens directories by the paths remembered, each put through `change`; those of several
/// controllers once.
pub(crate) fn open_cgroup(
    paths: &BTreeMap<String, String>,
    change: impl Fn(&Path) -> PathBuf,
) -> Result<Option<Cgroup>> {
    let version = if paths.contains_key("") { 2 } else { 1 };
    let mut directories: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (controller, path) in paths {
        let controllers = directories.entry(path).or_default();
        if controller != UNIFIED {
            controllers.push(controller.clone());
        }
    }
    let list = directories
        .into_iter()
        .map(|(path, controllers)| (change(Path::new(path)), controllers));
    Ok(Cgroup::open_directories(version, list)?)
}

/// State letter and start time of a process (proc_pid_stat(5): fields 3 and 22).
pub(crate) fn stat(pid: i32) -> Option<(u8, u64)> {
    if pid <= 0 {
        return None;
    }
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name before may have anything in it, parentheses too.
    let end = text.iter().rposition(|b| *b == b')')?;
    let rest = std::str::from_utf8(text.get(end + 2..)?).ok()?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.bytes().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// Names by which a container can be called: those that are one plain directory name.
fn valid(id: &str) -> Result<()> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'-' | b'.');
    match id.is_empty() || matches!(id, "." | "..") || !id.bytes().all(plain) {
        true => Err(Fail::InvalidId),
        false => Ok(()),
    }
}

/// Everything below a directory that could be a container.
pub(crate) fn ids(root: &Path) -> std::io::Result<Vec<String>> {
    let mut ids = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_type().is_ok_and(|t| t.is_dir())
            && let Ok(name) = entry.file_name().into_string()
        {
            ids.push(name);
        }
    }
    ids.sort_unstable();
    Ok(ids)
}

/// Waits until a process has ended; `false` when it takes longer than `seconds`.
pub(crate) fn wait_end(pidfd: &OwnedFd, seconds: i64) -> Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let limit = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    let mut polled = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    loop {
        match poll(&mut polled, Some(&limit)) {
            Ok(n) => return Ok(n > 0),
            Err(Errno::INTR) => {}
            Err(e) => return Err(Fail::Said(format!("poll pidfd: {}", reason(e)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_directory_names() {
        for id in ["a", "A1_b+c-d.e", "..."] {
            assert!(valid(id).is_ok(), "{id}");
        }
        for id in ["", ".", "..", "a/b", "a b", "ä", "a\0"] {
            assert!(valid(id).is_err(), "{id}");
        }
    }

    #[test]
    fn own_start_time() {
        let pid = std::process::id() as i32;
        let (state, start) = stat(pid).unwrap();
        assert!(matches!(state, b'R' | b'S'));
        assert!(start > 0);
        assert_eq!(stat(pid).unwrap().1, start);
    }

    #[test]
    fn replaced_as_a_whole() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::make(&root.path().join("deep/root"), "x").unwrap();
        assert!(matches!(place.load(), Err(Fail::NotExist)));
        let state = State {
            id: "x".into(),
            init_process_pid: 7,
            ..State::default()
        };
        place.save(&state).unwrap();
        assert_eq!(place.load().unwrap().init_process_pid, 7);
        assert!(matches!(
            Place::make(&root.path().join("deep/root"), "x"),
            Err(Fail::Exists)
        ));
        place.remove().unwrap();
        place.remove().unwrap();
    }
}
