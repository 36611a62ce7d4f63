//! `mounts`, `rootfsPropagation`, `mountLabel`, `root.readonly`.

use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use oci::runtime::*;
use runtime::*;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::support::bed::{Bed, Test};
use crate::support::{linux, spec};

pub const TESTS: &[Test] = &[
    ("mounts_recursive_attributes", recursive_attributes),
    ("mounts_propagation", propagation),
    ("mounts_rootfs_propagation", rootfs_propagation),
    ("mounts_idmap", idmap),
    ("mounts_idmap_of_user_namespace", idmap_of_user_namespace),
    ("mounts_closed_source", closed_source),
    ("mounts_copy_up", copy_up),
    ("mounts_targets_are_made", targets_are_made),
    ("mounts_read_only_tmpfs", read_only_tmpfs),
    ("mounts_remount", remount),
    ("mounts_file_system_options", file_system_options),
    ("mounts_relative_source", relative_source),
    ("mounts_cgroup", cgroup_mounts),
    ("mounts_flags_of_binds", flags_of_binds),
    ("mounts_of_the_root_itself", of_the_root_itself),
    ("mounts_masked_once", masked_once),
    ("mounts_on_the_host", on_the_host),
    ("mounts_mistakes", mistakes),
];

pub fn add(spec: &mut Spec, kind: &str, source: &str, at: &str, options: &[&str]) {
    spec.mounts.push(Mount {
        destination: at.into(),
        kind: kind.into(),
        source: source.into(),
        options: options.iter().map(|o| (*o).to_owned()).collect(),
        ..Default::default()
    });
}

pub fn map(container: u32, host: u32, size: u32) -> Vec<IdMapping> {
    vec![IdMapping {
        container_id: container,
        host_id: host,
        size,
    }]
}

/// A container in a user namespace mapped from 100000.
pub fn user(spec: &mut Spec) {
    spec.mounts.retain(|m| m.kind != "cgroup");
    let l = linux(spec);
    l.namespaces.push(Namespace {
        kind: "user".into(),
        path: String::new(),
    });
    l.uid_mappings = map(0, 100_000, 65_536);
    l.gid_mappings = map(0, 100_000, 65_536);
}

fn sh(bed: &Bed, spec: &mut Spec, script: &str) -> String {
    spec.process.as_mut().unwrap().args = ["sh", "-c", script].map(str::to_owned).to_vec();
    let (code, text) = bed.run(spec).unwrap();
    assert_eq!(code, 0, "{text}");
    text
}

/// A directory that is a tmpfs, with another one at `below`.
fn nested(bed: &Bed, name: &str) -> PathBuf {
    let dir = bed.lab.dir.join(name);
    std::fs::create_dir(&dir).unwrap();
    mount("tmpfs", &dir, "tmpfs", MountFlags::empty(), None).unwrap();
    std::fs::create_dir(dir.join("below")).unwrap();
    mount(
        "tmpfs",
        dir.join("below"),
        "tmpfs",
        MountFlags::empty(),
        None,
    )
    .unwrap();
    dir
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Per-mount options of a destination, from mountinfo.
fn flags<'t>(table: &'t str, at: &str) -> &'t str {
    let line = table.lines().find(|l| l.split(' ').nth(4) == Some(at));
    line.unwrap_or_else(|| panic!("{at} not in {table}"))
        .split(' ')
        .nth(5)
        .unwrap()
}

fn recursive_attributes(bed: &Bed) {
    let dir = nested(bed, "attributes");
    let mut s = spec(&[], true);
    for (at, options) in [
        ("/own", &["rbind", "ro", "nosuid", "noatime"][..]),
        (
            "/all",
            &["rbind", "rro", "rnosuid", "rnodev", "rnoexec", "rnoatime"],
        ),
        (
            "/sym",
            &["rbind", "rnosymfollow", "rnodiratime", "rstrictatime"],
        ),
        ("/back", &["rbind", "rro", "rrw"]),
        ("/one", &["bind", "ro"]),
    ] {
        add(&mut s, "none", text(&dir), at, options);
    }
    let table = sh(bed, &mut s, "cat /proc/self/mountinfo");
    assert_eq!(flags(&table, "/own"), "ro,nosuid,noatime");
    assert_eq!(flags(&table, "/own/below"), "rw,relatime");
    assert_eq!(flags(&table, "/all"), "ro,nosuid,nodev,noexec,noatime");
    assert_eq!(
        flags(&table, "/all/below"),
        "ro,nosuid,nodev,noexec,noatime"
    );
    assert_eq!(flags(&table, "/sym/below"), "rw,nodiratime,nosymfollow");
    assert_eq!(flags(&table, "/back/below"), "rw,relatime");
    assert!(!table.contains(" /one/below "), "not recursive");
}

fn propagation(bed: &Bed) {
    let dir = nested(bed, "propagation");
    let mut s = spec(&[], true);
    for (at, options) in [
        ("/shared", &["bind", "shared"][..]),
        ("/rshared", &["rbind", "rshared"]),
        ("/private", &["rbind", "rprivate"]),
        ("/unbindable", &["bind", "unbindable"]),
        ("/rslave", &["rbind", "rslave"]),
    ] {
        add(&mut s, "bind", text(&dir), at, options);
    }
    add(&mut s, "tmpfs", "tmpfs", "/fresh", &["shared"]);
    let table = sh(bed, &mut s, "cat /proc/self/mountinfo");
    let optional = |at: &str| {
        let line = table
            .lines()
            .find(|l| l.split(' ').nth(4) == Some(at))
            .unwrap();
        let rest: Vec<&str> = line.split(' ').skip(6).take_while(|w| *w != "-").collect();
        rest.join(" ").replace(|c: char| c.is_ascii_digit(), "")
    };
    assert_eq!(optional("/shared"), "shared:");
    assert_eq!(optional("/rshared/below"), "shared:");
    assert_eq!(optional("/private/below"), "");
    assert_eq!(optional("/unbindable"), "unbindable");
    assert_eq!(optional("/rslave"), "");
    assert_eq!(optional("/fresh"), "shared:");
}

fn rootfs_propagation(bed: &Bed) {
    let dir = bed.bundle();
    let root = dir.join("rootfs");
    let top = |propagation: MountFlags| {
        use rustix::mount::{MountPropagationFlags as P, mount_change};
        let flags = match propagation.is_empty() {
            true => P::PRIVATE,
            false => P::SHARED,
        };
        mount_change(&dir, flags).unwrap();
    };
    rustix::mount::mount_bind(&dir, &dir).unwrap();
    top(MountFlags::BIND);
    for (propagation, seen) in [
        ("slave", true),
        ("private", false),
        ("shared", false),
        ("", false),
    ] {
        let mut s = spec(
            &["sh", "-c", "read x; ls /tmp/p; cat /proc/self/mountinfo"],
            true,
        );
        linux(&mut s).rootfs_propagation = propagation.into();
        std::fs::create_dir_all(root.join("tmp/p")).unwrap();
        let (in_r, in_w) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let (r, w) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let cgroup = bed.cgroup();
        let started = launch(&Build {
            spec: &s,
            rootfs: Rootfs::Path(&root),
            netns: None,
            identity: None,
            create_cwd: false,
            init: None,
            stdio: Stdio::Fds([in_r.as_fd(), w.as_fd(), w.as_fd()]),
            cgroup: Some(&cgroup),
            seccomp: None,
            extras: Default::default(),
        })
        .unwrap();
        drop((w, in_r));
        mount(
            "tmpfs",
            root.join("tmp/p"),
            "tmpfs",
            MountFlags::empty(),
            None,
        )
        .unwrap();
        std::fs::write(root.join("tmp/p/later"), "").unwrap();
        rustix::io::write(&in_w, b"go\n").unwrap();
        let text = crate::support::bed::read_all(r);
        crate::support::bed::wait(started.pidfd.as_fd());
        unmount(root.join("tmp/p"), UnmountFlags::DETACH).unwrap();
        cgroup.remove().unwrap();
        assert_eq!(text.starts_with("later\n"), seen, "{propagation}: {text}");
        let line = text
            .lines()
            .find(|l| l.split(' ').nth(4) == Some("/"))
            .unwrap();
        let optional = line.split(' ').nth(6).unwrap();
        let want = match propagation {
            "slave" => "master:",
            "shared" => "shared:",
            _ => "-",
        };
        assert!(optional.starts_with(want), "{propagation}: {line}");
    }
    unmount(&dir, UnmountFlags::DETACH).unwrap();
    let mut s = spec(&[], true);
    linux(&mut s).rootfs_propagation = "unbindable".into();
    let table = sh(bed, &mut s, "cat /proc/self/mountinfo");
    assert!(
        table.lines().next().unwrap().contains(" unbindable "),
        "{table}"
    );
}

fn idmap(bed: &Bed) {
    let dir = nested(bed, "idmap");
    for file in ["f", "below/f"] {
        std::fs::write(dir.join(file), "").unwrap();
        chown(dir.join(file), Some(7), Some(8)).unwrap();
    }
    let mut s = spec(&[], true);
    for (at, options) in [
        ("/one", &["rbind", "idmap"][..]),
        ("/all", &["rbind", "ridmap"]),
        ("/plain", &["rbind"]),
    ] {
        add(&mut s, "bind", text(&dir), at, options);
        let mount = s.mounts.last_mut().unwrap();
        mount.uid_mappings = map(0, 1000, 100);
        mount.gid_mappings = map(0, 2000, 100);
    }
    let show = "busybox stat -c %u:%g /one/f /one/below/f /all/f /all/below/f /plain/f";
    let said = sh(
        bed,
        &mut s,
        &format!("{show}; echo x > /all/below/new || echo no"),
    );
    let want = "1007:2008\n7:8\n1007:2008\n1007:2008\n1007:2008\n";
    // What root of the container makes there is of nobody that is mapped, so it cannot.
    assert!(said.starts_with(want) && said.ends_with("no\n"), "{said}");
    let mut s = spec(&["true"], true);
    add(&mut s, "bind", text(&dir), "/m", &["rbind", "idmap"]);
    let error = bed.run(&s).unwrap_err();
    assert!(
        error
            .message
            .contains("idmap needs uidMappings and gidMappings"),
        "{error}"
    );
    let mut s = spec(&["true"], true);
    add(&mut s, "tmpfs", "tmpfs", "/m", &["idmap"]);
    let error = bed.run(&s).unwrap_err();
    assert_eq!(error.kind, Kind::Unsupported);
    let n = s.mounts.len() - 1;
    assert!(
        error
            .message
            .starts_with(&format!("mounts[{n}].options: id-mapped")),
        "{error}"
    );
}

fn idmap_of_user_namespace(bed: &Bed) {
    let dir = nested(bed, "idmapns");
    std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(dir.join("f"), "").unwrap();
    let mut s = spec(&[], true);
    user(&mut s);
    add(&mut s, "bind", text(&dir), "/mapped", &["rbind", "ridmap"]);
    add(&mut s, "bind", text(&dir), "/plain", &["rbind"]);
    let said = sh(
        bed,
        &mut s,
        "busybox stat -c %u /mapped/f /plain/f; echo x > /mapped/new; echo y > /plain/new || echo no",
    );
    assert!(said.starts_with("0\n65534\n"), "{said}");
    assert!(said.ends_with("no\n"), "{said}");
    assert_eq!(std::fs::metadata(dir.join("new")).unwrap().uid(), 0);
}

/// The parent opens it: nobody of the container could.
fn closed_source(bed: &Bed) {
    let dir = bed.lab.dir.join("closed");
    std::fs::create_dir_all(dir.join("open")).unwrap();
    std::fs::write(dir.join("open/f"), "inside\n").unwrap();
    std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o700)).unwrap();
    let mut s = spec(&[], true);
    user(&mut s);
    add(
        &mut s,
        "bind",
        text(&dir.join("open")),
        "/o",
        &["rbind", "rro"],
    );
    let said = sh(
        bed,
        &mut s,
        "cat /o/f; busybox grep ' /o ' /proc/self/mountinfo",
    );
    assert!(
        said.starts_with("inside\n") && said.contains(" ro,relatime "),
        "{said}"
    );
    // A copy made on the host's side is no peer of its original.
    assert!(!said.contains("shared:"), "{said}");
}

fn copy_up(bed: &Bed) {
    let lower = bed.lab.dir.join("lower/data");
    std::fs::create_dir_all(lower.join("sub/deep")).unwrap();
    std::fs::write(lower.join("sub/file"), "content\n").unwrap();
    chown(lower.join("sub/file"), Some(33), Some(34)).unwrap();
    std::fs::set_permissions(lower.join("sub/file"), PermissionsExt::from_mode(0o4751)).unwrap();
    symlink("/etc/passwd", lower.join("link")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        lower.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let mut s = spec(&[], true);
    add(
        &mut s,
        "tmpfs",
        "tmpfs",
        "/data",
        &["tmpcopyup", "mode=750", "ro"],
    );
    let said = sh(
        bed,
        &mut s,
        "cd /data; cat sub/file; busybox stat -c '%u:%g %a %F' sub/file pipe .; \
         busybox readlink link; echo x > new || echo ro; ls sub; busybox grep -c ' /data ' /proc/mounts",
    );
    let want = "content\n33:34 4751 regular file\n0:0 600 fifo\n0:0 750 directory\n/etc/passwd\n";
    assert!(said.starts_with(want), "{said}");
    assert!(said.ends_with("ro\ndeep\nfile\n1\n"), "{said}");
    std::fs::remove_dir_all(&lower).unwrap();
}

fn targets_are_made(bed: &Bed) {
    let dir = bed.lab.dir.join("made");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("f"), "data\n").unwrap();
    symlink("/etc", bed.lab.dir.join("lower/to-etc")).unwrap();
    symlink("../../../../etc", bed.lab.dir.join("lower/up")).unwrap();
    // Links to what is not there yet: a file, and a directory on the way.
    symlink(
        "../run/some/resolv.conf",
        bed.lab.dir.join("lower/etc/dangling"),
    )
    .unwrap();
    symlink("/run/where", bed.lab.dir.join("lower/nowhere")).unwrap();
    symlink("round", bed.lab.dir.join("lower/round")).unwrap();
    let mut s = spec(&["true"], true);
    add(&mut s, "tmpfs", "tmpfs", "/round/x", &[]);
    let error = bed.run(&s).unwrap_err();
    assert!(error.message.contains("too many levels"), "{error}");
    s.mounts.pop();
    add(
        &mut s,
        "bind",
        text(&dir.join("f")),
        "/etc/dangling",
        &["bind"],
    );
    add(&mut s, "bind", text(&dir), "/nowhere/deep", &["bind"]);
    add(
        &mut s,
        "bind",
        text(&dir.join("f")),
        "/a/b/c/file",
        &["bind"],
    );
    add(&mut s, "bind", text(&dir), "/a/b/d/../dir", &["bind"]);
    add(&mut s, "bind", text(&dir), "relative/dir", &["bind"]);
    add(
        &mut s,
        "bind",
        text(&dir.join("f")),
        "/to-etc/new/file",
        &["bind"],
    );
    add(&mut s, "bind", text(&dir), "/up/other", &["bind"]);
    add(&mut s, "tmpfs", "tmpfs", "/x/y/z", &[]);
    let said = sh(
        bed,
        &mut s,
        "cat /a/b/c/file /a/b/dir/f /relative/dir/f /etc/new/file /etc/other/f \
         /run/some/resolv.conf /etc/dangling /run/where/deep/f; \
         busybox stat -c %a /a /a/b /x/y",
    );
    assert_eq!(said, "data\n".repeat(8) + "755\n755\n755\n");
    for link in ["etc/dangling", "nowhere", "round"] {
        std::fs::remove_file(bed.lab.dir.join("lower").join(link)).unwrap();
    }
    std::fs::remove_file(bed.lab.dir.join("lower/to-etc")).unwrap();
    std::fs::remove_file(bed.lab.dir.join("lower/up")).unwrap();
}

fn read_only_tmpfs(bed: &Bed) {
    let mut s = spec(&[], true);
    add(&mut s, "tmpfs", "tmpfs", "/t", &["ro", "nosuid"]);
    add(&mut s, "tmpfs", "tmpfs", "/t/inner", &[]);
    s.mounts
        .iter_mut()
        .find(|m| m.destination == "/dev")
        .unwrap()
        .options
        .push("ro".into());
    let said = sh(
        bed,
        &mut s,
        "echo x > /t/f || echo ro; echo y > /t/inner/f; echo z > /dev/f || echo ro; ls /dev/null /dev/pts/ptmx",
    );
    assert!(
        said.contains("ro\n") && said.ends_with("ro\n/dev/null\n/dev/pts/ptmx\n"),
        "{said}"
    );
}

fn remount(bed: &Bed) {
    let dir = bed.lab.dir.join("again");
    std::fs::create_dir(&dir).unwrap();
    let mut s = spec(&[], true);
    add(&mut s, "tmpfs", "tmpfs", "/t", &["size=1m"]);
    add(
        &mut s,
        "tmpfs",
        "tmpfs",
        "/t",
        &["remount", "ro", "size=2m"],
    );
    add(&mut s, "bind", text(&dir), "/b", &["bind"]);
    add(
        &mut s,
        "none",
        "",
        "/b",
        &["bind", "remount", "ro", "noexec"],
    );
    let table = sh(bed, &mut s, "cat /proc/self/mountinfo");
    assert_eq!(flags(&table, "/t"), "ro,relatime");
    assert!(table.contains("size=2048k"), "{table}");
    assert_eq!(flags(&table, "/b"), "ro,noexec,relatime");
    assert_eq!(table.matches(" /b ").count(), 1, "{table}");
}

fn file_system_options(bed: &Bed) {
    let mut s = spec(&[], true);
    add(
        &mut s,
        "tmpfs",
        "tmpfs",
        "/t",
        &[
            "sync", "dirsync", "lazytime", "silent", "iversion", "defaults", "mode=701", "uid=5",
        ],
    );
    let said = sh(
        bed,
        &mut s,
        "busybox grep ' /t ' /proc/self/mountinfo; busybox stat -c %a:%u /t",
    );
    assert!(said.contains("sync") && said.contains("lazytime"), "{said}");
    assert!(said.ends_with("701:5\n"), "{said}");
    add(&mut s, "tmpfs", "tmpfs", "/u", &["nosuchoption"]);
    let error = bed.run(&s).unwrap_err();
    assert!(
        error
            .message
            .contains("\"nosuchoption\" for tmpfs: invalid argument"),
        "{error}"
    );
}

fn relative_source(bed: &Bed) {
    let dir = bed.bundle();
    std::fs::write(dir.join("beside"), "in the bundle\n").unwrap();
    let mut s = spec(&["cat", "/f"], true);
    add(&mut s, "bind", "beside", "/f", &["bind"]);
    let name = Name {
        id: "r",
        bundle: &dir,
    };
    let done = bed.run_with(&s, None, Some(&name)).unwrap();
    assert_eq!(done, (0, "in the bundle\n".into()));
}

fn cgroup_mounts(bed: &Bed) {
    // v1, with a namespace (the others are in the container tests): nothing of the host's names.
    let mut s = spec(&[], true);
    let said = sh(
        bed,
        &mut s,
        "busybox cat /proc/self/mountinfo | busybox grep ' - cgroup'",
    );
    for line in said.lines() {
        assert_eq!(line.split(' ').nth(3), Some("/"), "{said}");
    }
    // v2, on a mount of our own: hybrid machines have an empty one beside.
    let top = bed.lab.dir.join("unified");
    std::fs::create_dir(&top).unwrap();
    mount("cgroup2", &top, "cgroup2", MountFlags::empty(), None).unwrap();
    let layout = cgroup::Layout {
        version: 2,
        hierarchies: vec![cgroup::Hierarchy {
            mountpoint: top.clone(),
            controllers: Vec::new(),
        }],
    };
    let path = format!("corten-spec-{}", std::process::id());
    for (namespace, want) in [(true, "own"), (false, "whole")] {
        let group = cgroup::Cgroup::create(&layout, &path).unwrap();
        let mut s = spec(&[], true);
        if !namespace {
            linux(&mut s).namespaces.retain(|n| n.kind != "cgroup");
        }
        let script = format!(
            "test -d /sys/fs/cgroup/{path} && echo whole || echo own; \
             busybox grep ^0: /proc/self/cgroup; test -e /sys/fs/cgroup/cgroup.procs; \
             echo x > /sys/fs/cgroup/cgroup.procs || echo ro"
        );
        s.process.as_mut().unwrap().args = vec!["sh".into(), "-c".into(), script];
        let (code, said) = bed.run_in(&s, &group).unwrap();
        assert_eq!(code, 0, "{said}");
        let seen = if namespace {
            "/".to_owned()
        } else {
            format!("/{path}")
        };
        assert!(said.starts_with(&format!("{want}\n0::{seen}\n")), "{said}");
        assert!(said.ends_with("ro\n"), "{said}");
        group.remove().unwrap();
    }
    unmount(&top, UnmountFlags::DETACH).unwrap();
}

/// One word decides on all flags, but in a user namespace those of the host's stay.
fn flags_of_binds(bed: &Bed) {
    let dir = bed.lab.dir.join("flagged");
    std::fs::create_dir(&dir).unwrap();
    let all = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::RDONLY | MountFlags::NOATIME;
    mount("tmpfs", &dir, "tmpfs", MountFlags::empty(), None).unwrap();
    rustix::mount::mount_remount(&dir, all | MountFlags::BIND, "").unwrap();
    let said = |options: &[&str], in_user_namespace: bool| {
        let mut s = spec(&["cat", "/proc/self/mountinfo"], true);
        if in_user_namespace {
            user(&mut s);
        }
        add(&mut s, "bind", text(&dir), "/b", options);
        let (code, table) = bed.run(&s)?;
        assert_eq!(code, 0, "{table}");
        Ok::<_, Error>(flags(&table, "/b").to_owned())
    };
    let kept = "ro,nosuid,nodev,noatime";
    assert_eq!(said(&["bind"], false).unwrap(), kept);
    assert_eq!(said(&["bind"], true).unwrap(), kept);
    assert_eq!(
        said(&["bind", "noexec"], false).unwrap(),
        "rw,noexec,noatime"
    );
    assert_eq!(
        said(&["bind", "noexec"], true).unwrap(),
        "ro,nosuid,nodev,noexec,noatime"
    );
    let table = said(&["bind", "rw", "relatime"], false).unwrap();
    assert_eq!(table, "rw,relatime");
    for options in [&["bind", "rw"], &["bind", "suid"], &["bind", "relatime"]] {
        let error = said(options, true).unwrap_err().message;
        assert!(error.ends_with("operation not permitted"), "{error}");
    }
    unmount(&dir, UnmountFlags::DETACH).unwrap();
}

/// Bind mounts of what has been mounted in the container so far, and links of the image in their
/// way: these lead inside.
fn of_the_root_itself(bed: &Bed) {
    let outside = bed.lab.dir.join("outside-source");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("file"), "the host's").unwrap();
    let volume = bed.lab.dir.join("inside-source");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("file"), "mounted").unwrap();
    for mapped in [false, true] {
        let root = bed.bundle().join("rootfs");
        symlink(&outside, root.join("link")).unwrap();
        let mut s = spec(
            &["sh", "-c", "cat /final/file; stat -c :%u /final/file"],
            true,
        );
        let at = |path: &str| root.join(path).to_str().unwrap().to_owned();
        add(&mut s, "bind", text(&volume), "/v", &["bind"]);
        let options: &[&str] = if mapped {
            &["bind", "idmap"]
        } else {
            &["bind"]
        };
        add(&mut s, "bind", &at("v"), &at("final"), options);
        if mapped {
            let last = s.mounts.last_mut().unwrap();
            (last.uid_mappings, last.gid_mappings) = (map(0, 7, 1000), map(0, 7, 1000));
        }
        let (code, said) = bed.run_with(&s, Some(&root), None).unwrap();
        let owner = if mapped { 7 } else { 0 };
        assert_eq!((code, said), (0, format!("mounted:{owner}\n")));
        let last = s.mounts.last_mut().unwrap();
        last.source = at("link");
        let error = bed.run_with(&s, Some(&root), None).unwrap_err().message;
        assert!(
            error.ends_with("open: no such file or directory"),
            "{error}"
        );
    }
}

fn masked_once(bed: &Bed) {
    let mut s = spec(&["cat", "/proc/self/mountinfo"], true);
    let twice = ["/proc/keys", "/proc//keys", "/proc/./keys"];
    linux(&mut s).masked_paths = twice.map(str::to_owned).to_vec();
    let (_, table) = bed.run(&s).unwrap();
    assert_eq!(table.matches(" /proc/keys ").count(), 1, "{table}");
}

/// Without a mount namespace: the root is on the host until it is taken away.
fn on_the_host(bed: &Bed) {
    let root = bed.bundle().join("rootfs");
    let table = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = (table(), mounted_at(&root).unwrap());
    let mut s = spec(
        &["sh", "-c", "ls /; busybox readlink /proc/self/ns/mnt"],
        true,
    );
    s.mounts.retain(|m| m.kind != "cgroup");
    linux(&mut s).namespaces.retain(|n| n.kind != "mount");
    let error = bed.run_with(&s, Some(&root), None).unwrap_err().message;
    let text = "unable to restrict sys entries without a private MNT namespace";
    assert_eq!(error, text);
    linux(&mut s).masked_paths.clear();
    linux(&mut s).readonly_paths.clear();
    let (code, said) = bed.run_with(&s, Some(&root), None).unwrap();
    let own = std::fs::read_link("/proc/self/ns/mnt").unwrap();
    let want = format!("bin\ndev\netc\nproc\nsys\ntmp\n{}\n", own.display());
    assert_eq!((code, said), (0, want));
    assert_ne!(mounted_at(&root).unwrap(), before.1);
    detach_root(&root, before.1).unwrap();
    assert_eq!(table(), before.0);
    detach_root(&root, before.1).unwrap();
    // A failure leaves nothing.
    add(&mut s, "bind", "/no/such", "/x", &["bind"]);
    bed.run_with(&s, Some(&root), None).unwrap_err();
    assert_eq!(table(), before.0);
    // A root that is a mount of nobody's, and user namespaces, are refused.
    s.mounts.pop();
    assert_eq!(bed.run(&s).unwrap_err().kind, Kind::Unsupported);
    user(&mut s);
    let error = bed.run_with(&s, Some(&root), None).unwrap_err();
    assert_eq!(error.kind, Kind::Unsupported);
}

fn mistakes(bed: &Bed) {
    let refused = |kind: &str, source: &str, at: &str, options: &[&str]| {
        let mut s = spec(&["true"], true);
        add(&mut s, kind, source, at, options);
        bed.run(&s).unwrap_err().message
    };
    let n = spec(&[], true).mounts.len();
    let said = refused("bind", "/etc", "/e", &["bind", "size=1m"]);
    assert_eq!(
        said,
        format!("mounts[{n}].options: invalid option \"size\" for a bind mount")
    );
    let said = refused("bind", "/etc", "/e", &["bind", "tmpcopyup"]);
    assert!(
        said.ends_with("tmpcopyup is for mounts of type tmpfs"),
        "{said}"
    );
    let said = refused("tmpfs", "tmpfs", "/", &[]);
    assert!(
        said.ends_with("nothing can be mounted over the root itself"),
        "{said}"
    );
    let said = refused("nosuchfs", "x", "/x", &[]);
    assert!(said.contains("fsopen: no such device"), "{said}");
    let said = refused("bind", "/no/such", "/x", &["bind"]);
    assert!(
        said.ends_with("open_tree: no such file or directory"),
        "{said}"
    );
    let mut s = spec(&["true"], true);
    linux(&mut s).mount_label = "system_u:object_r:x".into();
    assert_eq!(
        bed.run(&s).unwrap_err().message,
        "linux.mountLabel: SELinux is disabled or not supported on this machine"
    );
}
