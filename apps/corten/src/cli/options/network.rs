//! `--network`, plain and with options, and the older options of the first network.

use std::collections::BTreeMap;

use dockerapi::{EndpointIpam, EndpointSettings, NetworkingConfig};

use super::csv;
use crate::cli::flags::Parsed;
use crate::cli::values::parse_int;

/// One network wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attachment {
    target: String,
    settings: EndpointSettings,
    ipam: EndpointIpam,
}

/// Reads one `--network`.
///
/// # Errors
/// docker's text.
pub(crate) fn parse(text: &str) -> Result<Attachment, String> {
    let mut network = Attachment::default();
    if !is_long(text) {
        network.target = text.to_owned();
        return Ok(network);
    }
    for field in csv::fields(text)? {
        let Some((key, value)) = field.split_once('=') else {
            return Err(format!("invalid field {field}"));
        };
        let (key, value) = (key.trim().to_lowercase(), value.trim());
        match key.as_str() {
            "name" => network.target = value.to_lowercase(),
            "alias" => network
                .settings
                .aliases
                .get_or_insert_default()
                .push(value.to_lowercase()),
            "ip" => network.ipam.ipv4_address = value.into(),
            "ip6" => network.ipam.ipv6_address = value.into(),
            "mac-address" => network.settings.mac_address = value.to_lowercase(),
            "link-local-ip" => network.ipam.link_local_ips.push(value.into()),
            "driver-opt" => {
                let Some((name, value)) = value.split_once('=') else {
                    return Err("invalid key value pair format in driver options".into());
                };
                network
                    .settings
                    .driver_opts
                    .get_or_insert_default()
                    .insert(name.to_lowercase(), value.to_lowercase());
            }
            "gw-priority" => {
                network.settings.gw_priority = parse_int(value)
                    .map_err(|error| format!("invalid gw-priority ({value}): {error}"))?;
            }
            _ => return Err(format!("invalid field key {key}")),
        }
    }
    if network.target.is_empty() {
        return Err("network name/id is not specified".into());
    }
    Ok(network)
}

/// Whether a word, `=` and a word occur in the text.
fn is_long(text: &str) -> bool {
    let word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    text.match_indices('=')
        .any(|(at, _)| word(text[..at].chars().next_back()) && word(text[at + 1..].chars().next()))
}

/// The network mode and the endpoints of all networks given.
///
/// # Errors
/// docker's text.
pub(crate) fn config(flags: &Parsed) -> Result<(String, NetworkingConfig), String> {
    let mut networks = flags
        .list("network")
        .iter()
        .map(|text| parse(text))
        .collect::<Result<Vec<_>, _>>()?;
    if networks.is_empty() {
        networks.push(Attachment {
            target: "default".into(),
            ..Attachment::default()
        });
    }
    let several = networks.len() > 1;
    if several
        && networks
            .iter()
            .any(|network| !user_defined(&network.target))
    {
        return Err(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
                .into(),
        );
    }
    older_options(&mut networks[0], flags)?;
    let mode = networks[0].target.clone();
    let mut endpoints: BTreeMap<String, Option<EndpointSettings>> = BTreeMap::new();
    for network in networks {
        let Attachment {
            target,
            mut settings,
            ipam,
        } = network;
        if target.trim().is_empty() {
            return Err("no name set for network".into());
        }
        if !user_defined(&target) {
            if settings.aliases.as_ref().is_some_and(|all| !all.is_empty()) {
                return Err(
                    "network-scoped aliases are only supported for user-defined networks".into(),
                );
            }
            if settings.links.as_ref().is_some_and(|all| !all.is_empty()) && !plain_bridge(&target)
            {
                return Err("links are only supported for user-defined networks".into());
            }
        }
        if ipam != EndpointIpam::default() {
            settings.ipam_config = Some(ipam);
        }
        if !settings.mac_address.is_empty() && !is_mac(&settings.mac_address) {
            return Err(format!(
                "{} is not a valid mac address",
                settings.mac_address
            ));
        }
        if endpoints.insert(target.clone(), Some(settings)).is_some() {
            return Err(format!("network {target:?} is specified multiple times"));
        }
    }
    Ok((
        mode,
        NetworkingConfig {
            endpoints_config: endpoints,
        },
    ))
}

/// `--network-alias`, `--link`, `--ip`, … belong to the first network.
fn older_options(network: &mut Attachment, flags: &Parsed) -> Result<(), String> {
    let conflict = |given: bool, option: &str, own: &str| {
        if given {
            Err(format!(
                "conflicting options: cannot specify both {option} and per-network {own}"
            ))
        } else {
            Ok(())
        }
    };
    let aliases = flags.list("network-alias");
    if !aliases.is_empty() {
        conflict(
            network.settings.aliases.is_some(),
            "--network-alias",
            "alias",
        )?;
        network.settings.aliases = Some(aliases);
    }
    let links = flags.list("link");
    if !links.is_empty() && user_defined(&network.target) {
        network.settings.links = Some(links);
    }
    let ip = flags.text("ip");
    if !ip.is_empty() {
        conflict(
            !network.ipam.ipv4_address.is_empty(),
            "--ip",
            "IPv4 address",
        )?;
        network.ipam.ipv4_address = ip.into();
    }
    let ip6 = flags.text("ip6");
    if !ip6.is_empty() {
        conflict(
            !network.ipam.ipv6_address.is_empty(),
            "--ip6",
            "IPv6 address",
        )?;
        network.ipam.ipv6_address = ip6.into();
    }
    let mac = flags.text("mac-address");
    if !mac.is_empty() {
        conflict(
            !network.settings.mac_address.is_empty(),
            "--mac-address",
            "MAC address",
        )?;
        network.settings.mac_address = mac.into();
    }
    let local = flags.list("link-local-ip");
    if !local.is_empty() {
        conflict(
            !network.ipam.link_local_ips.is_empty(),
            "--link-local-ip",
            "link-local IP addresses",
        )?;
        network.ipam.link_local_ips = local;
    }
    Ok(())
}

fn plain_bridge(mode: &str) -> bool {
    matches!(mode, "default" | "bridge")
}

/// Whether the mode names a network that somebody made.
fn user_defined(mode: &str) -> bool {
    !matches!(mode, "default" | "bridge" | "host" | "none" | "nat")
        && !mode.starts_with("container:")
}

/// Six, eight or twenty bytes in one of the three usual forms.
fn is_mac(text: &str) -> bool {
    let groups: Vec<&str> = if text.contains('.') {
        text.split('.').collect()
    } else {
        text.split([':', '-']).collect()
    };
    let width = if text.contains('.') { 4 } else { 2 };
    let bytes = groups.len() * width / 2;
    matches!(bytes, 6 | 8 | 20)
        && groups
            .iter()
            .all(|group| group.len() == width && group.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::{is_mac, parse};

    #[test]
    fn forms() {
        assert_eq!(parse("foo").expect("valid").target, "foo");
        let long = parse("name=a,alias=B,ip=1.2.3.4,driver-opt=x=y").expect("valid");
        assert_eq!(long.ipam.ipv4_address, "1.2.3.4");
        assert_eq!(long.settings.aliases, Some(vec!["b".into()]));
        assert_eq!(
            parse("name=a,foo=b").expect_err("key"),
            "invalid field key foo"
        );
        assert!(is_mac("02:00:00:00:00:01") && is_mac("0200.0000.0001") && !is_mac("x"));
    }
}
