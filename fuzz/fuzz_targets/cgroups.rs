//! What the kernel tells of cgroups: the mount table, and the files of one.
#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use cgroup::{Cgroup, Hierarchy, Layout};
use libfuzzer_sys::fuzz_target;

const FILES: [&str; 24] = [
    "memory.stat",
    "memory.current",
    "memory.max",
    "memory.peak",
    "memory.swap.current",
    "memory.events",
    "memory.usage_in_bytes",
    "memory.limit_in_bytes",
    "memory.max_usage_in_bytes",
    "memory.failcnt",
    "cpu.stat",
    "cpuacct.usage",
    "cpuacct.usage_percpu",
    "cpuacct.stat",
    "blkio.throttle.io_service_bytes",
    "blkio.throttle.io_serviced",
    "blkio.bfq.io_service_bytes_recursive",
    "io.stat",
    "io.pressure",
    "pids.current",
    "pids.max",
    "cpuset.cpus",
    "cgroup.procs",
    "cgroup.events",
];

fn dir() -> &'static PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = std::env::temp_dir().join(format!("fuzz-cgroup-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("group")).expect("a directory");
        dir
    })
}

fuzz_target!(|data: (bool, u8, &[u8])| {
    let (v2, which, bytes) = data;
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(layout) = Layout::parse(text)
    {
        assert!(!layout.hierarchies.is_empty());
        assert!(layout.controllers().all(|c| !c.starts_with("name=")));
    }
    let file = dir()
        .join("group")
        .join(FILES[usize::from(which) % FILES.len()]);
    std::fs::write(&file, bytes).expect("write");
    let all = "cpu cpuacct cpuset memory blkio pids io hugetlb rdma freezer devices";
    let layout = Layout {
        version: if v2 { 2 } else { 1 },
        hierarchies: vec![Hierarchy {
            mountpoint: dir().clone(),
            controllers: all.split(' ').map(str::to_owned).collect(),
        }],
    };
    if let Ok(Some(group)) = Cgroup::open(&layout, "group") {
        let _ = group.stats();
        let _ = group.procs();
    }
    std::fs::remove_file(&file).expect("remove");
});
