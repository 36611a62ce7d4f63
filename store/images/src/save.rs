//! `docker save`: an archive that is both docker's own (manifest.json, repositories) and an OCI
//! layout (oci-layout, index.json; image-spec, image-layout.md), as dockerd writes it since 25.
//!
//! An image that has an index is written as one: the layout's index names a new index of those
//! platforms that are here, whose manifests have the layers as they are kept, uncompressed. The index
//! it came by, its manifests and its attestations are in the archive too, as blobs which an
//! annotation ([`ORIGINAL`]) leads to: a load here takes those, so that digests stay what they were.
//!
//! Everything but the layers is known before: the archive is streamed, nothing is put on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use oci::{Digest, Platform, Reference};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::layers::chain_id;
use crate::{Error, Image, Images, Lease};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// On an index that was made for an archive: digest of the one that the image came by.
pub(crate) const ORIGINAL: &str = "io.corten.image.index";
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
    /// With an index: the platforms that are written, in its order.
    pub platforms: Option<Vec<Image>>,
    /// Blobs that go along: the index, their manifests, attestations.
    pub documents: Vec<Digest>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
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
    /// What names ask to be saved: a name without a tag means all tags of its repository. With one
    /// platform that image alone; with several, or none for all, what is here of each index.
    ///
    /// # Errors
    /// Not found, ambiguous, not a name; not found where a platform is not here, conflict where
    /// there are two of one; unsupported for images without layers.
    pub fn to_save(&self, names: &[String], platforms: &[Platform]) -> Result<Vec<Saved>, Error> {
        let mut found: Vec<Saved> = Vec::new();
        let mut add = |image: Image, reference: Option<Reference>| {
            let index = |image: &Image| image.index.as_ref().map(|it| it.digest.clone());
            let at = found.iter().position(|saved| {
                saved.image.id == image.id && index(&saved.image) == index(&image)
            });
            let at = at.unwrap_or_else(|| {
                found.push(Saved {
                    image,
                    references: Vec::new(),
                    platforms: None,
                    documents: Vec::new(),
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
                    for (_, tag) in of_repository {
                        // As it goes by this name: it may be in several indexes.
                        add(self.resolve(&tag.to_string())?, Some(tag));
                    }
                }
                Some(named) => {
                    let tag = Some(named).filter(|named| named.digest().is_none());
                    add(image?, tag);
                }
                None => add(image?, None),
            }
        }
        for saved in &mut found {
            self.choose(saved, platforms)?;
        }
        if found.iter().any(|saved| saved.image.layers.is_empty()) {
            return Err(Error::Unsupported("empty export - not implemented".into()));
        }
        Ok(found)
    }

    /// Which of its platforms are written.
    fn choose(&self, saved: &mut Saved, platforms: &[Platform]) -> Result<(), Error> {
        let name = saved.references.first().map(Reference::familiar);
        let name = name.unwrap_or_else(|| saved.image.id.to_string());
        let missing = |wanted: &Platform| Error::Platform(name.clone(), wanted.to_string());
        let variants = self.variants(&saved.image).into_iter();
        let mut here: Vec<Image> = variants.filter_map(|variant| variant.image).collect();
        if here.is_empty() {
            here.push(saved.image.clone());
        }
        let platform = |image: &Image| {
            let of = image.manifest.as_ref();
            let of = of.and_then(|manifest| manifest.platform.clone());
            of.unwrap_or_else(|| image.config.platform())
        };
        if let [wanted] = platforms {
            let mut of = here
                .into_iter()
                .filter(|it| wanted.is_exactly(&platform(it)));
            saved.image = match (of.next(), of.next()) {
                (Some(only), None) => only,
                (Some(_), Some(_)) => {
                    return Err(Error::Conflict(format!(
                        "multiple manifests found for platform {wanted}"
                    )));
                }
                (None, _) => return Err(missing(wanted)),
            };
            return Ok(());
        }
        if let Some(first) = platforms.first() {
            here.retain(|it| {
                platforms
                    .iter()
                    .any(|wanted| wanted.is_exactly(&platform(it)))
            });
            if here.is_empty() {
                return Err(missing(first));
            }
            if here.iter().all(|image| image.id != saved.image.id) {
                let index = saved.image.index.take();
                saved.image = here[0].clone();
                saved.image.index = index;
            }
        }
        if let Some(index) = &saved.image.index {
            let manifests = here.iter().filter_map(|image| image.manifest.as_ref());
            let manifests: Vec<Digest> = manifests.map(|it| it.digest.clone()).collect();
            saved.documents.push(index.digest.clone());
            for variant in self.variants(&saved.image) {
                let manifest = variant.descriptor.digest;
                match manifests.contains(&manifest) {
                    true => saved.documents.push(manifest),
                    false => saved
                        .documents
                        .extend(self.attached(&index.digest, &manifest)),
                }
            }
            saved.platforms = Some(here);
        }
        Ok(())
    }

    /// Keeps what is to be saved as it is, whoever removes it meanwhile, until the lease is dropped.
    ///
    /// # Errors
    /// Not found when something has gone.
    pub fn hold_saved(&self, images: &[Saved]) -> Result<Lease, Error> {
        let platforms = |saved: &Saved| saved.platforms.clone().unwrap_or_default();
        let others: Vec<Image> = images.iter().flat_map(platforms).collect();
        self.hold(images.iter().map(|saved| &saved.image).chain(&others))
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
        let (described, layers) = match &saved.platforms {
            None => self.save_manifest(image, tar, there)?,
            Some(platforms) => self.save_index(image, platforms, tar, there)?,
        };
        for digest in &saved.documents {
            tar.blob(digest, &self.blob(digest)?, 0, there)?;
        }
        for reference in &saved.references {
            let tag = reference.tag().unwrap_or("latest").to_owned();
            if let Some(last) = image.layers.last() {
                let tags = top.repositories.entry(reference.familiar_name());
                tags.or_default().insert(tag.clone(), last.hex().to_owned());
            }
            let mut named = described.clone();
            named.annotations.extend([
                ("io.containerd.image.name", reference.to_string()),
                ("org.opencontainers.image.ref.name", tag),
            ]);
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

    /// Writes one image; answers its manifest and its layers.
    fn save_manifest(
        &self,
        image: &Image,
        tar: &mut Tar<'_>,
        there: &mut BTreeSet<String>,
    ) -> Result<(Descriptor, Vec<Descriptor>), Error> {
        let time = seconds(image.created.as_deref());
        let config = self.config_bytes(&image.id)?;
        let mut layers = Vec::new();
        let mut chain = String::new();
        for diff_id in &image.layers {
            chain = chain_id(&chain, diff_id);
            let layer = self.layer_tar_at(&chain, diff_id)?;
            let length = layer.length;
            if there.insert(diff_id.to_string()) {
                tar.file(&path(diff_id), length, time, layer.file)?;
            }
            layers.push(descriptor(LAYER, diff_id.to_string(), length));
        }
        tar.blob(&image.id, &config, time, there)?;
        let manifest = json_of(&Manifest {
            schema_version: 2,
            media_type: MANIFEST,
            config: descriptor(CONFIG, image.id.to_string(), config.len() as u64),
            layers: layers.clone(),
        })?;
        let described = tar.made(MANIFEST, &manifest, there)?;
        Ok((described, layers))
    }

    /// Writes several platforms of an image; answers their index and the image's own layers.
    fn save_index(
        &self,
        image: &Image,
        platforms: &[Image],
        tar: &mut Tar<'_>,
        there: &mut BTreeSet<String>,
    ) -> Result<(Descriptor, Vec<Descriptor>), Error> {
        let (mut manifests, mut own) = (Vec::new(), Vec::new());
        for one in platforms {
            let (mut described, layers) = self.save_manifest(one, tar, there)?;
            let listed = one.manifest.as_ref().and_then(|it| it.platform.clone());
            described.platform = Some(listed.unwrap_or_else(|| one.config.platform()));
            manifests.push(described);
            if one.id == image.id {
                own = layers;
            }
        }
        let index = json_of(&Index {
            schema_version: 2,
            media_type: INDEX,
            manifests,
        })?;
        let mut described = tar.made(INDEX, &index, there)?;
        if let Some(original) = &image.index {
            let annotation = (ORIGINAL, original.digest.to_string());
            described.annotations.extend([annotation]);
        }
        Ok((described, own))
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
        platform: None,
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

    /// A small blob, once.
    fn blob(
        &mut self,
        digest: &Digest,
        bytes: &[u8],
        time: u64,
        there: &mut BTreeSet<String>,
    ) -> Result<(), Error> {
        if !there.insert(digest.to_string()) {
            return Ok(());
        }
        self.file(&path(digest), bytes.len() as u64, time, bytes)
    }

    /// A document that was made for the archive.
    fn made(
        &mut self,
        media_type: &'static str,
        bytes: &[u8],
        there: &mut BTreeSet<String>,
    ) -> Result<Descriptor, Error> {
        let hash: [u8; 32] = Sha256::digest(bytes).into();
        let digest = Digest::sha256(&hash);
        self.blob(&digest, bytes, 0, there)?;
        Ok(descriptor(
            media_type,
            digest.to_string(),
            bytes.len() as u64,
        ))
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
