//! IPv6 datagrams together with the local address that they were sent to: on a host with several
//! addresses an answer must come from the one that was asked.

use std::mem::{size_of, zeroed};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use crate::{Errno, Result, check};

/// Room for one `IPV6_PKTINFO`, aligned as the kernel's headers are.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// The local side of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Local {
    address: Ipv6Addr,
    /// Of a link-local address, which means nothing without it; else 0.
    interface: u32,
}

/// A datagram that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// Its bytes in the buffer.
    pub length: usize,
    /// Who sent it.
    pub peer: SocketAddrV6,
    /// To which of our addresses.
    pub local: Local,
}

/// Has the kernel tell [`receive`] the address that each datagram was sent to.
pub fn tell_destination(socket: impl AsFd) -> Result<()> {
    let on: libc::c_int = 1;
    #[expect(unsafe_code, reason = "rustix does not have this option")]
    // SAFETY: the pointer and the length describe `on`, which outlives the call; the kernel only
    // reads from it.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_RECVPKTINFO,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    check(done.into()).map(drop)
}

/// Takes one datagram without waiting.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Datagram> {
    let mut control = Control([0; 64]);
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    #[expect(unsafe_code, reason = "rustix does not parse IPV6_PKTINFO")]
    // SAFETY: both structures are plain numbers and pointers, for which zeros are valid.
    let (mut name, mut message) =
        unsafe { (zeroed::<libc::sockaddr_in6>(), zeroed::<libc::msghdr>()) };
    message.msg_name = (&raw mut name).cast();
    message.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    #[expect(unsafe_code, reason = "rustix does not parse IPV6_PKTINFO")]
    // SAFETY: every pointer in `message` leads to a live buffer of the length given beside it.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let length = check(length as libc::c_long)?;
    if libc::c_int::from(name.sin6_family) != libc::AF_INET6 {
        return Err(Errno::AFNOSUPPORT);
    }
    let peer = SocketAddrV6::new(
        Ipv6Addr::from(name.sin6_addr.s6_addr),
        u16::from_be(name.sin6_port),
        0,
        name.sin6_scope_id,
    );
    Ok(Datagram {
        length: length as usize,
        peer,
        local: destination(&message),
    })
}

/// The address in a received message's control data; unspecified when it is not there.
fn destination(message: &libc::msghdr) -> Local {
    #[expect(unsafe_code, reason = "control messages are walked by pointers")]
    // SAFETY: the kernel filled the control buffer and set its length; the macros stay within it,
    // and an IPV6_PKTINFO message holds an `in6_pktinfo`, read without assuming its alignment.
    let found = unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        loop {
            if header.is_null() {
                break None;
            }
            if (*header).cmsg_level == libc::IPPROTO_IPV6
                && (*header).cmsg_type == libc::IPV6_PKTINFO
            {
                let data = libc::CMSG_DATA(header).cast::<libc::in6_pktinfo>();
                break Some(data.read_unaligned());
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    };
    let address = found.map_or(Ipv6Addr::UNSPECIFIED, |info| {
        Ipv6Addr::from(info.ipi6_addr.s6_addr)
    });
    let interface = found.map_or(0, |info| info.ipi6_ifindex);
    Local {
        address,
        interface: if address.is_unicast_link_local() {
            interface
        } else {
            0
        },
    }
}

/// Sends one datagram from the address that `local` names, without waiting.
pub fn send(socket: BorrowedFd<'_>, data: &[u8], peer: SocketAddrV6, local: Local) -> Result<()> {
    let mut control = Control([0; 64]);
    let mut part = libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    };
    #[expect(unsafe_code, reason = "rustix does not send IPV6_PKTINFO")]
    // SAFETY: both structures are plain numbers and pointers, for which zeros are valid.
    let (mut name, mut message) =
        unsafe { (zeroed::<libc::sockaddr_in6>(), zeroed::<libc::msghdr>()) };
    name.sin6_family = libc::AF_INET6 as libc::sa_family_t;
    name.sin6_port = peer.port().to_be();
    name.sin6_addr.s6_addr = peer.ip().octets();
    name.sin6_scope_id = peer.scope_id();
    let info = libc::in6_pktinfo {
        ipi6_addr: libc::in6_addr {
            s6_addr: local.address.octets(),
        },
        ipi6_ifindex: local.interface,
    };
    const LENGTH: libc::c_uint = size_of::<libc::in6_pktinfo>() as libc::c_uint;
    message.msg_name = (&raw mut name).cast();
    message.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    #[expect(unsafe_code, reason = "rustix does not send IPV6_PKTINFO")]
    // SAFETY: `Control` has room for one aligned header with an `in6_pktinfo` (CMSG_SPACE is 40),
    // and all pointers lead to live buffers, from which the kernel only reads.
    let sent = unsafe {
        message.msg_controllen = libc::CMSG_SPACE(LENGTH) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::IPPROTO_IPV6;
        (*header).cmsg_type = libc::IPV6_PKTINFO;
        (*header).cmsg_len = libc::CMSG_LEN(LENGTH) as _;
        libc::CMSG_DATA(header)
            .cast::<libc::in6_pktinfo>()
            .write_unaligned(info);
        libc::sendmsg(
            socket.as_raw_fd(),
            &raw const message,
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    check(sent as libc::c_long).map(drop)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn answers_come_from_the_address_asked() {
        let server = UdpSocket::bind("[::]:0").unwrap();
        tell_destination(&server).unwrap();
        let port = server.local_addr().unwrap().port();
        let client = UdpSocket::bind("[::1]:0").unwrap();
        client.connect(("::1", port)).unwrap();
        client.send(b"ping").unwrap();
        let mut buffer = [0; 16];
        rustix::event::poll(
            &mut [rustix::event::PollFd::new(
                &server,
                rustix::event::PollFlags::IN,
            )],
            None,
        )
        .unwrap();
        let got = receive(server.as_fd(), &mut buffer).unwrap();
        assert_eq!(&buffer[..got.length], b"ping");
        assert_eq!(
            std::net::SocketAddr::V6(got.peer),
            client.local_addr().unwrap()
        );
        assert_eq!(got.local.address, Ipv6Addr::LOCALHOST);
        send(server.as_fd(), b"pong", got.peer, got.local).unwrap();
        assert_eq!(client.recv(&mut buffer).unwrap(), 4);
        assert_eq!(receive(server.as_fd(), &mut buffer), Err(Errno::AGAIN));
    }
}
