//! The connection to the daemon.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use keeper_protocol::{Call, Error, Frame, Inbox, Message, Outbox, Received, Result};

use super::poll::{IN, OUT, Poll, Token};

/// Frames a daemon may leave unread before it is taken for dead.
const MOST_WAITING: usize = 4096;

/// A daemon's connection.
#[derive(Debug)]
pub(crate) struct Control {
    socket: OwnedFd,
    inbox: Inbox,
    outbox: Outbox,
    waiting: bool,
}

/// What a daemon asks.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// A call.
    Call(Frame<Call>),
    /// The number of a call that a later daemon knows.
    Unknown(u64),
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Control {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            waiting: false,
        }
    }

    /// Waits for the first call; `None` when the daemon went away without one.
    pub(crate) fn first(&mut self) -> Result<Option<Frame<Call>>> {
        loop {
            if let Some(frame) = self.inbox.take()? {
                return Ok(Some(frame));
            }
            if self.inbox.fill(self.socket.as_fd(), true)? == Received::End {
                return Ok(None);
            }
        }
    }

    /// The calls that have arrived, and whether the daemon has closed. Of calls that a later
    /// version has, only the number is known.
    pub(crate) fn receive(&mut self) -> Result<(Vec<Arrived>, bool)> {
        let received = self.inbox.fill(self.socket.as_fd(), false)?;
        let mut calls = Vec::new();
        loop {
            match self.inbox.take() {
                Ok(Some(frame)) => calls.push(Arrived::Call(frame)),
                Ok(None) => return Ok((calls, received == Received::End)),
                Err(Error::Unknown { seq: Some(seq), .. }) => calls.push(Arrived::Unknown(seq)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends, or keeps until the daemon reads.
    pub(crate) fn send(&mut self, frame: Frame<Message>, poll: &Poll) -> Result<()> {
        if self.outbox.len() >= MOST_WAITING {
            return Err(Error::TooLarge(self.outbox.len()));
        }
        self.outbox.push(frame)?;
        self.flush(poll)
    }

    pub(crate) fn flush(&mut self, poll: &Poll) -> Result<()> {
        let waiting = !self.outbox.flush(self.socket.as_fd())?;
        if waiting != self.waiting {
            self.waiting = waiting;
            poll.modify(
                &self.socket,
                Token::Control,
                if waiting { IN | OUT } else { IN },
            );
        }
        Ok(())
    }

    /// Sends all, waiting for the daemon.
    pub(crate) fn send_now(&mut self, frame: Frame<Message>) -> Result<()> {
        self.outbox.push(frame)?;
        while !self.outbox.flush(self.socket.as_fd())? {
            let mut socket = [rustix::event::PollFd::new(
                &self.socket,
                rustix::event::PollFlags::OUT,
            )];
            rustix::event::poll(&mut socket, None)?;
        }
        Ok(())
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.outbox.is_empty()
    }
}
