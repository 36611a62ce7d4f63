//! A busybox root file system on a tmpfs of its own, and the spec that Docker would write.

#[allow(dead_code, reason = "not everyone needs all of it")]
pub mod bed;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci::runtime::*;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::*;

/// A directory with `lower`, `upper` and `work`; removed when dropped.
pub struct Lab {
    pub dir: PathBuf,
    count: std::cell::Cell<u32>,
}

impl Lab {
    /// `None`, said aloud, where it cannot be made. The process gets a mount namespace of its
    /// own, so that nothing can be left behind.
    pub fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() || !Path::new("/bin/busybox").exists() {
            println!("skipped: needs root and /bin/busybox (busybox-static)");
            return None;
        }
        sys::process::unshare(libc::CLONE_NEWNS).unwrap();
        let top = rustix::fs::open("/", OFlags::PATH, Mode::empty()).unwrap();
        let attr = sys::mount::MountAttr {
            propagation: libc::MS_SLAVE,
            ..Default::default()
        };
        sys::mount::set_attr(top.as_fd(), &attr, true).unwrap();
        let dir = std::env::temp_dir().join(format!("corten-test-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        mount("tmpfs", &dir, "tmpfs", MountFlags::empty(), None).unwrap();
        for sub in ["lower/bin", "lower/etc", "lower/tmp"] {
            std::fs::create_dir_all(dir.join(sub)).unwrap();
        }
        std::fs::copy("/bin/busybox", dir.join("lower/bin/busybox")).unwrap();
        for applet in [
            "sh", "true", "cat", "id", "ls", "sleep", "stat", "echo", "hostname", "tty",
        ] {
            std::os::unix::fs::symlink("busybox", dir.join("lower/bin").join(applet)).unwrap();
        }
        let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/var/www:/bin/sh\n";
        std::fs::write(dir.join("lower/etc/passwd"), passwd).unwrap();
        std::fs::write(
            dir.join("lower/etc/group"),
            "root:x:0:\nwww:x:34:\naudio:x:29:web\n",
        )
        .unwrap();
        Some(Self {
            dir,
            count: Default::default(),
        })
    }

    /// A fresh detached overlay.
    pub fn rootfs(&self) -> OwnedFd {
        self.rootfs_of(0)
    }

    /// One whose root directory belongs to `uid`.
    pub fn rootfs_of(&self, uid: u32) -> OwnedFd {
        let n = self.count.get();
        self.count.set(n + 1);
        let (upper, work) = (
            self.dir.join(format!("u{n}")),
            self.dir.join(format!("w{n}")),
        );
        std::fs::create_dir(&upper).unwrap();
        std::fs::create_dir(&work).unwrap();
        std::os::unix::fs::chown(&upper, Some(uid), Some(uid)).unwrap();
        let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
        fsconfig_set_string(&fs, "source", "overlay").unwrap();
        fsconfig_set_string(&fs, "lowerdir", self.dir.join("lower")).unwrap();
        fsconfig_set_string(&fs, "upperdir", upper).unwrap();
        fsconfig_set_string(&fs, "workdir", work).unwrap();
        fsconfig_set_flag(&fs, "volatile").unwrap();
        fsconfig_create(&fs).unwrap();
        fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = unmount(&self.dir, UnmountFlags::DETACH);
        let _ = rustix::fs::unlinkat(CWD, &self.dir, rustix::fs::AtFlags::REMOVEDIR);
    }
}

/// What Docker writes for a plain container, with a network namespace when `net`.
pub fn spec(args: &[&str], net: bool) -> Spec {
    let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let mount = |kind: &str, source: &str, at: &str, options: &[&str]| Mount {
        destination: at.into(),
        kind: kind.into(),
        source: source.into(),
        options: strings(options),
        ..Default::default()
    };
    let caps = strings(&[
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FSETID",
        "CAP_FOWNER",
        "CAP_MKNOD",
        "CAP_NET_RAW",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETFCAP",
        "CAP_SETPCAP",
        "CAP_NET_BIND_SERVICE",
        "CAP_SYS_CHROOT",
        "CAP_KILL",
        "CAP_AUDIT_WRITE",
    ]);
    let mut namespaces = strings(&["mount", "uts", "pid", "ipc", "cgroup"]);
    if net {
        namespaces.push("network".into());
    }
    let sys_options: &[&str] = &["nosuid", "noexec", "nodev", "ro"];
    let mut mounts = vec![
        mount("proc", "proc", "/proc", &["nosuid", "noexec", "nodev"]),
        mount(
            "tmpfs",
            "tmpfs",
            "/dev",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "devpts",
            "devpts",
            "/dev/pts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        mount(
            "cgroup",
            "cgroup",
            "/sys/fs/cgroup",
            &["ro", "nosuid", "noexec", "nodev"],
        ),
        mount(
            "mqueue",
            "mqueue",
            "/dev/mqueue",
            &["nosuid", "noexec", "nodev"],
        ),
        mount(
            "tmpfs",
            "shm",
            "/dev/shm",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        ),
    ];
    mounts.insert(3, mount("sysfs", "sysfs", "/sys", sys_options));
    Spec {
        oci_version: "1.2.1".into(),
        hostname: "lab".into(),
        mounts,
        process: Some(Process {
            args: strings(args),
            env: strings(&["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]),
            cwd: "/".into(),
            capabilities: Some(Capabilities {
                bounding: caps.clone(),
                effective: caps.clone(),
                permitted: caps,
                ..Default::default()
            }),
            ..Default::default()
        }),
        linux: Some(Linux {
            namespaces: namespaces
                .into_iter()
                .map(|kind| Namespace {
                    kind,
                    path: String::new(),
                })
                .collect(),
            masked_paths: strings(&[
                "/proc/asound",
                "/proc/acpi",
                "/proc/interrupts",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/proc/sched_debug",
                "/proc/scsi",
                "/sys/firmware",
                "/sys/devices/virtual/powercap",
            ]),
            readonly_paths: strings(&[
                "/proc/bus",
                "/proc/fs",
                "/proc/irq",
                "/proc/sys",
                "/proc/sysrq-trigger",
            ]),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub fn process(spec: &mut Spec) -> &mut Process {
    spec.process.as_mut().unwrap()
}

pub fn linux(spec: &mut Spec) -> &mut Linux {
    spec.linux.as_mut().unwrap()
}
