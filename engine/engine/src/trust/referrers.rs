//! Signatures that refer to what they sign (distribution-spec, "Listing Referrers").

use oci::image::Descriptor;
use registry::{Content, Document, Kind, Repository};
use signature::Artifact;

use crate::Result;

/// Most signatures of one artifact that are looked at.
const SIGNATURES: usize = 100;
/// What registries that know no types tell of whatever refers to something.
const UNTOLD: [&str; 2] = ["", "application/vnd.oci.empty.v1+json"];

/// What is signed, for who checks it.
pub(super) fn artifact(document: &Document) -> Artifact<'_> {
    Artifact {
        media_type: &document.media_type,
        digest: document.digest.as_str(),
        bytes: &document.bytes,
    }
}

/// The first layers of all that refers to a document and is of a type that begins with `kind`. Their
/// bytes are for the caller to get one by one: together they have no bound worth the name.
pub(super) async fn layers(
    repository: &Repository,
    of: &Document,
    kind: &str,
) -> Result<Vec<Descriptor>> {
    let all = repository.referrers(&of.digest).await?;
    let named = |entry: &Descriptor| {
        let told = entry.artifact_type.as_deref().unwrap_or_default();
        told.starts_with(kind) || UNTOLD.contains(&told)
    };
    let mut found = Vec::new();
    for entry in all.into_iter().filter(named).take(SIGNATURES) {
        let document = match repository.manifest(entry.digest.as_str()).await {
            // Removed, but still told of: no signature.
            Err(error) if error.kind == Kind::NotFound => continue,
            document => document?,
        };
        let Content::Manifest(manifest) = document.content else {
            continue;
        };
        let told = entry.artifact_type.as_deref().unwrap_or_default();
        let Some(layer) = manifest.layers.into_iter().next() else {
            continue;
        };
        let is_one = told.starts_with(kind)
            || manifest.config.media_type.starts_with(kind)
            || layer.media_type.starts_with(kind);
        if is_one {
            found.push(layer);
        }
    }
    Ok(found)
}
