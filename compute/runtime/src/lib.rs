//! Builds a container from an OCI spec: namespaces, mounts, credentials, exec.
//!
//! Everything is synchronous and meant for a process with one thread (the keeper, a runc-style
//! command): the container's first process is a copy of the caller that builds its own root and
//! then becomes the program.
//!
//! ```text
//!   caller                          child (pid 1 of the container)
//!   create ── clone3 ──────────────► joins cgroups and namespaces, builds the root,
//!     │  (maps ids if a user ns)     takes credentials up to the last step
//!     ◄──────── Ready (terminal) ───┤
//!   start ─── Go ───────────────────► execve: the channel closes by itself
//!     ◄──────── end of channel ─────┤   … or Failed{kind, text}
//! ```
//!
//! Some containers need their parent in the middle; the child says so and waits for Go:
//!
//! ```text
//!     │ ids, network devices, classes ├ before it does anything
//!     ◄──────── Hooks ────────────────┤ everything is mounted, the old root still there
//!     ◄──────── Listener ─────────────┤ a filter is loaded whose agent must be told
//! ```
//!
//! A creator that does not stay gives a FIFO ([`Extras::fifo`]) and leaves after `create`;
//! [`release`] in any other process takes the place of `start`:
//!
//! ```text
//!   release                         waiting process (holds the FIFO for reading and writing)
//!     │ ── Go ──────────────────────► execve: the FIFO closes by itself, POLLERR here
//!     ◄────────────────────────────┤   … or Failed{kind, text}
//! ```
//!
//! [`launch`] is both in one without the stop in the middle. Whatever fails, the child is killed
//! and reaped before the call returns; namespaces and mounts die with it. The cgroup is the
//! caller's.

mod bind_flags;
mod birth;
mod capabilities;
mod cgroup_mount;
mod channel;
mod child;
mod copyup;
mod credentials;
mod devices;
mod duties;
mod error;
mod filter;
pub mod hooks;
mod host_root;
mod identity;
mod limits;
mod masks;
mod mounts;
mod netdev;
mod options;
mod parent;
mod plan;
mod procfs;
mod program;
mod rdt;
mod rootfs;
mod scheduler;
mod sources;
mod spawn;
mod sysctl;
mod target;
mod terminal;
mod userns;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use oci::runtime::{ConsoleSize, Process, Spec, State, User};

pub use capabilities::{available_capabilities, grantable};
pub use error::{Error, Kind, Result};
pub use filter::{Agent, Filter};
pub use host_root::{detach as detach_root, mounted as mounted_at};
pub use limits::limits;
pub use rdt::{remove as remove_rdt_groups, update as update_rdt_groups};
pub use target::{place, place_of};

/// What to build.
#[derive(Debug)]
pub struct Build<'a> {
    /// The configuration. Its `root.path` is not used: [`Build::rootfs`] says where the files are.
    pub spec: &'a Spec,
    /// Where the root file system comes from.
    pub rootfs: Rootfs<'a>,
    /// Network namespace to join instead of what the spec says.
    pub netns: Option<BorrowedFd<'a>>,
    /// Names to look up inside the image; `None` uses `process.user` as it stands.
    pub identity: Option<Identity<'a>>,
    /// Make the working directory when it is missing.
    pub create_cwd: bool,
    /// Program to run as pid 1 in front of the process: it gets `init -- args…` and its own
    /// executable from this descriptor.
    pub init: Option<BorrowedFd<'a>>,
    /// Standard streams.
    pub stdio: Stdio<'a>,
    /// Where the container is accounted; made and limited by the caller.
    pub cgroup: Option<&'a cgroup::Cgroup>,
    /// Compiled filter. `None` compiles `linux.seccomp`, if there is one.
    pub seccomp: Option<&'a Filter>,
    /// What only a command line asks for.
    pub extras: Extras<'a>,
}

/// Less usual wishes, none by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extras<'a> {
    /// So many descriptors from 3 on are handed on to the program under their numbers.
    pub preserve_fds: u32,
    /// Leave the old root with chroot(2) instead of pivot_root(2), which rootfs (the first
    /// mount) does not allow. Weaker: the old root stays mounted below.
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub keep_keyring: bool,
    /// Execution domain of a further process; the first one has its specification's.
    pub personality: Option<&'a oci::runtime::Personality>,
    /// Memory policy of a further process, likewise.
    pub memory_policy: Option<&'a oci::runtime::MemoryPolicy>,
    /// Keep the caller's supplementary groups instead of taking those of the configuration.
    pub keep_groups: bool,
    /// Newlines written to the terminal stay as they are: the caller copies it to a terminal of
    /// its own, which adds the carriage returns.
    pub plain_newlines: bool,
    /// The process dies with its caller, whoever else is there to end it (PR_SET_PDEATHSIG(2const)).
    pub die_with_parent: bool,
    /// Root directory of a further process where it is not that of the container's mount
    /// namespace, which has none or was left with chroot(2).
    pub root: Option<BorrowedFd<'a>>,
    /// Sources of mounts that are given as descriptors.
    pub trees: &'a [Tree<'a>],
    /// A FIFO open for reading and writing, at which a created process waits for [`release`].
    pub fifo: Option<BorrowedFd<'a>>,
}

/// The source of a mount.
#[derive(Debug, Clone, Copy)]
pub struct Tree<'a> {
    /// Of the bind mount that it is for.
    pub destination: &'a str,
    /// A detached mount.
    pub mount: BorrowedFd<'a>,
}

/// Where the root file system comes from.
#[derive(Debug, Clone, Copy)]
pub enum Rootfs<'a> {
    /// A detached mount (fsmount, open_tree with OPEN_TREE_CLONE), attached only in the
    /// container's own mount namespace.
    Mount(BorrowedFd<'a>),
    /// A directory, bound recursively.
    Path(&'a Path),
}

impl Rootfs<'_> {
    /// Where it is on the host, when it is one directory among others there.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) if *path != Path::new("/") => Some(path),
            _ => None,
        }
    }
}

/// `user[:group]` and more groups, by name or number, looked up in the container's own
/// /etc/passwd and /etc/group.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// Empty: `process.user` as it stands; HOME is still looked up.
    pub user: &'a str,
    /// `--group-add`.
    pub extra_groups: &'a [String],
}

/// Who the container is, for those that are told: hooks, seccomp agents, resctrl groups.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    /// Its id.
    pub id: &'a str,
    /// Absolute path of its bundle.
    pub bundle: &'a Path,
}

/// Standard streams of a process.
#[derive(Debug, Clone, Copy)]
pub enum Stdio<'a> {
    /// stdin, stdout, stderr.
    Fds([BorrowedFd<'a>; 3]),
    /// A terminal of the container's own devpts; its other end comes back as `terminal`.
    Terminal(Option<ConsoleSize>),
}

/// A container built up to just before its program.
#[derive(Debug)]
pub struct Created {
    process: Started,
    channel: OwnedFd,
}

/// A running process; the caller is its parent and reaps it (`waitid` on the pidfd).
#[derive(Debug)]
pub struct Started {
    /// Pid as the caller sees it.
    pub pid: u32,
    /// Its pidfd, close-on-exec.
    pub pidfd: OwnedFd,
    /// The container's mount namespace: while this is open its teardown does not delay the exit.
    /// `None` when the process was gone before it could be opened, and for exec.
    pub mntns: Option<OwnedFd>,
    /// Master side of the terminal.
    pub terminal: Option<OwnedFd>,
}

/// One more process for a running container.
#[derive(Debug)]
pub struct Exec<'a> {
    /// pidfd of the container's first process.
    pub target: BorrowedFd<'a>,
    /// What to run.
    pub process: &'a Process,
    /// Names to look up inside the image.
    pub identity: Option<Identity<'a>>,
    /// Make the working directory when it is missing.
    pub create_cwd: bool,
    /// Standard streams.
    pub stdio: Stdio<'a>,
    /// The container's cgroup.
    pub cgroup: Option<&'a cgroup::Cgroup>,
    /// The container's filter.
    pub seccomp: Option<&'a Filter>,
    /// What only a command line asks for; `fifo`, `no_pivot` and `trees` mean nothing
    /// here.
    pub extras: Extras<'a>,
}

/// Checks a configuration as far as that goes without opening what it names; what is wrong is told
/// by the name of its key.
pub fn check(spec: &Spec, name: Option<&Name<'_>>) -> Result<()> {
    plan::check_all(spec, name.copied())
}

/// The numeric user of `identity` by the texts of an image's /etc/passwd and /etc/group; what it
/// does not name is `default`'s.
pub fn resolve_user(
    default: &User,
    identity: &Identity<'_>,
    passwd: &str,
    group: &str,
) -> Result<User> {
    identity::resolve_in(default, identity, passwd, group).map(|who| who.user(default))
}

/// [`resolve_user`] by the files below `root`, which a container may have written.
pub fn resolve_user_of(
    root: BorrowedFd<'_>,
    default: &User,
    identity: &Identity<'_>,
) -> Result<User> {
    identity::resolve_below(default, identity, root).map(|who| who.user(default))
}

/// Builds the container and stops just before its program.
pub fn create(build: &Build<'_>) -> Result<Created> {
    parent::build(build, None, true, &mut |_| Ok(()))
}

/// [`create`] of a container that has hooks or others to tell its name to.
pub fn create_named(build: &Build<'_>, name: &Name<'_>) -> Result<Created> {
    parent::build(build, Some(*name), true, &mut |_| Ok(()))
}

/// [`create_named`], telling the new process as soon as it exists and its ids are mapped, while
/// it is being built. An error of `born` ends it.
pub fn create_telling(
    build: &Build<'_>,
    name: &Name<'_>,
    born: &mut dyn FnMut(&Started) -> Result<()>,
) -> Result<Created> {
    parent::build(build, Some(*name), true, born)
}

/// Releases a process that was created with [`Extras::fifo`], `path` being that FIFO; returns
/// once execve has succeeded. [`Kind::NotRunning`] when nobody waits there.
pub fn release(path: &Path) -> Result<()> {
    channel::release(path)
}

/// Builds the container and runs its program; returns once execve has succeeded.
pub fn launch(build: &Build<'_>) -> Result<Started> {
    parent::build(build, None, false, &mut |_| Ok(())).map(Created::into_process)
}

/// [`launch`] of a container that has hooks or others to tell its name to.
pub fn launch_named(build: &Build<'_>, name: &Name<'_>) -> Result<Started> {
    parent::build(build, Some(*name), false, &mut |_| Ok(())).map(Created::into_process)
}

/// Runs one more process in all of a container's namespaces; returns once execve has succeeded.
pub fn exec(exec: &Exec<'_>) -> Result<Started> {
    parent::exec(exec, None, &mut |_| Ok(()))
}

/// [`exec`] with a filter that has an agent, which is told the container's `state`.
pub fn exec_named(exec: &Exec<'_>, state: &State) -> Result<Started> {
    parent::exec(exec, Some(state), &mut |_| Ok(()))
}

/// [`exec_named`], telling the new process as soon as it exists, while the caller still is on the
/// processors that it begins on. An error of `born` ends it.
pub fn exec_telling(
    exec: &Exec<'_>,
    state: &State,
    born: &mut dyn FnMut(&Started) -> Result<()>,
) -> Result<Started> {
    parent::exec(exec, Some(state), born)
}

impl Created {
    /// The process as it waits.
    pub fn process(&self) -> &Started {
        &self.process
    }

    /// The process as it waits, for a caller that leaves its start to [`release`].
    pub fn into_waiting(self) -> Started {
        self.process
    }

    /// Lets the program run; returns once execve has succeeded.
    pub fn start(self) -> Result<Started> {
        self.go()
    }
}
