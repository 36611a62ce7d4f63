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
mod firewall;
mod flows;
mod host;
mod ipam;
mod namespace;
mod owner;
mod pool;
mod ports;
mod types;

pub use error::{Error, PortInUse, PortOwner};
pub use namespace::{bring_up_loopback, new_namespace};
pub use types::{
    Config, Endpoint, Facts, Held, HostPort, Ipv4Net, ParseNetError, Protocol, Publish, Published,
    Request, Restored,
};

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex};

use netlink::nft::Nft;
use netlink::route::{Requests, Route};
use rustix::io::Errno;

use firewall::{Entry, Firewall};
use host::HostBridge;
use ipam::Ipam;
use namespace::{Wired, Wiring};
use pool::{Stock, Threads, lock};
use ports::Publisher;

/// The bridge network. Cheap to share (`Send + Sync`); every call may block and may be made from
/// many threads at once.
#[derive(Debug)]
pub struct Bridge {
    facts: Facts,
    table: String,
    prefix: u8,
    publisher: Publisher,
    endpoints: Mutex<HashMap<String, Record>>,
    stock: Arc<Stock>,
    _threads: Threads,
}

/// What is kept of a connected endpoint.
#[derive(Debug)]
enum Record {
    /// The name is taken, the rest is on its way.
    Connecting,
    Connected {
        ip: Ipv4Addr,
        veth: String,
        ports: Vec<Published>,
    },
}

impl Bridge {
    /// Makes or adopts the bridge, turns on what forwarding needs, installs the table (replacing
    /// one left by an earlier run) with the elements of `restored`, and deletes links of endpoints
    /// that nobody restores.
    pub fn open(config: Config, restored: Vec<Restored>) -> Result<Bridge, Error> {
        host::validate(&config)?;
        let mut route = Route::open().map_err(Error::system("open rtnetlink"))?;
        let bridge = host::ensure_bridge(&mut route, &config)?;
        let opened = Bridge::open_on(&mut route, &config, bridge, restored);
        if opened.is_err() && bridge.made {
            let _ = route.run(Requests::new().delete_link(&config.bridge));
        }
        opened
    }

    fn open_on(
        route: &mut Route,
        config: &Config,
        bridge: HostBridge,
        restored: Vec<Restored>,
    ) -> Result<Bridge, Error> {
        let isolated = host::separate_endpoints(config)?;
        let keep: HashSet<_> = restored
            .iter()
            .map(|endpoint| endpoint.veth.as_str())
            .collect();
        let present = host::sweep(route, &host::mark(config), &keep)?;
        let mut ipam = Ipam::new(bridge.address, config.fixed_cidr);
        let publisher = Publisher {
            default_binding: config.default_binding,
            ipv6: config.userland_proxy && ports::host_has_ipv6(),
            table: Mutex::default(),
        };
        let mut entries = Vec::new();
        let mut endpoints = HashMap::new();
        for endpoint in restored {
            if !present.contains(&endpoint.veth) {
                let Restored {
                    endpoint_id, veth, ..
                } = &endpoint;
                tracing::warn!(endpoint_id, veth, "link of a restored endpoint is gone");
            }
            restore(
                endpoint,
                &mut ipam,
                &publisher,
                &mut entries,
                &mut endpoints,
            );
        }
        install(config, bridge, &entries)?;
        let wiring = Wiring {
            bridge: bridge.index,
            mtu: config.mtu,
            gateway: bridge.address.address,
            prefix: bridge.address.prefix,
            mark: host::mark(config),
            isolated,
        };
        let facts = facts(config, bridge);
        let stock = Arc::new(Stock::new(wiring, ipam, &facts, config.pool)?);
        Ok(Bridge {
            facts,
            table: config.nft_table.clone(),
            prefix: bridge.address.prefix,
            publisher,
            endpoints: Mutex::new(endpoints),
            _threads: Threads::start(&stock)?,
            stock,
        })
    }

    /// What the network is: subnet, gateway, name, options.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Makes an endpoint: a namespace with `eth0` in the bridge, and its ports published. Nothing
    /// is left of it after a failure.
    pub fn connect(&self, request: Request<'_>) -> Result<Endpoint, Error> {
        self.connect_in(request, None)
    }

    /// [`Bridge::connect`] of an empty namespace that somebody else made: one that a user namespace
    /// owns. It is not kept for others when this fails.
    pub fn connect_in(
        &self,
        request: Request<'_>,
        netns: Option<BorrowedFd<'_>>,
    ) -> Result<Endpoint, Error> {
        let id = request.endpoint_id;
        {
            let mut endpoints = lock(&self.endpoints);
            if endpoints.contains_key(id) {
                return Err(Error::EndpointExists(id.to_owned()));
            }
            endpoints.insert(id.to_owned(), Record::Connecting);
        }
        let connected = self.connect_new(request, netns);
        let mut endpoints = lock(&self.endpoints);
        match &connected {
            Ok(endpoint) => endpoints.insert(
                id.to_owned(),
                Record::Connected {
                    ip: endpoint.ip,
                    veth: endpoint.veth.clone(),
                    ports: endpoint.ports.clone(),
                },
            ),
            Err(_) => endpoints.remove(id),
        };
        connected
    }

    fn connect_new(
        &self,
        request: Request<'_>,
        netns: Option<BorrowedFd<'_>>,
    ) -> Result<Endpoint, Error> {
        let wired = match (request.ip, request.mac, netns) {
            (None, None, None) => self.stock.take()?,
            (ip, mac, netns) => self.stock.make(ip, mac, netns)?,
        };
        if !request.sysctls.is_empty() {
            use std::os::fd::AsFd;
            if let Err(error) = namespace::write_sysctls(wired.netns.as_fd(), request.sysctls) {
                self.stock.bury(wired.veth, wired.ip);
                return Err(error);
            }
        }
        match self.publish(request.endpoint_id, wired.ip, request.ports) {
            Ok((ports, held)) => Ok(self.endpoint(wired, ports, held)),
            Err(error)
                if request.mac.is_none() && request.sysctls.is_empty() && netns.is_none() =>
            {
                self.stock.give_back(wired);
                Err(error)
            }
            Err(error) => {
                self.stock.bury(wired.veth, wired.ip);
                Err(error)
            }
        }
    }

    /// Takes the host's ports and has the kernel translate them.
    fn publish(
        &self,
        id: &str,
        ip: Ipv4Addr,
        ports: &[Publish],
    ) -> Result<(Vec<Published>, Vec<Held>), Error> {
        let (ports, held) = self.publisher.reserve(id, ip, ports)?;
        let entries = entries(&ports, ip);
        if !entries.is_empty() {
            let done = self.commit(&entries, true);
            if let Err(error) = done {
                self.publisher.release(&ports);
                return Err(Error::system("publish ports")(error));
            }
            flows::renew(&ports, ip);
        }
        Ok((ports, held))
    }

    /// Withdraws the ports at once and removes the link soon. Doing it twice is fine. Goes on after
    /// a failure and returns all of them.
    pub fn disconnect(&self, endpoint_id: &str) -> Result<(), Error> {
        let record = {
            let mut endpoints = lock(&self.endpoints);
            match endpoints.get(endpoint_id) {
                // Not ours to undo: whoever connects it will see its end.
                Some(Record::Connecting) | None => None,
                Some(Record::Connected { .. }) => endpoints.remove(endpoint_id),
            }
        };
        let Some(Record::Connected { ip, veth, ports }) = record else {
            return Ok(());
        };
        let withdrawn = self.withdraw(&entries(&ports, ip));
        flows::renew(&ports, ip);
        self.publisher.release(&ports);
        self.stock.bury(veth, ip);
        withdrawn
    }

    /// Deletes elements; those that somebody else deleted are no failure.
    fn withdraw(&self, entries: &[Entry]) -> Result<(), Error> {
        let absent = |error: &netlink::Error| error.errno() == Some(Errno::NOENT);
        match self.commit(entries, false) {
            Ok(()) => return Ok(()),
            Err(error) if !absent(&error) => {
                return Err(Error::system("withdraw ports")(error));
            }
            Err(_) => {}
        }
        let one_by_one = entries
            .iter()
            .map(|entry| self.commit(std::slice::from_ref(entry), false));
        let failures = one_by_one
            .filter_map(Result::err)
            .filter(|error| !absent(error));
        let failures = failures.map(|error| Error::system("withdraw ports")(error));
        Error::gather(failures.collect())
    }

    fn commit(&self, entries: &[Entry], add: bool) -> Result<(), netlink::Error> {
        if entries.is_empty() {
            return Ok(());
        }
        self.stock
            .with_nft(|nft| nft.commit(firewall::change(&self.table, entries, add)))
    }

    fn endpoint(&self, wired: Wired, ports: Vec<Published>, held: Vec<Held>) -> Endpoint {
        Endpoint {
            netns: wired.netns,
            ip: wired.ip,
            prefix: self.prefix,
            gateway: self.facts.gateway,
            mac: wired.mac,
            veth: wired.veth,
            ports,
            held,
        }
    }

    /// How many endpoints are connected.
    pub fn in_use(&self) -> usize {
        lock(&self.endpoints).len()
    }

    /// Removes the table, all links of the network and the bridge; for uninstalling, not for
    /// stopping the daemon. Goes on after failures.
    pub fn purge(config: &Config) -> Result<(), Error> {
        host::purge(config)
    }
}

/// Books what a running endpoint has.
fn restore(
    endpoint: Restored,
    ipam: &mut Ipam,
    publisher: &Publisher,
    entries: &mut Vec<Entry>,
    endpoints: &mut HashMap<String, Record>,
) {
    let Restored {
        endpoint_id,
        ip,
        veth,
        ports,
        ..
    } = endpoint;
    if ipam.take_exactly(ip).is_err() {
        tracing::warn!(endpoint_id, %ip, "address of a restored endpoint is not free");
    }
    ipam.resume_after(ip);
    let mut table = lock(&publisher.table);
    let mine = ports.into_iter().filter(|port| {
        let claim = table.claim(port.proto, port.host_ip, port.host_port, &endpoint_id);
        if let Err(holder) = &claim {
            tracing::warn!(
                endpoint_id,
                holder,
                ?port,
                "port of a restored endpoint is taken"
            );
        }
        claim.is_ok()
    });
    let ports: Vec<_> = mine.collect();
    drop(table);
    entries.extend(self::entries(&ports, ip));
    endpoints.insert(endpoint_id, Record::Connected { ip, veth, ports });
}

fn install(config: &Config, bridge: HostBridge, entries: &[Entry]) -> Result<(), Error> {
    let mut nft = Nft::open().map_err(Error::system("open nf_tables"))?;
    let firewall = Firewall {
        table: config.nft_table.clone(),
        bridge: config.bridge.clone(),
        gateway: bridge.address,
        masquerade: config.ip_masq,
        icc: config.icc,
        forward: host::enable_forwarding(config, &mut nft)?,
    };
    nft.commit(firewall.install(entries))
        .map_err(Error::system("install the nftables table"))
}

fn entries(ports: &[Published], ip: Ipv4Addr) -> Vec<Entry> {
    ports
        .iter()
        .filter_map(|port| firewall::entry(port, ip))
        .collect()
}

fn facts(config: &Config, bridge: HostBridge) -> Facts {
    let driver = |name: &str, value: String| (format!("com.docker.network.{name}"), value);
    Facts {
        bridge: config.bridge.clone(),
        index: bridge.index,
        subnet: bridge.address.network(),
        gateway: bridge.address.address,
        ip_range: config.fixed_cidr,
        mtu: config.mtu,
        options: vec![
            driver("bridge.default_bridge", true.to_string()),
            driver("bridge.enable_icc", config.icc.to_string()),
            driver("bridge.enable_ip_masquerade", config.ip_masq.to_string()),
            driver(
                "bridge.host_binding_ipv4",
                config.default_binding.to_string(),
            ),
            driver("bridge.name", config.bridge.clone()),
            driver("driver.mtu", config.mtu.to_string()),
        ],
    }
}
