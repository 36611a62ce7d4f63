//! criu(8), the program that writes processes to files and makes them again, by its RPC: a worker
//! (`criu swrk`) is started for each request and talked to over a socket of packets.

pub(crate) mod checkpoint;
mod message;
mod mounts;
mod options;
pub(crate) mod restore;

use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::io::FdFlags;

use self::message::{Kind, Response};
use self::options::Opened;
use super::fail::{During, Fail, Result};
use super::log::Log;

const PROGRAM: &str = "criu";
/// The RPC is complete since 3.0.
const OLDEST: u64 = 30_000;
/// Longest message of criu's.
const LONGEST: usize = 40 << 10;
/// Names the processes' standard streams as they were dumped, for restore.
const DESCRIPTORS: &str = "descriptors.json";

/// A worker.
#[derive(Debug)]
struct Worker {
    child: Child,
    socket: Option<OwnedFd>,
    /// What it opens through this process.
    opened: Option<Opened>,
}

impl Worker {
    /// Starts one. It has this process's standard streams with `streams`, else none, and of the
    /// other descriptors those of `keep`, under their numbers.
    fn start(streams: bool, keep: &[BorrowedFd<'_>]) -> Result<Self> {
        let (socket, theirs) = sys::fdpass::seqpacket_pair().during("make", "socket")?;
        sys::process::cloexec_from(3).during("close", "descriptors")?;
        for fd in keep.iter().copied().chain([theirs.as_fd()]) {
            rustix::io::fcntl_setfd(fd, FdFlags::empty()).during("keep", "descriptor")?;
        }
        let stream = || match streams {
            true => Stdio::inherit(),
            false => Stdio::null(),
        };
        let child = Command::new(PROGRAM)
            .arg("swrk")
            .arg(theirs.as_raw_fd().to_string())
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .spawn();
        let child = child.map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Fail::Said(format!(
                "exec: {PROGRAM:?}: executable file not found in $PATH"
            )),
            _ => Fail::Said(format!("exec: {PROGRAM:?}: {e}")),
        })?;
        Ok(Self {
            child,
            socket: Some(socket),
            opened: None,
        })
    }

    /// Keeps these directories open as long as it works.
    fn holding(mut self, opened: Opened) -> Self {
        self.opened = Some(opened);
        self
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a request and gives the answer; notifications before it go to `notified`, with the
    /// descriptors that came along, and criu goes on when it returns.
    fn ask(
        mut self,
        request: &[u8],
        notified: &mut dyn FnMut(&Response, Vec<OwnedFd>) -> Result<()>,
    ) -> Result<Response> {
        let answer = match &self.socket {
            Some(socket) => converse(socket, request, notified),
            None => Err(Fail::said("criu has no socket")),
        };
        // It ends with the connection, whatever it was doing; a dump lets the processes go on.
        self.socket = None;
        self.opened = None;
        let status = self.child.wait().during("wait for", PROGRAM)?;
        let answer = answer?;
        match status.success() || answer.kind == Some(Kind::PreDump) {
            true => Ok(answer),
            false => Err(Fail::Said(format!("criu failed: {status}"))),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.socket.take().is_some() {
            let _ = self.child.wait();
        }
    }
}

fn converse(
    socket: &OwnedFd,
    request: &[u8],
    notified: &mut dyn FnMut(&Response, Vec<OwnedFd>) -> Result<()>,
) -> Result<Response> {
    sys::fdpass::send(socket.as_fd(), request, &[]).during("write to", PROGRAM)?;
    let mut buffer = vec![0; LONGEST];
    loop {
        let received = match sys::fdpass::recv(socket.as_fd(), &mut buffer, 4) {
            Err(sys::Errno::INTR) => continue,
            other => other.during("read from", PROGRAM)?,
        };
        let bytes = buffer.get(..received.len).unwrap_or_default();
        if bytes.is_empty() {
            return Err(Fail::said("criu failed: unexpected EOF"));
        }
        let Some(response) = Response::parse(bytes) else {
            return Err(Fail::said("unable to parse the response of criu"));
        };
        let Some(kind) = response.kind else {
            return Err(Fail::said("criu sent a response of unknown type"));
        };
        if !response.success {
            let mut text = format!("criu failed: type {} errno {}", kind.name(), response.errno);
            if !response.message.is_empty() {
                text.push_str(&format!(": {}", response.message.trim_end()));
            }
            return Err(Fail::Said(text));
        }
        if kind != Kind::Notify {
            return Ok(response);
        }
        notified(&response, received.fds)?;
        sys::fdpass::send(socket.as_fd(), &message::acknowledgement(), &[])
            .during("write to", PROGRAM)?;
    }
}

/// The version of the criu there is, which must be one that can be talked to.
fn version() -> Result<u64> {
    let check = || {
        let worker = Worker::start(false, &[])?;
        worker.ask(&message::version_request(), &mut |_, _| Ok(()))
    };
    let version = check()
        .map_err(|e| e.during("CRIU version check failed"))?
        .version;
    match version < OLDEST {
        true => Err(Fail::Said(format!(
            "CRIU version {version} must be {OLDEST} or higher"
        ))),
        false => Ok(version),
    }
}

/// What the kernel and criu can do together.
fn features() -> Result<Response> {
    let worker = Worker::start(false, &[])?;
    worker
        .ask(&message::feature_request(), &mut |_, _| Ok(()))
        .map_err(|e| e.during("CRIU feature check failed"))
}

/// Adds the log's place to an error, and quotes its errors with a few lines before each.
fn explain(log: &Log, error: Fail, file: &Path) -> Fail {
    const BEFORE: usize = 5;
    let told = Fail::Said(format!("{error} (log file: {})", file.display()));
    let Ok(opened) = std::fs::File::open(file) else {
        return told;
    };
    let lines: Vec<String> = BufReader::new(opened)
        .lines()
        .map_while(std::io::Result::ok)
        .collect();
    let mut next = 0;
    for (at, _) in lines
        .iter()
        .enumerate()
        .filter(|(_, l)| l.contains("Error"))
    {
        if next == 0 {
            log.warn(&format!("--- Quoting {:?}", file.display().to_string()));
        }
        let from = at.saturating_sub(BEFORE).max(next);
        if next != 0 && from > next {
            log.warn("...");
        }
        for (n, line) in lines.iter().enumerate().take(at + 1).skip(from) {
            log.warn(&format!("{}:{line}", n + 1));
        }
        next = at + 1;
    }
    if next != 0 {
        log.warn("---");
    }
    told
}
