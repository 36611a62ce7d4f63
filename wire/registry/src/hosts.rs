//! `hosts.toml`, containerd's file on where a registry's content is to be had (containerd,
//! docs/hosts.md): mirrors in order, what each may be asked for, and how far it is trusted.
//!
//! ```toml
//! server = "https://registry.example"          # the registry itself, asked last
//! [host."https://mirror.lan/v2/cache"]
//! capabilities = ["pull", "resolve"]           # also "push"; all three when left out
//! override_path = true                         # the URL is the API's root: no /v2 is put behind
//! ca = "ca.pem"                                # one or more, relative to this file
//! client = [["client.cert", "client.key"]]     # or one file with both
//! skip_verify = true
//! dial_timeout = "5s"
//! [host."https://mirror.lan/v2/cache".header]
//! x-team = "a"
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use toml::{Table, Value};

use crate::config::{Endpoint, Origin, Trust, is_loopback};
use crate::{Error, Kind};

/// Longest `hosts.toml`.
const LIMIT: u64 = 1 << 20;

/// The settings of one host, as in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Host {
    capabilities: Option<Vec<String>>,
    ca: Option<Value>,
    client: Option<Value>,
    skip_verify: bool,
    header: Table,
    override_path: bool,
    dial_timeout: Option<String>,
}

/// The endpoints that the file of a registry names, best first; `None` without a file. `domain` is
/// the registry's name in references, `own` the URL of the registry itself.
pub(crate) fn endpoints(
    dirs: &[PathBuf],
    domain: &str,
    own: &str,
) -> Result<Option<Vec<Endpoint>>, Error> {
    let named = dirs
        .iter()
        .flat_map(|dir| names(domain).map(|name| dir.join(name)));
    let defaults = dirs.iter().map(|dir| dir.join("_default"));
    for dir in named.chain(defaults) {
        let path = dir.join("hosts.toml");
        match read(&path) {
            Ok(text) => {
                let parsed = parse(&text, &dir, domain, own);
                return parsed.map(Some).map_err(|text| {
                    Error::new(Kind::Invalid, format!("{}: {text}", path.display()))
                });
            }
            Err(error) if is_absent(&error) => {}
            Err(error) => {
                let text = format!("{}: {error}", path.display());
                return Err(Error::new(Kind::Invalid, text));
            }
        }
    }
    Ok(None)
}

/// Names of a registry's directory: `host:port`, and `host_port_` where a colon cannot be.
pub(crate) fn names(domain: &str) -> impl Iterator<Item = String> + use<> {
    let other = domain
        .rsplit_once(':')
        .map(|(host, port)| format!("{host}_{port}_"));
    std::iter::once(domain.to_owned()).chain(other)
}

fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(LIMIT)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// What a file says. `dir` is where its relative names start.
pub(crate) fn parse(
    text: &str,
    dir: &Path,
    domain: &str,
    own: &str,
) -> Result<Vec<Endpoint>, String> {
    let mut root: Table = toml::from_str(text).map_err(|error| error.to_string())?;
    let hosts = match root.remove("host") {
        None => Table::new(),
        Some(Value::Table(hosts)) => hosts,
        Some(_) => return Err("host is no table".into()),
    };
    let server = match root.remove("server") {
        None => own.to_owned(),
        Some(Value::String(server)) => server,
        Some(_) => return Err("server is no string".into()),
    };
    let mut found = Vec::new();
    for (url, host) in hosts {
        let host = host
            .try_into()
            .map_err(|error| format!("host {url:?}: {error}"))?;
        found.push(
            endpoint(&url, host, dir, domain, own)
                .map_err(|text| format!("host {url:?}: {text}"))?,
        );
    }
    let host = Value::Table(root)
        .try_into()
        .map_err(|error| error.to_string())?;
    let last = endpoint(&server, host, dir, domain, own);
    found.push(last.map_err(|text| format!("server {server:?}: {text}"))?);
    Ok(found)
}

fn endpoint(
    url: &str,
    host: Host,
    dir: &Path,
    domain: &str,
    own: &str,
) -> Result<Endpoint, String> {
    let with_scheme = match url.contains("://") {
        true => url.to_owned(),
        false if is_loopback(url.split([':', '/']).next().unwrap_or(url)) => {
            format!("http://{url}")
        }
        false => format!("https://{url}"),
    };
    let uri: http::Uri = with_scheme.parse().map_err(|error| format!("{error}"))?;
    let origin = Origin::of(&uri).map_err(|error| error.message)?;
    if uri.query().is_some() || uri.authority().is_some_and(|it| it.as_str().contains('@')) {
        return Err("neither a query nor credentials may be in the URL".into());
    }
    let mut api = with_scheme.trim_end_matches('/').to_owned();
    if !host.override_path && !api.ends_with("/v2") {
        api.push_str("/v2");
    }
    let all = || ["pull", "resolve", "push"].map(str::to_owned).to_vec();
    let able = host.capabilities.unwrap_or_else(all);
    if let Some(strange) = able
        .iter()
        .find(|one| !["pull", "resolve", "push", "referrers"].contains(&one.as_str()))
    {
        return Err(format!("unknown capability {strange:?}"));
    }
    let can = |what: &str| able.iter().any(|one| one == what);
    let home: Option<Origin> = own.parse().ok().and_then(|uri| Origin::of(&uri).ok());
    let mirror = home.as_ref() != Some(&origin);
    let mut headers = Vec::new();
    for (name, value) in &host.header {
        for value in strings(value).ok_or_else(|| format!("header {name}: no text"))? {
            let name = HeaderName::try_from(name.as_str()).map_err(|error| error.to_string())?;
            let value = HeaderValue::try_from(value).map_err(|error| error.to_string())?;
            headers.push((name, value));
        }
    }
    Ok(Endpoint {
        api,
        mirror,
        trust: Trust {
            skip_verify: host.skip_verify,
            ca: host
                .ca
                .as_ref()
                .map_or(Ok(Vec::new()), |it| files(it, dir))?,
            client: host
                .client
                .as_ref()
                .map_or(Ok(Vec::new()), |it| pairs(it, dir))?,
            dial: host.dial_timeout.as_deref().map(duration).transpose()?,
        },
        headers,
        pull: can("pull"),
        resolve: can("resolve"),
        push: can("push"),
        namespace: mirror.then(|| domain.to_owned()),
    })
}

fn strings(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(all) => all
            .iter()
            .map(|one| one.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    }
}

fn files(value: &Value, dir: &Path) -> Result<Vec<PathBuf>, String> {
    let names = strings(value).ok_or("ca is neither a file nor a list of files")?;
    Ok(names.iter().map(|name| dir.join(name)).collect())
}

/// `"both.pem"`, `["both.pem", …]` or `[["cert", "key"], …]`.
fn pairs(value: &Value, dir: &Path) -> Result<Vec<(PathBuf, PathBuf)>, String> {
    let wrong = "client is neither a file nor a list of pairs of files";
    let both = |name: &str| (dir.join(name), dir.join(name));
    match value {
        Value::String(name) => Ok(vec![both(name)]),
        Value::Array(all) => all
            .iter()
            .map(|one| match one {
                Value::String(name) => Ok(both(name)),
                Value::Array(_) => match strings(one).as_deref() {
                    Some([both_in_one]) => Ok(both(both_in_one)),
                    Some([cert, key]) if key.is_empty() => Ok(both(cert)),
                    Some([cert, key]) => Ok((dir.join(cert), dir.join(key))),
                    _ => Err(wrong.to_owned()),
                },
                _ => Err(wrong.to_owned()),
            })
            .collect(),
        _ => Err(wrong.to_owned()),
    }
}

/// A Go duration of whole units: `5s`, `1m30s`, `250ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("dial_timeout {text:?} is no duration");
    let (mut total, mut rest) = (Duration::ZERO, text.trim());
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u32 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit = &rest[digits..];
        let length = unit
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(unit.len());
        let one = match &unit[..length] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            _ => return Err(wrong()),
        };
        total = total
            .checked_add(one.checked_mul(number).ok_or_else(wrong)?)
            .ok_or_else(wrong)?;
        rest = &unit[length..];
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Endpoint>, String> {
        parse(
            text,
            Path::new("/c/docker.io"),
            "docker.io",
            "https://registry-1.docker.io",
        )
    }

    #[test]
    fn hosts_in_their_order_and_the_server_last() {
        let found = parsed(
            r#"
            server = "https://registry-1.docker.io"
            [host."https://b.lan"]
              capabilities = ["pull"]
              ca = ["one.pem", "/etc/two.pem"]
              client = [["c.cert", "c.key"], ["both.pem", ""]]
              dial_timeout = "1m30s"
              [host."https://b.lan".header]
                x-a = ["1", "2"]
                x-b = "3"
            [host."http://a.lan:5000/cache/"]
              override_path = true
              skip_verify = true
            [host."localhost:5001"]
        "#,
        )
        .expect("valid");
        let apis: Vec<&str> = found.iter().map(|one| one.api.as_str()).collect();
        assert_eq!(
            apis,
            [
                "https://b.lan/v2",
                "http://a.lan:5000/cache",
                "http://localhost:5001/v2",
                "https://registry-1.docker.io/v2"
            ]
        );
        let b = &found[0];
        assert!(b.mirror && b.pull && !b.resolve && !b.push);
        assert_eq!(b.namespace.as_deref(), Some("docker.io"));
        assert_eq!(
            b.trust.ca,
            [Path::new("/c/docker.io/one.pem"), Path::new("/etc/two.pem")]
        );
        assert_eq!(b.trust.client[1].0, b.trust.client[1].1);
        assert_eq!(b.trust.dial, Some(Duration::from_secs(90)));
        assert_eq!(b.headers.len(), 3);
        assert!(found[1].trust.skip_verify && found[1].push);
        let own = &found[3];
        assert!(!own.mirror && own.push && own.namespace.is_none());
    }

    #[test]
    fn the_server_is_the_registry_when_none_is_named() {
        let found = parsed("skip_verify = true").expect("valid");
        assert_eq!(found.len(), 1);
        assert!(found[0].trust.skip_verify && !found[0].mirror);
    }

    proptest::proptest! {
        #[test]
        fn no_file_is_too_strange(url in "[ -~]{0,30}", value in "[ -~]{0,30}",
            key in "capabilities|ca|client|skip_verify|header|override_path|dial_timeout")
        {
            let _ = parsed(&value);
            let _ = parsed(&format!("[host.{url:?}]\n{key} = {value}"));
            let _ = parsed(&format!("[host.{url:?}]\n{key} = [{value:?}, [{value:?}, {url:?}]]"));
            let _ = parsed(&format!("server = {url:?}\n{key} = {value:?}"));
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("server = 3", "server"),
            ("host = 3", "host"),
            ("[host.\"ftp://x\"]", "ftp"),
            ("[host.x]\ncapabilities = [\"fly\"]", "fly"),
            ("[host.x]\nca = 3", "ca"),
            ("[host.x]\nclient = [[1]]", "client"),
            ("[host.x]\ndial_timeout = \"5\"", "dial_timeout"),
            ("[host.\"https://u:p@x\"]", "credentials"),
            ("[host", "TOML"),
        ] {
            let error = parsed(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
