//! `cp`, `export` and `diff`: the files of a container, running or not.
//!
//! ```text
//!  View (view): the root, and what is mounted in it while nothing runs
//!   ├ stat
//!   ├ get, export ─ pack ─► tar ─► client
//!   └ put ◄─ unpack ◄─ tar ◄─ client
//! ```
//!
//! Paths are resolved by `View` component by component, each step confined to the root; nothing
//! of the container is run and none of its names is looked up on the host. All work is done on the
//! blocking pool; a client that leaves ends it.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use dockerapi::{FilesystemChange, PathStat};
use tokio::sync::{mpsc, oneshot};

use crate::container::Container;
use crate::options::ArchivePut;
use crate::record::{Phase, Record};
use crate::{ByteStream, Engine, Error, Inner, Result, events};

pub(crate) mod changes;
mod owner;
mod pack;
mod stat;
pub(crate) mod stream;
mod unpack;
mod view;

use view::View;

/// Chunks that may wait for a slow client.
const QUEUE: usize = 8;

impl Engine {
    /// What is at a path. A link is not followed; where it leads is told.
    ///
    /// # Errors
    /// Not found, without container or file.
    pub async fn container_archive_stat(&self, name: &str, path: &str) -> Result<PathStat> {
        let files = Files::open(&self.0, name).await?;
        let path = path.to_owned();
        files
            .run(move |files| {
                files
                    .stat(&path)
                    .map_err(|error| files.failed(&path, &error))
            })
            .await
    }

    /// A tar of what is at a path: a directory with everything in it, under its last name.
    ///
    /// # Errors
    /// Not found, without container or file.
    pub async fn container_archive_get(
        &self,
        name: &str,
        path: &str,
    ) -> Result<(PathStat, ByteStream)> {
        let files = Files::open(&self.0, name).await?;
        let path = path.to_owned();
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (found, stat) = oneshot::channel();
        // One piece of work: what was looked at is what is sent.
        tokio::task::spawn_blocking(move || {
            let opened = files
                .begin(&path)
                .map_err(|error| files.failed(&path, &error));
            match opened {
                Ok((stat, logical, base)) => {
                    if found.send(Ok(stat)).is_ok() {
                        files.tell("archive-path");
                        stream::send(sender, |out| pack::tree(&files.view, &logical, &base, out));
                    }
                }
                Err(error) => drop(found.send(Err(error))),
            }
        });
        let stat = stat.await.map_err(|_| interrupted())??;
        Ok((stat, receiver))
    }

    /// Unpacks a tar (compressed or not) into a directory.
    ///
    /// # Errors
    /// Not found; invalid parameter when the path is no directory, is read-only, or the archive is
    /// bad. What was unpacked before an error stays.
    pub async fn container_archive_put(
        &self,
        name: &str,
        options: ArchivePut,
        body: ByteStream,
    ) -> Result<()> {
        let files = Files::open(&self.0, name).await?;
        files.run(move |files| files.put(&options, body)).await
    }

    /// What a container added, modified and deleted of its image's files, by path.
    ///
    /// # Errors
    /// Without container.
    pub async fn container_changes(&self, name: &str) -> Result<Vec<FilesystemChange>> {
        let record = self.0.containers.find(name)?.record();
        let inner = Arc::clone(&self.0);
        let work = move || -> Result<_> {
            let image = inner.images.resolve(&record.image_id)?;
            let writable = inner.writable_dir(&record.id);
            let changes = inner.images.upper_changes(&image, &writable)?;
            let changes = changes::made_by_the_container(changes, &writable.join("diff"));
            let shown = |change: images::Change| FilesystemChange {
                kind: change.kind as u8,
                path: change.path.to_string_lossy().into_owned(),
            };
            Ok(changes.into_iter().map(shown).collect())
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| interrupted())?
    }

    /// A tar of the whole root file system, without what is mounted in it.
    ///
    /// # Errors
    /// Without container.
    pub async fn container_export(&self, name: &str) -> Result<ByteStream> {
        let mut files = Files::open(&self.0, name).await?;
        files.view.forget_mounts();
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::task::spawn_blocking(move || {
            files.tell("export");
            stream::send(sender, |out| pack::whole(&files.view, out));
        });
        Ok(receiver)
    }
}

/// A container's files, held open.
#[derive(Debug)]
struct Files {
    inner: Arc<Inner>,
    record: Arc<Record>,
    /// As the client named the container.
    name: String,
    view: View,
}

impl Files {
    async fn open(inner: &Arc<Inner>, name: &str) -> Result<Self> {
        let container = inner.containers.find(name)?;
        let (view, record) = open_view(inner, &container).await?;
        Ok(Self {
            inner: Arc::clone(inner),
            record,
            name: name.to_owned(),
            view,
        })
    }

    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        tokio::task::spawn_blocking(move || work(&self))
            .await
            .map_err(|_| interrupted())?
    }

    fn tell(&self, action: &str) {
        self.inner
            .events
            .publish(events::container(&self.record, action, &[]));
    }

    fn failed(&self, path: &str, error: &io::Error) -> Error {
        if error.kind() == io::ErrorKind::NotFound {
            let name = &self.name;
            return Error::not_found(format!(
                "Could not find the file {path} in container {name}"
            ));
        }
        Error::system(format!("{path}: {error}"))
    }

    fn stat(&self, path: &str) -> io::Result<PathStat> {
        let logical = self.view.resolve(path, wants_target(path))?;
        stat::of(&self.view, path, &logical)
    }

    /// What `get` sends: its stat, its place, and the name it has in the archive.
    fn begin(&self, path: &str) -> io::Result<(PathStat, Vec<OsString>, String)> {
        let logical = self.view.resolve(path, wants_target(path))?;
        let stat = stat::of(&self.view, path, &logical)?;
        // `/dir/.` is sent as `.`: its content without its name.
        let base = if path.ends_with("/.") || path == "." {
            ".".into()
        } else {
            stat::base(path)
        };
        Ok((stat, logical, base))
    }

    fn put(&self, options: &ArchivePut, body: ByteStream) -> Result<()> {
        let failed = |error: io::Error| self.failed(&options.path, &error);
        let logical = self.view.resolve(&options.path, true).map_err(failed)?;
        if !self.view.is_directory(&logical).map_err(failed)? {
            return Err(Error::invalid("extraction point is not a directory"));
        }
        self.check_writable(&logical)?;
        let owner = match options.copy_uid_gid {
            true => owner::of(&self.view, &self.record.config.user)?,
            false => None,
        };
        let unpack = unpack::Options {
            keep_kinds: options.no_overwrite_dir_non_dir,
            owner,
        };
        unpack::into(&self.view, &logical, &unpack, stream::Reader::new(body))?;
        self.tell("extract-to-dir");
        Ok(())
    }

    fn check_writable(&self, logical: &[OsString]) -> Result<()> {
        let inside = |destination: &str| {
            logical.starts_with(&view::components(destination).collect::<Vec<_>>())
        };
        let mounts = self
            .record
            .mounts
            .iter()
            .filter(|mounted| inside(&mounted.point.destination));
        match mounts.max_by_key(|mounted| mounted.point.destination.len()) {
            Some(mounted) if mounted.point.rw => Ok(()),
            Some(_) => Err(Error::invalid("mounted volume is marked read-only")),
            None if self.record.host.readonly_rootfs => {
                Err(Error::invalid("container rootfs is marked read-only"))
            }
            None => Ok(()),
        }
    }
}

/// A running container's own view; a stopped one's is put together.
async fn open_view(inner: &Arc<Inner>, container: &Container) -> Result<(View, Arc<Record>)> {
    let record = container.record();
    if matches!(
        record.state.phase,
        Phase::Removing | Phase::Removed | Phase::Dead
    ) {
        return Err(Error::conflict(format!(
            "container {} is dead or marked for removal",
            record.id
        )));
    }
    if record.state.phase.is_alive() {
        match inner.compute.root(&record.id).await {
            Ok(root) => return Ok((View::new(root, record.ids.clone()), record)),
            // It ended meanwhile.
            Err(error)
                if matches!(
                    error.kind,
                    compute::Kind::NotFound | compute::Kind::NotRunning
                ) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let inner = Arc::clone(inner);
    let open = move || {
        let image = inner.images.resolve(&record.image_id)?;
        let options = images::RootfsOptions::default();
        let writable = inner.writable_dir(&record.id);
        let root = match &record.ids {
            None => inner.images.rootfs(&image, &writable, options)?,
            Some(ids) => {
                let user = ids.namespace()?;
                inner
                    .images
                    .rootfs_mapped(&image, &writable, options, user.as_fd())?
            }
        };
        let mut view = View::new(root, record.ids.clone());
        for mounted in &record.mounts {
            view.mount(mounted).map_err(|error| {
                let point = &mounted.point;
                Error::system(format!(
                    "{} at {}: {error}",
                    point.source, point.destination
                ))
            })?;
        }
        Ok((view, record))
    };
    tokio::task::spawn_blocking(open)
        .await
        .map_err(|_| interrupted())?
}

/// `/link/` and `/link/.` are what the link leads to.
fn wants_target(path: &str) -> bool {
    path.ends_with('/') || path.ends_with("/.")
}

fn interrupted() -> Error {
    Error::system("reading the container's files was interrupted")
}

#[cfg(test)]
mod tests;
