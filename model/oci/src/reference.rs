//! Image references: `[domain/]path[:tag][@digest]` (distribution/reference).
//!
//! "Familiar" names leave out `docker.io/` and `library/`; `Reference` always holds the full name
//! and can print both.

use std::fmt;
use std::str::FromStr;

use crate::Digest;

const DEFAULT_DOMAIN: &str = "docker.io";

/// A parsed, normalized reference. Without tag and digest it names a whole repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no reference; texts are distribution's, since clients show them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// Anything the grammar refuses.
    #[error("invalid reference format")]
    Format,
    /// Upper-case letters in the repository.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// 64 hex digits alone would be taken for an image ID.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId(String),
    /// Longer than 255.
    #[error("repository name must not be more than 255 characters")]
    TooLong,
}

impl Reference {
    /// Registry host, with port.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Repository inside the registry, `library/` included.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, when given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, when given.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// With `:latest` where neither tag nor digest was given.
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".into());
        }
        self
    }

    /// The same repository with this tag and no digest. Errors when the tag breaks the grammar.
    pub fn with_tag(&self, tag: &str) -> Result<Self, InvalidReference> {
        if !is_tag(tag) {
            return Err(InvalidReference::Format);
        }
        Ok(Self {
            tag: Some(tag.into()),
            digest: None,
            ..self.clone()
        })
    }

    /// The same repository pinned by digest, tag dropped.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// Repository alone, as people write it: `debian`, `127.0.0.1:5000/x`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return format!("{}/{}", self.domain, self.path);
        }
        let short = match self.path.strip_prefix("library/") {
            Some(rest) if !rest.contains('/') => rest,
            _ => &self.path,
        };
        // A path that begins like a domain would be read as one.
        match split_domain(short).1 == self.path {
            true => short.to_owned(),
            false => format!("{}/{}", self.domain, self.path),
        }
    }

    /// The whole reference, as people write it.
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_name(), Suffix(self))
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        use InvalidReference::{Format, LooksLikeId, TooLong, Uppercase};
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(LooksLikeId(text.to_owned()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().map_err(|_| Format)?)),
            None => (text, None),
        };
        // A colon after the last slash starts a tag; before it, a port.
        let name_end = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest[name_end..].rfind(':') {
            Some(colon) => {
                let (name, tag) = rest.split_at(name_end + colon);
                (name, Some(tag[1..].to_owned()))
            }
            None => (rest, None),
        };
        if tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
            return Err(Format);
        }
        let (domain, path) = split_domain(name);
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(Uppercase(path));
        }
        if !is_domain(&domain) || path.is_empty() || !path.split('/').all(is_path_component) {
            return Err(Format);
        }
        if domain.len() + 1 + path.len() > 255 {
            return Err(TooLong);
        }
        Ok(Self {
            domain,
            path,
            tag,
            digest,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.domain, self.path, Suffix(self))
    }
}

struct Suffix<'a>(&'a Reference);

impl fmt::Display for Suffix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tag) = &self.0.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.0.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

fn split_domain(name: &str) -> (String, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            let domain = if first == "index.docker.io" {
                DEFAULT_DOMAIN
            } else {
                first
            };
            (domain, rest)
        }
        _ => (DEFAULT_DOMAIN, name),
    };
    if domain == DEFAULT_DOMAIN && !path.contains('/') {
        return (domain.into(), format!("library/{path}"));
    }
    (domain.into(), path.into())
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = tag.bytes();
    tag.len() <= 128
        && bytes.next().is_some_and(word)
        && bytes.all(|b| word(b) || b == b'.' || b == b'-')
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => return is_ipv6(host),
            Some((host, port)) => {
                return is_ipv6(host) && port.strip_prefix(':').is_some_and(is_port);
            }
            None => return false,
        },
        None => domain
            .split_once(':')
            .map_or((domain, None), |(h, p)| (h, Some(p))),
    };
    let label = |label: &str| {
        let alnum = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        alnum(label.bytes().next())
            && alnum(label.bytes().next_back())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(label) && port.is_none_or(is_port)
}

fn is_ipv6(host: &str) -> bool {
    host.parse::<std::net::Ipv6Addr>().is_ok()
}

fn is_port(port: &str) -> bool {
    !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())
}

/// `[a-z0-9]+` joined by `.`, `_`, `__` or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    if !bytes.first().is_some_and(|b| alnum(*b)) || !bytes.last().is_some_and(|b| alnum(*b)) {
        return false;
    }
    component
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|separator| {
            matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::{InvalidReference, Reference};

    #[test]
    fn normal_forms() {
        for (text, full, familiar) in [
            ("debian", "docker.io/library/debian", "debian"),
            (
                "corten/hello:1",
                "docker.io/corten/hello:1",
                "corten/hello:1",
            ),
            (
                "docker.io/debian:x",
                "docker.io/library/debian:x",
                "debian:x",
            ),
            (
                "127.0.0.1:5000/a/b:v-1.2",
                "127.0.0.1:5000/a/b:v-1.2",
                "127.0.0.1:5000/a/b:v-1.2",
            ),
            ("localhost/x", "localhost/x", "localhost/x"),
            (
                "docker.io/quay.io/x:1",
                "docker.io/quay.io/x:1",
                "docker.io/quay.io/x:1",
            ),
            ("[::1]:5000/x", "[::1]:5000/x", "[::1]:5000/x"),
            ("a__b/c-d---e", "docker.io/a__b/c-d---e", "a__b/c-d---e"),
        ] {
            let reference: Reference = text.parse().expect(text);
            assert_eq!(reference.to_string(), full);
            assert_eq!(reference.familiar(), familiar);
        }
    }

    #[test]
    fn refused() {
        for text in [
            "",
            ":x",
            "a//b",
            "a:",
            "a@sha256:12",
            "-a",
            "a_",
            "a___b",
            "a/b:tag:x",
            "a b",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
        assert_eq!(
            "Debian".parse::<Reference>(),
            Err(InvalidReference::Uppercase("library/Debian".into()))
        );
    }
}
