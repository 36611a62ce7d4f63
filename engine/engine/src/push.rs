//! Pushing images: layers that the registry lacks, the configuration, the manifest.
//!
//! ```text
//!  layer ─► a blob known of it? ─yes─► there already? ─no─► mounted from its repository? ─no─┐
//!               │ no                                                                         ▼
//!               └────────────► tar ► gzip ► digest ► pieces ► registry ► remembered
//! ```
//!
//! An image whose layers are all the blobs of the manifest it came with is pushed with that very
//! manifest, and so keeps its digest. Of an image with an index see `index`.
//!
//! A lease keeps what is pushed until all of it has gone out, whoever removes the image meanwhile.

use std::sync::Arc;

use dockerapi::{AuthConfig, JsonMessage};
use images::{Image, Lease};
use oci::image::{Descriptor, media};
use oci::{Digest, Platform, Reference};
use registry::{Begun, Repository};
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use self::index::{Chosen, choose};
use self::layer::Layer;
use crate::pull::{Report, blocking};
use crate::registries::credentials;
use crate::{Engine, Error, Inner, Lines, Result, events};

mod index;
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

/// A lease whose end, which waits for the disk, is no task's business: also not of one that is dropped
/// because its client left.
struct Kept(Option<Lease>);

impl Kept {
    async fn end(mut self) {
        if let Some(lease) = self.0.take() {
            let _ = tokio::task::spawn_blocking(move || drop(lease)).await;
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(lease) = self.0.take() {
            tokio::task::spawn_blocking(move || drop(lease));
        }
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
        let (inner, name) = (Arc::clone(&self.inner), tag.to_string());
        // Whoever removes it meanwhile.
        let (image, kept) = blocking(move || {
            let image = inner.images.resolve(&name)?;
            let lease = inner.images.hold([&image])?;
            Ok((image, Kept(Some(lease))))
        })
        .await?;
        let done = self.held(tag, &image).await;
        kept.end().await;
        done
    }

    async fn held(&self, tag: &Reference, image: &Image) -> Result<()> {
        let name = tag.tag().unwrap_or_default();
        let (inner, of, platform) = (
            Arc::clone(&self.inner),
            image.clone(),
            self.platform.clone(),
        );
        let shown = tag.clone();
        let chosen = blocking(move || choose(&inner, &of, &shown, platform.as_ref())).await?;
        let (pushed, known) = match chosen {
            Chosen::Image(chosen, instead_of) => {
                let pushed = self.manifest(&chosen, Some(name)).await?;
                if let Some(index) = instead_of {
                    let note = json!({
                        "manifestPushedInsteadOfIndex": true,
                        "originalIndex": index,
                        "selectedManifest": chosen.manifest,
                    });
                    self.report.aux(note).await;
                }
                // Its names lead to the index, and still do.
                (pushed, image.index.is_none())
            }
            Chosen::Index(index, variants) => self.index(name, &index, variants).await?,
        };
        // As moby: what was pushed is known by its digest from then on.
        let known_as = tag.with_digest(pushed.digest.clone());
        if known && !image.digests.contains(&known_as) {
            let (inner, of) = (Arc::clone(&self.inner), image.clone());
            blocking(move || match inner.images.tag(&of, &known_as) {
                // It was removed meanwhile, and is pushed all the same.
                Err(error) if error.kind() == images::Kind::NotFound => Ok(()),
                tagged => Ok(tagged?),
            })
            .await?;
        }
        let Descriptor { digest, size, .. } = pushed;
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

    /// Makes the registry have one image, under a tag or by its digest alone.
    async fn manifest(&self, image: &Image, tag: Option<&str>) -> Result<Descriptor> {
        crate::lazy::check_whole(&self.inner, image)?;
        let blobs = self.layers(image).await?;
        let (inner, id) = (Arc::clone(&self.inner), image.id.clone());
        let config = blocking(move || Ok(inner.images.config_bytes(&id)?)).await?;
        let config_size = config.len() as u64;
        self.small_blob(&image.id, config).await?;
        let (inner, of) = (Arc::clone(&self.inner), image.clone());
        let made = blocking(move || manifest::make(&inner, &of, config_size, &blobs)).await?;
        self.document(tag, made).await
    }

    /// Puts a manifest or an index under a tag, or by its digest alone.
    async fn document(
        &self,
        tag: Option<&str>,
        (media_type, bytes): (String, Vec<u8>),
    ) -> Result<Descriptor> {
        let size = bytes.len() as u64;
        let own = manifest::digest(&bytes);
        let name = tag.unwrap_or(own.as_str());
        let digest = self
            .repository
            .put_manifest(name, &media_type, bytes)
            .await?;
        Ok(Descriptor::new(media_type, digest, size))
    }

    async fn small_blob(&self, digest: &Digest, bytes: Vec<u8>) -> Result<()> {
        if self.repository.has_blob(digest).await? {
            return Ok(());
        }
        match self.repository.begin(None).await? {
            Begun::Mounted => Ok(()),
            Begun::Upload(upload) => Ok(upload.commit(digest, bytes.into()).await?),
        }
    }

    /// Makes the registry have all layers; answers their blobs, base first.
    async fn layers(&self, image: &Image) -> Result<Vec<Descriptor>> {
        let slots = Arc::new(Semaphore::new(UPLOADS));
        let mut tasks = JoinSet::new();
        let oci = image
            .manifest
            .as_ref()
            .is_some_and(|manifest| manifest.media_type == media::OCI_MANIFEST);
        let chains = image.layers.iter().scan(String::new(), |below, diff_id| {
            *below = images::chain_id(below, diff_id);
            Some(below.clone())
        });
        let chains: Vec<String> = chains.collect();
        // From the top, as dockerd tells them.
        for (number, diff_id) in image.layers.iter().enumerate().rev() {
            let layer = Layer {
                inner: Arc::clone(&self.inner),
                repository: self.repository.clone(),
                reference: self.reference.clone(),
                report: self.report.clone(),
                diff_id: diff_id.clone(),
                chain: chains.get(number).cloned().unwrap_or_default(),
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
