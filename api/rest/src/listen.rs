//! Accepting connections.

use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use crate::authz::Peer;
use crate::stream::{Stream, Transport};
use crate::{Api, Tls, connection};

/// How long a client may take for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long to wait when no more connections can be accepted (descriptors exhausted): there is
/// no event that tells when there are some again.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// Where connections come from.
#[derive(Debug)]
pub enum Listener {
    /// A unix socket.
    Unix(UnixListener),
    /// TCP, in the clear or with TLS.
    Tcp(TcpListener, Option<Tls>),
}

impl Listener {
    async fn accept(&self) -> std::io::Result<Transport> {
        match self {
            Self::Unix(listener) => Ok(Transport::Unix(listener.accept().await?.0)),
            Self::Tcp(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let _ = stream.set_nodelay(true);
                Ok(Transport::Tcp(stream))
            }
        }
    }
}

/// Serves a listener until `stop` turns true. Connections go on until their requests are answered;
/// the sender of `stop` is closed when the last of them has ended.
pub async fn serve(api: Api, listener: Listener, mut stop: watch::Receiver<bool>) {
    let tls = match &listener {
        Listener::Tcp(_, tls) => tls.clone(),
        Listener::Unix(_) => None,
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = connection::told_to_stop(&mut stop) => return,
        };
        match accepted {
            Ok(transport) => {
                let task = converse(api.clone(), transport, tls.clone(), stop.clone());
                tokio::spawn(task);
            }
            Err(error) => refused(&error).await,
        }
    }
}

async fn converse(api: Api, transport: Transport, tls: Option<Tls>, stop: watch::Receiver<bool>) {
    let transport = match (transport, tls) {
        (Transport::Tcp(stream), Some(Tls(acceptor))) => {
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => Transport::Tls(Box::new(stream)),
                Ok(Err(error)) => return tracing::info!(%error, "TLS handshake failed"),
                Err(_) => return tracing::info!("TLS handshake took too long"),
            }
        }
        (transport, _) => transport,
    };
    let peer = match &transport {
        Transport::Tls(stream) => {
            let (_, session) = stream.get_ref();
            Peer::of(session.peer_certificates().unwrap_or_default())
        }
        _ => None,
    };
    let api = api.with_peer(peer);
    connection::serve(api, Stream::new(transport), stop).await;
}

/// A connection could not be accepted; when the listener is at fault, it takes a pause.
pub(crate) async fn refused(error: &std::io::Error) {
    if !passes(error) {
        tracing::warn!(%error, "cannot accept a connection");
        tokio::time::sleep(EXHAUSTED).await;
    }
}

/// Failures of one connection, not of the listener.
fn passes(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
    )
}
