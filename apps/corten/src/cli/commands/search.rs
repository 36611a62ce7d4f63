//! `search`.

use client::Query;
use gotemplate::Value;

use crate::cli::Call;
use crate::cli::failure::Outcome;
use crate::cli::filters::Filters;
use crate::cli::listing::{Kind, ellipsis, is_default_table};
use crate::cli::{credentials, out};

static KIND: Kind = Kind {
    type_name: "*search.searchContext",
    headers: &[
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("StarCount", "STARS"),
        ("IsOfficial", "OFFICIAL"),
        ("IsAutomated", "AUTOMATED"),
    ],
};

/// Longest description in the table.
const DESCRIPTION: usize = 45;

/// `search`.
pub(super) async fn run(call: &Call) -> Outcome {
    let flags = &call.flags;
    let term = &flags.args[0];
    let filters = Filters::from_values(&flags.list("filter"));
    let mut query = Query::new().with("term", term);
    if flags.changed("limit") && flags.int("limit") != 0 {
        query = query.with("limit", flags.int("limit").to_string());
    }
    let query = query.with_some("filters", filters.json());
    let domain = match term.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    };
    let auth = credentials::header(call.app.config(), domain)?;
    let client = call.app.client().await?;
    let found = client.image_search(&query, auth).await?;
    let shown = |text: &str| match flags.on("no-trunc") {
        true => text.to_owned(),
        false => ellipsis(text, DESCRIPTION),
    };
    let ok = |yes: bool| if yes { "[OK]" } else { "" };
    let rows: Vec<Value> = found
        .iter()
        .map(|one| {
            let description = one.description.replace(['\n', '\r'], " ");
            KIND.row(vec![
                ("Name", one.name.as_str().into()),
                ("Description", shown(&description).into()),
                ("StarCount", one.star_count.to_string().into()),
                ("IsOfficial", ok(one.is_official).into()),
                ("IsAutomated", ok(one.is_automated).into()),
            ])
        })
        .collect();
    let format = match flags.text("format") {
        format if is_default_table(format) => {
            "table {{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}"
        }
        format => format,
    };
    out::print(&KIND.render(format, &rows)?);
    Ok(())
}
