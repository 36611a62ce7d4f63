//! `volume create`, `volume rm` and `volume prune`.

use client::{Body, Query, escape};
use dockerapi::{Volume, VolumeCreate, VolumePruneReport};
use http::Method;

use super::each;
use super::prune::confirmed;
use crate::cli::Call;
use crate::cli::failure::Outcome;
use crate::cli::filters::Filters;
use crate::cli::options::envfile::pairs;
use crate::cli::{out, units};

/// `volume create`.
pub(super) async fn create(call: &Call) -> Outcome {
    let flags = &call.flags;
    let body = VolumeCreate {
        name: flags.args.first().cloned().unwrap_or_default(),
        driver: flags.text("driver").to_owned(),
        driver_opts: pairs(&flags.list("opt")),
        labels: pairs(&flags.list("label")),
        ..VolumeCreate::default()
    };
    let client = call.app.client().await?;
    let response = client
        .request(Method::POST, "/volumes/create", Body::json(&body)?)
        .await?;
    let made: Volume = response.json().await?;
    out::line(&made.name);
    Ok(())
}

/// `volume rm`.
pub(super) async fn rm(call: &Call) -> Outcome {
    let query = Query::new().with_flag("force", call.flags.on("force"));
    let client = call.app.client().await?;
    each(&call.flags.args, async |name| {
        let path = query.on(&format!("/volumes/{}", escape(name)));
        client
            .request(Method::DELETE, &path, Body::Empty)
            .await?
            .drain()
            .await?;
        Ok(None)
    })
    .await
}

/// `volume prune`.
#[allow(
    clippy::cast_precision_loss,
    reason = "sizes are shown with four digits"
)]
pub(super) async fn prune(call: &Call) -> Outcome {
    let flags = &call.flags;
    let mut filters = Filters::from_values(&flags.list("filter"));
    let all = flags.on("all");
    if all {
        if filters.has("all") {
            return Err("conflicting options: cannot specify both --all and --filter all=1".into());
        }
        filters.add("all", "true");
    }
    let warning = if all {
        "WARNING! This will remove all local volumes not used by at least one container."
    } else {
        "WARNING! This will remove anonymous local volumes not used by at least one container."
    };
    if !flags.on("force") && !confirmed(warning)? {
        return Ok(());
    }
    let path = Query::new()
        .with_some("filters", filters.json())
        .on("/volumes/prune");
    let client = call.app.client().await?;
    let response = client.request(Method::POST, &path, Body::Empty).await?;
    let report: VolumePruneReport = response.json().await?;
    let deleted = report.volumes_deleted.unwrap_or_default();
    if !deleted.is_empty() {
        out::line(&format!("Deleted Volumes:\n{}\n", deleted.join("\n")));
    }
    out::line(&format!(
        "Total reclaimed space: {}",
        units::human_size(report.space_reclaimed as f64)
    ));
    Ok(())
}
