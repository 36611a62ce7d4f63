//! What is found in ordinary gzip layers while they come, so that they can be used before all of them
//! has come if they are pulled again.
//!
//! ```text
//!  Reader ─► Watched ─► images::ingest_layer
//!              └─ copies of what is read ─► a thread: seekable::Checkpoints ─► images::keep_checkpoints
//! ```
//!
//! The thread keeps pace with the one that unpacks, or that one waits: it decompresses a second time,
//! and does nothing else. What fails in it costs nothing but what was to be found.

use std::io::{self, Read};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use images::Images;
use oci::Digest;
use oci::image::Descriptor;
use seekable::{Checkpointed, Checkpoints};

use crate::Inner;

/// A blob of fewer bytes comes at once.
const WORTH: u64 = 1 << 20;
/// Reads that may wait for the thread.
const QUEUE: usize = 8;
/// Annotations of layers that have a table of contents of their own begin with these.
const TABLES: [&str; 3] = [
    "containerd.io/snapshot/stargz/",
    "io.github.containers.zstd-chunked.",
    "io.containers.zstd-chunked.",
];

/// Whether anything is to be looked for in a layer.
pub(super) fn is_wanted(inner: &Inner, blob: &Descriptor) -> bool {
    let kind = blob.media_type.as_str();
    let has_table = blob
        .annotations
        .keys()
        .any(|key| TABLES.iter().any(|table| key.starts_with(table)));
    inner.config.lazy_pull
        && inner.lazy.is_some()
        && blob.size >= WORTH
        && kind.ends_with("gzip")
        && !has_table
}

/// A layer's bytes, which somebody else sees too.
pub(super) struct Watched<R> {
    inner: R,
    to: Option<SyncSender<Vec<u8>>>,
}

/// What will have been found.
pub(super) struct Found(Option<JoinHandle<Option<Checkpointed>>>);

/// The same bytes; with `watch` they are looked at.
pub(super) fn watched<R: Read>(inner: R, watch: bool) -> (Watched<R>, Found) {
    let nothing = |inner| (Watched { inner, to: None }, Found(None));
    if !watch {
        return nothing(inner);
    }
    let (to, from) = sync_channel::<Vec<u8>>(QUEUE);
    let thread = std::thread::Builder::new()
        .name("checkpoints".into())
        .spawn(move || {
            let mut checkpoints = Checkpoints::default();
            while let Ok(bytes) = from.recv() {
                if !checkpoints.push(&bytes) {
                    return None;
                }
            }
            checkpoints.finish()
        });
    match thread {
        Ok(thread) => (
            Watched {
                inner,
                to: Some(to),
            },
            Found(Some(thread)),
        ),
        Err(error) => {
            tracing::debug!(%error, "a layer is not looked at");
            nothing(inner)
        }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if let Some(to) = &self.to
            && read > 0
            && to.send(buffer[..read].to_vec()).is_err()
        {
            // Nothing is to be found.
            self.to = None;
        }
        Ok(read)
    }
}

impl Found {
    /// Keeps what was found in a layer that has come and is right. Its reader is gone. Blocks.
    pub(super) fn keep(self, images: &Images, blob: &Descriptor, layer: (&str, &Digest)) {
        let Some(Ok(found)) = self.0.map(JoinHandle::join) else {
            return;
        };
        let Some(Checkpointed { map, windows }) = found else {
            tracing::debug!(blob = %blob.digest, "a layer that cannot be read from the middle");
            return;
        };
        let of = (&blob.digest, blob.size);
        if let Err(error) = images.keep_checkpoints(of, layer, &map.encode(), &windows) {
            tracing::debug!(blob = %blob.digest, %error, "what was found in a layer is not kept");
        }
    }
}
