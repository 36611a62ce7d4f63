//! Ending containers with the engine, where the user wants that (`live-restore: false`).

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::Engine;
use crate::lifecycle::stop;

impl Engine {
    /// Stops all containers, side by side, each with its own signal and timeout, for at most
    /// `shutdown_timeout`. Their restart policies take hold again when the engine is next opened.
    pub async fn stop_containers(&self) {
        self.0.ending.store(true, Ordering::Release);
        let stops: Vec<_> = self
            .0
            .containers
            .all()
            .into_iter()
            .map(|container| {
                tokio::spawn(async move {
                    if let Err(error) = stop(&container, None, None, "stop").await {
                        tracing::warn!(id = %container.id, %error, "stopping with the engine");
                    }
                })
            })
            .collect();
        let all = async {
            for stop in stops {
                // A panic was reported where it happened.
                let _ = stop.await;
            }
        };
        let limit = Duration::from_secs(self.0.live().shutdown_timeout);
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!("some containers did not end within the shutdown timeout");
        }
    }
}
