//! A connection: authentication, calls and their answers, signals meanwhile.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use crate::message::FIXED;
use crate::{Error, Kind, Message, Result, address};

/// Signals kept while an answer is waited for; more than these are the oldest forgotten.
const KEPT: usize = 256;
/// Longest line of the authentication.
const LINE: usize = 512;

/// A connection to a message bus, or to one program directly.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    /// Received and not taken yet.
    buffer: Vec<u8>,
    signals: VecDeque<Message>,
    serial: u32,
}

impl Connection {
    /// Connects and authenticates, as the user that the kernel says this process is: so it works
    /// from within user namespaces too, where the two sides know it by different numbers.
    pub fn open(addresses: &str, until: Instant) -> Result<Self> {
        let mut connection = Self {
            stream: address::connect(addresses)?,
            buffer: Vec::new(),
            signals: VecDeque::new(),
            serial: 0,
        };
        connection.authenticate(until)?;
        Ok(connection)
    }

    /// Says hello to a message bus, which must be the first call to one.
    pub fn hello(&mut self, until: Instant) -> Result<()> {
        self.call(bus("Hello"), until).map(drop)
    }

    /// Asks a message bus for the signals that match a rule.
    pub fn watch(&mut self, rule: &str, until: Instant) -> Result<()> {
        self.call(bus("AddMatch").with(rule), until).map(drop)
    }

    /// Calls, and waits for the answer; [`Error::Remote`] when that is an error.
    pub fn call(&mut self, call: Message, until: Instant) -> Result<Message> {
        let serial = self.send(call)?;
        loop {
            let message = self.receive(until)?;
            match message.kind {
                Kind::Return if message.reply == serial => return Ok(message),
                Kind::Error if message.reply == serial => {
                    let text = message.body.first().and_then(|v| v.as_text());
                    return Err(Error::Remote {
                        text: text.unwrap_or(&message.error).to_owned(),
                        name: message.error,
                    });
                }
                Kind::Signal => {
                    if self.signals.len() == KEPT {
                        self.signals.pop_front();
                    }
                    self.signals.push_back(message);
                }
                _ => {}
            }
        }
    }

    /// The next signal.
    pub fn signal(&mut self, until: Instant) -> Result<Message> {
        if let Some(signal) = self.signals.pop_front() {
            return Ok(signal);
        }
        loop {
            let message = self.receive(until)?;
            if message.kind == Kind::Signal {
                return Ok(message);
            }
        }
    }

    fn send(&mut self, mut message: Message) -> Result<u32> {
        self.serial = self.serial.checked_add(1).unwrap_or(1);
        message.serial = self.serial;
        let bytes = message.to_bytes()?;
        self.write(&bytes)?;
        Ok(self.serial)
    }

    /// The next message of a known kind.
    fn receive(&mut self, until: Instant) -> Result<Message> {
        loop {
            if let Some(front) = self.buffer.get(..FIXED) {
                let length = Message::length(front)?;
                if self.buffer.len() >= length {
                    let bytes: Vec<u8> = self.buffer.drain(..length).collect();
                    match Message::from_bytes(&bytes)? {
                        Some(message) => return Ok(message),
                        None => continue,
                    }
                }
            }
            self.fill(until)?;
        }
    }

    /// All at once, claiming no identity but the socket's own. What follows waits for the answer:
    /// a message that comes in one piece with BEGIN stays in the buffer of systemd's side, which
    /// looks for nothing more there.
    fn authenticate(&mut self, until: Instant) -> Result<()> {
        self.write(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        loop {
            let line = self.line(until)?;
            if line.starts_with("OK") {
                return Ok(());
            }
            // It asks for the identity, which has been answered.
            if !line.starts_with("DATA") {
                return Err(Error::Rejected(line));
            }
        }
    }

    fn line(&mut self, until: Instant) -> Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                let line = line.get(..end).unwrap_or_default();
                return Ok(String::from_utf8_lossy(line).into_owned());
            }
            if self.buffer.len() > LINE {
                return Err(Error::Malformed("authentication line too long"));
            }
            self.fill(until)?;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self.stream.write_all(bytes) {
            Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                Err(Error::Closed)
            }
            other => other.map_err(|source| socket("write to D-Bus", source)),
        }
    }

    fn fill(&mut self, until: Instant) -> Result<()> {
        let mut chunk = [0; 4096];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Timeout);
            }
            let limited = self.stream.set_read_timeout(Some(left));
            limited.map_err(|source| socket("set timeout of D-Bus", source))?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(Error::Closed),
                Ok(n) => {
                    self.buffer
                        .extend_from_slice(chunk.get(..n).unwrap_or_default());
                    return Ok(());
                }
                Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return Err(Error::Closed),
                Err(source) => return Err(socket("read from D-Bus", source)),
            }
        }
    }
}

fn socket(doing: &str, source: std::io::Error) -> Error {
    Error::Socket {
        doing: doing.to_owned(),
        source,
    }
}

fn bus(member: &str) -> Message {
    let name = "org.freedesktop.DBus";
    Message::call(name, "/org/freedesktop/DBus", name, member)
}
