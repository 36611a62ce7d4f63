//! Local volumes: directories that outlive containers.
//!
//! A volume is a row in the state database and a directory `volumes/<name>/_data`. Names start
//! with a letter or digit, so directories with a leading dot are free for what is under way:
//!
//! ```text
//!  .<name>.new ──(row committed)──► <name> ──► .<name>.gone ──(row deleted)──► removed
//! ```
//!
//! After a crash [`Volumes::load`] finishes or undoes each step by looking at the rows. Who uses a
//! volume is read from the containers' records, never stored. A container that is being created
//! pins its volumes until its record is there to be read (`prepare`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dockerapi::Map;
use serde::{Deserialize, Serialize};
use state::{Change, State, Table};

use crate::{Error, Inner, Result, clock};

mod api;
mod directory;
mod prepare;
mod tree;

pub(crate) use prepare::{prepare, remove_anonymous};

/// Marks volumes that nobody named.
const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// What is kept of a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// Nanoseconds since 1970.
    pub(crate) created: i64,
    pub(crate) labels: Map<String>,
}

impl Row {
    fn is_anonymous(&self) -> bool {
        self.labels.contains_key(ANONYMOUS)
    }
}

/// All volumes.
#[derive(Debug)]
pub(crate) struct Volumes {
    root: PathBuf,
    table: Mutex<BTreeMap<String, Arc<Volume>>>,
}

/// One volume in memory.
#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) row: Row,
    status: Mutex<Status>,
    /// Held while the image's files are copied into it.
    filling: Mutex<()>,
}

#[derive(Debug, Default)]
struct Status {
    /// Its row is in the database.
    durable: bool,
    /// It is being removed: nobody may begin to use it.
    removing: bool,
    /// Containers under construction that use it.
    pins: usize,
}

impl Volumes {
    /// Reads the rows and puts right what a crash left half-done. Directories without a row are
    /// taken in, as moby does: their content is somebody's. Blocking.
    ///
    /// # Errors
    /// When the database or the directory cannot be read.
    pub(crate) fn load(state: &State, data_root: &Path) -> Result<Self> {
        let failed = |error: &dyn std::fmt::Display| Error::system(format!("volumes: {error}"));
        let rows: Vec<(String, Row)> = state.load(Table::Volumes).map_err(|e| failed(&e))?;
        let root = data_root.join("volumes");
        directory::make_root(&root).map_err(|error| failed(&error))?;
        let mut table = BTreeMap::new();
        for (name, row) in rows {
            directory::recover(&root, &name).map_err(|error| failed(&error))?;
            table.insert(name, Volume::new(row, true));
        }
        for (name, created) in directory::sweep(&root).map_err(|error| failed(&error))? {
            let row = Row {
                name: name.clone(),
                created,
                labels: Map::new(),
            };
            table.entry(name).or_insert_with(|| Volume::new(row, true));
        }
        Ok(Self {
            root,
            table: Mutex::new(table),
        })
    }

    fn find(&self, name: &str) -> Option<Arc<Volume>> {
        lock(&self.table).get(name).cloned()
    }

    fn all(&self) -> Vec<Arc<Volume>> {
        lock(&self.table).values().cloned().collect()
    }

    /// The volume of this name, pinned; made when there is none. Blocking.
    fn pin(&self, name: &str, labels: Map<String>) -> Result<Arc<Volume>> {
        check_name(name)?;
        let mut table = lock(&self.table);
        if let Some(volume) = table.get(name) {
            let mut status = lock(&volume.status);
            if status.removing {
                return Err(Error::conflict(format!(
                    "create {name}: volume is being removed"
                )));
            }
            status.pins += 1;
            return Ok(Arc::clone(volume));
        }
        directory::make(&self.root, name).map_err(|error| {
            let path = self.root.join(name);
            Error::system(format!(
                "create {name}: error while creating volume root path '{}': {error}",
                path.display()
            ))
        })?;
        let row = Row {
            name: name.to_owned(),
            created: clock::now(),
            labels,
        };
        let volume = Volume::new(row, false);
        lock(&volume.status).pins = 1;
        table.insert(name.to_owned(), Arc::clone(&volume));
        Ok(volume)
    }

    /// Lets go of a pin. A volume whose row never became durable goes with its last pin.
    fn unpin(&self, volume: &Volume) {
        let mut table = lock(&self.table);
        let mut status = lock(&volume.status);
        status.pins -= 1;
        if status.pins == 0 && !status.durable {
            table.remove(&volume.row.name);
            if let Err(error) = directory::abandon(&self.root, &volume.row.name) {
                tracing::warn!(volume = volume.row.name, err = %error, "cannot remove");
            }
        }
    }

    /// The row is in the database: the directory gets its name.
    fn publish(&self, volume: &Volume) -> std::io::Result<()> {
        let mut status = lock(&volume.status);
        if !status.durable {
            directory::publish(&self.root, &volume.row.name)?;
            status.durable = true;
        }
        Ok(())
    }

    /// Where its files will be.
    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name).join(directory::DATA)
    }

    /// Where its files are now.
    fn current_path(&self, volume: &Volume) -> PathBuf {
        match lock(&volume.status).durable {
            true => self.path(&volume.row.name),
            false => directory::unpublished(&self.root, &volume.row.name).join(directory::DATA),
        }
    }

    /// Removes a volume that no container uses; `except` does not count. Blocking.
    fn remove(&self, inner: &Inner, volume: &Volume, except: Option<&str>) -> Result<()> {
        let name = &volume.row.name;
        {
            let _table = lock(&self.table);
            let mut users = references(inner, name);
            users.retain(|id| Some(id.as_str()) != except);
            let mut status = lock(&volume.status);
            if !users.is_empty() || status.pins > 0 || status.removing {
                let users = match users.is_empty() {
                    true => String::new(),
                    false => format!(" - [{}]", users.join(", ")),
                };
                return Err(Error::conflict(format!(
                    "remove {name}: volume is in use{users}"
                )));
            }
            status.removing = true;
        }
        let removed = self.remove_durably(inner, name);
        match removed {
            Ok(()) => drop(lock(&self.table).remove(name)),
            Err(_) => lock(&volume.status).removing = false,
        }
        removed
    }

    fn remove_durably(&self, inner: &Inner, name: &str) -> Result<()> {
        let failed = |error: &dyn std::fmt::Display| {
            Error::system(format!(
                "remove {name}: error removing volume path: {error}"
            ))
        };
        directory::retire(&self.root, name).map_err(|error| failed(&error))?;
        let event = event("destroy", name);
        let change = Change::new().delete(Table::Volumes, name).event(&event);
        let commit = tokio::runtime::Handle::current().block_on(inner.state.commit(change));
        let told = match commit {
            Ok(told) => told,
            Err(error) => {
                directory::recover(&self.root, name).map_err(|error| failed(&error))?;
                return Err(failed(&error));
            }
        };
        if let Err(error) = directory::discard(&self.root, name) {
            // It is no volume any more; the rest goes at the next start.
            tracing::warn!(volume = name, err = %error, "cannot remove a volume's files");
        }
        drop(told);
        Ok(())
    }
}

impl Volume {
    fn new(row: Row, durable: bool) -> Arc<Self> {
        let status = Mutex::new(Status {
            durable,
            ..Status::default()
        });
        Arc::new(Self {
            row,
            status,
            filling: Mutex::new(()),
        })
    }
}

/// IDs of the containers that mount a volume, running or not.
pub(crate) fn references(inner: &Inner, name: &str) -> Vec<String> {
    let uses = |record: &crate::record::Record| {
        record
            .mounts
            .iter()
            .any(|mount| mount.point.kind == "volume" && mount.point.name == name)
    };
    let all = inner.containers.all();
    all.iter()
        .filter(|container| uses(&container.record()))
        .map(|c| c.id.clone())
        .collect()
}

/// How many containers use a volume, and its bytes. Blocking.
pub(crate) fn usage(inner: &Inner, name: &str) -> (usize, u64) {
    (
        references(inner, name).len(),
        images::disk_usage(&inner.volumes.path(name)),
    )
}

fn event(action: &str, name: &str) -> dockerapi::Event {
    let attributes = [("driver".to_owned(), "local".to_owned())].into();
    crate::events::make("volume", action, name, attributes)
}

fn check_name(name: &str) -> Result<()> {
    if name.len() == 1 {
        return Err(Error::invalid(format!(
            "create {name}: volume name is too short, names should be at least two alphanumeric \
             characters"
        )));
    }
    let mut bytes = name.bytes();
    let fine = bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if !fine {
        return Err(Error::invalid(format!(
            "create {name}: {name:?} includes invalid characters for a local volume name, only \
             \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, \
             use absolute path"
        )));
    }
    // `.name.gone` must be a file name, too.
    if name.len() > 240 {
        return Err(Error::invalid(format!(
            "create {name}: volume name is too long"
        )));
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
