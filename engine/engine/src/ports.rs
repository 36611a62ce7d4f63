//! Exposed and published ports: the API's texts ↔ what the network is asked for.

use std::net::IpAddr;

use bridge::{HostPort, Protocol, Publish, Published};
use dockerapi::{ContainerConfig, HostConfig, Map, PortBinding};

use crate::{Error, Result};

/// `80`, `80/tcp` → port and protocol.
///
/// # Errors
/// Invalid parameter with nat's text.
pub(crate) fn parse(text: &str) -> Result<(u16, Protocol)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        other => {
            return Err(Error::invalid(format!(
                "invalid port specification: {text:?}: invalid proto: {other}"
            )));
        }
    };
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok((port, protocol)),
        _ => Err(Error::invalid(format!(
            "invalid port specification: {text:?}"
        ))),
    }
}

/// What is to be published, from bindings and `--publish-all`.
///
/// # Errors
/// Invalid parameter, naming the port.
pub(crate) fn wanted(config: &ContainerConfig, host: &HostConfig) -> Result<Vec<Publish>> {
    let mut wanted = Vec::new();
    for port in config.exposed_ports.keys() {
        parse(port)?;
    }
    for (port, bindings) in &host.port_bindings {
        let (container_port, protocol) = parse(port)?;
        for binding in bindings.iter().flatten() {
            wanted.push(Publish {
                container_port,
                proto: protocol,
                host_ip: host_ip(&binding.host_ip)?,
                host_port: host_port(&binding.host_port)?,
            });
        }
    }
    if host.publish_all_ports {
        for port in config.exposed_ports.keys() {
            let (container_port, proto) = parse(port)?;
            if !wanted
                .iter()
                .any(|w| (w.container_port, w.proto) == (container_port, proto))
            {
                let host_port = HostPort::Ephemeral;
                wanted.push(Publish {
                    container_port,
                    proto,
                    host_ip: None,
                    host_port,
                });
            }
        }
    }
    Ok(wanted)
}

/// `NetworkSettings.Ports`: published ones with their bindings, exposed ones with null.
pub(crate) fn shown(
    config: &ContainerConfig,
    published: &[Published],
) -> Map<Option<Vec<PortBinding>>> {
    let mut ports: Map<Option<Vec<PortBinding>>> = Map::new();
    for port in config.exposed_ports.keys() {
        let full = if port.contains('/') {
            port.clone()
        } else {
            format!("{port}/tcp")
        };
        ports.insert(full, None);
    }
    for port in published {
        ports
            .entry(format!("{}/{}", port.container_port, port.proto))
            .or_default()
            .get_or_insert_default()
            .push(PortBinding {
                host_ip: port.host_ip.to_string(),
                host_port: port.host_port.to_string(),
            });
    }
    ports
}

fn host_ip(text: &str) -> Result<Option<IpAddr>> {
    if text.is_empty() {
        return Ok(None);
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse()
        .map(Some)
        .map_err(|_| Error::invalid(format!("invalid IP address: {text}")))
}

fn host_port(text: &str) -> Result<HostPort> {
    let invalid = || Error::invalid(format!("invalid port specification: {text:?}"));
    let (start, end) = text.split_once('-').unwrap_or((text, text));
    if start.is_empty() && end.is_empty() {
        return Ok(HostPort::Ephemeral);
    }
    let start: u16 = start.parse().map_err(|_| invalid())?;
    let end: u16 = end.parse().map_err(|_| invalid())?;
    match (start, end) {
        (0, 0) => Ok(HostPort::Ephemeral),
        (0, _) => Err(invalid()),
        _ if start > end => Err(invalid()),
        _ => Ok(HostPort::Range { start, end }),
    }
}

#[cfg(test)]
mod tests {
    use bridge::{HostPort, Protocol};
    use dockerapi::{ContainerConfig, HostConfig, PortBinding};

    #[test]
    fn bindings() {
        let mut host = HostConfig::default();
        let binding = |ip: &str, port: &str| PortBinding {
            host_ip: ip.into(),
            host_port: port.into(),
        };
        host.port_bindings.insert(
            "80/tcp".into(),
            Some(vec![binding("127.0.0.1", "8080-8090")]),
        );
        host.port_bindings
            .insert("53/udp".into(), Some(vec![binding("", "")]));
        let wanted = super::wanted(&ContainerConfig::default(), &host).expect("valid");
        assert_eq!(
            wanted[1].host_port,
            HostPort::Range {
                start: 8080,
                end: 8090
            }
        );
        assert_eq!(wanted[0].proto, Protocol::Udp);
        for (port, ip, host_port) in [
            ("0/tcp", "", ""),
            ("80/xyz", "", ""),
            ("80", "1.2.3", ""),
            ("80", "", "99999"),
            ("80", "", "9-8"),
        ] {
            let mut host = HostConfig::default();
            host.port_bindings
                .insert(port.into(), Some(vec![binding(ip, host_port)]));
            assert!(
                super::wanted(&ContainerConfig::default(), &host).is_err(),
                "{port} {ip} {host_port}"
            );
        }
    }
}
