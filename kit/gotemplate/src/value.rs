//! Values: what Go would hold after reading JSON, or a struct with named fields.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

/// A value. Maps and structs keep the order in which they were made; maps are printed and ranged
/// over in key order, as Go does.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// Go's nil, of no type: what is missing.
    #[default]
    Nil,
    /// A nil pointer, slice or map, and how fmt prints it: `<nil>`, `[]`, `map[]`.
    Null(&'static str),
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A text.
    Text(String),
    /// A slice.
    List(Vec<Value>),
    /// A map with text keys.
    Map(Vec<(String, Value)>),
    /// A struct: its Go type's name and its fields. Fields that are missing are errors.
    Struct(&'static str, Vec<(String, Value)>),
    /// A method of one text, called as `{{.Label "name"}}`: what it gives for each text, and an
    /// empty text for all others. Not part of a struct's JSON.
    Lookup(Vec<(String, String)>),
    /// A struct's field that its JSON leaves out, being zero (`omitempty`).
    Omitted(Box<Value>),
    /// A struct's field that has this other name in JSON.
    Named(&'static str, Box<Value>),
}

impl Value {
    /// The entry of a map or the field of a struct.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Map(entries) | Self::Struct(_, entries) => entries
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| match value {
                    Self::Omitted(inner) | Self::Named(_, inner) => &**inner,
                    value => value,
                }),
            _ => None,
        }
    }

    /// Go's truth: neither zero nor empty.
    pub fn truth(&self) -> bool {
        match self {
            Self::Nil | Self::Null(_) => false,
            Self::Omitted(value) | Self::Named(_, value) => value.truth(),
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(value) => !value.is_empty(),
            Self::List(values) => !values.is_empty(),
            Self::Map(entries) => !entries.is_empty(),
            Self::Struct(..) | Self::Lookup(_) => true,
        }
    }

    /// Go's name of its type, as errors show it.
    pub(crate) fn type_name(&self) -> &str {
        match self {
            Self::Nil | Self::Null(_) => "interface {}",
            Self::Omitted(value) | Self::Named(_, value) => value.type_name(),
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
            Self::Struct(name, _) => name,
            Self::Lookup(_) => "func(string) string",
        }
    }

    /// Compact JSON, map keys in order and struct fields as they stand, without HTML escapes.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out);
        out
    }

    fn write_json(&self, out: &mut String) {
        match self {
            Self::Nil | Self::Null(_) | Self::Lookup(_) => out.push_str("null"),
            Self::Omitted(value) | Self::Named(_, value) => value.write_json(out),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Int(value) => out.push_str(&value.to_string()),
            Self::Float(value) => out.push_str(&crate::number::format_shortest(*value)),
            Self::Text(value) => write_text(out, value),
            Self::List(values) => {
                out.push('[');
                for (n, value) in values.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    value.write_json(out);
                }
                out.push(']');
            }
            Self::Map(entries) => {
                let mut sorted: Vec<_> = entries.iter().collect();
                sorted.sort_by(|a, b| a.0.cmp(&b.0));
                write_entries(out, sorted.into_iter());
            }
            Self::Struct(name, entries) => {
                let left_out = |value: &Value| matches!(value, Self::Lookup(_) | Self::Omitted(_));
                let mut text = String::new();
                let fields = entries.iter();
                write_entries(&mut text, fields.filter(|(_, value)| !left_out(value)));
                // docker's rows marshal themselves, by the function that escapes for HTML.
                if name.ends_with("Context") {
                    text = text.replace('&', "\\u0026");
                    text = text.replace('<', "\\u003c").replace('>', "\\u003e");
                }
                out.push_str(&text);
            }
        }
    }
}

fn write_entries<'a>(out: &mut String, entries: impl Iterator<Item = &'a (String, Value)>) {
    out.push('{');
    for (n, (key, value)) in entries.enumerate() {
        if n > 0 {
            out.push(',');
        }
        write_text(
            out,
            if let Value::Named(key, _) = value {
                key
            } else {
                key
            },
        );
        out.push(':');
        value.write_json(out);
    }
    out.push('}');
}

/// As encoding/json without HTML escapes: line separators are escaped, serde leaves them.
fn write_text(out: &mut String, text: &str) {
    let json = serde_json::to_string(text).unwrap_or_default();
    if json.contains(['\u{2028}', '\u{2029}']) {
        out.push_str(
            &json
                .replace('\u{2028}', "\\u2028")
                .replace('\u{2029}', "\\u2029"),
        );
    } else {
        out.push_str(&json);
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<Json> for Value {
    fn from(json: Json) -> Self {
        match json {
            Json::Null => Self::Nil,
            Json::Bool(value) => Self::Bool(value),
            Json::Number(number) => number.as_i64().map_or_else(
                || Self::Float(number.as_f64().unwrap_or_default()),
                Self::Int,
            ),
            Json::String(text) => Self::Text(text),
            Json::Array(values) => Self::List(values.into_iter().map(Self::from).collect()),
            Json::Object(object) => {
                let entries = object.into_iter();
                Self::Map(entries.map(|(key, value)| (key, value.into())).collect())
            }
        }
    }
}

/// Reads JSON with its keys in the order in which they stand.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "beyond i64 only magnitudes are printed"
    )]
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Float(value as f64), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Value::Map(entries))
    }
}
