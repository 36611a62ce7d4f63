//! The calls that move a container through its life, and those that wait for it.

use std::sync::Arc;
use std::time::Duration;

use dockerapi::{PruneReport, UpdateBody, UpdateResponse, WaitError, WaitResponse};
use oci::runtime::ConsoleSize;

use crate::container::{Container, wait_until};
use crate::options::{Filters, RemoveOptions, WaitCondition};
use crate::owner::Request;
use crate::record::{Phase, Record};
use crate::{Engine, Error, Inner, Result, list, names, signal};

impl Engine {
    /// `POST /containers/{id}/start`; false when it ran already.
    ///
    /// # Errors
    /// What the platform says of a container that cannot be started.
    pub async fn container_start(&self, name: &str) -> Result<bool> {
        self.0.containers.find(name)?.ask(Request::Start).await
    }

    /// `POST /containers/{id}/stop`; false when it did not run. A negative timeout waits for ever.
    ///
    /// # Errors
    /// Invalid parameter for an unknown signal.
    pub async fn container_stop(
        &self,
        name: &str,
        signal: Option<&str>,
        timeout: Option<i64>,
    ) -> Result<bool> {
        let container = self.0.containers.find(name)?;
        // The stop goes on when the client leaves.
        let signal = signal.map(str::to_owned);
        let inner = Arc::clone(&self.0);
        let stop =
            async move { stop(&inner, &container, signal.as_deref(), timeout, "stop").await };
        tokio::spawn(stop)
            .await
            .map_err(|_| Error::system("stop was interrupted"))?
    }

    /// `POST /containers/{id}/restart`.
    ///
    /// # Errors
    /// As stop and start.
    pub async fn container_restart(
        &self,
        name: &str,
        signal: Option<&str>,
        timeout: Option<i64>,
    ) -> Result<()> {
        let container = self.0.containers.find(name)?;
        let signal = signal.map(str::to_owned);
        let inner = Arc::clone(&self.0);
        let restart = async move {
            stop(&inner, &container, signal.as_deref(), timeout, "stop").await?;
            container.ask(Request::Start).await?;
            container
                .ask(|reply| Request::Announce {
                    action: "restart",
                    reply,
                })
                .await
        };
        tokio::spawn(restart)
            .await
            .map_err(|_| Error::system("restart was interrupted"))?
    }

    /// `POST /containers/{id}/kill`.
    ///
    /// # Errors
    /// Conflict when it does not run.
    pub async fn container_kill(&self, name: &str, signal: Option<&str>) -> Result<()> {
        let container = self.0.containers.find(name)?;
        let number = match signal {
            None | Some("") => signal::KILL,
            Some(text) => signal::parse(text)?,
        };
        let record = container.record();
        let stops = number == signal::KILL || number == stop_signal(&record);
        let refused = |error: Error| Error {
            message: format!("cannot kill container: {name}: {error}"),
            ..error
        };
        let killed = container
            .ask(|reply| Request::Signal {
                signal: number,
                stop: stops,
                reply,
            })
            .await;
        killed.map_err(refused)?;
        if number == signal::KILL {
            // As dockerd: the answer means that it is dead.
            let exits = record.state.exits;
            let ended = wait_until(container.snapshot.clone(), |now| now.state.exits > exits);
            let _ = tokio::time::timeout(Duration::from_secs(10), ended).await;
        }
        Ok(())
    }

    /// Ends a container as by itself: its restart policy decides what follows.
    pub(crate) async fn container_end(&self, id: &str) -> Result<()> {
        let container = self.0.containers.find(id)?;
        container
            .ask(|reply| Request::Signal {
                signal: signal::KILL,
                stop: false,
                reply,
            })
            .await
    }

    /// `POST /containers/{id}/pause`.
    ///
    /// # Errors
    /// Conflict when it does not run or is paused.
    pub async fn container_pause(&self, name: &str) -> Result<()> {
        self.0.containers.find(name)?.ask(Request::Pause).await
    }

    /// `POST /containers/{id}/unpause`.
    ///
    /// # Errors
    /// Conflict when it is not paused.
    pub async fn container_unpause(&self, name: &str) -> Result<()> {
        self.0.containers.find(name)?.ask(Request::Resume).await
    }

    /// `POST /containers/{id}/resize`.
    ///
    /// # Errors
    /// Conflict when it does not run.
    pub async fn container_resize(&self, name: &str, height: u16, width: u16) -> Result<()> {
        let size = ConsoleSize { height, width };
        let container = self.0.containers.find(name)?;
        container.ask(|reply| Request::Resize { size, reply }).await
    }

    /// `POST /containers/{id}/rename`.
    ///
    /// # Errors
    /// Conflict when the name is taken.
    pub async fn container_rename(&self, name: &str, new: &str) -> Result<()> {
        let container = self.0.containers.find(name)?;
        if new.is_empty() {
            return Err(Error::invalid("Neither old nor new names may be empty"));
        }
        let new = names::validate(new)?.to_owned();
        if container.record().name == new {
            return Err(Error::invalid(
                "Renaming a container with the same name as its current name",
            ));
        }
        container
            .ask(|reply| Request::Rename { name: new, reply })
            .await
    }

    /// `POST /containers/{id}/update`.
    ///
    /// # Errors
    /// Invalid parameter for limits that cannot be.
    pub async fn container_update(&self, name: &str, body: UpdateBody) -> Result<UpdateResponse> {
        let container = self.0.containers.find(name)?;
        let body = Box::new(body);
        let warnings = container
            .ask(|reply| Request::Update { body, reply })
            .await?;
        Ok(UpdateResponse {
            warnings: (!warnings.is_empty()).then_some(warnings),
        })
    }

    /// `DELETE /containers/{id}`.
    ///
    /// # Errors
    /// Conflict when it runs and `force` is not given.
    pub async fn container_remove(&self, name: &str, options: RemoveOptions) -> Result<()> {
        let container = self.0.containers.find(name)?;
        container
            .ask(|reply| Request::Remove { options, reply })
            .await
    }

    /// `DELETE /containers/{parent}/{alias}?link=1`.
    ///
    /// # Errors
    /// When the name is not that of a link.
    pub async fn container_unlink(&self, name: &str) -> Result<()> {
        self.0.containers.find(name)?;
        let bare = name.strip_prefix('/').unwrap_or(name);
        let Some((parent, alias)) = bare.split_once('/') else {
            return Err(Error::conflict(
                "Conflict, cannot remove the default link name of the container",
            ));
        };
        let parent = self.0.containers.find(parent).map_err(|_| {
            Error::system(format!("Cannot get parent /{parent} for link name /{bare}"))
        })?;
        let alias = alias.to_owned();
        parent.ask(|reply| Request::Unlink { alias, reply }).await
    }

    /// `POST /containers/{id}/wait`. The wait begins with this call, not with the first poll of
    /// the answer.
    ///
    /// # Errors
    /// Not found.
    pub fn container_wait(
        &self,
        name: &str,
        condition: WaitCondition,
    ) -> Result<impl Future<Output = WaitResponse> + Send + 'static> {
        let container = self.0.containers.find(name)?;
        let snapshot = container.snapshot.clone();
        let begun = container.record();
        Ok(async move {
            let exits = begun.state.exits;
            let mut last = begun;
            let done = |record: &Record| {
                last = Arc::new(record.clone());
                match condition {
                    // An end counts, also when a restart is to follow.
                    WaitCondition::NotRunning => {
                        let alive = record.state.phase.is_alive();
                        (!alive && record.state.phase != Phase::Restarting)
                            || record.state.exits > exits
                    }
                    WaitCondition::NextExit => record.state.exits > exits,
                    WaitCondition::Removed => record.state.phase == Phase::Removed,
                }
            };
            let met = wait_until(snapshot, done).await;
            let record = met.unwrap_or(last);
            // A removal that came about is no failure, whatever the container's last start was.
            let failed = condition != WaitCondition::Removed && !record.state.error.is_empty();
            let error = failed.then(|| WaitError {
                message: record.state.error.clone(),
            });
            WaitResponse {
                error,
                status_code: record.state.exit_code.into(),
            }
        })
    }

    /// `POST /containers/prune`.
    ///
    /// # Errors
    /// Invalid parameter for unknown filters.
    pub async fn container_prune(&self, filters: Filters) -> Result<PruneReport> {
        filters.only(&["until", "label", "label!"])?;
        let wanted = list::PruneFilter::parse(&filters)?;
        let mut report = PruneReport::default();
        for container in self.0.containers.all() {
            let record = container.record();
            let ended = matches!(
                record.state.phase,
                Phase::Created | Phase::Exited | Phase::Dead
            );
            if !ended || !wanted.takes(record.created, &record.config.labels) {
                continue;
            }
            let size = self.0.writable_size(&record.id).await;
            let options = RemoveOptions::default();
            let removed = container
                .ask(|reply| Request::Remove { options, reply })
                .await;
            if removed.is_ok() {
                report.space_reclaimed += size;
                report
                    .containers_deleted
                    .get_or_insert_default()
                    .push(record.id.clone());
            }
        }
        Ok(report)
    }
}

/// Sends the stop signal, waits, and kills; false when it did not run.
pub(crate) async fn stop(
    inner: &Inner,
    container: &Arc<Container>,
    signal: Option<&str>,
    timeout: Option<i64>,
    event: &'static str,
) -> Result<bool> {
    let record = container.record();
    let number = match signal {
        None | Some("") => stop_signal(&record),
        Some(text) => signal::parse(text)?,
    };
    if record.state.phase == Phase::Restarting {
        container.ask(Request::CancelRestart).await?;
        return Ok(true);
    }
    if !record.state.phase.is_alive() {
        return Ok(false);
    }
    let exits = record.state.exits;
    let ended = || {
        wait_until(container.snapshot.clone(), move |now| {
            now.state.exits > exits
        })
    };
    let send = |signal| {
        container.ask(move |reply| Request::Signal {
            signal,
            stop: true,
            reply,
        })
    };
    let over = |result: Result<()>| match result {
        // It ended between the look and the signal.
        Err(error) if error.kind == crate::ErrorKind::Conflict => Ok(()),
        Err(error) if error.kind == crate::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    if record.state.phase == Phase::Paused {
        // A stop signal could not be taken by a frozen process.
        let _ = container.ask(Request::Resume).await;
    }
    over(send(number).await)?;
    let seconds = timeout
        .or(record.config.stop_timeout)
        .unwrap_or_else(|| inner.live().default_stop_timeout);
    let in_time = match u64::try_from(seconds) {
        Ok(seconds) => tokio::time::timeout(Duration::from_secs(seconds), ended())
            .await
            .is_ok(),
        Err(_) => {
            ended().await;
            true
        }
    };
    if !in_time {
        over(send(signal::KILL).await)?;
        if tokio::time::timeout(Duration::from_secs(10), ended())
            .await
            .is_err()
        {
            return Err(Error::system(format!(
                "cannot stop container: {}: tried to kill container, but did not receive an exit \
                 event",
                record.id
            )));
        }
    }
    // A container that removes itself is gone by now.
    let _ = container
        .ask(|reply| Request::Announce {
            action: event,
            reply,
        })
        .await;
    Ok(true)
}

fn stop_signal(record: &Record) -> i32 {
    signal::parse(&record.config.stop_signal).unwrap_or(signal::TERM)
}
