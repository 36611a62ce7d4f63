//! `image rm --platform`: single platforms of an image go, its names stay.

use std::collections::BTreeSet;

use dockerapi::DeleteItem;
use oci::{Digest, Platform};

use super::remove as remove_image;
use crate::options::ImageRemoveOptions;
use crate::{Error, Inner, Result};

/// Removes those platforms. What a container has stays, as an image without a name; when it is the
/// last one that is here the whole image goes.
pub(super) fn remove(
    inner: &Inner,
    name: &str,
    options: &ImageRemoveOptions,
) -> Result<Vec<DeleteItem>> {
    if !options.force {
        return Err(Error::invalid(
            "Content will be removed from all images referencing this variant. Use \u{2014}-force \
             to force delete.",
        ));
    }
    let mut items = Vec::new();
    for platform in &options.platforms {
        let id = inner.images.resolve(name)?.id;
        let removed = one(inner, name, platform, options).map_err(|error| Error {
            message: format!(
                "failed to delete platform {platform} for image {id}: {}",
                error.message
            ),
            ..error
        });
        items.extend(removed?);
    }
    Ok(items)
}

fn one(
    inner: &Inner,
    name: &str,
    platform: &Platform,
    options: &ImageRemoveOptions,
) -> Result<Vec<DeleteItem>> {
    let image = inner.images.resolve_for(name, Some(platform))?;
    let (Some(index), Some(manifest)) = (&image.index, &image.manifest) else {
        return whole(inner, name, options);
    };
    let variants = inner.images.variants(&image).into_iter();
    let others =
        variants.filter(|it| it.image.is_some() && it.descriptor.digest != manifest.digest);
    if others.count() == 0 {
        return whole(inner, name, options);
    }
    let all = inner.containers.all().into_iter();
    let used = all.filter_map(|container| container.record().image_id.parse().ok());
    let keep: BTreeSet<Digest> = used.collect();
    let gone = inner
        .images
        .remove_variant(&index.digest, &manifest.digest, &keep)?;
    let deleted = |digest: &Digest| DeleteItem {
        deleted: digest.to_string(),
        ..DeleteItem::default()
    };
    let (images, layers) = gone;
    let all = [&manifest.digest].into_iter().chain(&images).chain(&layers);
    Ok(all.map(deleted).collect())
}

fn whole(inner: &Inner, name: &str, options: &ImageRemoveOptions) -> Result<Vec<DeleteItem>> {
    let options = ImageRemoveOptions {
        platforms: Vec::new(),
        ..options.clone()
    };
    remove_image(inner, name, &options)
}
