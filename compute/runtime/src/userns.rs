//! Mappings of ids: of a container's user namespace, and of mounts.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use oci::runtime::{IdMapping, Linux};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::pipe::PipeFlags;
use rustix::process::{WaitId, WaitIdOptions};
use sys::Errno;
use sys::process::{CloneArgs, Cloned};

use crate::error::{Context, errno_text};
use crate::procfs::Proc;
use crate::spawn::{self, Helper, Outcome};
use crate::{Error, Result};

/// Writes the maps of a new user namespace that `pid` is in.
pub(crate) fn map(linux: &Linux, pid: u32) -> Result<()> {
    maps(pid, &linux.uid_mappings, &linux.gid_mappings)
}

/// Mappings beside a namespace that is joined are taken if they say what is so: some callers
/// always write both.
pub(crate) fn same_maps(namespace: &OwnedFd, linux: &Linux) -> Result<()> {
    let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).context(|| "make pipe");
    let ((wait, hold), (inside, enter)) = (pipe()?, pipe()?);
    let cloned = sys::process::clone3(&CloneArgs::default()).context(|| "clone3")?;
    let (pid, pidfd) = match cloned {
        Cloned::Child => {
            drop(hold);
            if sys::process::setns(namespace.as_fd(), libc::CLONE_NEWUSER).is_ok() {
                let _ = rustix::io::write(&enter, b"x");
                let _ = rustix::io::read(&wait, &mut [0u8]);
            }
            sys::process::exit_now(0)
        }
        Cloned::Parent { pid, pidfd } => (pid.as_raw_pid(), pidfd),
    };
    drop(enter);
    let entered = rustix::io::read(&inside, &mut [0u8]) == Ok(1);
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}"));
    let same = entered
        && [
            ("uid_map", &linux.uid_mappings),
            ("gid_map", &linux.gid_mappings),
        ]
        .iter()
        .all(|(file, list)| read(file).is_ok_and(|text| parse(&text) == **list));
    drop(hold);
    reap(&pidfd);
    match (entered, same) {
        (true, true) => Ok(()),
        (true, false) => Err(Error::invalid(
            "linux.uidMappings: the user namespace to join is mapped otherwise",
        )),
        (false, _) => Err(Error::unsupported(
            "linux.namespaces: the user namespace cannot be joined",
        )),
    }
}

/// Lines of a uid_map file.
fn parse(text: &str) -> Vec<IdMapping> {
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map(|n| n.parse().ok());
        Some(IdMapping {
            container_id: numbers.next()??,
            host_id: numbers.next()??,
            size: numbers.next()??,
        })
    };
    text.lines().filter_map(line).collect()
}

fn reap(pidfd: &OwnedFd) {
    while let Err(Errno::INTR) =
        rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
    {}
}

/// A user namespace that nobody is in, for the sake of its maps.
pub(crate) fn make(uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd> {
    let (wait, hold) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).context(|| "make pipe")?;
    let args = CloneArgs {
        flags: libc::CLONE_NEWUSER as u64,
        cgroup: None,
    };
    let (pid, pidfd) = match sys::process::clone3(&args).context(|| "make user namespace")? {
        Cloned::Child => {
            drop(hold);
            // Until the other end is closed, also by the death of its owner.
            let _ = rustix::io::read(&wait, &mut [0u8]);
            sys::process::exit_now(0)
        }
        Cloned::Parent { pid, pidfd } => (pid.as_raw_pid().unsigned_abs(), pidfd),
    };
    let namespace = maps(pid, uids, gids).and_then(|()| {
        let path = format!("/proc/{pid}/ns/user");
        rustix::fs::openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .context(|| format!("open {path}"))
    });
    drop(hold);
    reap(&pidfd);
    namespace
}

fn maps(pid: u32, uids: &[IdMapping], gids: &[IdMapping]) -> Result<()> {
    let proc = Proc::host().context(|| "open /proc")?;
    // Groups first: without a map of the user the writer still has its rights over the process.
    for (file, key, helper, list) in [
        ("gid_map", "linux.gidMappings", "newgidmap", gids),
        ("uid_map", "linux.uidMappings", "newuidmap", uids),
    ] {
        match write(&proc, pid, file, list) {
            Ok(()) => {}
            Err(Errno::PERM) => unprivileged(&proc, pid, file, helper, list)
                .map_err(|e| Error::new(e.kind, format!("{key}: {}", e.message)))?,
            Err(e) => {
                return Err(Error::internal(format!(
                    "{key}: write {file}: {}",
                    errno_text(e)
                )));
            }
        }
    }
    Ok(())
}

/// The kernel takes the whole map in one write (user_namespaces(7)).
fn write(proc: &Proc, pid: u32, file: &str, list: &[IdMapping]) -> sys::Result<()> {
    let lines: String = list
        .iter()
        .map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.size))
        .collect();
    let fd = proc.open(&format!("{pid}/{file}"))?;
    rustix::io::write(&fd, lines.as_bytes()).map(drop)
}

/// Without privilege one may map oneself, having given up to change groups; for more there are
/// set-user-ID helpers that know what /etc/subuid grants.
fn unprivileged(proc: &Proc, pid: u32, file: &str, helper: &str, list: &[IdMapping]) -> Result<()> {
    let own = match file {
        "uid_map" => rustix::process::geteuid().as_raw(),
        _ => rustix::process::getegid().as_raw(),
    };
    if let [one] = list
        && one.size == 1
        && one.host_id == own
    {
        if file == "gid_map" {
            let fd = proc
                .open(&format!("{pid}/setgroups"))
                .context(|| "open setgroups")?;
            rustix::io::write(&fd, b"deny").context(|| "write setgroups")?;
        }
        return write(proc, pid, file, list).context(|| format!("write {file}"));
    }
    let mut args = vec![helper.to_owned(), pid.to_string()];
    for m in list {
        args.extend([m.container_id, m.host_id, m.size].map(|n| n.to_string()));
    }
    let args: Vec<CString> = args
        .into_iter()
        .filter_map(|a| CString::new(a).ok())
        .collect();
    let env = crate::hooks::inherited();
    let mut problem = format!("{helper} is not installed");
    for dir in ["/usr/bin", "/bin", "/usr/local/bin"] {
        let path = format!("{dir}/{helper}");
        if rustix::fs::access(&path, rustix::fs::Access::EXEC_OK).is_err() {
            continue;
        }
        let path = CString::new(path).unwrap_or_default();
        let (outcome, said) = spawn::run(&Helper {
            path: &path,
            args: &args,
            env: &env,
            cwd: None,
            stdin: &[],
            timeout: None,
        })?;
        match outcome {
            Outcome::Exited(0) => return Ok(()),
            _ => problem = format!("{helper}: {said}"),
        }
        break;
    }
    Err(Error::unsupported(format!(
        "mapping other ids than one's own takes privilege: {problem}"
    )))
}
