//! What a repository is read for: manifests by tag and digest, configurations, lists of tags, and what
//! refers to a manifest.

use std::ops::Range;

use http::header;
use oci::image::{Descriptor, Index, Manifest, media};
use oci::{Digest, Platform};

use crate::blob::{Blob, Piece};
use crate::manifest::{ACCEPTED, Content, Document, choose, digest};
use crate::session::{Repository, Right};
use crate::{Error, Kind};

/// Longest manifest and index (distribution-spec asks registries to take at least this).
const MANIFEST_LIMIT: usize = 4 << 20;
/// Longest configuration of an image.
const CONFIG_LIMIT: u64 = 8 << 20;
/// Most tags of a repository.
const TAGS_LIMIT: usize = 100_000;
/// Most referrers of a manifest.
const REFERRERS_LIMIT: usize = 10_000;
const INDEX_DEPTH: usize = 3;

/// What a reference stands for on one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// What the reference itself names: the index, or the manifest where there is none.
    pub top: Document,
    /// The image's manifest, as a document.
    pub document: Document,
    /// The same, parsed.
    pub manifest: Manifest,
}

impl Repository {
    /// The image that the reference names, for `platform`.
    ///
    /// # Errors
    /// Not found, denied and the like, in docker's words; corrupt when a digest differs.
    pub async fn resolve(&self, platform: &Platform) -> Result<Resolved, Error> {
        let reference = self.reference();
        let named = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        };
        let top = self.manifest(&named).await?;
        self.select(top, platform).await
    }

    /// The image for `platform` that a document stands for.
    ///
    /// # Errors
    /// Not found when an index has none; else as [`Repository::resolve`].
    pub async fn select(&self, top: Document, platform: &Platform) -> Result<Resolved, Error> {
        let mut document = top.clone();
        for _ in 0..INDEX_DEPTH {
            let index = match &document.content {
                Content::Manifest(manifest) => {
                    let manifest = Manifest::clone(manifest);
                    return Ok(Resolved {
                        top,
                        document,
                        manifest,
                    });
                }
                Content::Index(index) => index,
            };
            let Some(entry) = choose(index, platform) else {
                let text =
                    format!("no matching manifest for {platform} in the manifest list entries");
                return Err(Error::new(Kind::NotFound, text));
            };
            document = self.manifest(entry.digest.as_str()).await?;
        }
        Err(Error::new(
            Kind::Unsupported,
            "indexes are nested too deeply",
        ))
    }

    /// A manifest or index by tag or digest.
    ///
    /// # Errors
    /// As [`Repository::resolve`].
    pub async fn manifest(&self, named: &str) -> Result<Document, Error> {
        let path = format!("manifests/{named}");
        // A tag may be anything anywhere, a digest is what it is.
        let (right, accept) = match named.contains(':') {
            true => (Right::Pull, ACCEPTED.join(", ")),
            false => (Right::Resolve, ACCEPTED.join(", ")),
        };
        loop {
            let headers = [(header::ACCEPT, accept.clone())];
            let (answer, source) = self.get(&path, right, &headers).await?;
            let header = |name: &str| {
                let value = answer.head.headers.get(name);
                let value = value.and_then(|value| value.to_str().ok());
                value.unwrap_or_default().to_owned()
            };
            let (kind, promised) = (header("content-type"), header("docker-content-digest"));
            let bytes = answer.read(MANIFEST_LIMIT, self.stall()).await?;
            let found = digest(&bytes);
            let wrong = [promised.as_str(), named]
                .into_iter()
                .find(|promised| promised.starts_with("sha256:") && *promised != found.as_str());
            match wrong {
                None => return Document::parse(bytes, &kind),
                // Another one may tell the truth.
                Some(_) if self.distrust(&source) => {}
                Some(promised) => {
                    let text =
                        format!("manifest verification failed for digest {promised}: got {found}");
                    return Err(Error::new(Kind::Corrupt, text));
                }
            }
        }
    }

    /// All tags of the repository, in the registry's order.
    ///
    /// # Errors
    /// As [`Repository::resolve`].
    pub async fn tags(&self) -> Result<Vec<String>, Error> {
        #[derive(serde::Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let mut all = Vec::new();
        let mut query = String::new();
        loop {
            let path = format!("tags/list{query}");
            let (answer, _) = self.get(&path, Right::Resolve, &[]).await?;
            let more = next_page(&answer.head.headers);
            let bytes = answer.read(MANIFEST_LIMIT, self.stall()).await?;
            let page: Page = serde_json::from_slice(&bytes)
                .map_err(|error| Error::new(Kind::Corrupt, format!("list of tags: {error}")))?;
            let tags = page.tags.unwrap_or_default();
            // A page without tags that leads to another would never end.
            let empty = tags.is_empty();
            all.extend(tags);
            if all.len() > TAGS_LIMIT {
                let text = format!("more than {TAGS_LIMIT} tags");
                return Err(Error::new(Kind::Unsupported, text));
            }
            match more {
                Some(next) if !empty => query = next,
                _ => return Ok(all),
            }
        }
    }

    /// The configuration of an image, verified.
    ///
    /// # Errors
    /// As [`Repository::resolve`]; corrupt when size or digest differ.
    pub async fn config(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        if descriptor.size > CONFIG_LIMIT {
            let text = format!(
                "image configuration of {} bytes, {CONFIG_LIMIT} are allowed",
                descriptor.size
            );
            return Err(Error::new(Kind::Corrupt, text));
        }
        loop {
            let mut blob = self.blob(descriptor, 0..descriptor.size);
            let mut bytes = Vec::new();
            while let Some(piece) = blob.next().await? {
                if let Piece::Bytes(chunk) = piece {
                    bytes.extend_from_slice(&chunk);
                }
            }
            let found = digest(&bytes);
            if found == descriptor.digest {
                return Ok(bytes);
            }
            if !self.distrust(blob.source()) {
                let text = format!(
                    "image config verification failed for digest {}: got {found}",
                    descriptor.digest
                );
                return Err(Error::new(Kind::Corrupt, text));
            }
        }
    }

    /// A part of a blob as a stream. Nothing is asked before its first `next`. The bytes are not
    /// verified: that is for whoever takes them, in the same pass.
    pub fn blob(&self, descriptor: &Descriptor, range: Range<u64>) -> Blob {
        let attempts = self.attempts();
        Blob::new(self.clone(), descriptor.clone(), range, attempts)
    }

    /// What refers to a manifest: signatures, attestations and the like, by their manifests'
    /// descriptors. Registries without the API keep the same index under a tag
    /// (distribution-spec, "Referrers tag schema").
    ///
    /// # Errors
    /// As [`Repository::resolve`]; a manifest that nothing refers to has an empty list.
    pub async fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>, Error> {
        let mut all = Vec::new();
        let mut query = String::new();
        loop {
            let path = format!("referrers/{digest}{query}");
            let headers = [(header::ACCEPT, media::OCI_INDEX.to_owned())];
            let (answer, _) = match self.get(&path, Right::Resolve, &headers).await {
                Ok(answer) => answer,
                Err(error) if matches!(error.kind, Kind::NotFound | Kind::Invalid) => {
                    return self.referrers_by_tag(digest).await;
                }
                Err(error) => return Err(error),
            };
            let more = next_page(&answer.head.headers);
            let bytes = answer.read(MANIFEST_LIMIT, self.stall()).await?;
            let page: Index = serde_json::from_slice(&bytes)
                .map_err(|error| Error::new(Kind::Corrupt, format!("referrers: {error}")))?;
            let empty = page.manifests.is_empty();
            all.extend(page.manifests);
            if all.len() > REFERRERS_LIMIT {
                let text = format!("more than {REFERRERS_LIMIT} referrers of {digest}");
                return Err(Error::new(Kind::Unsupported, text));
            }
            match more {
                Some(next) if !empty => query = next,
                _ => return Ok(all),
            }
        }
    }

    async fn referrers_by_tag(&self, digest: &Digest) -> Result<Vec<Descriptor>, Error> {
        let tag = digest.as_str().replace(':', "-");
        match self.manifest(&tag).await {
            Ok(document) => match document.content {
                Content::Index(index) => Ok(index.manifests),
                Content::Manifest(_) => Ok(Vec::new()),
            },
            Err(error) if error.kind == Kind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// The query of the next page of a list, by its `Link` header (RFC 5988).
pub(crate) fn next_page(headers: &http::HeaderMap) -> Option<String> {
    let text = headers.get(header::LINK)?.to_str().ok()?;
    let (target, parameters) = text.strip_prefix('<')?.split_once('>')?;
    let is_next = parameters.contains("rel=\"next\"") || parameters.contains("rel=next");
    let (_, query) = target.split_once('?').filter(|_| is_next)?;
    Some(format!("?{query}"))
}
