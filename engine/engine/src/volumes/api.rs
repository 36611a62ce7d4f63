//! The `/volumes` part of the API.

use std::sync::Arc;

use dockerapi::{Map, Volume as ApiVolume, VolumeCreate, VolumeList, VolumePruneReport};
use state::{Change, Table};

use super::{ANONYMOUS, Row, Volume, Volumes, event, references};
use crate::options::Filters;
use crate::{Engine, Error, Inner, Result, clock, names};

impl Engine {
    /// Makes a volume, or answers the one of this name that is there.
    ///
    /// # Errors
    /// For bad names, drivers other than `local` and options.
    pub async fn volume_create(&self, body: VolumeCreate) -> Result<ApiVolume> {
        let inner = Arc::clone(&self.0);
        blocking(move || create(&inner, body)).await
    }

    /// All volumes that pass the filters (`dangling`, `driver`, `label`, `name`), by name.
    ///
    /// # Errors
    /// For other filters.
    pub fn volume_list(&self, filters: &Filters) -> Result<VolumeList> {
        filters.only(&["dangling", "driver", "label", "name"])?;
        let dangling = boolean(filters, "dangling")?;
        let names = crate::pattern::Patterns::new(filters.get("name"));
        let inner = &self.0;
        let wanted = |row: &Row| {
            let any = |key: &str, test: &dyn Fn(&str) -> bool| {
                let values = filters.get(key);
                values.is_empty() || values.iter().any(|value| test(value))
            };
            names.take(&[&row.name])
                && any("driver", &|driver| driver == "local")
                && has_labels(row, filters.get("label"))
                && dangling.is_none_or(|want| references(inner, &row.name).is_empty() == want)
        };
        let all = inner.volumes.all();
        let volumes = all
            .iter()
            .filter(|volume| wanted(&volume.row))
            .map(|volume| inner.volumes.shown(&volume.row))
            .collect();
        Ok(VolumeList {
            volumes,
            warnings: None,
        })
    }

    /// One volume by its whole name.
    ///
    /// # Errors
    /// When there is none.
    pub fn volume_inspect(&self, name: &str) -> Result<ApiVolume> {
        let volume = find(&self.0, name)?;
        Ok(self.0.volumes.shown(&volume.row))
    }

    /// Removes a volume that no container uses. With `force`, one that is not there is removed.
    ///
    /// # Errors
    /// Not found; conflict while containers use it, running or not.
    pub async fn volume_remove(&self, name: &str, force: bool) -> Result<()> {
        let volume = match find(&self.0, name) {
            Err(_) if force => return Ok(()),
            found => found?,
        };
        let inner = Arc::clone(&self.0);
        blocking(move || inner.volumes.remove(&inner, &volume, None)).await
    }

    /// Removes volumes that no container uses: anonymous ones, with the filter `all` named ones
    /// too. Filters: `all`, `label`, `label!`.
    ///
    /// # Errors
    /// For other filters.
    pub async fn volume_prune(&self, filters: &Filters) -> Result<VolumePruneReport> {
        filters.only(&["all", "label", "label!"])?;
        let all = boolean(filters, "all")?.unwrap_or(false);
        let filters = filters.clone();
        let inner = Arc::clone(&self.0);
        blocking(move || Ok(prune(&inner, all, &filters))).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    // Finished also when the client leaves: half a removal would be worse.
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Error::system("volume: interrupted"))?
}

fn create(inner: &Arc<Inner>, body: VolumeCreate) -> Result<ApiVolume> {
    let anonymous = body.name.is_empty();
    let name = if anonymous {
        names::random_id()?
    } else {
        body.name
    };
    if !matches!(body.driver.as_str(), "" | "local") {
        return Err(Error::not_found(format!(
            "create {name}: error looking up volume plugin {0}: plugin \"{0}\" not found",
            body.driver
        )));
    }
    if let Some(option) = body.driver_opts.keys().next() {
        return Err(match option.as_str() {
            "type" | "device" | "o" | "size" => Error::not_implemented(format!(
                "create {name}: option {option:?} of the local volume driver is not supported yet"
            )),
            _ => Error::invalid(format!("create {name}: invalid option: {option:?}")),
        });
    }
    let mut labels = body.labels;
    if anonymous {
        labels.insert(ANONYMOUS.to_owned(), String::new());
    }
    let volume = inner.volumes.pin(&name, labels)?;
    let made = make_durable(inner, &volume);
    inner.volumes.unpin(&volume);
    made?;
    Ok(inner.volumes.shown(&volume.row))
}

fn make_durable(inner: &Inner, volume: &Volume) -> Result<()> {
    if super::lock(&volume.status).durable {
        return Ok(());
    }
    let name = &volume.row.name;
    let failed = |error: &dyn std::fmt::Display| Error::system(format!("create {name}: {error}"));
    let event = event("create", name);
    let change = Change::new()
        .put(Table::Volumes, name, &volume.row)
        .event(&event)
        .addition();
    // Told when it can be found.
    let _told = tokio::runtime::Handle::current()
        .block_on(inner.state.commit(change))
        .map_err(|error| failed(&error))?;
    inner
        .volumes
        .publish(volume)
        .map_err(|error| failed(&error))?;
    Ok(())
}

fn prune(inner: &Inner, all: bool, filters: &Filters) -> VolumePruneReport {
    let mut report = VolumePruneReport {
        volumes_deleted: Some(Vec::new()),
        space_reclaimed: 0,
    };
    for volume in inner.volumes.all() {
        let row = &volume.row;
        let chosen = (all || row.is_anonymous())
            && has_labels(row, filters.get("label"))
            && (!filters.has("label!") || !has_labels(row, filters.get("label!")))
            && references(inner, &row.name).is_empty();
        if !chosen {
            continue;
        }
        let size = images::disk_usage(&inner.volumes.path(&row.name));
        match inner.volumes.remove(inner, &volume, None) {
            Ok(()) => {
                report.space_reclaimed += size;
                report
                    .volumes_deleted
                    .get_or_insert_default()
                    .push(row.name.clone());
            }
            Err(error) => tracing::warn!(volume = row.name, err = %error, "cannot prune"),
        }
    }
    let attributes = [("reclaimed".to_owned(), report.space_reclaimed.to_string())].into();
    inner
        .events
        .publish(crate::events::make("volume", "prune", "", attributes));
    report
}

impl Volumes {
    fn shown(&self, row: &Row) -> ApiVolume {
        let whole_seconds = row.created - row.created.rem_euclid(1_000_000_000);
        let filled = |map: &Map<String>| (!map.is_empty()).then(|| map.clone());
        ApiVolume {
            created_at: clock::rfc3339(whole_seconds),
            driver: "local".into(),
            labels: filled(&row.labels),
            mountpoint: self.path(&row.name).display().to_string(),
            name: row.name.clone(),
            options: None,
            scope: "local".into(),
            usage_data: None,
        }
    }
}

fn find(inner: &Inner, name: &str) -> Result<Arc<Volume>> {
    let volume = inner.volumes.find(name);
    volume.ok_or_else(|| Error::not_found(format!("get {name}: no such volume")))
}

/// All of `key` or `key=value`.
fn has_labels(row: &Row, wanted: &[String]) -> bool {
    wanted.iter().all(|want| match want.split_once('=') {
        Some((key, value)) => row.labels.get(key).is_some_and(|is| is == value),
        None => row.labels.contains_key(want),
    })
}

fn boolean(filters: &Filters, key: &str) -> Result<Option<bool>> {
    match filters.get(key) {
        [] => Ok(None),
        [value] if matches!(value.as_str(), "1" | "true" | "True") => Ok(Some(true)),
        [value] if matches!(value.as_str(), "0" | "false" | "False") => Ok(Some(false)),
        values => Err(Error::invalid(format!("invalid filter '{key}={values:?}'"))),
    }
}
