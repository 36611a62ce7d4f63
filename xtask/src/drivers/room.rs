//! Where the engines run: cgroups and namespaces of their own, a root that forgets what is written.

use std::cell::RefCell;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::{RUNTIME, image};
use crate::run;

/// How long engines may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cgroup in every hierarchy: all that the engines make is below it.
#[derive(Debug)]
pub(crate) struct Groups(Vec<PathBuf>);

impl Groups {
    pub(crate) fn make() -> Result<Self> {
        let name = format!("corten-drivers-{}", std::process::id());
        let mut groups = Self(Vec::new());
        for (kind, mountpoint, _) in hierarchies()? {
            let dir = mountpoint.join(&name);
            std::fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
            groups.0.push(dir.clone());
            if kind == "cgroup" && dir.join("cpuset.cpus").exists() {
                // Without processors and memory nobody can be in it.
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    std::fs::write(dir.join(file), std::fs::read(mountpoint.join(file))?)?;
                }
                std::fs::write(dir.join("cgroup.clone_children"), "1")?;
            }
        }
        Ok(groups)
    }

    /// Starts this program again inside, and waits for its end.
    pub(crate) fn enter(&self, words: &[String], inside: &str) -> Result<ExitStatus> {
        let join: Vec<String> = self
            .0
            .iter()
            .map(|dir| format!("echo $$ >{}/cgroup.procs", dir.display()))
            .collect();
        // A process joins first, so that its cgroup is the root of the cgroup namespace. The shell
        // inside is the pid namespace's first process and reaps what daemons leave to it.
        let script = format!(
            "{} && exec unshare --cgroup --net --mount --pid --ipc --uts --fork --kill-child \
             --mount-proc --propagation private sh -c '\"$0\" \"$@\"; exit $?' \"$0\" \"$@\"",
            join.join(" && ")
        );
        let this = std::env::current_exe()?;
        run::command(&["sh", "-c", &script])
            .arg(this)
            .args(words)
            .env(inside, "1")
            .status()
            .context("unshare")
    }

    /// Takes away what is there, those below first; every process in them has ended.
    pub(crate) fn remove(self) -> Result<()> {
        self.0.iter().try_for_each(|dir| remove(dir))
    }
}

fn remove(dir: &Path) -> Result<()> {
    for entry in std::fs::read_dir(dir)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    // The kernel lets go of the last process a moment after it was reaped, and version 1 has no
    // event for that.
    let end = Instant::now() + PATIENCE;
    loop {
        match std::fs::remove_dir(dir) {
            Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(2)),
            other => return other.with_context(|| dir.display().to_string()),
        }
    }
}

/// Mounted cgroup hierarchies: type, mount point, options. Beside version 1, the controllers of
/// which are taken, an empty version 2 is left out.
fn hierarchies() -> Result<Vec<(String, PathBuf, String)>> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let mut all: Vec<(String, PathBuf, String)> = Vec::new();
    for line in table.lines() {
        let Some((front, back)) = line.split_once(" - ") else {
            continue;
        };
        let back: Vec<&str> = back.split(' ').collect();
        let (Some(at), [kind, _, options]) = (front.split(' ').nth(4), back.as_slice()) else {
            continue;
        };
        if matches!(*kind, "cgroup" | "cgroup2") {
            let own = options
                .split(',')
                .filter(|o| !matches!(*o, "rw" | "ro" | "xattr"));
            let own = own.collect::<Vec<_>>().join(",");
            all.push(((*kind).into(), at.into(), own));
        }
    }
    let version_one = all.iter().any(|(kind, ..)| kind == "cgroup");
    all.retain(|(kind, ..)| !version_one || kind == "cgroup");
    Ok(all)
}

/// The room, seen from inside of it.
#[derive(Debug)]
pub(crate) struct Room {
    daemons: RefCell<Vec<(String, Child)>>,
    mounts: RefCell<Vec<String>>,
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// What it wrote, when its exit code is this one.
    pub(crate) fn exits(self, code: i32) -> Result<String> {
        match self.code == code {
            true => Ok(self.out.trim_end().to_owned()),
            false => bail!(
                "exit code {}: {} {}",
                self.code,
                self.out,
                self.err.trim_end()
            ),
        }
    }
}

impl Room {
    /// Makes it of a Debian root, and goes in for good.
    pub(crate) fn enter(root: &Path, keeper: &Path) -> Result<Self> {
        let base = PathBuf::from("/run");
        let mount = |words: &[&str]| run::run_quietly(&[&["mount"], words].concat());
        mount(&["-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"])?;
        let keeper = std::fs::read(keeper).with_context(|| keeper.display().to_string())?;
        for dir in ["upper", "work", "room"] {
            std::fs::create_dir(base.join(dir))?;
        }
        let layers = format!(
            "lowerdir={},upperdir=/run/upper,workdir=/run/work",
            root.display()
        );
        mount(&["-t", "overlay", "-o", &layers, "overlay", "/run/room"])?;
        let at = |path: &str| format!("/run/room/{path}");
        mount(&["-t", "proc", "proc", &at("proc")])?;
        mount(&["-t", "sysfs", "sysfs", &at("sys")])?;
        mount(&["--rbind", "/dev", &at("dev")])?;
        // What engines store cannot lie on an overlay.
        for dir in ["run", "tmp", "var/lib"] {
            mount(&["-t", "tmpfs", "-o", "mode=1777", "tmpfs", &at(dir)])?;
        }
        cgroups(&at("sys/fs/cgroup"))?;
        std::fs::create_dir_all(at("usr/local/bin"))?;
        std::fs::write(at(RUNTIME), keeper)?;
        run::run_quietly(&["chmod", "755", &at(RUNTIME)])?;
        // Not chroot(2): a mount namespace's root is where whoever joins it begins.
        std::fs::create_dir_all(at("mnt/before"))?;
        std::env::set_current_dir(at(""))?;
        let pivot = Command::new("pivot_root")
            .args([".", "mnt/before"])
            .status();
        if !pivot.context("pivot_root")?.success() {
            bail!("pivot_root failed");
        }
        std::env::set_current_dir("/")?;
        run_here(&["umount", "-l", "/mnt/before"])?;
        run_here(&["ip", "link", "set", "lo", "up"])?;
        std::fs::create_dir_all("/var/lib/lab")?;
        image::write(Path::new("/bin/busybox"), Path::new("/tmp/bb.tar"))?;
        Ok(Self {
            daemons: RefCell::default(),
            mounts: RefCell::new(mounts()),
        })
    }

    /// Starts a daemon and waits until `ready` succeeds.
    pub(crate) fn daemon(&self, words: &[&str], ready: impl Fn() -> bool) -> Result<()> {
        let log = format!("/tmp/{}.log", words[0]);
        let file = std::fs::File::create(&log)?;
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| words[0].to_owned())?;
        let end = Instant::now() + PATIENCE;
        while !ready() {
            let ended = child.try_wait()?;
            if ended.is_some() || Instant::now() > end {
                child.kill()?;
                child.wait()?;
                let said = std::fs::read_to_string(&log)?;
                bail!("{} does not answer:\n{said}", words[0]);
            }
            // Nothing tells when somebody begins to answer: a socket is there before that.
            std::thread::sleep(Duration::from_millis(20));
        }
        self.daemons.borrow_mut().push((words[0].to_owned(), child));
        *self.mounts.borrow_mut() = mounts();
        Ok(())
    }

    /// Ends what was started.
    pub(crate) fn end_daemons(&self) -> Result<()> {
        for (_, mut child) in self.daemons.borrow_mut().drain(..) {
            run_here(&["kill", &child.id().to_string()])?;
            child.wait()?;
        }
        Ok(())
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Result<Ran> {
        self.run_with(words, "")
    }

    /// The same, with text on its standard input.
    pub(crate) fn run_with(&self, words: &[&str], input: &str) -> Result<Ran> {
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| words[0].to_owned())?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Ran {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        })
    }

    /// A file of the cgroup that a process is in: by version 1's names, or by version 2's.
    pub(crate) fn limit(
        &self,
        pid: &str,
        controller: &str,
        one: &str,
        two: &str,
    ) -> Result<String> {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        for line in groups.lines() {
            let parts: Vec<&str> = line.splitn(3, ':').collect();
            let [_, names, path] = parts.as_slice() else {
                continue;
            };
            let file = match names.split(',').any(|name| name == controller) {
                true => format!("/sys/fs/cgroup/{names}{path}/{one}"),
                false if names.is_empty() => format!("/sys/fs/cgroup{path}/{two}"),
                false => continue,
            };
            if let Ok(text) = std::fs::read_to_string(&file) {
                return Ok(text.trim().to_owned());
            }
        }
        bail!("no {one} nor {two} of process {pid} in {groups}")
    }

    /// Fails when processes, mounts, cgroups or states of containers are there still.
    pub(crate) fn left(&self) -> Result<()> {
        let mut found = Vec::new();
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            found.clear();
            let processes = run_here(&["ps", "-eo", "pid=,args="])?;
            let us = std::process::id().to_string();
            let alive = processes.lines().filter(|line| {
                let pid = line.split_whitespace().next().unwrap_or_default();
                pid != "1" && pid != us && !line.ends_with("ps -eo pid=,args=")
            });
            found.extend(alive.map(|line| format!("process {}", line.trim())));
            let before = self.mounts.borrow();
            let now = mounts();
            let netns = |m: &&String| m.contains("netns") || m.ends_with("/shm");
            let new = now.iter().filter(|m| !before.contains(m) && !netns(m));
            found.extend(new.map(|mount| format!("mount {mount}")));
            found.extend(groups(Path::new("/sys/fs/cgroup"))?);
            if found.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("left behind: {}", found.join("; "));
            }
            // Of cgroups, mounts and other people's children, the last to go is not known before.
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// What a program of the room wrote; it must succeed.
pub(crate) fn run_here(words: &[&str]) -> Result<String> {
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.with_context(|| words[0].to_owned())?;
    if !output.status.success() {
        bail!("{} failed: {}", words.join(" "), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn mounts() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = text.lines().filter_map(|line| line.split(' ').nth(4));
    points.map(str::to_owned).collect()
}

/// Cgroups that still have one of a container's 64 digits in their name, or processes.
fn groups(dir: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)?.flatten() {
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let digits = name.bytes().filter(u8::is_ascii_hexdigit).count();
        if digits >= 64 || name.starts_with("check-") {
            found.push(format!("cgroup {}", entry.path().display()));
        }
        found.extend(groups(&entry.path())?);
    }
    Ok(found)
}

/// Mounts the hierarchies that the host has; in the namespace of our own only ours are in them.
fn cgroups(at: &str) -> Result<()> {
    let all = hierarchies()?;
    if all.iter().any(|(kind, ..)| kind == "cgroup2") {
        run::run_quietly(&["mount", "-t", "cgroup2", "cgroup2", at])?;
        // Whoever hands controllers on has no processes itself.
        let own = Path::new(at).join("driver");
        std::fs::create_dir(&own)?;
        std::fs::write(own.join("cgroup.procs"), "0")?;
        let all = std::fs::read_to_string(format!("{at}/cgroup.controllers"))?;
        for controller in all.split_whitespace() {
            std::fs::write(
                format!("{at}/cgroup.subtree_control"),
                format!("+{controller}"),
            )?;
        }
        return Ok(());
    }
    run::run_quietly(&["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", at])?;
    for (_, mountpoint, options) in all {
        let name = mountpoint.file_name().context("a hierarchy at the root")?;
        let dir = Path::new(at).join(name).display().to_string();
        std::fs::create_dir(&dir)?;
        let options = match options.starts_with("name=") {
            true => format!("none,{options}"),
            false => options,
        };
        run::run_quietly(&["mount", "-t", "cgroup", "-o", &options, "cgroup", &dir])?;
    }
    Ok(())
}

/// Waits for what comes by itself elsewhere, looking often: other people's programs tell nobody.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > end {
            bail!("waited in vain for {what}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
