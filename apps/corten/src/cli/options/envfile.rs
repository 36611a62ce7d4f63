//! `--env`, `--env-file`, `--label`, `--label-file`.

use std::collections::BTreeMap;

/// Variables of the files, then those of the options. A name alone takes its value from this
/// process; where that has none, the variable is left out of files and kept as a bare name in
/// options (which unsets it in the container).
///
/// # Errors
/// docker's text.
pub(crate) fn environment(files: &[String], options: &[String]) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for file in files {
        all.extend(lines(file, |name| std::env::var(name).ok())?);
    }
    for option in options {
        if option.contains('=') {
            all.push(option.clone());
        } else if let Ok(value) = std::env::var(option) {
            all.push(format!("{option}={value}"));
        } else {
            all.push(option.clone());
        }
    }
    Ok(all)
}

/// Labels of the files and of the options; later ones win.
///
/// # Errors
/// docker's text.
pub(crate) fn labels(
    files: &[String],
    options: &[String],
) -> Result<BTreeMap<String, String>, String> {
    let mut all = Vec::new();
    for file in files {
        all.extend(lines(file, |_| Some(String::new()))?);
    }
    all.extend(options.iter().cloned());
    Ok(pairs(&all))
}

/// `key=value` pairs; a key alone has an empty value.
pub(crate) fn pairs(values: &[String]) -> BTreeMap<String, String> {
    values
        .iter()
        .map(|value| value.split_once('=').unwrap_or((value, "")))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// `NAME=value` or `NAME` on each line; `#` starts a comment line.
fn lines(path: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<Vec<String>, String> {
    let bytes = std::fs::read(path)
        .map_err(|error| format!("open {path}: {}", super::super::failure::os_text(&error)))?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut found = Vec::new();
    for (n, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let Ok(line) = std::str::from_utf8(line) else {
            return Err(format!(
                "env file {path} contains invalid utf8 bytes at line {}: {line:?}",
                n + 1
            ));
        };
        let line = line.trim_end_matches('\r').trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (line, None),
        };
        if name.is_empty() {
            return Err(format!("no variable name on line '{line}'"));
        }
        if name.contains([' ', '\t']) {
            return Err(format!("variable '{name}' contains whitespaces"));
        }
        match value {
            Some(value) => found.push(format!("{name}={value}")),
            None => {
                if let Some(value) = lookup(name.trim()) {
                    found.push(format!("{}={value}", name.trim()));
                }
            }
        }
    }
    Ok(found)
}
