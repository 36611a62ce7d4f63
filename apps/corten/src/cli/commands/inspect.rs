//! `inspect`, `container inspect` and `image inspect`.

use client::{Client, Query, escape};
use gotemplate::{Template, Value};

use crate::cli::Call;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::{jsontext, out};

/// Kinds in the order in which they are tried.
const KINDS: &[&str] = &["container", "image", "network", "volume"];

/// `inspect`.
pub(super) async fn run(call: &Call) -> Outcome {
    let flags = &call.flags;
    let kind = flags.text("type");
    if flags.changed("type") && kind.is_empty() {
        return Err("type is empty: must be one of \"config\", \"container\", \"image\", \"network\", \"node\", \"plugin\", \"secret\", \"service\", \"task\", \"volume\"".into());
    }
    let kinds: Vec<&str> = match kind {
        "" => KINDS.to_vec(),
        kind if KINDS.contains(&kind) => vec![kind],
        "config" | "node" | "plugin" | "secret" | "service" | "task" => {
            return Err(Failure::new(format!(
                "inspecting objects of type {kind:?} is not supported yet"
            )));
        }
        _ => {
            return Err(Failure::new(format!(
                "unknown type: {kind:?}: must be one of \"config\", \"container\", \"image\", \"network\", \"node\", \"plugin\", \"secret\", \"service\", \"task\", \"volume\""
            )));
        }
    };
    inspect(call, &kinds, flags.on("size")).await
}

/// `container inspect`.
pub(super) async fn container(call: &Call) -> Outcome {
    inspect(call, &["container"], call.flags.on("size")).await
}

/// `image inspect`.
pub(super) async fn image(call: &Call) -> Outcome {
    inspect(call, &["image"], false).await
}

async fn inspect(call: &Call, kinds: &[&str], size: bool) -> Outcome {
    let format = call.flags.text("format");
    let template = match format {
        "" => None,
        "json" => Some(Template::parse("", "{{json .}}")),
        format => Some(Template::parse("", format)),
    };
    let template = template
        .transpose()
        .map_err(|error| Failure::new(format!("template parsing error: {error}")).with_code(64))?;
    let client = call.app.client().await?;
    let mut found = Vec::new();
    let mut text = String::new();
    let mut failure = None;
    for name in &call.flags.args {
        let raw = match find(client, kinds, name, size).await {
            Ok(raw) => raw,
            Err(error) => {
                failure = Some(error);
                break;
            }
        };
        match &template {
            None => found.push(raw),
            Some(template) => match execute(template, &raw) {
                Ok(line) => {
                    text.push_str(&line);
                    text.push('\n');
                }
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            },
        }
    }
    if template.is_some() {
        out::print(if text.is_empty() { "\n" } else { &text });
    } else {
        let all = format!("[{}]", found.join(","));
        out::line(&jsontext::indent(&all, "", "    "));
    }
    match failure {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

async fn find(client: &Client, kinds: &[&str], name: &str, size: bool) -> Outcome<String> {
    for kind in kinds {
        let path = match *kind {
            "container" => Query::new()
                .with_flag("size", size)
                .on(&format!("/containers/{}/json", escape(name))),
            "image" => format!("/images/{}/json", escape(name)),
            "network" => format!("/networks/{}", escape(name)),
            _ => format!("/volumes/{}", escape(name)),
        };
        match client.get(&path).await {
            Ok(response) => {
                let bytes = response.bytes().await?;
                return String::from_utf8(bytes)
                    .map_err(|_| Failure::new("the engine's answer is no text"));
            }
            Err(error) if kinds.len() > 1 && skippable(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::new(format!("error: no such object: {name}")))
}

/// Whether the next kind is tried: the engine does not know the name, or not the kind.
fn skippable(error: &client::Error) -> bool {
    matches!(error.status(), Some(404 | 501 | 503))
        || matches!(error, client::Error::Daemon { status: 400, message } if message.contains("invalid reference"))
}

/// Fields that Go's types have and JSON leaves out are nil, as they are for docker.
fn execute(template: &Template, raw: &str) -> Outcome<String> {
    let value: Value =
        serde_json::from_str(raw).map_err(|error| Failure::new(error.to_string()))?;
    let mut typed = value.clone();
    for path in [
        &["State", "Health"][..],
        &["Config", "Healthcheck"],
        &["SizeRw"],
        &["SizeRootFs"],
    ] {
        add_nil(&mut typed, path);
    }
    template
        .execute_strict(&typed)
        .or_else(|_| template.execute_strict(&value))
        .map_err(|error| Failure::new(format!("template parsing error: {error}")))
}

fn add_nil(value: &mut Value, path: &[&str]) {
    let Value::Map(entries) = value else {
        return;
    };
    let known = entries.iter_mut().find(|(key, _)| key == path[0]);
    match (known, path) {
        (Some((_, next)), [_, rest @ ..]) if !rest.is_empty() => add_nil(next, rest),
        (None, [name]) => entries.push(((*name).to_owned(), Value::Nil)),
        _ => {}
    }
}
