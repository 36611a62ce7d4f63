//! Time as the API writes it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Go's zero time.
pub(crate) const ZERO: &str = "0001-01-01T00:00:00Z";

/// Nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    nanos(SystemTime::now())
}

/// Nanoseconds since 1970; 0 before.
pub(crate) fn nanos(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    })
}

/// RFC 3339 with nanoseconds, trailing zeros cut as Go does; 0 is Go's zero time.
pub(crate) fn rfc3339(nanos: i64) -> String {
    if nanos == 0 {
        return ZERO.into();
    }
    jiff::Timestamp::from_nanosecond(i128::from(nanos))
        .map_or_else(|_| ZERO.into(), |time| time.to_string())
}

/// Nanoseconds since 1970 of an RFC 3339 text; 0 when it is none.
pub(crate) fn parse(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>()
        .ok()
        .and_then(|time| i64::try_from(time.as_nanosecond()).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn go_times() {
        assert_eq!(super::rfc3339(0), super::ZERO);
        let text = "2026-11-23T08:00:00.12345Z";
        assert_eq!(super::rfc3339(super::parse(text)), text);
    }
}
