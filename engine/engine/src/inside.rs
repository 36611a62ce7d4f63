//! What the engine tells of its inside: in numbers, for metrics, and in detail, for debugging.

use std::sync::atomic::{AtomicU64, Ordering};

use dockerapi::{DebugContainer, DebugEvents, DebugLocks, DebugState};

use crate::{Engine, Result};

/// Health checks since the engine was opened.
#[derive(Debug, Default)]
pub(crate) struct HealthChecks {
    all: AtomicU64,
    failed: AtomicU64,
}

impl HealthChecks {
    /// One was done.
    pub(crate) fn count(&self, failed: bool) {
        self.all.fetch_add(1, Ordering::Relaxed);
        if failed {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Numbers, as they are just now.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Containers by state, each of inspect's once.
    pub states: Vec<(&'static str, u64)>,
    /// Facts about the engine, by the names that dockerd's metrics have for them.
    pub about: Vec<(&'static str, String)>,
    /// Processors of the host.
    pub cpus: u64,
    /// Bytes of memory of the host.
    pub memory: u64,
    /// Events since the engine was opened.
    pub events: u64,
    /// Who listens to them.
    pub listeners: u64,
    /// Health checks since the engine was opened.
    pub health_checks: u64,
    /// Those of them that failed.
    pub health_checks_failed: u64,
    /// Bytes of memory that this process has.
    pub resident: u64,
    /// Its open descriptors.
    pub descriptors: u64,
    /// Its threads.
    pub threads: u64,
}

const STATES: [&str; 7] = [
    "created",
    "dead",
    "exited",
    "paused",
    "removing",
    "restarting",
    "running",
];

impl Engine {
    /// Whether debug mode is on.
    pub fn is_debug(&self) -> bool {
        self.0.live().debug
    }

    /// Numbers for metrics.
    pub fn figures(&self) -> Figures {
        let inner = &self.0;
        let mut states = STATES.map(|state| (state, 0));
        for container in inner.containers.all() {
            let phase = container.record().state.phase.as_str();
            if let Some((_, count)) = states.iter_mut().find(|(state, _)| *state == phase) {
                *count += 1;
            }
        }
        let info = crate::system::host();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|rest| rest.split_whitespace().next());
            number.and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        Figures {
            states: states.into(),
            about: vec![
                ("architecture", info.architecture),
                ("commit", String::new()),
                ("daemon_id", inner.images.engine_id()),
                ("graphdriver", "overlay2".into()),
                ("kernel", info.kernel),
                ("os", info.operating_system),
                ("os_type", "linux".into()),
                ("os_version", info.version),
                ("version", env!("CARGO_PKG_VERSION").into()),
            ],
            cpus: info.cpus,
            memory: info.memory,
            events: inner.events.told(),
            listeners: inner.events.listeners() as u64,
            health_checks: inner.health_checks.all.load(Ordering::Relaxed),
            health_checks_failed: inner.health_checks.failed.load(Ordering::Relaxed),
            resident: field("VmRSS:").saturating_mul(1024),
            descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count() as u64),
            threads: field("Threads:"),
        }
    }

    /// What works on what, for those who look for a fault.
    ///
    /// # Errors
    /// When the platform cannot say what it knows.
    pub async fn debug_state(&self) -> Result<DebugState> {
        let inner = &self.0;
        let containers = inner.containers.all();
        let containers = containers.iter().map(|container| {
            let record = container.record();
            let requests = &container.requests;
            DebugContainer {
                id: record.id.clone(),
                name: record.name.clone(),
                state: record.state.phase.as_str().into(),
                pid: record.state.pid.into(),
                owned: !requests.is_closed(),
                waiting: requests.max_capacity() - requests.capacity(),
            }
        });
        let log = inner.state.log();
        Ok(DebugState {
            containers: containers.collect(),
            runs: inner.compute.known().await?,
            execs: inner.execs.shown(),
            shipping: inner.shipping.ids(),
            events: DebugEvents {
                newest: log.newest(),
                dropped: log.dropped(),
                told: log.told(),
                listeners: inner.events.listeners(),
            },
            locks: DebugLocks {
                hosts: matches!(
                    inner.hosts.try_lock(),
                    Err(std::sync::TryLockError::WouldBlock)
                ),
            },
        })
    }
}
