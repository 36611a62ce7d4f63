//! One process of the container (its first, or an exec) with its streams and clients.
//!
//! ```text
//!   stdout, stderr ──read──► log (first process only), every client's queue
//!   client ──recv──► detach keys ──► pending ──write──► stdin
//! ```
//!
//! A full queue stops the reading of the streams its client gets; full `pending` stops the reading
//! of clients. Neither stops the notice of the end, and what is in the pipes then still reaches
//! the log.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use keeper_protocol::{Attach, Event};
use rustix::event::epoll::EventFlags;
use rustix::io::{Errno, read, write};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::client::{Client, Input};
use super::encode::Stream;
use super::log::Log;
use super::poll::{IN, OUT, Poll, Token};

/// Bytes read at a time.
pub(crate) const READ: usize = 64 << 10;
/// Input read ahead of the process.
const PENDING: usize = 64 << 10;
/// Most reads of what an ended process left, should something else go on writing.
const LAST_READS: usize = 64;

/// What the parts of the keeper share.
#[derive(Debug)]
pub(crate) struct Context {
    /// Events.
    pub(crate) poll: Poll,
    /// The log.
    pub(crate) log: Log,
    /// For the daemon.
    pub(crate) news: Vec<Event>,
    /// For reading.
    pub(crate) buffer: Vec<u8>,
}

impl Context {
    /// The child that compresses now.
    fn log_child(&self) -> Option<rustix::process::Pid> {
        self.log.compressing().map(|(_, pid)| pid)
    }

    /// A file was compressed, or could not be.
    pub(crate) fn log_compressed(&mut self) {
        let Some((child, _)) = self.log.compressing() else {
            return;
        };
        self.poll.delete(child);
        if let Err(error) = self.log.compressed() {
            warn(error, self);
        }
        self.watch_compression(None);
    }

    /// Listens for the end of a child that is not the one there was before.
    fn watch_compression(&self, before: Option<rustix::process::Pid>) {
        if let Some((child, pid)) = self.log.compressing()
            && Some(pid) != before
        {
            // One that cannot be listened to is looked at when the next file is full.
            let _ = self.poll.add(child, Token::Compressed, IN);
        }
    }
}

/// One process.
#[derive(Debug)]
pub(crate) struct Process {
    /// 0 for the container's first.
    pub(crate) number: u32,
    /// Of an exec.
    pub(crate) exec_id: Option<String>,
    /// Host pid.
    pub(crate) pid: u32,
    /// pidfd.
    pub(crate) pidfd: OwnedFd,
    /// Master side of its terminal.
    pub(crate) terminal: Option<OwnedFd>,
    /// It was reaped; only clients that have not taken all output keep it.
    pub(crate) ended: bool,
    stdin_once: bool,
    stdin: Option<Stdin>,
    outputs: [Option<Output>; 2],
    clients: Vec<Client>,
    next_client: u32,
}

#[derive(Debug)]
struct Stdin {
    fd: OwnedFd,
    pending: VecDeque<u8>,
    closing: bool,
    registered: bool,
}

#[derive(Debug)]
struct Output {
    fd: OwnedFd,
    paused: bool,
}

/// The keeper's ends of the streams, non-blocking.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// Written to.
    pub(crate) stdin: Option<OwnedFd>,
    /// Read from; stdout has everything of a terminal.
    pub(crate) outputs: [Option<OwnedFd>; 2],
    /// The terminal, for its size.
    pub(crate) terminal: Option<OwnedFd>,
}

const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

impl Process {
    /// Begins to look after a process.
    pub(crate) fn new(
        number: u32,
        pid: u32,
        pidfd: OwnedFd,
        ends: Ends,
        stdin_once: bool,
        context: &Context,
    ) -> Result<Self, Errno> {
        context.poll.add(&pidfd, Token::Process(number), IN)?;
        for (which, fd) in (0..).zip(&ends.outputs) {
            if let Some(fd) = fd {
                context.poll.add(fd, Token::Output(number, which), IN)?;
            }
        }
        Ok(Self {
            number,
            exec_id: None,
            pid,
            pidfd,
            terminal: ends.terminal,
            ended: false,
            stdin_once,
            stdin: ends.stdin.map(|fd| Stdin {
                fd,
                pending: VecDeque::new(),
                closing: false,
                registered: false,
            }),
            outputs: ends
                .outputs
                .map(|fd| fd.map(|fd| Output { fd, paused: false })),
            clients: Vec::new(),
            next_client: 0,
        })
    }

    /// Whether it has ended, be that told or not.
    pub(crate) fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.ended || !matches!(waitid(WaitId::PidFd(self.pidfd.as_fd()), options), Ok(None))
    }

    /// Joins a client; `first` was read from it already.
    pub(crate) fn attach(
        &mut self,
        attach: Attach,
        stream: OwnedFd,
        first: &[u8],
        context: &mut Context,
    ) -> Result<(), Errno> {
        let token = Token::Client(self.number, self.next_client);
        self.next_client = self.next_client.wrapping_add(1);
        let mut client = Client::new(attach, stream, token, self.terminal.is_some());
        client.register(&context.poll)?;
        self.clients.push(client);
        if !first.is_empty() {
            self.input(self.clients.len() - 1, first, context);
        }
        Ok(())
    }

    /// A stream has something.
    pub(crate) fn output_ready(&mut self, which: usize, context: &mut Context) {
        if !self.outputs[which].as_ref().is_some_and(|o| o.paused) {
            self.read_output(which, context);
        }
    }

    /// Reads once; false when there is nothing now or any more.
    fn read_output(&mut self, which: usize, context: &mut Context) -> bool {
        let Some(output) = &self.outputs[which] else {
            return false;
        };
        let mut buffer = std::mem::take(&mut context.buffer);
        let more = match read(&output.fd, &mut buffer[..]) {
            Ok(n) if n > 0 => {
                self.deliver(which, &buffer[..n], context);
                true
            }
            Err(Errno::AGAIN) => false,
            Err(Errno::INTR) => true,
            // End of file; EIO is a terminal's.
            Ok(_) | Err(_) => {
                context.poll.delete(&output.fd);
                self.outputs[which] = None;
                self.end_log(which, context);
                false
            }
        };
        context.buffer = buffer;
        more
    }

    fn deliver(&mut self, which: usize, data: &[u8], context: &mut Context) {
        let stream = STREAMS[which];
        if self.number == 0 {
            let before = context.log_child();
            if let Err(error) = context.log.write(stream, data) {
                warn(error, context);
            }
            context.watch_compression(before);
        }
        // The multiplexing head: stream number, three zeros, length in network order.
        let mut head = [which as u8 + 1, 0, 0, 0, 0, 0, 0, 0];
        head[4..].copy_from_slice(&(data.len() as u32).to_be_bytes());
        let mut at = 0;
        while let Some(client) = self.clients.get_mut(at) {
            let head = if client.attach.framed { &head[..] } else { &[] };
            if client.wants(stream) && !client.closing && client.send(head, data).is_err() {
                self.drop_client(at, false, context);
                continue;
            }
            at += 1;
        }
        self.balance(context);
    }

    fn end_log(&mut self, which: usize, context: &mut Context) {
        if self.number == 0
            && let Err(error) = context.log.end(STREAMS[which])
        {
            warn(error, context);
        }
    }

    /// Something happened at a client.
    pub(crate) fn client_ready(&mut self, token: Token, flags: EventFlags, context: &mut Context) {
        let Some(at) = self.clients.iter().position(|c| c.is(token)) else {
            return;
        };
        let client = &mut self.clients[at];
        if flags.contains(EventFlags::OUT) && client.flush().is_err() {
            return self.drop_client(at, false, context);
        }
        if client.closing && !client.has_queue() {
            return self.drop_client(at, false, context);
        }
        let gone = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        if flags.contains(EventFlags::IN) || gone {
            let mut buffer = std::mem::take(&mut context.buffer);
            // A client that is gone is read to its end whatever waits: its buffer is finite.
            while self.read_client(token, &mut buffer, context) && gone {}
            context.buffer = buffer;
        }
        if gone && let Some(at) = self.clients.iter().position(|c| c.is(token)) {
            return self.drop_client(at, false, context);
        }
        self.balance(context);
    }

    /// Reads input once; false when there is no more for now.
    fn read_client(&mut self, token: Token, buffer: &mut [u8], context: &mut Context) -> bool {
        let Some(at) = self.clients.iter().position(|c| c.is(token)) else {
            return false;
        };
        let client = &mut self.clients[at];
        if client.input_ended {
            return false;
        }
        match client.receive(buffer) {
            Input::Bytes(n) => {
                self.input(at, &buffer[..n], context);
                true
            }
            Input::Nothing => false,
            Input::End => {
                client.input_ended = true;
                let ends_stdin = client.attach.stdin && self.stdin_once;
                if ends_stdin && self.terminal.is_none() {
                    self.close_stdin(context);
                }
                false
            }
        }
    }

    /// Takes input of a client for stdin.
    fn input(&mut self, at: usize, bytes: &[u8], context: &mut Context) {
        let client = &mut self.clients[at];
        if !client.attach.stdin {
            return;
        }
        let mut discarded = VecDeque::new();
        let pending = match &mut self.stdin {
            Some(stdin) if !stdin.closing => &mut stdin.pending,
            _ => &mut discarded,
        };
        let detached = client.filter(bytes, pending);
        self.stdin_ready(context);
        if detached {
            self.drop_client(at, true, context);
        }
    }

    fn close_stdin(&mut self, context: &mut Context) {
        if let Some(stdin) = &mut self.stdin {
            stdin.closing = true;
        }
        self.stdin_ready(context);
    }

    /// Writes pending input.
    pub(crate) fn stdin_ready(&mut self, context: &mut Context) {
        let Some(stdin) = &mut self.stdin else { return };
        let mut closed = false;
        while !stdin.pending.is_empty() {
            match write(&stdin.fd, stdin.pending.as_slices().0) {
                Ok(n) => drop(stdin.pending.drain(..n)),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(_) => {
                    closed = true;
                    break;
                }
            }
        }
        let waiting = !stdin.pending.is_empty();
        if closed || (stdin.closing && !waiting) {
            if stdin.registered {
                context.poll.delete(&stdin.fd);
            }
            self.stdin = None;
        } else if waiting != stdin.registered {
            if waiting {
                let token = Token::Stdin(self.number);
                stdin.registered = context.poll.add(&stdin.fd, token, OUT).is_ok();
            } else {
                context.poll.delete(&stdin.fd);
                stdin.registered = false;
                stdin.pending = VecDeque::new();
            }
        }
        self.balance(context);
    }

    /// Stops and resumes reading of streams and clients.
    fn balance(&mut self, context: &mut Context) {
        let pending = self.stdin.as_ref().map_or(0, |s| s.pending.len());
        for client in &mut self.clients {
            client.listen(&context.poll, pending < PENDING);
        }
        for (which, slot) in (0..).zip(&mut self.outputs) {
            let Some(output) = slot else { continue };
            let mut getting = self
                .clients
                .iter()
                .filter(|c| c.wants(STREAMS[which as usize]));
            if !output.paused && getting.any(Client::is_full) {
                // Taken out altogether, as a hang-up would be told on and on.
                context.poll.delete(&output.fd);
                output.paused = true;
            } else if output.paused && getting.all(Client::is_drained) {
                let token = Token::Output(self.number, which);
                output.paused = context.poll.add(&output.fd, token, IN).is_err();
            }
        }
    }

    fn drop_client(&mut self, at: usize, detached: bool, context: &mut Context) {
        let client = self.clients.swap_remove(at);
        context.news.push(Event::AttachmentEnded {
            token: client.attach.token,
            detached,
        });
        let had_stdin = client.attach.stdin && !client.input_ended;
        // A client of an exec asks for the exit code as soon as it sees the end: the daemon ends
        // the stream once it knows the code.
        client.close(&context.poll, self.exec_id.is_none());
        if had_stdin && self.stdin_once && self.terminal.is_none() {
            self.close_stdin(context);
        } else {
            self.balance(context);
        }
    }

    /// The process is reaped: takes what is left in its streams and ends its clients, those that
    /// cannot take all now later.
    pub(crate) fn finish(&mut self, context: &mut Context) {
        self.ended = true;
        context.poll.delete(&self.pidfd);
        if let Some(stdin) = self.stdin.take()
            && stdin.registered
        {
            context.poll.delete(&stdin.fd);
        }
        for which in 0..2 {
            for _ in 0..LAST_READS {
                if !self.read_output(which, context) {
                    break;
                }
            }
            if let Some(output) = self.outputs[which].take() {
                if !output.paused {
                    context.poll.delete(&output.fd);
                }
                self.end_log(which, context);
            }
        }
        self.terminal = None;
        let mut at = 0;
        while let Some(client) = self.clients.get_mut(at) {
            client.closing = true;
            if client.flush().is_err() || !client.has_queue() {
                self.drop_client(at, false, context);
            } else {
                at += 1;
            }
        }
        self.balance(context);
    }

    /// Nothing is left to do for it.
    pub(crate) fn is_done(&self) -> bool {
        self.ended && self.clients.is_empty()
    }
}

fn warn(error: std::io::Error, context: &mut Context) {
    context.news.push(Event::Warning {
        message: error.to_string(),
    });
}
