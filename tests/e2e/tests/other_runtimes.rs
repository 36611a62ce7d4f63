//! Containers that other OCI runtimes build: the keeper's own command line always, crun and runc where
//! they are installed.

use std::path::{Path, PathBuf};

use e2e::{Lab, Options, program, root};

/// Runtimes by name. The keeper is built beside the engine.
fn runtimes() -> Vec<(String, PathBuf)> {
    let keeper = PathBuf::from(program()).with_file_name("keeper");
    assert!(
        keeper.exists(),
        "build the keeper, too: cargo build -p keeper"
    );
    let mut found = vec![("keeper".to_owned(), keeper)];
    for name in ["crun", "runc"] {
        let dirs = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
        let paths = dirs.map(|dir| Path::new(dir).join(name));
        found.extend(
            paths
                .into_iter()
                .find(|path| path.exists())
                .map(|path| (format!("x-{name}"), path)),
        );
    }
    found
}

/// A lab whose daemon has them all, and their names.
fn lab() -> (Lab, Vec<String>) {
    let found = runtimes();
    let mut entries = Vec::new();
    for (name, path) in &found {
        let args = if name == "keeper" {
            r#"["runtime"]"#
        } else {
            "[]"
        };
        entries.push(format!(
            r#""{name}":{{"path":"{}","runtimeArgs":{args}}}"#,
            path.display()
        ));
    }
    let lab = Lab::with(Options {
        config: Some(format!(r#"{{"runtimes":{{{}}}}}"#, entries.join(","))),
        flags: vec!["--add-runtime".into(), "missing=/no/such/runtime".into()],
        ..Options::default()
    });
    (lab, found.into_iter().map(|(name, _)| name).collect())
}

/// What must be so with every runtime.
fn each(check: impl Fn(&Lab, &str)) {
    if !root() {
        return;
    }
    let (lab, names) = lab();
    for name in names {
        check(&lab, &name);
    }
}

fn run(lab: &Lab, runtime: &str, options: &[&str], script: &str) -> e2e::Ran {
    let start = ["run", "--rm", "--runtime", runtime];
    lab.docker(&[&start[..], options, &["bb", "sh", "-c", script]].concat())
}

#[test]
fn streams_and_status() {
    each(|lab, runtime| {
        let ran = run(lab, runtime, &[], "echo out; echo err >&2; exit 7");
        assert_eq!(
            (ran.code, ran.out.as_str(), ran.err.as_str()),
            (7, "out\n", "err\n"),
            "{runtime}"
        );
        let ran = lab.docker_with(
            &["run", "--rm", "-i", "--runtime", runtime, "bb", "wc", "-c"],
            "12345",
        );
        assert_eq!((ran.code, ran.out.trim()), (0, "5"), "{runtime}: {ran:?}");
        let ran = run(
            lab,
            runtime,
            &["-u", "user:wheel", "-w", "/data"],
            "id -u; id -g; pwd; cat seed",
        );
        assert_eq!(
            ran.out, "1000\n77\n/data\nfrom the image\n",
            "{runtime}: {ran:?}"
        );
        let ran = run(
            lab,
            runtime,
            &["--init"],
            "tr '\\0' ' ' < /proc/1/cmdline; exit 3",
        );
        assert!(
            ran.code == 3 && ran.out.contains("init --"),
            "{runtime}: {ran:?}"
        );
        let mut tty = lab.terminal(&[
            "run",
            "--rm",
            "-it",
            "--runtime",
            runtime,
            "bb",
            "sh",
            "-c",
            "tty; read x; echo got-$x; exit 4",
        ]);
        tty.see("/dev/");
        tty.type_in(b"word\r");
        tty.see("got-word");
        assert_eq!(tty.end(), 4, "{runtime}");
    });
}

#[test]
fn the_container_is_as_asked() {
    each(|lab, runtime| {
        let ran = run(
            lab,
            runtime,
            &[
                "--read-only",
                "--tmpfs",
                "/t",
                "-v",
                "vol:/v",
                "--memory",
                "64m",
                "--hostname",
                "there",
            ],
            "touch /x 2>/dev/null && echo written; touch /t/a /v/a && hostname && cat /etc/hostname && \
             ip route | grep -c default; \
             cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null",
        );
        assert_eq!(ran.out, "there\nthere\n1\n67108864\n", "{runtime}: {ran:?}");
        let ran = run(lab, runtime, &["--network", "none"], "ls /sys/class/net");
        assert_eq!(ran.out, "lo\n", "{runtime}: {ran:?}");
        let ran = run(
            lab,
            runtime,
            &["--cap-drop", "ALL"],
            "grep CapEff /proc/self/status",
        );
        assert!(ran.out.contains("0000000000000000"), "{runtime}: {ran:?}");
        // A device that is not its own, and one that is.
        let ran = run(
            lab,
            runtime,
            &[],
            "mknod /k c 1 11 && cat /k; head -c 1 /dev/zero | wc -c",
        );
        assert!(
            ran.out == "1\n" && ran.err.contains("not permitted"),
            "{runtime}: {ran:?}"
        );
        let ran = run(
            lab,
            runtime,
            &["--mount", "type=image,source=bb,target=/other"],
            "cat /other/data/seed",
        );
        assert_eq!(ran.out, "from the image\n", "{runtime}: {ran:?}");
        // The default filter, of the whole container and of the one call.
        let script = "grep Seccomp: /proc/self/status | tr -d '\\t'; unshare -m true";
        let ran = run(lab, runtime, &["--cap-add", "SYS_ADMIN"], script);
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (0, "Seccomp:2\n"),
            "{runtime}"
        );
        let ran = run(lab, runtime, &[], "unshare -U true");
        assert!(
            ran.code != 0 && ran.err.contains("not permitted"),
            "{runtime}: {ran:?}"
        );
    });
}

#[test]
fn a_life() {
    each(|lab, runtime| {
        let name = format!("life-{runtime}");
        let name = name.as_str();
        let script = "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.1; done";
        lab.ok(&[
            "run",
            "-d",
            "--name",
            name,
            "--runtime",
            runtime,
            "bb",
            "sh",
            "-c",
            script,
        ]);
        assert_eq!(lab.inspect(name, "{{.HostConfig.Runtime}}"), runtime);
        let ran = lab.docker(&[
            "exec",
            "-u",
            "user",
            "-e",
            "A=b",
            name,
            "sh",
            "-c",
            "id -u; echo $A; exit 9",
        ]);
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (9, "1000\nb\n"),
            "{runtime}: {ran:?}"
        );
        let ran = lab.docker_with(&["exec", "-i", name, "cat"], "through");
        assert_eq!(ran.out, "through", "{runtime}");
        let mut tty = lab.terminal(&["exec", "-it", name, "sh", "-c", "tty; exit 2"]);
        tty.see("/dev/");
        assert_eq!(tty.end(), 2, "{runtime}");
        assert!(lab.ok(&["top", name]).contains("trap"), "{runtime}");
        // What the runtime leaves behind is nobody's zombie.
        let keeper = lab.keeper(name);
        let children = format!("/proc/{keeper}/task/{keeper}/children");
        let children = std::fs::read_to_string(children).expect("children");
        assert_eq!(children.trim(), lab.inspect(name, "{{.State.Pid}}"));
        lab.ok(&["pause", name]);
        assert_eq!(lab.inspect(name, "{{.State.Status}}"), "paused");
        lab.ok(&["unpause", name]);
        lab.ok(&["update", "--memory", "96m", "--memory-swap", "96m", name]);
        let limit =
            "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null";
        let limit = lab.docker(&["exec", name, "sh", "-c", limit]).out;
        assert_eq!(limit.trim(), "100663296", "{runtime}");
        lab.ok(&[
            "cp",
            &format!("{name}:/data/seed"),
            &lab.path("seed").display().to_string(),
        ]);
        lab.ok(&["stop", name]);
        assert_eq!(lab.inspect(name, "{{.State.ExitCode}}"), "5", "{runtime}");
        assert_eq!(lab.ok(&["logs", name]), "up\nbye", "{runtime}");
        lab.ok(&["start", name]);
        lab.ok(&["kill", name]);
        lab.becomes(name, "{{.State.ExitCode}}", "137");
        lab.ok(&["rm", name]);
    });
}

/// The keeper looks users up itself: where the container has put something that holds whoever opens
/// it, the keeper is not held.
#[test]
fn a_pipe_for_a_file_of_users_holds_nobody() {
    if !root() {
        return;
    }
    let (lab, _) = lab();
    lab.sleeper("one", &["--runtime", "keeper"]);
    let script = "rm /etc/passwd /etc/group && mkfifo /etc/passwd /etc/group";
    lab.ok(&["exec", "one", "sh", "-c", script]);
    let user = ["awk", "/^Uid:/ {print $2}", "/proc/self/status"];
    assert_eq!(
        lab.ok(&[&["exec", "-u", "7", "one"][..], &user].concat()),
        "7"
    );
    lab.ok(&["rm", "-f", "one"]);
}

#[test]
fn it_outlives_the_daemon() {
    if !root() {
        return;
    }
    let (mut lab, names) = lab();
    for runtime in &names {
        lab.ok(&[
            "run",
            "-d",
            "--name",
            &format!("on-{runtime}"),
            "--runtime",
            runtime,
            "bb",
            "sh",
            "-c",
            "sleep 1000",
        ]);
        lab.ok(&[
            "run",
            "-d",
            "--name",
            &format!("off-{runtime}"),
            "--runtime",
            runtime,
            "-i",
            "bb",
            "sh",
            "-c",
            "read x; exit 6",
        ]);
    }
    lab.kill_daemon();
    lab.start_daemon();
    for runtime in &names {
        let on = format!("on-{runtime}");
        assert_eq!(lab.inspect(&on, "{{.State.Running}}"), "true", "{runtime}");
        assert_eq!(lab.ok(&["exec", &on, "echo", "still"]), "still");
        lab.ok(&["pause", &on]);
        lab.ok(&["unpause", &on]);
        // Its keeper is killed: the container ends with it, and nothing stays.
        e2e::signal(lab.keeper(&on), "KILL");
        lab.becomes(&on, "{{.State.ExitCode}}", "137");
        lab.ok(&["start", &on]);
        let off = format!("off-{runtime}");
        lab.ok(&["rm", "-f", &on, &off]);
    }
}

#[test]
fn out_of_memory_is_seen() {
    each(|lab, runtime| {
        let name = format!("oom-{runtime}");
        let ran = lab.docker(&[
            "run",
            "--name",
            &name,
            "--runtime",
            runtime,
            "--memory",
            "16m",
            "--memory-swap",
            "16m",
            "bb",
            "sh",
            "-c",
            "head -c 200m /dev/zero | tail",
        ]);
        assert!(ran.code != 0, "{runtime}: {ran:?}");
        assert_eq!(
            lab.inspect(&name, "{{.State.OOMKilled}}"),
            "true",
            "{runtime}"
        );
    });
}

#[test]
fn what_goes_wrong_is_told() {
    each(|lab, runtime| {
        let name = format!("wrong-{runtime}");
        let ran = lab.docker(&["run", "--name", &name, "--runtime", runtime, "bb", "nosuch"]);
        assert!(matches!(ran.code, 125 | 127), "{runtime}: {ran:?}");
        assert_eq!(
            lab.inspect(&name, "{{.State.ExitCode}}"),
            "127",
            "{runtime}"
        );
        let text = "failed to create task for container: failed to create shim task: OCI runtime ";
        assert!(ran.err.contains(text), "{runtime}: {ran:?}");
        assert!(
            ran.err.contains("executable file") && ran.err.contains("nosuch"),
            "{runtime}: {ran:?}"
        );
    });
    if !root() {
        return;
    }
    let (lab, _) = lab();
    let ran = lab.docker(&["run", "--rm", "--runtime", "missing", "bb", "true"]);
    assert!(
        ran.err.contains("unable to retrieve OCI runtime error: fork/exec /no/such/runtime: no such file or directory: unknown"),
        "{ran:?}"
    );
    let err = lab.fails(1, &["create", "--runtime", "strange", "bb", "true"]);
    assert!(
        err.contains("unknown or invalid runtime name: strange"),
        "{err}"
    );
    let runtimes = lab.ok(&["info", "--format", "{{json .Runtimes}}"]);
    assert!(
        runtimes.contains(r#""keeper":{"path":""#)
            && runtimes.contains(r#""runtimeArgs":["runtime"]"#),
        "{runtimes}"
    );
    let body =
        r#"{"Image":"bb","Cmd":["true"],"HostConfig":{"UsernsMode":"private","Runtime":"keeper"}}"#;
    let said = lab.send("POST", "/containers/create", body);
    assert!(matches!(said.status, 400 | 501), "{said:?}");
}
