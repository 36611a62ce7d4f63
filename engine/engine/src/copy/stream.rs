//! Between the blocking side and the client's bounded streams.

use std::io::{self, BufWriter, Read, Write};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use crate::{ByteStream, Error};

/// Bytes sent at once.
const CHUNK: usize = 128 << 10;

/// Runs a writer of an archive; its failure is the last thing the client gets.
pub(crate) fn send(
    sender: mpsc::Sender<crate::Result<Bytes>>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) {
    let mut out = BufWriter::with_capacity(CHUNK, Sink(&sender));
    let written = write(&mut out).and_then(|()| out.flush());
    // What is buffered of a broken archive is of no use.
    drop(out.into_parts());
    if let Err(error) = written
        && !sender.is_closed()
    {
        let _ = sender.blocking_send(Err(Error::system(error.to_string())));
    }
}

struct Sink<'a>(&'a mpsc::Sender<crate::Result<Bytes>>);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let chunk = Bytes::copy_from_slice(bytes);
        let sent = self.0.blocking_send(Ok(chunk));
        sent.map(|()| bytes.len())
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A client's stream, read on the blocking pool.
pub(crate) struct Reader {
    stream: ByteStream,
    chunk: Bytes,
}

impl Reader {
    pub(crate) fn new(stream: ByteStream) -> Self {
        Self {
            stream,
            chunk: Bytes::new(),
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.stream.blocking_recv() {
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
