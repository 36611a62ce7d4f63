//! A connection: authentication, calls and their answers, signals meanwhile.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

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
        let serial = self.send(call, until)?;
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

    fn send(&mut self, mut message: Message, until: Instant) -> Result<u32> {
        self.serial = self.serial.checked_add(1).unwrap_or(1);
        message.serial = self.serial;
        let bytes = message.to_bytes()?;
        self.write(&bytes, until)?;
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
        self.write(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n", until)?;
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

    fn write(&mut self, bytes: &[u8], until: Instant) -> Result<()> {
        let limited = self.stream.set_write_timeout(Some(left(until)?));
        limited.map_err(|source| socket("set timeout of D-Bus", source))?;
        match self.stream.write_all(bytes) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => Err(Error::Timeout),
            Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                Err(Error::Closed)
            }
            other => other.map_err(|source| socket("write to D-Bus", source)),
        }
    }

    fn fill(&mut self, until: Instant) -> Result<()> {
        let mut chunk = [0; 4096];
        loop {
            let limited = self.stream.set_read_timeout(Some(left(until)?));
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

/// How long until then.
fn left(until: Instant) -> Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(Error::Timeout),
        false => Ok(left),
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::Value;

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    /// A server of one connection, which answers the first call with these messages.
    fn serve(greeting: &'static [u8], answers: Vec<Message>) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bus");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut hello = vec![0; b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n".len()];
            stream.read_exact(&mut hello).unwrap();
            stream.write_all(greeting).unwrap();
            let mut front = [0; FIXED];
            if stream.read_exact(&mut front).is_err() {
                return;
            }
            let mut call = front.to_vec();
            call.resize(Message::length(&front).unwrap(), 0);
            stream.read_exact(&mut call[FIXED..]).unwrap();
            let serial = Message::from_bytes(&call).unwrap().unwrap().serial;
            for mut answer in answers {
                if answer.kind != Kind::Signal {
                    answer.reply = serial;
                }
                // In two pieces: a read may end anywhere.
                let bytes = answer.to_bytes().unwrap();
                let (first, second) = bytes.split_at(bytes.len() / 2);
                stream.write_all(first).unwrap();
                stream.write_all(second).unwrap();
            }
        });
        let address = format!("unix:path={}", path.display());
        (dir, address)
    }

    fn signal(member: &str) -> Message {
        Message {
            kind: Kind::Signal,
            ..Message::call("", "/", "a.b", member)
        }
    }

    const GREETING: &[u8] = b"DATA\r\nOK 0123\r\n";

    #[test]
    fn signals_wait_while_an_answer_is_waited_for() {
        let answer = Message {
            kind: Kind::Return,
            ..Message::call("", "", "", "")
        };
        let answers = vec![signal("First"), answer.with(7u64), signal("Second")];
        let (_dir, address) = serve(GREETING, answers);
        let mut connection = Connection::open(&address, later()).unwrap();
        let call = Message::call("", "/", "a.b", "M");
        let answer = connection.call(call, later()).unwrap();
        assert_eq!(answer.body, [Value::U64(7)]);
        for member in ["First", "Second"] {
            let signal = connection.signal(later()).unwrap();
            assert!(signal.is_signal("a.b", member));
        }
        assert!(matches!(connection.signal(later()), Err(Error::Closed)));
    }

    #[test]
    fn errors_have_their_names() {
        let answer = Message {
            kind: Kind::Error,
            error: "a.b.NoSuchUnit".into(),
            ..Message::call("", "", "", "")
        };
        let (_dir, address) = serve(GREETING, vec![answer.with("Unit x not found.")]);
        let mut connection = Connection::open(&address, later()).unwrap();
        let call = Message::call("", "/", "a.b", "M");
        let error = connection.call(call, later()).unwrap_err();
        assert_eq!(error.name(), "a.b.NoSuchUnit");
        assert_eq!(error.to_string(), "Unit x not found.");
    }

    #[test]
    fn nobody_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bus");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"OK 0123\r\n").unwrap();
            stream
        });
        let address = format!("unix:path={}", path.display());
        let mut connection = Connection::open(&address, later()).unwrap();
        let _unread = server.join().unwrap();
        let soon = Instant::now() + Duration::from_millis(200);
        // More than a socket holds.
        let call = Message::call("", "/", "a.b", "M").with("x".repeat(3 << 20).as_str());
        assert!(matches!(connection.call(call, soon), Err(Error::Timeout)));
    }

    #[test]
    fn rejected_and_late() {
        let (_dir, address) = serve(b"REJECTED EXTERNAL\r\n", Vec::new());
        let refused = Connection::open(&address, later());
        assert!(matches!(refused, Err(Error::Rejected(_))));
        let (_dir, address) = serve(b"", Vec::new());
        let soon = Instant::now() + Duration::from_millis(20);
        assert!(matches!(
            Connection::open(&address, soon),
            Err(Error::Timeout)
        ));
    }
}
