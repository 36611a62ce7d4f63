//! `docker run` in the foreground: exit codes, texts of failures, standard input, names, `--rm`.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use e2e::{Lab, root, wait_for};

#[test]
fn exit_codes_are_the_containers() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    for code in [0, 1, 7, 255] {
        let ran = lab.docker(&["run", "--rm", "bb", "sh", "-c", &format!("exit {code}")]);
        assert_eq!((ran.code, ran.err.as_str()), (code, ""), "{ran:?}");
    }
    // Ended by a signal, from outside: pid 1 is deaf to its own.
    lab.ok(&["run", "-d", "--name", "killed", "bb", "sleep", "1000"]);
    lab.ok(&["kill", "killed"]);
    assert_eq!(lab.ok(&["wait", "killed"]), "137");
    assert_eq!(
        lab.inspect("killed", "{{.State.ExitCode}} {{.State.OOMKilled}}"),
        "137 false"
    );
    // Both streams, each on its own.
    let ran = lab.docker(&[
        "run",
        "--rm",
        "bb",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 3",
    ]);
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.err.as_str()),
        (3, "out\n", "err\n")
    );
    assert_eq!(
        lab.ok(&["ps", "-aq", "--no-trunc"]),
        lab.inspect("killed", "{{.Id}}")
    );
}

#[test]
fn what_cannot_be_started_says_so_and_leaves_its_code() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let prefix = "failed to create task for container: ";
    for (program, code, text) in [
        (
            "nosuch",
            127,
            "exec: \"nosuch\": executable file not found in $PATH",
        ),
        (
            "/bin/nosuch",
            127,
            "exec: \"/bin/nosuch\": stat /bin/nosuch: no such file or directory",
        ),
        ("/etc", 126, "exec: \"/etc\": is a directory"),
        (
            "/etc/passwd",
            126,
            "exec: \"/etc/passwd\": permission denied",
        ),
    ] {
        let err = lab.fails(code, &["run", "--name", "failed", "bb", program]);
        let first = format!("docker: Error response from daemon: {prefix}");
        assert!(err.starts_with(&first) && err.contains(text), "{err}");
        assert!(
            err.ends_with("\n\nRun 'docker run --help' for more information\n"),
            "{err}"
        );
        assert_eq!(
            lab.inspect(
                "failed",
                "{{.State.Status}} {{.State.ExitCode}} {{.State.Pid}}"
            ),
            format!("created {code} 0")
        );
        assert!(lab.inspect("failed", "{{.State.Error}}").contains(text));
        lab.ok(&["rm", "failed"]);
        // With --rm nothing stays, and nothing else is said.
        let err = lab.fails(code, &["run", "--rm", "bb", program]);
        assert!(err.starts_with(&first) && err.contains(text), "{err}");
        let err = lab.fails(code, &["run", "-d", "--rm", "bb", program]);
        assert!(err.contains(text), "{err}");
    }
    assert_eq!(lab.ok(&["ps", "-aq"]), "");
}

#[test]
fn refusals_are_dockers() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let id = lab.ok(&["create", "--name", "taken", "bb", "true"]);
    for (args, text) in [
        (
            &["--name", "taken", "bb", "true"][..],
            format!(
                "Conflict. The container name \"/taken\" is already in use by container \"{id}\". \
                 You have to remove (or rename) that container to be able to reuse that name."
            ),
        ),
        (
            &["--name", "a", "bb", "true"],
            "Invalid container name (a), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed".into(),
        ),
        (
            &["-w", "rel", "bb", "true"],
            "the working directory 'rel' is invalid, it needs to be an absolute path".into(),
        ),
        (
            &["--pull", "never", "nosuch", "true"],
            "No such image: nosuch:latest".into(),
        ),
        (
            &["--pull", "never", "--platform", "linux/arm64", "bb", "true"],
            "image with reference bb was found but does not provide the specified platform (linux/arm64)"
                .into(),
        ),
        (
            &["--memory", "1m", "bb", "true"],
            "Minimum memory limit allowed is 6MB".into(),
        ),
        (
            &["--cpus", "1000", "bb", "true"],
            "range of CPUs is from 0.01 to".into(),
        ),
        (
            &["--cpuset-cpus", "99", "bb", "true"],
            "Requested CPUs are not available - requested 99, available: 0-".into(),
        ),
        (
            &["--runtime", "nosuch", "bb", "true"],
            "unknown or invalid runtime name: nosuch".into(),
        ),
        (
            &["--cap-add", "NOSUCH", "bb", "true"],
            "invalid CapAdd: unknown capability: \"CAP_NOSUCH\"".into(),
        ),
        (
            &["--cap-drop", "NOSUCH", "bb", "true"],
            "invalid CapDrop: unknown capability: \"CAP_NOSUCH\"".into(),
        ),
        (
            &["--stop-signal", "NOSUCH", "bb", "true"],
            "invalid signal: NOSUCH".into(),
        ),
        (&["--log-driver", "nosuch", "bb", "true"], "nosuch".into()),
        (
            &["--ipc", "bogus", "bb", "true"],
            "invalid IPC mode: bogus".into(),
        ),
        (
            &["--oom-score-adj", "2000", "bb", "true"],
            "Invalid value 2000, range for oom score adj is [-1000, 1000]".into(),
        ),
    ] {
        let err = lab.fails(125, &[&["run"], args].concat());
        assert!(
            err.starts_with("docker: Error response from daemon: ")
                || err.contains("Unable to find image"),
            "{err}"
        );
        assert!(err.contains(&text), "{args:?}: {err}\nlacks {text}");
    }
    // What the engine cannot do is refused by name.
    for (args, text) in [
        (
            &["--storage-opt", "size=1G"][..],
            "--storage-opt is supported only for overlay",
        ),
        (
            &["--volume-driver", "nosuch", "-v", "/x"],
            "plugin \"nosuch\" not found",
        ),
        (&["--log-opt", "nosuch=true"], "nosuch"),
    ] {
        let err = lab.fails(125, &[&["run"], args, &["bb", "true"]].concat());
        assert!(err.contains(text), "{args:?}: {err}");
    }
    assert_eq!(lab.ok(&["ps", "-aq"]), id[..12]);
    assert_eq!(lab.ok(&["volume", "ls", "-q"]), "");
}

#[test]
fn standard_input_ends_where_the_clients_does() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let ran = lab.docker_with(&["run", "--rm", "-i", "bb", "cat"], "one\ntwo");
    assert_eq!((ran.code, ran.out.as_str()), (0, "one\ntwo"));
    // The container goes on writing after its input has ended.
    let ran = lab.docker_with(
        &[
            "run",
            "--rm",
            "-i",
            "bb",
            "sh",
            "-c",
            "n=$(wc -c); echo $n; echo $n >&2; exit 4",
        ],
        &"x".repeat(3_000_000),
    );
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.err.as_str()),
        (4, "3000000\n", "3000000\n")
    );
    // A line comes back before the input ends: nothing waits for the rest.
    let mut child = lab.spawn(&["run", "--rm", "-i", "bb", "cat"]);
    let mut stdin = child.stdin.take().expect("stdin");
    stdin.write_all(b"ping\n").expect("write");
    let mut line = [0; 5];
    child
        .stdout
        .as_mut()
        .expect("stdout")
        .read_exact(&mut line)
        .expect("echo");
    assert_eq!(&line, b"ping\n");
    drop(stdin);
    assert_eq!(child.wait().expect("docker").code(), Some(0));
    // Without -i there is none.
    let ran = lab.docker_with(&["run", "--rm", "bb", "cat"], "unseen");
    assert_eq!((ran.code, ran.out.as_str()), (0, ""));
    // A program that does not read leaves when it wants to.
    let ran = lab.docker_with(&["run", "--rm", "-i", "bb", "sh", "-c", "exit 5"], "unread");
    assert_eq!(ran.code, 5);
}

#[test]
fn detached_containers_give_their_id() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let id = lab.ok(&["run", "-d", "--name", "bg", "bb", "sleep", "1000"]);
    assert!(
        id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()),
        "{id}"
    );
    assert_eq!(
        lab.inspect("bg", "{{.Id}} {{.Name}} {{.State.Status}}"),
        format!("{id} /bg running")
    );
    let file = lab.path("cid");
    let cid = file.display().to_string();
    let second = lab.ok(&[
        "run",
        "-d",
        "--rm",
        "--cidfile",
        &cid,
        "bb",
        "sleep",
        "1000",
    ]);
    assert_eq!(std::fs::read_to_string(&file).expect("cidfile"), second);
    // Ended, a --rm container goes by itself, and its anonymous volumes with it.
    let third = lab.ok(&[
        "run",
        "-d",
        "--rm",
        "-v",
        "/anon",
        "-v",
        "kept:/kept",
        "bb",
        "sleep",
        "1000",
    ]);
    assert_eq!(lab.ok(&["volume", "ls", "-q"]).lines().count(), 2);
    lab.ok(&["stop", "-t", "0", &third]);
    assert!(wait_for(Duration::from_secs(10), || lab
        .docker(&["inspect", &third])
        .code
        == 1));
    assert!(wait_for(Duration::from_secs(10), || lab
        .ok(&["volume", "ls", "-q"])
        == "kept"));
    let err = lab.fails(125, &["run", "--rm", "--restart", "always", "bb", "true"]);
    assert!(
        err.contains("conflicting options: cannot specify both --restart and --rm"),
        "{err}"
    );
}

#[test]
fn sigterm_and_sigint_are_passed_on() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let mut child = lab.spawn(&[
        "run",
        "--name",
        "sig",
        "bb",
        "sh",
        "-c",
        "trap 'echo got; exit 9' TERM; echo up; while :; do sleep 0.05; done",
    ]);
    let mut out = child.stdout.take().expect("stdout");
    let mut up = [0; 3];
    out.read_exact(&mut up).expect("up");
    let pid = child.id().to_string();
    assert_eq!(lab.inside(&["kill", "-TERM", &pid]).code, 0);
    assert_eq!(child.wait().expect("docker").code(), Some(9));
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("rest");
    assert_eq!(rest, "got\n");
}
