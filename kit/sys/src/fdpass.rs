//! Messages with file descriptors over unix sockets (SCM_RIGHTS), SEQPACKET and STREAM.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::{Errno, Result};

/// Most descriptors that one message can carry (SCM_MAX_FD).
pub const MAX_FDS: usize = 253;

/// A connected pair of close-on-exec sockets that keep message boundaries.
pub fn seqpacket_pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
}

/// Sends `data` with `fds`; returns how many bytes went (all of them on SEQPACKET). On STREAM the
/// descriptors travel with the first byte, so `data` must not be empty there.
pub fn send(socket: BorrowedFd<'_>, data: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize> {
    send_with(socket, data, fds, SendFlags::NOSIGNAL)
}

/// [`send`] with flags (`DONTWAIT`); NOSIGNAL is added.
pub fn send_with(
    socket: BorrowedFd<'_>,
    data: &[u8],
    fds: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> Result<usize> {
    let mut space =
        vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1)) + fds.len() * 4 + 8];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::INVAL);
    }
    retry(|| {
        rustix::net::sendmsg(
            socket,
            &[IoSlice::new(data)],
            &mut control,
            flags | SendFlags::NOSIGNAL,
        )
    })
}

/// What [`recv`] got.
#[derive(Debug, Default)]
pub struct Received {
    /// Bytes put in the buffer; 0 with no descriptors is the end of the stream.
    pub len: usize,
    /// Descriptors, close-on-exec, in the sender's order.
    pub fds: Vec<OwnedFd>,
}

/// Receives one message. A message or descriptor list that does not fit is `EMSGSIZE`, its
/// descriptors closed.
pub fn recv(socket: BorrowedFd<'_>, data: &mut [u8], max_fds: usize) -> Result<Received> {
    recv_with(socket, data, max_fds, RecvFlags::empty())
}

/// [`recv`] with flags (`DONTWAIT`); CMSG_CLOEXEC is added.
pub fn recv_with(
    socket: BorrowedFd<'_>,
    data: &mut [u8],
    max_fds: usize,
    flags: RecvFlags,
) -> Result<Received> {
    let max_fds = max_fds.min(MAX_FDS);
    let mut space =
        vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1)) + max_fds * 4 + 8];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = retry(|| {
        rustix::net::recvmsg(
            socket,
            &mut [IoSliceMut::new(data)],
            &mut control,
            flags | RecvFlags::CMSG_CLOEXEC,
        )
    })?;
    let mut fds = Vec::new();
    for item in control.drain() {
        if let RecvAncillaryMessage::ScmRights(list) = item {
            fds.extend(list);
        }
    }
    if message
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        || fds.len() > max_fds
    {
        return Err(Errno::MSGSIZE);
    }
    Ok(Received {
        len: message.bytes,
        fds,
    })
}

fn retry<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn descriptors_arrive_in_order_and_close_on_exec() {
        let (a, b) = seqpacket_pair().unwrap();
        let (r, w) = rustix::pipe::pipe().unwrap();
        assert_eq!(send(a.as_fd(), b"hello", &[r.as_fd(), w.as_fd()]), Ok(5));
        let mut buffer = [0; 16];
        let got = recv(b.as_fd(), &mut buffer, 2).unwrap();
        assert_eq!((got.len, got.fds.len()), (5, 2));
        rustix::io::write(&got.fds[1], b"x").unwrap();
        let mut one = [0; 1];
        assert_eq!(rustix::io::read(&got.fds[0], &mut one), Ok(1));
        let flags = rustix::io::fcntl_getfd(&got.fds[0]).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let (a, b) = seqpacket_pair().unwrap();
        send(a.as_fd(), b"too long", &[]).unwrap();
        assert_eq!(recv(b.as_fd(), &mut [0; 3], 0).unwrap_err(), Errno::MSGSIZE);
        let fds = [a.as_fd(); 5];
        send(a.as_fd(), b"x", &fds).unwrap();
        assert_eq!(recv(b.as_fd(), &mut [0; 3], 1).unwrap_err(), Errno::MSGSIZE);
        drop(a);
        let end = recv(b.as_fd(), &mut [0; 3], 1).unwrap();
        assert_eq!((end.len, end.fds.len()), (0, 0));
    }
}
