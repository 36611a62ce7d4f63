//! cgroup v1, v2 and hybrid: create, limit, freeze, kill, read.
//!
//! A [`Cgroup`] is one directory in every hierarchy of the host, held by descriptors. On v1 a
//! process joins by writing `0` to the `tasks` files itself ([`Cgroup::task_files`]): writing its
//! pid to `cgroup.procs` from outside waits for an RCU grace period in each hierarchy. On v2 it
//! is born inside ([`Cgroup::v2_dir`], CLONE_INTO_CGROUP).

mod apply_v1;
mod apply_v2;
mod control;
mod device_program;
mod events;
mod extended;
mod layout;
mod resources;
mod stats;
mod stats_v1;
mod stats_v2;
pub mod systemd;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use sys::Errno;

pub use events::OomWatch;
pub use extended::{Cpuset, Extended, Meter, Pressure, Stall};
pub use layout::{Hierarchy, Layout};
pub use resources::{BlockIo, Cpu, DeviceKind, DeviceRule, Memory, Resources};
pub use stats::{IoEntry, Stats};

/// Result of every call here.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure, complete in its message.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    message: String,
    /// The errno, where there is one.
    pub errno: Option<Errno>,
}

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            errno: None,
        }
    }

    pub(crate) fn errno(verb: &str, what: &str, errno: Errno) -> Self {
        let text = std::io::Error::from(errno).to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        Self {
            message: format!("{verb} {what}: {}", text.to_lowercase()),
            errno: Some(errno),
        }
    }

    pub(crate) fn io(verb: &str, what: &str, error: &std::io::Error) -> Self {
        let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
        Self::errno(verb, what, errno)
    }
}

/// One cgroup in all hierarchies.
#[derive(Debug)]
pub struct Cgroup {
    version: u8,
    path: String,
    dirs: Vec<Dir>,
    reused: bool,
}

/// Its directory in one hierarchy.
#[derive(Debug)]
pub(crate) struct Dir {
    pub(crate) path: PathBuf,
    pub(crate) controllers: Vec<String>,
    pub(crate) fd: OwnedFd,
}

impl Cgroup {
    /// Makes `path` (relative to the hierarchies' roots) everywhere, with what is missing above
    /// it. One that is there already is used as it is. On failure what was made is removed.
    pub fn create(layout: &Layout, path: &str) -> Result<Self> {
        Self::create_each(layout, |_| Ok(path.to_owned()))
    }

    /// [`Cgroup::create`] with a path for each hierarchy: below the caller's own cgroup it is
    /// another one in each.
    pub fn create_each(
        layout: &Layout,
        mut path: impl FnMut(&Hierarchy) -> Result<String>,
    ) -> Result<Self> {
        let mut cgroup = Self {
            version: layout.version,
            path: String::new(),
            dirs: Vec::with_capacity(layout.hierarchies.len()),
            reused: false,
        };
        let mut made = Vec::with_capacity(layout.hierarchies.len());
        for hierarchy in &layout.hierarchies {
            let one = path(hierarchy).and_then(|path| {
                let path = checked(&path)?;
                if cgroup.path.is_empty() {
                    path.clone_into(&mut cgroup.path);
                }
                make(layout.version, hierarchy, path)
            });
            match one {
                Ok((dir, new)) => {
                    made.push(new);
                    cgroup.reused |= !new;
                    cgroup.dirs.push(dir);
                }
                Err(error) => {
                    // Only what is ours: others may live in what was there.
                    for (dir, _) in cgroup.dirs.iter().zip(made).filter(|(_, new)| *new) {
                        let _ = rustix::fs::unlinkat(CWD, &dir.path, AtFlags::REMOVEDIR);
                    }
                    return Err(error);
                }
            }
        }
        Ok(cgroup)
    }

    /// Opens what is left of known directories: `(host path, controllers)`. `None` when nothing
    /// is.
    pub fn open_directories(
        version: u8,
        list: impl IntoIterator<Item = (PathBuf, Vec<String>)>,
    ) -> Result<Option<Self>> {
        let mut dirs = Vec::new();
        for (path, controllers) in list {
            match open_dir(&path) {
                Ok(fd) => dirs.push(Dir {
                    path,
                    controllers,
                    fd,
                }),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(Error::errno("open", &path.to_string_lossy(), errno)),
            }
        }
        Ok((!dirs.is_empty()).then(|| Self {
            version,
            path: String::new(),
            dirs,
            reused: true,
        }))
    }

    /// Some of its directories were there before [`Cgroup::create`].
    pub fn reused(&self) -> bool {
        self.reused
    }

    /// Opens an existing one; hierarchies where it is missing are left out, `None` when it is
    /// nowhere.
    pub fn open(layout: &Layout, path: &str) -> Result<Option<Self>> {
        let path = checked(path)?;
        let mut dirs = Vec::with_capacity(layout.hierarchies.len());
        for hierarchy in &layout.hierarchies {
            let full = hierarchy.mountpoint.join(path);
            match open_dir(&full) {
                Ok(fd) => dirs.push(Dir {
                    path: full,
                    controllers: hierarchy.controllers.clone(),
                    fd,
                }),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(Error::errno("open", &full.to_string_lossy(), errno)),
            }
        }
        Ok((!dirs.is_empty()).then(|| Self {
            version: layout.version,
            path: path.to_owned(),
            dirs,
            reused: true,
        }))
    }

    /// Path relative to the hierarchies' roots.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// 1 or 2.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// Writes the limits. What this kernel or version cannot do is an error that names it.
    pub fn apply(&self, resources: &Resources) -> Result<()> {
        match self.version {
            1 => apply_v1::apply(self, resources),
            _ => apply_v2::apply(self, resources),
        }
    }

    /// v1: the `tasks` file of each hierarchy, open for writing; v2, also beside v1: none.
    pub fn task_files(&self) -> Result<Vec<OwnedFd>> {
        if self.version != 1 {
            return Ok(Vec::new());
        }
        self.dirs
            .iter()
            .filter(|d| !d.controllers.is_empty())
            .map(|d| d.open("tasks", OFlags::WRONLY))
            .collect()
    }

    /// The directory of v2, for CLONE_INTO_CGROUP; `None` where there are only those of v1.
    pub fn v2_dir(&self) -> Option<BorrowedFd<'_>> {
        let dir = match self.version {
            2 => self.dirs.first(),
            _ => self.dirs.iter().find(|d| d.controllers.is_empty()),
        };
        dir.map(|d| d.fd.as_fd())
    }

    /// v2: the cgroup of a process, when it is this one or below it. One that hands controllers on
    /// takes no processes itself, so whoever joins it later has to go to those who are there.
    pub fn v2_dir_of(&self, pid: i32) -> Result<Option<OwnedFd>> {
        let (2, Some(dir)) = (self.version, self.dirs.first()) else {
            return Ok(None);
        };
        let file = format!("/proc/{pid}/cgroup");
        let text = std::fs::read_to_string(&file).map_err(|e| Error::io("read", &file, &e))?;
        let Some(path) = text.lines().find_map(|line| line.strip_prefix("0::/")) else {
            return Ok(None);
        };
        let layout = Layout::detect()?;
        let full = layout.hierarchies.first().map(|h| h.mountpoint.join(path));
        let Some(full) = full.filter(|full| full.starts_with(&dir.path)) else {
            return Ok(None);
        };
        let opened = open_dir(&full);
        let shown = full.to_string_lossy();
        opened
            .map(Some)
            .map_err(|e| Error::errno("open", &shown, e))
    }

    /// v2: gives it to a user, who may then divide it but not change its own limits: the directory
    /// and the files that the kernel lists for that (/sys/kernel/cgroup/delegate). v1: nothing.
    pub fn delegate(&self, uid: u32) -> Result<()> {
        let (2, Some(dir)) = (self.version, self.dirs.first()) else {
            return Ok(());
        };
        let owner = Some(rustix::fs::Uid::from_raw(uid));
        let list = std::fs::read_to_string("/sys/kernel/cgroup/delegate")
            .unwrap_or_else(|_| "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".into());
        for file in [""].into_iter().chain(list.lines()) {
            let changed = match file {
                "" => rustix::fs::fchown(&dir.fd, owner, None),
                file => rustix::fs::chownat(&dir.fd, file, owner, None, AtFlags::SYMLINK_NOFOLLOW),
            };
            match changed {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => return Err(dir.error("change the owner of", file, e)),
            }
        }
        Ok(())
    }

    /// Host paths of its directories with the controllers of each (`name=…` included; none for the
    /// v2 one of a hybrid host).
    pub fn directories(&self) -> impl Iterator<Item = (&Path, &[String], BorrowedFd<'_>)> {
        self.dirs
            .iter()
            .map(|d| (d.path.as_path(), d.controllers.as_slice(), d.fd.as_fd()))
    }

    /// Quota and period of the processor in microseconds, as far as they can be read; an unlimited
    /// quota is -1.
    pub fn cpu_quota(&self) -> (Option<i64>, Option<u64>) {
        let Some(dir) = self.dir("cpu") else {
            return (None, None);
        };
        let text = match self.version {
            1 => ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
                .map(|file| dir.read(file).unwrap_or_default())
                .concat(),
            _ => dir.read("cpu.max").unwrap_or_default(),
        };
        let mut words = text.split_whitespace();
        let quota = words.next().and_then(|word| match word {
            "max" => Some(-1),
            word => word.parse().ok(),
        });
        (quota, words.next().and_then(|word| word.parse().ok()))
    }

    /// One reading of all meters; missing ones stay zero.
    pub fn stats(&self) -> Result<Stats> {
        match self.version {
            1 => Ok(stats_v1::read(self)),
            _ => Ok(stats_v2::read(self)),
        }
    }

    /// The directory that has this controller (v1), or the one there is (v2).
    pub(crate) fn dir(&self, controller: &str) -> Option<&Dir> {
        match self.version {
            1 => self
                .dirs
                .iter()
                .find(|d| d.controllers.iter().any(|c| c == controller)),
            _ => self.dirs.first(),
        }
    }
}

impl Dir {
    pub(crate) fn open(&self, file: &str, flags: OFlags) -> Result<OwnedFd> {
        rustix::fs::openat(&self.fd, file, flags | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| self.error("open", file, e))
    }

    pub(crate) fn error(&self, verb: &str, file: &str, errno: Errno) -> Error {
        Error::errno(verb, &self.path.join(file).to_string_lossy(), errno)
    }

    pub(crate) fn write(&self, file: &str, value: &str) -> Result<()> {
        let fd = self.open(file, OFlags::WRONLY)?;
        self.write_to(&fd, file, value)
    }

    pub(crate) fn write_to(&self, fd: &OwnedFd, file: &str, value: &str) -> Result<()> {
        loop {
            match rustix::io::write(fd, value.as_bytes()) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(e) => return Err(self.error(&format!("write {value:?} to"), file, e)),
            }
        }
    }

    pub(crate) fn read(&self, file: &str) -> Result<String> {
        let fd = self.open(file, OFlags::RDONLY)?;
        let bytes =
            sys::rooted::read_all(fd.as_fd(), 8 << 20).map_err(|e| self.error("read", file, e))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A file with one number; "max" is `u64::MAX`, anything unreadable 0.
    pub(crate) fn number(&self, file: &str) -> u64 {
        match self.read(file) {
            Ok(text) if text.trim() == "max" => u64::MAX,
            Ok(text) => text.trim().parse().unwrap_or(0),
            Err(_) => 0,
        }
    }
}

/// A path below the root: relative, not empty, without `.` and `..`.
fn checked(path: &str) -> Result<&str> {
    let path = path.trim_matches('/');
    let bad = path.is_empty() || path.split('/').any(|p| matches!(p, "" | "." | ".."));
    if bad {
        return Err(Error::new(format!("invalid cgroup path {path:?}")));
    }
    Ok(path)
}

/// The directory, and whether it is new.
fn make(version: u8, hierarchy: &Hierarchy, path: &str) -> Result<(Dir, bool)> {
    let full = hierarchy.mountpoint.join(path);
    let shown = || full.to_string_lossy().into_owned();
    let mode = Mode::from_raw_mode(0o755);
    let mkdir = || match rustix::fs::mkdirat(CWD, &full, mode) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(e) => Err(e),
    };
    // Parents that others made need not have handed their controllers on.
    if version == 2 {
        make_parents(version, hierarchy, path)?;
    }
    let new = match mkdir() {
        Err(Errno::NOENT) => {
            make_parents(version, hierarchy, path)?;
            mkdir()
        }
        other => other,
    }
    .map_err(|e| Error::errno("mkdir", &shown(), e))?;
    let opened = open_dir(&full).map_err(|e| Error::errno("open", &shown(), e));
    let dir = opened.map(|fd| Dir {
        path: full.clone(),
        controllers: hierarchy.controllers.clone(),
        fd,
    });
    let prepared = dir.and_then(|dir| match version {
        1 if hierarchy.has("cpuset") => inherit_cpuset(&dir).map(|()| dir),
        _ => Ok(dir),
    });
    if new && prepared.is_err() {
        let _ = rustix::fs::unlinkat(CWD, &full, AtFlags::REMOVEDIR);
    }
    Ok((prepared?, new))
}

/// Makes the directories above `path`; on v1 cpusets they are told to hand their processors on
/// to new children, so that these need not be filled one by one; on v2 controllers are enabled.
fn make_parents(version: u8, hierarchy: &Hierarchy, path: &str) -> Result<()> {
    let mut full = hierarchy.mountpoint.clone();
    let names: Vec<&str> = path.split('/').collect();
    if version == 2 {
        enable_controllers(hierarchy, &full)?;
    }
    for name in names.iter().take(names.len().saturating_sub(1)) {
        full.push(name);
        let shown = full.to_string_lossy();
        match rustix::fs::mkdirat(CWD, &full, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(Error::errno("mkdir", &shown, e)),
        }
        if version == 2 {
            enable_controllers(hierarchy, &full)?;
        } else if hierarchy.has("cpuset") {
            let fd = open_dir(&full).map_err(|e| Error::errno("open", &shown, e))?;
            let dir = Dir {
                path: full.clone(),
                controllers: Vec::new(),
                fd,
            };
            inherit_cpuset(&dir)?;
            dir.write("cgroup.clone_children", "1")?;
        }
    }
    Ok(())
}

/// Copies an empty v1 cpuset's processors and nodes from the nearest directory above that has
/// some, filling those between, which others made: no task can join before.
fn inherit_cpuset(dir: &Dir) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let mut empty = Vec::new();
        let mut at = file.to_owned();
        let value = loop {
            let value = dir.read(&at)?;
            if !value.trim().is_empty() {
                break value;
            }
            let above = format!("../{at}");
            empty.push(at);
            at = above;
        };
        for at in empty.iter().rev() {
            dir.write(at, value.trim())?;
        }
    }
    Ok(())
}

/// Enables for children of a v2 directory every controller it has; one that refuses (threaded or
/// busy domains) is left off, and limits that need it say so when they are applied.
fn enable_controllers(hierarchy: &Hierarchy, path: &Path) -> Result<()> {
    let shown = path.to_string_lossy();
    let fd = open_dir(path).map_err(|e| Error::errno("open", &shown, e))?;
    let dir = Dir {
        path: path.to_owned(),
        controllers: Vec::new(),
        fd,
    };
    let enabled = dir.read("cgroup.subtree_control")?;
    let missing = |c: &&String| !enabled.split_whitespace().any(|e| e == c.as_str());
    for controller in hierarchy.controllers.iter().filter(missing) {
        let _ = dir.write("cgroup.subtree_control", &format!("+{controller}"));
    }
    Ok(())
}

fn open_dir(path: &Path) -> sys::Result<OwnedFd> {
    // Readable, not O_PATH: CLONE_INTO_CGROUP and reading entries need it.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

#[cfg(test)]
mod tests;
