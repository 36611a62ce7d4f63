//! `process`, and what else decides how it runs.

use std::os::fd::AsFd;

use oci::runtime::*;
use runtime::*;

use super::mounts::user;
use crate::support::bed::{Bed, Test, joining, plain, read_all, wait};
use crate::support::{linux, process, spec};

pub const TESTS: &[Test] = &[
    ("process_user", user_of_process),
    ("process_capabilities", capabilities),
    ("process_rlimits", rlimits),
    ("process_scheduling", scheduling),
    ("process_memory_policy", memory_policy),
    ("process_affinity_of_exec", affinity_of_exec),
    ("process_labels", labels),
    ("process_devices", devices),
    ("process_device_rules", device_rules),
];

fn run(bed: &Bed, spec: &mut Spec, script: &str) -> String {
    process(spec).args = ["sh", "-c", script].map(str::to_owned).to_vec();
    let (code, text) = bed.run(spec).unwrap();
    assert_eq!(code, 0, "{text}");
    text
}

fn user_of_process(bed: &Bed) {
    let mut s = spec(&[], true);
    let p = process(&mut s);
    p.user = User {
        uid: 33,
        gid: 34,
        umask: Some(0o027),
        additional_gids: vec![29, 5000],
    };
    p.cwd = "/tmp".into();
    p.env.push("X=a=b".into());
    let said = run(bed, &mut s, "id; umask; pwd; echo $X $HOME");
    assert_eq!(
        said,
        "uid=33(web) gid=34(www) groups=29(audio),5000\n0027\n/tmp\na=b /var/www\n"
    );
    process(&mut s).cwd = "relative".into();
    assert_eq!(bed.run(&s).unwrap_err().kind, Kind::Invalid);
}

fn capabilities(bed: &Bed) {
    let mut s = spec(&[], true);
    let p = process(&mut s);
    p.user.uid = 1000;
    let caps = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    p.capabilities = Some(Capabilities {
        bounding: caps(&["CAP_NET_BIND_SERVICE", "CAP_KILL"]),
        permitted: caps(&["CAP_NET_BIND_SERVICE", "CAP_KILL"]),
        effective: caps(&["CAP_KILL"]),
        inheritable: caps(&["CAP_NET_BIND_SERVICE"]),
        ambient: caps(&["CAP_NET_BIND_SERVICE"]),
    });
    let said = run(
        bed,
        &mut s,
        "busybox grep Cap /proc/self/status | busybox awk '{print $2}'",
    );
    // Of another user than root execve leaves what is ambient.
    let (bind, kill) = (1u64 << 10, 1u64 << 5);
    let want = [bind, bind, bind, bind | kill, bind].map(|c| format!("{c:016x}\n"));
    assert_eq!(said, want.concat());
    let sets = process(&mut s).capabilities.as_mut().unwrap();
    sets.ambient = caps(&["CAP_NO_SUCH"]);
    let error = bed.run(&s).unwrap_err();
    assert_eq!(
        error.message,
        "process.capabilities.ambient: unknown capability \"CAP_NO_SUCH\""
    );
    // As the specification wants it: taken out, and told.
    let told = grantable(&mut s);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(bed.run(&s).unwrap().0, 0);
}

fn rlimits(bed: &Bed) {
    let mut s = spec(&[], true);
    let limit = |kind: &str, soft, hard| Rlimit {
        kind: kind.into(),
        soft,
        hard,
    };
    process(&mut s).rlimits = vec![
        limit("RLIMIT_CORE", 0, 5),
        limit("RLIMIT_NOFILE", 77, 99),
        limit("RLIMIT_STACK", 1 << 20, u64::MAX),
    ];
    let said = run(
        bed,
        &mut s,
        "busybox grep -E 'core|open files|stack' /proc/self/limits | busybox tr -s ' '",
    );
    let want = "Max stack size 1048576 unlimited bytes \nMax core file size 0 5 bytes \n\
                Max open files 77 99 files \n";
    assert_eq!(said, want);
    process(&mut s).rlimits.push(limit("RLIMIT_CORE", 0, 0));
    let error = bed.run(&s).unwrap_err();
    assert_eq!(
        error.message,
        "process.rlimits[3].type: \"RLIMIT_CORE\" is given twice"
    );
}

fn scheduling(bed: &Bed) {
    let mut s = spec(&[], true);
    let p = process(&mut s);
    p.scheduler = Some(Scheduler {
        policy: "SCHED_BATCH".into(),
        nice: 7,
        flags: vec!["SCHED_FLAG_RESET_ON_FORK".into()],
        ..Default::default()
    });
    p.io_priority = Some(IoPriority {
        class: "IOPRIO_CLASS_BE".into(),
        priority: 6,
    });
    // Field 41 of stat is the policy, 19 the nice value.
    let said = run(
        bed,
        &mut s,
        "busybox cut -d' ' -f19,41 /proc/1/stat; busybox ionice -p 1",
    );
    assert_eq!(said, "7 3\nbest-effort: prio 6\n");
    process(&mut s).scheduler.as_mut().unwrap().nice = 40;
    let error = bed.run(&s).unwrap_err();
    assert!(
        error.message.starts_with("process.scheduler.nice: 40"),
        "{error}"
    );
}

fn memory_policy(bed: &Bed) {
    let mut s = spec(&[], true);
    linux(&mut s).memory_policy = Some(MemoryPolicy {
        mode: "MPOL_BIND".into(),
        nodes: "0".into(),
        flags: vec!["MPOL_F_STATIC_NODES".into()],
    });
    if std::path::Path::new("/proc/self/numa_maps").exists() {
        let said = run(bed, &mut s, "busybox head -1 /proc/self/numa_maps");
        assert!(said.contains(" bind=static:0 "), "{said}");
    }
    linux(&mut s).memory_policy = Some(MemoryPolicy {
        mode: "MPOL_BIND".into(),
        nodes: "63".into(),
        ..Default::default()
    });
    let error = bed.run(&s).unwrap_err();
    assert!(
        error
            .message
            .starts_with("linux.memoryPolicy: set_mempolicy MPOL_BIND"),
        "{error}"
    );
}

fn affinity_of_exec(bed: &Bed) {
    let before = sys::process::affinity().unwrap();
    let s = spec(&["sleep", "600"], true);
    let cgroup = bed.cgroup();
    let rootfs = bed.lab.rootfs();
    let null = crate::support::bed::null();
    let started = launch(&plain(&s, &rootfs, &cgroup, [null.as_fd(); 3])).unwrap();
    let mut process = s.process.clone().unwrap();
    process.args = ["busybox", "grep", "Cpus_allowed_list", "/proc/self/status"]
        .map(str::to_owned)
        .to_vec();
    let mut allowed = |initial: &str, last: &str| {
        process.exec_cpu_affinity = Some(ExecCpuAffinity {
            initial: initial.into(),
            last: last.into(),
        });
        let (r, w) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let done = exec(&joining(
            started.pidfd.as_fd(),
            &process,
            &cgroup,
            [null.as_fd(), w.as_fd(), w.as_fd()],
        ));
        drop(w);
        done.map(|p| {
            let text = read_all(r);
            wait(p.pidfd.as_fd());
            text.split_whitespace()
                .last()
                .unwrap_or_default()
                .to_owned()
        })
    };
    assert_eq!(allowed("", "0").unwrap(), "0");
    assert_eq!(allowed("0", "0").unwrap(), "0");
    assert_ne!(allowed("0", "").unwrap(), "", "what the cgroup allows");
    let error = allowed("", "4000").unwrap_err();
    assert!(
        error.message.starts_with("process.execCPUAffinity.final: "),
        "{error}"
    );
    let error = allowed("x", "").unwrap_err();
    assert!(
        error
            .message
            .starts_with("process.execCPUAffinity.initial: "),
        "{error}"
    );
    assert_eq!(sys::process::affinity().unwrap(), before);
    sys::process::pidfd_signal(started.pidfd.as_fd(), 9).unwrap();
    wait(started.pidfd.as_fd());
    cgroup.remove().unwrap();
}

fn labels(bed: &Bed) {
    let mut s = spec(&["true"], true);
    process(&mut s).apparmor_profile = "corten-default".into();
    if !std::path::Path::new("/sys/module/apparmor").exists() {
        let error = bed.run(&s).unwrap_err();
        assert_eq!(error.kind, Kind::Unsupported);
        assert!(
            error.message.starts_with("process.apparmorProfile: "),
            "{error}"
        );
        assert!(
            error
                .message
                .ends_with("AppArmor is not enabled on this machine"),
            "{error}"
        );
    }
    let mut s = spec(&["true"], true);
    process(&mut s).selinux_label = "system_u:system_r:container_t:s0".into();
    let error = bed.run(&s).unwrap_err();
    assert_eq!(
        error.message,
        "process.selinuxLabel: SELinux is disabled or not supported on this machine"
    );
    let mut s = spec(&["true"], true);
    linux(&mut s).intel_rdt = Some(IntelRdt::default());
    let error = bed.run(&s).unwrap_err();
    assert_eq!(
        error.message,
        "linux.intelRdt: no resctrl file system is mounted"
    );
}

fn devices(bed: &Bed) {
    let device = |kind: &str, path: &str, major, minor| Device {
        kind: kind.into(),
        path: path.into(),
        major,
        minor,
        file_mode: Some(0o640),
        uid: Some(33),
        gid: Some(34),
    };
    let mut s = spec(&[], true);
    linux(&mut s).devices = vec![
        device("c", "/dev/fuse", 10, 229),
        device("b", "/srv/block", 7, 3),
        device("p", "/dev/queue", 0, 0),
        device("u", "/dev/raw", 1, 5),
        device("c", "/dev/null", 1, 3),
        device("c", "/dev/ptmx", 5, 2),
    ];
    let said = run(
        bed,
        &mut s,
        "busybox stat -c '%F %t:%T %a %u:%g' /dev/fuse /srv/block /dev/queue /dev/raw /dev/null; busybox readlink /dev/ptmx",
    );
    let want = "character special file a:e5 640 33:34\nblock special file 7:3 640 33:34\n\
                fifo 0:0 640 33:34\ncharacter special file 1:5 640 33:34\n\
                character special file 1:3 640 33:34\npts/ptmx\n";
    assert_eq!(said, want);
    // In a user namespace: pipes are made, devices are the host's own.
    let mut s = spec(&[], true);
    user(&mut s);
    linux(&mut s).devices = vec![
        device("p", "/dev/queue", 0, 0),
        device("c", "/dev/other", 1, 5),
    ];
    linux(&mut s).devices[0].uid = None;
    linux(&mut s).devices[0].gid = None;
    if std::path::Path::new("/dev/char/1:5").exists() {
        let said = run(
            bed,
            &mut s,
            "busybox stat -c '%F %t:%T' /dev/queue /dev/other /dev/zero",
        );
        let zero = "character special file 1:5\n";
        assert_eq!(said, format!("fifo 0:0\n{zero}{zero}"));
    }
    // Something else in its place.
    let mut s = spec(&["true"], true);
    linux(&mut s).devices = vec![device("c", "/etc/passwd", 1, 5)];
    assert_eq!(
        bed.run(&s).unwrap_err().message,
        "linux.devices[0]: \"/etc/passwd\" exists in the container and is not the device"
    );
}

fn device_rules(bed: &Bed) {
    let mut s = spec(&["true"], true);
    let rule = |allow, access: &str| DeviceRule {
        allow,
        access: access.into(),
        ..Default::default()
    };
    let mut full = rule(true, "rw");
    (full.kind, full.major, full.minor) = ("c".into(), Some(1), Some(7));
    let mut null = rule(true, "rwm");
    (null.kind, null.major, null.minor) = ("c".into(), Some(1), Some(3));
    linux(&mut s).resources = Some(Resources {
        devices: vec![rule(false, "rwm"), full, null],
        ..Default::default()
    });
    let cgroup = bed.cgroup();
    cgroup
        .apply(&limits(linux(&mut s).resources.as_ref().unwrap()))
        .unwrap();
    // The runtime's own nodes are made under these rules too: what may not be made is bound.
    let script = "busybox head -c1 /dev/full | busybox wc -c; \
                  cat /dev/zero || echo denied; busybox mknod /tmp/n c 1 5 || echo denied";
    process(&mut s).args = ["sh", "-c", script].map(str::to_owned).to_vec();
    linux(&mut s).resources = None;
    let said = bed.run_in(&s, &cgroup);
    cgroup.remove().unwrap();
    let (_, text) = said.unwrap();
    assert!(text.starts_with("1\n"), "{text}");
    assert_eq!(text.matches("denied\n").count(), 2, "{text}");
}
