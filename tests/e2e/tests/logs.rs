//! `docker logs`: streams, following, times, long and partial lines, rotation, drivers.

use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use e2e::{Lab, root, wait_for};

const LONG: Duration = Duration::from_secs(20);

#[test]
fn both_streams_as_they_came() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&[
        "run",
        "--name",
        "two",
        "bb",
        "sh",
        "-c",
        "echo out; echo err >&2; printf partial",
    ]);
    let ran = lab.docker(&["logs", "two"]);
    assert_eq!(
        (ran.out.as_str(), ran.err.as_str()),
        ("out\npartial", "err\n")
    );
    lab.ok(&["run", "--name", "ten", "bb", "seq", "10"]);
    assert_eq!(
        lab.docker(&["logs", "--tail", "3", "ten"]).out,
        "8\n9\n10\n"
    );
    assert_eq!(lab.docker(&["logs", "-n", "0", "ten"]).out, "");
    assert_eq!(
        lab.docker(&["logs", "-n", "all", "ten"])
            .out
            .lines()
            .count(),
        10
    );
    assert_eq!(
        lab.docker(&["logs", "-n", "100", "ten"])
            .out
            .lines()
            .count(),
        10
    );
    let stamped = lab.ok(&["logs", "-t", "-n", "1", "ten"]);
    let (time, text) = stamped.split_once(' ').expect("time");
    assert_eq!((time.len(), text), (30, "10"), "{stamped}");
    assert!(time.ends_with('Z') && time.as_bytes()[10] == b'T');
    // A container that never ran has none.
    lab.ok(&["create", "--name", "new", "bb", "true"]);
    assert_eq!(lab.ok(&["logs", "new"]), "");
    assert_eq!(
        lab.fails(1, &["logs", "nosuch"]),
        "Error response from daemon: No such container: nosuch\n"
    );
    let answer = lab.get("/containers/two/logs");
    assert_eq!(
        (answer.status, answer.message().as_str()),
        (400, "Bad parameters: you must choose at least one stream")
    );
    // Those of all its runs.
    lab.docker(&["start", "-a", "ten"]);
    assert_eq!(lab.docker(&["logs", "ten"]).out.lines().count(), 20);
}

#[test]
fn since_and_until() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&[
        "run",
        "-d",
        "--name",
        "tt",
        "-i",
        "bb",
        "sh",
        "-c",
        "echo one; read x < /dev/stdin; sleep 1000",
    ]);
    assert!(wait_for(LONG, || lab.docker(&["logs", "tt"]).out == "one\n"));
    let between = lab.now();
    lab.ok(&["exec", "tt", "sh", "-c", "echo two > /proc/1/fd/1"]);
    assert!(wait_for(LONG, || lab.docker(&["logs", "tt"]).out == "one\ntwo\n"));
    assert_eq!(
        lab.docker(&["logs", "--since", &between, "tt"]).out,
        "two\n"
    );
    assert_eq!(
        lab.docker(&["logs", "--until", &between, "tt"]).out,
        "one\n"
    );
    assert_eq!(
        lab.docker(&["logs", "--since", "1h", "tt"]).out,
        "one\ntwo\n"
    );
    assert_eq!(lab.docker(&["logs", "--until", "1h", "tt"]).out, "");
    // Following up to a time ends by itself.
    let ran = lab.docker(&["logs", "-f", "--until", &between, "tt"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "one\n"));
}

#[test]
fn followed_to_the_end() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&["run", "-d", "--name", "ff", "bb", "sh", "-c", "mkfifo /go; exec 3<> /go; echo first; while read line <&3; do echo $line; echo $line >&2; [ $line = end ] && exit; done"]);
    let mut follower = lab.spawn(&["logs", "-f", "ff"]);
    let mut lines = BufReader::new(follower.stdout.take().expect("stdout")).lines();
    let mut next = || lines.next().map(|line| line.expect("line"));
    assert_eq!(next().as_deref(), Some("first"));
    for word in ["one", "two", "end"] {
        // The last one may end with the container.
        lab.docker(&["exec", "ff", "sh", "-c", &format!("echo {word} > /go")]);
        assert_eq!(next().as_deref(), Some(word));
    }
    assert_eq!(next(), None);
    let output = follower.wait_with_output().expect("docker");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "one\ntwo\nend\n");
    // Ended, it is not waited for; nor is its removal.
    assert_eq!(
        lab.docker(&["logs", "-f", "ff"]).out,
        "first\none\ntwo\nend\n"
    );
    lab.ok(&[
        "run",
        "-d",
        "--name",
        "gone",
        "bb",
        "sh",
        "-c",
        "echo here; sleep 1000",
    ]);
    let mut follower = lab.spawn(&["logs", "-f", "gone"]);
    let mut lines = BufReader::new(follower.stdout.take().expect("stdout")).lines();
    assert_eq!(lines.next().expect("line").expect("line"), "here");
    lab.ok(&["rm", "-f", "gone"]);
    assert_eq!(follower.wait().expect("docker").code(), Some(0));
}

#[test]
fn nothing_is_lost_or_mixed_up() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&["run", "--name", "many", "bb", "sh", "-c", "seq 200000"]);
    let out = lab.docker(&["logs", "many"]).out;
    assert!(
        out.lines()
            .map(|n| n.parse::<u32>().expect("number"))
            .eq(1..=200_000)
    );
    assert_eq!(
        lab.docker(&["logs", "-n", "2", "many"]).out,
        "199999\n200000\n"
    );
    // One line of a megabyte, and one byte more than what a line of the file holds.
    lab.ok(&["run", "--name", "wide", "bb", "sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x; echo; head -c 16385 /dev/zero | tr '\\0' y; echo; echo z"]);
    let out = lab.docker(&["logs", "wide"]).out;
    assert_eq!(out.len(), 1_000_001 + 16_386 + 2);
    assert!(out.lines().map(str::len).eq([1_000_000, 16_385, 1]));
    assert_eq!(
        lab.docker(&["logs", "-n", "2", "wide"])
            .out
            .lines()
            .map(str::len)
            .collect::<Vec<_>>(),
        [1, 1]
    );
    // Bytes that are no text survive the client's run, and the log that is not JSON.
    for (driver, kept) in [
        ("local", &b"\xff\0\x01ok\n"[..]),
        ("json-file", "\u{fffd}\0\u{1}ok\n".as_bytes()),
    ] {
        let name = format!("raw-{driver}");
        let run = [
            "run",
            "--log-driver",
            driver,
            "--name",
            &name,
            "bb",
            "printf",
        ];
        let run = [&run[..], &["\\377\\000\\001ok\\n"]].concat();
        let bytes = lab.docker_command(&run).output().expect("docker").stdout;
        assert_eq!(bytes, b"\xff\0\x01ok\n");
        let logs = ["logs", &name];
        let logged = lab.docker_command(&logs).output().expect("docker").stdout;
        assert_eq!(logged, kept, "{driver}");
    }
}

#[test]
fn rotation_and_other_drivers() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&[
        "run",
        "--name",
        "rot",
        "--log-driver",
        "json-file",
        "--log-opt",
        "max-size=20k",
        "--log-opt",
        "max-file=3",
        "bb",
        "seq",
        "3000",
    ]);
    let path = lab.inspect("rot", "{{.LogPath}}");
    let dir = std::path::Path::new(&path).parent().expect("dir");
    let logs: Vec<String> = std::fs::read_dir(dir)
        .expect("dir")
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|n| n.contains("-json.log"))
        .collect();
    assert_eq!(logs.len(), 3, "{logs:?}");
    for name in &logs {
        let size = std::fs::metadata(dir.join(name)).expect("size").len();
        assert!(size <= 24_000, "{name} has {size}");
    }
    let out = lab.docker(&["logs", "rot"]).out;
    let last: Vec<u32> = out.lines().map(|n| n.parse().expect("number")).collect();
    assert_eq!(last.last(), Some(&3000));
    assert!(
        last.len() > 100 && last.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{}",
        last.len()
    );
    assert_eq!(lab.docker(&["logs", "-n", "1", "rot"]).out, "3000\n");

    assert_eq!(
        lab.ok(&[
            "run",
            "--name",
            "none",
            "--log-driver",
            "none",
            "bb",
            "echo",
            "seen"
        ]),
        "seen"
    );
    assert_eq!(
        lab.fails(1, &["logs", "none"]),
        "Error response from daemon: configured logging driver does not support reading\n"
    );
    let err = lab.fails(125, &["run", "--log-driver", "splunk", "bb", "true"]);
    assert!(
        err.contains("splunk") && err.contains("not supported"),
        "{err}"
    );
    let json = ["run", "--log-driver", "json-file", "--log-opt"];
    let err = lab.fails(125, &[&json[..], &["bogus=1", "bb", "true"]].concat());
    assert!(
        err.contains("unknown log opt 'bogus' for json-file log driver"),
        "{err}"
    );
    lab.ok(&[
        "run",
        "--name",
        "attrs",
        "--log-opt",
        "labels=who",
        "--log-opt",
        "env=WHERE",
        "--label",
        "who=me",
        "-e",
        "WHERE=here",
        "bb",
        "echo",
        "x",
    ]);
    assert_eq!(
        lab.ok(&["logs", "--details", "attrs"]),
        "WHERE=here,who=me x"
    );
}
