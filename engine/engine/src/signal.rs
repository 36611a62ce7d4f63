//! Signals by name and number, as Docker reads them.

use crate::{Error, Result};

const NAMES: [(&str, i32); 36] = [
    ("ABRT", 6),
    ("ALRM", 14),
    ("BUS", 7),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("FPE", 8),
    ("HUP", 1),
    ("ILL", 4),
    ("INT", 2),
    ("IO", 29),
    ("IOT", 6),
    ("KILL", 9),
    ("PIPE", 13),
    ("POLL", 29),
    ("PROF", 27),
    ("PWR", 30),
    ("QUIT", 3),
    ("SEGV", 11),
    ("STKFLT", 16),
    ("STOP", 19),
    ("SYS", 31),
    ("TERM", 15),
    ("TRAP", 5),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("USR1", 10),
    ("USR2", 12),
    ("VTALRM", 26),
    ("WINCH", 28),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("RTMIN", 34),
    ("RTMAX", 64),
];

/// SIGKILL.
pub(crate) const KILL: i32 = 9;
/// SIGTERM.
pub(crate) const TERM: i32 = 15;

/// `9`, `KILL`, `sigkill`, `RTMIN+3`, `RTMAX-1` → number.
///
/// # Errors
/// Invalid parameter `invalid signal: x`.
pub(crate) fn parse(text: &str) -> Result<i32> {
    let invalid = || Error::invalid(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) {
            Ok(number)
        } else {
            Err(invalid())
        };
    }
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(name, _)| *name == bare) {
        return Ok(*number);
    }
    let offset = |rest: &str| rest.parse::<i32>().ok().filter(|n| (1..=30).contains(n));
    if let Some(n) = bare.strip_prefix("RTMIN+").and_then(offset) {
        return Ok(34 + n);
    }
    if let Some(n) = bare.strip_prefix("RTMAX-").and_then(offset) {
        return Ok(64 - n);
    }
    Err(invalid())
}

#[cfg(test)]
mod tests {
    #[test]
    fn forms() {
        for (text, want) in [
            ("9", 9),
            ("KILL", 9),
            ("sigterm", 15),
            ("RTMIN+3", 37),
            ("SIGRTMAX-4", 60),
        ] {
            assert_eq!(super::parse(text).expect(text), want);
        }
        for text in ["0", "65", "", "SIG", "FOO", "RTMIN+31", "-9"] {
            assert!(super::parse(text).is_err(), "{text:?}");
        }
    }
}
