//! Frames on a stream socket: a head of three little-endian `u32` (length of the JSON message,
//! length of the bytes, number of descriptors), the message, the bytes. The descriptors travel as
//! `SCM_RIGHTS` with the frame's first bytes, at most 253 (the kernel's limit) a system call.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of the head.
const HEAD: usize = 12;
/// Largest message and largest byte part accepted.
const MAX_PART: usize = 16 << 20;
/// Most descriptors of one frame.
const MAX_FDS: usize = 16 << 10;
/// Most descriptors of one system call (SCM_MAX_FD).
const FDS_PER_CALL: usize = 253;
/// Bytes asked of the socket at a time.
const READ: usize = 16 << 10;

/// What can go wrong with frames.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket failed.
    #[error("keeper socket: {0}")]
    Socket(#[from] Errno),
    /// The peer closed.
    #[error("keeper socket: closed by the other side")]
    Closed,
    /// A frame larger than allowed.
    #[error("keeper frame of {0} is too large")]
    TooLarge(usize),
    /// Not a message of this protocol.
    #[error("keeper message: {0}")]
    Message(#[from] serde_json::Error),
    /// Not a message that this side knows: one of another version. The frame is gone, the next can
    /// be taken.
    #[error("keeper message of another version: {reason}")]
    Unknown {
        /// The call that it is, or that it answers.
        seq: Option<u64>,
        /// What is not known.
        reason: serde_json::Error,
    },
    /// Descriptors were lost or are missing.
    #[error("keeper frame: {0} file descriptors missing")]
    MissingDescriptors(usize),
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// One frame.
#[derive(Debug)]
pub struct Frame<M> {
    /// The message.
    pub message: M,
    /// Bytes.
    pub bytes: Vec<u8>,
    /// Descriptors, close-on-exec.
    pub fds: VecDeque<OwnedFd>,
}

impl<M> Frame<M> {
    /// With neither bytes nor descriptors.
    pub fn new(message: M) -> Self {
        Self {
            message,
            bytes: Vec::new(),
            fds: VecDeque::new(),
        }
    }

    /// The next descriptor.
    pub fn take_fd(&mut self) -> Result<OwnedFd> {
        self.fds.pop_front().ok_or(Error::MissingDescriptors(1))
    }
}

/// What [`Inbox::fill`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Some bytes.
    Some,
    /// Nothing now.
    WouldBlock,
    /// The peer closed.
    End,
}

/// Frames waiting to be sent.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: VecDeque<Encoded>,
}

#[derive(Debug)]
struct Encoded {
    bytes: Vec<u8>,
    sent: usize,
    fds: VecDeque<OwnedFd>,
}

impl Outbox {
    /// Queues a frame.
    pub fn push<M: Serialize>(&mut self, frame: Frame<M>) -> Result<()> {
        let mut bytes = vec![0; HEAD];
        serde_json::to_writer(&mut bytes, &frame.message)?;
        let message = bytes.len() - HEAD;
        bytes.extend_from_slice(&frame.bytes);
        for (at, n) in [message, frame.bytes.len(), frame.fds.len()]
            .into_iter()
            .enumerate()
        {
            let n = u32::try_from(n)
                .ok()
                .filter(|n| *n as usize <= MAX_PART)
                .ok_or(Error::TooLarge(n))?;
            bytes[at * 4..at * 4 + 4].copy_from_slice(&n.to_le_bytes());
        }
        if frame.fds.len() > MAX_FDS {
            return Err(Error::TooLarge(frame.fds.len()));
        }
        self.waiting.push_back(Encoded {
            bytes,
            sent: 0,
            fds: frame.fds,
        });
        Ok(())
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Frames that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Sends what the socket takes without blocking; true when nothing is left.
    pub fn flush(&mut self, socket: BorrowedFd<'_>) -> Result<bool> {
        while let Some(first) = self.waiting.front_mut() {
            match first.send(socket) {
                Ok(()) => {}
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Ok(false),
                Err(e) => return Err(e.into()),
            }
            if first.sent == first.bytes.len() {
                self.waiting.pop_front();
            }
        }
        Ok(true)
    }
}

impl Encoded {
    fn send(&mut self, socket: BorrowedFd<'_>) -> std::result::Result<(), Errno> {
        let batch = self.fds.len().min(FDS_PER_CALL);
        let rest = &self.bytes[self.sent..];
        // While descriptors remain after this batch, spend a byte only: each batch needs one.
        let part = if self.fds.len() > batch {
            &rest[..1]
        } else {
            rest
        };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_PER_CALL))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let borrowed: Vec<BorrowedFd<'_>> = self.fds.iter().take(batch).map(AsFd::as_fd).collect();
        if batch > 0 {
            control.push(SendAncillaryMessage::ScmRights(&borrowed));
        }
        let sent = sendmsg(
            socket,
            &[IoSlice::new(part)],
            &mut control,
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        )?;
        drop(borrowed);
        self.sent += sent;
        self.fds.drain(..batch);
        Ok(())
    }
}

/// Frames being received.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    fds: VecDeque<OwnedFd>,
}

impl Inbox {
    /// Reads once; blocks for the first bytes only if told.
    pub fn fill(&mut self, socket: BorrowedFd<'_>, block: bool) -> Result<Received> {
        let mut flags = RecvFlags::CMSG_CLOEXEC;
        if !block {
            flags |= RecvFlags::DONTWAIT;
        }
        let wanted = self.missing().clamp(READ, MAX_PART);
        let old = self.bytes.len();
        self.bytes.resize(old + wanted, 0);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_PER_CALL))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let result = loop {
            let mut part = [IoSliceMut::new(&mut self.bytes[old..])];
            match recvmsg(socket, &mut part, &mut control, flags) {
                Err(Errno::INTR) => {}
                other => break other,
            }
        };
        self.bytes
            .truncate(old + result.as_ref().map_or(0, |r| r.bytes));
        let received = match result {
            Ok(received) => received,
            Err(Errno::AGAIN) => return Ok(Received::WouldBlock),
            Err(Errno::CONNRESET) => return Ok(Received::End),
            Err(e) => return Err(e.into()),
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        if received.flags.contains(rustix::net::ReturnFlags::CTRUNC) {
            return Err(Error::MissingDescriptors(1));
        }
        Ok(if received.bytes == 0 {
            Received::End
        } else {
            Received::Some
        })
    }

    /// The next whole frame. After [`Error::Unknown`] the stream can be read on.
    pub fn take<M: DeserializeOwned>(&mut self) -> Result<Option<Frame<M>>> {
        let Some([message, bytes, fds]) = self.head()? else {
            return Ok(None);
        };
        let end = HEAD + message + bytes;
        if self.bytes.len() < end {
            return Ok(None);
        }
        if self.fds.len() < fds {
            return Err(Error::MissingDescriptors(fds - self.fds.len()));
        }
        let part = &self.bytes[HEAD..HEAD + message];
        let read = serde_json::from_slice(part).map_err(|reason| unknown(part, reason));
        let bytes = self.bytes[HEAD + message..end].to_vec();
        let fds = self.fds.drain(..fds).collect();
        self.bytes.drain(..end);
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
        let message = read?;
        Ok(Some(Frame {
            message,
            bytes,
            fds,
        }))
    }

    fn head(&self) -> Result<Option<[usize; 3]>> {
        let mut parts = [0; 3];
        for (at, part) in parts.iter_mut().enumerate() {
            let Some(n) = self.bytes.get(at * 4..at * 4 + 4) else {
                return Ok(None);
            };
            *part = u32::from_le_bytes([n[0], n[1], n[2], n[3]]) as usize;
        }
        if let Some(n) = parts.iter().find(|n| **n > MAX_PART) {
            return Err(Error::TooLarge(*n));
        }
        if parts[2] > MAX_FDS {
            return Err(Error::TooLarge(parts[2]));
        }
        Ok(Some(parts))
    }

    /// Bytes of the frame begun that are still to come.
    fn missing(&self) -> usize {
        match self.head() {
            Ok(Some([message, bytes, _])) => {
                (HEAD + message + bytes).saturating_sub(self.bytes.len())
            }
            _ => 0,
        }
    }
}

/// What a message that cannot be read is: JSON of another version, or none at all.
fn unknown(message: &[u8], reason: serde_json::Error) -> Error {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(message) else {
        return Error::Message(reason);
    };
    let seq = value.get("seq").or_else(|| value.get("Reply")?.get("seq"));
    Error::Unknown {
        seq: seq.and_then(serde_json::Value::as_u64),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .expect("socketpair")
    }

    /// Sends all of `outbox` while receiving, and gives the first frame.
    fn carry(outbox: &mut Outbox, from: &OwnedFd, to: &OwnedFd) -> Frame<String> {
        let mut inbox = Inbox::default();
        loop {
            outbox.flush(from.as_fd()).expect("flush");
            assert_eq!(inbox.fill(to.as_fd(), false).expect("fill"), Received::Some);
            if let Some(frame) = inbox.take().expect("next") {
                return frame;
            }
        }
    }

    #[test]
    fn large_frames_and_many_descriptors_arrive_whole() {
        let (a, b) = pair();
        let mut frame = Frame::new("m".repeat(700_000));
        frame.bytes = vec![7; 300_001];
        for _ in 0..600 {
            frame.fds.push_back(a.try_clone().expect("dup"));
        }
        let mut outbox = Outbox::default();
        outbox.push(frame).expect("push");
        let got = carry(&mut outbox, &a, &b);
        assert!(outbox.is_empty());
        assert_eq!(got.message.len(), 700_000);
        assert_eq!(got.bytes, vec![7; 300_001]);
        assert_eq!(got.fds.len(), 600);
    }

    #[test]
    fn descriptors_stay_with_their_frame() {
        let (a, b) = pair();
        let mut outbox = Outbox::default();
        for n in 0..3 {
            let mut frame = Frame::new(n.to_string());
            for _ in 0..n {
                frame.fds.push_back(a.try_clone().expect("dup"));
            }
            outbox.push(frame).expect("push");
        }
        outbox.flush(a.as_fd()).expect("flush");
        let mut inbox = Inbox::default();
        while inbox.fill(b.as_fd(), false).expect("fill") == Received::Some {}
        for n in 0..3 {
            let frame: Frame<String> = inbox.take().expect("next").expect("frame");
            assert_eq!(
                (frame.message.as_str(), frame.fds.len()),
                (n.to_string().as_str(), n)
            );
        }
    }

    #[test]
    fn a_head_that_asks_for_too_much_is_refused() {
        let mut inbox = Inbox {
            bytes: u32::MAX.to_le_bytes().repeat(3),
            fds: VecDeque::new(),
        };
        assert!(matches!(inbox.take::<String>(), Err(Error::TooLarge(_))));
    }
}
