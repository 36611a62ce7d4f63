//! Which hosts stand for a registry, and how far each is trusted.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::{Error, Kind, hosts};

/// Settings of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Hosts, `host:port`s or CIDRs that may be spoken to without TLS or with certificates nobody
    /// vouches for. Loopback addresses always may.
    pub insecure: Vec<String>,
    /// URLs of mirrors of Docker Hub, tried first.
    pub mirrors: Vec<String>,
    /// In each of them, best first, `<host[:port]>/hosts.toml` says where a registry is, and
    /// `<host[:port]>/{*.crt,*.cert,*.key}` are further roots and client certificates.
    pub hosts_dirs: Vec<PathBuf>,
    /// Proxies by scheme, and who is reached without.
    pub proxy: Proxy,
    /// `User-Agent`.
    pub user_agent: String,
    /// Tries of a blob that breaks off.
    pub attempts: u32,
    /// A body that sends nothing for so long has stalled.
    pub stall: Duration,
    /// For a connection with its TLS handshake, and for the head of an answer.
    pub patience: Duration,
    /// A busy registry that wants to be left alone for longer is an error at once.
    #[serde(default = "longest_wait")]
    pub longest_wait: Duration,
    /// Nobody is asked for anything.
    pub offline: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            mirrors: Vec::new(),
            hosts_dirs: vec!["/etc/docker/certs.d".into()],
            proxy: Proxy::default(),
            user_agent: concat!("corten/", env!("CARGO_PKG_VERSION")).into(),
            attempts: 5,
            stall: Duration::from_secs(30),
            patience: Duration::from_secs(30),
            longest_wait: longest_wait(),
            offline: false,
        }
    }
}

fn longest_wait() -> Duration {
    crate::backoff::PATIENCE
}

/// `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// URL for plain requests; empty for none.
    pub http: String,
    /// URL for TLS; empty for none.
    pub https: String,
    /// Hosts, `.suffixes`, addresses, CIDRs and `host:port`s, by commas; `*` for all.
    pub none: String,
}

impl Proxy {
    /// From the environment; lower-case names win, as in Go.
    pub fn from_env() -> Self {
        let get = |upper: &str| {
            let either = [upper.to_lowercase(), upper.to_owned()];
            either
                .iter()
                .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
                .unwrap_or_default()
        };
        Self {
            http: get("HTTP_PROXY"),
            https: get("HTTPS_PROXY"),
            none: get("NO_PROXY"),
        }
    }

    /// The proxy for an origin. Loopback is never proxied.
    pub(crate) fn of(&self, origin: &Origin) -> Option<&str> {
        let url = if origin.tls { &self.https } else { &self.http };
        if url.is_empty() || is_loopback(&origin.host) {
            return None;
        }
        let address: Option<IpAddr> = origin.host.parse().ok();
        let excluded = self.none.split(',').map(str::trim).any(|rule| {
            if rule.is_empty() {
                return false;
            }
            if rule == "*" || rule == origin.authority() || rule == origin.host {
                return true;
            }
            if let (Some(address), Some((net, bits))) = (address, parse_cidr(rule)) {
                return contains(net, bits, address);
            }
            let domain = rule.trim_start_matches("*.").trim_start_matches('.');
            origin
                .host
                .strip_suffix(domain)
                .is_some_and(|rest| rest.ends_with('.'))
        });
        (!excluded).then_some(url)
    }
}

/// Scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) tls: bool,
    /// Without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Origin {
    /// `host[:port]`, with the port only where it is not the scheme's own.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == if self.tls { 443 } else { 80 } {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }

    pub(crate) fn of(url: &http::Uri) -> Result<Self, Error> {
        let invalid = || Error::new(Kind::Invalid, format!("unsupported URL {url}"));
        let tls = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(invalid()),
        };
        let host = url.host().ok_or_else(invalid)?;
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let port = url.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { tls, host, port })
    }
}

/// How far a host is believed, and how we show who we are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Trust {
    /// Certificates are not verified.
    pub(crate) skip_verify: bool,
    /// Further roots.
    pub(crate) ca: Vec<PathBuf>,
    /// Certificate and key, each pair in two files or one.
    pub(crate) client: Vec<(PathBuf, PathBuf)>,
    /// For a connection, where it is not the client's patience.
    pub(crate) dial: Option<Duration>,
}

impl Trust {
    /// For a host that this one sends us to.
    pub(crate) fn of_others(&self) -> Self {
        Self {
            skip_verify: self.skip_verify,
            ..Self::default()
        }
    }
}

/// One place to ask for a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Root of its API, no slash at the end: `https://host[:port]/v2`.
    pub(crate) api: String,
    /// It is not the registry itself: credentials are not for it.
    pub(crate) mirror: bool,
    pub(crate) trust: Trust,
    /// Sent with every request.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// May be asked for content.
    pub(crate) pull: bool,
    /// May say what a tag stands for.
    pub(crate) resolve: bool,
    /// May be written to.
    pub(crate) push: bool,
    /// The registry that it stands for, told to it as `?ns=`.
    pub(crate) namespace: Option<String>,
}

impl Endpoint {
    fn new(base: &str, skip_verify: bool, mirror: bool) -> Self {
        Self {
            api: format!("{}/v2", base.trim_end_matches('/')),
            mirror,
            trust: Trust {
                skip_verify,
                ..Trust::default()
            },
            headers: Vec::new(),
            pull: true,
            resolve: true,
            push: !mirror,
            namespace: None,
        }
    }

    /// URL of something below the API's root; `path` may have a query.
    pub(crate) fn url(&self, path: &str) -> String {
        let url = format!("{}/{path}", self.api);
        match &self.namespace {
            None => url,
            Some(namespace) => {
                let separator = if url.contains('?') { '&' } else { '?' };
                format!("{url}{separator}ns={}", namespace.replace(':', "%3A"))
            }
        }
    }

    /// Whether it is spoken to without TLS.
    pub(crate) fn is_plain(&self) -> bool {
        self.api.starts_with("http:")
    }
}

impl Config {
    /// Where to look for a registry's repositories, best first.
    ///
    /// # Errors
    /// Invalid for a `hosts.toml` that cannot be read.
    pub(crate) fn endpoints(&self, domain: &str) -> Result<Vec<Endpoint>, Error> {
        let host = match domain {
            "docker.io" => "registry-1.docker.io",
            domain => domain,
        };
        let own = format!("https://{host}");
        if let Some(found) = hosts::endpoints(&self.hosts_dirs, domain, &own)? {
            return Ok(found);
        }
        let mut found = Vec::new();
        if domain == "docker.io" {
            for mirror in &self.mirrors {
                let host = mirror.split_once("://").map_or("", |(_, rest)| rest);
                let insecure = self.is_insecure(host.split('/').next().unwrap_or(host));
                found.push(Endpoint::new(mirror, insecure, true));
            }
        }
        let insecure = self.is_insecure(domain);
        found.push(Endpoint::new(&own, insecure, false));
        if insecure {
            found.push(Endpoint::new(&format!("http://{host}"), insecure, false));
        }
        Ok(found)
    }

    /// Whether `host[:port]` may do without TLS.
    pub(crate) fn is_insecure(&self, domain: &str) -> bool {
        let host = host_of(domain);
        if is_loopback(host) {
            return true;
        }
        let address: Option<IpAddr> = host.parse().ok();
        self.insecure.iter().any(|rule| {
            rule == domain
                || rule == host
                || matches!((address, parse_cidr(rule)), (Some(address), Some((net, bits)))
                    if contains(net, bits, address))
        })
    }
}

fn host_of(domain: &str) -> &str {
    if let Some(rest) = domain.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    domain.split(':').next().unwrap_or(domain)
}

pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn parse_cidr(text: &str) -> Option<(IpAddr, u32)> {
    let (net, bits) = text.split_once('/')?;
    Some((net.parse().ok()?, bits.parse().ok()?))
}

fn contains(net: IpAddr, bits: u32, address: IpAddr) -> bool {
    let shared = |a: u128, b: u128, width: u32| {
        bits <= width && (bits == 0 || (a ^ b) >> (width - bits) == 0)
    };
    match (net, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => shared(u32::from(a).into(), u32::from(b).into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => shared(a.into(), b.into(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let config = Config {
            insecure: vec!["10.1.0.0/16".into(), "reg.lan:5000".into()],
            mirrors: vec!["https://mirror.lan/".into()],
            hosts_dirs: Vec::new(),
            ..Config::default()
        };
        let bases = |domain: &str| -> Vec<String> {
            let found = config.endpoints(domain).expect("endpoints");
            let base = |api: &str| api.strip_suffix("/v2").expect("version").to_owned();
            found.into_iter().map(|it| base(&it.api)).collect()
        };
        assert_eq!(
            bases("docker.io"),
            ["https://mirror.lan", "https://registry-1.docker.io"]
        );
        assert_eq!(bases("quay.io"), ["https://quay.io"]);
        assert_eq!(bases("127.0.0.1:5000").len(), 2);
        assert_eq!(bases("[::1]:5000")[1], "http://[::1]:5000");
        assert_eq!(bases("10.1.2.3:80").len(), 2);
        assert_eq!(bases("10.2.2.3:80").len(), 1);
        assert_eq!(bases("reg.lan:5000").len(), 2);
        assert_eq!(bases("reg.lan").len(), 1);
    }

    #[test]
    fn proxies() {
        let proxy = Proxy {
            http: String::new(),
            https: "http://p:3128".into(),
            none: "lan, 10.0.0.0/8,h:5000".into(),
        };
        let of = |url: &str| {
            proxy
                .of(&Origin::of(&url.parse().unwrap()).unwrap())
                .is_some()
        };
        assert!(of("https://quay.io/"));
        assert!(!of("http://quay.io/"));
        assert!(!of("https://a.lan/"));
        assert!(!of("https://lan/"));
        assert!(of("https://xlan/"));
        assert!(!of("https://10.9.9.9/"));
        assert!(!of("https://h:5000/"));
        assert!(of("https://h/"));
        assert!(!of("https://127.0.0.1:5000/"));
    }
}
