//! `pull`, and pulling what `run` misses.

use client::PullOptions;
use oci::Reference;

use super::create::reference_text;
use crate::cli::Call;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::progress::{Display, Target};
use crate::cli::{credentials, out};

/// `pull`.
pub(super) async fn run(call: &Call) -> Outcome {
    let flags = &call.flags;
    let name = &flags.args[0];
    let reference: Reference = name
        .parse()
        .map_err(|error| Failure::new(reference_text(name, &error)))?;
    let all = flags.on("all-tags");
    let bare = reference.tag().is_none() && reference.digest().is_none();
    if all && !bare {
        return Err("tag can't be used with --all-tags/-a".into());
    }
    let (quiet, dry) = (flags.on("quiet"), flags.on("dry-run"));
    if all && dry {
        return Err("--dry-run can't be used with --all-tags/-a".into());
    }
    if !all && bare && !quiet {
        out::line("Using default tag: latest");
    }
    let reference = if all {
        reference
    } else {
        reference.or_latest()
    };
    let platform = platform(call);
    if dry {
        let client = call.app.client().await?;
        let options = options(call, &reference, &platform)?;
        return super::plan::show(&client.image_plan(&options).await?, quiet);
    }
    let display = if quiet {
        Display::quiet()
    } else {
        Display::new(Target::Output)
    };
    pull(call, &reference, &platform, display).await?;
    out::line(&reference.to_string());
    Ok(())
}

fn platform(call: &Call) -> String {
    match call.flags.text("platform") {
        "" => std::env::var("DOCKER_DEFAULT_PLATFORM").unwrap_or_default(),
        platform => platform.to_owned(),
    }
}

/// Pulls for `run` and `create`; progress goes to standard error.
pub(super) async fn for_create(
    call: &Call,
    reference: &Reference,
    platform: &str,
    quiet: bool,
) -> Outcome {
    let display = if quiet {
        Display::quiet()
    } else {
        Display::new(Target::Error)
    };
    pull(call, &reference.clone().or_latest(), platform, display).await
}

async fn pull(call: &Call, reference: &Reference, platform: &str, mut display: Display) -> Outcome {
    let client = call.app.client().await?;
    let options = options(call, reference, platform)?;
    let mut messages = client.image_pull(&options).await?;
    while let Some(message) = messages.next().await? {
        display.show(&message)?;
    }
    Ok(())
}

fn options(call: &Call, reference: &Reference, platform: &str) -> Outcome<PullOptions> {
    let tag = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or_default().to_owned(),
    };
    Ok(PullOptions {
        name: format!("{}/{}", reference.domain(), reference.path()),
        tag,
        platform: platform.to_owned(),
        auth: credentials::header(call.app.config(), reference.domain())?,
    })
}
