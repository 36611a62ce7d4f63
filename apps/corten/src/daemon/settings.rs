//! Flags and daemon.json, joined into settings. The file's keys become flags, so that both are
//! read and checked by the same code.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow, bail};
use engine::{Bridge, Config, Live, RegistriesSource, RegistrySettings};
use rest::ApiVersion;
use serde_json::Value;

use super::options::{self, FILE_ONLY, FLAGS};
use super::{remap, runtimes};
use crate::cli::app::{DOCKER_SOCKET, OWN_SOCKET};
use crate::cli::flags::{self, Parsed};
use crate::cli::options::limits::ulimit;
use crate::cli::values::parse_duration;

/// The key of daemon.json below which proxies are.
const PROXIES: &str = "proxies";

/// The variable that sets the least version of the API over all other settings, as for dockerd.
const MIN_API_VERSION: &str = "DOCKER_MIN_API_VERSION";

/// What the arguments ask for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// A daemon.
    Run(Box<Settings>),
    /// A text, and no daemon.
    Said(String),
}

/// The daemon's settings.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) engine: Config,
    /// What of it may change while the daemon runs.
    pub(crate) live: Live,
    pub(crate) listen: Listen,
    pub(crate) pidfile: Option<PathBuf>,
    pub(crate) min_api_version: ApiVersion,
    /// Plugins that are asked about requests, in this order.
    pub(crate) authorization: Vec<String>,
    /// `host:port` on which metrics are served.
    pub(crate) metrics: Option<String>,
    pub(crate) log_level: &'static str,
    pub(crate) raw_logs: bool,
    /// Lines of JSON.
    pub(crate) json_logs: bool,
    /// All options by name, to tell what a reload changes.
    pub(crate) given: Vec<(&'static str, Vec<String>)>,
}

impl Settings {
    /// Names of the options that another reading has other values for: those that take effect
    /// while the daemon runs, and those that need a restart.
    pub(crate) fn changes(&self, new: &Self) -> (Vec<&'static str>, Vec<&'static str>) {
        let same = |name: &str, values: &Vec<String>| {
            let old = self.given.iter().find(|(known, _)| *known == name);
            old.is_some_and(|(_, old)| old == values)
        };
        new.given
            .iter()
            .filter(|(name, values)| !same(name, values))
            .map(|(name, _)| *name)
            .partition(|name| options::is_live(name))
    }
}

/// Where and how the API is served.
#[derive(Debug)]
pub(crate) struct Listen {
    /// `unix://`, `tcp://` and `fd://`.
    pub(crate) hosts: Vec<String>,
    /// Group that may use unix sockets.
    pub(crate) group: String,
    /// `--group` was given: the group must exist then.
    pub(crate) group_given: bool,
    /// Certificate, key, and the CA of clients.
    pub(crate) tls: Option<(PathBuf, PathBuf, Option<PathBuf>)>,
    /// TLS was turned off by name: plain TCP is wanted.
    pub(crate) plain_tcp: bool,
}

/// Reads the command line and the configuration file.
///
/// # Errors
/// With dockerd's texts, naming the option and the file.
pub(crate) fn read(args: &[String], called_dockerd: bool) -> Result<Asked> {
    let program = if called_dockerd {
        "dockerd"
    } else {
        "corten daemon"
    };
    let given = flags::parse(FLAGS, args, true)
        .map_err(|text| anyhow!("{text}\nSee '{program} --help'."))?;
    if let Some(extra) = given.args.first() {
        bail!("{program} accepts no arguments: {extra}\nSee '{program} --help'.");
    }
    if given.help {
        return Ok(Asked::Said(help(program)));
    }
    if given.on("version") {
        return Ok(Asked::Said(format!(
            "Corten version {} (Engine API {})",
            env!("CARGO_PKG_VERSION"),
            dockerapi::API_VERSION
        )));
    }
    let path = config_file(&given, called_dockerd);
    let whole = with_file(given, args, &path)?;
    refuse(&whole)?;
    let mut settings = settings(&whole, called_dockerd)?;
    settings.engine.registries_source = Some(registries_source(args, &path));
    if whole.on("validate") {
        return Ok(Asked::Said("configuration OK".into()));
    }
    Ok(Asked::Run(Box::new(settings)))
}

fn help(program: &str) -> String {
    let mut text = format!("Usage:  {program} [OPTIONS]\n\nRuns the engine.\n\nOptions:\n");
    for flag in FLAGS {
        if flag.default.is_empty() && options::refusal(flag.name, "").is_some() {
            continue;
        }
        let short = match flag.short {
            '\0' => "    ".to_owned(),
            letter => format!("-{letter}, "),
        };
        let default = match flag.default {
            "" => String::new(),
            default => format!(" (default {default})"),
        };
        text += &format!("  {short}--{}{default}\n", flag.name);
    }
    text + "\nMeanings are dockerd's; docs/daemon.md tells where Corten differs."
}

fn config_file(given: &Parsed, called_dockerd: bool) -> PathBuf {
    match given.text("config-file") {
        "" if called_dockerd => "/etc/docker/daemon.json".into(),
        "" => "/etc/corten/daemon.json".into(),
        path => path.into(),
    }
}

fn with_file(given: Parsed, args: &[String], path: &Path) -> Result<Parsed> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error)
            if error.kind() == std::io::ErrorKind::NotFound && !given.changed("config-file") =>
        {
            return Ok(given);
        }
        Err(error) => {
            return Err(anyhow!(
                "unable to configure the Docker daemon with file {}: {error}",
                path.display()
            ));
        }
    };
    let named = || {
        format!(
            "unable to configure the Docker daemon with file {}",
            path.display()
        )
    };
    let more = from_json(&text, &given).with_context(named)?;
    let all: Vec<String> = args.iter().cloned().chain(more).collect();
    flags::parse(FLAGS, &all, true)
        .map_err(|text| anyhow!(text))
        .with_context(named)
}

/// The file's settings as flags.
fn from_json(text: &str, given: &Parsed) -> Result<Vec<String>> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let object: serde_json::Map<String, Value> = serde_json::from_str(text)?;
    let refused = object
        .iter()
        .find(|(key, _)| FILE_ONLY.contains(&key.as_str()));
    if let Some((key, value)) = refused {
        bail!("option {key} is not supported yet (it was given {value})");
    }
    let unknown: Vec<&str> = object
        .keys()
        .map(String::as_str)
        .filter(|key| *key != PROXIES && options::of_key(key).is_none())
        .collect();
    if !unknown.is_empty() {
        bail!(
            "the following directives don't match any configuration option: {}",
            unknown.join(", ")
        );
    }
    let mut flags = Vec::new();
    let mut twice = Vec::new();
    for (key, value) in pairs(&object)? {
        let Some(flag) = options::of_key(key) else {
            continue;
        };
        // As with dockerd, runtimes may be in both.
        if given.changed(flag.name) && key != "runtimes" {
            twice.push(format!(
                "{}: (from flag: {:?}, from file: {value})",
                flag.name,
                given.list(flag.name)
            ));
            continue;
        }
        for text in texts(key, value)? {
            flags.push(format!("--{}={text}", flag.name));
        }
    }
    if !twice.is_empty() {
        bail!(
            "the following directives are specified both as a flag and in the configuration file: {}",
            twice.join(", ")
        );
    }
    Ok(flags)
}

/// The file's keys, with those of the object of proxies among them.
fn pairs(object: &serde_json::Map<String, Value>) -> Result<Vec<(&str, &Value)>> {
    let mut pairs = Vec::new();
    for (key, value) in object {
        match value {
            Value::Object(proxies) if key == PROXIES => {
                let known = ["http-proxy", "https-proxy", "no-proxy"];
                if let Some(strange) = proxies.keys().find(|key| !known.contains(&key.as_str())) {
                    bail!(
                        "the following directives don't match any configuration option: {strange}"
                    );
                }
                pairs.extend(proxies.iter().map(|(key, value)| (key.as_str(), value)));
            }
            value if key == PROXIES => bail!("{key}: unexpected value {value}"),
            value => pairs.push((key.as_str(), value)),
        }
    }
    Ok(pairs)
}

fn texts(key: &str, value: &Value) -> Result<Vec<String>> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        _ => Err(anyhow!("{key}: unexpected value {value}")),
    };
    match value {
        Value::Null => Ok(Vec::new()),
        value if key == "runtimes" => runtimes::as_flags(key, value),
        Value::Array(list) => list.iter().map(scalar).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| match value {
                Value::Object(limit) => {
                    let number = |of: &str| limit.get(of).and_then(Value::as_i64);
                    match (number("Soft"), number("Hard")) {
                        (Some(soft), Some(hard)) => Ok(format!("{name}={soft}:{hard}")),
                        _ => Err(anyhow!("{key}: unexpected value {value} of {name}")),
                    }
                }
                value => Ok(format!("{name}={}", scalar(value)?)),
            })
            .collect(),
        value => Ok(vec![scalar(value)?]),
    }
}

fn refuse(given: &Parsed) -> Result<()> {
    for flag in FLAGS {
        for value in given.list(flag.name) {
            if let Some(why) = options::refusal(flag.name, &value) {
                bail!(why);
            }
        }
    }
    Ok(())
}

fn settings(given: &Parsed, called_dockerd: bool) -> Result<Settings> {
    let level = if given.on("debug") && !given.changed("log-level") {
        "debug"
    } else {
        given.text("log-level")
    };
    let log_level = match level {
        "trace" => "trace",
        "debug" => "debug",
        "info" => "info",
        "warn" | "warning" => "warn",
        "error" | "fatal" | "panic" => "error",
        other => bail!("invalid logging level: {other}"),
    };
    let min_api_version = match std::env::var(MIN_API_VERSION) {
        Ok(version) if !version.is_empty() => {
            min_version(&version).with_context(|| format!("invalid {MIN_API_VERSION}"))?
        }
        _ => min_version(given.text("min-api-version"))?,
    };
    let engine = engine(given)?;
    Ok(Settings {
        listen: listen(given, called_dockerd)?,
        pidfile: Some(match given.text("pidfile") {
            "" => engine.exec_root.join("corten.pid"),
            path => path.into(),
        }),
        live: live(given)?,
        min_api_version,
        authorization: given.list("authorization-plugin"),
        metrics: Some(given.text("metrics-addr").to_owned()).filter(|addr| !addr.is_empty()),
        log_level,
        raw_logs: given.on("raw-logs"),
        json_logs: match given.text("log-format") {
            "text" => false,
            "json" => true,
            other => bail!("invalid log format: {other}"),
        },
        given: FLAGS
            .iter()
            .map(|flag| (flag.name, given.list(flag.name)))
            .collect(),
        engine,
    })
}

/// dockerd's checks of a least version of the API.
fn min_version(text: &str) -> Result<ApiVersion> {
    if text.starts_with(['v', 'V']) {
        bail!("API version must be provided without \"v\" prefix");
    }
    let version: ApiVersion = text
        .parse()
        .map_err(|_| anyhow!("invalid minimum API version: {text}"))?;
    let (oldest, newest) = (ApiVersion::oldest(), ApiVersion::newest());
    if version < oldest {
        bail!("minimum supported API version is {oldest}: {text}");
    }
    if version > newest {
        bail!("maximum supported API version is {newest}: {text}");
    }
    Ok(version)
}

/// Labels of the engine, each key once. One without a value has none to be in conflict.
fn labels(given: &[String]) -> Result<Vec<String>> {
    let mut labels: Vec<String> = Vec::new();
    for label in given {
        let Some((key, value)) = label.split_once('=') else {
            bail!("bad attribute format: {label}");
        };
        let same = |known: &&String| known.split_once('=').is_some_and(|(other, _)| other == key);
        match labels.iter().find(same) {
            Some(known) if known != label => {
                bail!("conflict labels for {key}={value} and {known}");
            }
            Some(_) => {}
            None => labels.push(label.clone()),
        }
    }
    Ok(labels)
}

/// `native.cgroupdriver`, the one option of its kind.
fn systemd_cgroups(options: &[String]) -> Result<bool> {
    let mut systemd = false;
    for option in options {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        if !key.trim().eq_ignore_ascii_case("native.cgroupdriver") {
            bail!("exec-opt {option:?} is not supported");
        }
        systemd = match value.trim() {
            "systemd" => true,
            "cgroupfs" => false,
            other => bail!("native.cgroupdriver option {other} not supported"),
        };
    }
    Ok(systemd)
}

fn listen(given: &Parsed, called_dockerd: bool) -> Result<Listen> {
    let mut hosts = given.list("host");
    if hosts.is_empty() {
        hosts.push(format!("unix://{OWN_SOCKET}"));
        if called_dockerd {
            hosts.push(format!("unix://{DOCKER_SOCKET}"));
        }
    }
    let verify = given.on("tlsverify");
    let tls = verify || given.on("tls") || given.changed("tlscacert");
    let file = |flag: &str, name: &str| -> PathBuf {
        match given.text(flag) {
            "" => Path::new("/etc/docker").join(name),
            path => path.into(),
        }
    };
    let ca = (verify || given.changed("tlscacert")).then(|| file("tlscacert", "ca.pem"));
    Ok(Listen {
        hosts,
        group: given.text("group").to_owned(),
        group_given: given.changed("group"),
        tls: tls.then(|| (file("tlscert", "cert.pem"), file("tlskey", "key.pem"), ca)),
        plain_tcp: !tls && (given.changed("tls") || given.changed("tlsverify")),
    })
}

fn engine(given: &Parsed) -> Result<Config> {
    let text = |name: &str| given.text(name).to_owned();
    let address = |name: &str, value: &str| {
        value
            .parse()
            .map_err(|_| anyhow!("invalid argument {value:?} for {name}: not an IP address"))
    };
    let absolute = |name: &str| -> Result<PathBuf> {
        let path = PathBuf::from(given.text(name));
        std::path::absolute(&path).with_context(|| format!("{name} {}", path.display()))
    };
    let mut default_ulimits = engine::Ulimits::new();
    for limit in given.list("default-ulimit") {
        let limit = ulimit(&limit).map_err(|text| anyhow!(text))?;
        default_ulimits.insert(limit.name.clone(), limit);
    }
    let log_opts = given
        .list("log-opt")
        .into_iter()
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err(anyhow!("invalid log-opt {pair:?}: it must be key=value")),
        })
        .collect::<Result<_>>()?;
    let seccomp_profile = match given.text("seccomp-profile") {
        "" | "builtin" => None,
        "unconfined" => Some("unconfined".to_owned()),
        path => Some(
            std::fs::read_to_string(path)
                .with_context(|| format!("opening seccomp profile {path} failed"))?,
        ),
    };
    let systemd_cgroups = systemd_cgroups(&given.list("exec-opt"))?;
    let cgroup_parent = match given.text("cgroup-parent") {
        "" if systemd_cgroups => "system.slice".to_owned(),
        "" => Config::default().cgroup_parent,
        parent if systemd_cgroups && !(parent.len() > 6 && parent.ends_with(".slice")) => {
            bail!(
                "cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\""
            );
        }
        parent => parent.to_owned(),
    };
    Ok(Config {
        data_root: absolute("data-root")?,
        exec_root: absolute("exec-root")?,
        cgroup_parent,
        systemd_cgroups,
        cdi_spec_dirs: match given.list("cdi-spec-dir") {
            none if none.is_empty() => Config::default().cdi_spec_dirs,
            // An empty one turns such devices off.
            own => own
                .iter()
                .filter(|dir| !dir.is_empty())
                .map(PathBuf::from)
                .collect(),
        },
        runtimes: runtimes::read(&given.list("add-runtime"), given.text("default-runtime"))?,
        default_runtime: given.text("default-runtime").to_owned(),
        userns_remap: remap::read(given.text("userns-remap"), &remap::Files::read())?,
        bridge: bridge(given)?,
        dns: given
            .list("dns")
            .iter()
            .map(|one| address("dns", one))
            .collect::<Result<_>>()?,
        dns_options: given.list("dns-opt"),
        dns_search: given.list("dns-search"),
        default_ulimits,
        default_shm_size: given.quantity("default-shm-size"),
        default_ipc_mode: match given.text("default-ipc-mode") {
            mode @ ("private" | "shareable") => mode.to_owned(),
            mode => bail!(
                "IPC mode {mode:?} is not supported as default value; use \"shareable\" or \"private\""
            ),
        },
        default_cgroupns_mode: match given.text("default-cgroupns-mode") {
            mode @ ("" | "host" | "private") => mode.to_owned(),
            mode => bail!(
                "default cgroup namespace mode ({mode}) is invalid; use \"host\" or \"private\""
            ),
        },
        init: given.on("init"),
        log_driver: text("log-driver"),
        log_opts,
        no_new_privileges: given.on("no-new-privileges"),
        seccomp_profile,
        registries_source: None,
        image_policy: image_policy(given)?,
        image_gc: image_gc(given)?,
        lazy_pull: given
            .list("feature")
            .iter()
            .any(|one| one == "lazy-pull=true"),
        supplier: Some(crate::supplier::program()),
    })
}

/// What takes effect without a restart.
fn live(given: &Parsed) -> Result<Live> {
    let number = |name: &str| u32::try_from(given.int(name)).unwrap_or_default();
    let attempts = number("max-download-attempts");
    if attempts == 0 {
        bail!("invalid max download attempts: 0");
    }
    Ok(Live {
        labels: labels(&given.list("label"))?,
        debug: given.on("debug"),
        live_restore: given.on("live-restore"),
        shutdown_timeout: number("shutdown-timeout").into(),
        default_stop_timeout: match given.int("default-stop-timeout") {
            seconds @ 0.. => seconds,
            seconds => bail!("invalid default stop timeout: {seconds}"),
        },
        registries: registries(given),
        events: event_limits(given)?,
        max_concurrent_downloads: match number("max-concurrent-downloads") {
            // No limit, as dockerd has it: more than any image has.
            0 => usize::from(u16::MAX),
            most => most as usize,
        },
        max_download_attempts: attempts,
    })
}

fn event_limits(given: &Parsed) -> Result<engine::EventLimits> {
    let size = given.quantity("events-max-size");
    Ok(engine::EventLimits {
        bytes: u64::try_from(size)
            .map_err(|_| anyhow!("invalid argument {size} for events-max-size"))?,
        age: duration(given, "events-max-age")?.filter(|age| !age.is_zero()),
    })
}

/// `None` where none is given.
fn duration(given: &Parsed, name: &str) -> Result<Option<std::time::Duration>> {
    let text = given.text(name);
    if text.is_empty() {
        return Ok(None);
    }
    let nanos = parse_duration(text)
        .map_err(|error| anyhow!("invalid argument {text:?} for {name}: {error}"))?;
    let nanos = u64::try_from(nanos)
        .map_err(|_| anyhow!("invalid argument {text:?} for {name}: it is below zero"))?;
    Ok(Some(std::time::Duration::from_nanos(nanos)))
}

fn image_policy(given: &Parsed) -> Result<engine::ImagePolicy> {
    let bytes = |name: &str| u64::try_from(given.quantity(name)).ok().filter(|n| *n > 0);
    Ok(engine::ImagePolicy {
        keep_for: duration(given, "image-keep")?.unwrap_or_default(),
        keep_bytes: bytes("image-keep-size"),
        largest: bytes("image-max-size"),
    })
}

fn image_gc(given: &Parsed) -> Result<Option<engine::Watermarks>> {
    let percent = |name: &str| {
        let value = given.int(name);
        let percent = u8::try_from(value).ok().filter(|percent| *percent <= 100);
        percent.ok_or_else(|| anyhow!("invalid argument {value} for {name}: it is a percentage"))
    };
    match (percent("image-gc-high")?, percent("image-gc-low")?) {
        (0, 0) => Ok(None),
        (high, low) if low > 0 && low <= high => Ok(Some(engine::Watermarks { high, low })),
        (high, low) => Err(anyhow!(
            "image-gc-high ({high}) and image-gc-low ({low}) must both be given, and low may not be \
             above high"
        )),
    }
}

fn registries(given: &Parsed) -> RegistrySettings {
    let text = |name: &str| given.text(name).to_owned();
    let mut hosts_dirs: Vec<PathBuf> = given
        .list("registry-hosts-dir")
        .into_iter()
        .map(PathBuf::from)
        .collect();
    hosts_dirs.extend(["/etc/corten/certs.d", "/etc/docker/certs.d"].map(PathBuf::from));
    RegistrySettings {
        insecure: given.list("insecure-registry"),
        mirrors: given.list("registry-mirror"),
        hosts_dirs,
        http_proxy: text("http-proxy"),
        https_proxy: text("https-proxy"),
        no_proxy: text("no-proxy"),
        offline: given.on("offline"),
        signature_policy: match given.text("signature-policy") {
            "" => None,
            path => Some(path.into()),
        },
    }
}

/// Settings of registries, as often as they are asked for: read again when the file has changed.
fn registries_source(args: &[String], path: &Path) -> RegistriesSource {
    use std::os::unix::fs::MetadataExt as _;
    let (args, path) = (args.to_vec(), path.to_owned());
    let stamp = |path: &Path| {
        let facts = std::fs::metadata(path).ok()?;
        Some((facts.ino(), facts.len(), facts.mtime(), facts.mtime_nsec()))
    };
    let seen = Mutex::new(stamp(&path));
    RegistriesSource(Arc::new(move || {
        let now = stamp(&path);
        let before = std::mem::replace(
            &mut *seen.lock().unwrap_or_else(PoisonError::into_inner),
            now,
        );
        if now == before {
            return Ok(None);
        }
        let given = flags::parse(FLAGS, &args, true)?;
        let whole = with_file(given, &args, &path).map_err(|error| format!("{error:#}"))?;
        refuse(&whole).map_err(|error| format!("{error:#}"))?;
        Ok(Some(registries(&whole)))
    }))
}

fn bridge(given: &Parsed) -> Result<Option<Bridge>> {
    let name = given.text("bridge");
    if name == "none" {
        return Ok(None);
    }
    let (address, fixed) = (subnet(given, "bip")?, subnet(given, "fixed-cidr")?);
    // Unlike dockerd's, our bridge is made where it is missing, so it may have a name and an address.
    let default = Bridge::default();
    let ip = given.text("ip");
    Ok(Some(Bridge {
        name: match name {
            "" => default.name,
            name => name.to_owned(),
        },
        address,
        fixed_cidr: fixed,
        mtu: u32::try_from(given.int("mtu"))
            .map_err(|_| anyhow!("invalid argument {} for mtu", given.int("mtu")))?,
        icc: given.on("icc"),
        ip_forward: given.on("ip-forward"),
        ip_masq: given.on("ip-masq"),
        userland_proxy: given.on("userland-proxy"),
        default_ip: ip
            .parse()
            .map_err(|_| anyhow!("invalid argument {ip:?} for ip: not an IP address"))?,
    }))
}

fn subnet(given: &Parsed, name: &str) -> Result<Option<(Ipv4Addr, u8)>> {
    let text = given.text(name);
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = text.split_once('/').and_then(|(address, bits)| {
        let bits: u8 = bits.parse().ok().filter(|bits| *bits <= 32)?;
        Some((address.parse().ok()?, bits))
    });
    parsed
        .map(Some)
        .ok_or_else(|| anyhow!("invalid {name} {text:?}: invalid CIDR address: {text}"))
}

#[cfg(test)]
mod tests;
