//! What daemon and supplier say to each other: one question per connection, as a line of JSON, and an
//! answer, which may carry a descriptor. After `watch` lines of [`News`] follow.

use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use registry::Credentials;
use serde::{Deserialize, Serialize};

/// Longest line.
const LONGEST: usize = 64 << 10;

/// How bytes are got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// How registries are reached.
    pub registries: registry::Config,
    /// Layers fetched at once.
    pub slots: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Supplies a layer from now on; the answer has its device.
    Add {
        chain: String,
        dir: PathBuf,
        /// `None` leaves what is known.
        login: Option<Credentials>,
    },
    /// Settings have changed, or may have.
    Configure(Settings),
    /// Nobody will ask for it again; who has it open keeps it.
    Forget { chain: String },
    /// All of it came, and it was not what it should be: what cannot be told to be right is fetched
    /// again.
    Refetch { chain: String },
    /// Tell what happens.
    Watch,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Done,
    Failed(String),
}

/// What happens to layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum News {
    /// Every byte of a blob is there.
    Whole {
        /// Which layer.
        chain: String,
    },
    /// Something is wrong; it is tried again.
    Trouble {
        /// Which layer.
        chain: String,
        /// The registry sent bytes that are not those of the layer.
        corrupt: bool,
        /// What it is.
        text: String,
    },
}

/// Sends a value and perhaps a descriptor.
pub(crate) fn send<T: Serialize>(
    stream: &UnixStream,
    value: &T,
    fd: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    let fds = fd.map(|fd| vec![fd]).unwrap_or_default();
    let sent = sys::fdpass::send(stream.as_fd(), &line, &fds)?;
    let mut rest: &UnixStream = stream;
    io::Write::write_all(&mut rest, line.get(sent..).unwrap_or_default())
}

/// Receives an answer and its descriptor: short enough to come at once.
pub(crate) fn receive(stream: &UnixStream) -> io::Result<(Answer, Option<OwnedFd>)> {
    let mut buffer = vec![0; LONGEST];
    let mut received = sys::fdpass::recv(stream.as_fd(), &mut buffer, 1)?;
    let mut length = received.len;
    while length > 0 && buffer[length - 1] != b'\n' && length < buffer.len() {
        let mut reader: &UnixStream = stream;
        match reader.read(&mut buffer[length..])? {
            0 => break,
            more => length += more,
        }
    }
    if length == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let answer = serde_json::from_slice(&buffer[..length])?;
    Ok((answer, received.fds.pop()))
}

/// Lines of values; `None` at the end.
#[derive(Debug)]
pub(crate) struct Lines(BufReader<UnixStream>);

impl Lines {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self(BufReader::new(stream))
    }

    pub(crate) fn next<T: for<'a> Deserialize<'a>>(&mut self) -> io::Result<Option<T>> {
        let mut line = Vec::new();
        let mut limited = self.0.by_ref().take(LONGEST as u64);
        match limited.read_until(b'\n', &mut line)? {
            0 => Ok(None),
            _ => Ok(Some(serde_json::from_slice(&line)?)),
        }
    }
}
