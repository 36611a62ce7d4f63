//! What a platform does for the engine: create, start, exec, signal, pause, measure, delete.
//!
//! `Compute` is stateless about policy: what is wanted, remembered and restarted is the engine's
//! business. One container is one call of [`Compute::launch`] and ends with one
//! [`Notice::Exited`]; what it leaves on the host is taken away by [`Compute::release`], which may
//! be called at any time, any number of times, also for a container that was never launched.
//!
//! ```text
//!   launch ──► running ──► Notice::Exited ──► release
//!      │          │ ▲
//!      │ Err      │ └── adopt (after a restart of the daemon)
//!      ▼          ▼
//!   nothing    exec · attach · signal · pause · resize · usage
//! ```

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::SystemTime;

use async_trait::async_trait;
use oci::runtime::{ConsoleSize, Process, Resources, Spec};
use tokio::sync::{mpsc, oneshot};

mod error;
mod usage;

pub use error::{Error, Kind};
pub use usage::{
    BlockIoEntry, BlockIoUsage, CpuUsage, MemoryUsage, NetworkUsage, PidsUsage, Usage,
};

/// Result of every call here.
pub type Result<T> = std::result::Result<T, Error>;

/// The platform. All calls are safe to make concurrently.
#[async_trait]
pub trait Compute: std::fmt::Debug + Send + Sync + 'static {
    /// What this host can do; fixed for the life of the process.
    fn features(&self) -> &Features;

    /// Builds the container and starts its program. On error nothing of it is left.
    async fn launch(&self, launch: Launch) -> Result<Running>;

    /// Finds a container that an earlier daemon launched.
    async fn adopt(&self, id: &str) -> Result<Adopted>;

    /// Starts one more process in a running container.
    async fn exec(&self, id: &str, exec: Exec) -> Result<ExecRunning>;

    /// Joins a client's stream to a running container's stdio, or to that of the exec named.
    async fn attach(&self, id: &str, exec: Option<&str>, attachment: Attachment) -> Result<()>;

    /// Sends a signal to the container's first process, or to the exec named.
    async fn signal(&self, id: &str, exec: Option<&str>, signal: i32) -> Result<()>;

    /// Sets the size of a terminal.
    async fn resize(&self, id: &str, exec: Option<&str>, size: ConsoleSize) -> Result<()>;

    /// Freezes every process of the container.
    async fn pause(&self, id: &str) -> Result<()>;

    /// Thaws it.
    async fn resume(&self, id: &str) -> Result<()>;

    /// Changes limits of a running container.
    async fn update(&self, id: &str, resources: &Resources) -> Result<()>;

    /// Puts a detached mount at a place in a running container, which is made where it is missing.
    async fn mount(&self, id: &str, tree: OwnedFd, destination: &str) -> Result<()>;

    /// Takes away what is mounted at a place in a running container.
    async fn unmount(&self, id: &str, destination: &str) -> Result<()>;

    /// One reading of the container's meters.
    async fn usage(&self, id: &str) -> Result<Usage>;

    /// Host pids of every process in the container.
    async fn processes(&self, id: &str) -> Result<Vec<u32>>;

    /// The container's root directory as its processes see it, for confined file access.
    async fn root(&self, id: &str) -> Result<OwnedFd>;

    /// IDs of which something is left on the host, to be released when nobody owns them.
    async fn known(&self) -> Result<Vec<String>>;

    /// Kills what still runs and removes every trace on the host. Idempotent.
    async fn release(&self, id: &str) -> Result<()>;
}

/// Facts about the host.
#[derive(Debug, Clone, Default)]
pub struct Features {
    /// 1 or 2; hybrid is 1.
    pub cgroup_version: u8,
    /// `cgroupfs` or `systemd`.
    pub cgroup_driver: &'static str,
    /// Controllers in use.
    pub controllers: Vec<String>,
    /// seccomp filters are available.
    pub seccomp: bool,
    /// AppArmor is on.
    pub apparmor: bool,
    /// SELinux is on.
    pub selinux: bool,
    /// `CAP_*` names that a container can be given; empty when that is not known.
    pub capabilities: Vec<String>,
    /// Memory limits work.
    pub memory_limit: bool,
    /// Swap accounting works.
    pub swap_limit: bool,
    /// The OOM killer can be turned off (v1).
    pub oom_kill_disable: bool,
    /// CFS quota works.
    pub cpu_cfs: bool,
    /// Real-time scheduling can be limited (v1).
    pub cpu_realtime: bool,
    /// CPU shares work.
    pub cpu_shares: bool,
    /// cpusets work.
    pub cpuset: bool,
    /// Limits on the number of tasks work.
    pub pids_limit: bool,
    /// Block I/O limits work.
    pub block_io: bool,
}

/// Everything needed to start one container.
#[derive(Debug)]
pub struct Launch {
    /// 64 hex digits.
    pub id: String,
    /// What to build. `root.path` is ignored; `process.user` too when `user` is set.
    pub spec: Spec,
    /// Builds it in place of the built-in runtime.
    pub runtime: Option<Runtime>,
    /// Root file system: a detached mount.
    pub rootfs: OwnedFd,
    /// Mounts of the specification whose source is given here, in any order.
    pub trees: Vec<Tree>,
    /// Network namespace to join; `None` leaves it to `spec.linux.namespaces`.
    pub netns: Option<OwnedFd>,
    /// Names to look up inside the image.
    pub identity: Identity,
    /// Make the working directory when it is missing.
    pub create_cwd: bool,
    /// Put an init in front of the program (`--init`).
    pub init: bool,
    /// stdin is kept open for clients.
    pub open_stdin: bool,
    /// stdin is closed when the first client that had it goes away.
    pub stdin_once: bool,
    /// Where output goes besides clients.
    pub log: Log,
    /// Clients that were waiting for the start; served from the first byte on.
    pub attachments: Vec<Attachment>,
    /// Sockets that hold published ports, kept open as long as the container runs.
    pub ports: Vec<HeldPort>,
}

/// An OCI runtime with runc's command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// Its program.
    pub path: PathBuf,
    /// Arguments before the command's name.
    pub args: Vec<String>,
}

/// The source of a mount.
#[derive(Debug)]
pub struct Tree {
    /// Of the mount that it is for.
    pub destination: String,
    /// A detached mount.
    pub mount: OwnedFd,
}

/// `user[:group]` and more groups by name or number, looked up in the image's own files.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// Empty means root, and `spec.process.user` is used as it stands.
    pub user: String,
    /// `--group-add`.
    pub extra_groups: Vec<String>,
}

/// A listening socket held for a published port.
#[derive(Debug)]
pub struct HeldPort {
    /// Bound (and, for TCP, listening) socket.
    pub socket: OwnedFd,
    /// Where the keeper forwards what arrives here in user space; `None`: only hold the port,
    /// the kernel forwards.
    pub forward: Option<std::net::SocketAddr>,
    /// UDP instead of TCP.
    pub udp: bool,
}

/// Where a container's output is kept.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub enum Log {
    /// Nowhere.
    #[default]
    None,
    /// In files.
    File(LogFile),
}

/// A log in files.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct LogFile {
    /// How entries are written.
    pub format: LogFormat,
    /// The file; rotated ones get `.1`, `.2`, …, and `.gz` when compressed.
    pub path: PathBuf,
    /// Rotate when a file would exceed this many bytes; 0 never.
    pub max_size: u64,
    /// Files kept, the current one included; at least 1.
    pub max_files: u32,
    /// Compress rotated files.
    pub compress: bool,
    /// JSON object text put in each entry as attributes; empty for none.
    pub attrs: String,
    /// Drop output when this many bytes wait for the disk; `None` waits.
    pub buffer: Option<u64>,
}

/// How entries are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum LogFormat {
    /// Docker's `json-file`.
    Json,
    /// Docker's `local`.
    Local,
}

/// A client's stream.
#[derive(Debug)]
pub struct Attachment {
    /// A connected stream socket, taken over whole: the daemon is not on the data path. An exec's
    /// is closed at its end without a shutdown: who keeps a copy decides when the client sees the
    /// end of the output.
    pub stream: OwnedFd,
    /// Bytes of the client already read from it, to be given to stdin first.
    pub already_read: Vec<u8>,
    /// Feed stdin from it. End of file (half-close) closes stdin where `stdin_once` says so.
    pub stdin: bool,
    /// Send stdout.
    pub stdout: bool,
    /// Send stderr.
    pub stderr: bool,
    /// Put each piece of output into a frame that names its stream; else it is sent as it comes.
    pub framed: bool,
    /// Key sequence that detaches; empty: none. Only looked for on a terminal.
    pub detach_keys: Vec<u8>,
    /// Told once when the stream is done with.
    pub ended: Option<oneshot::Sender<AttachEnd>>,
}

/// Why an attachment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachEnd {
    /// The client typed the detach keys.
    Detached,
    /// The client or the process closed.
    Closed,
}

/// A started container.
#[derive(Debug)]
pub struct Running {
    /// Host pid of its first process.
    pub pid: u32,
    /// When the program was started.
    pub started_at: SystemTime,
    /// Its processes are frozen.
    pub paused: bool,
    /// What happens to it; ends with `Exited`.
    pub notices: mpsc::Receiver<Notice>,
}

/// What became of a container while no daemon ran.
#[derive(Debug)]
pub enum Adopted {
    /// It runs.
    Running(Running),
    /// It ended.
    Exited(Exit),
    /// Nothing of it is known (the host was restarted, or everything was killed).
    Gone,
}

/// News of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The OOM killer took one of its processes.
    Oom,
    /// It ended; the last notice.
    Exited(Exit),
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Exit {
    /// Exit code; 128 + n for signal n.
    pub code: i32,
    /// The OOM killer was at work in the container.
    pub oom_killed: bool,
    /// When.
    pub finished_at: SystemTime,
    /// Set when the status is not the program's own (its keeper was killed).
    pub error: Option<String>,
}

/// One more process in a running container.
#[derive(Debug)]
pub struct Exec {
    /// 64 hex digits.
    pub exec_id: String,
    /// What to run. Seccomp, cgroup and namespaces are the container's.
    pub process: Process,
    /// Names to look up inside the image.
    pub identity: Identity,
    /// Give stdin a pipe (or the terminal); else it is /dev/null.
    pub open_stdin: bool,
    /// Its client; `None` runs detached with output discarded.
    pub attachment: Option<Attachment>,
    /// No seccomp filter (`--privileged`).
    pub unconfined: bool,
}

/// A started exec.
#[derive(Debug)]
pub struct ExecRunning {
    /// Host pid.
    pub pid: u32,
    /// Its end.
    pub exit: oneshot::Receiver<Exit>,
}
