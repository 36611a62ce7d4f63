//! One machine to run containers on: files, cgroups, and what becomes of them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci::runtime::*;
use runtime::*;
use rustix::process::{WaitId, WaitIdOptions};

use super::{Lab, spec};

pub type Test = (&'static str, fn(&Bed));

pub struct Bed {
    pub lab: Lab,
    layout: cgroup::Layout,
    parent: String,
    count: std::cell::Cell<u32>,
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Ok(Some(parent)) = cgroup::Cgroup::open(&self.layout, &self.parent) {
            parent.remove().unwrap();
        }
    }
}

/// What a finished container said: exit code (128 + signal), output.
pub type Said = (i32, String);

impl Bed {
    /// `None` where there can be no containers.
    pub fn new() -> Option<Self> {
        Some(Self {
            lab: Lab::new()?,
            layout: cgroup::Layout::detect().unwrap(),
            parent: format!("corten-test-{}", std::process::id()),
            count: Default::default(),
        })
    }

    /// Those whose name contains the first argument.
    pub fn run_all(&self, tests: &[Test]) {
        let filter = std::env::args().nth(1).unwrap_or_default();
        for (name, test) in tests
            .iter()
            .filter(|(n, _)| n.contains(filter.trim_start_matches('-')))
        {
            test(self);
            println!("test {name} ... ok");
        }
    }

    pub fn cgroup(&self) -> cgroup::Cgroup {
        self.count.set(self.count.get() + 1);
        let path = format!("{}/c{}", self.parent, self.count.get());
        cgroup::Cgroup::create(&self.layout, &path).unwrap()
    }

    pub fn run(&self, spec: &Spec) -> runtime::Result<Said> {
        self.run_as(spec, None)
    }

    pub fn run_as(&self, spec: &Spec, user: Option<&str>) -> runtime::Result<Said> {
        let owner = spec
            .linux
            .iter()
            .flat_map(|l| &l.uid_mappings)
            .map(|m| m.host_id)
            .next();
        let rootfs = self.lab.rootfs_of(owner.unwrap_or(0));
        self.launch(spec, Rootfs::Mount(rootfs.as_fd()), user, None)
    }

    /// From a directory when there is one, and with a name when there is one.
    pub fn run_with(
        &self,
        spec: &Spec,
        root: Option<&Path>,
        name: Option<&Name<'_>>,
    ) -> runtime::Result<Said> {
        match root {
            Some(root) => self.launch(spec, Rootfs::Path(root), None, name),
            None => {
                let rootfs = self.lab.rootfs();
                self.launch(spec, Rootfs::Mount(rootfs.as_fd()), None, name)
            }
        }
    }

    /// In a cgroup of the caller's.
    pub fn run_in(&self, spec: &Spec, cgroup: &cgroup::Cgroup) -> runtime::Result<Said> {
        let rootfs = self.lab.rootfs();
        self.launch_in(
            spec,
            Rootfs::Mount(rootfs.as_fd()),
            None,
            None,
            Some(cgroup),
        )
    }

    fn launch(
        &self,
        spec: &Spec,
        rootfs: Rootfs<'_>,
        user: Option<&str>,
        name: Option<&Name<'_>>,
    ) -> runtime::Result<Said> {
        let cgroup = self.cgroup();
        let said = self.launch_in(spec, rootfs, user, name, Some(&cgroup));
        cgroup.remove().unwrap();
        said
    }

    pub fn launch_in(
        &self,
        spec: &Spec,
        rootfs: Rootfs<'_>,
        user: Option<&str>,
        name: Option<&Name<'_>>,
        cgroup: Option<&cgroup::Cgroup>,
    ) -> runtime::Result<Said> {
        let null = null();
        let (r, w) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let build = Build {
            spec,
            rootfs,
            netns: None,
            identity: user.map(|user| Identity {
                user,
                extra_groups: &[],
            }),
            create_cwd: true,
            init: None,
            stdio: Stdio::Fds([null.as_fd(), w.as_fd(), w.as_fd()]),
            cgroup,
            seccomp: None,
            extras: Extras::default(),
        };
        let started = match name {
            Some(name) => launch_named(&build, name),
            None => launch(&build),
        };
        drop(w);
        let started = started?;
        let text = read_all(r);
        Ok((wait(started.pidfd.as_fd()), text))
    }

    /// A directory with a `rootfs` in it, a copy that may be changed.
    pub fn bundle(&self) -> PathBuf {
        self.count.set(self.count.get() + 1);
        let dir = self.lab.dir.join(format!("bundle{}", self.count.get()));
        let root = dir.join("rootfs");
        for sub in ["bin", "etc", "tmp"] {
            std::fs::create_dir_all(root.join(sub)).unwrap();
            for entry in std::fs::read_dir(self.lab.dir.join("lower").join(sub)).unwrap() {
                let entry = entry.unwrap();
                let to = root.join(sub).join(entry.file_name());
                match std::fs::read_link(entry.path()) {
                    Ok(target) => std::os::unix::fs::symlink(target, to).unwrap(),
                    Err(_) => std::fs::hard_link(entry.path(), to).unwrap(),
                }
            }
        }
        dir
    }

    pub fn sh(&self, script: &str) -> Said {
        self.run(&spec(&["sh", "-c", script], true)).unwrap()
    }
}

/// A container that nothing more is said of.
pub fn plain<'a>(
    spec: &'a Spec,
    rootfs: &'a OwnedFd,
    cgroup: &'a cgroup::Cgroup,
    streams: [BorrowedFd<'a>; 3],
) -> Build<'a> {
    Build {
        spec,
        rootfs: Rootfs::Mount(rootfs.as_fd()),
        netns: None,
        identity: None,
        create_cwd: false,
        init: None,
        stdio: Stdio::Fds(streams),
        cgroup: Some(cgroup),
        seccomp: None,
        extras: Extras::default(),
    }
}

/// One more process in the container of `target`.
pub fn joining<'a>(
    target: BorrowedFd<'a>,
    process: &'a Process,
    cgroup: &'a cgroup::Cgroup,
    streams: [BorrowedFd<'a>; 3],
) -> Exec<'a> {
    Exec {
        target,
        process,
        identity: None,
        create_cwd: false,
        stdio: Stdio::Fds(streams),
        cgroup: Some(cgroup),
        seccomp: None,
        extras: Extras::default(),
    }
}

pub fn null() -> OwnedFd {
    rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDWR,
        rustix::fs::Mode::empty(),
    )
    .unwrap()
}

pub fn read_all(fd: OwnedFd) -> String {
    use std::io::Read;
    let mut text = String::new();
    let _ = std::fs::File::from(fd).read_to_string(&mut text);
    text
}

pub fn wait(pidfd: BorrowedFd<'_>) -> i32 {
    let status = rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED)
        .unwrap()
        .unwrap();
    status
        .exit_status()
        .unwrap_or_else(|| 128 + status.terminating_signal().unwrap())
}
