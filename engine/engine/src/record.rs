//! What is kept of a container: the one row of the state database, and the snapshot readers get.

use bridge::Published;
use dockerapi::{ContainerConfig, HostConfig, MountPoint, NetworkingConfig};
use serde::{Deserialize, Serialize};

/// Everything known about one container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// 64 hex digits.
    pub id: String,
    /// Without the leading slash.
    pub name: String,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// `sha256:…` of the image's configuration.
    pub image_id: String,
    /// The image's manifest, for the platform that was chosen.
    #[serde(default)]
    pub image_manifest: Option<oci::image::Descriptor>,
    /// `os` of the image.
    pub platform: String,
    /// Program, resolved from entry point and command.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// As asked, defaults of the image filled in.
    pub config: ContainerConfig,
    /// As asked, defaults of the engine filled in.
    pub host: HostConfig,
    /// As asked.
    pub networking: NetworkingConfig,
    /// Volumes and binds, resolved at create.
    pub mounts: Vec<Mounted>,
    /// Containers that it knows by names of its own.
    #[serde(default)]
    pub links: Vec<crate::links::Link>,
    /// How it is.
    pub state: State,
    /// How its ids are the host's, where it has a user namespace.
    #[serde(default)]
    pub ids: Option<crate::userns::IdMaps>,
    /// Its place on the network while it runs.
    pub endpoint: Option<Endpoint>,
}

/// A volume, bind or tmpfs of a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mounted {
    /// As inspect shows it.
    pub point: MountPoint,
    /// Extra options of the mount: `rro`, `noexec`, `size=…`.
    pub options: Vec<String>,
    /// Copy the image's files into the volume at first use.
    pub copy_up: bool,
    /// Without a name given by the user: removed with the container where asked.
    pub anonymous: bool,
    /// Of the volume, should it be made.
    #[serde(default)]
    pub labels: dockerapi::Map<String>,
    /// Directory below the volume's root.
    pub subpath: String,
    /// Make a missing bind source.
    pub create_source: bool,
    /// Bind without what is mounted below the source.
    pub non_recursive: bool,
}

/// How a container is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Where in its life.
    pub phase: Phase,
    /// Host pid while running.
    pub pid: u32,
    /// Of the last run.
    pub exit_code: i32,
    /// Why the last start failed.
    pub error: String,
    /// The last run met the OOM killer.
    pub oom_killed: bool,
    /// Nanoseconds since 1970; 0 never.
    pub started_at: i64,
    /// Nanoseconds since 1970; 0 never.
    pub finished_at: i64,
    /// Restarts by policy.
    pub restart_count: u32,
    /// Stopped by the user: restart policies rest.
    pub manually_stopped: bool,
    /// What its checks say, if it has any.
    #[serde(default)]
    pub health: Option<dockerapi::Health>,
    /// Ends so far, for those that wait for the next one.
    pub exits: u64,
}

/// Where in its life a container is.
///
/// ```text
///  Created ──► Running ◄──► Paused
///     │          │  ▲ └───────┐
///     │          ▼  │         ▼
///     │      Restarting ──► Exited ──► (start again) Running
///     └────────────┴───────────┴──► Removing ──► gone
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Never started.
    #[default]
    Created,
    /// It runs.
    Running,
    /// It is frozen.
    Paused,
    /// Between two runs, by policy.
    Restarting,
    /// It ended.
    Exited,
    /// It is being removed.
    Removing,
    /// It could not be removed.
    Dead,
    /// It is gone; only those that still hold its handle see this.
    Removed,
}

impl Phase {
    /// The API's word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Removing | Self::Removed => "removing",
            Self::Dead => "dead",
        }
    }

    /// A process is there.
    pub(crate) fn is_alive(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

/// A place on the default bridge.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    /// 64 hex digits.
    pub id: String,
    /// Dotted.
    pub ip: String,
    /// Prefix length.
    pub prefix: u8,
    /// Dotted.
    pub gateway: String,
    /// `aa:bb:…`.
    pub mac: String,
    /// Host end.
    pub veth: String,
    /// Published ports.
    pub ports: Vec<Published>,
}
