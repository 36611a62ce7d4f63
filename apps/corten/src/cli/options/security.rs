//! `--security-opt` and `--storage-opt`.

use std::collections::{BTreeMap, BTreeSet};

const ALL: &str = "ALL";

/// `--cap-add` and `--cap-drop` as docker sends them: full names, sorted, each once, and what is
/// added is not dropped.
pub(crate) fn capabilities(
    add: &[String],
    drop: &[String],
) -> (Option<Vec<String>>, Option<Vec<String>>) {
    let (add, mut drop) = (names(add), names(drop));
    drop.retain(|name| !add.contains(name));
    let some =
        |set: BTreeSet<String>| (!set.is_empty()).then(|| set.into_iter().collect::<Vec<String>>());
    (some(add), some(drop))
}

fn names(values: &[String]) -> BTreeSet<String> {
    let full = |value: &String| {
        let upper = value.trim().to_uppercase();
        if upper == ALL || upper == "RESET" || upper.starts_with("CAP_") {
            upper
        } else {
            format!("CAP_{upper}")
        }
    };
    let mut names: BTreeSet<String> = values.iter().map(full).collect();
    // Everything needs nothing beside it.
    if names.contains(ALL) {
        names.retain(|name| name == ALL);
    }
    names
}

/// Options as the API takes them, and whether the paths hidden by default are shown.
///
/// # Errors
/// docker's text.
pub(crate) fn options(values: &[String]) -> Result<(Vec<String>, bool), String> {
    let mut all = Vec::new();
    let mut unconfined_paths = false;
    for value in values {
        if value == "systempaths=unconfined" {
            unconfined_paths = true;
            continue;
        }
        if value == "no-new-privileges" {
            all.push(value.clone());
            continue;
        }
        let pair = value.split_once('=').or_else(|| value.split_once(':'));
        let Some((key, text)) = pair else {
            return Err(format!("Invalid --security-opt: {value:?}"));
        };
        if key == "seccomp" && !matches!(text, "unconfined" | "builtin") {
            all.push(format!("seccomp={}", profile(text)?));
        } else {
            all.push(value.clone());
        }
    }
    Ok((all, unconfined_paths))
}

/// The profile is sent, not its name: the engine may be elsewhere.
fn profile(path: &str) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| {
        format!(
            "opening seccomp profile ({path}) failed: open {path}: {}",
            super::super::failure::os_text(&error)
        )
    })?;
    let value: Box<serde_json::value::RawValue> = serde_json::from_slice(&bytes)
        .map_err(|error| format!("compacting json for seccomp profile ({path}) failed: {error}"))?;
    Ok(compact(value.get()))
}

/// JSON without the space between its parts.
fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut in_text = false;
    let mut escaped = false;
    for c in json.chars() {
        if in_text {
            out.push(c);
            if escaped {
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if c == '"' {
                in_text = false;
            }
        } else if !c.is_ascii_whitespace() {
            in_text = c == '"';
            out.push(c);
        }
    }
    out
}

/// `--storage-opt key=value`.
///
/// # Errors
/// docker's text.
pub(crate) fn storage(values: &[String]) -> Result<BTreeMap<String, String>, String> {
    values
        .iter()
        .map(|value| match value.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err("invalid storage option".to_owned()),
        })
        .collect()
}
