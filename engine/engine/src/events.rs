//! Events: what clients of `GET /events` see, live and from the past.
//!
//! All events go through the log of the state database, those of a change in its transaction.
//! Listeners read the log from where they are: one that does not keep up reads on from the disk, and
//! loses nothing as long as the log keeps what it has not read. Time and order of an event are the
//! log's stamp.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use dockerapi::{Actor, Event};
use state::{Entry, State};
use tokio::sync::{mpsc, watch};

use crate::clock;
use crate::options::{EventsOptions, Filters};
use crate::record::Record;
use crate::{Error, Lines, Result};

/// Events that are read from the log at once.
const PAGE: usize = 256;
const FILTERS: &[&str] = &[
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// Between the engine and its listeners.
#[derive(Debug)]
pub(crate) struct Events {
    state: Arc<State>,
    listeners: Arc<AtomicUsize>,
}

impl Events {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self {
            state,
            listeners: Arc::default(),
        }
    }

    /// Tells an event that is not part of a change.
    pub(crate) fn publish(&self, event: Event) {
        self.state.tell(&event);
    }

    pub(crate) fn listeners(&self) -> usize {
        self.listeners.load(Ordering::Relaxed)
    }

    /// Events since the opening.
    pub(crate) fn told(&self) -> u64 {
        self.state.log().told()
    }

    /// The past since `since`, then live events until `until`. What was told before this was called
    /// is past.
    pub(crate) async fn subscribe(&self, options: EventsOptions) -> Result<Lines<Result<Event>>> {
        options.filters.only(FILTERS)?;
        if let (Some(since), Some(until)) = (options.since, options.until)
            && since > until
        {
            return Err(Error::invalid("`since` time cannot be after `until` time"));
        }
        settled(&self.state).await;
        let log = self.state.log();
        let news = log.watch();
        let stamp = |time: i128| i64::try_from(time).unwrap_or(if time < 0 { 0 } else { i64::MAX });
        let after = match (options.since, options.until) {
            (Some(since), _) => stamp(since).saturating_sub(1).max(log.dropped()),
            (None, Some(_)) => log.dropped(),
            (None, None) => log.newest(),
        };
        let (sender, receiver) = mpsc::channel(64);
        let reader = Reader {
            state: Arc::downgrade(&self.state),
            after,
            until: options.until.map(stamp),
            filters: options.filters,
            sender,
            _counted: Counted::new(&self.listeners),
        };
        tokio::spawn(reader.run(news));
        Ok(receiver)
    }
}

/// One listener's place in the log.
struct Reader {
    /// The engine may be let go of while somebody listens.
    state: Weak<State>,
    /// Stamp of the last entry that was read.
    after: i64,
    until: Option<i64>,
    filters: Filters,
    sender: mpsc::Sender<Result<Event>>,
    _counted: Counted,
}

impl Reader {
    async fn run(mut self, mut news: watch::Receiver<i64>) {
        let end = until(self.until);
        tokio::pin!(end);
        let mut is_past = false;
        loop {
            news.borrow_and_update();
            let page = match self.page().await {
                Ok(Some(page)) => page,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "a listener of events is cut off");
                    let _ = self.sender.send(Err(error)).await;
                    return;
                }
            };
            if page.is_empty() {
                if is_past {
                    return;
                }
                tokio::select! {
                    () = &mut end => {
                        // Nothing earlier comes after this.
                        let Some(state) = self.state.upgrade() else { return };
                        settled(&state).await;
                        is_past = true;
                    }
                    () = self.sender.closed() => return,
                    changed = news.changed() => if changed.is_err() { return },
                }
            }
            for entry in page {
                if self.until.is_some_and(|until| entry.stamp > until) {
                    return;
                }
                self.after = entry.stamp;
                if let Some(event) = read(&entry)
                    && matches(&event, &self.filters)
                    && self.sender.send(Ok(event)).await.is_err()
                {
                    return;
                }
            }
        }
    }

    /// What follows; `None` when the engine has gone.
    async fn page(&self) -> Result<Option<Vec<Entry>>> {
        let Some(state) = self.state.upgrade() else {
            return Ok(None);
        };
        let log = state.log();
        if let Some(page) = log.recent(self.after, PAGE) {
            return Ok(Some(page));
        }
        let (log, after) = (Arc::clone(log), self.after);
        let page = tokio::task::spawn_blocking(move || log.stored(after, PAGE)).await;
        match page {
            Ok(page) => page
                .map(Some)
                .map_err(|error| Error::system(error.to_string())),
            Err(_) => Ok(None),
        }
    }
}

/// Returns when all that was told before can be read: what a change tells is held back until readers
/// of containers can see it, and what came after that with it.
async fn settled(state: &State) {
    state.flush().await;
    let log = state.log();
    let last = log.written();
    let mut news = log.watch();
    while log.newest() < last && news.changed().await.is_ok() {}
}

/// A listener, as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns when a time has come; never without one.
async fn until(time: Option<i64>) {
    let Some(time) = time else {
        return std::future::pending().await;
    };
    // The timer does not know of a clock that was set back meanwhile.
    while let Ok(left @ 1..) = u64::try_from(time.saturating_sub(clock::now())) {
        tokio::time::sleep(std::time::Duration::from_nanos(left)).await;
    }
}

/// An entry as an event: its time is the log's.
fn read(entry: &Entry) -> Option<Event> {
    match serde_json::from_slice::<Event>(&entry.event) {
        Ok(mut event) => {
            event.time_nano = entry.stamp;
            event.time = entry.stamp / 1_000_000_000;
            Some(event)
        }
        Err(error) => {
            tracing::error!(stamp = entry.stamp, %error, "an event of the log cannot be read");
            None
        }
    }
}

/// An event of a container: its labels, image and name, and `extra`.
pub(crate) fn container(record: &Record, action: &str, extra: &[(&str, String)]) -> Event {
    let mut attributes = record.config.labels.clone();
    attributes.insert("image".into(), record.config.image.clone());
    attributes.insert("name".into(), record.name.clone());
    attributes.extend(
        extra
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone())),
    );
    let mut event = make("container", action, &record.id, attributes);
    event.from.clone_from(&record.config.image);
    event
}

/// An event of anything: `kind` is its type.
pub(crate) fn make(
    kind: &str,
    action: &str,
    id: &str,
    attributes: dockerapi::Map<String>,
) -> Event {
    let now = clock::now();
    let legacy = matches!(kind, "container" | "image");
    Event {
        status: if legacy {
            action.to_owned()
        } else {
            String::new()
        },
        id: if legacy { id.to_owned() } else { String::new() },
        from: String::new(),
        kind: kind.to_owned(),
        action: action.to_owned(),
        actor: Actor {
            id: id.to_owned(),
            attributes,
        },
        scope: "local".into(),
        time: now / 1_000_000_000,
        time_nano: now,
    }
}

fn matches(event: &Event, filters: &Filters) -> bool {
    let attribute = |key: &str| event.actor.attributes.get(key).map_or("", String::as_str);
    let object = |kind: &str| {
        let wanted = filters.get(kind);
        wanted.is_empty()
            || (event.kind == kind
                && wanted.iter().any(|want| {
                    event.actor.id == *want
                        || attribute("name") == want
                        || (want.len() >= 12 && event.actor.id.starts_with(want.as_str()))
                }))
    };
    let image = filters.get("image");
    let image_matches = image.is_empty()
        || image.iter().any(|want| {
            let name = if event.kind == "image" {
                attribute("name")
            } else {
                attribute("image")
            };
            let bare = name.rsplit_once(':').map_or(name, |(bare, _)| bare);
            event.actor.id == *want || name == want || bare == want
        });
    let any = |key: &str, value: &str| {
        let wanted = filters.get(key);
        wanted.is_empty() || wanted.iter().any(|want| want == value)
    };
    let action = event.action.split(':').next().unwrap_or_default();
    let labels = filters
        .get("label")
        .iter()
        .all(|want| match want.split_once('=') {
            Some((key, value)) => event.actor.attributes.get(key).is_some_and(|v| v == value),
            None => event.actor.attributes.contains_key(want),
        });
    any("type", &event.kind)
        && any("scope", &event.scope)
        && (any("event", action) || any("event", &event.action))
        && ["container", "network", "volume", "plugin", "daemon"]
            .iter()
            .all(|kind| object(kind))
        && ["config", "node", "secret", "service"]
            .iter()
            .all(|kind| object(kind))
        && image_matches
        && labels
}
