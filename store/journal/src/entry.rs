//! One line of a json-file log.

use std::borrow::Cow;

use serde::Deserialize;

/// Which of the container's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, and all output of a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One entry, borrowed from the reader's buffer.
#[derive(Debug, Clone, Deserialize)]
pub struct Entry<'a> {
    /// The output. Without a trailing `\n` it is a part of a line that the next entry goes on with.
    #[serde(borrow, default)]
    pub log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    attrs: Option<&'a serde_json::value::RawValue>,
    /// When it was written: RFC 3339, as many digits as needed.
    #[serde(borrow, default)]
    pub time: Cow<'a, str>,
}

impl<'a> Entry<'a> {
    /// Reads a line; `None` when there is no whole entry in it.
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        if let Ok(entry) = serde_json::from_slice(line) {
            return Some(entry);
        }
        // What was torn by a crash has the entries written after it on the same line. Quotes inside
        // an entry are escaped, so this can only be the start of one.
        const START: &[u8] = br#"{"log":""#;
        let start = line
            .windows(START.len())
            .rposition(|window| window == START)?;
        serde_json::from_slice(&line[start..]).ok()
    }

    /// Which stream it came from.
    pub fn stream(&self) -> Stream {
        if self.stream == "stderr" {
            Stream::Stderr
        } else {
            Stream::Stdout
        }
    }

    /// Nanoseconds since 1970; 0 when the time cannot be read.
    pub fn nanos(&self) -> i128 {
        self.time
            .parse::<jiff::Timestamp>()
            .map_or(0, jiff::Timestamp::as_nanosecond)
    }

    /// Labels and variables that the log was asked to carry (`labels`, `env`), by key.
    pub fn attrs(&self) -> std::collections::BTreeMap<String, String> {
        self.attrs
            .and_then(|attrs| serde_json::from_str(attrs.get()).ok())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Stream};

    #[test]
    fn fields() {
        let line = br#"{"log":"a\u003c\"b\n","stream":"stderr","attrs":{"k":"v"},"time":"1970-01-01T00:00:01.5Z"}"#;
        let entry = Entry::parse(line).expect("an entry");
        assert_eq!(entry.log, "a<\"b\n");
        assert_eq!(entry.stream(), Stream::Stderr);
        assert_eq!(entry.nanos(), 1_500_000_000);
        assert_eq!(entry.attrs().get("k").map(String::as_str), Some("v"));
    }

    #[test]
    fn torn_and_overwritten() {
        let line = b"\0\0\0{\"log\":\"ab{\"log\":\"next\\n\",\"stream\":\"stdout\",\"time\":\"1970-01-01T00:00:00Z\"}";
        assert_eq!(Entry::parse(line).expect("the second").log, "next\n");
        assert!(Entry::parse(br#"{"log":"ab"#).is_none());
        assert!(Entry::parse(b"").is_none());
    }
}
