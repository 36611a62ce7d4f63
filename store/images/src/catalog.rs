//! Which images there are and what they are called: rows in the database, and the same in memory,
//! where every look-up happens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use oci::image::{Descriptor, ImageConfig};
use oci::{Digest, Reference};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::{Error, Image, Untagged};

const IMAGES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("images");
/// Reference → image ID.
const NAMES: TableDefinition<'_, &str, &str> = TableDefinition::new("image-names");
const FACTS: TableDefinition<'_, &str, &str> = TableDefinition::new("image-facts");
/// Images that were removed and can be had back, by hex of their ID.
const REMOVED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("images-removed");
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
    /// Everything of the store that it needs: chains of layers, and blobs.
    pub(crate) fn needs(&self) -> impl Iterator<Item = String> + '_ {
        let manifest = self.manifest.as_ref().map(|manifest| &manifest.digest);
        let blobs = [Some(&self.id), manifest].into_iter().flatten();
        let blobs = blobs.map(|digest| format!("{BLOB}{}", digest.hex()));
        self.chains.iter().cloned().chain(blobs)
    }
}

/// An image that was removed and can be had back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Removed {
    pub(crate) row: Row,
    /// What it was called.
    pub(crate) names: Vec<String>,
    /// Nanoseconds since 1970.
    pub(crate) at: i64,
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
    /// By full text.
    names: BTreeMap<String, (Reference, String)>,
    /// By hex of the ID.
    removed: BTreeMap<String, Arc<Removed>>,
    /// Names that were taken away one by one from images that are still there: a removal takes the
    /// last name first, and undoing it gives them back. By hex of the ID.
    untagged: BTreeMap<String, Vec<String>>,
    /// By hex of the ID; those that were not written yet with `true`.
    used: BTreeMap<String, (i64, bool)>,
    engine_id: String,
}

impl Catalog {
    pub(crate) fn open(database: Arc<Database>) -> Result<Self, Error> {
        let mut memory = Memory::default();
        let transaction = begin_read(&database)?;
        if let Ok(rows) = transaction.open_table(IMAGES) {
            for row in rows.iter()? {
                let (key, value) = row?;
                let row: Row = serde_json::from_slice(value.value()).map_err(|error| {
                    Error::Database(format!("row of image {}: {error}", key.value()))
                })?;
                memory.images.insert(key.value().to_owned(), Arc::new(row));
            }
        }
        if let Ok(rows) = transaction.open_table(NAMES) {
            for row in rows.iter()? {
                let (name, id) = row?;
                let reference = name.value().parse()?;
                memory
                    .names
                    .insert(name.value().to_owned(), (reference, id.value().to_owned()));
            }
        }
        if let Ok(rows) = transaction.open_table(REMOVED) {
            for row in rows.iter()? {
                let (key, value) = row?;
                let removed: Removed = serde_json::from_slice(value.value()).map_err(|error| {
                    Error::Database(format!("row of removed image {}: {error}", key.value()))
                })?;
                let key = key.value().to_owned();
                memory.removed.insert(key, Arc::new(removed));
            }
        }
        if let Ok(rows) = transaction.open_table(USED) {
            for row in rows.iter()? {
                let (key, at) = row?;
                let at = (at.value(), false);
                memory.used.insert(key.value().to_owned(), at);
            }
        }
        if let Ok(facts) = transaction.open_table(FACTS)
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
        Ok(Self {
            database,
            memory: RwLock::new(memory),
            changing: Mutex::default(),
        })
    }

    pub(crate) fn engine_id(&self) -> String {
        self.read().engine_id.clone()
    }

    pub(crate) fn all(&self) -> Vec<Image> {
        let memory = self.read();
        memory
            .images
            .values()
            .map(|row| memory.image(row))
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
            .chain(memory.removed.values().map(|removed| &removed.row))
            .flat_map(|row| row.chains.iter().zip(&row.config.rootfs.diff_ids));
        let same = layers.filter(|(_, other)| *other == diff_id);
        same.map(|(chain, _)| chain.clone()).collect()
    }

    pub(crate) fn row(&self, id: &Digest) -> Option<Arc<Row>> {
        self.read().images.get(id.hex()).cloned()
    }

    /// ID, name, name with digest, or unique prefix of an ID.
    pub(crate) fn resolve(&self, name: &str) -> Result<Image, Error> {
        let memory = self.read();
        let hex = name.strip_prefix("sha256:").unwrap_or(name);
        if let Some(row) = memory.images.get(hex) {
            return Ok(memory.image(row));
        }
        let not_found = |shown: String| Error::NotFound(shown);
        let reference = name.parse::<Reference>().map(Reference::or_latest);
        if let Ok(reference) = &reference {
            let found = memory.names.get(&reference.to_string()).or_else(|| {
                // `repo:tag@digest` is looked up by its digest.
                let digest = reference.digest()?.clone();
                memory.names.get(&reference.with_digest(digest).to_string())
            });
            if let Some(row) = found.and_then(|(_, id)| memory.images.get(id)) {
                return Ok(memory.image(row));
            }
        }
        let is_hex = |text: &str| {
            !text.is_empty()
                && text.len() <= 64
                && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        if is_hex(hex) {
            let from = memory.images.range(hex.to_owned()..);
            let mut matches = from.take_while(|(id, _)| id.starts_with(hex));
            match (matches.next(), matches.next()) {
                (Some((_, only)), None) => return Ok(memory.image(only)),
                (Some(_), Some(_)) => return Err(Error::Ambiguous(name.to_owned())),
                _ => {}
            }
        }
        match reference {
            Ok(reference) => Err(not_found(reference.familiar())),
            Err(_) if is_hex(hex) => Err(not_found(name.to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    /// Adds an image (again) and gives it names.
    pub(crate) fn add(&self, row: Row, names: &[Reference]) -> Result<(), Error> {
        self.add_held(&self.changing(), row, names)
    }

    fn add_held(&self, _changing: &Held, mut row: Row, names: &[Reference]) -> Result<(), Error> {
        if !names.is_empty() {
            row.last_tagged = now();
        }
        let bytes = json(&row)?;
        let transaction = self.database.begin_write()?;
        {
            transaction
                .open_table(IMAGES)?
                .insert(row.id.hex(), bytes.as_slice())?;
            transaction.open_table(REMOVED)?.remove(row.id.hex())?;
            let mut table = transaction.open_table(NAMES)?;
            for name in names {
                table.insert(name.to_string().as_str(), row.id.hex())?;
            }
        }
        transaction.commit()?;
        let mut memory = self.write();
        let id = row.id.hex().to_owned();
        for name in names {
            memory
                .names
                .insert(name.to_string(), (name.clone(), id.clone()));
        }
        memory.removed.remove(&id);
        memory.untagged.remove(&id);
        memory.used.insert(id.clone(), (now(), true));
        memory.images.insert(id, Arc::new(row));
        Ok(())
    }

    /// Says of an image which one it was made from.
    pub(crate) fn set_parent(&self, id: &Digest, parent: &Digest) -> Result<(), Error> {
        let _changing = self.changing();
        let row = self
            .row(id)
            .ok_or_else(|| Error::NotFound(id.to_string()))?;
        let row = Row {
            parent: Some(parent.clone()),
            ..(*row).clone()
        };
        let bytes = json(&row)?;
        let transaction = self.database.begin_write()?;
        transaction
            .open_table(IMAGES)?
            .insert(id.hex(), bytes.as_slice())?;
        transaction.commit()?;
        self.write()
            .images
            .insert(id.hex().to_owned(), Arc::new(row));
        Ok(())
    }

    pub(crate) fn tag(&self, id: &Digest, names: &[Reference]) -> Result<(), Error> {
        let held = self.changing();
        // Under the lock: one that is removed meanwhile does not come back without its layers.
        let row = self
            .row(id)
            .ok_or_else(|| Error::NotFound(id.to_string()))?;
        self.add_held(&held, Row::clone(&row), names)
    }

    /// Takes a name away; with the last tag of a repository its digests go as well.
    pub(crate) fn untag(&self, name: &Reference) -> Result<Option<Untagged>, Error> {
        let _changing = self.changing();
        let key = name.to_string();
        let (gone, id) = {
            let memory = self.read();
            let Some((_, id)) = memory.names.get(&key) else {
                return Ok(None);
            };
            let mut gone = vec![name.clone()];
            let same = memory.names.values().filter(|(other, of)| {
                of == id && other.familiar_name() == name.familiar_name() && other != name
            });
            let same: Vec<&Reference> = same.map(|(other, _)| other).collect();
            if name.digest().is_none() && same.iter().all(|other| other.tag().is_none()) {
                gone.extend(same.into_iter().cloned());
            }
            (gone, id.clone())
        };
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(NAMES)?;
            for name in &gone {
                table.remove(name.to_string().as_str())?;
            }
        }
        transaction.commit()?;
        let mut memory = self.write();
        for name in &gone {
            memory.names.remove(&name.to_string());
            let untagged = memory.untagged.entry(id.clone()).or_default();
            untagged.push(name.to_string());
        }
        let named = memory.names.values().any(|(_, of)| *of == id);
        let id = memory.images.get(&id).map(|row| row.id.clone());
        Ok(id.map(|id| Untagged {
            id,
            references: gone,
            named,
        }))
    }

    /// Removes an image with its names. Answers its row and the chains that no other image has.
    /// Unless it is `kept` to be had back, what nobody needs is given to `discard`.
    pub(crate) fn remove(
        &self,
        id: &Digest,
        kept: bool,
        discard: &dyn Fn(&str),
    ) -> Result<(Arc<Row>, Vec<String>), Error> {
        let held = self.changing();
        let row = self
            .row(id)
            .ok_or_else(|| Error::NotFound(id.to_string()))?;
        let names: Vec<String> = {
            let memory = self.read();
            let of = memory.names.iter().filter(|(_, (_, of))| of == id.hex());
            of.map(|(name, _)| name.clone()).collect()
        };
        let removed = kept.then(|| Removed {
            row: Row::clone(&row),
            names: {
                let memory = self.read();
                let untagged = memory.untagged.get(id.hex()).into_iter().flatten();
                untagged.chain(&names).cloned().collect()
            },
            at: now(),
        });
        let transaction = self.database.begin_write()?;
        {
            transaction.open_table(IMAGES)?.remove(id.hex())?;
            let mut table = transaction.open_table(NAMES)?;
            for name in &names {
                table.remove(name.as_str())?;
            }
            match &removed {
                Some(removed) => {
                    let bytes = json(removed)?;
                    let mut table = transaction.open_table(REMOVED)?;
                    table.insert(id.hex(), bytes.as_slice())?;
                }
                None => drop(transaction.open_table(USED)?.remove(id.hex())?),
            }
        }
        transaction.commit()?;
        let mut memory = self.write();
        memory.images.remove(id.hex());
        memory.untagged.remove(id.hex());
        for name in &names {
            memory.names.remove(name);
        }
        match removed {
            Some(removed) => drop(memory.removed.insert(id.hex().into(), Arc::new(removed))),
            None => drop(memory.used.remove(id.hex())),
        }
        drop(memory);
        let used = self.chains();
        let free = |chain: &&String| !used.contains(*chain) && !held.leases.contains_key(*chain);
        let freed: Vec<String> = row.chains.iter().filter(free).cloned().collect();
        // Still under the lock: who takes a lease now finds them gone, not going.
        self.discard_unused(&held, row.needs(), discard);
        Ok((row, freed))
    }

    /// Gives those of `keys` that nothing needs to `discard`.
    fn discard_unused(
        &self,
        held: &Held,
        keys: impl Iterator<Item = String>,
        discard: &dyn Fn(&str),
    ) {
        let needed = self.needed();
        keys.filter(|key| {
            !needed.contains(key)
                && !held.leases.contains_key(key)
                && !held.unclaimed.contains_key(key)
        })
        .for_each(|key| discard(&key));
    }

    /// Names that were taken away from an image that is still there.
    pub(crate) fn untagged(&self, id: &Digest) -> Vec<Reference> {
        let memory = self.read();
        let names = memory.untagged.get(id.hex()).into_iter().flatten();
        names.filter_map(|name| name.parse().ok()).collect()
    }

    /// Images that can be had back, the one removed last first.
    pub(crate) fn removed(&self) -> Vec<Arc<Removed>> {
        let mut all: Vec<_> = self.read().removed.values().cloned().collect();
        all.sort_by_key(|removed| std::cmp::Reverse(removed.at));
        all
    }

    /// Makes it an image again, with those of its names that nobody has taken.
    pub(crate) fn restore(&self, id: &Digest) -> Result<Vec<Reference>, Error> {
        let held = self.changing();
        // Under the lock: one that is let go of meanwhile has lost its layers.
        let removed = self.read().removed.get(id.hex()).cloned();
        let removed = removed.ok_or_else(|| Error::NotFound(id.to_string()))?;
        let names = removed.names.iter();
        let mut names: Vec<Reference> = names.filter_map(|name| name.parse().ok()).collect();
        {
            let memory = self.read();
            names.retain(|name| !memory.names.contains_key(&name.to_string()));
        }
        self.add_held(&held, removed.row.clone(), &names)?;
        Ok(names)
    }

    /// Lets go of a removed image for good. Answers the chains that went.
    pub(crate) fn purge(&self, id: &Digest, discard: &dyn Fn(&str)) -> Result<Vec<String>, Error> {
        let held = self.changing();
        let removed = self.read().removed.get(id.hex()).cloned();
        let Some(removed) = removed else {
            return Ok(Vec::new());
        };
        let transaction = self.database.begin_write()?;
        {
            transaction.open_table(REMOVED)?.remove(id.hex())?;
            transaction.open_table(USED)?.remove(id.hex())?;
        }
        transaction.commit()?;
        let mut memory = self.write();
        memory.removed.remove(id.hex());
        memory.used.remove(id.hex());
        drop(memory);
        let needed = self.needed();
        let free = |chain: &&String| !needed.contains(*chain) && !held.leases.contains_key(*chain);
        let freed = removed.row.chains.iter().filter(free).cloned().collect();
        self.discard_unused(&held, removed.row.needs(), discard);
        Ok(freed)
    }

    /// Counts a lease of these chains and blobs.
    pub(crate) fn lease(&self, keys: &[String]) {
        let mut held = self.changing();
        for key in keys {
            *held.leases.entry(key.clone()).or_default() += 1;
        }
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
        let removed = memory.removed.values().map(|removed| &removed.row);
        let rows = memory.images.values().map(|row| &**row).chain(removed);
        rows.flat_map(Row::needs).collect()
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

    /// When an image was last used or came, in nanoseconds since 1970.
    pub(crate) fn last_used(&self, id: &Digest) -> i64 {
        let memory = self.read();
        let used = memory.used.get(id.hex()).map_or(0, |(at, _)| *at);
        let tagged = memory.images.get(id.hex()).map_or(0, |row| row.last_tagged);
        used.max(tagged)
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

impl Memory {
    fn image(&self, row: &Arc<Row>) -> Image {
        let names = self.names.values().filter(|(_, id)| id == row.id.hex());
        let (tags, digests): (Vec<_>, Vec<_>) = names
            .map(|(name, _)| name.clone())
            .partition(|name| name.digest().is_none());
        Image {
            id: row.id.clone(),
            config: Arc::clone(&row.config),
            size: row.layer_sizes.iter().sum(),
            tags,
            digests,
            parent: row.parent.clone(),
            created: row.config.created.clone(),
            manifest: row.manifest.clone(),
            layers: row.config.rootfs.diff_ids.clone(),
            layer_sizes: row.layer_sizes.clone(),
            last_tagged: row.last_tagged,
        }
    }
}

fn json(row: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(row).map_err(|error| Error::Database(error.to_string()))
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
