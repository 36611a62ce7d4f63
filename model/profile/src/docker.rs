//! Filters in Docker's own JSON (`--security-opt seccomp=file`): the specification's form with
//! conditions on capabilities, architecture and kernel, which are resolved here.

use oci::runtime::{Seccomp, SeccompArg, SeccompRule};
use serde::Deserialize;

use crate::Host;

/// Why a profile is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not JSON of this form.
    #[error("decoding seccomp profile failed: {0}")]
    Json(#[from] serde_json::Error),
    /// Two ways of saying the same thing.
    #[error("both '{0}' and '{1}' are specified in the seccomp profile, use either '{0}' or '{1}'")]
    Both(&'static str, &'static str),
    /// `minKernel` is not `major.minor`.
    #[error("invalid kernel version {0:?} in the seccomp profile")]
    Kernel(String),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    arch_map: Vec<Architecture>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    listener_path: String,
    #[serde(default)]
    listener_metadata: String,
    #[serde(default)]
    syscalls: Option<Vec<Rule>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Architecture {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    name: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<SeccompArg>>,
    #[serde(default)]
    includes: Option<Condition>,
    #[serde(default)]
    excludes: Option<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    arches: Option<Vec<String>>,
    caps: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// Reads a profile and resolves it for this host and these bounding capabilities (`CAP_*`).
pub fn parse_seccomp(
    json: &str,
    host: Host<'_>,
    capabilities: &[String],
) -> Result<Seccomp, Error> {
    let profile: Profile = serde_json::from_str(json)?;
    if !profile.architectures.is_empty() && !profile.arch_map.is_empty() {
        return Err(Error::Both("architectures", "archMap"));
    }
    let mut architectures = profile.architectures;
    let native = native(host.architecture);
    if let Some(entry) = profile
        .arch_map
        .into_iter()
        .find(|a| Some(a.architecture.as_str()) == native)
    {
        architectures.push(entry.architecture);
        architectures.extend(entry.sub_architectures.unwrap_or_default());
    }
    let mut syscalls = Vec::new();
    for rule in profile.syscalls.unwrap_or_default() {
        let mut names = rule.names.unwrap_or_default();
        if !rule.name.is_empty() {
            if !names.is_empty() {
                return Err(Error::Both("name", "names"));
            }
            names.push(rule.name);
        }
        if rule
            .excludes
            .as_ref()
            .map_or(Ok(false), |c| c.excludes(host, capabilities))?
            || !rule
                .includes
                .as_ref()
                .map_or(Ok(true), |c| c.includes(host, capabilities))?
        {
            continue;
        }
        syscalls.push(SeccompRule {
            names,
            action: rule.action,
            errno_ret: rule.errno_ret,
            args: rule.args.unwrap_or_default(),
        });
    }
    Ok(Seccomp {
        default_action: profile.default_action,
        default_errno_ret: profile.default_errno_ret,
        architectures,
        flags: (!profile.flags.is_empty()).then_some(profile.flags),
        listener_path: profile.listener_path,
        listener_metadata: profile.listener_metadata,
        syscalls,
    })
}

impl Condition {
    /// Any of it holds.
    fn excludes(&self, host: Host<'_>, capabilities: &[String]) -> Result<bool, Error> {
        let arch = self.arches.iter().flatten().any(|a| a == host.architecture);
        let caps = self.caps.iter().flatten().any(|c| capabilities.contains(c));
        Ok(arch || caps || self.kernel(host)?.unwrap_or(false))
    }

    /// All of it holds.
    fn includes(&self, host: Host<'_>, capabilities: &[String]) -> Result<bool, Error> {
        let arch = match self.arches.as_deref() {
            None | Some([]) => true,
            Some(list) => list.iter().any(|a| a == host.architecture),
        };
        let caps = self.caps.iter().flatten().all(|c| capabilities.contains(c));
        Ok(arch && caps && self.kernel(host)?.unwrap_or(true))
    }

    /// The host's kernel is new enough; `None` when nothing is said.
    fn kernel(&self, host: Host<'_>) -> Result<Option<bool>, Error> {
        let Some(text) = &self.min_kernel else {
            return Ok(None);
        };
        let parsed = text
            .split_once('.')
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        let wanted: (u32, u32) = parsed.ok_or_else(|| Error::Kernel(text.clone()))?;
        Ok(Some(host.kernel >= wanted))
    }
}

fn native(architecture: &str) -> Option<&'static str> {
    Some(match architecture {
        "amd64" => "SCMP_ARCH_X86_64",
        "386" => "SCMP_ARCH_X86",
        "arm64" => "SCMP_ARCH_AARCH64",
        "arm" => "SCMP_ARCH_ARM",
        "mips64" => "SCMP_ARCH_MIPS64",
        "mips64le" => "SCMP_ARCH_MIPSEL64",
        "ppc64le" => "SCMP_ARCH_PPC64LE",
        "riscv64" => "SCMP_ARCH_RISCV64",
        "s390x" => "SCMP_ARCH_S390X",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Host<'static> = Host {
        architecture: "amd64",
        kernel: (6, 1),
    };

    fn names(json: &str, caps: &[&str]) -> Vec<String> {
        let caps: Vec<String> = caps.iter().map(|c| (*c).to_owned()).collect();
        let profile = parse_seccomp(json, HOST, &caps).unwrap();
        profile.syscalls.into_iter().flat_map(|r| r.names).collect()
    }

    #[test]
    fn conditions() {
        let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
            {"name":"a","action":"SCMP_ACT_ALLOW"},
            {"names":["b"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_X"]}},
            {"names":["c"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_X"]}},
            {"names":["d"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["arm64"]}},
            {"names":["e"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"6.2"}},
            {"names":["f"],"action":"SCMP_ACT_ALLOW","args":null,"excludes":{"minKernel":"6.2"}}]}"#;
        assert_eq!(names(json, &[]), ["a", "c", "f"]);
        assert_eq!(names(json, &["CAP_X"]), ["a", "b", "f"]);
    }

    #[test]
    fn refused() {
        let text = |json: &str| parse_seccomp(json, HOST, &[]).unwrap_err().to_string();
        assert!(text("{").starts_with("decoding seccomp profile failed"));
        assert_eq!(
            text(
                r#"{"defaultAction":"SCMP_ACT_KILL","architectures":["SCMP_ARCH_X86"],
                "archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}"#
            ),
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either \
             'architectures' or 'archMap'"
        );
        let both = r#"{"defaultAction":"x","syscalls":[{"name":"a","names":["b"],"action":"y"}]}"#;
        assert!(text(both).starts_with("both 'name' and 'names'"));
        let kernel = r#"{"defaultAction":"x","syscalls":[{"name":"a","action":"y","includes":{"minKernel":"z"}}]}"#;
        assert!(text(kernel).starts_with("invalid kernel version"));
    }
}
