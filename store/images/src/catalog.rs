//! Which images there are and what they are called: rows in the database, and the same in memory,
//! where every look-up happens.
//!
//! ```text
//!  name ─► image (a configuration's digest)
//!     └──► index (a document's digest) ─► entries ─► images that are here
//! ```
//!
//! An index has at least one image that is here. What a name of it stands for without a platform is
//! the image that suits this machine best, else the first that is here: its *default*. An image is
//! listed when it is some index's default, when it has names of its own, or when no index has it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use oci::image::{Descriptor, ImageConfig};
use oci::{Digest, Platform, Reference};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde::{Deserialize, Serialize};

pub(crate) use self::indexes::{Entry, IndexRow};
use self::indexes::{Target, Through};
pub(crate) use self::removal::Removed;
use crate::{Error, Image};

mod indexes;
mod removal;

const IMAGES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("images");
/// Documents that stand for several images, by hex of their digest.
const INDEXES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("image-indexes");
/// Reference → hex of an image's ID or of an index's digest.
const NAMES: TableDefinition<'_, &str, &str> = TableDefinition::new("image-names");
const FACTS: TableDefinition<'_, &str, &str> = TableDefinition::new("image-facts");
/// Images that were removed and can be had back, by hex of their ID.
const REMOVED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("images-removed");
/// Names that were taken away one by one from what is still there, as a list, by what they led to.
const UNTAGGED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("image-names-untagged");
/// When an image was last used, by hex of its ID: nanoseconds since 1970.
const USED: TableDefinition<'_, &str, i64> = TableDefinition::new("images-used");
/// What keys of blobs begin with among those that leases hold; others are chains of layers.
pub(crate) const BLOB: &str = "blob:";

/// One image's row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) id: Digest,
    pub(crate) config: Arc<ImageConfig>,
    pub(crate) manifest: Option<Descriptor>,
    /// Chain IDs (hex) of the layers, base first.
    pub(crate) chains: Vec<String>,
    pub(crate) layer_sizes: Vec<u64>,
    pub(crate) parent: Option<Digest>,
    pub(crate) last_tagged: i64,
}

impl Row {
    /// What its configuration says it is for.
    pub(crate) fn platform(&self) -> Platform {
        self.config.platform()
    }

    /// Everything of the store that it needs: chains of layers, and blobs.
    pub(crate) fn needs(&self) -> impl Iterator<Item = String> + '_ {
        let manifest = self.manifest.as_ref().map(|manifest| &manifest.digest);
        let blobs = [Some(&self.id), manifest].into_iter().flatten();
        let blobs = blobs.map(|digest| format!("{BLOB}{}", digest.hex()));
        self.chains.iter().cloned().chain(blobs)
    }
}

#[derive(Debug)]
pub(crate) struct Catalog {
    database: Arc<Database>,
    memory: RwLock<Memory>,
    /// Held over a whole change, so that database and memory agree.
    changing: Mutex<Held>,
}

/// What is kept though no image needs it.
#[derive(Debug, Default)]
struct Held {
    /// How many leases each chain or blob has.
    leases: BTreeMap<String, usize>,
    /// Layers that arrived whole for an image that never came to be, and when they did, in
    /// nanoseconds since 1970: whoever pulls it again need not fetch them.
    unclaimed: BTreeMap<String, i64>,
}

#[derive(Debug, Default)]
struct Memory {
    /// By hex of the ID.
    images: BTreeMap<String, Arc<Row>>,
    /// By hex of the digest.
    indexes: BTreeMap<String, Arc<IndexRow>>,
    /// Indexes by the hex of their default image's ID.
    owned: BTreeMap<String, Vec<String>>,
    /// Images that some index has, by hex of their ID.
    members: BTreeSet<String>,
    /// By full text; what they lead to by its hex.
    names: BTreeMap<String, (Reference, String)>,
    /// By hex of the ID.
    removed: BTreeMap<String, Arc<Removed>>,
    /// Names that were taken away one by one from images that are still there: a removal takes the
    /// last name first, and undoing it gives them back. By hex of what they led to.
    untagged: BTreeMap<String, Vec<String>>,
    /// By hex of the ID; those that were not written yet with `true`.
    used: BTreeMap<String, (i64, bool)>,
    engine_id: String,
}

impl Catalog {
    pub(crate) fn open(database: Arc<Database>) -> Result<Self, Error> {
        let mut memory = Memory::default();
        let transaction = begin_read(&database)?;
        memory.images = rows(&transaction, IMAGES, "image")?;
        memory.indexes = rows(&transaction, INDEXES, "index")?;
        memory.removed = rows(&transaction, REMOVED, "removed image")?;
        let untagged: BTreeMap<String, Arc<Vec<String>>> =
            rows(&transaction, UNTAGGED, "names taken from")?;
        memory.untagged = untagged
            .into_iter()
            .map(|(target, names)| (target, Vec::clone(&names)))
            .collect();
        if let Some(rows) = table(&transaction, NAMES)? {
            for row in rows.iter()? {
                let (name, id) = row?;
                let reference = name.value().parse()?;
                memory
                    .names
                    .insert(name.value().to_owned(), (reference, id.value().to_owned()));
            }
        }
        if let Some(rows) = table(&transaction, USED)? {
            for row in rows.iter()? {
                let (key, at) = row?;
                let at = (at.value(), false);
                memory.used.insert(key.value().to_owned(), at);
            }
        }
        if let Some(facts) = table(&transaction, FACTS)?
            && let Some(id) = facts.get("engine-id")?
        {
            id.value().clone_into(&mut memory.engine_id);
        }
        drop(transaction);
        if memory.engine_id.is_empty() {
            memory.engine_id = new_engine_id()?;
            let transaction = database.begin_write()?;
            transaction
                .open_table(FACTS)?
                .insert("engine-id", memory.engine_id.as_str())?;
            transaction.open_table(IMAGES)?;
            transaction.open_table(NAMES)?;
            transaction.commit()?;
        }
        memory.settle();
        Ok(Self {
            database,
            memory: RwLock::new(memory),
            changing: Mutex::default(),
        })
    }

    pub(crate) fn engine_id(&self) -> String {
        self.read().engine_id.clone()
    }

    /// Every image, also those that an index has beside its default.
    pub(crate) fn all(&self) -> Vec<Image> {
        let memory = self.read();
        let rows = memory.images.values();
        rows.map(|row| memory.image(row, Through::Id)).collect()
    }

    /// Images that stand for themselves.
    pub(crate) fn listed(&self) -> Vec<Image> {
        let memory = self.read();
        let named: BTreeSet<&str> = memory.names.values().map(|(_, of)| of.as_str()).collect();
        let rows = memory.images.iter();
        rows.filter(|(id, _)| memory.is_listed(id, &named))
            .map(|(_, row)| memory.image(row, Through::Id))
            .collect()
    }

    /// For a second store on the same rows.
    #[cfg(test)]
    pub(crate) fn database(&self) -> Arc<Database> {
        Arc::clone(&self.database)
    }

    /// Chains that end with this layer.
    pub(crate) fn same(&self, diff_id: &Digest) -> Vec<String> {
        let memory = self.read();
        let layers = memory
            .images
            .values()
            .map(|row| &**row)
            .chain(memory.removed.values().flat_map(|removed| removed.rows()))
            .flat_map(|row| row.chains.iter().zip(&row.config.rootfs.diff_ids));
        let same = layers.filter(|(_, other)| *other == diff_id);
        same.map(|(chain, _)| chain.clone()).collect()
    }

    pub(crate) fn row(&self, id: &Digest) -> Option<Arc<Row>> {
        self.read().images.get(id.hex()).cloned()
    }

    /// ID, name, name with digest, unique prefix of an ID, digest of an index or of a manifest in one.
    pub(crate) fn resolve(&self, name: &str) -> Result<Image, Error> {
        let memory = self.read();
        match memory.find(name)? {
            Target::Image(row) => Ok(memory.image(&row, Through::Id)),
            Target::Named(row) => Ok(memory.image(&row, Through::Name)),
            Target::Index(index) => match memory.preferred(&index) {
                Some((entry, row)) => Ok(memory.image(row, Through::Index(&index, entry))),
                None => Err(Error::NotFound(name.to_owned())),
            },
        }
    }

    /// The same for a platform; all that are it exactly, in the index's order.
    pub(crate) fn resolve_all_for(
        &self,
        name: &str,
        wanted: &Platform,
    ) -> Result<Vec<Image>, Error> {
        let memory = self.read();
        let of = |index: &IndexRow| -> Vec<Image> {
            let present = memory.present(index);
            present
                .filter(|(entry, row)| wanted.is_exactly(&entry.platform(row)))
                .map(|(entry, row)| memory.image(row, Through::Index(index, entry)))
                .collect()
        };
        Ok(match memory.find(name)? {
            Target::Index(index) => of(&index),
            Target::Named(row) => match wanted.is_exactly(&row.platform()) {
                true => vec![memory.image(&row, Through::Name)],
                false => Vec::new(),
            },
            Target::Image(row) if wanted.is_exactly(&row.platform()) => {
                vec![memory.image(&row, Through::Id)]
            }
            // By the ID of an index's default, another one of the index.
            Target::Image(row) => {
                let owned = memory.owned.get(row.id.hex()).into_iter().flatten();
                let indexes = owned.filter_map(|index| memory.indexes.get(index));
                indexes.flat_map(|index| of(index)).collect()
            }
        })
    }

    /// Adds an image (again), as one of an index where it came by one, and gives names to what it
    /// came by.
    pub(crate) fn add(
        &self,
        row: Row,
        index: Option<IndexRow>,
        names: &[Reference],
    ) -> Result<(), Error> {
        let held = self.changing();
        let target = index.as_ref().map(|index| index.target.digest.hex());
        let target = target.unwrap_or(row.id.hex()).to_owned();
        let names: Vec<_> = names
            .iter()
            .map(|name| (name.clone(), target.clone()))
            .collect();
        self.add_held(&held, row, index.into_iter().collect(), &names)
    }

    fn add_held(
        &self,
        _changing: &Held,
        mut row: Row,
        indexes: Vec<IndexRow>,
        names: &[(Reference, String)],
    ) -> Result<(), Error> {
        if !names.is_empty() {
            row.last_tagged = now();
        }
        let id = row.id.hex().to_owned();
        let (indexes, apart, untagged) = {
            let memory = self.read();
            let complete = |index| memory.completed(index, &row);
            let indexes: Vec<IndexRow> = indexes.into_iter().map(complete).collect();
            let came = indexes.iter().map(|index| index.target.digest.hex());
            let came: Vec<&str> = came.chain([id.as_str()]).collect();
            let untagged = memory.untagged_without(&came, names);
            (indexes, memory.apart(&id), untagged)
        };
        let bytes = json(&row)?;
        let transaction = self.database.begin_write()?;
        {
            transaction
                .open_table(IMAGES)?
                .insert(id.as_str(), bytes.as_slice())?;
            let mut table = transaction.open_table(INDEXES)?;
            for index in &indexes {
                table.insert(index.target.digest.hex(), json(index)?.as_slice())?;
            }
            let mut table = transaction.open_table(REMOVED)?;
            table.remove(id.as_str())?;
            for removed in &apart {
                table.insert(removed.row.id.hex(), json(removed)?.as_slice())?;
            }
            let mut table = transaction.open_table(NAMES)?;
            for (name, target) in names {
                table.insert(name.to_string().as_str(), target.as_str())?;
            }
            write_untagged(&transaction, &untagged)?;
        }
        transaction.commit()?;
        let mut memory = self.write();
        for (name, target) in names {
            let named = (name.clone(), target.clone());
            memory.names.insert(name.to_string(), named);
        }
        memory.removed.remove(&id);
        for removed in apart {
            let key = removed.row.id.hex().to_owned();
            memory.removed.insert(key, Arc::new(removed));
        }
        memory.set_untagged(untagged);
        memory.used.insert(id.clone(), (now(), true));
        memory.images.insert(id, Arc::new(row));
        for index in indexes {
            let key = index.target.digest.hex().to_owned();
            memory.indexes.insert(key, Arc::new(index));
        }
        memory.settle();
        Ok(())
    }

    /// Gives names to an image, or with `index` (its hex) to that.
    pub(crate) fn tag(
        &self,
        id: &Digest,
        index: Option<&str>,
        names: &[Reference],
    ) -> Result<(), Error> {
        let held = self.changing();
        // Under the lock: one that is removed meanwhile does not come back without its layers.
        let not_found = || Error::NotFound(id.to_string());
        let row = self.row(id).ok_or_else(not_found)?;
        if let Some(index) = index
            && !self.read().indexes.contains_key(index)
        {
            return Err(not_found());
        }
        let target = index.unwrap_or(id.hex()).to_owned();
        let names: Vec<_> = names
            .iter()
            .map(|name| (name.clone(), target.clone()))
            .collect();
        self.add_held(&held, Row::clone(&row), Vec::new(), &names)
    }

    /// Counts a lease of these chains and blobs.
    pub(crate) fn lease(&self, keys: &[String]) {
        let mut held = self.changing();
        for key in keys {
            *held.leases.entry(key.clone()).or_default() += 1;
        }
    }

    /// Counts a lease of everything that images need, and answers what that is; with an index, by
    /// its hex, of that as well.
    pub(crate) fn hold(&self, images: &[(Digest, Option<String>)]) -> Result<Vec<String>, Error> {
        let mut held = self.changing();
        let mut keys = BTreeSet::new();
        {
            let memory = self.read();
            for (id, index) in images {
                let not_found = || Error::NotFound(id.to_string());
                let row = memory.images.get(id.hex()).ok_or_else(not_found)?;
                keys.extend(row.needs());
                if let Some(index) = index {
                    let index = memory.indexes.get(index).ok_or_else(not_found)?;
                    keys.extend(index.needs());
                    keys.extend(memory.present(index).flat_map(|(_, row)| row.needs()));
                }
            }
        }
        let keys: Vec<String> = keys.into_iter().collect();
        for key in &keys {
            *held.leases.entry(key.clone()).or_default() += 1;
        }
        Ok(keys)
    }

    /// Ends a lease; what nothing else needs is given to `discard`.
    pub(crate) fn release(&self, keys: &[String], discard: &dyn Fn(&str)) {
        let mut held = self.changing();
        let mut ended = Vec::new();
        for key in keys {
            let Some(count) = held.leases.get_mut(key) else {
                continue;
            };
            *count -= 1;
            if *count == 0 {
                held.leases.remove(key);
                ended.push(key.clone());
            }
        }
        // What an image has now is kept for it, and goes with it.
        let needed = self.needed();
        held.unclaimed.retain(|chain, _| !needed.contains(chain));
        self.discard_unused(&held, ended.into_iter(), discard);
    }

    /// Keeps a whole layer that no image has.
    pub(crate) fn keep_unclaimed(&self, chain: String, since: i64) {
        self.changing().unclaimed.insert(chain, since);
    }

    /// Gives layers that no image has, and that came before a time, to `discard`. Answers them.
    pub(crate) fn purge_unclaimed(&self, before: i64, discard: &dyn Fn(&str)) -> Vec<String> {
        let mut held = self.changing();
        let old = held
            .unclaimed
            .iter()
            .filter(|(chain, since)| **since < before && !held.leases.contains_key(*chain));
        let old: Vec<String> = old.map(|(chain, _)| chain.clone()).collect();
        for chain in &old {
            held.unclaimed.remove(chain);
        }
        let needed = self.needed();
        let gone: Vec<String> = old.into_iter().filter(|c| !needed.contains(c)).collect();
        gone.iter().for_each(|chain| discard(chain));
        gone
    }

    /// Every chain and blob that may be on disk.
    pub(crate) fn expected(&self) -> BTreeSet<String> {
        let held = self.changing();
        let mut all = self.needed();
        all.extend(held.leases.keys().cloned());
        all.extend(held.unclaimed.keys().cloned());
        all
    }

    /// Every chain and blob of images, also of removed ones that can be had back.
    pub(crate) fn needed(&self) -> BTreeSet<String> {
        let memory = self.read();
        let removed = memory.removed.values().flat_map(|removed| removed.needs());
        let rows = memory.images.values().flat_map(|row| row.needs());
        let indexes = memory.indexes.values().flat_map(|index| index.needs());
        rows.chain(indexes).chain(removed).collect()
    }

    /// Every chain that some image has.
    pub(crate) fn chains(&self) -> BTreeSet<String> {
        self.read()
            .images
            .values()
            .flat_map(|row| row.chains.iter().cloned())
            .collect()
    }

    /// Notes that an image was used now.
    pub(crate) fn touch(&self, id: &Digest) {
        let used = &mut self.write().used;
        used.insert(id.hex().to_owned(), (now(), true));
    }

    /// When an image, or one of those that go with it, was last used or came, in nanoseconds since
    /// 1970.
    pub(crate) fn last_used(&self, id: &Digest) -> i64 {
        let memory = self.read();
        let one = |id: &str| {
            let used = memory.used.get(id).map_or(0, |(at, _)| *at);
            let tagged = memory.images.get(id).map_or(0, |row| row.last_tagged);
            used.max(tagged)
        };
        let owned = memory.owned.get(id.hex()).into_iter().flatten();
        let indexes = owned.filter_map(|index| memory.indexes.get(index));
        let members = indexes.flat_map(|index| memory.present(index));
        let members = members.map(|(_, row)| one(row.id.hex()));
        members.fold(one(id.hex()), i64::max)
    }

    /// Writes down what [`Catalog::touch`] noted: not at once, for it is on the way of every start.
    pub(crate) fn write_used(&self) -> Result<(), Error> {
        let _changing = self.changing();
        let new: Vec<(String, i64)> = {
            let memory = self.read();
            let new = memory.used.iter().filter(|(_, (_, new))| *new);
            new.map(|(id, (at, _))| (id.clone(), *at)).collect()
        };
        if new.is_empty() {
            return Ok(());
        }
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(USED)?;
            for (id, at) in &new {
                table.insert(id.as_str(), at)?;
            }
        }
        transaction.commit()?;
        let mut memory = self.write();
        for (id, at) in new {
            if let Some(used) = memory.used.get_mut(&id)
                && used.0 == at
            {
                used.1 = false;
            }
        }
        Ok(())
    }

    fn changing(&self) -> std::sync::MutexGuard<'_, Held> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Memory> {
        self.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Memory> {
        self.memory.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn json(row: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(row).map_err(|error| Error::Database(error.to_string()))
}

/// A table, if it was made yet. That it cannot be read is no sign of that: layers without rows go.
fn table<K: redb::Key + 'static, V: redb::Value + 'static>(
    transaction: &redb::ReadTransaction,
    table: TableDefinition<'_, K, V>,
) -> Result<Option<redb::ReadOnlyTable<K, V>>, Error> {
    match transaction.open_table(table) {
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        opened => Ok(Some(opened?)),
    }
}

/// All rows of a table.
fn rows<T: serde::de::DeserializeOwned>(
    transaction: &redb::ReadTransaction,
    table: TableDefinition<'_, &str, &[u8]>,
    what: &str,
) -> Result<BTreeMap<String, Arc<T>>, Error> {
    let mut found = BTreeMap::new();
    let Some(rows) = self::table(transaction, table)? else {
        return Ok(found);
    };
    for row in rows.iter()? {
        let (key, value) = row?;
        let row: T = serde_json::from_slice(value.value())
            .map_err(|error| Error::Database(format!("row of {what} {}: {error}", key.value())))?;
        found.insert(key.value().to_owned(), Arc::new(row));
    }
    Ok(found)
}

/// Writes lists of names that were taken away; empty ones go.
fn write_untagged(
    transaction: &redb::WriteTransaction,
    changed: &BTreeMap<String, Vec<String>>,
) -> Result<(), Error> {
    if changed.is_empty() {
        return Ok(());
    }
    let mut table = transaction.open_table(UNTAGGED)?;
    for (target, names) in changed {
        match names.is_empty() {
            true => drop(table.remove(target.as_str())?),
            false => drop(table.insert(target.as_str(), json(names)?.as_slice())?),
        }
    }
    Ok(())
}

fn begin_read(database: &Database) -> Result<redb::ReadTransaction, Error> {
    database.begin_read().map_err(Error::from)
}

/// A random UUID, version 4.
fn new_engine_id() -> Result<String, Error> {
    let mut bytes = [0u8; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Error::Database(format!("getrandom: {error}")))?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = archive::hex(&bytes);
    Ok([
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-"))
}

pub(crate) fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
        })
}
