//! User namespaces of containers: whose ids are mapped, and how.
//!
//! | `UsernsMode` | ids |
//! |---|---|
//! | empty | as the daemon's `--userns-remap` says; the host's without it |
//! | `host` | the host's |
//! | `private` | the range of `--userns-remap`, or of the user `dockremap` |
//! | `auto` | 65536 ids of that range which no other container has |
//!
//! The last two are Corten's own. What a container has is decided by its create and kept in its
//! record: its files on disk have these owners.

use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dockerapi::HostConfig;
use oci::runtime::IdMapping;
use serde::{Deserialize, Serialize};

use crate::record::Record;
use crate::{Error, Inner, Result};

/// The user whose subordinate ids are used where the daemon was not told another one.
pub const DEFAULT_USER: &str = "dockremap";
/// Ids of a container with `auto`.
const BLOCK: u32 = 65_536;
/// What an id is shown as that the container has no name for.
const NOBODY: u32 = 65_534;

/// How ids in a container are ids of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMaps {
    /// Of users, ascending by the container's ids.
    pub uids: Vec<IdMapping>,
    /// Of groups.
    pub gids: Vec<IdMapping>,
}

/// `--userns-remap`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remap {
    /// `user:group`, as asked for and looked up.
    pub name: String,
    /// Their subordinate ids.
    pub ids: IdMaps,
}

impl IdMaps {
    /// The subordinate ids of a user (by name or number) in the texts of /etc/subuid and /etc/subgid,
    /// one range after the other from 0 on.
    ///
    /// # Errors
    /// With moby's text, when there are none.
    pub fn of_user(
        user: &str,
        uid: Option<u32>,
        subuid: &str,
        subgid: &str,
    ) -> std::result::Result<Self, String> {
        let uids = ranges(user, uid, subuid);
        if uids.is_empty() {
            return Err(format!("no subuid ranges found for user {user:?}"));
        }
        let gids = ranges(user, uid, subgid);
        if gids.is_empty() {
            return Err(format!("no subgid ranges found for user {user:?}"));
        }
        Ok(Self { uids, gids })
    }

    /// The host's user and group for the container's; `None` for ids without one.
    pub(crate) fn to_host(&self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        Some((to_host(&self.uids, uid)?, to_host(&self.gids, gid)?))
    }

    /// As a process in the container sees the owner of a file.
    pub(crate) fn to_container(&self, uid: u32, gid: u32) -> (u32, u32) {
        (
            to_container(&self.uids, uid).unwrap_or(NOBODY),
            to_container(&self.gids, gid).unwrap_or(NOBODY),
        )
    }

    /// The host's ids of the container's root.
    pub(crate) fn root(&self) -> (u32, u32) {
        self.to_host(0, 0).unwrap_or_default()
    }

    /// A user namespace with these maps, and a network namespace that it owns if asked for.
    pub(crate) fn namespaces(&self, network: bool) -> Result<sys::userns::Made> {
        sys::userns::make(&lines(&self.uids), &lines(&self.gids), network)
            .map_err(|error| Error::system(format!("making a user namespace: {error}")))
    }

    /// [`IdMaps::namespaces`] for the sake of the maps alone.
    pub(crate) fn namespace(&self) -> Result<OwnedFd> {
        self.namespaces(false).map(|made| made.user)
    }

    /// The block of so many ids that is that far from the beginning of both maps.
    fn block(&self, number: u32) -> Option<Self> {
        let at = |list: &[IdMapping]| {
            let first = number.checked_mul(BLOCK)?;
            let last = first.checked_add(BLOCK - 1)?;
            let (host, end) = (to_host(list, first)?, to_host(list, last)?);
            // In one piece on the host, so that one mapping says it.
            (end.checked_sub(host) == Some(BLOCK - 1)).then(|| {
                vec![IdMapping {
                    container_id: 0,
                    host_id: host,
                    size: BLOCK,
                }]
            })
        };
        Some(Self {
            uids: at(&self.uids)?,
            gids: at(&self.gids)?,
        })
    }

    /// The first block that nobody has. Where two ranges meet there is none, but more may follow.
    fn free(&self, others: &[Self]) -> Option<Self> {
        (0..u32::MAX / BLOCK)
            .filter_map(|number| self.block(number))
            .find(|block| !others.iter().any(|other| other.overlaps(block)))
    }

    fn overlaps(&self, other: &Self) -> bool {
        let any = |a: &[IdMapping], b: &[IdMapping]| {
            a.iter().any(|a| {
                b.iter().any(|b| {
                    u64::from(a.host_id) < u64::from(b.host_id) + u64::from(b.size)
                        && u64::from(b.host_id) < u64::from(a.host_id) + u64::from(a.size)
                })
            })
        };
        any(&self.uids, &other.uids) || any(&self.gids, &other.gids)
    }
}

/// Lines `user:first:count`, as mappings one after the other.
fn ranges(user: &str, uid: Option<u32>, text: &str) -> Vec<IdMapping> {
    let number = uid.map(|uid| uid.to_string());
    let found = text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let mine = name == user || Some(name) == number.as_deref();
        let (first, count): (u32, u32) =
            (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (mine && count > 0).then_some((first, count))
    });
    let mut next = 0_u32;
    let mut out = Vec::new();
    for (first, count) in found {
        // The kernel takes 340 lines, and no id twice.
        let count = count.min(u32::MAX - next).min(u32::MAX - first);
        if count == 0 || out.len() == 340 {
            break;
        }
        out.push(IdMapping {
            container_id: next,
            host_id: first,
            size: count,
        });
        next += count;
    }
    out
}

fn to_host(list: &[IdMapping], id: u32) -> Option<u32> {
    list.iter().find_map(|m| {
        let offset = id.checked_sub(m.container_id)?;
        (offset < m.size).then(|| m.host_id + offset)
    })
}

fn to_container(list: &[IdMapping], id: u32) -> Option<u32> {
    list.iter().find_map(|m| {
        let offset = id.checked_sub(m.host_id)?;
        (offset < m.size).then(|| m.container_id + offset)
    })
}

fn lines(list: &[IdMapping]) -> String {
    let mut text = String::new();
    for m in list {
        let _ = writeln!(text, "{} {} {}", m.container_id, m.host_id, m.size);
    }
    text
}

/// A block of ids that no other container is given while one is being created.
#[derive(Debug)]
#[must_use]
pub(crate) struct Reserved {
    inner: Arc<Inner>,
    ids: IdMaps,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut blocks = lock(&self.inner.id_blocks);
        if let Some(at) = blocks.iter().position(|ids| *ids == self.ids) {
            blocks.swap_remove(at);
        }
    }
}

fn lock(blocks: &Mutex<Vec<IdMaps>>) -> MutexGuard<'_, Vec<IdMaps>> {
    blocks.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The ids of a container that is being created; they are its own from then on until what comes
/// with them is dropped, and by its record.
///
/// # Errors
/// Invalid parameter, with moby's texts where it has them.
pub(crate) fn of_container(
    inner: &Arc<Inner>,
    host: &HostConfig,
) -> Result<(Option<IdMaps>, Option<Reserved>)> {
    let remap = inner.config.userns_remap.as_ref();
    let ids = match host.userns_mode.as_str() {
        "host" => return Ok((None, None)),
        "" => match remap {
            None => return Ok((None, None)),
            Some(remap) => remap.ids.clone(),
        },
        "private" => subordinate(remap)?,
        "auto" => {
            conflicts(host)?;
            let reserved = reserve(inner, &subordinate(remap)?)?;
            return Ok((Some(reserved.ids.clone()), Some(reserved)));
        }
        other => return Err(Error::invalid(format!("invalid userns mode: {other}"))),
    };
    conflicts(host)?;
    Ok((Some(ids), None))
}

/// The first block of `all` that nobody has.
fn reserve(inner: &Arc<Inner>, all: &IdMaps) -> Result<Reserved> {
    let mut reserved = lock(&inner.id_blocks);
    let mut others: Vec<IdMaps> = inner
        .containers
        .all()
        .iter()
        .filter_map(|container| container.record().ids.clone())
        .collect();
    others.extend(reserved.iter().cloned());
    let free = all.free(&others);
    let ids = free.ok_or_else(|| {
        Error::invalid(format!(
            "no {BLOCK} subordinate ids are left for userns mode \"auto\": extend the ranges in \
             /etc/subuid and /etc/subgid"
        ))
    })?;
    reserved.push(ids.clone());
    Ok(Reserved {
        inner: Arc::clone(inner),
        ids,
    })
}

fn subordinate(remap: Option<&Remap>) -> Result<IdMaps> {
    if let Some(remap) = remap {
        return Ok(remap.ids.clone());
    }
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    IdMaps::of_user(
        DEFAULT_USER,
        None,
        &read("/etc/subuid"),
        &read("/etc/subgid"),
    )
    .map_err(|error| Error::invalid(format!("error creating ID mappings: {error}")))
}

/// What a user namespace does not go together with.
fn conflicts(host: &HostConfig) -> Result<()> {
    let text = if host.privileged {
        "privileged mode is incompatible with user namespaces.  You must run the container in the \
         host namespace when running privileged mode"
    } else if host.network_mode == "host" {
        "cannot share the host's network namespace when user namespaces are enabled"
    } else if host.pid_mode == "host" {
        "cannot share the host PID namespace when user namespaces are enabled"
    } else {
        return Ok(());
    };
    Err(Error::invalid(text))
}

/// That containers which share a namespace share the user namespace too: the kernel asks for it.
///
/// # Errors
/// Conflict, where their ids are mapped otherwise.
pub(crate) fn same(record: &Record, other: &Record) -> Result<()> {
    if record.ids.is_none() || record.ids == other.ids {
        return Ok(());
    }
    Err(Error::conflict(format!(
        "cannot join a namespace of container {}: its user namespace has other ids",
        other.name
    )))
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, IdMaps};

    const TEXT: &str = "root:1:2\ndockremap:100000:65536\n0:5:5\ndockremap:200000:1000\nbad\n";

    #[test]
    fn ranges_follow_one_another() {
        let ids = IdMaps::of_user("dockremap", None, TEXT, TEXT).expect("ranges");
        assert_eq!(ids.root(), (100_000, 100_000));
        assert_eq!(ids.to_host(65_535, 65_536), Some((165_535, 200_000)));
        assert_eq!(ids.to_host(66_536, 0), None);
        assert_eq!(ids.to_container(200_999, 0), (66_535, 65_534));
        let error = IdMaps::of_user("nobody", None, TEXT, TEXT).expect_err("none");
        assert_eq!(error, "no subuid ranges found for user \"nobody\"");
        let by_number = IdMaps::of_user("x", Some(0), TEXT, TEXT).expect("by number");
        assert_eq!(by_number.root(), (5, 5));
    }

    #[test]
    fn blocks_do_not_overlap_and_end() {
        let text = "dockremap:100000:131072\n";
        let ids = IdMaps::of_user("dockremap", None, text, text).expect("ranges");
        let (a, b) = (ids.block(0).expect("first"), ids.block(1).expect("second"));
        assert_eq!(b.root().0, 100_000 + BLOCK);
        assert!(!a.overlaps(&b) && a.overlaps(&a) && ids.overlaps(&b));
        assert!(ids.block(2).is_none());
        assert_eq!(ids.free(std::slice::from_ref(&a)), Some(b.clone()));
        assert_eq!(ids.free(&[a, b]), None);
    }

    #[test]
    fn blocks_are_found_behind_where_two_ranges_meet() {
        let text = "dockremap:100000:1000\ndockremap:300000:200000\n";
        let ids = IdMaps::of_user("dockremap", None, text, text).expect("ranges");
        let free = ids.free(&[]).expect("one");
        assert_eq!(free.root().0, 300_000 + BLOCK - 1000);
    }
}
