//! Signatures: what a pull must show before anything of it is unpacked, where a policy file asks for
//! it. One of an index counts for every image in it. Signatures are kept in the image's repository:
//! cosign's, made with keys, under the tag `sha256-<hex>.sig` (this file), or in bundles that refer to
//! the image (`bundles`); notation's refer to it too (`notation`).

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::image::Descriptor;
use oci::{Digest, Reference};
use registry::{Content, Document, Kind, Repository, Resolved};
use serde::Deserialize;
use signature::PublicKey;

use self::policy::{Identity, Policy, Requirement};
use crate::{Error, Result};

mod bundles;
mod notation;
mod policy;
mod referrers;

/// Media type of what cosign signs.
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const TYPE: &str = "cosign container image signature";
/// Most signatures of one image that are looked at.
const SIGNATURES: usize = 100;

/// What was signed (containers/image, docs/containers-signature.5.md).
#[derive(Deserialize)]
struct Signed {
    critical: Critical,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: SignedIdentity,
    image: SignedImage,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedIdentity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedImage {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// Checks an image against the policy in a file.
///
/// # Errors
/// Forbidden when the policy rejects it; invalid parameter for a policy that cannot be read.
pub(crate) async fn check(
    file: &Path,
    repository: &Repository,
    reference: &Reference,
    image: &Resolved,
) -> Result<()> {
    let policy = read(file).await?;
    for requirement in policy.of(reference) {
        match requirement {
            Requirement::Anything {} => {}
            Requirement::Reject {} => {
                return Err(rejected(format!(
                    "Running image docker://{reference} is rejected by policy."
                )));
            }
            Requirement::Sigstore {
                signed_identity, ..
            } => {
                let keys = keys(requirement).await?;
                signed(repository, reference, image, &keys, signed_identity).await?;
            }
            Requirement::Bundle {
                predicate_types, ..
            } => {
                let keys = keys(requirement).await?;
                bundles::check(repository, image, &keys, predicate_types).await?;
            }
            Requirement::Notation { config_path } => {
                notation::check(config_path, repository, reference, image).await?;
            }
        }
    }
    Ok(())
}

fn rejected(text: String) -> Error {
    Error::forbidden(format!("Source image rejected: {text}"))
}

async fn read(file: &Path) -> Result<Policy> {
    let wrong =
        |text: String| Error::invalid(format!("signature policy {}: {text}", file.display()));
    let bytes = contents(file).await.map_err(wrong)?;
    Policy::parse(&bytes).map_err(wrong)
}

async fn contents(file: &Path) -> std::result::Result<Vec<u8>, String> {
    let path = file.to_owned();
    let read = tokio::task::spawn_blocking(move || std::fs::read(path));
    match read.await {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(_) => Err("interrupted".into()),
    }
}

/// The keys that a requirement names.
async fn keys(of: &Requirement) -> Result<Vec<PublicKey>> {
    let sources = of.keys();
    let mut keys = Vec::new();
    for path in sources.paths() {
        let wrong = |text: String| Error::invalid(format!("{}: {text}", path.display()));
        let pem = contents(path).await.map_err(wrong)?;
        keys.push(PublicKey::from_pem(&pem).map_err(|error| wrong(error.to_string()))?);
    }
    for data in sources.datas() {
        let pem = STANDARD
            .decode(data)
            .map_err(|error| Error::invalid(format!("keyData: {error}")))?;
        let key = PublicKey::from_pem(&pem).map_err(|error| Error::invalid(error.to_string()))?;
        keys.push(key);
    }
    Ok(keys)
}

/// Whether one of the keys signed the image, or the index that it was chosen from.
async fn signed(
    repository: &Repository,
    reference: &Reference,
    image: &Resolved,
    keys: &[PublicKey],
    identity: &Identity,
) -> Result<()> {
    let mut reasons = Vec::new();
    for digest in documents(image).map(|document| &document.digest) {
        for layer in signatures(repository, digest).await? {
            match verified(repository, &layer, digest, reference, keys, identity).await? {
                Ok(()) => return Ok(()),
                Err(reason) => reasons.push(reason),
            }
        }
    }
    Err(unsigned(&reasons))
}

/// What may be signed: the image's manifest, and the index that it was chosen from.
fn documents(image: &Resolved) -> impl Iterator<Item = &Document> {
    let top = Some(&image.top).filter(|top| top.digest != image.document.digest);
    std::iter::once(&image.document).chain(top)
}

/// No signature counts, for these reasons.
fn unsigned(reasons: &[String]) -> Error {
    rejected(match reasons {
        [] => "A signature was required, but no signature exists".into(),
        [reason] => reason.clone(),
        several => format!(
            "None of the signatures were accepted, reasons: {}",
            several.join("; ")
        ),
    })
}

/// The signatures that cosign keeps beside a manifest.
async fn signatures(repository: &Repository, of: &Digest) -> Result<Vec<Descriptor>> {
    let tag = format!("{}.sig", of.as_str().replace(':', "-"));
    match repository.manifest(&tag).await {
        Ok(document) => match document.content {
            Content::Manifest(manifest) => {
                let layers = manifest.layers.into_iter();
                let payloads = layers.filter(|layer| layer.media_type == PAYLOAD);
                Ok(payloads.take(SIGNATURES).collect())
            }
            Content::Index(_) => Ok(Vec::new()),
        },
        Err(error) if error.kind == Kind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// The inner error says why a signature does not count.
async fn verified(
    repository: &Repository,
    layer: &Descriptor,
    digest: &Digest,
    image: &Reference,
    keys: &[PublicKey],
    identity: &Identity,
) -> Result<std::result::Result<(), String>> {
    let Some(signature) = layer.annotations.get(SIGNATURE) else {
        return Ok(Err(format!("{} has no signature", layer.digest)));
    };
    let Ok(signature) = STANDARD.decode(signature) else {
        return Ok(Err(format!(
            "the signature of {} is no base64",
            layer.digest
        )));
    };
    // Verified against its digest.
    let payload = repository.config(layer).await?;
    if !keys.iter().any(|key| key.verifies(&payload, &signature)) {
        return Ok(Err("cryptographic signature verification failed".into()));
    }
    Ok(judged(&payload, digest, image, identity))
}

/// Whether what was signed is this image.
fn judged(
    payload: &[u8],
    digest: &Digest,
    image: &Reference,
    identity: &Identity,
) -> std::result::Result<(), String> {
    let signed: Signed =
        serde_json::from_slice(payload).map_err(|error| format!("signature payload: {error}"))?;
    let critical = signed.critical;
    if critical.kind != TYPE {
        return Err(format!("Unrecognized signature type {:?}", critical.kind));
    }
    if critical.image.digest != digest.as_str() {
        return Err(format!(
            "Signature for digest {} does not match {digest}",
            critical.image.digest
        ));
    }
    if !identity.accepts(image, &critical.identity.reference) {
        return Err(format!(
            "Signature for identity {:?} is not accepted",
            critical.identity.reference
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_signed_must_be_the_image() {
        let digest = Digest::sha256(&[1; 32]);
        let image: Reference = "quay.io/a/b:1".parse().expect("reference");
        let payload = |name: &str, digest: &str, kind: &str| {
            format!(
                r#"{{"critical":{{"identity":{{"docker-reference":"{name}"}},
                "image":{{"docker-manifest-digest":"{digest}"}},"type":"{kind}"}},"optional":null}}"#
            )
        };
        let of = |text: &str| judged(text.as_bytes(), &digest, &image, &Identity::Repository {});
        let name = "quay.io/a/b";
        assert_eq!(of(&payload(name, digest.as_str(), TYPE)), Ok(()));
        let other = Digest::sha256(&[2; 32]);
        for wrong in [
            payload("quay.io/a/c", digest.as_str(), TYPE),
            payload(name, other.as_str(), TYPE),
            payload(name, digest.as_str(), "atomic container signature"),
            "{}".to_owned(),
        ] {
            assert!(of(&wrong).is_err(), "{wrong}");
        }
    }
}
