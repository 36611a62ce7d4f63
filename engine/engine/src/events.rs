//! Events: what clients of `GET /events` see, live and from the recent past.
//!
//! Events are written by the state database in the transaction of the change they tell of; here
//! they are handed to listeners after that commit. A listener that does not keep up loses the
//! oldest of what it has not read, never blocks the engine.

use std::collections::VecDeque;
use std::sync::Mutex;

use dockerapi::{Actor, Event};
use tokio::sync::{broadcast, mpsc};

use crate::clock;
use crate::options::{EventsOptions, Filters};
use crate::record::Record;
use crate::{Error, Result};

/// Events that a slow listener may be behind.
const BACKLOG: usize = 4096;
/// Events remembered for `since`.
const REMEMBERED: usize = 1024;
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

/// The hub between the engine and its listeners.
#[derive(Debug)]
pub(crate) struct Events {
    live: broadcast::Sender<Event>,
    past: Mutex<VecDeque<Event>>,
}

impl Events {
    pub(crate) fn new(past: Vec<Event>) -> Self {
        Self {
            live: broadcast::channel(BACKLOG).0,
            past: Mutex::new(past.into()),
        }
    }

    /// Tells listeners. Call after the event is durable.
    pub(crate) fn publish(&self, event: Event) {
        let mut past = lock(&self.past);
        if past.len() >= REMEMBERED {
            past.pop_front();
        }
        past.push_back(event.clone());
        // No listener is no error. Sent under the lock so that `subscribe` misses none.
        let _ = self.live.send(event);
    }

    pub(crate) fn listeners(&self) -> usize {
        self.live.receiver_count()
    }

    /// The past since `since`, then live events until `until`.
    pub(crate) fn subscribe(&self, options: EventsOptions) -> Result<mpsc::Receiver<Event>> {
        options.filters.only(FILTERS)?;
        if let (Some(since), Some(until)) = (options.since, options.until)
            && since > until
        {
            return Err(Error::invalid("`since` time cannot be after `until` time"));
        }
        let (mut live, past) = {
            let past = lock(&self.past);
            let wanted = past.iter().filter(|event| match options.since {
                Some(since) => i128::from(event.time_nano) >= since,
                None => options.until.is_some(),
            });
            (self.live.subscribe(), wanted.cloned().collect::<Vec<_>>())
        };
        let (sender, receiver) = mpsc::channel(64);
        tokio::spawn(async move {
            let late = |event: &Event| {
                options
                    .until
                    .is_some_and(|until| i128::from(event.time_nano) > until)
            };
            for event in past {
                if !late(&event)
                    && matches(&event, &options.filters)
                    && sender.send(event).await.is_err()
                {
                    return;
                }
            }
            let end = async {
                match options.until.map(|until| until - i128::from(clock::now())) {
                    Some(left) if left <= 0 => {}
                    Some(left) => {
                        let left = u64::try_from(left).unwrap_or(u64::MAX);
                        tokio::time::sleep(std::time::Duration::from_nanos(left)).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::pin!(end);
            loop {
                tokio::select! {
                    () = &mut end => return,
                    () = sender.closed() => return,
                    event = live.recv() => match event {
                        Ok(event) if matches(&event, &options.filters) => {
                            if sender.send(event).await.is_err() {
                                return;
                            }
                        }
                        Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                        Err(broadcast::error::RecvError::Closed) => return,
                    },
                }
            }
        });
        Ok(receiver)
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

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
