//! User namespaces that nobody stays in, for the sake of their maps and of what they own.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::pipe::PipeFlags;
use rustix::process::{WaitId, WaitIdOptions};

use crate::process::{CloneArgs, Cloned, clone3, exit_now, pidfd_signal};
use crate::{Errno, Result};

/// A user namespace, and a network namespace that belongs to it where one was asked for.
#[derive(Debug)]
pub struct Made {
    /// The user namespace.
    pub user: OwnedFd,
    /// The network namespace: empty, everything in it is down.
    pub network: Option<OwnedFd>,
}

/// Makes a user namespace with these lines of uid_map and gid_map (user_namespaces(7)), and with
/// `network` a network namespace that it owns.
///
/// For processes with several threads, too: the child that holds the namespaces until they are
/// open only waits.
///
/// # Errors
/// `EPERM` where the caller may not map these ids, `EINVAL` for maps that the kernel does not take.
pub fn make(uids: &str, gids: &str, network: bool) -> Result<Made> {
    let (wait, hold) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let mut flags = libc::CLONE_NEWUSER as u64;
    if network {
        flags |= libc::CLONE_NEWNET as u64;
    }
    let cloned = clone3(&CloneArgs {
        flags,
        cgroup: None,
    })?;
    let (pid, pidfd) = match cloned {
        Cloned::Child => {
            // Copies of the caller's descriptors: this one would keep the pipe open.
            drop(hold);
            // Until the other end is closed, also by the death of its owner.
            while rustix::io::read(&wait, &mut [0u8]) == Err(Errno::INTR) {}
            exit_now(0)
        }
        Cloned::Parent { pid, pidfd } => (pid.as_raw_pid(), pidfd),
    };
    let made = (|| {
        write(&format!("/proc/{pid}/gid_map"), gids)?;
        write(&format!("/proc/{pid}/uid_map"), uids)?;
        let open = |kind: &str| {
            let path = format!("/proc/{pid}/ns/{kind}");
            rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        };
        Ok(Made {
            user: open("user")?,
            network: network.then(|| open("net")).transpose()?,
        })
    })();
    // Not by the pipe alone: a child that another thread makes meanwhile has a copy of it.
    let _ = pidfd_signal(pidfd.as_fd(), libc::SIGKILL);
    drop(hold);
    let id = WaitId::PidFd(pidfd.as_fd());
    while let Err(Errno::INTR) = rustix::process::waitid(id.clone(), WaitIdOptions::EXITED) {}
    made
}

/// The kernel takes a whole map in one write.
fn write(path: &str, text: &str) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes()).map(drop)
}

/// A detached copy of the mount that `fd` is in, from there on, its ids mapped as in the user
/// namespace `user`. Of a mount that is itself detached the kernel makes copies since 6.15.
///
/// # Errors
/// `EINVAL` where the file system does not take it, or for a detached mount with an older kernel.
pub fn mapped_copy(fd: &OwnedFd, user: impl AsFd) -> Result<OwnedFd> {
    use rustix::mount::OpenTreeFlags;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = rustix::mount::open_tree(fd, "", flags)?;
    let attr = crate::mount::MountAttr {
        userns: Some(crate::mount::Borrowed(user.as_fd())),
        ..crate::mount::MountAttr::default()
    };
    crate::mount::set_attr(tree.as_fd(), &attr, false)?;
    Ok(tree)
}
