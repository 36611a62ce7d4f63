//! create, start, run, state, list, kill, delete: order, ends, crashes and rivals.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]
#![allow(unreachable_pub, dead_code, reason = "shared with other tests")]

mod runtime;

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use runtime::{Lab, alive, text, wait};

#[test]
fn created_started_killed_deleted() {
    let Some(lab) = Lab::new("life") else { return };
    let pid_file = lab.dir.path().join("pid");
    lab.run(&["create", "--pid-file", pid_file.to_str().unwrap(), "c"])
        .ok();
    let state = lab.state("c");
    assert_eq!(state["status"], "created");
    assert_eq!(state["id"], "c");
    assert_eq!(state["ociVersion"], "1.3.0");
    let bundle = lab.bundle().canonicalize().unwrap();
    assert_eq!(state["bundle"], bundle.to_str().unwrap());
    let pid = state["pid"].as_i64().unwrap();
    assert_eq!(std::fs::read_to_string(&pid_file).unwrap(), pid.to_string());
    // It waits with nothing of the host in its descriptors.
    for fd in std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten()
    {
        let name: i32 = fd.file_name().to_str().unwrap().parse().unwrap();
        let target = std::fs::read_link(fd.path()).unwrap();
        let fifo = target.ends_with("exec.fifo");
        assert!(
            name <= 2 || fifo,
            "descriptor {name} is {}",
            target.display()
        );
    }
    lab.run(&["start", "c"]).ok();
    assert_eq!(lab.status("c"), "running");
    lab.run(&["start", "c"])
        .failed(1, "cannot start an already running container");
    lab.run(&["delete", "c"])
        .failed(1, "cannot delete container c that is not stopped: running");
    lab.run(&["kill", "c", "KILL"]).ok();
    lab.until("c", "stopped");
    assert_eq!(lab.state("c")["pid"], 0);
    lab.run(&["kill", "c"]).failed(1, "container not running");
    lab.run(&["kill", "--all", "c"]).ok();
    lab.run(&["start", "c"])
        .failed(1, "cannot start a container that has stopped");
    lab.run(&["delete", "c"]).ok();
    lab.run(&["state", "c"])
        .failed(1, "container does not exist");
    lab.run(&["delete", "c"])
        .failed(1, "container does not exist");
    lab.run(&["delete", "--force", "c"]).ok();
    lab.assert_clean();
}

#[test]
fn run_gives_output_and_code() {
    let Some(lab) = Lab::new("run") else { return };
    lab.configure(
        &["/bin/sh", "-c", "echo out; echo err >&2; cat; exit 7"],
        |_| {},
    );
    let mut child = lab
        .command(&["run", "r"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"in\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(text(&output), "out\nin\n");
    assert_eq!(output.stderr, b"err\n");
    lab.assert_clean();
    lab.configure(&["/bin/sh", "-c", "kill -9 $$"], |c| {
        // A signal that nobody handles does not reach the first process of a pid namespace.
        let namespaces = c["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|n| n["type"] != "pid");
    });
    assert_eq!(lab.run(&["run", "r"]).code, 128 + 9);
    lab.assert_clean();
}

#[test]
fn keep_and_detach() {
    let Some(lab) = Lab::new("keep") else { return };
    lab.configure(&["/bin/true"], |_| {});
    lab.run(&["run", "--keep", "k"]).ok();
    assert_eq!(lab.status("k"), "stopped");
    lab.run(&["delete", "k"]).ok();
    lab.configure(&["/bin/sleep", "1000"], |_| {});
    lab.run(&["run", "-d", "d"]).ok();
    assert_eq!(lab.status("d"), "running");
    let pid = lab.state("d")["pid"].as_i64().unwrap();
    lab.run(&["delete", "-f", "d"]).ok();
    assert!(!alive(pid));
    lab.assert_clean();
}

#[test]
fn signals_are_handed_on() {
    let Some(lab) = Lab::new("signals") else {
        return;
    };
    let script = "trap 'echo caught; exit 5' USR1; echo ready; while :; do sleep 0.05; done";
    lab.configure(&["/bin/sh", "-c", script], |_| {});
    let mut child = lab.spawn(&["run", "s"]);
    let mut stdout = child.stdout.take().unwrap();
    let mut ready = [0; 6];
    stdout.read_exact(&mut ready).unwrap();
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::USR1).unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5));
    assert_eq!(rest, "caught\n");
    lab.assert_clean();
}

#[test]
fn failures_leave_nothing() {
    let Some(lab) = Lab::new("failures") else {
        return;
    };
    let fails = |words: &str| {
        lab.run(&["create", "f"]).failed(1, words);
        lab.assert_clean();
        lab.run(&["run", "f"]).failed(1, words);
        lab.assert_clean();
    };
    lab.configure(&["/bin/no-such"], |_| {});
    fails("stat /bin/no-such: no such file or directory");
    lab.configure(&["no-such"], |_| {});
    fails("executable file not found in $PATH");
    lab.configure(&["/etc/passwd"], |_| {});
    fails("permission denied");
    lab.configure(&["sh"], |c| c["root"]["path"] = "nowhere".into());
    fails("invalid rootfs");
    lab.configure(&["sh"], |c| c["process"]["cwd"] = "relative".into());
    fails("Cwd must be an absolute path");
    lab.configure(&["sh"], |c| c["process"]["args"] = serde_json::json!([]));
    fails("args must not be empty");
    lab.configure(&["sh"], |c| c["ociVersion"] = "7.0.0".into());
    fails("unknown version specified");
    lab.configure(&["sh"], |c| {
        c["mounts"].as_array_mut().unwrap().push(serde_json::json!({
            "destination": "/mnt", "type": "bind", "source": "/no/such/place", "options": ["bind"],
        }));
    });
    fails("/no/such/place");
    lab.configure(&["sh"], |c| {
        c["linux"]["resources"]["cpu"] = serde_json::json!({"cpus": "4000"});
    });
    fails("cpuset.cpus");
    lab.run(&["create", "bad/id"])
        .failed(1, "invalid container ID format");
    std::fs::remove_file(lab.bundle().join("config.json")).unwrap();
    fails("JSON specification file config.json not found");
}

/// What only execve finds out is told by `start`.
#[test]
fn start_tells_what_execve_says() {
    let Some(lab) = Lab::new("execve") else {
        return;
    };
    let script = lab.bundle().join("rootfs/bin/broken");
    std::fs::write(&script, "no program\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    lab.configure(&["/bin/broken"], |_| {});
    lab.run(&["create", "e"]).ok();
    lab.run(&["start", "e"])
        .failed(1, "exec /bin/broken: exec format error");
    lab.until("e", "stopped");
    lab.run(&["delete", "e"]).ok();
    lab.assert_clean();
    lab.run(&["run", "e"]).failed(1, "exec format error");
    lab.assert_clean();
}

#[test]
fn start_of_one_that_died_while_it_waited() {
    let Some(lab) = Lab::new("died") else { return };
    lab.run(&["create", "d"]).ok();
    lab.run(&["kill", "d", "9"]).ok();
    lab.until("d", "stopped");
    lab.run(&["start", "d"])
        .failed(1, "cannot start a container that has stopped");
    lab.run(&["delete", "d"]).ok();
}

/// A created one is deleted without force.
#[test]
fn delete_of_a_created_one() {
    let Some(lab) = Lab::new("undone") else {
        return;
    };
    lab.run(&["create", "c"]).ok();
    let pid = lab.state("c")["pid"].as_i64().unwrap();
    lab.run(&["delete", "c"]).ok();
    assert!(!alive(pid));
    lab.assert_clean();
}

#[test]
fn one_id_two_creators() {
    let Some(lab) = Lab::new("rivals") else {
        return;
    };
    for _ in 0..5 {
        let rivals: Vec<_> = (0..4)
            .map(|_| {
                lab.command(&["create", "same"])
                    .stdout(Stdio::null())
                    .stderr(tempfile::tempfile().unwrap())
                    .spawn()
                    .unwrap()
            })
            .collect();
        let won = rivals.into_iter().map(|mut c| c.wait().unwrap());
        assert_eq!(won.filter(|s| s.success()).count(), 1);
        assert_eq!(lab.status("same"), "created");
        lab.run(&["create", "same"])
            .failed(1, "container with given ID already exists");
        lab.run(&["delete", "-f", "same"]).ok();
        lab.assert_clean();
    }
}

#[test]
fn one_container_two_starters() {
    let Some(lab) = Lab::new("starters") else {
        return;
    };
    lab.run(&["create", "s"]).ok();
    let mut starters: Vec<_> = (0..3).map(|_| lab.spawn(&["start", "s"])).collect();
    let ended = starters.iter_mut().map(|c| c.wait().unwrap());
    assert_eq!(ended.filter(|s| s.success()).count(), 1);
    assert_eq!(lab.status("s"), "running");
}

/// The runtime killed at every moment of a create: `delete -f` takes all away.
#[test]
fn killed_while_it_creates() {
    let Some(lab) = Lab::new("crash") else { return };
    lab.configure(&["/bin/sleep", "1000"], |_| {});
    for step in 0..40u64 {
        let mut child = lab
            .command(&["create", "x"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A group of its own is not needed: it is killed alone.
            .process_group(0)
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_micros(step * 400));
        let _ = child.kill();
        child.wait().unwrap();
        lab.run(&["delete", "-f", "x"]).ok();
        lab.assert_clean();
        let marker = lab.bundle();
        wait("the process to be gone", || !anyone_in(&marker));
    }
}

/// A process whose root is in the bundle.
fn anyone_in(bundle: &std::path::Path) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut roots = processes.filter_map(|p| std::fs::read_link(p.path().join("cwd")).ok());
    let inside = bundle.join("rootfs");
    roots.any(|r| r.starts_with(&inside))
}

#[test]
fn list_forms() {
    let Some(lab) = Lab::new("list") else { return };
    lab.run(&["list"]).failed(1, "no such file or directory");
    lab.run(&["create", "one"]).ok();
    let table = lab.run(&["list"]).ok();
    let mut lines = table.lines();
    let head: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    let row: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!((row[0], row[2], row[5]), ("one", "created", "root"));
    assert_eq!(lab.run(&["list", "-q"]).ok(), "one\n");
    let json = lab.run(&["list", "--format", "json"]).ok();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["id"], "one");
    lab.run(&["list", "-f", "yaml"])
        .failed(1, "invalid format option");
    lab.run(&["delete", "-f", "one"]).ok();
    assert_eq!(lab.run(&["list", "-f", "json"]).ok(), "null\n");
}

/// Without a pid namespace the others do not end with the first process.
#[test]
fn shared_pid_namespace() {
    let Some(lab) = Lab::new("sharedpid") else {
        return;
    };
    let script = "sleep 1000 & sleep 1000 & sleep 1000; exit";
    lab.configure(&["/bin/sh", "-c", script], |c| {
        let namespaces = c["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|n| n["type"] != "pid");
    });
    lab.run(&["run", "-d", "p"]).ok();
    let pids = || -> Vec<i64> {
        let text = lab.run(&["ps", "-f", "json", "p"]).ok();
        serde_json::from_str::<Option<Vec<i64>>>(&text)
            .unwrap()
            .unwrap_or_default()
    };
    wait("all of them to run", || pids().len() == 4);
    let all = pids();
    lab.run(&["kill", "p", "KILL"]).ok();
    wait("all of them to end", || !all.iter().any(|p| alive(*p)));
    lab.run(&["delete", "p"]).ok();
    lab.assert_clean();
    lab.run(&["run", "-d", "p"]).ok();
    wait("all of them to run", || pids().len() == 4);
    let all = pids();
    lab.run(&["delete", "-f", "p"]).ok();
    assert!(!all.iter().any(|p| alive(*p)));
    lab.assert_clean();
}

#[test]
fn hooks_of_later_commands() {
    let Some(lab) = Lab::new("hooks") else { return };
    let log = lab.dir.path().join("hooks");
    let log = log.to_str().unwrap();
    let hook = |name: &str| {
        let line = format!("echo {name} $(grep -o '\"status\":\"[a-z]*\"' | cut -d: -f2) >> {log}");
        serde_json::json!([{"path": "/bin/busybox", "args": ["sh", "-c", line]}])
    };
    lab.configure(&["/bin/sleep", "1000"], |c| {
        c["hooks"] = serde_json::json!({
            "createRuntime": hook("create"),
            "poststart": hook("poststart"),
            "poststop": hook("poststop"),
        });
    });
    let read = || std::fs::read_to_string(log).unwrap_or_default();
    lab.run(&["create", "h"]).ok();
    assert_eq!(read(), "create \"creating\"\n");
    lab.run(&["start", "h"]).ok();
    lab.run(&["delete", "-f", "h"]).ok();
    assert_eq!(
        read(),
        "create \"creating\"\npoststart \"running\"\npoststop \"stopped\"\n"
    );
    lab.assert_clean();
}

/// What the runtime is and works on when a user without privileges, number 1234, runs it.
struct User {
    lab: Lab,
    program: std::path::PathBuf,
    home: std::path::PathBuf,
    /// In a mount namespace where /etc grants that user 1000 ids from 100000 on.
    granted: bool,
}

impl User {
    fn new(name: &str, granted: bool) -> Option<Self> {
        let lab = Lab::new(name)?;
        let path = lab.dir.path().to_owned();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, open).unwrap();
        let home = path.join("home");
        std::fs::create_dir_all(home.join("bundle")).unwrap();
        let program = path.join("runc");
        runtime::copy_program(&program);
        std::fs::rename(lab.bundle().join("rootfs"), home.join("bundle/rootfs")).unwrap();
        for own in [&home, &home.join("bundle")] {
            std::os::unix::fs::chown(own, Some(1234), Some(1234)).unwrap();
        }
        std::fs::write(path.join("subuid"), "1234:100000:1000\n").unwrap();
        std::fs::write(
            path.join("passwd"),
            "root:x:0:0::/:/bin/sh\nuser:x:1234:1234::/:/bin/sh\n",
        )
        .unwrap();
        Some(Self {
            lab,
            program,
            home,
            granted,
        })
    }

    fn run(&self, args: &[&str]) -> std::process::Output {
        let mut command = std::process::Command::new(match self.granted {
            true => std::path::Path::new("unshare"),
            false => &self.program,
        });
        if self.granted {
            let script = "mount --bind \"$1/subuid\" /etc/subuid && \
                          mount --bind \"$1/subuid\" /etc/subgid && \
                          mount --bind \"$1/passwd\" /etc/passwd && shift && \
                          exec setpriv --reuid 1234 --regid 1234 --clear-groups \"$@\"";
            command.args(["--mount", "sh", "-ec", script, "sh"]);
            command.arg(self.lab.dir.path()).arg(&self.program);
        } else {
            command.uid(1234).gid(1234);
        }
        command.arg("--root").arg(self.home.join("root")).args(args);
        command.stdin(Stdio::null());
        let bundle = self.home.join("bundle");
        // What stays running must not hold the pipes that the answer comes through.
        if args.contains(&"-d") && args.contains(&"run") {
            let file = || std::fs::File::create(self.lab.dir.path().join("output")).unwrap();
            let status = command.stdout(file()).stderr(file());
            let status = status.current_dir(bundle).status().unwrap();
            return std::process::Output {
                status,
                stdout: Vec::new(),
                stderr: std::fs::read(self.lab.dir.path().join("output")).unwrap(),
            };
        }
        command.current_dir(bundle).output().unwrap()
    }

    fn configure(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let config = self.home.join("bundle/config.json");
        if !config.exists() {
            assert!(self.run(&["spec", "--rootless"]).status.success());
        }
        let bytes = std::fs::read(&config).unwrap();
        let mut value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        value["process"]["terminal"] = false.into();
        change(&mut value);
        std::fs::write(&config, value.to_string()).unwrap();
    }

    /// Nothing is left; the bundle goes back to where its laboratory looks for it.
    fn end(self) {
        let left = std::fs::read_dir(self.home.join("root")).map_or(0, Iterator::count);
        assert_eq!(left, 0);
        std::fs::rename(
            self.home.join("bundle/rootfs"),
            self.lab.bundle().join("rootfs"),
        )
        .unwrap();
    }
}

/// A user without privileges: a user namespace, no cgroup, the state where that user says.
#[test]
fn without_privileges() {
    let Some(user) = User::new("user", false) else {
        return;
    };
    user.configure(|v| v["process"]["args"] = serde_json::json!(["id", "-u"]));
    let output = user.run(&["run", "r"]);
    let err = String::from_utf8_lossy(&output.stderr);
    // Machines may keep user namespaces from users.
    if err.contains("clone3: ") {
        return;
    }
    assert_eq!(text(&output), "0\n", "{err}");
    assert!(!user.home.join("root/r").exists());
    user.configure(|v| v["process"]["args"] = serde_json::json!(["sleep", "1000"]));
    let output = user.run(&["run", "-d", "r"]);
    assert!(output.status.success(), "{output:?}");
    let output = user.run(&[
        "exec",
        "r",
        "sh",
        "-c",
        "id -u; head -c 5 /proc/1/cmdline; exit 9",
    ]);
    assert_eq!(text(&output), "0\nsleep", "{output:?}");
    assert_eq!(output.status.code(), Some(9));
    let output = user.run(&["exec", "r", "no-such"]);
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    let output = user.run(&["delete", "-f", "r"]);
    assert!(output.status.success(), "{output:?}");
    user.end();
}

/// More ids than one's own, by newuidmap and newgidmap and what /etc/subuid grants.
#[test]
fn ids_granted_to_a_user() {
    if !std::path::Path::new("/usr/bin/newuidmap").exists() {
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            b"skipped: needs newuidmap (uidmap)\n",
        );
        return;
    }
    let Some(user) = User::new("granted", true) else {
        return;
    };
    let mappings = |first: u32| {
        serde_json::json!([
            {"containerID": 0, "hostID": 1234, "size": 1},
            {"containerID": 1, "hostID": first, "size": 1000},
        ])
    };
    user.configure(|v| {
        v["process"]["args"] = serde_json::json!(["sleep", "1000"]);
        v["process"]["user"] = serde_json::json!({"uid": 7, "gid": 8, "additionalGids": [9]});
        v["linux"]["uidMappings"] = mappings(100_000);
        v["linux"]["gidMappings"] = mappings(100_000);
    });
    let output = user.run(&["run", "-d", "r"]);
    if String::from_utf8_lossy(&output.stderr).contains("clone3: ") {
        return;
    }
    assert!(output.status.success(), "{output:?}");
    let output = user.run(&["exec", "r", "sh", "-c", "id -u; id -G"]);
    assert_eq!(text(&output), "7\n8 9\n", "{output:?}");
    let output = user.run(&["exec", "-u", "999", "r", "cat", "/proc/self/uid_map"]);
    let map: Vec<String> = text(&output)
        .lines()
        .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(map, ["0 1234 1", "1 100000 1000"], "{output:?}");
    assert!(user.run(&["delete", "-f", "r"]).status.success());
    // What is not granted is refused in the helper's words, and leaves nothing.
    user.configure(|v| v["linux"]["uidMappings"] = mappings(200_000));
    let output = user.run(&["run", "r"]);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(err.contains("linux.uidMappings: "), "{err}");
    assert!(err.contains("newuidmap: "), "{err}");
    user.end();
}
