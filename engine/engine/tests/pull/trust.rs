//! Pulls under a policy: what is not signed as it asks is not unpacked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, SigningKey as _};

use super::*;

const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// Signs a manifest as `cosign sign --key` does.
fn sign(registry: &Registry, repository: &str, digest: &str, signed_name: &str, key: &KeyPair) {
    let payload = json!({"critical": {
        "identity": {"docker-reference": signed_name},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature"}, "optional": null});
    let payload = serde_json::to_vec(&payload).unwrap();
    let signature = STANDARD.encode(key.sign(&payload).unwrap());
    let config = registry.blob(repository, b"{}");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": config, "size": 2},
        "layers": [{"mediaType": PAYLOAD, "digest": registry.blob(repository, &payload),
            "size": payload.len(),
            "annotations": {"dev.cosignproject.cosign/signature": signature}}],
    });
    let tag = format!("{}.sig", digest.replace(':', "-"));
    registry.manifest(repository, &tag, &manifest);
}

fn refused(lines: &[JsonMessage], part: &str) {
    let last = &error(lines).error;
    assert!(last.starts_with("Source image rejected: "), "{last}");
    assert!(last.contains(part), "{last}");
}

#[tokio::test]
async fn only_what_is_signed_comes() {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("policy.json");
    let settings = RegistrySettings {
        signature_policy: Some(policy.clone()),
        ..RegistrySettings::default()
    };
    let lab = Lab::with("trust", 3, settings).await;
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    std::fs::write(dir.path().join("key.pub"), key.public_key_pem()).unwrap();
    let rules = json!({
        "default": [{"type": "reject"}],
        "transports": {"docker": {lab.name("signed"): [{
            "type": "sigstoreSigned", "keyPath": dir.path().join("key.pub"),
            "signedIdentity": {"type": "matchRepository"}}],
            lab.name("free"): [{"type": "insecureAcceptAnything"}]}},
    });
    let lines = lab.pull("signed", "1").await;
    assert!(
        error(&lines).error.contains("manifest unknown"),
        "{lines:?}"
    );
    let manifest = three(&lab.registry, "signed");
    let digest = lab.registry.manifest("signed", "1", &manifest);
    let lines = lab.pull("signed", "1").await;
    assert!(
        error(&lines).error.contains("policy.json"),
        "no policy yet: {lines:?}"
    );
    std::fs::write(&policy, serde_json::to_vec(&rules).unwrap()).unwrap();

    refused(&lab.pull("signed", "1").await, "no signature exists");
    let name = lab.name("signed");
    for (signed, name, key, why) in [
        (
            digest.as_str(),
            name.as_str(),
            &other,
            "cryptographic signature",
        ),
        (&faulty::digest(b"x"), &name, &key, "does not match"),
        (&digest, "quay.io/other", &key, "is not accepted"),
    ] {
        sign(&lab.registry, "signed", signed, name, key);
        if signed != digest {
            // Someone else's signature, put beside this image.
            let put = |what: &str| format!("/v2/signed/manifests/{}.sig", what.replace(':', "-"));
            let (from, to) = (put(signed), put(&digest));
            lab.registry
                .order(move |request, reply| match request.line.contains(&to) {
                    true => Reply::new(307, "").with("Location", from.clone()),
                    false => reply,
                });
        }
        refused(&lab.pull("signed", "1").await, why);
        lab.registry.order(|_, reply| reply);
    }
    assert!(lab.settled().await.is_empty(), "nothing was unpacked");
    let blobs = lab
        .registry
        .seen(manifest["layers"][0]["digest"].as_str().unwrap());
    assert!(blobs.is_empty(), "nothing was fetched");

    sign(&lab.registry, "signed", &digest, &name, &key);
    let lines = lab.pull("signed", "1").await;
    assert!(
        texts(&lines, "")[1].starts_with("Status: Downloaded"),
        "{lines:?}"
    );

    let manifest = three(&lab.registry, "free");
    lab.registry.manifest("free", "1", &manifest);
    let lines = lab.pull("free", "1").await;
    assert!(
        texts(&lines, "")[1].starts_with("Status: Downloaded"),
        "{lines:?}"
    );
    lab.registry
        .manifest("none", "1", &three(&lab.registry, "none"));
    refused(&lab.pull("none", "1").await, "is rejected by policy");
}

#[tokio::test]
async fn a_signed_index_vouches_for_its_images() {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("policy.json");
    let settings = RegistrySettings {
        signature_policy: Some(policy.clone()),
        ..RegistrySettings::default()
    };
    let lab = Lab::with("index", 3, settings).await;
    let key = KeyPair::generate().unwrap();
    let rules = json!({"default": [{
        "type": "sigstoreSigned", "keyData": STANDARD.encode(key.public_key_pem()),
        "signedIdentity": {"type": "matchRepository"}}]});
    std::fs::write(&policy, serde_json::to_vec(&rules).unwrap()).unwrap();
    let manifest = three(&lab.registry, "x");
    let inner = lab.registry.manifest("x", "inner", &manifest);
    let entry = json!({"mediaType": MANIFEST, "digest": inner, "size": 1,
        "platform": {"os": "linux", "architecture": host()}});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
    let top = lab.registry.manifest("x", "1", &index);
    sign(&lab.registry, "x", &top, &lab.name("x"), &key);
    let lines = lab.pull("x", "1").await;
    assert!(
        texts(&lines, "")[1].starts_with("Status: Downloaded"),
        "{lines:?}"
    );
    refused(&lab.pull("x", "inner").await, "no signature exists");
}
