//! `DOCKER_HOST` and `-H`: where the engine is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Address of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// `unix:///path`.
    Unix(PathBuf),
    /// `tcp://host:port`, with a path prefix or none.
    Tcp {
        /// Name or address, without brackets.
        name: String,
        /// Port; 2375 where none was given, 2376 with TLS.
        port: Option<u16>,
        /// What stands before every path, without a slash at its end.
        base: String,
    },
}

/// The text is no host this client can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    /// No `proto://`.
    #[error("unable to parse docker host `{0}`")]
    Form(String),
    /// A protocol that is not supported.
    #[error("protocol {0:?} of docker host {1:?} is not supported: use unix:// or tcp://")]
    Protocol(String, String),
}

impl Host {
    /// The socket's path, of a unix host.
    pub fn socket(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Tcp { .. } => None,
        }
    }

    pub(crate) fn base(&self) -> &str {
        match self {
            Self::Unix(_) => "",
            Self::Tcp { base, .. } => base,
        }
    }
}

impl FromStr for Host {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        let invalid = || InvalidHost::Form(text.to_owned());
        let (protocol, rest) = text.split_once("://").ok_or_else(invalid)?;
        match protocol {
            "unix" if rest.is_empty() => Ok(Self::Unix("/var/run/docker.sock".into())),
            "unix" => Ok(Self::Unix(rest.into())),
            "tcp" | "http" | "https" => {
                let (authority, base) = match rest.split_once('/') {
                    Some((authority, path)) => (authority, format!("/{path}")),
                    None => (rest, String::new()),
                };
                let (name, port) = split_port(authority).ok_or_else(invalid)?;
                let name = if name.is_empty() { "localhost" } else { name };
                Ok(Self::Tcp {
                    name: name.to_owned(),
                    port,
                    base: base.trim_end_matches('/').to_owned(),
                })
            }
            other => Err(InvalidHost::Protocol(other.to_owned(), text.to_owned())),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { name, port, base } => {
                if name.contains(':') {
                    write!(f, "tcp://[{name}]")?;
                } else {
                    write!(f, "tcp://{name}")?;
                }
                if let Some(port) = port {
                    write!(f, ":{port}")?;
                }
                f.write_str(base)
            }
        }
    }
}

fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (name, port) = rest.split_once(']')?;
        return match port {
            "" => Some((name, None)),
            port => Some((name, Some(port.strip_prefix(':')?.parse().ok()?))),
        };
    }
    match authority.rsplit_once(':') {
        Some((name, "")) => Some((name, None)),
        Some((name, port)) => Some((name, Some(port.parse().ok()?))),
        None => Some((authority, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::Host;

    #[test]
    fn parsed_and_printed() {
        for (text, printed) in [
            ("unix:///run/x.sock", "unix:///run/x.sock"),
            ("unix://", "unix:///var/run/docker.sock"),
            ("tcp://:2375", "tcp://localhost:2375"),
            ("tcp://[::1]:2376/a/", "tcp://[::1]:2376/a"),
            ("tcp://h", "tcp://h"),
        ] {
            let host: Host = text.parse().expect(text);
            assert_eq!(host.to_string(), printed);
        }
        for text in [
            "",
            "/run/x.sock",
            "ssh://me@h",
            "tcp://h:port",
            "tcp://[::1",
        ] {
            assert!(text.parse::<Host>().is_err(), "{text}");
        }
    }
}
