//! Kernel parameters that belong to a namespace.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};

use crate::error::{Context, errno_text};
use crate::procfs::Proc;
use crate::{Error, Result};

const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Refuses what would change the host; `has` tells whether the container has a namespace.
pub(crate) fn validate(sysctl: &BTreeMap<String, String>, has: impl Fn(i32) -> bool) -> Result<()> {
    for key in sysctl.keys() {
        let name = dotted(key);
        if key.contains("..") || name.split('.').any(str::is_empty) {
            return Err(Error::invalid(format!(
                "linux.sysctl: {key:?} is not the name of a parameter"
            )));
        }
        let part = |prefix: &str| name.starts_with(prefix);
        let allowed = if IPC.contains(&name.as_str()) || part("fs.mqueue.") {
            has(libc::CLONE_NEWIPC)
        } else if part("net.") {
            has(libc::CLONE_NEWNET)
        } else if part("user.") {
            has(libc::CLONE_NEWUSER)
        } else if name == "kernel.domainname" {
            has(libc::CLONE_NEWUTS)
        } else if name == "kernel.hostname" {
            return Err(Error::invalid(format!(
                "linux.sysctl: {key:?} conflicts with the OCI field hostname"
            )));
        } else {
            return Err(Error::invalid(format!(
                "linux.sysctl: {key:?} is not in a separate kernel namespace"
            )));
        };
        if !allowed {
            return Err(Error::invalid(format!(
                "linux.sysctl: {key:?} is not allowed in the host's namespace of its kind"
            )));
        }
    }
    Ok(())
}

/// The same name cannot be set to two things.
pub(crate) fn agrees(sysctl: &BTreeMap<String, String>, domainname: &str) -> Result<()> {
    let other = |(key, value): (&String, &String)| {
        dotted(key) == "kernel.domainname" && value != domainname
    };
    match !domainname.is_empty() && sysctl.iter().any(other) {
        true => Err(Error::invalid(
            "linux.sysctl: \"kernel.domainname\" conflicts with the OCI field domainname",
        )),
        false => Ok(()),
    }
}

/// Writes them through the container's own /proc, which must be one.
pub(crate) fn write(root: BorrowedFd<'_>, sysctl: &BTreeMap<String, String>) -> Result<()> {
    if sysctl.is_empty() {
        return Ok(());
    }
    let proc = Proc::of_container(root).context(|| "linux.sysctl: open /proc")?;
    for (key, value) in sysctl {
        let fail = |e| Error::internal(format!("linux.sysctl: write {key}: {}", errno_text(e)));
        let fd = proc.open(&format!("sys/{}", slashed(key))).map_err(fail)?;
        rustix::io::write(fd.as_fd(), value.as_bytes()).map_err(fail)?;
    }
    Ok(())
}

/// Either separator may be used, and then the other stands for itself: the first one decides.
fn slashed(key: &str) -> String {
    let first = key.find(['.', '/']);
    match first.and_then(|at| key.as_bytes().get(at)) {
        Some(b'.') => key
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect(),
        _ => key.to_owned(),
    }
}

fn dotted(key: &str) -> String {
    slashed(key).replace('/', ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &str) -> BTreeMap<String, String> {
        [(key.to_owned(), "1".to_owned())].into()
    }

    #[test]
    fn only_namespaced_ones() {
        assert!(validate(&one("net.ipv4.ip_forward"), |_| true).is_ok());
        assert!(validate(&one("net/ipv4/conf/eth0.1/forwarding"), |_| true).is_ok());
        assert!(validate(&one("net.ipv4.ip_forward"), |_| false).is_err());
        assert!(validate(&one("kernel.shmmax"), |f| f == libc::CLONE_NEWIPC).is_ok());
        assert!(validate(&one("kernel.panic"), |_| true).is_err());
        assert!(validate(&one("vm.swappiness"), |_| true).is_err());
        assert!(validate(&one("net/../kernel/panic"), |_| true).is_err());
        assert!(validate(&one("net..x"), |_| true).is_err());
    }

    #[test]
    fn separators() {
        assert_eq!(
            slashed("net.ipv4.conf.eth0/1.forwarding"),
            "net/ipv4/conf/eth0.1/forwarding"
        );
        assert_eq!(slashed("net/ipv4/conf/eth0.1/x"), "net/ipv4/conf/eth0.1/x");
    }
}
