//! JSON as Go's `json.Indent` lays it out: order, numbers and escapes stay as they were written.

/// The same text without blanks between its parts.
pub(crate) fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut quoted, mut escaped) = (false, false);
    for c in json.chars() {
        if quoted || !c.is_ascii_whitespace() {
            out.push(c);
        }
        (quoted, escaped) = match c {
            '"' if !escaped => (!quoted, false),
            '\\' if quoted => (quoted, !escaped),
            _ => (quoted, false),
        };
    }
    out
}

/// Indents a JSON text; `prefix` begins every line but the first.
pub(crate) fn indent(json: &str, prefix: &str, step: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = 0usize;
    let mut letters = json.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(prefix);
        for _ in 0..depth {
            out.push_str(step);
        }
    };
    while let Some(c) = letters.next() {
        match c {
            '"' => {
                out.push('"');
                let mut escaped = false;
                for c in letters.by_ref() {
                    out.push(c);
                    if escaped {
                        escaped = false;
                    } else if c == '\\' {
                        escaped = true;
                    } else if c == '"' {
                        break;
                    }
                }
            }
            '{' | '[' => {
                out.push(c);
                while letters.next_if(char::is_ascii_whitespace).is_some() {}
                let close = if c == '{' { '}' } else { ']' };
                if letters.next_if_eq(&close).is_some() {
                    out.push(close);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(',');
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{compact, indent};

    #[test]
    fn blanks() {
        assert_eq!(compact("{ \"a \\\" b\" : [1,\n2] }"), r#"{"a \" b":[1,2]}"#);
    }

    #[test]
    fn layout() {
        assert_eq!(
            indent(r#"{"b":[1, 2],"a":{},"c":"x\"{"}"#, "", "    "),
            "{\n    \"b\": [\n        1,\n        2\n    ],\n    \"a\": {},\n    \"c\": \"x\\\"{\"\n}"
        );
    }
}
