//! rtnetlink: links, addresses, routes and neighbours.
//!
//! Fill [`Requests`], then [`Route::run`] it. The kernel carries out each request by itself, in
//! order, whether or not an earlier one failed; so undo what a failed batch may have made.

mod read;
mod request;

pub use read::{Address, Destination, Link};
pub use request::{Ipv4Option, Requests, Veth};

use std::net::IpAddr;

use rustix::io::Errno;

use crate::Error;
use crate::batch::Batch;
use crate::socket::{Socket, refusal};

const GETLINK: u16 = 18;
const GETADDR: u16 = 22;
const GETROUTE: u16 = 26;
pub(crate) const REQUEST: u16 = 1;
pub(crate) const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const IFLA_IFNAME: u16 = 3;
const IFLA_EXT_MASK: u16 = 29;
const SKIP_STATISTICS: u32 = 1 << 3;

/// An rtnetlink socket. It works on the namespace that the opening thread was in, from any thread.
#[derive(Debug)]
pub struct Route(Socket);

impl Route {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open() -> Result<Route, Error> {
        Socket::route().map(Route)
    }

    /// Carries out all requests; the first failure is the answer.
    pub fn run(&mut self, requests: &mut Requests) -> Result<(), Error> {
        self.outcomes(requests)?.into_iter().collect()
    }

    /// Carries out all requests; one answer each, in order.
    pub fn outcomes(&mut self, requests: &mut Requests) -> Result<Vec<Result<(), Error>>, Error> {
        let outcomes = self.0.each(&mut requests.0)?;
        let labels = requests.0.labels();
        let results = outcomes.into_iter().zip(labels);
        Ok(results
            .map(|(outcome, label)| refusal(label, outcome).map_or(Ok(()), Err))
            .collect())
    }

    /// The link called `name`, if there is one.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        let mut batch = Batch::default();
        batch.push(
            "look up link",
            GETLINK,
            REQUEST | ACK,
            &[0; 16],
            |attributes| {
                attributes
                    .u32(IFLA_EXT_MASK, SKIP_STATISTICS)
                    .text(IFLA_IFNAME, name);
            },
        );
        match self.0.dump(&mut batch, Link::parse) {
            Ok(links) => Ok(links.into_iter().next()),
            Err(error) if error.errno() == Some(Errno::NODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All links of the namespace.
    pub fn links(&mut self) -> Result<Vec<Link>, Error> {
        let mut batch = Batch::default();
        batch.push(
            "list links",
            GETLINK,
            REQUEST | DUMP,
            &[0; 16],
            |attributes| {
                attributes.u32(IFLA_EXT_MASK, SKIP_STATISTICS);
            },
        );
        self.0.dump(&mut batch, Link::parse)
    }

    /// All addresses of the namespace.
    pub fn addresses(&mut self) -> Result<Vec<Address>, Error> {
        let mut batch = Batch::default();
        batch.push("list addresses", GETADDR, REQUEST | DUMP, &[0; 8], |_| {});
        self.0.dump(&mut batch, Address::parse)
    }

    /// Destinations of all routes of one family, in every table.
    pub fn destinations(&mut self, ipv6: bool) -> Result<Vec<Destination>, Error> {
        let mut header = [0; 12];
        header[0] = family_number(ipv6);
        let mut batch = Batch::default();
        batch.push("list routes", GETROUTE, REQUEST | DUMP, &header, |_| {});
        self.0.dump(&mut batch, Destination::parse)
    }
}

fn family_number(ipv6: bool) -> u8 {
    if ipv6 {
        libc::AF_INET6 as u8
    } else {
        libc::AF_INET as u8
    }
}

pub(crate) fn family(ip: IpAddr) -> u8 {
    family_number(ip.is_ipv6())
}

pub(crate) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}
