//! An image made of another one and of what a container changed in it: `docker commit`.
//!
//! ```text
//!  writable directory ─ pack (a thread of its own) ─► pipe ─► digest, tar, index: one more layer
//! ```
//!
//! The layers below are not touched. A layer is published only when all of it was packed: the reader
//! ends with the packer's failure, not with the archive that a failed packer closes.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, PipeReader, Read, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use archive::{Pack, Source};
use oci::Digest;
use oci::image::{Execution, History, ImageConfig};

use crate::layers::{Expected, Layer};
use crate::{Error, Image, Images, Lease};

/// Digest of the archive without entries. No layer is made of it, as docker does.
const EMPTY: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
/// Bytes that are written into the pipe at once.
const PIECE: usize = 256 << 10;

/// What a commit is to become.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// Defaults for containers.
    pub execution: Execution,
    /// Who made it.
    pub author: String,
    /// Why.
    pub comment: String,
    /// The command that made the changes, for the history.
    pub created_by: String,
    /// RFC 3339 time of creation.
    pub created: String,
}

impl Images {
    /// Makes an image of `parent` and what was changed above it: a writable directory of overlayfs,
    /// of which the paths in `left_out` are nobody's change. It has no name yet.
    ///
    /// # Errors
    /// Not found, when the parent went away; those of reading the files; of a full disk.
    pub fn commit_changes(
        &self,
        parent: &Image,
        changed: &(dyn Source + Sync),
        left_out: BTreeSet<PathBuf>,
        options: CommitOptions,
    ) -> Result<Digest, Error> {
        // Held until the image has its layers.
        let held = self.0.catalog.hold(&[(parent.id.clone(), None)])?;
        let _below = Lease::counted(Arc::clone(&self.0), held);
        let row = self.row(parent)?;
        let below = row.chains.last().cloned().unwrap_or_default();
        let mut lease = None;
        let layer = self.store_changes(changed, left_out, below, &mut lease)?;
        let empty_layer = layer.diff_id.as_str() == EMPTY;
        let mut config = ImageConfig {
            created: Some(options.created.clone()),
            author: options.author.clone(),
            comment: options.comment.clone(),
            config: options.execution,
            docker_version: String::new(),
            ..(*row.config).clone()
        };
        if !empty_layer {
            config.rootfs.diff_ids.push(layer.diff_id);
        }
        config.history.push(History {
            created: Some(options.created),
            created_by: options.created_by,
            author: options.author,
            comment: options.comment,
            empty_layer,
        });
        let bytes = serde_json::to_vec(&config)
            .map_err(|error| Error::Corrupt(format!("image configuration: {error}")))?;
        self.publish(&bytes, None, None, Some(&parent.id), &[])
    }

    fn store_changes(
        &self,
        changed: &(dyn Source + Sync),
        left_out: BTreeSet<PathBuf>,
        below: String,
        lease: &mut Option<Lease>,
    ) -> Result<Layer, Error> {
        let pack = Pack {
            user_attributes: true,
            layer: true,
            left_out,
            ..Pack::default()
        };
        let (pipe, writer) = io::pipe().map_err(Error::io("making a pipe for", &self.0.root))?;
        let (done, outcome) = mpsc::sync_channel(1);
        let mut failure = None;
        let stored = std::thread::scope(|scope| {
            scope.spawn(move || {
                let writer = BufWriter::with_capacity(PIECE, writer);
                let packed = archive::pack(changed, &pack, writer);
                let packed = packed.and_then(|mut writer| {
                    let flushed = writer.flush();
                    flushed.map_err(archive::Error::Malformed)
                });
                // The other side left when it has failed itself.
                let _ = done.send(packed);
            });
            let reader = Packed {
                pipe,
                outcome,
                failure: &mut failure,
            };
            let expected = Expected {
                below,
                ..Expected::default()
            };
            self.0.ingest_held(reader, &expected, &mut |chain| {
                *lease = Some(self.lease(vec![chain.to_owned()]));
            })
        });
        match failure {
            Some(error) => Err(error.into()),
            None => stored,
        }
    }
}

/// The archive, whose end is that of the packer.
struct Packed<'a> {
    pipe: PipeReader,
    outcome: mpsc::Receiver<Result<(), archive::Error>>,
    /// Why there is no whole archive.
    failure: &'a mut Option<archive::Error>,
}

impl Read for Packed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.pipe.read(buffer)?;
        if read > 0 || buffer.is_empty() {
            return Ok(read);
        }
        match self.outcome.recv() {
            Ok(Err(error)) => {
                *self.failure = Some(error);
                Err(io::Error::other("the changes could not be read"))
            }
            // It was told before.
            Ok(Ok(())) => Ok(0),
            Err(_) if self.failure.is_none() => Ok(0),
            Err(_) => Err(io::Error::other("the changes could not be read")),
        }
    }
}

#[cfg(test)]
mod tests;
