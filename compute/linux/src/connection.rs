//! The task that owns a keeper's socket.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use compute::{AttachEnd, Error, Exit, Kind, Notice, Result};
use keeper_protocol::{
    Call, Event, Failure, FailureKind, Frame, Inbox, Message, Outbox, Received, Reply, Request,
    VERSION, system_time,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use crate::containers::{Handle, Link, lock};
use crate::{Shared, internal};

/// Calls on their way to the task.
const CALLS: usize = 16;
/// Frames in the outbox at which the task takes no further calls.
const MOST_QUEUED: usize = 64;
/// News the engine has not taken yet; the last place is kept for `Exited`.
const NOTICES: usize = 16;

/// One call and where its answer goes.
#[derive(Debug)]
pub(crate) struct Outgoing {
    frame: Frame<Request>,
    answer: oneshot::Sender<Frame<Reply>>,
}

/// A new connection.
pub(crate) struct Connection {
    pub(crate) handle: Arc<Handle>,
    pub(crate) notices: mpsc::Receiver<Notice>,
}

#[derive(Debug)]
struct Task {
    shared: Weak<Shared>,
    link: Arc<Link>,
    socket: UnixStream,
    calls: mpsc::Receiver<Outgoing>,
    /// Somebody may still call.
    held: bool,
    notices: mpsc::Sender<Notice>,
    exited: Option<mpsc::OwnedPermit<Notice>>,
    inbox: Inbox,
    outbox: Outbox,
    answers: HashMap<u64, oneshot::Sender<Frame<Reply>>>,
    seq: u64,
    child: Option<Child>,
}

/// Why the task stopped reading.
enum Stop {
    /// Nobody holds the container any more: the daemon is going down.
    Released,
    /// The keeper closed or failed.
    Closed,
}

/// Starts the task. `child` is reaped at the end, where the keeper is ours.
pub(crate) fn start(
    shared: &Arc<Shared>,
    link: Link,
    socket: OwnedFd,
    child: Option<Child>,
) -> Result<Connection> {
    let (calls, incoming) = mpsc::channel(CALLS);
    let (notices, receiver) = mpsc::channel(NOTICES);
    let link = Arc::new(link);
    let socket = std::os::unix::net::UnixStream::from(socket);
    socket.set_nonblocking(true).map_err(internal)?;
    let socket = UnixStream::from_std(socket).map_err(internal)?;
    let exited = notices.clone().try_reserve_owned().map_err(internal)?;
    let task = Task {
        shared: Arc::downgrade(shared),
        link: Arc::clone(&link),
        socket,
        calls: incoming,
        held: true,
        notices,
        exited: Some(exited),
        inbox: Inbox::default(),
        outbox: Outbox::default(),
        answers: HashMap::new(),
        seq: 0,
        child,
    };
    tokio::spawn(task.run());
    Ok(Connection {
        handle: Arc::new(Handle { link, calls }),
        notices: receiver,
    })
}

impl Handle {
    /// Asks the keeper. A keeper that goes away meanwhile is "not running".
    pub(crate) async fn call(&self, frame: Frame<Request>) -> Result<Frame<Reply>> {
        let gone = || Error::not_running(&self.link.id);
        let spoken = self.link.version.get().copied();
        check_version(frame.message.since(), spoken.unwrap_or(VERSION))?;
        let (answer, answered) = oneshot::channel();
        let outgoing = Outgoing { frame, answer };
        self.calls.send(outgoing).await.map_err(|_| gone())?;
        let frame = answered.await.map_err(|_| gone())?;
        match frame.message {
            Reply::Failed(failure) => Err(from_failure(failure)),
            _ => Ok(frame),
        }
    }
}

/// An old keeper would take a request that it does not know for the end of the connection.
fn check_version(since: u32, spoken: u32) -> Result<()> {
    if since <= spoken {
        return Ok(());
    }
    let message = "the container's keeper is of an earlier version that cannot do this: it can after a \
                   restart of the container";
    Err(Error::new(Kind::Unsupported, message))
}

impl Task {
    async fn run(mut self) {
        match self.serve().await {
            Stop::Released => return,
            Stop::Closed => {}
        }
        self.answers.clear();
        if let Some(exited) = self.exited.take() {
            // It never said how the container ended. One that never ran is its launcher's.
            if self.link.first.get().is_some() {
                let error = self.kill_orphans().await;
                self.ended(exited, killed(error));
            }
        }
        for (_, ended) in lock(&self.link.attachments).drain() {
            let _ = ended.send(AttachEnd::Closed);
        }
        lock(&self.link.execs).clear();
        self.reap().await;
    }

    async fn serve(&mut self) -> Stop {
        loop {
            let queued = self.outbox.len();
            tokio::select! {
                call = self.calls.recv(), if self.held && queued < MOST_QUEUED => match call {
                    Some(call) => if self.queue(call).is_err() { return Stop::Closed },
                    // After the end there may still be clients that the keeper serves.
                    None if self.exited.is_none() => self.held = false,
                    None => return Stop::Released,
                },
                ready = self.socket.readable() => {
                    if ready.is_err() || !self.receive() { return Stop::Closed }
                }
                ready = self.socket.writable(), if queued > 0 => {
                    if ready.is_err() || self.flush().is_err() { return Stop::Closed }
                }
            }
        }
    }

    fn queue(&mut self, call: Outgoing) -> keeper_protocol::Result<()> {
        self.seq += 1;
        let seq = self.seq;
        let pushed = self.outbox.push(Frame {
            message: Call {
                seq,
                request: call.frame.message,
            },
            bytes: call.frame.bytes,
            fds: call.frame.fds,
        });
        match pushed {
            Ok(()) => {
                self.answers.insert(seq, call.answer);
            }
            // Only this call is at fault, being too large.
            Err(error) => {
                let _ = call.answer.send(Frame::new(Reply::Failed(Failure {
                    kind: FailureKind::Invalid,
                    message: error.to_string(),
                })));
            }
        }
        // At once: tokio may not know yet that the socket takes bytes.
        self.outbox.flush(self.socket.as_fd()).map(drop)
    }

    fn flush(&mut self) -> keeper_protocol::Result<()> {
        let (socket, outbox) = (&self.socket, &mut self.outbox);
        let mut result = Ok(true);
        // The error tells tokio to wait for the next readiness, nothing else.
        let _ = socket.try_io(Interest::WRITABLE, || {
            result = outbox.flush(socket.as_fd());
            match result {
                Ok(false) => Err(std::io::ErrorKind::WouldBlock.into()),
                _ => Ok(()),
            }
        });
        result.map(drop)
    }

    fn fill(&mut self) -> keeper_protocol::Result<Received> {
        let (socket, inbox) = (&self.socket, &mut self.inbox);
        let mut result = Ok(Received::WouldBlock);
        let _ = socket.try_io(Interest::READABLE, || {
            result = inbox.fill(socket.as_fd(), false);
            match result {
                Ok(Received::WouldBlock) => Err(std::io::ErrorKind::WouldBlock.into()),
                _ => Ok(()),
            }
        });
        result
    }

    /// Takes all that has arrived; false when there will be no more.
    fn receive(&mut self) -> bool {
        loop {
            let received = match self.fill() {
                Ok(received) => received,
                Err(error) => return self.broken(&error),
            };
            loop {
                match self.inbox.take::<Message>() {
                    Ok(Some(frame)) => self.message(frame),
                    Ok(None) => break,
                    Err(keeper_protocol::Error::Unknown { seq, reason }) => {
                        self.passed_over(seq, &reason);
                    }
                    Err(error) => return self.broken(&error),
                }
            }
            match received {
                Received::Some => {}
                Received::WouldBlock => return true,
                Received::End => return false,
            }
        }
    }

    /// A later keeper's message: who waits for an answer gets one, news of its kind are nobody's.
    fn passed_over(&mut self, seq: Option<u64>, reason: &serde_json::Error) {
        tracing::warn!(container = self.link.id, %reason, "a message of the keeper is not known");
        if let Some(answer) = seq.and_then(|seq| self.answers.remove(&seq)) {
            let _ = answer.send(Frame::new(Reply::Failed(Failure {
                kind: FailureKind::Unsupported,
                message: format!("the answer of the container's keeper is not known: {reason}"),
            })));
        }
    }

    fn broken(&self, error: &keeper_protocol::Error) -> bool {
        tracing::warn!(container = self.link.id, %error, "connection to keeper");
        false
    }

    fn message(&mut self, frame: Frame<Message>) {
        let Frame {
            message,
            bytes,
            fds,
        } = frame;
        match message {
            Message::Reply { seq, reply } => {
                if let Some(answer) = self.answers.remove(&seq) {
                    let message = reply;
                    let _ = answer.send(Frame {
                        message,
                        bytes,
                        fds,
                    });
                }
            }
            Message::Event(event) => self.event(event),
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Oom => drop(self.notices.try_send(Notice::Oom)),
            Event::Warning { message } => {
                tracing::warn!(container = self.link.id, "{message}");
            }
            Event::AttachmentEnded { token, detached } => {
                let how = match detached {
                    true => AttachEnd::Detached,
                    false => AttachEnd::Closed,
                };
                if let Some(ended) = lock(&self.link.attachments).remove(&token) {
                    let _ = ended.send(how);
                }
            }
            Event::ExecEnded { exec_id, exit } => {
                let entry = lock(&self.link.execs).remove(&exec_id);
                if let Some(told) = entry.and_then(|e| e.exit) {
                    let _ = told.send(from_exit(exit));
                }
            }
            Event::Ended(exit) => {
                if let Some(exited) = self.exited.take() {
                    self.ended(exited, from_exit(exit));
                }
            }
        }
    }

    fn ended(&mut self, exited: mpsc::OwnedPermit<Notice>, exit: Exit) {
        if let Some(shared) = self.shared.upgrade() {
            shared.containers.remove(&self.link);
        }
        self.link.ended.send_replace(true);
        exited.send(Notice::Exited(exit));
    }

    /// The keeper was killed: nobody takes the container's output or its status any more.
    async fn kill_orphans(&self) -> Option<String> {
        if let Some(process) = self.link.first.get() {
            let _ = sys::process::pidfd_signal(
                process.pidfd.as_fd(),
                rustix::process::Signal::KILL.as_raw(),
            );
        }
        let (shared, link) = (self.shared.upgrade(), Arc::clone(&self.link));
        let killed = crate::blocking(move || {
            let killed = match shared {
                Some(shared) => crate::release::kill_cgroup(&shared, &link.cgroup),
                None => Ok(()),
            };
            if let Some(process) = link.first.get() {
                wait_for_death(&process.pidfd)?;
            }
            killed
        });
        killed.await.err().map(|e| e.to_string())
    }

    /// Waits for the keeper's process, where it is ours.
    async fn reap(mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        // Its socket has ended, so it is on its way out.
        let _ = crate::blocking(move || child.wait().map_err(internal)).await;
    }
}

/// Waits for a killed process that is not our child.
fn wait_for_death(pidfd: &OwnedFd) -> Result<()> {
    let patience = Timespec {
        tv_sec: 10,
        tv_nsec: 0,
    };
    match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&patience)) {
        Ok(0) => Err(internal("its first process does not die")),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(e) => Err(internal(format!("poll: {e}"))),
    }
}

/// The exit of a container whose keeper was killed.
fn killed(error: Option<String>) -> Exit {
    let mut message = "the container's keeper was killed".to_owned();
    if let Some(error) = error {
        message = format!("{message}; {error}");
    }
    Exit {
        code: 137,
        oom_killed: false,
        finished_at: SystemTime::now(),
        error: Some(message),
    }
}

pub(crate) fn from_exit(exit: keeper_protocol::Exit) -> Exit {
    Exit {
        code: exit.code,
        oom_killed: exit.oom_killed,
        finished_at: system_time(exit.finished_at),
        error: None,
    }
}

fn from_failure(failure: Failure) -> Error {
    let kind = match failure.kind {
        FailureKind::NotFound => Kind::NotFound,
        FailureKind::NotRunning => Kind::NotRunning,
        FailureKind::Invalid => Kind::Invalid,
        FailureKind::CommandNotFound => Kind::CommandNotFound,
        FailureKind::CannotInvoke => Kind::CannotInvoke,
        FailureKind::Unsupported => Kind::Unsupported,
        FailureKind::Internal => Kind::Internal,
    };
    Error::new(kind, failure.message)
}

#[cfg(test)]
mod tests {
    use super::check_version;
    use compute::Kind;

    #[test]
    fn an_old_keeper_is_not_asked_for_what_it_does_not_know() {
        check_version(1, 1).expect("known from the first");
        check_version(2, 3).expect("a later keeper knows more");
        let error = check_version(2, 1).expect_err("unknown to it");
        assert_eq!(error.kind, Kind::Unsupported);
    }
}
