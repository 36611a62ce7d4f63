//! The manifest of a push.

use images::Image;
use oci::Digest;
use oci::image::{Descriptor, media};
use serde::Serialize;

use crate::{Error, Inner, Result};

/// In the order and with the indentation of dockerd, so that the same image gets the same digest.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u32,
    media_type: &'a str,
    config: Blob<'a>,
    layers: Vec<Blob<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Blob<'a> {
    media_type: &'a str,
    size: u64,
    digest: &'a str,
}

/// Media type and bytes: what the image came with when that is still true, else docker's or, for an
/// image that came with OCI's, that.
pub(super) fn make(
    inner: &Inner,
    image: &Image,
    config_size: u64,
    layers: &[Descriptor],
) -> Result<(String, Vec<u8>)> {
    let came = inner.images.manifest(image).ok().flatten();
    if let (Some(of), Some((bytes, parsed))) = (&image.manifest, came) {
        let digests = |blobs: &[Descriptor]| -> Vec<String> {
            blobs.iter().map(|blob| blob.digest.to_string()).collect()
        };
        if digests(&parsed.layers) == digests(layers) {
            return Ok((of.media_type.clone(), bytes));
        }
    }
    let oci = image
        .manifest
        .as_ref()
        .is_some_and(|manifest| manifest.media_type == media::OCI_MANIFEST);
    let (media_type, config) = match oci {
        true => (media::OCI_MANIFEST, media::OCI_CONFIG),
        false => (media::DOCKER_MANIFEST, media::DOCKER_CONFIG),
    };
    let manifest = Manifest {
        schema_version: 2,
        media_type,
        config: Blob {
            media_type: config,
            size: config_size,
            digest: image.id.as_str(),
        },
        layers: layers
            .iter()
            .map(|blob| Blob {
                media_type: kind(&blob.media_type, oci),
                size: blob.size,
                digest: blob.digest.as_str(),
            })
            .collect(),
    };
    let mut bytes = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"   ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, indent);
    manifest
        .serialize(&mut serializer)
        .map_err(|error| Error::system(error.to_string()))?;
    Ok((media_type.to_owned(), bytes))
}

/// sha256 of a document.
pub(super) fn digest(bytes: &[u8]) -> Digest {
    use sha2::Digest as _;
    let hash: [u8; 32] = sha2::Sha256::digest(bytes).into();
    Digest::sha256(&hash)
}

/// The same compression in the words of the other specification.
fn kind(media_type: &str, oci: bool) -> &str {
    match (media_type, oci) {
        (media::DOCKER_LAYER_GZIP, true) => media::OCI_LAYER_GZIP,
        (media::OCI_LAYER_GZIP, false) => media::DOCKER_LAYER_GZIP,
        (own, _) => own,
    }
}
