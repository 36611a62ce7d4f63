//! Connection tracking: flows that the kernel remembers, and forgetting some of them.
//!
//! A flow keeps the translation it began with for as long as packets come. For UDP that is for
//! ever with a talkative client, so whoever changes translations must forget the flows concerned.

use std::net::Ipv4Addr;

use rustix::io::Errno;

use crate::Error;
use crate::batch::Batch;
use crate::parse::{Message, attribute};
use crate::socket::{Socket, refusal};

const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = 1;
const DELETE: u16 = 2;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
/// `struct nfgenmsg` for IPv4.
const HEADER: [u8; 4] = [libc::AF_INET as u8, 0, 0, 0];
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ZONE: u16 = 18;

/// One direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Direction {
    /// Sender.
    pub source: Ipv4Addr,
    /// Receiver.
    pub destination: Ipv4Addr,
    /// Transport protocol: 6 for TCP, 17 for UDP.
    pub protocol: u8,
    /// The sender's port.
    pub source_port: u16,
    /// The receiver's port.
    pub destination_port: u16,
}

/// A flow that the kernel remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// As the first packet came.
    pub original: Direction,
    /// As answers are expected, after translation: its source is whom packets really go to.
    pub reply: Direction,
    /// What names the flow to the kernel.
    tuple: Vec<u8>,
    zone: Option<Vec<u8>>,
}

/// A connection tracking socket of the namespace that the opening thread was in.
#[derive(Debug)]
pub struct Conntrack(Socket);

impl Conntrack {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open() -> Result<Conntrack, Error> {
        Socket::netfilter().map(Conntrack)
    }

    /// All IPv4 flows with ports for which `wanted` holds.
    pub fn flows(&mut self, wanted: impl Fn(&Flow) -> bool) -> Result<Vec<Flow>, Error> {
        let mut batch = Batch::default();
        batch.push(
            "list tracked flows",
            SUBSYSTEM | GET,
            REQUEST | DUMP,
            &HEADER,
            |_| {},
        );
        self.0
            .dump(&mut batch, |message| Flow::parse(message).filter(&wanted))
    }

    /// Forgets the flows for which `wanted` holds; returns how many there were.
    pub fn forget(&mut self, wanted: impl Fn(&Flow) -> bool) -> Result<usize, Error> {
        let flows = self.flows(wanted)?;
        let mut batch = Batch::default();
        for flow in &flows {
            let kind = SUBSYSTEM | DELETE;
            batch.push("forget tracked flow", kind, REQUEST | ACK, &HEADER, |a| {
                a.nest(TUPLE_ORIGINAL, |a| {
                    a.raw(&flow.tuple);
                });
                if let Some(zone) = &flow.zone {
                    a.bytes(ZONE, zone);
                }
            });
        }
        for outcome in self.0.each(&mut batch)? {
            // Ended by itself in between.
            if outcome.errno != Some(Errno::NOENT)
                && let Some(error) = refusal("forget tracked flow", outcome)
            {
                return Err(error);
            }
        }
        Ok(flows.len())
    }
}

impl Flow {
    pub(crate) fn parse(message: &Message<'_>) -> Option<Flow> {
        let rest = message.payload.get(HEADER.len()..)?;
        let tuple = attribute(rest, TUPLE_ORIGINAL)?;
        Some(Flow {
            original: direction(tuple)?,
            reply: direction(attribute(rest, TUPLE_REPLY)?)?,
            tuple: tuple.to_vec(),
            zone: attribute(rest, ZONE).map(<[u8]>::to_vec),
        })
    }
}

fn direction(tuple: &[u8]) -> Option<Direction> {
    let (ip, protocol) = (attribute(tuple, 1)?, attribute(tuple, 2)?);
    let address = |kind| {
        let octets: [u8; 4] = attribute(ip, kind)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets))
    };
    let port = |kind| {
        let bytes: [u8; 2] = attribute(protocol, kind)?.try_into().ok()?;
        Some(u16::from_be_bytes(bytes))
    };
    Some(Direction {
        source: address(1)?,
        destination: address(2)?,
        protocol: *attribute(protocol, 1)?.first()?,
        source_port: port(2)?,
        destination_port: port(3)?,
    })
}
