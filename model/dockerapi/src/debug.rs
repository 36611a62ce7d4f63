//! What an engine shows of its inside, below `/debug`. Corten's own, but for the names of expvar.

use serde::Serialize;

/// `GET /debug/state`.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DebugState {
    /// One owner each.
    pub containers: Vec<DebugContainer>,
    /// IDs of which the platform knows something: a keeper, or what one left.
    pub runs: Vec<String>,
    /// Exec instances that are remembered.
    pub execs: Vec<DebugExec>,
    /// IDs of containers whose logs are being sent elsewhere.
    pub shipping: Vec<String>,
    /// The log of events.
    pub events: DebugEvents,
    /// Locks that are held for longer than a few instructions, and whether they are just now.
    pub locks: DebugLocks,
}

/// A container and its owner.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DebugContainer {
    /// Its ID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// As in inspect.
    pub state: String,
    /// 0 when it does not run.
    pub pid: i64,
    /// Its owner lives.
    pub owned: bool,
    /// Requests that wait for its owner.
    pub waiting: usize,
}

/// An exec instance.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DebugExec {
    /// Its ID.
    pub id: String,
    /// Its container's.
    pub container: String,
    /// `created`, `running` or `ended`.
    pub state: String,
}

/// The log of events.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DebugEvents {
    /// Time of the newest, in nanoseconds since 1970.
    pub newest: i64,
    /// Time of the newest that is no longer kept.
    pub dropped: i64,
    /// How many there were since the start.
    pub told: u64,
    /// Who listens.
    pub listeners: usize,
}

/// Locks; `true` for one that is held.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DebugLocks {
    /// While the /etc/hosts of a running container is changed.
    pub hosts: bool,
}
