//! Capabilities, seccomp and `--security-opt`.

use compute::Features;
use dockerapi::HostConfig;
use oci::runtime::{Capabilities, Seccomp};

use super::{Context, all_sets};
use crate::{Error, Result};

/// `--security-opt`, parsed.
#[derive(Debug, Default)]
pub(crate) struct SecurityOptions {
    /// `unconfined`, `builtin` or a profile's JSON.
    pub(super) seccomp: Option<String>,
    pub(super) no_new_privileges: Option<bool>,
    /// `systempaths=unconfined`.
    pub(super) unmasked: bool,
}

/// Reads the options; what this host cannot do is refused by name.
pub(crate) fn parse(options: &[String]) -> Result<SecurityOptions> {
    let mut parsed = SecurityOptions::default();
    for option in options {
        if option == "no-new-privileges" {
            parsed.no_new_privileges = Some(true);
            continue;
        }
        // The old form has a colon.
        let Some((key, value)) = option.split_once('=').or_else(|| option.split_once(':')) else {
            return Err(Error::invalid(format!(
                "invalid --security-opt 1: {option:?}"
            )));
        };
        match (key, value) {
            ("seccomp", value) => parsed.seccomp = Some(value.to_owned()),
            ("no-new-privileges", "true") => parsed.no_new_privileges = Some(true),
            ("no-new-privileges", "false") => parsed.no_new_privileges = Some(false),
            ("no-new-privileges", _) => {
                return Err(Error::invalid(format!(
                    "invalid --security-opt 2: {option:?}"
                )));
            }
            ("systempaths", "unconfined") => parsed.unmasked = true,
            // Asking for none where there is none.
            ("apparmor", "unconfined") | ("label", "disable") => {}
            ("apparmor" | "label" | "writable-cgroups" | "credentialspec", _) => {
                return Err(Error::not_implemented(format!(
                    "security option {option:?} is not supported yet"
                )));
            }
            _ => {
                return Err(Error::invalid(format!(
                    "invalid --security-opt 2: {option:?}"
                )));
            }
        }
    }
    Ok(parsed)
}

/// The sets of the container's program.
pub(super) fn capabilities(host: &HostConfig, features: &Features) -> Result<Capabilities> {
    let all = available(features);
    if host.privileged {
        return Ok(all_sets(all));
    }
    let checked = |list: &Option<Vec<String>>, what: &str| {
        normalize(list.as_deref().unwrap_or_default(), &all)
            .map_err(|error| Error::invalid(format!("invalid {what}: {error}")))
    };
    let add = checked(&host.cap_add, "CapAdd")?;
    let drop = checked(&host.cap_drop, "CapDrop")?;
    let is_all = |list: &[String]| list.iter().any(|name| name == "ALL");
    let base = match (is_all(&add), is_all(&drop)) {
        (true, _) => all,
        (false, true) => Vec::new(),
        (false, false) => names(&profile::CAPABILITIES),
    };
    let mut names: Vec<String> = base
        .into_iter()
        .filter(|name| !drop.contains(name))
        .collect();
    for name in add {
        if name != "ALL" && !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(all_sets(names))
}

/// The sets of a process started by exec in the container.
pub(crate) fn exec_capabilities(
    host: &HostConfig,
    privileged: bool,
    features: &Features,
) -> Result<Capabilities> {
    if privileged {
        Ok(all_sets(available(features)))
    } else {
        capabilities(host, features)
    }
}

/// What the engine can give: it may run with less than there is.
fn available(features: &Features) -> Vec<String> {
    match features.capabilities.is_empty() {
        true => names(&profile::ALL_CAPABILITIES),
        false => features.capabilities.clone(),
    }
}

/// The filter; `None` runs without one.
pub(crate) fn seccomp(
    options: &SecurityOptions,
    privileged: bool,
    capabilities: &Capabilities,
    context: &Context<'_>,
) -> Result<Option<Seccomp>> {
    let wanted = options
        .seccomp
        .as_deref()
        .or(context.config.seccomp_profile.as_deref());
    if privileged || wanted == Some("unconfined") {
        return Ok(None);
    }
    if !context.features.seccomp {
        return match wanted {
            Some(_) => Err(Error::invalid(
                "seccomp is not enabled in your kernel, cannot run a custom seccomp profile",
            )),
            None => Ok(None),
        };
    }
    let host = profile::Host {
        architecture: context.architecture,
        kernel: context.kernel,
    };
    match wanted {
        None | Some("builtin") => Ok(Some(profile::default_seccomp(host, &capabilities.bounding))),
        Some(json) => profile::parse_seccomp(json, host, &capabilities.bounding)
            .map(Some)
            .map_err(|error| Error::invalid(format!("Decoding seccomp profile failed: {error}"))),
    }
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|&name| name.to_owned()).collect()
}

/// `net_admin` → `CAP_NET_ADMIN`; `ALL` stays.
fn normalize(names: &[String], available: &[String]) -> Result<Vec<String>> {
    names
        .iter()
        .map(|name| {
            let upper = name.to_uppercase();
            if upper == "ALL" {
                return Ok(upper);
            }
            let full = if upper.starts_with("CAP_") {
                upper
            } else {
                format!("CAP_{upper}")
            };
            if available.contains(&full) {
                Ok(full)
            } else if profile::ALL_CAPABILITIES.contains(&full.as_str()) {
                Err(Error::invalid(format!(
                    "capability not supported by your kernel or not available in the current \
                     environment: {full:?}"
                )))
            } else {
                Err(Error::invalid(format!("unknown capability: {full:?}")))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use dockerapi::HostConfig;

    fn bounding(add: &[&str], drop: &[&str]) -> crate::Result<Vec<String>> {
        let list = |names: &[&str]| Some(names.iter().map(|&n| n.to_owned()).collect());
        let host = HostConfig {
            cap_add: list(add),
            cap_drop: list(drop),
            ..HostConfig::default()
        };
        super::capabilities(&host, &compute::Features::default()).map(|sets| sets.bounding)
    }

    #[test]
    fn add_and_drop() {
        let has = |set: &[String], name: &str| set.iter().any(|n| n == name);
        assert_eq!(bounding(&[], &[]).expect("default").len(), 14);
        assert_eq!(bounding(&["chown"], &["all"]).expect("one"), ["CAP_CHOWN"]);
        let all = bounding(&["ALL"], &["CAP_SYS_ADMIN"]).expect("all but one");
        assert!(has(&all, "CAP_NET_ADMIN") && !has(&all, "CAP_SYS_ADMIN"));
        assert!(bounding(&["bogus"], &[]).is_err());
    }

    #[test]
    fn options() {
        let parse = |text: &str| super::parse(&[text.to_owned()]);
        assert_eq!(
            parse("no-new-privileges").expect("flag").no_new_privileges,
            Some(true)
        );
        assert_eq!(
            parse("no-new-privileges:false")
                .expect("old form")
                .no_new_privileges,
            Some(false)
        );
        assert!(parse("systempaths=unconfined").expect("unmasked").unmasked);
        assert!(parse("bogus=1").is_err());
        assert!(parse("apparmor=mine").is_err());
    }
}
