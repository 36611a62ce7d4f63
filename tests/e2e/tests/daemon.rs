//! Stopping the daemon, and keeping a second one out.
#![allow(clippy::expect_used, reason = "a test fails loudly")]

use std::path::Path;
use std::time::Duration;

use e2e::{Lab, Options, root, wait_for};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn stopping_the_daemon() {
    if !root() {
        return;
    }
    let mut lab = Lab::new();
    let trap = "trap 'echo asked; exit 5' TERM; echo ready; while :; do usleep 10000; done";
    lab.ok(&[
        "run",
        "-d",
        "--name",
        "always",
        "--restart",
        "always",
        "bb",
        "sh",
        "-c",
        trap,
    ]);
    lab.ok(&["run", "-d", "--name", "never", "bb", "sh", "-c", trap]);
    lab.ok(&[
        "run", "-d", "--name", "thrown", "--rm", "bb", "sh", "-c", trap,
    ]);
    for name in ["always", "never", "thrown"] {
        assert!(wait_for(PATIENCE, || lab
            .ok(&["logs", name])
            .contains("ready")));
    }
    let pid = lab.inspect("never", "{{.State.Pid}}");
    lab.stop_daemon();
    assert!(!lab.socket().exists() && !lab.path("pid").exists());
    assert!(
        Path::new(&format!("/proc/{pid}")).exists(),
        "live restore is the default"
    );

    lab.set_flags(&["--live-restore=false"]);
    lab.start_daemon();
    assert_eq!(lab.inspect("never", "{{.State.Pid}}"), pid);
    assert_eq!(
        lab.ok(&["info", "--format", "{{.LiveRestoreEnabled}}"]),
        "false"
    );
    lab.stop_daemon();
    assert!(
        !Path::new(&format!("/proc/{pid}")).exists(),
        "they end with the daemon"
    );
    lab.start_daemon();
    let format = "{{.State.Status}} {{.State.ExitCode}}";
    assert_eq!(lab.inspect("never", format), "exited 5");
    assert_eq!(lab.ok(&["logs", "never"]), "ready\nasked");
    assert!(lab.fails(1, &["inspect", "thrown"]).contains("No such"));
    lab.becomes("always", "{{.State.Status}}", "running");
    assert_eq!(lab.ok(&["logs", "--tail", "1", "always"]), "ready");
}

#[test]
fn one_daemon_at_a_time() {
    if !root() {
        return;
    }
    let mut lab = Lab::new();
    let second = |lab: &Lab, change: &[(String, String)]| {
        let first = lab.daemon_command();
        let mut words: Vec<String> = first
            .get_args()
            .map(|arg| arg.to_string_lossy().into_owned())
            .collect();
        for (from, to) in change {
            words
                .iter_mut()
                .filter(|word| *word == from)
                .for_each(|word| word.clone_from(to));
        }
        let output = std::process::Command::new(first.get_program())
            .args(words)
            .output()
            .expect("daemon");
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let path = |name: &str| lab.path(name).display().to_string();
    let (pid, other_pid) = (path("pid"), path("other-pid"));
    let (host, other_host) = (lab.host(), format!("unix://{}", path("other.sock")));
    let (run, other_run) = (path("run"), path("other-run"));
    // By the pid file, by the data root, by the socket.
    let said = second(&lab, &[]);
    let expected = format!("process with PID {} is still running", lab.daemon_pid());
    assert!(said.contains(&expected), "{said}");
    let change = [
        (pid.clone(), other_pid.clone()),
        (host, other_host),
        (run, other_run),
    ];
    let said = second(&lab, &change);
    assert!(
        said.contains("another daemon") && said.contains(&path("data")),
        "{said}"
    );
    let data = (path("data"), path("other-data"));
    let said = second(&lab, &[change[0].clone(), change[2].clone(), data]);
    assert!(said.contains("another daemon listens there"), "{said}");
    assert!(
        !Path::new(&other_pid).exists(),
        "a daemon that failed leaves no pid file"
    );
    lab.ok(&["run", "--rm", "bb", "true"]);

    // What a killed one leaves is in nobody's way, nor is a pid that is somebody else's by now.
    lab.kill_daemon();
    assert!(Path::new(&pid).exists() && lab.socket().exists());
    lab.start_daemon();
    lab.kill_daemon();
    std::fs::write(&pid, std::process::id().to_string()).expect("pid file");
    std::fs::remove_file(lab.socket()).expect("socket");
    std::fs::write(lab.socket(), "no socket").expect("file");
    lab.start_daemon();
    lab.ok(&["run", "--rm", "bb", "true"]);
}

#[test]
fn settings_are_read_again() {
    if !root() {
        return;
    }
    let mut lab = Lab::new();
    lab.stop_daemon();
    let file = lab.path("daemon.json");
    let write = |text: &str| std::fs::write(&file, text).expect("daemon.json");
    write(r#"{"labels":["a=1"],"log-format":"json"}"#);
    lab.set_flags(&["--config-file", &file.to_string_lossy()]);
    lab.start_daemon();
    let labels = |lab: &Lab| lab.ok(&["info", "--format", "{{.Labels}} {{.Debug}}"]);
    assert_eq!(labels(&lab), "[a=1] false");
    let id = lab.ok(&["run", "-d", "bb", "sleep", "1000"]);
    let before = lab.now();
    write(
        r#"{"labels":["b=2"],"log-format":"json","debug":true,"mtu":1400,
            "insecure-registries":["r:1"],"shutdown-timeout":7}"#,
    );
    e2e::signal(lab.daemon_pid(), "HUP");
    assert!(
        wait_for(PATIENCE, || labels(&lab) == "[b=2] true"),
        "{}",
        lab.daemon_log()
    );
    let events = |lab: &Lab| lab.events(&before, &["type=daemon"], "{{json .}}");
    assert!(wait_for(PATIENCE, || events(&lab).contains("reload")));
    let event: serde_json::Value = serde_json::from_str(&events(&lab)).expect("one event");
    let attributes = &event["Actor"]["Attributes"];
    assert_eq!(event["Action"], "reload");
    assert_eq!(attributes["labels"], r#"["b=2"]"#);
    assert_eq!(attributes["shutdown-timeout"], "7");
    assert_eq!(attributes["insecure-registries"], r#"["r:1"]"#);
    let registries = lab.ok(&["info", "--format", "{{json .RegistryConfig.IndexConfigs}}"]);
    assert!(registries.contains("r:1"), "{registries}");
    // What takes a restart is named, on a line of JSON.
    let said = |lab: &Lab, word: &str| {
        let log = lab.daemon_log();
        let lines = log
            .lines()
            .filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
        lines
            .map(|line| line.to_string())
            .any(|line| line.contains(word))
    };
    assert!(
        wait_for(PATIENCE, || said(&lab, r#""options":"mtu""#)),
        "{}",
        lab.daemon_log()
    );
    // A fault changes nothing.
    write(r#"{"labels":["c=3"],"nonsense":1}"#);
    e2e::signal(lab.daemon_pid(), "HUP");
    assert!(
        wait_for(PATIENCE, || said(&lab, "nonsense")),
        "{}",
        lab.daemon_log()
    );
    assert_eq!(labels(&lab), "[b=2] true");
    assert_eq!(lab.inspect(&id, "{{.State.Status}}"), "running");
}

#[test]
fn containers_have_as_long_to_end_as_the_daemon_says() {
    if !root() {
        return;
    }
    let lab = Lab::with(Options {
        flags: ["--default-stop-timeout", "600"].map(str::to_owned).into(),
        ..Options::default()
    });
    // Longer than dockerd's ten seconds, after which it would be killed.
    let script = "trap 'sleep 12; exit 5' TERM; echo ready; while :; do usleep 10000; done";
    lab.ok(&["run", "-d", "--name", "slow", "bb", "sh", "-c", script]);
    assert!(wait_for(Duration::from_secs(20), || lab
        .ok(&["logs", "slow"])
        == "ready"));
    lab.ok(&["stop", "slow"]);
    assert_eq!(lab.inspect("slow", "{{.State.ExitCode}}"), "5");
}
