//! dockerd and podman, by their command lines, which are one.

use anyhow::{Context as _, Result, bail};

use super::RUNTIME;
use super::checks::{Checks, contains, empty, frozen, half_a_processor, same};
use super::room::{Ran, Room, until};

const IMAGE: &str = "bb";

/// Debian's dockerd.
pub(crate) fn docker(room: &Room, checks: &mut Checks) -> Result<()> {
    let add = format!("corten={RUNTIME}");
    let daemon = [
        "dockerd",
        "--add-runtime",
        &add,
        "--default-runtime",
        "corten",
        "--exec-opt",
        "native.cgroupdriver=cgroupfs",
    ];
    room.daemon(&daemon, || {
        room.run(&["docker", "version"])
            .is_ok_and(|ran| ran.code == 0)
    })?;
    let engine = Engine {
        room,
        cli: &["docker"],
        signs: &[
            "/run/docker/runtime-runc/moby",
            "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby",
        ],
    };
    engine.all(checks, "docker-init")
}

/// Debian's podman, which has no daemon.
pub(crate) fn podman(room: &Room, checks: &mut Checks) -> Result<()> {
    std::fs::create_dir_all("/etc/containers")?;
    let policy = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
    std::fs::write("/etc/containers/policy.json", policy)?;
    let settings = "[engine]\ncgroup_manager=\"cgroupfs\"\nevents_logger=\"file\"\n\
        [containers]\nlog_driver=\"k8s-file\"\n";
    std::fs::write("/etc/containers/containers.conf", settings)?;
    let engine = Engine {
        room,
        cli: &["podman", "--runtime", RUNTIME, "--log-level", "error"],
        signs: &["/run/corten-runtime", "/run/libpod/exits"],
    };
    engine.all(checks, "catatonit")
}

struct Engine<'a> {
    room: &'a Room,
    cli: &'a [&'a str],
    /// Directories in which something is left of every container that was not ended well.
    signs: &'a [&'a str],
}

impl Engine<'_> {
    fn all(&self, checks: &mut Checks, init: &str) -> Result<()> {
        self.ok(&["load", "-i", "/tmp/bb.tar"])?;
        if self.ok(&["images", "-q", IMAGE])?.is_empty() {
            bail!("the image was not loaded");
        }
        checks.check("it is this runtime", || self.is_this());
        self.running(checks);
        self.inside(checks);
        self.limits(checks);
        self.ending(checks, init);
        self.files(checks);
        checks.check("removal", || self.removal());
        Ok(())
    }

    /// Nothing that follows means anything unless the runtime is ours.
    fn is_this(&self) -> Result<()> {
        self.detached("this", &[], &["sleep", "1000"])?;
        let path = match self.cli[0] {
            "docker" => self.ok(&["inspect", "--format", "{{.HostConfig.Runtime}}", "this"])?,
            _ => self.ok(&["inspect", "--format", "{{.OCIRuntime}}", "this"])?,
        };
        let id = self.ok(&["inspect", "--format", "{{.Id}}", "this"])?;
        self.remove("this")?;
        match self.cli[0] {
            "docker" => same(&path, "corten"),
            _ => same(&path, RUNTIME),
        }?;
        same(&id.len().to_string(), "64")
    }

    fn running(&self, checks: &mut Checks) {
        checks.check("run: output", || {
            let ran = self.run(&["run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2"])?;
            same(&ran.err, "err\n")?;
            same(&ran.exits(0)?, "out")
        });
        checks.check("run: input", || {
            let words = [self.cli, &["run", "-i", "--rm", IMAGE, "cat"]].concat();
            same(&self.room.run_with(&words, "in")?.exits(0)?, "in")
        });
        checks.check("run: exit code", || {
            self.run(&["run", "--rm", IMAGE, "sh", "-c", "exit 7"])?
                .exits(7)?;
            self.run(&["run", "--rm", IMAGE, "/etc/passwd"])?
                .exits(126)?;
            self.run(&["run", "--rm", IMAGE, "not-there"])?
                .exits(127)
                .map(drop)
        });
        checks.check("run: tty", || {
            let out = self.ok(&["run", "--rm", "-t", IMAGE, "tty"])?;
            same(out.trim(), "/dev/pts/0")
        });
        checks.check("run: user", || {
            let script = "id -u; id -g; id -G";
            let options = ["run", "--rm", "-u", "web", "--group-add", "audio"];
            let out = self.ok(&[&options[..], &[IMAGE, "sh", "-c", script]].concat())?;
            let (ids, groups) = out.rsplit_once('\n').context("no groups")?;
            same(ids, "33\n34")?;
            // Some engines name one twice.
            let mut groups: Vec<&str> = groups.split(' ').collect();
            groups.sort_unstable();
            groups.dedup();
            same(&groups.join(" "), "29 34")
        });
        checks.check("run: environment, directory, host name", || {
            let options = [
                "run",
                "--rm",
                "-e",
                "A=b",
                "-w",
                "/etc",
                "--hostname",
                "there",
            ];
            let script = "echo $A; pwd; hostname";
            let out = self.ok(&[&options[..], &[IMAGE, "sh", "-c", script]].concat())?;
            same(&out, "b\n/etc\nthere")
        });
        checks.check("run: network", || {
            let out = self.ok(&["run", "--rm", IMAGE, "ip", "-o", "addr"])?;
            contains(&out, "eth0")?;
            contains(&out, "inet ")
        });
        checks.check("logs", || {
            let script = "echo one; echo two >&2; exec sleep 1000";
            self.detached("log", &[], &["sh", "-c", script])?;
            let ran = until("logs", || {
                let ran = self.run(&["logs", "log"])?;
                Ok((ran.out == "one\n" && ran.err == "two\n").then_some(ran))
            });
            self.remove("log")?;
            ran.map(drop)
        });
    }

    fn inside(&self, checks: &mut Checks) {
        checks.check("exec", || {
            self.detached("in", &[], &["sleep", "1000"])?;
            let script = "echo $X; pwd; id -u; exit 3";
            let options = ["exec", "-e", "X=y", "-w", "/tmp", "-u", "web"];
            let ran = self.run(&[&options[..], &["in", "sh", "-c", script]].concat())?;
            same(&ran.exits(3)?, "y\n/tmp\n33")?;
            let out = self.ok(&["exec", "-t", "in", "tty"])?;
            contains(&out, "/dev/pts/")?;
            let words = [self.cli, &["exec", "-i", "in", "cat"]].concat();
            same(&self.room.run_with(&words, "in")?.exits(0)?, "in")?;
            // It is the container's files that it sees.
            let own = self.ok(&["exec", "in", "readlink", "/proc/self/exe"])?;
            same(&own, "/bin/busybox")?;
            self.run(&["exec", "in", "not-there"])?.exits(127)?;
            self.ok(&["exec", "-d", "in", "touch", "/tmp/detached"])?;
            until("the detached one", || {
                let ran = self.run(&["exec", "in", "ls", "/tmp/detached"])?;
                Ok((ran.code == 0).then_some(()))
            })
        });
        checks.check("top", || {
            let out = self.ok(&["top", "in"])?;
            contains(&out, "sleep 1000")
        });
        checks.check("stats", || {
            let format = "{{.PIDs}} {{.MemUsage}}";
            let out = self.ok(&["stats", "--no-stream", "--format", format, "in"])?;
            match out.starts_with("1 ") && !out.starts_with("1 0B") {
                true => Ok(()),
                false => bail!("{out:?}"),
            }
        });
        checks.check("pause", || {
            let state = || self.ok(&["inspect", "--format", "{{.State.Status}}", "in"]);
            self.ok(&["pause", "in"])?;
            same(&state()?, "paused")?;
            frozen(self.room, &self.pid("in")?)?;
            self.ok(&["unpause", "in"])?;
            same(&state()?, "running")?;
            self.ok(&["exec", "in", "true"]).map(drop)
        });
        checks.check("restart", || {
            let before = self.pid("in")?;
            self.ok(&["restart", "-t", "0", "in"])?;
            match self.pid("in")? == before {
                true => bail!("it is the same process"),
                false => self.ok(&["exec", "in", "true"]).map(drop),
            }
        });
        checks.check("rm of a running one", || self.remove("in"));
    }

    fn limits(&self, checks: &mut Checks) {
        checks.check("limits in the kernel", || {
            let options = [
                "-m",
                "64m",
                "--pids-limit",
                "50",
                "--cpus",
                "0.5",
                "--cpuset-cpus",
                "0",
            ];
            self.detached("lim", &options, &["sleep", "1000"])?;
            let pid = self.pid("lim")?;
            let is = |controller, one, two, value: &str| {
                same(&self.room.limit(&pid, controller, one, two)?, value)
            };
            is("memory", "memory.limit_in_bytes", "memory.max", "67108864")?;
            is("pids", "pids.max", "pids.max", "50")?;
            is("cpuset", "cpuset.cpus", "cpuset.cpus", "0")?;
            half_a_processor(self.room, &pid)
        });
        checks.check("update", || {
            let more = ["-m", "96m", "--memory-swap", "192m", "--pids-limit", "60"];
            self.ok(&[&["update"], &more[..], &["lim"]].concat())?;
            let pid = self.pid("lim")?;
            let seen = self
                .room
                .limit(&pid, "memory", "memory.limit_in_bytes", "memory.max")?;
            same(&seen, "100663296")?;
            same(
                &self.room.limit(&pid, "pids", "pids.max", "pids.max")?,
                "60",
            )?;
            self.remove("lim")
        });
        checks.check("pids run out", || {
            let script = "for i in 1 2 3 4 5 6; do sleep 1000 & done; echo not here";
            let options = [
                "run",
                "--rm",
                "--pids-limit",
                "4",
                IMAGE,
                "sh",
                "-c",
                script,
            ];
            contains(&self.run(&options)?.err, "can't fork")
        });
        checks.check("memory runs out", || {
            let options = ["run", "--name", "oom", "-m", "16m", "--memory-swap", "16m"];
            let hog = [IMAGE, "sh", "-c", "x=x; while :; do x=$x$x; done"];
            self.run(&[&options[..], &hog].concat())?.exits(137)?;
            let told = self.ok(&["inspect", "--format", "{{.State.OOMKilled}}", "oom"])?;
            self.remove("oom")?;
            same(&told, "true")
        });
    }

    fn ending(&self, checks: &mut Checks, init: &str) {
        let trap = "trap 'echo usr1' USR1; trap 'echo term; exit 5' TERM; echo ready; \
            while :; do sleep 0.05; done";
        let said = |what: &str| {
            until(what, || {
                let ran = self.run(&["logs", "end"])?;
                Ok(ran.out.contains(what).then_some(()))
            })
        };
        let code = || self.ok(&["inspect", "--format", "{{.State.ExitCode}}", "end"]);
        checks.check("kill", || {
            self.detached("end", &[], &["sh", "-c", trap])?;
            said("ready")?;
            self.ok(&["kill", "-s", "USR1", "end"])?;
            said("usr1")?;
            self.ok(&["kill", "end"])?;
            self.ok(&["wait", "end"])?;
            same(&code()?, "137")?;
            self.remove("end")
        });
        checks.check("stop", || {
            self.detached("end", &[], &["sh", "-c", trap])?;
            said("ready")?;
            self.ok(&["stop", "-t", "20", "end"])?;
            same(&code()?, "5")?;
            self.ok(&["start", "end"])?;
            self.remove("end")?;
            // One that does not listen is killed.
            self.detached(
                "end",
                &[],
                &["sh", "-c", "trap '' TERM; while :; do sleep 1; done"],
            )?;
            self.ok(&["stop", "-t", "1", "end"])?;
            same(&code()?, "137")?;
            self.remove("end")
        });
        checks.check("--init", || {
            self.detached("end", &["--init"], &["sleep", "1000"])?;
            let out = self.ok(&["exec", "end", "ps", "-o", "pid,args"])?;
            let first = out.lines().nth(1).unwrap_or_default().to_owned();
            self.ok(&["stop", "-t", "20", "end"])?;
            let code = code()?;
            self.remove("end")?;
            contains(&first, "init").or_else(|_| contains(&first, init))?;
            same(&code, "143")
        });
    }

    fn files(&self, checks: &mut Checks) {
        checks.check("volumes", || {
            std::fs::create_dir_all("/tmp/shared")?;
            std::fs::write("/tmp/shared/in", "from outside")?;
            let script = "cat /data/in; echo there >/data/out; echo x >/ro/out 2>/dev/null || echo no; \
                echo 1 >/named/file; stat -f -c %T /scratch";
            let options = [
                "run", "--rm", "-v", "/tmp/shared:/data", "-v", "/tmp/shared:/ro:ro", "-v",
                "check-volume:/named", "--tmpfs", "/scratch",
            ];
            let out = self.ok(&[&options[..], &[IMAGE, "sh", "-c", script]].concat())?;
            same(&out, "from outsideno\ntmpfs")?;
            same(&std::fs::read_to_string("/tmp/shared/out")?, "there\n")?;
            let again = ["run", "--rm", "-v", "check-volume:/v", IMAGE, "cat", "/v/file"];
            same(&self.ok(&again)?, "1")?;
            self.ok(&["volume", "rm", "check-volume"]).map(drop)
        });
        checks.check("read-only, capabilities, no-new-privileges", || {
            let options = [
                "run", "--rm", "--read-only", "--cap-drop", "ALL", "--cap-add", "CHOWN",
                "--security-opt", "no-new-privileges",
            ];
            let script = "touch /x 2>/dev/null || echo no; grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status";
            let out = self.ok(&[&options[..], &[IMAGE, "sh", "-c", script]].concat())?;
            contains(&out, "no\n")?;
            contains(&out, "CapBnd:\t0000000000000001")?;
            contains(&out, "NoNewPrivs:\t1")?;
            contains(&out, "Seccomp:\t2")
        });
        checks.check("--privileged", || {
            let script = "mount -t tmpfs x /tmp && echo mounted";
            let out = self.ok(&["run", "--rm", "--privileged", IMAGE, "sh", "-c", script])?;
            same(&out, "mounted")
        });
        checks.check("namespaces of the host and of others", || {
            self.detached("other", &[], &["sleep", "1000"])?;
            let own = std::fs::read_link("/proc/self/ns/net")?
                .display()
                .to_string();
            let seen = |options: &[&str]| {
                let words = [
                    &["run", "--rm"],
                    options,
                    &[IMAGE, "readlink", "/proc/self/ns/net"],
                ];
                self.ok(&words.concat())
            };
            same(&seen(&["--network", "host"])?, &own)?;
            let theirs = self.ok(&["exec", "other", "readlink", "/proc/self/ns/net"])?;
            same(&seen(&["--network", "container:other"])?, &theirs)?;
            let script = [
                "run",
                "--rm",
                "--pid",
                "container:other",
                IMAGE,
                "ps",
                "-o",
                "args",
            ];
            contains(&self.ok(&script)?, "sleep 1000")?;
            self.remove("other")
        });
    }

    /// After all of it no container is there, and nothing of one.
    fn removal(&self) -> Result<()> {
        let all = self.ok(&["ps", "-aq"])?;
        for id in all.split_whitespace() {
            self.ok(&["rm", "-f", id])?;
        }
        same(&all, "")?;
        empty(self.signs)
    }

    fn run(&self, words: &[&str]) -> Result<Ran> {
        self.room.run(&[self.cli, words].concat())
    }

    fn ok(&self, words: &[&str]) -> Result<String> {
        self.run(words)?.exits(0).with_context(|| words.join(" "))
    }

    fn detached(&self, name: &str, options: &[&str], command: &[&str]) -> Result<()> {
        let words = [&["run", "-d", "--name", name], options, &[IMAGE], command];
        self.ok(&words.concat()).map(drop)
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.ok(&["rm", "-f", "-t", "0", name])
            .or_else(|_| self.ok(&["rm", "-f", name]))
            .map(drop)
    }

    fn pid(&self, name: &str) -> Result<String> {
        self.ok(&["inspect", "--format", "{{.State.Pid}}", name])
    }
}
