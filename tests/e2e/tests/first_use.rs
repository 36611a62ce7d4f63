//! The first command on a fresh machine: no daemon runs, and `corten run` starts one.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::{Ran, program, root, signal, wait_for};

/// A machine without a daemon: network and mount namespaces with empty /run, /etc and /var/lib.
struct Fresh {
    holder: Child,
    cgroup: String,
}

impl Fresh {
    fn new(name: &str, more: &str) -> Self {
        let cgroup = format!("/corten-e2e-{}-{name}", std::process::id());
        let script = format!(
            "ip link set lo up && for d in /run /etc /var/lib; do mount -t tmpfs tmpfs $d; done \
             && mkdir /etc/corten && echo '{{\"cgroup-parent\":\"{cgroup}\"{more}}}' \
             > /etc/corten/daemon.json && echo ready && exec sleep infinity"
        );
        let mut holder = Command::new("unshare")
            .args([
                "--net",
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                &script,
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut ready = [0; 6];
        let output = holder.stdout.as_mut().expect("piped");
        std::io::Read::read_exact(output, &mut ready).expect("the holder of the namespaces");
        Self { holder, cgroup }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        let target = self.holder.id().to_string();
        command.args(["--net", "--mount", "--target", &target, "--"]);
        command.args(words).stdin(Stdio::null());
        command
            .env("HOME", "/run")
            .env_remove("DOCKER_HOST")
            .env_remove("DOCKER_CONFIG")
            .env_remove("DOCKER_CONTEXT");
        command
    }

    fn run(&self, words: &[&str]) -> Ran {
        self.command(words).output().expect("nsenter").into()
    }

    /// A path as the namespaces see it.
    fn seen(&self, path: &str) -> PathBuf {
        format!("/proc/{}/root{path}", self.holder.id()).into()
    }

    /// Daemons of this machine, by their pids.
    fn daemons(&self) -> Vec<u32> {
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
        let own = namespace(&self.holder.id().to_string());
        let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid: &u32| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                line.starts_with(b"corten\0daemon\0") && namespace(&pid.to_string()) == own
            })
            .collect()
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        for pid in self.daemons() {
            signal(pid, "TERM");
        }
        let ended = wait_for(Duration::from_secs(20), || self.daemons().is_empty());
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten();
        for hierarchy in hierarchies.flatten() {
            // There is none where nothing was started.
            let _ = std::fs::remove_dir(hierarchy.path().join(&self.cgroup[1..]));
        }
        let _ = std::fs::remove_dir(PathBuf::from("/sys/fs/cgroup").join(&self.cgroup[1..]));
        assert!(
            ended || std::thread::panicking(),
            "a daemon that does not end"
        );
    }
}

const STARTED: &str = "corten: started the engine in the background";

#[test]
fn run_starts_a_daemon_and_says_so() {
    if !root() {
        return;
    }
    let fresh = Fresh::new("first", "");
    let corten = program();
    let hello = [corten.as_str(), "run", "--rm", "corten/hello"];
    let first = fresh.run(&hello);
    assert_eq!(first.code, 0, "{first:?}");
    assert!(first.out.contains("Hello from Corten!"), "{first:?}");
    assert!(first.err.starts_with(STARTED), "{first:?}");
    let second = fresh.run(&hello);
    assert_eq!((second.code, second.err.as_str()), (0, ""), "{second:?}");
    assert_eq!(first.out, second.out);
    assert_eq!(fresh.daemons().len(), 1);
    // A session of its own: the terminal's end is not its end.
    let daemon = fresh.daemons()[0];
    let stat = std::fs::read_to_string(format!("/proc/{daemon}/stat")).expect("daemon");
    let session = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.split(' ').nth(3));
    assert_eq!(session, Some(daemon.to_string().as_str()));
    let log = std::fs::read_to_string(fresh.seen("/run/corten/daemon.log")).expect("log");
    assert!(log.contains("API listens"), "{log}");
}

#[test]
fn two_at_once_start_one_daemon() {
    if !root() {
        return;
    }
    let fresh = Fresh::new("two", "");
    let corten = program();
    let start = || {
        let mut command = fresh.command(&[&corten, "run", "--rm", "corten/hello"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("nsenter")
    };
    let both = [start(), start()];
    let both = both.map(|child| Ran::from(child.wait_with_output().expect("corten")));
    for ran in &both {
        assert_eq!(ran.code, 0, "{both:?}");
        assert!(ran.out.contains("Hello from Corten!"), "{both:?}");
    }
    let told = both
        .iter()
        .filter(|ran| ran.err.starts_with(STARTED))
        .count();
    assert_eq!(told, 1, "{both:?}");
    assert_eq!(fresh.daemons().len(), 1);
}

#[test]
fn a_daemon_that_cannot_start_says_why() {
    if !root() {
        return;
    }
    let fresh = Fresh::new("cannot", r#","init-path":"/x""#);
    let ran = fresh.run(&[&program(), "run", "--rm", "corten/hello"]);
    assert_eq!(ran.code, 125, "{ran:?}");
    assert!(ran.err.contains("could not start the engine:"), "{ran:?}");
    assert!(
        ran.err.contains("init-path is not supported yet"),
        "{ran:?}"
    );
    assert!(fresh.daemons().is_empty());
}

#[test]
fn who_is_not_root_is_told() {
    if !root() {
        return;
    }
    let fresh = Fresh::new("user", "");
    let corten = program();
    let user = [
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        &corten,
    ];
    let ran = fresh.run(&[&user[..], &["ps"]].concat());
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(
        ran.err,
        "Cannot connect to the Docker daemon at unix:///run/corten/corten.sock. Is the docker \
         daemon running?\nOnly root can start one: run this command, or \"corten daemon\", as root.\n"
    );
    assert!(fresh.daemons().is_empty());
    // With one that is root's, it is the permission that is missing.
    assert_eq!(fresh.run(&[&corten, "ps"]).code, 0);
    let ran = fresh.run(&[&user[..], &["ps"]].concat());
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("permission denied"), "{ran:?}");
}
