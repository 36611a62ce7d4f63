//! notation's trust policy (notaryproject/specifications, trust-store-trust-policy.md), version 1.0.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{Identities, Scheme};
use crate::Refused;

/// What follows when a check fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The signature does not count.
    Enforce,
    /// It is told.
    Log,
    /// Nothing.
    Skip,
}

impl Action {
    pub(crate) fn apply(self, text: String, told: &mut Vec<String>) -> Result<(), Refused> {
        match self {
            Self::Enforce => return Err(Refused(text)),
            Self::Log => told.push(text),
            Self::Skip => {}
        }
        Ok(())
    }
}

/// How a signature is checked; that it is one, and by somebody who is trusted, always is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Certificates are valid now.
    pub timestamp: Action,
    /// The signature has not expired.
    pub expiry: Action,
    /// Certificates were not revoked.
    pub revocation: Action,
    /// Who may be the signer.
    pub identities: Identities,
}

/// What a repository's artifacts must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verification {
    /// Nothing.
    Skip,
    /// A signature.
    Check {
        /// Kind and name of stores with roots.
        stores: Vec<(Scheme, String)>,
        /// How it is checked.
        rules: Rules,
    },
}

/// A trust policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustPolicy {
    /// By repository; `*` is all others.
    scopes: BTreeMap<String, Verification>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    version: String,
    trust_policies: Vec<One>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct One {
    name: String,
    registry_scopes: Vec<String>,
    signature_verification: Level,
    #[serde(default)]
    trust_stores: Vec<String>,
    #[serde(default)]
    trusted_identities: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Level {
    level: String,
    #[serde(default, rename = "override")]
    other: BTreeMap<String, String>,
}

impl TrustPolicy {
    /// Reads a policy.
    ///
    /// # Errors
    /// When it is none, or asks for what is not supported: that is named.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        let wrong = |text: String| Refused(format!("trust policy: {text}"));
        let raw: Raw = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        if raw.version != "1.0" {
            return Err(wrong(format!("unknown version {:?}", raw.version)));
        }
        let (mut scopes, mut names) = (BTreeMap::new(), BTreeSet::new());
        for one in &raw.trust_policies {
            let named = |text: String| wrong(format!("{:?}: {text}", one.name));
            if one.name.is_empty() || !names.insert(&one.name) {
                return Err(named("names must be there, and differ".into()));
            }
            let verification = one.verification().map_err(named)?;
            if one.registry_scopes.is_empty() {
                return Err(named("registryScopes must not be empty".into()));
            }
            for scope in &one.registry_scopes {
                let all = scope == "*";
                if all && (one.registry_scopes.len() > 1 || verification == Verification::Skip) {
                    return Err(named("the scope \"*\" is alone, and not skipped".into()));
                }
                if !all && (scope.contains('*') || !scope.contains('/')) {
                    return Err(named(format!("scope {scope:?} is no repository")));
                }
                if scopes.insert(scope.clone(), verification.clone()).is_some() {
                    return Err(named(format!("scope {scope:?} is another policy's too")));
                }
            }
        }
        Ok(Self { scopes })
    }

    /// For the artifacts of `registry/repository`; `None` when nothing is said of it.
    pub fn of(&self, repository: &str) -> Option<&Verification> {
        let exact = self.scopes.get(repository);
        exact.or_else(|| self.scopes.get("*"))
    }
}

impl One {
    fn verification(&self) -> Result<Verification, String> {
        let level = &self.signature_verification;
        let (timestamp, expiry, revocation) = match level.level.as_str() {
            "strict" => (Action::Enforce, Action::Enforce, Action::Enforce),
            "permissive" => (Action::Log, Action::Log, Action::Log),
            "skip" if !level.other.is_empty() => return Err("skip has no override".into()),
            "skip" => return Ok(Verification::Skip),
            "audit" => return Err("level \"audit\" is not supported: it keeps nothing out".into()),
            other => return Err(format!("unknown level {other:?}")),
        };
        let mut rules = Rules {
            timestamp,
            expiry,
            revocation,
            identities: Identities::parse(&self.trusted_identities)?,
        };
        for (check, action) in &level.other {
            let action = match (check.as_str(), action.as_str()) {
                (_, "enforce") => Action::Enforce,
                (_, "log") => Action::Log,
                ("revocation", "skip") => Action::Skip,
                _ => return Err(format!("override of {check} is {action:?}")),
            };
            match check.as_str() {
                "authenticTimestamp" => rules.timestamp = action,
                "expiry" => rules.expiry = action,
                "revocation" => rules.revocation = action,
                "authenticity" if action == Action::Enforce => {}
                "authenticity" => {
                    return Err("override of authenticity is not supported".into());
                }
                other => return Err(format!("unknown override {other:?}")),
            }
        }
        if self.trust_stores.is_empty() {
            return Err("trustStores must not be empty".into());
        }
        let stores = self.trust_stores.iter().map(|store| store_of(store));
        Ok(Verification::Check {
            stores: stores.collect::<Result<_, _>>()?,
            rules,
        })
    }
}

/// `ca:name`.
fn store_of(text: &str) -> Result<(Scheme, String), String> {
    let (kind, name) = text.split_once(':').unwrap_or(("", text));
    let scheme = match kind {
        "ca" => Scheme::X509,
        "signingAuthority" => Scheme::SigningAuthority,
        "tsa" => return Err(format!("store {text:?}: time stamps are not supported")),
        _ => return Err(format!("store {text:?} is of no known kind")),
    };
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    // It becomes the name of a directory.
    match !name.is_empty() && !matches!(name, "." | "..") && name.chars().all(sound) {
        true => Ok((scheme, name.to_owned())),
        false => Err(format!("store {text:?} has a bad name")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn policy(scopes: &[&str], verification: &Value) -> Value {
        json!({"name": scopes[0], "registryScopes": scopes, "signatureVerification": verification,
            "trustStores": ["ca:one", "signingAuthority:two"], "trustedIdentities": ["*"]})
    }

    fn parsed(all: &[Value]) -> Result<TrustPolicy, Refused> {
        let text = json!({"version": "1.0", "trustPolicies": all}).to_string();
        TrustPolicy::parse(text.as_bytes())
    }

    #[test]
    fn the_most_special_scope_counts() {
        let all = [
            policy(&["*"], &json!({"level": "strict"})),
            policy(&["a.io/b", "a.io/c"], &json!({"level": "skip"})),
            policy(
                &["a.io/d"],
                &json!({"level": "permissive", "override": {"expiry": "enforce", "revocation": "skip"}}),
            ),
        ];
        let found = parsed(&all).expect("valid");
        assert_eq!(found.of("a.io/c"), Some(&Verification::Skip));
        let rules = |repository: &str| match found.of(repository) {
            Some(Verification::Check { stores, rules }) => {
                assert_eq!(stores[1], (Scheme::SigningAuthority, "two".to_owned()));
                (rules.timestamp, rules.expiry, rules.revocation)
            }
            other => panic!("{other:?}"),
        };
        let strict = (Action::Enforce, Action::Enforce, Action::Enforce);
        assert_eq!(rules("a.io/b/c"), strict);
        assert_eq!(
            rules("a.io/d"),
            (Action::Log, Action::Enforce, Action::Skip)
        );
        assert_eq!(parsed(&all[1..2]).expect("valid").of("x/y"), None);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let strict = json!({"level": "strict"});
        let with = |key: &str, value: Value| {
            let mut one = policy(&["*"], &strict);
            one[key] = value;
            parsed(&[one]).expect_err(key).0
        };
        for (key, value, why) in [
            ("trustStores", json!(["tsa:x"]), "time stamps"),
            ("trustStores", json!(["ca:x,tsa:y"]), "bad name"),
            ("trustStores", json!(["ca:../x"]), "bad name"),
            ("trustStores", json!([]), "trustStores"),
            ("trustedIdentities", json!([]), "trustedIdentities"),
            ("registryScopes", json!(["a.io/*"]), "no repository"),
            ("signatureVerification", json!({"level": "audit"}), "audit"),
            ("signatureVerification", json!({"level": "skip"}), "\"*\""),
            (
                "signatureVerification",
                json!({"level": "strict", "override": {"authenticity": "log"}}),
                "authenticity",
            ),
            ("more", json!(1), "unknown field"),
        ] {
            let error = with(key, value);
            assert!(error.contains(why), "{error}");
        }
        let twice = [policy(&["a/b"], &strict), policy(&["a/b", "c/d"], &strict)];
        assert!(parsed(&twice).is_err());
    }
}
