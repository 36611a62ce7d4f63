//! `docker load`: archives of `docker save` (manifest.json) and OCI layouts (index.json).
//!
//! The archive is spooled below `content/`, then read as its index says; files are opened confined
//! to the spool, so that names and links in it cannot lead out.

use std::cell::Cell;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use archive::Target;
use oci::image::{ImageConfig, Index};
use oci::{Digest, Platform, Reference};
use rustix::fs::{Mode, OFlags};
use serde::Deserialize;

use crate::layers::{Expected, chain_id};
use crate::variants::is_index;
use crate::{Error, Images, LoadEvent, Loaded};

mod layout;

/// Documents larger than this are no documents.
const LARGEST_DOCUMENT: usize = 16 << 20;
const NAME: &str = "io.containerd.image.name";
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// One entry of docker's manifest.json.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Images {
    /// Loads every image of an archive, with all platforms that are in it.
    ///
    /// # Errors
    /// Corrupt when it is no such archive or a digest differs; images before the error stay.
    pub fn load(
        &self,
        reader: impl Read + Send,
        progress: &mut dyn FnMut(LoadEvent<'_>),
    ) -> Result<Vec<Loaded>, Error> {
        self.load_for(reader, &[], progress)
    }

    /// The same for some platforms only; none are all.
    ///
    /// # Errors
    /// As [`Images::load`]; not found when it has none of them, or not all of one.
    pub fn load_for(
        &self,
        reader: impl Read + Send,
        platforms: &[Platform],
        progress: &mut dyn FnMut(LoadEvent<'_>),
    ) -> Result<Vec<Loaded>, Error> {
        self.0.check_room()?;
        let spool = self.0.temporary("content")?;
        let result = self.load_spooled(reader, &spool, platforms, progress);
        self.0.trash.take(&spool);
        result
    }

    fn load_spooled(
        &self,
        reader: impl Read + Send,
        spool: &Path,
        platforms: &[Platform],
        progress: &mut dyn FnMut(LoadEvent<'_>),
    ) -> Result<Vec<Loaded>, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(spool, flags, Mode::empty())
            .map_err(Error::errno("opening", spool))?;
        let (_, plain) = archive::decompress(reader)?;
        let owner = Some((
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        ));
        let refused = Cell::new(None);
        let files = Target::Files {
            keep_types: false,
            owner,
        };
        let applied = archive::apply(self.0.bounded(plain, &refused), root.as_fd(), files);
        if let Some(refused) = refused.get() {
            return Err(self.0.refusal(refused));
        }
        applied?;
        let spool = Spool(root);
        let layout = spool.document("index.json")?.map(|bytes| {
            serde_json::from_slice::<Index>(&bytes)
                .map_err(|error| Error::Corrupt(format!("index.json: {error}")))
        });
        // Docker's own form has one platform of each image.
        let has_index = matches!(&layout, Some(Ok(index))
            if index.manifests.iter().any(|it| is_index(&it.media_type)));
        if !has_index && let Some(bytes) = spool.document("manifest.json")? {
            let entries: Vec<DockerEntry> = serde_json::from_slice(&bytes)
                .map_err(|error| Error::Corrupt(format!("manifest.json: {error}")))?;
            return entries
                .iter()
                .map(|entry| self.load_docker(&spool, entry, platforms, progress))
                .collect();
        }
        match layout {
            Some(index) => self.load_layout(&spool, &index?, platforms, progress),
            None => Err(Error::Corrupt(
                "not an image archive: it has neither manifest.json nor index.json".into(),
            )),
        }
    }

    fn load_docker(
        &self,
        spool: &Spool,
        entry: &DockerEntry,
        platforms: &[Platform],
        progress: &mut dyn FnMut(LoadEvent<'_>),
    ) -> Result<Loaded, Error> {
        let config = spool.required(&entry.config)?;
        let tags = entry.repo_tags.iter().flatten();
        let tags = tags.map(|name| Ok(name.parse::<Reference>()?.or_latest()));
        let references: Vec<Reference> = tags.collect::<Result<_, Error>>()?;
        let parsed = parse_config(&config)?;
        if parsed.rootfs.diff_ids.len() != entry.layers.len() {
            return Err(Error::Corrupt(format!(
                "invalid manifest, layers length mismatch: expected {}, got {}",
                parsed.rootfs.diff_ids.len(),
                entry.layers.len()
            )));
        }
        if !wants(platforms, &parsed.platform()) {
            return Err(Error::NotLoaded(self::names(platforms)));
        }
        let _lease = self.lease(chains(&parsed));
        let layers = entry.layers.iter().map(|path| (path.clone(), None));
        self.load_layers(spool, &parsed, layers.collect(), progress)?;
        let id = self.commit(&config, None, &references)?;
        Ok(Loaded { id, references })
    }

    fn load_layout(
        &self,
        spool: &Spool,
        index: &Index,
        platforms: &[Platform],
        progress: &mut dyn FnMut(LoadEvent<'_>),
    ) -> Result<Vec<Loaded>, Error> {
        let mut loaded: Vec<Loaded> = Vec::new();
        // Of several under one name this machine's gets it: the last one does.
        let host = Platform::host();
        let mut manifests: Vec<_> = index.manifests.iter().collect();
        manifests.sort_by_key(|it| it.platform.as_ref().and_then(|of| host.suits(of)));
        for descriptor in manifests {
            let name = descriptor.annotations.get(NAME).or_else(|| {
                // Only a whole reference is a name; a bare tag has no repository.
                descriptor
                    .annotations
                    .get(REF_NAME)
                    .filter(|name| name.contains(['/', ':']))
            });
            let reference = name
                .map(|name| name.parse::<Reference>())
                .transpose()?
                .map(Reference::or_latest);
            let references: Vec<Reference> = reference.into_iter().collect();
            let id = match is_index(&descriptor.media_type) {
                true => self.load_index(spool, descriptor, platforms, &references, progress)?,
                false => self.load_manifest(spool, descriptor, platforms, &references, progress)?,
            };
            let Some(id) = id else { continue };
            // One descriptor for each name is one image with several.
            match loaded.iter_mut().find(|loaded| loaded.id == id) {
                Some(loaded) => loaded.references.extend(references),
                None => loaded.push(Loaded { id, references }),
            }
        }
        if loaded.is_empty() {
            return Err(match platforms {
                [] => Error::Corrupt("the archive has no image".into()),
                wanted => Error::NotLoaded(names(wanted)),
            });
        }
        Ok(loaded)
    }

    fn load_layers(
        &self,
        spool: &Spool,
        config: &ImageConfig,
        layers: Vec<(String, Option<(Digest, u64)>)>,
        progress: &mut dyn FnMut(LoadEvent<'_>),
    ) -> Result<(), Error> {
        if layers.len() != config.rootfs.diff_ids.len() {
            return Err(Error::Corrupt(
                "manifest and configuration differ in their layers".into(),
            ));
        }
        let mut below = String::new();
        for ((path, stream), diff_id) in layers.into_iter().zip(&config.rootfs.diff_ids) {
            let chain = chain_id(&below, diff_id);
            let is_lazy = self.lazy(&chain).is_some();
            if is_lazy || self.layer_or_same(&chain, diff_id).is_none() {
                let file = spool.open(&path)?;
                let total = file.metadata().map_or(0, |facts| facts.len());
                progress(LoadEvent::Layer {
                    diff_id,
                    current: 0,
                    total,
                });
                let expected = Expected {
                    stream,
                    diff_id: Some(diff_id.clone()),
                    below,
                };
                self.0.ingest_file(file, &expected)?;
                self.settle(&chain);
                progress(LoadEvent::LayerDone { diff_id });
            }
            below = chain;
        }
        Ok(())
    }
}

/// Whether a platform is wanted; all are where none is named.
fn wants(platforms: &[Platform], offered: &Platform) -> bool {
    platforms.is_empty() || platforms.iter().any(|wanted| wanted.is_exactly(offered))
}

/// As Go shows a list.
fn names(platforms: &[Platform]) -> String {
    let names: Vec<String> = platforms.iter().map(ToString::to_string).collect();
    format!("[{}]", names.join(" "))
}

fn parse_config(bytes: &[u8]) -> Result<ImageConfig, Error> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::Corrupt(format!("image configuration: {error}")))
}

/// Chain IDs of an image's layers, base first.
fn chains(config: &ImageConfig) -> Vec<String> {
    let ids = config.rootfs.diff_ids.iter();
    ids.scan(String::new(), |below, diff_id| {
        *below = chain_id(below, diff_id);
        Some(below.clone())
    })
    .collect()
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The unpacked archive.
struct Spool(OwnedFd);

impl Spool {
    fn open(&self, path: &str) -> Result<File, Error> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let relative = Path::new(path.trim_start_matches('/'));
        let fd = sys::rooted::open(self.0.as_fd(), relative, flags, Mode::empty())
            .map_err(|_| Error::Corrupt(format!("the archive lacks {path}")))?;
        let file = File::from(fd);
        match file.metadata() {
            Ok(facts) if facts.is_file() => Ok(file),
            _ => Err(Error::Corrupt(format!(
                "{path} in the archive is not a file"
            ))),
        }
    }

    fn document(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        match self.open(path) {
            Ok(file) => read_document(file, path).map(Some),
            Err(_) => Ok(None),
        }
    }

    fn required(&self, path: &str) -> Result<Vec<u8>, Error> {
        read_document(self.open(path)?, path)
    }

    fn blob(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        use sha2::Digest as _;
        let bytes = self.required(&blob_path(digest))?;
        let hash: [u8; 32] = sha2::Sha256::digest(&bytes).into();
        if oci::Digest::sha256(&hash) != *digest {
            return Err(Error::Corrupt(format!(
                "{digest} in the archive does not match its digest"
            )));
        }
        Ok(bytes)
    }

    fn has(&self, path: &str) -> bool {
        self.open(path).is_ok()
    }
}

fn read_document(file: File, path: &str) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    file.take(LARGEST_DOCUMENT as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::Corrupt(format!("{path}: {error}")))?;
    if bytes.len() > LARGEST_DOCUMENT {
        return Err(Error::Corrupt(format!(
            "{path} is larger than {LARGEST_DOCUMENT} bytes"
        )));
    }
    Ok(bytes)
}
