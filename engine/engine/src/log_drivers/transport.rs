//! Connections to remote loggers.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, UnixStream};

/// Where a logger listens; hosts are `host:port`.
#[derive(Debug, Clone)]
pub(super) enum Address {
    Udp(String),
    Tcp(String),
    Unix(PathBuf),
    UnixDatagram(PathBuf),
}

/// An open connection.
#[derive(Debug)]
pub(crate) enum Connection {
    Udp(UdpSocket),
    UnixDatagram(UnixDatagram),
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Longest answer that a logger may give to a message.
const ANSWER: usize = 4096;

impl Address {
    pub(super) async fn connect(&self) -> io::Result<Connection> {
        match self {
            Self::Tcp(host) => Ok(Connection::Tcp(TcpStream::connect(host).await?)),
            Self::Unix(path) => Ok(Connection::Unix(UnixStream::connect(path).await?)),
            Self::UnixDatagram(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                Ok(Connection::UnixDatagram(socket))
            }
            Self::Udp(host) => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, "no such host");
                for address in tokio::net::lookup_host(host).await? {
                    let any = match address.is_ipv4() {
                        true => "0.0.0.0:0",
                        false => "[::]:0",
                    };
                    let connected = async {
                        let socket = UdpSocket::bind(any).await?;
                        socket.connect(address).await?;
                        Ok(socket)
                    };
                    match connected.await {
                        Ok(socket) => return Ok(Connection::Udp(socket)),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Udp(host) => write!(f, "udp {host}"),
            Self::Tcp(host) => write!(f, "tcp {host}"),
            Self::Unix(path) => write!(f, "unix {}", path.display()),
            Self::UnixDatagram(path) => write!(f, "unixgram {}", path.display()),
        }
    }
}

impl Connection {
    /// Sends the packets of some messages.
    pub(super) async fn send(&mut self, packets: &[Vec<u8>]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => {
                for packet in packets {
                    match passed(socket.send(packet).await) {
                        // Told of an earlier packet: nobody listened then. Packets may be lost.
                        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                        other => other?,
                    }
                }
                Ok(())
            }
            Self::UnixDatagram(socket) => {
                for packet in packets {
                    passed(socket.send(packet).await)?;
                }
                Ok(())
            }
            Self::Tcp(stream) => send_all(stream, packets).await,
            Self::Unix(stream) => send_all(stream, packets).await,
        }
    }

    /// Waits for an answer that contains these bytes.
    pub(super) async fn confirmed(&mut self, by: &[u8]) -> io::Result<()> {
        let mut answer = Vec::new();
        let contains = |answer: &[u8]| answer.windows(by.len()).any(|window| window == by);
        while !contains(&answer) {
            if answer.len() > ANSWER {
                return Err(io::Error::other("it confirmed something else"));
            }
            let read = match self {
                Self::Tcp(stream) => stream.read_buf(&mut answer).await?,
                Self::Unix(stream) => stream.read_buf(&mut answer).await?,
                Self::Udp(_) | Self::UnixDatagram(_) => return Ok(()),
            };
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}

/// A packet that is too large never fits: tried again, it would hold up all that follow.
fn passed(sent: io::Result<usize>) -> io::Result<()> {
    match sent {
        Err(error) if too_large(&error) => {
            tracing::warn!(%error, "a log message is left out");
            Ok(())
        }
        other => other.map(|_| ()),
    }
}

fn too_large(error: &io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::MSGSIZE)
}

async fn send_all<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    packets: &[Vec<u8>],
) -> io::Result<()> {
    // A logger that has closed would take one more write without a word.
    let closed = std::future::poll_fn(|context| Poll::Ready(is_closed(stream, context)));
    if closed.await {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    stream.write_all(&packets.concat()).await?;
    stream.flush().await
}

fn is_closed<S: AsyncRead + Unpin>(stream: &mut S, context: &mut Context<'_>) -> bool {
    let mut byte = [0; 64];
    let mut buffer = ReadBuf::new(&mut byte);
    match Pin::new(stream).poll_read(context, &mut buffer) {
        Poll::Pending => false,
        Poll::Ready(Ok(())) => buffer.filled().is_empty(),
        Poll::Ready(Err(_)) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, Connection};

    #[tokio::test]
    async fn what_is_too_large_for_a_packet_holds_up_nothing() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("log");
        let local = tokio::net::UnixDatagram::bind(&path).expect("socket");
        let far = tokio::net::UdpSocket::bind("127.0.0.1:0")
            .await
            .expect("socket");
        let host = far.local_addr().expect("address").to_string();
        let packets = [vec![b'x'; 16 << 20], b"next".to_vec()];
        let mut buffer = [0; 16];
        for address in [Address::UnixDatagram(path), Address::Udp(host)] {
            let mut connection = address.connect().await.expect("connected");
            connection.send(&packets).await.expect("sent");
            let read = match connection {
                Connection::Udp(_) => far.recv(&mut buffer).await,
                _ => local.recv(&mut buffer).await,
            };
            assert_eq!(&buffer[..read.expect("received")], b"next");
        }
    }
}
