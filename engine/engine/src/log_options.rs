//! Options of the json-file log driver.

use dockerapi::Map;

use crate::{Error, Result};

/// Parsed options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogOptions {
    /// Bytes; 0 is unlimited.
    pub(crate) max_size: u64,
    /// Files kept.
    pub(crate) max_files: u32,
}

/// # Errors
/// Invalid parameter, with moby's texts; not implemented, naming the option.
pub(crate) fn parse(options: &Map<String>) -> Result<LogOptions> {
    let mut parsed = LogOptions {
        max_size: 0,
        max_files: 1,
    };
    for (key, value) in options {
        match key.as_str() {
            "max-size" => parsed.max_size = size(value)?,
            "max-file" => {
                parsed.max_files = value.parse().ok().filter(|n| *n >= 1).ok_or_else(|| {
                    Error::invalid(format!("max-file cannot be less than 1: {value:?}"))
                })?;
            }
            "labels" | "env" => {}
            "mode" if value == "blocking" => {}
            "mode" | "max-buffer-size" | "compress" | "labels-regex" | "env-regex" | "tag" => {
                return Err(Error::not_implemented(format!(
                    "log option {key}={value} is not supported yet"
                )));
            }
            _ => {
                return Err(Error::invalid(format!(
                    "unknown log opt '{key}' for json-file log driver"
                )));
            }
        }
    }
    if parsed.max_files > 1 && parsed.max_size == 0 {
        return Err(Error::invalid(
            "max-size should be set when max-file is set",
        ));
    }
    Ok(parsed)
}

/// The `attrs` object of each line: labels and variables that the options name.
pub(crate) fn attributes(options: &Map<String>, labels: &Map<String>, env: &[String]) -> String {
    let named = |key: &str| -> Vec<&str> {
        options
            .get(key)
            .map(|list| list.split(',').collect())
            .unwrap_or_default()
    };
    let mut attributes: Map<&str> = Map::new();
    for label in named("labels") {
        if let Some(value) = labels.get(label) {
            attributes.insert(label.to_owned(), value);
        }
    }
    for name in named("env") {
        let value = env
            .iter()
            .find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='));
        if let Some(value) = value {
            attributes.insert(name.to_owned(), value);
        }
    }
    if attributes.is_empty() {
        return String::new();
    }
    serde_json::to_string(&attributes).unwrap_or_default()
}

/// `10m`, `1.5g`, `4096`, `10MB`, `-1`: bytes, in powers of 1024.
fn size(text: &str) -> Result<u64> {
    let invalid = || Error::invalid(format!("invalid size: '{text}'"));
    if text == "-1" {
        return Ok(0);
    }
    let lower = text.trim().to_lowercase();
    let lower = lower
        .strip_suffix("ib")
        .or_else(|| lower.strip_suffix('b'))
        .unwrap_or(&lower);
    let (number, shift) = match lower.chars().last() {
        Some('k') => (&lower[..lower.len() - 1], 10),
        Some('m') => (&lower[..lower.len() - 1], 20),
        Some('g') => (&lower[..lower.len() - 1], 30),
        Some('t') => (&lower[..lower.len() - 1], 40),
        _ => (lower, 0),
    };
    let number: f64 = number.trim().parse().map_err(|_| invalid())?;
    if !number.is_finite() || number < 0.0 {
        return Err(invalid());
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "finite and not negative; `as` saturates"
    )]
    Ok(
        (number * f64::from(2u32.pow(shift.min(30))) * if shift == 40 { 1024.0 } else { 1.0 })
            as u64,
    )
}

#[cfg(test)]
mod tests {
    use super::{parse, size};

    #[test]
    fn sizes() {
        for (text, want) in [
            ("10m", 10 << 20),
            ("1.5k", 1536),
            ("7", 7),
            ("1gb", 1 << 30),
            ("-1", 0),
        ] {
            assert_eq!(size(text).expect(text), want);
        }
        assert!(size("x").is_err());
        assert!(size("-2").is_err());
    }

    #[test]
    fn unknown_options_are_refused() {
        let options = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into();
        assert!(parse(&options("max-size", "1m")).is_ok());
        assert!(parse(&options("max-file", "3")).is_err());
        assert!(parse(&options("bogus", "1")).is_err());
    }
}
