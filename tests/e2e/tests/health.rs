//! Health checks: states, log, events, pauses, restarts of the daemon, and what may follow.

use std::time::Duration;

use e2e::{Lab, root, wait_for};

const LONG: Duration = Duration::from_secs(40);

/// Waits until a container's health is this.
#[track_caller]
fn becomes(lab: &Lab, name: &str, want: &str) {
    let mut seen = String::new();
    let came = wait_for(LONG, || {
        seen = lab.inspect(name, "{{.State.Health.Status}}");
        seen == want
    });
    assert!(
        came,
        "{name}: {seen}, not {want}: {}",
        lab.inspect(name, "{{json .State}}")
    );
}

fn run(lab: &Lab, name: &str, options: &[&str]) {
    let all = [
        &["run", "-d", "--name", name],
        options,
        &["bb", "sleep", "1000"],
    ]
    .concat();
    lab.ok(&all);
}

#[test]
fn a_check_follows_what_it_looks_at() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    run(
        &lab,
        "web",
        &[
            "--health-cmd",
            "echo looked; test -e /tmp/up",
            "--health-interval",
            "100ms",
            "--health-retries",
            "2",
            "--health-start-period",
            "1h",
            "--health-start-interval",
            "100ms",
        ],
    );
    assert_eq!(lab.inspect("web", "{{.State.Health.Status}}"), "starting");
    assert!(
        lab.ok(&["ps", "--format", "{{.Status}}"])
            .ends_with("(health: starting)")
    );
    // Failures in the start period count for nothing.
    assert!(wait_for(LONG, || lab
        .inspect("web", "{{len .State.Health.Log}}")
        == "5"));
    assert_eq!(
        lab.inspect(
            "web",
            "{{.State.Health.Status}} {{.State.Health.FailingStreak}}"
        ),
        "starting 0"
    );
    lab.ok(&["exec", "web", "touch", "/tmp/up"]);
    becomes(&lab, "web", "healthy");
    assert!(
        lab.ok(&["ps", "--format", "{{.Status}}"])
            .ends_with("(healthy)")
    );
    assert_eq!(
        lab.ok(&["ps", "--filter", "health=healthy", "--format", "{{.Names}}"]),
        "web"
    );
    assert_eq!(
        lab.ok(&["ps", "--filter", "health=none", "--format", "{{.Names}}"]),
        ""
    );
    let last = lab.inspect("web", "{{json (index .State.Health.Log 4)}}");
    assert!(
        last.contains(r#""ExitCode":0,"Output":"looked\n""#),
        "{last}"
    );
    lab.ok(&["exec", "web", "rm", "/tmp/up"]);
    becomes(&lab, "web", "unhealthy");
    assert!(
        lab.ok(&["ps", "--format", "{{.Status}}"])
            .ends_with("(unhealthy)")
    );
    let streak: u32 = lab
        .inspect("web", "{{.State.Health.FailingStreak}}")
        .parse()
        .expect("a number");
    assert!(streak >= 2, "{streak}");
    let events = lab.ok(&[
        "events",
        "--since",
        "0",
        "--until",
        &lab.now(),
        "--filter",
        "event=health_status",
        "--format",
        "{{.Action}}",
    ]);
    assert_eq!(events, "health_status: healthy\nhealth_status: unhealthy");
    let probes = lab.ok(&[
        "events",
        "--since",
        "0",
        "--until",
        &lab.now(),
        "--filter",
        "event=exec_create",
        "--format",
        "{{.Action}}",
    ]);
    assert!(
        probes.contains("exec_create: /bin/sh -c echo looked; test -e /tmp/up"),
        "{probes}"
    );
    // Who is stopped is not looked at.
    lab.ok(&["stop", "-t", "0", "web"]);
    let log = lab.inspect("web", "{{json .State.Health.Log}}");
    lab.ok(&["start", "web"]);
    assert_eq!(lab.inspect("web", "{{.State.Health.FailingStreak}}"), "0");
    assert_ne!(log, "[]");
}

#[test]
fn output_and_time_have_limits() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    run(
        &lab,
        "loud",
        &[
            "--health-cmd",
            "yes | head -c 9000; exit 7",
            "--health-interval",
            "100ms",
        ],
    );
    run(
        &lab,
        "slow",
        &[
            "--health-cmd",
            "echo begun; sleep 1000",
            "--health-interval",
            "100ms",
            "--health-timeout",
            "200ms",
            "--health-retries",
            "1",
        ],
    );
    run(
        &lab,
        "missing",
        &[
            "--health-cmd",
            "x",
            "--health-interval",
            "100ms",
            "--health-retries",
            "1",
        ],
    );
    becomes(&lab, "loud", "unhealthy");
    let output = lab.inspect(
        "loud",
        "{{(index .State.Health.Log 0).ExitCode}} {{len (index .State.Health.Log 0).Output}}",
    );
    assert_eq!(output, "7 4099");
    becomes(&lab, "slow", "unhealthy");
    assert_eq!(
        lab.inspect(
            "slow",
            "{{(index .State.Health.Log 0).ExitCode}} {{(index .State.Health.Log 0).Output}}"
        ),
        "-1 Health check exceeded timeout (200ms): begun"
    );
    // Checks that took too long do not stay.
    lab.ok(&["pause", "slow"]);
    lab.ok(&["unpause", "slow"]);
    becomes(&lab, "missing", "unhealthy");
    assert_eq!(
        lab.inspect("missing", "{{(index .State.Health.Log 0).ExitCode}}"),
        "127"
    );
}

#[test]
fn pauses_and_daemons_come_and_go() {
    if !root() {
        return;
    }
    let mut lab = Lab::new();
    run(
        &lab,
        "web",
        &[
            "--health-cmd",
            "echo x >> /tmp/looks",
            "--health-interval",
            "100ms",
        ],
    );
    becomes(&lab, "web", "healthy");
    lab.ok(&["pause", "web"]);
    assert_eq!(lab.inspect("web", "{{.State.Health.Status}}"), "unhealthy");
    assert!(
        lab.ok(&["ps", "--format", "{{.Status}}"])
            .ends_with("(Paused)")
    );
    let before = lab.inspect("web", "{{(index .State.Health.Log 0).Start}}");
    lab.ok(&["unpause", "web"]);
    becomes(&lab, "web", "healthy");
    assert!(wait_for(LONG, || lab
        .inspect("web", "{{(index .State.Health.Log 0).Start}}")
        > before));
    lab.kill_daemon();
    lab.start_daemon();
    becomes(&lab, "web", "healthy");
    let after = lab.inspect("web", "{{(index .State.Health.Log 0).Start}}");
    assert!(after >= before, "{after}");
}

#[test]
fn an_images_check_is_merged() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let tar = lab.path("bb.tar").display().to_string();
    lab.ok(&[
        "import",
        "-c",
        "HEALTHCHECK --interval=150ms --retries=9 CMD true",
        &tar,
        "checked",
    ]);
    lab.ok(&["run", "-d", "--name", "as-is", "checked", "sleep", "1000"]);
    becomes(&lab, "as-is", "healthy");
    lab.ok(&[
        "run",
        "-d",
        "--name",
        "mixed",
        "--health-cmd",
        "false",
        "--health-retries",
        "1",
        "checked",
        "sleep",
        "1000",
    ]);
    becomes(&lab, "mixed", "unhealthy");
    assert_eq!(
        lab.inspect("mixed", "{{json .Config.Healthcheck}}"),
        r#"{"Test":["CMD-SHELL","false"],"Interval":150000000,"Retries":1}"#
    );
    lab.ok(&[
        "run",
        "-d",
        "--name",
        "none",
        "--no-healthcheck",
        "checked",
        "sleep",
        "1000",
    ]);
    assert_eq!(
        lab.inspect(
            "none",
            "{{json .Config.Healthcheck}} {{json .State.Health}}"
        ),
        r#"{"Test":["NONE"],"Interval":150000000,"Retries":9} null"#
    );
    let bad = |field: &str| {
        let body =
            format!(r#"{{"Image":"bb","Cmd":["x"],"Healthcheck":{{"Test":["CMD","x"],{field}}}}}"#);
        let answer = lab.send("POST", "/containers/create", &body);
        assert_eq!(answer.status, 400);
        answer.body
    };
    assert!(bad(r#""Interval":5"#).contains("Interval in Healthcheck cannot be less than 1ms"));
    assert!(bad(r#""Retries":-1"#).contains("Retries in Healthcheck cannot be negative"));
}

#[test]
fn the_unhealthy_can_be_restarted() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    run(
        &lab,
        "web",
        &[
            "--health-cmd",
            "test ! -e /tmp/broken",
            "--health-interval",
            "100ms",
            "--health-retries",
            "1",
            "--stop-timeout",
            "0",
            "--label",
            "io.corten.unhealthy-action=restart",
            "--tmpfs",
            "/tmp",
        ],
    );
    becomes(&lab, "web", "healthy");
    let first = lab.inspect("web", "{{.State.Pid}}");
    lab.ok(&["exec", "web", "touch", "/tmp/broken"]);
    assert!(wait_for(LONG, || {
        let pid = lab.inspect("web", "{{.State.Pid}}");
        pid != first && pid != "0"
    }));
    becomes(&lab, "web", "healthy");
    run(
        &lab,
        "ends",
        &[
            "--health-cmd",
            "false",
            "--health-interval",
            "100ms",
            "--health-retries",
            "1",
            "--restart",
            "always",
            "--label",
            "io.corten.unhealthy-action=stop",
            "--stop-timeout",
            "0",
        ],
    );
    assert!(wait_for(LONG, || lab.inspect("ends", "{{.State.Status}}")
        == "exited"));
    let error = lab.fails(
        1,
        &[
            "create",
            "--label",
            "io.corten.unhealthy-action=dance",
            "bb",
            "true",
        ],
    );
    assert!(
        error.contains("invalid label io.corten.unhealthy-action"),
        "{error}"
    );
}
