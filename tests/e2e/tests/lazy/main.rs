//! Images that run before all of their layers have come: from Debian's registry, behind a front that
//! withholds, damages and hangs up.

mod figures;
mod flat;
mod front;
mod layers;
mod ordinary;

use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use e2e::{Lab, Options, Ran, root, signal, wait_for};

use front::{FRONT, Registry};
use layers::{Entry, Layer, chunked, digest, estargz, soci};

const PATIENCE: Duration = Duration::from_secs(60);
/// Less than a supplier waits for a daemon that never asks it anything.
const HASTE: Duration = Duration::from_secs(20);
/// A file that nothing reads but what wants it.
const APART: &str = "data/apart";
const LAZY: &str = "--feature=lazy-pull=true";
/// Everything of a tree but for the file apart and what is mounted over it.
const LIST: &str = "cd / && find bin data lib stargz.index.json -xdev ! -path /data/apart \
    -exec stat -c '%n %F %a %u %g %s %Y %h %t:%T' {} + | grep -v /apart | sort; \
    find bin data lib stargz.index.json -xdev -type l -exec readlink {} + | sort; \
    find bin data lib stargz.index.json -xdev -type f ! -name apart -exec sha256sum {} + | sort";

/// Bytes that do not compress, the same for the same seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend(state.to_le_bytes());
    }
    out.truncate(length);
    out
}

/// busybox, and files of every kind.
fn base() -> Vec<Entry> {
    let program = std::fs::read("/bin/busybox").expect("/bin/busybox of package busybox-static");
    let list = Command::new("/bin/busybox").arg("--list").output();
    let list = String::from_utf8(list.expect("busybox").stdout).expect("names");
    let directory = |name: &str| Entry::new('d', name);
    let mut all = vec![
        directory("bin/"),
        directory("dev/"),
        directory("proc/"),
        directory("sys/"),
    ];
    all.extend([directory("etc/"), directory("lib/"), directory("data/")]);
    all.push(Entry {
        mode: 0o755,
        ..Entry::file("bin/busybox", program)
    });
    let applets = list.lines().filter(|name| *name != "busybox");
    all.extend(applets.map(|name| Entry::link('l', &format!("bin/{name}"), "busybox")));
    all.push(Entry {
        mode: 0o4711,
        owner: (1000, 77),
        mtime: 1,
        xattrs: vec![("user.one".into(), b"1\0\xff".to_vec())],
        ..Entry::file("data/owned", "of somebody\n")
    });
    all.push(Entry::link('h', "data/again", "data/owned"));
    all.push(Entry::file("data/empty", ""));
    all.push(Entry::file(
        "data/several chunks",
        noise(1, (2 << 20) + 4321),
    ));
    all.push(Entry::file("data/zeros", vec![0; 300_000]));
    all.push(Entry::file("data/\u{fc}mlaut", "utf-8"));
    all.push(Entry {
        mode: 0o600,
        ..Entry::new('p', "data/pipe")
    });
    all.push(Entry {
        device: (1, 3),
        ..Entry::new('c', "data/null")
    });
    all.push(Entry::file("data/gone", "hidden by the next layer"));
    all.push(Entry::file(APART, noise(2, 3 << 20)));
    all.push(Entry::file("data/behind", noise(3, 200_000)));
    all
}

/// A layer above it: changes and whiteouts.
fn above() -> Vec<Entry> {
    vec![
        Entry::new('d', "data/"),
        Entry::new('f', "data/.wh.gone"),
        Entry::file("data/behind", noise(4, 400_000)),
        Entry::file("lib/new", "new\n"),
    ]
}

type Write = fn(&[Entry]) -> Layer;

/// An engine that pulls lazily, and a registry with an image of two layers.
fn lab(write: Write) -> (Lab, Registry, Layer) {
    let lab = Lab::with(Options {
        flags: vec![LAZY.into()],
        no_image: true,
        ..Options::default()
    });
    let registry = Registry::new(&lab);
    let layer = write(&base());
    registry.push(&lab, "image", &[layer.clone(), write(&above())]);
    (lab, registry, layer)
}

fn name() -> String {
    format!("127.0.0.1:{FRONT}/image")
}

impl Registry {
    fn withhold(&self, layer: &Layer, file: &str) {
        let place = layer.place(file);
        // Nothing but what is all within: blocks are fetched whole.
        assert!(place.end - place.start > 512 << 10, "{file}");
        let withheld = place.start + (256 << 10)..place.end - (256 << 10);
        *self.faults.withheld.lock().expect("faults") = Some((digest(&layer.blob), withheld));
    }

    fn give(&self) {
        *self.faults.withheld.lock().expect("faults") = None;
    }
}

fn unfinished(lab: &Lab) -> usize {
    std::fs::read_dir(lab.data_root().join("lazy")).map_or(0, Iterator::count)
}

#[track_caller]
fn await_whole(lab: &Lab) {
    let whole = wait_for(PATIENCE, || unfinished(lab) == 0);
    assert!(whole, "the layers come whole:\n{}", logs(lab));
}

fn logs(lab: &Lab) -> String {
    let supplier = std::fs::read_to_string(lab.exec_root().join("lazy.log"));
    format!("{}\n{}", lab.daemon_log(), supplier.unwrap_or_default())
}

/// Pids of suppliers in the lab.
fn suppliers(lab: &Lab) -> Vec<u32> {
    let ours = std::fs::read_link(format!("/proc/{}/ns/net", lab.daemon_pid())).expect("ns");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("proc").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let net = std::fs::read_link(format!("/proc/{pid}/ns/net"));
        if words.contains("lazy-supplier") && net.is_ok_and(|net| net == ours) {
            found.push(pid);
        }
    }
    found
}

fn sh(lab: &Lab, script: &str) -> Ran {
    lab.docker(&["exec", "box", "sh", "-c", script])
}

#[track_caller]
fn read(lab: &Lab, file: &str) -> String {
    let ran = sh(lab, &format!("sha256sum < '/{file}'"));
    assert_eq!(ran.code, 0, "{ran:?}\n{}", logs(lab));
    let hex = ran.out.split(' ').next().unwrap_or_default().to_owned();
    format!("sha256:{hex}")
}

fn content(entries: &[Entry], name: &str) -> String {
    let entry = entries.iter().find(|entry| entry.name == name);
    digest(&entry.expect("an entry").content)
}

fn same_as_ordinary(write: Write) {
    if !root() {
        return;
    }
    let (mut lab, registry, layer) = lab(write);
    let list = |lab: &Lab| {
        let ran = lab.docker(&["run", "--rm", &name(), "sh", "-c", LIST]);
        assert!(
            ran.out.contains("data/several chunks"),
            "{ran:?}\n{}",
            logs(lab)
        );
        ran.out
    };
    registry.withhold(&layer, APART);
    lab.ok(&["pull", "-q", &name()]);
    assert_ne!(unfinished(&lab), 0, "{}", logs(&lab));
    let before = list(&lab);
    assert_ne!(unfinished(&lab), 0, "read before it was whole");
    assert!(!before.contains("data/gone"));
    let sizes = lab.ok(&["image", "inspect", "--format", "{{.Size}}", &name()]);
    registry.give();
    await_whole(&lab);
    let after = list(&lab);
    let apart = ["run", "--rm", &name(), "sha256sum", "/data/apart"];
    assert!(lab.ok(&apart).starts_with(&content(&base(), APART)[7..]));
    lab.ok(&["rmi", &name()]);
    lab.stop_daemon();
    lab.set_flags(&[]);
    lab.start_daemon();
    lab.ok(&["pull", "-q", &name()]);
    let ordinary = list(&lab);
    for lazy in [before, after] {
        let differ: Vec<_> = lazy
            .lines()
            .zip(ordinary.lines())
            .filter(|(a, b)| a != b)
            .collect();
        assert!(differ.is_empty(), "{differ:#?}");
        assert_eq!(lazy.lines().count(), ordinary.lines().count());
    }
    let ordinary = lab.ok(&["image", "inspect", "--format", "{{.Size}}", &name()]);
    assert_eq!(sizes, ordinary);
}

#[test]
fn an_estargz_image_is_the_same_before_and_after() {
    same_as_ordinary(estargz);
}

#[test]
fn a_zstd_chunked_image_is_the_same_before_and_after() {
    same_as_ordinary(chunked);
}

#[test]
fn an_image_with_a_soci_index_is_the_same_before_and_after() {
    same_as_ordinary(soci);
}

#[test]
fn without_the_registry_reads_fail_and_later_ones_do_not() {
    if !root() {
        return;
    }
    let (lab, registry, layer) = lab(estargz);
    registry.withhold(&layer, APART);
    lab.ok(&["run", "-d", "--name", "box", &name(), "sleep", "1000"]);
    registry.faults.gone.store(true, Ordering::SeqCst);
    let refused = sh(&lab, "cat /data/apart > /dev/null");
    assert_ne!(refused.code, 0);
    assert!(refused.err.contains("Input/output error"), "{refused:?}");
    assert_eq!(lab.inspect("box", "{{.State.Running}}"), "true");
    // Neither is what was saved until then zeros.
    let archive = lab.path("saved.tar").display().to_string();
    let saved = lab.fails(1, &["save", "-o", &archive, &name()]);
    assert!(saved.contains("has not come whole yet"), "{saved}");
    registry.faults.gone.store(false, Ordering::SeqCst);
    registry.give();
    assert_eq!(read(&lab, APART), content(&base(), APART));
    await_whole(&lab);
    lab.ok(&["save", "-o", &archive, &name()]);
    lab.ok(&["rm", "-f", "box"]);
    let none = wait_for(PATIENCE, || suppliers(&lab).is_empty());
    assert!(none, "nothing is left to supply:\n{}", logs(&lab));
}

fn wrong_bytes_are_never_shown(write: Write) {
    if !root() {
        return;
    }
    let (lab, registry, layer) = lab(write);
    let since = lab.now();
    let place = layer.place(APART);
    let middle = place.start.midpoint(place.end);
    *registry.faults.damaged.lock().expect("faults") = Some((digest(&layer.blob), middle));
    lab.ok(&["run", "-d", "--name", "box", &name(), "sleep", "1000"]);
    let refused = sh(&lab, "cat /data/apart > /dev/null");
    assert_ne!(refused.code, 0, "{}", logs(&lab));
    assert!(refused.err.contains("Input/output error"), "{refused:?}");
    assert_eq!(
        read(&lab, "data/several chunks"),
        content(&base(), "data/several chunks")
    );
    let told = wait_for(PATIENCE, || {
        let events = ["events", "--since", &since, "--until", &lab.now()];
        lab.ok(&events).contains("lazy-corrupt")
    });
    assert!(told, "an event tells of it:\n{}", logs(&lab));
    *registry.faults.damaged.lock().expect("faults") = None;
    assert_eq!(read(&lab, APART), content(&base(), APART));
    await_whole(&lab);
}

#[test]
fn wrong_bytes_of_an_estargz_layer_are_never_shown() {
    wrong_bytes_are_never_shown(estargz);
}

#[test]
fn wrong_bytes_of_a_span_are_never_shown() {
    wrong_bytes_are_never_shown(soci);
}

#[test]
fn containers_go_on_without_the_daemon_and_the_next_one_finishes() {
    if !root() {
        return;
    }
    let (mut lab, registry, layer) = lab(chunked);
    registry.withhold(&layer, APART);
    // Reads when it is told to, by a file that the daemon has no part in.
    let script = "until [ -e /host/go ]; do sleep 0.1; done; sha256sum < '/data/several chunks' > \
                  /host/sum; sleep 1000";
    let host = lab.directory("host");
    let bind = format!("{}:/host", host.display());
    lab.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "-v",
        &bind,
        &name(),
        "sh",
        "-c",
        script,
    ]);
    lab.kill_daemon();
    std::fs::write(host.join("go"), "").expect("go");
    let sum = || std::fs::read_to_string(host.join("sum")).unwrap_or_default();
    assert!(
        wait_for(PATIENCE, || sum().len() > 64),
        "it reads on:\n{}",
        logs(&lab)
    );
    assert!(sum().starts_with(&content(&base(), "data/several chunks")[7..]));
    lab.start_daemon();
    assert_ne!(unfinished(&lab), 0);
    registry.give();
    await_whole(&lab);
    assert_eq!(
        read(&lab, APART),
        content(&base(), APART),
        "by the old mount"
    );
    lab.ok(&["restart", "-t", "0", "box"]);
    assert_eq!(read(&lab, APART), content(&base(), APART), "by the new one");
}

#[test]
fn a_killed_supplier_is_an_error_for_readers_and_another_one_for_new_containers() {
    if !root() {
        return;
    }
    let (lab, registry, layer) = lab(estargz);
    registry.withhold(&layer, APART);
    lab.ok(&["run", "-d", "--name", "box", &name(), "sleep", "1000"]);
    let running = suppliers(&lab);
    assert_eq!(running.len(), 1);
    signal(running[0], "KILL");
    let other = wait_for(PATIENCE, || {
        let now = suppliers(&lab);
        !now.is_empty() && now != running
    });
    assert!(other, "another supplier:\n{}", logs(&lab));
    registry.give();
    let refused = sh(&lab, "cat '/data/apart' > /dev/null");
    assert_ne!(refused.code, 0, "the old mount gives errors, not zeros");
    let sum = lab.ok(&["run", "--rm", &name(), "sha256sum", "/data/apart"]);
    assert!(sum.starts_with(&content(&base(), APART)[7..]));
    await_whole(&lab);
    lab.ok(&["restart", "-t", "0", "box"]);
    assert_eq!(read(&lab, APART), content(&base(), APART));
}

#[test]
fn an_image_that_is_removed_takes_everything_along() {
    if !root() {
        return;
    }
    let (lab, registry, layer) = lab(estargz);
    registry.withhold(&layer, APART);
    lab.ok(&["pull", "-q", &name()]);
    // The other layer comes whole at once: while it is being stored it would stay.
    let one = wait_for(PATIENCE, || unfinished(&lab) == 1);
    assert!(one, "one layer is withheld:\n{}", logs(&lab));
    lab.ok(&["rmi", &name()]);
    assert_eq!(unfinished(&lab), 0, "{}", logs(&lab));
    let none = wait_for(HASTE, || suppliers(&lab).is_empty());
    assert!(none, "nothing is left to supply:\n{}", logs(&lab));
    // Again, and interrupted by the end of both.
    lab.ok(&["pull", "-q", &name()]);
    registry.give();
    await_whole(&lab);
}

#[test]
fn an_image_that_is_removed_at_once_leaves_no_supplier() {
    if !root() {
        return;
    }
    let (lab, registry, layer) = lab(estargz);
    registry.withhold(&layer, APART);
    // Before the daemon listens to the supplier, or while it stores the layer that has come.
    for _ in 0..3 {
        lab.ok(&["pull", "-q", &name()]);
        lab.ok(&["rmi", &name()]);
        let none = wait_for(HASTE, || {
            unfinished(&lab) == 0 && suppliers(&lab).is_empty()
        });
        assert!(none, "nothing is left to supply:\n{}", logs(&lab));
    }
}

#[test]
fn what_had_come_is_not_fetched_again() {
    if !root() {
        return;
    }
    let (mut lab, registry, layer) = lab(estargz);
    registry.withhold(&layer, APART);
    lab.ok(&["pull", "-q", &name()]);
    let given = || registry.faults.given.load(Ordering::SeqCst);
    assert!(wait_for(PATIENCE, || given() > 2 << 20), "some of it comes");
    let running = suppliers(&lab);
    lab.kill_daemon();
    signal(running[0], "KILL");
    registry.give();
    lab.start_daemon();
    await_whole(&lab);
    // Tables are read by pulls, a part that was under way comes again.
    let most = layer.blob.len() as u64 + (3 << 20);
    assert!(
        given() < most,
        "{} bytes of {} were given",
        given(),
        layer.blob.len()
    );
    let sum = lab.ok(&["run", "--rm", &name(), "sha256sum", "/data/apart"]);
    assert!(sum.starts_with(&content(&base(), APART)[7..]));
}
