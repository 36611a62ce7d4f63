//! Paths and query strings.

use std::fmt::Write as _;

/// A query string under construction; values are escaped as Go's `url.QueryEscape` does.
#[derive(Debug, Clone, Default)]
pub struct Query(String);

impl Query {
    /// Without parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one parameter.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.push(name, value.as_ref());
        self
    }

    /// Adds one parameter when its value is not empty.
    #[must_use]
    pub fn with_some(mut self, name: &str, value: impl AsRef<str>) -> Self {
        if !value.as_ref().is_empty() {
            self.push(name, value.as_ref());
        }
        self
    }

    /// Adds `name=1` when it holds.
    #[must_use]
    pub fn with_flag(mut self, name: &str, holds: bool) -> Self {
        if holds {
            self.push(name, "1");
        }
        self
    }

    /// Adds one parameter.
    pub fn push(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(name);
        self.0.push('=');
        for byte in value.bytes() {
            if byte == b' ' {
                self.0.push('+');
            } else {
                push_escaped(&mut self.0, byte, false);
            }
        }
    }

    /// `path` with the query behind it.
    pub fn on(&self, path: &str) -> String {
        if self.0.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{}", self.0)
        }
    }
}

/// Escapes a name for use in a path; slashes stay, since image names have them.
pub fn escape(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        push_escaped(&mut out, byte, true);
    }
    out
}

fn push_escaped(out: &mut String, byte: u8, path: bool) {
    let plain = byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'_' | b'.' | b'~')
        || (path && matches!(byte, b'/' | b':' | b'@'));
    if plain {
        out.push(char::from(byte));
    } else {
        let _ = write!(out, "%{byte:02X}");
    }
}

#[cfg(test)]
mod tests {
    use super::{Query, escape};

    #[test]
    fn escapes() {
        let query = Query::new()
            .with("a", "x y&z")
            .with_some("b", "")
            .with_flag("c", true);
        assert_eq!(query.on("/p"), "/p?a=x+y%26z&c=1");
        assert_eq!(escape("a/b:c d?é"), "a/b:c%20d%3F%C3%A9");
    }
}
