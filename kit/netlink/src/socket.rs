//! The socket: sends a batch in one call and collects the answers the kernel left behind.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

use crate::Error;
use crate::batch::Batch;
use crate::parse::{self, Outcome};

/// As large as the kernel makes one datagram of a dump.
const RECEIVE: usize = 32 * 1024;
/// Acknowledgements wait in the receive buffer; so many fit the default size with ease.
const AT_ONCE: usize = 64;
/// A dump that keeps changing under us is given up after so many attempts.
const DUMP_ATTEMPTS: usize = 8;

/// A netlink socket of the namespace that the opening thread was in.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    pub(crate) fn route() -> Result<Socket, Error> {
        // NETLINK_ROUTE is protocol 0, which is what no protocol means.
        Socket::open(None)
    }

    pub(crate) fn netfilter() -> Result<Socket, Error> {
        Socket::open(Some(netlink::NETFILTER))
    }

    fn open(protocol: Option<Protocol>) -> Result<Socket, Error> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)
            .map_err(Error::socket("socket"))?;
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
            // Both only better the error texts; the oldest kernels do without.
            let _ = sys::network::enable_netlink_option(&fd, option);
        }
        Ok(Socket {
            fd,
            sequence: 1,
            buffer: vec![0; RECEIVE],
        })
    }

    /// Sends requests that each ask for an acknowledgement; one outcome each, in order.
    pub(crate) fn each(&mut self, batch: &mut Batch) -> Result<Vec<Outcome>, Error> {
        let first = self.number(batch)?;
        let labels: Vec<_> = batch.labels().collect();
        let mut outcomes = Vec::with_capacity(labels.len());
        for from in (0..labels.len()).step_by(AT_ONCE) {
            let to = labels.len().min(from + AT_ONCE);
            self.send(batch.slice(from, to))?;
            let mut chunk = vec![None; to - from];
            self.receive(|message| {
                let n = message.sequence.wrapping_sub(first) as usize;
                let slot = n.checked_sub(from).and_then(|n| chunk.get_mut(n));
                if let (parse::ERROR, Some(slot)) = (message.kind, slot) {
                    *slot = Some(parse::outcome(message).ok_or(Error::Malformed)?);
                }
                Ok(chunk.iter().all(Option::is_some))
            })?;
            for (outcome, label) in chunk.into_iter().zip(&labels[from..to]) {
                outcomes.push(outcome.ok_or(Error::Unanswered(label))?);
            }
        }
        Ok(outcomes)
    }

    /// Sends a batch that is carried out as a whole; the last of its messages before the closing
    /// one asks for the acknowledgement. The first failure, if any, is the answer.
    pub(crate) fn whole(&mut self, batch: &mut Batch) -> Result<(), Error> {
        let first = self.number(batch)?;
        let labels: Vec<_> = batch.labels().collect();
        self.send(batch.slice(0, labels.len()))?;
        let (mut failure, mut acknowledged) = (None, false);
        self.receive(|message| {
            let n = message.sequence.wrapping_sub(first) as usize;
            let (parse::ERROR, Some(request)) = (message.kind, labels.get(n)) else {
                return Ok(false);
            };
            let outcome = parse::outcome(message).ok_or(Error::Malformed)?;
            match outcome.errno {
                None => acknowledged = true,
                Some(_) => failure = failure.take().or(refusal(request, outcome)),
            }
            Ok(false)
        })?;
        match (failure, acknowledged) {
            (Some(failure), _) => Err(failure),
            (None, true) => Ok(()),
            (None, false) => Err(Error::Unanswered(labels.last().copied().unwrap_or("batch"))),
        }
    }

    /// Sends one request and gathers what `item` makes of every answer; asks again when a change
    /// interrupted the dump.
    pub(crate) fn dump<T>(
        &mut self,
        batch: &mut Batch,
        mut item: impl FnMut(&parse::Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let label = batch.labels().next().unwrap_or("dump");
        for _ in 0..DUMP_ATTEMPTS {
            let first = self.number(batch)?;
            self.send(batch.slice(0, 1))?;
            let (mut items, mut interrupted, mut done) = (Vec::new(), false, false);
            self.receive(|message| {
                if message.sequence != first {
                    return Ok(false);
                }
                interrupted |= message.flags & parse::DUMP_INTERRUPTED != 0;
                match message.kind {
                    parse::DONE => done = true,
                    parse::ERROR => {
                        let outcome = parse::outcome(message).ok_or(Error::Malformed)?;
                        if let Some(error) = refusal(label, outcome) {
                            return Err(error);
                        }
                        done = true;
                    }
                    _ => items.extend(item(message)),
                }
                Ok(done)
            })?;
            match (interrupted, done) {
                (false, true) => return Ok(items),
                (true, _) => continue,
                (false, false) => return Err(Error::Unanswered(label)),
            }
        }
        Err(Error::Refused {
            request: label,
            errno: Errno::INTR,
            explanation: None,
        })
    }

    fn number(&mut self, batch: &mut Batch) -> Result<u32, Error> {
        if let Some(label) = batch.too_large() {
            return Err(Error::TooLarge(label));
        }
        let first = self.sequence;
        batch.number(first);
        self.sequence = first.wrapping_add(batch.len() as u32);
        // What an earlier, failed exchange left behind is dropped by its sequence number.
        Ok(first)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        loop {
            match send(&self.fd, bytes, SendFlags::empty()) {
                Ok(sent) if sent == bytes.len() => return Ok(()),
                Ok(_) => return Err(Error::Malformed),
                Err(Errno::INTR) => {}
                Err(errno) => {
                    return Err(Error::Socket {
                        call: "send",
                        errno,
                    });
                }
            }
        }
    }

    /// Reads until `message` says that it has seen enough or the queue is empty.
    fn receive(
        &mut self,
        mut message: impl FnMut(&parse::Message<'_>) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        loop {
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            let length = match recv(&self.fd, &mut self.buffer[..], flags) {
                Ok((_, length)) if length <= self.buffer.len() => length,
                Ok(_) => return Err(Error::Malformed),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno) => {
                    return Err(Error::Socket {
                        call: "recv",
                        errno,
                    });
                }
            };
            for one in parse::messages(&self.buffer[..length]) {
                if message(&one)? {
                    return Ok(());
                }
            }
        }
    }
}

/// The error in an outcome, if there is one.
pub(crate) fn refusal(request: &'static str, outcome: Outcome) -> Option<Error> {
    let errno = outcome.errno?;
    Some(Error::Refused {
        request,
        errno,
        explanation: outcome.explanation,
    })
}
