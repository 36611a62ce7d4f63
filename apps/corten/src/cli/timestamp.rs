//! Moments in options: Unix time, RFC 3339 in its shorter forms, or a duration back from now; and
//! moments as docker prints them.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::values::parse_duration;

/// Reads a moment into the API's `seconds[.nanoseconds]`; empty stays empty.
///
/// # Errors
/// Text for `invalid value for …`.
pub(crate) fn parse(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    // A bare zero is the beginning of time, not now.
    if text != "0"
        && let Ok(nanos) = parse_duration(text)
    {
        let moment = Timestamp::now() - SignedDuration::from_nanos(nanos);
        return Ok(unix(moment));
    }
    if text.contains('-') && text.len() >= 10 && text.as_bytes()[4] == b'-' {
        return rfc3339(text).map(unix);
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(seconds.strip_prefix('-').unwrap_or(seconds)) || !digits(fraction) {
        return Err(format!(
            "failed to parse value as time or duration: {text:?}"
        ));
    }
    Ok(text.to_owned())
}

fn unix(moment: Timestamp) -> String {
    format!("{}.{:09}", moment.as_second(), moment.subsec_nanosecond())
}

/// Without a zone the local one is meant.
fn rfc3339(text: &str) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    let failed = || format!("failed to parse value as time or duration: {text:?}");
    let (plain, zone) = match text.strip_suffix('Z') {
        Some(plain) => (plain, TimeZone::UTC),
        None => (text, TimeZone::system()),
    };
    let plain = match plain.len() {
        10 => format!("{plain}T00:00:00"),
        13 => format!("{plain}:00:00"),
        16 => format!("{plain}:00"),
        _ => plain.to_owned(),
    };
    let time: DateTime = plain.parse().map_err(|_| failed())?;
    zone.to_ambiguous_timestamp(time)
        .compatible()
        .map_err(|_| failed())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn forms() {
        assert_eq!(parse("0").expect("unix"), "0");
        assert_eq!(parse("5").expect("unix"), "5");
        assert_eq!(parse("1.5").expect("unix"), "1.5");
        assert_eq!(
            parse("2020-01-01T00:00:00Z").expect("rfc"),
            "1577836800.000000000"
        );
        assert_eq!(parse("2020-01-01Z").expect("day"), "1577836800.000000000");
        assert!(parse("5m").expect("back").contains('.'));
        assert!(parse("soon").is_err());
    }
}
