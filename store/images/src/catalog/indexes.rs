//! Indexes: documents that stand for one image on each of several platforms.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use oci::image::Descriptor;
use oci::{Digest, Platform, Reference};
use serde::{Deserialize, Serialize};

use super::{BLOB, Catalog, Memory, Row};
use crate::{Error, Image};

static HOST: LazyLock<Platform> = LazyLock::new(Platform::host);

/// An index's row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct IndexRow {
    /// The document's media type, digest and length.
    pub(crate) target: Descriptor,
    /// What it lists, in its order.
    pub(crate) entries: Vec<Entry>,
}

/// One of an index's manifests.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// As in the index.
    pub(crate) descriptor: Descriptor,
    /// ID of the image that it is of. The image's row tells whether that is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<Digest>,
    /// Of what is no image: the manifest and what it has, with their lengths, where they are here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) blobs: Vec<(Digest, u64)>,
}

impl Entry {
    /// What it is for: what the index says, else what its configuration does.
    pub(crate) fn platform(&self, row: &Row) -> Platform {
        let own = self.descriptor.platform.clone();
        own.unwrap_or_else(|| row.platform())
    }
}

impl IndexRow {
    /// Blobs that it needs: itself, the manifests of images that are or were here, and attachments.
    pub(crate) fn needs(&self) -> impl Iterator<Item = String> + '_ {
        let manifests = self.entries.iter().flat_map(|entry| {
            let manifest = entry.image.is_some().then_some(&entry.descriptor.digest);
            let attached = entry.blobs.iter().map(|(digest, _)| digest);
            manifest.into_iter().chain(attached)
        });
        let all = [&self.target.digest].into_iter().chain(manifests);
        all.map(|digest| format!("{BLOB}{}", digest.hex()))
    }
}

/// What a name leads to.
pub(crate) enum Target {
    /// An image, by its ID or that of its manifest.
    Image(Arc<Row>),
    /// An image, by a name of its own.
    Named(Arc<Row>),
    Index(Arc<IndexRow>),
}

/// How an image was come to.
#[derive(Clone, Copy)]
pub(super) enum Through<'a> {
    /// By its ID: with the index whose default it is.
    Id,
    /// By a name of its own: without an index.
    Name,
    Index(&'a IndexRow, &'a Entry),
}

impl Catalog {
    /// An index by the hex of its digest.
    pub(crate) fn index(&self, hex: &str) -> Option<Arc<IndexRow>> {
        self.read().indexes.get(hex).cloned()
    }

    /// All indexes.
    pub(crate) fn indexes(&self) -> Vec<Arc<IndexRow>> {
        self.read().indexes.values().cloned().collect()
    }

    /// Indexes whose default image this is.
    pub(crate) fn owned(&self, id: &Digest) -> Vec<Arc<IndexRow>> {
        let memory = self.read();
        let owned = memory.owned.get(id.hex()).into_iter().flatten();
        owned
            .filter_map(|index| memory.indexes.get(index).cloned())
            .collect()
    }

    /// Names by digest of the indexes that have an image beside their default.
    pub(crate) fn origins(&self, id: &Digest) -> Vec<Reference> {
        let memory = self.read();
        let has = |hex: &String| {
            let index = memory.indexes.get(hex);
            index.is_some_and(|index| memory.present(index).any(|(_, row)| row.id == *id))
        };
        let names = memory.names.values();
        names
            .filter(|(name, target)| name.digest().is_some() && has(target))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// An index's entries with those images that are here, as they are in it.
    pub(crate) fn entries(&self, index: &IndexRow) -> Vec<(Entry, Option<Image>)> {
        let memory = self.read();
        let entries = index.entries.iter();
        entries
            .map(|entry| {
                let row = memory.of(entry);
                let image = row.map(|row| memory.image(row, Through::Index(index, entry)));
                (entry.clone(), image)
            })
            .collect()
    }
}

impl Memory {
    /// The image of an entry, if it is here.
    fn of(&self, entry: &Entry) -> Option<&Arc<Row>> {
        self.images.get(entry.image.as_ref()?.hex())
    }

    /// Those of an index's images that are here.
    pub(super) fn present<'a>(
        &'a self,
        index: &'a IndexRow,
    ) -> impl Iterator<Item = (&'a Entry, &'a Arc<Row>)> {
        let entries = index.entries.iter();
        entries.filter_map(|entry| Some((entry, self.of(entry)?)))
    }

    /// What an index stands for where no platform is asked for.
    pub(super) fn preferred<'a>(
        &'a self,
        index: &'a IndexRow,
    ) -> Option<(&'a Entry, &'a Arc<Row>)> {
        let rank = |(entry, row): &(&Entry, &Arc<Row>)| HOST.suits(&entry.platform(row));
        let present = self.present(index);
        present.reduce(|best, next| match rank(&next) > rank(&best) {
            true => next,
            false => best,
        })
    }

    /// After images or indexes changed.
    pub(super) fn settle(&mut self) {
        let mut owned = std::collections::BTreeMap::<String, Vec<String>>::new();
        let mut members = BTreeSet::new();
        for (hex, index) in &self.indexes {
            if let Some((_, row)) = self.preferred(index) {
                let of = owned.entry(row.id.hex().to_owned()).or_default();
                of.push(hex.clone());
            }
            members.extend(self.present(index).map(|(_, row)| row.id.hex().to_owned()));
        }
        (self.owned, self.members) = (owned, members);
    }

    /// Whether an image stands for itself. `named`: whatever has a name.
    pub(super) fn is_listed(&self, id: &str, named: &BTreeSet<&str>) -> bool {
        self.owned.contains_key(id) || !self.members.contains(id) || named.contains(id)
    }

    /// An index as it comes, with what is known of its images: of an earlier time, or because an
    /// image came with one of its manifests. `row` comes with it.
    pub(super) fn completed(&self, mut index: IndexRow, row: &Row) -> IndexRow {
        let before = self.indexes.get(index.target.digest.hex());
        for entry in &mut index.entries {
            let digest = &entry.descriptor.digest;
            if let Some(before) = before
                && let Some(known) = before
                    .entries
                    .iter()
                    .find(|known| known.descriptor.digest == *digest)
            {
                if entry.image.is_none() {
                    entry.image.clone_from(&known.image);
                }
                if entry.blobs.is_empty() {
                    entry.blobs.clone_from(&known.blobs);
                }
            }
            if entry.image.is_none() && entry.blobs.is_empty() {
                let came_with = |other: &&Row| {
                    let manifest = other.manifest.as_ref();
                    manifest.is_some_and(|manifest| manifest.digest == *digest)
                };
                let rows = self.images.values().map(|row| &**row).chain([row]);
                entry.image = rows.into_iter().find(came_with).map(|row| row.id.clone());
            }
        }
        index
    }

    /// What a name leads to.
    pub(super) fn find(&self, name: &str) -> Result<Target, Error> {
        let hex = name.strip_prefix("sha256:").unwrap_or(name);
        let by_hex = |hex: &str| {
            let index = || self.indexes.get(hex).cloned().map(Target::Index);
            let image = self.images.get(hex).cloned().map(Target::Image);
            image.or_else(index)
        };
        if let Some(found) = by_hex(hex) {
            return Ok(found);
        }
        let reference = name.parse::<Reference>().map(Reference::or_latest);
        if let Ok(reference) = &reference {
            let found = self.names.get(&reference.to_string()).or_else(|| {
                // `repo:tag@digest` is looked up by its digest.
                let digest = reference.digest()?.clone();
                self.names.get(&reference.with_digest(digest).to_string())
            });
            match found.and_then(|(_, target)| by_hex(target)) {
                Some(Target::Image(row)) => return Ok(Target::Named(row)),
                Some(found) => return Ok(found),
                None => {}
            }
        }
        let is_hex = |text: &str| {
            !text.is_empty()
                && text.len() <= 64
                && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        if is_hex(hex)
            && let Some(found) = self.by_prefix(name, hex)?
        {
            return Ok(found);
        }
        match reference {
            Ok(reference) => Err(Error::NotFound(reference.familiar())),
            Err(_) if is_hex(hex) => Err(Error::NotFound(name.to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    /// By the beginning of an ID, of an index's digest, or by the whole one of a manifest in one.
    fn by_prefix(&self, name: &str, hex: &str) -> Result<Option<Target>, Error> {
        let images = self.images.range(hex.to_owned()..);
        let images = images.take_while(|(id, _)| id.starts_with(hex));
        let images = images.map(|(_, row)| Target::Image(Arc::clone(row)));
        let indexes = self.indexes.range(hex.to_owned()..);
        let indexes = indexes.take_while(|(digest, _)| digest.starts_with(hex));
        let indexes = indexes.map(|(_, index)| Target::Index(Arc::clone(index)));
        let mut matches = images.chain(indexes);
        match (matches.next(), matches.next()) {
            (Some(only), None) => return Ok(Some(only)),
            (Some(_), Some(_)) => return Err(Error::Ambiguous(name.to_owned())),
            _ => {}
        }
        let mut manifests = self.indexes.values().flat_map(|index| self.present(index));
        let found = manifests.find(|(entry, _)| entry.descriptor.digest.hex() == hex);
        Ok(found.map(|(_, row)| Target::Image(Arc::clone(row))))
    }

    /// An image as callers see it: with all names that lead to it without a platform, and those of
    /// the index that it is looked at through.
    pub(super) fn image(&self, row: &Arc<Row>, through: Through<'_>) -> Image {
        let owned = self.owned.get(row.id.hex()).into_iter().flatten();
        let owned: Vec<&String> = owned.collect();
        let mut targets: BTreeSet<&str> = owned.iter().map(|index| index.as_str()).collect();
        targets.insert(row.id.hex());
        if let Through::Index(index, _) = through {
            targets.insert(index.target.digest.hex());
        }
        let names = self
            .names
            .values()
            .filter(|(_, target)| targets.contains(target.as_str()));
        let (tags, digests): (Vec<_>, Vec<_>) = names
            .map(|(name, _)| name.clone())
            .partition(|name| name.digest().is_none());
        let found = owned.iter().filter_map(|index| self.indexes.get(*index));
        let named = |index: &&Arc<IndexRow>| {
            let hex = index.target.digest.hex();
            self.names.values().any(|(_, target)| target == hex)
        };
        let is_of = |entry: &&Entry| entry.image.as_ref() == Some(&row.id);
        let (index, entry) = match through {
            Through::Index(index, entry) => (Some(index), Some(entry)),
            Through::Name => (None, None),
            Through::Id => {
                let index = found.clone().find(named).or_else(|| found.clone().next());
                let entry = index.and_then(|index| index.entries.iter().find(is_of));
                (index.map(|index| &**index), entry)
            }
        };
        let manifest = entry.map(|entry| entry.descriptor.clone());
        Image {
            id: row.id.clone(),
            config: Arc::clone(&row.config),
            size: row.layer_sizes.iter().sum(),
            tags,
            digests,
            parent: row.parent.clone(),
            created: row.config.created.clone(),
            manifest: manifest.or_else(|| row.manifest.clone()),
            index: index.map(|index| index.target.clone()),
            layers: row.config.rootfs.diff_ids.clone(),
            layer_sizes: row.layer_sizes.clone(),
            last_tagged: row.last_tagged,
        }
    }
}
