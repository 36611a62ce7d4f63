//! Taking new settings while the engine is open.

use std::sync::{Arc, PoisonError};

use dockerapi::Map;

use crate::config::Live;
use crate::{Engine, events};

impl Engine {
    /// Takes these settings at once, and tells listeners of them by moby's `reload` event. Pulls
    /// and pushes under way go on as they began.
    pub async fn reload(&self, live: Live) {
        let inner = &self.0;
        inner.registries.take(&live);
        inner.state.log().limit(live.events);
        let attributes = attributes(&live, &inner.config);
        *inner.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
        if inner.lazy.is_some() {
            let inner = Arc::clone(inner);
            tokio::task::spawn_blocking(move || {
                if let Some(lazy) = &inner.lazy {
                    lazy.configure(&inner);
                }
            });
        }
        let event = events::make("daemon", "reload", &inner.images.engine_id(), attributes);
        let written = inner.state.commit(state::Change::new().event(&event)).await;
        if let Err(error) = written {
            tracing::error!(%error, "event not written");
            inner.events.publish(event);
        }
    }
}

fn attributes(live: &Live, config: &crate::Config) -> Map<String> {
    let list = |list: &[String]| serde_json::to_string(list).unwrap_or_default();
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    [
        ("debug", live.debug.to_string()),
        ("default-shm-size", config.default_shm_size.to_string()),
        ("default-ipc-mode", config.default_ipc_mode.clone()),
        (
            "default-stop-timeout",
            live.default_stop_timeout.to_string(),
        ),
        ("default-runtime", config.default_runtime.clone()),
        ("insecure-registries", list(&live.registries.insecure)),
        ("labels", list(&live.labels)),
        ("live-restore", live.live_restore.to_string()),
        (
            "max-concurrent-downloads",
            live.max_concurrent_downloads.to_string(),
        ),
        (
            "max-download-attempts",
            live.max_download_attempts.to_string(),
        ),
        ("name", name),
        ("registry-mirrors", list(&live.registries.mirrors)),
        ("shutdown-timeout", live.shutdown_timeout.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}
