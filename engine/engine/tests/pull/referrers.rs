//! Pulls under a policy that asks for signatures which refer to the image: bundles and notation's.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SigningKey as _};

use super::*;

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const NOTATION: &str = "application/vnd.cncf.notary.signature";
const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";

/// Puts one artifact beside `subject`, in the place of those before.
fn refer(registry: &Registry, subject: &str, artifact: &str, kind: &str, bytes: &[u8]) {
    let config = registry.blob("x", b"{}");
    let config_type = match artifact {
        NOTATION => NOTATION,
        _ => "application/vnd.oci.empty.v1+json",
    };
    let layer =
        json!({"mediaType": kind, "digest": registry.blob("x", bytes), "size": bytes.len()});
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": artifact,
        "config": {"mediaType": config_type, "digest": config, "size": 2}, "layers": [layer]});
    let digest = registry.manifest("x", "signature", &manifest);
    let entry = json!({"mediaType": MANIFEST, "digest": digest, "size": 1,
        "artifactType": artifact});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
    let index = serde_json::to_vec(&index).unwrap();
    registry.put(&format!("/v2/x/referrers/{subject}"), INDEX, index);
}

/// A bundle as `cosign sign --key` makes it.
fn bundle(key: &KeyPair, digest: &str, predicate: &str) -> Vec<u8> {
    let statement = json!({"_type": "https://in-toto.io/Statement/v1", "predicate": {},
        "subject": [{"digest": {"sha256": digest.trim_start_matches("sha256:")}}],
        "predicateType": predicate});
    let payload = serde_json::to_vec(&statement).unwrap();
    let kind = "application/vnd.in-toto+json";
    let mut input = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    input.extend_from_slice(&payload);
    let signature = STANDARD.encode(key.sign(&input).unwrap());
    let bundle = json!({"mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": "h"}, "tlogEntries": []},
        "dsseEnvelope": {"payload": STANDARD.encode(payload), "payloadType": kind,
            "signatures": [{"sig": signature}]}});
    serde_json::to_vec(&bundle).unwrap()
}

fn refused(lines: &[JsonMessage], part: &str) {
    let last = &error(lines).error;
    assert!(last.starts_with("Source image rejected: "), "{last}");
    assert!(last.contains(part), "{last}");
}

fn came(lines: &[JsonMessage]) {
    let last = texts(lines, "");
    assert!(
        last.last().unwrap().starts_with("Status: Downloaded"),
        "{lines:?}"
    );
}

async fn lab(name: &str, policy: &Path) -> (Lab, Value, String) {
    let settings = RegistrySettings {
        signature_policy: Some(policy.to_owned()),
        ..RegistrySettings::default()
    };
    let lab = Lab::with(name, 3, settings).await;
    let manifest = three(&lab.registry, "x");
    let digest = lab.registry.manifest("x", "1", &manifest);
    (lab, manifest, digest)
}

async fn nothing_came(lab: &Lab, manifest: &Value) {
    assert!(lab.settled().await.is_empty(), "nothing was unpacked");
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    assert!(lab.registry.seen(layer).is_empty(), "nothing was fetched");
}

#[tokio::test]
async fn bundles_of_cosign() {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("policy.json");
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let data = STANDARD.encode(key.public_key_pem());
    let rules = json!({"default": [{"type": "sigstoreBundle", "keyData": data}]});
    std::fs::write(&policy, rules.to_string()).unwrap();
    let (lab, manifest, digest) = lab("bundles", &policy).await;
    let registry = &lab.registry;

    refused(&lab.pull("x", "1").await, "no signature exists");
    let put = |bytes: &[u8]| refer(registry, &digest, BUNDLE, BUNDLE, bytes);
    put(&bundle(&other, &digest, SIGNED));
    refused(&lab.pull("x", "1").await, "signature verification failed");
    put(&bundle(&key, &faulty::digest(b"x"), SIGNED));
    refused(&lab.pull("x", "1").await, "does not match");
    put(&bundle(&key, &digest, "https://slsa.dev/provenance/v1"));
    refused(&lab.pull("x", "1").await, "of type");
    put(b"{}");
    refused(&lab.pull("x", "1").await, "sigstore bundle: ");
    nothing_came(&lab, &manifest).await;

    put(&bundle(&key, &digest, SIGNED));
    came(&lab.pull("x", "1").await);
}

#[tokio::test]
async fn a_bundle_of_an_index_by_its_tag() {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("policy.json");
    let key = KeyPair::generate().unwrap();
    let path = dir.path().join("key.pub");
    std::fs::write(&path, key.public_key_pem()).unwrap();
    let rules = json!({"default": [{"type": "sigstoreBundle", "keyPath": path}]});
    std::fs::write(&policy, rules.to_string()).unwrap();
    let (lab, _, inner) = lab("bundle-index", &policy).await;
    let entry = json!({"mediaType": MANIFEST, "digest": inner, "size": 1,
        "platform": {"os": "linux", "architecture": host()}});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
    let top = lab.registry.manifest("x", "all", &index);
    let bytes = bundle(&key, &top, SIGNED);
    refer(&lab.registry, &top, BUNDLE, BUNDLE, &bytes);
    // A registry without the list: the same index is under a tag, and tells no types.
    let layer = json!({"mediaType": BUNDLE, "digest": digest(&bytes), "size": bytes.len()});
    let config = json!({"mediaType": "application/vnd.oci.empty.v1+json",
        "digest": digest(b"{}"), "size": 2});
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config,
        "layers": [layer]});
    let signature = lab.registry.manifest("x", "signature", &manifest);
    let entry = json!({"mediaType": MANIFEST, "digest": signature, "size": 1});
    let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
    lab.registry.manifest("x", &top.replace(':', "-"), &list);
    lab.registry.order(
        |request, reply| match request.line.contains("/referrers/") {
            true => Reply::new(404, ""),
            false => reply,
        },
    );
    came(&lab.pull("x", "all").await);
    refused(&lab.pull("x", "1").await, "no signature exists");
}

/// What notation's certificates are made of.
fn signer(authority: &CertifiedIssuer<'_, KeyPair>, until: i32) -> (KeyPair, Vec<Vec<u8>>) {
    let mut params = CertificateParams::default();
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::CodeSigning];
    let key = KeyPair::generate().unwrap();
    let own = params.signed_by(&key, authority).unwrap();
    let chain = vec![own.der().to_vec(), authority.der().to_vec()];
    (key, chain)
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "root");
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// The descriptor of a manifest, signed as `notation sign` does.
fn envelope(
    (key, chain): &(KeyPair, Vec<Vec<u8>>),
    digest: &str,
    size: usize,
    expiry: Option<&str>,
) -> Vec<u8> {
    let scheme = "io.cncf.notary.signingScheme";
    let mut protected = json!({"alg": "ES256", scheme: "notary.x509", "crit": [scheme],
        "cty": "application/vnd.cncf.notary.payload.v1+json",
        "io.cncf.notary.signingTime": "2025-01-01T00:00:00Z"});
    if let Some(expiry) = expiry {
        protected["io.cncf.notary.expiry"] = expiry.into();
        protected["crit"] = json!([scheme, "io.cncf.notary.expiry"]);
    }
    let target = json!({"mediaType": MANIFEST, "digest": digest, "size": size});
    let payload = json!({"targetArtifact": target});
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let (protected, payload) = (encoded(&protected), encoded(&payload));
    let der = key
        .sign(format!("{protected}.{payload}").as_bytes())
        .unwrap();
    // Two numbers in DER, behind the head of their sequence.
    let mut raw = Vec::new();
    let mut rest = &der[2..];
    while let [_, length, more @ ..] = rest {
        let (number, after) = more.split_at(usize::from(*length));
        let number = &number[number.len().saturating_sub(32)..];
        raw.extend(std::iter::repeat_n(0, 32 - number.len()));
        raw.extend_from_slice(number);
        rest = after;
    }
    let chain: Vec<String> = chain.iter().map(|it| STANDARD.encode(it)).collect();
    let envelope = json!({"payload": payload, "protected": protected, "header": {"x5c": chain},
        "signature": URL_SAFE_NO_PAD.encode(raw)});
    serde_json::to_vec(&envelope).unwrap()
}

#[tokio::test]
async fn signatures_of_notation() {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("policy.json");
    let notation = dir.path().join("notation");
    let rules = json!({"default": [{"type": "notationSigned", "configPath": notation}]});
    std::fs::write(&policy, rules.to_string()).unwrap();
    let (lab, manifest, digest) = lab("notation", &policy).await;
    let invalid = error(&lab.pull("x", "1").await).error.clone();
    assert!(invalid.contains("trustpolicy.json"), "{invalid}");

    let (root, stranger) = (authority(), authority());
    let store = notation.join("trust-store/x509/ca/team");
    std::fs::create_dir_all(&store).unwrap();
    std::fs::write(store.join("root.crt"), root.pem()).unwrap();
    let trust = |scope: &str| {
        let policy = json!({"version": "1.0", "trustPolicies": [{"name": "all",
            "registryScopes": [scope], "signatureVerification": {"level": "strict"},
            "trustStores": ["ca:team"], "trustedIdentities": ["*"]}]});
        std::fs::write(notation.join("trustpolicy.json"), policy.to_string()).unwrap();
    };
    trust("other.io/x");
    refused(&lab.pull("x", "1").await, "no trust policy of");
    trust(&lab.name("x"));
    refused(&lab.pull("x", "1").await, "no signature exists");

    let size = serde_json::to_vec(&manifest).unwrap().len();
    let jws = "application/jose+json";
    let put = |kind: &str, bytes: &[u8]| refer(&lab.registry, &digest, NOTATION, kind, bytes);
    let good = signer(&root, 2100);
    for (bytes, why) in [
        (
            envelope(&signer(&stranger, 2100), &digest, size, None),
            "cert",
        ),
        (
            envelope(&good, &faulty::digest(b"x"), size, None),
            "it is for",
        ),
        (envelope(&good, &digest, size + 1, None), "descriptor"),
        (
            envelope(&good, &digest, size, Some("2025-02-01T00:00:00Z")),
            "expired at",
        ),
        (
            envelope(&signer(&root, 2025), &digest, size, None),
            "a certificate has expired",
        ),
        (b"{}".to_vec(), "notation signature"),
    ] {
        put(jws, &bytes);
        refused(&lab.pull("x", "1").await, why);
    }
    let right = envelope(&good, &digest, size, None);
    put("application/cose", &right);
    refused(
        &lab.pull("x", "1").await,
        "\"application/cose\" is not supported",
    );
    nothing_came(&lab, &manifest).await;

    put(jws, &right);
    came(&lab.pull("x", "1").await);
}
