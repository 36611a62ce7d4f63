//! What the tests and the measurement share: a root file system, a `Linux`, clients, a look for
//! what is left behind.

#[path = "../../../runtime/tests/support/mod.rs"]
mod support;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use compute::*;
use compute_linux::{Config, Linux};
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;

pub use support::{Lab, linux, process, spec};

pub struct Bed {
    pub lab: Lab,
    pub run: PathBuf,
    pub cgroups: String,
    count: std::sync::atomic::AtomicU32,
}

impl Bed {
    pub fn new() -> Option<Self> {
        let lab = Lab::new()?;
        Some(Self {
            run: lab.dir.join("run"),
            lab,
            cgroups: format!("corten-test-{}", std::process::id()),
            count: Default::default(),
        })
    }

    pub fn compute(&self) -> Linux {
        let run_dir = self.run.clone();
        Linux::new(Config {
            run_dir,
            systemd_cgroups: false,
        })
        .unwrap()
    }

    pub fn id(&self) -> String {
        let n = self
            .count
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        format!("{n:064x}")
    }

    /// A container that runs `args`, with a network namespace of its own that has nothing.
    pub fn launch(&self, args: &[&str]) -> Launch {
        let id = self.id();
        let mut spec = spec(args, true);
        linux(&mut spec).cgroups_path = format!("{}/{id}", self.cgroups);
        Launch {
            trees: Vec::new(),
            log: Log::File(compute::LogFile {
                format: compute::LogFormat::Json,
                compress: false,
                buffer: None,
                path: self.log(&id),
                max_size: 0,
                max_files: 1,
                attrs: String::new(),
            }),
            id,
            spec,
            runtime: None,
            rootfs: self.lab.rootfs(),
            netns: None,
            identity: Identity::default(),
            create_cwd: false,
            init: false,
            open_stdin: false,
            stdin_once: false,
            attachments: Vec::new(),
            ports: Vec::new(),
        }
    }

    pub fn log(&self, id: &str) -> PathBuf {
        self.lab.dir.join(format!("{id}.log"))
    }

    /// Text of the log, by stream.
    pub fn logged(&self, id: &str, stream: &str) -> String {
        let text = std::fs::read_to_string(self.log(id)).unwrap();
        let entries = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        entries
            .filter(|e| e["stream"] == stream)
            .map(|e| e["log"].as_str().unwrap().to_owned())
            .collect()
    }

    pub fn keeper_dir(&self, id: &str) -> PathBuf {
        self.run.join("containers").join(id)
    }

    /// Nothing may be left on the host.
    pub fn check_clean(&self) {
        let left: Vec<_> = std::fs::read_dir(self.run.join("containers"))
            .unwrap()
            .flatten()
            .collect();
        assert!(left.is_empty(), "run directories left: {left:?}");
        let layout = cgroup::Layout::detect().unwrap();
        if let Some(parent) = cgroup::Cgroup::open(&layout, &self.cgroups).unwrap() {
            for (path, _, _) in parent.directories() {
                let below = std::fs::read_dir(path).unwrap().flatten();
                let below: Vec<_> = below.filter(|e| e.file_type().unwrap().is_dir()).collect();
                assert!(below.is_empty(), "cgroups left: {below:?}");
            }
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(" - overlay "), "{mounts}");
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let layout = cgroup::Layout::detect().unwrap();
        if let Some(parent) = cgroup::Cgroup::open(&layout, &self.cgroups).unwrap() {
            parent.remove().unwrap();
        }
    }
}

/// The test's end of an attached client.
pub struct Client {
    pub stream: tokio::net::UnixStream,
    pub ended: oneshot::Receiver<AttachEnd>,
}

/// A client of stdin (if told), stdout and stderr.
pub fn client(stdin: bool) -> (Attachment, Client) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let (tell, ended) = oneshot::channel();
    let attachment = Attachment {
        stream: OwnedFd::from(theirs),
        already_read: Vec::new(),
        framed: true,
        stdin,
        stdout: true,
        stderr: true,
        detach_keys: vec![16, 17],
        ended: Some(tell),
    };
    let stream = tokio::net::UnixStream::from_std(ours).unwrap();
    (attachment, Client { stream, ended })
}

impl Client {
    /// Everything up to the end.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        within(self.stream.read_to_end(&mut all)).await.unwrap();
        all
    }

    /// Up to and with `end`.
    pub async fn until(&mut self, end: &str) -> String {
        let mut all = Vec::new();
        while !String::from_utf8_lossy(&all).contains(end) {
            let mut part = [0; 1024];
            let n = within(self.stream.read(&mut part)).await.unwrap();
            assert!(n > 0, "ended after {:?}", String::from_utf8_lossy(&all));
            all.extend_from_slice(&part[..n]);
        }
        String::from_utf8(all).unwrap()
    }
}

/// Takes a multiplexed stream apart: stdout, stderr.
pub fn split(mut data: &[u8]) -> [String; 2] {
    let mut out = [Vec::new(), Vec::new()];
    while !data.is_empty() {
        let (head, rest) = data.split_at(8);
        let length = u32::from_be_bytes(head[4..].try_into().unwrap()) as usize;
        out[usize::from(head[0]) - 1].extend_from_slice(&rest[..length]);
        data = &rest[length..];
    }
    out.map(|o| String::from_utf8(o).unwrap())
}

/// A test must fail, not hang.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, future).await.expect("in time")
}

/// The end of a container, and whether its OOM killer was told of.
pub async fn end(running: &mut Running) -> (Exit, bool) {
    let mut oom = false;
    loop {
        match within(running.notices.recv()).await.expect("an end") {
            Notice::Oom => oom = true,
            Notice::Exited(exit) => return (exit, oom),
        }
    }
}

/// Pid of the container's keeper.
pub fn keeper(running: &Running) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid)).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("PPid:"));
    line.unwrap().trim().parse().unwrap()
}
