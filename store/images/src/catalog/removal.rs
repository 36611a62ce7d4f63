//! Names that go, images that go, and what can be had back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use oci::{Digest, Reference};
use serde::{Deserialize, Serialize};

use super::{
    Catalog, Held, IMAGES, INDEXES, IndexRow, Memory, NAMES, REMOVED, Row, USED, json, now,
    write_untagged,
};
use crate::{Error, Untagged};

/// Most names that are remembered of those that were taken away.
const REMEMBERED: usize = 64;

/// An image that was removed and can be had back, with what went with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Removed {
    pub(crate) row: Row,
    /// What it was called.
    pub(crate) names: Vec<String>,
    /// Nanoseconds since 1970.
    pub(crate) at: i64,
    /// Images of other platforms that went with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) others: Vec<Row>,
    /// Indexes that it was in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) indexes: Vec<IndexRow>,
    /// Hex of what those names led to that did not lead to the image itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) targets: BTreeMap<String, String>,
}

impl Removed {
    /// All images that went.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &Row> {
        [&self.row].into_iter().chain(&self.others)
    }

    /// Their layers by chain, with their sizes; a chain that two have comes twice.
    pub(crate) fn layers(&self) -> impl Iterator<Item = (&String, u64)> {
        self.rows()
            .flat_map(|row| row.chains.iter().zip(row.layer_sizes.iter().copied()))
    }

    pub(super) fn needs(&self) -> impl Iterator<Item = String> + '_ {
        let indexes = self.indexes.iter().flat_map(IndexRow::needs);
        self.rows().flat_map(Row::needs).chain(indexes)
    }
}

/// What goes.
#[derive(Debug, Default)]
struct Going {
    rows: Vec<Arc<Row>>,
    /// By hex.
    indexes: Vec<Arc<IndexRow>>,
    /// What stays of indexes that lose one of their images.
    changed: Vec<IndexRow>,
    names: BTreeMap<String, String>,
}

/// What went.
#[derive(Debug)]
pub(crate) struct Gone {
    /// The image first.
    pub(crate) rows: Vec<Arc<Row>>,
    /// Chains that no image has any more.
    pub(crate) chains: Vec<String>,
}

impl Gone {
    /// The images and the layers by diff ID.
    pub(crate) fn told(&self) -> (Vec<Digest>, Vec<Digest>) {
        let images = self.rows.iter().map(|row| row.id.clone()).collect();
        let mut layers: Vec<Digest> = Vec::new();
        for row in &self.rows {
            let of = row.chains.iter().zip(&row.config.rootfs.diff_ids);
            for (_, diff_id) in of.filter(|(chain, _)| self.chains.contains(chain)) {
                if !layers.contains(diff_id) {
                    layers.push(diff_id.clone());
                }
            }
        }
        (images, layers)
    }
}

impl Catalog {
    /// Takes a name away; with the last tag of a repository its digests go as well. An index that
    /// is left without a name goes when its default image has others: what else it has is told.
    pub(crate) fn untag(
        &self,
        name: &Reference,
        discard: &dyn Fn(&str),
    ) -> Result<Option<Untagged>, Error> {
        let held = self.changing();
        let key = name.to_string();
        let memory = self.read();
        let Some((_, target)) = memory.names.get(&key) else {
            return Ok(None);
        };
        let mut gone = vec![name.clone()];
        let same = memory.names.values().filter(|(other, of)| {
            of == target && other.familiar_name() == name.familiar_name() && other != name
        });
        let same: Vec<&Reference> = same.map(|(other, _)| other).collect();
        if name.digest().is_none() && same.iter().all(|other| other.tag().is_none()) {
            gone.extend(same.into_iter().cloned());
        }
        let target = target.clone();
        let (row, named, forgotten) = memory.left_without(&gone, &target);
        let mut untagged = memory.untagged_with(&target, &gone);
        if forgotten.is_some() {
            // Nobody comes back to what they led to.
            untagged.insert(target, Vec::new());
        }
        drop(memory);
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(NAMES)?;
            for name in &gone {
                table.remove(name.to_string().as_str())?;
            }
            write_untagged(&transaction, &untagged)?;
            if let Some(index) = &forgotten {
                let mut table = transaction.open_table(INDEXES)?;
                table.remove(index.target.digest.hex())?;
            }
        }
        transaction.commit()?;
        let mut memory = self.write();
        for name in &gone {
            memory.names.remove(&name.to_string());
        }
        memory.set_untagged(untagged);
        let mut orphans = Vec::new();
        if let Some(index) = &forgotten {
            memory.indexes.remove(index.target.digest.hex());
            memory.settle();
            orphans = memory.orphans(index);
        }
        drop(memory);
        if let Some(index) = forgotten {
            self.discard_unused(&held, index.needs(), discard);
        }
        let Some(row) = row else { return Ok(None) };
        orphans.retain(|orphan| *orphan != row.id);
        Ok(Some(Untagged {
            id: row.id.clone(),
            references: gone,
            named,
            orphans,
        }))
    }

    /// Removes an image with its names, the indexes whose default it is, and those of their images
    /// that nothing else has but `keep`. Unless it is `kept` to be had back, what nobody needs is
    /// given to `discard`.
    pub(crate) fn remove(
        &self,
        id: &Digest,
        keep: &BTreeSet<Digest>,
        kept: bool,
        discard: &dyn Fn(&str),
    ) -> Result<Gone, Error> {
        let held = self.changing();
        let row = self
            .row(id)
            .ok_or_else(|| Error::NotFound(id.to_string()))?;
        let going = self.read().going(row, keep);
        self.go(&held, going, kept, discard)
    }

    /// Takes one of its images out of an index that has others, and removes it unless something else
    /// has it, or it is in `keep`.
    pub(crate) fn detach(
        &self,
        index: &str,
        manifest: &Digest,
        keep: &BTreeSet<Digest>,
        kept: bool,
        discard: &dyn Fn(&str),
    ) -> Result<Gone, Error> {
        let held = self.changing();
        let going = {
            let memory = self.read();
            let not_found = || Error::NotFound(manifest.to_string());
            let index = memory.indexes.get(index).ok_or_else(not_found)?;
            let mut present = memory.present(index);
            let row = present.find(|(entry, _)| entry.descriptor.digest == *manifest);
            let row = Arc::clone(row.ok_or_else(not_found)?.1);
            let mut changed = IndexRow::clone(index);
            for entry in &mut changed.entries {
                if entry.descriptor.digest == *manifest {
                    entry.image = None;
                }
                if crate::variants::about(&entry.descriptor).as_ref() == Some(manifest) {
                    entry.blobs.clear();
                }
            }
            let hex = index.target.digest.hex();
            let goes = !memory.is_anchored(&row.id, &[hex]) && !keep.contains(&row.id);
            Going {
                rows: goes.then_some(row).into_iter().collect(),
                indexes: vec![Arc::clone(index)],
                changed: vec![changed],
                names: BTreeMap::new(),
            }
        };
        self.go(&held, going, kept, discard)
    }

    fn go(
        &self,
        held: &Held,
        going: Going,
        kept: bool,
        discard: &dyn Fn(&str),
    ) -> Result<Gone, Error> {
        let removed = match (kept, going.rows.first()) {
            (true, Some(row)) => Some(self.read().to_keep(row, &going)),
            _ => None,
        };
        let forgotten = self.read().untagged_of(&going);
        let transaction = self.database.begin_write()?;
        {
            let mut images = transaction.open_table(IMAGES)?;
            let mut used = transaction.open_table(USED)?;
            for row in &going.rows {
                images.remove(row.id.hex())?;
                if removed.is_none() {
                    used.remove(row.id.hex())?;
                }
            }
            let mut indexes = transaction.open_table(INDEXES)?;
            for index in &going.indexes {
                indexes.remove(index.target.digest.hex())?;
            }
            for index in &going.changed {
                indexes.insert(index.target.digest.hex(), json(index)?.as_slice())?;
            }
            let mut names = transaction.open_table(NAMES)?;
            for name in going.names.keys() {
                names.remove(name.as_str())?;
            }
            if let Some(removed) = &removed {
                let mut table = transaction.open_table(REMOVED)?;
                table.insert(removed.row.id.hex(), json(removed)?.as_slice())?;
            }
            write_untagged(&transaction, &forgotten)?;
        }
        transaction.commit()?;
        let mut memory = self.write();
        for row in &going.rows {
            memory.images.remove(row.id.hex());
            if removed.is_none() {
                memory.used.remove(row.id.hex());
            }
        }
        for index in &going.indexes {
            memory.indexes.remove(index.target.digest.hex());
        }
        for index in going.changed {
            let hex = index.target.digest.hex().to_owned();
            memory.indexes.insert(hex, Arc::new(index));
        }
        for name in going.names.keys() {
            memory.names.remove(name);
        }
        memory.set_untagged(forgotten);
        if let Some(removed) = removed {
            let key = removed.row.id.hex().to_owned();
            memory.removed.insert(key, Arc::new(removed));
        }
        memory.settle();
        drop(memory);
        let used = self.chains();
        let chains: BTreeSet<&String> = going.rows.iter().flat_map(|row| &row.chains).collect();
        let free = |chain: &&&String| !used.contains(**chain) && !held.leases.contains_key(**chain);
        let chains = chains.iter().filter(free).map(|&chain| chain.clone());
        let chains: Vec<String> = chains.collect();
        // Still under the lock: who takes a lease now finds them gone, not going.
        let needs = going.rows.iter().flat_map(|row| row.needs());
        let needs = needs.chain(going.indexes.iter().flat_map(|index| index.needs()));
        self.discard_unused(held, needs, discard);
        Ok(Gone {
            rows: going.rows,
            chains,
        })
    }

    /// Gives those of `keys` that nothing needs to `discard`.
    pub(super) fn discard_unused(
        &self,
        held: &Held,
        keys: impl Iterator<Item = String>,
        discard: &dyn Fn(&str),
    ) {
        let needed = self.needed();
        let keys: BTreeSet<String> = keys.collect();
        keys.iter()
            .filter(|key| {
                !needed.contains(*key)
                    && !held.leases.contains_key(*key)
                    && !held.unclaimed.contains_key(*key)
            })
            .for_each(|key| discard(key));
    }

    /// Names that were taken away from an image that is still there, or from its indexes.
    pub(crate) fn untagged(&self, id: &Digest) -> Vec<Reference> {
        let memory = self.read();
        let owned = memory.owned.get(id.hex()).into_iter().flatten();
        let targets = owned.map(String::as_str).chain([id.hex()]);
        let names = targets.filter_map(|target| memory.untagged.get(target));
        names
            .flatten()
            .filter_map(|name| name.parse().ok())
            .collect()
    }

    /// Images that can be had back, the one removed last first.
    pub(crate) fn removed(&self) -> Vec<Arc<Removed>> {
        let mut all: Vec<_> = self.read().removed.values().cloned().collect();
        all.sort_by_key(|removed| std::cmp::Reverse(removed.at));
        all
    }

    /// Makes it an image again, with what went with it and those of its names that nobody has taken.
    pub(crate) fn restore(&self, id: &Digest) -> Result<Vec<Reference>, Error> {
        let held = self.changing();
        // Under the lock: one that is let go of meanwhile has lost its layers.
        let removed = self.read().removed.get(id.hex()).cloned();
        let removed = removed.ok_or_else(|| Error::NotFound(id.to_string()))?;
        let names = removed.names.iter().filter_map(|name| {
            let target = removed.targets.get(name);
            let target = target.map_or(removed.row.id.hex(), String::as_str);
            Some((name.parse::<Reference>().ok()?, target.to_owned()))
        });
        let mut names: Vec<(Reference, String)> = names.collect();
        {
            let memory = self.read();
            names.retain(|(name, _)| !memory.names.contains_key(&name.to_string()));
        }
        // The others first: after a crash in between all that is left can still be had back.
        for other in &removed.others {
            if self.row(&other.id).is_none() {
                self.add_held(&held, other.clone(), Vec::new(), &[])?;
            }
        }
        let row = removed.row.clone();
        self.add_held(&held, row, removed.indexes.clone(), &names)?;
        Ok(names.into_iter().map(|(name, _)| name).collect())
    }

    /// Lets go of a removed image for good. Answers the images and the chains that went: what came
    /// alone meanwhile of those that were removed together stays.
    pub(crate) fn purge(
        &self,
        id: &Digest,
        discard: &dyn Fn(&str),
    ) -> Result<(Vec<Digest>, Vec<String>), Error> {
        let held = self.changing();
        let removed = self.read().removed.get(id.hex()).cloned();
        let Some(removed) = removed else {
            return Ok((Vec::new(), Vec::new()));
        };
        let gone = self.read().only_in(&removed);
        let transaction = self.database.begin_write()?;
        {
            transaction.open_table(REMOVED)?.remove(id.hex())?;
            let mut used = transaction.open_table(USED)?;
            for id in &gone {
                used.remove(id.hex())?;
            }
        }
        transaction.commit()?;
        let mut memory = self.write();
        memory.removed.remove(id.hex());
        for id in &gone {
            memory.used.remove(id.hex());
        }
        drop(memory);
        let needed = self.needed();
        let chains: BTreeSet<&String> = removed.layers().map(|(chain, _)| chain).collect();
        let free =
            |chain: &&&String| !needed.contains(**chain) && !held.leases.contains_key(**chain);
        let freed = chains.iter().filter(free).map(|&chain| chain.clone());
        let freed = freed.collect();
        self.discard_unused(&held, removed.needs(), discard);
        Ok((gone, freed))
    }
}

impl Memory {
    /// What is left when these names do not lead to `target` any more: the image that they stood for,
    /// whether that has other names, and the index that goes.
    fn left_without(
        &self,
        gone: &[Reference],
        target: &str,
    ) -> (Option<Arc<Row>>, bool, Option<Arc<IndexRow>>) {
        let index = self.indexes.get(target);
        let row = match index {
            Some(index) => self.preferred(index).map(|(_, row)| row),
            None => self.images.get(target),
        };
        let left = self.names.values().filter(|(name, _)| !gone.contains(name));
        let left: BTreeSet<&str> = left.map(|(_, of)| of.as_str()).collect();
        let named = row.is_some_and(|row| {
            let owned = self.owned.get(row.id.hex()).into_iter().flatten();
            let mut targets = owned.map(String::as_str).chain([row.id.hex()]);
            targets.any(|target| left.contains(target))
        });
        let forgotten = index.filter(|_| named && !left.contains(target));
        (row.cloned(), named, forgotten.cloned())
    }

    /// Images of an index that went which nothing else has.
    fn orphans(&self, index: &IndexRow) -> Vec<Digest> {
        let named: BTreeSet<&str> = self.names.values().map(|(_, of)| of.as_str()).collect();
        let present = self.present(index).map(|(_, row)| &row.id);
        present
            .filter(|id| !self.members.contains(id.hex()) && !named.contains(id.hex()))
            .cloned()
            .collect()
    }

    /// What goes with an image.
    fn going(&self, row: Arc<Row>, keep: &BTreeSet<Digest>) -> Going {
        let owned = self.owned.get(row.id.hex()).into_iter().flatten();
        let indexes: Vec<Arc<IndexRow>> = owned
            .filter_map(|index| self.indexes.get(index).cloned())
            .collect();
        let without: Vec<&str> = indexes.iter().map(|it| it.target.digest.hex()).collect();
        let mut rows = vec![Arc::clone(&row)];
        for (_, other) in indexes.iter().flat_map(|index| self.present(index)) {
            if !rows.iter().any(|row| row.id == other.id)
                && !self.is_anchored(&other.id, &without)
                && !keep.contains(&other.id)
            {
                rows.push(Arc::clone(other));
            }
        }
        let names = self.names.iter().filter(|(_, (_, target))| {
            *target == row.id.hex() || without.contains(&target.as_str())
        });
        let names = names.map(|(name, (_, target))| (name.clone(), target.clone()));
        let names = names.collect();
        Going {
            rows,
            names,
            indexes,
            changed: Vec::new(),
        }
    }

    /// Whether an image has a name of its own, or an index beside these.
    fn is_anchored(&self, id: &Digest, without: &[&str]) -> bool {
        let of_others = self.indexes.iter();
        let mut of_others = of_others.filter(|(hex, _)| !without.contains(&hex.as_str()));
        self.names.values().any(|(_, target)| target == id.hex())
            || of_others.any(|(_, index)| self.present(index).any(|(_, row)| row.id == *id))
    }

    /// The record of what goes.
    fn to_keep(&self, row: &Arc<Row>, going: &Going) -> Removed {
        let mut targets: BTreeMap<String, String> = BTreeMap::new();
        let mut names: Vec<String> = Vec::new();
        let lost = going.lost().flat_map(|target| {
            let names = self.untagged.get(target).into_iter().flatten();
            names.map(move |name| (name.clone(), target.to_owned()))
        });
        let had = going.names.clone();
        for (name, target) in lost.chain(had) {
            if !names.contains(&name) {
                names.push(name.clone());
            }
            match target == row.id.hex() {
                true => drop(targets.remove(&name)),
                false => drop(targets.insert(name, target)),
            }
        }
        Removed {
            row: Row::clone(row),
            names,
            at: now(),
            others: going
                .rows
                .iter()
                .skip(1)
                .map(|row| Row::clone(row))
                .collect(),
            indexes: going.indexes.iter().map(|it| IndexRow::clone(it)).collect(),
            targets,
        }
    }

    /// Images that nothing but this record has.
    fn only_in(&self, record: &Removed) -> Vec<Digest> {
        let others = self.removed.values();
        let others = others.filter(|other| other.row.id != record.row.id);
        let elsewhere: BTreeSet<&str> = others
            .flat_map(|other| other.rows().map(|row| row.id.hex()))
            .collect();
        let ids = record.rows().map(|row| &row.id);
        ids.filter(|id| !self.images.contains_key(id.hex()) && !elsewhere.contains(id.hex()))
            .cloned()
            .collect()
    }

    /// What is left of a removed image's record, apart, when it alone comes back.
    pub(super) fn apart(&self, id: &str) -> Vec<Removed> {
        let Some(removed) = self.removed.get(id) else {
            return Vec::new();
        };
        let is_free = |row: &&Row| {
            !self.removed.contains_key(row.id.hex()) && !self.images.contains_key(row.id.hex())
        };
        let others = removed.others.iter().filter(is_free);
        others
            .map(|row| Removed {
                row: row.clone(),
                names: Vec::new(),
                at: removed.at,
                others: Vec::new(),
                indexes: removed.indexes.clone(),
                targets: BTreeMap::new(),
            })
            .collect()
    }

    /// Lists of names taken away, as they are with some more.
    fn untagged_with(&self, target: &str, gone: &[Reference]) -> BTreeMap<String, Vec<String>> {
        let mut names = self.untagged.get(target).cloned().unwrap_or_default();
        for name in gone.iter().map(Reference::to_string) {
            names.retain(|other| *other != name);
            names.push(name);
        }
        let most = names.len().saturating_sub(REMEMBERED);
        names.drain(..most);
        [(target.to_owned(), names)].into()
    }

    /// Lists that change when something comes (again) and names are given.
    pub(super) fn untagged_without(
        &self,
        came: &[&str],
        given: &[(Reference, String)],
    ) -> BTreeMap<String, Vec<String>> {
        let given: BTreeSet<String> = given.iter().map(|(name, _)| name.to_string()).collect();
        let lists = self.untagged.iter().filter_map(|(target, names)| {
            let mut left = names.clone();
            match came.contains(&target.as_str()) {
                true => left.clear(),
                false => left.retain(|name| !given.contains(name)),
            }
            (left.len() != names.len()).then(|| (target.clone(), left))
        });
        lists.collect()
    }

    /// Lists that go with what goes.
    fn untagged_of(&self, going: &Going) -> BTreeMap<String, Vec<String>> {
        let lists = going.lost().filter(|it| self.untagged.contains_key(*it));
        lists
            .map(|target| (target.to_owned(), Vec::new()))
            .collect()
    }

    pub(super) fn set_untagged(&mut self, changed: BTreeMap<String, Vec<String>>) {
        for (target, names) in changed {
            match names.is_empty() {
                true => drop(self.untagged.remove(&target)),
                false => drop(self.untagged.insert(target, names)),
            }
        }
    }
}

impl Going {
    /// Hex of what names cannot lead to any more.
    fn lost(&self) -> impl Iterator<Item = &str> {
        let rows = self.rows.iter().map(|row| row.id.hex());
        let indexes = self.indexes.iter().map(|index| index.target.digest.hex());
        let left = |hex: &&str| {
            let mut changed = self.changed.iter();
            !changed.any(|index| index.target.digest.hex() == *hex)
        };
        rows.chain(indexes.filter(left))
    }
}
