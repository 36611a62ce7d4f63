//! `container prune` and `system prune`.

use std::io::BufRead as _;

use client::{Body, Query};
use http::Method;

use crate::cli::Call;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::filters::Filters;
use crate::cli::{out, units};

/// Asks on the terminal; anything but yes is no.
pub(super) fn confirmed(question: &str) -> Outcome<bool> {
    out::print(&format!(
        "{question}\nAre you sure you want to continue? [y/N] "
    ));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// `container prune`.
#[allow(
    clippy::cast_precision_loss,
    reason = "sizes are shown with four digits"
)]
pub(super) async fn containers(call: &Call) -> Outcome {
    let flags = &call.flags;
    if !flags.on("force") && !confirmed("WARNING! This will remove all stopped containers.")? {
        return Ok(());
    }
    let filters = Filters::from_values(&flags.list("filter")).json();
    let report = call.app.client().await?.container_prune(&filters).await?;
    let deleted = report.containers_deleted.unwrap_or_default();
    if !deleted.is_empty() {
        out::line("Deleted Containers:");
        for id in &deleted {
            out::line(id);
        }
        out::line("");
    }
    out::line(&format!(
        "Total reclaimed space: {}",
        units::human_size(report.space_reclaimed as f64)
    ));
    Ok(())
}

/// Answers of all prune requests.
#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Report {
    containers_deleted: Option<Vec<String>>,
    networks_deleted: Option<Vec<String>>,
    volumes_deleted: Option<Vec<String>>,
    images_deleted: Option<Vec<dockerapi::DeleteItem>>,
    caches_deleted: Option<Vec<String>>,
    space_reclaimed: u64,
}

/// `system prune`: every part is tried, and what failed is told at the end.
#[allow(
    clippy::cast_precision_loss,
    reason = "sizes are shown with four digits"
)]
pub(super) async fn system(call: &Call) -> Outcome {
    let flags = &call.flags;
    let all = flags.on("all");
    let volumes = flags.on("volumes");
    let filters = Filters::from_values(&flags.list("filter"));
    if volumes && filters.has("until") {
        return Err(r#"ERROR: The "until" filter is not supported with "--volumes""#.into());
    }
    let mut warning = String::from(
        "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n",
    );
    if volumes {
        warning.push_str("  - all anonymous volumes not used by at least one container\n");
    }
    warning.push_str(if all {
        "  - all images without at least one container associated to them\n  - all build cache\n"
    } else {
        "  - all dangling images\n  - unused build cache\n"
    });
    if !flags.on("force") && !confirmed(&warning)? {
        return Ok(());
    }
    let mut images = filters.clone();
    images.add("dangling", if all { "false" } else { "true" });
    let mut parts = vec![
        ("/containers/prune", "Deleted Containers:", filters.json()),
        ("/networks/prune", "Deleted Networks:", filters.json()),
    ];
    if volumes {
        parts.push(("/volumes/prune", "Deleted Volumes:", filters.json()));
    }
    parts.push(("/images/prune", "Deleted Images:", images.json()));
    parts.push((
        "/build/prune",
        "Deleted build cache objects:",
        filters.json(),
    ));
    let client = call.app.client().await?;
    let mut freed = 0u64;
    let mut errors = Vec::new();
    for (path, title, filters) in parts {
        let mut query = Query::new().with_some("filters", filters);
        if path == "/build/prune" {
            query = query.with_flag("all", all);
        }
        let answer = async {
            let response = client
                .request(Method::POST, &query.on(path), Body::Empty)
                .await?;
            response.json::<Report>().await
        };
        match answer.await {
            Ok(report) => {
                freed += report.space_reclaimed;
                show(title, report);
            }
            Err(error) => errors.push(error.to_string()),
        }
    }
    out::line(&format!(
        "Total reclaimed space: {}",
        units::human_size(freed as f64)
    ));
    if errors.is_empty() {
        return Ok(());
    }
    Err(Failure::new(errors.join("\n")))
}

fn show(title: &str, report: Report) {
    let mut lines: Vec<String> = [
        report.containers_deleted,
        report.networks_deleted,
        report.volumes_deleted,
        report.caches_deleted,
    ]
    .into_iter()
    .flatten()
    .flatten()
    .collect();
    for item in report.images_deleted.unwrap_or_default() {
        lines.push(if item.untagged.is_empty() {
            format!("deleted: {}", item.deleted)
        } else {
            format!("untagged: {}", item.untagged)
        });
    }
    if !lines.is_empty() {
        out::line(&format!("{title}\n{}\n", lines.join("\n")));
    }
}
