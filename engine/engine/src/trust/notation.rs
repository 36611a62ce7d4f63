//! notation's signatures, by its own settings: a directory with `trustpolicy.json` (or
//! `trustpolicy.oci.json`, which goes first) and `trust-store/x509/<kind>/<store>/*.{pem,crt,cer}`.

use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use oci::Reference;
use registry::{Repository, Resolved};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use signature::{Envelope, Refused, Rules, Scheme, TrustPolicy, Verification};

use super::{documents, referrers, rejected, unsigned};
use crate::pull::blocking;
use crate::{Error, Result};

/// Type of the artifacts that signatures are.
const KIND: &str = "application/vnd.cncf.notary.signature";
const JWS: &str = "application/jose+json";
/// Longest policy or certificate.
const LONGEST: u64 = 1 << 20;

/// What a repository's images must have.
struct Wanted {
    /// Roots in DER, with the scheme for whose signatures they count.
    roots: Vec<(Scheme, Vec<u8>)>,
    rules: Rules,
}

/// Whether the image, or the index that it was chosen from, is signed as the settings ask.
///
/// # Errors
/// Forbidden when it is not; invalid parameter for settings that cannot be read.
pub(super) async fn check(
    dir: &Path,
    repository: &Repository,
    reference: &Reference,
    image: &Resolved,
) -> Result<()> {
    let (dir, name) = (
        dir.to_owned(),
        format!("{}/{}", reference.domain(), reference.path()),
    );
    let Some(wanted) = blocking(move || settings(&dir, &name)).await? else {
        return Ok(());
    };
    let mut reasons = Vec::new();
    for document in documents(image) {
        let artifact = referrers::artifact(document);
        for layer in referrers::layers(repository, document, KIND).await? {
            if layer.media_type != JWS {
                let kind = &layer.media_type;
                reasons.push(format!("signature envelope {kind:?} is not supported"));
                continue;
            }
            // Verified against its digest, and bounded.
            let bytes = repository.config(&layer).await?;
            match verified(&bytes, &wanted, &artifact) {
                Ok(told) => {
                    for text in told {
                        tracing::warn!(image = %reference, "its signature was accepted, but {text}");
                    }
                    return Ok(());
                }
                Err(refused) => reasons.push(refused.to_string()),
            }
        }
    }
    Err(unsigned(&reasons))
}

fn verified(
    bytes: &[u8],
    wanted: &Wanted,
    artifact: &signature::Artifact<'_>,
) -> std::result::Result<Vec<String>, Refused> {
    let envelope = Envelope::parse(bytes)?;
    let scheme = envelope.scheme();
    let roots = wanted.roots.iter().filter(|(of, _)| *of == scheme);
    let roots: Vec<Vec<u8>> = roots.map(|(_, root)| root.clone()).collect();
    envelope.verify(&roots, &wanted.rules, jiff::Timestamp::now(), artifact)
}

/// What `name` must have; `None` when nothing. Blocks.
fn settings(dir: &Path, name: &str) -> Result<Option<Wanted>> {
    let paths = ["trustpolicy.oci.json", "trustpolicy.json"].map(|file| dir.join(file));
    let path = paths.iter().find(|path| path.exists()).unwrap_or(&paths[1]);
    let wrong = |text: String| Error::invalid(format!("{}: {text}", path.display()));
    let policy = read(path).map_err(wrong)?;
    let policy = TrustPolicy::parse(&policy).map_err(|error| wrong(error.to_string()))?;
    let (stores, rules) = match policy.of(name) {
        None => {
            return Err(rejected(format!(
                "no trust policy of {} is for {name}",
                path.display()
            )));
        }
        Some(Verification::Skip) => return Ok(None),
        Some(Verification::Check { stores, rules }) => (stores, rules.clone()),
    };
    let mut roots = Vec::new();
    for (scheme, store) in stores {
        let kind = match scheme {
            Scheme::X509 => "ca",
            Scheme::SigningAuthority => "signingAuthority",
        };
        let store = dir.join("trust-store/x509").join(kind).join(store);
        let found = certificates(&store);
        let found = found.map_err(|text| Error::invalid(format!("{}: {text}", store.display())))?;
        roots.extend(found.into_iter().map(|root| (*scheme, root)));
    }
    Ok(Some(Wanted { roots, rules }))
}

/// All certificates of a store, in DER.
fn certificates(store: &Path) -> std::result::Result<Vec<Vec<u8>>, String> {
    let facts = std::fs::symlink_metadata(store).map_err(|error| error.to_string())?;
    if !facts.is_dir() {
        return Err("it is no directory".into());
    }
    let mut paths: Vec<PathBuf> = std::fs::read_dir(store)
        .map_err(|error| error.to_string())?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let extension = path.extension().and_then(|it| it.to_str());
        if !matches!(extension, Some("pem" | "crt" | "cer")) || path.is_dir() {
            continue;
        }
        let named = |text: String| format!("{}: {text}", path.display());
        let bytes = read(&path).map_err(named)?;
        if !bytes.starts_with(b"-----") && !bytes.windows(11).any(|part| part == b"-----BEGIN ") {
            found.push(bytes);
            continue;
        }
        for certificate in CertificateDer::pem_slice_iter(&bytes) {
            let certificate = certificate.map_err(|error| named(error.to_string()))?;
            found.push(certificate.to_vec());
        }
    }
    match found.is_empty() {
        true => Err("it has no certificates".into()),
        false => Ok(found),
    }
}

/// A file, which is no link.
fn read(path: &Path) -> std::result::Result<Vec<u8>, String> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits();
    let file = std::fs::File::options()
        .read(true)
        .custom_flags(i32::try_from(flags).unwrap_or(0))
        .open(path)
        .map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let read = file.take(LONGEST + 1).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    match bytes.len() as u64 > LONGEST {
        true => Err(format!("longer than {LONGEST} bytes")),
        false => Ok(bytes),
    }
}
