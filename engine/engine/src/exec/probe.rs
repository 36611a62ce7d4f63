//! One run of a container's health check: an exec whose client is the engine itself.

use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use compute::Attachment;
use dockerapi::ExecCreate;
use tokio::io::AsyncReadExt as _;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Client, Exec, Progress, event_action, exec_event, lock, run};
use crate::container::Container;
use crate::health::{OUTPUT_LIMIT, go_duration};
use crate::{Error, Inner, Result, names};

/// How long a check's process may take to start, or to go once killed.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a check came to.
#[derive(Debug)]
pub(crate) struct Probed {
    /// -1 for one that took too long.
    pub(crate) code: i32,
    /// Standard output and error as they came, cut.
    pub(crate) output: String,
}

/// Runs a check; it is killed when it takes longer than `limit`, or when `unwanted` comes about:
/// then there is no result.
///
/// # Errors
/// When it cannot be started.
pub(crate) async fn probe(
    inner: &Arc<Inner>,
    container: Arc<Container>,
    command: Vec<String>,
    limit: Duration,
    unwanted: impl Future<Output = ()>,
) -> Result<Option<Probed>> {
    let record = container.record();
    if command.is_empty() {
        return Err(Error::invalid(format!(
            "healthcheck for container {} has no command",
            record.id
        )));
    }
    let id = names::random_id()?;
    let action = event_action("exec_create", &command);
    let exec = inner.execs.insert(Exec {
        id: id.clone(),
        container,
        config: ExecCreate {
            attach_stdout: true,
            attach_stderr: true,
            cmd: command,
            ..ExecCreate::default()
        },
        keys: Vec::new(),
        progress: Mutex::new(Progress::Created),
    })?;
    inner.events.publish(exec_event(&record, &action, &id, &[]));
    let probed = look(inner, &exec, limit, unwanted).await;
    // What it came to is in the container's own log: checks would push out the execs of clients.
    inner.execs.remove(&id);
    probed
}

async fn look(
    inner: &Arc<Inner>,
    exec: &Arc<Exec>,
    limit: Duration,
    unwanted: impl Future<Output = ()>,
) -> Result<Option<Probed>> {
    let failed = |error: std::io::Error| Error::system(format!("health check: {error}"));
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
    ours.set_nonblocking(true).map_err(failed)?;
    let mut ours = tokio::net::UnixStream::from_std(ours).map_err(failed)?;
    let (ended, end) = oneshot::channel();
    let mut client = Some(Client {
        stream: Some(OwnedFd::from(theirs.try_clone().map_err(failed)?)),
        end,
    });
    let attachment = Attachment {
        stream: theirs.into(),
        already_read: Vec::new(),
        stdin: false,
        stdout: true,
        stderr: true,
        framed: true,
        detach_keys: Vec::new(),
        ended: Some(ended),
    };
    let mut starting = {
        let (inner, exec) = (Arc::clone(inner), Arc::clone(exec));
        tokio::spawn(async move { run(&inner, &exec, None, Some(attachment), &mut client).await })
    };
    let mut unwanted = pin!(unwanted);
    let started = tokio::select! {
        started = timeout(PATIENCE, &mut starting) => Some(started),
        () = &mut unwanted => None,
    };
    let given_up = match started {
        Some(Ok(Ok(started))) => {
            started?;
            None
        }
        Some(Ok(Err(_))) => return Err(Error::system("the engine is going down")),
        Some(Err(_)) => Some(Err(Error::system(format!(
            "timed out starting health check for container {}",
            exec.container.id
        )))),
        None => Some(Ok(None)),
    };
    if let Some(given_up) = given_up {
        // It may start yet, in a container that is thawed: then nobody would wait for its end.
        let (inner, exec) = (Arc::clone(inner), Arc::clone(exec));
        tokio::spawn(async move {
            if let Ok(Ok(())) = starting.await {
                kill(&inner, &exec).await;
            }
        });
        return given_up;
    }
    let mut output = Output::default();
    let wanted = tokio::select! {
        read = timeout(limit, output.read(&mut ours)) => Some(read.is_ok()),
        () = unwanted => None,
    };
    let code = match (wanted, *lock(&exec.progress)) {
        (Some(true), Progress::Ended { code, .. }) => Some(code),
        _ => None,
    };
    if let Some(code) = code {
        return Ok(Some(Probed {
            code,
            output: output.text(),
        }));
    }
    kill(inner, exec).await;
    if wanted.is_none() {
        return Ok(None);
    }
    // Dying checks must not pile up.
    let _ = timeout(PATIENCE, output.read(&mut ours)).await;
    let mut text = format!("Health check exceeded timeout ({})", go_duration(limit));
    if !output.kept.is_empty() {
        text.push_str(": ");
        text.push_str(&output.text());
    }
    Ok(Some(Probed {
        code: -1,
        output: text,
    }))
}

async fn kill(inner: &Inner, exec: &Exec) {
    let (container, id) = (&exec.container.id, Some(exec.id.as_str()));
    // It may have ended by itself at this very moment.
    let _ = inner
        .compute
        .signal(container, id, crate::signal::KILL)
        .await;
}

/// What a check wrote, out of the frames that clients get. Keeps its place when a read is given up.
#[derive(Debug, Default)]
struct Output {
    kept: Vec<u8>,
    cut: bool,
    header: Vec<u8>,
    /// Bytes of the current frame still to come.
    left: usize,
}

impl Output {
    /// Reads to the end of the stream.
    async fn read(&mut self, stream: &mut tokio::net::UnixStream) {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            self.take(&buffer[..read]);
        }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left == 0 {
                let wanted = (8 - self.header.len()).min(bytes.len());
                self.header.extend_from_slice(&bytes[..wanted]);
                bytes = &bytes[wanted..];
                if let [_, _, _, _, a, b, c, d] = *self.header {
                    self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                    self.header.clear();
                }
                continue;
            }
            let (content, rest) = bytes.split_at(self.left.min(bytes.len()));
            self.left -= content.len();
            bytes = rest;
            let room = OUTPUT_LIMIT - self.kept.len();
            self.cut |= content.len() > room;
            self.kept
                .extend_from_slice(&content[..content.len().min(room)]);
        }
    }

    fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.kept).into_owned();
        if self.cut {
            text.push_str("...");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{OUTPUT_LIMIT, Output};

    #[test]
    fn frames_in_any_pieces() {
        let mut stream = Vec::new();
        for text in ["ab", "", "cde"] {
            stream.extend([1, 0, 0, 0, 0, 0, 0]);
            stream.push(u8::try_from(text.len()).expect("short"));
            stream.extend(text.as_bytes());
        }
        for size in 1..stream.len() {
            let mut output = Output::default();
            for piece in stream.chunks(size) {
                output.take(piece);
            }
            assert_eq!(output.text(), "abcde", "pieces of {size}");
        }
    }

    #[test]
    fn long_output_is_cut() {
        let mut output = Output::default();
        output.take(&[1, 0, 0, 0, 0, 0, 0x20, 0]);
        output.take(&[b'x'; 0x2000]);
        let text = output.text();
        assert_eq!(text.len(), OUTPUT_LIMIT + 3);
        assert!(text.ends_with("x..."));
    }
}
