//! Pushing images: layers that the registry lacks, the configuration, the manifest.
//!
//! ```text
//!  layer ─► a blob known of it? ─yes─► there already? ─no─► mounted from its repository? ─no─┐
//!               │ no                                                                         ▼
//!               └────────────► tar ► gzip ► digest ► pieces ► registry ► remembered
//! ```
//!
//! An image whose layers are all the blobs of the manifest it came with is pushed with that very
//! manifest, and so keeps its digest.

use std::sync::Arc;

use dockerapi::{AuthConfig, JsonMessage};
use images::Image;
use oci::image::{Descriptor, media};
use oci::{Platform, Reference};
use registry::{Begun, Repository};
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use self::layer::Layer;
use crate::pull::{Report, blocking};
use crate::registries::credentials;
use crate::{Engine, Error, Inner, Lines, Result, events};

mod layer;
mod manifest;

/// Lines that may wait for a slow client.
const QUEUE: usize = 64;
/// Layers that are sent at the same time, as dockerd's `max-concurrent-uploads`.
const UPLOADS: usize = 5;

impl Engine {
    /// Pushes a tag, or with an empty one all tags of a repository. The push ends when its lines
    /// are no longer read.
    ///
    /// # Errors
    /// Invalid parameter for names that break the grammar. All else comes as a line.
    pub fn image_push(
        &self,
        name: &str,
        tag: &str,
        platform: Option<Platform>,
        auth: Option<AuthConfig>,
    ) -> Result<Lines<JsonMessage>> {
        let invalid = |error: oci::reference::InvalidReference| Error::invalid(error.to_string());
        let mut reference: Reference = name.parse().map_err(invalid)?;
        if reference.digest().is_some() || tag.contains(':') {
            return Err(Error::invalid("cannot push a digest reference"));
        }
        if !tag.is_empty() {
            reference = reference.with_tag(tag).map_err(invalid)?;
        }
        let credentials = auth.map(credentials).unwrap_or_default();
        let (out, lines) = mpsc::channel(QUEUE);
        let push = Push {
            inner: Arc::clone(&self.0),
            repository: self
                .0
                .registries
                .client()
                .writable(&reference, &credentials),
            reference,
            platform,
            report: Report::new(out),
        };
        tokio::spawn(push.run());
        Ok(lines)
    }
}

/// One push.
struct Push {
    inner: Arc<Inner>,
    repository: Repository,
    reference: Reference,
    /// Only for this one.
    platform: Option<Platform>,
    report: Report,
}

impl Push {
    async fn run(self) {
        let outcome = tokio::select! {
            outcome = self.whole() => outcome,
            () = self.report.closed() => return,
        };
        if let Err(error) = outcome {
            tracing::debug!(image = %self.reference, err = %error, "push failed");
            self.report.fail(error).await;
        }
    }

    async fn whole(&self) -> Result<()> {
        let reference = &self.reference;
        let (domain, path) = (reference.domain(), reference.path());
        let said = format!("The push refers to repository [{domain}/{path}]");
        self.report.say("", said).await;
        let images = self.inner.images.list()?;
        let all = images.iter().flat_map(|image| image.tags.iter());
        let tags: Vec<Reference> = all
            .filter(|tag| tag.familiar_name() == reference.familiar_name())
            .cloned()
            .collect();
        if tags.is_empty() {
            return Err(Error::not_found(format!(
                "An image does not exist locally with the tag: {}",
                reference.familiar_name()
            )));
        }
        let wanted = match reference.tag() {
            None => tags,
            Some(tag) => tags
                .into_iter()
                .filter(|other| other.tag() == Some(tag))
                .collect(),
        };
        if wanted.is_empty() {
            return Err(Error::not_found(format!(
                "tag does not exist: {}",
                reference.familiar()
            )));
        }
        for tag in wanted {
            self.one(&tag).await?;
        }
        Ok(())
    }

    async fn one(&self, tag: &Reference) -> Result<()> {
        let image = self.inner.images.resolve(&tag.to_string())?;
        crate::lazy::check_whole(&self.inner, &image)?;
        self.check_platform(&image, tag)?;
        let blobs = self.layers(&image).await?;
        let (inner, id) = (Arc::clone(&self.inner), image.id.clone());
        let config = blocking(move || Ok(inner.images.config_bytes(&id)?)).await?;
        let config_size = config.len() as u64;
        if !self.repository.has_blob(&image.id).await? {
            match self.repository.begin(None).await? {
                Begun::Mounted => {}
                Begun::Upload(upload) => upload.commit(&image.id, config.into()).await?,
            }
        }
        let (inner, of) = (Arc::clone(&self.inner), image.clone());
        let (media_type, bytes) =
            blocking(move || manifest::make(&inner, &of, config_size, &blobs)).await?;
        let (name, size) = (tag.tag().unwrap_or_default(), bytes.len());
        let digest = self
            .repository
            .put_manifest(name, &media_type, bytes)
            .await?;
        // As moby: what was pushed is known by its digest from then on.
        let (inner, id) = (Arc::clone(&self.inner), image.id.clone());
        let known_as = tag.with_digest(digest.clone());
        if !image.digests.contains(&known_as) {
            blocking(move || Ok(inner.images.tag(&id, &known_as)?)).await?;
        }
        let said = format!("{name}: digest: {digest} size: {size}");
        self.report.say("", said).await;
        self.report
            .aux(json!({"Tag": name, "Digest": digest.as_str(), "Size": size}))
            .await;
        let mut attributes = image.config.config.labels.clone();
        attributes.insert("name".into(), tag.familiar_name());
        let event = events::make("image", "push", &tag.familiar(), attributes);
        self.inner.events.publish(event);
        Ok(())
    }

    /// There is one platform of an image here.
    fn check_platform(&self, image: &Image, tag: &Reference) -> Result<()> {
        let Some(wanted) = &self.platform else {
            return Ok(());
        };
        let config = &image.config;
        let is = (config.os.as_str(), config.architecture.as_str());
        let same_variant = wanted.variant.is_empty()
            || config.variant.is_empty()
            || wanted.variant == config.variant;
        if is == (wanted.os.as_str(), wanted.architecture.as_str()) && same_variant {
            return Ok(());
        }
        Err(Error::not_found(format!(
            "image with reference {} was found but does not provide the specified platform ({wanted})",
            tag.familiar()
        )))
    }

    /// Makes the registry have all layers; answers their blobs, base first.
    async fn layers(&self, image: &Image) -> Result<Vec<Descriptor>> {
        let slots = Arc::new(Semaphore::new(UPLOADS));
        let mut tasks = JoinSet::new();
        let oci = image
            .manifest
            .as_ref()
            .is_some_and(|manifest| manifest.media_type == media::OCI_MANIFEST);
        // From the top, as dockerd tells them.
        for (number, diff_id) in image.layers.iter().enumerate().rev() {
            let layer = Layer {
                inner: Arc::clone(&self.inner),
                repository: self.repository.clone(),
                reference: self.reference.clone(),
                report: self.report.clone(),
                diff_id: diff_id.clone(),
                total: image.layer_sizes.get(number).copied().unwrap_or(0),
                oci,
            };
            layer.step("Preparing").await;
            let slots = Arc::clone(&slots);
            tasks.spawn(async move {
                let slot = match Arc::clone(&slots).try_acquire_owned() {
                    Ok(slot) => Ok(slot),
                    Err(_) => {
                        layer.step("Waiting").await;
                        slots.acquire_owned().await
                    }
                };
                let _slot = slot.map_err(|_| Error::unavailable("the engine is stopping"))?;
                Ok::<_, Error>((number, layer.put().await?))
            });
        }
        let mut blobs = vec![None; image.layers.len()];
        // Others are given up with the set.
        while let Some(done) = tasks.join_next().await {
            let (number, blob) = done.map_err(|_| Error::system("interrupted"))??;
            blobs[number] = Some(blob);
        }
        Ok(blobs.into_iter().flatten().collect())
    }
}
