//! `push`.

use client::PushOptions;
use oci::Reference;

use super::create::reference_text;
use super::history::platform_json;
use crate::cli::Call;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::progress::{Display, Target};
use crate::cli::{credentials, out};

/// `push`.
pub(super) async fn run(call: &Call) -> Outcome {
    let flags = &call.flags;
    let name = &flags.args[0];
    let reference: Reference = name
        .parse()
        .map_err(|error| Failure::new(reference_text(name, &error)))?;
    let (all, quiet) = (flags.on("all-tags"), flags.on("quiet"));
    let bare = reference.tag().is_none() && reference.digest().is_none();
    if all && !bare {
        return Err("tag can't be used with --all-tags/-a".into());
    }
    if !all && bare && !quiet {
        out::line("Using default tag: latest");
    }
    let reference = if all {
        reference
    } else {
        reference.or_latest()
    };
    let options = PushOptions {
        name: reference.familiar_name(),
        tag: reference.tag().unwrap_or_default().to_owned(),
        platform: match flags.text("platform") {
            "" => String::new(),
            platform => platform_json(platform)?,
        },
        auth: credentials::header(call.app.config(), reference.domain())?,
    };
    let mut display = if quiet {
        Display::quiet()
    } else {
        Display::new(Target::Output)
    };
    let client = call.app.client().await?;
    let mut messages = client.image_push(&options).await?;
    while let Some(message) = messages.next().await? {
        display.show(&message)?;
    }
    if quiet {
        out::line(&reference.to_string());
    }
    Ok(())
}
