//! The default bridge network: a Linux bridge, an address per endpoint, and published ports.
//!
//! ```text
//!   other hosts          host                       endpoint (a network namespace)
//!        │         ┌──────────────┐   veth pair    ┌──────────────┐
//!        └──eth0───┤ nft "corten" ├─ bridge ──────┤ eth0  lo     │
//!                  └──────────────┘                └──────────────┘
//! ```
//!
//! [`Bridge::open`] makes or adopts the bridge and installs one nftables table in one transaction.
//! [`Bridge::connect`] hands out a namespace that is up and addressed, usually one that was made
//! ahead of time, and publishes ports by adding elements to that table's maps.
//! [`Bridge::disconnect`] undoes it; the slow part (the kernel waits for its readers when a link
//! goes) happens on a thread of the bridge's own.
//!
//! What survives what: namespaces made ahead of time are held by nothing but this process, so they
//! vanish with it. Connected namespaces are held by whoever was given [`Endpoint::netns`]; after a
//! restart the caller names them in [`Restored`] and everything else is swept. Rules and the bridge
//! stay when the process ends, so that running containers keep their network; [`Bridge::purge`]
//! removes them.
//!
//! The crate does not know containers: it knows endpoints by a name and namespaces by descriptor.

mod error;
mod types;

pub use error::{Error, PortInUse, PortOwner};
pub use types::{
    Config, Endpoint, Facts, Held, HostPort, Ipv4Net, ParseNetError, Protocol, Publish, Published,
    Request, Restored,
};

use std::os::fd::OwnedFd;

/// The bridge network. Cheap to share (`Send + Sync`); every call may block and may be made from
/// many threads at once.
#[derive(Debug)]
pub struct Bridge {
    facts: Facts,
}

impl Bridge {
    /// Makes or adopts the bridge, turns on what forwarding needs, installs the table (replacing
    /// one left by an earlier run) with the elements of `restored`, and deletes links of endpoints
    /// that nobody restores.
    pub fn open(config: Config, restored: Vec<Restored>) -> Result<Bridge, Error> {
        let _ = (config, restored);
        Err(Error::Unsupported("bridge networks"))
    }

    /// What the network is: subnet, gateway, name, options.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Makes an endpoint: a namespace with `eth0` in the bridge, and its ports published.
    pub fn connect(&self, request: Request<'_>) -> Result<Endpoint, Error> {
        let _ = request;
        Err(Error::Unsupported("bridge networks"))
    }

    /// Withdraws the ports at once and removes the link soon. Doing it twice is fine. Goes on after
    /// a failure and returns all of them.
    pub fn disconnect(&self, endpoint_id: &str) -> Result<(), Error> {
        let _ = endpoint_id;
        Ok(())
    }

    /// How many endpoints are connected.
    pub fn in_use(&self) -> usize {
        0
    }

    /// Removes the table and the bridge; for uninstalling, not for stopping the daemon.
    pub fn purge(config: &Config) -> Result<(), Error> {
        let _ = config;
        Ok(())
    }
}

/// An empty namespace, with `lo` up if asked: what network `none` gives.
pub fn new_namespace(loopback_up: bool) -> Result<OwnedFd, Error> {
    let _ = loopback_up;
    Err(Error::Unsupported("namespaces"))
}
