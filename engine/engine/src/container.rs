//! The handle of a container and the table of all of them.
//!
//! One task (`owner`) owns all mutation of a container; this handle sends it requests and reads the
//! snapshot it publishes. Readers never wait.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::{mpsc, oneshot, watch};

use crate::owner::Request;
use crate::record::{Phase, Record};
use crate::{Error, Result};

/// Requests that may wait for a container's owner.
pub(crate) const MAILBOX: usize = 64;

/// A handle; cheap to clone behind its `Arc`.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) snapshot: watch::Receiver<Arc<Record>>,
}

impl Container {
    /// The record as it stands.
    pub(crate) fn record(&self) -> Arc<Record> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// Sends a request and waits for its answer. The owner finishes what it began even when the
    /// caller goes away.
    pub(crate) async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T>>) -> Request,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let gone = || no_such_container(&self.id);
        self.requests
            .send(request(reply))
            .await
            .map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Fails unless a process is there.
    pub(crate) fn alive(&self) -> Result<Arc<Record>> {
        let record = self.record();
        if record.state.phase.is_alive() {
            Ok(record)
        } else {
            Err(not_running(&record.id))
        }
    }
}

/// All containers, by ID and by name.
#[derive(Debug, Default)]
pub(crate) struct Containers {
    by_id: RwLock<BTreeMap<String, Arc<Container>>>,
    /// Name → ID; an entry is made before the container, so that a name is given once.
    names: Mutex<HashMap<String, String>>,
}

impl Containers {
    /// By full ID, name (with or without slash) or unique prefix of an ID, in this order.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Container>> {
        let by_id = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(container) = by_id.get(name) {
            return Ok(Arc::clone(container));
        }
        let bare = name.strip_prefix('/').unwrap_or(name);
        let named = lock(&self.names).get(bare).cloned();
        if let Some(container) = named.and_then(|id| by_id.get(&id)) {
            return Ok(Arc::clone(container));
        }
        if let Some((parent, alias)) = bare.split_once('/')
            && let Some(parent) = lock(&self.names).get(parent).and_then(|id| by_id.get(id))
            && let Some(link) = parent
                .record()
                .links
                .iter()
                .find(|link| link.alias == alias)
            && let Some(container) = by_id.get(&link.child)
        {
            return Ok(Arc::clone(container));
        }
        if name.is_empty() {
            return Err(Error::invalid(
                "invalid container name or ID: value is empty",
            ));
        }
        let mut matches = by_id
            .range(name.to_owned()..)
            .take_while(|(id, _)| id.starts_with(name));
        match (matches.next(), matches.next()) {
            (Some((_, only)), None) => Ok(Arc::clone(only)),
            (Some(_), Some(_)) => Err(Error::invalid(format!(
                "multiple IDs found with provided prefix: {name}"
            ))),
            _ => Err(no_such_container(name)),
        }
    }

    /// Snapshot of all handles, in ID order.
    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        let by_id = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        by_id.values().map(Arc::clone).collect()
    }

    pub(crate) fn insert(&self, container: Arc<Container>) {
        let mut by_id = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        by_id.insert(container.id.clone(), container);
    }

    pub(crate) fn remove(&self, id: &str, name: &str) {
        self.by_id
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
        self.release_name(name, id);
    }

    /// Takes a name for an ID.
    pub(crate) fn reserve_name(&self, name: &str, id: &str) -> Result<()> {
        let mut names = lock(&self.names);
        if let Some(owner) = names.get(name) {
            return Err(Error::conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \
                 \"{owner}\". You have to remove (or rename) that container to be able to reuse \
                 that name."
            )));
        }
        names.insert(name.to_owned(), id.to_owned());
        Ok(())
    }

    /// Gives a name back, if it is still this ID's.
    pub(crate) fn release_name(&self, name: &str, id: &str) {
        let mut names = lock(&self.names);
        if names.get(name).is_some_and(|owner| owner == id) {
            names.remove(name);
        }
    }
}

pub(crate) fn no_such_container(name: &str) -> Error {
    Error::not_found(format!("No such container: {name}"))
}

pub(crate) fn not_running(id: &str) -> Error {
    Error::conflict(format!("container {id} is not running"))
}

/// Waits until `done` holds of the snapshot; `None` when the container is gone.
pub(crate) async fn wait_until(
    mut snapshot: watch::Receiver<Arc<Record>>,
    mut done: impl FnMut(&Record) -> bool,
) -> Option<Arc<Record>> {
    loop {
        {
            let record = snapshot.borrow_and_update();
            if done(&record) {
                return Some(Arc::clone(&record));
            }
            if record.state.phase == Phase::Removed {
                return None;
            }
        }
        snapshot.changed().await.ok()?;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
