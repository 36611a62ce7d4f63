//! What `update` changes of a container besides its limits: labels, and bind mounts, which come and
//! go while it runs. An addition of Corten's; dockerd's clients never send it.

use std::os::fd::OwnedFd;

use dockerapi::{Map, UpdateBody};
use rustix::fs::CWD;
use rustix::mount::OpenTreeFlags;

use super::{Owner, launch};
use crate::record::{Mounted, Record};
use crate::{Error, IdMaps, Result, health, mounts};

/// What is asked for, checked against what the container has.
#[derive(Debug, Default)]
pub(super) struct Changes {
    labels: Option<Map<String>>,
    added: Vec<Mounted>,
    removed: Vec<String>,
    specs: Vec<dockerapi::MountSpec>,
}

impl Changes {
    /// # Errors
    /// Invalid parameter or not implemented, naming what cannot be.
    pub(super) fn plan(record: &Record, body: &UpdateBody) -> Result<Self> {
        let mut changes = Self::default();
        if !body.labels_add.is_empty() || !body.labels_remove.is_empty() {
            let mut labels = record.config.labels.clone();
            for key in &body.labels_remove {
                if labels.remove(key).is_none() {
                    return Err(Error::invalid(format!("no such label: {key}")));
                }
            }
            if body.labels_add.contains_key("") {
                return Err(Error::invalid("invalid label: its name is empty"));
            }
            labels.extend(body.labels_add.clone());
            health::action(&labels)?;
            changes.labels = Some(labels);
        }
        for destination in &body.mounts_remove {
            let there = record
                .mounts
                .iter()
                .find(|mounted| mounted.point.destination == *destination);
            match there {
                Some(mounted) if mounted.point.kind == "bind" => {
                    changes.removed.push(destination.clone());
                }
                Some(mounted) => {
                    return Err(Error::not_implemented(format!(
                        "removing the mount at {destination} is not supported yet: it is of type \
                         {:?}",
                        mounted.point.kind
                    )));
                }
                None => {
                    return Err(Error::invalid(format!(
                        "nothing is mounted at {destination}"
                    )));
                }
            }
        }
        for spec in &body.mounts_add {
            let mounted = mounts::from_spec(spec)?;
            let destination = &mounted.point.destination;
            if mounted.point.kind != "bind" {
                return Err(Error::not_implemented(format!(
                    "adding a mount of type {:?} is not supported yet: only bind mounts are",
                    mounted.point.kind
                )));
            }
            let options = spec.bind_options.clone().unwrap_or_default();
            if mounted.point.propagation != "rprivate" || options.read_only_force_recursive {
                return Err(Error::not_implemented(
                    "propagation and forced recursion of an added mount are not supported yet",
                ));
            }
            let stays = |other: &&Mounted| !changes.removed.contains(&other.point.destination);
            let mut all = record.mounts.iter().filter(stays).chain(&changes.added);
            if all.any(|other| other.point.destination == *destination) {
                return Err(Error::invalid(format!(
                    "Duplicate mount point: {destination}"
                )));
            }
            changes.added.push(mounted);
            changes.specs.push(spec.clone());
        }
        Ok(changes)
    }

    /// All of its mounts that come and go.
    pub(super) fn all(&self) -> Done<'_> {
        Done {
            added: &self.added,
            removed: &self.removed,
        }
    }

    /// Takes them into the record.
    pub(super) fn apply(self, record: &mut Record) {
        if let Some(labels) = self.labels {
            record.config.labels = labels;
        }
        let gone = |destination: &str| self.removed.iter().any(|removed| removed == destination);
        record
            .mounts
            .retain(|mounted| !gone(&mounted.point.destination));
        let host = &mut record.host;
        host.mounts
            .retain(|spec| !mounts::clean(&spec.target).is_ok_and(|target| gone(&target)));
        if let Some(binds) = &mut host.binds {
            binds.retain(|bind| {
                mounts::parse_bind(bind).map_or(true, |mounted| !gone(&mounted.point.destination))
            });
        }
        record.mounts.extend(self.added);
        host.mounts.extend(self.specs);
    }
}

/// The mounts of a change that came and went in the running container so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Done<'a> {
    added: &'a [Mounted],
    removed: &'a [String],
}

impl Owner {
    /// In the running container: all of them, or none.
    pub(super) async fn change_mounts(&self, changes: &Changes) -> Result<()> {
        let (mut added, mut removed) = (0, 0);
        let changed = async {
            let (compute, id) = (&self.inner.compute, &self.record.id);
            // What stays is covered by nothing: the place of one that goes may be taken by one that
            // comes.
            for destination in &changes.removed {
                compute.unmount(id, destination).await?;
                removed += 1;
            }
            for mounted in &changes.added {
                let tree = tree(mounted, self.record.ids.as_ref())?;
                let destination = &mounted.point.destination;
                compute.mount(id, tree, destination).await?;
                added += 1;
            }
            Ok(())
        };
        let changed = changed.await;
        if changed.is_err() {
            self.undo_mounts(Done {
                added: &changes.added[..added],
                removed: &changes.removed[..removed],
            })
            .await;
        }
        changed
    }

    /// As it was before; what cannot be undone is told in the log.
    pub(super) async fn undo_mounts(&self, done: Done<'_>) {
        let (compute, id) = (&self.inner.compute, &self.record.id);
        let failed = |destination: &str, error: Error| {
            tracing::warn!(%id, destination, %error, "a change of mounts is not undone");
        };
        for mounted in done.added.iter().rev() {
            let destination = &mounted.point.destination;
            if let Err(error) = compute.unmount(id, destination).await {
                failed(destination, error.into());
            }
        }
        for destination in done.removed.iter().rev() {
            let was = |mounted: &&Mounted| mounted.point.destination == *destination;
            let Some(mounted) = self.record.mounts.iter().find(was) else {
                continue;
            };
            let again = match tree(mounted, self.record.ids.as_ref()) {
                Ok(tree) => compute
                    .mount(id, tree, destination)
                    .await
                    .map_err(Error::from),
                Err(error) => Err(error),
            };
            if let Err(error) = again {
                failed(destination, error);
            }
        }
    }
}

/// A detached copy of what is to be mounted.
fn tree(mounted: &Mounted, ids: Option<&IdMaps>) -> Result<OwnedFd> {
    use std::os::fd::AsFd;
    if mounted.create_source {
        launch::make_source(&mounted.point.source, ids)?;
    }
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if !mounted.non_recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let source = &mounted.point.source;
    let failed = |error: rustix::io::Errno| {
        let error = std::io::Error::from(error);
        Error::system(format!("bind mount of {source}: {error}"))
    };
    let tree = rustix::mount::open_tree(CWD, source, flags).map_err(failed)?;
    let private = sys::mount::MountAttr {
        propagation: sys::mount::PRIVATE,
        ..sys::mount::MountAttr::default()
    };
    sys::mount::set_attr(tree.as_fd(), &private, true).map_err(failed)?;
    if !mounted.point.rw {
        let read_only = sys::mount::MountAttr {
            set: sys::mount::RDONLY,
            ..sys::mount::MountAttr::default()
        };
        let recursive = mounted.options.iter().any(|option| option == "rro");
        sys::mount::set_attr(tree.as_fd(), &read_only, recursive).map_err(failed)?;
    }
    Ok(tree)
}
