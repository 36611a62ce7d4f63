//! Flags about the container's life and the client's part in it.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use e2e::{Lab, signal, wait_for};

use super::process::written;
use super::row::{Row, Seen, by, prints, refused, sh};

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const ROWS: &[Row] = &[
    by("attach", |lab| {
        let run = [
            "run",
            "--rm",
            "--attach",
            "stderr",
            "bb",
            "sh",
            "-c",
            "echo out; echo err >&2",
        ];
        let ran = lab.docker(&run);
        assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", "err\n"));
        Seen::Yes
    }),
    by("cidfile", |lab| {
        let file = lab.path("cid").display().to_string();
        let id = lab.ok(&["run", "-d", "--cidfile", &file, "bb", "sleep", "1000"]);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), id);
        lab.ok(&["rm", "-f", &id]);
        Seen::Yes
    }),
    by("detach", |lab| {
        let id = lab.ok(&["run", "--detach", "bb", "sleep", "1000"]);
        let pid = lab.inspect(&id, "{{.State.Pid}}");
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        assert_eq!(line, "sleep\x001000\0");
        lab.ok(&["rm", "-f", &id]);
        Seen::Yes
    }),
    by("detach-keys", |lab| {
        let mut terminal = lab.terminal(&[
            "run",
            "-it",
            "--name",
            "left",
            "--detach-keys",
            "ctrl-x,x",
            "bb",
            "cat",
        ]);
        terminal.type_in(b"here\r");
        terminal.see("here\r\nhere");
        terminal.type_in(b"\x18x");
        terminal.end();
        assert_eq!(lab.ok(&["exec", "left", "cat", "/proc/1/comm"]), "cat");
        lab.ok(&["rm", "-f", "left"]);
        Seen::Yes
    }),
    // Trust is the client's: it asks a notary itself before it asks the engine for anything.
    refused(
        "disable-content-trust",
        &["--disable-content-trust=false"],
        125,
        "error contacting notary server",
    ),
    by("health-cmd", |lab| healthy(lab, &[])),
    by("health-interval", |lab| {
        // With the half minute that is the default the third would not be in time.
        let check = ["--health-cmd", "echo x >> /tries"];
        lab.sleeper(
            "well",
            &[&check[..], &["--health-interval", "50ms"]].concat(),
        );
        assert!(wait_for(PATIENCE, || tries(lab, "well") > 2));
        lab.ok(&["rm", "-f", "well"]);
        Seen::Yes
    }),
    by("health-retries", |lab| {
        // Three failures, which is as many as are enough when nothing is said.
        let check = "echo x >> /tries; test $(wc -l < /tries) -gt 3";
        let options = ["--health-cmd", check, "--health-interval", "20ms"];
        let since = lab.now();
        for (name, retries, is) in [("patient", "4", "healthy"), ("strict", "3", "unhealthy")] {
            lab.sleeper(
                name,
                &[&options[..], &["--health-retries", retries]].concat(),
            );
            lab.becomes(name, "{{.State.Health.Status}}", "healthy");
            let only = format!("container={name}");
            let filters = [only.as_str(), "event=health_status"];
            let told = lab.events(&since, &filters, "{{.Action}}");
            let first = told.lines().next().map(|line| line.rsplit(' ').next());
            assert_eq!(first, Some(Some(is)), "{name}: {told}");
            lab.ok(&["rm", "-f", name]);
        }
        Seen::Yes
    }),
    by("health-start-interval", |lab| {
        healthy(
            lab,
            &[
                "--health-start-period",
                "1h",
                "--health-start-interval",
                "20ms",
                "--health-interval",
                "1h",
            ],
        )
    }),
    by("health-start-period", |lab| {
        // Failures in it do not count.
        let options = [
            "--health-cmd",
            "echo x >> /tries; false",
            "--health-interval",
            "20ms",
            "--health-retries",
            "1",
            "--health-start-period",
            "1h",
            "--health-start-interval",
            "20ms",
        ];
        lab.sleeper("young", &options);
        assert!(wait_for(PATIENCE, || tries(lab, "young") > 3));
        assert_eq!(lab.inspect("young", "{{.State.Health.Status}}"), "starting");
        lab.ok(&["rm", "-f", "young"]);
        Seen::Yes
    }),
    by("health-timeout", |lab| {
        // With the half minute that is the default three would not be in time.
        let options = [
            "--health-cmd",
            "sleep 1000",
            "--health-interval",
            "20ms",
            "--health-retries",
            "3",
            "--health-timeout",
            "50ms",
        ];
        lab.sleeper("slow", &options);
        lab.becomes("slow", "{{.State.Health.Status}}", "unhealthy");
        lab.ok(&["rm", "-f", "slow"]);
        Seen::Yes
    }),
    by("interactive", |lab| {
        let ran = lab.docker_with(&["run", "--rm", "--interactive", "bb", "cat"], "typed");
        assert_eq!(ran.out, "typed");
        let ran = lab.docker_with(&["run", "--rm", "bb", "cat"], "typed");
        assert_eq!(ran.out, "");
        Seen::Yes
    }),
    by("label", |lab| labelled(lab, &["--label", "color=blue"])),
    by("label-file", |lab| {
        let file = written(lab, "labels", "color=blue\n");
        labelled(lab, &["--label-file", &file])
    }),
    by("log-driver", |lab| {
        // What is sent nowhere is not on the disk either.
        lab.ok(&[
            "run",
            "--name",
            "mute",
            "--log-driver",
            "none",
            "bb",
            "echo",
            "unheard",
        ]);
        let said = lab.fails(1, &["logs", "mute"]);
        assert!(
            said.contains("configured logging driver does not support reading"),
            "{said}"
        );
        lab.ok(&["rm", "mute"]);
        Seen::Yes
    }),
    by("log-opt", |lab| {
        let options = [
            "--log-driver",
            "json-file",
            "--log-opt",
            "max-size=1k",
            "--log-opt",
            "max-file=2",
        ];
        let script = "i=0; while [ $i -lt 100 ]; do echo line $i; i=$((i+1)); done";
        lab.ok(&[
            &["run", "--name", "short"][..],
            &options,
            &["bb", "sh", "-c", script],
        ]
        .concat());
        let kept = lab.ok(&["logs", "short"]);
        lab.ok(&["rm", "short"]);
        assert!(
            kept.ends_with("line 99") && !kept.contains("line 0\n"),
            "{kept}"
        );
        Seen::Yes
    }),
    by("name", |lab| {
        lab.sleeper("called", &[]);
        assert_eq!(lab.ok(&["exec", "called", "cat", "/proc/1/comm"]), "sleep");
        let said = lab.fails(125, &["run", "--name", "called", "bb", "true"]);
        assert!(
            said.contains("The container name \"/called\" is already in use"),
            "{said}"
        );
        lab.ok(&["rm", "-f", "called"]);
        Seen::Yes
    }),
    by("no-healthcheck", |lab| {
        lab.ok(&[
            "import",
            "--change",
            "HEALTHCHECK --interval=20ms CMD touch /checked",
            &lab.path("bb.tar").display().to_string(),
            "checked",
        ]);
        let run = |name: &str, option: &[&str]| {
            lab.ok(&[
                &["run", "-d", "--name", name],
                option,
                &["checked", "sleep", "1000"],
            ]
            .concat())
        };
        run("with", &[]);
        run("without", &["--no-healthcheck"]);
        lab.becomes("with", "{{.State.Health.Status}}", "healthy");
        assert_eq!(
            lab.docker(&["exec", "with", "test", "-e", "/checked"]).code,
            0
        );
        assert_eq!(
            lab.docker(&["exec", "without", "test", "-e", "/checked"])
                .code,
            1
        );
        lab.ok(&["rm", "-f", "with", "without"]);
        lab.ok(&["rmi", "checked"]);
        Seen::Yes
    }),
    by("platform", |lab| {
        // What is here is of this machine's kind: another has to be pulled.
        let image = "127.0.0.1:9/here";
        lab.ok(&["tag", "bb", image]);
        let run =
            |option: &[&str]| lab.docker(&[&["run", "--rm"], option, &[image, "true"]].concat());
        assert_eq!(run(&[]).code, 0);
        let other = run(&["--platform", "linux/s390x"]);
        lab.ok(&["rmi", image]);
        assert!(
            other.code == 125 && other.err.contains("connection refused"),
            "{other:?}"
        );
        Seen::Yes
    }),
    by("pull", |lab| {
        let image = "127.0.0.1:9/here";
        lab.ok(&["tag", "bb", image]);
        let run = |option: &str| lab.docker(&["run", "--rm", "--pull", option, image, "true"]);
        assert_eq!(run("missing").code, 0);
        let always = run("always");
        lab.ok(&["rmi", image]);
        assert!(
            always.code == 125 && always.err.contains("connection refused"),
            "{always:?}"
        );
        let never = run("never");
        assert!(
            never.code == 125 && never.err.contains("No such image"),
            "{never:?}"
        );
        Seen::Yes
    }),
    by("quiet", |lab| {
        let text = |options: &[&str]| {
            let words = [&["run", "--rm"], options, &["127.0.0.1:9/absent", "true"]].concat();
            lab.fails(125, &words)
        };
        let found = "Unable to find image '127.0.0.1:9/absent:latest' locally";
        assert!(text(&[]).contains(found));
        assert!(!text(&["--quiet"]).contains(found));
        Seen::Yes
    }),
    by("restart", |lab| {
        let count = [
            "run",
            "-d",
            "--name",
            "again",
            "--restart",
            "on-failure:2",
            "-v",
            "runs:/runs",
            "bb",
            "sh",
            "-c",
            "echo x >> /runs/file; exit 1",
        ];
        lab.ok(&count);
        lab.becomes("again", "{{.State.Status}} {{.RestartCount}}", "exited 2");
        lab.ok(&["rm", "again"]);
        assert_eq!(sh(lab, &["-v", "runs:/runs"], "wc -l < /runs/file"), "3");
        lab.ok(&["volume", "rm", "runs"]);
        Seen::Yes
    }),
    by("rm", |lab| {
        let id = sh(lab, &["-v", "/anonymous"], "hostname");
        assert!(lab.fails(1, &["inspect", &id]).contains("No such object"));
        assert!(!lab.ok(&["ps", "-aq"]).contains(&id));
        assert_eq!(lab.ok(&["volume", "ls", "-q"]), "");
        Seen::Yes
    }),
    by("sig-proxy", sig_proxy),
    by("stop-signal", |lab| {
        let script = "trap 'exit 21' USR1; echo up; while :; do usleep 10000; done";
        lab.ok(&[
            "run",
            "-d",
            "--name",
            "told",
            "--stop-signal",
            "USR1",
            "bb",
            "sh",
            "-c",
            script,
        ]);
        assert!(wait_for(PATIENCE, || lab.ok(&["logs", "told"]) == "up"));
        lab.ok(&["stop", "told"]);
        assert_eq!(lab.ok(&["wait", "told"]), "21");
        lab.ok(&["rm", "told"]);
        Seen::Yes
    }),
    by("stop-timeout", |lab| {
        // Deaf to the signal: only the end of the time ends it, and here that is at once.
        lab.sleeper("deaf", &["--stop-signal", "CONT", "--stop-timeout", "0"]);
        let begun = Instant::now();
        lab.ok(&["stop", "deaf"]);
        // The default.
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert_eq!(lab.ok(&["wait", "deaf"]), "137");
        lab.ok(&["rm", "deaf"]);
        Seen::Yes
    }),
    prints(
        "tty",
        &["--tty"],
        "tty; test -t 1 && echo terminal",
        "/dev/pts/0\r\nterminal",
    ),
];

/// How often a check that writes a line each time was made.
fn tries(lab: &Lab, name: &str) -> usize {
    let count = "cat /tries 2>/dev/null | wc -l";
    let count = lab.ok(&["exec", name, "sh", "-c", count]);
    count.parse().unwrap()
}

fn healthy(lab: &Lab, more: &[&str]) -> Seen {
    let interval: &[&str] = if more.is_empty() {
        &["--health-interval", "20ms"]
    } else {
        &[]
    };
    let check = ["--health-cmd", "touch /checked"];
    lab.sleeper("well", &[&check[..], interval, more].concat());
    lab.becomes("well", "{{.State.Health.Status}}", "healthy");
    assert_eq!(
        lab.docker(&["exec", "well", "test", "-e", "/checked"]).code,
        0
    );
    lab.ok(&["rm", "-f", "well"]);
    Seen::Yes
}

/// A label is for finding a container again.
fn labelled(lab: &Lab, options: &[&str]) -> Seen {
    lab.sleeper("blue", options);
    lab.sleeper("grey", &[]);
    let found = lab.ok(&[
        "ps",
        "--filter",
        "label=color=blue",
        "--format",
        "{{.Names}}",
    ]);
    lab.ok(&["rm", "-f", "blue", "grey"]);
    assert_eq!(found, "blue");
    Seen::Yes
}

/// With it the client's SIGTERM is the container's; without it the client alone ends.
fn sig_proxy(lab: &Lab) -> Seen {
    for (option, ended) in [("--sig-proxy=true", true), ("--sig-proxy=false", false)] {
        let script = "trap 'exit 21' TERM; echo up; while :; do usleep 10000; done";
        let mut client = lab
            .docker_command(&["run", option, "--name", "proxied", "bb", "sh", "-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut up = String::new();
        BufReader::new(client.stdout.take().unwrap())
            .read_line(&mut up)
            .unwrap();
        assert_eq!(up, "up\n");
        signal(client.id(), "TERM");
        let mut status = None;
        if ended {
            status = client.wait().unwrap().code();
        }
        // A client that does not pass them on goes at the third of them.
        assert!(
            ended
                || wait_for(PATIENCE, || {
                    signal(client.id(), "TERM");
                    status = client.try_wait().unwrap().and_then(|status| status.code());
                    status.is_some()
                })
        );
        if ended {
            assert_eq!(status, Some(21), "{option}");
        } else {
            assert_eq!(lab.ok(&["exec", "proxied", "cat", "/proc/1/comm"]), "sh");
        }
        lab.ok(&["rm", "-f", "proxied"]);
    }
    Seen::Yes
}
