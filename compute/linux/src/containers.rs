//! The running containers.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use compute::{AttachEnd, Error, Exit, Result};
use tokio::sync::{mpsc, oneshot, watch};

use crate::connection::Outgoing;
use crate::internal;

/// By id.
#[derive(Debug, Default)]
pub(crate) struct Containers {
    map: Mutex<HashMap<String, Arc<Handle>>>,
}

/// A running container, as calls see it.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) link: Arc<Link>,
    /// To the connection's task; the task ends when all of these are gone.
    pub(crate) calls: mpsc::Sender<Outgoing>,
}

/// A container, as its connection's task sees it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: String,
    /// Path of its cgroup; empty: none.
    pub(crate) cgroup: String,
    /// It was built by another runtime than the built-in one, which is to be asked.
    pub(crate) foreign: bool,
    /// Set when it runs.
    pub(crate) first: OnceLock<Process>,
    pub(crate) execs: Mutex<HashMap<String, ExecEntry>>,
    pub(crate) attachments: Mutex<HashMap<u64, oneshot::Sender<AttachEnd>>>,
    /// What its keeper speaks; not set for one of our own build.
    pub(crate) version: OnceLock<u32>,
    /// Turns true when it has ended.
    pub(crate) ended: watch::Sender<bool>,
}

/// A process on this host.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
}

/// An exec; there before it runs, as its end may be told before the answer is looked at.
#[derive(Debug, Default)]
pub(crate) struct ExecEntry {
    pub(crate) process: Option<Process>,
    pub(crate) exit: Option<oneshot::Sender<Exit>>,
}

/// A lock whose data stays good whatever a holder did.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Containers {
    /// A running container.
    pub(crate) fn get(&self, id: &str) -> Result<Arc<Handle>> {
        self.find(id).ok_or_else(|| Error::not_running(id))
    }

    pub(crate) fn find(&self, id: &str) -> Option<Arc<Handle>> {
        lock(&self.map).get(id).cloned()
    }

    pub(crate) fn insert(&self, handle: Arc<Handle>) {
        lock(&self.map).insert(handle.link.id.clone(), handle);
    }

    /// Takes out this very container, not a later one of the same id.
    pub(crate) fn remove(&self, link: &Link) {
        let mut map = lock(&self.map);
        if map
            .get(&link.id)
            .is_some_and(|h| std::ptr::eq(&*h.link, link))
        {
            map.remove(&link.id);
        }
    }
}

impl Link {
    pub(crate) fn new(id: &str, cgroup: &str, foreign: bool) -> Self {
        Self {
            id: id.to_owned(),
            cgroup: cgroup.to_owned(),
            foreign,
            first: OnceLock::new(),
            execs: Mutex::default(),
            attachments: Mutex::default(),
            version: OnceLock::new(),
            ended: watch::Sender::new(false),
        }
    }

    pub(crate) fn process(&self) -> Result<&Process> {
        self.first.get().ok_or_else(|| Error::not_running(&self.id))
    }
}

impl Handle {
    pub(crate) fn pid(&self) -> Result<u32> {
        Ok(self.link.process()?.pid)
    }

    pub(crate) fn pidfd(&self) -> Result<OwnedFd> {
        self.link.process()?.pidfd.try_clone().map_err(internal)
    }

    pub(crate) fn cgroup(&self) -> &str {
        &self.link.cgroup
    }

    /// Sends a signal by pidfd, which never hits another process.
    pub(crate) fn signal(&self, exec: Option<&str>, signal: i32) -> Result<()> {
        let send = |pidfd: &OwnedFd, what: &str| {
            sys::process::pidfd_signal(pidfd.as_fd(), signal).map_err(|e| match e {
                sys::Errno::SRCH => Error::not_running(&self.link.id),
                sys::Errno::INVAL => {
                    Error::new(compute::Kind::Invalid, format!("invalid signal: {signal}"))
                }
                e => internal(format!("signal {what}: {e}")),
            })
        };
        let Some(exec_id) = exec else {
            return send(&self.link.process()?.pidfd, &self.link.id);
        };
        let execs = lock(&self.link.execs);
        let process = execs.get(exec_id).and_then(|e| e.process.as_ref());
        match process {
            Some(process) => send(&process.pidfd, exec_id),
            None => Err(Error::new(
                compute::Kind::NotFound,
                format!("no running exec {exec_id}"),
            )),
        }
    }

    /// The root directory, certainly of this process and not of a later one with its pid.
    pub(crate) fn root(&self) -> Result<OwnedFd> {
        use rustix::fs::{Mode, OFlags};
        let process = self.link.process()?;
        let path = format!("/proc/{}/root", process.pid);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&path, flags, Mode::empty());
        self.signal(None, 0)?;
        root.map_err(|e| internal(format!("open {path}: {e}")))
    }
}
