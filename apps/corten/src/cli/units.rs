//! Sizes and spans of time as people read them (docker's go-units).

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

const DECIMAL: &[&str] = &["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY: &[&str] = &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

/// `HumanSizeWithPrecision`: so many significant digits, powers of 1000.
pub(crate) fn decimal_size(size: f64, precision: usize, space: &str) -> String {
    scaled(size, 1000.0, DECIMAL, precision, space)
}

/// `HumanSize`: four digits.
pub(crate) fn human_size(size: f64) -> String {
    decimal_size(size, 4, "")
}

/// `BytesSize`: four digits, powers of 1024.
pub(crate) fn bytes_size(size: f64) -> String {
    scaled(size, 1024.0, BINARY, 4, "")
}

fn scaled(mut size: f64, base: f64, names: &[&str], precision: usize, space: &str) -> String {
    let mut unit = 0;
    while size >= base && unit < names.len() - 1 {
        size /= base;
        unit += 1;
    }
    format!(
        "{}{space}{}",
        gotemplate::format_general(size, precision),
        names[unit]
    )
}

/// `HumanDuration`: `About a minute`, `3 weeks`, …
pub(crate) fn human_duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "as docker rounds: half an hour up, from a float"
    )]
    let hours = (seconds as f64 / 3600.0).round() as i64;
    match () {
        () if seconds < 1 => "Less than a second".into(),
        () if seconds == 1 => "1 second".into(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

/// Seconds since a moment, in words and with `ago`.
pub(crate) fn ago(unix: i64) -> String {
    let seconds = Timestamp::now().as_second().saturating_sub(unix);
    format!("{} ago", human_duration(seconds))
}

/// Go's `1m23s`.
pub(crate) fn short_duration(seconds: u64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// Go's `Time.String()` of Unix seconds in local time: `2020-01-02 03:04:05 +0000 UTC`.
pub(crate) fn local_time(unix: i64) -> String {
    let Ok(moment) = Timestamp::from_second(unix) else {
        return unix.to_string();
    };
    let zoned = moment.to_zoned(TimeZone::system());
    zoned.strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}

/// RFC 3339 of Unix seconds in local time, as Go writes it.
pub(crate) fn local_rfc3339(unix: i64) -> String {
    local_rfc3339_nanos(unix, 0, false)
}

/// RFC 3339 in local time, with nine digits of a second where asked.
pub(crate) fn local_rfc3339_nanos(unix: i64, nanos: i64, fraction: bool) -> String {
    let moment = Timestamp::from_second(unix)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .saturating_add(SignedDuration::from_nanos(nanos))
        .unwrap_or(Timestamp::UNIX_EPOCH);
    let zoned = moment.to_zoned(TimeZone::system());
    let zone = match zoned.offset().seconds() {
        0 => "Z".to_owned(),
        _ => zoned.strftime("%:z").to_string(),
    };
    let plain = zoned.strftime("%Y-%m-%dT%H:%M:%S");
    if fraction {
        format!("{plain}.{:09}{zone}", moment.subsec_nanosecond())
    } else {
        format!("{plain}{zone}")
    }
}

#[cfg(test)]
mod tests {
    use super::{bytes_size, decimal_size, human_duration, human_size};

    #[test]
    fn sizes() {
        for (size, text) in [
            (0.0, "0B"),
            (999.0, "999B"),
            (1000.0, "1kB"),
            (1_234_567.0, "1.235MB"),
            (1e9, "1GB"),
            (123_456_789.0, "123.5MB"),
        ] {
            assert_eq!(human_size(size), text);
        }
        assert_eq!(decimal_size(123_456_789.0, 3, ""), "123MB");
        assert_eq!(bytes_size(1536.0), "1.5KiB");
    }

    #[test]
    fn durations() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (179, "2 minutes"),
            (3600, "About an hour"),
            (5400, "2 hours"),
            (86400 * 3, "3 days"),
            (86400 * 15, "2 weeks"),
            (86400 * 90, "3 months"),
            (86400 * 800, "2 years"),
        ] {
            assert_eq!(human_duration(seconds), text);
        }
    }
}
