//! Arguments of the engine's calls that are no bodies of the API.

use std::collections::BTreeMap;

use crate::{Error, Result};

/// `filters=` of list calls: key → values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(pub BTreeMap<String, Vec<String>>);

impl Filters {
    /// From the query's JSON: `{"k":["v"]}` or the legacy `{"k":{"v":true}}`; empty text is none.
    ///
    /// # Errors
    /// Invalid parameter, when it is neither.
    pub fn parse(text: &str) -> Result<Self> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Values {
            List(Vec<String>),
            Set(BTreeMap<String, bool>),
        }
        if text.is_empty() {
            return Ok(Self::default());
        }
        let raw: BTreeMap<String, Values> = serde_json::from_str(text)
            .map_err(|error| Error::invalid(format!("invalid filter: {error}")))?;
        let flat = raw.into_iter().map(|(key, values)| match values {
            Values::List(list) => (key, list),
            Values::Set(set) => (
                key,
                set.into_iter()
                    .filter(|(_, on)| *on)
                    .map(|(v, _)| v)
                    .collect(),
            ),
        });
        Ok(Self(flat.collect()))
    }

    /// Refuses keys that are not among `known`.
    ///
    /// # Errors
    /// Invalid parameter `invalid filter 'x'`.
    pub fn only(&self, known: &[&str]) -> Result<()> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(Error::invalid(format!("invalid filter '{key}'"))),
            None => Ok(()),
        }
    }

    /// Values of a key; empty when it is absent.
    pub fn get(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether the key is present at all.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }
}

/// `GET /containers/json`.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Stopped ones too.
    pub all: bool,
    /// The newest n, stopped ones too.
    pub limit: Option<usize>,
    /// Compute sizes.
    pub size: bool,
    /// Filters.
    pub filters: Filters,
}

/// `GET /system/df`: which kinds are measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskUsageOptions {
    /// Images and their layers.
    pub images: bool,
    /// Containers' writable layers.
    pub containers: bool,
    /// Volumes.
    pub volumes: bool,
    /// What builds keep.
    pub build_cache: bool,
}

/// `DELETE /containers/{id}`.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    /// Kill it first.
    pub force: bool,
    /// Remove its anonymous volumes.
    pub volumes: bool,
}

/// When `wait` answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// As soon as it does not run.
    #[default]
    NotRunning,
    /// At the next end, even if it does not run now.
    NextExit,
    /// When it is removed.
    Removed,
}

/// `POST /containers/{id}/attach`.
#[derive(Debug, Clone, Default)]
pub struct AttachOptions {
    /// Feed stdin.
    pub stdin: bool,
    /// Send stdout.
    pub stdout: bool,
    /// Send stderr.
    pub stderr: bool,
    /// Stay attached; else only `logs`.
    pub stream: bool,
    /// Send what was logged so far first.
    pub logs: bool,
    /// As typed by the user: `ctrl-p,ctrl-q`; `None` means the default.
    pub detach_keys: Option<String>,
    /// Streams are not told apart, terminal or not.
    pub unframed: bool,
}

/// `GET /containers/{id}/logs`.
#[derive(Debug, Clone, Default)]
pub struct LogsOptions {
    /// Go on with new lines.
    pub follow: bool,
    /// Include stdout.
    pub stdout: bool,
    /// Include stderr.
    pub stderr: bool,
    /// Prefix each line with its time.
    pub timestamps: bool,
    /// Prefix with the attributes.
    pub details: bool,
    /// Not before; nanoseconds since 1970.
    pub since: Option<i128>,
    /// Not after.
    pub until: Option<i128>,
    /// Last n lines; `None` is all.
    pub tail: Option<u64>,
    /// Streams are not told apart, terminal or not.
    pub unframed: bool,
}

/// `GET /events`.
#[derive(Debug, Clone, Default)]
pub struct EventsOptions {
    /// Not before; nanoseconds since 1970.
    pub since: Option<i128>,
    /// The stream ends here.
    pub until: Option<i128>,
    /// Filters.
    pub filters: Filters,
}

/// `PUT /containers/{id}/archive`.
#[derive(Debug, Clone, Default)]
pub struct ArchivePut {
    /// Directory to extract into.
    pub path: String,
    /// Refuse to replace a directory by a non-directory and the other way round.
    pub no_overwrite_dir_non_dir: bool,
    /// Keep the archive's owners.
    pub copy_uid_gid: bool,
}

/// `GET /images/json`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ImageListOptions {
    /// Also unnamed parents of others.
    pub all: bool,
    /// What each shares with others is computed.
    pub shared: bool,
    /// With what each image's index lists.
    pub manifests: bool,
}

/// `DELETE /images/{name}`.
#[derive(Debug, Clone, Default)]
pub struct ImageRemoveOptions {
    /// Also when several tags or stopped containers refer to it.
    pub force: bool,
    /// Keep untagged parents.
    pub no_prune: bool,
    /// Only these platforms; none are all.
    pub platforms: Vec<oci::Platform>,
}

/// `POST /images/create?fromSrc=-`.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// `repo[:tag]`.
    pub reference: Option<String>,
    /// Commit message.
    pub message: String,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    /// `os/arch`.
    pub platform: Option<String>,
}

/// `POST /commit`.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// Name or ID of the container.
    pub container: String,
    /// Repository to name the image in; empty gives it no name.
    pub repo: String,
    /// Its tag; empty is `latest`, or what `repo` says.
    pub tag: String,
    /// Who made it.
    pub author: String,
    /// Commit message.
    pub comment: String,
    /// Freeze the container meanwhile.
    pub pause: bool,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    /// In place of the container's configuration, which fills in what this leaves out.
    pub config: Option<dockerapi::ContainerConfig>,
}

#[cfg(test)]
mod tests {
    use super::Filters;

    #[test]
    fn both_forms_of_filters() {
        let new = Filters::parse(r#"{"label":["a","b"]}"#).expect("list form");
        let old = Filters::parse(r#"{"label":{"a":true,"b":true,"c":false}}"#).expect("map form");
        assert_eq!(new, old);
        assert!(Filters::parse("[]").is_err());
        assert!(new.only(&["name"]).is_err());
    }
}
