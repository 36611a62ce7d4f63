//! `events.Message`.

use serde::{Deserialize, Serialize};

use crate::flexible::Map;

/// One event, with the three legacy fields that moby still writes for containers and images.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// Legacy: action.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// Legacy: actor's ID.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Legacy: image of a container.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// `container`, `image`, `network`, …
    #[serde(rename = "Type")]
    pub kind: String,
    /// `create`, `start`, `exec_create: sh`, …
    #[serde(rename = "Action")]
    pub action: String,
    /// Whom it concerns.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// `local` or `swarm`.
    pub scope: String,
    /// Unix seconds.
    pub time: i64,
    /// Unix nanoseconds.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

/// Whom an event concerns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Actor {
    /// ID, or reference for images.
    #[serde(rename = "ID")]
    pub id: String,
    /// Labels, name, image, exit code, …
    pub attributes: Map<String>,
}
