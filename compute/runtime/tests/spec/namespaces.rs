//! `linux.namespaces`, mappings, `timeOffsets`, `netDevices`, `sysctl`, names.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use netlink::route::{Requests, Route, Veth};
use oci::runtime::*;
use runtime::*;

use super::mounts::{map, user};
use crate::support::bed::{Bed, Test, plain};
use crate::support::{linux, process, spec};

pub const TESTS: &[Test] = &[
    ("namespaces_join_all", join_all),
    ("namespaces_join_mount", join_mount),
    ("namespaces_join_user", join_user),
    ("namespaces_races_of_paths", races_of_paths),
    ("namespaces_mistakes", mistakes),
    ("namespaces_time", time),
    ("namespaces_user_maps", user_maps),
    ("namespaces_without_privilege", without_privilege),
    ("namespaces_names", names),
    ("namespaces_sysctl", sysctl),
    // Last: it leaves the machine's network namespace.
    ("namespaces_net_devices", net_devices),
];

const FILES: [(&str, &str); 8] = [
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("mount", "mnt"),
    ("uts", "uts"),
    ("user", "user"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

fn args(spec: &mut Spec, script: &str) {
    process(spec).args = ["sh", "-c", script].map(str::to_owned).to_vec();
}

/// Runs `body` beside a container that sleeps.
fn beside(bed: &Bed, spec: &Spec, owner: u32, body: impl FnOnce(&Started)) {
    let cgroup = bed.cgroup();
    let rootfs = bed.lab.rootfs_of(owner);
    let null = crate::support::bed::null();
    let started = launch(&plain(spec, &rootfs, &cgroup, [null.as_fd(); 3])).unwrap();
    body(&started);
    sys::process::pidfd_signal(started.pidfd.as_fd(), 9).unwrap();
    crate::support::bed::wait(started.pidfd.as_fd());
    cgroup.remove().unwrap();
}

fn sleeper() -> Spec {
    let mut s = spec(&["sleep", "600"], true);
    linux(&mut s).namespaces.push(Namespace {
        kind: "time".into(),
        path: String::new(),
    });
    s
}

fn join(spec: &mut Spec, kinds: &[&str], pid: u32) {
    for (kind, file) in FILES.iter().filter(|(kind, _)| kinds.contains(kind)) {
        let list = &mut linux(spec).namespaces;
        list.retain(|n| n.kind != *kind);
        list.push(Namespace {
            kind: (*kind).into(),
            path: format!("/proc/{pid}/ns/{file}"),
        });
    }
}

/// What the namespaces of the container look like from outside.
fn links(pid: u32) -> BTreeMap<&'static str, String> {
    let link = |file: &str| std::fs::read_link(format!("/proc/{pid}/ns/{file}")).unwrap();
    FILES
        .iter()
        .map(|(_, file)| (*file, link(file).to_string_lossy().into_owned()))
        .collect()
}

fn join_all(bed: &Bed) {
    beside(bed, &sleeper(), 0, |first| {
        let (own, want) = (links(std::process::id()), links(first.pid));
        let kinds = ["pid", "network", "ipc", "uts", "cgroup", "time"];
        let mut s = spec(&[], true);
        s.hostname.clear();
        join(&mut s, &kinds, first.pid);
        args(
            &mut s,
            "for n in pid net ipc uts cgroup time mnt; do busybox readlink /proc/self/ns/$n; done; hostname",
        );
        let (code, said) = bed.run(&s).unwrap();
        assert_eq!(code, 0, "{said}");
        let lines: Vec<&str> = said.lines().collect();
        for (n, file) in ["pid", "net", "ipc", "uts", "cgroup", "time"]
            .iter()
            .enumerate()
        {
            assert_eq!(lines[n], want[file], "{file}");
        }
        assert_ne!(lines[6], want["mnt"]);
        assert_eq!(lines[7], "lab");
        assert_eq!(
            own,
            links(std::process::id()),
            "the caller stays where it is"
        );
    });
}

/// A mount namespace that somebody has prepared: the root is built inside it.
fn join_mount(bed: &Bed) {
    let flags = sys::process::CloneArgs {
        flags: libc::CLONE_NEWNS as u64,
        cgroup: None,
    };
    let (wait, hold) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let (pid, pidfd) = match sys::process::clone3(&flags).unwrap() {
        sys::process::Cloned::Child => {
            drop(hold);
            let _ = rustix::io::read(&wait, &mut [0u8]);
            sys::process::exit_now(0)
        }
        sys::process::Cloned::Parent { pid, pidfd } => (pid.as_raw_pid().unsigned_abs(), pidfd),
    };
    let own = links(std::process::id());
    let want = links(pid)["mnt"].clone();
    let mut s = spec(&[], true);
    join(&mut s, &["mount"], pid);
    args(
        &mut s,
        "busybox readlink /proc/self/ns/mnt; busybox head -1 /proc/self/mounts",
    );
    let (code, said) = bed.run(&s).unwrap();
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with(&format!("{want}\noverlay / ")), "{said}");
    assert_eq!(own, links(std::process::id()));
    drop(hold);
    crate::support::bed::wait(pidfd.as_fd());
}

fn join_user(bed: &Bed) {
    let mut first = sleeper();
    user(&mut first);
    beside(bed, &first, 100_000, |first| {
        let kinds = ["user", "network", "ipc", "uts", "pid"];
        let mut s = spec(&[], true);
        user(&mut s);
        s.hostname.clear();
        join(&mut s, &kinds, first.pid);
        args(
            &mut s,
            "busybox readlink /proc/self/ns/user; id -u; echo x > /dev/null && cat /proc/self/uid_map",
        );
        // Mappings beside the path say what is so.
        let run = |s: &Spec| {
            let rootfs = bed.lab.rootfs_of(100_000);
            bed.launch_in(s, Rootfs::Mount(rootfs.as_fd()), None, None, None)
        };
        let (code, said) = run(&s).unwrap();
        assert_eq!(code, 0, "{said}");
        let want = links(first.pid);
        assert_eq!(
            said,
            format!("{}\n0\n         0     100000      65536\n", want["user"])
        );
        linux(&mut s).uid_mappings = map(0, 5, 7);
        let error = run(&s).unwrap_err();
        assert!(error.message.starts_with("linux.uidMappings: "), "{error}");
        // None at all is the ordinary form.
        linux(&mut s).uid_mappings.clear();
        linux(&mut s).gid_mappings.clear();
        assert_eq!(run(&s).unwrap().0, 0);
        // A namespace that belongs to somebody else than the user namespace: joined with the
        // caller's rights, and out of reach of the container's.
        let mut other = s.clone();
        other.mounts.retain(|m| m.kind != "sysfs");
        join(&mut other, &["network"], std::process::id());
        args(
            &mut other,
            "busybox readlink /proc/self/ns/net; busybox ip link set lo down || echo denied",
        );
        let (_, said) = run(&other).unwrap();
        let own = links(std::process::id());
        assert!(
            said.starts_with(&own["net"]) && said.ends_with("denied\n"),
            "{said}"
        );
        // The same beside a new user namespace.
        let mut other = spec(&[], true);
        user(&mut other);
        other.mounts.retain(|m| m.kind != "sysfs");
        join(&mut other, &["network"], std::process::id());
        args(
            &mut other,
            "busybox readlink /proc/self/ns/net; busybox ip link set lo down || echo denied",
        );
        let (_, said) = run(&other).unwrap();
        assert!(
            said.starts_with(&own["net"]) && said.ends_with("denied\n"),
            "{said}"
        );
    });
}

/// Somebody exchanges what a namespace's path leads to, as when its process has ended and another
/// one has its number: what has been looked at is joined, or nothing.
fn races_of_paths(bed: &Bed) {
    beside(bed, &sleeper(), 0, |started| {
        let dir = bed.lab.dir.join("raced-namespaces");
        std::fs::create_dir(&dir).unwrap();
        let wanted = links(started.pid)["net"].clone();
        let to = |name: &str, target: &str| {
            std::os::unix::fs::symlink(target, dir.join(name)).unwrap();
        };
        to("ns", &format!("/proc/{}/ns/net", started.pid));
        to("spare", "/proc/self/ns/uts");
        let racer = super::escapes::exchanging(&dir, "ns", "spare");
        let mut s = spec(&["busybox", "readlink", "/proc/self/ns/net"], false);
        linux(&mut s).namespaces.push(Namespace {
            kind: "network".into(),
            path: dir.join("ns").to_str().unwrap().into(),
        });
        let mut refused = 0;
        for _ in 0..60 {
            match bed.run(&s) {
                Ok((code, said)) => assert_eq!((code, said.trim()), (0, wanted.as_str())),
                Err(error) => {
                    let words = "is not a namespace of type network";
                    assert!(error.message.contains(words), "{error}");
                    refused += 1;
                }
            }
        }
        sys::process::pidfd_signal(racer.as_fd(), 9).unwrap();
        crate::support::bed::wait(racer.as_fd());
        assert!(refused > 0, "the race was never met");
    });
}

fn mistakes(bed: &Bed) {
    let refused = |kind: &str, path: &str| {
        let mut s = spec(&["true"], true);
        s.hostname.clear();
        let list = &mut linux(&mut s).namespaces;
        list.retain(|n| n.kind != kind);
        list.insert(
            0,
            Namespace {
                kind: kind.into(),
                path: path.into(),
            },
        );
        bed.run(&s).unwrap_err().message
    };
    let key = "linux.namespaces[0].path: ";
    assert_eq!(
        refused("network", "/proc/self/ns/uts"),
        format!("{key}\"/proc/self/ns/uts\" is not a namespace of type network")
    );
    assert_eq!(
        refused("uts", "/etc/passwd"),
        format!("{key}\"/etc/passwd\" is not a namespace of type uts")
    );
    assert!(refused("ipc", "/no/such").ends_with("no such file or directory"));
    // The process that it was of is gone; its number may be another's by now.
    let gone = {
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        pid
    };
    let said = refused("network", &format!("/proc/{gone}/ns/net"));
    assert!(said.ends_with("no such file or directory"), "{said}");
    let pipe = bed.lab.dir.join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let said = refused("uts", pipe.to_str().unwrap());
    assert!(said.ends_with("is not a namespace of type uts"), "{said}");
    let mut s = spec(&["true"], true);
    linux(&mut s).namespaces.retain(|n| n.kind != "mount");
    assert_eq!(bed.run(&s).unwrap_err().kind, Kind::Invalid);
    let mut s = spec(&["true"], true);
    linux(&mut s).uid_mappings = map(0, 1, 1);
    assert_eq!(bed.run(&s).unwrap_err().kind, Kind::Invalid);
}

fn time(bed: &Bed) {
    let own = std::fs::read_link("/proc/self/ns/time_for_children").unwrap();
    for in_userns in [false, true] {
        let mut s = spec(&[], true);
        if in_userns {
            user(&mut s);
        }
        linux(&mut s).namespaces.push(Namespace {
            kind: "time".into(),
            path: String::new(),
        });
        let offset = |secs| TimeOffset { secs, nanosecs: 5 };
        linux(&mut s).time_offsets = [
            ("boottime".to_owned(), offset(40_000_000)),
            ("monotonic".to_owned(), offset(3)),
        ]
        .into();
        args(
            &mut s,
            "busybox cut -d. -f1 /proc/uptime; cat /proc/self/timens_offsets",
        );
        let (code, said) = bed.run(&s).unwrap();
        assert_eq!(code, 0, "{said}");
        let uptime: u64 = said.lines().next().unwrap().parse().unwrap();
        assert!(uptime > 40_000_000, "{said}");
        assert!(said.contains("monotonic           3         5"), "{said}");
    }
    assert_eq!(
        std::fs::read_link("/proc/self/ns/time_for_children").unwrap(),
        own
    );
    let mut s = spec(&["true"], true);
    linux(&mut s).time_offsets = [("boottime".to_owned(), TimeOffset::default())].into();
    let error = bed.run(&s).unwrap_err();
    assert!(error.message.starts_with("linux.timeOffsets: "), "{error}");
}

fn user_maps(bed: &Bed) {
    let mut s = spec(&[], true);
    user(&mut s);
    let mut many = map(0, 100_000, 1000);
    many.extend(map(1000, 0, 1));
    many.extend(map(1001, 200_000, 10));
    linux(&mut s).uid_mappings = many.clone();
    linux(&mut s).gid_mappings = many;
    process(&mut s).oom_score_adj = Some(300);
    args(
        &mut s,
        "cat /proc/self/gid_map /proc/self/oom_score_adj; id -u",
    );
    let (code, said) = bed.run(&s).unwrap();
    assert_eq!(code, 0, "{said}");
    let rows: Vec<String> = said
        .lines()
        .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        rows,
        ["0 100000 1000", "1000 0 1", "1001 200000 10", "300", "0"]
    );
}

/// As an ordinary user: its own id is all it can map.
fn without_privilege(bed: &Bed) {
    let dir = bed.bundle();
    let root = dir.join("rootfs");
    let own = 4321;
    std::os::unix::fs::chown(&root, Some(own), Some(own)).unwrap();
    for sub in ["bin", "etc", "tmp", ""] {
        std::os::unix::fs::chown(root.join(sub), Some(own), Some(own)).unwrap();
    }
    let mut s = spec(&[], true);
    user(&mut s);
    s.mounts.retain(|m| m.kind != "sysfs" && m.kind != "mqueue");
    s.mounts
        .iter_mut()
        .for_each(|m| m.options.retain(|o| !o.starts_with("gid=")));
    linux(&mut s).uid_mappings = map(0, own, 1);
    linux(&mut s).gid_mappings = map(0, own, 1);
    args(
        &mut s,
        "id -u; cat /proc/self/uid_map; cat /proc/self/setgroups",
    );
    let (r, w) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let args = sys::process::CloneArgs::default();
    match sys::process::clone3(&args).unwrap() {
        sys::process::Cloned::Child => {
            let (uid, gid) = (
                rustix::fs::Uid::from_raw(own),
                rustix::fs::Gid::from_raw(own),
            );
            sys::process::set_groups(&[]).unwrap();
            rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            // As a program that this user runs: its /proc files are its own.
            rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)
                .unwrap();
            let said = bed.launch_in(&s, Rootfs::Path(&root), None, None, None);
            let _ = rustix::io::write(&w, format!("{said:?}").as_bytes());
            linux(&mut s).uid_mappings = map(0, 100_000, 65_536);
            let said = bed.launch_in(&s, Rootfs::Path(&root), None, None, None);
            let _ = rustix::io::write(&w, format!("\n{said:?}").as_bytes());
            sys::process::exit_now(0)
        }
        sys::process::Cloned::Parent { pidfd, .. } => {
            drop(w);
            let said = crate::support::bed::read_all(r);
            crate::support::bed::wait(pidfd.as_fd());
            let (first, second) = said.split_once('\n').unwrap();
            assert_eq!(
                first,
                "Ok((0, \"0\\n         0       4321          1\\ndeny\\n\"))"
            );
            assert!(
                second.contains("linux.uidMappings: ") && second.contains("newuidmap"),
                "{second}"
            );
        }
    }
}

fn names(bed: &Bed) {
    let mut s = spec(&[], true);
    s.hostname = "inside".into();
    s.domainname = "example".into();
    linux(&mut s).personality = Some(Personality {
        domain: "LINUX32".into(),
        ..Default::default()
    });
    args(
        &mut s,
        "hostname; cat /proc/sys/kernel/domainname; busybox uname -m",
    );
    assert_eq!(bed.run(&s).unwrap(), (0, "inside\nexample\ni686\n".into()));
    linux(&mut s).namespaces.retain(|n| n.kind != "uts");
    s.hostname.clear();
    let error = bed.run(&s).unwrap_err();
    assert_eq!(
        error.message,
        "unable to set domainname without a private UTS namespace"
    );
}

fn sysctl(bed: &Bed) {
    let mut s = spec(&[], true);
    let set = |s: &mut Spec, key: &str, value: &str| {
        linux(s).sysctl.insert(key.into(), value.into());
    };
    set(&mut s, "kernel.shm_rmid_forced", "1");
    set(&mut s, "fs/mqueue/msg_max", "7");
    set(&mut s, "net.ipv4.conf.lo.forwarding", "1");
    args(
        &mut s,
        "cat /proc/sys/kernel/shm_rmid_forced /proc/sys/fs/mqueue/msg_max /proc/sys/net/ipv4/conf/lo/forwarding",
    );
    assert_eq!(bed.run(&s).unwrap(), (0, "1\n7\n1\n".into()));
    // Not the host's, and not where there is no procfs to be trusted.
    let refused = |key: &str| {
        let mut s = spec(&["true"], true);
        set(&mut s, key, "1");
        bed.run(&s).unwrap_err().message
    };
    assert!(refused("kernel.hostname").contains("conflicts with the OCI field hostname"));
    assert!(refused("vm.swappiness").starts_with("linux.sysctl: \"vm.swappiness\""));
    assert!(refused("net.no.such").contains("no such file or directory"));
    let mut s = spec(&["true"], false);
    set(&mut s, "net.ipv4.ip_forward", "1");
    assert!(
        bed.run(&s)
            .unwrap_err()
            .message
            .contains("not allowed in the host's namespace")
    );
}

fn net_devices(bed: &Bed) {
    sys::network::unshare_network().unwrap();
    let here = std::fs::File::open("/proc/self/ns/net").unwrap();
    let mut route = Route::open().unwrap();
    let device = |route: &mut Route, name: &str| {
        let mut requests = Requests::new();
        requests.add_veth(&Veth {
            name,
            master: 0,
            mtu: 1400,
            peer_name: &format!("{name}p"),
            peer_mac: [2, 0, 0, 0, 0, 9],
            peer_netns: here.as_fd(),
        });
        route.run(&mut requests).unwrap();
        let index = route.link(name).unwrap().unwrap().index;
        let mut requests = Requests::new();
        requests.add_address(index, "10.77.0.5".parse().unwrap(), 24, false);
        requests.add_address(index, "fd77::5".parse().unwrap(), 64, false);
        requests.set_up(index, true);
        route.run(&mut requests).unwrap();
    };
    device(&mut route, "spec0");
    let run = |host: &str, name: &str, in_userns: bool| {
        let mut s = spec(&[], true);
        if in_userns {
            user(&mut s);
        }
        let device = NetDevice { name: name.into() };
        linux(&mut s).net_devices = [(host.to_owned(), device)].into();
        args(
            &mut s,
            "busybox ip -o addr | busybox grep -v ' lo ' | busybox awk '{print $2,$4}'; busybox ip -o link | busybox grep -c ',UP.*mtu 1400'",
        );
        bed.run(&s)
    };
    let (code, said) = run("spec0", "inner", false).unwrap();
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("inner 10.77.0.5/24\ninner fd77::5/64\n"),
        "{said}"
    );
    assert!(said.ends_with("\n1\n"), "{said}");
    assert!(route.link("spec0").unwrap().is_none());
    // A template, and a namespace that belongs to a user namespace.
    device(&mut route, "spec1");
    let (code, said) = run("spec1", "data%d", true).unwrap();
    assert!(code == 0 && said.contains("data0 10.77.0.5/24\n"), "{said}");
    let message = |host: &str, name: &str| run(host, name, false).unwrap_err().message;
    assert_eq!(
        message("nosuch", ""),
        "linux.netDevices.nosuch: there is no such network device"
    );
    device(&mut route, "spec2");
    assert_eq!(
        message("spec2", "lo"),
        "linux.netDevices.spec2: the container has a network device \"lo\" already"
    );
    assert!(route.link("spec2").unwrap().unwrap().up, "left as it was");
    assert!(message("spec2", "a/b").starts_with("linux.netDevices.spec2.name: "));
    let mut s = spec(&["true"], false);
    linux(&mut s).net_devices = [("spec2".to_owned(), NetDevice::default())].into();
    assert!(
        bed.run(&s)
            .unwrap_err()
            .message
            .starts_with("linux.netDevices: ")
    );
}
