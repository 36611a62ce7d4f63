//! What an image's index lists, as the API has it.

use dockerapi::{
    AttestationData, ImageManifestData, ImageManifestFiles, ImageManifestSize, ImageManifestSummary,
};
use images::{Image, Variant, VariantKind};
use oci::image::Descriptor;

use super::list::signed;
use crate::Inner;

/// What an image's names lead to.
pub(super) fn target(image: &Image) -> Option<Descriptor> {
    image.index.clone().or_else(|| image.manifest.clone())
}

/// One row for each manifest, in the index's order.
pub(super) fn of(inner: &Inner, image: &Image) -> Vec<ImageManifestSummary> {
    let variants = inner.images.variants(image).into_iter();
    variants.map(|variant| summary(inner, variant)).collect()
}

fn summary(inner: &Inner, variant: Variant) -> ImageManifestSummary {
    let image = variant.image.as_ref();
    let unpacked = image.map_or(0, |image| image.size);
    let mut row = ImageManifestSummary {
        id: variant.descriptor.digest.to_string(),
        available: variant.available,
        size: ImageManifestSize {
            content: signed(variant.content),
            total: signed(variant.content.saturating_add(unpacked)),
        },
        kind: String::new(),
        image_data: None,
        attestation_data: None,
        descriptor: variant.descriptor,
    };
    match variant.kind {
        VariantKind::Image(platform) => {
            row.kind = "image".into();
            row.image_data = Some(ImageManifestData {
                platform,
                size: ImageManifestFiles {
                    unpacked: signed(unpacked),
                },
                containers: image.and_then(|image| containers(inner, image)),
            });
        }
        // As moby: without a manifest that it is about it is of no known kind.
        VariantKind::Attestation(Some(about)) => {
            row.kind = "attestation".into();
            row.attestation_data = Some(AttestationData {
                about: about.to_string(),
            });
        }
        VariantKind::Attestation(None) | VariantKind::Unknown => row.kind = "unknown".into(),
    }
    row
}

/// Containers made of just this platform.
fn containers(inner: &Inner, image: &Image) -> Option<Vec<String>> {
    let all = inner.containers.all().into_iter();
    let of = all.map(|container| container.record());
    let of = of.filter(|record| record.image_id == image.id.as_str());
    let ids: Vec<String> = of.map(|record| record.id.clone()).collect();
    (!ids.is_empty()).then_some(ids)
}
