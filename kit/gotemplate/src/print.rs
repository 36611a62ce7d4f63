//! Printing as Go's fmt does: `%v` of values and `Printf`.

use crate::number::{format_general, format_shortest};
use crate::value::Value;

/// What an action prints.
pub(crate) fn printed(value: &Value) -> String {
    match value {
        Value::Nil => "<no value>".into(),
        value => plain(value),
    }
}

/// `%v`.
pub(crate) fn plain(value: &Value) -> String {
    let mut out = String::new();
    write_plain(&mut out, value);
    out
}

fn write_plain(out: &mut String, value: &Value) {
    match value {
        Value::Nil | Value::Lookup(_) => out.push_str("<nil>"),
        Value::Null(shown) => out.push_str(shown),
        Value::Omitted(value) | Value::Named(_, value) => write_plain(out, value),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => out.push_str(&value.to_string()),
        Value::Float(value) => out.push_str(&format_shortest(*value)),
        Value::Text(value) => out.push_str(value),
        Value::List(values) => {
            out.push('[');
            for (n, value) in values.iter().enumerate() {
                if n > 0 {
                    out.push(' ');
                }
                write_plain(out, value);
            }
            out.push(']');
        }
        Value::Map(entries) => {
            let mut sorted: Vec<_> = entries.iter().collect();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            out.push_str("map[");
            for (n, (key, value)) in sorted.into_iter().enumerate() {
                if n > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                write_plain(out, value);
            }
            out.push(']');
        }
        Value::Struct(_, fields) => {
            out.push('{');
            let fields = fields
                .iter()
                .filter(|(_, value)| !matches!(value, Value::Lookup(_)));
            for (n, (_, value)) in fields.enumerate() {
                if n > 0 {
                    out.push(' ');
                }
                write_plain(out, value);
            }
            out.push('}');
        }
    }
}

/// `fmt.Sprint`: spaces between operands when neither is a text.
pub(crate) fn sprint(values: &[Value]) -> String {
    let mut out = String::new();
    for (n, value) in values.iter().enumerate() {
        let text = |value: &Value| matches!(value, Value::Text(_));
        if n > 0 && !text(value) && !text(&values[n - 1]) {
            out.push(' ');
        }
        write_plain(&mut out, value);
    }
    out
}

/// `fmt.Sprintln`.
pub(crate) fn sprintln(values: &[Value]) -> String {
    let parts: Vec<String> = values.iter().map(plain).collect();
    format!("{}\n", parts.join(" "))
}

/// Flags, width and precision of one verb.
#[derive(Debug, Default)]
struct Verb {
    minus: bool,
    plus: bool,
    zero: bool,
    space: bool,
    sharp: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Longest padding that is written.
const WIDTH_LIMIT: usize = 1_000_000;

/// `fmt.Sprintf`.
pub(crate) fn sprintf(format: &str, values: &[Value]) -> String {
    let mut out = String::new();
    let mut next = values.iter();
    let mut rest = format.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut verb = Verb::default();
        while let Some(flag) = rest.peek() {
            match flag {
                '-' => verb.minus = true,
                '+' => verb.plus = true,
                '0' => verb.zero = true,
                ' ' => verb.space = true,
                '#' => verb.sharp = true,
                _ => break,
            }
            rest.next();
        }
        verb.width = measure(&mut rest, &mut next);
        if rest.peek() == Some(&'.') {
            rest.next();
            verb.precision = Some(measure(&mut rest, &mut next).unwrap_or(0));
        }
        match rest.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(letter) => match next.next() {
                None => out.push_str(&format!("%!{letter}(MISSING)")),
                Some(value) => out.push_str(&formatted(&verb, letter, value)),
            },
        }
    }
    let extra: Vec<String> = next
        .map(|value| format!("{}={}", value.type_name(), plain(value)))
        .collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

fn measure<'a>(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    next: &mut impl Iterator<Item = &'a Value>,
) -> Option<usize> {
    if rest.peek() == Some(&'*') {
        rest.next();
        return match next.next() {
            Some(Value::Int(n)) => usize::try_from(*n).ok().map(|n| n.min(WIDTH_LIMIT)),
            _ => None,
        };
    }
    let mut width = None;
    while let Some(digit) = rest.peek().and_then(|c| c.to_digit(10)) {
        rest.next();
        let so_far: usize = width.unwrap_or(0);
        width = Some((so_far * 10 + digit as usize).min(WIDTH_LIMIT));
    }
    width
}

fn formatted(verb: &Verb, letter: char, value: &Value) -> String {
    let text = match (letter, value) {
        ('v', Value::Int(n)) => signed(verb, n.to_string()),
        ('v', _) => plain(value),
        ('T', _) => value.type_name().to_owned(),
        ('t', Value::Bool(_)) => plain(value),
        ('d', Value::Int(n)) => signed(verb, n.to_string()),
        ('x', Value::Int(n)) => prefixed(verb, "0x", format!("{n:x}")),
        ('X', Value::Int(n)) => prefixed(verb, "0X", format!("{n:X}")),
        ('o', Value::Int(n)) => prefixed(verb, "0", format!("{n:o}")),
        ('b', Value::Int(n)) => format!("{n:b}"),
        ('c', Value::Int(n)) => u32::try_from(*n)
            .ok()
            .and_then(char::from_u32)
            .unwrap_or('\u{fffd}')
            .to_string(),
        ('q', Value::Text(text)) => format!("{text:?}"),
        ('s', Value::Text(text)) => truncated(verb, text),
        ('x', Value::Text(text)) => text.bytes().map(|b| format!("{b:02x}")).collect(),
        ('X', Value::Text(text)) => text.bytes().map(|b| format!("{b:02X}")).collect(),
        ('s', Value::List(_) | Value::Map(_) | Value::Struct(..)) => plain(value),
        ('f' | 'F', Value::Float(x)) => {
            signed(verb, format!("{x:.*}", verb.precision.unwrap_or(6)))
        }
        ('e', Value::Float(x)) => exponent(*x, verb.precision.unwrap_or(6)),
        ('g', Value::Float(x)) => match verb.precision {
            Some(precision) => format_general(*x, precision),
            None => format_shortest(*x),
        },
        (_, Value::Nil) => format!("%!{letter}(<nil>)"),
        _ => format!("%!{letter}({}={})", value.type_name(), plain(value)),
    };
    padded(verb, text, letter)
}

fn exponent(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

fn signed(verb: &Verb, text: String) -> String {
    if text.starts_with('-') {
        text
    } else if verb.plus {
        format!("+{text}")
    } else if verb.space {
        format!(" {text}")
    } else {
        text
    }
}

fn prefixed(verb: &Verb, prefix: &str, text: String) -> String {
    if verb.sharp {
        format!("{prefix}{text}")
    } else {
        text
    }
}

fn truncated(verb: &Verb, text: &str) -> String {
    match verb.precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text.to_owned(),
    }
}

fn padded(verb: &Verb, text: String, letter: char) -> String {
    let missing = verb.width.unwrap_or(0).saturating_sub(text.chars().count());
    if missing == 0 {
        return text;
    }
    if verb.minus {
        return format!("{text}{}", " ".repeat(missing));
    }
    if verb.zero && !matches!(letter, 's' | 'q' | 'T') {
        let (sign, digits) = match text.strip_prefix(['-', '+']) {
            Some(digits) => (&text[..1], digits),
            None => ("", text.as_str()),
        };
        return format!("{sign}{}{digits}", "0".repeat(missing));
    }
    format!("{}{text}", " ".repeat(missing))
}
