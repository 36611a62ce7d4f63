//! Manifests and indexes as documents: verified bytes, their kind, and the choice of a platform.

use oci::image::{Descriptor, Index, Manifest, media};
use oci::{Digest, Platform};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::{Error, Kind};

/// Media types that are asked for.
pub(crate) const ACCEPTED: [&str; 4] = [
    media::OCI_INDEX,
    media::OCI_MANIFEST,
    media::DOCKER_LIST,
    media::DOCKER_MANIFEST,
];

/// A manifest or index exactly as the registry keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Of the bytes, verified.
    pub digest: Digest,
    /// One of the four accepted.
    pub media_type: String,
    /// The document.
    pub bytes: Vec<u8>,
    /// What it says.
    pub content: Content,
}

/// What a document is.
#[allow(
    clippy::large_enum_variant,
    reason = "one a pull, and nearly always the large one"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// One image.
    Manifest(Manifest),
    /// Images for several platforms.
    Index(Index),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    manifests: Option<serde_json::Value>,
    layers: Option<serde_json::Value>,
    config: Option<serde_json::Value>,
}

/// sha256 of some bytes.
pub(crate) fn digest(bytes: &[u8]) -> Digest {
    let hash: [u8; 32] = Sha256::digest(bytes).into();
    Digest::sha256(&hash)
}

impl Document {
    /// Parses a document. `content_type` decides where the document does not say what it is; one
    /// that could be read both ways is refused.
    pub(crate) fn parse(bytes: Vec<u8>, content_type: &str) -> Result<Self, Error> {
        let corrupt = |text: String| Error::new(Kind::Corrupt, format!("manifest invalid: {text}"));
        let shape: Shape =
            serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))?;
        if shape.schema_version == 1 {
            let text = "support for Docker Image manifest version 2, schema 1 has been removed: \
                        push the image again with a newer client";
            return Err(Error::new(Kind::Unsupported, text));
        }
        let is_index = shape.manifests.is_some();
        if is_index && (shape.layers.is_some() || shape.config.is_some()) {
            return Err(corrupt("it has manifests as well as layers".into()));
        }
        let content_type = content_type.split(';').next().unwrap_or_default().trim();
        let fallback = if is_index {
            media::OCI_INDEX
        } else {
            media::OCI_MANIFEST
        };
        let media_type = [shape.media_type.as_str(), content_type]
            .into_iter()
            .find(|kind| ACCEPTED.contains(kind))
            .unwrap_or(if shape.media_type.is_empty() {
                fallback
            } else {
                &shape.media_type
            })
            .to_owned();
        let digest = digest(&bytes);
        let content = match media_type.as_str() {
            media::OCI_INDEX | media::DOCKER_LIST if is_index => Content::Index(
                serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))?,
            ),
            media::OCI_MANIFEST | media::DOCKER_MANIFEST if !is_index => Content::Manifest(
                serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))?,
            ),
            other if ACCEPTED.contains(&other) => {
                return Err(corrupt(format!(
                    "it is not the {other} that it claims to be"
                )));
            }
            other => {
                let text = format!("unsupported manifest media type {other:?}");
                return Err(Error::new(Kind::Unsupported, text));
            }
        };
        Ok(Self {
            digest,
            media_type,
            bytes,
            content,
        })
    }
}

/// The manifest of an index that fits `wanted` best.
pub fn choose<'a>(index: &'a Index, wanted: &Platform) -> Option<&'a Descriptor> {
    let usable = index.manifests.iter().filter(|entry| {
        ACCEPTED.contains(&entry.media_type.as_str()) || entry.media_type.is_empty()
    });
    let mut best: Option<(u32, &Descriptor)> = None;
    for entry in usable {
        // An entry for no platform in particular is for whoever finds nothing better.
        let rank = match &entry.platform {
            Some(platform) => wanted.suits(platform),
            None => Some(1),
        };
        if let Some(rank) = rank
            && best.is_none_or(|(other, _)| rank > other)
        {
            best = Some((rank, entry));
        }
    }
    best.map(|(_, entry)| entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[&str]) -> Index {
        let manifests: Vec<serde_json::Value> = platforms
            .iter()
            .enumerate()
            .map(|(n, text)| {
                let parts: Vec<&str> = text.split('/').collect();
                let mut entry = serde_json::json!({
                    "mediaType": media::OCI_MANIFEST, "size": n, "digest": format!("sha256:{n:064}"),
                });
                if parts.len() > 1 {
                    entry["platform"] = serde_json::json!({
                        "os": parts[0], "architecture": parts[1],
                        "variant": parts.get(2).copied().unwrap_or(""),
                    });
                }
                entry
            })
            .collect();
        let index = serde_json::json!({"schemaVersion": 2, "manifests": manifests});
        serde_json::from_value(index).unwrap()
    }

    #[test]
    fn platforms() {
        let all = index(&[
            "unknown/unknown",
            "linux/amd64/v3",
            "linux/amd64",
            "linux/arm/v5",
            "linux/arm/v6",
            "linux/arm64/v8",
            "windows/amd64",
        ]);
        for (wanted, position) in [
            ("linux/amd64", Some(2)),
            ("linux/amd64/v3", Some(1)),
            ("linux/amd64/v2", Some(2)),
            ("linux/arm64", Some(5)),
            ("linux/arm/v7", Some(4)),
            ("linux/arm/v5", Some(3)),
            ("linux/s390x", None),
        ] {
            let wanted: Platform = wanted.parse().unwrap();
            let found = choose(&all, &wanted).map(|entry| entry.size);
            assert_eq!(found, position, "{wanted}");
        }
        let loose = index(&["x", "linux/arm64"]);
        assert_eq!(
            choose(&loose, &"linux/amd64".parse().unwrap())
                .unwrap()
                .size,
            0
        );
        assert_eq!(
            choose(&loose, &"linux/arm64".parse().unwrap())
                .unwrap()
                .size,
            1
        );
    }

    #[test]
    fn shapes() {
        let parse = |text: &str, kind: &str| Document::parse(text.as_bytes().to_vec(), kind);
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        assert_eq!(
            parse(index, "text/plain").unwrap().media_type,
            media::OCI_INDEX
        );
        assert_eq!(
            parse(index, media::DOCKER_LIST).unwrap().media_type,
            media::DOCKER_LIST
        );
        let kind = |text: &str, kind: &str| parse(text, kind).unwrap_err().kind;
        assert_eq!(kind(index, media::OCI_MANIFEST), Kind::Corrupt);
        assert_eq!(kind(r#"{"schemaVersion":1}"#, ""), Kind::Unsupported);
        assert_eq!(
            kind(r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#, ""),
            Kind::Corrupt
        );
        assert_eq!(
            kind(r#"{"mediaType":"application/x"}"#, ""),
            Kind::Unsupported
        );
        assert_eq!(kind("<html>", ""), Kind::Corrupt);
    }
}
