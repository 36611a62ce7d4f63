//! The task that owns one container: all its mutation happens here, one thing at a time.
//!
//! ```text
//!   requests ──► ┌───────┐ ──► state database (change + event, one transaction)
//!   notices  ──► │ owner │ ──► snapshot (what readers see)
//!   restart  ──► └───────┘ ──► Compute, network, files
//! ```
//!
//! Failure: a start that fails undoes what it made, in reverse; an owner that is gone answers its
//! callers "No such container". Crash: the row written before an action is found at the next open,
//! and `restore` compares it with what the platform still knows.

mod exit;
mod health;
mod launch;
mod live;
mod parked;
mod remove;
mod update;

use std::sync::Arc;
use std::time::Duration;

use compute::{Attachment, Notice};
use dockerapi::{Event, UpdateBody};
use oci::runtime::ConsoleSize;
use state::{Change, Table};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use live::Changes;

use crate::admission::{Ask, Decision, admit};
use crate::container::{Container, MAILBOX};
use crate::options::RemoveOptions;
use crate::record::{Phase, Record};
use crate::{Error, Inner, Result, events, resolve, signal, verify};

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// What a container's owner can be asked.
#[derive(Debug)]
pub(crate) enum Request {
    /// Answers whether it was not running before.
    Start(Reply<bool>),
    /// Sends a signal. `stop`: the user wants it to end and stay ended.
    Signal {
        signal: i32,
        stop: bool,
        reply: Reply<()>,
    },
    /// A stop of a container that waits to be restarted: it stays ended.
    CancelRestart(Reply<()>),
    /// Writes an event about it, such as `stop` or `restart`.
    Announce {
        action: &'static str,
        reply: Reply<()>,
    },
    Pause(Reply<()>),
    Resume(Reply<()>),
    Resize {
        size: ConsoleSize,
        reply: Reply<()>,
    },
    Rename {
        name: String,
        reply: Reply<()>,
    },
    Update {
        body: Box<UpdateBody>,
        reply: Reply<Vec<String>>,
    },
    /// A client will be joined at the next start: its stream comes this way, if it does. Without
    /// effect while the container runs.
    Expect {
        arrival: oneshot::Receiver<Attachment>,
        reply: Reply<()>,
    },
    /// Joins a client now, or at the next start.
    Attach {
        attachment: Attachment,
        reply: Reply<()>,
    },
    /// Takes a link to another container away.
    Unlink {
        alias: String,
        reply: Reply<()>,
    },
    /// What a container that starts with the engine waited for is settled.
    YourTurn(Reply<()>),
    Remove {
        options: RemoveOptions,
        reply: Reply<()>,
    },
}

/// A run that an earlier daemon began.
#[derive(Debug)]
pub(crate) enum Inherited {
    /// None.
    Nothing,
    /// It goes on.
    Running(compute::Running),
    /// It ended meanwhile.
    Exited(compute::Exit),
    /// It should run by its policy.
    Restart,
    /// Its removal, with its anonymous volumes, had begun.
    Removal,
}

/// The owner's own things.
pub(crate) struct Owner {
    inner: Arc<Inner>,
    record: Record,
    snapshot: watch::Sender<Arc<Record>>,
    notices: Option<mpsc::Receiver<Notice>>,
    /// Clients waiting for a start.
    parked: parked::Parked,
    /// When the policy starts it again.
    restart_at: Option<Instant>,
    backoff: Duration,
    /// What the last run left is being cleared away.
    clearing: Option<JoinHandle<()>>,
    watch: health::Watch,
}

/// Starts the owner of a record and answers its handle.
pub(crate) fn spawn(inner: Arc<Inner>, record: Record, inherited: Inherited) -> Arc<Container> {
    let (snapshot, reader) = watch::channel(Arc::new(record.clone()));
    let (requests, mailbox) = mpsc::channel(MAILBOX);
    let container = Arc::new(Container {
        id: record.id.clone(),
        requests,
        snapshot: reader,
    });
    let owner = Owner {
        inner,
        record,
        snapshot,
        notices: None,
        parked: parked::Parked::default(),
        restart_at: None,
        backoff: Duration::ZERO,
        clearing: None,
        watch: health::Watch::default(),
    };
    tokio::spawn(owner.run(mailbox, inherited));
    container
}

impl Owner {
    async fn run(mut self, mut mailbox: mpsc::Receiver<Request>, inherited: Inherited) {
        match inherited {
            Inherited::Nothing => {}
            Inherited::Running(running) => {
                self.notices = Some(running.notices);
                self.watch_anew();
                self.show();
            }
            Inherited::Exited(exit) => self.exited(exit).await,
            // Its turn will come.
            Inherited::Restart => {}
            Inherited::Removal => self.take_away(true).await,
        }
        while self.record.state.phase != Phase::Removed {
            tokio::select! {
                biased;
                notice = next(&mut self.notices) => self.noticed(notice).await,
                request = mailbox.recv() => match request {
                    Some(request) => self.serve(request).await,
                    None => return,
                },
                () = at(self.restart_at) => self.restart().await,
                news = self.watch.news() => self.heard(news).await,
            }
        }
    }

    async fn serve(&mut self, request: Request) {
        // A caller that went away does not need its answer.
        match request {
            Request::Start(reply) => {
                let result = self.start().await;
                let _ = reply.send(result);
            }
            Request::Signal {
                signal,
                stop,
                reply,
            } => {
                let result = self.signal(signal, stop).await;
                let _ = reply.send(result);
            }
            Request::CancelRestart(reply) => {
                let result = self.cancel_restart().await;
                let _ = reply.send(result);
            }
            Request::Announce { action, reply } => {
                let event = events::container(&self.record, action, &[]);
                self.inner.events.publish(event);
                let _ = reply.send(Ok(()));
            }
            Request::Pause(reply) => {
                let result = self.pause().await;
                let _ = reply.send(result);
            }
            Request::Resume(reply) => {
                let result = self.resume().await;
                let _ = reply.send(result);
            }
            Request::Resize { size, reply } => {
                let result = self.resize(size).await;
                let _ = reply.send(result);
            }
            Request::Rename { name, reply } => {
                let result = self.rename(name).await;
                let _ = reply.send(result);
            }
            Request::Update { body, reply } => {
                let result = self.update(*body).await;
                let _ = reply.send(result);
            }
            Request::Expect { arrival, reply } => {
                let result = self.expect(arrival);
                let _ = reply.send(result);
            }
            Request::Attach { attachment, reply } => {
                let result = self.attach(attachment).await;
                let _ = reply.send(result);
            }
            Request::Unlink { alias, reply } => {
                let result = self.unlink(&alias).await;
                let _ = reply.send(result);
            }
            Request::YourTurn(reply) => {
                if self.record.state.phase == Phase::Restarting && self.restart_at.is_none() {
                    self.restart_at = Some(Instant::now());
                }
                let _ = reply.send(Ok(()));
            }
            Request::Remove { options, reply } => {
                let result = self.remove(options).await;
                let _ = reply.send(result);
            }
        }
    }

    fn admit(&self, ask: Ask) -> Result<Decision> {
        admit(
            self.record.state.phase,
            ask,
            &self.record.id,
            &self.record.name,
        )
    }

    async fn start(&mut self) -> Result<bool> {
        if self.admit(Ask::Start)? == Decision::NotModified {
            return Ok(false);
        }
        self.record.state.manually_stopped = false;
        self.record.state.restart_count = 0;
        self.backoff = Duration::ZERO;
        self.launch().await.map(|()| true)
    }

    async fn signal(&mut self, number: i32, stop: bool) -> Result<()> {
        self.admit(Ask::Signal)?;
        // Remembered before it acts, so that the end that follows is not restarted.
        // Nor is it when the engine ends; but then the next engine starts it again.
        if stop && !self.inner.is_ending() && !self.record.state.manually_stopped {
            self.record.state.manually_stopped = true;
            if self.record.host.restart_policy.name != "no" {
                self.commit(Vec::new()).await?;
            }
        }
        let id = &self.record.id;
        if self.record.state.phase == Phase::Paused && number == signal::KILL {
            // A frozen process dies when it is thawed.
            self.inner.compute.signal(id, None, number).await?;
            self.inner.compute.resume(id).await?;
            self.record.state.phase = Phase::Running;
        } else {
            self.inner.compute.signal(id, None, number).await?;
        }
        let event = events::container(&self.record, "kill", &[("signal", number.to_string())]);
        self.inner.events.publish(event);
        Ok(())
    }

    async fn cancel_restart(&mut self) -> Result<()> {
        if self.record.state.phase == Phase::Restarting {
            self.restart_at = None;
            self.record.state.phase = Phase::Exited;
            self.record.state.manually_stopped = !self.inner.is_ending();
            self.commit(Vec::new()).await?;
        }
        Ok(())
    }

    async fn pause(&mut self) -> Result<()> {
        self.admit(Ask::Pause)?;
        self.inner.compute.pause(&self.record.id).await?;
        self.record.state.phase = Phase::Paused;
        self.watch_off();
        self.commit(vec![events::container(&self.record, "pause", &[])])
            .await
    }

    async fn resume(&mut self) -> Result<()> {
        self.admit(Ask::Resume)?;
        self.inner.compute.resume(&self.record.id).await?;
        self.record.state.phase = Phase::Running;
        self.watch_on();
        self.commit(vec![events::container(&self.record, "unpause", &[])])
            .await
    }

    async fn resize(&mut self, size: ConsoleSize) -> Result<()> {
        self.admit(Ask::Resize)?;
        self.inner
            .compute
            .resize(&self.record.id, None, size)
            .await?;
        let extra = [
            ("height", size.height.to_string()),
            ("width", size.width.to_string()),
        ];
        self.inner
            .events
            .publish(events::container(&self.record, "resize", &extra));
        Ok(())
    }

    async fn rename(&mut self, name: String) -> Result<()> {
        self.admit(Ask::Rename)?;
        self.inner.containers.reserve_name(&name, &self.record.id)?;
        let old = std::mem::replace(&mut self.record.name, name);
        let extra = [("oldName", format!("/{old}"))];
        let event = events::container(&self.record, "rename", &extra);
        if let Err(error) = self.commit(vec![event]).await {
            self.inner
                .containers
                .release_name(&self.record.name, &self.record.id);
            self.record.name = old;
            return Err(error);
        }
        self.inner.containers.release_name(&old, &self.record.id);
        Ok(())
    }

    async fn unlink(&mut self, alias: &str) -> Result<()> {
        self.record.links.retain(|link| link.alias != alias);
        self.commit(Vec::new()).await
    }

    async fn update(&mut self, body: UpdateBody) -> Result<Vec<String>> {
        let features = self.inner.compute.features();
        update::verify(&body, features)?;
        let id = self.record.id.clone();
        let refused = |error: Error| Error {
            message: format!("Cannot update container {id}: {}", error.message),
            ..error
        };
        self.admit(Ask::Update).map_err(refused)?;
        let changes = Changes::plan(&self.record, &body).map_err(refused)?;
        let mut host = self.record.host.clone();
        update::merge(&mut host, body).map_err(refused)?;
        let warnings = verify::host(&host, features).map_err(refused)?;
        if self.record.state.phase.is_alive() {
            let limits = resolve::resources(&host.resources, host.privileged, &[])?;
            // Devices are fixed at the start.
            let limits = oci::runtime::Resources {
                devices: Vec::new(),
                ..limits
            };
            // Mounts can be undone, limits that there were none of before cannot.
            self.change_mounts(&changes).await.map_err(refused)?;
            let updated = self.inner.compute.update(&self.record.id, &limits).await;
            if let Err(error) = updated {
                self.undo_mounts(changes.all()).await;
                return Err(refused(error.into()));
            }
        }
        self.record.host = host;
        changes.apply(&mut self.record);
        self.commit(vec![events::container(&self.record, "update", &[])])
            .await?;
        Ok(warnings)
    }

    fn expect(&mut self, arrival: oneshot::Receiver<Attachment>) -> Result<()> {
        self.admit(Ask::Attach)?;
        if self.record.state.phase != Phase::Running {
            let event = events::container(&self.record, "attach", &[]);
            self.inner.events.publish(event);
            self.parked.expect(arrival);
        }
        Ok(())
    }

    async fn attach(&mut self, attachment: Attachment) -> Result<()> {
        self.admit(Ask::Attach)?;
        self.inner
            .events
            .publish(events::container(&self.record, "attach", &[]));
        if self.record.state.phase == Phase::Running {
            self.inner
                .compute
                .attach(&self.record.id, None, attachment)
                .await?;
        } else {
            self.parked.add(attachment);
        }
        Ok(())
    }

    /// Makes the record as it stands durable with its events, then shows both.
    async fn commit(&mut self, events: Vec<Event>) -> Result<()> {
        let mut change = Change::new().put(Table::Containers, &self.record.id, &self.record);
        for event in &events {
            change = change.event(event);
        }
        let result = self.inner.state.commit(change).await;
        // What happened, happened: readers see it even when it could not be written.
        self.show();
        match result {
            // Listeners hear of it now.
            Ok(_told) => Ok(()),
            Err(error) => {
                for event in events {
                    self.inner.events.publish(event);
                }
                Err(Error::system(error.to_string()))
            }
        }
    }

    fn show(&self) {
        self.snapshot.send_replace(Arc::new(self.record.clone()));
    }
}

/// The next notice; never without a run.
async fn next(notices: &mut Option<mpsc::Receiver<Notice>>) -> Option<Notice> {
    match notices {
        Some(notices) => notices.recv().await,
        None => std::future::pending().await,
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
