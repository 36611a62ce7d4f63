//! Platforms of images (image-spec, image-index.md#platform) and their text form `os/arch/variant`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Operating system, processor and its variant; names are Go's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `linux`, `windows`.
    pub os: String,
    /// Windows build.
    #[serde(rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Windows features.
    #[serde(rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// `v7`, `v8`, …
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// The text names no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlatform {
    /// A part is empty, has other characters, or is one too many.
    #[error(
        "{0:?} is an invalid component of {1:?}: platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument"
    )]
    Component(String, String),
    /// The one part given is neither a system nor a processor.
    #[error("{0:?}: unknown operating system or architecture: invalid argument")]
    Unknown(String),
}

/// Systems and processors in Go's names, as containerd knows them.
const SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];
const PROCESSORS: &[&str] = &[
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "armbe",
    "arm64",
    "arm64be",
    "ppc64",
    "ppc64le",
    "loong64",
    "mips",
    "mipsle",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "ppc",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

impl Platform {
    /// What this build runs on.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self {
            architecture: architecture.into(),
            os: std::env::consts::OS.into(),
            ..Self::default()
        }
        .normalized()
    }

    /// Go's spelling of architectures, and the variant left out where it is the default.
    pub fn normalized(mut self) -> Self {
        self.os = self.os.to_lowercase();
        self.architecture = self.architecture.to_lowercase();
        match (self.architecture.as_str(), self.variant.as_str()) {
            ("x86_64" | "x86-64", _) => self.architecture = "amd64".into(),
            ("aarch64", _) => self.architecture = "arm64".into(),
            ("i386", _) => self.architecture = "386".into(),
            ("armhf", _) => {
                self.architecture = "arm".into();
                self.variant = "v7".into();
            }
            ("armel", _) => {
                self.architecture = "arm".into();
                self.variant = "v6".into();
            }
            _ => {}
        }
        match (self.architecture.as_str(), self.variant.as_str()) {
            ("amd64", "v1") | ("arm64", "8" | "v8") => self.variant.clear(),
            ("arm", "") => self.variant = "v7".into(),
            ("arm", v @ ("5" | "6" | "7" | "8")) => self.variant = format!("v{v}"),
            _ => {}
        }
        self
    }

    /// Whether both are the same once they are normalized: what is asked for by name is given as it
    /// is, and not what merely runs on it.
    pub fn is_exactly(&self, other: &Self) -> bool {
        let (own, other) = (self.clone().normalized(), other.clone().normalized());
        (own.os, own.architecture, own.variant) == (other.os, other.architecture, other.variant)
    }

    /// How well an image for `offered` runs on this, the most fitting with the highest number;
    /// `None` when it does not.
    pub fn suits(&self, offered: &Self) -> Option<u32> {
        let offered = offered.clone().normalized();
        if self.os != offered.os || self.architecture != offered.architecture {
            return None;
        }
        let level = |variant: &str| {
            variant
                .strip_prefix('v')
                .and_then(|n| n.parse::<u32>().ok())
        };
        let default = match self.architecture.as_str() {
            "arm64" => 8,
            "arm" => 7,
            _ => 1,
        };
        let of = |variant: &str| match variant {
            "" => Some(default),
            named => level(named),
        };
        if self.variant == offered.variant {
            return Some(1000);
        }
        // Older processors' code runs on newer ones.
        let (have, need) = (of(&self.variant)?, of(&offered.variant)?);
        (need <= have).then_some(100 + need.min(899))
    }

    /// Whether an image for `other` is what `self` asks for. An empty field of `self` asks nothing.
    pub fn accepts(&self, other: &Self) -> bool {
        let other = other.clone().normalized();
        (self.os.is_empty() || self.os == other.os)
            && (self.architecture.is_empty() || self.architecture == other.architecture)
            && (self.variant.is_empty() || self.variant == other.variant)
    }
}

impl FromStr for Platform {
    type Err = InvalidPlatform;

    fn from_str(text: &str) -> Result<Self, InvalidPlatform> {
        let parts: Vec<&str> = text.split('/').collect();
        let bad = |part: &str| InvalidPlatform::Component(part.to_owned(), text.to_owned());
        for part in &parts {
            let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
            if part.is_empty() || !part.bytes().all(fine) {
                return Err(bad(part));
            }
        }
        let host = Self::host();
        let is_os = |s: &str| SYSTEMS.contains(&s.to_lowercase().as_str());
        let is_arch = |s: &str| {
            let lone = Self {
                architecture: s.to_owned(),
                ..Self::default()
            };
            PROCESSORS.contains(&lone.normalized().architecture.as_str())
        };
        let platform = match parts.as_slice() {
            [os] if is_os(os) => Self {
                os: (*os).into(),
                ..host
            },
            [arch] if !is_arch(arch) => {
                return Err(InvalidPlatform::Unknown((*arch).to_owned()));
            }
            [arch] => Self {
                os: host.os,
                architecture: (*arch).into(),
                ..Self::default()
            },
            [os, arch] => Self {
                os: (*os).into(),
                architecture: (*arch).into(),
                ..Self::default()
            },
            [os, arch, variant] => Self {
                os: (*os).into(),
                architecture: (*arch).into(),
                variant: (*variant).into(),
                ..Self::default()
            },
            _ => return Err(bad(text)),
        };
        Ok(platform.normalized())
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() {
            Ok(())
        } else {
            write!(f, "/{}", self.variant)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Platform;

    #[test]
    fn what_runs_and_what_is_meant() {
        let of = |text: &str| text.parse::<Platform>().expect(text);
        let suits = |host: &str, image: &str| of(host).suits(&of(image));
        assert!(suits("linux/amd64", "linux/amd64") > suits("linux/amd64/v3", "linux/amd64/v2"));
        assert!(suits("linux/arm/v7", "linux/arm/v6") > suits("linux/arm/v7", "linux/arm/v5"));
        assert_eq!(suits("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(suits("linux/amd64", "linux/arm64"), None);
        assert!(of("linux/arm64").is_exactly(&of("linux/arm64/v8")));
        assert!(!of("linux/arm/v7").is_exactly(&of("linux/arm/v6")));
    }

    #[test]
    fn text_forms() {
        for (text, want) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("arm64", "linux/arm64"),
            ("linux/x86_64", "linux/amd64"),
        ] {
            assert_eq!(text.parse::<Platform>().expect(text).to_string(), want);
        }
        assert!("linux//".parse::<Platform>().is_err());
        assert!("a/b/c/d".parse::<Platform>().is_err());
        let unknown = "bogus".parse::<Platform>().expect_err("neither");
        assert_eq!(
            unknown.to_string(),
            "\"bogus\": unknown operating system or architecture: invalid argument"
        );
    }
}
