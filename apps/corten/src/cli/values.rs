//! Values of options: Go's numbers, durations and sizes, and docker's own forms, with the texts
//! of their errors.

use super::options;
use super::spec::{Flag, Kind};

/// Checks a value as it is read.
///
/// # Errors
/// Text for `invalid argument … for … flag: …`.
pub(crate) fn check(flag: &Flag, value: &str) -> Result<(), String> {
    match flag.kind {
        Kind::Bool => parse_bool(value).map(drop),
        Kind::Int => parse_int(value).map(drop),
        Kind::Uint => parse_uint(value, u64::MAX).map(drop),
        Kind::Uint16 => parse_uint(value, u64::from(u16::MAX)).map(drop),
        Kind::Bytes | Kind::MemorySwap | Kind::Decimal | Kind::Duration => {
            quantity(flag.kind, value).map(drop)
        }
        Kind::Mount => options::mount::parse(value).map(drop),
        Kind::Network => options::network::parse(value).map(drop),
        Kind::Ulimit => options::limits::ulimit(value).map(drop),
        Kind::Gpu => options::limits::gpus(value).map(drop),
        Kind::Filter => super::filters::check(value),
        Kind::List | Kind::Map => options::check::list_value(flag.name, value),
        Kind::Text | Kind::Strings => Ok(()),
    }
}

/// Bytes, nanoseconds or billionths.
///
/// # Errors
/// Go's or docker's text.
pub(crate) fn quantity(kind: Kind, value: &str) -> Result<i64, String> {
    match kind {
        Kind::MemorySwap if value == "-1" => Ok(-1),
        Kind::Bytes | Kind::MemorySwap => parse_size(value),
        Kind::Decimal => parse_decimal(value),
        Kind::Duration => parse_duration(value),
        _ => Err(format!("{value:?} is no quantity")),
    }
}

/// `strconv.ParseBool`.
///
/// # Errors
/// Go's text.
pub(crate) fn parse_bool(value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!(
            "strconv.ParseBool: parsing {value:?}: invalid syntax"
        )),
    }
}

/// `strconv.ParseInt` of base 0.
///
/// # Errors
/// Go's text.
pub(crate) fn parse_int(value: &str) -> Result<i64, String> {
    let (negative, digits) = match value.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, value.strip_prefix('+').unwrap_or(value)),
    };
    let failed = |why: &str| format!("strconv.ParseInt: parsing {value:?}: {why}");
    let number = based(digits).map_err(|range| failed(reason(range)))?;
    let number = i128::from(number) * if negative { -1 } else { 1 };
    i64::try_from(number).map_err(|_| failed("value out of range"))
}

/// `strconv.ParseUint` of base 0 up to `max`.
///
/// # Errors
/// Go's text.
pub(crate) fn parse_uint(value: &str, max: u64) -> Result<u64, String> {
    let failed = |why: &str| format!("strconv.ParseUint: parsing {value:?}: {why}");
    let number = based(value).map_err(|range| failed(reason(range)))?;
    if number > max {
        return Err(failed("value out of range"));
    }
    Ok(number)
}

fn reason(out_of_range: bool) -> &'static str {
    if out_of_range {
        "value out of range"
    } else {
        "invalid syntax"
    }
}

/// Digits with Go's prefixes; the error tells whether only the range is wrong.
fn based(digits: &str) -> Result<u64, bool> {
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = if let Some(hex) = lower.strip_prefix("0x") {
        (16, hex)
    } else if let Some(binary) = lower.strip_prefix("0b") {
        (2, binary)
    } else if let Some(octal) = lower.strip_prefix("0o") {
        (8, octal)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(false);
    }
    u64::from_str_radix(digits, radix).map_err(|_| true)
}

/// `units.RAMInBytes`: a decimal number and a unit of powers of 1024.
///
/// # Errors
/// docker's text.
pub(crate) fn parse_size(value: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{value}'");
    let split = value
        .rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ')
        .map(|at| at + 1)
        .ok_or_else(invalid)?;
    let (number, unit) = value.split_at(split);
    let number = number.strip_suffix(' ').unwrap_or(number);
    let number: f64 = number.parse().map_err(|_| invalid())?;
    if number < 0.0 {
        return Err(invalid());
    }
    let bad = || format!("invalid suffix: '{unit}'");
    let lower = unit.to_ascii_lowercase();
    let mut letters = lower.chars();
    let power = match letters.next() {
        None => 0,
        Some('b') if lower.len() == 1 => 0,
        Some(letter) => {
            let power = "kmgtpe".find(letter).ok_or_else(bad)? + 1;
            if !matches!(letters.as_str(), "" | "b" | "ib") {
                return Err(bad());
            }
            power
        }
    };
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "sizes saturate, as Go's conversion is used for them"
    )]
    Ok((number * 1024f64.powi(i32::try_from(power).unwrap_or(0))) as i64)
}

/// `opts.ParseCPUs`: billionths.
fn parse_decimal(value: &str) -> Result<i64, String> {
    let failed = || format!("failed to parse {value} as a rational number");
    let (negative, digits) = match value.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, value.strip_prefix('+').unwrap_or(value)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return Err(failed());
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 9 {
        return Err("value is too precise".into());
    }
    let whole: i64 = if whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| failed())?
    };
    let fraction: i64 = format!("{fraction:0<9}").parse().map_err(|_| failed())?;
    let nano = whole
        .checked_mul(1_000_000_000)
        .and_then(|nano| nano.checked_add(fraction))
        .ok_or_else(failed)?;
    Ok(if negative { -nano } else { nano })
}

/// `time.ParseDuration`: nanoseconds.
///
/// # Errors
/// Go's text.
pub(crate) fn parse_duration(value: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {value:?}");
    let (negative, mut rest) = match value.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, value.strip_prefix('+').unwrap_or(value)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let unit = &rest[..letters];
        rest = &rest[letters..];
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            "" => return Err(format!("time: missing unit in duration {value:?}")),
            _ => {
                return Err(format!("time: unknown unit {unit:?} in duration {value:?}"));
            }
        };
        total += number * scale;
    }
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the range is checked before"
    )]
    if total < 9.2e18 {
        let nanos = total.round() as i64;
        Ok(if negative { -nanos } else { nanos })
    } else {
        Err(invalid())
    }
}

#[cfg(test)]
mod tests {
    use super::{parse_decimal, parse_duration, parse_int, parse_size};

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("1", 1),
            ("1b", 1),
            ("1.5k", 1536),
            ("2 MB", 2 << 20),
            ("3GiB", 3 << 30),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        assert_eq!(parse_size("1x"), Err("invalid suffix: 'x'".into()));
        assert_eq!(parse_size("-1"), Err("invalid size: '-1'".into()));
    }

    #[test]
    fn numbers() {
        assert_eq!(parse_int("-0x10"), Ok(-16));
        assert_eq!(parse_int("010"), Ok(8));
        assert!(parse_int("9223372036854775808").is_err());
        assert_eq!(parse_decimal("1.5"), Ok(1_500_000_000));
        assert_eq!(parse_decimal(".25"), Ok(250_000_000));
        assert!(parse_decimal("1e3").is_err());
        assert_eq!(parse_duration("1h2m3.5s"), Ok(3_723_500_000_000));
        assert_eq!(
            parse_duration("1"),
            Err("time: missing unit in duration \"1\"".into())
        );
    }
}
