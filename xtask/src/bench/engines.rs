//! Engines under test: how each is started, spoken to and ended.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::run;

/// cgroup parent of everything that is started here.
const CGROUP: &str = "/corten-bench";
const PATIENCE: Duration = Duration::from_secs(60);

/// One engine, or one more client of an engine.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) name: String,
    /// Command line of its client.
    pub(crate) cli: Vec<String>,
    /// Socket of its Engine API.
    pub(crate) socket: Option<PathBuf>,
    /// Its daemon's command line, when it was started here.
    start: Vec<String>,
    daemon: Option<Child>,
    /// Has the image already: a second client of an engine that comes before it.
    guest: bool,
}

impl Engine {
    /// Corten, with its daemon started.
    pub(crate) fn corten(program: &Path, dir: &Path) -> Result<Self> {
        let socket = dir.join("corten.sock");
        let host = format!("unix://{}", socket.display());
        let program = program.display().to_string();
        let path = |name: &str| dir.join(name).display().to_string();
        let mut start = words(&[
            &program,
            "daemon",
            "--config-file",
            "/dev/null",
            "-H",
            &host,
        ]);
        start.extend(words(&[
            "--data-root",
            &path("corten"),
            "--exec-root",
            &path("corten-run"),
        ]));
        start.extend(words(&["--cgroup-parent", CGROUP]));
        start.extend(words(&[
            "--bridge",
            "corten-bench0",
            "--bip",
            "10.213.0.1/16",
        ]));
        let mut engine = Self {
            name: "corten".into(),
            cli: words(&[&program, "-H", &host]),
            socket: Some(socket),
            start,
            daemon: None,
            guest: false,
        };
        engine.start()?;
        Ok(engine)
    }

    /// The peers on the PATH, and the stock docker CLI in front of Corten.
    pub(crate) fn found(dir: &Path) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        let path = |name: &str| dir.join(name).display().to_string();
        if run::has("docker") {
            let socket = dir.join("corten.sock");
            found.push(Self {
                name: "docker CLI + corten".into(),
                cli: words(&["docker", "-H", &format!("unix://{}", socket.display())]),
                socket: None,
                start: Vec::new(),
                daemon: None,
                guest: true,
            });
        }
        if run::has("docker") && run::has("dockerd") {
            let socket = dir.join("docker.sock");
            let host = format!("unix://{}", socket.display());
            let mut start = words(&["dockerd", "--config-file", "/dev/null", "-H", &host]);
            start.extend(words(&[
                "--data-root",
                &path("docker"),
                "--exec-root",
                &path("docker-run"),
            ]));
            start.extend(words(&[
                "--pidfile",
                &path("docker.pid"),
                "--cgroup-parent",
                CGROUP,
            ]));
            let mut engine = Self {
                name: "docker".into(),
                cli: words(&["docker", "-H", &host]),
                socket: Some(socket),
                start,
                daemon: None,
                guest: false,
            };
            engine.start()?;
            found.push(engine);
        }
        if run::has("podman") {
            let mut cli = words(&["podman", "--root", &path("podman"), "--runroot"]);
            cli.extend(words(&[
                &path("podman-run"),
                "--cgroup-manager",
                "cgroupfs",
            ]));
            found.push(Self {
                name: "podman".into(),
                cli,
                socket: None,
                start: Vec::new(),
                daemon: None,
                guest: false,
            });
        }
        Ok(found)
    }

    /// `NAME SOCKET COMMAND…`; a socket of `-` is none.
    pub(crate) fn given(text: &str) -> Result<Self> {
        let mut parts = text.split_whitespace().map(str::to_owned);
        let (Some(name), Some(socket)) = (parts.next(), parts.next()) else {
            bail!("--engine takes 'NAME SOCKET COMMAND…', not {text:?}");
        };
        Ok(Self {
            guest: name.contains("corten"),
            name,
            cli: parts.collect(),
            socket: (socket != "-").then(|| socket.into()),
            start: Vec::new(),
            daemon: None,
        })
    }

    /// Starts its daemon; time from the start to its first answer.
    pub(crate) fn start(&mut self) -> Result<Duration> {
        let began = Instant::now();
        let child = Command::new(&self.start[0])
            .args(&self.start[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| self.start[0].clone())?;
        self.daemon = Some(child);
        while self.request("GET", "/_ping", "").is_err() {
            if began.elapsed() > PATIENCE {
                bail!("{} does not answer", self.name);
            }
            // Nothing tells when somebody begins to listen on a socket.
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(began.elapsed())
    }

    /// Ends its daemon with a signal; containers are what the engine makes of it.
    pub(crate) fn stop(&mut self, signal: &str) -> Result<()> {
        let Some(mut daemon) = self.daemon.take() else {
            return Ok(());
        };
        run::run_quietly(&["kill", "-s", signal, &daemon.id().to_string()])?;
        daemon.wait()?;
        Ok(())
    }

    /// Removes all containers and ends the daemon.
    pub(crate) fn end(&mut self) {
        if !self.guest
            && let Ok(all) = self.client(&["ps", "-aq"]).output()
        {
            let all = String::from_utf8_lossy(&all.stdout).into_owned();
            let ids: Vec<&str> = all.split_whitespace().collect();
            if !ids.is_empty() {
                let remove: Vec<&str> = ["rm", "-f"].into_iter().chain(ids).collect();
                let _ = self.client(&remove).output();
            }
        }
        if let Err(error) = self.stop("TERM") {
            eprintln!("ending {}: {error:#}", self.name);
        }
    }

    /// A client's command.
    pub(crate) fn client(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.cli[0]);
        command.args(&self.cli[1..]).args(args);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env("DOCKER_CLI_HINTS", "false");
        command
    }

    /// Runs a client that must succeed; how long it took.
    pub(crate) fn time(&self, args: &[&str]) -> Result<Duration> {
        let mut command = self.client(args);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let began = Instant::now();
        let status = command.status()?;
        let took = began.elapsed();
        if !status.success() {
            let again = self.client(args).output()?;
            let said = String::from_utf8_lossy(&again.stderr).into_owned();
            bail!("{} {args:?}: {status}: {said}", self.name);
        }
        Ok(took)
    }

    /// Makes the image `bb` of busybox alone.
    pub(crate) fn import(&self, dir: &Path) -> Result<()> {
        if self.guest {
            return Ok(());
        }
        let file = dir.join("bb.tar");
        if !file.exists() {
            let mut tar = tar::Builder::new(std::fs::File::create(&file)?);
            let program =
                std::fs::read("/bin/busybox").context("/bin/busybox: install busybox-static")?;
            for name in ["bin/busybox", "bin/true", "bin/sleep"] {
                let mut header = tar::Header::new_gnu();
                header.set_mode(0o755);
                header.set_uid(0);
                header.set_gid(0);
                header.set_mtime(0);
                header.set_size(program.len() as u64);
                tar.append_data(&mut header, name, program.as_slice())?;
            }
            tar.finish()?;
        }
        self.time(&["import", &file.display().to_string(), "bb"])
            .map(drop)
    }

    /// One request of the Engine API on a connection of its own; its body.
    pub(crate) fn request(&self, method: &str, path: &str, body: &str) -> Result<String> {
        let socket = self.socket.as_ref().context("it has no API")?;
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        match head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse::<u16>().ok())
        {
            Some(200..=399) => Ok(body.to_owned()),
            _ => bail!("{} {method} {path}: {answer}", self.name),
        }
    }
}

/// Takes away what engines made for their containers; it is empty once they have ended.
pub(crate) fn remove_cgroups() {
    let roots = std::fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten();
    let above = roots.map(|root| root.path());
    for root in above.chain(["/sys/fs/cgroup".into()]) {
        // Absent in most of them.
        let _ = std::fs::remove_dir(root.join(CGROUP.trim_start_matches('/')));
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
