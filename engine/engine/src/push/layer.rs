//! One layer of a push.

use std::io::{self, Read as _, Write};
use std::sync::Arc;

use archive::{Digesting, Gzip};
use bytes::Bytes;
use images::KnownBlob;
use oci::image::{Descriptor, media};
use oci::{Digest, Reference};
use registry::{Begun, Repository, Upload};
use tokio::sync::mpsc;

use super::blocking;
use crate::pull::Report;
use crate::{Error, Inner, Result};

/// Pieces between compression and the registry.
const QUEUE: usize = 1;
/// Bytes of the tar that are compressed at once.
const READ: usize = 256 << 10;
/// Media types of layers that every registry and client knows.
const GZIP: [&str; 2] = [media::DOCKER_LAYER_GZIP, media::OCI_LAYER_GZIP];

pub(super) struct Layer {
    pub(super) inner: Arc<Inner>,
    pub(super) repository: Repository,
    pub(super) reference: Reference,
    pub(super) report: Report,
    pub(super) diff_id: Digest,
    /// Its chain, of which the push has a lease.
    pub(super) chain: String,
    /// Bytes of its files.
    pub(super) total: u64,
    /// The image came with an OCI manifest.
    pub(super) oci: bool,
}

impl Layer {
    /// Tells of a step.
    pub(super) async fn step(&self, action: &str) {
        self.report.step(self.id(), action).await;
    }

    fn id(&self) -> &str {
        let hex = self.diff_id.hex();
        hex.get(..12).unwrap_or(hex)
    }

    /// Makes the registry have it.
    pub(super) async fn put(&self) -> Result<Descriptor> {
        let (inner, diff_id) = (Arc::clone(&self.inner), self.diff_id.clone());
        let mut known = blocking(move || Ok(inner.images.known_blobs(&diff_id))).await?;
        // Other kinds need the manifest that they came with.
        known.retain(|known| self.oci || GZIP.contains(&known.blob.media_type.as_str()));
        for known in &known {
            if self.repository.has_blob(&known.blob.digest).await? {
                self.step("Layer already exists").await;
                return Ok(known.blob.clone());
            }
        }
        let mut begun = None;
        // One that refuses one refuses the others most of the time.
        if let Some((blob, origin)) = self.elsewhere(&known) {
            match self.repository.begin(Some((&blob.digest, &origin))).await? {
                Begun::Mounted => {
                    self.step(&format!("Mounted from {origin}")).await;
                    return Ok(blob);
                }
                Begun::Upload(upload) => begun = Some(upload),
            }
        }
        let upload = match begun {
            Some(upload) => upload,
            None => match self.repository.begin(None).await? {
                Begun::Upload(upload) => upload,
                Begun::Mounted => {
                    return Err(Error::system("the registry took nothing for a blob"));
                }
            },
        };
        self.send(upload).await
    }

    /// Blobs of it, and other repositories of this registry that may have them. One is tried: a
    /// registry that does not mount begins an upload instead.
    fn elsewhere(&self, known: &[KnownBlob]) -> Option<(Descriptor, String)> {
        let (domain, path) = (self.reference.domain(), self.reference.path());
        known.iter().find_map(|known| {
            let mut origins = known.origins.iter();
            let origin =
                origins.find(|origin| origin.domain() == domain && origin.path() != path)?;
            Some((known.blob.clone(), origin.path().to_owned()))
        })
    }

    async fn send(&self, mut upload: Box<Upload>) -> Result<Descriptor> {
        self.step("Pushing").await;
        let (report, id) = (self.report.clone(), self.id().to_owned());
        upload.on_retry(move |after| report.retrying(&id, after));
        let (sender, mut pieces) = mpsc::channel::<(Bytes, u64)>(QUEUE);
        let (inner, diff_id) = (Arc::clone(&self.inner), self.diff_id.clone());
        let (chain, size) = (self.chain.clone(), upload.piece());
        let compressing = blocking(move || compress(&inner, (&chain, &diff_id), size, sender));
        let sending = async {
            // The last piece goes with the end of the blob: one request less.
            let mut last = Bytes::new();
            while let Some((piece, read)) = pieces.recv().await {
                let before = std::mem::replace(&mut last, piece);
                if !before.is_empty() {
                    upload.send(before).await?;
                }
                let (id, total) = (self.id(), self.total.max(read));
                self.report.progress(id, "Pushing", read, total);
            }
            // Ends the other side when this one failed.
            drop(pieces);
            Ok::<_, Error>((upload, last))
        };
        let (compressed, sent) = tokio::join!(compressing, sending);
        let (upload, last) = sent?;
        let (digest, size) = compressed?;
        upload.commit(&digest, last).await?;
        let blob = Descriptor::new(media::DOCKER_LAYER_GZIP, digest, size);
        let (inner, diff_id, remembered) =
            (Arc::clone(&self.inner), self.diff_id.clone(), blob.clone());
        blocking(move || Ok(inner.images.remember_blob(&diff_id, &remembered)?)).await?;
        self.step("Pushed").await;
        Ok(blob)
    }
}

/// Sends a layer's tar, compressed, in pieces; answers digest and size of the whole.
fn compress(
    inner: &Inner,
    (chain, diff_id): (&str, &Digest),
    size: usize,
    sender: mpsc::Sender<(Bytes, u64)>,
) -> Result<(Digest, u64)> {
    let tar = inner.images.layer_tar_at(chain, diff_id)?;
    let mut plain = Digesting::new(tar.file);
    let pieces = Pieces {
        sender,
        piece: Vec::with_capacity(size),
        size,
        read: 0,
    };
    let failed = |error: io::Error| Error::system(format!("pushing layer {diff_id}: {error}"));
    let mut gzip = Gzip::new(archive::DigestingWriter::new(pieces));
    let mut buffer = vec![0; READ];
    loop {
        let read = plain.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            break;
        }
        gzip.get_mut().get_mut().read += read as u64;
        gzip.write_all(&buffer[..read]).map_err(failed)?;
    }
    let (hash, _) = plain.finish().map_err(failed)?;
    if Digest::sha256(&hash) != *diff_id {
        return Err(Error::system(format!(
            "layer {diff_id} is damaged on disk: pull the image again"
        )));
    }
    let (pieces, hash, length) = gzip.finish().map_err(failed)?.finish();
    pieces.end().map_err(failed)?;
    Ok((Digest::sha256(&hash), length))
}

/// Cuts a stream into pieces.
struct Pieces {
    sender: mpsc::Sender<(Bytes, u64)>,
    piece: Vec<u8>,
    size: usize,
    /// Bytes of the tar that were read for it.
    read: u64,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(self.size));
        self.sender
            .blocking_send((piece.into(), self.read))
            .map_err(|_| io::Error::other("the push was given up"))
    }

    fn end(mut self) -> io::Result<()> {
        match self.piece.is_empty() {
            true => Ok(()),
            false => self.send(),
        }
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.size - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == self.size {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
