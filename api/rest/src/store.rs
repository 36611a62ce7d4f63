//! Routes of our own about the image store: docs/api.md.

use engine::{Error, Presence, Result, Watermarks, removed_at};

use crate::Api;
use crate::answer::{self, Answer};
use crate::call::Call;

/// `POST /corten/images/scrub`.
pub(crate) async fn scrub(api: &Api) -> Result<Answer> {
    let found = api.0.engine.image_scrub().await?;
    let damaged: Vec<_> = found
        .damaged
        .iter()
        .map(|damage| {
            serde_json::json!({
                "Part": damage.part.name(),
                "Digest": damage.digest.as_str(),
                "Images": damage.images.iter().map(|id| id.as_str()).collect::<Vec<_>>(),
                "Reason": damage.reason,
                "Repaired": damage.repaired,
            })
        })
        .collect();
    answer::ok(&serde_json::json!({
        "Layers": found.layers,
        "Bytes": found.bytes,
        "Unpacked": found.unpacked,
        "Damaged": damaged,
        "Strays": found.strays,
    }))
}

/// `GET /corten/images/plan`.
pub(crate) async fn plan(api: &Api, call: &Call) -> Result<Answer> {
    let query = &call.query;
    let image = query.text("fromImage");
    let image = image.ok_or_else(|| Error::invalid("fromImage must be given"))?;
    let tag = query.get("tag").unwrap_or_default();
    let (platform, auth) = (query.text("platform"), call.registry_auth());
    let plan = api.0.engine.image_pull_plan(image, tag, platform, auth);
    let plan = plan.await?;
    let sum = |of: &dyn Fn(u64, Presence) -> u64| -> u64 {
        plan.layers
            .iter()
            .map(|(_, size, here)| of(*size, *here))
            .sum()
    };
    let layers: Vec<_> = plan
        .layers
        .iter()
        .map(|(digest, size, here)| {
            serde_json::json!({
                "Digest": digest.as_str(),
                "Size": size,
                "Status": here.name(),
                "Fetch": here.to_fetch(*size),
            })
        })
        .collect();
    answer::ok(&serde_json::json!({
        "Name": plan.name,
        "Digest": plan.digest.as_str(),
        "Manifest": plan.manifest.as_str(),
        "Id": plan.id.as_str(),
        "Platform": plan.platform.to_string(),
        "UpToDate": plan.up_to_date,
        "Layers": layers,
        "Size": sum(&|size, _| size),
        "Fetch": sum(&|size, here| here.to_fetch(size)),
    }))
}

/// `POST /corten/images/collect`.
pub(crate) async fn collect(api: &Api, call: &Call) -> Result<Answer> {
    let percent = |key: &str| -> Result<Option<u8>> {
        let Some(text) = call.query.text(key) else {
            return Ok(None);
        };
        let percent = text.parse().ok().filter(|percent| *percent <= 100);
        percent
            .map(Some)
            .ok_or_else(|| Error::invalid(format!("invalid {key} {text:?}: it is a percentage")))
    };
    let marks = match (percent("high")?, percent("low")?) {
        (Some(high), Some(low)) if low <= high => Some(Watermarks { high, low }),
        (None, None) => None,
        _ => {
            return Err(Error::invalid(
                "high and low must be given together, and low may not be above high",
            ));
        }
    };
    let dry = call.query.flag("dryrun");
    let done = api.0.engine.image_collect(marks, dry).await?;
    let images = done.images.iter();
    let images: Vec<_> = images
        .map(|(id, name)| serde_json::json!({ "Id": id, "Name": name }))
        .collect();
    answer::ok(&serde_json::json!({
        "DryRun": dry,
        "DiskSize": done.disk,
        "DiskFree": done.free,
        "Wanted": done.wanted,
        "Removed": done.removed,
        "Images": images,
        "SpaceReclaimed": done.freed,
    }))
}

/// `GET /corten/images/removed`.
pub(crate) fn removed(api: &Api) -> Result<Answer> {
    let all = api.0.engine.images_removed();
    let shown: Vec<_> = all
        .iter()
        .map(|image| {
            serde_json::json!({
                "Id": image.id.as_str(),
                "Names": image.names,
                "Removed": removed_at(image),
                "Size": image.size,
                "UniqueSize": image.unique,
            })
        })
        .collect();
    answer::ok(&shown)
}

/// `POST /corten/images/{name}/restore`.
pub(crate) async fn restore(api: &Api, name: &str) -> Result<Answer> {
    let (id, names) = api.0.engine.image_restore(name).await?;
    answer::ok(&serde_json::json!({ "Id": id, "Names": names }))
}
