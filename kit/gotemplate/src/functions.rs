//! Go's built-in functions and docker's own.

use std::cmp::Ordering;
use std::fmt::Write as _;

use crate::print::{plain, printed, sprint, sprintf, sprintln};
use crate::value::Value;

/// Why a call failed.
pub(crate) enum CallError {
    /// `wrong number of args for …`.
    Count(String),
    /// An argument of the wrong type.
    Type(String),
    /// `error calling …`.
    Failed(String),
}

const NAMES: &[&str] = &[
    "and", "call", "eq", "ge", "gt", "html", "index", "join", "js", "json", "le", "len", "lower",
    "lt", "ne", "not", "or", "pad", "print", "printf", "println", "slice", "split", "title",
    "truncate", "upper", "urlquery",
];

/// Whether a function of this name exists.
pub(crate) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

type Result<T = Value> = std::result::Result<T, CallError>;

/// Calls a function; `and` and `or` are evaluated by the caller, as they stop early.
pub(crate) fn call(name: &str, args: &[Value]) -> Result {
    match name {
        "not" => Ok(Value::Bool(!exactly::<1>(name, args)?[0].truth())),
        "eq" => equal_any(args),
        "ne" => {
            let [a, b] = exactly::<2>(name, args)?;
            Ok(Value::Bool(!equal(a, b).map_err(CallError::Failed)?))
        }
        "lt" | "le" | "gt" | "ge" => compare(name, args),
        "html" => Ok(Value::Text(html(&evaluated(args)))),
        "js" => Ok(Value::Text(js(&evaluated(args)))),
        "urlquery" => Ok(Value::Text(urlquery(&evaluated(args)))),
        "index" => index(args),
        "slice" => slice(args),
        "len" => length(exactly::<1>(name, args)?[0]),
        "print" => Ok(Value::Text(sprint(args))),
        "println" => Ok(Value::Text(sprintln(args))),
        "printf" => match args.split_first() {
            Some((format, rest)) => Ok(Value::Text(sprintf(text(format)?, rest))),
            None => Err(count(name, "want at least 1", 0)),
        },
        "call" => Err(CallError::Failed("non-function of type string".into())),
        "json" => Ok(Value::Text(exactly::<1>(name, args)?[0].to_json())),
        "split" => {
            let [all, separator] = exactly::<2>(name, args)?;
            let (all, separator) = (text(all)?, text(separator)?);
            let parts: Vec<Value> = if separator.is_empty() {
                all.chars().map(|c| Value::Text(c.to_string())).collect()
            } else {
                all.split(separator).map(Value::from).collect()
            };
            Ok(Value::List(parts))
        }
        "join" => {
            let [parts, separator] = exactly::<2>(name, args)?;
            let Value::List(parts) = parts else {
                return Err(wrong_type(parts, "[]string"));
            };
            let parts: Vec<String> = parts.iter().map(plain).collect();
            Ok(Value::Text(parts.join(text(separator)?)))
        }
        "title" => Ok(Value::Text(title(text(exactly::<1>(name, args)?[0])?))),
        "lower" => Ok(Value::Text(
            text(exactly::<1>(name, args)?[0])?.to_lowercase(),
        )),
        "upper" => Ok(Value::Text(
            text(exactly::<1>(name, args)?[0])?.to_uppercase(),
        )),
        "pad" => {
            let [source, before, after] = exactly::<3>(name, args)?;
            let source = text(source)?;
            if source.is_empty() {
                return Ok(Value::from(""));
            }
            let (before, after) = (count_of(before)?, count_of(after)?);
            Ok(Value::Text(format!(
                "{}{source}{}",
                " ".repeat(before),
                " ".repeat(after)
            )))
        }
        "truncate" => {
            let [source, length] = exactly::<2>(name, args)?;
            let (source, length) = (text(source)?, count_of(length)?);
            // docker cuts bytes; a cut character is left out whole.
            let end = source.floor_char_boundary(length.min(source.len()));
            Ok(Value::from(&source[..end]))
        }
        _ => Err(CallError::Failed(format!(
            "{name:?} is not a defined function"
        ))),
    }
}

fn exactly<'a, const N: usize>(name: &str, args: &'a [Value]) -> Result<[&'a Value; N]> {
    let all: Vec<&Value> = args.iter().collect();
    let given = all.len();
    all.try_into()
        .map_err(|_| count(name, &format!("want {N}"), given))
}

fn count(name: &str, want: &str, got: usize) -> CallError {
    CallError::Count(format!("wrong number of args for {name}: {want} got {got}"))
}

fn text(value: &Value) -> Result<&str> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(wrong_type(other, "string")),
    }
}

/// A count of characters, bounded.
fn count_of(value: &Value) -> Result<usize> {
    match value {
        Value::Int(n) => Ok(usize::try_from(*n).unwrap_or(0).min(1 << 20)),
        other => Err(wrong_type(other, "int")),
    }
}

fn wrong_type(value: &Value, wanted: &str) -> CallError {
    CallError::Type(match value {
        Value::Nil => format!("invalid value; expected {wanted}"),
        other => format!(
            "wrong type for value; expected {wanted}; got {}",
            other.type_name()
        ),
    })
}

/// One text is taken as it is, everything else as `print` would.
fn evaluated(args: &[Value]) -> String {
    match args {
        [Value::Text(text)] => text.clone(),
        args => {
            let args: Vec<Value> = args
                .iter()
                .map(|value| match value {
                    Value::Nil => Value::Text(printed(value)),
                    other => other.clone(),
                })
                .collect();
            sprint(&args)
        }
    }
}

fn equal_any(args: &[Value]) -> Result {
    let Some((first, others)) = args.split_first() else {
        return Err(count("eq", "want at least 1", 0));
    };
    if others.is_empty() {
        return Err(CallError::Failed("missing argument for comparison".into()));
    }
    for other in others {
        if equal(first, other).map_err(CallError::Failed)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn equal(a: &Value, b: &Value) -> std::result::Result<bool, String> {
    let non_comparable =
        |value: &Value| matches!(value, Value::List(_) | Value::Map(_) | Value::Struct(..));
    match (a, b) {
        (Value::Nil | Value::Null(_), Value::Nil | Value::Null(_)) => Ok(true),
        (Value::Nil | Value::Null(_), _) | (_, Value::Nil | Value::Null(_)) => Ok(false),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Int(a), Value::Int(b)) => Ok(a == b),
        #[allow(clippy::float_cmp, reason = "it is what the template asks")]
        (Value::Float(a), Value::Float(b)) => Ok(a == b),
        (Value::Text(a), Value::Text(b)) => Ok(a == b),
        (a, b) if non_comparable(a) || non_comparable(b) => {
            let culprit = if non_comparable(b) { b } else { a };
            Err(format!(
                "non-comparable type {}: {}",
                plain(culprit),
                culprit.type_name()
            ))
        }
        _ => Err("incompatible types for comparison".into()),
    }
}

fn compare(name: &str, args: &[Value]) -> Result {
    let [a, b] = exactly::<2>(name, args)?;
    let order = match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (
            Value::Int(_) | Value::Text(_) | Value::Float(_),
            Value::Int(_) | Value::Text(_) | Value::Float(_),
        ) => {
            return Err(CallError::Failed(
                "incompatible types for comparison".into(),
            ));
        }
        _ => return Err(CallError::Failed("invalid type for comparison".into())),
    };
    Ok(Value::Bool(match name {
        "lt" => order == Some(Ordering::Less),
        "le" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        "gt" => order == Some(Ordering::Greater),
        _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }))
}

fn index(args: &[Value]) -> Result {
    let Some((item, keys)) = args.split_first() else {
        return Err(count("index", "want at least 1", 0));
    };
    let mut item = item.clone();
    for key in keys {
        item = match (&item, key) {
            (Value::Nil, _) => return Err(CallError::Failed("index of untyped nil".into())),
            (Value::List(values), key) => {
                let at = position(key, values.len().saturating_sub(1))?;
                match values.get(at) {
                    Some(value) => value.clone(),
                    None => {
                        return Err(CallError::Failed(format!("index out of range: {at}")));
                    }
                }
            }
            (Value::Text(text), key) => {
                let at = position(key, text.len().saturating_sub(1))?;
                match text.as_bytes().get(at) {
                    Some(byte) => Value::Int((*byte).into()),
                    None => {
                        return Err(CallError::Failed(format!("index out of range: {at}")));
                    }
                }
            }
            (Value::Map(entries), Value::Text(key)) => entry(entries, key),
            (Value::Null("map[]"), Value::Text(_)) => Value::from(""),
            (Value::Map(_), key) => {
                return Err(CallError::Failed(format!(
                    "value has type {}; should be string",
                    key.type_name()
                )));
            }
            (other, _) => {
                return Err(CallError::Failed(format!(
                    "can't index item of type {}",
                    other.type_name()
                )));
            }
        };
    }
    Ok(item)
}

/// What a map has for a key. A missing one gives the zero of the map's type, and maps of nothing but
/// texts are Go's `map[string]string`.
fn entry(entries: &[(String, Value)], key: &str) -> Value {
    match entries.iter().find(|(name, _)| name == key) {
        Some((_, value)) => value.clone(),
        None if entries.iter().all(|(_, v)| matches!(v, Value::Text(_))) => Value::from(""),
        None => Value::Nil,
    }
}

fn position(key: &Value, limit: usize) -> Result<usize> {
    match key {
        Value::Int(n) => match usize::try_from(*n) {
            Ok(at) if at <= limit => Ok(at),
            _ => Err(CallError::Failed(format!("index out of range: {n}"))),
        },
        Value::Nil => Err(CallError::Failed(
            "cannot index slice/array with nil".into(),
        )),
        other => Err(CallError::Failed(format!(
            "cannot index slice/array with type {}",
            other.type_name()
        ))),
    }
}

fn slice(args: &[Value]) -> Result {
    let Some((item, bounds)) = args.split_first() else {
        return Err(count("slice", "want at least 1", 0));
    };
    if bounds.len() > 3 {
        return Err(CallError::Failed(format!(
            "too many slice indexes: {}",
            bounds.len()
        )));
    }
    let length = match item {
        Value::List(values) => values.len(),
        Value::Text(text) => text.len(),
        Value::Nil => return Err(CallError::Failed("slice of untyped nil".into())),
        other => {
            return Err(CallError::Failed(format!(
                "can't slice item of type {}",
                other.type_name()
            )));
        }
    };
    let from = bounds.first().map_or(Ok(0), |key| position(key, length))?;
    let to = bounds
        .get(1)
        .map_or(Ok(length), |key| position(key, length))?;
    if from > to {
        return Err(CallError::Failed(format!(
            "invalid slice index: {from} > {to}"
        )));
    }
    Ok(match item {
        Value::List(values) => Value::List(values[from..to].to_vec()),
        Value::Text(text) => {
            Value::Text(String::from_utf8_lossy(&text.as_bytes()[from..to]).into_owned())
        }
        _ => Value::Nil,
    })
}

fn length(value: &Value) -> Result {
    let length = match value {
        Value::Text(text) => text.len(),
        Value::List(values) => values.len(),
        Value::Map(entries) => entries.len(),
        Value::Null("[]" | "map[]") => 0,
        Value::Nil | Value::Null(_) => return Err(CallError::Failed("len of nil pointer".into())),
        other => {
            return Err(CallError::Failed(format!(
                "len of type {}",
                other.type_name()
            )));
        }
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

/// The first letter of each word as a capital.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut start = true;
    for c in text.chars() {
        let letter = c.is_alphanumeric() || c == '_';
        if start && letter {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        start = !letter;
    }
    out
}

fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c if u32::from(c) < 0x20 => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

fn urlquery(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            byte => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}
