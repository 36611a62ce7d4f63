use std::io::Write;
use std::process::{Child, Command, Stdio};

use super::*;

#[test]
fn bad_paths() {
    for path in ["", "/", "a/../b", "./a", "a//b"] {
        assert!(checked(path).is_err(), "{path:?}");
    }
    assert_eq!(checked("/docker/x").unwrap(), "docker/x");
}

#[test]
fn weights() {
    assert_eq!(apply_v2::weight(2), 1);
    assert_eq!(apply_v2::weight(1024), 100);
    assert_eq!(apply_v2::weight(262_144), 10_000);
}

struct Removed(Cgroup, Layout, String);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = self.0.remove();
        if let Ok(Some(parent)) = Cgroup::open(&self.1, &self.2) {
            let _ = parent.remove();
        }
    }
}

/// A cgroup of this test's own, or `None` (said aloud) where it cannot be made.
fn fresh(name: &str) -> Option<Removed> {
    let layout = Layout::detect().ok()?;
    let parent = format!("corten-test-{}-{name}", std::process::id());
    match Cgroup::create(&layout, &format!("{parent}/one")) {
        Ok(cgroup) => Some(Removed(cgroup, layout, parent)),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "skipped: {error}");
            None
        }
    }
}

/// A child that sleeps, moved into the cgroup.
fn sleeper(cgroup: &Cgroup) -> Child {
    let child = Command::new("sleep")
        .arg("60")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    for (dir, ..) in cgroup.directories() {
        std::fs::write(dir.join("cgroup.procs"), child.id().to_string()).unwrap();
    }
    child
}

#[test]
fn limits_are_written_and_read() {
    let Some(t) = fresh("limits") else { return };
    if t.0.version() != 1 {
        return;
    }
    let mut r = Resources {
        pids: Some(7),
        ..Resources::default()
    };
    r.memory.limit = Some(64 << 20);
    r.memory.swap = Some(128 << 20);
    r.cpu.shares = Some(512);
    r.cpu.quota = Some(50_000);
    r.cpu.period = Some(100_000);
    r.cpu.cpus = "0".into();
    r.devices = vec![DeviceRule {
        allow: false,
        kind: DeviceKind::All,
        major: None,
        minor: None,
        read: true,
        write: true,
        mknod: true,
    }];
    t.0.apply(&r).unwrap();
    let stats = t.0.stats().unwrap();
    assert_eq!(stats.memory_limit, 64 << 20);
    assert_eq!(stats.pids_limit, 7);
    assert_eq!(t.0.dir("cpu").unwrap().number("cpu.shares"), 512);
    assert_eq!(
        t.0.dir("devices").unwrap().read("devices.list").unwrap(),
        ""
    );
    // Raising and lowering in one call each, whatever stands there.
    r.memory.limit = Some(256 << 20);
    r.memory.swap = Some(512 << 20);
    r.devices.clear();
    t.0.apply(&r).unwrap();
    r.memory.limit = Some(32 << 20);
    r.memory.swap = Some(32 << 20);
    t.0.apply(&r).unwrap();
    assert_eq!(
        t.0.dir("memory")
            .unwrap()
            .number("memory.memsw.limit_in_bytes"),
        32 << 20
    );
    r.cpu.shares = Some(1);
    assert!(
        t.0.apply(&r)
            .unwrap_err()
            .to_string()
            .contains("minimum allowed cpu-shares")
    );
}

#[test]
fn freeze_kill_remove() {
    let Some(t) = fresh("kill") else { return };
    let mut child = sleeper(&t.0);
    assert_eq!(t.0.procs().unwrap(), [child.id()]);
    t.0.freeze().unwrap();
    assert!(t.0.frozen().unwrap());
    t.0.thaw().unwrap();
    assert!(!t.0.frozen().unwrap());
    assert_eq!(t.0.oom_kills(), 0);
    drop(t.0.oom_watch().unwrap());
    t.0.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    t.0.remove().unwrap();
    t.0.remove().unwrap();
    assert!(Cgroup::open(&t.1, t.0.path()).unwrap().is_none());
}

#[test]
fn remove_kills_what_is_left_below() {
    let Some(t) = fresh("below") else { return };
    let below = Cgroup::create(&t.1, &format!("{}/deep", t.0.path())).unwrap();
    let mut child = sleeper(&below);
    // Reaped by a thread, as a keeper would.
    let waiter = std::thread::spawn(move || child.wait());
    t.0.remove().unwrap();
    waiter.join().unwrap().unwrap();
    assert!(Cgroup::open(&t.1, t.0.path()).unwrap().is_none());
}
