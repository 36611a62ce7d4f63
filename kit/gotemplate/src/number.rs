//! Floating-point numbers as Go's fmt prints them.

/// `%.{precision}g`: so many significant digits, without trailing zeros, with an exponent where
/// it is below -4 or not below the precision.
pub fn format_general(value: f64, precision: usize) -> String {
    if !value.is_finite() {
        return special(value);
    }
    let precision = precision.max(1);
    if value == 0.0 {
        return if value.is_sign_negative() { "-0" } else { "0" }.into();
    }
    let scientific = format!("{value:.*e}", precision - 1);
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    let limit = i32::try_from(precision).unwrap_or(i32::MAX);
    if exponent < -4 || exponent >= limit {
        return with_exponent(&trim(digits), exponent);
    }
    let decimals = usize::try_from(limit - 1 - exponent).unwrap_or(0);
    trim(&format!("{value:.decimals$}"))
}

/// `%v` of a float64: the shortest form that reads back, with an exponent from 1e21 on and below
/// 1e-4.
pub(crate) fn format_shortest(value: f64) -> String {
    if !value.is_finite() {
        return special(value);
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..21).contains(&exponent) {
        return with_exponent(digits, exponent);
    }
    format!("{value}")
}

fn with_exponent(digits: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

fn special(value: f64) -> String {
    if value.is_nan() {
        "NaN".into()
    } else if value > 0.0 {
        "+Inf".into()
    } else {
        "-Inf".into()
    }
}

#[cfg(test)]
mod tests {
    use super::{format_general, format_shortest};

    #[test]
    fn general() {
        for (value, precision, text) in [
            (1.0, 4, "1"),
            (1.2345678, 4, "1.235"),
            (999.96, 4, "1000"),
            (99999.0, 4, "1e+05"),
            (0.00001, 3, "1e-05"),
            (123.0, 3, "123"),
        ] {
            assert_eq!(format_general(value, precision), text);
        }
        assert_eq!(format_shortest(1e21), "1e+21");
        assert_eq!(format_shortest(100.0), "100");
        assert_eq!(format_shortest(0.1), "0.1");
    }
}
