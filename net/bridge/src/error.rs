//! What can go wrong, by what the caller may do about it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use crate::types::Protocol;

/// An error of the bridge network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something asked for that this network cannot do.
    #[error("{0} not supported by bridge networks yet")]
    Unsupported(&'static str),
    /// An option that makes no sense.
    #[error("invalid {what}: {why}")]
    Invalid {
        /// The option.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A port of the host that somebody has.
    #[error(transparent)]
    PortInUse(#[from] Box<PortInUse>),
    /// A port of the host that cannot be bound for another reason.
    #[error(
        "failed to bind host port for {}:{host_port}:{target}/{proto}: {}",
        Bracketed(*host_ip), crate::error::lower(source)
    )]
    Bind {
        /// Address of the host.
        host_ip: IpAddr,
        /// Port of the host.
        host_port: u16,
        /// Protocol.
        proto: Protocol,
        /// Where the port was to lead.
        target: SocketAddrV4,
        /// The kernel's word.
        source: io::Error,
    },
    /// No port of the range, or no ephemeral port, is free.
    #[error("failed to bind host port for {}:{start}-{end}:{target}/{proto}: all ports are allocated", Bracketed(*host_ip))]
    PortsExhausted {
        /// Address of the host.
        host_ip: IpAddr,
        /// First port tried.
        start: u16,
        /// Last port tried.
        end: u16,
        /// Protocol.
        proto: Protocol,
        /// Where the port was to lead.
        target: SocketAddrV4,
    },
    /// The subnet has no free address.
    #[error("no available IPv4 addresses on this network's address pools: {0}")]
    AddressesExhausted(String),
    /// The address asked for is taken.
    #[error("Address already in use: {0}")]
    AddressInUse(Ipv4Addr),
    /// No subnet is left that overlaps no route of the host.
    #[error(
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network"
    )]
    NoSubnet,
    /// The endpoint is connected already.
    #[error("endpoint with name {0} already exists in network bridge")]
    EndpointExists(String),
    /// A link of the bridge's name that is no bridge.
    #[error("existing interface {0} is not a bridge")]
    NotABridge(String),
    /// The kernel refused something.
    #[error("{what}: {}", lower(source))]
    System {
        /// What was being done.
        what: String,
        /// The kernel's word.
        source: io::Error,
    },
    /// Several things went wrong on the way down; all of them.
    #[error("{}", Joined(.0))]
    Several(Vec<Error>),
}

/// A port of the host that somebody has. `{:#}` leaves out the id of an endpoint, for callers who
/// know a better name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortInUse {
    /// Address of the host.
    pub host_ip: IpAddr,
    /// Port of the host.
    pub host_port: u16,
    /// Protocol.
    pub proto: Protocol,
    /// Where the port was to lead.
    pub target: SocketAddrV4,
    /// Who has it, if that could be found out.
    pub owner: Option<PortOwner>,
}

/// Who has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortOwner {
    /// Another endpoint of this network, by its id.
    Endpoint(String),
    /// A process of the host.
    Process {
        /// Its id.
        pid: u32,
        /// Its name, `comm`.
        name: String,
    },
}

impl PortInUse {
    /// The endpoint that has the port, if one of ours has.
    pub fn endpoint(&self) -> Option<&str> {
        match &self.owner {
            Some(PortOwner::Endpoint(id)) => Some(id),
            _ => None,
        }
    }
}

impl std::error::Error for PortInUse {}

impl fmt::Display for PortInUse {
    /// dockerd has one text for its own ports and one for those of others; tools look for both.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ip, port) = (Bracketed(self.host_ip), self.host_port);
        if let Some(PortOwner::Endpoint(id)) = &self.owner {
            write!(f, "Bind for {ip}:{port} failed: port is already allocated")?;
            return match f.alternate() {
                true => Ok(()),
                false => write!(f, " (held by endpoint {id})"),
            };
        }
        write!(
            f,
            "failed to bind host port for {ip}:{port}:{}/{}: address already in use",
            self.target, self.proto
        )?;
        match &self.owner {
            Some(PortOwner::Process { pid, name }) => write!(f, " (held by {name}, pid {pid})"),
            _ => Ok(()),
        }
    }
}

impl Error {
    /// One error of many; `Ok` when there are none.
    pub(crate) fn gather(mut errors: Vec<Error>) -> Result<(), Error> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Error::Several(errors)),
        }
    }

    /// For `map_err` where the kernel was asked for something.
    pub(crate) fn system<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Error {
        let what = what.into();
        move |source| Error::System {
            what,
            source: source.into(),
        }
    }
}

/// An error's text the way Go prints errno: lower case, without the number.
fn lower(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(chars).collect()
    })
}

/// An address as Go joins it with a port.
struct Bracketed(IpAddr);

impl fmt::Display for Bracketed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(ip) => ip.fmt(f),
            IpAddr::V6(ip) => write!(f, "[{ip}]"),
        }
    }
}

struct Joined<'a>(&'a [Error]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("; ")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}
