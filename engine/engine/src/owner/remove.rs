//! Removal. The row goes first, in one transaction with the event; directories follow. What a crash
//! leaves in between is an orphan without a row, swept at the next open. Anonymous volumes go before
//! the row, which is marked: the next open carries such a removal to its end.

use std::sync::Arc;
use std::time::Duration;

use compute::Notice;
use dockerapi::Event;
use state::{Change, Table};

use super::{Owner, next};
use crate::admission::Ask;
use crate::options::RemoveOptions;
use crate::record::Phase;
use crate::{Error, Result, events, signal};

/// How long a killed container may take to end.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

impl Owner {
    pub(super) async fn remove(&mut self, options: RemoveOptions) -> Result<()> {
        self.admit(Ask::Remove {
            force: options.force,
        })?;
        self.restart_at = None;
        self.record.state.manually_stopped = true;
        if self.record.state.phase.is_alive() {
            self.kill().await?;
        }
        // Its own end may have removed it already (`--rm`).
        if self.record.state.phase != Phase::Removed {
            self.take_away(options.volumes).await;
        }
        if self.record.state.phase == Phase::Removed {
            Ok(())
        } else {
            Err(Error::system(format!(
                "container {} could not be removed: {}",
                self.record.id, self.record.state.error
            )))
        }
    }

    async fn kill(&mut self) -> Result<()> {
        let killed = self.signal(signal::KILL, true).await;
        let ended = async {
            loop {
                match next(&mut self.notices).await {
                    Some(Notice::Oom) => {}
                    other => return other,
                }
            }
        };
        match tokio::time::timeout(KILL_PATIENCE, ended).await {
            Ok(notice) => {
                self.noticed(notice).await;
                Ok(())
            }
            Err(_) => Err(killed.err().unwrap_or_else(|| {
                Error::system(format!(
                    "could not kill container {}: tried to kill it, but did not receive an exit \
                     event",
                    self.record.id
                ))
            })),
        }
    }

    /// Removes an ended container and all it has.
    pub(super) async fn take_away(&mut self, volumes: bool) {
        self.take_away_with(Vec::new(), volumes).await;
    }

    pub(super) async fn take_away_with(&mut self, mut events: Vec<Event>, volumes: bool) {
        crate::log_drivers::settle(&self.inner, &self.record.id).await;
        if volumes && self.record.mounts.iter().any(|mounted| mounted.anonymous) {
            // Without its row nobody would know that they are to go.
            self.record.state.phase = Phase::Removing;
            let marked = Change::new().put(Table::Containers, &self.record.id, &self.record);
            if self.written(marked).await.is_err() {
                return;
            }
            self.show();
            let (inner, record) = (Arc::clone(&self.inner), self.record.clone());
            let remove = move || crate::volumes::remove_anonymous(&inner, &record);
            let _ = tokio::task::spawn_blocking(remove).await;
        }
        events.push(events::container(&self.record, "destroy", &[]));
        let mut change = Change::new().delete(Table::Containers, &self.record.id);
        for event in &events {
            change = change.event(event);
        }
        let Ok(told) = self.written(change).await else {
            return;
        };
        if self.clearing.is_none() {
            self.clear();
        }
        let (inner, record) = (Arc::clone(&self.inner), self.record.clone());
        let cleaning = tokio::task::spawn_blocking(move || {
            inner.images.discard(&inner.container_dir(&record.id));
            // The files are on tmpfs; a directory that was never made is fine.
            let _ = std::fs::remove_dir_all(inner.runtime_dir(&record.id));
        });
        let _ = cleaning.await;
        self.inner
            .containers
            .remove(&self.record.id, &self.record.name);
        // Whoever waited for a start waits in vain: their streams close.
        self.parked.clear();
        self.record.state.phase = Phase::Removed;
        self.show();
        drop(told);
    }

    /// Writes a step of the removal; a container whose removal cannot be written is dead.
    async fn written(&mut self, change: Change) -> Result<state::Told> {
        let result = self.inner.state.commit(change).await;
        result.map_err(|error| {
            self.record.state.phase = Phase::Dead;
            self.record.state.error = error.to_string();
            self.show();
            Error::system(error.to_string())
        })
    }
}
