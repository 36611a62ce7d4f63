//! Versions of the API and where they stand in a path.

use std::fmt;
use std::str::FromStr;

use dockerapi::{API_VERSION, MIN_API_VERSION};
use engine::Error;

/// `MAJOR.MINOR`, ordered as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    major: u32,
    minor: u32,
}

impl ApiVersion {
    /// A version.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// The newest that is served, used where a path names none.
    pub fn newest() -> Self {
        API_VERSION.parse().unwrap_or(Self::new(1, 51))
    }

    /// The oldest that can be served.
    pub fn oldest() -> Self {
        MIN_API_VERSION.parse().unwrap_or(Self::new(1, 24))
    }

    /// Older than 1.`minor`.
    pub(crate) fn before(self, minor: u32) -> bool {
        self < Self::new(1, minor)
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Not a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an API version")]
pub struct NotAVersion;

impl FromStr for ApiVersion {
    type Err = NotAVersion;

    /// Parts beyond the second are ignored; numbers that do not fit count as the largest.
    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let number = |part: &str| match part.is_empty() || part.bytes().any(|b| !b.is_ascii_digit())
        {
            true => Err(NotAVersion),
            false => Ok(part.parse().unwrap_or(u32::MAX)),
        };
        let mut parts = text.split('.');
        let major = number(parts.next().unwrap_or_default())?;
        let minor = parts.next().map_or(Ok(0), number)?;
        Ok(Self { major, minor })
    }
}

/// Splits `/v1.50/rest` into the version's text and `/rest`; a path without version is all rest.
pub(crate) fn split(path: &str) -> (Option<&str>, &str) {
    let Some(after) = path.strip_prefix("/v") else {
        return (None, path);
    };
    let end = after.find('/').unwrap_or(after.len());
    let text = &after[..end];
    let looks = text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    match looks {
        true => (Some(text), &after[end..]),
        false => (None, path),
    }
}

/// Whether a path names a version before 1.24, whose clients expect errors as plain text.
pub(crate) fn is_ancient(path: &str) -> bool {
    let version = split(path).0.and_then(|text| text.parse().ok());
    version.is_some_and(|version: ApiVersion| version < ApiVersion::new(1, 24))
}

/// Checks the version that a path asked for.
///
/// # Errors
/// Invalid parameter with dockerd's text, which clients show.
pub(crate) fn admit(text: Option<&str>, oldest: ApiVersion) -> Result<ApiVersion, Error> {
    let newest = ApiVersion::newest();
    let Some(text) = text else { return Ok(newest) };
    let version: ApiVersion = text
        .parse()
        .map_err(|_| Error::invalid(format!("invalid API version {text:?}")))?;
    if version < oldest {
        return Err(Error::invalid(format!(
            "client version {text} is too old. Minimum supported API version is {oldest}, please \
             upgrade your client to a newer version"
        )));
    }
    if version > newest {
        return Err(Error::invalid(format!(
            "client version {text} is too new. Maximum supported API version is {newest}"
        )));
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::{ApiVersion, admit, split};

    #[test]
    fn paths_with_and_without_version() {
        assert_eq!(
            split("/v1.50/containers/json"),
            (Some("1.50"), "/containers/json")
        );
        assert_eq!(split("/v1.50"), (Some("1.50"), ""));
        assert_eq!(split("/version"), (None, "/version"));
        assert_eq!(split("/volumes"), (None, "/volumes"));
    }

    #[test]
    fn range_is_told_as_dockerd_does() {
        let oldest = ApiVersion::oldest();
        let old = admit(Some("1.10"), oldest).expect_err("too old").message;
        assert_eq!(
            old,
            "client version 1.10 is too old. Minimum supported API version is 1.24, please upgrade \
             your client to a newer version"
        );
        let new = admit(Some("1.99"), oldest).expect_err("too new").message;
        assert_eq!(
            new,
            "client version 1.99 is too new. Maximum supported API version is 1.51"
        );
        assert!(admit(Some("1.9999999999999999"), oldest).is_err());
        assert!(admit(Some("1..2"), oldest).is_err());
        assert_eq!(admit(None, oldest).expect("newest"), ApiVersion::newest());
        assert!(admit(Some("1.9"), oldest).is_err(), "9 is less than 24");
    }
}
