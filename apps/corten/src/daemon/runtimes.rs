//! `--add-runtime` and `runtimes` of daemon.json: OCI runtimes with runc's command line.

use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use engine::{BUILT_IN_RUNTIMES, Runtime};
use serde::Deserialize;
use serde_json::Value;

/// A runtime in daemon.json.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Entry {
    path: String,
    #[serde(rename = "runtimeArgs")]
    args: Vec<String>,
    #[serde(rename = "runtimeType")]
    kind: String,
    options: Option<Value>,
}

/// The file's object as values of the flag: `name=path`, or `name={…}` with the file's own words.
pub(super) fn as_flags(key: &str, value: &Value) -> Result<Vec<String>> {
    let Value::Object(runtimes) = value else {
        bail!("{key}: unexpected value {value}");
    };
    Ok(runtimes
        .iter()
        .map(|(name, entry)| format!("{name}={entry}"))
        .collect())
}

/// All runtimes by name, and that the default one is there.
pub(super) fn read(values: &[String], default: &str) -> Result<dockerapi::Map<Runtime>> {
    let mut runtimes = dockerapi::Map::new();
    for value in values {
        let (name, runtime) = one(value)?;
        if name == "runc" || name == "corten" {
            bail!("runtime name '{name}' is reserved");
        }
        if runtimes.insert(name.clone(), runtime).is_some() {
            bail!("runtime '{name}' was already defined");
        }
    }
    if !runtimes.contains_key(default) && !BUILT_IN_RUNTIMES.contains(&default) {
        bail!("specified default runtime '{default}' does not exist");
    }
    Ok(runtimes)
}

fn one(value: &str) -> Result<(String, Runtime)> {
    let invalid = || anyhow!("invalid runtime argument: {value}");
    let (name, text) = value.split_once('=').ok_or_else(invalid)?;
    let (name, text) = (name.trim(), text.trim());
    if name.is_empty() || text.is_empty() {
        return Err(invalid());
    }
    if !text.starts_with('{') {
        let runtime = Runtime {
            path: PathBuf::from(text),
            args: Vec::new(),
        };
        return Ok((name.to_lowercase(), runtime));
    }
    let entry: Entry =
        serde_json::from_str(text).map_err(|error| anyhow!("runtime {name}: {error}"))?;
    if entry.path.is_empty() && entry.kind.is_empty() {
        bail!("runtime {name}: either a runtimeType or a path must be configured");
    }
    if !entry.path.is_empty() && !entry.kind.is_empty() {
        bail!("runtime {name}: cannot configure both path and runtimeType for the same runtime");
    }
    if !entry.kind.is_empty() {
        bail!(
            "runtime {name}: runtimeType {:?} is not supported: containers have no shims, only \
             runtimes by path",
            entry.kind
        );
    }
    if entry
        .options
        .is_some_and(|options| options != Value::Object(serde_json::Map::new()))
    {
        bail!("runtime {name}: options cannot be used with a path runtime");
    }
    let runtime = Runtime {
        path: entry.path.into(),
        args: entry.args,
    };
    Ok((name.to_owned(), runtime))
}

#[cfg(test)]
mod tests {
    use super::{as_flags, read};

    #[test]
    fn flags_and_file() {
        let file = serde_json::json!({"kata": {"path": "/k", "runtimeArgs": ["--debug"]}});
        let mut values = as_flags("runtimes", &file).expect("an object");
        values.push("Crun=/usr/bin/crun".into());
        let runtimes = read(&values, "crun").expect("both");
        assert_eq!(runtimes["kata"].args, ["--debug"]);
        assert_eq!(runtimes["crun"].path.to_str(), Some("/usr/bin/crun"));
    }

    #[test]
    fn refused() {
        for (value, text) in [
            ("x", "invalid runtime argument: x"),
            ("=x", "invalid runtime argument: =x"),
            ("x=", "invalid runtime argument: x="),
            ("runc=/x", "runtime name 'runc' is reserved"),
            (
                r#"x={"path":"/x","runtimeType":"y"}"#,
                "cannot configure both",
            ),
            (
                r#"x={"runtimeType":"io.y.v2"}"#,
                "runtimeType \"io.y.v2\" is not supported",
            ),
            ("x={}", "either a runtimeType or a path"),
            (
                r#"x={"path":"/x","options":{"a":1}}"#,
                "options cannot be used",
            ),
            (r#"x={"path":"/x","more":1}"#, "unknown field"),
        ] {
            let error = read(&[value.into()], "runc").expect_err(value).to_string();
            assert!(error.contains(text), "{value}: {error}");
        }
        let twice = ["a=/x".to_owned(), "a=/y".to_owned()];
        let error = read(&twice, "runc").expect_err("twice").to_string();
        assert_eq!(error, "runtime 'a' was already defined");
        let error = read(&[], "crun").expect_err("missing").to_string();
        assert_eq!(error, "specified default runtime 'crun' does not exist");
    }
}
