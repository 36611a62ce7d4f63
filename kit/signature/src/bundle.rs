//! Sigstore's bundles, checked with public keys (sigstore/protobuf-specs, sigstore_bundle.proto; DSSE,
//! protocol.md; in-toto attestation, Statement v1). cosign 3 signs images this way: a statement whose
//! subject is the image's digest, in an envelope, in a bundle that refers to the image.
//!
//! What else a bundle may have is not looked at: entries of a transparency log, time stamps. They say
//! when and where a signature was told of; whose it is, a key alone says. Bundles with a certificate
//! in the place of a key are refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::{Artifact, PublicKey, Refused};

/// What the media type of a bundle, and the type of its artifact, begins with.
pub const BUNDLES: &str = "application/vnd.dev.sigstore.bundle";
/// What `cosign sign` says of an image: that it is signed.
pub const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";

/// Versions that are read.
const VERSIONS: [&str; 4] = [
    "application/vnd.dev.sigstore.bundle.v0.3+json",
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
    "application/vnd.dev.sigstore.bundle+json;version=0.2",
    "application/vnd.dev.sigstore.bundle+json;version=0.1",
];
const STATEMENT: &str = "application/vnd.in-toto+json";
const STATEMENTS: [&str; 2] = [
    "https://in-toto.io/Statement/v1",
    "https://in-toto.io/Statement/v0.1",
];

/// A bundle.
#[derive(Debug, Clone)]
pub struct Bundle(Content);

#[derive(Debug, Clone)]
enum Content {
    /// The artifact's own bytes are signed; their digest.
    Message { digest: Vec<u8>, signature: Vec<u8> },
    /// A document is.
    Envelope {
        kind: String,
        payload: Vec<u8>,
        signature: Vec<u8>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    media_type: String,
    verification_material: Material,
    message_signature: Option<Message>,
    dsse_envelope: Option<Dsse>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    public_key: Option<serde_json::Value>,
    certificate: Option<serde_json::Value>,
    x509_certificate_chain: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    message_digest: MessageDigest,
    signature: String,
}

#[derive(Deserialize)]
struct MessageDigest {
    algorithm: String,
    digest: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dsse {
    payload: String,
    payload_type: String,
    signatures: Vec<DsseSignature>,
}

#[derive(Deserialize)]
struct DsseSignature {
    sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    predicate_type: String,
}

#[derive(Deserialize)]
struct Subject {
    digest: std::collections::BTreeMap<String, String>,
}

impl Bundle {
    /// Reads a bundle.
    ///
    /// # Errors
    /// When it is none, or of a kind that cannot be checked with a key.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        let wrong = |text: String| Refused(format!("sigstore bundle: {text}"));
        let raw: Raw = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        if !VERSIONS.contains(&raw.media_type.as_str()) {
            return Err(wrong(format!("unknown media type {:?}", raw.media_type)));
        }
        let material = &raw.verification_material;
        if material.certificate.is_some() || material.x509_certificate_chain.is_some() {
            let text = "signed with a certificate, which is not supported: only keys are";
            return Err(wrong(text.into()));
        }
        if material.public_key.is_none() {
            return Err(wrong("it names no key".into()));
        }
        let decoded = |text: &str| {
            let bytes = STANDARD.decode(text);
            bytes.map_err(|error| wrong(format!("base64: {error}")))
        };
        Ok(Self(match (raw.message_signature, raw.dsse_envelope) {
            (Some(message), None) => {
                if message.message_digest.algorithm != "SHA2_256" {
                    let text = format!("unknown digest {:?}", message.message_digest.algorithm);
                    return Err(wrong(text));
                }
                Content::Message {
                    digest: decoded(&message.message_digest.digest)?,
                    signature: decoded(&message.signature)?,
                }
            }
            (None, Some(envelope)) => {
                let [signature] = envelope.signatures.as_slice() else {
                    return Err(wrong("not exactly one signature".into()));
                };
                Content::Envelope {
                    payload: decoded(&envelope.payload)?,
                    signature: decoded(&signature.sig)?,
                    kind: envelope.payload_type,
                }
            }
            _ => return Err(wrong("not exactly one content".into())),
        }))
    }

    /// Whether one of the keys signed this artifact, in a statement of one of these kinds
    /// ([`SIGNED`]) or by itself.
    ///
    /// # Errors
    /// Why it does not count.
    pub fn verify(
        &self,
        keys: &[PublicKey],
        predicates: &[String],
        artifact: &Artifact<'_>,
    ) -> Result<(), Refused> {
        let by_any = |message: &[u8], signature: &[u8]| match keys
            .iter()
            .any(|key| key.verifies(message, signature))
        {
            true => Ok(()),
            false => Err(Refused::new("cryptographic signature verification failed")),
        };
        match &self.0 {
            Content::Message { digest, signature } => {
                // What is signed are the bytes, whatever digest the bundle tells of.
                if digest.as_slice() != Sha256::digest(artifact.bytes).as_slice() {
                    let text = format!("the bundle is not for {}", artifact.digest);
                    return Err(Refused(text));
                }
                by_any(artifact.bytes, signature)
            }
            Content::Envelope {
                kind,
                payload,
                signature,
            } => {
                by_any(&encoded(kind, payload), signature)?;
                // From here on it is known who said it.
                judged(kind, payload, predicates, artifact)
            }
        }
    }
}

/// What of an envelope is signed (DSSE, protocol.md: PAE).
fn encoded(kind: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// Whether a statement is of this artifact.
fn judged(
    kind: &str,
    payload: &[u8],
    predicates: &[String],
    artifact: &Artifact<'_>,
) -> Result<(), Refused> {
    if kind != STATEMENT {
        return Err(Refused(format!("signed is {kind:?}, not a statement")));
    }
    let statement: Statement = serde_json::from_slice(payload)
        .map_err(|error| Refused(format!("signed statement: {error}")))?;
    if !STATEMENTS.contains(&statement.kind.as_str()) {
        return Err(Refused(format!("unknown statement {:?}", statement.kind)));
    }
    if !predicates.contains(&statement.predicate_type) {
        let text = format!("signed statement is of type {:?}", statement.predicate_type);
        return Err(Refused(text));
    }
    let hex = artifact.digest.strip_prefix("sha256:");
    let is_it = |subject: &Subject| {
        let told = subject.digest.get("sha256").map(String::as_str);
        told.is_some() && told == hex
    };
    match statement.subject.iter().any(is_it) {
        true => Ok(()),
        false => Err(Refused(format!(
            "signed statement does not match {}",
            artifact.digest
        ))),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::SigningKey as _;
    use serde_json::{Value, json};

    use super::*;

    const MANIFEST: &[u8] = b"{\"schemaVersion\":2}";

    fn digest(bytes: &[u8]) -> String {
        let hash = Sha256::digest(bytes);
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn bundle(content: &str, value: Value) -> Value {
        json!({"mediaType": VERSIONS[0], content: value,
            "verificationMaterial": {"publicKey": {"hint": "x"}, "tlogEntries": []}})
    }

    fn dsse(pair: &rcgen::KeyPair, kind: &str, statement: &Value) -> Value {
        let payload = serde_json::to_vec(statement).expect("json");
        let signature = pair.sign(&encoded(kind, &payload)).expect("signature");
        bundle(
            "dsseEnvelope",
            json!({"payload": STANDARD.encode(payload), "payloadType": kind,
                "signatures": [{"sig": STANDARD.encode(signature), "keyid": ""}]}),
        )
    }

    fn statement(digest: &str, predicate: &str) -> Value {
        json!({"_type": STATEMENTS[0], "subject": [{"digest": {"sha256": digest}}],
            "predicateType": predicate, "predicate": {}})
    }

    fn checked(value: &Value, key: &rcgen::KeyPair) -> Result<(), Refused> {
        let key = PublicKey::from_pem(key.public_key_pem().as_bytes()).expect("key");
        let digest = format!("sha256:{}", digest(MANIFEST));
        let artifact = Artifact {
            media_type: "x",
            digest: &digest,
            bytes: MANIFEST,
        };
        let bundle = Bundle::parse(&serde_json::to_vec(value).expect("json"))?;
        bundle.verify(&[key], &[SIGNED.to_owned()], &artifact)
    }

    #[test]
    fn statements_in_envelopes() {
        let pair = || rcgen::KeyPair::generate().expect("key");
        let (key, other) = (pair(), pair());
        let right = statement(&digest(MANIFEST), SIGNED);
        assert_eq!(checked(&dsse(&key, STATEMENT, &right), &key), Ok(()));
        for (value, why) in [
            (dsse(&other, STATEMENT, &right), "verification failed"),
            (
                dsse(&key, STATEMENT, &statement(&digest(b"x"), SIGNED)),
                "does not match",
            ),
            (
                dsse(
                    &key,
                    STATEMENT,
                    &statement(&digest(MANIFEST), "https://slsa"),
                ),
                "of type",
            ),
            (dsse(&key, "text/plain", &right), "not a statement"),
            (dsse(&key, STATEMENT, &json!({})), "signed statement: "),
        ] {
            let error = checked(&value, &key).expect_err(why);
            assert!(error.0.contains(why), "{error}");
        }
        // The kind of the payload is signed too.
        let mut renamed = dsse(&key, "text/plain", &right);
        renamed["dsseEnvelope"]["payloadType"] = STATEMENT.into();
        let error = checked(&renamed, &key).expect_err("renamed");
        assert!(error.0.contains("verification failed"), "{error}");
    }

    #[test]
    fn signed_bytes() {
        let key = rcgen::KeyPair::generate().expect("key");
        let message = |bytes: &[u8], told: &[u8]| {
            let signature = STANDARD.encode(key.sign(bytes).expect("signature"));
            let digest = STANDARD.encode(Sha256::digest(told));
            let digest = json!({"algorithm": "SHA2_256", "digest": digest});
            bundle(
                "messageSignature",
                json!({"messageDigest": digest, "signature": signature}),
            )
        };
        assert_eq!(checked(&message(MANIFEST, MANIFEST), &key), Ok(()));
        assert!(checked(&message(b"x", MANIFEST), &key).is_err());
        let error = checked(&message(b"x", b"x"), &key).expect_err("other");
        assert!(error.0.contains("is not for sha256:"), "{error}");
    }

    #[test]
    fn what_cannot_be_checked_is_named() {
        let key = rcgen::KeyPair::generate().expect("key");
        let right = dsse(&key, STATEMENT, &statement(&digest(MANIFEST), SIGNED));
        let with = |change: &dyn Fn(&mut Value)| {
            let mut value = right.clone();
            change(&mut value);
            checked(&value, &key).expect_err("refused").0
        };
        let material =
            |value: Value| move |it: &mut Value| it["verificationMaterial"] = value.clone();
        let text = with(&material(json!({"certificate": {"rawBytes": ""}})));
        assert!(text.contains("certificate"), "{text}");
        assert!(with(&material(json!({}))).contains("no key"));
        let text = with(&|it| it["mediaType"] = "application/json".into());
        assert!(text.contains("media type"), "{text}");
        let text = with(&|it| it["dsseEnvelope"]["signatures"] = json!([]));
        assert!(text.contains("exactly one signature"), "{text}");
        let text = with(&|it| {
            it.as_object_mut().expect("object").remove("dsseEnvelope");
        });
        assert!(text.contains("exactly one content"), "{text}");
    }
}
