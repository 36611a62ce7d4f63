//! Images, as the API has them, over the image store.

use std::io;
use std::sync::Arc;

use dockerapi::{Event, JsonMessage, JsonMessageError, ProgressDetail};
use images::{Image, LoadEvent, Loaded};
use oci::{Digest, Reference};
use tokio::sync::mpsc;

use crate::copy::stream::{Reader, send};
use crate::options::ImportOptions;
use crate::{ByteStream, Engine, Error, Inner, Lines, Result, clock, events};

mod changes;
pub(crate) mod collect;
pub(crate) mod commit;
mod glob;
mod hello;
mod list;
mod manifests;
mod remove;
mod words;

/// Name of the image that needs no network.
const BUILTIN: &str = "corten/hello:latest";
/// Messages that may wait for a slow client.
const QUEUE: usize = 16;
/// Bytes of a layer between two progress messages.
const PROGRESS_STEP: u64 = 1 << 20;

impl Engine {
    /// Gives an image one more name.
    ///
    /// # Errors
    /// Not found; invalid parameter when the name breaks the grammar.
    pub async fn image_tag(&self, name: &str, repo: &str, tag: &str) -> Result<()> {
        let invalid = |error: oci::reference::InvalidReference| Error::invalid(error.to_string());
        let mut reference: Reference = repo.parse().map_err(invalid)?;
        if reference.digest().is_some() {
            return Err(Error::invalid(
                "refusing to create a tag with a digest reference",
            ));
        }
        if !tag.is_empty() {
            reference = reference.with_tag(tag).map_err(invalid)?;
        }
        let reference = reference.or_latest();
        let image = self.0.images.resolve(name)?;
        let inner = Arc::clone(&self.0);
        blocking(move || {
            inner.images.tag(&image, &reference)?;
            tell(&inner, &image, "tag", &reference.familiar());
            Ok(())
        })
        .await
    }

    /// Reads images from an archive of `docker save` or an OCI layout: all platforms that are in it,
    /// or some.
    pub fn image_load(
        &self,
        body: ByteStream,
        platforms: Vec<oci::Platform>,
        quiet: bool,
    ) -> Lines<JsonMessage> {
        let inner = Arc::clone(&self.0);
        messages(move |out| {
            let mut progress = Progress {
                out,
                quiet,
                told: 0,
            };
            let reader = Reader::new(body);
            let loaded = inner
                .images
                .load_for(reader, &platforms, &mut |event| progress.tell(event))?;
            for loaded in loaded {
                tell_loaded(&inner, &loaded, out);
            }
            Ok(())
        })
    }

    /// Makes an image of a tar of a root file system.
    pub fn image_import(&self, body: ByteStream, options: ImportOptions) -> Lines<JsonMessage> {
        let inner = Arc::clone(&self.0);
        messages(move |out| {
            let id = import(&inner, body, checked(options)?)?;
            say(
                out,
                JsonMessage {
                    status: id.to_string(),
                    ..JsonMessage::default()
                },
            );
            Ok(())
        })
    }

    /// An archive of images, in both docker's form and OCI's. With one platform that one alone;
    /// with several, or none for all, what is here of each index. What is removed meanwhile is in it
    /// all the same.
    ///
    /// # Errors
    /// Not found, and names that are none; conflict when not all of an image has come. Later
    /// failures end the stream.
    pub fn image_save(&self, names: &[String], platforms: &[oci::Platform]) -> Result<ByteStream> {
        let images = self.0.images.to_save(names, platforms)?;
        let lease = self.0.images.hold_saved(&images)?;
        for saved in &images {
            let of = saved.platforms.iter().flatten();
            for image in [&saved.image].into_iter().chain(of) {
                crate::lazy::check_whole(&self.0, image)?;
            }
        }
        let inner = Arc::clone(&self.0);
        let (sender, stream) = mpsc::channel(QUEUE);
        tokio::task::spawn_blocking(move || {
            let _lease = lease;
            send(sender, |out| {
                inner
                    .images
                    .save(&images, out)
                    .map_err(|error| io::Error::other(error.to_string()))
            });
            for saved in &images {
                tell(&inner, &saved.image, "save", saved.image.id.as_str());
            }
        });
        Ok(stream)
    }
}

/// What a client asks of an import, once it is known to be sound.
///
/// # Errors
/// Invalid parameter, naming what is wrong.
pub(crate) fn checked(options: ImportOptions) -> Result<images::ImportOptions> {
    let reference = options.reference.as_deref().filter(|text| !text.is_empty());
    let reference = reference
        .map(str::parse::<Reference>)
        .transpose()
        .map_err(|error| Error::invalid(error.to_string()))?;
    if reference
        .as_ref()
        .is_some_and(|reference| reference.digest().is_some())
    {
        return Err(Error::invalid("cannot import digest reference"));
    }
    let platform = options.platform.as_deref().filter(|text| !text.is_empty());
    let platform = platform
        .map(str::parse::<oci::Platform>)
        .transpose()
        .map_err(|error| Error::invalid(error.to_string()))?;
    if let Some(platform) = &platform
        && platform.os != "linux"
    {
        return Err(Error::invalid(format!(
            "operating system {:?} is not supported",
            platform.os
        )));
    }
    Ok(images::ImportOptions {
        execution: changes::apply(&options.changes, oci::image::Execution::default())?,
        message: options.message,
        platform,
        reference: reference.map(Reference::or_latest),
        created: clock::rfc3339(clock::now()),
    })
}

/// Makes the image. Blocking.
pub(crate) fn import(
    inner: &Inner,
    body: ByteStream,
    options: images::ImportOptions,
) -> Result<Digest> {
    let id = inner.images.import(Reader::new(body), options)?;
    let image = inner.images.resolve(id.as_str())?;
    tell(inner, &image, "import", id.as_str());
    for tag in &image.tags {
        tell(inner, &image, "tag", &tag.familiar());
    }
    Ok(id)
}

/// Makes sure that the built-in image is there. Blocking.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn ensure_builtin(inner: &Arc<Inner>) -> Result<()> {
    let Some(program) = hello::program() else {
        return Ok(());
    };
    let reference: Reference = BUILTIN
        .parse()
        .map_err(|_| Error::system("the built-in image's name is bad"))?;
    if inner.images.resolve(BUILTIN).is_ok() {
        return Ok(());
    }
    let execution = oci::image::Execution {
        cmd: Some(vec!["/hello".into()]),
        working_dir: "/".into(),
        ..oci::image::Execution::default()
    };
    inner
        .images
        .builtin(&reference, &[("/hello", 0o755, &program)], execution)?;
    Ok(())
}

/// Hands an event of an image to listeners.
fn tell(inner: &Inner, image: &Image, action: &str, name: &str) {
    inner.events.publish(event(image, action, name));
}

/// As moby: the image's labels are part of it.
fn event(image: &Image, action: &str, name: &str) -> Event {
    let mut attributes = image.config.config.labels.clone();
    attributes.insert("name".into(), name.to_owned());
    events::make("image", action, image.id.as_str(), attributes)
}

/// The first twelve digits of an ID.
fn short(id: &str) -> &str {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    hex.get(..12).unwrap_or(hex)
}

fn tell_loaded(inner: &Inner, loaded: &Loaded, out: &mpsc::Sender<JsonMessage>) {
    let stream = |text: String| JsonMessage {
        stream: text,
        ..JsonMessage::default()
    };
    for reference in &loaded.references {
        say(
            out,
            stream(format!("Loaded image: {}\n", reference.familiar())),
        );
    }
    if loaded.references.is_empty() {
        say(out, stream(format!("Loaded image ID: {}\n", loaded.id)));
    }
    if let Ok(image) = inner.images.resolve(loaded.id.as_str()) {
        tell(inner, &image, "load", loaded.id.as_str());
    }
}

struct Progress<'a> {
    out: &'a mpsc::Sender<JsonMessage>,
    quiet: bool,
    /// Bytes of the present layer that the client knows of.
    told: u64,
}

impl Progress<'_> {
    fn tell(&mut self, event: LoadEvent<'_>) {
        if self.quiet {
            return;
        }
        let (diff_id, status, detail) = match event {
            LoadEvent::Layer {
                diff_id,
                current,
                total,
            } => {
                if current > 0
                    && current < total
                    && current - self.told.min(current) < PROGRESS_STEP
                {
                    return;
                }
                self.told = current;
                (diff_id, "Loading layer", ProgressDetail { current, total })
            }
            LoadEvent::LayerDone { diff_id } => {
                self.told = 0;
                (diff_id, "Load complete", ProgressDetail::default())
            }
        };
        let message = JsonMessage {
            status: status.into(),
            progress_detail: Some(detail),
            id: short(diff_id.as_str()).to_owned(),
            ..JsonMessage::default()
        };
        say(self.out, message);
    }
}

/// Runs work that tells how it goes on; its failure is the last message.
fn messages(
    work: impl FnOnce(&mpsc::Sender<JsonMessage>) -> Result<()> + Send + 'static,
) -> Lines<JsonMessage> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = work(&sender) {
            let detail = JsonMessageError {
                code: 0,
                message: error.message.clone(),
            };
            let message = JsonMessage {
                error: error.message,
                error_detail: Some(detail),
                ..JsonMessage::default()
            };
            say(&sender, message);
        }
    });
    receiver
}

/// A client that left is told nothing; the work goes on.
fn say(out: &mpsc::Sender<JsonMessage>, message: JsonMessage) {
    let _ = out.blocking_send(message);
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Error::system("interrupted"))?
}

impl From<images::Error> for Error {
    fn from(error: images::Error) -> Self {
        use crate::ErrorKind;
        let kind = match error.kind() {
            images::Kind::NotFound => ErrorKind::NotFound,
            images::Kind::Invalid => ErrorKind::InvalidParameter,
            images::Kind::Conflict => ErrorKind::Conflict,
            images::Kind::Unsupported => ErrorKind::NotImplemented,
            images::Kind::System => ErrorKind::System,
        };
        // A failure of the client's own stream, or of ours, comes back from under the archive.
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(found) = cause {
            let inner = found
                .downcast_ref::<io::Error>()
                .and_then(|io| io.get_ref());
            if let Some(ours) = inner.and_then(|inner| inner.downcast_ref::<Self>()) {
                return ours.clone();
            }
            cause = found.source();
        }
        Self {
            kind,
            message: error.to_string(),
        }
    }
}
