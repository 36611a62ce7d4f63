//! Median times of create .. exit for a trivial program, to be read beside a bare clone3 + mount
//! + exec program: `cargo run --release -p runtime --example floor -- [runs] [phases|exec]`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "an example"
)]
#![allow(unreachable_pub, dead_code, reason = "shared with the test")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::os::fd::AsFd;
use std::time::Instant;

use runtime::*;
use rustix::process::{WaitId, WaitIdOptions};

fn main() {
    let mut args = std::env::args().skip(1);
    let runs: usize = args.next().and_then(|n| n.parse().ok()).unwrap_or(200);
    let net = args.next().is_some_and(|a| a == "net");
    let Some(lab) = support::Lab::new() else {
        return;
    };
    let layout = cgroup::Layout::detect().unwrap();
    let parent = format!("corten-test-{}", std::process::id());
    let mut spec = support::spec(&["/bin/true"], net);
    let host = profile::Host {
        architecture: "amd64",
        kernel: (6, 1),
    };
    let caps = spec
        .process
        .as_ref()
        .unwrap()
        .capabilities
        .as_ref()
        .unwrap()
        .bounding
        .clone();
    let t = Instant::now();
    let filter = Filter::compile(&profile::default_seccomp(host, &caps)).unwrap();
    println!(
        "seccomp: {} instructions in {:?}",
        filter.program.len(),
        t.elapsed()
    );
    support::linux(&mut spec).resources = Some(oci::runtime::Resources {
        devices: profile::device_rules(),
        ..Default::default()
    });
    let limits = limits(spec.linux.as_ref().unwrap().resources.as_ref().unwrap());
    let null = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDWR,
        rustix::fs::Mode::empty(),
    )
    .unwrap();
    let names = [
        "overlay",
        "cgroup mkdir",
        "cgroup limits",
        "launch",
        "exit",
        "cgroup rmdir",
        "namespaces closed",
        "TOTAL but the last",
    ];
    let mut columns = vec![Vec::with_capacity(runs); names.len()];
    for n in 0..runs {
        let mut at = vec![Instant::now()];
        let rootfs = lab.rootfs();
        at.push(Instant::now());
        let cgroup = cgroup::Cgroup::create(&layout, &format!("{parent}/c{n}")).unwrap();
        at.push(Instant::now());
        cgroup.apply(&limits).unwrap();
        at.push(Instant::now());
        let started = launch(&Build {
            spec: &spec,
            rootfs: Rootfs::Mount(rootfs.as_fd()),
            netns: None,
            identity: None,
            create_cwd: true,
            init: None,
            stdio: Stdio::Fds([null.as_fd(); 3]),
            cgroup: Some(&cgroup),
            seccomp: Some(&filter),
            extras: Extras::default(),
        })
        .unwrap();
        at.push(Instant::now());
        let pidfd = WaitId::PidFd(started.pidfd.as_fd());
        let status = rustix::process::waitid(pidfd, WaitIdOptions::EXITED)
            .unwrap()
            .unwrap();
        assert_eq!(status.exit_status(), Some(0));
        at.push(Instant::now());
        cgroup.remove().unwrap();
        at.push(Instant::now());
        drop((started, rootfs));
        at.push(Instant::now());
        for (column, pair) in columns.iter_mut().zip(at.windows(2)) {
            column.push(pair[1] - pair[0]);
        }
        columns.last_mut().unwrap().push(at[at.len() - 2] - at[0]);
    }
    for (name, column) in names.iter().zip(&mut columns) {
        column.sort_unstable();
        let at = |part: usize| column[column.len() * part / 10];
        println!(
            "{name:20} median {:>9.1?}  p10 {:>9.1?}  p90 {:>9.1?}",
            at(5),
            at(1),
            at(9)
        );
    }
    if let Ok(Some(parent)) = cgroup::Cgroup::open(&layout, &parent) {
        parent.remove().unwrap();
    }
}
