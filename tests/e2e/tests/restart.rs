//! `docker run --restart`: who is started again, how often, and what ends it.

use std::time::Duration;

use e2e::{Lab, root, wait_for};

const LONG: Duration = Duration::from_secs(30);

#[test]
fn on_failure_counts() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&[
        "run",
        "-d",
        "--name",
        "twice",
        "--restart",
        "on-failure:2",
        "bb",
        "sh",
        "-c",
        "echo run; exit 3",
    ]);
    lab.becomes("twice", "{{.State.Status}} {{.RestartCount}}", "exited 2");
    assert_eq!(lab.ok(&["logs", "twice"]), "run\nrun\nrun");
    assert_eq!(lab.inspect("twice", "{{.State.ExitCode}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}"), "3 on-failure 2");
    let count = |action: &str| {
        let filters = ["container=twice", &format!("event={action}")];
        let events = lab.events("0", &filters, "{{.Action}}");
        events.lines().count()
    };
    assert_eq!((count("start"), count("die")), (3, 3));
    // A success ends it.
    lab.ok(&[
        "run",
        "-d",
        "--name",
        "fine",
        "--restart",
        "on-failure",
        "bb",
        "true",
    ]);
    lab.becomes("fine", "{{.State.Status}} {{.RestartCount}}", "exited 0");
    let err = lab.fails(125, &["run", "--restart", "always:2", "bb", "true"]);
    assert!(
        err.contains("maximum retry count can only be used with 'on-failure'"),
        "{err}"
    );
    let err = lab.fails(125, &["run", "--restart", "bogus", "bb", "true"]);
    assert!(
        err.contains(
            "unknown policy 'bogus'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        ),
        "{err}"
    );
}

#[test]
fn always_until_it_is_stopped() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    for policy in ["always", "unless-stopped"] {
        lab.ok(&[
            "run",
            "-d",
            "--name",
            "again",
            "--restart",
            policy,
            "bb",
            "sh",
            "-c",
            "sleep 1000",
        ]);
        let pid = lab.inspect("again", "{{.State.Pid}}");
        assert_eq!(lab.inside(&["kill", "-9", &pid]).code, 0);
        lab.becomes(
            "again",
            "{{.RestartCount}} {{.State.Running}} {{.State.Restarting}}",
            "1 true false",
        );
        assert_ne!(lab.inspect("again", "{{.State.Pid}}"), pid);
        // Killed by the user it stays dead.
        lab.ok(&["kill", "again"]);
        assert_eq!(lab.inspect("again", "{{.State.Status}}"), "exited");
        lab.ok(&["start", "again"]);
        assert_eq!(
            lab.inspect("again", "{{.RestartCount}} {{.State.Running}}"),
            "0 true"
        );
        lab.ok(&["stop", "-t", "0", "again"]);
        assert_eq!(
            lab.inspect("again", "{{.State.Status}} {{.State.Restarting}}"),
            "exited false"
        );
        // As told while it runs.
        lab.ok(&["start", "again"]);
        assert_eq!(lab.ok(&["update", "--restart", "no", "again"]), "again");
        let pid = lab.inspect("again", "{{.State.Pid}}");
        lab.inside(&["kill", "-9", &pid]);
        lab.becomes(
            "again",
            "{{.State.Status}} {{.State.ExitCode}}",
            "exited 137",
        );
        lab.ok(&["rm", "again"]);
    }
}

#[test]
fn between_two_runs() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&[
        "run",
        "-d",
        "--name",
        "loop",
        "--restart",
        "always",
        "bb",
        "sh",
        "-c",
        "exit 5",
    ]);
    let waiting = || {
        lab.inspect(
            "loop",
            "{{.State.Status}} {{.State.Restarting}} {{.State.Running}}",
        ) == "restarting true true"
    };
    assert!(wait_for(LONG, || waiting()
        && lab
            .inspect("loop", "{{.RestartCount}}")
            .parse::<u32>()
            .is_ok_and(|n| n >= 4)));
    let status = lab.ok(&["ps", "--format", "{{.Status}}"]);
    assert!(
        status.starts_with("Restarting (5) ") || status.starts_with("Up "),
        "{status}"
    );
    assert!(wait_for(LONG, waiting));
    let err = lab.fails(1, &["exec", "loop", "true"]);
    assert!(
        err.contains("is restarting, wait until the container is running")
            || err.contains("is not running"),
        "{err}"
    );
    lab.ok(&["stop", "loop"]);
    assert_eq!(
        lab.inspect(
            "loop",
            "{{.State.Status}} {{.State.Restarting}} {{.State.Running}}"
        ),
        "exited false false"
    );
    lab.ok(&["start", "loop"]);
    assert!(wait_for(LONG, waiting));
    lab.ok(&["rm", "-f", "loop"]);
    assert_eq!(lab.ok(&["ps", "-aq"]), "");
}

#[test]
fn a_daemon_that_comes_back() {
    if !root() {
        return;
    }
    let mut lab = Lab::new();
    lab.sleeper("kept", &[]);
    let pid = lab.inspect("kept", "{{.State.Pid}}");
    lab.kill_daemon();
    lab.start_daemon();
    assert_eq!(
        lab.inspect("kept", "{{.State.Running}} {{.State.Pid}}"),
        format!("true {pid}")
    );
    assert_eq!(lab.ok(&["exec", "kept", "echo", "hi"]), "hi");
    lab.kill_daemon();
    lab.inside(&["kill", "-9", &pid]);
    assert!(wait_for(LONG, || !std::path::Path::new(&format!(
        "/proc/{pid}"
    ))
    .exists()));
    lab.start_daemon();
    assert_eq!(
        lab.inspect("kept", "{{.State.Status}} {{.State.ExitCode}}"),
        "exited 137"
    );
}
