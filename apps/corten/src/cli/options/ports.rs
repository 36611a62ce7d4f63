//! `--publish` and `--expose`.

use std::collections::BTreeMap;

use dockerapi::{Map, PortBinding};
use oci::image::Empty;

/// What is exposed, and where each port is published.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    /// By `80/tcp`.
    pub(crate) exposed: Map<Empty>,
    /// By `80/tcp`.
    pub(crate) bindings: BTreeMap<String, Option<Vec<PortBinding>>>,
}

/// Reads all `--publish` and `--expose`.
///
/// # Errors
/// docker's text.
pub(crate) fn parse(publish: &[String], expose: &[String]) -> Result<Ports, String> {
    let mut ports = Ports::default();
    for spec in publish {
        let spec = if spec.contains('=') {
            long_form(spec)?
        } else {
            spec.clone()
        };
        publish_one(&mut ports, &spec)?;
    }
    for spec in expose {
        if spec.contains(':') {
            return Err(format!("invalid port format for --expose: {spec}"));
        }
        let (range, proto) = spec.split_once('/').unwrap_or((spec, "tcp"));
        let (first, last) = range_of(range).map_err(|error| {
            format!("invalid range format for --expose: {range}, error: {error}")
        })?;
        for port in first..=last {
            let proto = if proto.is_empty() { "tcp" } else { proto };
            ports.exposed.insert(format!("{port}/{proto}"), Empty {});
        }
    }
    Ok(ports)
}

/// `published=8080,target=80,protocol=tcp`.
fn long_form(spec: &str) -> Result<String, String> {
    let mut published = String::new();
    let mut target = String::new();
    let mut protocol = "tcp".to_owned();
    for field in spec.split(',') {
        let Some((key, value)) = field.split_once('=') else {
            return Err(format!(
                "invalid port publish opts format (should be name=value but got '{field}')"
            ));
        };
        match key {
            "published" => published = value.into(),
            "target" => target = value.into(),
            "protocol" => protocol = value.into(),
            "mode" => {}
            _ => return Err(format!("invalid field key {key}")),
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

/// `[ip:][host[-range]:]container[-range][/proto]`.
fn publish_one(ports: &mut Ports, spec: &str) -> Result<(), String> {
    let (rest, proto) = match spec.rsplit_once('/') {
        Some((rest, proto)) => (rest, proto),
        None => (spec, "tcp"),
    };
    let (rest, container) = rest.rsplit_once(':').unwrap_or(("", rest));
    let (ip, host) = match rest.rsplit_once(':') {
        Some((ip, host)) => (ip, host),
        None => ("", rest),
    };
    // `ip::port` leaves the host's port to the engine.
    let ip = if ip.len() > 1 && ip.starts_with('[') && ip.ends_with(']') {
        &ip[1..ip.len() - 1]
    } else {
        ip
    };
    if !ip.is_empty() && ip.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address: {ip}"));
    }
    if container.is_empty() {
        return Err(format!("no port specified: {spec}<empty>"));
    }
    let (first, last) =
        range_of(container).map_err(|_| format!("invalid containerPort: {container}"))?;
    let hosts = if host.is_empty() {
        None
    } else {
        Some(range_of(host).map_err(|_| format!("invalid hostPort: {host}"))?)
    };
    let proto = if proto.is_empty() { "tcp" } else { proto };
    if !matches!(proto.to_lowercase().as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {proto}"));
    }
    if let Some((from, to)) = hosts
        && to - from != last - first
        // One container port may take any host port of a range.
        && first != last
    {
        return Err(format!(
            "invalid ranges specified for container and host Ports: {container} and {host}"
        ));
    }
    for (n, port) in (first..=last).enumerate() {
        let host_port = match hosts {
            None => String::new(),
            Some((from, to)) if first == last && from != to => format!("{from}-{to}"),
            Some((from, _)) => (usize::from(from) + n).to_string(),
        };
        let key = format!("{port}/{}", proto.to_lowercase());
        ports.exposed.insert(key.clone(), Empty {});
        ports
            .bindings
            .entry(key)
            .or_default()
            .get_or_insert_default()
            .push(PortBinding {
                host_ip: ip.to_owned(),
                host_port,
            });
    }
    Ok(())
}

fn range_of(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| -> Result<u16, String> {
        text.parse().map_err(|_| {
            let why = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
                "value out of range"
            } else {
                "invalid syntax"
            };
            format!("strconv.ParseUint: parsing {text:?}: {why}")
        })
    };
    if text.is_empty() {
        return Err("empty string specified for ports".into());
    }
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    if last < first {
        return Err(format!("invalid range specified for port: {text}"));
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::parse;

    fn one(spec: &str) -> Result<String, String> {
        let ports = parse(&[spec.to_owned()], &[])?;
        Ok(serde_json::to_string(&ports.bindings).expect("json"))
    }

    #[test]
    fn forms() {
        for (spec, want) in [
            ("80", r#"{"80/tcp":[{"HostIp":"","HostPort":""}]}"#),
            ("[::1]::5", r#"{"5/tcp":[{"HostIp":"::1","HostPort":""}]}"#),
            (
                "127.0.0.1:90-91:90-91/udp",
                r#"{"90/udp":[{"HostIp":"127.0.0.1","HostPort":"90"}],"91/udp":[{"HostIp":"127.0.0.1","HostPort":"91"}]}"#,
            ),
            (
                "8000-8010:80",
                r#"{"80/tcp":[{"HostIp":"","HostPort":"8000-8010"}]}"#,
            ),
        ] {
            assert_eq!(one(spec).expect(spec), want);
        }
        assert_eq!(one("a:b:c:d").expect_err("ip"), "invalid IP address: a:b");
        assert_eq!(one("99999:1").expect_err("port"), "invalid hostPort: 99999");
        assert_eq!(
            one("1-3:1-2").expect_err("range"),
            "invalid ranges specified for container and host Ports: 1-2 and 1-3"
        );
    }
}
