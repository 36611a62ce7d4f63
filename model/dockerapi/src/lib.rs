//! Request and response bodies of the Engine API (v1.24 to v1.51), as moby writes them: the same
//! field order, `null` where Go has a nil, absent where Go has `omitempty`.
//!
//! Requests are read leniently (`null` and absent are the default, unknown fields are ignored), as
//! dockerd does. What a version of the API trims is the business of `rest`.

mod config;
mod container;
mod debug;
mod event;
mod exec;
mod flexible;
mod host;
mod image;
mod stats;
mod system;
mod volume;

pub use config::{ContainerConfig, CreateBody, EndpointIpam, EndpointSettings, NetworkingConfig};
pub use container::{
    ContainerInspect, ContainerState, ContainerSummary, CreateResponse, FilesystemChange,
    GraphDriver, Health, HealthcheckResult, MountPoint, NetworkSettings, PathStat, Port,
    PruneReport, SummaryHostConfig, SummaryNetworkSettings, TopResponse, UpdateBody,
    UpdateResponse, WaitError, WaitResponse,
};
pub use debug::{DebugContainer, DebugEvents, DebugExec, DebugLocks, DebugState};
pub use event::{Actor, Event};
pub use exec::{ExecCreate, ExecInspect, ExecProcessConfig, ExecStart, IdResponse};
pub use flexible::{Map, null_default};
pub use host::{
    BindOptions, DeviceMapping, DeviceRequest, HostConfig, ImageOptions, LogConfig, MountSpec,
    PortBinding, Resources, RestartPolicy, ThrottleDevice, TmpfsOptions, Ulimit,
    VolumeDriverConfig, VolumeOptions, WeightDevice,
};
pub use image::{
    AttestationData, DeleteItem, HistoryItem, ImageInspect, ImageManifestData, ImageManifestFiles,
    ImageManifestSize, ImageManifestSummary, ImageMetadata, ImagePruneReport, ImageSummary,
    JsonMessage, JsonMessageError, ProgressDetail, RootFsInspect, SearchResult,
};
pub use stats::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats,
    StorageStats, ThrottlingData,
};
pub use system::{
    AuthConfig, Commit, Component, DiscoveredDevice, DiskUsage, DistributionInspect, ErrorResponse,
    Info, Plugins, RegistryConfig, RuntimeInfo, SwarmInfo, Version, VersionPlatform,
};
pub use volume::{Volume, VolumeCreate, VolumeList, VolumePruneReport, VolumeUsage};

/// Newest version of the API that is served.
pub const API_VERSION: &str = "1.51";
/// Oldest version of the API that is served.
pub const MIN_API_VERSION: &str = "1.24";
