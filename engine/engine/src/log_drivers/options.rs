//! Options of log drivers, read and checked with moby's texts.

use dockerapi::{LogConfig, Map};

use super::wire::{self, Remote};
use crate::{Error, Result};

/// Bytes of a file of `local`, and files kept: dockerd's defaults.
const LOCAL_SIZE: u64 = 20 << 20;
const LOCAL_FILES: u32 = 5;
/// The same of `json-file`, when nothing is said about its files: dockerd's fill the disk.
const JSON_SIZE: u64 = 100 << 20;
const JSON_FILES: u32 = 5;
/// Buffered in non-blocking mode.
const BUFFER: u64 = 1_000_000;

/// Options of every driver.
const COMMON: &[&str] = &["labels", "labels-regex", "env", "env-regex", "tag"];
const FILES: &[&str] = &["max-size", "max-file", "compress"];

/// Where the keeper writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// `json-file`.
    Json,
    /// `local`.
    Local,
    /// What is to be sent elsewhere.
    Cache,
}

/// What is done with a container's output.
#[derive(Debug)]
pub(crate) struct Plan {
    /// `None`: nothing.
    pub(crate) kept: Option<Kept>,
    /// Bytes a file may have; 0 is unlimited.
    pub(crate) max_size: u64,
    /// Files kept.
    pub(crate) max_files: u32,
    /// Rotated files are compressed.
    pub(crate) compress: bool,
    /// Bytes that may wait for the disk before output is dropped.
    pub(crate) buffer: Option<u64>,
    /// `logs` may read what is kept.
    pub(crate) readable: bool,
    /// Where it is sent to.
    pub(crate) remote: Option<Remote>,
}

/// # Errors
/// Invalid parameter with moby's texts; not implemented for drivers that are not there.
pub(crate) fn plan(config: &LogConfig) -> Result<Plan> {
    let options = &config.config;
    if config.kind == "none" {
        return Ok(Plan {
            kept: None,
            max_size: 0,
            max_files: 1,
            compress: false,
            buffer: None,
            readable: false,
            remote: None,
        });
    }
    let buffer = buffer(options)?;
    let mut known: Vec<&str> = [COMMON, &["mode", "max-buffer-size"]].concat();
    let (kept, remote) = match config.kind.as_str() {
        "json-file" | "local" => {
            known.extend(FILES);
            let kept = match config.kind.as_str() {
                "local" => Kept::Local,
                _ => Kept::Json,
            };
            (kept, None)
        }
        "awslogs" | "gcplogs" | "splunk" | "etwlogs" => {
            return Err(Error::not_implemented(format!(
                "log driver {:?} is not supported: use one of {}, none",
                config.kind,
                super::NAMES.join(", ")
            )));
        }
        kind => {
            let own = wire::option_names(kind).ok_or_else(|| {
                Error::invalid(format!(
                    "logger: no log driver named '{kind}' is registered"
                ))
            })?;
            known.extend(own);
            (Kept::Cache, Some(wire::remote(kind, options)?))
        }
    };
    // Options of the cache are taken by every driver, as moby has it.
    let cached = |key: &str| {
        key.strip_prefix("cache-")
            .is_some_and(|key| key == "disabled" || FILES.contains(&key) || COMMON.contains(&key))
    };
    if let Some(key) = options
        .keys()
        .find(|key| !known.contains(&key.as_str()) && !cached(key))
    {
        return Err(Error::invalid(match kept {
            Kept::Local => format!("unknown log opt '{key}' for log driver local"),
            _ => format!("unknown log opt '{key}' for {} log driver", config.kind),
        }));
    }
    let disabled = flag(options, "cache-disabled")?.unwrap_or(false);
    let prefix = if kept == Kept::Cache { "cache-" } else { "" };
    let files = files(options, prefix, kept)?;
    Ok(Plan {
        kept: Some(kept),
        max_size: files.0,
        max_files: files.1,
        compress: files.2,
        buffer,
        readable: kept != Kept::Cache || !disabled,
        remote,
    })
}

fn buffer(options: &Map<String>) -> Result<Option<u64>> {
    let mode = options.get("mode").map_or("", String::as_str);
    if !matches!(mode, "" | "blocking" | "non-blocking") {
        return Err(Error::invalid(format!(
            "logger: logging mode not supported: {mode}"
        )));
    }
    let waits = mode != "non-blocking";
    match options.get("max-buffer-size") {
        Some(_) if waits => Err(Error::invalid(
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        )),
        Some(text) => size(text, 1024).map(Some).map_err(|error| {
            Error::invalid(format!(
                "error parsing option max-buffer-size: {}",
                error.message
            ))
        }),
        None => Ok((!waits).then_some(BUFFER)),
    }
}

/// Size, number and compression of files.
fn files(options: &Map<String>, prefix: &str, kept: Kept) -> Result<(u64, u32, bool)> {
    let json = kept == Kept::Json;
    let get = |key: &str| options.get(&format!("{prefix}{key}"));
    if json && FILES.iter().all(|key| get(key).is_none()) {
        return Ok((JSON_SIZE, JSON_FILES, true));
    }
    let max_size = match get("max-size") {
        None if json => 0,
        None => LOCAL_SIZE,
        Some(text) if json && text == "-1" => 0,
        Some(text) => match size(text, 1000) {
            Ok(0) if json => return Err(Error::invalid("max-size must be a positive number")),
            Ok(size) => size,
            Err(error) if json => return Err(error),
            Err(error) => {
                return Err(Error::invalid(format!(
                    "invalid value for max-size: {text}: {}",
                    error.message
                )));
            }
        },
    };
    let max_files =
        match get("max-file") {
            None if json => 1,
            None => LOCAL_FILES,
            Some(text) => text.parse().ok().filter(|n| *n >= 1).ok_or_else(|| {
                Error::invalid(format!("max-file cannot be less than 1: {text:?}"))
            })?,
        };
    let compress = flag(options, &format!("{prefix}compress"))?;
    if json && compress == Some(true) && (max_files == 1 || max_size == 0) {
        return Err(Error::invalid(
            "compress cannot be true when max-file is less than 2 or max-size is not set",
        ));
    }
    if !json && compress.unwrap_or(true) && max_files == 1 {
        return Err(Error::invalid(
            "compression cannot be enabled when max file count is 1",
        ));
    }
    Ok((max_size, max_files, compress.unwrap_or(!json)))
}

/// Go's `strconv.ParseBool`.
pub(super) fn flag(options: &Map<String>, key: &str) -> Result<Option<bool>> {
    let Some(text) = options.get(key) else {
        return Ok(None);
    };
    match text.as_str() {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Some(true)),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Some(false)),
        "" if key == "cache-disabled" => Ok(None),
        _ if key == "cache-disabled" => Err(Error::invalid(format!(
            "invalid value for option {key}: {text}"
        ))),
        _ => Err(Error::invalid(format!(
            "strconv.ParseBool: parsing {text:?}: invalid syntax"
        ))),
    }
}

/// `10m`, `1.5g`, `4096`, `10MB`: bytes, in powers of `base`.
pub(super) fn size(text: &str, base: u64) -> Result<u64> {
    let invalid = || Error::invalid(format!("invalid size: '{text}'"));
    let lower = text.trim().to_lowercase();
    let lower = lower
        .strip_suffix("ib")
        .or_else(|| lower.strip_suffix('b'))
        .unwrap_or(&lower);
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let power = match lower[digits.len()..].trim() {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(invalid()),
    };
    let number: f64 = digits.trim().parse().map_err(|_| invalid())?;
    if !number.is_finite() || number < 0.0 {
        return Err(invalid());
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "finite and not negative; `as` saturates"
    )]
    Ok((number * base.pow(power) as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(kind: &str, options: &[(&str, &str)]) -> LogConfig {
        LogConfig {
            kind: kind.into(),
            config: options
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        }
    }

    fn refused(kind: &str, options: &[(&str, &str)]) -> String {
        plan(&config(kind, options)).expect_err(kind).message
    }

    #[test]
    fn json_files_are_bounded_unless_told_otherwise() {
        let of = |options: &[(&str, &str)]| {
            let plan = plan(&config("json-file", options)).expect("a plan");
            (plan.max_size, plan.max_files, plan.compress)
        };
        assert_eq!(of(&[]), (100 << 20, 5, true));
        assert_eq!(of(&[("tag", "x")]), (100 << 20, 5, true));
        assert_eq!(of(&[("max-size", "-1")]), (0, 1, false));
        assert_eq!(of(&[("max-size", "1m")]), (1_000_000, 1, false));
        assert_eq!(of(&[("max-file", "3")]), (0, 3, false));
    }

    #[test]
    fn sizes() {
        for (text, want) in [
            ("10m", 10_000_000),
            ("1.5k", 1500),
            ("7", 7),
            ("1gb", 1_000_000_000),
        ] {
            assert_eq!(size(text, 1000).expect(text), want);
        }
        assert_eq!(size("4m", 1024).expect("4m"), 4 << 20);
        assert!(size("x", 1000).is_err());
        assert!(size("-2", 1000).is_err());
        assert!(size("1q", 1000).is_err());
    }

    #[test]
    fn defaults_are_dockerds() {
        let local = plan(&config("local", &[])).expect("local");
        assert_eq!(
            (local.max_size, local.max_files, local.compress),
            (20 << 20, 5, true)
        );
        let sent = plan(&config("gelf", &[("gelf-address", "udp://127.0.0.1:1")])).expect("gelf");
        assert_eq!((sent.kept, sent.readable), (Some(Kept::Cache), true));
        assert!(
            plan(&config("none", &[("bogus", "1")]))
                .expect("none")
                .kept
                .is_none()
        );
        let buffered = plan(&config("local", &[("mode", "non-blocking")])).expect("buffered");
        assert_eq!(buffered.buffer, Some(BUFFER));
    }

    #[test]
    fn refusals_are_mobys() {
        for (kind, options, text) in [
            (
                "json-file",
                &[("bogus", "1")][..],
                "unknown log opt 'bogus' for json-file log driver",
            ),
            (
                "local",
                &[("bogus", "1")],
                "unknown log opt 'bogus' for log driver local",
            ),
            (
                "json-file",
                &[("max-file", "0")],
                "max-file cannot be less than 1: \"0\"",
            ),
            (
                "json-file",
                &[("compress", "true")],
                "compress cannot be true when max-file is less than 2 or max-size is not set",
            ),
            (
                "local",
                &[("max-file", "1")],
                "compression cannot be enabled when max file count is 1",
            ),
            (
                "local",
                &[("mode", "x")],
                "logger: logging mode not supported: x",
            ),
            (
                "local",
                &[("max-buffer-size", "1m")],
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            ),
            (
                "nosuch",
                &[],
                "logger: no log driver named 'nosuch' is registered",
            ),
            ("gelf", &[], "gelf-address is a required parameter"),
            (
                "syslog",
                &[("syslog-facility", "x")],
                "invalid syslog facility",
            ),
            (
                "syslog",
                &[("cache-disabled", "x")],
                "invalid value for option cache-disabled: x",
            ),
        ] {
            assert_eq!(refused(kind, options), text, "{kind} {options:?}");
        }
        assert!(refused("splunk", &[]).contains("\"splunk\" is not supported"));
    }
}
