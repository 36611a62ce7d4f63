//! A client's hijacked stream: to a container's stdio (attach) or to a new process (exec).

use std::os::fd::OwnedFd;
use std::sync::Arc;

use compute::{AttachEnd, Attachment};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::oneshot;

use crate::admission::{Ask, admit};
use crate::container::Container;
use crate::exec::ExecSession;
use crate::options::{AttachOptions, LogsOptions};
use crate::owner::Request;
use crate::record::Phase;
use crate::{Engine, Error, Inner, Result, events};

/// What a client is about to be joined to. Nothing has happened yet: [`Session::run`] does it.
#[derive(Debug)]
pub struct Session {
    /// The stream is raw, not multiplexed.
    pub tty: bool,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Attach {
        engine: Engine,
        container: Arc<Container>,
        options: AttachOptions,
        keys: Vec<u8>,
        /// Where a start that is to come waits for the stream.
        arrival: Option<oneshot::Sender<Attachment>>,
    },
    Exec(ExecSession),
}

impl Session {
    pub(crate) fn exec(tty: bool, session: ExecSession) -> Self {
        Self {
            tty,
            kind: Kind::Exec(session),
        }
    }

    /// Whether output may follow at once. Of a container that is still to be started nothing comes,
    /// and the start waits for the socket.
    pub fn speaks_at_once(&self) -> bool {
        match &self.kind {
            Kind::Attach {
                options, arrival, ..
            } => options.logs || arrival.is_none(),
            Kind::Exec(_) => true,
        }
    }

    /// Takes the client's socket over, with what was read from it already. For attach this returns
    /// once the platform has the socket; for exec once the process has started or failed to.
    ///
    /// # Errors
    /// When the container went away; a failed exec is told on the stream as dockerd does, too.
    pub async fn run(self, stream: OwnedFd, already_read: Vec<u8>) -> Result<()> {
        match self.kind {
            Kind::Attach {
                engine,
                container,
                options,
                keys,
                arrival,
            } => {
                let keys = if self.tty { keys } else { Vec::new() };
                let stream = if options.logs {
                    send_logs(&engine, &container, &options, stream).await?
                } else {
                    stream
                };
                let client = Attachment {
                    stream,
                    already_read,
                    stdin: options.stdin && container.record().config.open_stdin,
                    stdout: options.stdout,
                    stderr: options.stderr,
                    framed: !self.tty && !options.unframed,
                    detach_keys: keys,
                    ended: None,
                };
                match options.stream {
                    true => attach(&engine, &container, client, arrival).await,
                    false => Ok(()),
                }
            }
            Kind::Exec(session) => session.run(stream, already_read).await,
        }
    }
}

impl Engine {
    /// `POST /containers/{id}/attach`: checks; the stream follows.
    ///
    /// # Errors
    /// Conflict when it is paused or restarting; invalid parameter for wrong detach keys.
    pub async fn container_attach(&self, name: &str, options: AttachOptions) -> Result<Session> {
        let container = self.0.containers.find(name)?;
        let record = container.record();
        let keys = detach_keys(options.detach_keys.as_deref())?;
        admit(record.state.phase, Ask::Attach, &record.id, &record.name)?;
        let tty = record.config.tty;
        let mut arrival = None;
        if options.stream && record.state.phase != Phase::Running {
            // Once this is answered the client may ask for the start.
            let (sender, receiver) = oneshot::channel();
            container
                .ask(|reply| Request::Expect {
                    arrival: receiver,
                    reply,
                })
                .await?;
            arrival = Some(sender);
        }
        Ok(Session {
            tty,
            kind: Kind::Attach {
                engine: self.clone(),
                container,
                options,
                keys,
                arrival,
            },
        })
    }
}

async fn attach(
    engine: &Engine,
    container: &Arc<Container>,
    mut client: Attachment,
    arrival: Option<oneshot::Sender<Attachment>>,
) -> Result<()> {
    let (ended, end) = oneshot::channel();
    client.ended = Some(ended);
    let late = match arrival {
        // It comes back when it runs by now.
        Some(arrival) => arrival.send(client).err(),
        None => Some(client),
    };
    if let Some(attachment) = late {
        container
            .ask(|reply| Request::Attach { attachment, reply })
            .await?;
    }
    let (inner, container) = (Arc::clone(&engine.0), Arc::clone(container));
    tokio::spawn(async move { announce_end(&inner, &container, end).await });
    Ok(())
}

async fn announce_end(inner: &Inner, container: &Container, end: oneshot::Receiver<AttachEnd>) {
    if end.await == Ok(AttachEnd::Detached) {
        inner
            .events
            .publish(events::container(&container.record(), "detach", &[]));
    }
}

/// What was logged so far, in the stream's own framing; the socket comes back for the rest.
async fn send_logs(
    engine: &Engine,
    container: &Container,
    options: &AttachOptions,
    stream: OwnedFd,
) -> Result<OwnedFd> {
    let wanted = LogsOptions {
        stdout: options.stdout,
        stderr: options.stderr,
        unframed: options.unframed,
        ..LogsOptions::default()
    };
    let (_, mut logs) = engine.container_logs(&container.id, wanted)?;
    let failed = |error: std::io::Error| Error::system(format!("attach: {error}"));
    let mut socket = SocketWriter::new(stream).map_err(failed)?;
    while let Some(chunk) = logs.recv().await {
        socket.0.write_all(&chunk?).await.map_err(failed)?;
    }
    socket.into_fd().map_err(failed)
}

/// A socket of unknown family, written to for a while. Every stream socket can be written to as if
/// it were a unix one.
pub(crate) struct SocketWriter(tokio::net::UnixStream);

impl SocketWriter {
    pub(crate) fn new(fd: OwnedFd) -> std::io::Result<Self> {
        let socket = std::os::unix::net::UnixStream::from(fd);
        socket.set_nonblocking(true)?;
        tokio::net::UnixStream::from_std(socket).map(Self)
    }

    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes).await
    }

    fn into_fd(self) -> std::io::Result<OwnedFd> {
        self.0.into_std().map(OwnedFd::from)
    }
}

/// `ctrl-p,ctrl-q`, `a,b`, `DEL` → the bytes typed.
///
/// # Errors
/// Invalid parameter, with moby's text.
pub(crate) fn detach_keys(text: Option<&str>) -> Result<Vec<u8>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(vec![16, 17]);
    };
    text.split(',')
        .map(|key| {
            let lower = key.to_ascii_lowercase();
            let byte = match (lower.as_str(), key.as_bytes()) {
                ("del", _) => Some(127),
                (_, [byte]) => Some(*byte),
                _ => match lower.strip_prefix("ctrl-").map(str::as_bytes) {
                    Some([letter @ b'a'..=b'z']) => Some(letter - b'a' + 1),
                    Some([symbol]) => b"@\0[\x1b\\\x1c]\x1d^\x1e_\x1f"
                        .chunks(2)
                        .find(|pair| pair[0] == *symbol)
                        .map(|pair| pair[1]),
                    _ => None,
                },
            };
            byte.ok_or_else(|| {
                Error::invalid(format!(
                    "Invalid escape keys ({text}): Unknown character: '{key}'"
                ))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::detach_keys;

    #[test]
    fn keys() {
        assert_eq!(detach_keys(None).expect("default"), [16, 17]);
        assert_eq!(
            detach_keys(Some("ctrl-a,x,DEL,ctrl-\\")).expect("keys"),
            [1, b'x', 127, 0x1c]
        );
        assert!(detach_keys(Some("ctrl-1")).is_err());
        assert!(detach_keys(Some("a,,b")).is_err());
    }
}
