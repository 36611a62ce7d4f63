//! The messages. Which file descriptors and bytes go with each is said at its type.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oci::runtime::{ConsoleSize, Process, Resources, Spec};
use serde::{Deserialize, Serialize};

/// The version of the protocol that this code speaks. It grows with each request that older keepers
/// do not know ([`Request::since`]).
///
/// 1: the first. 2: keepers tell their version ([`Reply::State`]), and answer requests that they do
/// not know instead of closing the connection.
pub const VERSION: u32 = 2;

/// What a keeper speaks that does not tell.
fn first_version() -> u32 {
    1
}

/// One request of the daemon.
#[derive(Debug, Serialize, Deserialize)]
pub struct Call {
    /// Given back in the reply.
    pub seq: u64,
    /// What is wanted.
    pub request: Request,
}

/// What a daemon can ask.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Build and start the container. Descriptors, in this order: run directory, root mount,
    /// network namespace (if `netns`), init program (if `init`), one mount per tree, one stream per
    /// attachment, one socket per port. Bytes: the seccomp filter, then `already_read` of each
    /// attachment.
    Launch(Box<Launch>),
    /// Tell the state to a new daemon; this connection gets the events from now on.
    Adopt,
    /// Start one more process. Descriptor: the attachment's stream, if any. Bytes: its
    /// `already_read`.
    Exec(Box<Exec>),
    /// Join a client. Descriptor: its stream. Bytes: `already_read`.
    Attach {
        /// To this exec; else to the container.
        exec: Option<String>,
        /// The client.
        attach: Attach,
    },
    /// Set the size of a terminal.
    Resize {
        /// Of this exec; else of the container.
        exec: Option<String>,
        /// The size.
        size: ConsoleSize,
    },
    /// Something that the container's own runtime does, where it has one.
    Runtime(Order),
}

/// What a runtime of another make is told.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// Signal the first process.
    Kill(i32),
    /// Freeze.
    Pause,
    /// Thaw.
    Resume,
    /// Change limits.
    Update(Box<Resources>),
}

/// An OCI runtime with runc's command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// Its program.
    pub path: PathBuf,
    /// Arguments before the command's name.
    pub args: Vec<String>,
    /// Cgroups are systemd's: it is told `--systemd-cgroup`.
    pub systemd: bool,
}

impl Request {
    /// The version that a keeper must speak to be asked this: an older one would take the connection
    /// for broken. A new variant is of [`VERSION`] plus one, which becomes [`VERSION`].
    pub fn since(&self) -> u32 {
        match self {
            Self::Launch(_)
            | Self::Adopt
            | Self::Exec(_)
            | Self::Attach { .. }
            | Self::Resize { .. } => 1,
            Self::Runtime(_) => 2,
        }
    }
}

/// A container to start.
#[derive(Debug, Serialize, Deserialize)]
pub struct Launch {
    /// 64 hex digits.
    pub id: String,
    /// What to build, `linux.seccomp` taken out unless another runtime builds it.
    pub spec: Spec,
    /// Builds it in place of the built-in one.
    pub runtime: Option<Runtime>,
    /// Names to look up in the image.
    pub identity: Identity,
    /// Make a missing working directory.
    pub create_cwd: bool,
    /// Put an init in front of the program.
    pub init: bool,
    /// A network namespace to join is among the descriptors.
    pub netns: bool,
    /// Destinations of mounts whose source is among the descriptors.
    pub trees: Vec<String>,
    /// Bytes of the seccomp filter (`runtime::Filter::to_bytes`); 0 is no filter.
    pub filter: usize,
    /// The host's cgroup hierarchies, looked up once by the daemon.
    pub cgroups: Hierarchies,
    /// stdin is a pipe (or the terminal), else /dev/null.
    pub open_stdin: bool,
    /// The first client's end of file closes stdin.
    pub stdin_once: bool,
    /// Where output is kept.
    pub log: Log,
    /// Clients from the first byte on.
    pub attachments: Vec<Attach>,
    /// Published ports.
    pub ports: Vec<Port>,
}

/// cgroup hierarchies of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchies {
    /// 1 or 2.
    pub version: u8,
    /// Mount point and controllers of each.
    pub mounts: Vec<(PathBuf, Vec<String>)>,
}

/// User and groups by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `user[:group]`; empty means the spec's ids.
    pub user: String,
    /// More groups.
    pub extra_groups: Vec<String>,
}

/// Where output is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Log {
    /// Nowhere.
    #[default]
    None,
    /// In files.
    File(LogFile),
}

/// A log in files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// How entries are written.
    pub format: LogFormat,
    /// The current file.
    pub path: PathBuf,
    /// Bytes a file may have; 0 is unlimited.
    pub max_size: u64,
    /// Files kept, the current one included.
    pub max_files: u32,
    /// Rotated files are compressed.
    pub compress: bool,
    /// JSON object of texts put in each entry; empty for none.
    pub attrs: String,
    /// Non-blocking: output is dropped rather than waited with when this many bytes wait for the
    /// disk.
    pub buffer: Option<u64>,
}

/// How entries of a log are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogFormat {
    /// A line of JSON each, as docker's `json-file`.
    #[default]
    Json,
    /// Protocol buffers between their lengths, as docker's `local`.
    Local,
}

/// A client's stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Names it in [`Event::AttachmentEnded`].
    pub token: u64,
    /// Bytes in the frame that go to stdin first.
    pub already_read: usize,
    /// Feeds stdin.
    pub stdin: bool,
    /// Gets stdout.
    pub stdout: bool,
    /// Gets stderr.
    pub stderr: bool,
    /// Output comes in frames.
    pub framed: bool,
    /// Keys that detach, on a terminal.
    pub detach_keys: Vec<u8>,
}

/// A socket of a published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Forward to here in user space; else only hold the socket.
    pub forward: Option<std::net::SocketAddr>,
    /// UDP instead of TCP.
    pub udp: bool,
}

/// One more process.
#[derive(Debug, Serialize, Deserialize)]
pub struct Exec {
    /// 64 hex digits.
    pub exec_id: String,
    /// What to run.
    pub process: Process,
    /// Names to look up in the image.
    pub identity: Identity,
    /// stdin is a pipe (or the terminal), else /dev/null.
    pub open_stdin: bool,
    /// Its client; none discards output.
    pub attach: Option<Attach>,
    /// Leave the seccomp filter out.
    pub unconfined: bool,
}

/// What a keeper sends.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    /// Answer to a call.
    Reply {
        /// Number of the call.
        seq: u64,
        /// The answer.
        reply: Reply,
    },
    /// News.
    Event(Event),
}

/// Answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Launch`]. Descriptor: pidfd of the container's first process.
    Launched {
        /// Its host pid.
        pid: u32,
        /// Nanoseconds since 1970.
        started_at: u64,
    },
    /// To [`Request::Adopt`]. Descriptors: pidfd of the first process, then of each exec.
    State {
        /// Host pid of the first process.
        pid: u32,
        /// Nanoseconds since 1970.
        started_at: u64,
        /// Execs that run.
        execs: Vec<ExecState>,
        /// What the keeper speaks.
        #[serde(default = "first_version")]
        version: u32,
    },
    /// To [`Request::Exec`]. Descriptor: pidfd of the process.
    Executed {
        /// Its host pid.
        pid: u32,
    },
    /// To the other requests.
    Done,
    /// It did not work.
    Failed(Failure),
}

/// A running exec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecState {
    /// Its id.
    pub exec_id: String,
    /// Its host pid.
    pub pid: u32,
}

/// A failure, its message complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind.
    pub kind: FailureKind,
    /// What went wrong.
    pub message: String,
}

/// Kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// No such exec.
    NotFound,
    /// It has ended.
    NotRunning,
    /// The request cannot be right.
    Invalid,
    /// The program is not there.
    CommandNotFound,
    /// The program cannot be run.
    CannotInvoke,
    /// This host cannot do it.
    Unsupported,
    /// Anything else.
    Internal,
}

/// News.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The OOM killer took a process.
    Oom,
    /// The container ended; all its output is in the log.
    Ended(Exit),
    /// An exec ended.
    ExecEnded {
        /// Which.
        exec_id: String,
        /// How.
        exit: Exit,
    },
    /// A client is done with.
    AttachmentEnded {
        /// Which.
        token: u64,
        /// By its detach keys.
        detached: bool,
    },
    /// Something went wrong that stops nothing (log not writable, and the like).
    Warning {
        /// What.
        message: String,
    },
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code; 128 + n for signal n.
    pub code: i32,
    /// The OOM killer was at work.
    pub oom_killed: bool,
    /// Nanoseconds since 1970.
    pub finished_at: u64,
}

/// `time` in nanoseconds since 1970.
pub fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The opposite of [`nanoseconds`].
pub fn system_time(nanoseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::{Call, Message, Reply, Request, VERSION};
    use oci::runtime::ConsoleSize;

    /// What keepers of version 1 were sent and sent, to the byte: they live on beside new daemons.
    #[test]
    fn the_first_version_is_still_spoken() {
        let size = ConsoleSize {
            height: 24,
            width: 80,
        };
        let asked = [
            (Request::Adopt, r#"{"seq":1,"request":"Adopt"}"#),
            (
                Request::Resize { exec: None, size },
                r#"{"seq":1,"request":{"Resize":{"exec":null,"size":{"height":24,"width":80}}}}"#,
            ),
        ];
        for (request, frozen) in asked {
            assert_eq!(request.since(), 1);
            let call = Call { seq: 1, request };
            assert_eq!(serde_json::to_string(&call).expect("json"), frozen);
        }
        let state = r#"{"Reply":{"seq":1,"reply":{"State":{"pid":7,"started_at":5,"execs":[]}}}}"#;
        let Ok(Message::Reply {
            reply: Reply::State { pid, version, .. },
            ..
        }) = serde_json::from_str(state)
        else {
            panic!("not understood");
        };
        assert_eq!((pid, version), (7, 1));
    }

    #[test]
    fn a_keeper_tells_what_it_speaks() {
        let reply = Reply::State {
            pid: 7,
            started_at: 5,
            execs: Vec::new(),
            version: VERSION,
        };
        let text = serde_json::to_string(&reply).expect("json");
        assert!(text.ends_with(r#""version":2}}"#), "{text}");
    }
}
