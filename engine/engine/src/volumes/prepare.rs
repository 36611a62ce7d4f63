//! Volumes of a container that is being created, and of one that is removed.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use state::{Change, Table};

use super::{ANONYMOUS, Volume, directory, event, lock, tree};
use crate::record::Record;
use crate::userns::IdMaps;
use crate::{Error, Inner, Result, names};

/// Volumes pinned for a container until its record is there. Dropped without [`Self::keep`], what
/// was made for it is removed again.
#[derive(Debug)]
#[must_use]
pub(crate) struct Prepared {
    inner: Arc<Inner>,
    volumes: Vec<Arc<Volume>>,
}

/// Gives every volume of the record its name and source, makes those that are missing, and copies
/// the image's files into empty ones. Blocking.
///
/// # Errors
/// When a name is bad, or files cannot be copied. Nothing is left then.
pub(crate) fn prepare(inner: &Arc<Inner>, record: &mut Record) -> Result<Prepared> {
    let mut prepared = Prepared {
        inner: Arc::clone(inner),
        volumes: Vec::new(),
    };
    let mut image_root = None;
    for mounted in record
        .mounts
        .iter_mut()
        .filter(|mounted| mounted.point.kind == "volume")
    {
        let mut labels = mounted.labels.clone();
        if mounted.point.name.is_empty() {
            mounted.point.name = names::random_id()?;
            labels.insert(ANONYMOUS.to_owned(), String::new());
        }
        let volume = inner.volumes.pin(&mounted.point.name, labels)?;
        prepared.volumes.push(Arc::clone(&volume));
        "local".clone_into(&mut mounted.point.driver);
        mounted.point.source = inner.volumes.path(&volume.row.name).display().to_string();
        if let Some(ids) = &record.ids
            && !lock(&volume.status).durable
        {
            // A new one is its first container's, as the directories of the image are.
            let (path, root) = (inner.volumes.current_path(&volume), ids.root());
            std::os::unix::fs::chown(&path, Some(root.0), Some(root.1))
                .map_err(|error| Error::system(format!("chown {}: {error}", path.display())))?;
        }
        if !mounted.copy_up || !mounted.subpath.is_empty() {
            continue;
        }
        let _filling = lock(&volume.filling);
        let path = inner.volumes.current_path(&volume);
        if !is_empty(&path)? {
            continue;
        }
        let root = match &image_root {
            Some(root) => root,
            None => image_root.insert(
                inner
                    .images
                    .view(&inner.images.resolve(&record.image_id)?)?,
            ),
        };
        copy_up(root, &mounted.point.destination, &path, record.ids.as_ref()).inspect_err(
            |_| {
                // Half a copy would pass for the volume's own content the next time.
                if let Err(error) = directory::empty(&path) {
                    tracing::warn!(path = %path.display(), err = %error, "cannot undo a copy");
                }
            },
        )?;
    }
    Ok(prepared)
}

impl Prepared {
    /// Adds the rows of new volumes, and the events of their creation, to the change that makes
    /// the container.
    pub(crate) fn add_to(&mut self, mut change: Change) -> Change {
        for volume in self
            .volumes
            .iter()
            .filter(|volume| !lock(&volume.status).durable)
        {
            let event = event("create", &volume.row.name);
            change = change
                .put(Table::Volumes, &volume.row.name, &volume.row)
                .event(&event);
        }
        change
    }

    /// The change is durable and the container's record is there to be read.
    pub(crate) fn keep(self) {
        for volume in &self.volumes {
            if let Err(error) = self.inner.volumes.publish(volume) {
                // The next open of the engine will try again.
                tracing::error!(volume = volume.row.name, err = %error, "cannot name a volume");
            }
        }
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        for volume in self.volumes.drain(..) {
            self.inner.volumes.unpin(&volume);
        }
    }
}

/// Removes the volumes that were made for this container alone. Those that others use by now stay.
/// Blocking; failures are logged.
pub(crate) fn remove_anonymous(inner: &Inner, record: &Record) {
    for mounted in &record.mounts {
        if mounted.point.kind != "volume" || !mounted.anonymous {
            continue;
        }
        let Some(volume) = inner.volumes.find(&mounted.point.name) else {
            continue;
        };
        match inner.volumes.remove(inner, &volume, Some(&record.id)) {
            Err(error) if error.kind != crate::ErrorKind::Conflict => {
                tracing::warn!(volume = volume.row.name, err = %error, "cannot remove");
            }
            _ => {}
        }
    }
}

fn is_empty(path: &Path) -> Result<bool> {
    let failed = |error: std::io::Error| Error::system(format!("{}: {error}", path.display()));
    Ok(std::fs::read_dir(path).map_err(failed)?.next().is_none())
}

/// Copies what the image has at `destination`, if it is a directory.
fn copy_up(root: &OwnedFd, destination: &str, volume: &Path, ids: Option<&IdMaps>) -> Result<()> {
    let failed = |error: std::io::Error| {
        Error::system(format!(
            "failed to populate volume from {destination}: {error}"
        ))
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let from = match rustix::fs::openat2(root, destination, flags, Mode::empty(), resolve) {
        Ok(from) => from,
        // Nothing to copy; a file there is a matter of the start.
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(()),
        Err(error) => return Err(failed(error.into())),
    };
    let to = rustix::fs::open(volume, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
    tree::copy(from.as_fd(), to.as_fd(), ids).map_err(failed)
}
