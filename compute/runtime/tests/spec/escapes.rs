//! The ways out that other runtimes have had, one test a class.
//!
//! What a test has to show is that the host is untouched or out of reach; the error texts are
//! beside the point and only checked where they tell which defence it was.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::Path;

use oci::runtime::*;
use runtime::*;
use rustix::fs::{CWD, Mode, OFlags, RenameFlags};

use super::mounts::add;
use crate::support::bed::{Bed, Test, joining, null, plain, read_all, wait};
use crate::support::{linux, process, spec};

pub const TESTS: &[Test] = &[
    ("escapes_descriptors_and_cwd", descriptors_and_cwd),
    ("escapes_own_program", own_program),
    ("escapes_links_in_the_root", links_in_the_root),
    ("escapes_races_of_targets", races_of_targets),
    ("escapes_proc_and_sys", proc_and_sys),
    ("escapes_masks", masks),
    ("escapes_races_of_masks", races_of_masks),
    ("escapes_console", console),
    ("escapes_sysctl", sysctl),
    ("escapes_passwd", passwd),
];

fn args(spec: &mut Spec, list: &[&str]) {
    process(spec).args = list.iter().map(|s| (*s).to_owned()).collect();
}

/// An open directory of the host that is inherited by whatever is started.
fn leak(path: &str, at_least: i32) -> OwnedFd {
    let fd = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    rustix::io::fcntl_dupfd_cloexec(&fd, at_least)
        .inspect(|fd| rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).unwrap())
        .unwrap()
}

/// CVE-2024-21626: a leaked descriptor as working directory, or as the way to the program.
fn descriptors_and_cwd(bed: &Bed) {
    let leaked = leak("/", 40);
    let way = format!("/proc/self/fd/{}", leaked.as_raw_fd());
    let outside = bed.lab.dir.join("outside-cwd");
    std::fs::create_dir(&outside).unwrap();
    let mut s = spec(&["sh", "-c", "ls /proc/self/fd; ls /proc/1/fd; true"], true);
    let (_, said) = bed.run(&s).unwrap();
    assert_eq!(said, "0\n1\n2\n3\n0\n1\n2\n", "only ls has its directory");
    for cwd in [
        way.clone(),
        format!("{way}/tmp"),
        format!("{way}{}/made", outside.display()),
    ] {
        process(&mut s).cwd = cwd;
        bed.run(&s).unwrap_err();
    }
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    process(&mut s).cwd = "/".into();
    for program in ["bin/busybox", "bin/sh"] {
        args(&mut s, &[&format!("{way}/{program}"), "true"]);
        bed.run(&s).unwrap_err();
    }
    // The same for a process that joins.
    let s = spec(&["sleep", "600"], true);
    let cgroup = bed.cgroup();
    let rootfs = bed.lab.rootfs();
    let null = null();
    let started = launch(&plain(&s, &rootfs, &cgroup, [null.as_fd(); 3])).unwrap();
    let mut one = s.process.clone().unwrap();
    let mut run = |cwd: &str, program: &str| {
        one.cwd = cwd.into();
        one.args = vec![program.into(), "true".into()];
        exec(&Exec {
            create_cwd: true,
            ..joining(started.pidfd.as_fd(), &one, &cgroup, [null.as_fd(); 3])
        })
    };
    run(&way, "busybox").unwrap_err();
    run("/", &format!("{way}/bin/busybox")).unwrap_err();
    let fine = run("/", "busybox").unwrap();
    assert_eq!(wait(fine.pidfd.as_fd()), 0);
    sys::process::pidfd_signal(started.pidfd.as_fd(), 9).unwrap();
    wait(started.pidfd.as_fd());
    cgroup.remove().unwrap();
}

/// CVE-2016-9962 and CVE-2019-5736: the runtime's own program, through a process that waits.
fn own_program(bed: &Bed) {
    let mut s = spec(&["true"], true);
    // Root with the ordinary capabilities, as the process that looks has them.
    s.hostname.clear();
    let cgroup = bed.cgroup();
    let rootfs = bed.lab.rootfs();
    let null = null();
    let created = create(&plain(&s, &rootfs, &cgroup, [null.as_fd(); 3])).unwrap();
    let mut look = s.process.clone().unwrap();
    // The numbers of its descriptors may be seen, but not what they are.
    let script = "busybox readlink /proc/1/exe; busybox readlink /proc/1/fd/*; \
                  (cat < /proc/1/exe); (echo x >> /proc/1/exe); cat /proc/1/environ; \
                  cat /proc/1/maps; cat /proc/1/root/etc/passwd; echo end";
    look.args = ["sh", "-c", script].map(str::to_owned).to_vec();
    let (r, w) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let seen = exec(&joining(
        created.process().pidfd.as_fd(),
        &look,
        &cgroup,
        [null.as_fd(), w.as_fd(), null.as_fd()],
    ))
    .unwrap();
    drop(w);
    assert_eq!(read_all(r), "end\n");
    wait(seen.pidfd.as_fd());
    let started = created.start().unwrap();
    assert_eq!(wait(started.pidfd.as_fd()), 0);
    cgroup.remove().unwrap();
}

/// CVE-2019-19921, CVE-2023-27561 and before them: links of the image that point out.
fn links_in_the_root(bed: &Bed) {
    let dir = bed.bundle();
    let root = dir.join("rootfs");
    let outside = dir.join("outside");
    std::fs::create_dir(&outside).unwrap();
    let up = format!("../../../../../../..{}", outside.display());
    symlink(&outside, root.join("absolute")).unwrap();
    symlink(&up, root.join("relative")).unwrap();
    symlink("/proc/self/root", root.join("magic")).unwrap();
    let mut s = spec(&["true"], true);
    for at in ["/absolute/a", "/relative/b", "/magic/c"] {
        add(&mut s, "tmpfs", "tmpfs", at, &[]);
        add(
            &mut s,
            "bind",
            "/etc/passwd",
            &format!("{at}-file"),
            &["bind"],
        );
    }
    linux(&mut s).devices.push(Device {
        kind: "c".into(),
        path: "/relative/device".into(),
        major: 1,
        minor: 3,
        ..Default::default()
    });
    let _ = bed.run_with(&s, Some(&root), None);
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    // /proc and /sys themselves are no links, whatever these lead to.
    for (kind, at) in [("proc", "proc"), ("sysfs", "sys")] {
        let _ = std::fs::remove_dir(root.join(at));
        symlink("/tmp", root.join(at)).unwrap();
        let mut s = spec(&["true"], true);
        s.mounts.retain(|m| m.kind == kind);
        let error = bed.run_with(&s, Some(&root), None).unwrap_err();
        assert!(
            error
                .message
                .contains("must be mounted on ordinary directory"),
            "{error}"
        );
        std::fs::remove_file(root.join(at)).unwrap();
    }
}

/// A process that exchanges two names of a directory without end.
pub fn exchanging(dir: &Path, one: &str, other: &str) -> OwnedFd {
    match sys::process::clone3(&sys::process::CloneArgs::default()).unwrap() {
        sys::process::Cloned::Child => {
            // It ends with the test, whatever becomes of that.
            let kill = Some(rustix::process::Signal::KILL);
            rustix::process::set_parent_process_death_signal(kill).unwrap();
            let fd = rustix::fs::open(dir, OFlags::PATH, Mode::empty()).unwrap();
            loop {
                let flags = RenameFlags::EXCHANGE;
                let _ = rustix::fs::renameat_with(&fd, one, &fd, other, flags);
            }
        }
        sys::process::Cloned::Parent { pidfd, .. } => pidfd,
    }
}

/// CVE-2021-30465: somebody exchanges a directory for a link while it is mounted on.
fn races_of_targets(bed: &Bed) {
    let volume = bed.lab.dir.join("raced");
    let outside = bed.lab.dir.join("raced-outside");
    for sub in ["real/deep", "spare"] {
        std::fs::create_dir_all(volume.join(sub)).unwrap();
    }
    std::fs::create_dir_all(outside.join("deep")).unwrap();
    std::fs::remove_dir(volume.join("spare")).unwrap();
    let up = format!("../../../../../../../../..{}", outside.display());
    symlink(up, volume.join("spare")).unwrap();
    let racer = exchanging(&volume, "real", "spare");
    let mut s = spec(
        &["sh", "-c", "busybox cut -d' ' -f5 /proc/self/mountinfo"],
        true,
    );
    let volume = volume.to_str().unwrap();
    add(&mut s, "bind", volume, "/v", &["rbind"]);
    add(&mut s, "tmpfs", "tmpfs", "/v/real/deep", &[]);
    add(&mut s, "bind", "/etc/passwd", "/v/real/made", &["bind"]);
    add(&mut s, "tmpfs", "tmpfs", "/v/real/new/sub", &[]);
    let inside = |path: &str| {
        // In the volume, or where the link leads when it is read inside the root.
        ["/v", "/proc", "/dev", "/sys"]
            .iter()
            .any(|p| path.starts_with(p))
            || path == "/"
            || path.starts_with(outside.to_str().unwrap())
    };
    for _ in 0..60 {
        // Failing is fine: what it found was no directory at that moment.
        if let Ok((_, said)) = bed.run(&s) {
            assert!(said.lines().all(inside), "{said}");
        }
        let names: Vec<_> = std::fs::read_dir(&outside)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names, ["deep"]);
        assert_eq!(std::fs::read_dir(outside.join("deep")).unwrap().count(), 0);
    }
    sys::process::pidfd_signal(racer.as_fd(), 9).unwrap();
    wait(racer.as_fd());
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains("raced"), "nothing is mounted on the host");
}

/// CVE-2019-16884 and its kin: a /proc that is not one, or is covered in places.
fn proc_and_sys(bed: &Bed) {
    let lower = bed.lab.dir.join("lower");
    symlink("/proc/self", lower.join("into-proc")).unwrap();
    symlink("/proc/sys/kernel", lower.join("into-sys")).unwrap();
    let fake = bed.lab.dir.join("fake-proc");
    std::fs::create_dir_all(fake.join("self/attr")).unwrap();
    let fake = fake.to_str().unwrap();
    let refused = |kind: &str, source: &str, at: &str, options: &[&str]| {
        let mut s = spec(&["true"], true);
        add(&mut s, kind, source, at, options);
        bed.run(&s).unwrap_err().message
    };
    for (kind, source, at, options) in [
        ("bind", fake, "/proc", &["rbind"][..]),
        ("tmpfs", "tmpfs", "/proc", &[]),
        ("bind", fake, "/proc/self/attr", &["bind"]),
        ("tmpfs", "tmpfs", "/tmp/../proc/sys", &[]),
        ("tmpfs", "tmpfs", "/into-proc/attr", &[]),
        ("bind", "/etc/passwd", "/into-sys/core_pattern", &["bind"]),
        ("bind", "/etc/passwd", "/proc/sysrq-trigger", &["bind"]),
    ] {
        let said = refused(kind, source, at, options);
        assert!(said.contains("proc"), "{at}: {said}");
    }
    // /dev of the image leads to /proc: what is mounted at /dev would cover it.
    symlink("/proc", lower.join("dev-link")).unwrap();
    let said = refused("tmpfs", "tmpfs", "/dev-link", &[]);
    assert!(said.contains("leads into /proc"), "{said}");
    // lxcfs and a real procfs are welcome.
    let file = bed.lab.dir.join("uptime");
    std::fs::write(&file, "7 7\n").unwrap();
    let mut s = spec(&["cat", "/proc/uptime"], true);
    add(
        &mut s,
        "bind",
        file.to_str().unwrap(),
        "/proc/uptime",
        &["bind"],
    );
    assert_eq!(bed.run(&s).unwrap(), (0, "7 7\n".into()));
    let mut s = spec(&["true"], true);
    s.mounts.retain(|m| m.kind != "proc");
    s.mounts.insert(
        0,
        Mount {
            destination: "/proc".into(),
            kind: "bind".into(),
            source: "/proc".into(),
            options: vec!["rbind".into()],
            ..Default::default()
        },
    );
    assert_eq!(bed.run(&s).unwrap().0, 0);
    // The host's beside the own one, over a link of the image.
    symlink("/tmp", lower.join("host")).unwrap();
    let mut s = spec(&["cat", "/tmp/proc/version"], true);
    add(&mut s, "bind", "/proc", "/host/proc", &["rbind", "rro"]);
    assert_eq!(bed.run(&s).unwrap().0, 0);
    for link in ["host", "into-proc", "into-sys", "dev-link"] {
        std::fs::remove_file(lower.join(link)).unwrap();
    }
}

/// CVE-2025-31133: the null device that masks a file is what the image says it is.
fn masks(bed: &Bed) {
    let victim = bed.lab.dir.join("victim");
    std::fs::write(&victim, "precious\n").unwrap();
    // In the root itself: found when the devices are made.
    let dir = bed.bundle();
    let root = dir.join("rootfs");
    std::fs::create_dir(root.join("dev")).unwrap();
    symlink("/proc/sys/kernel/core_pattern", root.join("dev/null")).unwrap();
    let mut s = spec(&["cat", "/proc/kcore"], true);
    s.mounts.retain(|m| m.kind == "proc");
    let error = bed.run_with(&s, Some(&root), None).unwrap_err();
    assert!(
        error
            .message
            .contains("\"/dev/null\" exists in the container"),
        "{error}"
    );
    // In a volume over /dev, where no device is made: found when a file is masked.
    let dev = bed.lab.dir.join("own-dev");
    std::fs::create_dir(&dev).unwrap();
    for make in [
        &(|at: &Path| symlink("/proc/sys/kernel/core_pattern", at).unwrap()) as &dyn Fn(&Path),
        &|at: &Path| std::fs::write(at, "x").unwrap(),
        &|at: &Path| {
            let (kind, mode) = (
                rustix::fs::FileType::BlockDevice,
                Mode::from_raw_mode(0o666),
            );
            rustix::fs::mknodat(CWD, at, kind, mode, rustix::fs::makedev(1, 3)).unwrap();
        },
    ] {
        make(&dev.join("null"));
        let mut s = spec(&["cat", "/proc/keys"], true);
        s.mounts.retain(|m| m.kind == "proc");
        add(&mut s, "bind", dev.to_str().unwrap(), "/dev", &["rbind"]);
        let error = bed.run(&s).unwrap_err();
        assert!(error.message.ends_with("is not the null device"), "{error}");
        std::fs::remove_file(dev.join("null")).unwrap();
    }
    // A masked path that is a link of the image is followed inside, never out.
    let dir = bed.bundle();
    let root = dir.join("rootfs");
    symlink(&victim, root.join("secret")).unwrap();
    let mut s = spec(&["sh", "-c", "cat /secret; true"], true);
    linux(&mut s).masked_paths.push("/secret".into());
    bed.run_with(&s, Some(&root), None).unwrap();
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious\n");
}

/// CVE-2025-31133 as a race: /dev/null is exchanged for a link, and a masked directory for one,
/// while paths are masked. What is hidden is hidden, or there is no container.
fn races_of_masks(bed: &Bed) {
    let dev = bed.lab.dir.join("raced-dev");
    let victim = bed.lab.dir.join("raced-victim");
    std::fs::create_dir_all(dev.join("secret")).unwrap();
    std::fs::create_dir(&victim).unwrap();
    std::fs::write(victim.join("file"), "precious").unwrap();
    let (kind, mode) = (
        rustix::fs::FileType::CharacterDevice,
        Mode::from_raw_mode(0o666),
    );
    let null = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(CWD, dev.join("null"), kind, mode, null).unwrap();
    symlink("/proc/version", dev.join("spare")).unwrap();
    symlink(&victim, dev.join("link")).unwrap();
    let racers = [
        exchanging(&dev, "null", "spare"),
        exchanging(&dev, "secret", "link"),
    ];
    let mut s = spec(&["sh", "-c", "busybox wc -c < /proc/keys"], true);
    s.mounts.retain(|m| m.kind == "proc");
    add(&mut s, "bind", dev.to_str().unwrap(), "/dev", &["rbind"]);
    linux(&mut s).masked_paths = vec!["/proc/keys".into(), "/dev/secret".into()];
    let mut refused = 0;
    for _ in 0..60 {
        match bed.run(&s) {
            Ok(said) => assert_eq!(said, (0, "0\n".into())),
            Err(error) => {
                assert!(error.message.contains("linux.maskedPaths: "), "{error}");
                refused += 1;
            }
        }
        let file = std::fs::read_to_string(victim.join("file")).unwrap();
        assert_eq!(file, "precious");
    }
    for racer in racers {
        sys::process::pidfd_signal(racer.as_fd(), 9).unwrap();
        wait(racer.as_fd());
    }
    assert!(refused > 0, "the race was never met");
}

/// CVE-2025-52565: /dev/console or /dev/pts lead elsewhere when the terminal is bound.
fn console(bed: &Bed) {
    let attempt = |prepare: &dyn Fn(&Path)| {
        let dir = bed.bundle();
        let root = dir.join("rootfs");
        std::fs::create_dir(root.join("dev")).unwrap();
        prepare(&root);
        let mut s = spec(&["true"], true);
        s.mounts.retain(|m| m.destination != "/dev");
        process(&mut s).terminal = true;
        let cgroup = bed.cgroup();
        let done = launch(&Build {
            spec: &s,
            rootfs: Rootfs::Path(&root),
            netns: None,
            identity: None,
            create_cwd: false,
            init: None,
            stdio: Stdio::Terminal(None),
            cgroup: Some(&cgroup),
            seccomp: None,
            extras: Extras::default(),
        });
        let done = done.map(|started| wait(started.pidfd.as_fd()));
        cgroup.remove().unwrap();
        done
    };
    let error = attempt(&|root| {
        symlink("/proc/sys/kernel/core_pattern", root.join("dev/console")).unwrap();
    })
    .unwrap_err();
    assert_eq!(
        error.message,
        "/dev/console of the container is a symbolic link"
    );
    // An ordinary one works.
    assert_eq!(attempt(&|_| {}).unwrap(), 0);
    // A mountpoint of devpts that is a link: it is mounted where that leads inside the root.
    let done = attempt(&|root| symlink("/proc/self/fd", root.join("dev/pts")).unwrap());
    assert!(done.unwrap_err().message.contains("proc"));
}

/// CVE-2025-52881: writes to /proc that go somewhere else.
fn sysctl(bed: &Bed) {
    let dir = bed.bundle();
    let root = dir.join("rootfs");
    std::fs::create_dir_all(root.join("proc/sys/net/ipv4")).unwrap();
    std::fs::write(root.join("tmp/evil"), "untouched").unwrap();
    symlink("/tmp/evil", root.join("proc/sys/net/ipv4/ip_forward")).unwrap();
    let mut s = spec(&["busybox", "cat", "/tmp/evil"], true);
    s.mounts.retain(|m| m.kind == "tmpfs");
    let l = linux(&mut s);
    l.sysctl.insert("net.ipv4.ip_forward".into(), "1".into());
    l.masked_paths.clear();
    l.readonly_paths.clear();
    let (code, said) = bed.run_with(&s, Some(&root), None).unwrap();
    assert_eq!((code, said.as_str()), (0, "untouched"));
    // A link in the place of a directory of the name.
    let said = {
        linux(&mut s).sysctl = [("net.ipv4.../x".to_owned(), "1".to_owned())].into();
        bed.run_with(&s, Some(&root), None).unwrap_err().message
    };
    assert!(said.starts_with("linux.sysctl: "), "{said}");
}

/// The user's files of an image lead to the host through a descriptor that is still open.
fn passwd(bed: &Bed) {
    let dir = bed.bundle();
    let root = dir.join("rootfs");
    let host = bed.lab.dir.join("host-etc");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("passwd"), "evil:x:0:0::/:/bin/sh\n").unwrap();
    let leaked = leak(host.to_str().unwrap(), 60);
    std::fs::remove_file(root.join("etc/passwd")).unwrap();
    let way = format!("/proc/self/fd/{}/passwd", leaked.as_raw_fd());
    symlink(way, root.join("etc/passwd")).unwrap();
    let mut s = spec(&["true"], true);
    s.mounts.retain(|m| m.kind != "cgroup");
    let error = bed
        .launch_in(&s, Rootfs::Path(&root), Some("evil"), None, None)
        .unwrap_err();
    assert!(
        error.message.contains("unable to find user evil"),
        "{error}"
    );
}
