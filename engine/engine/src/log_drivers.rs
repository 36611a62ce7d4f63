//! Log drivers: what a container's `LogConfig` asks for, and what is done about it.
//!
//! ```text
//!  container ─► keeper ─► files: json-file, local, or the cache of a driver that sends
//!                            │ read by `logs`, and by
//!                            ▼
//!                         Shipping (this daemon) ─► syslog, gelf, fluentd, journald
//! ```
//!
//! The keeper only ever writes files: a container does not wait for a remote logger, nor for the
//! daemon. What was not sent when either is away is sent later, from the cache; the place up to
//! which it was sent is kept beside it. With `cache-disabled` the file is kept for sending only.

mod attributes;
mod options;
mod ship;
mod transport;
mod wire;

use std::path::PathBuf;

use compute::{Log, LogFile};

pub(crate) use options::Kept;
use options::plan;
pub(crate) use ship::{Shipping, begin, connect, resume, settle};

use crate::record::Record;
use crate::{Error, Inner, Result};

/// Names of all drivers, for `info`.
pub(crate) const NAMES: [&str; 6] = [
    "fluentd",
    "gelf",
    "journald",
    "json-file",
    "local",
    "syslog",
];

/// Refuses what cannot be, when a container is created.
pub(crate) fn check(record_config: &dockerapi::LogConfig) -> Result<()> {
    plan(record_config)?;
    attributes::check(&record_config.config)
}

/// Refuses what no container could be created with.
pub(crate) fn check_default(config: &crate::Config) -> Result<()> {
    let default = dockerapi::LogConfig {
        kind: config.log_driver.clone(),
        config: config.log_opts.clone(),
    };
    check(&default).map_err(|error| Error {
        message: format!("failed to set log opts: {}", error.message),
        ..error
    })
}

/// What the keeper is told.
pub(crate) fn log(inner: &Inner, record: &Record) -> Result<Log> {
    let plan = plan(&record.host.log_config)?;
    let Some(kept) = plan.kept else {
        return Ok(Log::None);
    };
    Ok(Log::File(LogFile {
        format: match kept {
            Kept::Json => compute::LogFormat::Json,
            Kept::Local | Kept::Cache => compute::LogFormat::Local,
        },
        path: path(inner, &record.id, kept),
        max_size: plan.max_size,
        max_files: plan.max_files,
        compress: plan.compress,
        attrs: attributes::stored(record, kept)?,
        buffer: plan.buffer,
    }))
}

/// The newest file of a log.
pub(crate) fn path(inner: &Inner, id: &str, kept: Kept) -> PathBuf {
    let directory = inner.container_dir(id);
    match kept {
        Kept::Json => directory.join(format!("{id}-json.log")),
        Kept::Local => directory.join("local-logs").join("container.log"),
        Kept::Cache => directory.join("container-cached.log"),
    }
}

/// Where `logs` reads.
///
/// # Errors
/// Not implemented for what keeps nothing that could be read again.
pub(crate) fn readable(inner: &Inner, record: &Record) -> Result<(PathBuf, journal::Format)> {
    let plan = plan(&record.host.log_config)?;
    match plan.kept.filter(|_| plan.readable) {
        Some(kept) => Ok((path(inner, &record.id, kept), format(kept))),
        None => Err(Error::not_implemented(
            "configured logging driver does not support reading",
        )),
    }
}

fn format(kept: Kept) -> journal::Format {
    match kept {
        Kept::Json => journal::Format::Json,
        Kept::Local | Kept::Cache => journal::Format::Local,
    }
}
