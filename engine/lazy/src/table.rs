//! All layers of the supplier, and who is told what happens to them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fuse::{File, Files, Reply};
use registry::{Client, Credentials};
use rustix::io::Errno;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use crate::layer::{Layer, Shared};
use crate::pieces::{self, Pieces, Trouble};
use crate::protocol::{News, Settings};

/// News that may wait for a slow daemon: it is told all that counts when it asks again.
const QUEUE: usize = 256;
/// Silence after which a registry has stalled: somebody's read waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most tries of a question that a busy registry did not answer: the first of several tries.
const ATTEMPTS: u32 = 2;
/// Pauses of the background after failures: doubled up to the latter.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What the supplier has.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) client: Client,
    runtime: Handle,
    layers: Mutex<HashMap<String, Shared>>,
    /// Those that are open but forgotten, too.
    numbers: Mutex<HashMap<u64, Shared>>,
    next: AtomicU64,
    pieces: Arc<Pieces>,
    settings: Mutex<(Settings, Arc<Semaphore>)>,
    /// How many reads wait for bytes: the background makes way.
    demand: watch::Sender<usize>,
    watchers: Mutex<Vec<SyncSender<News>>>,
    watching: AtomicUsize,
    /// Somebody watched once: it may end when nobody does any more.
    begun: AtomicBool,
}

impl Table {
    pub(crate) fn new(settings: &Settings, runtime: Handle) -> Arc<Self> {
        Arc::new(Self {
            client: Client::new(hurried(settings)),
            runtime,
            layers: Mutex::default(),
            numbers: Mutex::default(),
            next: AtomicU64::new(2),
            pieces: Arc::default(),
            settings: Mutex::new((settings.clone(), slots(settings))),
            demand: watch::Sender::new(0),
            watchers: Mutex::default(),
            watching: AtomicUsize::new(0),
            begun: AtomicBool::new(false),
        })
    }

    fn layers(&self) -> MutexGuard<'_, HashMap<String, Shared>> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn numbers(&self) -> MutexGuard<'_, HashMap<u64, Shared>> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes settings, for what is asked for from now on.
    pub(crate) fn configure(&self, new: &Settings) {
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        if settings.0 == *new {
            return;
        }
        *settings = (new.clone(), slots(new));
        drop(settings);
        self.client.configure(hurried(new));
        for layer in self.numbers().values() {
            layer.reconnect();
        }
    }

    fn slots(&self) -> Arc<Semaphore> {
        let settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&settings.1)
    }

    /// Supplies a layer, if it does not already.
    pub(crate) fn add(
        self: &Arc<Self>,
        chain: &str,
        dir: &Path,
        login: Option<Credentials>,
    ) -> Result<(), String> {
        let mut layers = self.layers();
        if let Some(known) = layers.get(chain)
            && known.is_in(dir)
        {
            if let Some(login) = login {
                known.set_login(login);
            }
            return Ok(());
        }
        // Removed, and perhaps pulled again; nobody told of the former.
        if let Some(former) = layers.remove(chain) {
            self.let_go(&former);
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let layer = Layer::open(chain, dir, number, login.unwrap_or_default())?;
        let layer = Arc::new(layer);
        layers.insert(chain.to_owned(), Arc::clone(&layer));
        self.numbers().insert(number, Arc::clone(&layer));
        drop(layers);
        self.begin(layer, Duration::ZERO);
        Ok(())
    }

    /// Nobody will ask for a layer again.
    pub(crate) fn forget(&self, chain: &str) {
        let Some(layer) = self.layers().remove(chain) else {
            return;
        };
        self.let_go(&layer);
        self.end_if_idle();
    }

    fn let_go(&self, layer: &Shared) {
        // Under the lock under which it is opened and released.
        let mut numbers = self.numbers();
        layer.set_forgotten();
        if layer.open.load(Ordering::Acquire) == 0 {
            numbers.remove(&layer.number);
        }
    }

    /// Fetches again what of a layer is not known to be right.
    pub(crate) fn refetch(self: &Arc<Self>, chain: &str) {
        let Some(layer) = self.layers().get(chain).cloned() else {
            return;
        };
        let table = Arc::clone(self);
        self.runtime.spawn_blocking(move || {
            drop_wrong(&layer);
            table.begin(layer, LONGEST_PAUSE / 4);
        });
    }

    fn begin(self: &Arc<Self>, layer: Shared, pause: Duration) {
        let table = Arc::clone(self);
        self.runtime.spawn(async move {
            layer.pause(pause).await;
            table.background(&layer).await;
        });
    }

    /// Fetches all of a layer, again and again.
    async fn background(&self, layer: &Shared) {
        let mut pause = FIRST_PAUSE;
        let mut at = 0;
        while !layer.is_whole() {
            let Ok(slot) = self.slots().acquire_owned().await else {
                return;
            };
            let mut demand = self.demand.subscribe();
            let _ = demand.wait_for(|waiting| *waiting == 0).await;
            // What is still read by somebody is fetched when it is read.
            if layer.is_forgotten() {
                return;
            }
            let fetched = layer.fetch_next(&self.client, at).await;
            drop(slot);
            let Some((end, fetched)) = fetched else {
                layer.wait_for_others().await;
                continue;
            };
            // After a failure too: what is behind it may be there to be had.
            at = end;
            match fetched {
                Ok(()) => pause = FIRST_PAUSE,
                Err(text) => {
                    let corrupt = false;
                    self.complain(layer, Trouble { corrupt, text });
                    let busy = layer.busy().unwrap_or_default().min(LONGEST_PAUSE * 5);
                    layer.pause(pause.max(busy)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
        self.tell(&News::Whole {
            chain: layer.chain.clone(),
        });
    }

    fn complain(&self, layer: &Shared, trouble: Trouble) {
        tracing::warn!(chain = %layer.chain, err = %trouble.text, "supplying a layer");
        if layer.may_complain() {
            self.tell(&News::Trouble {
                chain: layer.chain.clone(),
                corrupt: trouble.corrupt,
                text: trouble.text,
            });
        }
    }

    fn tell(&self, news: &News) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|watcher| watcher.try_send(news.clone()).is_ok());
    }

    /// What is whole already, and news from now on.
    pub(crate) fn watch(&self) -> (Vec<News>, Receiver<News>) {
        let (sender, receiver) = sync_channel(QUEUE);
        self.watching.fetch_add(1, Ordering::AcqRel);
        self.begun.store(true, Ordering::Release);
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.push(sender);
        drop(watchers);
        let layers = self.layers();
        let whole = layers.values().filter(|layer| layer.is_whole());
        let told = whole.map(|layer| News::Whole {
            chain: layer.chain.clone(),
        });
        (told.collect(), receiver)
    }

    /// Ends what waits for news; whoever is still there asks again.
    pub(crate) fn close_watchers(&self) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.clear();
    }

    /// No daemon came: it must have died.
    pub(crate) fn begin_anyway(&self) {
        self.begun.store(true, Ordering::Release);
        self.end_if_idle();
    }

    /// A watcher has gone.
    pub(crate) fn unwatch(&self) {
        self.watching.fetch_sub(1, Ordering::AcqRel);
        self.end_if_idle();
    }

    /// Ends the process when nothing needs it.
    pub(crate) fn end_if_idle(&self) {
        let numbers = self.numbers();
        let open = |layer: &Shared| layer.open.load(Ordering::Acquire) > 0;
        let idle = match self.watching.load(Ordering::Acquire) {
            0 => !numbers.values().any(open),
            _ => numbers.is_empty(),
        };
        if idle && self.begun.load(Ordering::Acquire) {
            tracing::info!("nothing is left to supply");
            sys::process::exit_now(0);
        }
    }
}

/// Settings under which nobody who reads waits for long.
fn hurried(settings: &Settings) -> registry::Config {
    registry::Config {
        stall: PATIENCE,
        patience: PATIENCE,
        longest_wait: PATIENCE,
        attempts: settings.registries.attempts.min(ATTEMPTS),
        ..settings.registries.clone()
    }
}

fn slots(settings: &Settings) -> Arc<Semaphore> {
    let slots = settings.slots.clamp(1, Semaphore::MAX_PERMITS);
    Arc::new(Semaphore::new(slots))
}

/// Lets go of every block that no right piece vouches for.
fn drop_wrong(layer: &Shared) {
    for piece in &layer.map.pieces {
        let zeros = piece.coding == seekable::Coding::Zeros;
        if !zeros && pieces::decode(layer, piece).is_err() {
            layer.drop_here(&piece.blob);
        }
    }
    // What is between and behind the pieces has no digest of its own. A block that has both is
    // fetched again: which of them was wrong cannot be told.
    let mut covered: Vec<_> = layer
        .map
        .pieces
        .iter()
        .map(|piece| piece.blob.clone())
        .collect();
    covered.sort_by_key(|range| range.start);
    let mut end = 0;
    for range in covered {
        if range.start > end {
            layer.drop_here(&(end..range.start));
        }
        end = end.max(range.end);
    }
    layer.drop_here(&(end..layer.source.size));
}

/// The table as the kernel sees it.
#[derive(Debug)]
pub(crate) struct Served(pub(crate) Arc<Table>);

impl Files for Served {
    fn by_name(&self, name: &[u8]) -> Option<File> {
        let name = std::str::from_utf8(name).ok()?;
        self.0.layers().get(name).map(file)
    }

    fn by_number(&self, number: u64) -> Option<File> {
        self.0.numbers().get(&number).map(file)
    }

    fn opened(&self, number: u64) {
        if let Some(layer) = self.0.numbers().get(&number) {
            layer.open.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn released(&self, number: u64) {
        let mut numbers = self.0.numbers();
        if let Some(layer) = numbers.get(&number)
            && layer.open.fetch_sub(1, Ordering::AcqRel) == 1
            && layer.is_forgotten()
        {
            numbers.remove(&number);
        }
        drop(numbers);
        self.0.end_if_idle();
    }

    fn read(&self, number: u64, offset: u64, size: u32, reply: Reply) {
        let Some(layer) = self.0.numbers().get(&number).cloned() else {
            return reply.error(Errno::STALE);
        };
        let (client, pieces) = (self.0.client.clone(), Arc::clone(&self.0.pieces));
        let waiting = Waiting::new(self.0.demand.clone());
        let table = Arc::clone(&self.0);
        // As many as the kernel has under way.
        self.0.runtime.spawn(async move {
            let range = offset..offset + u64::from(size);
            let read = pieces.read(&client, &layer, range).await;
            drop(waiting);
            match read {
                Ok(bytes) => reply.bytes(&bytes),
                Err(trouble) => {
                    reply.error(Errno::IO);
                    table.complain(&layer, trouble);
                }
            }
        });
    }
}

fn file(layer: &Shared) -> File {
    File {
        number: layer.number,
        size: layer.map.length,
    }
}

/// A read under way.
struct Waiting(watch::Sender<usize>);

impl Waiting {
    fn new(demand: watch::Sender<usize>) -> Self {
        demand.send_modify(|waiting| *waiting += 1);
        Self(demand)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn settings_count_from_now_on() {
        let mut settings = Settings {
            registries: registry::Config::default(),
            slots: 1,
        };
        let table = Table::new(&settings, Handle::current());
        assert_eq!(table.slots().available_permits(), 1);
        settings.registries.insecure.push("a.lan".into());
        settings.slots = 3;
        table.configure(&settings);
        let config = table.client.config();
        assert_eq!(
            (config.insecure.as_slice(), config.stall),
            (["a.lan".to_owned()].as_slice(), PATIENCE)
        );
        assert_eq!(table.slots().available_permits(), 3);
        // The same again lets those be that are at work.
        let slot = table.slots().try_acquire_owned();
        table.configure(&settings);
        assert_eq!(table.slots().available_permits(), 2);
        drop(slot);
    }
}
