//! docker's `config.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::failure::{Failure, Outcome, os_text};

/// The file, with everything it holds: what is not understood is written back as it was.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    root: Map<String, Value>,
}

impl ConfigFile {
    /// Reads `dir/config.json`; absent is empty.
    ///
    /// # Errors
    /// A file that cannot be read or is no JSON object.
    pub(crate) fn load(dir: &Path) -> Outcome<Self> {
        let path = dir.join("config.json");
        let failed = |why: String| {
            Failure::new(format!(
                "Error loading config file: {}: {why}",
                path.display()
            ))
        };
        let root = match std::fs::read(&path) {
            Ok(bytes) if bytes.is_empty() => Map::new(),
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Map::new(),
            Err(error) => return Err(failed(os_text(&error))),
        };
        Ok(Self { path, root })
    }

    /// Directory of the file: `DOCKER_CONFIG`, or `.docker` in the home directory.
    pub(crate) fn default_dir() -> PathBuf {
        if let Some(dir) = std::env::var_os("DOCKER_CONFIG").filter(|dir| !dir.is_empty()) {
            return dir.into();
        }
        std::env::var_os("HOME")
            .map(PathBuf::from)
            .unwrap_or_default()
            .join(".docker")
    }

    /// A text, empty when it is not there.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.root.get(key).and_then(Value::as_str).unwrap_or("")
    }

    /// A map of texts.
    pub(crate) fn map(&self, key: &str) -> BTreeMap<String, String> {
        let Some(Value::Object(map)) = self.root.get(key) else {
            return BTreeMap::new();
        };
        map.iter()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect()
    }

    /// One entry of an object of objects.
    pub(crate) fn entry(&self, key: &str, name: &str) -> Option<&Map<String, Value>> {
        self.root.get(key)?.as_object()?.get(name)?.as_object()
    }

    /// Sets or removes one entry of an object of objects.
    pub(crate) fn set_entry(&mut self, key: &str, name: &str, value: Option<Value>) {
        let object = self
            .root
            .entry(key)
            .or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(object) = object else {
            return;
        };
        match value {
            Some(value) => {
                object.insert(name.to_owned(), value);
            }
            None => {
                object.remove(name);
            }
        }
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the file, readable by its owner alone, in one step.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub(crate) fn save(&self) -> Outcome {
        use std::io::Write as _;
        use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
        let failed = |error: std::io::Error| {
            Failure::new(format!(
                "Error saving credentials: {}: {}",
                self.path.display(),
                os_text(&error)
            ))
        };
        // A link is written through, as users keep the file elsewhere.
        let path = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let dir = path.parent().unwrap_or(Path::new("/"));
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(failed)?;
        let temporary = dir.join(format!(".config.json.{}", std::process::id()));
        let mut text = Vec::new();
        let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut writer = serde_json::Serializer::with_formatter(&mut text, tabs);
        serde::Serialize::serialize(&self.root, &mut writer)
            .map_err(|error| Failure::new(error.to_string()))?;
        let written = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| {
                file.write_all(&text)?;
                file.sync_all()
            })
            .and_then(|()| std::fs::rename(&temporary, &path));
        if let Err(error) = written {
            let _ = std::fs::remove_file(&temporary);
            return Err(failed(error));
        }
        Ok(())
    }
}
