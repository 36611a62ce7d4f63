//! Many containers through the API: none fails, and the daemon does not grow.
#![allow(clippy::expect_used, reason = "a test fails loudly")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use e2e::{Lab, root, wait_for};

/// One whole life.
fn live(lab: &Lab, name: &str) {
    let body = "{\"Image\":\"bb\",\"Cmd\":[\"sh\",\"-c\",\"echo out; exit 3\"]}";
    let send = |method: &str, path: &str, body: &str, status: u16| {
        let answer = lab.send(method, path, body);
        assert_eq!(answer.status, status, "{name} {method} {path}: {answer:?}");
        answer.body
    };
    send(
        "POST",
        &format!("/containers/create?name={name}"),
        body,
        201,
    );
    send("POST", &format!("/containers/{name}/start"), "", 204);
    let ended = send("POST", &format!("/containers/{name}/wait"), "", 200);
    assert!(ended.contains("\"StatusCode\":3"), "{name}: {ended}");
    let log = send("GET", &format!("/containers/{name}/logs?stdout=1"), "", 200);
    assert!(log.ends_with("out\n"), "{name}: {log:?}");
    send("DELETE", &format!("/containers/{name}"), "", 204);
}

/// Lives `count` lives, `at_once` of them side by side.
fn run(lab: &Lab, prefix: &str, count: usize, at_once: usize) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        return;
                    }
                    live(lab, &format!("{prefix}{n}"));
                }
            });
        }
    });
}

/// The daemon's descriptors and its resident memory in KiB.
fn size(lab: &Lab) -> (usize, usize) {
    let pid = lab.daemon_pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let rss = rss.and_then(|text| text.trim().strip_suffix(" kB"));
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("fd")
        .count();
    (fds, rss.and_then(|text| text.parse().ok()).expect("VmRSS"))
}

#[test]
fn hundreds() {
    if !root() {
        return;
    }
    // 1 runs the full counts: 200 side by side, then 1,000 in a row.
    let full = std::env::var("CORTEN_E2E_STRESS").is_ok();
    let (together, in_a_row) = if full { (200, 1000) } else { (100, 200) };
    let lab = Lab::new();
    run(&lab, "warm", 20, 8);
    let (idle, _) = size(&lab);
    run(&lab, "side", together, 8);
    let (_, before) = size(&lab);
    run(&lab, "row", in_a_row, 1);
    // Descriptors go with the clearing in the background.
    let flat = || size(&lab).0 <= idle + 8;
    assert!(
        wait_for(Duration::from_secs(20), flat),
        "{} descriptors, {idle} before",
        size(&lab).0
    );
    let (_, after) = size(&lab);
    assert!(
        after < before + before / 4 + 4096,
        "{before} KiB grew to {after} KiB"
    );
    assert_eq!(lab.ok(&["ps", "-aq"]), "");
    let events = lab.ok(&["info", "--format", "{{.Containers}} {{.NGoroutines}}"]);
    assert!(events.starts_with("0 "), "{events}");
}
