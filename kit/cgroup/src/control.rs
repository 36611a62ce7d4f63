//! Freezing, killing, listing and removing.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{AtFlags, CWD, Dir as Entries, FileType, OFlags};
use rustix::process::PidfdFlags;
use sys::Errno;

use crate::{Cgroup, Dir, Error, Result};

/// How often v1's freezer is looked at again; each turn gives the processor away, so this bounds
/// seconds even on a loaded machine.
const FREEZE_TURNS: u32 = 4000;

impl Cgroup {
    /// Stops every process in it and returns when all have.
    pub fn freeze(&self) -> Result<()> {
        if self.version == 2 {
            let dir = self.need("cgroup")?;
            dir.write("cgroup.freeze", "1")?;
            return wait_event(dir, |events| has(events, "frozen 1"));
        }
        let dir = self.need("freezer")?;
        // v1 gives no event. A process forking just then can keep it FREEZING until the state is
        // written again; reading the state itself makes the kernel look whether all have stopped.
        for turn in 0..FREEZE_TURNS {
            if turn % 50 == 0 {
                dir.write("freezer.state", "FROZEN")?;
            }
            if dir.read("freezer.state")?.trim() == "FROZEN" {
                return Ok(());
            }
            rest();
        }
        dir.write("freezer.state", "THAWED")?;
        Err(Error::new(format!("unable to freeze {}", self.path)))
    }

    /// Lets every process run again.
    pub fn thaw(&self) -> Result<()> {
        match self.version {
            2 => {
                let dir = self.need("cgroup")?;
                dir.write("cgroup.freeze", "0")?;
                wait_event(dir, |events| has(events, "frozen 0"))
            }
            _ => self.need("freezer")?.write("freezer.state", "THAWED"),
        }
    }

    /// It is frozen or about to be.
    pub fn frozen(&self) -> Result<bool> {
        match self.version {
            2 => Ok(self.need("cgroup")?.read("cgroup.freeze")?.trim() == "1"),
            _ => Ok(self.need("freezer")?.read("freezer.state")?.trim() != "THAWED"),
        }
    }

    /// Sends SIGKILL to every process in it and below; they may still be dying on return.
    pub fn kill(&self) -> Result<()> {
        if self.version == 2 {
            match self.need("cgroup")?.write("cgroup.kill", "1") {
                Err(e) if e.errno == Some(Errno::NOENT) => {}
                other => return other,
            }
        }
        // Frozen, so that none can fork away between the reading and the killing.
        let frozen = self.freeze();
        for pid in self.procs()? {
            // ESRCH: it died meanwhile, which is what was wanted.
            let _ = sys::process::kill(pid as i32, libc_sigkill());
        }
        match frozen {
            Ok(()) => self.thaw(),
            Err(_) => Ok(()),
        }
    }

    /// Sends a signal to every process in it and below, as they are found in one reading.
    pub fn signal(&self, signal: i32) -> Result<()> {
        for pid in self.procs()? {
            match sys::process::kill(pid as i32, signal) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(e) => return Err(Error::errno("signal process", &pid.to_string(), e)),
            }
        }
        Ok(())
    }

    /// Pids, as the caller sees them, of every process in it and below.
    pub fn procs(&self) -> Result<Vec<u32>> {
        // Any hierarchy has them all; the freezer's is the one that kill and pause work on.
        let dir = match self.version {
            1 => self.dir("freezer").or(self.dirs.first()),
            _ => self.dirs.first(),
        };
        let mut pids = Vec::new();
        if let Some(dir) = dir {
            collect_procs(dir, Path::new(""), &mut pids)?;
        }
        Ok(pids)
    }

    /// Pids of every process in any of its directories, each once: a cgroup that others made may
    /// have different ones in each hierarchy.
    pub fn all_procs(&self) -> Result<Vec<u32>> {
        let mut pids = Vec::new();
        for dir in &self.dirs {
            collect_procs(dir, Path::new(""), &mut pids)?;
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// Kills what is left and removes the directories, those below first. Goes on after a
    /// failure and returns the first one. Idempotent.
    pub fn remove(&self) -> Result<()> {
        let mut first = Ok(());
        let mut thawed = false;
        for dir in &self.dirs {
            if rustix::fs::unlinkat(CWD, &dir.path, AtFlags::REMOVEDIR).is_ok() {
                continue;
            }
            if !std::mem::replace(&mut thawed, true) && self.version == 1 {
                // What is frozen cannot die.
                let _ = self.thaw();
            }
            let done = remove_tree(&dir.path);
            if first.is_ok() {
                first = done;
            }
        }
        first
    }

    fn need(&self, controller: &str) -> Result<&Dir> {
        self.dir(controller)
            .ok_or_else(|| Error::new(format!("cgroup controller {controller:?} is not available")))
    }
}

fn libc_sigkill() -> i32 {
    rustix::process::Signal::KILL.as_raw()
}

fn has(events: &str, line: &str) -> bool {
    events.lines().any(|l| l == line)
}

/// Waits until `cgroup.events` satisfies `done`; the kernel raises POLLPRI on each change.
fn wait_event(dir: &Dir, done: impl Fn(&str) -> bool) -> Result<()> {
    let fd = dir.open("cgroup.events", OFlags::RDONLY)?;
    let mut buffer = [0u8; 256];
    loop {
        let n = rustix::io::pread(&fd, &mut buffer, 0)
            .map_err(|e| dir.error("read", "cgroup.events", e))?;
        let text = String::from_utf8_lossy(buffer.get(..n).unwrap_or_default());
        if done(&text) {
            return Ok(());
        }
        let mut polled = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::PRI)];
        let limit = Timespec {
            tv_sec: 10,
            tv_nsec: 0,
        };
        match rustix::event::poll(&mut polled, Some(&limit)) {
            Ok(0) => return Err(dir.error("wait for", "cgroup.events", Errno::TIMEDOUT)),
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(dir.error("poll", "cgroup.events", e)),
        }
    }
}

/// The shortest rest that lets others run, for v1 where no event can be waited for.
fn rest() {
    let _ = rustix::thread::nanosleep(&Timespec {
        tv_sec: 0,
        tv_nsec: 500_000,
    });
}

fn collect_procs(dir: &Dir, below: &Path, pids: &mut Vec<u32>) -> Result<()> {
    let file = below.join("cgroup.procs");
    let text = match dir.read(&file.to_string_lossy()) {
        Ok(text) => text,
        // Removed meanwhile: nobody is in it.
        Err(e) if matches!(e.errno, Some(Errno::NOENT | Errno::NODEV)) => return Ok(()),
        Err(e) => return Err(e),
    };
    pids.extend(
        text.lines()
            .filter_map(|l| l.trim().parse().ok())
            .filter(|&p: &u32| p > 0),
    );
    for child in children(dir, below)? {
        collect_procs(dir, &below.join(child), pids)?;
    }
    Ok(())
}

fn children(dir: &Dir, below: &Path) -> Result<Vec<String>> {
    let name = if below.as_os_str().is_empty() {
        Path::new(".")
    } else {
        below
    };
    let fd = match dir.open(&name.to_string_lossy(), OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(fd) => fd,
        Err(e) if e.errno == Some(Errno::NOENT) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let entries =
        Entries::read_from(&fd).map_err(|e| dir.error("list", &name.to_string_lossy(), e))?;
    let mut names = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy();
        if entry.file_type() == FileType::Directory && name != "." && name != ".." {
            names.push(name.into_owned());
        }
    }
    Ok(names)
}

fn remove_tree(path: &Path) -> Result<()> {
    let shown = path.to_string_lossy();
    let mut empty_turns = 0;
    loop {
        match rustix::fs::unlinkat(CWD, path, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY | Errno::NOTEMPTY) => {}
            Err(Errno::INTR) => continue,
            Err(e) => return Err(Error::errno("rmdir", &shown, e)),
        }
        // EBUSY: processes, which are killed and waited for, or directories below.
        remove_children(path)?;
        let pids = procs_at(path);
        if !pids.is_empty() {
            empty_turns = 0;
            end(&pids).map_err(|e| Error::errno("end processes of", &shown, e))?;
            continue;
        }
        // Nobody is in it and still it is busy: the last one has been seen to exit, but the
        // kernel has not let go of it yet. There is no event for that on v1.
        empty_turns += 1;
        if empty_turns > REMOVE_TURNS {
            return Err(Error::errno("rmdir", &shown, Errno::BUSY));
        }
        if empty_turns > 1 {
            rest();
        }
    }
}

/// How often an empty cgroup that is still busy is tried again; about two seconds in all.
const REMOVE_TURNS: u32 = 4000;

/// How long killed processes may take to die.
const DEATH: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

/// Kills processes and returns when they have exited, reaped or not.
fn end(pids: &[i32]) -> std::result::Result<(), Errno> {
    let mut dying = Vec::with_capacity(pids.len());
    for pid in pids {
        let Some(pid) = rustix::process::Pid::from_raw(*pid) else {
            continue;
        };
        // Gone already, or a thread's number: there is nothing to wait for.
        if let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            let _ = sys::process::pidfd_signal(pidfd.as_fd(), libc_sigkill());
            dying.push(pidfd);
        }
    }
    for pidfd in &dying {
        let mut polled = [PollFd::new(pidfd, PollFlags::IN)];
        loop {
            match rustix::event::poll(&mut polled, Some(&DEATH)) {
                Ok(0) => return Err(Errno::TIMEDOUT),
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(())
}

fn remove_children(path: &Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(path) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

fn procs_at(path: &Path) -> Vec<i32> {
    let text = std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    // 0 is a process outside of our pid namespace; kill(0) would hit our own group.
    text.lines()
        .filter_map(|l| l.trim().parse().ok())
        .filter(|&p: &i32| p > 0)
        .collect()
}
