//! One entry of a log.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{Format, local};

/// Which of the container's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, and all output of a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One entry, borrowed from the reader's buffer.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Which stream it came from.
    pub stream: Stream,
    /// The output. Without a trailing `\n` it is a part of a line that the next entry goes on
    /// with, unless [`Self::newline`] says so.
    pub log: Cow<'a, [u8]>,
    /// A `\n` follows that is not among the bytes.
    pub newline: bool,
    /// When it was written.
    pub time: Time<'a>,
    /// It is a piece of a line that was too long for one entry; told by `local` only.
    pub partial: Option<Partial<'a>>,
    pub(crate) attrs: Attrs<'a>,
}

/// When an entry was written, as its format has it.
#[derive(Debug, Clone)]
pub enum Time<'a> {
    /// RFC 3339, as many digits as needed.
    Text(Cow<'a, str>),
    /// Nanoseconds since 1970.
    Nanos(i64),
}

/// Which piece of a long line.
#[derive(Debug, Clone, Default)]
pub struct Partial<'a> {
    /// The same for all pieces of the line.
    pub id: Cow<'a, str>,
    /// From 1 on.
    pub ordinal: u64,
    /// The line ends with it.
    pub last: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Attrs<'a> {
    None,
    Json(&'a serde_json::value::RawValue),
    Pairs(Vec<(&'a [u8], &'a [u8])>),
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    attrs: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow, default)]
    time: Cow<'a, str>,
}

impl<'a> Entry<'a> {
    /// Reads what was written; `None` when there is no whole entry in it.
    pub(crate) fn parse(format: Format, record: &'a [u8]) -> Option<Self> {
        match format {
            Format::Json => Self::parse_line(record),
            Format::Local => local::parse(record),
        }
    }

    fn parse_line(line: &'a [u8]) -> Option<Self> {
        let parsed: Line<'_> = match serde_json::from_slice(line) {
            Ok(entry) => entry,
            Err(_) => {
                // What was torn by a crash has the entries written after it on the same line.
                // Quotes inside an entry are escaped, so this can only be the start of one.
                let start = memchr::memmem::rfind(line, br#"{"log":""#)?;
                serde_json::from_slice(&line[start..]).ok()?
            }
        };
        Some(Self {
            stream: if parsed.stream == "stderr" {
                Stream::Stderr
            } else {
                Stream::Stdout
            },
            log: match parsed.log {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            },
            newline: false,
            time: Time::Text(parsed.time),
            partial: None,
            attrs: parsed.attrs.map_or(Attrs::None, Attrs::Json),
        })
    }

    /// Nanoseconds since 1970; 0 when the time cannot be read.
    pub fn nanos(&self) -> i128 {
        match &self.time {
            Time::Nanos(nanos) => i128::from(*nanos),
            Time::Text(text) => text
                .parse::<jiff::Timestamp>()
                .map_or(0, jiff::Timestamp::as_nanosecond),
        }
    }

    /// Labels, variables and tag that the log was asked to carry, by key.
    pub fn attrs(&self) -> BTreeMap<String, String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match &self.attrs {
            Attrs::None => BTreeMap::new(),
            Attrs::Json(attrs) => serde_json::from_str(attrs.get()).unwrap_or_default(),
            Attrs::Pairs(pairs) => pairs.iter().map(|(k, v)| (text(k), text(v))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Stream};
    use crate::Format::Json;

    #[test]
    fn fields() {
        let line = br#"{"log":"a\u003c\"b\n","stream":"stderr","attrs":{"k":"v"},"time":"1970-01-01T00:00:01.5Z"}"#;
        let entry = Entry::parse(Json, line).expect("an entry");
        assert_eq!(&*entry.log, b"a<\"b\n");
        assert_eq!(entry.stream, Stream::Stderr);
        assert_eq!(entry.nanos(), 1_500_000_000);
        assert_eq!(entry.attrs().get("k").map(String::as_str), Some("v"));
    }

    #[test]
    fn torn_and_overwritten() {
        let line = b"\0\0\0{\"log\":\"ab{\"log\":\"next\\n\",\"stream\":\"stdout\",\"time\":\"1970-01-01T00:00:00Z\"}";
        assert_eq!(
            &*Entry::parse(Json, line).expect("the second").log,
            b"next\n"
        );
        assert!(Entry::parse(Json, br#"{"log":"ab"#).is_none());
        assert!(Entry::parse(Json, b"").is_none());
    }
}
