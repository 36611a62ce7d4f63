//! `history`.

use client::Query;
use gotemplate::Value;

use crate::cli::Call;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::listing::{Kind, ellipsis, is_default_table, short_id};
use crate::cli::{out, units};

static KIND: Kind = Kind {
    type_name: "*image.historyContext",
    headers: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
};

/// `history`.
#[allow(
    clippy::cast_precision_loss,
    reason = "sizes are shown with three digits"
)]
pub(super) async fn run(call: &Call) -> Outcome {
    let flags = &call.flags;
    let human = flags.on("human");
    let trunc = !flags.on("no-trunc");
    let mut query = Query::new();
    if !flags.text("platform").is_empty() {
        query = query.with("platform", platform_json(flags.text("platform"))?);
    }
    let client = call.app.client().await?;
    let history = client.image_history(&flags.args[0], &query).await?;
    let rows: Vec<Value> = history
        .iter()
        .map(|item| {
            let id = if trunc { short_id(&item.id) } else { &item.id };
            let by = item.created_by.replace('\t', " ");
            let at = units::local_rfc3339(item.created);
            let since = if human {
                units::ago(item.created)
            } else {
                at.clone()
            };
            let size = if human {
                units::decimal_size(item.size as f64, 3, "")
            } else {
                item.size.to_string()
            };
            KIND.row(vec![
                ("ID", id.into()),
                ("CreatedSince", since.into()),
                ("CreatedAt", at.into()),
                (
                    "CreatedBy",
                    if trunc { ellipsis(&by, 45) } else { by }.into(),
                ),
                ("Size", size.into()),
                ("Comment", item.comment.as_str().into()),
            ])
        })
        .collect();
    let format = match flags.text("format") {
        format if is_default_table(format) => match (flags.on("quiet"), human) {
            (true, _) => "{{.ID}}",
            (false, true) => {
                "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}"
            }
            (false, false) => {
                "table {{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}"
            }
        },
        format => format,
    };
    out::print(&KIND.render(format, &rows)?);
    Ok(())
}

/// A platform as the API's `platform` parameters take it.
pub(super) fn platform_json(text: &str) -> Outcome<String> {
    let platform: oci::Platform = text
        .parse()
        .map_err(|error| Failure::new(format!("invalid platform: {error}")))?;
    serde_json::to_string(&platform).map_err(|error| Failure::new(error.to_string()))
}
