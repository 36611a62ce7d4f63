//! Ending containers with the engine, where the user wants that (`live-restore: false`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::container::Container;
use crate::lifecycle::stop;
use crate::{Engine, order};

/// Seconds that a container has beyond its own timeout, to be killed and to go.
const GRACE: u64 = 5;

impl Engine {
    /// Whether containers outlive the engine, as its settings are now.
    #[must_use]
    pub fn keeps_containers(&self) -> bool {
        self.0.live().live_restore
    }

    /// Stops all containers, each with its own signal and timeout, those that need others before
    /// the others. Takes as long as the longest of their timeouts, or `shutdown_timeout`, allow.
    /// Their restart policies take hold again when the engine is next opened.
    pub async fn stop_containers(&self) {
        self.0.ending.store(true, Ordering::Release);
        let containers = self.0.containers.all();
        let limit = self.patience(&containers);
        let all = self.stop_in_order(containers);
        let ended = match limit {
            Some(limit) => tokio::time::timeout(limit, all).await.is_ok(),
            None => {
                all.await;
                true
            }
        };
        if !ended {
            tracing::warn!("some containers did not end within the shutdown timeout");
        }
    }

    /// How long all may take; `None` when one of them is to be waited for without end.
    fn patience(&self, containers: &[Arc<Container>]) -> Option<Duration> {
        let live = self.0.live();
        let (mut seconds, default) = (live.shutdown_timeout, live.default_stop_timeout);
        for container in containers {
            let record = container.record();
            if record.state.phase.is_alive() {
                let own = record.config.stop_timeout.unwrap_or(default);
                seconds = seconds.max(u64::try_from(own).ok()?.saturating_add(GRACE));
            }
        }
        Some(Duration::from_secs(seconds))
    }

    async fn stop_in_order(&self, containers: Vec<Arc<Container>>) {
        let records: Vec<_> = containers.iter().map(|c| c.record()).collect();
        let needs: BTreeMap<String, BTreeSet<String>> = records
            .iter()
            .map(|record| {
                let needs = order::needs(&self.0, record, &records);
                (record.id.clone(), needs.into_keys().collect())
            })
            .collect();
        let by_id: BTreeMap<String, Arc<Container>> = containers
            .into_iter()
            .map(|container| (container.id.clone(), container))
            .collect();
        for layer in order::dependents_first(&needs) {
            let stops: Vec<_> = layer
                .iter()
                .filter_map(|id| by_id.get(id).cloned())
                .map(|container| {
                    let inner = Arc::clone(&self.0);
                    tokio::spawn(async move {
                        if let Err(error) = stop(&inner, &container, None, None, "stop").await {
                            tracing::warn!(id = %container.id, %error, "stopping with the engine");
                        }
                    })
                })
                .collect();
            for stop in stops {
                // A panic was reported where it happened.
                let _ = stop.await;
            }
        }
    }
}
