//! `docker attach`: several clients, their input, signals, and one that does not read.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use e2e::{Lab, root, wait_for};

const LONG: Duration = Duration::from_secs(20);
/// Says what it reads, until `end`.
const ECHO: &str = "trap 'echo hup' HUP; while read line; do [ $line = end ] && exit 7; echo out $line; echo err $line >&2; done; sleep 1000";

#[test]
fn several_clients_see_the_same() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&["run", "-d", "-i", "--name", "many", "bb", "sh", "-c", ECHO]);
    let mut clients: Vec<_> = (0..3).map(|_| lab.spawn(&["attach", "many"])).collect();
    let watcher = lab.spawn(&["attach", "--no-stdin", "many"]);
    let attached = || {
        let events = lab.ok(&[
            "events",
            "--since",
            "0",
            "--until",
            &lab.now(),
            "--filter",
            "event=attach",
            "--format",
            "{{.Action}}",
        ]);
        events.lines().count()
    };
    assert!(wait_for(LONG, || attached() == 4));
    let mut stdins: Vec<_> = clients
        .iter_mut()
        .map(|c| c.stdin.take().expect("stdin"))
        .collect();
    // The event is earlier than the joining; what is said from here on is for all.
    let mut readers: Vec<_> = clients
        .iter_mut()
        .map(|c| BufReader::new(c.stdout.take().expect("stdout")))
        .collect();
    for (n, reader) in readers.iter_mut().enumerate() {
        stdins[n]
            .write_all(format!("probe{n}\n").as_bytes())
            .expect("write");
        let mut line = String::new();
        while line != format!("out probe{n}\n") {
            line.clear();
            assert!(reader.read_line(&mut line).expect("line") > 0);
        }
    }
    stdins[1].write_all(b"last\nend\n").expect("write");
    for (client, mut reader) in clients.into_iter().zip(readers) {
        let mut rest = String::new();
        reader.read_to_string(&mut rest).expect("rest");
        assert!(rest.ends_with("out last\n"), "{rest}");
        let output = client.wait_with_output().expect("docker");
        assert_eq!(output.status.code(), Some(7));
        assert!(String::from_utf8_lossy(&output.stderr).ends_with("err last\n"));
    }
    let output = watcher.wait_with_output().expect("docker");
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(lab.inspect("many", "{{.State.ExitCode}}"), "7");
}

#[test]
fn input_ends_only_where_it_is_asked_for() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    // -d -i: standard input stays open when a client leaves.
    lab.ok(&["run", "-d", "-i", "--name", "open", "bb", "sh", "-c", ECHO]);
    let said = |lab: &Lab, text: &str| {
        assert!(
            wait_for(LONG, || lab.docker(&["logs", "open"]).out.contains(text)),
            "{text}"
        );
    };
    let mut first = lab.spawn(&["attach", "--sig-proxy=false", "open"]);
    first
        .stdin
        .take()
        .expect("stdin")
        .write_all(b"one\n")
        .expect("write");
    said(&lab, "out one\n");
    let pid = first.id().to_string();
    lab.inside(&["kill", "-KILL", &pid]);
    first.wait().expect("docker");
    assert_eq!(lab.inspect("open", "{{.State.Running}}"), "true");
    let mut second = lab.spawn(&["attach", "open"]);
    second
        .stdin
        .as_mut()
        .expect("stdin")
        .write_all(b"two\nend\n")
        .expect("write");
    assert_eq!(second.wait().expect("docker").code(), Some(7));
    said(&lab, "out two\n");
    // What does not run is not attached to.
    let err = lab.fails(1, &["attach", "open"]);
    assert_eq!(
        err,
        "You cannot attach to a stopped container, start it first\n"
    );
    assert_eq!(
        lab.fails(1, &["attach", "nosuch"]),
        "Error response from daemon: No such container: nosuch\n"
    );
}

#[test]
fn signals_pass_unless_told_otherwise() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    for (flag, proxied) in [("--sig-proxy=true", true), ("--sig-proxy=false", false)] {
        lab.ok(&[
            "run",
            "-d",
            "--name",
            "sig",
            "bb",
            "sh",
            "-c",
            "trap 'exit 9' HUP; while :; do echo up; sleep 0.02; done",
        ]);
        let mut client = lab.spawn(&["attach", flag, "--no-stdin", "sig"]);
        let mut up = [0; 3];
        client
            .stdout
            .as_mut()
            .expect("stdout")
            .read_exact(&mut up)
            .expect("up");
        // Taken while the test waits, lest the pipe fills.
        let mut rest = client.stdout.take().expect("stdout");
        let drained = std::thread::spawn(move || std::io::copy(&mut rest, &mut std::io::sink()));
        lab.inside(&["kill", "-HUP", &client.id().to_string()]);
        let code = client.wait().expect("docker").code();
        drained.join().expect("drain").expect("read");
        if proxied {
            assert_eq!(code, Some(9));
        } else {
            assert_eq!(code, None);
            assert_eq!(lab.inspect("sig", "{{.State.Running}}"), "true");
        }
        lab.ok(&["rm", "-f", "sig"]);
    }
}

/// Attaches by hand; the socket after the headers.
fn attach(lab: &Lab, name: &str, query: &str) -> UnixStream {
    let mut stream = UnixStream::connect(lab.socket()).expect("socket");
    let request = format!(
        "POST /containers/{name}/attach?{query} HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("request");
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("head");
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    assert!(head.starts_with("HTTP/1.1 101 UPGRADED\r\n"), "{head}");
    stream
}

#[test]
fn one_that_does_not_read_does_not_keep_the_others_from_the_end() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&[
        "run",
        "-d",
        "-i",
        "--name",
        "loud",
        "bb",
        "sh",
        "-c",
        "read go; head -c 20000000 /dev/zero; echo; echo done >&2; exit 3",
    ]);
    let mut stuck = attach(&lab, "loud", "stream=1&stdin=1&stdout=1");
    stuck.write_all(b"go\n").expect("write");
    // As docker's, its container waits for it, and can be ended nevertheless.
    lab.ok(&["stop", "-t", "0", "loud"]);
    assert_eq!(lab.ok(&["wait", "loud"]), "137");
    drop(stuck);
    // Once it has left, the container goes on.
    lab.ok(&["start", "loud"]);
    let mut stuck = attach(&lab, "loud", "stream=1&stdin=1&stdout=1");
    stuck.write_all(b"go\n").expect("write");
    let mut some = [0; 100];
    stuck.read_exact(&mut some).expect("some");
    drop(stuck);
    assert_eq!(lab.ok(&["wait", "loud"]), "3");
    assert!(lab.docker(&["logs", "loud"]).err.ends_with("done\n"));
}

#[test]
fn logs_first_and_keys_of_its_own() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&[
        "run",
        "-d",
        "-it",
        "--name",
        "tty",
        "bb",
        "sh",
        "-c",
        "echo before; cat",
    ]);
    assert!(wait_for(LONG, || lab.docker(&["logs", "tty"]).out == "before\r\n"));
    let mut stream = attach(
        &lab,
        "tty",
        "stream=1&stdin=1&stdout=1&logs=1&detachKeys=ctrl-a,b",
    );
    let mut line = [0; 8];
    stream.read_exact(&mut line).expect("log");
    assert_eq!(&line, b"before\r\n");
    stream.write_all(b"x\x01y\n").expect("write");
    let mut echo = [0; 5];
    stream.read_exact(&mut echo).expect("echo");
    stream.write_all(b"\x01b").expect("write");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("end");
    assert_eq!(lab.inspect("tty", "{{.State.Running}}"), "true");
    let detached = || {
        lab.ok(&[
            "events",
            "--since",
            "0",
            "--until",
            &lab.now(),
            "--filter",
            "event=detach",
            "--format",
            "{{.Action}}",
        ]) == "detach"
    };
    assert!(wait_for(LONG, detached));
    let answer = lab.send("POST", "/containers/tty/attach?detachKeys=bogus", "");
    assert_eq!(answer.status, 400, "{answer:?}");
}
