//! What a log carries besides the output: labels, variables and tag.

use std::collections::BTreeMap;

use dockerapi::Map;
use gotemplate::{Template, Value};

use super::options::Kept;
use crate::pattern::Pattern;
use crate::record::Record;
use crate::{Error, Result, clock};

/// What drivers that send say of the container.
#[derive(Debug, Clone, Default)]
pub(super) struct About {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) image_id: String,
    pub(super) image: String,
    pub(super) command: String,
    /// RFC 3339.
    pub(super) created: String,
    pub(super) hostname: String,
    pub(super) tag: String,
    pub(super) attributes: BTreeMap<String, String>,
}

/// Refuses patterns and templates that are none.
pub(super) fn check(options: &Map<String>) -> Result<()> {
    for key in ["labels-regex", "env-regex"] {
        pattern(options, key)?;
    }
    if let Some(tag) = options.get("tag") {
        template(tag)?;
    }
    Ok(())
}

/// The JSON object that is put in each stored entry; empty text for none.
pub(super) fn stored(record: &Record, kept: Kept) -> Result<String> {
    let options = &record.host.log_config.config;
    let mut attributes = chosen(record)?;
    if let Some(text) = options.get("tag").filter(|text| !text.is_empty()) {
        // What cannot be made of the container is refused here, before it runs, whatever the driver.
        let tag = tag(record, text)?;
        if kept != Kept::Cache && !tag.is_empty() {
            attributes.insert("tag".into(), tag);
        }
    }
    if attributes.is_empty() {
        return Ok(String::new());
    }
    serde_json::to_string(&attributes).map_err(|error| Error::system(error.to_string()))
}

pub(super) fn about(record: &Record) -> Result<About> {
    let options = &record.host.log_config.config;
    let text = match options.get("tag").map(String::as_str) {
        None | Some("") => "{{.ID}}",
        Some(text) => text,
    };
    Ok(About {
        id: record.id.clone(),
        name: record.name.clone(),
        image_id: record.image_id.clone(),
        image: record.config.image.clone(),
        command: command(record),
        created: clock::rfc3339(record.created),
        hostname: hostname(),
        tag: tag(record, text)?,
        attributes: chosen(record)?,
    })
}

/// Labels and variables that the options name.
fn chosen(record: &Record) -> Result<BTreeMap<String, String>> {
    let options = &record.host.log_config.config;
    let labels = record.config.labels.iter();
    let labels = labels.map(|(k, v)| (k.as_str(), v.as_str()));
    let env = record.config.env.as_deref().unwrap_or_default();
    let env = env.iter().filter_map(|entry| entry.split_once('='));
    let mut attributes = choose(options, "labels", labels)?;
    attributes.extend(choose(options, "env", env)?);
    Ok(attributes)
}

fn choose<'a>(
    options: &Map<String>,
    key: &str,
    all: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<BTreeMap<String, String>> {
    let names = options.get(key).map_or("", String::as_str);
    let pattern = pattern(options, &format!("{key}-regex"))?;
    let wanted = |name: &str| {
        names.split(',').any(|one| one == name)
            || pattern
                .as_ref()
                .is_some_and(|pattern| pattern.matches(name))
    };
    Ok(all
        .filter(|(name, _)| wanted(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

fn pattern(options: &Map<String>, key: &str) -> Result<Option<Pattern>> {
    let Some(text) = options.get(key).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    Pattern::new(text)
        .map(Some)
        .ok_or_else(|| Error::invalid(format!("error parsing regexp in {key}: {text:?}")))
}

fn template(text: &str) -> Result<Template> {
    Template::parse("log-tag", text).map_err(|error| Error::invalid(error.to_string()))
}

fn tag(record: &Record, text: &str) -> Result<String> {
    let short = |id: &str| {
        id.trim_start_matches("sha256:")
            .chars()
            .take(12)
            .collect::<String>()
    };
    let env = record.config.env.clone().unwrap_or_default();
    let data = serde_json::json!({
        "ID": short(&record.id),
        "FullID": record.id,
        "Name": record.name,
        "Command": command(record),
        "ImageID": short(&record.image_id),
        "ImageFullID": record.image_id,
        "ImageName": record.config.image,
        "Hostname": hostname(),
        "DaemonName": "docker",
        "Config": record.host.log_config.config,
        "ContainerID": record.id,
        "ContainerName": format!("/{}", record.name),
        "ContainerEntrypoint": record.path,
        "ContainerArgs": record.args,
        "ContainerImageID": record.image_id,
        "ContainerImageName": record.config.image,
        "ContainerCreated": clock::rfc3339(record.created),
        "ContainerEnv": env,
        "ContainerLabels": record.config.labels,
    });
    let info = match Value::from(data) {
        // A name that it does not have is an error, as in Go.
        Value::Map(fields) => Value::Struct("Info", fields),
        other => other,
    };
    template(text)?
        .execute_strict(&info)
        .map_err(|error| Error::invalid(error.to_string()))
}

fn command(record: &Record) -> String {
    let words = std::iter::once(&record.path).chain(&record.args);
    words.cloned().collect::<Vec<_>>().join(" ")
}

fn hostname() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(options: &[(&str, &str)]) -> Record {
        let mut record = Record {
            id: "0123456789abcdef".into(),
            name: "n".into(),
            ..Record::default()
        };
        record.config.image = "bb".into();
        record.config.env = Some(vec!["A=1".into(), "PATH=/bin".into(), "B=2".into()]);
        record.config.labels = [("com.x".to_owned(), "y".to_owned())].into();
        record.host.log_config.config = options
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        record
    }

    #[test]
    fn names_and_patterns_choose() {
        let chosen = |options: &[(&str, &str)]| stored(&record(options), Kept::Json).expect("ok");
        assert_eq!(chosen(&[]), "");
        assert_eq!(
            chosen(&[("labels", "com.x,no"), ("env", "A,C")]),
            r#"{"A":"1","com.x":"y"}"#
        );
        assert_eq!(
            chosen(&[("labels-regex", "^com"), ("env-regex", "^[AB]$")]),
            r#"{"A":"1","B":"2","com.x":"y"}"#
        );
        assert_eq!(
            chosen(&[("tag", "{{.ImageName}}/{{.Name}}/{{.ID}}")]),
            r#"{"tag":"bb/n/0123456789ab"}"#
        );
        for kept in [Kept::Json, Kept::Cache] {
            assert!(stored(&record(&[("tag", "{{.Nothing}}")]), kept).is_err());
        }
        assert_eq!(
            stored(&record(&[("tag", "x")]), Kept::Cache).expect("ok"),
            ""
        );
        assert!(check(&record(&[("tag", "{{.Name")]).host.log_config.config).is_err());
        assert!(check(&record(&[("env-regex", "(")]).host.log_config.config).is_err());
    }

    #[test]
    fn what_is_sent_has_a_tag_always() {
        assert_eq!(about(&record(&[])).expect("ok").tag, "0123456789ab");
        assert_eq!(about(&record(&[("tag", "x")])).expect("ok").tag, "x");
    }
}
