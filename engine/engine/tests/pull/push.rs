//! Pushes, to the registry that others use.

use engine::{ImageRemoveOptions, ImportOptions};
use serde_json::json;

use crate::distribution::Distribution;
use crate::faulty::digest;
use crate::{CONFIG, Lab, MANIFEST, error, gzip, host, noise, rest, tar, texts};

/// Statuses of all lines, whatever they are about.
fn statuses(lines: &[dockerapi::JsonMessage]) -> Vec<&str> {
    lines.iter().map(|line| line.status.as_str()).collect()
}

#[tokio::test]
#[ignore = "needs the program docker-registry"]
async fn what_was_pulled_goes_back_as_it_came() {
    let lab = Lab::new("push-back", 3).await;
    let registry = Distribution::start(&lab.dir.0).await;
    let (a, b) = (tar("a", &noise(1, 300_000)), tar("b", &noise(2, 70_000)));
    let config = json!({
        "os": "linux", "architecture": host(),
        "rootfs": {"type": "layers", "diff_ids": [digest(&a), digest(&b)]},
    });
    let config = serde_json::to_vec(&config).unwrap();
    let zstd = zstd::encode_all(b.as_slice(), 1).unwrap();
    let kinds = [
        CONFIG,
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
    ];
    let mut blobs = Vec::new();
    for (kind, bytes) in kinds.into_iter().zip([config, gzip(&a), zstd]) {
        let digest = registry.blob("a/b", &bytes).await;
        blobs.push(json!({"mediaType": kind, "digest": digest, "size": bytes.len()}));
    }
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": blobs[0], "layers": blobs[1..],
    });
    let digest = registry.manifest("a/b", "1", &manifest).await;
    let (from, to) = (
        format!("{}/a/b", registry.address),
        format!("{}/c/d", registry.address),
    );
    let mut lines = lab.engine.image_pull(&from, "1", None, None).unwrap();
    rest(&mut lines).await;
    lab.engine
        .image_tag(&format!("{from}:1"), &to, "2")
        .await
        .unwrap();
    let mut lines = lab.engine.image_push(&to, "2", None, None).unwrap();
    let lines = rest(&mut lines).await;
    let size = serde_json::to_vec(&manifest).unwrap().len();
    let told = texts(&lines, "");
    assert_eq!(told[0], format!("The push refers to repository [{to}]"));
    assert_eq!(told[1], format!("2: digest: {digest} size: {size}"));
    let mounted = statuses(&lines);
    let mounted = mounted.iter().filter(|text| **text == "Mounted from a/b");
    assert_eq!(mounted.count(), 2, "{lines:?}");
    let again = rest(&mut lab.engine.image_push(&to, "2", None, None).unwrap()).await;
    let there = statuses(&again);
    let there = there.iter().filter(|text| **text == "Layer already exists");
    assert_eq!(there.count(), 2, "{again:?}");
}

#[tokio::test]
#[ignore = "needs the program docker-registry"]
async fn what_was_made_here_is_compressed_and_comes_back() {
    let lab = Lab::new("push-new", 3).await;
    let registry = Distribution::start(&lab.dir.0).await;
    let name = format!("{}/made/here", registry.address);
    // More than one piece of an upload.
    let layer = tar("file", &noise(3, 20_000_000));
    let (sender, body) = tokio::sync::mpsc::channel(1);
    let sent = layer.clone();
    tokio::spawn(async move { sender.send(Ok(sent.into())).await });
    let options = ImportOptions {
        reference: Some(format!("{name}:1")),
        ..ImportOptions::default()
    };
    rest(&mut lab.engine.image_import(body, options)).await;
    lab.engine
        .image_tag(&format!("{name}:1"), &name, "2")
        .await
        .unwrap();
    // All tags; the second finds the layer there.
    let lines = rest(&mut lab.engine.image_push(&name, "", None, None).unwrap()).await;
    let id = &digest(&layer)["sha256:".len()..][..12];
    let steps = texts(&lines, id);
    for step in ["Preparing", "Pushed", "Layer already exists"] {
        assert!(steps.contains(&step), "{step}: {steps:?}");
    }
    let aux: Vec<_> = lines.iter().filter_map(|line| line.aux.clone()).collect();
    assert_eq!((&aux[0]["Tag"], &aux[1]["Tag"]), (&json!("1"), &json!("2")));
    let before = lab.engine.image_inspect(&format!("{name}:1")).unwrap();
    for tag in ["1", "2"] {
        let name = format!("{name}:{tag}");
        let removed = lab
            .engine
            .image_remove(&name, ImageRemoveOptions::default());
        removed.await.unwrap();
    }
    let mut lines = lab.engine.image_pull(&name, "2", None, None).unwrap();
    let lines = rest(&mut lines).await;
    let pushed = aux[1]["Digest"].as_str().unwrap();
    assert_eq!(texts(&lines, "")[0], format!("Digest: {pushed}"));
    let after = lab.engine.image_inspect(&format!("{name}:2")).unwrap();
    assert_eq!(
        (after.id, after.root_fs.layers),
        (before.id, before.root_fs.layers)
    );
    for (repository, tag, says) in [
        (name.as_str(), "none", "tag does not exist"),
        ("127.0.0.1:1/x", "1", "does not exist locally with the tag"),
    ] {
        let lines = rest(&mut lab.engine.image_push(repository, tag, None, None).unwrap()).await;
        assert!(error(&lines).error.contains(says), "{lines:?}");
    }
    let digest = format!("{name}@{pushed}");
    assert!(lab.engine.image_push(&digest, "", None, None).is_err());
}
