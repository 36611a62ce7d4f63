//! `container ls`: filters and rows.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use dockerapi::{ContainerSummary, Port, SummaryHostConfig, SummaryNetworkSettings};

use crate::pattern::Patterns;
use crate::record::{Phase, Record};
use crate::{Engine, Error, Filters, Inner, ListOptions, Result, clock, inspect, links, ports};

const FILTERS: &[&str] = &[
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

impl Engine {
    /// `GET /containers/json`, newest first.
    ///
    /// # Errors
    /// Invalid parameter for unknown filters and values; not found for `before` and `since`.
    pub async fn container_list(&self, options: ListOptions) -> Result<Rows> {
        let rows = self.list_containers(&options)?;
        // Sizes are measured by walking trees of files.
        if !options.size {
            return Ok(rows);
        }
        tokio::task::spawn_blocking(move || rows.measured())
            .await
            .map_err(|_| Error::system("interrupted"))
    }

    pub(crate) fn list_containers(&self, options: &ListOptions) -> Result<Rows> {
        let inner = &self.0;
        options.filters.only(FILTERS)?;
        let query = Query::parse(inner, options)?;
        let mut records: Vec<Arc<Record>> = inner
            .containers
            .all()
            .iter()
            .map(|container| container.record())
            .collect();
        let linked = links::names(&records);
        records.retain(|record| record.state.phase != Phase::Removed && query.takes(record));
        records.sort_by_key(|record| std::cmp::Reverse(record.created));
        if let Some(limit) = options.limit.filter(|limit| *limit > 0) {
            records.truncate(limit);
        }
        Ok(Rows {
            inner: Arc::clone(inner),
            records: records.into_iter(),
            sizes: Vec::new().into_iter(),
            linked,
            images: ShownImages::default(),
        })
    }
}

/// The rows of a list. Each is made when it is asked for: all at once are memory that the allocator
/// gets from the kernel, and gives back, for every list.
#[derive(Debug)]
pub struct Rows {
    inner: Arc<Inner>,
    records: std::vec::IntoIter<Arc<Record>>,
    /// Where they were asked for.
    sizes: std::vec::IntoIter<(i64, i64)>,
    /// More names, by ID.
    linked: HashMap<String, Vec<String>>,
    images: ShownImages,
}

impl Rows {
    /// With the sizes of all of them. Blocking.
    pub(crate) fn measured(mut self) -> Self {
        let records = self.records.as_slice().iter();
        let sizes: Vec<_> = records.map(|record| self.inner.sizes(record)).collect();
        self.sizes = sizes.into_iter();
        self
    }
}

impl Iterator for Rows {
    type Item = ContainerSummary;

    fn next(&mut self) -> Option<ContainerSummary> {
        let record = self.records.next()?;
        let image = self.images.of(&self.inner, &record);
        let mut row = summary(&record, image, self.sizes.next());
        let linked = self.linked.remove(&record.id);
        row.names.extend(linked.unwrap_or_default());
        Some(row)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.records.size_hint()
    }
}

/// What `GET /containers/json` asks for, checked.
struct Query<'a> {
    filters: &'a Filters,
    /// Stopped ones too.
    all: bool,
    ids: Patterns,
    names: Patterns,
    exited: Vec<i32>,
    /// Exclusive bounds of the creation time.
    after: Option<i64>,
    before: Option<i64>,
    ancestors: Vec<String>,
    ports: Vec<(&'static str, u16, bridge::Protocol)>,
}

impl<'a> Query<'a> {
    fn parse(inner: &Inner, options: &'a ListOptions) -> Result<Self> {
        const STATES: [&str; 7] = [
            "created",
            "running",
            "paused",
            "restarting",
            "removing",
            "exited",
            "dead",
        ];
        let filters = &options.filters;
        let invalid =
            |key: &str, value: &str| Error::invalid(format!("invalid filter '{key}={value}'"));
        if let Some(state) = filters
            .get("status")
            .iter()
            .find(|s| !STATES.contains(&s.as_str()))
        {
            return Err(Error::invalid(format!("invalid filter 'status={state}'")));
        }
        if let Some(health) = filters
            .get("health")
            .iter()
            .find(|h| !["none", "starting", "healthy", "unhealthy"].contains(&h.as_str()))
        {
            return Err(invalid("health", health));
        }
        let exited = filters
            .get("exited")
            .iter()
            .map(|code| code.parse().map_err(|_| invalid("exited", code)));
        let created = |key: &str| -> Result<Option<i64>> {
            let names = filters.get(key);
            names
                .first()
                .map(|name| Ok(inner.containers.find(name)?.record().created))
                .transpose()
        };
        let mut wanted_ports = Vec::new();
        for key in ["publish", "expose"] {
            for text in filters.get(key) {
                let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let (first, proto) = ports::parse(&format!("{first}/{protocol}"))?;
                let (last, _) = ports::parse(&format!("{last}/{protocol}"))?;
                wanted_ports.extend((first..=last).map(|port| (key, port, proto)));
            }
        }
        let ancestors = filters.get("ancestor").iter().map(|name| {
            inner
                .images
                .resolve(name)
                .map_or_else(|_| name.clone(), |image| image.id.to_string())
        });
        Ok(Self {
            filters,
            all: options.all
                || options.limit.is_some()
                || filters.has("status")
                || filters.has("exited"),
            ids: Patterns::new(filters.get("id")),
            names: Patterns::new(filters.get("name")),
            exited: exited.collect::<Result<_>>()?,
            after: created("since")?,
            before: created("before")?,
            ancestors: ancestors.collect(),
            ports: wanted_ports,
        })
    }

    fn takes(&self, record: &Record) -> bool {
        let filters = self.filters;
        let phase = record.state.phase;
        let any = |key: &str, test: &dyn Fn(&str) -> bool| {
            let values = filters.get(key);
            values.is_empty() || values.iter().any(|value| test(value))
        };
        let shown = self.all || phase.is_alive() || phase == Phase::Restarting;
        shown
            && self.ids.take(&[&record.id])
            && self
                .names
                .take(&[&record.name, &format!("/{}", record.name)])
            && any("status", &|status| phase.as_str() == status)
            && any("health", &|wanted| {
                let known = record.state.health.as_ref();
                wanted == known.map_or("none", |health| health.status.as_str())
            })
            && any("is-task", &|value| matches!(value, "false" | "0"))
            && any("network", &|network| {
                record.host.network_mode == network
                    || network_id(network) == network_id(&record.host.network_mode)
            })
            && any("volume", &|volume| {
                record.mounts.iter().any(|mount| {
                    mount.point.name == volume
                        || mount.point.destination == volume
                        || mount.point.source == volume
                })
            })
            && labels_match(&record.config.labels, filters.get("label"))
            && (self.exited.is_empty()
                || (matches!(phase, Phase::Exited | Phase::Dead)
                    && self.exited.contains(&record.state.exit_code)))
            && self.after.is_none_or(|after| record.created > after)
            && self.before.is_none_or(|before| record.created < before)
            && (self.ancestors.is_empty()
                || self.ancestors.iter().any(|ancestor| {
                    *ancestor == record.image_id || *ancestor == record.config.image
                }))
            && self.ports_match(record)
    }

    fn ports_match(&self, record: &Record) -> bool {
        let of = |key: &'static str| self.ports.iter().filter(move |(k, ..)| *k == key);
        let published = of("publish").count() == 0
            || of("publish").any(|(_, port, proto)| {
                record
                    .endpoint
                    .iter()
                    .flat_map(|endpoint| &endpoint.ports)
                    .any(|published| {
                        published.proto == *proto
                            && (published.host_port == *port || published.container_port == *port)
                    })
            });
        let exposed = of("expose").count() == 0
            || of("expose").any(|(_, port, proto)| {
                record
                    .config
                    .exposed_ports
                    .keys()
                    .any(|key| ports::parse(key).is_ok_and(|found| found == (*port, *proto)))
            });
        published && exposed
    }
}

/// Filters of prunes: age and labels.
#[derive(Debug, Default)]
pub(crate) struct PruneFilter {
    until: Option<i64>,
    labels: Vec<String>,
    not_labels: Vec<String>,
}

impl PruneFilter {
    /// # Errors
    /// Invalid parameter when `until` is no time.
    pub(crate) fn parse(filters: &Filters) -> Result<Self> {
        let until = match filters.get("until") {
            [] => None,
            [text] => Some(parse_time(text)?),
            _ => return Err(Error::invalid("more than one until filter specified")),
        };
        Ok(Self {
            until,
            labels: filters.get("label").to_vec(),
            not_labels: filters.get("label!").to_vec(),
        })
    }

    /// Whether nothing was asked of what it takes.
    pub(crate) fn takes_all(&self) -> bool {
        self.until.is_none() && self.labels.is_empty() && self.not_labels.is_empty()
    }

    pub(crate) fn takes(&self, created: i64, labels: &BTreeMap<String, String>) -> bool {
        self.until.is_none_or(|until| created <= until)
            && labels_match(labels, &self.labels)
            && !self
                .not_labels
                .iter()
                .any(|label| labels_match(labels, std::slice::from_ref(label)))
    }
}

/// Unix seconds with a fraction, RFC 3339, or a Go duration before now; nanoseconds since 1970.
///
/// # Errors
/// Invalid parameter.
pub(crate) fn parse_time(text: &str) -> Result<i64> {
    let invalid = || {
        Error::invalid(format!(
            "failed to parse value as time or duration: {text:?}"
        ))
    };
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if let Ok(seconds) = seconds.parse::<i64>() {
        let digits: String = fraction
            .chars()
            .chain("000000000".chars())
            .take(9)
            .collect();
        let nanos: i64 = digits.parse().map_err(|_| invalid())?;
        return seconds
            .checked_mul(1_000_000_000)
            .and_then(|s| s.checked_add(nanos))
            .ok_or_else(invalid);
    }
    if let Ok(duration) = text.parse::<jiff::SignedDuration>() {
        let nanos = i64::try_from(duration.as_nanos()).map_err(|_| invalid())?;
        return Ok(clock::now().saturating_sub(nanos));
    }
    match clock::parse(text) {
        0 => text
            .parse::<jiff::civil::DateTime>()
            .ok()
            .and_then(|time| time.to_zoned(jiff::tz::TimeZone::system()).ok())
            .and_then(|time| i64::try_from(time.timestamp().as_nanosecond()).ok())
            .ok_or_else(invalid),
        nanos => Ok(nanos),
    }
}

/// All wanted `key` or `key=value` are there.
pub(crate) fn labels_match(labels: &BTreeMap<String, String>, wanted: &[String]) -> bool {
    wanted.iter().all(|want| match want.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
        None => labels.contains_key(want),
    })
}

/// Networks have an ID made from their name: there are three, and none is ever made anew.
pub(crate) fn network_id(name: &str) -> String {
    /// Those that nearly every container has, for lists of thousands.
    static COMMON: LazyLock<[(&str, String); 3]> =
        LazyLock::new(|| ["bridge", "host", "none"].map(|name| (name, hashed(name))));
    let known = COMMON.iter().find(|(known, _)| *known == name);
    known.map_or_else(|| hashed(name), |(_, id)| id.clone())
}

fn hashed(name: &str) -> String {
    use sha2::Digest as _;
    let hash: [u8; 32] = sha2::Sha256::digest(format!("corten network {name}")).into();
    oci::Digest::sha256(&hash).hex().to_owned()
}

fn summary(record: &Record, image: String, sizes: Option<(i64, i64)>) -> ContainerSummary {
    ContainerSummary {
        id: record.id.clone(),
        names: vec![format!("/{}", record.name)],
        image,
        image_id: record.image_id.clone(),
        image_manifest_descriptor: record.image_manifest.clone(),
        command: command(record),
        created: record.created / 1_000_000_000,
        ports: port_rows(record),
        size_rw: sizes.map(|(rw, _)| rw),
        size_root_fs: sizes.map(|(_, root)| root),
        labels: record.config.labels.clone(),
        state: record.state.phase.as_str().into(),
        status: status(record, clock::now()),
        host_config: SummaryHostConfig {
            network_mode: record.host.network_mode.clone(),
            annotations: record.host.annotations.clone(),
        },
        network_settings: Some(SummaryNetworkSettings {
            networks: inspect::networks(record),
        }),
        mounts: record
            .mounts
            .iter()
            .filter(|m| m.point.kind != "tmpfs")
            .map(|m| m.point.clone())
            .collect(),
    }
}

/// What images are called in one list: each name is looked up once, for many containers have the
/// same.
#[derive(Debug, Default)]
struct ShownImages {
    /// IDs of the images that a name means now, one of each platform.
    known: HashMap<String, Vec<String>>,
}

impl ShownImages {
    /// The name the container was made by, while it still means the same image.
    fn of(&mut self, inner: &Inner, record: &Record) -> String {
        let name = record.config.image.as_str();
        if !self.known.contains_key(name) {
            self.known.insert(name.to_owned(), meant(inner, name));
        }
        match self.known[name].contains(&record.image_id) {
            true => name.to_owned(),
            false => record.image_id.clone(),
        }
    }
}

fn meant(inner: &Inner, name: &str) -> Vec<String> {
    let Ok(image) = inner.images.resolve(name) else {
        return Vec::new();
    };
    let others = match image.index {
        Some(_) => inner.images.together(&image),
        None => Vec::new(),
    };
    let others = others.iter().map(|image| image.id.to_string());
    others.chain([image.id.to_string()]).collect()
}

fn command(record: &Record) -> String {
    let quoted = record.args.iter().map(|arg| {
        if arg.contains(' ') {
            format!("'{arg}'")
        } else {
            arg.clone()
        }
    });
    std::iter::once(record.path.clone())
        .chain(quoted)
        .collect::<Vec<_>>()
        .join(" ")
}

fn port_rows(record: &Record) -> Vec<Port> {
    let published = record.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    let mut rows: Vec<Port> = published
        .map(|port| Port {
            ip: port.host_ip.to_string(),
            private_port: port.container_port,
            public_port: Some(port.host_port),
            kind: port.proto.to_string(),
        })
        .collect();
    if record.state.phase.is_alive() && record.endpoint.is_some() {
        for (port, proto) in record
            .config
            .exposed_ports
            .keys()
            .filter_map(|key| ports::parse(key).ok())
        {
            let kind = proto.to_string();
            if !rows
                .iter()
                .any(|row| row.private_port == port && row.kind == kind)
            {
                rows.push(Port {
                    private_port: port,
                    kind,
                    ..Port::default()
                });
            }
        }
    }
    rows
}

/// "Up 3 minutes", "Exited (0) 2 hours ago", …
fn status(record: &Record, now: i64) -> String {
    let state = &record.state;
    let since = |then: i64| human_duration((now - then).max(0) / 1_000_000_000);
    match state.phase {
        Phase::Running => match state.health.as_ref().map(|health| health.status.as_str()) {
            Some("starting") => format!("Up {} (health: starting)", since(state.started_at)),
            Some(health) => format!("Up {} ({health})", since(state.started_at)),
            None => format!("Up {}", since(state.started_at)),
        },
        Phase::Paused => format!("Up {} (Paused)", since(state.started_at)),
        Phase::Restarting => {
            format!(
                "Restarting ({}) {} ago",
                state.exit_code,
                since(state.finished_at)
            )
        }
        Phase::Removing | Phase::Removed => "Removal In Progress".into(),
        Phase::Dead => "Dead".into(),
        Phase::Created => "Created".into(),
        Phase::Exited => format!(
            "Exited ({}) {} ago",
            state.exit_code,
            since(state.finished_at)
        ),
    }
}

/// go-units' `HumanDuration`.
fn human_duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match () {
        () if seconds < 1 => "Less than a second".into(),
        () if seconds == 1 => "1 second".into(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 14 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::{human_duration, parse_time};

    #[test]
    fn durations() {
        for (seconds, want) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (86400 * 3, "3 days"),
            (86400 * 21, "3 weeks"),
        ] {
            assert_eq!(human_duration(seconds), want);
        }
    }

    #[test]
    fn times() {
        assert_eq!(parse_time("10.5").expect("seconds"), 10_500_000_000);
        assert_eq!(
            parse_time("1970-01-01T00:00:01Z").expect("rfc 3339"),
            1_000_000_000
        );
        assert!(parse_time("24h").expect("duration") > 0);
        assert!(parse_time("soon").is_err());
    }
}
