//! Time as RFC 3339 text, UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, to the second: `2026-11-24T11:26:43Z`.
pub(crate) fn seconds() -> String {
    let now = since_epoch();
    format!("{}Z", date_time(now.as_secs()))
}

/// Now, to the nanosecond, zeros at the end left out.
pub(crate) fn nanoseconds() -> String {
    let now = since_epoch();
    let mut text = format!("{}.{:09}", date_time(now.as_secs()), now.subsec_nanos());
    let kept = text.trim_end_matches('0').trim_end_matches('.').len();
    text.truncate(kept);
    text.push('Z');
    text
}

fn since_epoch() -> std::time::Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

fn date_time(seconds: u64) -> String {
    let (year, month, day) = date(seconds / 86_400);
    let rest = seconds % 86_400;
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// Days since 1970-01-01 as a date of the Gregorian calendar: years are counted from March, so
/// that the leap day ends one, in eras of 400 years.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year_of_era + carry, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date_time(0), "1970-01-01T00:00:00");
        assert_eq!(date_time(951_782_399), "2000-02-28T23:59:59");
        assert_eq!(date_time(951_782_400), "2000-02-29T00:00:00");
        assert_eq!(date_time(1_795_519_603), "2026-11-24T11:26:43");
        assert_eq!(date_time(4_107_542_400), "2100-03-01T00:00:00");
    }
}
