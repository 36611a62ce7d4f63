//! `system df`.

use gotemplate::Value;
use serde_json::Value as Json;

use super::usage;
use crate::cli::Call;
use crate::cli::failure::Outcome;
use crate::cli::listing::Kind;
use crate::cli::{out, units};

static KIND: Kind = Kind {
    type_name: "*formatter.diskUsageContext",
    headers: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
};

/// What one kind of object takes.
struct Usage {
    name: &'static str,
    total: usize,
    active: usize,
    size: i64,
    reclaimable: i64,
    /// Of the whole, where docker shows a share.
    share: bool,
}

/// `system df`.
pub(super) async fn run(call: &Call) -> Outcome {
    let flags = &call.flags;
    let format = flags.text("format");
    let verbose = flags.on("verbose");
    let client = call.app.client().await?;
    let answer: Json = client.get("/system/df").await?.json().await?;
    if verbose {
        return usage::show(&answer, format);
    }
    let rows: Vec<Value> = [
        images(&answer),
        containers(&answer),
        volumes(&answer),
        build_cache(&answer),
    ]
    .iter()
    .map(row)
    .collect();
    let format = match format {
        "" | "table" => {
            "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}"
        }
        format => format,
    };
    out::print(&KIND.render(format, &rows)?);
    Ok(())
}

fn list<'a>(answer: &'a Json, key: &str) -> &'a [Json] {
    answer[key].as_array().map_or(&[], Vec::as_slice)
}

fn number(item: &Json, key: &str) -> i64 {
    item[key].as_i64().unwrap_or(0)
}

fn images(answer: &Json) -> Usage {
    let images = list(answer, "Images");
    let used = |image: &&Json| number(image, "Containers") > 0;
    let mut in_use = 0;
    for image in images.iter().filter(used) {
        if number(image, "Size") != -1 && number(image, "SharedSize") != -1 {
            in_use += number(image, "Size") - number(image, "SharedSize");
        }
    }
    let size = number(answer, "LayersSize");
    Usage {
        name: "Images",
        total: images.len(),
        active: images.iter().filter(used).count(),
        size,
        reclaimable: size - in_use,
        share: true,
    }
}

fn containers(answer: &Json) -> Usage {
    let containers = list(answer, "Containers");
    let active = |one: &Json| {
        let state = one["State"].as_str().unwrap_or_default();
        state.contains("running") || state.contains("paused") || state.contains("restarting")
    };
    let sum = |all: &mut dyn Iterator<Item = &Json>| all.map(|one| number(one, "SizeRw")).sum();
    Usage {
        name: "Containers",
        total: containers.len(),
        active: containers.iter().filter(|one| active(one)).count(),
        size: sum(&mut containers.iter()),
        reclaimable: sum(&mut containers.iter().filter(|one| !active(one))),
        share: true,
    }
}

fn volumes(answer: &Json) -> Usage {
    let volumes = list(answer, "Volumes");
    let usage = |one: &Json, key: &str| number(&one["UsageData"], key);
    let size = |one: &&Json| usage(one, "Size") != -1;
    let used = |one: &&Json| usage(one, "RefCount") > 0;
    Usage {
        name: "Local Volumes",
        total: volumes.len(),
        active: volumes.iter().filter(used).count(),
        size: volumes
            .iter()
            .filter(size)
            .map(|one| usage(one, "Size"))
            .sum(),
        reclaimable: volumes
            .iter()
            .filter(size)
            .filter(|one| usage(one, "RefCount") == 0)
            .map(|one| usage(one, "Size"))
            .sum(),
        share: true,
    }
}

fn build_cache(answer: &Json) -> Usage {
    let cache = list(answer, "BuildCache");
    let flag = |one: &Json, key: &str| one[key].as_bool().unwrap_or_default();
    let own = |one: &&Json| !flag(one, "Shared");
    Usage {
        name: "Build Cache",
        total: cache.len(),
        active: cache.iter().filter(|one| flag(one, "InUse")).count(),
        size: cache
            .iter()
            .filter(own)
            .map(|one| number(one, "Size"))
            .sum(),
        reclaimable: cache
            .iter()
            .filter(own)
            .filter(|one| !flag(one, "InUse"))
            .map(|one| number(one, "Size"))
            .sum(),
        share: false,
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "sizes are shown with four digits"
)]
fn row(usage: &Usage) -> Value {
    let size = |size: i64| units::human_size(size as f64);
    let mut reclaimable = size(usage.reclaimable);
    if usage.share && usage.size > 0 {
        reclaimable.push_str(&format!(" ({}%)", usage.reclaimable * 100 / usage.size));
    }
    KIND.row(vec![
        ("Type", usage.name.into()),
        ("TotalCount", usage.total.to_string().into()),
        ("Active", usage.active.to_string().into()),
        ("Size", size(usage.size).into()),
        ("Reclaimable", reclaimable.into()),
    ])
}
