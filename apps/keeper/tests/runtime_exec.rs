//! exec, ps, terminals and descriptors that are handed on.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]
#![allow(unreachable_pub, dead_code, reason = "shared with other tests")]

mod runtime;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;

use runtime::{Lab, wait};

fn started(name: &str) -> Option<Lab> {
    let lab = Lab::new(name)?;
    lab.run(&["run", "-d", "c"]).ok();
    Some(lab)
}

#[test]
fn the_callers_groups_are_kept_where_asked() {
    let Some(lab) = Lab::new("keep-groups") else {
        return;
    };
    for (wish, own) in [("0", true), ("1", false)] {
        lab.configure(&["/bin/sleep", "1000"], |c| {
            c["annotations"]["run.oci.keep_original_groups"] = wish.into();
            c["process"]["user"]["additionalGids"] = serde_json::json!([7777]);
        });
        lab.run(&["run", "-d", "g"]).ok();
        let pid = lab.state("g")["pid"].as_i64().unwrap();
        let first = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let second = lab.run(&["exec", "g", "cat", "/proc/self/status"]).ok();
        for status in [first, second] {
            let groups = status.lines().find(|l| l.starts_with("Groups:")).unwrap();
            assert_eq!(groups.contains("7777"), own, "{wish}: {groups}");
        }
        lab.run(&["delete", "-f", "g"]).ok();
    }
    lab.assert_clean();
}

#[test]
fn options_of_the_process() {
    let Some(lab) = started("exec") else { return };
    assert_eq!(lab.run(&["exec", "c", "/bin/echo", "-n", "hi"]).ok(), "hi");
    assert_eq!(lab.run(&["exec", "c", "sh", "-c", "exit 42"]).code, 42);
    assert_eq!(
        lab.run(&["exec", "--cwd", "/etc", "c", "pwd"]).ok(),
        "/etc\n"
    );
    let id = lab
        .run(&["exec", "-u", "33:34", "-g", "7", "-g", "8", "c", "id"])
        .ok();
    assert_eq!(id, "uid=33(web) gid=34 groups=7,8\n");
    let env = lab
        .run(&["exec", "-e", "A=1", "--env", "PATH=/bin", "c", "env"])
        .ok();
    assert!(
        env.contains("A=1\n") && env.contains("PATH=/bin\n"),
        "{env}"
    );
    assert_eq!(env.matches("PATH=").count(), 1, "{env}");
    let status = |args: &[&str], key: &str| {
        let mut all = vec!["exec"];
        all.extend_from_slice(args);
        all.extend_from_slice(&["c", "cat", "/proc/self/status"]);
        let text = lab.run(&all).ok();
        let line = text.lines().find(|l| l.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(status(&[], "NoNewPrivs"), "1");
    assert_eq!(status(&["--no-new-privs=false"], "NoNewPrivs"), "0");
    let with = u64::from_str_radix(&status(&["--cap", "CAP_SYS_CHROOT"], "CapEff"), 16).unwrap();
    let without = u64::from_str_radix(&status(&[], "CapEff"), 16).unwrap();
    assert_eq!(with ^ without, 1 << 18);
}

#[test]
fn process_file_and_failures() {
    let Some(lab) = started("execfile") else {
        return;
    };
    let file = lab.dir.path().join("process.json");
    let process = r#"{"args":["/bin/sh","-c","echo $X $(pwd)"],"env":["PATH=/bin","X=y"],"cwd":"/tmp","user":{"uid":0,"gid":0}}"#;
    std::fs::write(&file, process).unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(lab.run(&["exec", "-p", file, "c"]).ok(), "y /tmp\n");
    let fails = |args: &[&str], words: &str| {
        let mut all = vec!["exec"];
        all.extend_from_slice(args);
        lab.run(&all).failed(255, words);
    };
    fails(&["c", "nope"], "executable file not found in $PATH");
    fails(&["c", "/nope"], "no such file or directory");
    fails(&["c"], "exec args cannot be empty");
    fails(&["--cwd", "/no/where", "c", "true"], "chdir to cwd");
    fails(&["-u", "x", "c", "true"], "bad uid");
    fails(
        &["-t", "-d", "c", "true"],
        "cannot allocate tty if runc will detach",
    );
    fails(&["nobody", "true"], "container does not exist");
    lab.run(&["kill", "c", "KILL"]).ok();
    lab.until("c", "stopped");
    fails(&["c", "true"], "cannot exec in a stopped container");
}

#[test]
fn detached_with_pid_file() {
    let Some(lab) = started("execd") else { return };
    let pid_file = lab.dir.path().join("pid");
    lab.run(&[
        "exec",
        "-d",
        "--pid-file",
        pid_file.to_str().unwrap(),
        "c",
        "sleep",
        "999",
    ])
    .ok();
    let pid: i64 = std::fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert_eq!(comm, "sleep\n");
    let ps: Vec<i64> = serde_json::from_str(&lab.run(&["ps", "-f", "json", "c"]).ok()).unwrap();
    assert!(ps.contains(&pid) && ps.len() == 2, "{ps:?}");
    let table = lab.run(&["ps", "c"]);
    if table.code == 0 {
        assert!(
            table.out.contains("sleep 999") && table.out.lines().count() == 3,
            "{table:?}"
        );
    }
}

/// It is in all of the container's cgroup, or in the one below that is named.
#[test]
fn cgroup_of_the_process() {
    let Some(lab) = started("execcg") else { return };
    let own = lab.run(&["exec", "c", "cat", "/proc/self/cgroup"]).ok();
    let paths = own.lines().filter(|l| !l.starts_with("0::"));
    for line in paths {
        assert!(line.ends_with(&lab.cgroup), "{line}");
    }
    let layout = cgroup::Layout::detect().unwrap();
    if layout.version != 1 {
        return;
    }
    let pids = layout.hierarchies.iter().find(|h| h.has("pids")).unwrap();
    let below = pids
        .mountpoint
        .join(lab.cgroup.trim_start_matches('/'))
        .join("below");
    std::fs::create_dir(&below).unwrap();
    let all = lab
        .run(&[
            "exec",
            "--cgroup",
            "pids:below",
            "c",
            "cat",
            "/proc/self/cgroup",
        ])
        .ok();
    let line = all.lines().find(|l| l.contains(":pids:")).unwrap();
    assert!(line.ends_with("/below"), "{line}");
    lab.run(&["exec", "--cgroup", "pids:nowhere", "c", "true"])
        .failed(255, "no such file or directory");
    lab.run(&["exec", "--cgroup", "pids:../..", "c", "true"])
        .failed(255, "bad sub cgroup path");
}

/// A socket that receives a terminal, and what the process then writes to it.
fn terminal_of(lab: &Lab, args: &[&str]) -> OwnedFd {
    let path = lab.dir.path().join("console");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let mut all = vec![args[0], "--console-socket", path.to_str().unwrap()];
    all.extend_from_slice(&args[1..]);
    lab.run(&all).ok();
    let (socket, _) = listener.accept().unwrap();
    let mut name = [0; 64];
    let mut got = sys::fdpass::recv(socket.as_fd(), &mut name, 1).unwrap();
    assert!(got.len > 0);
    got.fds.pop().unwrap()
}

fn read_all(master: &OwnedFd) -> String {
    let mut out = Vec::new();
    let mut buffer = [0; 256];
    // EIO is the end of a terminal.
    while let Ok(n) = rustix::io::read(master, &mut buffer) {
        if n == 0 {
            break;
        }
        out.extend_from_slice(&buffer[..n]);
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn terminals_go_to_the_socket() {
    let Some(lab) = Lab::new("tty") else { return };
    lab.configure(&["/bin/sh", "-c", "tty; sleep 1000"], |c| {
        c["process"]["terminal"] = true.into();
        c["process"]["consoleSize"] = serde_json::json!({"height": 11, "width": 22});
    });
    lab.run(&["create", "t"])
        .failed(1, "cannot allocate tty if runc will detach");
    lab.run(&["create", "--console-socket", "/no/socket", "t"])
        .failed(1, "dial unix /no/socket");
    lab.assert_clean();
    let master = terminal_of(&lab, &["create", "t"]);
    let size = rustix::termios::tcgetwinsize(&master).unwrap();
    assert_eq!((size.ws_row, size.ws_col), (11, 22));
    lab.run(&["start", "t"]).ok();
    let mut buffer = [0; 64];
    let n = rustix::io::read(&master, &mut buffer).unwrap();
    assert_eq!(&buffer[..n], b"/dev/pts/0\r\n");
    let other = terminal_of(&lab, &["exec", "-d", "-t", "t", "tty"]);
    assert_eq!(read_all(&other), "/dev/pts/1\r\n");
    // In the foreground its output comes out here.
    let out = lab.run(&["exec", "-t", "t", "tty"]).ok();
    assert!(out.starts_with("/dev/pts/"), "{out}");
}

#[test]
fn descriptors_are_handed_on() {
    let Some(lab) = Lab::new("fds") else { return };
    let extra = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut &extra, b"extra").unwrap();
    // The shell puts it at 3 and 4 and becomes the runtime.
    let path = format!(
        "/proc/{}/fd/{}",
        std::process::id(),
        std::os::fd::AsRawFd::as_raw_fd(&extra)
    );
    let run = |options: &str, env: &str| {
        let script = format!(
            "exec 3<{path} 4<{path}; {env} exec {} runtime --root {} run {options} f",
            runtime::KEEPER,
            lab.root().display(),
        );
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .current_dir(lab.bundle())
            .output()
            .unwrap();
        (
            runtime::text(&output),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    lab.configure(&["/bin/sh", "-c", "ls /proc/self/fd; cat <&4"], |_| {});
    let (out, err) = run("--preserve-fds 2", "");
    assert!(out.contains("4\n") && out.ends_with("extra"), "{out} {err}");
    let (out, _) = run("", "");
    assert!(!out.contains("extra"), "{out}");
    let (_, err) = run("--preserve-fds 9", "");
    assert!(err.contains("unable to stat preserved-fd"), "{err}");
    lab.configure(
        &["/bin/sh", "-c", "echo $LISTEN_FDS $LISTEN_PID; cat <&3"],
        |_| {},
    );
    let (out, err) = run("", "LISTEN_FDS=1 LISTEN_PID=$$");
    assert_eq!(out, "1 1\nextra", "{err}");
}

/// The service manager hears of a container's readiness.
#[test]
fn readiness_is_handed_on() {
    let Some(lab) = Lab::new("notify") else {
        return;
    };
    let path = lab.dir.path().join("manager");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let script = "echo $NOTIFY_SOCKET; while [ ! -S $NOTIFY_SOCKET ]; do :; done; sleep 1000";
    lab.configure(&["/bin/sh", "-c", script], |_| {});
    let mut command = lab.command(&["create", "n"]);
    assert!(
        command
            .env("NOTIFY_SOCKET", &path)
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap()
            .success()
    );
    let mut start = lab.command(&["start", "n"]);
    let mut start = start.env("NOTIFY_SOCKET", &path).spawn().unwrap();
    let inside = lab.root().join("n/notify/notify.sock");
    wait("the container's socket", || inside.exists());
    let service = std::os::unix::net::UnixDatagram::unbound().unwrap();
    service.send_to(b"STATUS=almost\n", &inside).unwrap();
    service.send_to(b"READY=1\n", &inside).unwrap();
    let mut buffer = [0; 256];
    let n = manager.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..n], b"READY=1\n");
    let n = manager.recv(&mut buffer).unwrap();
    let pid = lab.state("n")["pid"].as_i64().unwrap();
    assert_eq!(&buffer[..n], format!("MAINPID={pid}\n").as_bytes());
    let got = sys::fdpass::recv(manager.as_fd(), &mut buffer, 1).unwrap();
    assert_eq!(&buffer[..got.len], b"BARRIER=1");
    drop(got);
    assert!(start.wait().unwrap().success());
}
