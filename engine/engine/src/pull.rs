//! Pulling images: a reference is resolved, missing layers are fetched, one commit publishes the
//! image with its names.
//!
//! ```text
//!  manifest ─► platform ─► known and whole? ──yes──────────────────────┐
//!                               │ no                                   ▼
//!                         configuration ─► lease ─► layers ─► commit ─► names ─► event
//! ```
//!
//! Where the reference stands for an index, that is kept, and its names lead to it: another platform
//! of it that is pulled later goes by the same names.
//!
//! A client that leaves ends its pull, as with moby. Then, and after a failure, the lease takes away
//! layers that were finished; unfinished ones were never visible. After a crash the image store does
//! the same when it opens. The bytes that came stay until an image has their layers (`download`):
//! the next pull goes on with them.

use std::sync::Arc;

use dockerapi::{AuthConfig, JsonMessage};
use images::{Image, Indexed};
use oci::image::{Descriptor, ImageConfig, media};
use oci::{Digest, Platform, Reference};
use registry::{Content, Document, Repository, Resolved};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(crate) use self::download::Download;
use self::layers::{Fetch, Wanted, cancelled};
pub(crate) use self::report::Report;
use crate::registries::credentials;
use crate::{Engine, Error, Inner, Lines, Result, events, trust};

mod attached;
mod checkpoints;
mod download;
mod layers;
mod lazily;
pub(crate) mod plan;
mod report;

/// Lines that may wait for a slow client.
const QUEUE: usize = 64;
/// Kinds of configurations that are an image's; the odd ones come from early registries.
const CONFIGS: [&str; 6] = [
    media::DOCKER_CONFIG,
    media::OCI_CONFIG,
    "application/octet-stream",
    "application/json",
    "text/html",
    "",
];
/// What kinds of layers begin with.
const LAYERS: [&str; 2] = [
    "application/vnd.docker.image.rootfs.",
    "application/vnd.oci.image.layer.",
];

impl Engine {
    /// Pulls an image, or with neither tag nor digest all tags of a repository. `tag` may be a
    /// digest. The pull ends when its lines are no longer read.
    ///
    /// # Errors
    /// Invalid parameter for names and platforms that break their grammar; forbidden for the
    /// reserved one. All else comes as a line; the code of the first tells the status.
    pub fn image_pull(
        &self,
        image: &str,
        tag: &str,
        platform: Option<&str>,
        auth: Option<AuthConfig>,
    ) -> Result<Lines<JsonMessage>> {
        let asked = platform.map(str::parse::<Platform>).transpose();
        let asked = asked.map_err(|error| Error::invalid(error.to_string()))?;
        let reference = parse(image, tag)?;
        let registries = &self.0.registries;
        let credentials = auth.map(credentials).unwrap_or_default();
        let (out, lines) = mpsc::channel(QUEUE);
        let pull = Pull {
            inner: Arc::clone(&self.0),
            repository: registries.client().repository(&reference, &credentials),
            credentials,
            reference,
            platform: asked.clone().unwrap_or_else(Platform::host),
            asked,
            report: Report::new(out),
            cancel: CancellationToken::new(),
        };
        tokio::spawn(pull.run());
        Ok(lines)
    }
}

/// As moby puts `fromImage` and `tag` together.
fn parse(image: &str, tag: &str) -> Result<Reference> {
    // Old clients send a colon for all tags.
    let image = image.strip_suffix(':').unwrap_or(image);
    let mut reference: Reference = image
        .parse()
        .map_err(|error: oci::reference::InvalidReference| Error::invalid(error.to_string()))?;
    if let Ok(digest) = tag.parse::<Digest>() {
        reference = reference.with_digest(digest);
    } else if !tag.is_empty() {
        reference = reference
            .with_tag(tag)
            .map_err(|_| Error::invalid("invalid tag format"))?;
    } else if let Some(digest) = reference.digest() {
        // A digest says more than the tag next to it.
        reference = reference.with_digest(digest.clone());
    }
    if reference.familiar_name() == "scratch" {
        return Err(Error::forbidden("'scratch' is a reserved name"));
    }
    Ok(reference)
}

/// One pull.
struct Pull {
    inner: Arc<Inner>,
    repository: Repository,
    credentials: registry::Credentials,
    reference: Reference,
    /// What the client asked for.
    asked: Option<Platform>,
    platform: Platform,
    report: Report,
    cancel: CancellationToken,
}

impl Pull {
    async fn run(self) {
        let left = async {
            self.report.closed().await;
            self.cancel.cancel();
            std::future::pending::<()>().await;
        };
        let outcome = tokio::select! {
            outcome = self.whole() => outcome,
            () = left => return,
        };
        if let Err(error) = outcome {
            tracing::debug!(image = %self.reference, err = %error, "pull failed");
            self.report.fail(error).await;
        }
    }

    async fn whole(&self) -> Result<()> {
        let mut newer = false;
        if self.reference.tag().is_none() && self.reference.digest().is_none() {
            for tag in self.unless_cancelled(self.repository.tags()).await? {
                let reference = self.reference.with_tag(&tag);
                let reference = reference
                    .map_err(|_| Error::invalid(format!("the registry has a tag {tag:?}")))?;
                newer |= self.one(&reference).await?;
            }
        } else {
            newer = self.one(&self.reference).await?;
        }
        let name = self.reference.familiar();
        let status = match newer {
            true => format!("Status: Downloaded newer image for {name}"),
            false => format!("Status: Image is up to date for {name}"),
        };
        self.report.say("", status).await;
        self.tell(&name);
        self.warn_of_platform(&name).await;
        Ok(())
    }

    /// Pulls one tag or digest; true when it stood for something else here before.
    async fn one(&self, reference: &Reference) -> Result<bool> {
        let named = match reference.digest() {
            Some(digest) => digest.as_str(),
            None => reference.tag().unwrap_or_default(),
        };
        let top = self
            .unless_cancelled(self.repository.manifest(named))
            .await?;
        if let Content::Manifest(manifest) = &top.content {
            check_config(&manifest.config)?;
        }
        self.report
            .say(named, format!("Pulling from {}", reference.path()))
            .await;
        let resolved = self
            .unless_cancelled(self.repository.select(top, &self.platform))
            .await?;
        if let Some(policy) = &self.inner.registries.settings().signature_policy {
            let checked = trust::check(policy, &self.repository, reference, &resolved);
            self.unless_cancelled(checked).await?;
        }
        let digest = resolved.top.digest.clone();
        let by_digest = reference.with_digest(digest.clone());
        let mut names = vec![by_digest.clone()];
        if reference.digest().is_none() {
            names.push(reference.clone());
        }
        let before = self.inner.images.resolve(&reference.to_string()).ok();
        let newer = before.is_none_or(|image| !image.digests.contains(&by_digest));
        let index = self.index(&resolved).await?;
        match self.known(&resolved.manifest.config.digest).await {
            Some(image) => {
                let id = image.id.clone();
                self.name(image, resolved, index, names).await?;
                self.supply(&id).await;
            }
            None => self.assemble(resolved, index, names).await?,
        }
        self.report.say("", format!("Digest: {digest}")).await;
        Ok(newer)
    }

    /// The image with this ID, if all of it is here.
    async fn known(&self, id: &Digest) -> Option<Image> {
        let image = self.inner.images.resolve(id.as_str()).ok()?;
        let inner = Arc::clone(&self.inner);
        let whole =
            tokio::task::spawn_blocking(move || inner.images.is_whole(&image).then_some(image));
        whole.await.ok().flatten()
    }

    /// Gives an image that is here those names that do not lead to it this way.
    async fn name(
        &self,
        mut image: Image,
        resolved: Resolved,
        index: Option<Indexed>,
        mut names: Vec<Reference>,
    ) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let Some(index) = index else {
                names.retain(|name| {
                    let found = inner.images.resolve(&name.to_string());
                    !found.is_ok_and(|found| found.id == image.id && found.index.is_none())
                });
                // To the manifest, whatever index has it.
                image.index = None;
                return match names.as_slice() {
                    [] => Ok(()),
                    names => Ok(inner.images.tag_all(&image, names)?),
                };
            };
            if inner.images.is_in(&image, &index, &names) {
                return Ok(());
            }
            let config = inner.images.config_bytes(&image.id)?;
            let document = &resolved.document;
            let manifest = (document.media_type.as_str(), document.bytes.as_slice());
            inner.images.commit_in(&config, manifest, &index, &names)?;
            Ok(())
        })
        .await
    }

    /// Gets what is missing of an image and publishes it.
    async fn assemble(
        &self,
        resolved: Resolved,
        index: Option<Indexed>,
        names: Vec<Reference>,
    ) -> Result<()> {
        let Resolved {
            document, manifest, ..
        } = resolved;
        check_config(&manifest.config)?;
        let config = self
            .unless_cancelled(self.repository.config(&manifest.config))
            .await?;
        let parsed: ImageConfig = serde_json::from_slice(&config)
            .map_err(|error| Error::invalid(format!("image configuration: {error}")))?;
        let wanted = wanted(&manifest.layers, &parsed)?;
        let chains: Vec<String> = wanted.iter().map(|layer| layer.chain.clone()).collect();
        let inner = Arc::clone(&self.inner);
        let lease = blocking(move || Ok(Arc::new(inner.images.lease(chains)))).await?;
        let fetch = Fetch {
            inner: Arc::clone(&self.inner),
            repository: self.repository.clone(),
            report: self.report.clone(),
            cancel: self.cancel.clone(),
            lease: Arc::clone(&lease),
        };
        let (wanted, is_lazy) = self.lazily(wanted, &manifest).await;
        let fetched = fetch.all(wanted).await;
        drop(fetch);
        let inner = Arc::clone(&self.inner);
        let id = blocking(move || {
            // Ends at the end of this, here and not where it could block other tasks.
            let _lease = lease;
            let downloads = fetched?;
            let Document {
                media_type, bytes, ..
            } = &document;
            let manifest = (media_type.as_str(), bytes.as_slice());
            let id = match &index {
                Some(index) => inner.images.commit_in(&config, manifest, index, &names)?,
                None => inner.images.commit(&config, Some(manifest), &names)?,
            };
            for download in downloads {
                download.spend();
            }
            Ok(id)
        })
        .await?;
        if is_lazy {
            self.supply(&id).await;
        }
        Ok(())
    }

    async fn unless_cancelled<T, E: Into<Error>>(
        &self,
        work: impl Future<Output = std::result::Result<T, E>>,
    ) -> Result<T> {
        match self.cancel.run_until_cancelled(work).await {
            Some(done) => done.map_err(Into::into),
            None => Err(cancelled()),
        }
    }

    /// The image as it was asked for, else what its name stands for.
    fn pulled(&self) -> Option<Image> {
        let (images, name) = (&self.inner.images, self.reference.to_string());
        let asked = images.resolve_for(&name, self.asked.as_ref());
        asked.or_else(|_| images.resolve(&name)).ok()
    }

    /// As moby: the reference stands in the place of an ID.
    fn tell(&self, name: &str) {
        let mut attributes = self.pulled().map_or_else(dockerapi::Map::new, |image| {
            image.config.config.labels.clone()
        });
        attributes.insert("name".into(), self.reference.familiar_name());
        self.inner
            .events
            .publish(events::make("image", "pull", name, attributes));
    }

    /// A single manifest is taken whatever it is for; the client is told.
    async fn warn_of_platform(&self, name: &str) {
        let (Some(asked), Some(image)) = (&self.asked, self.pulled()) else {
            return;
        };
        let actual = Platform {
            os_version: String::new(),
            ..image.config.platform()
        }
        .normalized();
        // Variants are not compared: an older one runs on a newer processor, and was chosen so.
        if (&asked.os, &asked.architecture) != (&actual.os, &actual.architecture) {
            let text = format!(
                "WARNING: image with reference {name} was found but its platform ({actual}) does \
                 not match the specified platform ({asked})"
            );
            self.report.say("", text).await;
        }
    }
}

/// Refuses artifacts that are no images.
fn check_config(config: &Descriptor) -> Result<()> {
    let kind = config.media_type.as_str();
    if CONFIGS.contains(&kind) {
        return Ok(());
    }
    let class = match kind {
        "application/vnd.docker.plugin.v1+json" => "plugin",
        _ => "unknown",
    };
    Err(Error::invalid(format!(
        "Encountered remote {kind:?}({class}) when fetching"
    )))
}

/// What layers an image is made of.
fn wanted(layers: &[Descriptor], config: &ImageConfig) -> Result<Vec<Wanted>> {
    if !matches!(config.os.as_str(), "" | "linux") {
        return Err(Error::invalid(format!(
            "image operating system {:?} cannot be used on this platform",
            config.os
        )));
    }
    let diff_ids = &config.rootfs.diff_ids;
    if layers.len() != diff_ids.len() {
        return Err(Error::invalid(
            "layers from manifest don't match image configuration",
        ));
    }
    let strange = layers.iter().map(|layer| &layer.media_type).find(|kind| {
        kind.ends_with("+encrypted") || !LAYERS.iter().any(|known| kind.starts_with(known))
    });
    if let Some(kind) = strange {
        return Err(Error::invalid(format!("unsupported media type {kind}")));
    }
    let mut below = String::new();
    let one = |(blob, diff_id): (&Descriptor, &Digest)| {
        let chain = images::chain_id(&below, diff_id);
        Wanted {
            blob: blob.clone(),
            diff_id: diff_id.clone(),
            below: std::mem::replace(&mut below, chain.clone()),
            chain,
        }
    };
    Ok(layers.iter().zip(diff_ids).map(one).collect())
}

/// Work that waits for the disk.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Error::system("interrupted"))?
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::ErrorKind;

    #[test]
    fn names_and_tags_are_put_together_as_moby_does() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (image, tag, want) in [
            ("alpine", "3", "docker.io/library/alpine:3"),
            ("alpine:2", "", "docker.io/library/alpine:2"),
            ("alpine:2", "3", "docker.io/library/alpine:3"),
            ("alpine", "", "docker.io/library/alpine"),
            ("alpine:", "", "docker.io/library/alpine"),
            ("a.b/x:1", &digest, &format!("a.b/x@{digest}")),
            (
                &format!("x:1@{digest}"),
                "",
                &format!("docker.io/library/x@{digest}"),
            ),
        ] {
            assert_eq!(parse(image, tag).expect(image).to_string(), want);
        }
        let refused = |image: &str, tag: &str| parse(image, tag).expect_err("refused");
        assert_eq!(refused("alpine", "a b").message, "invalid tag format");
        assert_eq!(refused("a//b", "").message, "invalid reference format");
        assert_eq!(refused("scratch", "").kind, ErrorKind::Forbidden);
    }
}
