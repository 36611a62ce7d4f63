//! Real containers from a busybox root, as root, one thread: `cargo test -p runtime`.
//!
//! Not under libtest: the runtime clones its caller, which must have one thread.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a test"
)]
#![allow(unreachable_pub, reason = "shared with the example")]

mod support;

use std::os::fd::AsFd;

use oci::runtime::*;
use runtime::*;
use support::bed::{Bed, joining, null, plain, read_all, wait};
use support::{linux, process, spec};

fn main() {
    let Some(bed) = Bed::new() else { return };
    let tests: &[Test] = &[
        ("output_and_status", output_and_status),
        ("root_is_built", root_is_built),
        ("identity", identity),
        ("errors", errors),
        ("create_then_start", create_then_start),
        ("exec_joins", exec_joins),
        ("terminal", terminal),
        ("binds", binds),
        ("user_namespace", user_namespace),
        ("network_namespace_and_sysctl", network_namespace_and_sysctl),
        ("limits_and_credentials", limits_and_credentials),
        ("devices_and_readonly", devices_and_readonly),
        ("seccomp_filter", seccomp_filter),
        ("refused", refused),
    ];
    bed.run_all(tests);
}

type Test = support::bed::Test;

fn output_and_status(bed: &Bed) {
    assert_eq!(bed.sh("echo hi; exit 7"), (7, "hi\n".into()));
    assert_eq!(bed.sh("kill -9 $$; sleep 1").0 & 0x7f, 0); // pid 1 ignores its own SIGKILL
    let (_, pid) = bed
        .sh("echo $$; hostname; cat /proc/self/status | busybox grep -c SigBlk:.0000000000000000");
    assert_eq!(pid, "1\nlab\n1\n");
}

fn root_is_built(bed: &Bed) {
    let (code, text) = bed.sh("ls -l /dev | busybox awk '{print $1,$NF}' | busybox sort; \
         cat /proc/mounts | busybox awk '{print $2,$3}'; \
         echo x > /proc/sys/kernel/hostname || echo ro; \
         busybox wc -c < /proc/keys; ls /proc/acpi /sys/firmware; ls -d /..//etc; \
         ls /sys/fs/cgroup; cat /proc/self/cgroup");
    assert_eq!(code, 0, "{text}");
    for want in [
        "crw-rw-rw- null",
        "crw-rw-rw- tty",
        "lrwxrwxrwx pts/ptmx",
        "/ overlay",
        "/dev/mqueue mqueue",
        "/dev/shm tmpfs",
        "/sys sysfs",
        "\nro\n0\n",
        "/proc/keys tmpfs",
    ] {
        assert!(text.contains(want), "{want} not in {text}");
    }
    assert!(!text.contains("corten-test"), "cgroup namespace: {text}");
    // Nothing of the host is there: the first mount is the root itself.
    let mounts: Vec<&str> = text.lines().filter(|l| l.starts_with("/ ")).collect();
    assert_eq!(mounts, ["/ overlay"], "{text}");
}

fn identity(bed: &Bed) {
    let script = spec(&["sh", "-c", "id; echo $HOME; umask"], true);
    let (_, text) = bed.run_as(&script, Some("web")).unwrap();
    assert_eq!(
        text,
        "uid=33(web) gid=34(www) groups=29(audio),34(www)\n/var/www\n0022\n"
    );
    let (_, text) = bed.run_as(&script, Some("1000:2000")).unwrap();
    assert_eq!(text, "uid=1000 gid=2000 groups=2000\n/\n0022\n");
    let error = bed.run_as(&script, Some("foo")).unwrap_err();
    assert_eq!(
        error.message,
        "unable to find user foo: no matching entries in passwd file"
    );
}

fn errors(bed: &Bed) {
    let message = |args: &[&str]| {
        let error = bed.run(&spec(args, true)).unwrap_err();
        (error.kind, error.message)
    };
    assert_eq!(
        message(&["foo"]),
        (
            Kind::CommandNotFound,
            "exec: \"foo\": executable file not found in $PATH".into()
        )
    );
    assert_eq!(
        message(&["/x"]),
        (
            Kind::CommandNotFound,
            "exec: \"/x\": stat /x: no such file or directory".into()
        )
    );
    assert_eq!(
        message(&["/etc/passwd"]),
        (
            Kind::CannotInvoke,
            "exec: \"/etc/passwd\": permission denied".into()
        )
    );
    let bad = bed.lab.dir.join("lower/bin/bad");
    std::fs::write(&bad, "not a program").unwrap();
    std::fs::set_permissions(&bad, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(
        message(&["bad"]),
        (
            Kind::CannotInvoke,
            "exec /bin/bad: exec format error".into()
        )
    );
    let mut s = spec(&["true"], true);
    s.mounts.push(Mount {
        destination: "/etc/passwd".into(),
        kind: "bind".into(),
        source: "/etc".into(),
        options: vec!["rbind".into()],
        ..Default::default()
    });
    let error = bed.run(&s).unwrap_err();
    assert!(
        error.message.contains("not a directory: Are you trying"),
        "{error}"
    );
    s.mounts.last_mut().unwrap().source = "/no/such".into();
    let error = bed.run(&s).unwrap_err();
    assert!(
        error.message.ends_with("no such file or directory"),
        "{error}"
    );
}

fn create_then_start(bed: &Bed) {
    let cgroup = bed.cgroup();
    let rootfs = bed.lab.rootfs();
    let spec = spec(&["sh", "-c", "echo started"], true);
    let (r, w) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let null = null();
    let build = plain(
        &spec,
        &rootfs,
        &cgroup,
        [null.as_fd(), w.as_fd(), w.as_fd()],
    );
    let created = create(&build).unwrap();
    assert!(created.process().mntns.is_some());
    assert_eq!(cgroup.procs().unwrap(), [created.process().pid]);
    rustix::fs::fcntl_setfl(&r, rustix::fs::OFlags::NONBLOCK).unwrap();
    assert_eq!(rustix::io::read(&r, &mut [0u8; 8]), Err(sys::Errno::AGAIN));
    rustix::fs::fcntl_setfl(&r, rustix::fs::OFlags::empty()).unwrap();
    let started = created.start().unwrap();
    drop(w);
    assert_eq!(read_all(r), "started\n");
    assert_eq!(wait(started.pidfd.as_fd()), 0);
    cgroup.remove().unwrap();
}

fn exec_joins(bed: &Bed) {
    let cgroup = bed.cgroup();
    let rootfs = bed.lab.rootfs();
    let spec = spec(&["sleep", "60"], true);
    let null = null();
    let started = launch(&plain(&spec, &rootfs, &cgroup, [null.as_fd(); 3])).unwrap();
    let own = std::fs::read_link("/proc/self/ns/pid_for_children").unwrap();
    let mut process = spec.process.clone().unwrap();
    let mut exec_in = |args: &[&str], user: &str| {
        process.args = args.iter().map(|s| (*s).to_owned()).collect();
        let (r, w) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let done = exec(&Exec {
            identity: Some(Identity {
                user,
                extra_groups: &[],
            }),
            ..joining(
                started.pidfd.as_fd(),
                &process,
                &cgroup,
                [null.as_fd(), w.as_fd(), w.as_fd()],
            )
        });
        drop(w);
        done.map(|p| {
            let text = read_all(r);
            (wait(p.pidfd.as_fd()), text)
        })
    };
    let script =
        "hostname; cat /proc/1/cmdline | busybox tr '\\0' ' '; cat /proc/self/cgroup; exit 3";
    let (code, text) = exec_in(&["sh", "-c", script], "").unwrap();
    assert_eq!(code, 3);
    assert!(text.starts_with("lab\nsleep 60 "), "{text}");
    assert!(!text.contains("corten-test"), "{text}");
    let (_, text) = exec_in(&["id", "-u"], "web").unwrap();
    assert_eq!(text, "33\n");
    let error = exec_in(&["nope"], "").unwrap_err();
    assert_eq!(error.kind, Kind::CommandNotFound);
    assert_eq!(
        std::fs::read_link("/proc/self/ns/pid_for_children").unwrap(),
        own
    );
    sys::process::pidfd_signal(started.pidfd.as_fd(), 9).unwrap();
    assert_eq!(wait(started.pidfd.as_fd()), 137);
    let error = exec_in(&["true"], "").unwrap_err();
    assert_eq!(error.kind, Kind::NotRunning, "{error}");
    cgroup.remove().unwrap();
}

fn terminal(bed: &Bed) {
    let cgroup = bed.cgroup();
    let rootfs = bed.lab.rootfs();
    let mut spec = spec(
        &[
            "sh",
            "-c",
            "tty; busybox stty size; ls -l /dev/console | busybox cut -c1; read x; echo got $x",
        ],
        true,
    );
    process(&mut spec).terminal = true;
    let started = launch(&Build {
        spec: &spec,
        rootfs: Rootfs::Mount(rootfs.as_fd()),
        netns: None,
        identity: None,
        create_cwd: false,
        init: None,
        stdio: Stdio::Terminal(Some(ConsoleSize {
            height: 33,
            width: 99,
        })),
        cgroup: Some(&cgroup),
        seccomp: None,
        extras: Extras::default(),
    })
    .unwrap();
    let master = started.terminal.unwrap();
    rustix::io::write(&master, b"word\n").unwrap();
    let text = read_all(master);
    assert_eq!(wait(started.pidfd.as_fd()), 0);
    for want in ["/dev/pts/0", "33 99", "c\r\n", "got word"] {
        assert!(text.contains(want), "{want} not in {text}");
    }
    cgroup.remove().unwrap();
}

fn binds(bed: &Bed) {
    let dir = bed.lab.dir.join("volume");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("f"), "data\n").unwrap();
    let mut s = spec(
        &[
            "sh",
            "-c",
            "cat /v/f /single; echo w > /v/g; echo r > /r/g || echo denied",
        ],
        true,
    );
    let mut add = |source: std::path::PathBuf, at: &str, options: &[&str]| {
        s.mounts.push(Mount {
            destination: at.into(),
            kind: "bind".into(),
            source: source.to_string_lossy().into_owned(),
            options: options.iter().map(|o| (*o).to_owned()).collect(),
            ..Default::default()
        });
    };
    add(dir.clone(), "/v", &["rbind", "rprivate"]);
    add(dir.clone(), "/r", &["rbind", "ro", "rro", "rprivate"]);
    add(dir.join("f"), "/single", &["bind", "ro", "rprivate"]);
    let (code, text) = bed.run(&s).unwrap();
    assert_eq!(code, 0);
    assert!(
        text.starts_with("data\ndata\n") && text.ends_with("denied\n"),
        "{text}"
    );
    assert_eq!(std::fs::read_to_string(dir.join("g")).unwrap(), "w\n");
}

fn user_namespace(bed: &Bed) {
    let mut s = spec(
        &[
            "sh",
            "-c",
            "id -u; cat /proc/self/uid_map; echo x > /dev/null; ls -ln /dev/null | busybox awk '{print $3}'",
        ],
        true,
    );
    s.mounts.retain(|m| m.kind != "cgroup");
    let l = linux(&mut s);
    l.namespaces.push(Namespace {
        kind: "user".into(),
        path: String::new(),
    });
    let mapping = IdMapping {
        container_id: 0,
        host_id: 100_000,
        size: 65536,
    };
    l.uid_mappings = vec![mapping];
    l.gid_mappings = vec![mapping];
    let (code, text) = bed.run(&s).unwrap();
    assert_eq!(code, 0, "{text}");
    assert!(
        text.starts_with("0\n         0     100000      65536\n"),
        "{text}"
    );
}

fn network_namespace_and_sysctl(bed: &Bed) {
    let mut s = spec(
        &[
            "sh",
            "-c",
            "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; ls /sys/class/net",
        ],
        true,
    );
    linux(&mut s)
        .sysctl
        .insert("net.ipv4.ip_unprivileged_port_start".into(), "0".into());
    let (_, text) = bed.run(&s).unwrap();
    assert!(text.starts_with("0\n") && text.contains("lo"), "{text}");
    linux(&mut s)
        .sysctl
        .insert("kernel.panic".into(), "0".into());
    assert_eq!(bed.run(&s).unwrap_err().kind, Kind::Invalid);
}

fn limits_and_credentials(bed: &Bed) {
    let mut s = spec(
        &[
            "sh",
            "-c",
            "ulimit -n; busybox grep -E 'Cap(Eff|Bnd|Prm|Inh|Amb)|NoNewPrivs' /proc/self/status; cat /proc/self/oom_score_adj",
        ],
        true,
    );
    let p = process(&mut s);
    p.rlimits = vec![Rlimit {
        kind: "RLIMIT_NOFILE".into(),
        hard: 256,
        soft: 200,
    }];
    p.no_new_privileges = true;
    p.oom_score_adj = Some(500);
    let (_, text) = bed.run(&s).unwrap();
    let caps = "00000000a80425fb";
    let want = format!(
        "200\nCapInh:\t0000000000000000\nCapPrm:\t{caps}\nCapEff:\t{caps}\nCapBnd:\t{caps}\n\
         CapAmb:\t0000000000000000\nNoNewPrivs:\t1\n500\n"
    );
    assert_eq!(text, want);
    let available = available_capabilities();
    if !available.iter().any(|c| c == "CAP_SYS_RESOURCE") {
        process(&mut s).rlimits[0].hard = u64::from(u32::MAX);
        let error = bed.run(&s).unwrap_err();
        assert!(
            error.message.starts_with("error setting rlimit type 7"),
            "{error}"
        );
        process(&mut s).rlimits.clear();
        let caps = process(&mut s).capabilities.as_mut().unwrap();
        caps.bounding.push("CAP_SYS_RESOURCE".into());
        assert!(
            bed.run(&s)
                .unwrap_err()
                .message
                .contains("CAP_SYS_RESOURCE")
        );
    }
}

fn devices_and_readonly(bed: &Bed) {
    let mut s = spec(
        &[
            "sh",
            "-c",
            "ls -l /dev/dir/fuse | busybox cut -c1-10; echo x > /x || echo ro; echo y > /tmp/y; ls -ld /tmp | busybox cut -c1-10",
        ],
        true,
    );
    s.root = Some(Root {
        path: String::new(),
        readonly: true,
    });
    s.mounts.push(Mount {
        destination: "/tmp".into(),
        kind: "tmpfs".into(),
        source: "tmpfs".into(),
        options: vec!["nosuid".into(), "size=1m".into()],
        ..Default::default()
    });
    linux(&mut s).devices.push(Device {
        kind: "c".into(),
        path: "/dev/dir/fuse".into(),
        major: 10,
        minor: 229,
        file_mode: Some(0o640),
        ..Default::default()
    });
    let (code, text) = bed.run(&s).unwrap();
    assert_eq!(code, 0);
    assert!(
        text.starts_with("crw-r-----\n") && text.contains("ro\ndrwx"),
        "{text}"
    );
}

fn refused(bed: &Bed) {
    let mut s = spec(&["true"], true);
    linux(&mut s).rootfs_propagation = "sideways".into();
    let error = bed.run(&s).unwrap_err();
    assert_eq!(error.kind, Kind::Invalid);
    assert!(
        error.message.starts_with("linux.rootfsPropagation: "),
        "{error}"
    );
}

fn seccomp_filter(bed: &Bed) {
    let mut s = spec(
        &[
            "sh",
            "-c",
            "echo x > /tmp/a; busybox mkdir /tmp/d; busybox chmod 700 /tmp/a",
        ],
        true,
    );
    linux(&mut s).seccomp = Some(Seccomp {
        default_action: "SCMP_ACT_ALLOW".into(),
        syscalls: vec![SeccompRule {
            names: vec!["mkdir".into(), "mkdirat".into()],
            action: "SCMP_ACT_ERRNO".into(),
            errno_ret: Some(28),
            ..Default::default()
        }],
        ..Default::default()
    });
    let want = "mkdir: can't create directory '/tmp/d': No space left on device\n";
    assert_eq!(bed.run(&s).unwrap(), (0, want.into()));
    // With no_new_privs it is loaded at the very end, with the same effect.
    process(&mut s).no_new_privileges = true;
    assert_eq!(bed.run(&s).unwrap(), (0, want.into()));
}
