//! One attached client: a queue of output, detach keys in its input.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};

use keeper_protocol::Attach;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, sendmsg, shutdown};

use super::encode::Stream;
use super::poll::{IN, NOTHING, OUT, Poll, Token};

/// A client with more than this waiting holds the streams it gets.
const FULL: usize = 1 << 20;
/// They go on when no more than this is left.
const DRAINED: usize = 256 << 10;

/// One attached client.
#[derive(Debug)]
pub(crate) struct Client {
    token: Token,
    /// Its name at the daemon.
    pub(crate) attach: Attach,
    stream: OwnedFd,
    keys: Keys,
    queue: VecDeque<u8>,
    on: EventFlags,
    /// Its input has ended.
    pub(crate) input_ended: bool,
    /// Close it when its queue is empty.
    pub(crate) closing: bool,
}

/// Input of a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// This many bytes are at the buffer's start.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// No more to come.
    End,
}

impl Client {
    pub(crate) fn new(attach: Attach, stream: OwnedFd, token: Token, terminal: bool) -> Self {
        let keys = if terminal && attach.stdin {
            attach.detach_keys.clone()
        } else {
            Vec::new()
        };
        Self {
            token,
            attach,
            stream,
            keys: Keys { keys, matched: 0 },
            queue: VecDeque::new(),
            on: NOTHING,
            input_ended: false,
            closing: false,
        }
    }

    pub(crate) fn register(&mut self, poll: &Poll) -> Result<(), Errno> {
        self.on = IN;
        poll.add(&self.stream, self.token, self.on)
    }

    pub(crate) fn is(&self, token: Token) -> bool {
        self.token == token
    }

    pub(crate) fn wants(&self, stream: Stream) -> bool {
        match stream {
            Stream::Stdout => self.attach.stdout,
            Stream::Stderr => self.attach.stderr,
        }
    }

    /// Sends output, keeping what the socket does not take. An error means the client is gone.
    pub(crate) fn send(&mut self, head: &[u8], data: &[u8]) -> Result<(), Errno> {
        let mut sent = 0;
        if self.queue.is_empty() {
            match send_parts(&self.stream, &[head, data]) {
                Ok(n) => sent = n,
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(e) => return Err(e),
            }
        }
        let head_sent = sent.min(head.len());
        self.queue.extend(&head[head_sent..]);
        self.queue.extend(&data[sent - head_sent..]);
        Ok(())
    }

    /// Sends more of the queue.
    pub(crate) fn flush(&mut self) -> Result<(), Errno> {
        while !self.queue.is_empty() {
            let (front, back) = self.queue.as_slices();
            match send_parts(&self.stream, &[front, back]) {
                Ok(n) => drop(self.queue.drain(..n)),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
            }
        }
        self.queue = VecDeque::new();
        Ok(())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.queue.len() > FULL
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.queue.len() <= DRAINED
    }

    pub(crate) fn has_queue(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Asks for the events that matter now.
    pub(crate) fn listen(&mut self, poll: &Poll, may_read: bool) {
        let mut on = NOTHING;
        if may_read && !self.input_ended {
            on |= IN;
        }
        if !self.queue.is_empty() {
            on |= OUT;
        }
        if on != self.on {
            self.on = on;
            poll.modify(&self.stream, self.token, on);
        }
    }

    /// Reads some input.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Input {
        match recv(&self.stream, buffer, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => Input::End,
            Ok((_, n)) => Input::Bytes(n),
            Err(Errno::AGAIN | Errno::INTR) => Input::Nothing,
            Err(_) => Input::End,
        }
    }

    /// Appends to `out` what of `input` is for the process; true when the detach keys are
    /// complete (what follows them is dropped).
    pub(crate) fn filter(&mut self, input: &[u8], out: &mut VecDeque<u8>) -> bool {
        self.keys.filter(input, out)
    }

    /// Ends it. Input not read yet is taken first, as closing over it would be a reset that may
    /// overtake the output. With `shut` false the client sees no end while the daemon still has
    /// its copy of the stream.
    pub(crate) fn close(mut self, poll: &Poll, shut: bool) {
        poll.delete(&self.stream);
        if !shut {
            return;
        }
        let _ = shutdown(self.stream.as_fd(), Shutdown::Write);
        let mut rest = [0; 4096];
        for _ in 0..64 {
            if !matches!(self.receive(&mut rest), Input::Bytes(_)) {
                break;
            }
        }
        let _ = shutdown(self.stream.as_fd(), Shutdown::Both);
    }
}

fn send_parts(stream: &OwnedFd, parts: &[&[u8]; 2]) -> Result<usize, Errno> {
    let parts = parts.map(IoSlice::new);
    sendmsg(
        stream,
        &parts,
        &mut SendAncillaryBuffer::default(),
        SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
    )
}

/// Finds the detach keys, also across reads; a beginning of them is held back until it is known
/// not to be one.
#[derive(Debug)]
struct Keys {
    keys: Vec<u8>,
    matched: usize,
}

impl Keys {
    fn filter(&mut self, input: &[u8], out: &mut VecDeque<u8>) -> bool {
        if self.keys.is_empty() {
            out.extend(input);
            return false;
        }
        for &byte in input {
            if byte != self.keys[self.matched] && self.matched > 0 {
                out.extend(&self.keys[..self.matched]);
                self.matched = 0;
            }
            if byte == self.keys[self.matched] {
                self.matched += 1;
            } else {
                out.push_back(byte);
            }
            if self.matched == self.keys.len() {
                self.matched = 0;
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(inputs: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut keys = Keys {
            keys: vec![16, 17],
            matched: 0,
        };
        let mut out = VecDeque::new();
        for input in inputs {
            if keys.filter(input, &mut out) {
                return (out.into(), true);
            }
        }
        (out.into(), false)
    }

    #[test]
    fn detach_keys_are_found_across_reads_and_never_swallowed_otherwise() {
        assert_eq!(run(&[b"ab\x10\x11c"]), (b"ab".to_vec(), true));
        assert_eq!(run(&[b"ab\x10", b"\x11"]), (b"ab".to_vec(), true));
        assert_eq!(run(&[b"\x10", b"\x10", b"\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(run(&[b"\x10", b"x\x11"]), (b"\x10x\x11".to_vec(), false));
    }
}
