//! A container that another OCI runtime builds: a program with runc's command line.
//!
//! ```text
//!   bundle (a tmpfs in the keeper's own mount namespace): config.json, rootfs, init, …
//!   create ── its standard streams are the container's ──► pid file, terminal by a socket
//!   start · exec · kill · pause · resume · update
//!   delete, when the first process has ended
//! ```
//!
//! While the runtime makes a process the keeper is the subreaper of what it leaves behind, so that it
//! sees the container's processes end as it does with its own. Nothing is mounted in anybody else's namespace, and of
//! the files only the runtime's own state outlives the keeper, in the run directory.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio as Redirect};
use std::time::Duration;

use keeper_protocol::{Exec, Failure, FailureKind, Identity, Launch, Order, Runtime};
use oci::runtime::{Mount, Namespace, Process, Spec, User};
use runtime::{Started, Stdio};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};
use rustix::process::{Pid, PidfdFlags};
use serde::Serialize;

use super::build::{failure, internal};

/// How long one command of a runtime may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Most that is read of its log.
const LONGEST: u64 = 4 << 20;
/// Where `--init` is in the container, as with docker.
const INIT: &str = "/sbin/docker-init";

/// The runtime of this keeper's container.
#[derive(Debug)]
pub(crate) struct Foreign {
    runtime: Runtime,
    id: String,
    /// Where the runtime keeps what it knows.
    state: PathBuf,
    bundle: PathBuf,
}

/// Descriptors of the container that is to be built.
#[derive(Debug)]
pub(crate) struct Sources<'a> {
    pub(crate) rootfs: BorrowedFd<'a>,
    pub(crate) netns: Option<BorrowedFd<'a>>,
    pub(crate) init: Option<BorrowedFd<'a>>,
    pub(crate) trees: &'a [OwnedFd],
}

impl Foreign {
    /// Makes the bundle: everything but the call of the runtime. `dir` is the run directory.
    pub(crate) fn prepare(
        runtime: &Runtime,
        launch: &Launch,
        dir: &Path,
        sources: &Sources<'_>,
    ) -> Result<Self, Failure> {
        let foreign = Self {
            runtime: runtime.clone(),
            id: launch.id.clone(),
            state: dir.join("runtime"),
            bundle: dir.join("bundle"),
        };
        own_mounts().map_err(|e| internal(format!("mount namespace of the bundle: {e}")))?;
        foreign
            .attach(sources)
            .map_err(|e| internal(format!("bundle: {e}")))?;
        let spec = foreign.spec(launch, sources)?;
        write(&foreign.bundle.join("config.json"), &spec)?;
        Ok(foreign)
    }

    /// Mounts the root and the other trees in the bundle.
    fn attach(&self, sources: &Sources<'_>) -> std::io::Result<()> {
        std::fs::create_dir(&self.state)?;
        std::fs::create_dir(&self.bundle)?;
        let tmpfs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&tmpfs, "source", "bundle")?;
        fsconfig_set_string(&tmpfs, "mode", "0700")?;
        fsconfig_create(&tmpfs)?;
        let mount = fsmount(
            &tmpfs,
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::empty(),
        )?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&mount, "", CWD, &self.bundle, flags)?;
        let place = |name: String, tree: BorrowedFd<'_>| -> std::io::Result<()> {
            let at = self.bundle.join(name);
            let stat = rustix::fs::fstat(tree)?;
            match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
                rustix::fs::FileType::Directory => std::fs::create_dir(&at)?,
                _ => drop(File::create_new(&at)?),
            }
            Ok(move_mount(tree, "", CWD, &at, flags)?)
        };
        place("rootfs".into(), sources.rootfs)?;
        for (number, tree) in sources.trees.iter().enumerate() {
            place(format!("tree-{number}"), tree.as_fd())?;
        }
        if let Some(init) = sources.init {
            let mut program = File::from(init.try_clone_to_owned()?);
            let mut copy = File::options()
                .write(true)
                .create_new(true)
                .mode(0o755)
                .open(self.bundle.join("init"))?;
            std::io::Seek::rewind(&mut program)?;
            std::io::copy(&mut program, &mut copy)?;
        }
        Ok(())
    }

    /// The specification with everything in it that the built-in runtime is told otherwise.
    fn spec(&self, launch: &Launch, sources: &Sources<'_>) -> Result<Spec, Failure> {
        let mut spec = launch.spec.clone();
        let path = |name: &str| self.bundle.join(name).to_string_lossy().into_owned();
        spec.root.get_or_insert_default().path = path("rootfs");
        let process = spec
            .process
            .as_mut()
            .ok_or_else(|| failure(FailureKind::Invalid, "spec without process"))?;
        process.user = user(&process.user, &launch.identity, sources.rootfs)?;
        // The keeper's own is not for its container.
        process.oom_score_adj.get_or_insert(0);
        for (number, destination) in launch.trees.iter().enumerate() {
            let source = path(&format!("tree-{number}"));
            let mounts = spec.mounts.iter_mut();
            for mount in mounts.filter(|mount| mount.destination == *destination) {
                mount.source.clone_from(&source);
            }
        }
        if sources.init.is_some() {
            process
                .args
                .splice(0..0, [INIT.to_owned(), "init".to_owned(), "--".to_owned()]);
            spec.mounts.push(Mount {
                destination: INIT.into(),
                kind: "bind".into(),
                source: path("init"),
                options: ["bind", "ro"].map(str::to_owned).into(),
                ..Mount::default()
            });
        }
        if let Some(netns) = sources.netns {
            let namespace = Namespace {
                kind: "network".into(),
                path: format!("/proc/{}/fd/{}", std::process::id(), netns.as_raw_fd()),
            };
            let namespaces = &mut spec.linux.get_or_insert_default().namespaces;
            namespaces.retain(|namespace| namespace.kind != "network");
            namespaces.push(namespace);
        }
        Ok(spec)
    }

    /// `create` and `start`. After a failure nothing of the container is left.
    pub(crate) fn launch(&self, stdio: &Stdio<'_>) -> Result<Started, Failure> {
        let created = self.create(stdio);
        let started = created.and_then(|started| {
            let mut command = self.command("start");
            command.arg(&self.id);
            self.run(&mut command, "start").map(|()| started)
        });
        if started.is_err() {
            self.delete();
        }
        started
    }

    fn create(&self, stdio: &Stdio<'_>) -> Result<Started, Failure> {
        let mut command = self.command("create");
        command.arg("--bundle").arg(&self.bundle);
        self.begin(command, "create", stdio)
    }

    /// One more process.
    pub(crate) fn exec(
        &self,
        exec: &Exec,
        target: u32,
        stdio: &Stdio<'_>,
    ) -> Result<Started, Failure> {
        let root = format!("/proc/{target}/root");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&root, flags, Mode::empty())
            .map_err(|e| internal(format!("open {root}: {e}")))?;
        let mut process = Process {
            user: user(&exec.process.user, &exec.identity, root.as_fd())?,
            ..exec.process.clone()
        };
        process.oom_score_adj.get_or_insert(0);
        let file = self.bundle.join(format!("process-{}.json", exec.exec_id));
        write(&file, &process)?;
        let mut command = self.command("exec");
        command.arg("--detach").arg("--process").arg(&file);
        let started = self.begin(command, "exec", stdio);
        let _ = std::fs::remove_file(&file);
        started
    }

    /// What the daemon wants of the runtime.
    pub(crate) fn order(&self, order: &Order) -> Result<(), Failure> {
        let (name, more) = match order {
            Order::Kill(signal) => ("kill", Some(signal.to_string())),
            Order::Pause => ("pause", None),
            Order::Resume => ("resume", None),
            Order::Update(resources) => {
                let file = self.bundle.join("resources.json");
                write(&file, resources)?;
                let mut command = self.command("update");
                command.arg("--resources").arg(&file).arg(&self.id);
                return self.run(&mut command, "update");
            }
        };
        let mut command = self.command(name);
        command.arg(&self.id).args(more);
        self.run(&mut command, name)
    }

    /// Takes away what the runtime keeps of a container that has ended, or could not begin.
    pub(crate) fn delete(&self) {
        let mut command = self.command("delete");
        command.arg("--force").arg(&self.id);
        // What is left of it after a failure, the daemon clears by the cgroup.
        let _ = self.run(&mut command, "delete");
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.runtime.path);
        command
            .args(&self.runtime.args)
            .arg("--root")
            .arg(&self.state)
            .arg("--log")
            .arg(self.log())
            .args(["--log-format", "json"]);
        if self.runtime.systemd {
            command.arg("--systemd-cgroup");
        }
        command
            .arg(name)
            .current_dir(&self.bundle)
            .stdin(Redirect::null())
            .stdout(Redirect::null())
            .stderr(Redirect::null());
        // All of its surroundings: the daemon's are not for keepers.
        command.env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        );
        command
    }

    fn log(&self) -> PathBuf {
        self.bundle.join("log.json")
    }

    /// `create` or `exec`: makes a process whose streams are these.
    fn begin(
        &self,
        mut command: Command,
        name: &str,
        stdio: &Stdio<'_>,
    ) -> Result<Started, Failure> {
        let pid_file = self.bundle.join("pid");
        let _ = std::fs::remove_file(&pid_file);
        command.arg("--pid-file").arg(&pid_file);
        let mut console = None;
        match stdio {
            Stdio::Fds(fds) => {
                let [stdin, stdout, stderr] = fds
                    .map(|fd| fd.try_clone_to_owned())
                    .map(|fd| fd.map(Redirect::from));
                command.stdin(stdin.map_err(internal)?);
                command.stdout(stdout.map_err(internal)?);
                command.stderr(stderr.map_err(internal)?);
            }
            Stdio::Terminal(_) => {
                let path = self.bundle.join("console");
                let _ = std::fs::remove_file(&path);
                // Its own path may be longer than an address allows.
                let here = File::open(&self.bundle).map_err(internal)?;
                let (pid, number) = (std::process::id(), here.as_raw_fd());
                let short = format!("/proc/{pid}/fd/{number}/console");
                let listener = UnixListener::bind(&short).map_err(internal)?;
                console = Some((listener, here));
                command.args(["--console-socket", &short]);
            }
        }
        command.arg(&self.id);
        // No longer than that: orphans of a container with the host's pids are not the keeper's.
        adopt_orphans(true)?;
        let made = self.run(&mut command, name);
        adopt_orphans(false)?;
        made?;
        let text = std::fs::read_to_string(&pid_file)
            .map_err(|e| internal(format!("pid file of the runtime: {e}")))?;
        let pid = text.trim().parse().ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| internal(format!("pid file of the runtime: {text:?}")))?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())
            .map_err(|e| internal(format!("pidfd of the runtime's process: {e}")))?;
        let terminal = console
            .map(|(console, _here)| receive(&console))
            .transpose()?;
        if let (Some(terminal), Stdio::Terminal(Some(size))) = (&terminal, stdio) {
            let size = rustix::termios::Winsize {
                ws_row: size.height,
                ws_col: size.width,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            let _ = rustix::termios::tcsetwinsize(terminal, size);
        }
        Ok(Started {
            pid: pid.as_raw_pid().unsigned_abs(),
            pidfd,
            mntns: None,
            terminal,
        })
    }

    /// Runs one command to its end; what its log says went wrong is the failure.
    fn run(&self, command: &mut Command, name: &str) -> Result<(), Failure> {
        let _ = std::fs::remove_file(self.log());
        let path = self.runtime.path.display();
        let mut child = command.spawn().map_err(|e| {
            let text = match e.kind() {
                std::io::ErrorKind::NotFound => "no such file or directory".into(),
                std::io::ErrorKind::PermissionDenied => "permission denied".into(),
                _ => e.to_string(),
            };
            internal(format!(
                "OCI runtime {name} failed: unable to retrieve OCI runtime error: fork/exec {path}: \
                 {text}: unknown"
            ))
        })?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pidfd = pid.map(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()));
        if let Some(Ok(pidfd)) = pidfd {
            let mut waited = [PollFd::new(&pidfd, PollFlags::IN)];
            let patience = Timespec::try_from(PATIENCE).unwrap_or_default();
            let ended = loop {
                match poll(&mut waited, Some(&patience)) {
                    Err(Errno::INTR) => {}
                    other => break other.is_ok_and(|ready| ready > 0),
                }
            };
            if !ended {
                let _ = child.kill();
                let _ = child.wait();
                return Err(internal(format!(
                    "OCI runtime {name} failed: {path} did not end within {} s",
                    PATIENCE.as_secs()
                )));
            }
        }
        let status = child.wait().map_err(internal)?;
        if status.success() {
            return Ok(());
        }
        let mut log = Vec::new();
        let read = File::open(self.log()).and_then(|file| file.take(LONGEST).read_to_end(&mut log));
        let told = read.ok().and_then(|_| last_error(&log));
        let reason = told.unwrap_or_else(|| {
            format!("unable to retrieve OCI runtime error (empty log): {path}: {status}")
        });
        Err(internal(format!(
            "OCI runtime {name} failed: {reason}: unknown"
        )))
    }
}

/// The last error in a log: one JSON object after the other, which need not be lines. What is cut
/// off or is no text does not hide what was told before it.
fn last_error(log: &[u8]) -> Option<String> {
    let objects = serde_json::Deserializer::from_slice(log).into_iter::<serde_json::Value>();
    let errors = objects.map_while(Result::ok).filter_map(|line| {
        let is_error = matches!(line["level"].as_str(), Some("error" | "fatal"));
        let message = line["msg"].as_str()?.trim().to_owned();
        is_error.then_some(message)
    });
    errors.last()
}

/// What the runtime leaves behind becomes the keeper's child.
fn adopt_orphans(adopt: bool) -> Result<(), Failure> {
    let own = adopt.then(rustix::process::getpid);
    rustix::process::set_child_subreaper(own)
        .map_err(|e| internal(format!("subreaper of the runtime's processes: {e}")))
}

/// A mount namespace of the keeper's own, which goes on to see what the host mounts.
fn own_mounts() -> Result<(), Errno> {
    sys::process::unshare(sys::process::NEW_MOUNT_NAMESPACE)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open("/", flags, Mode::empty())?;
    let attr = sys::mount::MountAttr {
        propagation: sys::mount::SLAVE,
        ..sys::mount::MountAttr::default()
    };
    sys::mount::set_attr(top.as_fd(), &attr, true)
}

/// A file of the bundle, which only root may look into.
fn write(path: &Path, content: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_vec(content).map_err(internal)?;
    std::fs::write(path, text).map_err(|e| internal(format!("{}: {e}", path.display())))
}

/// Numbers for names, by the files in the container's root.
fn user(default: &User, identity: &Identity, root: BorrowedFd<'_>) -> Result<User, Failure> {
    let names = runtime::Identity {
        user: &identity.user,
        extra_groups: &identity.extra_groups,
    };
    runtime::resolve_user_of(root, default, &names).map_err(super::build::from_runtime)
}

/// The terminal that the runtime has sent; it is there when the runtime has ended well.
fn receive(console: &UnixListener) -> Result<OwnedFd, Failure> {
    let missing = |what: &str| internal(format!("the runtime sent no terminal: {what}"));
    console
        .set_nonblocking(true)
        .map_err(|e| missing(&e.to_string()))?;
    let (socket, _) = console.accept().map_err(|e| missing(&e.to_string()))?;
    let mut name = [0_u8; 4096];
    let mut received =
        sys::fdpass::recv(socket.as_fd(), &mut name, 1).map_err(|e| missing(&e.to_string()))?;
    received
        .fds
        .pop()
        .ok_or_else(|| missing("an empty message"))
}

#[cfg(test)]
mod tests {
    use super::last_error;

    #[test]
    fn the_last_error_of_a_log() {
        let log = br#"{"level":"error","msg":"first"}{"level":"error","msg":" second "}
            {"level":"info","msg":"third"}"#;
        assert_eq!(last_error(log).as_deref(), Some("second"));
        let cut = [&log[..], b"{\"level\":\"error\",\"msg\":\"\xff\xc3"].concat();
        assert_eq!(last_error(&cut).as_deref(), Some("second"));
        assert_eq!(last_error(b"panic: no JSON"), None);
    }
}
