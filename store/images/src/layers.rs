//! Layers on disk, made under a temporary name and renamed when complete, so that a directory with a
//! chain's name is always whole. What is in it is told by what is there:
//!
//! ```text
//!  layers/<chain>/tar, index     kept as it came (see `tarred`)
//!  layers/<chain>/diff, size     unpacked, for overlayfs
//! ```

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::path::{Path, PathBuf};

use archive::{Compression, Digesting};
use erofs::Facts;
use oci::Digest;
use sha2::{Digest as _, Sha256};

use crate::tarred::{self, INDEX, Stored, TAR};
use crate::{Error, Kind, Store, room};

/// What a layer's stream must turn out to be.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// Digest and length of the stream as it comes.
    pub stream: Option<(Digest, u64)>,
    /// Digest of the tar in it.
    pub diff_id: Option<Digest>,
    /// Chain ID (hex) of the layers below; empty for the base.
    pub below: String,
}

impl Expected {
    /// Whether the stream is the tar itself.
    pub(crate) fn is_plain(&self) -> bool {
        let stream = self.stream.as_ref().map(|(digest, _)| digest);
        stream.is_some() && stream == self.diff_id.as_ref()
    }
}

/// A layer in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Digest of the tar.
    pub diff_id: Digest,
    /// Chain ID, hex.
    pub chain: String,
    /// Bytes of its files.
    pub size: u64,
}

/// Chain ID of `diff_id` on top of `below` (image-spec, config.md#layer-chainid), hex.
pub fn chain_id(below: &str, diff_id: &Digest) -> String {
    if below.is_empty() {
        return diff_id.hex().to_owned();
    }
    let hash: [u8; 32] = Sha256::digest(format!("sha256:{below} {diff_id}")).into();
    archive::hex(&hash)
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    let hash: [u8; 32] = Sha256::digest(bytes).into();
    Digest::sha256(&hash)
}

pub(crate) fn check_diff_id(expected: &Expected, found: &Digest) -> Result<(), Error> {
    match &expected.diff_id {
        Some(wanted) if wanted != found => Err(Error::Corrupt(format!(
            "layer verification failed for digest {wanted}: got {found}"
        ))),
        _ => Ok(()),
    }
}

pub(crate) fn check_stream(expected: &Expected, found: &Digest, length: u64) -> Result<(), Error> {
    match &expected.stream {
        Some((digest, _)) if digest != found => Err(Error::Stream(format!(
            "filesystem layer verification failed for digest {digest}: got {found}"
        ))),
        Some((digest, size)) if *size != length => Err(Error::Stream(format!(
            "layer {digest} has {length} bytes, its manifest says {size}"
        ))),
        _ => Ok(()),
    }
}

impl Store {
    pub(crate) fn layer_dir(&self, chain: &str) -> PathBuf {
        self.root.join("layers").join(chain)
    }

    /// Size of a layer that is there.
    pub(crate) fn layer(&self, chain: &str) -> Option<u64> {
        self.whole_layer(chain).or_else(|| self.lazy_layer(chain))
    }

    /// The same of a layer that is whole.
    pub(crate) fn whole_layer(&self, chain: &str) -> Option<u64> {
        if self.is_damaged(chain) {
            return None;
        }
        let dir = self.layer_dir(chain);
        if let Ok(text) = std::fs::read_to_string(dir.join("size")) {
            return text.parse().ok();
        }
        let mut head = [0; Facts::HEADER];
        let mut index = File::open(dir.join(INDEX)).ok()?;
        index.read_exact(&mut head).ok()?;
        // Without its tar it is no layer.
        let facts = Facts::read(&head)?;
        let tar = std::fs::metadata(dir.join(TAR)).ok()?;
        (tar.len() == facts.tar).then_some(facts.files)
    }

    /// Stores one layer, whatever its compression, verifying both digests on the way.
    pub(crate) fn ingest(
        &self,
        stream: impl Read + Send,
        expected: &Expected,
    ) -> Result<Layer, Error> {
        self.ingest_held(stream, expected, &mut |_| {})
    }

    /// The same of a layer whose chain nobody knows yet: `hold` is told before anybody can see it.
    pub(crate) fn ingest_held(
        &self,
        stream: impl Read + Send,
        expected: &Expected,
        hold: &mut dyn FnMut(&str),
    ) -> Result<Layer, Error> {
        self.check_room()?;
        let dir = self.temporary("layers")?;
        let result = self.ingest_into(&dir, stream, expected).and_then(|stored| {
            hold(&chain_id(&expected.below, &stored.diff_id));
            self.publish(&dir, stored, expected)
        });
        if result.is_err() {
            self.trash.take(&dir);
        }
        result
    }

    /// Stores a layer that is in a file below this store. Where that is the tar itself, it is not
    /// copied: its file gets one more name.
    pub(crate) fn ingest_file(&self, file: File, expected: &Expected) -> Result<Layer, Error> {
        let compressed = archive::decompress(&file)?.0 != Compression::None;
        (&file)
            .rewind()
            .map_err(Error::io("reading a layer in", &self.root))?;
        if compressed || !self.indexes() {
            return self.ingest(file, expected);
        }
        self.check_room()?;
        let dir = self.temporary("layers")?;
        let length = file.metadata().map_or(0, |facts| facts.len());
        let stored = self.link_tar(&dir, &file, expected).and_then(|stored| {
            check_stream(expected, &stored.diff_id, length)?;
            self.publish(&dir, stored, expected)
        });
        if stored.is_err() {
            self.trash.take(&dir);
        }
        stored
    }

    fn ingest_into(
        &self,
        dir: &Path,
        mut stream: impl Read + Send,
        expected: &Expected,
    ) -> Result<Stored, Error> {
        match &expected.stream {
            // A stream that is the tar itself is digested once, where it is stored.
            Some(_) if !(self.indexes() && expected.is_plain()) => {
                let mut outer = Digesting::new(stream);
                let stored = self.ingest_plain(dir, &mut outer, expected);
                match &stored {
                    // The disk's fault: the rest of the stream would tell nothing.
                    Err(error) if error.kind() == Kind::System => {}
                    // Neither would it of one that is too large, and that may have no end.
                    Err(Error::Large(_)) => {}
                    // A broken archive is first of all one that does not have its digest.
                    _ => match outer.finish() {
                        Ok((hash, length)) => {
                            check_stream(expected, &Digest::sha256(&hash), length)?;
                        }
                        Err(error) if stored.is_ok() => {
                            return Err(archive::Error::Malformed(error).into());
                        }
                        Err(_) => {}
                    },
                }
                stored
            }
            _ => self.ingest_plain(dir, &mut stream, expected),
        }
    }

    /// Gives a layer that is complete its name.
    fn publish(&self, dir: &Path, stored: Stored, expected: &Expected) -> Result<Layer, Error> {
        let Stored { diff_id, size } = stored;
        let chain = chain_id(&expected.below, &diff_id);
        let place = self.layer_dir(&chain);
        if self.is_damaged(&chain) {
            self.mounts.forget(&place);
            self.trash.take(&place);
            self.forget_damage(&chain);
        }
        match std::fs::rename(dir, &place) {
            Ok(()) => {}
            // Somebody else was faster with the same bytes.
            Err(_) if self.whole_layer(&chain).is_some() => self.trash.take(dir),
            Err(error) => {
                // What is there is not whole, or it would have been told: it makes way.
                self.trash.take(&place);
                std::fs::rename(dir, &place)
                    .map_err(|_| Error::io("renaming to", &place)(error))?;
            }
        }
        Ok(Layer {
            diff_id,
            chain,
            size,
        })
    }

    fn ingest_plain(
        &self,
        dir: &Path,
        stream: &mut (impl Read + Send),
        expected: &Expected,
    ) -> Result<Stored, Error> {
        if self.indexes() {
            return self.store_tar(dir, stream, expected);
        }
        let (_, plain) = archive::decompress(stream)?;
        let refused = Cell::new(None);
        let mut inner = Digesting::new(self.bounded(plain, &refused));
        let applied = tarred::unpack(&dir.join("diff"), &mut inner);
        if let Some(refused) = refused.get() {
            return Err(self.refusal(refused));
        }
        let applied = match applied {
            Err(error) if error.kind() == Kind::System => return Err(error),
            applied => {
                // To its end also when it is broken: the outer digest tells whose fault that is.
                let rest = io::copy(&mut inner, &mut io::sink());
                let applied = applied?;
                rest.map_err(archive::Error::Malformed)?;
                applied
            }
        };
        let (hash, _) = inner.finish().map_err(archive::Error::Malformed)?;
        let diff_id = Digest::sha256(&hash);
        check_diff_id(expected, &diff_id)?;
        tarred::write_synced(&dir.join("size"), applied.bytes.to_string().as_bytes())?;
        Ok(Stored {
            diff_id,
            size: applied.bytes,
        })
    }

    /// A new directory that is swept at the next open when it is not renamed.
    pub(crate) fn temporary(&self, below: &str) -> Result<PathBuf, Error> {
        let mut bytes = [0u8; 8];
        let parent = self.root.join(below);
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .map_err(Error::errno("random name in", &parent))?;
        let dir = parent.join(format!("tmp-{}", archive::hex(&bytes)));
        std::fs::create_dir(&dir).map_err(Error::io("making", &dir))?;
        Ok(dir)
    }

    /// Refuses to begin what a nearly full disk cannot hold.
    pub(crate) fn check_room(&self) -> Result<(), Error> {
        match self.room() {
            Err(error) if error.is_full() => {}
            checked => return checked,
        }
        // What is only kept makes way for what is wanted.
        self.expire(true)?;
        self.trash.settle();
        self.room()
    }

    pub(crate) fn room(&self) -> Result<(), Error> {
        let facts = rustix::fs::statvfs(&self.root).map_err(Error::errno("statvfs", &self.root))?;
        room::check(&self.root, &facts)
    }

    /// Writes a blob under its digest.
    pub(crate) fn put_blob(&self, bytes: &[u8]) -> Result<Digest, Error> {
        let digest = digest(bytes);
        let place = self.blob_path(&digest);
        // Damaged content is replaced.
        if self.read_blob(&digest).is_ok() {
            return Ok(digest);
        }
        self.check_room()?;
        self.replace(&place, bytes)?;
        Ok(digest)
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("content/blobs/sha256").join(digest.hex())
    }

    pub(crate) fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let path = self.blob_path(digest);
        let bytes = std::fs::read(&path).map_err(Error::io("reading", &path))?;
        if self::digest(&bytes) != *digest {
            return Err(Error::Corrupt(format!(
                "content of {digest} is damaged on disk: pull it again"
            )));
        }
        Ok(bytes)
    }
}
