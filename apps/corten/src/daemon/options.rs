//! dockerd's options, as one table for flags and for daemon.json.

use crate::cli::spec::{Flag, Kind};

/// All options of dockerd 28 on Linux, and some of our own; [`refusal`] tells which are not honoured.
#[rustfmt::skip]
pub(crate) static FLAGS: &[Flag] = &[
    flag('\0', "add-runtime", Kind::List, ""),
    flag('\0', "allow-direct-routing", Kind::Bool, ""),
    flag('\0', "authorization-plugin", Kind::List, ""),
    flag('\0', "bip", Kind::Text, ""),
    flag('\0', "bip6", Kind::Text, ""),
    flag('b', "bridge", Kind::Text, ""),
    flag('\0', "bridge-accept-fwmark", Kind::Text, ""),
    flag('\0', "cdi-spec-dir", Kind::List, ""),
    flag('\0', "cgroup-parent", Kind::Text, ""),
    flag('\0', "config-file", Kind::Text, ""),
    flag('\0', "containerd", Kind::Text, ""),
    flag('\0', "containerd-namespace", Kind::Text, ""),
    flag('\0', "containerd-plugins-namespace", Kind::Text, ""),
    flag('\0', "cpu-rt-period", Kind::Int, ""),
    flag('\0', "cpu-rt-runtime", Kind::Int, ""),
    flag('\0', "cri-containerd", Kind::Bool, ""),
    flag('\0', "data-root", Kind::Text, "/var/lib/corten"),
    flag('D', "debug", Kind::Bool, ""),
    flag('\0', "default-address-pool", Kind::List, ""),
    flag('\0', "default-cgroupns-mode", Kind::Text, ""),
    flag('\0', "default-gateway", Kind::Text, ""),
    flag('\0', "default-gateway-v6", Kind::Text, ""),
    flag('\0', "default-ipc-mode", Kind::Text, "private"),
    flag('\0', "default-network-opt", Kind::Map, ""),
    flag('\0', "default-runtime", Kind::Text, "corten"),
    flag('\0', "default-shm-size", Kind::Bytes, "64MiB"),
    flag('\0', "default-stop-timeout", Kind::Int, "10"),
    flag('\0', "default-ulimit", Kind::Ulimit, ""),
    flag('\0', "dns", Kind::List, ""),
    flag('\0', "dns-opt", Kind::List, ""),
    flag('\0', "dns-search", Kind::List, ""),
    flag('\0', "events-max-age", Kind::Text, ""),
    flag('\0', "events-max-size", Kind::Bytes, "64MiB"),
    flag('\0', "exec-opt", Kind::List, ""),
    flag('\0', "exec-root", Kind::Text, "/run/corten"),
    flag('\0', "experimental", Kind::Bool, ""),
    flag('\0', "feature", Kind::Map, ""),
    flag('\0', "firewall-backend", Kind::Text, "nftables"),
    flag('\0', "fixed-cidr", Kind::Text, ""),
    flag('\0', "fixed-cidr-v6", Kind::Text, ""),
    flag('G', "group", Kind::Text, "docker"),
    flag('H', "host", Kind::List, ""),
    flag('\0', "host-gateway-ip", Kind::List, ""),
    flag('\0', "http-proxy", Kind::Text, ""),
    flag('\0', "https-proxy", Kind::Text, ""),
    flag('\0', "icc", Kind::Bool, "true"),
    flag('\0', "image-gc-high", Kind::Int, "0"),
    flag('\0', "image-gc-low", Kind::Int, "0"),
    flag('\0', "image-keep", Kind::Text, ""),
    flag('\0', "image-keep-size", Kind::Bytes, ""),
    flag('\0', "image-max-size", Kind::Bytes, ""),
    flag('\0', "init", Kind::Bool, ""),
    flag('\0', "init-path", Kind::Text, ""),
    flag('\0', "insecure-registry", Kind::List, ""),
    flag('\0', "ip", Kind::Text, "0.0.0.0"),
    flag('\0', "ip-forward", Kind::Bool, "true"),
    flag('\0', "ip-forward-no-drop", Kind::Bool, ""),
    flag('\0', "ip-masq", Kind::Bool, "true"),
    flag('\0', "ip6tables", Kind::Bool, "true"),
    flag('\0', "iptables", Kind::Bool, "true"),
    flag('\0', "ipv6", Kind::Bool, ""),
    flag('\0', "label", Kind::List, ""),
    flag('\0', "live-restore", Kind::Bool, "true"),
    flag('\0', "log-driver", Kind::Text, "json-file"),
    flag('\0', "log-format", Kind::Text, "text"),
    flag('l', "log-level", Kind::Text, "info"),
    flag('\0', "log-opt", Kind::Map, ""),
    flag('\0', "max-concurrent-downloads", Kind::Uint16, "3"),
    flag('\0', "max-concurrent-uploads", Kind::Uint16, ""),
    flag('\0', "max-download-attempts", Kind::Uint16, "5"),
    flag('\0', "metrics-addr", Kind::Text, ""),
    flag('\0', "min-api-version", Kind::Text, dockerapi::MIN_API_VERSION),
    flag('\0', "mtu", Kind::Uint, "0"),
    flag('\0', "network-control-plane-mtu", Kind::Int, ""),
    flag('\0', "network-diagnostic-port", Kind::Int, ""),
    flag('\0', "no-new-privileges", Kind::Bool, ""),
    flag('\0', "no-proxy", Kind::Text, ""),
    flag('\0', "node-generic-resource", Kind::List, ""),
    flag('\0', "nri-opts", Kind::Text, ""),
    flag('\0', "offline", Kind::Bool, ""),
    flag('p', "pidfile", Kind::Text, ""),
    flag('\0', "raw-logs", Kind::Bool, ""),
    flag('\0', "registry-hosts-dir", Kind::List, ""),
    flag('\0', "registry-mirror", Kind::List, ""),
    flag('\0', "rootless", Kind::Bool, ""),
    flag('\0', "seccomp-profile", Kind::Text, "builtin"),
    flag('\0', "selinux-enabled", Kind::Bool, ""),
    flag('\0', "shutdown-timeout", Kind::Uint16, "15"),
    flag('\0', "signature-policy", Kind::Text, ""),
    flag('s', "storage-driver", Kind::Text, "overlay2"),
    flag('\0', "storage-opt", Kind::List, ""),
    flag('\0', "swarm-default-advertise-addr", Kind::Text, ""),
    flag('\0', "tls", Kind::Bool, ""),
    flag('\0', "tlscacert", Kind::Text, ""),
    flag('\0', "tlscert", Kind::Text, ""),
    flag('\0', "tlskey", Kind::Text, ""),
    flag('\0', "tlsverify", Kind::Bool, ""),
    flag('\0', "userland-proxy", Kind::Bool, "true"),
    flag('\0', "userland-proxy-path", Kind::Text, ""),
    flag('\0', "userns-remap", Kind::Text, ""),
    flag('\0', "validate", Kind::Bool, ""),
    flag('v', "version", Kind::Bool, ""),
];

const fn flag(short: char, name: &'static str, kind: Kind, default: &'static str) -> Flag {
    Flag {
        short,
        name,
        kind,
        value: "",
        default,
        usage: "",
    }
}

/// Options whose key in daemon.json is not their flag's name.
const KEYS: &[(&str, &str)] = &[
    ("add-runtime", "runtimes"),
    ("authorization-plugin", "authorization-plugins"),
    ("cdi-spec-dir", "cdi-spec-dirs"),
    ("default-address-pool", "default-address-pools"),
    ("default-network-opt", "default-network-opts"),
    ("default-ulimit", "default-ulimits"),
    ("dns-opt", "dns-opts"),
    ("exec-opt", "exec-opts"),
    ("feature", "features"),
    ("host", "hosts"),
    ("host-gateway-ip", "host-gateway-ips"),
    ("insecure-registry", "insecure-registries"),
    ("label", "labels"),
    ("log-opt", "log-opts"),
    ("node-generic-resource", "node-generic-resources"),
    ("registry-hosts-dir", "registry-hosts-dirs"),
    ("registry-mirror", "registry-mirrors"),
    ("storage-opt", "storage-opts"),
];

/// Keys of daemon.json that dockerd knows, that have no flag, and that are refused.
pub(crate) const FILE_ONLY: [&str; 5] = [
    "builder",
    "default-init",
    "resolv-conf",
    "swarm-raft-election-tick",
    "swarm-raft-heartbeat-tick",
];

/// Options with no key in daemon.json.
const FLAG_ONLY: &[&str] = &["config-file", "validate", "version"];

/// The option that a key of daemon.json sets.
pub(crate) fn of_key(key: &str) -> Option<&'static Flag> {
    // dockerd takes both numbers.
    let key = if key == "host-gateway-ip" {
        "host-gateway-ips"
    } else {
        key
    };
    let name = match KEYS.iter().find(|(_, known)| *known == key) {
        Some((name, _)) => name,
        None if KEYS.iter().any(|(name, _)| *name == key) || FLAG_ONLY.contains(&key) => {
            return None;
        }
        None => key,
    };
    FLAGS.iter().find(|flag| flag.name == name)
}

/// What Corten does about options that it cannot be told: the only value it takes, if any.
const FIXED: &[(&str, &str)] = &[
    ("allow-direct-routing", "false"),
    ("bip6", ""),
    ("bridge-accept-fwmark", ""),
    ("containerd", ""),
    ("containerd-namespace", ""),
    ("containerd-plugins-namespace", ""),
    ("cpu-rt-period", "0"),
    ("cpu-rt-runtime", "0"),
    ("cri-containerd", "false"),
    ("default-address-pool", ""),
    ("default-gateway", ""),
    ("default-gateway-v6", ""),
    ("default-network-opt", ""),
    ("experimental", "false"),
    ("firewall-backend", "nftables"),
    ("fixed-cidr-v6", ""),
    ("host-gateway-ip", ""),
    ("init-path", ""),
    ("ip-forward-no-drop", "false"),
    ("ip6tables", "true"),
    ("iptables", "true"),
    ("ipv6", "false"),
    ("max-concurrent-uploads", ""),
    ("network-control-plane-mtu", ""),
    ("network-diagnostic-port", "0"),
    ("node-generic-resource", ""),
    ("nri-opts", ""),
    ("rootless", "false"),
    ("selinux-enabled", "false"),
    ("storage-driver", "overlay2"),
    ("storage-opt", ""),
    ("swarm-default-advertise-addr", ""),
    ("userland-proxy-path", ""),
];

/// Features and what they may be set to.
const FEATURES: [&str; 2] = ["lazy-pull=false", "lazy-pull=true"];
/// Options that take effect when the settings are read again.
const LIVE: &[&str] = &[
    "authorization-plugin",
    "debug",
    "default-stop-timeout",
    "events-max-age",
    "events-max-size",
    "http-proxy",
    "https-proxy",
    "insecure-registry",
    "label",
    "live-restore",
    "log-level",
    "max-concurrent-downloads",
    "max-download-attempts",
    "no-proxy",
    "offline",
    "registry-hosts-dir",
    "registry-mirror",
    "shutdown-timeout",
    "signature-policy",
];

/// Whether a change of the option takes effect without a restart.
pub(crate) fn is_live(name: &str) -> bool {
    LIVE.contains(&name)
}

/// Why a value of an option is not honoured; `None` when it is.
pub(crate) fn refusal(name: &str, value: &str) -> Option<String> {
    if name == "feature" && !FEATURES.contains(&value) {
        return Some(format!("feature {value:?} is not supported yet"));
    }
    let (_, only) = FIXED.iter().find(|(fixed, _)| *fixed == name)?;
    if !only.is_empty() && *only == value {
        return None;
    }
    let hint = match name {
        "iptables" | "ip6tables" => ": Corten keeps its rules in an nftables table of its own",
        _ => "",
    };
    Some(if only.is_empty() {
        format!("option {name} is not supported yet (it was given {value:?}){hint}")
    } else {
        format!(
            "option {name} takes no other value than {only:?} yet (it was given {value:?}){hint}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_file() {
        assert_eq!(of_key("labels").map(|flag| flag.name), Some("label"));
        assert_eq!(of_key("dns").map(|flag| flag.name), Some("dns"));
        assert!(of_key("label").is_none());
        assert!(of_key("validate").is_none());
        assert!(of_key("nonsense").is_none());
    }

    #[test]
    fn tables_name_options_that_exist() {
        let exists = |name: &str| FLAGS.iter().any(|flag| flag.name == name);
        assert!(FIXED.iter().all(|(name, _)| exists(name)));
        assert!(KEYS.iter().all(|(name, _)| exists(name)));
        assert!(LIVE.iter().all(|name| exists(name)));
        assert!(refusal("data-root", "/x").is_none());
        assert!(refusal("iptables", "true").is_none());
        assert!(refusal("iptables", "false").is_some());
    }

    #[test]
    fn the_manual_has_every_option_where_it_belongs() {
        let manual = include_str!("../../../../docs/daemon.md");
        let (_, options) = manual.split_once("**Honoured**").expect("section");
        let (honoured, rest) = options.split_once("**One value only**").expect("section");
        let (single, refused) = rest.split_once("**Refused**").expect("section");
        for key in FILE_ONLY {
            assert!(of_key(key).is_none());
            assert!(refused.contains(&format!("`{key}`")), "{key}");
        }
        for flag in FLAGS {
            let section = match FIXED.iter().find(|(name, _)| *name == flag.name) {
                None => honoured,
                Some((_, "")) => refused,
                Some(_) => single,
            };
            let name = format!("`--{}`", flag.name);
            assert!(section.contains(&name), "{name}");
            assert_eq!(options.matches(&name).count(), 1, "{name}");
        }
    }
}
