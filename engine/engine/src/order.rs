//! Who depends on whom: the order in which containers are started with the engine and ended with
//! it. A container depends on those it is linked to, whose namespaces it joins, and, in a Compose
//! project, on the services that its label `com.docker.compose.depends_on` names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::record::Record;
use crate::{Inner, health};

const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const DEPENDS_ON: &str = "com.docker.compose.depends_on";

/// What one container needs of another before it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// That it runs.
    Started,
    /// That its health checks succeed.
    Healthy,
}

impl Need {
    /// Whether there is nothing to wait for any more, be it met or out of reach.
    pub(crate) fn is_settled(self, record: &Record) -> bool {
        use crate::record::Phase::{Restarting, Running};
        match (self, record.state.phase) {
            (_, Restarting) => false,
            (Self::Healthy, Running) => record
                .state
                .health
                .as_ref()
                .is_none_or(|known| known.status != health::STARTING),
            _ => true,
        }
    }
}

/// The containers that `record` needs, by ID.
pub(crate) fn needs(inner: &Inner, record: &Record, all: &[Arc<Record>]) -> BTreeMap<String, Need> {
    let mut needs = BTreeMap::new();
    let mut add = |id: &str, need: Need| {
        if id != record.id {
            let known = needs.entry(id.to_owned()).or_insert(need);
            *known = need.max(*known);
        }
    };
    for link in &record.links {
        add(&link.child, Need::Started);
    }
    let host = &record.host;
    let joined = [&host.network_mode, &host.pid_mode, &host.ipc_mode]
        .into_iter()
        .filter_map(|mode| mode.strip_prefix("container:"));
    for name in joined {
        if let Ok(other) = inner.containers.find(name) {
            add(&other.id, Need::Started);
        }
    }
    let label = |record: &Record, key: &str| record.config.labels.get(key).cloned();
    let project = label(record, PROJECT);
    let services = label(record, DEPENDS_ON).unwrap_or_default();
    for (service, need) in services.split(',').filter_map(service) {
        let of_service = all.iter().filter(|other| {
            project.is_some()
                && label(other, PROJECT) == project
                && label(other, SERVICE).as_deref() == Some(service)
        });
        for other in of_service {
            add(&other.id, need);
        }
    }
    needs
}

/// One entry of Compose's label: `service:condition:restart`. A service that is to end before is
/// not waited for: it ran when the project was started.
fn service(entry: &str) -> Option<(&str, Need)> {
    let mut parts = entry.trim().split(':');
    let name = parts.next().filter(|name| !name.is_empty())?;
    match parts.next() {
        Some("service_healthy") => Some((name, Need::Healthy)),
        Some("service_completed_successfully") => None,
        _ => Some((name, Need::Started)),
    }
}

/// Layers of containers: whoever is in a layer is needed by nobody in a later one. What is in a
/// circle comes last, together.
pub(crate) fn dependents_first(needs: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let mut left: BTreeSet<&String> = needs.keys().collect();
    let mut layers = Vec::new();
    while !left.is_empty() {
        let needed: BTreeSet<&String> = left.iter().flat_map(|id| &needs[*id]).collect();
        let mut layer: Vec<&String> = left
            .iter()
            .copied()
            .filter(|id| !needed.contains(id))
            .collect();
        if layer.is_empty() {
            layer = left.iter().copied().collect();
        }
        left.retain(|id| !layer.contains(id));
        layers.push(layer.into_iter().cloned().collect());
    }
    layers
}

#[cfg(test)]
mod tests {
    use super::{Need, dependents_first, service};

    #[test]
    fn composes_label() {
        assert_eq!(
            service("db:service_healthy:false"),
            Some(("db", Need::Healthy))
        );
        assert_eq!(
            service("db:service_started:true"),
            Some(("db", Need::Started))
        );
        assert_eq!(service("db"), Some(("db", Need::Started)));
        assert_eq!(service("job:service_completed_successfully:false"), None);
        assert_eq!(service(""), None);
    }

    #[test]
    fn layers() {
        let order = |pairs: &[(&str, &[&str])]| {
            let needs = pairs
                .iter()
                .map(|(id, needs)| {
                    let needs = needs.iter().map(|&need| need.to_owned()).collect();
                    ((*id).to_owned(), needs)
                })
                .collect();
            let layers = dependents_first(&needs);
            let text: Vec<String> = layers.iter().map(|layer| layer.join(" ")).collect();
            text.join(", ")
        };
        assert_eq!(
            order(&[
                ("web", &["app"]),
                ("app", &["db", "gone"]),
                ("db", &[]),
                ("x", &[])
            ]),
            "web x, app, db"
        );
        assert_eq!(
            order(&[("a", &["b"]), ("b", &["a"]), ("c", &["a"])]),
            "c, a b"
        );
        assert_eq!(order(&[]), "");
    }
}
