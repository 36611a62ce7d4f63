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

#[derive(Debug)]
pub(crate) struct Catalog {
    database: Arc<Database>,
    memory: RwLock<Memory>,
    /// Held over a whole change, so that database and memory agree.
    changing: Mutex<Leased>,
}

/// How many leases each chain has.
type Leased = BTreeMap<String, usize>;

#[derive(Debug, Default)]
struct Memory {
    /// By hex of the ID.
    images: BTreeMap<String, Arc<Row>>,
    /// By full text.
    names: BTreeMap<String, (Reference, String)>,
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
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut row = row;
        if !names.is_empty() {
            row.last_tagged = now();
        }
        let bytes = serde_json::to_vec(&row).map_err(|error| Error::Database(error.to_string()))?;
        let transaction = self.database.begin_write()?;
        {
            transaction
                .open_table(IMAGES)?
                .insert(row.id.hex(), bytes.as_slice())?;
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
        memory.images.insert(id, Arc::new(row));
        Ok(())
    }

    pub(crate) fn tag(&self, id: &Digest, names: &[Reference]) -> Result<(), Error> {
        let row = self
            .row(id)
            .ok_or_else(|| Error::NotFound(id.to_string()))?;
        self.add(Row::clone(&row), names)
    }

    /// Takes a name away; with the last tag of a repository its digests go as well.
    pub(crate) fn untag(&self, name: &Reference) -> Result<Option<Untagged>, Error> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
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
        }
        let named = memory.names.values().any(|(_, of)| *of == id);
        let id = memory.images.get(&id).map(|row| row.id.clone());
        Ok(id.map(|id| Untagged {
            id,
            references: gone,
            named,
        }))
    }

    /// Removes an image with its names. Answers its row and the chains that nobody else has, which
    /// were given to `discard`.
    pub(crate) fn remove(
        &self,
        id: &Digest,
        discard: &dyn Fn(&str),
    ) -> Result<(Arc<Row>, Vec<String>), Error> {
        let leased = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let row = self
            .row(id)
            .ok_or_else(|| Error::NotFound(id.to_string()))?;
        let names: Vec<String> = {
            let memory = self.read();
            let of = memory.names.iter().filter(|(_, (_, of))| of == id.hex());
            of.map(|(name, _)| name.clone()).collect()
        };
        let transaction = self.database.begin_write()?;
        {
            transaction.open_table(IMAGES)?.remove(id.hex())?;
            let mut table = transaction.open_table(NAMES)?;
            for name in &names {
                table.remove(name.as_str())?;
            }
        }
        transaction.commit()?;
        let mut memory = self.write();
        memory.images.remove(id.hex());
        for name in &names {
            memory.names.remove(name);
        }
        drop(memory);
        let used = self.chains();
        let free = |chain: &&String| !used.contains(*chain) && !leased.contains_key(*chain);
        let freed: Vec<String> = row.chains.iter().filter(free).cloned().collect();
        // Still under the lock: who takes a lease now finds them gone, not going.
        freed.iter().for_each(|chain| discard(chain));
        Ok((row, freed))
    }

    /// Counts a lease of these chains.
    pub(crate) fn lease(&self, chains: &[String]) {
        let mut leased = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        for chain in chains {
            *leased.entry(chain.clone()).or_default() += 1;
        }
    }

    /// Ends a lease; chains that neither another lease nor an image has are given to `discard`.
    pub(crate) fn release(&self, chains: &[String], discard: &dyn Fn(&str)) {
        let mut leased = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let used = self.chains();
        for chain in chains {
            let Some(count) = leased.get_mut(chain) else {
                continue;
            };
            *count -= 1;
            if *count == 0 {
                leased.remove(chain);
                if !used.contains(chain) {
                    discard(chain);
                }
            }
        }
    }

    /// Every chain that some image has.
    pub(crate) fn chains(&self) -> BTreeSet<String> {
        self.read()
            .images
            .values()
            .flat_map(|row| row.chains.iter().cloned())
            .collect()
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

fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
        })
}
