//! A client's connection, whatever it runs over.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, copy_bidirectional};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// A connection, with bytes that were read from it and put back.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) transport: Transport,
    unread: Vec<u8>,
}

/// What it runs over.
#[derive(Debug)]
pub(crate) enum Transport {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(crate) fn new(transport: Transport) -> Self {
        Self {
            transport,
            unread: Vec::new(),
        }
    }

    /// Puts bytes back that will be read again first.
    pub(crate) fn put_back(&mut self, bytes: Vec<u8>) {
        self.unread = bytes;
    }

    /// Waits until the client has read all that was sent, as far as that can be seen: on a unix
    /// socket. A client that closed, or that fails, is not waited for.
    pub(crate) async fn read_by_client(&self) {
        let Transport::Unix(stream) = &self.transport else {
            return;
        };
        // The kernel says that there is room whenever something was read.
        while let Ok(ready) = stream.ready(Interest::WRITABLE).await {
            let all_read = || match sys::network::unread_by_peer(stream) {
                Ok(2..) => Err(io::ErrorKind::WouldBlock.into()),
                read => read,
            };
            let waits = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
            if ready.is_write_closed()
                || !stream
                    .try_io(Interest::WRITABLE, all_read)
                    .is_err_and(waits)
            {
                return;
            }
        }
    }

    /// The socket itself and what was put back. For TLS, a socket that a task joins to it.
    ///
    /// # Errors
    /// When no socketpair can be made.
    pub(crate) fn into_socket(self) -> io::Result<(OwnedFd, Vec<u8>)> {
        let socket = match self.transport {
            Transport::Unix(stream) => stream.into_std()?.into(),
            Transport::Tcp(stream) => stream.into_std()?.into(),
            Transport::Tls(mut stream) => {
                let (ours, theirs) = StdUnixStream::pair()?;
                ours.set_nonblocking(true)?;
                let mut ours = UnixStream::from_std(ours)?;
                tokio::spawn(async move {
                    if let Err(error) = copy_bidirectional(&mut *stream, &mut ours).await {
                        tracing::debug!(%error, "an encrypted stream ended");
                    }
                });
                theirs.into()
            }
        };
        Ok((socket, self.unread))
    }

    fn pinned(&mut self) -> Pin<&mut dyn Duplex> {
        match &mut self.transport {
            Transport::Unix(stream) => Pin::new(stream),
            Transport::Tcp(stream) => Pin::new(stream),
            Transport::Tls(stream) => Pin::new(&mut **stream),
        }
    }
}

trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let count = self.unread.len().min(buffer.remaining());
            buffer.put_slice(&self.unread[..count]);
            self.unread.drain(..count);
            return Poll::Ready(Ok(()));
        }
        self.pinned().poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.pinned().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.pinned().poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        !matches!(self.transport, Transport::Tls(_))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned().poll_shutdown(context)
    }
}
