//! create, start, stop, kill, restart, pause, wait, rename, update, rm, prune.

use std::time::Duration;

use e2e::{Lab, root, wait_for};

const LONG: Duration = Duration::from_secs(20);

#[test]
fn created_then_started() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let id = lab.ok(&["create", "-i", "--name", "c1", "bb", "cat"]);
    assert_eq!(
        lab.inspect(
            "c1",
            "{{.State.Status}} {{.State.StartedAt}} {{.State.Pid}}"
        ),
        "created 0001-01-01T00:00:00Z 0"
    );
    assert_eq!(
        lab.ok(&["ps", "-a", "--format", "{{.Names}} {{.Status}}"]),
        "c1 Created"
    );
    let ran = lab.docker_with(&["start", "-a", "-i", "c1"], "through\n");
    assert_eq!((ran.code, ran.out.as_str()), (0, "through\n"), "{ran:?}");
    lab.ok(&[
        "create",
        "--name",
        "c2",
        "bb",
        "sh",
        "-c",
        "echo to you; exit 5",
    ]);
    let ran = lab.docker(&["start", "-a", "c2"]);
    assert_eq!((ran.code, ran.out.as_str()), (5, "to you\n"));
    // Started again it begins anew, with the files it had.
    lab.ok(&[
        "create",
        "--name",
        "c3",
        "bb",
        "sh",
        "-c",
        "echo x >> /count; wc -l < /count",
    ]);
    for n in 1..=3 {
        assert_eq!(lab.docker(&["start", "-a", "c3"]).out, format!("{n}\n"));
    }
    let err = lab.fails(1, &["start", "nosuch"]);
    assert_eq!(
        err,
        "Error response from daemon: No such container: nosuch\nError: failed to start containers: nosuch\n"
    );
    lab.ok(&["run", "-d", "--name", "up", "bb", "sleep", "1000"]);
    assert_eq!(lab.send("POST", "/containers/up/start", "").status, 304);
    assert_eq!(lab.ok(&["start", "up"]), "up");
    assert_eq!(lab.send("POST", "/containers/c1/stop", "").status, 304);
    assert_eq!(lab.ok(&["stop", "c1"]), "c1");
    assert!(lab.ok(&["inspect", "--format", "{{.Id}}", &id[..6]]) == id);
}

#[test]
fn stopped_and_killed() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let state = |name: &str| {
        lab.inspect(
            name,
            "{{.State.Status}} {{.State.ExitCode}} {{.State.Running}}",
        )
    };
    lab.ok(&["run", "-d", "--name", "deaf", "bb", "sleep", "1000"]);
    assert_eq!(lab.ok(&["stop", "-t", "0", "deaf"]), "deaf");
    assert_eq!(state("deaf"), "exited 137 false");
    lab.ok(&[
        "run",
        "-d",
        "--name",
        "sig",
        "bb",
        "sh",
        "-c",
        "trap 'echo usr1' USR1; trap 'exit 3' INT; echo up; while :; do sleep 0.02; done",
    ]);
    let logged = |text: &str| {
        assert!(
            wait_for(LONG, || lab.docker(&["logs", "sig"]).out.ends_with(text)),
            "{text}"
        );
    };
    logged("up\n");
    assert_eq!(lab.ok(&["kill", "-s", "USR1", "sig"]), "sig");
    logged("usr1\n");
    assert_eq!(state("sig"), "running 0 true");
    lab.ok(&["kill", "-s", "2", "sig"]);
    assert_eq!(lab.ok(&["wait", "sig"]), "3");
    let id = lab.inspect("sig", "{{.Id}}");
    assert_eq!(
        lab.fails(1, &["kill", "sig"]),
        format!(
            "Error response from daemon: cannot kill container: sig: container {id} is not running\n"
        )
    );
    lab.ok(&["start", "sig"]);
    let err = lab.fails(1, &["kill", "-s", "BOGUS", "sig"]);
    assert!(
        err.contains("invalid signal: BOGUS") || err.contains("Invalid signal: BOGUS"),
        "{err}"
    );
    let pid = lab.inspect("sig", "{{.State.Pid}}");
    assert_eq!(lab.ok(&["restart", "-t", "0", "sig"]), "sig");
    assert_ne!(lab.inspect("sig", "{{.State.Pid}}"), pid);
    assert_eq!(state("sig"), "running 0 true");
    // One that is stopped is started.
    assert_eq!(lab.ok(&["restart", "deaf"]), "deaf");
    assert_eq!(state("deaf"), "running 0 true");
    let events = lab.ok(&[
        "events",
        "--since",
        "0",
        "--until",
        &lab.now(),
        "--filter",
        "container=deaf",
        "--format",
        "{{.Action}}",
    ]);
    assert_eq!(
        events.lines().collect::<Vec<_>>(),
        [
            "create", "start", "kill", "kill", "die", "stop", "start", "restart"
        ],
        "{events}"
    );
}

#[test]
fn paused() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let id = lab.ok(&[
        "run",
        "-d",
        "--name",
        "pp",
        "bb",
        "sh",
        "-c",
        "while :; do echo x; sleep 0.01; done",
    ]);
    assert_eq!(lab.ok(&["pause", "pp"]), "pp");
    assert_eq!(
        lab.inspect(
            "pp",
            "{{.State.Status}} {{.State.Paused}} {{.State.Running}}"
        ),
        "paused true true"
    );
    assert!(
        lab.ok(&["ps", "--format", "{{.Status}}"])
            .ends_with("(Paused)")
    );
    for (args, text) in [
        (
            &["pause", "pp"][..],
            format!("container {id} is already paused"),
        ),
        (
            &["exec", "pp", "true"],
            format!("Container {id} is paused, unpause the container before exec").to_lowercase(),
        ),
        (
            &["start", "pp"],
            "cannot start a paused container, try unpause instead".into(),
        ),
        (
            &["rm", "pp"],
            "container is paused and must be unpaused first".into(),
        ),
        (
            &["attach", "pp"],
            "You cannot attach to a paused container, unpause it first".into(),
        ),
    ] {
        let err = lab.fails(1, args);
        assert!(
            err.to_lowercase().contains(&text.to_lowercase()),
            "{args:?}: {err}\nlacks {text}"
        );
    }
    let lines = || lab.docker(&["logs", "pp"]).out.len();
    let before = lines();
    assert_eq!(lines(), before);
    assert_eq!(lab.ok(&["unpause", "pp"]), "pp");
    assert!(wait_for(LONG, || lines() > before));
    let err = lab.fails(1, &["unpause", "pp"]);
    assert!(
        err.contains(&format!("Container {id} is not paused")),
        "{err}"
    );
    // Stop and kill get through to a frozen one.
    lab.ok(&["pause", "pp"]);
    lab.ok(&["kill", "pp"]);
    assert_eq!(
        lab.inspect(
            "pp",
            "{{.State.Status}} {{.State.ExitCode}} {{.State.Paused}}"
        ),
        "exited 137 false"
    );
    lab.ok(&["start", "pp"]);
    lab.ok(&["pause", "pp"]);
    lab.ok(&["stop", "-t", "0", "pp"]);
    assert_eq!(lab.inspect("pp", "{{.State.Status}}"), "exited");
    let err = lab.fails(1, &["pause", "pp"]);
    assert!(
        err.contains(&format!("ontainer {id} is not running")),
        "{err}"
    );
}

#[test]
fn waited_for() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&["run", "-d", "--name", "w1", "bb", "sh", "-c", "sleep 1000"]);
    lab.ok(&["run", "-d", "--name", "w2", "bb", "sleep", "1000"]);
    let waiter = lab.spawn(&["wait", "w2", "w1"]);
    lab.ok(&["kill", "w2"]);
    lab.ok(&["stop", "-t", "0", "w1"]);
    let output = waiter.wait_with_output().expect("docker");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(out, "137\n137\n");
    assert_eq!(lab.ok(&["wait", "w2"]), "137");
    assert!(
        lab.fails(1, &["wait", "nosuch"])
            .contains("No such container: nosuch")
    );
    // Until it is gone.
    lab.ok(&["run", "-d", "--name", "w3", "--rm", "bb", "sleep", "1000"]);
    std::thread::scope(|scope| {
        let removed = scope.spawn(|| lab.send("POST", "/containers/w3/wait?condition=removed", ""));
        let next = scope.spawn(|| lab.send("POST", "/containers/w3/wait?condition=next-exit", ""));
        // The waits are there once their headers are; the kill below is later than both or not:
        // either way they end.
        lab.ok(&["stop", "-t", "0", "w3"]);
        for answer in [removed.join().expect("wait"), next.join().expect("wait")] {
            assert!(
                answer.status == 404 || answer.body.contains("\"StatusCode\":137"),
                "{answer:?}"
            );
        }
    });
    let answer = lab.send("POST", "/containers/w2/wait?condition=bogus", "");
    assert_eq!(
        (answer.status, answer.message().as_str()),
        (400, "invalid condition: \"bogus\"")
    );
}

#[test]
fn removed() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&[
        "run", "-d", "--name", "r1", "-v", "/anon", "bb", "sleep", "1000",
    ]);
    let err = lab.fails(1, &["rm", "r1"]);
    assert_eq!(
        err,
        "Error response from daemon: cannot remove container \"/r1\": container is running: stop the container before removing or force remove\n"
    );
    assert_eq!(lab.ok(&["rm", "-f", "-v", "r1"]), "r1");
    assert_eq!(lab.ok(&["volume", "ls", "-q"]), "");
    let err = lab.fails(1, &["rm", "r1"]);
    assert_eq!(err, "Error response from daemon: No such container: r1\n");
    assert_eq!(lab.docker(&["rm", "-f", "r1"]).code, 0);
    lab.ok(&["create", "--name", "r2", "--label", "keep=no", "bb", "true"]);
    lab.ok(&[
        "create", "--name", "r3", "--label", "keep=yes", "bb", "true",
    ]);
    lab.ok(&["run", "-d", "--name", "r4", "bb", "sleep", "1000"]);
    let id = lab.inspect("r2", "{{.Id}}");
    let pruned = lab.ok(&["container", "prune", "-f", "--filter", "label!=keep=yes"]);
    assert_eq!(
        pruned,
        format!("Deleted Containers:\n{id}\n\nTotal reclaimed space: 0B")
    );
    assert_eq!(lab.ok(&["ps", "-a", "--format", "{{.Names}}"]), "r4\nr3");
    assert_eq!(
        lab.ok(&["container", "prune", "-f", "--filter", "until=1h"]),
        "Total reclaimed space: 0B"
    );
    let err = lab.fails(1, &["container", "prune", "-f", "--filter", "bogus=1"]);
    assert!(err.contains("invalid filter 'bogus'"), "{err}");
    lab.ok(&["container", "prune", "-f"]);
    assert_eq!(lab.ok(&["ps", "-a", "--format", "{{.Names}}"]), "r4");
}

#[test]
fn renamed() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let id = lab.ok(&["create", "--name", "old", "bb", "true"]);
    lab.ok(&["create", "--name", "taken", "bb", "true"]);
    lab.ok(&["rename", "old", "new"]);
    assert_eq!(
        lab.inspect("new", "{{.Id}} {{.Name}}"),
        format!("{id} /new")
    );
    assert!(
        lab.fails(1, &["inspect", "old"])
            .contains("No such object: old")
    );
    let taken = lab.inspect("taken", "{{.Id}}");
    let err = lab.fails(1, &["rename", "new", "taken"]);
    assert!(
        err.contains(&format!(
            "Conflict. The container name \"/taken\" is already in use by container \"{taken}\""
        )),
        "{err}"
    );
    let err = lab.fails(1, &["rename", "new", "b@d"]);
    assert!(
        err.contains("Invalid container name (b@d), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"),
        "{err}"
    );
    let err = lab.fails(1, &["rename", "new", "new"]);
    assert!(
        err.contains("Renaming a container with the same name as its current name"),
        "{err}"
    );
    // The old name is free.
    lab.ok(&["create", "--name", "old", "bb", "true"]);
}
