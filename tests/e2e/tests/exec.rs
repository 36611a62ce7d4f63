//! `docker exec`: streams, users, codes, what cannot be run, many at once.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use e2e::{Lab, root, wait_for};

const LONG: Duration = Duration::from_secs(20);

fn lab_with_host() -> Lab {
    let lab = Lab::new();
    lab.ok(&[
        "run",
        "-d",
        "--name",
        "host",
        "-e",
        "OF=container",
        "-w",
        "/data",
        "bb",
        "sleep",
        "1000",
    ]);
    lab
}

#[test]
fn streams_and_codes() {
    if !root() {
        return;
    }
    let lab = lab_with_host();
    let ran = lab.docker(&["exec", "host", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.err.as_str()),
        (7, "out\n", "err\n")
    );
    // However quick it is, the code is there when the output ends.
    for n in 0..30 {
        let code = 100 + n % 50;
        assert_eq!(
            lab.docker(&["exec", "host", "sh", "-c", &format!("exit {code}")])
                .code,
            code
        );
    }
    let ran = lab.docker_with(&["exec", "-i", "host", "cat"], "to and fro");
    assert_eq!((ran.code, ran.out.as_str()), (0, "to and fro"));
    let ran = lab.docker_with(
        &["exec", "-i", "host", "sh", "-c", "wc -c"],
        &"y".repeat(1_000_000),
    );
    assert_eq!(ran.out, "1000000\n");
    assert_eq!(lab.docker_with(&["exec", "host", "cat"], "unseen").out, "");
    let mut child = lab.spawn(&["exec", "-i", "host", "cat"]);
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
    assert_eq!(
        lab.docker(&["exec", "host", "sh", "-c", "kill -9 $$"]).code,
        137
    );
    // All of the output, even much of it.
    let big = lab.docker(&[
        "exec",
        "host",
        "sh",
        "-c",
        "yes 0123456789 | head -n 200000",
    ]);
    assert_eq!((big.code, big.out.len()), (0, 11 * 200_000));
}

#[test]
fn surroundings() {
    if !root() {
        return;
    }
    let lab = lab_with_host();
    assert_eq!(
        lab.ok(&["exec", "host", "sh", "-c", "pwd; id -u; echo $OF $HOME"]),
        "/data\n0\ncontainer /root"
    );
    assert_eq!(
        lab.ok(&[
            "exec",
            "-w",
            "/tmp",
            "-u",
            "user",
            "-e",
            "OF=exec",
            "-e",
            "A=b",
            "host",
            "sh",
            "-c",
            "pwd; id -u; id -G; echo $OF $A $HOME"
        ]),
        "/tmp\n1000\n1000 1234\nexec b /home/user"
    );
    assert_eq!(
        lab.ok(&["exec", "-u", "5:6", "host", "sh", "-c", "id -u; id -g"]),
        "5\n6"
    );
    // docker says on the output why an exec with a client could not be started.
    let ran = lab.docker(&["exec", "-u", "nosuch", "host", "true"]);
    let text = "unable to find user nosuch: no matching entries in passwd file";
    assert!(ran.code == 126 && ran.out.contains(text), "{ran:?}");
    let env = lab.path("env");
    std::fs::write(&env, "X=file\n").expect("env");
    assert_eq!(
        lab.ok(&[
            "exec",
            "--env-file",
            &env.display().to_string(),
            "host",
            "sh",
            "-c",
            "echo $X"
        ]),
        "file"
    );
    let caps = |args: &[&str]| {
        let text = lab.ok(&[
            &["exec"],
            args,
            &["host", "grep", "CapEff", "/proc/self/status"],
        ]
        .concat());
        u64::from_str_radix(text.split_whitespace().last().unwrap_or(""), 16).expect("hex")
    };
    assert_eq!(caps(&[]), 0xa804_25fb);
    assert!(caps(&["--privileged"]) > 0xa804_25fb);
    // In the same namespaces as the first process.
    assert_eq!(lab.ok(&["exec", "host", "sh", "-c", "for n in pid net ipc uts mnt; do [ $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) ] || echo $n; done"]), "");
}

#[test]
fn what_cannot_be_run() {
    if !root() {
        return;
    }
    let lab = lab_with_host();
    let front = "OCI runtime exec failed: exec failed: unable to start container process: ";
    for (program, code, text) in [
        (
            "nosuch",
            127,
            "exec: \"nosuch\": executable file not found in $PATH",
        ),
        ("/etc", 126, "exec: \"/etc\": is a directory"),
        (
            "/etc/passwd",
            126,
            "exec: \"/etc/passwd\": permission denied",
        ),
    ] {
        let ran = lab.docker(&["exec", "host", program]);
        assert_eq!(ran.code, code, "{ran:?}");
        let said = format!("{}{}", ran.out, ran.err);
        assert!(said.starts_with(front) && said.contains(text), "{ran:?}");
        let ran = lab.docker(&["exec", "-d", "host", program]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(
            ran.err
                .starts_with(&format!("Error response from daemon: {front}")),
            "{ran:?}"
        );
    }
    let ran = lab.docker(&["exec", "-w", "/nosuch/dir", "host", "true"]);
    assert!(ran.code == 126 || ran.code == 127, "{ran:?}");
    let id = lab.inspect("host", "{{.Id}}");
    lab.ok(&["pause", "host"]);
    assert_eq!(
        lab.fails(1, &["exec", "host", "true"]),
        format!(
            "Error response from daemon: Container {id} is paused, unpause the container before exec\n"
        )
    );
    lab.ok(&["unpause", "host"]);
    lab.ok(&["stop", "-t", "0", "host"]);
    assert_eq!(
        lab.fails(1, &["exec", "host", "true"]),
        format!("Error response from daemon: container {id} is not running\n")
    );
    assert_eq!(
        lab.fails(1, &["exec", "nosuch", "true"]),
        "Error response from daemon: No such container: nosuch\n"
    );
    let answer = lab.send("POST", "/exec/nosuch/start", "{}");
    assert_eq!(
        (answer.status, answer.message().as_str()),
        (404, "No such exec instance: nosuch")
    );
}

#[test]
fn inspected() {
    if !root() {
        return;
    }
    let lab = lab_with_host();
    let body =
        r#"{"Cmd":["sh","-c","exit 9"],"User":"user","AttachStdout":true,"AttachStderr":true}"#;
    let answer = lab.send("POST", "/containers/host/exec", body);
    assert_eq!(answer.status, 201, "{answer:?}");
    let made: serde_json::Value = serde_json::from_str(&answer.body).expect("json");
    let id = made["Id"].as_str().expect("id").to_owned();
    assert_eq!(id.len(), 64);
    let inspect = || -> serde_json::Value {
        serde_json::from_str(&lab.get(&format!("/exec/{id}/json")).body).expect("json")
    };
    let before = inspect();
    assert_eq!(
        (&before["Running"], &before["ExitCode"]),
        (&false.into(), &serde_json::Value::Null)
    );
    assert_eq!(before["ProcessConfig"]["entrypoint"], "sh");
    assert_eq!(
        before["ProcessConfig"]["arguments"],
        serde_json::json!(["-c", "exit 9"])
    );
    assert_eq!(before["ProcessConfig"]["user"], "user");
    assert_eq!(before["ContainerID"], lab.inspect("host", "{{.Id}}"));
    assert_eq!(
        lab.inspect("host", "{{json .ExecIDs}}"),
        format!("[\"{id}\"]")
    );
    assert_eq!(
        lab.send("POST", &format!("/exec/{id}/start"), r#"{"Detach":true}"#)
            .status,
        200
    );
    assert!(wait_for(LONG, || inspect()["Running"] == false
        && inspect()["ExitCode"] == 9));
    let again = lab.send("POST", &format!("/exec/{id}/start"), r#"{"Detach":true}"#);
    assert_eq!(
        (again.status, again.message()),
        (409, format!("Error: Exec command {id} has already run"))
    );
    assert_eq!(lab.inspect("host", "{{json .ExecIDs}}"), "null");
    let answer = lab.send("POST", "/containers/host/exec", r#"{"Cmd":[]}"#);
    assert_eq!(
        (answer.status, answer.message().as_str()),
        (400, "No exec command specified")
    );
    let events = lab.ok(&[
        "events",
        "--since",
        "0",
        "--until",
        &lab.now(),
        "--filter",
        "type=container",
        "--format",
        "{{.Action}}",
    ]);
    for action in [
        "exec_create: sh -c exit 9",
        "exec_start: sh -c exit 9",
        "exec_die",
    ] {
        assert!(
            events.lines().any(|line| line == action),
            "{action} in {events}"
        );
    }
}

#[test]
fn many_at_once_and_the_end() {
    if !root() {
        return;
    }
    let lab = lab_with_host();
    std::thread::scope(|scope| {
        let lab = &lab;
        for n in 0..20 {
            scope.spawn(move || {
                let ran = lab.docker(&["exec", "host", "sh", "-c", &format!("echo {n}; exit {n}")]);
                assert_eq!((ran.code, ran.out), (n, format!("{n}\n")));
            });
        }
    });
    lab.ok(&[
        "exec",
        "-d",
        "host",
        "sh",
        "-c",
        "echo ready > /ready; exec sleep 1001",
    ]);
    assert!(wait_for(LONG, || lab
        .docker(&["exec", "host", "cat", "/ready"])
        .out
        == "ready\n"));
    assert!(lab.ok(&["top", "host"]).contains("sleep 1001"));
    // An exec ends with its container.
    let mut running = lab.spawn(&["exec", "host", "sh", "-c", "echo in; exec sleep 1002"]);
    let mut line = [0; 3];
    running
        .stdout
        .as_mut()
        .expect("stdout")
        .read_exact(&mut line)
        .expect("in");
    lab.ok(&["kill", "host"]);
    assert_eq!(running.wait().expect("docker").code(), Some(137));
}
