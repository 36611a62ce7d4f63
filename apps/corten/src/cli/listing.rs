//! Lists in docker's formats: a table, JSON lines, or a template of one's own.

use gotemplate::{Template, Value};

use super::failure::{Failure, Outcome};
use super::tabwriter;

/// What can be listed of one kind of object.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Go's name of a row's type, which errors show.
    pub(crate) type_name: &'static str,
    /// Fields and their headers.
    pub(crate) headers: &'static [(&'static str, &'static str)],
}

impl Kind {
    /// A row of these fields. Its JSON has them in order, as docker's has.
    pub(crate) fn row(&self, mut fields: Vec<(&'static str, Value)>) -> Value {
        fields.sort_by_key(|(name, _)| *name);
        let fields = fields.into_iter();
        let fields = fields
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        Value::Struct(self.type_name, fields)
    }

    /// The whole list as text.
    ///
    /// # Errors
    /// A template that cannot be parsed or does not fit the rows.
    pub(crate) fn render(&self, format: &str, rows: &[Value]) -> Outcome<String> {
        let (table, body) = split_format(format);
        let template = Template::parse("", &body)
            .map_err(|error| Failure::new(format!("template parsing error: {error}")))?;
        let failed =
            |error: gotemplate::ExecError| Failure::new(format!("template parsing error: {error}"));
        let mut text = String::new();
        if table {
            let headers = self.headers.iter();
            let headers = headers.map(|(name, header)| ((*name).to_owned(), Value::from(*header)));
            let headers = Value::Map(headers.collect());
            text.push_str(&template.execute_header(&headers).map_err(failed)?);
            text.push('\n');
        }
        for row in rows {
            text.push_str(&template.execute(row).map_err(failed)?);
            text.push('\n');
        }
        Ok(if table { tabwriter::align(&text) } else { text })
    }
}

/// Whether a table is wanted, and the template of a row.
fn split_format(format: &str) -> (bool, String) {
    let (table, body) = match format.strip_prefix("table") {
        Some(rest) => (true, rest),
        None => (false, format),
    };
    let body = body.trim_matches(' ');
    let body = match body {
        "json" => "{{json .}}".to_owned(),
        body => body.replace("\\t", "\t").replace("\\n", "\n"),
    };
    (table, body)
}

/// Whether a format is a table of the default columns.
pub(crate) fn is_default_table(format: &str) -> bool {
    matches!(format.trim(), "" | "table")
}

/// A template over one value, as `info`, `version` and `events` use it: `json` is the whole value,
/// `name` the template's in errors.
///
/// # Errors
/// docker's text.
pub(crate) fn template(name: &str, format: &str) -> Outcome<Template> {
    let format = if format == "json" {
        "{{json .}}"
    } else {
        format
    };
    Template::parse(name, format)
        .map_err(|error| Failure::new(format!("template parsing error: {error}")).with_code(64))
}

/// The first 12 digits of an ID, without its algorithm.
pub(crate) fn short_id(id: &str) -> &str {
    let id = id.split_once(':').map_or(id, |(_, hex)| hex);
    id.get(..12).unwrap_or(id)
}

/// At most so many characters, the last of them an ellipsis when something was left out.
pub(crate) fn ellipsis(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    if max == 0 {
        return String::new();
    }
    let kept: String = text.chars().take(max - 1).collect();
    format!("{kept}…")
}

/// Go's `strconv.Quote`.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0b' => out.push_str("\\v"),
            '\x0c' => out.push_str("\\f"),
            c if u32::from(c) < 0x20 || c == '\x7f' => {
                out.push_str(&format!("\\x{:02x}", u32::from(c)));
            }
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
