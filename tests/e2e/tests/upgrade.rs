//! The daemon is replaced by another file of the program while containers run.
#![allow(clippy::expect_used, reason = "a test fails loudly")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use e2e::{Lab, root, serve_tcp, wait_for};

const PATIENCE: Duration = Duration::from_secs(20);

/// Asks the published port again and again, from outside, until the file `stop` is there.
fn prober(lab: &Lab) -> Ended {
    let script = format!(
        "while [ ! -e {} ]; do
            if [ \"$(echo ping | /bin/busybox nc -w 5 127.0.0.1 8080 | tail -n 1)\" = ping ]
            then echo ok; else echo failed; fi
        done",
        lab.path("stop").display()
    );
    let mut command = lab.entered("sh");
    command.args(["-c", &script]).stdout(Stdio::piped());
    Ended(command.spawn().expect("sh"))
}

/// A program that goes with the test, however it ends.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

/// What must not change of what runs.
fn facts(lab: &Lab) -> Vec<String> {
    let format =
        "{{.Name}} {{.State.Status}} {{.State.Pid}} {{.State.StartedAt}} {{.RestartCount}}";
    ["log", "web", "always"]
        .map(|name| lab.inspect(name, format))
        .into()
}

/// A call of a later daemon, by hand; the keeper's answer.
fn unknown_call(lab: &Lab, id: &str) -> String {
    let dir = lab.exec_root().join("containers").join(id);
    let dir = std::fs::File::open(dir).expect("directory");
    // An address has room for 107 bytes only.
    let path = format!("/proc/self/fd/{}/keeper.sock", dir.as_raw_fd());
    let mut socket = UnixStream::connect(path).expect("keeper");
    let message = br#"{"seq":9,"request":{"Fly":{"high":true}}}"#;
    let length = u32::try_from(message.len()).expect("short");
    let head = [length, 0, 0].map(u32::to_le_bytes).concat();
    socket
        .write_all(&[&head, &message[..]].concat())
        .expect("call");
    let mut head = [0; 12];
    socket.read_exact(&mut head).expect("answer");
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let mut answer = vec![0; length as usize];
    socket.read_exact(&mut answer).expect("answer");
    String::from_utf8(answer).expect("text")
}

#[test]
fn containers_do_not_notice() {
    if !root() {
        return;
    }
    let mut lab = Lab::new();
    let shared = lab.directory("shared");
    let mount = format!("{}:/x", shared.display());
    let touch = |name: &str| std::fs::write(shared.join(name), "").expect("file");
    let until = |flag: &str| format!("while [ ! -e /x/{flag} ]; do usleep 10000; done");
    let run = |name: &str, more: &[&str], script: &str| {
        let head = ["run", "-d", "--name", name, "-v", &mount];
        lab.ok(&[&head, more, &["bb", "sh", "-c", script]].concat())
    };
    let count = "i=0; while :; do echo line $i; i=$((i+1)); usleep 5000; done";
    let log = run("log", &[], count);
    run("web", &["-p", "8080:80"], "sleep 1000");
    run("always", &["--restart", "always"], "sleep 1000");
    let meanwhile = run("meanwhile", &[], &format!("{}; exit 7", until("go")));
    run("later", &[], &format!("{}; exit 9", until("later")));
    lab.in_container("web", || serve_tcp(80));
    lab.ok(&[
        "exec",
        "-d",
        "log",
        "sh",
        "-c",
        &format!("{}; echo > /x/told", until("exec")),
    ]);
    let mut attached = lab
        .docker_command(&["attach", "--no-stdin", "--sig-proxy=false", "log"])
        .stdout(Stdio::piped())
        .spawn()
        .map(Ended)
        .expect("attach");
    let mut output = BufReader::new(attached.0.stdout.take().expect("piped")).lines();
    output.next().expect("a line").expect("a line");
    let mut prober = prober(&lab);
    let before = facts(&lab);

    // Asked to end, and another file of the program in its place.
    lab.stop_daemon();
    touch("go");
    let exit: PathBuf = lab
        .exec_root()
        .join("containers")
        .join(&meanwhile)
        .join("exit");
    assert!(wait_for(PATIENCE, || exit.exists()), "{}", exit.display());
    // What a keeper does not know it says, and it goes on.
    let answer = unknown_call(&lab, &log);
    assert!(
        answer.contains("\"seq\":9") && answer.contains("Unsupported"),
        "{answer}"
    );
    lab.install("corten-b");
    lab.start_daemon();
    let program = std::fs::read_link(format!("/proc/{}/exe", lab.daemon_pid()));
    assert!(program.is_ok_and(|path| path.ends_with("corten-b")));
    assert_eq!(facts(&lab), before);
    assert_eq!(lab.ok(&["wait", "meanwhile"]), "7");
    assert_eq!(lab.ok(&["exec", "log", "echo", "in"]), "in");

    // Killed, its file gone, and a third one.
    lab.kill_daemon();
    std::fs::remove_file(lab.path("corten-b")).expect("remove");
    lab.install("corten-c");
    lab.start_daemon();
    assert_eq!(facts(&lab), before);
    touch("exec");
    assert!(wait_for(PATIENCE, || shared.join("told").exists()));
    touch("later");
    assert_eq!(lab.ok(&["wait", "later"]), "9");

    // The client that was attached all the time is still; the log has no gap; the port never failed.
    let mut last = None;
    for line in output.by_ref().take(200) {
        let line = line.expect("a line");
        let number: u64 = line.trim_start_matches("line ").parse().expect("a number");
        assert!(
            last.is_none_or(|last| number == last + 1),
            "{last:?}, then {number}"
        );
        last = Some(number);
    }
    assert!(last.is_some(), "nothing came of the attached client");
    drop(attached);
    for (n, line) in lab.ok(&["logs", "log"]).lines().enumerate() {
        assert_eq!(line, format!("line {n}"));
    }
    touch("../stop");
    let mut asked = String::new();
    let mut answers = prober.0.stdout.take().expect("piped");
    answers.read_to_string(&mut asked).expect("answers");
    assert!(asked.lines().count() > 10, "{asked}");
    assert!(asked.lines().all(|answer| answer == "ok"), "{asked}");
    lab.ok(&["stop", "-t0", "always"]);
}
