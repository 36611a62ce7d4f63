//! Events of a client that is slow, of one that comes back, and after `kill -9`.
#![allow(clippy::expect_used, reason = "a test fails loudly")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use e2e::{Lab, root, wait_for};
use serde_json::Value;

const RENAMES: usize = 3000;

/// Renames `told` to n0, n1, … over one connection; each is answered, and so durable.
fn rename(lab: &Lab, from: usize, to: usize) {
    let mut stream = UnixStream::connect(lab.socket()).expect("engine's socket");
    for n in from..to {
        let old = match n {
            0 => "told".to_owned(),
            n => format!("n{}", n - 1),
        };
        let request = format!(
            "POST /containers/{old}/rename?name=n{n} HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("request");
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).expect("answer");
            answer.push(byte[0]);
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 204"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
}

fn listeners(lab: &Lab) -> u64 {
    let info: Value = serde_json::from_str(&lab.get("/info").body).expect("json");
    info["NEventsListener"].as_u64().unwrap_or_default()
}

fn event(line: &str) -> (i64, String) {
    let event: Value = serde_json::from_str(line).expect("json");
    let time = event["timeNano"].as_i64().expect("a time");
    (time, event["Actor"]["Attributes"]["name"].to_string())
}

#[test]
fn none_is_lost_and_none_comes_twice() {
    if !root() {
        return;
    }
    let mut lab = Lab::new();
    lab.ok(&["create", "--name", "told", "bb", "true"]);
    let mut listener = lab
        .docker_command(&[
            "events",
            "--filter",
            "event=rename",
            "--format",
            "{{json .}}",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("docker");
    assert!(wait_for(Duration::from_secs(20), || listeners(&lab) == 1));
    // Its output is not read meanwhile, so that it reads no events either.
    rename(&lab, 0, RENAMES / 2);
    let mut lines = BufReader::new(listener.stdout.take().expect("piped")).lines();
    let mut seen: Vec<_> = lines
        .by_ref()
        .take(RENAMES / 4)
        .map(|line| event(&line.expect("an event")))
        .collect();
    assert_eq!(seen.len(), RENAMES / 4);
    lab.kill_daemon();
    listener.kill().expect("SIGKILL");
    listener.wait().expect("docker");
    lab.start_daemon();
    rename(&lab, RENAMES / 2, RENAMES);
    let next = seen.last().expect("some").0 + 1;
    let since = format!("{}.{:09}", next / 1_000_000_000, next % 1_000_000_000);
    let rest = lab.events(&since, &["event=rename"], "{{json .}}");
    seen.extend(rest.lines().map(event));
    let names: Vec<_> = seen.iter().map(|(_, name)| name.clone()).collect();
    let all: Vec<_> = (0..RENAMES).map(|n| format!("\"n{n}\"")).collect();
    assert_eq!(names, all);
    assert!(seen.is_sorted_by(|a, b| a.0 < b.0));
}

#[test]
fn a_client_chooses_the_form_and_the_daemon_how_much_is_kept() {
    if !root() {
        return;
    }
    let mut lab = Lab::new();
    lab.ok(&["create", "--name", "told", "bb", "true"]);
    let ask = |lab: &Lab, accept: &str| {
        lab.raw(&format!(
            "GET /events?since=0&until={} HTTP/1.1\r\nHost: d\r\nAccept: {accept}\r\n\r\n",
            lab.now()
        ))
    };
    for (accept, kind, first) in [
        ("*/*", "application/json", '{'),
        ("application/x-ndjson", "application/x-ndjson", '{'),
        ("application/json-seq", "application/json-seq", '\x1e'),
    ] {
        let answer = ask(&lab, accept);
        assert!(
            answer.head.contains(&format!("content-type: {kind}\r\n")),
            "{}",
            answer.head
        );
        assert!(answer.body.starts_with(first), "{:?}", answer.body);
        assert!(
            answer.body.contains("\"Action\":\"create\""),
            "{:?}",
            answer.body
        );
    }
    let wrong = lab.get("/events?since=2&until=1");
    assert_eq!(
        (wrong.status, wrong.message().as_str()),
        (400, "`since` time (2) cannot be after `until` time (1)")
    );
    lab.stop_daemon();
    lab.set_flags(&["--events-max-size", "2KiB"]);
    lab.start_daemon();
    rename(&lab, 0, 200);
    let kept = ask(&lab, "*/*").body.lines().count();
    assert!((1..20).contains(&kept), "{kept}");
}
