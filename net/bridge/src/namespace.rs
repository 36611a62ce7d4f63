//! Network namespaces: made, entered and wired, each on a thread of its own that then ends, so that
//! no thread of the process is ever found in the wrong namespace.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use netlink::route::{Ipv4Option, Requests, Route, Veth};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::Error;

/// The stack of such a thread, bytes: a few frames and a netlink batch.
const STACK: usize = 256 * 1024;
/// The loopback interface is the first of every namespace.
const LOOPBACK: u32 = 1;
/// Name of the interface inside.
const INSIDE: &str = "eth0";
/// Names are random, so a clash is rare and two in a row are a wonder.
const NAME_ATTEMPTS: usize = 4;

/// What every endpoint of a network has in common.
#[derive(Debug, Clone)]
pub(crate) struct Wiring {
    pub(crate) bridge: u32,
    pub(crate) mtu: u32,
    pub(crate) gateway: Ipv4Addr,
    pub(crate) prefix: u8,
    /// Alias that marks a link as ours.
    pub(crate) mark: String,
    /// Whether ports of the bridge are kept from each other by the bridge itself.
    pub(crate) isolated: bool,
}

/// A namespace that is up and addressed.
#[derive(Debug)]
pub(crate) struct Wired {
    pub(crate) netns: OwnedFd,
    pub(crate) ip: Ipv4Addr,
    pub(crate) mac: [u8; 6],
    pub(crate) veth: String,
}

/// An empty namespace, with `lo` up if asked: what network `none` gives.
pub fn new_namespace(loopback_up: bool) -> Result<OwnedFd, Error> {
    empty(None, loopback_up)
}

/// Makes an empty namespace that somebody else made what network `none` gives.
pub fn bring_up_loopback(netns: BorrowedFd<'_>) -> Result<(), Error> {
    empty(Some(netns), true).map(drop)
}

/// The namespace given, or a new one, with the calling thread in it.
fn enter(given: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Error> {
    let Some(given) = given else {
        return unshare();
    };
    move_into_link_name_space(given, Some(LinkNameSpaceType::Network))
        .map_err(Error::system("enter namespace"))?;
    given
        .try_clone_to_owned()
        .map_err(Error::system("new namespace"))
}

fn empty(given: Option<BorrowedFd<'_>>, loopback_up: bool) -> Result<OwnedFd, Error> {
    on_a_thread(|| {
        let netns = enter(given)?;
        if loopback_up {
            let mut route = Route::open().map_err(Error::system("new namespace"))?;
            route
                .run(Requests::new().set_up(LOOPBACK, true))
                .map_err(Error::system("new namespace"))?;
        }
        Ok(netns)
    })
}

impl Wiring {
    /// Makes a namespace, or takes the empty one given, and joins it to the bridge: one batch on
    /// each side. `host` is a socket of the namespace that the bridge is in.
    pub(crate) fn wire(
        &self,
        host: &mut Route,
        ip: Ipv4Addr,
        mac: [u8; 6],
        given: Option<BorrowedFd<'_>>,
    ) -> Result<Wired, Error> {
        on_a_thread(|| {
            let netns = enter(given)?;
            let veth = self.join(host, netns.as_fd(), ip, mac)?;
            let settled = self.configure(host, &veth, ip, mac);
            if let Err(error) = settled {
                // The pair goes with the namespace, but only some time later.
                let _ = host.run(Requests::new().delete_link(&veth));
                return Err(error);
            }
            Ok(Wired {
                netns,
                ip,
                mac,
                veth,
            })
        })
    }

    /// Makes the pair and the host's side of it; returns the name of that end.
    fn join(
        &self,
        host: &mut Route,
        netns: BorrowedFd<'_>,
        ip: Ipv4Addr,
        mac: [u8; 6],
    ) -> Result<String, Error> {
        let mut attempt = 0;
        loop {
            let name = veth_name()?;
            let mut requests = Requests::new();
            requests.add_veth(&Veth {
                name: &name,
                master: self.bridge,
                mtu: self.mtu,
                peer_name: INSIDE,
                peer_mac: mac,
                peer_netns: netns,
            });
            requests.set_bridge_port(&name, &self.mark, self.isolated);
            // Whoever had the address before may still be remembered by another one.
            requests.set_neighbour(self.bridge, ip.into(), mac);
            let outcomes = host
                .outcomes(&mut requests)
                .map_err(Error::system("connect endpoint"))?;
            let made = outcomes.first().is_some_and(Result::is_ok);
            let taken = matches!(outcomes.first(), Some(Err(e)) if e.errno() == Some(Errno::EXIST));
            match outcomes.into_iter().collect::<Result<(), _>>() {
                Ok(()) => return Ok(name),
                Err(_) if taken && attempt < NAME_ATTEMPTS => attempt += 1,
                Err(error) => {
                    if made {
                        let _ = host.run(Requests::new().delete_link(&name));
                    }
                    return Err(Error::system("connect endpoint")(error));
                }
            }
        }
    }

    /// Brings up what is inside the calling thread's namespace, and announces it.
    fn configure(
        &self,
        host: &mut Route,
        veth: &str,
        ip: Ipv4Addr,
        mac: [u8; 6],
    ) -> Result<(), Error> {
        fn failed<E: Into<io::Error>>() -> impl FnOnce(E) -> Error {
            Error::system("configure endpoint")
        }
        let mut route = Route::open().map_err(failed())?;
        let link = route.link(INSIDE).map_err(failed())?;
        let index = link
            .ok_or_else(|| failed()(io::Error::from(io::ErrorKind::NotFound)))?
            .index;
        quiet_ipv6(INSIDE)?;
        let mut requests = Requests::new();
        requests
            .set_up(LOOPBACK, true)
            .set_ipv4_options(index, &[(Ipv4Option::ArpNotify, 1)])
            .set_up(index, true);
        route.run(&mut requests).map_err(failed())?;
        // Asking after the near end has the kernel finish what its coming up began: until its link
        // watch has run, the bridge lets no packet through the port.
        host.link(veth).map_err(failed())?;
        // Setting the link-layer address, though it is the same, announces the new owner of the IP
        // address to neighbours that remember an earlier one.
        let mut requests = Requests::new();
        requests
            .add_address(index, ip.into(), self.prefix, false)
            .add_default_route(index, self.gateway.into())
            .set_mac(index, mac);
        route.run(&mut requests).map_err(failed())
    }
}

/// Writes the interface's sysctls inside `netns`.
pub(crate) fn write_sysctls(
    netns: BorrowedFd<'_>,
    sysctls: &[(String, String)],
) -> Result<(), Error> {
    let paths: Vec<_> = sysctls.iter().map(|(name, _)| sysctl_path(name)).collect();
    on_a_thread(|| {
        move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))
            .map_err(Error::system("enter namespace"))?;
        for (path, (name, value)) in paths.into_iter().zip(sysctls) {
            fs::write(path?, value).map_err(Error::system(format!("set sysctl {name}")))?;
        }
        Ok(())
    })
}

/// `net.ipv4.conf.IFNAME.rp_filter` as a path; a slash in the name is a dot in a path component, as
/// `sysctl` has it, so refuse what could climb out.
fn sysctl_path(name: &str) -> Result<String, Error> {
    let parts: Vec<_> = name.split('.').collect();
    let plain = |part: &&str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    };
    let good = parts.first() == Some(&"net")
        && matches!(parts.get(1), Some(&"ipv4" | &"ipv6" | &"mpls"))
        && parts.contains(&"IFNAME")
        && parts.iter().all(plain);
    if !good {
        let why = format!("{name} is not a sysctl of an interface (net.<family>.….IFNAME.…)");
        return Err(Error::Invalid {
            what: "endpoint sysctl",
            why,
        });
    }
    let parts: Vec<_> = parts
        .into_iter()
        .map(|part| if part == "IFNAME" { INSIDE } else { part })
        .collect();
    Ok(format!("/proc/sys/{}", parts.join("/")))
}

/// Keeps an interface of a network without IPv6 from making itself IPv6 addresses.
fn quiet_ipv6(name: &str) -> Result<(), Error> {
    match fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::system("disable IPv6 of endpoint")(error))
        }
        _ => Ok(()),
    }
}

/// Puts the thread into a new namespace and opens it.
fn unshare() -> Result<OwnedFd, Error> {
    sys::network::unshare_network().map_err(Error::system("create network namespace"))?;
    let file = fs::File::open("/proc/thread-self/ns/net");
    file.map(OwnedFd::from)
        .map_err(Error::system("open network namespace"))
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    thread::scope(|scope| {
        let builder = thread::Builder::new()
            .name("netns".to_owned())
            .stack_size(STACK);
        let thread = builder
            .spawn_scoped(scope, work)
            .map_err(Error::system("start thread"))?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A random, locally administered, unicast address.
pub(crate) fn random_mac() -> Result<[u8; 6], Error> {
    let mut mac: [u8; 6] = random()?;
    mac[0] = mac[0] & 0xfe | 0x02;
    Ok(mac)
}

fn veth_name() -> Result<String, Error> {
    let number = u32::from_ne_bytes(random()?) >> 4;
    Ok(format!("veth{number:07x}"))
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    let flags = rustix::rand::GetRandomFlags::empty();
    // So few bytes come whole.
    rustix::rand::getrandom(&mut bytes[..], flags).map_err(Error::system("get random bytes"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctls_stay_with_the_interface() {
        let path = sysctl_path("net.ipv4.conf.IFNAME.rp_filter").expect("a good name");
        assert_eq!(path, "/proc/sys/net/ipv4/conf/eth0/rp_filter");
        for bad in [
            "net.ipv4.ip_forward",
            "kernel.IFNAME",
            "net.ipv4.IFNAME/../x",
            "net.ipv4..IFNAME",
        ] {
            assert!(sysctl_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn random_macs_are_local_and_unicast() {
        let mac = random_mac().expect("random");
        assert_eq!(mac[0] & 3, 2);
        assert_eq!(veth_name().expect("random").len(), 11);
    }
}
