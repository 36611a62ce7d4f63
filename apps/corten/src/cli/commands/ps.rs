//! `ps`.

use client::Query;
use dockerapi::ContainerSummary;
use gotemplate::Value;
use oci::Reference;

use crate::cli::Call;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::filters::Filters;
use crate::cli::listing::{Kind, ellipsis, is_default_table, quote, short_id};
use crate::cli::{out, portlist, units};

const TABLE: &str =
    "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
const RAW: &str = "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\nlabels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n";

pub(super) static KIND: Kind = Kind {
    type_name: "*formatter.ContainerContext",
    headers: &[
        ("ID", "CONTAINER ID"),
        ("Names", "NAMES"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("Ports", "PORTS"),
        ("State", "STATE"),
        ("Status", "STATUS"),
        ("Size", "SIZE"),
        ("Labels", "LABELS"),
        ("Mounts", "MOUNTS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Networks", "NETWORKS"),
        ("Platform", "PLATFORM"),
    ],
};

/// `ps`.
pub(super) async fn run(call: &Call) -> Outcome {
    let flags = &call.flags;
    let quiet = flags.on("quiet");
    let format = match (flags.text("format"), quiet) {
        ("", false) => call.app.config().text("psFormat").to_owned(),
        (format, _) => format.to_owned(),
    };
    if quiet && !flags.text("format").is_empty() {
        out::error("WARNING: Ignoring custom format, because both --format and --quiet are set.");
    }
    // A whole row has its size, too.
    let whole: String = format.split_whitespace().collect();
    let size = flags.on("size") || format.contains(".Size") || whole.contains("{{json.}}");
    let last = flags.int("last");
    let limit = if flags.on("latest") && last == -1 {
        1
    } else {
        last
    };
    let filters = Filters::from_values(&flags.list("filter"));
    let mut query = Query::new()
        .with_flag("all", flags.on("all"))
        .with_some("filters", filters.json());
    if limit > 0 {
        query = query.with("limit", limit.to_string());
    }
    let query = query.with_flag("size", size);
    let containers = call.app.client().await?.container_list(&query).await?;
    let trunc = !flags.on("no-trunc");
    let rows: Vec<Value> = containers.iter().map(|one| row(one, trunc)).collect();
    let format = match format.as_str() {
        format if is_default_table(format) => match (quiet, flags.on("size")) {
            (true, _) => "{{.ID}}".to_owned(),
            (false, false) => TABLE.to_owned(),
            (false, true) => format!("{TABLE}\t{{{{.Size}}}}"),
        },
        "raw" if quiet => "container_id: {{.ID}}".to_owned(),
        "raw" if size => format!("{RAW}size: {{{{.Size}}}}\n"),
        "raw" => RAW.to_owned(),
        _ if quiet => "{{.ID}}".to_owned(),
        format => format.to_owned(),
    };
    let text = KIND.render(&format, &rows).map_err(|failure| {
        // docker runs the template once before, to see what it needs.
        let phase = if failure.text.contains(": executing ") {
            "failed to execute template:"
        } else {
            "failed to parse template:"
        };
        Failure::new(failure.text.replacen("template parsing error:", phase, 1))
    })?;
    out::print(&text);
    Ok(())
}

pub(super) fn row(container: &ContainerSummary, trunc: bool) -> Value {
    let id = if trunc {
        short_id(&container.id)
    } else {
        &container.id
    };
    let command = if trunc {
        ellipsis(&container.command, 20)
    } else {
        container.command.clone()
    };
    let mounts: Vec<String> = container
        .mounts
        .iter()
        .map(|mount| match mount.name.as_str() {
            "" => mount.source.as_str(),
            name => name,
        })
        .map(|name| {
            if trunc {
                ellipsis(name, 15)
            } else {
                name.to_owned()
            }
        })
        .collect();
    let local = container
        .mounts
        .iter()
        .filter(|mount| mount.driver == "local")
        .count();
    let networks: Vec<&str> = container
        .network_settings
        .iter()
        .flat_map(|settings| settings.networks.keys().map(String::as_str))
        .collect();
    let labels = container.labels.clone().into_iter().collect();
    KIND.row(vec![
        ("ID", id.into()),
        ("Names", names(container, trunc).into()),
        ("Image", image(container, trunc).into()),
        ("Command", quote(&command).into()),
        ("CreatedAt", units::local_time(container.created).into()),
        ("RunningFor", units::ago(container.created).into()),
        ("Ports", portlist::display(&container.ports).into()),
        ("State", container.state.as_str().into()),
        ("Status", container.status.as_str().into()),
        ("Size", size(container).into()),
        ("Labels", joined(&container.labels).into()),
        ("Label", Value::Lookup(labels)),
        ("Mounts", mounts.join(",").into()),
        ("LocalVolumes", local.to_string().into()),
        ("Networks", networks.join(",").into()),
        ("Platform", Value::Nil),
    ])
}

/// Labels as `a=b,c=d`.
pub(super) fn joined(labels: &dockerapi::Map<String>) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(",")
}

/// Names without their slash; names that links made are left out where lines are cut.
fn names(container: &ContainerSummary, trunc: bool) -> String {
    let names: Vec<&str> = container
        .names
        .iter()
        .map(|name| name.strip_prefix('/').unwrap_or(name))
        .filter(|name| !trunc || !name.contains('/'))
        .collect();
    names.join(",")
}

fn image(container: &ContainerSummary, trunc: bool) -> String {
    let image = &container.image;
    if image.is_empty() {
        return "<no image>".into();
    }
    if trunc {
        if short_id(&container.image_id) == short_id(image) {
            return short_id(image).to_owned();
        }
        if let Ok(reference) = image.parse::<Reference>()
            && reference.digest().is_some()
            && let Some(tag) = reference.tag()
            && let Ok(plain) = reference.with_tag(tag)
        {
            return plain.familiar();
        }
    }
    image.clone()
}

#[allow(
    clippy::cast_precision_loss,
    reason = "sizes are shown with three digits"
)]
fn size(container: &ContainerSummary) -> String {
    let written = units::decimal_size(container.size_rw.unwrap_or(0) as f64, 3, "");
    match container.size_root_fs {
        Some(all) if all > 0 => {
            format!(
                "{written} (virtual {})",
                units::decimal_size(all as f64, 3, "")
            )
        }
        _ => written,
    }
}
