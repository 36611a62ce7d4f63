//! Network devices moved into a container (config-linux.md#network-devices).
//!
//! Name and namespace change in one request, so that the new name is never in the way of another
//! of the host. The kernel drops the addresses on the way; those that are permanent and global are
//! given back, and the device comes up.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use netlink::route::{Address, Link, Requests, Route};
use oci::runtime::Linux;
use rustix::fs::{Mode, OFlags};

use crate::error::Context;
use crate::{Error, Result};

/// IFNAMSIZ of linux/if.h, its ending NUL included.
const NAME_SIZE: usize = 16;

/// Names that the kernel would not take (`dev_valid_name`).
pub(crate) fn check(linux: &Linux) -> Result<()> {
    for (host, device) in &linux.net_devices {
        for (key, name) in [("", host), (".name", &device.name)] {
            let empty = key == ".name" && name.is_empty();
            if !empty && !valid(name) {
                return Err(Error::invalid(format!(
                    "linux.netDevices.{host}{key}: {name:?} is not a name of a network device"
                )));
            }
        }
    }
    Ok(())
}

fn valid(name: &str) -> bool {
    let bad = |c: char| matches!(c, '/' | ':' | '\0') || c.is_whitespace();
    !matches!(name, "" | "." | "..") && name.len() < NAME_SIZE && !name.contains(bad)
}

/// Moves all devices of the spec into `netns`, the namespace of a child that waits.
pub(crate) fn move_all(linux: &Linux, netns: BorrowedFd<'_>) -> Result<()> {
    if linux.net_devices.is_empty() {
        return Ok(());
    }
    let fail = |e: netlink::Error| Error::internal(format!("linux.netDevices: {e}"));
    let mut here = Route::open().map_err(fail)?;
    let mut there = within(netns, || Route::open().map_err(fail))??;
    for (host, device) in &linux.net_devices {
        let name = if device.name.is_empty() {
            host
        } else {
            &device.name
        };
        one(&mut here, &mut there, netns, host, name)
            .map_err(|e| Error::new(e.kind, format!("linux.netDevices.{host}: {}", e.message)))?;
    }
    Ok(())
}

fn one(
    here: &mut Route,
    there: &mut Route,
    netns: BorrowedFd<'_>,
    host: &str,
    name: &str,
) -> Result<()> {
    let fail = |e: netlink::Error| Error::internal(e.to_string());
    let link = here
        .link(host)
        .map_err(fail)?
        .ok_or_else(|| Error::invalid("there is no such network device"))?;
    let addresses: Vec<Address> = here
        .addresses()
        .map_err(fail)?
        .into_iter()
        .filter(|a| a.index == link.index && a.permanent && a.scope == 0)
        .collect();
    let before = there.links().map_err(fail)?;
    if before.iter().any(|l| l.name == name) {
        return Err(Error::invalid(format!(
            "the container has a network device {name:?} already"
        )));
    }
    let mut requests = Requests::new();
    requests.set_up(link.index, false);
    requests.move_link(link.index, name, netns);
    if let Err(error) = here.run(&mut requests) {
        // It is still here: as it was found.
        if link.up {
            let mut again = Requests::new();
            let _ = here.run(again.set_up(link.index, true));
        }
        return Err(fail(error));
    }
    let moved = arrived(&before, there.links().map_err(fail)?, name)?;
    let mut requests = Requests::new();
    for address in &addresses {
        requests.add_address(moved.index, address.ip, address.prefix, false);
    }
    requests.set_up(moved.index, true);
    there.run(&mut requests).map_err(fail)
}

/// The one that was not there before. Its name may be one that the kernel has numbered.
fn arrived(before: &[Link], after: Vec<Link>, name: &str) -> Result<Link> {
    let new = |l: &Link| !before.iter().any(|b| b.index == l.index);
    after
        .into_iter()
        .filter(new)
        .find(|l| name.contains("%d") || l.name == name)
        .ok_or_else(|| Error::internal("it is not there after it was moved"))
}

/// Runs `body` inside another network namespace; this thread comes back from it.
fn within<T>(netns: BorrowedFd<'_>, body: impl FnOnce() -> T) -> Result<T> {
    let own = own_namespace()?;
    sys::process::setns(netns, libc::CLONE_NEWNET)
        .context(|| format!("enter network namespace {}", netns.as_raw_fd()))?;
    let done = body();
    sys::process::setns(own.as_fd(), libc::CLONE_NEWNET)
        .context(|| "come back from network namespace")?;
    Ok(done)
}

fn own_namespace() -> Result<OwnedFd> {
    let path = "/proc/thread-self/ns/net";
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .context(|| format!("open {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(valid("eth0") && valid("eth%d") && valid("a.100"));
        for bad in ["", ".", "..", "a/b", "a b", "a:1", "0123456789abcdef"] {
            assert!(!valid(bad), "{bad}");
        }
    }
}
