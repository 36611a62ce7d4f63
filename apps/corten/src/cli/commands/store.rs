//! `image scrub`, `image removed`, `image restore` and `image collect`: Corten's own.

use client::escape;
use http::Method;
use serde_json::Value;

use crate::cli::Call;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::{out, units};

/// `image scrub`. Ends with 1 when something is left to be mended.
pub(super) async fn scrub(call: &Call) -> Outcome {
    let client = call.app.client().await?;
    let found = client.image_store(Method::POST, "scrub").await?;
    let mut left = false;
    for damage in list(&found["Damaged"]) {
        let repaired = damage["Repaired"].as_bool() == Some(true);
        left |= !repaired;
        let end = match repaired {
            true => "made again",
            false => "pull the image again",
        };
        out::line(&format!(
            "{} {}: {} ({end})",
            text(&damage["Part"]),
            text(&damage["Digest"]),
            text(&damage["Reason"])
        ));
        for image in list(&damage["Images"]) {
            out::line(&format!("  needed by {}", text(image)));
        }
    }
    for stray in list(&found["Strays"]) {
        out::line(&format!("{}: belongs to no image", text(stray)));
    }
    out::line(&format!(
        "Checked {} layers, {}",
        found["Layers"],
        size(&found["Bytes"])
    ));
    match left {
        true => Err(Failure::status(1)),
        false => Ok(()),
    }
}

/// `image removed`.
pub(super) async fn removed(call: &Call) -> Outcome {
    let client = call.app.client().await?;
    let all = client.image_store(Method::GET, "removed").await?;
    let mut rows = vec![["IMAGE ID", "NAME", "REMOVED", "SIZE"].map(str::to_owned)];
    for image in list(&all) {
        let names = list(&image["Names"]).iter().map(text);
        let names: Vec<&str> = names.filter(|name| !name.contains('@')).collect();
        let id = text(&image["Id"]);
        rows.push([
            id.strip_prefix("sha256:")
                .unwrap_or(id)
                .chars()
                .take(12)
                .collect(),
            match names.as_slice() {
                [] => "<none>".to_owned(),
                names => names.join(", "),
            },
            text(&image["Removed"]).chars().take(19).collect(),
            size(&image["UniqueSize"]),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (id, name, at) = (width(0), width(1), width(2));
    for row in &rows {
        let [a, b, c, d] = row;
        out::line(&format!("{a:id$}   {b:name$}   {c:at$}   {d}"));
    }
    Ok(())
}

/// `image restore`.
pub(super) async fn restore(call: &Call) -> Outcome {
    let client = call.app.client().await?;
    super::each(&call.flags.args, async |name| {
        let path = format!("{}/restore", escape(name));
        let restored = client.image_store(Method::POST, &path).await?;
        let names: Vec<&str> = list(&restored["Names"]).iter().map(text).collect();
        Ok(Some(match names.as_slice() {
            [] => text(&restored["Id"]).to_owned(),
            names => names.join("\n"),
        }))
    })
    .await
}

/// `image collect`.
pub(super) async fn collect(call: &Call) -> Outcome {
    let flags = &call.flags;
    let mut path = format!("collect?dryrun={}", i32::from(flags.on("dry-run")));
    for mark in ["high", "low"] {
        if flags.changed(mark) {
            path += &format!("&{mark}={}", flags.int(mark));
        }
    }
    let client = call.app.client().await?;
    let done = client.image_store(Method::POST, &path).await?;
    for image in list(&done["Images"]) {
        let (id, name) = (text(&image["Id"]), text(&image["Name"]));
        out::line(format!("{id} {name}").trim_end());
    }
    let verb = match flags.on("dry-run") {
        true => "Would reclaim",
        false => "Total reclaimed space:",
    };
    out::line(&format!("{verb} {}", size(&done["SpaceReclaimed"])));
    Ok(())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn size(value: &Value) -> String {
    units::human_size(value.as_f64().unwrap_or_default())
}
