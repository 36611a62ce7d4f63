//! `--link`: names of other containers on the default bridge, in a container's /etc/hosts and
//! environment. Rules, texts and names are moby's.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use bridge::Protocol;
use dockerapi::HostConfig;
use serde::{Deserialize, Serialize};

use crate::record::{Endpoint, Record};
use crate::{Error, Inner, Result, ports};

/// The largest /etc/hosts of a container that is changed.
const LARGEST: u64 = 1 << 20;

/// A container that another one knows by a name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Link {
    /// ID of the container that is meant.
    pub(crate) child: String,
    /// What it is called.
    pub(crate) alias: String,
}

/// The containers that `host` asks to be linked to.
///
/// # Errors
/// Invalid parameter for those that do not exist, or cannot be linked to.
pub(crate) fn resolve(inner: &Inner, host: &HostConfig) -> Result<Vec<Link>> {
    let asked = host.links.as_deref().unwrap_or_default();
    let refused = |kind: &str| {
        Error::invalid(format!(
            "conflicting options: {kind} can't be used with links. This would result in undefined \
             behavior"
        ))
    };
    match host.network_mode.as_str() {
        _ if asked.is_empty() => return Ok(Vec::new()),
        "host" => return Err(refused("host type networking")),
        mode if mode.starts_with("container:") => return Err(refused("container type network")),
        _ => {}
    }
    asked
        .iter()
        .map(|text| {
            let (name, alias) = parse(text)?;
            let find = |name: &str| {
                let found = inner.containers.find(name).map_err(|error| {
                    Error::invalid(format!("could not get container for {name}: {error}"))
                });
                found.map(|container| container.record())
            };
            let mut child = find(name)?;
            // One that joined a network is where the joined one is; no chain is longer than this.
            for _ in 0..64 {
                let Some(joined) = child.host.network_mode.strip_prefix("container:") else {
                    break;
                };
                child = find(joined)?;
            }
            if child.host.network_mode == "host" {
                return Err(refused("host type networking"));
            }
            Ok(Link {
                child: child.id.clone(),
                alias: alias.to_owned(),
            })
        })
        .collect()
}

/// `name`, `name:alias`, or the form that inspect shows, `/name:/parent/alias`.
fn parse(text: &str) -> Result<(&str, &str)> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [""] => Err(Error::invalid("empty string specified for links")),
        [name] => Ok((name, name)),
        [name, alias] => match name.strip_prefix('/') {
            Some(name) => Ok((name, alias.rsplit('/').next().unwrap_or(alias))),
            None => Ok((name, alias)),
        },
        _ => Err(Error::invalid(format!("bad format for links: {text}"))),
    }
}

/// The linked containers that still exist, with their aliases.
fn children<'a>(
    inner: &'a Inner,
    record: &'a Record,
) -> impl Iterator<Item = (&'a str, Arc<Record>)> + 'a {
    record.links.iter().filter_map(|link| {
        let child = inner.containers.find(&link.child).ok()?;
        Some((link.alias.as_str(), child.record()))
    })
}

/// As inspect shows them: `/child:/parent/alias`.
pub(crate) fn shown(inner: &Inner, record: &Record) -> Option<Vec<String>> {
    let shown: Vec<String> = children(inner, record)
        .map(|(alias, child)| format!("/{}:/{}/{alias}", child.name, record.name))
        .collect();
    (!shown.is_empty()).then_some(shown)
}

/// The names that links give to containers, by the ID of who is meant: `/parent/alias`.
pub(crate) fn names(records: &[Arc<Record>]) -> HashMap<String, Vec<String>> {
    let mut names: HashMap<String, Vec<String>> = HashMap::new();
    for record in records {
        for link in &record.links {
            let name = format!("/{}/{}", record.name, link.alias);
            names.entry(link.child.clone()).or_default().push(name);
        }
    }
    names
}

/// Variables that tell a container about those it is linked to.
///
/// # Errors
/// When one of them does not run, or is not on the default bridge.
pub(crate) fn environment(inner: &Inner, record: &Record) -> Result<Vec<String>> {
    let mut env = Vec::new();
    for (alias, child) in children(inner, record) {
        let name = format!("/{}/{alias}", record.name);
        if !child.state.phase.is_alive() {
            return Err(Error::system(format!(
                "Cannot link to a non running container: /{} AS {name}",
                child.name
            )));
        }
        let Some(endpoint) = &child.endpoint else {
            return Err(Error::system(format!(
                "container {} not attached to default bridge network",
                child.id
            )));
        };
        env.extend(variables(alias, &name, &child, &endpoint.ip));
    }
    Ok(env)
}

fn variables(alias: &str, name: &str, child: &Record, ip: &str) -> Vec<String> {
    let alias = alias.to_uppercase().replace('-', "_");
    let mut exposed: Vec<(Protocol, u16)> = child
        .config
        .exposed_ports
        .keys()
        .filter_map(|key| ports::parse(key).ok())
        .map(|(port, protocol)| (protocol, port))
        .collect();
    // TCP first, then by the protocol's name.
    exposed
        .sort_by_key(|(protocol, port)| (*protocol != Protocol::Tcp, protocol.to_string(), *port));
    let mut env = Vec::new();
    if let Some((protocol, port)) = exposed.first() {
        env.push(format!("{alias}_PORT={protocol}://{ip}:{port}"));
    }
    let prefix = |protocol: Protocol, port: u16| {
        let protocol = protocol.to_string().to_uppercase();
        format!("{alias}_PORT_{port}_{protocol}")
    };
    let mut range = 0..0;
    for (at, &(protocol, port)) in exposed.iter().enumerate() {
        let own = prefix(protocol, port);
        env.push(format!("{own}={protocol}://{ip}:{port}"));
        env.push(format!("{own}_ADDR={ip}"));
        env.push(format!("{own}_PORT={port}"));
        env.push(format!("{own}_PROTO={protocol}"));
        if at > 0 && exposed[at - 1].0 == protocol && exposed[at - 1].1 + 1 == port {
            range.end = at;
        } else {
            range = at..at;
        }
        let goes_on = exposed
            .get(at + 1)
            .is_some_and(|next| next.0 == protocol && port.checked_add(1) == Some(next.1));
        if range.end > range.start && !goes_on {
            let ((protocol, first), (_, last)) = (exposed[range.start], exposed[range.end]);
            let own = prefix(protocol, first);
            env.push(format!("{own}_START={protocol}://{ip}:{first}"));
            env.push(format!("{own}_PORT_START={first}"));
            env.push(format!("{own}_END={protocol}://{ip}:{last}"));
            env.push(format!("{own}_PORT_END={last}"));
        }
    }
    env.push(format!("{alias}_NAME={name}"));
    for entry in child.config.env.iter().flatten() {
        match entry.split_once('=') {
            Some(("HOME" | "PATH", _)) | None => {}
            Some((key, value)) => env.push(format!("{alias}_ENV_{key}={value}")),
        }
    }
    env
}

/// Lines of /etc/hosts for those that a container is linked to.
pub(crate) fn hosts(inner: &Inner, record: &Record) -> String {
    let mut text = String::new();
    for (alias, child) in children(inner, record) {
        if let Some(endpoint) = &child.endpoint {
            let _ = writeln!(text, "{}\t{}", endpoint.ip, host_names(alias, &child));
        }
    }
    text
}

/// Alias, host name and name; the last only where it says more.
fn host_names(alias: &str, child: &Record) -> String {
    let mut names = format!("{alias} {}", child.config.hostname);
    if alias != child.name {
        names.push(' ');
        names.push_str(&child.name);
    }
    names
}

/// Tells the running containers that are linked to this one its new address. Blocking.
pub(crate) fn tell_parents(inner: &Inner, child: &Record, endpoint: &Endpoint) {
    for parent in inner.containers.all() {
        let parent = parent.record();
        if !parent.state.phase.is_alive() {
            continue;
        }
        for link in parent.links.iter().filter(|link| link.child == child.id) {
            let path = inner.runtime_dir(&parent.id).join("hosts");
            let names = host_names(&link.alias, child);
            // Two that start at once must not undo each other's change.
            let _one = inner.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = move_names(&path, &names, &endpoint.ip) {
                tracing::warn!(id = %parent.id, %error, "hosts of a linked container");
            }
        }
    }
}

/// Written over in place: the file is bound into the container, which may write to it, too.
fn move_names(path: &Path, names: &str, ip: &str) -> std::io::Result<()> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    if file.take(LARGEST + 1).read_to_string(&mut text)? as u64 > LARGEST {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    std::fs::write(path, moved(&text, names, ip))
}

/// The text with these names at another address.
fn moved(text: &str, names: &str, ip: &str) -> String {
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| line.split_once('\t').is_none_or(|(_, of)| of != names))
        .map(str::to_owned)
        .collect();
    lines.push(format!("{ip}\t{names}\n"));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use crate::record::Record;

    #[test]
    fn forms() {
        for (text, want) in [
            ("db", ("db", "db")),
            ("db:store", ("db", "store")),
            ("/db:/web/store", ("db", "store")),
        ] {
            assert_eq!(super::parse(text).expect("valid"), want);
        }
        assert!(super::parse("").is_err());
        assert!(super::parse("a:b:c").is_err());
    }

    #[test]
    fn variables_of_a_range() {
        let mut child = Record::default();
        for port in ["80/udp", "6379/tcp", "6381/tcp", "6380/tcp"] {
            let empty = oci::image::Empty::default();
            child.config.exposed_ports.insert(port.into(), empty);
        }
        child.config.env = Some(vec!["PATH=/x".into(), "A=b=c".into(), "BARE".into()]);
        let env = super::variables("my-db", "/web/my-db", &child, "172.17.0.2");
        assert_eq!(env[0], "MY_DB_PORT=tcp://172.17.0.2:6379");
        for want in [
            "MY_DB_PORT_6380_TCP_ADDR=172.17.0.2",
            "MY_DB_PORT_6379_TCP_START=tcp://172.17.0.2:6379",
            "MY_DB_PORT_6379_TCP_END=tcp://172.17.0.2:6381",
            "MY_DB_PORT_6379_TCP_PORT_END=6381",
            "MY_DB_PORT_80_UDP_PROTO=udp",
            "MY_DB_NAME=/web/my-db",
            "MY_DB_ENV_A=b=c",
        ] {
            assert!(env.iter().any(|entry| entry == want), "{want} in {env:?}");
        }
        assert!(!env.iter().any(|entry| entry.contains("PATH")));
    }

    #[test]
    fn a_moved_name_has_one_line() {
        let text = "127.0.0.1\tlocalhost\n172.17.0.2\tdb host\n10.0.0.1\tother\n";
        assert_eq!(
            super::moved(text, "db host", "172.17.0.9"),
            "127.0.0.1\tlocalhost\n10.0.0.1\tother\n172.17.0.9\tdb host\n"
        );
    }
}
