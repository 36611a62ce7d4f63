//! Times in queries: `seconds[.nanoseconds]` since 1970 as clients send them, or RFC 3339.

use engine::{Error, Result};

/// Nanoseconds since 1970; `None` for empty text.
///
/// # Errors
/// Invalid parameter that names the value.
pub(crate) fn parse(text: &str) -> Result<Option<i128>> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || {
        Error::invalid(format!(
            "failed to parse value as time or duration: {text:?}"
        ))
    };
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(Some(time.as_nanosecond()));
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().map_err(|_| wrong())?;
    if fraction.len() > 9 || fraction.bytes().any(|b| !b.is_ascii_digit()) {
        return Err(wrong());
    }
    let nanos: i128 = format!("{fraction:0<9}").parse().map_err(|_| wrong())?;
    Ok(Some(i128::from(seconds) * 1_000_000_000 + nanos))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn forms() {
        assert_eq!(parse("").expect("none"), None);
        assert_eq!(parse("12").expect("seconds"), Some(12_000_000_000));
        assert_eq!(parse("12.5").expect("fraction"), Some(12_500_000_000));
        assert_eq!(parse("12.000000001").expect("nanos"), Some(12_000_000_001));
        assert_eq!(
            parse("1970-01-01T00:00:01Z").expect("rfc"),
            Some(1_000_000_000)
        );
        for wrong in ["x", "1.x", "1.0000000001", "--1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
