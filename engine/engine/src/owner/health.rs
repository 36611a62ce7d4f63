//! The owner's watch over its container's health: when the next check is due, and what its result
//! leads to. Checks run beside the owner, one at a time; none while the container is paused.

use std::sync::Arc;
use std::time::Duration;

use dockerapi::{Health, HealthcheckResult};
use oci::image::Healthcheck;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Owner;
use crate::health::{self, Action};
use crate::record::Phase;
use crate::{Engine, Inner, Result, clock, events, exec};

/// The watch.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// When the next check begins.
    due: Option<Instant>,
    /// The one that runs. Let go, it is killed.
    running: Option<Check>,
}

/// A check that runs.
#[derive(Debug)]
struct Check {
    result: oneshot::Receiver<HealthcheckResult>,
    /// How long the container had run when it began.
    ran: Duration,
}

/// What a watch has to tell.
#[derive(Debug)]
pub(super) enum News {
    /// A check is due.
    Due,
    /// One ended; without a result when it could not be made at all.
    Ended(Option<HealthcheckResult>, Duration),
}

impl Watch {
    /// The next news; never while nothing is watched.
    pub(super) async fn news(&mut self) -> News {
        if let Some(check) = &mut self.running {
            let result = (&mut check.result).await.ok();
            return News::Ended(result, check.ran);
        }
        match self.due {
            Some(due) => {
                tokio::time::sleep_until(due).await;
                News::Due
            }
            None => std::future::pending().await,
        }
    }
}

impl Owner {
    /// A run begins, or is taken over: nothing is known of it.
    pub(super) fn watch_anew(&mut self) {
        self.watch = Watch::default();
        if health::command(&self.record.config).is_none() {
            return;
        }
        let known = self.record.state.health.take().unwrap_or_default();
        self.record.state.health = Some(Health {
            status: health::STARTING.into(),
            failing_streak: 0,
            log: known.log,
        });
        self.watch_on();
    }

    /// Checks are made from now on, if the container has any.
    pub(super) fn watch_on(&mut self) {
        let runs = self.record.state.phase == Phase::Running;
        let Some(check) = self.check().filter(|_| runs).cloned() else {
            return;
        };
        let status = self.record.state.health.as_ref().map(|h| h.status.as_str());
        let wait = health::interval(&check, status.unwrap_or_default(), self.has_run());
        self.watch.due = Some(Instant::now() + wait);
    }

    /// No more checks. Docker says of a container that is not watched that it is unhealthy.
    pub(super) fn watch_off(&mut self) {
        self.watch = Watch::default();
        if let Some(health) = &mut self.record.state.health {
            health::UNHEALTHY.clone_into(&mut health.status);
        }
    }

    pub(super) async fn heard(&mut self, news: News) {
        match news {
            News::Due => self.begin_check(),
            News::Ended(result, ran) => {
                self.watch.running = None;
                if let Some(result) = result {
                    self.judge(result, ran).await;
                }
                self.watch_on();
            }
        }
    }

    fn begin_check(&mut self) {
        self.watch.due = None;
        let (Some(check), Some(command)) = (self.check(), health::command(&self.record.config))
        else {
            return;
        };
        let limit = health::timeout(check);
        let (inner, id) = (Arc::clone(&self.inner), self.record.id.clone());
        let (mut answer, result) = oneshot::channel();
        tokio::spawn(async move {
            let start = clock::now();
            let Ok(container) = inner.containers.find(&id) else {
                return;
            };
            let unwanted = answer.closed();
            let probed = exec::probe(&inner, container, command, limit, unwanted).await;
            if let Some(result) = found(start, probed) {
                // Nobody waits for it once the container is stopped or paused.
                let _ = answer.send(result);
            }
        });
        let ran = self.has_run();
        self.watch.running = Some(Check { result, ran });
    }

    async fn judge(&mut self, result: HealthcheckResult, ran: Duration) {
        let Some(check) = self.check().cloned() else {
            return;
        };
        let Some(health) = &mut self.record.state.health else {
            return;
        };
        let before = health.status.clone();
        self.inner.health_checks.count(result.exit_code != 0);
        health::judge(health, &check, ran, result);
        let now = health.status.clone();
        if now == before {
            return self.show();
        }
        let event = events::container(&self.record, &format!("health_status: {now}"), &[]);
        if let Err(error) = self.commit(vec![event]).await {
            tracing::error!(id = %self.record.id, %error, "health not written");
        }
        if now == health::UNHEALTHY {
            self.act();
        }
    }

    /// What the container's label asks for when it turns unhealthy.
    fn act(&self) {
        // An unknown word was refused at create.
        let Ok(Some(action)) = health::action(&self.record.config.labels) else {
            return;
        };
        let (inner, id) = (Arc::clone(&self.inner), self.record.id.clone());
        let run = self.record.state.exits;
        tracing::info!(%id, ?action, "unhealthy");
        // The owner answers what this asks of it, and must not wait for it.
        tokio::spawn(async move {
            if let Err(error) = act(inner, &id, run, action).await {
                tracing::warn!(%id, %error, "action of an unhealthy container");
            }
        });
    }

    fn check(&self) -> Option<&Healthcheck> {
        health::command(&self.record.config)?;
        self.record.config.healthcheck.as_ref()
    }

    fn has_run(&self) -> Duration {
        let nanos = clock::now() - self.record.state.started_at;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }
}

async fn act(inner: Arc<Inner>, id: &str, run: u64, action: Action) -> Result<()> {
    let state = &inner.containers.find(id)?.record().state;
    if state.exits != run || !state.phase.is_alive() {
        // It ended by itself, or somebody else's will.
        return Ok(());
    }
    let engine = Engine(inner);
    match action {
        Action::Restart => engine.container_restart(id, None, None).await,
        Action::Stop => engine.container_stop(id, None, None).await.map(|_| ()),
        Action::Kill => engine.container_end(id).await,
    }
}

/// A result as inspect shows it; `None` for a check that was given up.
fn found(start: i64, probed: Result<Option<exec::Probed>>) -> Option<HealthcheckResult> {
    let (exit_code, output) = match probed {
        Ok(Some(probed)) => (probed.code, probed.output),
        Ok(None) => return None,
        Err(error) => (-1, error.message),
    };
    Some(HealthcheckResult {
        start: clock::rfc3339(start),
        end: clock::rfc3339(clock::now()),
        exit_code,
        output,
    })
}
