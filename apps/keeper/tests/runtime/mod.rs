//! A bundle with busybox, and the runtime's program to run on it. What a test leaves behind fails
//! it.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub const KEEPER: &str = env!("CARGO_BIN_EXE_keeper");

/// One test's own directories and cgroup.
pub struct Lab {
    pub dir: tempfile::TempDir,
    pub cgroup: String,
}

/// What a command answered.
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Answer {
    /// It succeeded; gives what it wrote.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// It failed with this code, and these words on stderr.
    #[track_caller]
    pub fn failed(self, code: i32, words: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.contains(words), "no {words:?} in {self:?}");
    }
}

impl Lab {
    /// `None`, said aloud, where containers cannot be made.
    pub fn new(name: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() || !Path::new("/bin/busybox").exists() {
            let _ = writeln!(
                std::io::stderr(),
                "skipped: needs root and /bin/busybox (busybox-static)"
            );
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let lab = Self {
            dir,
            cgroup: format!("/corten-oci-test-{}-{name}", std::process::id()),
        };
        let bin = lab.bundle().join("rootfs/bin");
        std::fs::create_dir_all(&bin).unwrap();
        for sub in ["etc", "tmp", "proc", "sys", "dev"] {
            std::fs::create_dir_all(lab.bundle().join("rootfs").join(sub)).unwrap();
        }
        std::fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
        let applets = [
            "sh", "true", "false", "cat", "echo", "sleep", "id", "ls", "env", "pwd", "tty", "stat",
            "kill", "nc", "head", "readlink", "dd", "touch",
        ];
        for applet in applets {
            std::os::unix::fs::symlink("busybox", bin.join(applet)).unwrap();
        }
        let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/var/www:/bin/sh\n";
        std::fs::write(lab.bundle().join("rootfs/etc/passwd"), passwd).unwrap();
        lab.configure(&["/bin/sleep", "1000"], |_| {});
        Some(lab)
    }

    pub fn bundle(&self) -> PathBuf {
        self.dir.path().join("bundle")
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Writes config.json: what `spec` writes, without a terminal, with this program.
    pub fn configure(&self, args: &[&str], change: impl FnOnce(&mut Value)) {
        let path = self.bundle().join("config.json");
        let _ = std::fs::remove_file(&path);
        let status = Command::new(KEEPER)
            .args(["runtime", "spec", "--bundle"])
            .arg(self.bundle())
            .status()
            .unwrap();
        assert!(status.success());
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = json!(args);
        config["root"]["readonly"] = false.into();
        config["linux"]["cgroupsPath"] = self.cgroup.clone().into();
        change(&mut config);
        std::fs::write(&path, config.to_string()).unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(KEEPER);
        command
            .args(["runtime", "--root"])
            .arg(self.root())
            .args(args)
            .current_dir(self.bundle())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end. Output goes to files: a container that goes on would keep pipes
    /// open.
    pub fn run(&self, args: &[&str]) -> Answer {
        let (out, err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let mut command = self.command(args);
        command
            .stdout(out.try_clone().unwrap())
            .stderr(err.try_clone().unwrap());
        answer(command.status().unwrap(), out, err)
    }

    pub fn spawn(&self, args: &[&str]) -> Child {
        self.command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    pub fn state(&self, id: &str) -> Value {
        serde_json::from_str(&self.run(&["state", id]).ok()).unwrap()
    }

    pub fn status(&self, id: &str) -> String {
        self.state(id)["status"].as_str().unwrap().to_owned()
    }

    /// Waits for a status, which comes by itself.
    #[track_caller]
    pub fn until(&self, id: &str, status: &str) {
        wait(&format!("{id} to be {status}"), || {
            self.status(id) == status
        });
    }

    /// Its directories that are there, in every hierarchy.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let layout = cgroup::Layout::detect().unwrap();
        let dirs = layout.hierarchies.iter();
        let dirs = dirs.map(|h| h.mountpoint.join(self.cgroup.trim_start_matches('/')));
        dirs.filter(|d| d.exists()).collect()
    }

    /// A file of the cgroup, by its controller (v1) or anywhere (v2).
    pub fn cgroup_file(&self, controller: &str, file: &str) -> String {
        let layout = cgroup::Layout::detect().unwrap();
        let hierarchy = layout.hierarchies.iter().find(|h| h.has(controller));
        let dir = hierarchy.or(layout.hierarchies.first()).unwrap();
        let path = dir.mountpoint.join(self.cgroup.trim_start_matches('/'));
        let text = std::fs::read_to_string(path.join(file));
        text.unwrap().trim().to_owned()
    }

    /// Nothing of any container is there any more.
    #[track_caller]
    pub fn assert_clean(&self) {
        let left: Vec<_> = match std::fs::read_dir(self.root()) {
            Ok(entries) => entries.flatten().map(|e| e.path()).collect(),
            Err(_) => Vec::new(),
        };
        assert!(left.is_empty(), "left behind: {left:?}");
        assert!(self.cgroups().is_empty(), "{:?}", self.cgroups());
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let dir = self.dir.path().to_str().unwrap();
        assert!(!mounts.contains(dir), "mounts left behind: {mounts}");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let ids: Vec<String> = std::fs::read_dir(self.root())
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|e| e.file_name().into_string().ok())
            .collect();
        for id in &ids {
            let _ = self.run(&["delete", "-f", id]);
        }
        if !std::thread::panicking() {
            self.assert_clean();
        }
    }
}

fn answer(status: std::process::ExitStatus, out: std::fs::File, err: std::fs::File) -> Answer {
    use std::io::{Read, Seek};
    let text = |mut file: std::fs::File| {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Answer {
        code: status
            .code()
            .unwrap_or_else(|| 1000 + status.signal().unwrap_or(0)),
        out: text(out),
        err: text(err),
    }
}

/// A copy of the program. Until it can be run, a process that another test has just forked may
/// have it open for writing (ETXTBSY).
pub fn copy_program(path: &Path) {
    std::fs::copy(KEEPER, path).unwrap();
    wait("the copy to be let go", || {
        Command::new(path).arg("-v").output().is_ok()
    });
}

pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits for what happens by itself elsewhere; fails after ten seconds.
#[track_caller]
pub fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A process that is not a zombie has this number.
pub fn alive(pid: i64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().unwrap_or_default();
    !state.is_empty() && !state.starts_with(['Z', 'X'])
}
