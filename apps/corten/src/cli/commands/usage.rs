//! `system df --verbose`: every image, container, volume and piece of build cache.

use dockerapi::{ContainerSummary, ImageSummary};
use gotemplate::{Template, Value};
use oci::Reference;
use serde_json::Value as Json;

use super::{images, ps, resources};
use crate::cli::failure::{Failure, Outcome};
use crate::cli::listing::{Kind, is_default_table};
use crate::cli::{out, units};

static CACHE: Kind = Kind {
    type_name: "*formatter.buildCacheContext",
    headers: &[
        ("ID", "CACHE ID"),
        ("CacheType", "CACHE TYPE"),
        ("Size", "SIZE"),
        ("CreatedSince", "CREATED"),
        ("LastUsedSince", "LAST USED"),
        ("UsageCount", "USAGE"),
        ("Shared", "SHARED"),
    ],
};

const IMAGES: &str = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
const CONTAINERS: &str = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}";
const VOLUMES: &str = "table {{.Name}}\t{{.Links}}\t{{.Size}}";
const CACHES: &str = "table {{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}";

/// Shows the answer of `GET /system/df`.
///
/// # Errors
/// A template that does not fit, or an answer that is none.
pub(super) fn show(answer: &Json, format: &str) -> Outcome {
    let table = is_default_table(format);
    let images = list(answer, "Images", |image: ImageSummary| {
        images::row(&image, &name(&image), table)
    })?;
    let containers = list(answer, "Containers", |mut container: ContainerSummary| {
        // The image is counted above.
        container.size_root_fs = None;
        ps::row(&container, table)
    })?;
    let volumes = list(answer, "Volumes", |volume: Json| volume_row(&volume))?;
    if table {
        // Whoever builds nothing has no cache; docker shows its headers all the same.
        out::print(&format!(
            "Images space usage:\n\n{}\nContainers space usage:\n\n{}\nLocal Volumes space usage:\n\n{}\nBuild cache usage: {}\n\n{}",
            images::KIND.render(IMAGES, &images)?,
            ps::KIND.render(CONTAINERS, &containers)?,
            resources::VOLUME.render(VOLUMES, &volumes)?,
            units::human_size(0.0),
            CACHE.render(CACHES, &[])?,
        ));
        return Ok(());
    }
    let fields = [
        ("Images", images),
        ("Containers", containers),
        ("Volumes", volumes),
        ("BuildCache", Vec::new()),
    ];
    let fields = fields
        .into_iter()
        .map(|(name, rows)| (name.to_owned(), Value::List(rows)));
    let all = Value::Struct("*formatter.diskUsageContext", fields.collect());
    let format = if format == "json" {
        "{{json .}}"
    } else {
        format
    };
    let format = format.strip_prefix("table").unwrap_or(format).trim();
    let template = Template::parse("", format)
        .map_err(|error| Failure::new(format!("template parsing error: {error}")))?;
    let text = template
        .execute(&all)
        .map_err(|error| Failure::new(error.to_string()))?;
    out::print(&text);
    Ok(())
}

fn list<T: serde::de::DeserializeOwned>(
    answer: &Json,
    key: &str,
    row: impl Fn(T) -> Value,
) -> Outcome<Vec<Value>> {
    let items: Option<Vec<T>> = serde_json::from_value(answer[key].clone())
        .map_err(|error| Failure::new(error.to_string()))?;
    Ok(items.unwrap_or_default().into_iter().map(row).collect())
}

/// One line for each image, by its first name.
fn name(image: &ImageSummary) -> images::Name {
    const NONE: &str = "<none>";
    let first = image.repo_tags.first().or(image.repo_digests.first());
    let first: Option<Reference> = first.and_then(|name| name.parse().ok());
    images::Name {
        repository: first.as_ref().map_or(NONE.into(), Reference::familiar_name),
        tag: first
            .as_ref()
            .and_then(Reference::tag)
            .unwrap_or(NONE)
            .to_owned(),
        digest: String::new(),
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "sizes are shown with four digits"
)]
fn volume_row(volume: &Json) -> Value {
    let usage = &volume["UsageData"];
    let links = usage["RefCount"].as_i64();
    let size = match usage["Size"].as_i64() {
        None | Some(-1) => "N/A".to_owned(),
        Some(size) => units::human_size(size as f64),
    };
    let links = links.map_or_else(|| "N/A".to_owned(), |links| links.to_string());
    resources::volume_row(volume, links, size)
}
