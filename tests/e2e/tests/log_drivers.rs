//! Log drivers: `local` and its compressed files, the non-blocking mode, and loggers on the network.
#![allow(clippy::expect_used, reason = "a test fails loudly")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Stdio};
use std::time::Duration;

use e2e::{Lab, root, wait_for};

const LONG: Duration = Duration::from_secs(30);

/// A listener for one connection in the engine's network namespace; ended when dropped.
struct Listener(Child);

impl Listener {
    fn start(lab: &Lab, port: &str, into: &str) -> Self {
        let file = std::fs::File::create(lab.path(into)).expect("file");
        let mut command = lab.entered("busybox");
        command.args(["nc", "-l", "-p", port]);
        // Its input stays open: at its end it would close its half of the connection.
        command.stdin(Stdio::piped()).stdout(file);
        let listener = Self(command.spawn().expect("listener"));
        let listens = || {
            let ran = lab.inside(&["busybox", "netstat", "-ltn"]);
            ran.out.contains(&format!(":{port}"))
        };
        assert!(wait_for(LONG, listens));
        listener
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn files(lab: &Lab, name: &str, below: &str) -> Vec<String> {
    let id = lab.inspect(name, "{{.Id}}");
    let dir = lab.data_root().join("containers").join(id).join(below);
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .expect("dir")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn local_rotates_compresses_and_is_read_back() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    // Slow enough that files are compressed while it writes, fast enough that some wait for it.
    let run = [
        "run",
        "--name",
        "rot",
        "--log-driver",
        "local",
        "--log-opt",
        "max-size=40k",
        "--log-opt",
        "max-file=50",
    ];
    let script =
        "for n in $(seq 1 20); do seq $((n * 1000 + 1)) $((n * 1000 + 1000)); usleep 20000; done";
    lab.ok(&[&run[..], &["bb", "sh", "-c", script]].concat());
    assert_eq!(
        lab.inspect("rot", "{{.HostConfig.LogConfig.Type}}"),
        "local"
    );
    assert_eq!(lab.inspect("rot", "{{.LogPath}}"), "");
    let names = files(&lab, "rot", "local-logs");
    assert!(names.iter().any(|name| name.ends_with(".gz")), "{names:?}");
    assert!(
        !names.iter().any(|name| name.ends_with(".partial")),
        "{names:?}"
    );
    let all = lab.docker(&["logs", "rot"]).out;
    let expected: String = (1001..=21_000).map(|n| format!("{n}\n")).collect();
    assert!(all == expected, "{} lines", all.lines().count());
    assert_eq!(
        lab.docker(&["logs", "-n", "3", "rot"]).out,
        "20998\n20999\n21000\n"
    );
    assert_eq!(
        lab.docker(&["logs", "-n", "19999", "rot"])
            .out
            .lines()
            .next(),
        Some("1002")
    );
    // Since a time in the midst of it: exactly what has that time or a later one.
    let stamped = lab.docker(&["logs", "-t", "rot"]).out;
    let middle = stamped.lines().nth(9_500).expect("line");
    let (time, _) = middle.split_once(' ').expect("time");
    let wanted = stamped
        .lines()
        .filter(|line| line.split(' ').next() >= Some(time));
    let since = lab.docker(&["logs", "-t", "--since", time, "rot"]).out;
    assert_eq!(since.lines().count(), wanted.count());
    assert!(since.starts_with(time), "{}", &since[..80]);
    // Bounded: of a small log only the end is left.
    let small = [
        "run",
        "--name",
        "small",
        "--log-driver",
        "local",
        "--log-opt",
        "max-size=10k",
        "--log-opt",
        "max-file=3",
        "bb",
        "seq",
        "5000",
    ];
    lab.ok(&small);
    assert_eq!(files(&lab, "small", "local-logs").len(), 3);
    let left = lab.docker(&["logs", "small"]).out;
    assert!(left.ends_with("\n5000\n") && left.lines().count() < 2000);
}

#[test]
fn followed_over_rotation() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    for (name, driver) in [("json", "json-file"), ("local", "local")] {
        let driver = format!("--log-driver={driver}");
        let run = [
            "run",
            "-d",
            "-i",
            "--name",
            name,
            &driver,
            "--log-opt",
            "max-size=20k",
            "--log-opt",
            "max-file=100",
            "--log-opt",
            "compress=true",
            "bb",
            "sh",
            "-c",
            "read x; for n in $(seq 1 30); do seq $((n * 100)) $((n * 100 + 99)); usleep 5000; done",
        ];
        lab.ok(&run);
        let mut follower = lab.docker_command(&["logs", "-f", name]);
        let mut follower = follower.stdout(Stdio::piped()).spawn().expect("logs");
        lab.docker_with(&["attach", name], "go\n");
        let mut out = String::new();
        let mut pipe = follower.stdout.take().expect("pipe");
        pipe.read_to_string(&mut out).expect("read");
        follower.wait().expect("ended");
        let expected: String = (100..3100).map(|n| format!("{n}\n")).collect();
        assert!(out == expected, "{name}: {} lines", out.lines().count());
    }
}

#[test]
fn tags_labels_and_variables() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    for driver in ["local", "json-file"] {
        lab.ok(&[
            "run",
            "--name",
            driver,
            "--log-driver",
            driver,
            "--log-opt",
            "tag={{.Name}}/{{.ImageName}}",
            "--log-opt",
            "labels-regex=^com[.]",
            "--log-opt",
            "env-regex=^W",
            "--label",
            "com.x=y",
            "--label",
            "other=z",
            "-e",
            "WHERE=here",
            "bb",
            "echo",
            "hello",
        ]);
        assert_eq!(
            lab.ok(&["logs", "--details", driver]),
            format!("WHERE=here,com.x=y,tag={driver}%2Fbb hello")
        );
    }
    let err = lab.fails(125, &["run", "--log-opt", "tag={{.Nosuch}}", "bb", "true"]);
    assert!(err.contains("Nosuch"), "{err}");
}

#[test]
fn non_blocking_never_waits_for_the_log() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let run = [
        "run",
        "-d",
        "-i",
        "--name",
        "nb",
        "--log-opt",
        "mode=non-blocking",
        "--log-opt",
        "max-buffer-size=64k",
        "bb",
        "sh",
        "-c",
        "read x; seq 100000; echo done > /told; sleep 1000",
    ];
    lab.ok(&run);
    // The keeper's child that writes the log is stopped, as a disk that hangs would stop it.
    let first: u32 = lab.inspect("nb", "{{.State.Pid}}").parse().expect("pid");
    let keeper = lab.keeper("nb");
    let children = std::fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children"));
    let children = children.expect("children");
    let writer = children
        .split_whitespace()
        .find(|pid| **pid != first.to_string())
        .expect("writer")
        .parse()
        .expect("pid");
    e2e::signal(writer, "STOP");
    let mut attach = lab.docker_command(&["attach", "nb"]);
    let mut attach = attach
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("attach");
    attach
        .stdin
        .as_mut()
        .expect("stdin")
        .write_all(b"go\n")
        .expect("go");
    assert!(wait_for(LONG, || lab
        .docker(&["exec", "nb", "cat", "/told"])
        .out
        == "done\n"));
    e2e::signal(writer, "CONT");
    lab.ok(&["kill", "nb"]);
    attach.wait().expect("attach ends");
    let logged = lab.docker(&["logs", "nb"]).out;
    let numbers: Vec<u32> = logged
        .lines()
        .map(|n| n.parse().expect("whole lines"))
        .collect();
    assert_eq!(numbers.first(), Some(&1));
    assert!(numbers.len() < 100_000, "something was dropped");
}

#[test]
fn sent_to_syslog_over_tcp_and_kept_for_reading() {
    if !root() {
        return;
    }
    let mut lab = Lab::new();
    let run = [
        "run",
        "--rm",
        "--log-driver",
        "syslog",
        "--log-opt",
        "syslog-address=tcp://127.0.0.1:5140",
    ];
    let err = lab.fails(125, &[&run[..], &["bb", "true"]].concat());
    assert!(
        err.contains("failed to initialize logging driver: dial tcp 127.0.0.1:5140: connect: connection refused"),
        "{err}"
    );
    assert_eq!(lab.ok(&["ps", "-aq"]), "");
    let listener = Listener::start(&lab, "5140", "syslog");
    let received = |lab: &Lab| std::fs::read_to_string(lab.path("syslog")).expect("received");
    lab.ok(&[
        "run",
        "-d",
        "-i",
        "--name",
        "sl",
        "--log-driver",
        "syslog",
        "--log-opt",
        "syslog-address=tcp://127.0.0.1:5140",
        "--log-opt",
        "syslog-format=rfc5424",
        "--log-opt",
        "syslog-facility=local3",
        "--log-opt",
        "tag={{.Name}}",
        "bb",
        "sh",
        "-c",
        "echo out; echo err >&2; sleep 1000",
    ]);
    assert!(
        wait_for(LONG, || received(&lab).lines().count() == 2),
        "{}",
        received(&lab)
    );
    let text = received(&lab);
    // local3 is 19: times eight, and 6 or 3.
    assert!(
        text.lines()
            .any(|l| l.starts_with("<158>1 ") && l.ends_with(" sl - out")),
        "{text}"
    );
    assert!(
        text.lines()
            .any(|l| l.starts_with("<155>1 ") && l.ends_with(" sl - err")),
        "{text}"
    );
    assert_eq!(lab.docker(&["logs", "sl"]).out, "out\n");
    // Nobody listens, then no daemon is there: the container goes on, what it says comes later.
    drop(listener);
    lab.kill_daemon();
    lab.start_daemon();
    lab.ok(&["exec", "sl", "sh", "-c", "echo late > /proc/1/fd/1"]);
    assert!(wait_for(LONG, || lab
        .docker(&["logs", "sl"])
        .out
        .ends_with("late\n")));
    let _listener = Listener::start(&lab, "5140", "syslog");
    assert!(
        wait_for(LONG, || received(&lab).ends_with(" sl - late\n")),
        "{}",
        received(&lab)
    );
    assert_eq!(received(&lab).lines().count(), 1, "nothing twice");
}

#[test]
fn sent_to_gelf_and_fluentd() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let _gelf = Listener::start(&lab, "5141", "gelf");
    let _fluentd = Listener::start(&lab, "5142", "fluentd");
    // Gone at once: its output is sent before it goes.
    lab.ok(&[
        "run",
        "--rm",
        "--name",
        "graylog",
        "--log-driver",
        "gelf",
        "--log-opt",
        "gelf-address=tcp://127.0.0.1:5141",
        "--log-opt",
        "labels=who",
        "--label",
        "who=me",
        "bb",
        "sh",
        "-c",
        "echo one; echo two",
    ]);
    assert!(wait_for(LONG, || std::fs::read(lab.path("gelf"))
        .expect("gelf")
        .ends_with(b"\0")));
    let bytes = std::fs::read(lab.path("gelf")).expect("gelf");
    let messages: Vec<serde_json::Value> = bytes
        .split(|byte| *byte == 0)
        .filter(|part| !part.is_empty())
        .map(|part| serde_json::from_slice(part).expect("json"))
        .collect();
    let texts: Vec<_> = messages
        .iter()
        .map(|m| m["short_message"].clone())
        .collect();
    assert_eq!(texts, ["one", "two"]);
    assert_eq!(messages[0]["_container_name"], "graylog");
    assert_eq!(messages[0]["_who"], "me");
    assert_eq!(messages[0]["level"], 6);
    lab.ok(&[
        "run",
        "--name",
        "flow",
        "--log-driver",
        "fluentd",
        "--log-opt",
        "fluentd-address=127.0.0.1:5142",
        "--log-opt",
        "cache-disabled=true",
        "bb",
        "echo",
        "three",
    ]);
    let has = |what: &[u8]| {
        let bytes = std::fs::read(lab.path("fluentd")).expect("fluentd");
        bytes.windows(what.len()).any(|window| window == what)
    };
    assert!(wait_for(LONG, || has(b"three")));
    assert!(has(b"/flow") && has(b"container_id") && has(b"stdout"));
    assert_eq!(
        lab.fails(1, &["logs", "flow"]),
        "Error response from daemon: configured logging driver does not support reading\n"
    );
}

#[test]
fn the_drivers_default_may_be_chosen() {
    if !root() {
        return;
    }
    let mut lab = Lab::new();
    lab.stop_daemon();
    lab.set_flags(&["--log-driver=json-file", "--log-opt=max-size=1m"]);
    lab.start_daemon();
    lab.ok(&["run", "--name", "json", "bb", "echo", "x"]);
    assert_eq!(
        lab.inspect("json", "{{.HostConfig.LogConfig}}"),
        "{json-file map[max-size:1m]}"
    );
    let path = lab.inspect("json", "{{.LogPath}}");
    let file = std::fs::File::open(lab.seen(path.as_ref())).expect("log");
    let line = BufReader::new(file)
        .lines()
        .next()
        .expect("line")
        .expect("text");
    assert!(
        line.starts_with(r#"{"log":"x\n","stream":"stdout","time":""#),
        "{line}"
    );
}
