//! `inspect`, `container inspect` and `image inspect`.

use client::{Client, Query, escape};
use gotemplate::{Template, Value};

use super::typed;
use crate::cli::Call;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::{jsontext, out};

/// Kinds in the order in which they are tried.
const KINDS: &[&str] = &["container", "image", "network", "volume"];

/// Kinds that are only tried by name.
const OTHERS: &[&str] = &["config", "node", "plugin", "secret", "service", "task"];

/// `inspect`.
pub(super) async fn run(call: &Call) -> Outcome {
    let flags = &call.flags;
    let kind = flags.text("type");
    if flags.changed("type") && kind.is_empty() {
        return Err("type is empty: must be one of \"config\", \"container\", \"image\", \"network\", \"node\", \"plugin\", \"secret\", \"service\", \"task\", \"volume\"".into());
    }
    let named = KINDS.iter().chain(OTHERS).find(|known| **known == kind);
    let kinds = match (kind, named) {
        ("", _) => KINDS.to_vec(),
        (_, Some(kind)) => vec![*kind],
        _ => {
            return Err(Failure::new(format!(
                "unknown type: {kind:?}: must be one of \"config\", \"container\", \"image\", \"network\", \"node\", \"plugin\", \"secret\", \"service\", \"task\", \"volume\""
            )));
        }
    };
    inspect(call, &kinds, &Asked::size(flags.on("size"))).await
}

/// `container inspect`.
pub(super) async fn container(call: &Call) -> Outcome {
    inspect(call, &["container"], &Asked::size(call.flags.on("size"))).await
}

/// `image inspect`.
pub(super) async fn image(call: &Call) -> Outcome {
    let platform = match call.flags.text("platform") {
        "" => None,
        text => {
            let platform: Result<oci::Platform, _> = text.parse();
            // The text of the failure is all that docker shows.
            let platform = platform.map_err(|error| Failure::new(error.to_string()))?;
            let json = serde_json::to_string(&platform);
            Some(json.map_err(|error| Failure::new(error.to_string()))?)
        }
    };
    let asked = Asked {
        size: false,
        platform,
    };
    inspect(call, &["image"], &asked).await
}

/// `volume inspect`.
pub(super) async fn volume(call: &Call) -> Outcome {
    inspect(call, &["volume"], &Asked::default()).await
}

/// `network inspect`.
pub(super) async fn network(call: &Call) -> Outcome {
    inspect(call, &["network"], &Asked::default()).await
}

/// What is asked for beside the object.
#[derive(Default)]
struct Asked {
    /// Of containers.
    size: bool,
    /// Of images, as JSON.
    platform: Option<String>,
}

impl Asked {
    fn size(size: bool) -> Self {
        Self {
            size,
            ..Self::default()
        }
    }
}

async fn inspect(call: &Call, kinds: &[&'static str], asked: &Asked) -> Outcome {
    let format = call.flags.text("format");
    let template = match format {
        "" | "json" => None,
        format => Some(Template::parse("", format).map_err(|error| {
            Failure::new(format!("template parsing error: {error}")).with_code(64)
        })?),
    };
    let client = call.app.client().await?;
    let mut found = Vec::new();
    let mut text = String::new();
    let mut errors = Vec::new();
    // What is found is shown, whatever else is not.
    for name in &call.flags.args {
        let (kind, raw) = match find(client, kinds, name, asked).await {
            Ok(found) => found,
            Err(failure) => {
                errors.push(failure.text);
                continue;
            }
        };
        match &template {
            None => found.push(raw),
            Some(template) => match execute(template, kind, &raw) {
                Ok(line) => {
                    text.push_str(&line);
                    text.push('\n');
                }
                Err(failure) => errors.push(failure.text),
            },
        }
    }
    if template.is_some() {
        out::print(if text.is_empty() { "\n" } else { &text });
    } else if format == "json" {
        out::line(&jsontext::compact(&format!("[{}]", found.join(","))));
    } else {
        let all = format!("[{}]", found.join(","));
        out::line(&jsontext::indent(&all, "", "    "));
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Failure::new(errors.join("\n")))
}

async fn find(
    client: &Client,
    kinds: &[&'static str],
    name: &str,
    asked: &Asked,
) -> Outcome<(&'static str, String)> {
    for kind in kinds {
        let path = match *kind {
            "container" => Query::new()
                .with_flag("size", asked.size)
                .on(&format!("/containers/{}/json", escape(name))),
            "image" => Query::new()
                .with_some("platform", asked.platform.as_deref().unwrap_or_default())
                .on(&format!("/images/{}/json", escape(name))),
            "plugin" => format!("/plugins/{}/json", escape(name)),
            kind => format!("/{kind}s/{}", escape(name)),
        };
        match client.get(&path).await {
            Ok(response) => {
                let bytes = response.bytes().await?;
                return String::from_utf8(bytes)
                    .map(|raw| (*kind, raw))
                    .map_err(|_| Failure::new("the engine's answer is no text"));
            }
            Err(error) if kinds.len() > 1 && skippable(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::new(format!("Error: No such object: {name}")))
}

/// Whether the next kind is tried: the engine does not know the name, or not the kind.
fn skippable(error: &client::Error) -> bool {
    matches!(error.status(), Some(404 | 501 | 503))
        || matches!(error, client::Error::Daemon { status: 400, message } if message.contains("invalid reference"))
}

/// The template over Go's types, or over the plain JSON when it does not fit those.
fn execute(template: &Template, kind: &'static str, raw: &str) -> Outcome<String> {
    let value: Value =
        serde_json::from_str(raw).map_err(|error| Failure::new(error.to_string()))?;
    let typed = typed::object(value.clone(), kind);
    template
        .execute(&typed)
        .or_else(|_| template.execute_strict(&value))
        .map_err(|error| Failure::new(format!("template parsing error: {error}")))
}
