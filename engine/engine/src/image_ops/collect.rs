//! What keeps the image store small and sound: collection of images by watermarks, removal with
//! undo, scrubbing.
//!
//! Collection begins when the disk is fuller than the high mark and goes on until it is below the low
//! one: first what is only kept (removed images, layers that no image came to have), then images that
//! no container uses, the one that was not used for the longest time first. `plan` decides and does
//! nothing; a dry run is its answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use images::Image;

use super::blocking;
use super::remove::{remove, users};
use crate::options::ImageRemoveOptions;
use crate::{Engine, Error, Inner, Result, clock, events};

/// Between two looks at the disk.
const INTERVAL: Duration = Duration::from_mins(1);

/// When images are collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// Percent of the disk in use at which collection begins.
    pub high: u8,
    /// Percent below which it ends.
    pub low: u8,
}

/// What a collection did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collection {
    /// Bytes of the disk.
    pub disk: u64,
    /// Bytes of it that are free, before.
    pub free: u64,
    /// Bytes that are to be freed; 0 when the disk is below the high mark.
    pub wanted: u64,
    /// Removed images that go for good.
    pub removed: Vec<String>,
    /// Images that go, with a name of each.
    pub images: Vec<(String, String)>,
    /// Bytes that this frees.
    pub freed: u64,
}

/// An image as the plan sees it.
#[derive(Debug, Clone)]
struct Candidate {
    id: String,
    name: String,
    used: i64,
    /// Chains and sizes of its layers.
    layers: Vec<(String, u64)>,
    /// A container has it.
    needed: bool,
}

impl Engine {
    /// Collects images as the watermarks say; `marks` in place of the settings'. With `dry` it is
    /// only told what would go.
    ///
    /// # Errors
    /// Invalid parameter without watermarks; the store's.
    pub async fn image_collect(&self, marks: Option<Watermarks>, dry: bool) -> Result<Collection> {
        let marks = marks.or(self.0.config.image_gc).ok_or_else(|| {
            Error::invalid(
                "no watermarks: set image-gc-high and image-gc-low, or give high and low",
            )
        })?;
        let inner = Arc::clone(&self.0);
        blocking(move || collect(&inner, marks, dry)).await
    }

    /// Images that were removed and can be had back.
    pub fn images_removed(&self) -> Vec<images::RemovedImage> {
        self.0.images.removed()
    }

    /// Takes a removed image back. Answers its ID and the names it has again.
    ///
    /// # Errors
    /// Not found, ambiguous.
    pub async fn image_restore(&self, name: &str) -> Result<(String, Vec<String>)> {
        let (inner, name) = (Arc::clone(&self.0), name.to_owned());
        blocking(move || {
            let (image, names) = inner.images.restore(&name)?;
            super::tell(&inner, &image, "restore", image.id.as_str());
            if let Some(lazy) = &inner.lazy {
                lazy.wake();
            }
            let names = names.iter().map(oci::Reference::familiar).collect();
            Ok((image.id.to_string(), names))
        })
        .await
    }

    /// Reads the whole store again and compares it with its digests.
    ///
    /// # Errors
    /// Conflict while another one does; when what was found cannot be written down.
    pub async fn image_scrub(&self) -> Result<images::Scrubbed> {
        // It reads as fast as the disk can: a second one would only make both slower.
        let turn = Arc::clone(&self.0.scrubbing).try_lock_owned();
        let turn = turn.map_err(|_| Error::conflict("a scrub is already running"))?;
        let inner = Arc::clone(&self.0);
        blocking(move || {
            // Also when nobody waits for it any more.
            let _turn = turn;
            Ok(inner.images.scrub()?)
        })
        .await
    }
}

/// Looks at the disk from time to time, and lets go of what is kept long enough.
pub(crate) async fn keep_small(inner: Weak<Inner>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        let done = blocking(move || {
            inner.images.expire(false)?;
            match inner.config.image_gc {
                Some(marks) => collect(&inner, marks, false).map(drop),
                None => Ok(()),
            }
        });
        if let Err(error) = done.await {
            tracing::warn!(%error, "collecting images");
        }
    }
}

fn collect(inner: &Inner, marks: Watermarks, dry: bool) -> Result<Collection> {
    let (disk, free) = inner.images.disk()?;
    let mut done = Collection {
        disk,
        free,
        wanted: wanted(marks, disk, free),
        ..Collection::default()
    };
    if done.wanted == 0 {
        return Ok(done);
    }
    let kept = inner.images.removed();
    done.freed = inner.images.kept_bytes();
    done.removed = kept.iter().map(|removed| removed.id.to_string()).collect();
    if !dry {
        done.freed = inner.images.expire(true)?.bytes;
    }
    let images = inner.images.list()?;
    let candidates = images.iter().map(|image| Candidate {
        id: image.id.to_string(),
        name: shown(image),
        used: inner.images.last_used(&image.id),
        layers: crate::disk_usage::layers(inner, image)
            .into_iter()
            .collect(),
        needed: !users(inner, image).is_empty(),
    });
    let plan = plan(candidates.collect(), done.wanted.saturating_sub(done.freed));
    for (candidate, bytes) in plan {
        if !dry {
            let options = ImageRemoveOptions {
                force: true,
                ..ImageRemoveOptions::default()
            };
            // A container may have come meanwhile: then it stays.
            if let Err(error) = remove(inner, &candidate.id, &options) {
                tracing::debug!(image = candidate.name, err = %error, "not collected");
                continue;
            }
        }
        done.freed += bytes;
        done.images.push((candidate.id, candidate.name));
    }
    if !dry {
        // What it removed is not to be kept: the disk is what this is about.
        inner.images.expire(true)?;
        let attributes = [("reclaimed".to_owned(), done.freed.to_string())].into();
        let event = events::make("image", "prune", "", attributes);
        inner.events.publish(event);
    }
    Ok(done)
}

/// Bytes to be freed.
fn wanted(marks: Watermarks, disk: u64, free: u64) -> u64 {
    let part = |percent: u8| disk / 100 * u64::from(percent.min(100));
    let used = disk.saturating_sub(free);
    match used > part(marks.high) {
        true => used.saturating_sub(part(marks.low)),
        false => 0,
    }
}

/// Which images are to go so that so many bytes are freed, and what each frees once those before it
/// went.
fn plan(mut candidates: Vec<Candidate>, wanted: u64) -> Vec<(Candidate, u64)> {
    let mut users: BTreeMap<String, usize> = BTreeMap::new();
    for (chain, _) in candidates.iter().flat_map(|candidate| &candidate.layers) {
        *users.entry(chain.clone()).or_default() += 1;
    }
    candidates.retain(|candidate| !candidate.needed);
    candidates.sort_by(|a, b| (a.used, &a.id).cmp(&(b.used, &b.id)));
    let mut chosen = Vec::new();
    let mut freed = 0;
    for candidate in candidates {
        if freed >= wanted {
            break;
        }
        let mut bytes = 0;
        for (chain, size) in &candidate.layers {
            if let Some(count) = users.get_mut(chain) {
                *count -= 1;
                if *count == 0 {
                    bytes += size;
                }
            }
        }
        freed += bytes;
        chosen.push((candidate, bytes));
    }
    chosen
}

fn shown(image: &Image) -> String {
    let name = image.tags.iter().chain(&image.digests).next();
    name.map_or_else(String::new, oci::Reference::familiar)
}

/// When an image was removed, for clients.
pub fn removed_at(removed: &images::RemovedImage) -> String {
    clock::rfc3339(removed.removed)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Candidate, Watermarks, plan, wanted};
    use crate::{Config, Engine, ErrorKind};

    #[tokio::test]
    async fn one_scrub_at_a_time() {
        let dir = tempfile::tempdir().expect("temp dir");
        let config = Config {
            data_root: dir.path().join("data"),
            exec_root: dir.path().join("run"),
            bridge: None,
            ..Config::default()
        };
        let compute = Arc::new(compute_sim::Sim::default());
        let engine = Engine::open(config, crate::Live::default(), compute)
            .await
            .expect("engine");
        let turn = Arc::clone(&engine.0.scrubbing).try_lock_owned();
        let refused = engine.image_scrub().await.expect_err("a second one");
        assert_eq!(refused.kind, ErrorKind::Conflict);
        drop(turn);
        engine.image_scrub().await.expect("the first one");
    }

    fn candidate(id: &str, used: i64, layers: &[(&str, u64)], needed: bool) -> Candidate {
        Candidate {
            id: id.into(),
            name: String::new(),
            used,
            layers: layers.iter().map(|(c, s)| ((*c).to_owned(), *s)).collect(),
            needed,
        }
    }

    #[test]
    fn the_longest_unused_goes_first_and_only_what_it_alone_has_counts() {
        let all = vec![
            candidate("new", 9, &[("base", 100), ("new", 5)], false),
            candidate("old", 1, &[("base", 100), ("old", 7)], false),
            candidate("used", 0, &[("used", 50)], true),
            candidate("middle", 5, &[("middle", 20)], false),
        ];
        let ids = |wanted| -> Vec<(String, u64)> {
            let plan = plan(all.clone(), wanted);
            plan.into_iter().map(|(c, bytes)| (c.id, bytes)).collect()
        };
        assert_eq!(ids(0), []);
        assert_eq!(ids(7), [("old".to_owned(), 7)]);
        assert_eq!(ids(8), [("old".to_owned(), 7), ("middle".to_owned(), 20)]);
        // The base goes with the last image that has it.
        assert_eq!(ids(28)[2], ("new".to_owned(), 105));
        assert_eq!(ids(10_000).len(), 3, "what a container has stays");
    }

    #[test]
    fn between_the_marks_nothing_begins() {
        let marks = Watermarks { high: 90, low: 70 };
        assert_eq!(wanted(marks, 1000, 500), 0);
        assert_eq!(wanted(marks, 1000, 100), 0);
        assert_eq!(wanted(marks, 1000, 99), 201);
        assert_eq!(wanted(marks, 0, 0), 0);
    }
}
