//! containerd, by `ctr`.

use anyhow::{Context as _, Result};

use super::RUNTIME;
use super::checks::{Checks, contains, empty, frozen, half_a_processor, same};
use super::image::NAME;
use super::room::{Ran, Room, until};

const CTR: [&str; 5] = ["ctr", "-a", "/run/lab-containerd/sock", "-n", "lab"];

/// Debian's containerd.
pub(crate) fn containerd(room: &Room, checks: &mut Checks) -> Result<()> {
    let settings = "version = 2\nroot = \"/var/lib/lab/containerd\"\nstate = \"/run/lab-containerd\"\n\
        disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
        [grpc]\naddress = \"/run/lab-containerd/sock\"\n";
    std::fs::write("/tmp/containerd.toml", settings)?;
    let engine = Engine { room };
    room.daemon(&["containerd", "-c", "/tmp/containerd.toml"], || {
        engine.run(&["version"]).is_ok_and(|ran| ran.code == 0)
    })?;
    engine.ok(&["image", "import", "/tmp/bb.tar"])?;
    engine.running(checks);
    engine.inside(checks);
    engine.limits(checks);
    checks.check("removal", || engine.removal());
    Ok(())
}

struct Engine<'a> {
    room: &'a Room,
}

impl Engine<'_> {
    fn running(&self, checks: &mut Checks) {
        checks.check("run: output", || {
            let ran = self.container("a", &[], &["sh", "-c", "echo out; echo err >&2"])?;
            same(&ran.err, "err\n")?;
            same(&ran.exits(0)?, "out")
        });
        checks.check("run: exit code", || {
            self.container("a", &[], &["sh", "-c", "exit 7"])?
                .exits(7)?;
            let ran = self.container("a", &[], &["not-there"])?;
            contains(&ran.err, "executable file not found in $PATH")
        });
        checks.check("run: user, environment, directory", || {
            let options = ["--user", "33:34", "--env", "A=b", "--cwd", "/etc"];
            let ran = self.container("a", &options, &["sh", "-c", "id -u; id -g; echo $A; pwd"])?;
            same(&ran.exits(0)?, "33\n34\nb\n/etc")
        });
        checks.check("run: tty", || {
            // It wants a terminal itself; `script` of util-linux gives it one.
            let words = self.words("a", &["-t"], &["tty"]);
            let ran = self
                .room
                .run(&["script", "-qec", &words.join(" "), "/dev/null"])?;
            contains(&ran.exits(0)?, "/dev/pts/0")
        });
        checks.check("run: mounts, read-only", || {
            std::fs::create_dir_all("/tmp/ctr")?;
            let mount = "type=bind,src=/tmp/ctr,dst=/data,options=rbind:rw";
            let script = "echo x >/data/file; touch /x 2>/dev/null || echo no";
            let options = ["--mount", mount, "--read-only"];
            let ran = self.container("a", &options, &["sh", "-c", script])?;
            same(&ran.exits(0)?, "no")?;
            same(&std::fs::read_to_string("/tmp/ctr/file")?, "x\n")
        });
        checks.check("run: privileged, host network", || {
            let own = std::fs::read_link("/proc/self/ns/net")?
                .display()
                .to_string();
            let script = "mount -t tmpfs x /tmp && readlink /proc/self/ns/net";
            let options = ["--privileged", "--net-host"];
            same(
                &self
                    .container("a", &options, &["sh", "-c", script])?
                    .exits(0)?,
                &own,
            )
        });
        checks.check("run: seccomp", || {
            let ran = self.container(
                "a",
                &["--seccomp"],
                &["grep", "Seccomp:", "/proc/self/status"],
            )?;
            same(&ran.exits(0)?, "Seccomp:\t2")
        });
    }

    fn inside(&self, checks: &mut Checks) {
        checks.check("logs to a file", || {
            let script = "echo one; echo two >&2; exec sleep 1000";
            let options = ["-d", "--log-uri", "file:///tmp/ctr.log"];
            self.container("check-long", &options, &["sh", "-c", script])?
                .exits(0)?;
            until("the log", || {
                let text = std::fs::read_to_string("/tmp/ctr.log").unwrap_or_default();
                Ok((text.contains("one\n") && text.contains("two\n")).then_some(()))
            })
        });
        checks.check("exec", || {
            let exec = [
                "task",
                "exec",
                "--exec-id",
                "e",
                "--cwd",
                "/tmp",
                "--user",
                "33:34",
            ];
            let script = "pwd; id -u; exit 3";
            let ran = self.run(&[&exec[..], &["check-long", "sh", "-c", script]].concat())?;
            same(&ran.exits(3)?, "/tmp\n33")?;
            let exec = ["task", "exec", "--exec-id", "f", "check-long"];
            let ran = self.run(&[&exec[..], &["readlink", "/proc/self/exe"]].concat())?;
            same(&ran.exits(0)?, "/bin/busybox")
        });
        checks.check("ps", || {
            let out = self.ok(&["task", "ps", "check-long"])?;
            contains(&out, &self.pid()?)
        });
        checks.check("metrics", || {
            let out = self.ok(&["task", "metrics", "check-long"])?;
            contains(&out, "memory.usage_in_bytes").or_else(|_| contains(&out, "memory.usage"))?;
            contains(&out, "pids.current")
        });
        checks.check("pause", || {
            self.ok(&["task", "pause", "check-long"])?;
            frozen(self.room, &self.pid()?)?;
            contains(&self.ok(&["task", "ls"])?, "PAUSED")?;
            self.ok(&["task", "resume", "check-long"])?;
            contains(&self.ok(&["task", "ls"])?, "RUNNING")
        });
        checks.check("kill", || {
            self.ok(&["task", "kill", "-s", "KILL", "check-long"])?;
            until("its end", || {
                Ok(self.ok(&["task", "ls"])?.contains("STOPPED").then_some(()))
            })?;
            self.remove(&["task", "rm", "check-long"])
        });
        checks.check("rm of a running one", || {
            self.container("check-long", &["-d"], &["sleep", "1000"])?
                .exits(0)?;
            self.remove(&["task", "rm", "-f", "check-long"])
        });
    }

    fn limits(&self, checks: &mut Checks) {
        checks.check("limits in the kernel", || {
            let options = [
                "-d",
                "--memory-limit",
                "67108864",
                "--cpus",
                "0.5",
                "--cpu-shares",
                "512",
            ];
            self.container("check-long", &options, &["sleep", "1000"])?
                .exits(0)?;
            let pid = self.pid()?;
            let is = |controller, one, two, value: &str| {
                same(&self.room.limit(&pid, controller, one, two)?, value)
            };
            is("memory", "memory.limit_in_bytes", "memory.max", "67108864")?;
            half_a_processor(self.room, &pid)?;
            is("cpu", "cpu.shares", "cpu.weight", "512")
                .or_else(|_| is("cpu", "cpu.shares", "cpu.weight", "59"))
        });
        checks.check("update", || {
            // ctr has no command for it; this is the call that containerd makes.
            let pid = self.pid()?;
            let root = ["/run/containerd/runc/lab", "/run/lab-containerd/runc/lab"];
            let root = root.iter().find(|root| std::path::Path::new(root).exists());
            let root = root.context("the runtime's states are not found")?;
            let words = [
                RUNTIME,
                "--root",
                root,
                "update",
                "--pids-limit",
                "60",
                "check-long",
            ];
            self.room.run(&words)?.exits(0)?;
            same(
                &self.room.limit(&pid, "pids", "pids.max", "pids.max")?,
                "60",
            )?;
            self.remove(&["task", "rm", "-f", "check-long"])
        });
        checks.check("memory runs out", || {
            let options = ["--memory-limit", "16777216"];
            let hog = ["sh", "-c", "x=x; while :; do x=$x$x; done"];
            self.container("a", &options, &hog)?.exits(137).map(drop)
        });
    }

    /// A task that was killed, with its container.
    fn remove(&self, task: &[&str]) -> Result<()> {
        let ran = self.run(task)?;
        // It tells the task's exit code in its own way, by version.
        if ran.code != 137 {
            contains(&ran.err, "137")?;
        }
        self.ok(&["container", "rm", "check-long"]).map(drop)
    }

    fn removal(&self) -> Result<()> {
        same(&self.ok(&["task", "ls", "-q"])?, "")?;
        same(&self.ok(&["container", "ls", "-q"])?, "")?;
        empty(&[
            "/run/containerd/runc/lab",
            "/run/lab-containerd/runc/lab",
            "/run/lab-containerd/io.containerd.runtime.v2.task/lab",
        ])
    }

    fn pid(&self) -> Result<String> {
        let tasks = self.ok(&["task", "ls"])?;
        let line = tasks.lines().find(|line| line.starts_with("check-long"));
        let pid = line.and_then(|line| line.split_whitespace().nth(1));
        pid.map(str::to_owned).context("no such task")
    }

    /// `ctr run`, of a container that is gone again unless it goes on in the background.
    fn words<'a>(&self, id: &'a str, options: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
        let mut words = CTR.to_vec();
        words.extend(["run", "--runc-binary", RUNTIME]);
        if !options.contains(&"-d") {
            words.push("--rm");
        }
        words.extend(options);
        words.extend([NAME, id]);
        words.extend(command);
        words
    }

    fn container(&self, id: &str, options: &[&str], command: &[&str]) -> Result<Ran> {
        self.room.run(&self.words(id, options, command))
    }

    fn run(&self, words: &[&str]) -> Result<Ran> {
        self.room.run(&[&CTR, words].concat())
    }

    fn ok(&self, words: &[&str]) -> Result<String> {
        self.run(words)?.exits(0).with_context(|| words.join(" "))
    }
}
