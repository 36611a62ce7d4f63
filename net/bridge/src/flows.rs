//! UDP flows that began under other rules: made to begin anew.
//!
//! A flow keeps the translation of its first packet. A client that was already sending when a port
//! was published would never reach the endpoint, and one whose endpoint is gone would go on sending
//! to an address that may soon be somebody else's.

use std::net::{IpAddr, Ipv4Addr};

use netlink::conntrack::{Conntrack, Flow};

use crate::types::{Protocol, Published};

const UDP: u8 = 17;

/// Forgets the UDP flows that publishing or withdrawing `ports` of `endpoint` concerns. Best
/// effort: new clients are right in any case.
pub(crate) fn renew(ports: &[Published], endpoint: Ipv4Addr) {
    if !ports
        .iter()
        .any(|port| port.proto == Protocol::Udp && port.host_ip.is_ipv4())
    {
        return;
    }
    let forgotten = Conntrack::open()
        .and_then(|mut conntrack| conntrack.forget(|flow| concerns(flow, ports, endpoint)));
    match forgotten {
        Ok(count) => tracing::debug!(count, %endpoint, "UDP flows begin anew"),
        Err(error) => tracing::warn!(%error, %endpoint, "old UDP flows may go astray"),
    }
}

fn concerns(flow: &Flow, ports: &[Published], endpoint: Ipv4Addr) -> bool {
    let to = flow.original;
    to.protocol == UDP
        && ports
            .iter()
            .filter(|port| port.proto == Protocol::Udp)
            .any(|port| {
                let host =
                    port.host_ip == IpAddr::V4(to.destination) || port.host_ip.is_unspecified();
                let host = host && port.host_ip.is_ipv4() && port.host_port == to.destination_port;
                // Sent to the host's port and kept there, or translated to this endpoint.
                host && (flow.reply.source == to.destination || flow.reply.source == endpoint)
            })
}
