//! `docker save`: an archive that is both docker's own (manifest.json, repositories) and an OCI
//! layout (oci-layout, index.json; image-spec, image-layout.md), as dockerd writes it since 25.
//!
//! Everything but the layers is known before: the archive is streamed, nothing is put on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use oci::{Digest, Reference};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::{Error, Image, Images};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Bytes of a layer that are read at once.
const PIECE: usize = 256 << 10;
const BLOCK: u64 = 512;

/// What is asked to be saved.
#[derive(Debug, Clone)]
pub struct Saved {
    /// The image.
    pub image: Image,
    /// Its names in the archive.
    pub references: Vec<Reference>,
}

/// As dockerd's `manifestItem`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
    layer_sources: BTreeMap<String, Descriptor>,
}

/// In the order of Go's structure, so that the same image gives the same digests as dockerd's.
#[derive(Serialize, Clone)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: &'static str,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    media_type: &'static str,
    manifests: Vec<Descriptor>,
}

/// The documents at the archive's top.
#[derive(Default)]
struct Top {
    items: Vec<Item>,
    manifests: Vec<Descriptor>,
    repositories: BTreeMap<String, BTreeMap<String, String>>,
}

impl Images {
    /// What names ask to be saved: a name without a tag means all tags of its repository.
    ///
    /// # Errors
    /// Not found, ambiguous, not a name; unsupported for images without layers.
    pub fn to_save(&self, names: &[String]) -> Result<Vec<Saved>, Error> {
        let mut found: Vec<Saved> = Vec::new();
        let mut add = |image: Image, reference: Option<Reference>| {
            let at = found.iter().position(|saved| saved.image.id == image.id);
            let at = at.unwrap_or_else(|| {
                found.push(Saved {
                    image,
                    references: Vec::new(),
                });
                found.len() - 1
            });
            let references = &mut found[at].references;
            references.extend(reference.filter(|reference| !references.contains(reference)));
        };
        for name in names {
            let image = self.resolve(name);
            let reference = name.parse::<Reference>().ok();
            let by_name = reference.filter(|reference| {
                // An ID may look like a name.
                image.as_ref().is_err() || is_name_of(reference, image.as_ref().ok())
            });
            match by_name {
                Some(bare) if bare.tag().is_none() && bare.digest().is_none() => {
                    let of_repository: Vec<(Image, Reference)> = self
                        .list()?
                        .into_iter()
                        .flat_map(|image| {
                            let tags = image.tags.clone().into_iter();
                            tags.map(move |tag| (image.clone(), tag))
                        })
                        .filter(|(_, tag)| tag.familiar_name() == bare.familiar_name())
                        .collect();
                    if of_repository.is_empty() {
                        add(image?, None);
                    }
                    for (image, tag) in of_repository {
                        add(image, Some(tag));
                    }
                }
                Some(named) => {
                    let tag = Some(named).filter(|named| named.digest().is_none());
                    add(image?, tag);
                }
                None => add(image?, None),
            }
        }
        if found.iter().any(|saved| saved.image.layers.is_empty()) {
            return Err(Error::Unsupported("empty export - not implemented".into()));
        }
        Ok(found)
    }

    /// Writes the archive.
    ///
    /// # Errors
    /// Those of the writer; when content is missing or damaged, or a layer cannot be given back
    /// to the byte.
    pub fn save(&self, images: &[Saved], out: &mut dyn Write) -> Result<(), Error> {
        let mut tar = Tar { out };
        let mut there = BTreeSet::new();
        let mut top = Top::default();
        let made = |saved: &Saved| seconds(saved.image.created.as_deref());
        let time = images.first().map_or(0, made);
        tar.directory("blobs/", time)?;
        tar.directory("blobs/sha256/", time)?;
        for saved in images {
            self.save_image(saved, &mut tar, &mut there, &mut top)?;
        }
        let index = Index {
            schema_version: 2,
            media_type: INDEX,
            manifests: top.manifests,
        };
        tar.document("index.json", &json_of(&index)?)?;
        tar.document("manifest.json", &line_of(&top.items)?)?;
        tar.document("oci-layout", br#"{"imageLayoutVersion": "1.0.0"}"#)?;
        if !top.repositories.is_empty() {
            tar.document("repositories", &line_of(&top.repositories)?)?;
        }
        tar.end()
    }

    fn save_image(
        &self,
        saved: &Saved,
        tar: &mut Tar<'_>,
        there: &mut BTreeSet<String>,
        top: &mut Top,
    ) -> Result<(), Error> {
        let image = &saved.image;
        let time = seconds(image.created.as_deref());
        let config = self.config_bytes(&image.id)?;
        let mut layers = Vec::new();
        for diff_id in &image.layers {
            let layer = self.layer_tar(diff_id)?;
            let length = layer.length;
            if there.insert(diff_id.to_string()) {
                tar.file(&path(diff_id), length, time, layer.file)?;
            }
            layers.push(descriptor(LAYER, diff_id.to_string(), length));
        }
        if there.insert(image.id.to_string()) {
            tar.file(
                &path(&image.id),
                config.len() as u64,
                time,
                config.as_slice(),
            )?;
        }
        let manifest = json_of(&Manifest {
            schema_version: 2,
            media_type: MANIFEST,
            config: descriptor(CONFIG, image.id.to_string(), config.len() as u64),
            layers: layers.clone(),
        })?;
        let hash: [u8; 32] = Sha256::digest(&manifest).into();
        let digest = Digest::sha256(&hash);
        if there.insert(digest.to_string()) {
            tar.file(
                &path(&digest),
                manifest.len() as u64,
                0,
                manifest.as_slice(),
            )?;
        }
        let described = descriptor(MANIFEST, digest.to_string(), manifest.len() as u64);
        for reference in &saved.references {
            let tag = reference.tag().unwrap_or("latest").to_owned();
            if let Some(last) = image.layers.last() {
                let tags = top.repositories.entry(reference.familiar_name());
                tags.or_default().insert(tag.clone(), last.hex().to_owned());
            }
            let mut named = described.clone();
            named.annotations = [
                ("io.containerd.image.name", reference.to_string()),
                ("org.opencontainers.image.ref.name", tag),
            ]
            .into();
            top.manifests.push(named);
        }
        if saved.references.is_empty() {
            top.manifests.push(described);
        }
        let tags: Vec<String> = saved.references.iter().map(Reference::familiar).collect();
        let sources = image.layers.iter().map(ToString::to_string).zip(layers);
        top.items.push(Item {
            config: path(&image.id),
            repo_tags: (!tags.is_empty()).then_some(tags),
            layers: image.layers.iter().map(path).collect(),
            layer_sources: sources.collect(),
        });
        Ok(())
    }
}

fn is_name_of(reference: &Reference, image: Option<&Image>) -> bool {
    image.is_some_and(|image| {
        let names = image.tags.iter().chain(&image.digests);
        let mut names = names.map(Reference::familiar_name);
        names.any(|name| name == reference.familiar_name())
    })
}

fn path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn descriptor(media_type: &'static str, digest: String, size: u64) -> Descriptor {
    Descriptor {
        media_type,
        digest,
        size,
        annotations: BTreeMap::new(),
    }
}

fn json_of(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| Error::Corrupt(error.to_string()))
}

/// As Go's encoder writes a stream: with a line's end.
fn line_of(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut bytes = json_of(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Seconds since 1970 of an RFC 3339 time; 0 for none.
fn seconds(time: Option<&str>) -> u64 {
    let seconds = time.and_then(|time| time.parse::<jiff::Timestamp>().ok());
    seconds.map_or(0, |time| u64::try_from(time.as_second()).unwrap_or(0))
}

/// An archive in the making.
struct Tar<'a> {
    out: &'a mut dyn Write,
}

impl Tar<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(sending)
    }

    fn header(
        &mut self,
        path: &str,
        kind: tar::EntryType,
        size: u64,
        time: u64,
    ) -> Result<(), Error> {
        let mut header = tar::Header::new_gnu();
        header.set_path(path).map_err(sending)?;
        header.set_entry_type(kind);
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(size);
        header.set_mtime(time);
        header.set_cksum();
        self.put(header.as_bytes())
    }

    fn directory(&mut self, path: &str, time: u64) -> Result<(), Error> {
        self.header(path, tar::EntryType::Directory, 0, time)
    }

    fn document(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        self.file(path, bytes.len() as u64, 0, bytes)
    }

    fn file(
        &mut self,
        path: &str,
        size: u64,
        time: u64,
        mut content: impl Read,
    ) -> Result<(), Error> {
        self.header(path, tar::EntryType::Regular, size, time)?;
        let mut piece = vec![0; PIECE.min(usize::try_from(size).unwrap_or(PIECE))];
        let mut left = size;
        while left > 0 {
            let wanted = piece.len().min(usize::try_from(left).unwrap_or(PIECE));
            let read = content.read(&mut piece[..wanted]);
            let read = read.map_err(|error| Error::Corrupt(format!("reading {path}: {error}")))?;
            if read == 0 {
                return Err(Error::Corrupt(format!("{path} is cut off on disk")));
            }
            self.put(&piece[..read])?;
            left -= read as u64;
        }
        let rest = size.next_multiple_of(BLOCK) - size;
        self.put(&[0; BLOCK as usize][..rest as usize])
    }

    fn end(&mut self) -> Result<(), Error> {
        self.put(&[0; 2 * BLOCK as usize])?;
        self.out.flush().map_err(sending)
    }
}

/// A reader that went away, mostly.
fn sending(source: io::Error) -> Error {
    Error::Io {
        action: "sending",
        path: "the archive".into(),
        source,
    }
}

#[cfg(test)]
mod tests;
