//! Values written as text: `uint64 5`, `['a', 'b']`, `@as []`, `{'key': <true>}` (the GVariant text
//! format, without maybe types and format strings).

use crate::signature::{self, first};
use crate::{Error, Result, Value};

/// Levels of nesting in a text.
const DEPTH: u32 = 32;
/// Longest text.
const LONGEST: usize = 64 << 10;

/// Reads one value. Numbers without a type are `i`, with a point or an exponent `d`.
pub fn from_text(text: &str) -> Result<Value> {
    if text.len() > LONGEST {
        return Err(Error::Text("value too long".into()));
    }
    let mut scanner = Scanner { text, at: 0 };
    let term = scanner.term(0)?;
    scanner.spaces();
    if !scanner.rest().is_empty() {
        return Err(scanner.unexpected());
    }
    let kind = infer(&term)?;
    build(&term, &kind)
}

/// What is written, before its type is known.
#[derive(Debug)]
enum Term {
    Bool(bool),
    Number(String),
    Text(String),
    Bytes(Vec<u8>),
    Array(Vec<Term>),
    Dictionary(Vec<(Term, Term)>),
    Tuple(Vec<Term>),
    Variant(Box<Term>),
    Typed(String, Box<Term>),
}

const NAMES: [(&str, &str); 12] = [
    ("boolean", "b"),
    ("byte", "y"),
    ("int16", "n"),
    ("uint16", "q"),
    ("int32", "i"),
    ("uint32", "u"),
    ("int64", "x"),
    ("uint64", "t"),
    ("double", "d"),
    ("string", "s"),
    ("objectpath", "o"),
    ("signature", "g"),
];

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl Scanner<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn spaces(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn unexpected(&self) -> Error {
        let what = match self.rest().chars().next() {
            Some(c) => format!("unexpected {c:?} at byte {}", self.at),
            None => "unexpected end of text".into(),
        };
        Error::Text(what)
    }

    /// Takes this after spaces, when it is there.
    fn takes(&mut self, what: char) -> bool {
        self.spaces();
        let found = self.rest().starts_with(what);
        if found {
            self.at += what.len_utf8();
        }
        found
    }

    fn needs(&mut self, what: char) -> Result<()> {
        match self.takes(what) {
            true => Ok(()),
            false => Err(self.unexpected()),
        }
    }

    fn word(&mut self) -> String {
        let rest = self.rest();
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-' | '_')))
            .unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or_default().to_owned();
        self.at += end;
        word
    }

    fn term(&mut self, depth: u32) -> Result<Term> {
        if depth > DEPTH {
            return Err(Error::Text("value nested too deeply".into()));
        }
        self.spaces();
        let rest = self.rest();
        if rest.starts_with("b'") || rest.starts_with("b\"") {
            self.at += 1;
            let mut bytes = self.quoted()?.into_bytes();
            bytes.push(0);
            return Ok(Term::Bytes(bytes));
        }
        match rest.chars().next() {
            Some('\'' | '"') => self.quoted().map(Term::Text),
            Some('[') => {
                self.at += 1;
                self.list(']', depth).map(Term::Array)
            }
            Some('(') => {
                self.at += 1;
                self.list(')', depth).map(Term::Tuple)
            }
            Some('<') => {
                self.at += 1;
                let inner = self.term(depth + 1)?;
                self.needs('>')?;
                Ok(Term::Variant(Box::new(inner)))
            }
            Some('{') => {
                self.at += 1;
                self.dictionary(depth)
            }
            Some('@') => {
                self.at += 1;
                let rest = self.rest();
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                let kind = rest.get(..end).unwrap_or_default().to_owned();
                if !signature::single(&kind) {
                    return Err(Error::Text(format!("invalid type {kind:?}")));
                }
                self.at += end;
                Ok(Term::Typed(kind, Box::new(self.term(depth + 1)?)))
            }
            Some(c) if c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.') => {
                self.named(depth)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn named(&mut self, depth: u32) -> Result<Term> {
        let start = self.at;
        let word = self.word();
        if let Some((_, kind)) = NAMES.iter().find(|(name, _)| *name == word) {
            let inner = self.term(depth + 1)?;
            return Ok(Term::Typed((*kind).to_owned(), Box::new(inner)));
        }
        match word.as_str() {
            "true" => Ok(Term::Bool(true)),
            "false" => Ok(Term::Bool(false)),
            word if word.contains(|c: char| c.is_ascii_digit()) || word.ends_with("inf") => {
                Ok(Term::Number(word.to_owned()))
            }
            _ => {
                self.at = start;
                Err(self.unexpected())
            }
        }
    }

    fn list(&mut self, end: char, depth: u32) -> Result<Vec<Term>> {
        let mut terms = Vec::new();
        while !self.takes(end) {
            terms.push(self.term(depth + 1)?);
            if !self.takes(',') {
                self.needs(end)?;
                break;
            }
        }
        Ok(terms)
    }

    fn dictionary(&mut self, depth: u32) -> Result<Term> {
        let mut entries = Vec::new();
        while !self.takes('}') {
            let key = self.term(depth + 1)?;
            self.needs(':')?;
            entries.push((key, self.term(depth + 1)?));
            if !self.takes(',') {
                self.needs('}')?;
                break;
            }
        }
        Ok(Term::Dictionary(entries))
    }

    fn quoted(&mut self) -> Result<String> {
        let mut chars = self.rest().char_indices();
        let quote = chars.next().map(|(_, c)| c);
        let mut out = String::new();
        while let Some((at, c)) = chars.next() {
            if Some(c) == quote {
                self.at += at + c.len_utf8();
                return Ok(out);
            }
            if c != '\\' {
                out.push(c);
                continue;
            }
            let Some((_, c)) = chars.next() else {
                break;
            };
            let digits = match c {
                'u' => 4,
                'U' => 8,
                _ => {
                    out.push(escape(c));
                    continue;
                }
            };
            let code: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
            let code = u32::from_str_radix(&code, 16).ok();
            match code.and_then(char::from_u32).filter(|c| *c != '\0') {
                Some(c) => out.push(c),
                None => return Err(Error::Text("invalid escape in string".into())),
            }
        }
        Err(Error::Text("string without an end".into()))
    }
}

fn escape(c: char) -> char {
    match c {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        c => c,
    }
}

/// The signature of what is written.
fn infer(term: &Term) -> Result<String> {
    Ok(match term {
        Term::Bool(_) => "b".into(),
        Term::Number(text) if is_double(text) => "d".into(),
        Term::Number(_) => "i".into(),
        Term::Text(_) => "s".into(),
        Term::Bytes(_) => "ay".into(),
        Term::Variant(_) => "v".into(),
        Term::Typed(kind, _) => kind.clone(),
        Term::Tuple(terms) if terms.is_empty() => {
            return Err(Error::Text("empty tuple".into()));
        }
        Term::Tuple(terms) => {
            let fields: Vec<String> = terms.iter().map(infer).collect::<Result<_>>()?;
            format!("({})", fields.concat())
        }
        Term::Array(terms) => format!("a{}", common(terms.iter())?),
        Term::Dictionary(entries) => {
            let key = common(entries.iter().map(|(k, _)| k))?;
            format!("a{{{key}{}}}", common(entries.iter().map(|(_, v)| v))?)
        }
    })
}

/// The type of the elements: what one of them says, or what all are by default.
fn common<'a>(terms: impl Iterator<Item = &'a Term> + Clone) -> Result<String> {
    let said = terms.clone().find(|t| matches!(t, Term::Typed(..)));
    let double = terms
        .clone()
        .find(|t| matches!(t, Term::Number(n) if is_double(n)));
    match said.or(double).or(terms.clone().next()) {
        Some(term) => infer(term),
        None => Err(Error::Text("empty array without a type".into())),
    }
}

fn is_double(text: &str) -> bool {
    let hexadecimal = text.trim_start_matches(['+', '-']).starts_with("0x");
    text.ends_with("inf") || (!hexadecimal && text.contains(['.', 'e', 'E']))
}

fn build(term: &Term, kind: &str) -> Result<Value> {
    let wrong = || Error::Text(format!("value is not of type {kind:?}"));
    let inside = kind.get(1..).unwrap_or_default();
    Ok(match term {
        Term::Typed(own, inner) if own == kind => build(inner, kind)?,
        Term::Bool(v) if kind == "b" => Value::Bool(*v),
        Term::Number(text) => number(text, kind)
            .ok_or_else(|| Error::Text(format!("{text:?} is not a number of type {kind:?}")))?,
        Term::Text(text) => match kind {
            "s" => Value::Text(text.clone()),
            "o" if crate::value::valid_path(text) => Value::Path(text.clone()),
            "g" if signature::valid(text) => Value::Signature(text.clone()),
            _ => return Err(wrong()),
        },
        Term::Bytes(bytes) if kind == "ay" => Value::Bytes(bytes.clone()),
        Term::Variant(inner) if kind == "v" => {
            Value::Variant(Box::new(build(inner, &infer(inner)?)?))
        }
        Term::Tuple(terms) if kind.starts_with('(') => {
            let mut kinds = kind.get(1..kind.len() - 1).unwrap_or_default();
            let mut fields = Vec::new();
            for term in terms {
                let n = first(kinds.as_bytes()).map_err(|_| wrong())?;
                let (one, more) = kinds.split_at_checked(n).ok_or_else(wrong)?;
                fields.push(build(term, one)?);
                kinds = more;
            }
            match kinds.is_empty() && !fields.is_empty() {
                true => Value::Struct(fields),
                false => return Err(wrong()),
            }
        }
        Term::Array(terms) if kind == "ay" => {
            let bytes = terms.iter().map(|t| match build(t, "y")? {
                Value::Byte(byte) => Ok(byte),
                _ => Err(wrong()),
            });
            Value::Bytes(bytes.collect::<Result<_>>()?)
        }
        Term::Array(terms) if kind.starts_with('a') && !inside.starts_with('{') => {
            let values = terms.iter().map(|t| build(t, inside));
            Value::Array(inside.to_owned(), values.collect::<Result<_>>()?)
        }
        Term::Dictionary(entries) if inside.starts_with('{') => {
            let key = inside.get(1..2).ok_or_else(wrong)?;
            let value = inside.get(2..inside.len() - 1).ok_or_else(wrong)?;
            if !signature::single(kind) {
                return Err(wrong());
            }
            let entries = entries
                .iter()
                .map(|(k, v)| Ok(Value::Entry(Box::new((build(k, key)?, build(v, value)?)))));
            Value::Array(inside.to_owned(), entries.collect::<Result<_>>()?)
        }
        _ => return Err(wrong()),
    })
}

/// Decimal, 0x hexadecimal, or octal by a 0 in front.
fn number(text: &str, kind: &str) -> Option<Value> {
    if kind == "d" {
        return text.parse().ok().map(Value::Double);
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, radix) = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (digits, 8),
        None => (digits, 10),
    };
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let size = i128::from_str_radix(digits, radix).ok()?;
    let n = if negative { -size } else { size };
    Some(match kind {
        "y" => Value::Byte(n.try_into().ok()?),
        "n" => Value::I16(n.try_into().ok()?),
        "q" => Value::U16(n.try_into().ok()?),
        "i" => Value::I32(n.try_into().ok()?),
        "u" => Value::U32(n.try_into().ok()?),
        "x" => Value::I64(n.try_into().ok()?),
        "t" => Value::U64(n.try_into().ok()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forms() {
        let cases = [
            ("true", Value::Bool(true)),
            ("5", Value::I32(5)),
            ("-0x10", Value::I32(-16)),
            ("017", Value::I32(15)),
            ("uint64 5000000000", Value::U64(5_000_000_000)),
            ("@t 7", Value::U64(7)),
            ("byte 255", Value::Byte(255)),
            ("1.5", Value::Double(1.5)),
            ("'a\\n\\u00e4'", Value::Text("a\nä".into())),
            ("\"it's\"", Value::Text("it's".into())),
            ("objectpath '/a/b'", Value::Path("/a/b".into())),
            ("b'ab'", Value::Bytes(b"ab\0".to_vec())),
            ("[byte 1, 2]", Value::Bytes(vec![1, 2])),
            ("@ay []", Value::Bytes(vec![])),
            ("['CAP_CHOWN', 'x',]", Value::texts(["CAP_CHOWN", "x"])),
            ("@as []", Value::texts([])),
            ("<3>", Value::Variant(Box::new(Value::I32(3)))),
            (
                "[1, uint16 2]",
                Value::Array("q".into(), vec![Value::U16(1), Value::U16(2)]),
            ),
            (
                "('a', uint32 1)",
                Value::Struct(vec!["a".into(), Value::U32(1)]),
            ),
            (
                "{'k': <true>}",
                Value::Array(
                    "{sv}".into(),
                    vec![Value::Entry(Box::new(("k".into(), Value::variant(true))))],
                ),
            ),
            ("@a{si} {}", Value::Array("{si}".into(), vec![])),
        ];
        for (text, value) in cases {
            assert_eq!(from_text(text).unwrap(), value, "{text}");
        }
    }

    #[test]
    fn mistakes() {
        for text in [
            "",
            "[]",
            "()",
            "{}",
            "'a",
            "a",
            "5 6",
            "byte 256",
            "uint64 -1",
            "@x",
            "@ 5",
            "<5",
            "[1, 'a']",
            "objectpath 'a'",
            "{1}",
            "@(s) ('a', 'b')",
            "[1 2]",
            "--5",
            "'\\u0000'",
        ] {
            assert!(from_text(text).is_err(), "{text}");
        }
        assert!(from_text(&"<".repeat(1000)).is_err());
    }

    proptest! {
        #[test]
        fn what_is_read_can_be_sent(text in "[@<>\\[\\](){}a-v0-9 ',:.-]{0,30}") {
            if let Ok(value) = from_text(&text) {
                prop_assert!(signature::single(&value.signature()));
                prop_assert!(value.write(&mut Vec::new()).is_ok());
            }
        }
    }
}
