//! Signatures: types as text.

use crate::{Error, Result};

/// Levels of containers, variants counted too (the specification: 32 arrays and 32 structs).
pub(crate) const DEPTH: u32 = 64;

/// Length of the first complete type.
pub(crate) fn first(signature: &[u8]) -> Result<usize> {
    one(signature, 0)
}

fn one(signature: &[u8], depth: u32) -> Result<usize> {
    if depth > DEPTH {
        return Err(Error::Malformed("signature nested too deeply"));
    }
    let bad = Err(Error::Malformed("invalid signature"));
    let Some((&code, rest)) = signature.split_first() else {
        return bad;
    };
    match code {
        code if basic(code) || code == b'v' => Ok(1),
        b'a' if rest.first() == Some(&b'{') => {
            let inside = rest.get(1..).unwrap_or_default();
            if !inside.first().is_some_and(|c| basic(*c)) {
                return bad;
            }
            let value = one(inside.get(1..).unwrap_or_default(), depth + 1)?;
            match inside.get(1 + value) {
                Some(b'}') => Ok(1 + 1 + 1 + value + 1),
                _ => bad,
            }
        }
        b'a' => Ok(1 + one(rest, depth + 1)?),
        b'(' => {
            let mut at = 0;
            while rest.get(at) != Some(&b')') {
                at += one(rest.get(at..).unwrap_or_default(), depth + 1)?;
            }
            match at {
                0 => bad,
                at => Ok(1 + at + 1),
            }
        }
        _ => bad,
    }
}

fn basic(code: u8) -> bool {
    matches!(
        code,
        b'y' | b'b' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd' | b's' | b'o' | b'g'
    )
}

/// Zero or more complete types, 255 bytes at most.
pub(crate) fn valid(signature: &str) -> bool {
    let mut rest = signature.as_bytes();
    if rest.len() > 255 {
        return false;
    }
    while !rest.is_empty() {
        match first(rest) {
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(_) => return false,
        }
    }
    true
}

/// Exactly one complete type.
pub(crate) fn single(signature: &str) -> bool {
    signature.len() <= 255 && first(signature.as_bytes()).is_ok_and(|n| n == signature.len())
}

/// What a value of this type is aligned to.
pub(crate) fn alignment(code: u8) -> usize {
    match code {
        b'n' | b'q' => 2,
        b'b' | b'i' | b'u' | b's' | b'o' | b'a' => 4,
        b'x' | b't' | b'd' | b'(' | b'{' => 8,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_types() {
        for good in [
            "",
            "s",
            "a(sv)",
            "a{sv}",
            "aai(ii)v",
            "a{s(ua{yv})}",
            "((i))",
        ] {
            assert!(valid(good), "{good}");
        }
        for bad in [
            "a", "(", "()", "{sv}", "a{vs}", "a{s}", "a{sss}", "z", "(i", "i)",
        ] {
            assert!(!valid(bad), "{bad}");
        }
        assert!(single("a{sv}") && !single("ss") && !single(""));
        assert!(!valid(&format!("{}y", "a".repeat(100))));
    }
}
