//! Layers that are used before all of them has come: the supplier is kept running while there are
//! any, and what has come whole becomes an ordinary layer.
//!
//! ```text
//!  supervise (a thread): layers left? ─► add each ─► watch ─► Whole ─► ingest ─► settle
//!                          ▲                          └─ ended: mounts forgotten ─┐
//!                          └──────────────────────────────────────────────────────┘
//! ```
//!
//! Failure: a supplier that ends takes its devices along; containers that read through them get
//! errors until they are started again, new ones get a new supplier. A blob whose digest is wrong is
//! told, and what cannot be told to be right is fetched again. Nothing here is durable but what the
//! store has: after a crash the next open begins with the same layers.

use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use ::lazy::{BLOB, News, Settings, Source, Supplier};
use images::{Expected, Kind};

use crate::{Config, Error, Inner, Live, Result, events};

/// Before a supplier that ended is started again.
const PAUSE: Duration = Duration::from_secs(5);
/// Layers that wait to be stored; more are told again by the supplier.
const QUEUE: usize = 64;

/// The supplier and what wakes its supervisor.
#[derive(Debug)]
pub(crate) struct Lazy {
    pub(crate) supplier: Arc<Supplier>,
    wake: Arc<Wake>,
    possible: OnceLock<bool>,
}

#[derive(Debug, Default)]
struct Wake {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Lazy {
    pub(crate) fn of(config: &Config, live: &Live) -> Option<Self> {
        let program = config.supplier.clone()?;
        let registries =
            crate::registries::client_config(&live.registries, live.max_download_attempts.max(1));
        let settings = Settings {
            registries,
            slots: live.max_concurrent_downloads,
        };
        Some(Self {
            supplier: Arc::new(Supplier::new(&config.exec_root, program, settings)),
            wake: Arc::default(),
            possible: OnceLock::new(),
        })
    }

    /// Whether this machine can do it. Blocks.
    pub(crate) fn is_possible(&self) -> bool {
        *self.possible.get_or_init(|| match ::lazy::possible() {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "layers cannot be used before all of them has come");
                false
            }
        })
    }

    /// Has layers fetched as settings are now. Blocks.
    pub(crate) fn configure(&self, inner: &Inner) {
        self.supplier.configure(Settings {
            registries: registry::Config::clone(&inner.registries.client().config()),
            slots: inner.live().max_concurrent_downloads,
        });
    }

    /// There are more layers than before.
    pub(crate) fn wake(&self) {
        let mut asked = self
            .wake
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *asked = true;
        self.wake.changed.notify_all();
    }
}

impl Wake {
    /// Waits to be woken, or for a while.
    fn wait(&self, pause: Option<Duration>) {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut asked = match pause {
            None => {
                let until = self.changed.wait_while(asked, |asked| !*asked);
                until.unwrap_or_else(PoisonError::into_inner)
            }
            Some(pause) => {
                let until = self
                    .changed
                    .wait_timeout_while(asked, pause, |asked| !*asked);
                until.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        *asked = false;
    }
}

/// Begins to supervise.
pub(crate) fn begin(inner: &Arc<Inner>) -> Result<()> {
    let Some(lazy) = &inner.lazy else {
        return Ok(());
    };
    inner.images.set_devices(Arc::clone(&lazy.supplier) as _);
    let (supplier, wake) = (Arc::clone(&lazy.supplier), Arc::clone(&lazy.wake));
    let runtime = tokio::runtime::Handle::current();
    let weak = Arc::downgrade(inner);
    let (whole, wholes) = sync_channel::<String>(QUEUE);
    let failed = |error: std::io::Error| Error::system(format!("starting a thread: {error}"));
    let storing = Weak::clone(&weak);
    std::thread::Builder::new()
        .name("lazy-store".into())
        .spawn(move || {
            // Publishing an event may need it.
            let _runtime = runtime.enter();
            while let Ok(chain) = wholes.recv() {
                let Some(inner) = storing.upgrade() else {
                    return;
                };
                store(&inner, &chain);
            }
        })
        .map_err(failed)?;
    std::thread::Builder::new()
        .name("lazy".into())
        .spawn(move || supervise(&weak, &supplier, &wake, &whole))
        .map_err(failed)?;
    Ok(())
}

fn supervise(weak: &Weak<Inner>, supplier: &Supplier, wake: &Wake, whole: &SyncSender<String>) {
    loop {
        let Some(inner) = weak.upgrade() else {
            return;
        };
        let images = inner.images.clone();
        let chains = images.lazy_chains();
        if chains.is_empty() && !supplier.is_running() {
            drop(inner);
            wake.wait(None);
            continue;
        }
        if let Some(lazy) = &inner.lazy {
            lazy.configure(&inner);
        }
        drop(inner);
        let mut added = chains.is_empty();
        for chain in chains {
            let Some(dir) = images.lazy(&chain) else {
                continue;
            };
            match supplier.add(&chain, &dir, None) {
                Ok(_) => added = true,
                Err(error) => tracing::warn!(%chain, %error, "supplying a layer"),
            }
        }
        let watched = supplier.watch(|news| tell(weak, news, whole));
        // Its devices went with it.
        images.devices_died();
        if watched.is_err() || !added || !images.lazy_chains().is_empty() {
            tracing::warn!(
                "the supplier of layers ended; containers that read through it get errors"
            );
            wake.wait(Some(PAUSE));
        }
    }
}

fn tell(weak: &Weak<Inner>, news: News, whole: &SyncSender<String>) {
    match news {
        News::Whole { chain } => {
            // What waits too long is told again to the next watch.
            let _ = whole.send(chain);
        }
        News::Trouble {
            chain,
            corrupt,
            text,
        } => {
            if corrupt {
                tracing::error!(%chain, err = %text, "the registry sent wrong bytes of a layer");
            } else {
                tracing::warn!(%chain, err = %text, "a layer's bytes do not come");
            }
            if let Some(inner) = weak.upgrade() {
                let action = if corrupt {
                    "lazy-corrupt"
                } else {
                    "lazy-stall"
                };
                publish(&inner, &chain, action, text);
            }
        }
    }
}

/// One event for each image that has the layer.
fn publish(inner: &Inner, chain: &str, action: &str, text: String) {
    for image in inner.images.every() {
        if !inner.images.has_layer(&image, chain) {
            continue;
        }
        let mut attributes = image.config.config.labels.clone();
        let name = image.tags.first().map(oci::Reference::familiar);
        attributes.insert("name".into(), name.unwrap_or_else(|| image.id.to_string()));
        attributes.insert("error".into(), text.clone());
        inner
            .events
            .publish(events::make("image", action, image.id.as_str(), attributes));
    }
}

/// Makes an ordinary layer of one that has come whole.
fn store(inner: &Arc<Inner>, chain: &str) {
    // Before it is looked for: an image that is removed meanwhile takes it along at the end.
    let _lease = inner.images.lease(vec![chain.to_owned()]);
    let Some(dir) = inner.images.lazy(chain) else {
        // It was removed, or stored before.
        inner.images.settle(chain);
        return;
    };
    let stored = ingest(inner, dir);
    match stored {
        Ok(()) => {
            tracing::info!(%chain, "a layer has come whole");
            if !inner.images.kept_its_word(chain) {
                let text = "its files are not those that its table of contents told of";
                tracing::error!(%chain, "a layer has come whole, but {text}");
                publish(inner, chain, "lazy-corrupt", text.to_owned());
            }
            inner.images.settle(chain);
        }
        // The disk: the supplier tells of it again after a while.
        Err(error) if error.kind() == Kind::System => {
            tracing::warn!(%chain, %error, "storing a layer that has come");
            refetch(inner, chain);
        }
        Err(error) => {
            tracing::error!(%chain, %error, "a layer that has come is not what it should be");
            publish(inner, chain, "lazy-corrupt", error.to_string());
            refetch(inner, chain);
        }
    }
}

fn refetch(inner: &Inner, chain: &str) {
    if let Some(lazy) = &inner.lazy {
        lazy.supplier.refetch(chain);
    }
}

fn ingest(inner: &Inner, dir: PathBuf) -> std::result::Result<(), images::Error> {
    let source = Source::read(&dir).map_err(images::Error::Corrupt)?;
    let path = dir.join(BLOB);
    let blob = std::fs::File::open(&path).map_err(|source| images::Error::Io {
        action: "opening",
        path,
        source,
    })?;
    let expected = Expected {
        stream: Some((source.blob, source.size)),
        diff_id: Some(source.diff_id),
        below: source.below,
    };
    inner.images.ingest_layer(blob, &expected).map(|_| ())
}

/// Refuses what needs an image's layers as they are in a registry, while they are still coming.
pub(crate) fn check_whole(inner: &Inner, image: &images::Image) -> Result<()> {
    match inner.images.unfinished(image).len() {
        0 => Ok(()),
        layers => Err(Error::conflict(format!(
            "image {} has not come whole yet ({layers} of its layers are still being fetched): try \
             again later",
            image
                .tags
                .first()
                .map_or(image.id.to_string(), oci::Reference::familiar)
        ))),
    }
}
