//! A full disk: clear errors, an engine that lives on, and room again after a removal.
#![allow(clippy::expect_used, reason = "a test fails loudly")]

use e2e::{Lab, Options, root};

/// Fills the data root to the last byte.
fn fill(lab: &Lab) {
    let file = lab.data_root().join("ballast").display().to_string();
    lab.inside(&["dd", "if=/dev/zero", &format!("of={file}"), "bs=64k"]);
    lab.inside(&["sh", "-c", &format!("cat /dev/zero >> {file}")]);
}

fn empty(lab: &Lab) {
    let file = lab.data_root().join("ballast").display().to_string();
    assert_eq!(lab.inside(&["rm", &file]).code, 0);
}

#[test]
fn the_engine_lives_on() {
    if !root() {
        return;
    }
    let mut lab = Lab::with(Options {
        disk: Some(48),
        ..Options::default()
    });
    lab.ok(&[
        "run",
        "-d",
        "--name",
        "here",
        "bb",
        "sh",
        "-c",
        "while read x; do :; done; sleep 1000",
    ]);
    lab.ok(&["create", "--name", "made", "bb", "true"]);
    fill(&lab);

    let error = lab.fails(125, &["run", "--rm", "bb", "true"]);
    assert!(
        error.contains("no space left on device") || error.contains("disk"),
        "{error}"
    );
    let tar = lab.path("bb.tar").display().to_string();
    let error = lab.docker(&["import", &tar, "two"]);
    assert!(
        error.code != 0 && error.err.contains("no space left on device"),
        "{error:?}"
    );
    let error = lab.docker(&["volume", "create", "vol"]);
    assert_ne!(error.code, 0, "{error:?}");
    // What is there can be seen, used, stopped and removed.
    assert_eq!(lab.ok(&["exec", "here", "echo", "well"]), "well");
    let error = lab.docker(&["exec", "here", "sh", "-c", "echo x > /file"]);
    assert!(
        error.code != 0 && error.err.contains("No space left on device"),
        "{error:?}"
    );
    assert_eq!(
        lab.ok(&["ps", "-a", "--format", "{{.Names}}"]),
        "made\nhere"
    );
    lab.ok(&["stop", "-t0", "here"]);
    assert_eq!(lab.inspect("here", "{{.State.ExitCode}}"), "137");
    // A daemon that is started there finds everything.
    lab.kill_daemon();
    lab.start_daemon();
    assert_eq!(lab.inspect("here", "{{.State.Status}}"), "exited");
    lab.ok(&["rm", "made"]);
    empty(&lab);
    lab.ok(&["run", "--rm", "bb", "true"]);
    lab.ok(&["start", "here"]);

    // Room comes back with what is removed.
    let free = |lab: &Lab| -> u64 {
        let root = lab.data_root().display().to_string();
        let text = lab.inside(&["stat", "-f", "-c", "%a", &root]).out;
        text.trim().parse().expect("blocks")
    };
    let before = free(&lab);
    lab.ok(&["import", &tar, "two"]);
    lab.ok(&[
        "run",
        "--name",
        "big",
        "two",
        "dd",
        "if=/dev/zero",
        "of=/big",
        "bs=1M",
        "count=8",
    ]);
    assert!(free(&lab) + 2048 < before);
    lab.ok(&["rm", "big"]);
    lab.ok(&["rmi", "two"]);
    let back = || free(&lab) + 256 >= before;
    assert!(
        e2e::wait_for(std::time::Duration::from_secs(20), back),
        "{} of {before}",
        free(&lab)
    );
    // An import that stops in the middle leaves nothing behind.
    fill(&lab);
    let error = lab.docker(&["import", &tar, "three"]);
    assert!(error.code != 0, "{error:?}");
    lab.ok(&["rm", "-f", "here"]);
    empty(&lab);
    lab.ok(&["import", &tar, "three"]);
    lab.ok(&["run", "--rm", "three", "true"]);
}

#[test]
fn a_log_that_does_not_fit() {
    if !root() {
        return;
    }
    let lab = Lab::with(Options {
        disk: Some(48),
        ..Options::default()
    });
    let script = "i=0; while [ $i -lt 200000 ]; do echo a line of some length that fills the disk $i; \
                  i=$((i+1)); done; exit 4";
    lab.ok(&["create", "--name", "loud", "bb", "sh", "-c", script]);
    fill(&lab);
    // The container is not held up, and its end is told.
    let started = lab.docker(&["start", "loud"]);
    empty(&lab);
    if started.code != 0 {
        assert!(
            started.err.contains("no space left on device"),
            "{started:?}"
        );
        lab.ok(&["start", "loud"]);
    }
    fill(&lab);
    assert_eq!(lab.ok(&["wait", "loud"]), "4");
    empty(&lab);
    assert_eq!(
        lab.inspect("loud", "{{.State.Status}} {{.State.ExitCode}}"),
        "exited 4"
    );
    // What was written can be read.
    let logs = lab.docker(&["logs", "loud"]);
    assert_eq!(logs.code, 0, "{}", logs.err);
    assert!(
        logs.out.lines().all(|line| line.starts_with("a line")),
        "no line is torn"
    );
}
