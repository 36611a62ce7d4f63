//! Metrics on a listener of their own, and what debug mode shows.
#![allow(clippy::expect_used, reason = "a test fails loudly")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use e2e::{Lab, Options, root, signal, wait_for};
use serde_json::Value;

fn get(lab: &Lab, path: &str) -> String {
    lab.in_network(|| {
        let mut stream = TcpStream::connect(("127.0.0.1", 9323)).expect("metrics");
        let request = format!("GET {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answer");
        answer
    })
}

#[test]
fn numbers_and_the_inside() {
    if !root() {
        return;
    }
    let lab = Lab::with(Options {
        flags: ["--metrics-addr", "127.0.0.1:9323", "--debug"]
            .map(str::to_owned)
            .into(),
        ..Options::default()
    });
    lab.sleeper(
        "one",
        &["--health-cmd", "true", "--health-interval", "100ms"],
    );
    lab.ok(&["create", "--name", "two", "bb", "true"]);
    lab.becomes("one", "{{.State.Health.Status}}", "healthy");
    let text = get(&lab, "/metrics");
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(
        text.contains("content-type: text/plain; version=0.0.4"),
        "{text}"
    );
    for line in [
        "engine_daemon_container_states_containers{state=\"running\"} 1",
        "engine_daemon_container_states_containers{state=\"stopped\"} 1",
        "corten_container_states_containers{state=\"created\"} 1",
        "engine_daemon_container_actions_seconds_count{action=\"create\"} 2",
        "engine_daemon_container_actions_seconds_count{action=\"start\"} 1",
        "engine_daemon_health_checks_failed_total 0",
        "engine_daemon_events_subscribers_total 0",
        "# TYPE engine_daemon_container_actions_seconds histogram",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
    let checks = text
        .lines()
        .find_map(|line| line.strip_prefix("engine_daemon_health_checks_total "));
    assert!(checks.is_some_and(|count| count != "0"), "{text}");
    assert!(
        text.contains("\nengine_daemon_engine_info{architecture=\""),
        "{text}"
    );
    assert!(get(&lab, "/containers/json").starts_with("HTTP/1.1 404 "));

    let answer = lab.get("/debug/state");
    let state: Value = serde_json::from_str(&answer.body).expect("json");
    let one = lab.inspect("one", "{{.Id}}");
    let owner = |name: &str| {
        let all = state["Containers"].as_array().expect("containers");
        all.iter()
            .find(|one| one["Name"] == name)
            .cloned()
            .expect("a container")
    };
    assert_eq!(owner("one")["State"], "running");
    assert_eq!(owner("two")["Owned"], true);
    assert_eq!(state["Runs"], serde_json::json!([one]));
    assert!(state["Events"]["Told"].as_u64() >= Some(4), "{state}");
    assert!(state["Tasks"]["Alive"].as_u64() > Some(1), "{state}");
    let vars: Value = serde_json::from_str(&lab.get("/debug/vars").body).expect("json");
    assert_eq!(vars["cmdline"][1], "daemon");
    let refused = lab.get("/debug/pprof/heap");
    assert_eq!(
        (refused.status, refused.message().as_str()),
        (
            501,
            "profiles in Go's format are not supported yet: GET /debug/pprof/heap"
        )
    );
}

#[test]
fn neither_is_there_unasked() {
    if !root() {
        return;
    }
    let mut lab = Lab::with(Options {
        no_image: true,
        ..Options::default()
    });
    assert_eq!(lab.get("/debug/state").status, 404);
    assert_eq!(lab.get("/debug/pprof/heap").status, 404);
    signal(lab.daemon_pid(), "USR1");
    let written = || {
        let mut all = std::fs::read_dir(lab.exec_root())
            .expect("exec root")
            .flatten();
        let file = all.find(|file| file.file_name().to_string_lossy().starts_with("state-"))?;
        serde_json::from_slice::<Value>(&std::fs::read(file.path()).ok()?).ok()
    };
    assert!(wait_for(Duration::from_secs(20), || written().is_some()));
    assert_eq!(
        written().expect("a file")["Containers"],
        serde_json::json!([])
    );
    lab.stop_daemon();
    for address in ["nonsense", "127.0.0.1:99999", "192.0.2.1:9323"] {
        lab.set_flags(&["--metrics-addr", address]);
        let status = lab.daemon_command().status().expect("corten");
        let said = lab.daemon_log();
        assert_eq!(status.code(), Some(1), "{said}");
        let wanted = format!("failed to start metrics server: listen tcp {address}");
        assert!(said.contains(&wanted), "{said}");
    }
    lab.set_flags(&[]);
}
