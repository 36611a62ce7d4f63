//! What goes on while the daemon is away, however it went.
#![allow(clippy::expect_used, reason = "a test fails loudly")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use e2e::{Lab, ask_tcp, root, serve_tcp, signal, wait_for};

const PATIENCE: Duration = Duration::from_secs(20);

/// A directory that containers see as `/x`.
fn shared(lab: &Lab) -> (PathBuf, String) {
    let dir = lab.path("shared");
    std::fs::create_dir_all(&dir).expect("directory");
    let mount = format!("{}:/x", dir.display());
    (dir, mount)
}

#[track_caller]
fn appears(path: &Path) {
    assert!(wait_for(PATIENCE, || path.exists()), "{}", path.display());
}

/// A container that ends with `code` when `/x/{flag}` is there.
fn until(flag: &str, code: u8) -> String {
    format!("while [ ! -e /x/{flag} ]; do usleep 10000; done; exit {code}")
}

/// The file in which a keeper leaves the exit status.
fn exit_file(lab: &Lab, id: &str) -> PathBuf {
    lab.exec_root().join("containers").join(id).join("exit")
}

#[test]
fn containers_go_on_without_the_daemon() {
    if !root() {
        return;
    }
    let mut lab = Lab::new();
    let (dir, mount) = shared(&lab);
    let touch = |name: &str| std::fs::write(dir.join(name), "").expect("file");
    let count = "i=0; while :; do echo line $i; i=$((i+1)); usleep 5000; done";
    lab.ok(&[
        "run", "-d", "--name", "log", "-v", &mount, "bb", "sh", "-c", count,
    ]);
    lab.ok(&["run", "-di", "--name", "cat", "bb", "cat"]);
    lab.ok(&["run", "-dit", "--name", "tty", "bb", "sh"]);
    lab.ok(&[
        "run", "-d", "--name", "web", "-p", "8080:80", "bb", "sleep", "1000",
    ]);
    lab.sleeper("frozen", &[]);
    lab.ok(&["pause", "frozen"]);
    lab.in_container("web", || serve_tcp(80));
    let run = |name: &str, more: &[&str], script: &str| {
        let head = ["run", "-d", "--name", name, "-v", &mount];
        lab.ok(&[&head, more, &["bb", "sh", "-c", script]].concat())
    };
    let seven = run("seven", &[], &until("go", 7));
    let thrown = run("thrown", &["--rm"], &until("go", 0));
    let always = run("always", &["--restart", "always"], "echo begun; sleep 1000");
    let failing = run("failing", &["--restart", "on-failure:5"], &until("go", 3));
    run("stopped", &["--restart", "unless-stopped"], "sleep 1000");
    lab.ok(&["stop", "-t0", "stopped"]);
    lab.ok(&[
        "exec",
        "-d",
        "log",
        "sh",
        "-c",
        &format!("{}; ", until("go", 0)).replace("exit 0", "echo > /x/exec"),
    ]);
    let pid = lab.inspect("log", "{{.State.Pid}}");
    let started = lab.inspect("log", "{{.State.StartedAt}}");
    let mut follow = lab
        .docker_command(&["logs", "-f", "log"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("logs");
    let mut lines = BufReader::new(follow.stdout.take().expect("piped")).lines();
    lines.next().expect("a line").expect("a line");

    lab.kill_daemon();
    // Whoever follows is told: the stream ends. Nothing else notices.
    lines.count();
    follow.wait().expect("logs");
    touch("go");
    appears(&dir.join("exec"));
    for id in [&seven, &thrown, &failing] {
        appears(&exit_file(&lab, id));
    }
    for address in [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ] {
        lab.in_network(|| ask_tcp((address, 8080)))
            .expect("a published port without a daemon");
    }
    std::fs::remove_file(dir.join("go")).expect("file");
    lab.start_daemon();

    assert_eq!(
        lab.inspect(
            "log",
            "{{.State.Status}} {{.State.Pid}} {{.State.StartedAt}}"
        ),
        format!("running {pid} {started}")
    );
    assert_eq!(lab.inspect("frozen", "{{.State.Status}}"), "paused");
    lab.ok(&["unpause", "frozen"]);
    assert_eq!(
        lab.inspect("seven", "{{.State.Status}} {{.State.ExitCode}}"),
        "exited 7"
    );
    assert_eq!(lab.ok(&["wait", "seven"]), "7");
    assert!(lab.fails(1, &["inspect", &thrown]).contains("No such"));
    assert_eq!(
        lab.inspect("always", "{{.State.Status}} {{.RestartCount}}"),
        "running 0"
    );
    assert_eq!(lab.inspect("stopped", "{{.State.Status}}"), "exited");
    // It failed meanwhile and is tried again.
    lab.becomes(
        "failing",
        "{{.State.Status}} {{.RestartCount}}",
        "running 1",
    );
    assert_eq!(lab.ok(&["exec", "log", "echo", "in"]), "in");
    lab.in_network(|| ask_tcp((Ipv4Addr::LOCALHOST, 8080)))
        .expect("a published port");
    assert!(
        lab.fails(125, &["run", "--rm", "-p", "8080:1", "bb", "true"])
            .contains("container web")
    );
    // stdin, and a terminal.
    let mut attached = lab.docker_command(&["attach", "--sig-proxy=false", "cat"]);
    attached.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut attached = attached.spawn().expect("attach");
    let input = attached.stdin.as_mut().expect("piped");
    input.write_all(b"through\n").expect("input");
    let mut output = BufReader::new(attached.stdout.take().expect("piped")).lines();
    let line = output.next().expect("a line").expect("a line");
    assert_eq!(line, "through");
    let _ = (attached.kill(), attached.wait());
    lab.ok(&["exec", "tty", "true"]);
    assert_eq!(lab.ok(&["top", "tty", "-o", "pid"]).lines().count(), 2);
    // The log has no gap, and following goes on.
    let mut follow = lab
        .docker_command(&["logs", "-f", "log"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("logs");
    let before = lab.ok(&["logs", "log"]).lines().count();
    let lines = BufReader::new(follow.stdout.take().expect("piped")).lines();
    for (n, line) in lines.take(before + 20).enumerate() {
        assert_eq!(line.expect("line"), format!("line {n}"));
    }
    let _ = (follow.kill(), follow.wait());
    assert_eq!(lab.ok(&["logs", "always"]), "begun");
    lab.ok(&["stop", "-t0", "always"]);
    assert_eq!(lab.inspect(&always, "{{.State.Status}}"), "exited");
}

#[test]
fn a_killed_keeper_takes_its_container_along() {
    if !root() {
        return;
    }
    let mut lab = Lab::new();
    for (name, policy) in [("one", "no"), ("two", "always")] {
        let port = if name == "one" { "8080:80" } else { "8081:80" };
        lab.ok(&[
            "run",
            "-d",
            "--name",
            name,
            "--restart",
            policy,
            "-p",
            port,
            "bb",
            "sh",
            "-c",
            "sleep 1000 & sleep 1001",
        ]);
    }
    let client = lab
        .docker_command(&["attach", "one"])
        .stdin(Stdio::null())
        .spawn();
    let waiter = lab
        .docker_command(&["wait", "one"])
        .stdout(Stdio::piped())
        .spawn();
    let since = lab.ok(&["info", "--format", "{{.SystemTime}}"]);
    signal(lab.keeper("one"), "KILL");
    let waited = waiter.expect("wait").wait_with_output().expect("wait");
    assert_eq!(String::from_utf8_lossy(&waited.stdout), "137\n");
    assert!(
        client
            .expect("attach")
            .wait()
            .expect("attach")
            .code()
            .is_some()
    );
    assert_eq!(
        lab.inspect(
            "one",
            "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}"
        ),
        "exited 137 the container's keeper was killed"
    );
    let until = lab.ok(&["info", "--format", "{{.SystemTime}}"]);
    let events = lab.ok(&[
        "events",
        "--since",
        &since,
        "--until",
        &until,
        "--filter",
        "event=die",
        "--format",
        "{{.Actor.Attributes.name}} {{.Actor.Attributes.exitCode}}",
    ]);
    assert_eq!(events, "one 137");
    // Its ports are free at once, its processes are gone.
    lab.ok(&["run", "--rm", "-p", "8080:80", "bb", "true"]);
    lab.ok(&["start", "one"]);
    assert_eq!(lab.ok(&["top", "one", "-o", "pid"]).lines().count(), 3);

    signal(lab.keeper("two"), "KILL");
    lab.becomes("two", "{{.State.Status}} {{.RestartCount}}", "running 1");

    // While nobody looks: the daemon finds an end that nobody saw.
    let (one, two) = (lab.keeper("one"), lab.keeper("two"));
    let process = |name: &str| -> u32 {
        let pid = lab.inspect(name, "{{.State.Pid}}");
        pid.parse().expect("a pid")
    };
    let pids = [one, two, process("one"), process("two")];
    lab.kill_daemon();
    signal(one, "KILL");
    signal(two, "KILL");
    // A container does not outlive its keeper, even when nobody is there to end it.
    let gone = |pid: u32| !Path::new(&format!("/proc/{pid}")).exists();
    assert!(wait_for(PATIENCE, || pids.into_iter().all(gone)));
    lab.start_daemon();
    let format = "{{.State.Status}} {{.State.ExitCode}}";
    assert!(
        wait_for(PATIENCE, || lab.inspect("one", format) == "exited 255"),
        "{}",
        lab.inspect("one", format)
    );
    lab.becomes("two", "{{.State.Running}}", "true");
    lab.ok(&["start", "one"]);
    assert_eq!(lab.ok(&["exec", "one", "echo", "well"]), "well");
}

#[test]
fn killed_at_any_moment() {
    if !root() {
        return;
    }
    let rounds = std::env::var("CORTEN_E2E_KILLS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(25);
    let mut lab = Lab::new();
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..rounds {
        let workers: Vec<_> = (0..2)
            .map(|n| {
                let script = format!(
                    "for i in $(seq 1000); do n=w{round}_{n}_$i; \
                     docker -H {host} create --name $n -p $((2000 + {n} * 1000 + i)):80 -v vol{n}:/v \
                       -v /anonymous bb sh -c 'echo out; exit 3' || exit; \
                     docker -H {host} start -a $n; docker -H {host} rm -v $n || exit; done",
                    host = lab.host()
                );
                let mut worker = std::process::Command::new("sh");
                worker.args(["-c", &script]).env("DOCKER_CONFIG", lab.path("docker-config"));
                worker.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sh")
            })
            .collect();
        // The moment is the test, not a wait for something.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        std::thread::sleep(Duration::from_micros(20_000 + seed % 400_000));
        lab.kill_daemon();
        for mut worker in workers {
            worker.wait().expect("sh");
        }
        lab.start_daemon();
        // What is there is sound: it can be looked at, started and removed.
        for id in lab.ok(&["ps", "-aq"]).lines() {
            lab.inspect(id, "{{.State.Status}}");
            lab.docker(&["start", "-a", id]);
            lab.ok(&["rm", "-f", "-v", id]);
        }
    }
    assert_eq!(
        lab.ok(&["volume", "ls", "-q", "--filter", "dangling=true"])
            .lines()
            .filter(|name| name.len() == 64)
            .count(),
        0
    );
}
