//! One engine with namespaces, directories and a cgroup parent of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::http::{self, Response};
use crate::terminal::Terminal;
use crate::{image, leaks};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// How a lab is made.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// More flags of the daemon.
    pub flags: Vec<String>,
    /// Put the data root on a tmpfs of this many MiB.
    pub disk: Option<u32>,
    /// Leave the busybox image out.
    pub no_image: bool,
    /// The daemon's configuration file; else it is empty.
    pub config: Option<String>,
    /// Texts of files that the daemon sees in place of the host's, which must be there.
    pub files: Vec<(String, String)>,
}

/// One engine and its surroundings.
#[derive(Debug)]
pub struct Lab {
    dir: tempfile::TempDir,
    /// Holds the namespaces while the engine is down.
    holder: Child,
    daemon: Option<Child>,
    options: Options,
    /// Another file of the program, for the daemon alone.
    program: Option<PathBuf>,
    pub(crate) cgroup: String,
    mounts_before: Vec<String>,
}

/// What a client's run came to.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; -1 for a signal.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Lab {
    /// An engine with the image `bb`.
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    /// An engine made as `options` say.
    pub fn with(options: Options) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("corten-e2e-")
            .tempdir()
            .expect("temp dir");
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let cgroup = format!("/corten-e2e-{}-{number}", std::process::id());
        let holder = Command::new("unshare")
            .args(["--net", "--mount", "--propagation", "private", "sh", "-c"])
            .arg("ip link set lo up && mount -t tmpfs tmpfs /run && echo ready && exec sleep infinity")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut lab = Self {
            dir,
            holder,
            daemon: None,
            options,
            program: None,
            cgroup,
            mounts_before: Vec::new(),
        };
        lab.await_holder();
        if let Some(size) = lab.options.disk {
            std::fs::create_dir(lab.data_root()).expect("data root");
            let root = lab.data_root().display().to_string();
            let size = format!("size={size}m");
            assert_eq!(
                lab.inside(&["mount", "-t", "tmpfs", "-o", &size, "tmpfs", &root])
                    .code,
                0
            );
        }
        for (number, (path, text)) in lab.options.files.iter().enumerate() {
            let own = lab.path(&format!("file-{number}"));
            std::fs::write(&own, text).expect("file");
            let own = own.display().to_string();
            assert_eq!(
                lab.inside(&["mount", "--bind", &own, path]).code,
                0,
                "{path}"
            );
        }
        lab.mounts_before = lab.mounts();
        lab.start_daemon();
        if !lab.options.no_image {
            lab.import("bb", &image::busybox());
        }
        lab
    }

    fn await_holder(&mut self) {
        use std::io::Read as _;
        let mut ready = [0; 6];
        let output = self.holder.stdout.as_mut().expect("piped");
        output
            .read_exact(&mut ready)
            .expect("the holder of the namespaces");
    }

    /// Imports a root file system as an image.
    pub fn import(&self, name: &str, tar: &[u8]) {
        let file = self.path(&format!("{name}.tar"));
        std::fs::write(&file, tar).expect("tar");
        self.ok(&["import", &file.display().to_string(), name]);
    }

    /// A path below the lab's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new directory of the lab's.
    #[track_caller]
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir(&path).expect("a directory");
        path
    }

    /// The engine's data root.
    pub fn data_root(&self) -> PathBuf {
        self.path("data")
    }

    /// The engine's exec root.
    pub fn exec_root(&self) -> PathBuf {
        self.path("run")
    }

    /// The engine's socket.
    pub fn socket(&self) -> PathBuf {
        self.path("corten.sock")
    }

    /// `unix://…` of it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Pid of the daemon.
    pub fn daemon_pid(&self) -> u32 {
        self.daemon
            .as_ref()
            .map(Child::id)
            .expect("a running daemon")
    }

    /// The daemon's command with the lab's flags, and its log at the end of the lab's.
    pub fn daemon_command(&self) -> Command {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("daemon.log"));
        let log = log.expect("daemon.log");
        // A file named on the command line must be there; this one keeps the host's out.
        let config = self.path("daemon.json");
        if !config.exists() {
            let text = self.options.config.as_deref().unwrap_or("{}");
            std::fs::write(&config, text).expect("daemon.json");
        }
        let mut command = match &self.program {
            Some(program) => self.entered(&program.display().to_string()),
            None => self.entered(&corten()),
        };
        command
            .args(["daemon", "--config-file", &config.display().to_string()])
            .args(["-H", &self.host()])
            .args(["--data-root", &self.data_root().display().to_string()])
            .args(["--exec-root", &self.exec_root().display().to_string()])
            .args(["--pidfile", &self.path("pid").display().to_string()])
            .args(["--cgroup-parent", &self.cgroup])
            .args(&self.options.flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("daemon.log"))
            .stderr(log);
        command
    }

    /// More flags for the next start of the daemon, in place of those before.
    pub fn set_flags(&mut self, flags: &[&str]) {
        self.options.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    }

    /// A copy of the program under this name of the lab's, which the daemon is from its next start on.
    pub fn install(&mut self, name: &str) {
        let copy = self.path(name);
        std::fs::copy(corten(), &copy).expect("a copy of the program");
        self.program = Some(copy);
    }

    /// Starts the engine and waits until it answers.
    pub fn start_daemon(&mut self) {
        let mut command = self.daemon_command();
        let mut daemon = command.spawn().expect("daemon");
        let socket = self.socket();
        let (mut ended, mut answers) = (false, false);
        wait_for(Duration::from_secs(20), || {
            ended = daemon.try_wait().expect("daemon").is_some();
            answers = std::os::unix::net::UnixStream::connect(&socket).is_ok()
                && self.get("/_ping").status == 200;
            ended || answers
        });
        if ended {
            panic!("the daemon ended:\n{}", self.daemon_log());
        }
        self.daemon = Some(daemon);
        assert!(
            answers,
            "the daemon does not answer:\n{}",
            self.daemon_log()
        );
    }

    /// What the daemon said.
    pub fn daemon_log(&self) -> String {
        std::fs::read_to_string(self.path("daemon.log")).unwrap_or_default()
    }

    /// Ends the daemon by SIGKILL; containers stay.
    pub fn kill_daemon(&mut self) {
        let mut daemon = self.daemon.take().expect("a running daemon");
        daemon.kill().expect("SIGKILL");
        daemon.wait().expect("daemon");
    }

    /// Waits for the end of a daemon that a test killed by its pid.
    #[track_caller]
    pub fn bury_daemon(&mut self) {
        let mut daemon = self.daemon.take().expect("a running daemon");
        let ended = wait_for(LONG, || daemon.try_wait().expect("daemon").is_some());
        assert!(ended, "the daemon goes on:\n{}", self.daemon_log());
    }

    /// Asks the daemon to end and waits for it.
    pub fn stop_daemon(&mut self) {
        let mut daemon = self.daemon.take().expect("a running daemon");
        signal(daemon.id(), "TERM");
        let ended = wait_for(Duration::from_secs(20), || {
            daemon.try_wait().expect("daemon").is_some()
        });
        assert!(ended, "the daemon does not stop:\n{}", self.daemon_log());
    }

    /// The stock docker CLI against this engine.
    pub fn docker(&self, args: &[&str]) -> Ran {
        Ran::from(
            self.docker_command(args)
                .stdin(Stdio::null())
                .output()
                .expect("docker"),
        )
    }

    /// The same, with text on its standard input.
    pub fn docker_with(&self, args: &[&str], input: &str) -> Ran {
        use std::io::Write as _;
        let mut child = self
            .docker_command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker");
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(input.as_bytes())
            .expect("input");
        Ran::from(child.wait_with_output().expect("docker"))
    }

    /// A docker command that goes on beside the test, its three streams piped.
    pub fn spawn(&self, args: &[&str]) -> Child {
        self.docker_command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker")
    }

    /// A docker command at a terminal.
    pub fn terminal(&self, args: &[&str]) -> Terminal {
        Terminal::run(&self.docker_command(args))
    }

    /// The command, to be run in whatever way a test needs.
    pub fn docker_command(&self, args: &[&str]) -> Command {
        let mut command = self.entered("docker");
        command.args(["-H", &self.host()]).args(args);
        command
            .env("DOCKER_CONFIG", self.path("docker-config"))
            .env("DOCKER_CLI_HINTS", "false");
        command
    }

    /// Corten's own CLI against this engine.
    pub fn corten(&self, args: &[&str]) -> Ran {
        let mut command = self.corten_command(args);
        Ran::from(command.stdin(Stdio::null()).output().expect("corten"))
    }

    /// The same at a terminal.
    pub fn corten_terminal(&self, args: &[&str]) -> Terminal {
        Terminal::run(&self.corten_command(args))
    }

    /// The command, to be run in whatever way a test needs.
    pub fn corten_command(&self, args: &[&str]) -> Command {
        let mut command = self.entered(&corten());
        command
            .args(["-H", &self.host()])
            .args(args)
            .env("DOCKER_CONFIG", self.path("docker-config"));
        command
    }

    /// Standard output of a docker command that must succeed, without the last newline.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let ran = self.docker(args);
        assert_eq!(
            ran.code,
            0,
            "docker {args:?}: {ran:?}\n{}",
            self.daemon_log()
        );
        ran.out.trim_end().to_owned()
    }

    /// Standard error of a docker command that must fail with this code.
    #[track_caller]
    pub fn fails(&self, code: i32, args: &[&str]) -> String {
        let ran = self.docker(args);
        assert_eq!(ran.code, code, "docker {args:?}: {ran:?}");
        ran.err
    }

    /// A program in the lab's namespaces.
    pub fn inside(&self, words: &[&str]) -> Ran {
        Ran::from(
            self.entered(words[0])
                .args(&words[1..])
                .stdin(Stdio::null())
                .output()
                .expect(words[0]),
        )
    }

    /// A program in the namespaces of the lab, to be run in whatever way a test needs.
    pub fn entered(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--net",
            "--mount",
            "--target",
            &self.holder.id().to_string(),
            "--",
            program,
        ]);
        command
    }

    /// `GET path` by hand.
    pub fn get(&self, path: &str) -> Response {
        http::request(
            &self.socket(),
            &format!("GET {path} HTTP/1.1\r\nHost: d\r\n\r\n"),
        )
    }

    /// Any method with a JSON body by hand.
    pub fn send(&self, method: &str, path: &str, body: &str) -> Response {
        self.raw(&http::with_json(method, path, body))
    }

    /// The same to an engine that may be killed meanwhile: none when it gave no whole answer.
    pub fn attempt(&self, method: &str, path: &str, body: &str) -> Option<Response> {
        http::attempt(&self.socket(), &http::with_json(method, path, body))
    }

    /// A request's text as it stands.
    pub fn raw(&self, text: &str) -> Response {
        http::request(&self.socket(), text)
    }

    /// Now, for `--since` and `--until`.
    pub fn now(&self) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.expect("after 1970");
        format!("{}.{:09}", now.as_secs(), now.subsec_nanos())
    }

    /// A field of `docker inspect`.
    #[track_caller]
    pub fn inspect(&self, name: &str, format: &str) -> String {
        self.ok(&["inspect", "--format", format, name])
    }

    /// `docker image inspect --format`: where a container's ID may begin with the image's name.
    #[track_caller]
    pub fn inspect_image(&self, name: &str, format: &str) -> String {
        self.ok(&["image", "inspect", "--format", format, name])
    }

    /// The keeper of a container that runs: the parent of its first process.
    #[track_caller]
    pub fn keeper(&self, name: &str) -> u32 {
        let pid = self.inspect(name, "{{.State.Pid}}");
        let parent = parent(pid.parse().expect("pid"));
        parent.unwrap_or_else(|| panic!("{name} does not run"))
    }

    /// Waits until `docker inspect` shows this.
    #[track_caller]
    pub fn becomes(&self, name: &str, format: &str, want: &str) {
        let came = wait_for(LONG, || self.inspect(name, format) == want);
        assert!(
            came,
            "{name}: {}, not {want}: {}",
            self.inspect(name, format),
            self.inspect(name, "{{json .State}}")
        );
    }

    /// Runs a container that does nothing, in the background.
    #[track_caller]
    pub fn sleeper(&self, name: &str, options: &[&str]) {
        let run = ["run", "-d", "--name", name];
        self.ok(&[&run[..], options, &["bb", "sleep", "1000"]].concat());
    }

    /// Events since then, one a line, that these filters let through.
    #[track_caller]
    pub fn events(&self, since: &str, filters: &[&str], format: &str) -> String {
        let now = self.now();
        let mut all = vec!["events", "--since", since, "--until", &now];
        all.extend(filters.iter().flat_map(|filter| ["--filter", filter]));
        all.extend(["--format", format]);
        self.ok(&all)
    }

    pub(crate) fn mounts(&self) -> Vec<String> {
        let path = format!("/proc/{}/mountinfo", self.holder.id());
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.split(' ').nth(4))
            .map(str::to_owned)
            .collect()
    }

    /// A path as the lab's mount namespace has it, for file systems that only it sees.
    pub fn seen(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(path.strip_prefix("/").expect("an absolute path"))
    }

    pub(crate) fn holder_pid(&self) -> u32 {
        self.holder.id()
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let mut found = Vec::new();
        if self.daemon.is_none() && !std::thread::panicking() {
            self.start_daemon();
        }
        if self.daemon.is_some() {
            let all = self.docker(&["ps", "-aq"]);
            let ids: Vec<&str> = all.out.split_whitespace().collect();
            if !ids.is_empty() {
                let removed = self.docker(&[&["rm", "-f", "-v"], ids.as_slice()].concat());
                if removed.code != 0 {
                    found.push(format!(
                        "containers that cannot be removed: {}",
                        removed.err
                    ));
                }
            }
            found.extend(leaks::files(self));
            if let Some(mut daemon) = self.daemon.take() {
                signal(daemon.id(), "TERM");
                let _ = daemon.wait();
            }
        }
        if std::thread::panicking() {
            leaks::clear(self);
        }
        found.extend(leaks::host(self, &self.mounts_before));
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        if !found.is_empty() && !std::thread::panicking() {
            panic!("left behind:\n{}\n{}", found.join("\n"), self.daemon_log());
        }
        if std::thread::panicking() {
            eprintln!(
                "daemon's log:\n{}\nleft behind: {found:?}",
                self.daemon_log()
            );
        }
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }
}

/// How long a test waits for what must come about.
const LONG: Duration = Duration::from_secs(40);

/// The parent of a process; none when it is gone.
pub fn parent(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    line?.trim().parse().ok().filter(|pid| *pid != 0)
}

/// Waits until `done` holds, looking often; false when it does not in time.
pub fn wait_for(time: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + time;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        // Tests may look again and again; what they test may not.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal by `kill(1)`'s name for it.
pub fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status();
}

/// The program under test: of the same build as the tests.
pub fn corten() -> String {
    if let Ok(path) = std::env::var("CORTEN") {
        return path;
    }
    let tests = std::env::current_exe().expect("own path");
    let target = tests.ancestors().find(|dir| dir.join("corten").is_file());
    let program = target.map(|dir| dir.join("corten"));
    program
        .as_deref()
        .and_then(Path::to_str)
        .expect("corten, built beside the tests")
        .to_owned()
}
