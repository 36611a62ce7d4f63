//! Words of Dockerfile instructions: quotes, escapes, variables.

use std::collections::BTreeMap;

use crate::{Error, Result};

/// Variables that may be used.
pub(super) type Variables = BTreeMap<String, String>;

/// Splits at white space outside quotes; the words keep their quotes.
pub(super) fn split(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (_, '\\') if quote != Some('\'') => {
                word.push(c);
                word.extend(chars.next());
                continue;
            }
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, c) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
    if let Some(quote) = quote {
        return Err(Error::invalid(format!(
            "unexpected end of statement while looking for matching {}",
            if quote == '"' {
                "double-quote"
            } else {
                "single-quote"
            }
        )));
    }
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

/// Takes quotes and escapes away and puts variables in: `$X`, `${X}`, `${X:-y}`, `${X:+y}`.
pub(super) fn expand(text: &str, variables: &Variables) -> Result<String> {
    let mut out = String::new();
    let mut quote = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match (quote, c) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (Some('\''), c) => out.push(c),
            (None, '"' | '\'') => quote = Some(c),
            (_, '\\') => {
                let Some(next) = rest.chars().next() else {
                    out.push(c);
                    break;
                };
                rest = &rest[next.len_utf8()..];
                // Within double quotes only these are special.
                if quote == Some('"') && !matches!(next, '"' | '$' | '\\') {
                    out.push(c);
                }
                out.push(next);
            }
            (_, '$') => rest = variable(rest, variables, &mut out)?,
            (_, c) => out.push(c),
        }
    }
    Ok(out)
}

/// After `$`: writes the value, answers what follows.
fn variable<'a>(rest: &'a str, variables: &Variables, out: &mut String) -> Result<&'a str> {
    let named = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let Some(braced) = rest.strip_prefix('{') else {
        let end = rest.find(|c| !named(c)).unwrap_or(rest.len());
        match &rest[..end] {
            "" => out.push('$'),
            name => out.push_str(variables.get(name).map_or("", String::as_str)),
        }
        return Ok(&rest[end..]);
    };
    let bad = || Error::invalid(format!("syntax error: bad substitution in ${rest:?}"));
    let (inside, after) = braced.split_once('}').ok_or_else(bad)?;
    let end = inside.find(|c| !named(c)).unwrap_or(inside.len());
    let (name, modifier) = inside.split_at(end);
    if name.is_empty() {
        return Err(bad());
    }
    let value = variables.get(name).map_or("", String::as_str);
    match modifier {
        "" => out.push_str(value),
        modifier => match (modifier.get(..2), modifier.get(2..)) {
            (Some(":-"), Some(other)) => out.push_str(if value.is_empty() { other } else { value }),
            (Some(":+"), Some(other)) => out.push_str(if value.is_empty() { "" } else { other }),
            _ => return Err(bad()),
        },
    }
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::{Variables, expand, split};

    #[test]
    fn words() {
        let words = split(r#"a="b c" d\ e 'f "g' "#).expect("words");
        assert_eq!(words, [r#"a="b c""#, r"d\ e", r#"'f "g'"#]);
        assert!(split("a \"b").is_err());
    }

    #[test]
    fn expansion() {
        let variables: Variables = [("X".to_owned(), "1".to_owned())].into();
        for (text, want) in [
            ("$X-${X}$Y", "1-1"),
            ("'$X' \"$X\"", "$X 1"),
            (r"\$X a\ b", "$X a b"),
            ("${Y:-no}${X:+yes}", "noyes"),
            (r#""a\nb""#, r"a\nb"),
            ("$", "$"),
        ] {
            assert_eq!(expand(text, &variables).expect(text), want, "{text}");
        }
        assert!(expand("${X", &variables).is_err());
        assert!(expand("${X:?}", &variables).is_err());
    }
}
