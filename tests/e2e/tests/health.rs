//! Health checks: states, log, events, pauses, restarts of the daemon, and what may follow.

use std::time::Duration;

use e2e::{Lab, root, wait_for};

const LONG: Duration = Duration::from_secs(40);

const STATUS: &str = "{{.State.Health.Status}}";

/// A sleeper that is checked ten times a second, with more options.
fn run(lab: &Lab, name: &str, check: &str, more: &[&str]) {
    let checked = ["--health-cmd", check, "--health-interval", "100ms"];
    lab.sleeper(name, &[&checked, more].concat());
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
        "echo looked; test -e /tmp/up",
        &[
            "--health-retries",
            "2",
            "--health-start-period",
            "1h",
            "--health-start-interval",
            "100ms",
        ],
    );
    assert_eq!(lab.inspect("web", STATUS), "starting");
    assert!(
        lab.ok(&["ps", "--format", "{{.Status}}"])
            .ends_with("(health: starting)")
    );
    // Failures in the start period count for nothing.
    lab.becomes("web", "{{len .State.Health.Log}}", "5");
    assert_eq!(
        lab.inspect(
            "web",
            "{{.State.Health.Status}} {{.State.Health.FailingStreak}}"
        ),
        "starting 0"
    );
    lab.ok(&["exec", "web", "touch", "/tmp/up"]);
    lab.becomes("web", STATUS, "healthy");
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
    lab.becomes("web", STATUS, "unhealthy");
    assert!(
        lab.ok(&["ps", "--format", "{{.Status}}"])
            .ends_with("(unhealthy)")
    );
    let streak: u32 = lab
        .inspect("web", "{{.State.Health.FailingStreak}}")
        .parse()
        .expect("a number");
    assert!(streak >= 2, "{streak}");
    let events = lab.events("0", &["event=health_status"], "{{.Action}}");
    assert_eq!(events, "health_status: healthy\nhealth_status: unhealthy");
    let probes = lab.events("0", &["event=exec_create"], "{{.Action}}");
    assert!(
        probes.contains("exec_create: /bin/sh -c echo looked; test -e /tmp/up"),
        "{probes}"
    );
    // Who is stopped is not looked at; the next run begins with the log, and no failures.
    lab.ok(&["stop", "-t", "0", "web"]);
    let stopped = lab.now();
    let log = lab.inspect("web", "{{json .State.Health.Log}}");
    run(&lab, "other", "true", &[]);
    lab.becomes("other", "{{len .State.Health.Log}}", "5");
    assert_eq!(lab.inspect("web", "{{json .State.Health.Log}}"), log);
    let looks = ["event=exec_create", "container=web"];
    assert_eq!(lab.events(&stopped, &looks, "{{.Action}}"), "");
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
    run(&lab, "loud", "yes | head -c 9000; exit 7", &[]);
    run(
        &lab,
        "slow",
        "echo begun; sleep 1000",
        &["--health-timeout", "200ms", "--health-retries", "1"],
    );
    run(&lab, "missing", "x", &["--health-retries", "1"]);
    lab.becomes("loud", STATUS, "unhealthy");
    let output = lab.inspect(
        "loud",
        "{{(index .State.Health.Log 0).ExitCode}} {{len (index .State.Health.Log 0).Output}}",
    );
    assert_eq!(output, "7 4099");
    lab.becomes("slow", STATUS, "unhealthy");
    assert_eq!(
        lab.inspect(
            "slow",
            "{{(index .State.Health.Log 0).ExitCode}} {{(index .State.Health.Log 0).Output}}"
        ),
        "-1 Health check exceeded timeout (200ms): begun"
    );
    // Checks that took too long do not stay: at most the one under way is there.
    assert!(wait_for(LONG, || {
        lab.inspect("slow", "{{.State.Health.FailingStreak}}")
            .parse()
            .is_ok_and(|streak: u32| streak >= 5)
    }));
    let processes = lab.ok(&["top", "slow", "-o", "pid,args"]);
    assert!(processes.matches("echo begun").count() <= 1, "{processes}");
    lab.ok(&["pause", "slow"]);
    lab.ok(&["unpause", "slow"]);
    lab.becomes("missing", STATUS, "unhealthy");
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
    run(&lab, "web", "echo x >> /tmp/looks", &[]);
    lab.becomes("web", STATUS, "healthy");
    lab.ok(&["pause", "web"]);
    assert_eq!(lab.inspect("web", STATUS), "unhealthy");
    assert!(
        lab.ok(&["ps", "--format", "{{.Status}}"])
            .ends_with("(Paused)")
    );
    let before = lab.inspect("web", "{{(index .State.Health.Log 0).Start}}");
    lab.ok(&["unpause", "web"]);
    lab.becomes("web", STATUS, "healthy");
    assert!(wait_for(LONG, || lab
        .inspect("web", "{{(index .State.Health.Log 0).Start}}")
        > before));
    lab.kill_daemon();
    lab.start_daemon();
    lab.becomes("web", STATUS, "healthy");
    let after = lab.inspect("web", "{{(index .State.Health.Log 0).Start}}");
    assert!(after >= before, "{after}");
    // One that ended while nobody looked is watched by nobody.
    let pid = lab.inspect("web", "{{.State.Pid}}");
    lab.kill_daemon();
    lab.inside(&["kill", "-9", &pid]);
    lab.start_daemon();
    let both = "{{.State.Status}} {{.State.Health.Status}}";
    lab.becomes("web", both, "exited unhealthy");
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
    lab.becomes("as-is", STATUS, "healthy");
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
    lab.becomes("mixed", STATUS, "unhealthy");
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
        "test ! -e /tmp/broken",
        &[
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
    lab.becomes("web", STATUS, "healthy");
    let first = lab.inspect("web", "{{.State.Pid}}");
    lab.ok(&["exec", "web", "touch", "/tmp/broken"]);
    assert!(wait_for(LONG, || {
        let pid = lab.inspect("web", "{{.State.Pid}}");
        pid != first && pid != "0"
    }));
    lab.becomes("web", STATUS, "healthy");
    run(
        &lab,
        "ends",
        "false",
        &[
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
    lab.becomes("ends", "{{.State.Status}}", "exited");
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
