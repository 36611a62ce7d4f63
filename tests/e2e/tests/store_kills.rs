//! The image store when the engine is killed at any moment of what changes it: consistent, nothing
//! left behind, images whole or absent, and what had come is not fetched again.
//!
//! `CORTEN_E2E_STORE_KILLS` says how many moments of each are tried (8 unless told).
#![allow(clippy::expect_used, reason = "a test fails loudly")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use e2e::registry::{Registry, archive};
use e2e::{Lab, root, wait_for};

const PATIENCE: Duration = Duration::from_secs(20);
const LAYERS: u32 = 8;
const PULLED: &str = "127.0.0.1:5000/kills:1";

/// Names in a directory.
fn names(path: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Chains that stand in the store under their own name, which only whole layers have.
fn whole(lab: &Lab) -> BTreeSet<String> {
    let mut names = names(&lab.data_root().join("layers"));
    names.retain(|name| name.len() == 64);
    names
}

/// What holds after every restart.
fn check(lab: &Lab, round: &str) {
    let scrubbed = lab.corten(&["image", "scrub"]);
    assert_eq!(scrubbed.code, 0, "{round}: {scrubbed:?}");
    assert!(
        scrubbed.out.starts_with("Checked "),
        "{round}: {}",
        scrubbed.out
    );
    let data = lab.data_root();
    for dir in ["layers", "content"] {
        let half = names(&data.join(dir));
        let half: Vec<_> = half
            .iter()
            .filter(|name| name.starts_with("tmp-"))
            .collect();
        assert!(half.is_empty(), "{round}: {dir} has {half:?}");
    }
    assert!(
        wait_for(PATIENCE, || names(&data.join("trash")).is_empty()),
        "{round}: the trash is not emptied"
    );
    // Whole or absent: what has a name can be looked at and given out to the last byte.
    for id in lab.ok(&["images", "-q", "--no-trunc"]).lines() {
        lab.inspect(id, "{{.Id}}");
    }
}

struct Moments(u64);

impl Moments {
    /// Somewhere in the time that it takes undisturbed, or shortly after.
    fn next(&mut self, time: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let most = u64::try_from(time.as_micros())
            .unwrap_or(1_000_000)
            .max(1000);
        Duration::from_micros(self.0 % (most + most / 4))
    }
}

/// Starts a command, kills the engine in the middle of it and starts it again.
fn kill_in(lab: &mut Lab, words: &[&str], own: bool, moment: Duration) {
    let mut command = match own {
        true => lab.corten_command(words),
        false => lab.docker_command(words),
    };
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.expect("a client");
    // The moment is the test, not a wait for something.
    std::thread::sleep(moment);
    lab.kill_daemon();
    child.wait().expect("a client");
}

#[test]
fn killed_at_any_moment_of_what_changes_the_store() {
    if !root() || !Registry::is_there() {
        return;
    }
    let rounds: u32 = std::env::var("CORTEN_E2E_STORE_KILLS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(8);
    let mut lab = Lab::new();
    let registry = Registry::start(&lab);
    let mut moments = Moments(0x9e37_79b9_7f4a_7c15);
    let pulled = lab.path("pulled.tar").display().to_string();
    let loaded = lab.path("loaded.tar").display().to_string();
    std::fs::write(&pulled, archive(PULLED, LAYERS, 1 << 20, 1)).expect("archive");
    std::fs::write(&loaded, archive("loaded:1", LAYERS, 1 << 20, 2)).expect("archive");
    lab.ok(&["load", "-q", "-i", &pulled]);
    lab.ok(&["push", "-q", PULLED]);
    let clean = |lab: &Lab| {
        lab.docker(&["rmi", "-f", PULLED, "loaded:1"]);
        lab.ok(&["image", "prune", "-af"]);
        // The layer of the test's own image, if it is still there.
        wait_for(PATIENCE, || whole(lab).len() <= 2)
    };
    let timed = |lab: &Lab, words: &[&str]| {
        let begun = Instant::now();
        lab.ok(words);
        begun.elapsed()
    };
    assert!(clean(&lab));
    let pull_time = timed(&lab, &["pull", "-q", PULLED]);
    let rmi_time = timed(&lab, &["rmi", PULLED]);
    let load_time = timed(&lab, &["load", "-q", "-i", &loaded]);
    clean(&lab);

    for n in 0..rounds {
        let round = format!("pull {n}");
        let before = whole(&lab);
        kill_in(
            &mut lab,
            &["pull", "-q", PULLED],
            false,
            moments.next(pull_time),
        );
        let arrived = whole(&lab).difference(&before).count();
        lab.start_daemon();
        check(&lab, &round);
        let sent = registry.sent("kills");
        let known = lab.docker(&["image", "inspect", PULLED]).code == 0;
        lab.ok(&["pull", "-q", PULLED]);
        let again = registry.sent("kills") - sent;
        // The configuration comes as a blob too.
        let most = match known {
            true => 0,
            false => LAYERS as usize - arrived + 1,
        };
        assert!(
            again <= most,
            "{round}: {again} blobs were sent again, {arrived} layers had arrived (known: {known})"
        );
        check(&lab, &round);
        assert!(clean(&lab), "{round}: {:?}", whole(&lab));
    }
    for n in 0..rounds {
        let round = format!("load {n}");
        kill_in(
            &mut lab,
            &["load", "-q", "-i", &loaded],
            false,
            moments.next(load_time),
        );
        lab.start_daemon();
        check(&lab, &round);
        lab.ok(&["load", "-q", "-i", &loaded]);
        check(&lab, &round);
        assert!(clean(&lab), "{round}: {:?}", whole(&lab));
    }
    lab.ok(&["pull", "-q", PULLED]);
    for n in 0..rounds {
        let name = format!("127.0.0.1:5000/pushed{n}:1");
        lab.ok(&["tag", PULLED, &name]);
        kill_in(
            &mut lab,
            &["push", "-q", &name],
            false,
            moments.next(load_time),
        );
        lab.start_daemon();
        check(&lab, &name);
        lab.ok(&["push", "-q", &name]);
        lab.ok(&["rmi", &name]);
    }
    for n in 0..rounds {
        let round = format!("rmi {n}");
        lab.ok(&["pull", "-q", PULLED]);
        kill_in(&mut lab, &["rmi", PULLED], false, moments.next(rmi_time));
        lab.start_daemon();
        check(&lab, &round);
    }
    for n in 0..rounds {
        let round = format!("collection {n}");
        lab.ok(&["pull", "-q", PULLED]);
        lab.ok(&["load", "-q", "-i", &loaded]);
        let words = ["image", "collect", "--high", "0", "--low", "0"];
        kill_in(&mut lab, &words, true, moments.next(rmi_time * 3));
        lab.start_daemon();
        check(&lab, &round);
    }
    assert!(clean(&lab));
}
