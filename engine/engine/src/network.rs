//! A container's network: its mode, its place on the bridge, and the files under /etc.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use bridge::Held;
use dockerapi::{ContainerConfig, HostConfig};

use crate::record::{Endpoint, Record};
use crate::{Error, Inner, Result, links, ports};

/// What `HostConfig.NetworkMode` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The default bridge.
    Bridge,
    /// The host's own namespace.
    Host,
    /// A namespace with `lo` alone.
    None,
    /// Another container's namespace, by name or ID.
    Container(String),
}

impl Mode {
    /// # Errors
    /// Not found, for networks that do not exist.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        match text {
            "bridge" | "default" | "" => Ok(Self::Bridge),
            "host" => Ok(Self::Host),
            "none" => Ok(Self::None),
            _ => match text.strip_prefix("container:") {
                Some("") => Err(Error::invalid(
                    "invalid container format container:<name|id>",
                )),
                Some(name) => Ok(Self::Container(name.to_owned())),
                None => Err(missing(text)),
            },
        }
    }
}

/// What a start gets of the network.
#[derive(Debug, Default)]
pub(crate) struct Connected {
    /// To join; `None` leaves it to the specification.
    pub(crate) netns: Option<OwnedFd>,
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) held: Vec<Held>,
}

fn given(list: &Option<Vec<String>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}

/// What a client may not ask for together; before anything is filled in from elsewhere. Texts are
/// moby's.
pub(crate) fn conflicts(config: &ContainerConfig, host: &HostConfig) -> Result<()> {
    let joins = host.network_mode.starts_with("container:");
    if host.network_mode == "container:" {
        return Err(Error::invalid(
            "invalid network mode: invalid container format container:<name|id>",
        ));
    }
    let checks = [
        (
            joins && !config.hostname.is_empty(),
            "hostname and the network mode",
        ),
        (
            joins && given(&host.links),
            "container type network can't be used with links. This would result in undefined \
             behavior",
        ),
        (joins && given(&host.dns), "dns and the network mode"),
        (
            joins && given(&host.extra_hosts),
            "custom host-to-IP mapping and the network mode",
        ),
        (
            joins && (!host.port_bindings.is_empty() || host.publish_all_ports),
            "port publishing and the container type network mode",
        ),
        (
            joins && !config.exposed_ports.is_empty(),
            "port exposing and the container type network mode",
        ),
        (
            host.uts_mode == "host" && !config.hostname.is_empty(),
            "hostname and the UTS mode",
        ),
        (
            host.network_mode == "host" && given(&host.links),
            "host type networking can't be used with links. This would result in undefined \
             behavior",
        ),
    ];
    match checks.iter().find(|(asked, _)| *asked) {
        Some((_, what)) => Err(Error::invalid(format!("conflicting options: {what}"))),
        None => Ok(()),
    }
}

/// Checks what can only fail at every start, at create. Texts are moby's.
pub(crate) fn verify(record: &Record) -> Result<()> {
    let host = &record.host;
    let wanted = ports::wanted(&record.config, host)?;
    if wanted
        .iter()
        .any(|port| port.proto == bridge::Protocol::Sctp)
    {
        return Err(Error::not_implemented(
            "publishing SCTP ports is not supported yet",
        ));
    }
    for entry in host.extra_hosts.iter().flatten() {
        extra_host(entry, Ipv4Addr::UNSPECIFIED)?;
    }
    for server in host.dns.iter().flatten() {
        server
            .parse::<IpAddr>()
            .map_err(|_| Error::invalid(format!("invalid DNS server: {server}")))?;
    }
    for (name, endpoint) in &record.networking.endpoints_config {
        let Some(endpoint) = endpoint else { continue };
        let asked = endpoint.ipam_config.as_ref().is_some_and(|ipam| {
            !ipam.ipv4_address.is_empty()
                || !ipam.ipv6_address.is_empty()
                || !ipam.link_local_ips.is_empty()
        });
        if asked {
            return Err(Error::invalid(
                "user specified IP address is supported on user defined networks only",
            ));
        }
        if given(&endpoint.aliases) && name == "bridge" {
            return Err(Error::invalid(
                "network-scoped aliases are only supported for user-defined networks",
            ));
        }
    }
    mac(record).map(|_| ())
}

/// As in dockerd a network is looked for by the start: a create that answered 404 would have the
/// client pull an image that is there.
fn missing(name: &str) -> Error {
    Error::not_found(format!(
        "failed to set up container networking: network {name} not found"
    ))
}

/// Makes a container's place on the network. Blocking.
/// `given` is an empty namespace that belongs to the container's user namespace.
pub(crate) fn connect(
    inner: &Inner,
    record: &Record,
    endpoint_id: &str,
    given: Option<OwnedFd>,
) -> Result<Connected> {
    let known = |name: &str| {
        matches!(name, "bridge" | "host" | "none" | "default") || *name == record.host.network_mode
    };
    let endpoints = &record.networking.endpoints_config;
    if let Some(name) = endpoints.keys().find(|name| !known(name)) {
        return Err(missing(name));
    }
    match Mode::parse(&record.host.network_mode)? {
        Mode::Host | Mode::Container(_) => Ok(Connected::default()),
        Mode::None => alone(given),
        Mode::Bridge if record.config.network_disabled => alone(given),
        Mode::Bridge => on_bridge(inner, record, endpoint_id, given.as_ref().map(AsFd::as_fd)),
    }
}

/// With `lo` alone.
fn alone(given: Option<OwnedFd>) -> Result<Connected> {
    let netns = match given {
        Some(given) => bridge::bring_up_loopback(given.as_fd()).map(|()| given),
        None => bridge::new_namespace(true),
    };
    let netns = netns.map_err(|error| Error::system(format!("network namespace: {error}")))?;
    Ok(Connected {
        netns: Some(netns),
        ..Connected::default()
    })
}

fn on_bridge(
    inner: &Inner,
    record: &Record,
    endpoint_id: &str,
    given: Option<BorrowedFd<'_>>,
) -> Result<Connected> {
    let bridge = inner.bridge()?;
    let ports = ports::wanted(&record.config, &record.host)?;
    let request = bridge::Request {
        endpoint_id,
        mac: mac(record)?,
        ip: None,
        ports: &ports,
        sysctls: &[],
    };
    let endpoint = bridge.connect_in(request, given).map_err(|error| {
        let cause = name_owner(inner, &error);
        Error::system(format!(
            "failed to set up container networking: driver failed programming external \
             connectivity on endpoint {} ({endpoint_id}): {cause}",
            record.name
        ))
    })?;
    let [a, b, c, d, e, f] = endpoint.mac;
    Ok(Connected {
        netns: Some(endpoint.netns),
        endpoint: Some(Endpoint {
            id: endpoint_id.to_owned(),
            ip: endpoint.ip.to_string(),
            prefix: endpoint.prefix,
            gateway: endpoint.gateway.to_string(),
            mac: format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"),
            veth: endpoint.veth,
            ports: endpoint.ports,
        }),
        held: endpoint.held,
    })
}

/// The error's text; a port held by one of ours is told with its container's name.
fn name_owner(inner: &Inner, error: &bridge::Error) -> String {
    if let bridge::Error::PortInUse(port) = error
        && let Some(bridge::PortOwner::Endpoint(id)) = &port.owner
    {
        let owner = inner
            .containers
            .all()
            .into_iter()
            .map(|container| container.record())
            .find(|record| {
                record
                    .endpoint
                    .as_ref()
                    .is_some_and(|endpoint| endpoint.id == *id)
            });
        if let Some(owner) = owner {
            return format!("{port:#} (published by container {})", owner.name);
        }
    }
    error.to_string()
}

/// Writes hosts, hostname and resolv.conf. Blocking.
pub(crate) fn write_files(
    inner: &Inner,
    record: &Record,
    endpoint: Option<&Endpoint>,
) -> Result<()> {
    let dir = inner.runtime_dir(&record.id);
    let failed = |what: &str, error: std::io::Error| Error::system(format!("{what}: {error}"));
    std::fs::create_dir_all(&dir).map_err(|error| failed("making the container's files", error))?;
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(|error| failed(name, error))?;
        // As every other file of the container's root.
        let owner = record.ids.as_ref().map(crate::userns::IdMaps::root);
        owner.map_or(Ok(()), |(uid, gid)| {
            std::os::unix::fs::chown(&path, Some(uid), Some(gid))
                .map_err(|error| failed(name, error))
        })
    };
    let host_network = record.host.network_mode == "host";
    write("hostname", &format!("{}\n", full_hostname(record)))?;
    write("hosts", &hosts(inner, record, endpoint, host_network)?)?;
    write("resolv.conf", &resolv_conf(inner, record, host_network))
}

fn full_hostname(record: &Record) -> String {
    match record.config.domainname.as_str() {
        "" => record.config.hostname.clone(),
        domain => format!("{}.{domain}", record.config.hostname),
    }
}

fn hosts(
    inner: &Inner,
    record: &Record,
    endpoint: Option<&Endpoint>,
    host_network: bool,
) -> Result<String> {
    let mut text = if host_network {
        read_host(Path::new("/etc/hosts"))
    } else {
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
            .to_owned()
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let gateway = inner.gateway();
    for entry in record.host.extra_hosts.iter().flatten() {
        let (name, ip) = extra_host(entry, gateway)?;
        let _ = writeln!(text, "{ip}\t{name}");
    }
    if let Some(endpoint) = endpoint {
        // A name may be given whole or in two parts: the whole one first, then the bare one.
        let full = full_hostname(record);
        let names = match full.split_once('.') {
            Some((bare, _)) => format!("{full} {bare}"),
            None => full,
        };
        let _ = writeln!(text, "{}\t{names}", endpoint.ip);
    }
    text.push_str(&links::hosts(inner, record));
    Ok(text)
}

/// `name:ip`, `name=ip`, `name:host-gateway`.
fn extra_host(entry: &str, gateway: Ipv4Addr) -> Result<(String, IpAddr)> {
    let invalid = || Error::invalid(format!("bad format for add-host: {entry:?}"));
    let (name, ip) = entry.split_once([':', '=']).ok_or_else(invalid)?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(invalid());
    }
    if ip == "host-gateway" {
        return Ok((name.to_owned(), gateway.into()));
    }
    let bare = ip
        .strip_prefix('[')
        .and_then(|ip| ip.strip_suffix(']'))
        .unwrap_or(ip);
    let ip = bare
        .parse()
        .map_err(|_| Error::invalid(format!("invalid IP address in add-host: {ip:?}")))?;
    Ok((name.to_owned(), ip))
}

fn resolv_conf(inner: &Inner, record: &Record, host_network: bool) -> String {
    let own = read_host(Path::new("/etc/resolv.conf"));
    let lines = |key: &str| -> Vec<String> {
        own.lines()
            .filter_map(|line| line.trim().strip_prefix(key))
            .filter(|rest| rest.starts_with(char::is_whitespace))
            .map(|rest| rest.trim().to_owned())
            .collect()
    };
    let (host, config) = (&record.host, &inner.config);
    let asked = |list: &Option<Vec<String>>| list.clone().filter(|list| !list.is_empty());
    let servers = asked(&host.dns).unwrap_or_else(|| {
        if !config.dns.is_empty() {
            return config.dns.iter().map(ToString::to_string).collect();
        }
        // Inside a network namespace the host's loopback is out of reach.
        let usable = |server: &String| {
            host_network || server.parse::<IpAddr>().is_ok_and(|ip| !ip.is_loopback())
        };
        let found: Vec<String> = lines("nameserver").into_iter().filter(usable).collect();
        if found.is_empty() {
            vec!["8.8.8.8".into(), "8.8.4.4".into()]
        } else {
            found
        }
    });
    let search = asked(&host.dns_search).unwrap_or_else(|| match config.dns_search.as_slice() {
        [] => lines("search")
            .pop()
            .map(|all| all.split_whitespace().map(str::to_owned).collect())
            .unwrap_or_default(),
        own => own.to_vec(),
    });
    let options = asked(&host.dns_options).unwrap_or_else(|| match config.dns_options.as_slice() {
        [] => lines("options"),
        own => own.to_vec(),
    });
    let mut text = String::from("# Generated by Corten.\n");
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    // A lone dot asks for no search at all.
    let search: Vec<String> = search.into_iter().filter(|domain| domain != ".").collect();
    if !search.is_empty() {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

/// A host's file, or nothing: a host without it is no error.
fn read_host(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn mac(record: &Record) -> Result<Option<[u8; 6]>> {
    let endpoints = record.networking.endpoints_config.values().flatten();
    let asked = endpoints
        .map(|endpoint| endpoint.mac_address.as_str())
        .find(|mac| !mac.is_empty());
    let text = match asked.unwrap_or(&record.config.mac_address) {
        "" => return Ok(None),
        text => text,
    };
    let invalid = || Error::invalid(format!("invalid MAC address: {text}"));
    let parts: Vec<u8> = text
        .split([':', '-'])
        .map(|part| u8::from_str_radix(part, 16).map_err(|_| invalid()))
        .collect::<Result<_>>()?;
    <[u8; 6]>::try_from(parts).map(Some).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    #[test]
    fn extra_hosts() {
        let parse = |text: &str| super::extra_host(text, Ipv4Addr::new(172, 17, 0, 1));
        assert_eq!(parse("a:1.2.3.4").expect("v4").1.to_string(), "1.2.3.4");
        assert_eq!(parse("a:::1").expect("v6").1.to_string(), "::1");
        assert_eq!(
            parse("a:host-gateway").expect("gateway").1.to_string(),
            "172.17.0.1"
        );
        for bad in ["a", "a:", ":1.2.3.4", "a:1.2.3", "a b:1.2.3.4"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
