//! Layers kept as they are: `tar`, the layer's uncompressed archive to the byte, and `index`, its
//! tree ([`erofs::Tree`]), from which an image's EROFS is made (`merged`).
//!
//! One pass: the stream is decompressed, digested, written and scanned by the same read. An archive
//! with entries that cannot be indexed (sparse files) is unpacked after all.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use archive::{Digesting, Pack, Target};
use erofs::{Facts, Tree};
use oci::Digest;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use sha2::{Digest as _, Sha256};

use crate::catalog::BLOB;
use crate::index::{self, Scanned};
use crate::layers::{Expected, check_diff_id, check_stream};
use crate::{Error, Store};

pub(crate) const TAR: &str = "tar";
pub(crate) const INDEX: &str = "index";
/// Bytes that are decompressed, digested and written at once.
const PIECE: usize = 256 << 10;

/// A layer's archive, open.
#[derive(Debug)]
pub struct LayerTar {
    /// At its start.
    pub file: File,
    /// Bytes.
    pub length: u64,
}

/// What was stored.
pub(crate) struct Stored {
    pub(crate) diff_id: Digest,
    /// Bytes of its files.
    pub(crate) size: u64,
}

impl Store {
    /// Stores a stream's tar and its index in `dir`.
    pub(crate) fn store_tar(
        &self,
        dir: &Path,
        stream: &mut (impl Read + Send),
        expected: &Expected,
    ) -> Result<Stored, Error> {
        let path = dir.join(TAR);
        let file = File::create(&path).map_err(Error::io("making", &path))?;
        let (_, plain) = archive::decompress(stream)?;
        let refused = Cell::new(None);
        let tee = Tee::new(self.bounded(plain, &refused), Some(&file));
        let stored = self.store_scanned(dir, tee, &file, expected);
        match refused.get() {
            Some(refused) => Err(self.refusal(refused)),
            None => stored,
        }
    }

    /// The same of a tar that is in a file of this store already.
    pub(crate) fn link_tar(
        &self,
        dir: &Path,
        file: &File,
        expected: &Expected,
    ) -> Result<Stored, Error> {
        let path = dir.join(TAR);
        // By its descriptor: a name in an archive may be a link to anywhere.
        let source = format!("/proc/self/fd/{}", file.as_raw_fd());
        rustix::fs::linkat(CWD, source, CWD, &path, AtFlags::SYMLINK_FOLLOW)
            .map_err(Error::errno("linking to", &path))?;
        self.store_scanned(dir, Tee::new(file, None), file, expected)
    }

    fn store_scanned(
        &self,
        dir: &Path,
        mut tee: Tee<'_, impl Read>,
        file: &File,
        expected: &Expected,
    ) -> Result<Stored, Error> {
        let path = dir.join(TAR);
        let scanned = copy(&mut tee);
        if let Some(error) = tee.failed.take() {
            return Err(Error::io("writing", &path)(error));
        }
        let hash: [u8; 32] = tee.hash.finalize().into();
        let diff_id = Digest::sha256(&hash);
        // A broken archive is first of all one that does not have its digest.
        if expected.is_plain() && !tee.ended_early {
            check_stream(expected, &diff_id, tee.length)?;
        }
        let Scanned { applied, tree } = scanned?;
        check_diff_id(expected, &diff_id)?;
        match tree {
            Some(tree) => {
                file.sync_data().map_err(Error::io("syncing", &path))?;
                let facts = Facts {
                    tar: tee.length,
                    files: applied.bytes,
                };
                write_synced(&dir.join(INDEX), &tree.encode(facts))?;
            }
            None => self.unpack_stored(dir, applied.bytes)?,
        }
        Ok(Stored {
            diff_id,
            size: applied.bytes,
        })
    }

    /// Turns a stored tar into a plain directory.
    fn unpack_stored(&self, dir: &Path, bytes: u64) -> Result<(), Error> {
        let path = dir.join(TAR);
        let file = File::open(&path).map_err(Error::io("opening", &path))?;
        unpack(&dir.join("diff"), BufReader::with_capacity(PIECE, file))?;
        write_synced(&dir.join("size"), bytes.to_string().as_bytes())?;
        std::fs::remove_file(&path).map_err(Error::io("removing", &path))
    }

    /// A layer's tree. An index that is missing or damaged is made again of the tar.
    pub(crate) fn tree(&self, chain: &str) -> Result<(Tree, Facts), Error> {
        let dir = self.layer_dir(chain);
        let path = dir.join(INDEX);
        let read = std::fs::read(&path);
        if let Ok(bytes) = &read
            && let Ok(found) = Tree::decode(bytes)
        {
            return Ok(found);
        }
        let tar = dir.join(TAR);
        let file = File::open(&tar).map_err(Error::io("opening", &tar))?;
        let length = file.metadata().map_err(Error::io("reading", &tar))?.len();
        let scanned = index::scan(BufReader::with_capacity(PIECE, file))?;
        let (Some(tree), applied) = (scanned.tree, scanned.applied) else {
            return Err(Error::Corrupt(format!(
                "layer {chain} is damaged on disk: pull it again"
            )));
        };
        let facts = Facts {
            tar: length,
            files: applied.bytes,
        };
        self.replace(&path, &tree.encode(facts))?;
        Ok((tree, facts))
    }

    /// Gives a small file of the store new content: after a crash it has the old one or this.
    pub(crate) fn replace(&self, place: &Path, bytes: &[u8]) -> Result<(), Error> {
        self.replace_by(place, |new| write_synced(new, bytes))
    }

    /// The same of one that nobody misses: what is left of it after a power failure is whatever it is.
    pub(crate) fn replace_unsynced(&self, place: &Path, bytes: &[u8]) -> Result<(), Error> {
        self.replace_by(place, |new| {
            std::fs::write(new, bytes).map_err(Error::io("writing", new))
        })
    }

    fn replace_by(
        &self,
        place: &Path,
        write: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let made = self.temporary("layers")?;
        let new = made.join("new");
        let written = write(&new)
            .and_then(|()| std::fs::rename(&new, place).map_err(Error::io("renaming to", place)));
        self.trash.take(&made);
        written
    }

    /// Unpacks a layer that is kept as a tar, for a kernel that cannot mount it.
    pub(crate) fn unpack_beside(&self, chain: &str) -> Result<(), Error> {
        let (dir, tar) = (self.layer_dir(chain), self.layer_dir(chain).join(TAR));
        let file = File::open(&tar).map_err(Error::io("opening", &tar))?;
        let made = self.temporary("layers")?;
        let unpacked = unpack(&made.join("diff"), BufReader::with_capacity(PIECE, file));
        let renamed = unpacked.and_then(|_| {
            match std::fs::rename(made.join("diff"), dir.join("diff")) {
                // Somebody else was faster.
                Err(_) if dir.join("diff").exists() => Ok(()),
                renamed => renamed.map_err(Error::io("renaming to", &dir)),
            }
        });
        self.trash.take(&made);
        renamed
    }

    pub(crate) fn has_tar(&self, chain: &str) -> bool {
        !self.is_damaged(chain) && self.layer_dir(chain).join(TAR).exists()
    }

    /// Bytes that all layers take on disk, each counted once.
    pub(crate) fn layers_on_disk(&self) -> u64 {
        let mut seen = BTreeSet::new();
        let mut total = 0;
        let expected = self.catalog.expected();
        for chain in expected.into_iter().filter(|key| !key.starts_with(BLOB)) {
            let (dir, lazy) = (self.layer_dir(&chain), self.lazy_dir(&chain));
            if !self.has_tar(&chain) {
                total += self.whole_layer(&chain).unwrap_or(0);
            }
            let dirs = [dir, lazy]
                .into_iter()
                .filter_map(|dir| std::fs::read_dir(dir).ok());
            for entry in dirs.flatten().flatten() {
                let Ok(facts) = entry.metadata() else {
                    continue;
                };
                if facts.is_file() && seen.insert((facts.dev(), facts.ino())) {
                    total += facts.blocks() * 512;
                }
            }
        }
        total
    }

    /// The archive of a layer, whichever chain has it: first this one, of which the caller may have a
    /// lease while no image has it any more.
    pub(crate) fn layer_tar(
        &self,
        diff_id: &Digest,
        leased: Option<&str>,
    ) -> Result<LayerTar, Error> {
        let mut chains: Vec<String> = leased.map(str::to_owned).into_iter().collect();
        chains.extend(self.catalog.same(diff_id));
        for chain in &chains {
            let file = File::open(self.layer_dir(chain).join(TAR));
            if let Ok(file) = file
                && self.whole_layer(chain).is_some()
            {
                let length = file.metadata().map(|facts| facts.len());
                let length = length.map_err(Error::io("reading layer", &self.layer_dir(chain)))?;
                return Ok(LayerTar { file, length });
            }
        }
        if chains.iter().any(|chain| self.lazy(chain).is_some()) {
            return Err(Error::Conflict(format!(
                "layer {diff_id} has not come whole yet: try again when it has"
            )));
        }
        let Some(chain) = chains
            .iter()
            .find(|chain| self.whole_layer(chain).is_some())
        else {
            return Err(Error::Corrupt(format!(
                "layer {diff_id} is missing on disk: pull the image again"
            )));
        };
        self.repack(chain, diff_id)
    }

    /// Puts an unpacked layer together again; what comes out is rarely what went in, which its
    /// digest tells.
    fn repack(&self, chain: &str, diff_id: &Digest) -> Result<LayerTar, Error> {
        self.check_room()?;
        let (diff, made) = (
            self.layer_dir(chain).join("diff"),
            self.temporary("layers")?,
        );
        let packed = (|| {
            let path = made.join(TAR);
            let file = File::create_new(&path).map_err(Error::io("making", &path))?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::open(&diff, flags, Mode::empty())
                .map_err(Error::errno("opening", &diff))?;
            let pack = Pack {
                user_attributes: true,
                layer: true,
                ..Pack::default()
            };
            archive::pack(&root.as_fd(), &pack, BufWriter::new(&file))?
                .flush()
                .map_err(Error::io("writing", &path))?;
            let file = File::open(&path).map_err(Error::io("opening", &path))?;
            let length = file.metadata().map_err(Error::io("reading", &path))?.len();
            let (hash, _) = Digesting::new(&file)
                .finish()
                .map_err(Error::io("reading", &path))?;
            if Digest::sha256(&hash) != *diff_id {
                return Err(Error::Unsupported(format!(
                    "layer {diff_id} was unpacked and cannot be put together as it was: pull the \
                     image again"
                )));
            }
            let mut file = file;
            file.rewind().map_err(Error::io("reading", &path))?;
            Ok(LayerTar { file, length })
        })();
        // The open file stays readable.
        self.trash.take(&made);
        packed
    }

    /// Gives a layer that another chain has as a tar to this chain too, without another copy.
    pub(crate) fn adopt(&self, from: &str, to: &str) -> Result<(), Error> {
        let made = self.temporary("layers")?;
        let (source, place) = (self.layer_dir(from), self.layer_dir(to));
        let linked = [TAR, INDEX].iter().try_for_each(|name| {
            std::fs::hard_link(source.join(name), made.join(name))
                .map_err(Error::io("linking", &source))
        });
        if self.is_damaged(to) {
            self.discard_layer(to);
        }
        let renamed = linked.and_then(|()| {
            std::fs::rename(&made, &place).map_err(Error::io("renaming to", &place))
        });
        if renamed.is_err() {
            self.trash.take(&made);
        }
        renamed
    }
}

/// Scans a stream while it is stored, and stores what comes after the archive's end as well.
fn copy(tee: &mut Tee<'_, impl Read>) -> Result<Scanned, archive::Error> {
    let mut reader = BufReader::with_capacity(PIECE, &mut *tee);
    let scanned = index::scan(&mut reader);
    // To the end also when the archive is broken: then its digest tells whose fault that is.
    let rest = io::copy(&mut reader, &mut io::sink());
    match (scanned, rest) {
        (Ok(scanned), Ok(_)) => Ok(scanned),
        (Err(error), _) => Err(error),
        (Ok(_), Err(error)) => Err(archive::Error::Malformed(error)),
    }
}

/// A layer's files in a new directory, synced.
pub(crate) fn unpack(diff: &Path, tar: impl Read) -> Result<archive::Applied, Error> {
    std::fs::create_dir(diff).map_err(Error::io("making", diff))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root =
        rustix::fs::open(diff, flags, Mode::empty()).map_err(Error::errno("opening", diff))?;
    // The archive's own mode of its root, when it has one, comes later.
    rustix::fs::fchmod(&root, Mode::from_raw_mode(0o755)).map_err(Error::errno("chmod", diff))?;
    let applied = archive::apply(tar, root.as_fd(), Target::Layer)?;
    // One sync of the whole file system is cheaper than one of each file.
    rustix::fs::syncfs(&root).map_err(Error::errno("syncing", diff))?;
    Ok(applied)
}

/// Writes a small file so that it is there after a crash.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = File::create(path).map_err(Error::io("making", path))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_data())
        .map_err(Error::io("writing", path))
}

/// Digests and stores what is read through it.
struct Tee<'a, R> {
    plain: R,
    /// Where to; `None` where it is already.
    file: Option<&'a File>,
    hash: Sha256,
    length: u64,
    /// The stream failed: nothing can be said of its digest.
    ended_early: bool,
    /// What the file refused: our fault, not the stream's.
    failed: Option<io::Error>,
}

impl<'a, R> Tee<'a, R> {
    fn new(plain: R, file: Option<&'a File>) -> Self {
        Self {
            plain,
            file,
            hash: Sha256::new(),
            length: 0,
            ended_early: false,
            failed: None,
        }
    }
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failed.is_some() {
            return Err(io::Error::other("the file refused"));
        }
        let read = self
            .plain
            .read(buffer)
            .inspect_err(|_| self.ended_early = true)?;
        self.hash.update(&buffer[..read]);
        self.length += read as u64;
        if let Some(mut file) = self.file
            && let Err(error) = file.write_all(&buffer[..read])
        {
            self.failed = Some(error);
            return Err(io::Error::other("the file refused"));
        }
        Ok(read)
    }
}
