//! `version`.

use std::fmt::Write as _;

use gotemplate::Value;
use serde_json::json;

use super::typed;
use crate::cli::Call;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::{listing, out};

/// The line of `--version`.
pub(crate) fn line(program: &str) -> String {
    let name = if program == "docker" {
        "Docker"
    } else {
        "Corten"
    };
    format!("{name} version {}", env!("CARGO_PKG_VERSION"))
}

/// `version`: what is known of the client is shown even when no engine answers.
pub(super) async fn run(call: &Call) -> Outcome {
    let format = call.flags.text("format");
    let template = match format {
        "" => None,
        format => Some(listing::template("version", format)?),
    };
    let mut api = dockerapi::API_VERSION.to_owned();
    let server = async {
        let client = call.app.client().await?;
        let version = client.version().await?;
        Outcome::Ok((version, client.api_version().await?))
    }
    .await;
    let (server, failure) = match server {
        Ok((version, used)) => {
            api = used;
            (Some(version), None)
        }
        Err(failure) => (None, Some(failure)),
    };
    let own = json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "ApiVersion": api,
        "DefaultAPIVersion": dockerapi::API_VERSION,
        "GitCommit": "",
        "GoVersion": "",
        "Os": std::env::consts::OS,
        "Arch": oci::Platform::host().architecture,
        "BuildTime": "",
        "Context": call.app.context(),
    });
    if let Some(template) = template {
        let server = match &server {
            Some(server) => {
                let json = serde_json::to_value(server)
                    .map_err(|error| Failure::new(error.to_string()))?;
                typed::object(json.into(), "*types.Version")
            }
            None => Value::Null("<nil>"),
        };
        let own = typed::object(own.into(), "system.clientVersion");
        let data = Value::Struct(
            "system.versionInfo",
            vec![("Client".into(), own), ("Server".into(), server)],
        );
        let text = template.execute(&data).map_err(|error| {
            // docker ends the line that it may have begun.
            out::line("");
            Failure::new(error.to_string())
        })?;
        out::line(&text);
    } else {
        out::print(&pretty(&own, server.as_ref()));
    }
    match failure {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

fn pretty(own: &serde_json::Value, server: Option<&dockerapi::Version>) -> String {
    let text = |key: &str| own[key].as_str().unwrap_or_default().to_owned();
    let mut api = text("ApiVersion");
    if api != text("DefaultAPIVersion") {
        let _ = write!(api, " (downgraded from {})", text("DefaultAPIVersion"));
    }
    let mut out = String::from("Client:\n");
    let _ = writeln!(out, " Version:           {}", text("Version"));
    let _ = writeln!(out, " API version:       {api}");
    let _ = writeln!(out, " OS/Arch:           {}/{}", text("Os"), text("Arch"));
    let _ = writeln!(out, " Context:           {}", text("Context"));
    let Some(server) = server else {
        return out;
    };
    let _ = writeln!(out, "\nServer: {}", server.platform.name);
    for component in &server.components {
        let _ = writeln!(out, " {}:", component.name);
        if component.name == "Engine" {
            let detail = |key: &str| component.details.get(key).map_or("", String::as_str);
            let _ = writeln!(out, "  Version:          {}", component.version);
            let _ = writeln!(
                out,
                "  API version:      {} (minimum version {})",
                detail("ApiVersion"),
                detail("MinAPIVersion")
            );
            let _ = writeln!(out, "  Go version:       {}", detail("GoVersion"));
            let _ = writeln!(out, "  Git commit:       {}", detail("GitCommit"));
            let _ = writeln!(out, "  Built:            {}", built(detail("BuildTime")));
            let _ = writeln!(
                out,
                "  OS/Arch:          {}/{}",
                detail("Os"),
                detail("Arch")
            );
            let _ = writeln!(out, "  Experimental:     {}", detail("Experimental"));
        } else {
            let _ = writeln!(out, "  Version:          {}", component.version);
            for (key, value) in &component.details {
                let pad = 17usize.saturating_sub(key.len());
                let _ = writeln!(out, "  {key}:{:pad$}{value}", "");
            }
        }
    }
    out
}

/// Go's ANSI C form of an RFC 3339 moment.
fn built(time: &str) -> String {
    match time.parse::<jiff::Timestamp>() {
        Ok(moment) => moment
            .to_zoned(jiff::tz::TimeZone::UTC)
            .strftime("%a %b %e %H:%M:%S %Y")
            .to_string(),
        Err(_) => time.to_owned(),
    }
}
