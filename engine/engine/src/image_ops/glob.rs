//! Shell patterns as Go's `path.Match` has them: `*` and `?` stop at slashes.

use crate::{Error, Result};

/// Whether the whole text matches.
///
/// # Errors
/// Invalid parameter for a malformed pattern.
pub(super) fn matches(pattern: &str, text: &str) -> Result<bool> {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    check(&pattern)?;
    Ok(wild(&pattern, &text))
}

fn check(pattern: &[char]) -> Result<()> {
    let bad = || Error::invalid("syntax error in pattern");
    let mut rest = pattern;
    while let [first, after @ ..] = rest {
        rest = match first {
            '\\' => after.get(1..).ok_or_else(bad)?,
            '[' => class(after, '\0').ok_or_else(bad)?.1,
            _ => after,
        };
    }
    Ok(())
}

/// Backtracks to the last star only: linear in pattern times text.
fn wild(pattern: &[char], text: &[char]) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    let mut star: Option<(&[char], &[char])> = None;
    loop {
        if let ['*', after @ ..] = pattern {
            star = Some((after, text));
            pattern = after;
            continue;
        }
        if let Some((rest, after)) = one(pattern, text) {
            (pattern, text) = (rest, after);
            continue;
        }
        if pattern.is_empty() && text.is_empty() {
            return true;
        }
        // Let the star take one more.
        match star {
            Some((after, [taken, left @ ..])) if *taken != '/' => {
                star = Some((after, left));
                (pattern, text) = (after, left);
            }
            _ => return false,
        }
    }
}

/// Matches one character; what is left of both.
fn one<'a>(pattern: &'a [char], text: &'a [char]) -> Option<(&'a [char], &'a [char])> {
    let (c, text) = text.split_first()?;
    let (first, after) = pattern.split_first()?;
    let rest = match first {
        '?' if *c != '/' => after,
        '?' => return None,
        '[' => match class(after, *c)? {
            (true, rest) => rest,
            (false, _) => return None,
        },
        '\\' if after.first() == Some(c) => &after[1..],
        '\\' => return None,
        literal if literal == c => after,
        _ => return None,
    };
    Some((rest, text))
}

/// After `[`: whether the character is in the class, and what follows `]`.
fn class(pattern: &[char], c: char) -> Option<(bool, &[char])> {
    let (negated, mut rest) = match pattern {
        ['^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut found = false;
    let mut ranges = 0;
    loop {
        if let [']', after @ ..] = rest
            && ranges > 0
        {
            return Some((found != negated, after));
        }
        let (low, after) = class_character(rest)?;
        let (high, after) = match after {
            ['-', after @ ..] => class_character(after)?,
            _ => (low, after),
        };
        found |= (low..=high).contains(&c);
        ranges += 1;
        rest = after;
    }
}

fn class_character(pattern: &[char]) -> Option<(char, &[char])> {
    match pattern {
        [] | ['-' | ']', ..] => None,
        ['\\', c, rest @ ..] => Some((*c, rest)),
        ['\\'] => None,
        [c, rest @ ..] => Some((*c, rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        for (pattern, text, want) in [
            ("debian*", "debian:latest", true),
            ("*", "a/b", false),
            ("*/*", "a/b:1", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("*a*b*c", "xaxbxc", true),
            ("*a*b*c", "xaxbx", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("\\*x", "*x", true),
            ("", "", true),
            ("abc", "ab", false),
            ("**", "abc", true),
        ] {
            assert_eq!(
                matches(pattern, text).expect(pattern),
                want,
                "{pattern} {text}"
            );
        }
        for bad in ["[", "[]", "[a", "a\\", "[a-]"] {
            assert!(matches(bad, "x").is_err(), "{bad}");
        }
        assert!(!matches(&"*a".repeat(500), &"a".repeat(499)).expect("in time"));
    }
}
