//! Reading `config.json` with errors that name the key they are about.
//!
//! serde_json says "line 1 column 812"; here that offset is walked back to
//! `linux.namespaces[2].path`. A key with the value `null` counts as absent, because encoders of
//! Go, in which most callers are written, print empty lists that way.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Invalid, Process, Spec};

impl Spec {
    /// Reads a `config.json`; unknown keys are ignored (runtime-spec, config.md#extensibility).
    pub fn from_json(text: &[u8]) -> Result<Self, Invalid> {
        let spec: Self = read(text)?;
        match spec.oci_version.is_empty() {
            true => Err(Invalid::new("ociVersion", "is required")),
            false => Ok(spec),
        }
    }
}

impl Process {
    /// Reads one process object, as `exec --process` gives it.
    pub fn from_json(text: &[u8]) -> Result<Self, Invalid> {
        read(text)
    }
}

fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Invalid> {
    let mut value: Value =
        serde_json::from_slice(text).map_err(|e| Invalid::new("", e.to_string()))?;
    if !value.is_object() {
        return Err(Invalid::new("", "is not a JSON object"));
    }
    drop_nulls(&mut value);
    let compact = value.to_string();
    serde_json::from_str(&compact).map_err(|error| {
        let message = error.to_string();
        // The place is told as a key; the position is one in our own rendering.
        let message = message.split(" at line ").next().unwrap_or_default();
        Invalid::new(key_at(&compact, error.column()), message)
    })
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// What the scanner is inside of.
enum Inside {
    /// An object, and the key last read in it.
    Object(String),
    /// An array, and how many items came before.
    Array(usize),
}

/// The key of the value that ends at or after byte `column` of one line of compact, valid JSON.
fn key_at(text: &str, column: usize) -> String {
    let bytes = text.as_bytes();
    let end = column.min(bytes.len());
    let mut stack: Vec<Inside> = Vec::new();
    let (mut at, mut expect_key) = (0, false);
    while at < end {
        match bytes.get(at).copied().unwrap_or_default() {
            b'{' => {
                stack.push(Inside::Object(String::new()));
                expect_key = true;
            }
            b'[' => {
                stack.push(Inside::Array(0));
                expect_key = false;
            }
            b'}' | b']' if at + 1 < end => drop(stack.pop()),
            b',' => match stack.last_mut() {
                Some(Inside::Array(n)) => *n += 1,
                _ => expect_key = true,
            },
            b'"' => {
                let close = string_end(bytes, at);
                if expect_key && let Some(Inside::Object(key)) = stack.last_mut() {
                    let quoted = text.get(at..close).unwrap_or("\"\"");
                    *key = serde_json::from_str(quoted).unwrap_or_default();
                    expect_key = false;
                }
                at = close;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    render(&stack)
}

/// One past the closing quote of the string that opens at `from`.
fn string_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn render(stack: &[Inside]) -> String {
    let mut out = String::new();
    for inside in stack {
        match inside {
            Inside::Object(key) if key.is_empty() => {}
            Inside::Object(key) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(key);
            }
            Inside::Array(n) => out.push_str(&format!("[{n}]")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Spec::from_json(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn errors_name_the_key() {
        let one =
            error(r#"{"ociVersion":"1.3.0","linux":{"namespaces":[{"type":"pid"},{"type":7}]}}"#);
        assert_eq!(
            one,
            "linux.namespaces[1].type: invalid type: integer `7`, expected a string"
        );
        let one = error(r#"{"ociVersion":"1.3.0","process":{"user":{"uid":-1},"cwd":"/"}}"#);
        assert!(one.starts_with("process.user.uid: invalid value"), "{one}");
        let one = error(r#"{"ociVersion":"1.3.0","process":{"args":"sh"}}"#);
        assert!(one.starts_with("process.args: invalid type"), "{one}");
        let one = error(r#"{"ociVersion":"1.3.0","mounts":[{"a\"]}":1,"destination":[]}]}"#);
        assert!(one.starts_with("mounts[0].destination: "), "{one}");
        assert_eq!(error("{}"), "ociVersion: is required");
        assert!(error("{").contains("EOF"));
        assert_eq!(error("[]"), "is not a JSON object");
    }

    #[test]
    fn null_is_absent_and_unknown_is_ignored() {
        let text = r#"{"ociVersion":"1.3.0","mounts":null,"x":{"y":[null]},"hooks":{"poststop":null},
            "process":{"args":["sh"],"cwd":"/","capabilities":{"bounding":null}}}"#;
        let spec = Spec::from_json(text.as_bytes()).unwrap();
        assert_eq!(spec.process.unwrap().args, ["sh"]);
        assert!(spec.mounts.is_empty());
        let process = Process::from_json(br#"{"args":["a"],"cwd":"/","user":{"uid":1}}"#).unwrap();
        assert_eq!(process.user.uid, 1);
    }

    #[test]
    fn whole_range_of_numbers() {
        let text = r#"{"ociVersion":"1.3.0","process":{"cwd":"/","rlimits":
            [{"type":"RLIMIT_CORE","hard":18446744073709551615,"soft":18446744073709551615}]}}"#;
        let spec = Spec::from_json(text.as_bytes()).unwrap();
        assert_eq!(spec.process.unwrap().rlimits[0].hard, u64::MAX);
    }
}
