//! Layers on disk: `layers/<chain>/diff`, made under a temporary name and renamed when complete, so
//! that a directory with a chain's name is always whole.

use std::io::{Read, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use archive::{Applied, Digesting, Target};
use oci::Digest;
use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};

use crate::{Error, Store};

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

/// Decompresses and unpacks a stream; answers the digest of the tar in it.
fn apply(
    stream: &mut (impl Read + Send),
    root: BorrowedFd<'_>,
) -> Result<(Applied, Digest), archive::Error> {
    let (_, plain) = archive::decompress(stream)?;
    let mut inner = Digesting::new(plain);
    let applied = archive::apply(&mut inner, root, Target::Layer)?;
    let (hash, _) = inner.finish().map_err(archive::Error::Malformed)?;
    Ok((applied, Digest::sha256(&hash)))
}

fn check_stream(expected: &Expected, found: &Digest, length: u64) -> Result<(), Error> {
    match &expected.stream {
        Some((digest, _)) if digest != found => Err(Error::Corrupt(format!(
            "filesystem layer verification failed for digest {digest}: got {found}"
        ))),
        Some((digest, size)) if *size != length => Err(Error::Corrupt(format!(
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
        let text = std::fs::read_to_string(self.layer_dir(chain).join("size")).ok()?;
        text.parse().ok()
    }

    /// Unpacks one layer, whatever its compression, verifying both digests on the way.
    pub(crate) fn unpack(
        &self,
        stream: impl Read + Send,
        expected: &Expected,
    ) -> Result<Layer, Error> {
        let dir = self.temporary("layers")?;
        let result = self.unpack_into(&dir, stream, expected);
        if result.is_err() {
            self.trash.take(&dir);
        }
        result
    }

    fn unpack_into(
        &self,
        dir: &Path,
        stream: impl Read + Send,
        expected: &Expected,
    ) -> Result<Layer, Error> {
        self.check_room()?;
        let diff = dir.join("diff");
        std::fs::create_dir(&diff).map_err(Error::io("making", &diff))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&diff, flags, Mode::empty())
            .map_err(Error::errno("opening", &diff))?;
        // The archive's own mode of its root, when it has one, comes later.
        rustix::fs::fchmod(&root, Mode::from_raw_mode(0o755))
            .map_err(Error::errno("chmod", &diff))?;
        let mut outer = Digesting::new(stream);
        let unpacked = apply(&mut outer, root.as_fd());
        match &unpacked {
            // The disk's fault: the rest of the stream would tell nothing.
            Err(error) if error.kind() == archive::Kind::System => {}
            // A broken archive is first of all one that does not have its digest.
            _ => match outer.finish() {
                Ok((hash, length)) => check_stream(expected, &Digest::sha256(&hash), length)?,
                Err(error) if unpacked.is_ok() => {
                    return Err(archive::Error::Malformed(error).into());
                }
                Err(_) => {}
            },
        }
        let (applied, diff_id) = unpacked?;
        if let Some(wanted) = expected
            .diff_id
            .as_ref()
            .filter(|wanted| **wanted != diff_id)
        {
            return Err(Error::Corrupt(format!(
                "layer verification failed for digest {wanted}: got {diff_id}"
            )));
        }
        let chain = chain_id(&expected.below, &diff_id);
        let size_file = dir.join("size");
        let mut file =
            std::fs::File::create(&size_file).map_err(Error::io("making", &size_file))?;
        file.write_all(applied.bytes.to_string().as_bytes())
            .map_err(Error::io("writing", &size_file))?;
        // One sync of the whole file system is cheaper than one of each file, and the row that
        // names this layer is only written after it.
        rustix::fs::syncfs(&root).map_err(Error::errno("syncing", &diff))?;
        let place = self.layer_dir(&chain);
        match std::fs::rename(dir, &place) {
            Ok(()) => {}
            // Somebody else was faster with the same bytes.
            Err(_) if self.layer(&chain).is_some() => self.trash.take(dir),
            Err(error) => return Err(Error::io("renaming to", &place)(error)),
        }
        Ok(Layer {
            diff_id,
            chain,
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
        let facts = rustix::fs::statvfs(&self.root).map_err(Error::errno("statvfs", &self.root))?;
        let free = facts.f_bavail.saturating_mul(facts.f_frsize);
        if free < state::RESERVE {
            return Err(Error::Full {
                path: self.root.clone(),
                free,
            });
        }
        Ok(())
    }

    /// Writes a blob under its digest.
    pub(crate) fn put_blob(&self, bytes: &[u8]) -> Result<Digest, Error> {
        let hash: [u8; 32] = Sha256::digest(bytes).into();
        let digest = Digest::sha256(&hash);
        let place = self.blob_path(&digest);
        // Damaged content is replaced.
        if self.read_blob(&digest).is_ok() {
            return Ok(digest);
        }
        self.check_room()?;
        let dir = self.temporary("content")?;
        let file = dir.join("blob");
        let written = (|| {
            let mut out = std::fs::File::create(&file)?;
            out.write_all(bytes)?;
            out.sync_data()?;
            std::fs::rename(&file, &place)
        })();
        self.trash.take(&dir);
        written.map_err(Error::io("writing", &place))?;
        Ok(digest)
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("content/blobs/sha256").join(digest.hex())
    }

    pub(crate) fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let path = self.blob_path(digest);
        let bytes = std::fs::read(&path).map_err(Error::io("reading", &path))?;
        let hash: [u8; 32] = Sha256::digest(&bytes).into();
        if Digest::sha256(&hash) != *digest {
            return Err(Error::Corrupt(format!(
                "content of {digest} is damaged on disk: pull it again"
            )));
        }
        Ok(bytes)
    }
}
