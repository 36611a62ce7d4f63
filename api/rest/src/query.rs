//! The query of a request, read as Go's `url.ParseQuery` and moby's `httputils` do.

use std::borrow::Cow;

use engine::{Error, Filters, Result};

/// Keys and values in order; keys may repeat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// # Errors
    /// Invalid parameter for a broken escape or a semicolon.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            if pair.contains(';') {
                return Err(Error::invalid("invalid semicolon separator in query"));
            }
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((unescape(key, true)?, unescape(value, true)?))
        });
        Ok(Self(pairs.collect::<Result<_>>()?))
    }

    /// The first value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// The first value, unless it is empty.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.get(key).filter(|value| !value.is_empty())
    }

    /// All values of a key.
    pub(crate) fn all(&self, key: &str) -> Vec<String> {
        self.0
            .iter()
            .filter(|(k, _)| k == key)
            .map(|(_, v)| v.clone())
            .collect()
    }

    /// moby's `BoolValue`: absent, empty, `0`, `no`, `false` and `none` are false, all else true.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.flag_or(key, false)
    }

    /// As [`Query::flag`], with a value for an absent key.
    pub(crate) fn flag_or(&self, key: &str, absent: bool) -> bool {
        let Some(value) = self.get(key) else {
            return absent;
        };
        let value = value.trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// A number, if the key has a value.
    ///
    /// # Errors
    /// Invalid parameter that names key and value.
    pub(crate) fn number<T: std::str::FromStr>(&self, key: &str) -> Result<Option<T>> {
        let Some(text) = self.text(key) else {
            return Ok(None);
        };
        let number = text.trim().parse().map_err(|_| {
            Error::invalid(format!(
                "invalid value for {key}: parsing {text:?}: invalid syntax"
            ))
        })?;
        Ok(Some(number))
    }

    /// `filters=`.
    ///
    /// # Errors
    /// Invalid parameter.
    pub(crate) fn filters(&self) -> Result<Filters> {
        Filters::parse(self.get("filters").unwrap_or_default())
    }
}

/// Undoes percent escapes; in a query `+` is a space.
///
/// # Errors
/// Invalid parameter for a broken escape or text that is not UTF-8.
pub(crate) fn unescape(text: &str, plus: bool) -> Result<String> {
    let text = match plus && text.contains('+') {
        true => Cow::Owned(text.replace('+', " ")),
        false => Cow::Borrowed(text),
    };
    if !text.contains('%') {
        return Ok(text.into_owned());
    }
    let broken = || Error::invalid(format!("invalid URL escape in {text:?}"));
    let digit = |byte: Option<&u8>| {
        let digit = byte
            .and_then(|byte| char::from(*byte).to_digit(16))
            .ok_or_else(broken)?;
        u8::try_from(digit).map_err(|_| broken())
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => digit(rest.next())? << 4 | digit(rest.next())?,
            other => *other,
        });
    }
    String::from_utf8(bytes).map_err(|_| broken())
}

#[cfg(test)]
mod tests {
    use super::{Query, unescape};

    #[test]
    fn keys_repeat_and_escapes_are_undone() {
        let query = Query::parse("names=a%2Fb&names=c+d&x&%66=1").expect("query");
        assert_eq!(query.all("names"), ["a/b", "c d"]);
        assert_eq!(query.get("x"), Some(""));
        assert_eq!(query.text("x"), None);
        assert!(query.flag("f"));
        for broken in ["a=%", "a=%4", "a=%zz", "a=%ff", "a=1;b=2"] {
            assert!(Query::parse(broken).is_err(), "{broken}");
        }
        assert_eq!(unescape("a+b%20", false).expect("path"), "a+b ");
    }

    #[test]
    fn booleans_as_moby_reads_them() {
        for no in ["", "0", "no", "False", " none ", "NO"] {
            let query = Query::parse(&format!("v={}", no.replace(' ', "+"))).expect("query");
            assert!(!query.flag_or("v", true), "{no:?}");
        }
        for yes in ["1", "true", "yes", "banana", "2"] {
            assert!(
                Query::parse(&format!("v={yes}")).expect("query").flag("v"),
                "{yes}"
            );
        }
        assert!(Query::default().flag_or("v", true));
    }

    #[test]
    fn numbers_name_what_is_wrong() {
        let query = Query::parse("h=12&w=x&e=").expect("query");
        assert_eq!(query.number::<u16>("h").expect("number"), Some(12));
        assert_eq!(query.number::<u16>("e").expect("empty"), None);
        let error = query.number::<u16>("w").expect_err("letter").message;
        assert!(error.contains("w:") && error.contains("\"x\""), "{error}");
    }
}
