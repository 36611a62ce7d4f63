//! One line of comma-separated values with Go's quoting.

/// Cuts `text` into fields.
///
/// # Errors
/// Go's text.
pub(crate) fn fields(text: &str) -> Result<Vec<String>, String> {
    let error = |column: usize, what: &str| {
        Err(format!(
            "parse error on line 1, column {}: {what}",
            column + 1
        ))
    };
    let bytes = text.as_bytes();
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        if bytes.get(at) != Some(&b'"') {
            let end = text[at..].find(',').map_or(text.len(), |n| at + n);
            if let Some(quote) = text[at..end].find('"') {
                return error(at + quote, "bare \" in non-quoted-field");
            }
            fields.push(text[at..end].to_owned());
            if end == text.len() {
                return Ok(fields);
            }
            at = end + 1;
            continue;
        }
        let mut field = String::new();
        at += 1;
        loop {
            let Some(quote) = text[at..].find('"') else {
                return error(text.len(), "extraneous or missing \" in quoted-field");
            };
            field.push_str(&text[at..at + quote]);
            at += quote + 1;
            match bytes.get(at) {
                Some(b'"') => {
                    field.push('"');
                    at += 1;
                }
                None => {
                    fields.push(field);
                    return Ok(fields);
                }
                Some(b',') => {
                    fields.push(field);
                    at += 1;
                    break;
                }
                Some(_) => return error(at - 1, "extraneous or missing \" in quoted-field"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fields;

    #[test]
    fn quoting() {
        assert_eq!(fields("a,b").expect("valid"), ["a", "b"]);
        assert_eq!(
            fields("\"d=0,1\",c=\"x").expect_err("bare"),
            "parse error on line 1, column 11: bare \" in non-quoted-field"
        );
        assert_eq!(
            fields("\"d=0,1\",\"a\"\"b\"").expect("valid"),
            ["d=0,1", "a\"b"]
        );
        assert_eq!(fields("a,").expect("valid"), ["a", ""]);
        assert!(fields("\"a").is_err());
    }
}
