//! `images`.

use client::Query;
use dockerapi::ImageSummary;
use gotemplate::Value;
use oci::Reference;

use crate::cli::Call;
use crate::cli::failure::Outcome;
use crate::cli::filters::Filters;
use crate::cli::listing::{Kind, is_default_table, short_id};
use crate::cli::{out, units};

mod tree;

pub(super) static KIND: Kind = Kind {
    type_name: "*formatter.imageContext",
    headers: &[
        ("ID", "IMAGE ID"),
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("Size", "SIZE"),
        ("Containers", "CONTAINERS"),
        ("VirtualSize", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
    ],
};

const CREATED: &str = "{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}";

/// `images`.
pub(super) async fn run(call: &Call) -> Outcome {
    let flags = &call.flags;
    if flags.on("tree") {
        return tree(call).await;
    }
    let quiet = flags.on("quiet");
    let mut filters = Filters::from_values(&flags.list("filter"));
    if let Some(name) = flags.args.first() {
        filters.add("reference", name);
    }
    let format = match (flags.text("format"), quiet) {
        ("", false) => call.app.config().text("imagesFormat").to_owned(),
        (format, _) => format.to_owned(),
    };
    let query = Query::new()
        .with_flag("all", flags.on("all"))
        .with_some("filters", filters.json());
    let images = call.app.client().await?.image_list(&query).await?;
    let digests = flags.on("digests");
    let trunc = !flags.on("no-trunc");
    let wants_digest = digests || format.contains("{{.Digest}}");
    let format = match format.as_str() {
        format if is_default_table(format) => match (quiet, digests) {
            (true, _) => "{{.ID}}".to_owned(),
            (false, false) => {
                format!("table {{{{.Repository}}}}\t{{{{.Tag}}}}\t{{{{.ID}}}}\t{CREATED}\t{{{{.Size}}}}")
            }
            (false, true) => format!(
                "table {{{{.Repository}}}}\t{{{{.Tag}}}}\t{{{{.Digest}}}}\t{{{{.ID}}}}\t{CREATED}\t{{{{.Size}}}}"
            ),
        },
        "raw" if quiet => "image_id: {{.ID}}".to_owned(),
        "raw" => "repository: {{ .Repository }}\ntag: {{.Tag}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n".to_owned(),
        format => format.to_owned(),
    };
    let dangling = filters.has("dangling");
    let rows: Vec<Value> = images
        .iter()
        .flat_map(|image| {
            names(image, wants_digest, dangling)
                .into_iter()
                .map(move |name| row(image, &name, trunc))
        })
        .collect();
    out::print(&KIND.render(&format, &rows)?);
    Ok(())
}

/// `images --tree`.
async fn tree(call: &Call) -> Outcome {
    let flags = &call.flags;
    for (is_set, name) in [
        (flags.on("quiet"), "--quiet"),
        (flags.on("no-trunc"), "--no-trunc"),
        (flags.on("digests"), "--show-digest"),
        (!flags.text("format").is_empty(), "--format"),
    ] {
        if is_set {
            return Err(format!("{name} is not yet supported with --tree").into());
        }
    }
    let mut filters = Filters::from_values(&flags.list("filter"));
    if let Some(name) = flags.args.first() {
        filters.add("reference", name);
    }
    let all = flags.on("all");
    let query = Query::new()
        .with_flag("all", all)
        .with_some("filters", filters.json())
        .with_flag("manifests", true);
    let images = call.app.client().await?.image_list(&query).await?;
    tree::draw(images, all);
    Ok(())
}

/// One line of an image.
pub(super) struct Name {
    pub(super) repository: String,
    pub(super) tag: String,
    pub(super) digest: String,
}

/// Lines of an image: one for each tag, and with digests one for each digest of a repository.
fn names(image: &ImageSummary, digests: bool, _dangling: bool) -> Vec<Name> {
    const NONE: &str = "<none>";
    let tags: Vec<Reference> = image
        .repo_tags
        .iter()
        .filter(|tag| *tag != "<none>:<none>")
        .filter_map(|tag| tag.parse().ok())
        .collect();
    let pinned: Vec<Reference> = image
        .repo_digests
        .iter()
        .filter(|digest| *digest != "<none>@<none>")
        .filter_map(|digest| digest.parse().ok())
        .collect();
    let name = |repository: String, tag: &str, digest: &str| Name {
        repository,
        tag: tag.to_owned(),
        digest: digest.to_owned(),
    };
    let mut all = Vec::new();
    for tag in &tags {
        let repository = tag.familiar_name();
        let label = tag.tag().unwrap_or(NONE);
        let of_repository: Vec<&Reference> = pinned
            .iter()
            .filter(|pinned| digests && pinned.familiar_name() == repository)
            .collect();
        if of_repository.is_empty() {
            all.push(name(repository, label, NONE));
            continue;
        }
        for pinned in of_repository {
            let digest = pinned.digest().map_or(NONE, |digest| digest.as_str());
            all.push(name(repository.clone(), label, digest));
        }
    }
    for pinned in &pinned {
        let repository = pinned.familiar_name();
        if tags.iter().any(|tag| tag.familiar_name() == repository) {
            continue;
        }
        let digest = pinned.digest().map_or(NONE, |digest| digest.as_str());
        all.push(name(repository, NONE, if digests { digest } else { NONE }));
    }
    if all.is_empty() {
        all.push(name(NONE.into(), NONE, NONE));
    }
    all
}

#[allow(
    clippy::cast_precision_loss,
    reason = "sizes are shown with three digits"
)]
pub(super) fn row(image: &ImageSummary, name: &Name, trunc: bool) -> Value {
    let size = |size: i64| units::decimal_size(size as f64, 3, "");
    let human = |size: i64| units::human_size(size as f64);
    let counted = |count: i64, text: String| if count == -1 { "N/A".to_owned() } else { text };
    let id = if trunc {
        short_id(&image.id)
    } else {
        &image.id
    };
    let since = units::ago(image.created);
    let virtual_size = image.virtual_size.unwrap_or(image.size);
    KIND.row(vec![
        ("ID", id.into()),
        ("Repository", name.repository.as_str().into()),
        ("Tag", name.tag.as_str().into()),
        ("Digest", name.digest.as_str().into()),
        ("CreatedSince", since.into()),
        ("CreatedAt", units::local_time(image.created).into()),
        ("Size", size(image.size).into()),
        (
            "Containers",
            counted(image.containers, image.containers.to_string()).into(),
        ),
        ("VirtualSize", human(virtual_size).into()),
        (
            "SharedSize",
            counted(image.shared_size, human(image.shared_size)).into(),
        ),
        (
            "UniqueSize",
            if image.shared_size == -1 || image.size == -1 {
                "N/A".into()
            } else {
                human(image.size - image.shared_size).into()
            },
        ),
    ])
}
