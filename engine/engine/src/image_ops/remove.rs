//! `image rm` and `image prune`, with moby's rules: a name goes first; the image goes with its last
//! name unless containers use it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dockerapi::{DeleteItem, ImagePruneReport};
use images::Image;
use oci::Reference;

use super::list::created;
use super::{blocking, event, short, tell};
use crate::list::PruneFilter;
use crate::options::{Filters, ImageRemoveOptions};
use crate::record::Phase;
use crate::{Engine, Error, Inner, Result, events};

mod platforms;

impl Engine {
    /// Removes a name of an image, or the image.
    ///
    /// # Errors
    /// Not found; conflict when containers or other names need it.
    pub async fn image_remove(
        &self,
        name: &str,
        options: ImageRemoveOptions,
    ) -> Result<Vec<DeleteItem>> {
        let (inner, name) = (Arc::clone(&self.0), name.to_owned());
        // Finished also when the client leaves.
        blocking(move || remove(&inner, &name, &options)).await
    }

    /// Removes images without a name, or with `dangling=false` all that no container uses.
    /// Filters: `dangling`, `label`, `label!`, `until`.
    ///
    /// # Errors
    /// Invalid parameter for other filters.
    pub async fn image_prune(&self, filters: &Filters) -> Result<ImagePruneReport> {
        filters.only(&["dangling", "label", "label!", "until"])?;
        let dangling = match filters.get("dangling") {
            [] => true,
            [value] if matches!(value.as_str(), "1" | "true") => true,
            [value] if matches!(value.as_str(), "0" | "false") => false,
            values => {
                return Err(Error::invalid(format!(
                    "invalid filter 'dangling={values:?}'"
                )));
            }
        };
        let filter = PruneFilter::parse(filters)?;
        let inner = Arc::clone(&self.0);
        blocking(move || prune(&inner, dangling, &filter)).await
    }
}

/// Which obstacles count.
#[derive(Debug, Clone, Copy)]
struct Care {
    names: bool,
    stopped: bool,
}

const HARD: Care = Care {
    names: false,
    stopped: false,
};
const ALL: Care = Care {
    names: true,
    stopped: true,
};

struct Conflict {
    /// A container is the obstacle.
    used: bool,
    message: String,
}

pub(super) fn remove(
    inner: &Inner,
    name: &str,
    options: &ImageRemoveOptions,
) -> Result<Vec<DeleteItem>> {
    if !options.platforms.is_empty() {
        return platforms::remove(inner, name, options);
    }
    let image = inner.images.resolve(name)?;
    let mut items = Vec::new();
    let begins =
        |digest: &oci::Digest| digest.as_str().starts_with(name) || digest.hex().starts_with(name);
    let documents = [&image.index, &image.manifest].into_iter().flatten();
    let by_id = begins(&image.id) || documents.map(|of| &of.digest).any(begins);
    let mut quiet = false;
    if by_id {
        if is_single(&image) {
            let care = if options.force {
                HARD
            } else {
                Care {
                    names: false,
                    stopped: true,
                }
            };
            if let Some(conflict) = conflict(inner, &image, care) {
                return Err(Error::conflict(conflict.message));
            }
            untag_all(inner, &image, &mut items)?;
        }
    } else {
        if !options.force
            && is_single(&image)
            && let Some((container, _)) = users(inner, &image).first()
        {
            return Err(Error::conflict(format!(
                "conflict: unable to remove repository reference {name:?} (must force) - container \
                 {} is using its referenced image {}",
                short(container),
                short(image.id.as_str())
            )));
        }
        let reference = name.parse::<Reference>().map(Reference::or_latest);
        let reference = reference.map_err(|error| Error::invalid(error.to_string()))?;
        if untag(inner, &image, &reference, &mut items)? {
            return Ok(items);
        }
        quiet = true;
    }
    // As it is now, without the names that went.
    let image = inner.images.resolve(image.id.as_str())?;
    delete(
        inner,
        &image,
        &mut items,
        options.force,
        !options.no_prune,
        quiet,
    )?;
    Ok(items)
}

/// Takes a name away; true when others are left.
fn untag(
    inner: &Inner,
    image: &Image,
    reference: &Reference,
    items: &mut Vec<DeleteItem>,
) -> Result<bool> {
    let Some(untagged) = inner.images.untag(reference)? else {
        // Somebody else was faster, or the name was one by digest of a tag.
        items.push(DeleteItem {
            untagged: reference.familiar(),
            ..DeleteItem::default()
        });
        return Ok(!image.tags.is_empty());
    };
    tell(inner, image, "untag", image.id.as_str());
    let item = |reference: &Reference| DeleteItem {
        untagged: reference.familiar(),
        ..DeleteItem::default()
    };
    items.extend(untagged.references.iter().map(item));
    // What went by this name alone, of other platforms.
    for orphan in &untagged.orphans {
        if let Ok(orphan) = inner.images.resolve(orphan.as_str()) {
            delete(inner, &orphan, items, false, true, true)?;
        }
    }
    Ok(untagged.named)
}

fn untag_all(inner: &Inner, image: &Image, items: &mut Vec<DeleteItem>) -> Result<()> {
    for reference in image.tags.iter().chain(&image.digests) {
        if let Some(untagged) = inner.images.untag(reference)? {
            tell(inner, image, "untag", image.id.as_str());
            items.extend(untagged.references.iter().map(|reference| DeleteItem {
                untagged: reference.familiar(),
                ..DeleteItem::default()
            }));
        }
    }
    Ok(())
}

/// Deletes an image that nothing stands against. `quiet`: what stands against it is no error.
fn delete(
    inner: &Inner,
    image: &Image,
    items: &mut Vec<DeleteItem>,
    force: bool,
    prune: bool,
    quiet: bool,
) -> Result<()> {
    if let Some(conflict) = conflict(inner, image, if force { HARD } else { ALL }) {
        let dangling = image.tags.is_empty() && image.digests.is_empty();
        if quiet && (!dangling || conflict.used) {
            return Ok(());
        }
        return Err(Error::conflict(conflict.message));
    }
    untag_all(inner, image, items)?;
    let (gone, layers) = inner.images.remove_but(&image.id, &BTreeSet::new())?;
    inner
        .events
        .publish(event(image, "delete", image.id.as_str()));
    let deleted = |id: String| DeleteItem {
        deleted: id,
        ..DeleteItem::default()
    };
    items.extend(gone.iter().map(|id| deleted(id.to_string())));
    items.extend(layers.iter().map(|layer| deleted(layer.to_string())));
    match &image.parent {
        Some(parent) if prune => match inner.images.resolve(parent.as_str()) {
            Ok(parent) => delete(inner, &parent, items, false, true, true),
            Err(_) => Ok(()),
        },
        _ => Ok(()),
    }
}

/// What stands against deleting an image, the worst first.
fn conflict(inner: &Inner, image: &Image, care: Care) -> Option<Conflict> {
    let found = |hard: bool, used: bool, why: String| {
        let force = if hard {
            "cannot be forced"
        } else {
            "must be forced"
        };
        let id = short(image.id.as_str());
        Some(Conflict {
            used,
            message: format!("conflict: unable to delete {id} ({force}) - {why}"),
        })
    };
    let images = inner.images.list().unwrap_or_default();
    if images
        .iter()
        .any(|child| child.parent.as_ref() == Some(&image.id))
    {
        return found(true, false, "image has dependent child images".into());
    }
    let users = users(inner, image);
    if let Some((id, _)) = users.iter().find(|(_, running)| *running) {
        let why = format!("image is being used by running container {}", short(id));
        return found(true, true, why);
    }
    if care.names && !(image.tags.is_empty() && image.digests.is_empty()) {
        return found(
            false,
            false,
            "image is referenced in multiple repositories".into(),
        );
    }
    if care.stopped
        && let Some((id, _)) = users.first()
    {
        let why = format!("image is being used by stopped container {}", short(id));
        return found(false, true, why);
    }
    None
}

/// Containers of an image, or of another platform that goes by its names, and whether they run.
pub(super) fn users(inner: &Inner, image: &Image) -> Vec<(String, bool)> {
    let together = inner.images.together(image);
    let is_of = |id: &str| together.iter().any(|image| image.id.as_str() == id);
    let all = inner
        .containers
        .all()
        .into_iter()
        .map(|container| container.record());
    all.filter(|record| is_of(&record.image_id))
        .map(|record| {
            let phase = record.state.phase;
            (
                record.id.clone(),
                phase.is_alive() || phase == Phase::Restarting,
            )
        })
        .collect()
}

/// At most one tag, and nothing of another repository.
fn is_single(image: &Image) -> bool {
    let mut names = image
        .tags
        .iter()
        .chain(&image.digests)
        .map(Reference::familiar_name);
    let Some(first) = names.next() else {
        return false;
    };
    image.tags.len() <= 1 && names.all(|name| name == first)
}

fn prune(inner: &Inner, dangling: bool, filter: &PruneFilter) -> Result<ImagePruneReport> {
    let mut report = ImagePruneReport::default();
    for image in inner.images.list()? {
        if (dangling && !image.tags.is_empty())
            || !filter.takes(created(&image), &image.config.config.labels)
            || !users(inner, &image).is_empty()
        {
            continue;
        }
        let names: Vec<String> = match image.tags.as_slice() {
            [] => vec![image.id.to_string()],
            tags => tags.iter().map(ToString::to_string).collect(),
        };
        let together = inner.images.together(&image);
        for name in names {
            match remove(inner, &name, &ImageRemoveOptions::default()) {
                Ok(items) => {
                    report.space_reclaimed += freed(&together, &items);
                    report.images_deleted.get_or_insert_default().extend(items);
                }
                Err(error) => tracing::debug!(image = name, err = %error, "not pruned"),
            }
        }
    }
    // With all images that nobody uses goes what is kept of those that were removed.
    if !dangling && filter.takes_all() {
        report.space_reclaimed += inner.images.expire(true)?.bytes;
    }
    let attributes = [("reclaimed".to_owned(), report.space_reclaimed.to_string())].into();
    inner
        .events
        .publish(events::make("image", "prune", "", attributes));
    Ok(report)
}

/// Bytes of the layers that went.
fn freed(images: &[Image], items: &[DeleteItem]) -> u64 {
    let gone = |layer: &str| items.iter().any(|item| item.deleted == layer);
    let layers = images.iter().flat_map(|image| {
        let layers = image.layers.iter().map(oci::Digest::as_str);
        layers.zip(image.layer_sizes.iter().copied())
    });
    let layers = layers.filter(|(layer, _)| gone(layer));
    let once: BTreeMap<&str, u64> = layers.collect();
    once.values().sum()
}
