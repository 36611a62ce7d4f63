//! `tag`, `rmi`, `load`, `save`, `import` and `image prune`.

use std::fs::File;
use std::io::Read as _;

use client::{Body, Query, escape};
use http::Method;
use oci::Reference;

use super::history::platform_json;
use crate::cli::Call;
use crate::cli::failure::{Failure, Outcome, os_text};
use crate::cli::filters::Filters;
use crate::cli::progress::{Display, Target};
use crate::cli::{out, tty, units};

/// Size of the pieces in which files are sent.
const CHUNK: usize = 64 << 10;

/// `tag`.
pub(super) async fn tag(call: &Call) -> Outcome {
    let [source, target] = &call.flags.args[..] else {
        return Err("two names are needed".into());
    };
    let parsed: Reference = target.parse().map_err(|error| {
        let text = super::create::reference_text(target, &error);
        Failure::new(format!(
            "Error parsing reference: {target:?} is not a valid repository/tag: {text}"
        ))
    })?;
    if parsed.digest().is_some() {
        return Err("refusing to create a tag with a digest reference".into());
    }
    let parsed = parsed.or_latest();
    let repository = format!("{}/{}", parsed.domain(), parsed.path());
    let client = call.app.client().await?;
    client
        .image_tag(source, &repository, parsed.tag().unwrap_or("latest"))
        .await?;
    Ok(())
}

/// `rmi`.
pub(super) async fn rm(call: &Call) -> Outcome {
    let flags = &call.flags;
    let mut query = Query::new()
        .with_flag("force", flags.on("force"))
        .with_flag("noprune", flags.on("no-prune"));
    for platform in flags.strings("platform") {
        query = query.with("platforms", platform_json(&platform)?);
    }
    let client = call.app.client().await?;
    let mut errors = Vec::new();
    let mut fatal = false;
    for name in &flags.args {
        match client.image_remove(name, &query).await {
            Ok(items) => {
                for item in items {
                    if item.deleted.is_empty() {
                        out::line(&format!("Untagged: {}", item.untagged));
                    } else {
                        out::line(&format!("Deleted: {}", item.deleted));
                    }
                }
            }
            Err(error) => {
                fatal |= !error.is_not_found();
                errors.push(error.to_string());
            }
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    let text = errors.join("\n");
    if !flags.on("force") || fatal {
        return Err(Failure::new(text));
    }
    out::error(&text);
    Ok(())
}

/// `load`.
pub(super) async fn load(call: &Call) -> Outcome {
    let flags = &call.flags;
    let path = flags.text("input");
    let source = if path.is_empty() {
        // Text from a terminal is no archive.
        if tty::stdin_is_terminal() {
            return Err("requested load from stdin, but stdin is empty".into());
        }
        None
    } else {
        Some(open(path)?)
    };
    let quiet = flags.on("quiet") || !out::is_terminal();
    let mut query = Query::new().with("quiet", if quiet { "1" } else { "0" });
    for platform in flags.strings("platform") {
        query = query.with("platform", platform_json(&platform)?);
    }
    let client = call.app.client().await?;
    let body = send_file(source, "application/x-tar");
    let response = client.image_load(&query, body).await?;
    if response.header("content-type") == Some("application/json") {
        let mut display = Display::new(Target::Output);
        let mut messages = response.json_lines();
        while let Some(message) = messages.next().await? {
            display.show(&message)?;
        }
        return Ok(());
    }
    let text = response.bytes().await?;
    out::write(&text);
    Ok(())
}

/// `import`.
pub(super) async fn import(call: &Call) -> Outcome {
    let flags = &call.flags;
    let source = &flags.args[0];
    let mut query = Query::new();
    for change in flags.list("change") {
        query = query.with("changes", change);
    }
    if let Some(name) = flags.args.get(1)
        && let Err(error) = name.parse::<Reference>()
    {
        return Err(Failure::new(super::create::reference_text(name, &error)));
    }
    let url = source.starts_with("http://") || source.starts_with("https://");
    let (name, body) = match source.as_str() {
        "-" => ("-", send_file(None, "application/x-tar")),
        source if url => (source, Body::Empty),
        path => ("-", send_file(Some(open(path)?), "application/x-tar")),
    };
    let query = query
        .with("fromSrc", name)
        .with_some("message", flags.text("message"))
        .with_some("platform", flags.text("platform"))
        .with_some("repo", flags.args.get(1).map_or("", String::as_str));
    let client = call.app.client().await?;
    let mut display = Display::new(Target::Output);
    let mut messages = client.image_import(&query, body).await?;
    while let Some(message) = messages.next().await? {
        display.show(&message)?;
    }
    Ok(())
}

fn open(path: &str) -> Outcome<File> {
    File::open(path).map_err(|error| Failure::new(format!("open {path}: {}", os_text(&error))))
}

/// Sends a file, or standard input, as a body. Files are read by a thread of their own: reading
/// them blocks.
pub(super) fn send_file(source: Option<File>, content_type: &'static str) -> Body {
    let (sender, body) = Body::chunks(content_type);
    std::thread::spawn(move || {
        let mut source: Box<dyn std::io::Read> = match source {
            Some(file) => Box::new(file),
            None => Box::new(std::io::stdin().lock()),
        };
        loop {
            let mut buffer = vec![0; CHUNK];
            match source.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => {
                    buffer.truncate(n);
                    if !sender.blocking_send(buffer.into()) {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    sender.blocking_abort(error);
                    return;
                }
            }
        }
    });
    body
}

/// `save`.
pub(super) async fn save(call: &Call) -> Outcome {
    let flags = &call.flags;
    let mut query = Query::new();
    for name in &flags.args {
        query = query.with("names", name);
    }
    for platform in flags.strings("platform") {
        query = query.with("platform", platform_json(&platform)?);
    }
    let client = call.app.client().await?;
    let target = Output::check(flags.text("output"))?;
    let response = client.image_save(&query).await?;
    target.receive(response).await
}

/// Where an archive goes: a file that appears only when it is whole, or standard output.
pub(super) struct Output<'a>(&'a str);

impl<'a> Output<'a> {
    /// Refuses a terminal and a path that cannot be written.
    pub(super) fn check(path: &'a str) -> Outcome<Self> {
        if path.is_empty() {
            if out::is_terminal() {
                return Err(
                    "cowardly refusing to save to a terminal. Use the -o flag or redirect".into(),
                );
            }
            return Ok(Self(path));
        }
        let target = std::path::Path::new(path);
        let dir = match target.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => std::path::Path::new("."),
        };
        if !dir.is_dir() {
            return Err(Failure::new(format!(
                "failed to save image: invalid output path: stat {}: no such file or directory",
                dir.display()
            )));
        }
        if target.is_dir() {
            return Err(Failure::new(format!(
                "failed to save image: invalid output path: {path:?} must be a regular file"
            )));
        }
        Ok(Self(path))
    }

    /// Writes the whole answer.
    pub(super) async fn receive(self, mut response: client::Response<'_>) -> Outcome {
        use std::io::Write as _;
        if self.0.is_empty() {
            while let Some(chunk) = response.chunk().await? {
                out::write(&chunk);
            }
            return Ok(());
        }
        let path = std::path::Path::new(self.0);
        let special = path.exists() && !path.is_file();
        let temporary = if special {
            path.to_owned()
        } else {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            path.with_file_name(format!(".{name}.{}.part", std::process::id()))
        };
        let failed =
            |error: std::io::Error| Failure::new(format!("write {}: {}", self.0, os_text(&error)));
        let received = async {
            let mut file = File::create(&temporary).map_err(failed)?;
            while let Some(chunk) = response.chunk().await? {
                file.write_all(&chunk).map_err(failed)?;
            }
            Outcome::Ok(())
        };
        let received = received.await;
        if special {
            return received;
        }
        match received {
            Ok(()) => std::fs::rename(&temporary, path).map_err(failed),
            Err(failure) => {
                let _ = std::fs::remove_file(&temporary);
                Err(failure)
            }
        }
    }
}

/// `image prune`.
#[allow(
    clippy::cast_precision_loss,
    reason = "sizes are shown with four digits"
)]
pub(super) async fn prune(call: &Call) -> Outcome {
    let flags = &call.flags;
    let all = flags.on("all");
    let warning = if all {
        "WARNING! This will remove all images without at least one container associated to them."
    } else {
        "WARNING! This will remove all dangling images."
    };
    if !flags.on("force") && !super::prune::confirmed(warning)? {
        return Ok(());
    }
    let mut filters = Filters::from_values(&flags.list("filter"));
    filters.add("dangling", if all { "false" } else { "true" });
    #[derive(Default, serde::Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Report {
        images_deleted: Option<Vec<dockerapi::DeleteItem>>,
        space_reclaimed: u64,
    }
    let path = Query::new()
        .with("filters", filters.json())
        .on("/images/prune");
    let client = call.app.client().await?;
    let response = client.request(Method::POST, &path, Body::Empty).await?;
    let report: Report = response.json().await?;
    let deleted = report.images_deleted.unwrap_or_default();
    if !deleted.is_empty() {
        out::line("Deleted Images:");
        for item in &deleted {
            if item.untagged.is_empty() {
                out::line(&format!("deleted: {}", item.deleted));
            } else {
                out::line(&format!("untagged: {}", item.untagged));
            }
        }
        out::line("");
    }
    out::line(&format!(
        "Total reclaimed space: {}",
        units::human_size(report.space_reclaimed as f64)
    ));
    Ok(())
}

/// `commit`.
pub(super) async fn commit(call: &Call) -> Outcome {
    let flags = &call.flags;
    let name = flags.args.get(1).map_or("", String::as_str);
    let (repo, tag) = if name.is_empty() {
        (String::new(), String::new())
    } else {
        let reference: Reference = name
            .parse()
            .map_err(|error: oci::reference::InvalidReference| Failure::new(error.to_string()))?;
        let repo = format!("{}/{}", reference.domain(), reference.path());
        (
            repo,
            reference.or_latest().tag().unwrap_or_default().to_owned(),
        )
    };
    let mut query = Query::new()
        .with_some("author", flags.text("author"))
        .with_some("comment", flags.text("message"))
        .with("container", &flags.args[0]);
    for change in flags.list("change") {
        query = query.with("changes", change);
    }
    if !flags.on("pause") {
        query = query.with("pause", "0");
    }
    let path = query
        .with_some("repo", repo)
        .with_some("tag", tag)
        .on("/commit");
    let client = call.app.client().await?;
    let response = client.request(Method::POST, &path, Body::Empty).await?;
    let answer: dockerapi::IdResponse = response.json().await?;
    out::line(&answer.id);
    Ok(())
}

/// `export`.
pub(super) async fn export(call: &Call) -> Outcome {
    let name = &call.flags.args[0];
    let path = call.flags.text("output");
    if path.is_empty() && out::is_terminal() {
        return Err("cowardly refusing to save to a terminal. Use the -o flag or redirect".into());
    }
    let target = Output::check(path).map_err(|failure| {
        Failure::new(
            failure
                .text
                .replace("failed to save image", "failed to export container"),
        )
    })?;
    let client = call.app.client().await?;
    let response = client
        .get(&format!("/containers/{}/export", escape(name)))
        .await?;
    target.receive(response).await
}
