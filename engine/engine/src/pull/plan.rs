//! What a pull would fetch: asked for are manifests and the configuration, which tells what layers
//! are made of; of layers nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use dockerapi::AuthConfig;
use images::Here;
use oci::image::ImageConfig;
use oci::{Digest, Platform};
use registry::Content;

use super::{blocking, check_config, parse, wanted};
use crate::registries::credentials;
use crate::{Engine, Error, Result, trust};

/// What a pull would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullPlan {
    /// The image's familiar name, with tag or digest.
    pub name: String,
    /// What the name stands for: an index or a manifest.
    pub digest: Digest,
    /// The image's manifest.
    pub manifest: Digest,
    /// The image.
    pub id: Digest,
    /// What the image says that it is for.
    pub platform: Platform,
    /// The name stands for this image here already, and all of it is here.
    pub up_to_date: bool,
    /// Digests of the compressed layers, from the base, their bytes, and how much is here.
    pub layers: Vec<(Digest, u64, Presence)>,
}

/// How much of a layer is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// All of it, or it comes with an earlier layer of the same image.
    Present,
    /// It is in use before all of it has come; the rest comes by itself.
    Lazy,
    /// So many compressed bytes, which are not asked for again.
    Partial(u64),
    /// Nothing.
    Missing,
}

impl Presence {
    /// As told by the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Lazy => "lazy",
            Self::Partial(_) => "partial",
            Self::Missing => "missing",
        }
    }

    /// How many of a layer's `size` bytes a pull would fetch.
    pub fn to_fetch(self, size: u64) -> u64 {
        match self {
            Self::Present | Self::Lazy => 0,
            Self::Partial(here) => size.saturating_sub(here),
            Self::Missing => size,
        }
    }
}

impl Engine {
    /// Tells what a pull of one image would fetch. Nothing here is changed. The signature policy is
    /// kept to as by a pull.
    ///
    /// # Errors
    /// As those of [`Engine::image_pull`], all of them at once; invalid parameter where neither tag
    /// nor digest is given.
    pub async fn image_pull_plan(
        &self,
        image: &str,
        tag: &str,
        platform: Option<&str>,
        auth: Option<AuthConfig>,
    ) -> Result<PullPlan> {
        let asked = platform.map(str::parse::<Platform>).transpose();
        let asked = asked.map_err(|error| Error::invalid(error.to_string()))?;
        let platform = asked.unwrap_or_else(Platform::host);
        let reference = parse(image, tag)?;
        let named = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.to_owned(),
            (None, None) => {
                let text = "a plan is for one image: a tag or a digest is needed";
                return Err(Error::invalid(text));
            }
        };
        let registries = &self.0.registries;
        let login = auth.map(credentials).unwrap_or_default();
        let repository = registries.client().repository(&reference, &login);
        let top = repository.manifest(&named).await?;
        if let Content::Manifest(manifest) = &top.content {
            check_config(&manifest.config)?;
        }
        let resolved = repository.select(top, &platform).await?;
        if let Some(policy) = &registries.settings().signature_policy {
            trust::check(policy, &repository, &reference, &resolved).await?;
        }
        check_config(&resolved.manifest.config)?;
        let config = repository.config(&resolved.manifest.config).await?;
        let parsed: ImageConfig = serde_json::from_slice(&config)
            .map_err(|error| Error::invalid(format!("image configuration: {error}")))?;
        let wanted = wanted(&resolved.manifest.layers, &parsed)?;
        let inner = Arc::clone(&self.0);
        let id = resolved.manifest.config.digest.clone();
        let (known, name) = (id.clone(), reference.to_string());
        let (up_to_date, layers) = blocking(move || {
            let images = &inner.images;
            let mut seen = BTreeSet::new();
            let mut layers = Vec::new();
            for layer in wanted {
                let (digest, size) = (layer.blob.digest, layer.blob.size);
                let twice = !seen.insert(digest.clone());
                let here = match images.here(&layer.chain, &layer.diff_id, &digest, size) {
                    _ if twice => Presence::Present,
                    Here::Layer { lazy: false } => Presence::Present,
                    Here::Layer { lazy: true } => Presence::Lazy,
                    Here::Bytes(0) => Presence::Missing,
                    Here::Bytes(bytes) => Presence::Partial(bytes),
                };
                layers.push((digest, size, here));
            }
            let named = images
                .resolve(&name)
                .is_ok_and(|image| image.id == known && images.is_whole(&image));
            Ok((named, layers))
        })
        .await?;
        Ok(PullPlan {
            name: reference.familiar(),
            digest: resolved.top.digest,
            manifest: resolved.document.digest,
            id,
            platform: parsed.platform(),
            up_to_date,
            layers,
        })
    }
}
