//! Compute on Linux: one keeper process per container, which outlives the daemon.
//!
//! The daemon side of `keeper-protocol`. A keeper builds the container, holds its stdio and writes
//! its log; signals, limits and meters go from here to the kernel directly (pidfd, cgroup).

use std::path::PathBuf;

/// Where things are.
#[derive(Debug, Clone)]
pub struct Config {
    /// Run directory on a tmpfs, e.g. `/run/corten`; containers get `containers/<id>/` below it.
    pub run_dir: PathBuf,
}

/// [`compute::Compute`] by keepers. Dropping it leaves containers running; a new one adopts them.
#[derive(Debug)]
pub struct Linux {
    config: Config,
}

impl Linux {
    /// Prepares the run directory and the keeper's image. Must be called inside a tokio runtime.
    pub fn new(config: Config) -> compute::Result<Self> {
        Ok(Self { config })
    }

    /// Ids that have a run directory: all that may need [`compute::Compute::adopt`] or
    /// [`compute::Compute::release`] after a restart.
    pub fn known(&self) -> compute::Result<Vec<String>> {
        let _ = &self.config;
        Ok(Vec::new())
    }
}
