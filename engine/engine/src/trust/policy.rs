//! The policy file, containers-policy.json(5): which images must be signed by whom. Pure.
//!
//! ```json
//! { "default": [{"type": "reject"}],
//!   "transports": { "docker": {
//!     "quay.io/team": [{"type": "sigstoreSigned", "keyPath": "/etc/keys/team.pub"}],
//!     "new.io/team": [{"type": "sigstoreBundle", "keyPath": "/etc/keys/team.pub"}],
//!     "acme.io": [{"type": "notationSigned", "configPath": "/etc/notation"}],
//!     "*.lan": [{"type": "insecureAcceptAnything"}] } } }
//! ```
//!
//! `sigstoreBundle` and `notationSigned` are ours.

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci::Reference;
use serde::Deserialize;

/// A policy.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policy {
    default: Vec<Requirement>,
    #[serde(default)]
    transports: BTreeMap<String, BTreeMap<String, Vec<Requirement>>>,
}

/// What an image must satisfy.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub(crate) enum Requirement {
    /// Nothing.
    #[serde(rename = "insecureAcceptAnything")]
    Anything {},
    /// It cannot be.
    #[serde(rename = "reject")]
    Reject {},
    /// A signature by cosign.
    #[serde(rename = "sigstoreSigned", rename_all = "camelCase")]
    Sigstore {
        /// One file of a key.
        #[serde(default)]
        key_path: Option<PathBuf>,
        /// Several: any will do.
        #[serde(default)]
        key_paths: Option<Vec<PathBuf>>,
        /// The key itself, in base64.
        #[serde(default)]
        key_data: Option<String>,
        /// Several: any will do.
        #[serde(default)]
        key_datas: Option<Vec<String>>,
        /// Which name must have been signed.
        #[serde(default)]
        signed_identity: Identity,
    },
    /// A bundle of cosign 3, which has no name in it.
    #[serde(rename = "sigstoreBundle", rename_all = "camelCase")]
    Bundle {
        /// As above.
        #[serde(default)]
        key_path: Option<PathBuf>,
        /// As above.
        #[serde(default)]
        key_paths: Option<Vec<PathBuf>>,
        /// As above.
        #[serde(default)]
        key_data: Option<String>,
        /// As above.
        #[serde(default)]
        key_datas: Option<Vec<String>>,
        /// What may have been said of the image: that it is signed, where none is named.
        #[serde(default = "signed")]
        predicate_types: Vec<String>,
    },
    /// A signature of notation.
    #[serde(rename = "notationSigned", rename_all = "camelCase")]
    Notation {
        /// Directory of `trustpolicy.json` and `trust-store`.
        config_path: PathBuf,
    },
}

fn signed() -> Vec<String> {
    vec![signature::SIGNED.to_owned()]
}

/// Where the keys of a requirement are: one of four ways.
#[derive(Debug, Default)]
pub(crate) struct Keys<'a> {
    path: Option<&'a PathBuf>,
    paths: &'a [PathBuf],
    /// In base64.
    data: Option<&'a String>,
    datas: &'a [String],
}

impl<'a> Keys<'a> {
    fn ways(&self) -> usize {
        let given = [
            self.path.is_some(),
            !self.paths.is_empty(),
            self.data.is_some(),
            !self.datas.is_empty(),
        ];
        given.iter().filter(|given| **given).count()
    }

    /// Files.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &'a PathBuf> {
        self.path.into_iter().chain(self.paths)
    }

    /// The keys themselves, in base64.
    pub(crate) fn datas(&self) -> impl Iterator<Item = &'a String> {
        self.data.into_iter().chain(self.datas)
    }
}

/// How the name in a signature relates to that of the image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub(crate) enum Identity {
    /// The same, tag included.
    #[serde(rename = "matchExact")]
    Exact {},
    /// The same, or the same repository for an image named by digest.
    #[default]
    #[serde(rename = "matchRepoDigestOrExact")]
    RepoDigestOrExact,
    /// The same repository.
    #[serde(rename = "matchRepository")]
    Repository {},
    /// This one.
    #[serde(rename = "exactReference", rename_all = "camelCase")]
    Reference {
        /// With its tag.
        docker_reference: String,
    },
    /// This repository.
    #[serde(rename = "exactRepository", rename_all = "camelCase")]
    ThatRepository {
        /// Without a tag.
        docker_repository: String,
    },
    /// As the default, once the image's name begins with something else.
    #[serde(rename = "remapIdentity", rename_all = "camelCase")]
    Remap {
        /// What the name begins with.
        prefix: String,
        /// What stands there instead.
        signed_prefix: String,
    },
}

impl Policy {
    /// Reads a policy.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let policy: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let all = policy.transports.values().flat_map(BTreeMap::values);
        for requirements in all.chain([&policy.default]) {
            if requirements.is_empty() {
                return Err("a list of requirements must not be empty".into());
            }
            requirements.iter().try_for_each(Requirement::check)?;
        }
        Ok(policy)
    }

    /// What an image from a registry must satisfy: of the most special scope that fits.
    pub(crate) fn of(&self, reference: &Reference) -> &[Requirement] {
        let Some(scopes) = self.transports.get("docker") else {
            return &self.default;
        };
        let found = names(reference).iter().find_map(|name| scopes.get(name));
        found.unwrap_or(&self.default)
    }
}

/// Scopes of an image, the most special first, that of all registries last.
fn names(reference: &Reference) -> Vec<String> {
    let (domain, path) = (reference.domain(), reference.path());
    let mut names = vec![reference.to_string()];
    let mut name = format!("{domain}/{path}");
    loop {
        names.push(name.clone());
        match name.rsplit_once('/') {
            Some((shorter, _)) => name = shorter.to_owned(),
            None => break,
        }
    }
    let host = domain.split(':').next().unwrap_or(domain);
    let mut rest = host;
    while let Some((_, shorter)) = rest.split_once('.') {
        names.push(format!("*.{shorter}"));
        rest = shorter;
    }
    names.push(String::new());
    names
}

impl Requirement {
    fn check(&self) -> Result<(), String> {
        match self {
            Self::Bundle {
                predicate_types, ..
            } if predicate_types.is_empty() => Err("predicateTypes must not be empty".into()),
            Self::Notation { config_path } if !config_path.is_absolute() => {
                Err("configPath must be absolute".into())
            }
            Self::Sigstore { .. } | Self::Bundle { .. } => match self.keys().ways() {
                1 => Ok(()),
                _ => Err(
                    "exactly one of keyPath, keyPaths, keyData and keyDatas must be given".into(),
                ),
            },
            _ => Ok(()),
        }
    }

    /// Where its keys are.
    pub(crate) fn keys(&self) -> Keys<'_> {
        let (Self::Sigstore {
            key_path,
            key_paths,
            key_data,
            key_datas,
            ..
        }
        | Self::Bundle {
            key_path,
            key_paths,
            key_data,
            key_datas,
            ..
        }) = self
        else {
            return Keys::default();
        };
        Keys {
            path: key_path.as_ref(),
            paths: key_paths.as_deref().unwrap_or_default(),
            data: key_data.as_ref(),
            datas: key_datas.as_deref().unwrap_or_default(),
        }
    }
}

impl Identity {
    /// Whether a signature for the name `signed` counts for `image`.
    pub(crate) fn accepts(&self, image: &Reference, signed: &str) -> bool {
        let Ok(signed) = signed.parse::<Reference>() else {
            return false;
        };
        let repository = |of: &Reference| format!("{}/{}", of.domain(), of.path());
        let same_repository = |image: &Reference| repository(image) == repository(&signed);
        // cosign writes no tag: a signature for the repository is one for its digests.
        let exact = |image: &Reference| {
            same_repository(image) && signed.tag().is_some() && image.tag() == signed.tag()
        };
        let default = |image: &Reference| match image.digest() {
            Some(_) => same_repository(image),
            None => exact(image),
        };
        match self {
            Self::Exact {} => exact(image),
            Self::RepoDigestOrExact => default(image),
            Self::Repository {} => same_repository(image),
            Self::Reference { docker_reference } => docker_reference
                .parse()
                .is_ok_and(|wanted: Reference| exact(&wanted)),
            Self::ThatRepository { docker_repository } => docker_repository
                .parse()
                .is_ok_and(|wanted: Reference| same_repository(&wanted)),
            Self::Remap {
                prefix,
                signed_prefix,
            } => {
                let name = image.to_string();
                let rest = name.strip_prefix(prefix.as_str());
                let whole = |rest: &&str| {
                    rest.is_empty() || rest.starts_with(['/', ':', '@']) || prefix.ends_with('/')
                };
                match rest.filter(whole) {
                    Some(rest) => format!("{signed_prefix}{rest}")
                        .parse()
                        .is_ok_and(|image: Reference| default(&image)),
                    None => default(image),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(policy: &str, name: &str) -> Requirement {
        let policy = Policy::parse(policy.as_bytes()).expect("policy");
        policy.of(&name.parse().expect("reference"))[0].clone()
    }

    #[test]
    fn the_most_special_scope_decides() {
        let policy = r#"{"default":[{"type":"reject"}],"transports":{"docker":{
            "quay.io/a/b:1":[{"type":"reject"}],
            "quay.io/a":[{"type":"insecureAcceptAnything"}],
            "*.lan":[{"type":"insecureAcceptAnything"}],
            "docker.io/library/busybox":[{"type":"insecureAcceptAnything"}]}}}"#;
        let anything = Requirement::Anything {};
        let reject = Requirement::Reject {};
        for (name, wanted) in [
            ("quay.io/a/b:1", &reject),
            ("quay.io/a/b:2", &anything),
            ("quay.io/ab/b:2", &reject),
            ("x.y.lan:5000/a", &anything),
            ("lan/a/b", &reject),
            ("busybox", &anything),
            ("alpine", &reject),
        ] {
            assert_eq!(of(policy, name), *wanted, "{name}");
        }
        let all = r#"{"default":[{"type":"reject"}],
            "transports":{"docker":{"":[{"type":"insecureAcceptAnything"}]}}}"#;
        assert_eq!(of(all, "alpine"), anything);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "{}",
            r#"{"default":[]}"#,
            r#"{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"x"}]}"#,
            r#"{"default":[{"type":"sigstoreSigned"}]}"#,
            r#"{"default":[{"type":"sigstoreSigned","keyPath":"x","keyData":"x"}]}"#,
            r#"{"default":[{"type":"sigstoreSigned","fulcio":{}}]}"#,
            r#"{"default":[{"type":"sigstoreSigned","keyPath":"x","rekorPublicKeyPath":"y"}]}"#,
            r#"{"default":[{"type":"reject"}],"extra":1}"#,
            r#"{"default":[{"type":"sigstoreBundle"}]}"#,
            r#"{"default":[{"type":"sigstoreBundle","keyPath":"x","predicateTypes":[]}]}"#,
            r#"{"default":[{"type":"sigstoreBundle","keyPath":"x","signedIdentity":{}}]}"#,
            r#"{"default":[{"type":"notationSigned"}]}"#,
            r#"{"default":[{"type":"notationSigned","configPath":"etc"}]}"#,
        ] {
            assert!(Policy::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn identities() {
        let image: Reference = "quay.io/a/b:1".parse().expect("reference");
        let digest = format!("quay.io/a/b@sha256:{}", "0".repeat(64));
        let by_digest: Reference = digest.parse().expect("reference");
        let default = Identity::default();
        assert!(default.accepts(&image, "quay.io/a/b:1"));
        assert!(!default.accepts(&image, "quay.io/a/b"));
        assert!(!default.accepts(&image, "quay.io/a/b:2"));
        assert!(default.accepts(&by_digest, "quay.io/a/b:2"));
        assert!(!default.accepts(&by_digest, "quay.io/a/c:2"));
        let repository = Identity::Repository {};
        assert!(repository.accepts(&image, "quay.io/a/b"));
        assert!(!repository.accepts(&image, "quay.io/a/bb"));
        assert!(!repository.accepts(&image, "not a name"));
        let remap = Identity::Remap {
            prefix: "quay.io/a".into(),
            signed_prefix: "upstream.io/x".into(),
        };
        assert!(remap.accepts(&image, "upstream.io/x/b:1"));
        assert!(!remap.accepts(&image, "quay.io/a/b:1"));
        let that = Identity::ThatRepository {
            docker_repository: "up.io/b".into(),
        };
        assert!(that.accepts(&image, "up.io/b:9"));
        assert!(!that.accepts(&image, "quay.io/a/b:1"));
    }
}
