//! Pulls, from a registry that misbehaves to the image store on disk.

#![allow(clippy::unwrap_used, reason = "a test")]

mod distribution;
#[path = "../../../../wire/registry/tests/faulty/mod.rs"]
mod faulty;
mod import;
mod plan;
mod push;
mod referrers;
mod resume;
mod trust;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dockerapi::{AuthConfig, JsonMessage};
use engine::{Config, Engine, EventsOptions, Filters, Lines, RegistrySettings};
use faulty::{Fault, Registry, Reply, digest};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// A tar of one file.
fn tar(path: &str, bytes: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, path, bytes).unwrap();
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// Bytes that do not repeat soon, so that compressing them saves nothing.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24).to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// The manifest of an image of these layers (as sent, and its tar), with its blobs in place.
fn image(
    registry: &Registry,
    name: &str,
    layers: &[(&str, Vec<u8>, Vec<u8>)],
    arch: &str,
) -> Value {
    let diff_ids: Vec<String> = layers.iter().map(|(_, _, tar)| digest(tar)).collect();
    let config = json!({
        "os": "linux", "architecture": arch, "config": {"Labels": {"a": "b"}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = serde_json::to_vec(&config).unwrap();
    let blob = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": registry.blob(name, bytes), "size": bytes.len()});
    let layers: Vec<Value> = layers
        .iter()
        .map(|(kind, sent, _)| blob(kind, sent))
        .collect();
    json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": blob(CONFIG, &config), "layers": layers,
    })
}

/// Three layers, one of each compression.
fn three(registry: &Registry, name: &str) -> Value {
    let (a, b, c) = (
        tar("a", &noise(1, 50_000)),
        tar("b", &noise(2, 50_000)),
        tar("c", b"three"),
    );
    let zstd = zstd::encode_all(b.as_slice(), 1).unwrap();
    let layers = [
        ("application/vnd.oci.image.layer.v1.tar+gzip", gzip(&a), a),
        ("application/vnd.oci.image.layer.v1.tar+zstd", zstd, b),
        (LAYER, c.clone(), c),
    ];
    image(registry, name, &layers, host())
}

fn host() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

struct Lab {
    registry: Registry,
    engine: Engine,
    dir: Dir,
    /// Of the image that is built in.
    built_in: BTreeSet<String>,
}

struct Dir(std::path::PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Lab {
    async fn new(name: &str, downloads: usize) -> Self {
        Self::with(name, downloads, RegistrySettings::default()).await
    }

    async fn with(name: &str, downloads: usize, registries: RegistrySettings) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "files get owners, which needs root"
        );
        let path = std::env::temp_dir().join(format!("pull-{}-{name}", std::process::id()));
        let dir = Dir(path.clone());
        let live = engine::Live {
            max_concurrent_downloads: downloads,
            max_download_attempts: 3,
            registries,
            ..engine::Live::default()
        };
        let config = Config {
            data_root: path.join("data"),
            exec_root: path.join("run"),
            bridge: None,
            ..Config::default()
        };
        let engine = Engine::open(config, live, Arc::new(compute_sim::Sim::default()))
            .await
            .unwrap();
        Self {
            registry: Registry::start().await,
            engine,
            built_in: entries(&path.join("data/layers")),
            dir,
        }
    }

    fn name(&self, repository: &str) -> String {
        format!("{}/{repository}", self.registry.address)
    }

    fn start(&self, repository: &str, tag: &str) -> Lines<JsonMessage> {
        self.engine
            .image_pull(&self.name(repository), tag, None, None)
            .unwrap()
    }

    async fn pull(&self, repository: &str, tag: &str) -> Vec<JsonMessage> {
        rest(&mut self.start(repository, tag)).await
    }

    /// What is below `layers`, without what is always there.
    fn layers(&self) -> BTreeSet<String> {
        let mut names = entries(&self.dir.0.join("data/layers"));
        names.retain(|name| !self.built_in.contains(name));
        names
    }

    /// Compressed layers that are kept for the next pull.
    fn partials(&self) -> BTreeSet<String> {
        entries(&self.dir.0.join("data/partial"))
    }

    /// Waits until nothing half-made is left, and answers what is.
    async fn settled(&self) -> BTreeSet<String> {
        // Removal is a thread's; a deadline ends a test that fails.
        for _ in 0..500 {
            let content = entries(&self.dir.0.join("data/content"));
            let layers = self.layers();
            if content.len() == 1 && layers.iter().all(|name| !name.starts_with("tmp-")) {
                return layers;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("left: {:?}", self.layers());
    }
}

fn entries(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

async fn rest(lines: &mut Lines<JsonMessage>) -> Vec<JsonMessage> {
    let mut all = Vec::new();
    while let Some(line) = lines.recv().await {
        all.push(line);
    }
    all
}

/// The texts of the lines that have this ID, without those of progress.
fn texts<'a>(lines: &'a [JsonMessage], id: &str) -> Vec<&'a str> {
    let of = lines.iter().filter(|line| line.id == id);
    of.map(|line| line.status.as_str())
        .filter(|text| *text != "Downloading")
        .collect()
}

fn error(lines: &[JsonMessage]) -> &JsonMessage {
    let last = lines.last().unwrap();
    assert!(last.error_detail.is_some(), "{lines:?}");
    last
}

fn short(manifest: &Value, layer: usize) -> String {
    manifest["layers"][layer]["digest"].as_str().unwrap()[7..19].to_owned()
}

#[tokio::test]
async fn an_image_comes_with_dockerds_lines_and_only_once() {
    let lab = Lab::new("once", 3).await;
    let manifest = three(&lab.registry, "x/y");
    let top = lab.registry.manifest("x/y", "1", &manifest);
    let mut events = lab.engine.events(EventsOptions::default()).await.unwrap();
    let lines = lab.pull("x/y", "1").await;
    let name = lab.name("x/y");
    assert_eq!(texts(&lines, "1"), ["Pulling from x/y"]);
    for layer in 0..3 {
        let texts = texts(&lines, &short(&manifest, layer));
        let all = [
            "Pulling fs layer",
            "Verifying Checksum",
            "Download complete",
            "Extracting",
        ];
        assert_eq!(texts[..4], all, "{texts:?}");
        assert_eq!(texts[4..], ["Pull complete"]);
    }
    let last = [
        format!("Digest: {top}"),
        format!("Status: Downloaded newer image for {name}:1"),
    ];
    assert_eq!(texts(&lines, ""), last);
    let event = events.recv().await.unwrap().unwrap();
    assert_eq!(
        (event.action.as_str(), event.actor.id),
        ("pull", format!("{name}:1"))
    );
    assert_eq!(event.actor.attributes["name"], name);
    assert_eq!(event.actor.attributes["a"], "b");

    let image = lab.engine.image_inspect(&format!("{name}:1")).unwrap();
    assert_eq!(image.id, manifest["config"]["digest"].as_str().unwrap());
    assert_eq!(image.repo_digests, [format!("{name}@{top}")]);
    assert_eq!(image.repo_tags, [format!("{name}:1")]);
    assert_eq!(lab.settled().await.len(), 3);

    let blobs = lab.registry.seen("/blobs/").len();
    let lines = lab.pull("x/y", "1").await;
    let last = [
        format!("Digest: {top}"),
        format!("Status: Image is up to date for {name}:1"),
    ];
    assert_eq!(texts(&lines, ""), last);
    assert_eq!(lab.registry.seen("/blobs/").len(), blobs);

    // By digest, and under a second tag: the same image, nothing more to get.
    lab.registry.manifest("x/y", "2", &manifest);
    for tag in [top.as_str(), "2"] {
        let lines = lab.pull("x/y", tag).await;
        assert_eq!(texts(&lines, tag), ["Pulling from x/y"]);
    }
    assert_eq!(lab.registry.seen("/blobs/").len(), blobs);
    let tags = lab.engine.image_inspect(&image.id).unwrap().repo_tags;
    assert_eq!(tags, [format!("{name}:1"), format!("{name}:2")]);
}

#[tokio::test]
async fn a_tag_moves_and_what_is_shared_is_not_fetched_again() {
    let lab = Lab::new("moves", 3).await;
    let (base, top) = (tar("base", b"base"), tar("top", b"top"));
    let layer = |tar: &Vec<u8>| (LAYER, tar.clone(), tar.clone());
    let old = image(&lab.registry, "x", &[layer(&base)], host());
    lab.registry.manifest("x", "latest", &old);
    lab.pull("x", "latest").await;
    let new = image(&lab.registry, "x", &[layer(&base), layer(&top)], host());
    lab.registry.manifest("x", "latest", &new);
    let lines = lab.pull("x", "latest").await;
    assert_eq!(texts(&lines, &short(&new, 0)), ["Already exists"]);
    assert!(
        texts(&lines, "")[1].starts_with("Status: Downloaded newer image"),
        "{lines:?}"
    );
    let list = lab
        .engine
        .image_list(engine::ImageListOptions::default(), &Filters::default())
        .unwrap();
    let of = |manifest: &Value| {
        let id = manifest["config"]["digest"].as_str().unwrap();
        list.iter().find(|image| image.id == id).unwrap()
    };
    assert_eq!(
        (of(&old).repo_tags.len(), of(&old).repo_digests.len()),
        (0, 1)
    );
    assert_eq!(
        (of(&new).repo_tags.len(), of(&new).repo_digests.len()),
        (1, 1)
    );
    assert_eq!(lab.registry.seen(&digest(&base)).len(), 1);
}

#[tokio::test]
async fn all_tags() {
    let lab = Lab::new("tags", 3).await;
    let manifest = three(&lab.registry, "x");
    for tag in ["1", "2"] {
        lab.registry.manifest("x", tag, &manifest);
    }
    lab.registry.put(
        "/v2/x/tags/list",
        "application/json",
        br#"{"tags":["1","2"]}"#.to_vec(),
    );
    let lines = lab.pull("x", "").await;
    let name = lab.name("x");
    let status = format!("Status: Downloaded newer image for {name}");
    assert_eq!(texts(&lines, "").last(), Some(&status.as_str()));
    for tag in ["1", "2"] {
        assert_eq!(texts(&lines, tag), ["Pulling from x"]);
        lab.engine.image_inspect(&format!("{name}:{tag}")).unwrap();
    }
}

#[tokio::test]
async fn a_broken_connection_is_resumed() {
    let lab = Lab::new("resumed", 3).await;
    lab.registry
        .manifest("x", "latest", &three(&lab.registry, "x"));
    lab.registry.order(
        |request, reply| match (request.line.contains("/blobs/"), request.nth) {
            (true, 0) => Reply {
                fault: Fault::Reset(20_000),
                ..reply
            },
            _ => reply,
        },
    );
    let lines = lab.pull("x", "latest").await;
    assert!(
        texts(&lines, "")[1].starts_with("Status: Downloaded"),
        "{lines:?}"
    );
    assert_eq!(lab.settled().await.len(), 3);
}

#[tokio::test]
async fn what_is_not_as_promised_leaves_nothing() {
    // Other bytes of the same length, in a layer and in a compressed one.
    for layer in [2, 0] {
        // Only this one is wrong: of several, any may be told first.
        let lab = Lab::new(&format!("corrupt{layer}"), 1).await;
        let manifest = three(&lab.registry, "x");
        let digest = manifest["layers"][layer]["digest"].as_str().unwrap();
        let length = manifest["layers"][layer]["size"].as_u64().unwrap();
        let length = usize::try_from(length).unwrap();
        lab.registry.manifest("x", "latest", &manifest);
        let path = format!("/v2/x/blobs/{digest}");
        lab.registry.put(&path, LAYER, noise(9, length));
        let lines = lab.pull("x", "latest").await;
        let text = format!("filesystem layer verification failed for digest {digest}");
        assert!(error(&lines).error.starts_with(&text), "{lines:?}");
        assert!(lab.settled().await.is_empty());
        // Asked for once more, then no more; and not kept.
        assert_eq!(lab.registry.seen(digest).len(), 2);
        assert!(!lab.partials().contains(&digest[7..]));
    }
    let lab = Lab::new("corrupt", 1).await;
    let manifest = three(&lab.registry, "x");
    // Valid bytes that are not the tar which the configuration names.
    let (a, b) = (tar("a", b"a"), tar("b", b"b"));
    let lying = image(&lab.registry, "y", &[(LAYER, a, b)], host());
    lab.registry.manifest("y", "latest", &lying);
    let lines = lab.pull("y", "latest").await;
    assert!(
        error(&lines).error.contains("verification failed"),
        "{lines:?}"
    );
    // Fewer layers than the configuration has.
    let mut short = manifest.clone();
    short["layers"].as_array_mut().unwrap().pop();
    lab.registry.manifest("z", "latest", &short);
    let config = manifest["config"]["digest"].as_str().unwrap();
    let bytes = noise(3, 10);
    lab.registry
        .put(&format!("/v2/z/blobs/{config}"), CONFIG, bytes);
    assert!(
        error(&lab.pull("z", "latest").await)
            .error
            .contains("manifest says")
    );
    // No image at all.
    let mut chart = manifest.clone();
    chart["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json".into();
    lab.registry.manifest("w", "latest", &chart);
    let lines = lab.pull("w", "latest").await;
    assert_eq!(error(&lines).error_detail.as_ref().unwrap().code, 400);
    assert!(
        error(&lines).error.starts_with("Encountered remote"),
        "{lines:?}"
    );
    assert!(lab.settled().await.is_empty());
    let list = lab
        .engine
        .image_list(
            engine::ImageListOptions {
                all: true,
                ..Default::default()
            },
            &Filters::default(),
        )
        .unwrap();
    assert!(
        list.iter().all(|image| image.repo_digests.is_empty()),
        "{list:?}"
    );
}

#[tokio::test]
async fn failures_before_the_first_line_have_a_status() {
    let lab = Lab::new("status", 3).await;
    let lines = lab.pull("none", "1").await;
    let code = |lines: &[JsonMessage]| error(lines).error_detail.as_ref().unwrap().code;
    assert_eq!((lines.len(), code(&lines)), (1, 404));
    let name = lab.name("none");
    let text = format!("manifest for {name}:1 not found: manifest unknown: manifest unknown");
    assert_eq!(error(&lines).error, text);
    let platform = json!({"os": "linux", "architecture": "vax"});
    let entry =
        json!({"mediaType": MANIFEST, "digest": digest(b""), "size": 1, "platform": platform});
    let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
    lab.registry.manifest("x", "1", &list);
    let lines = lab.pull("x", "1").await;
    assert_eq!(
        (texts(&lines, "1"), code(&lines)),
        (vec!["Pulling from x"], 0)
    );
    assert!(
        error(&lines)
            .error
            .starts_with("no matching manifest for linux/"),
        "{lines:?}"
    );
    assert!(lab.engine.image_pull("Upper", "1", None, None).is_err());
    assert!(
        lab.engine
            .image_pull("x", "1", Some("a/b/c/d"), None)
            .is_err()
    );
}

#[tokio::test]
async fn an_image_for_another_platform_comes_with_a_warning() {
    let lab = Lab::new("platform", 3).await;
    let layer = tar("a", b"a");
    let manifest = image(
        &lab.registry,
        "x",
        &[(LAYER, layer.clone(), layer)],
        "s390x",
    );
    lab.registry.manifest("x", "1", &manifest);
    let mut lines = lab
        .engine
        .image_pull(&lab.name("x"), "1", Some("linux/arm64"), None)
        .unwrap();
    let last = rest(&mut lines).await.pop().unwrap().status;
    assert!(last.starts_with("WARNING: image with reference"), "{last}");
    assert!(last.contains("(linux/s390x) does not match the specified platform (linux/arm64)"));
}

#[tokio::test]
async fn layers_do_not_wait_for_those_below() {
    let lab = Lab::new("order", 3).await;
    let manifest = three(&lab.registry, "x");
    lab.registry.manifest("x", "latest", &manifest);
    let (base, top) = (short(&manifest, 0), short(&manifest, 2));
    let permits = Arc::new(Semaphore::new(0));
    let (gate, held) = (Arc::clone(&permits), base.clone());
    lab.registry
        .order(move |request, reply| match request.line.contains(&held) {
            true => Reply {
                fault: Fault::Gate(1_000, Arc::clone(&gate)),
                ..reply
            },
            false => reply,
        });
    let mut lines = lab.start("x", "latest");
    loop {
        let line = lines.recv().await.expect("a line");
        assert!(
            line.id != base || line.status != "Pull complete",
            "{line:?}"
        );
        if line.id == top && line.status == "Pull complete" {
            break;
        }
    }
    permits.add_permits(1);
    let lines = rest(&mut lines).await;
    assert!(texts(&lines, &base).contains(&"Pull complete"), "{lines:?}");
}

#[tokio::test]
async fn two_pulls_share_a_download() {
    let lab = Lab::new("shared", 3).await;
    let manifest = three(&lab.registry, "x");
    for tag in ["1", "2"] {
        lab.registry.manifest("x", tag, &manifest);
    }
    let permits = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&permits);
    let config = manifest["config"]["digest"].as_str().unwrap().to_owned();
    lab.registry.order(move |request, reply| {
        match request.line.contains("/blobs/") && !request.line.contains(&config) {
            true => Reply {
                fault: Fault::Gate(100, Arc::clone(&gate)),
                ..reply
            },
            false => reply,
        }
    });
    let mut first = lab.start("x", "1");
    for layer in 0..3 {
        lab.registry
            .wait_for(manifest["layers"][layer]["digest"].as_str().unwrap())
            .await;
    }
    let mut second = lab.start("x", "2");
    let mut waiting = 0;
    while waiting < 3 {
        let line = second.recv().await.expect("a line");
        waiting += usize::from(line.status == "Waiting");
    }
    permits.add_permits(3);
    let (first, second) = tokio::join!(rest(&mut first), rest(&mut second));
    for lines in [first, second] {
        assert!(
            texts(&lines, "")[1].starts_with("Status: Downloaded"),
            "{lines:?}"
        );
    }
    for layer in 0..3 {
        let digest = manifest["layers"][layer]["digest"].as_str().unwrap();
        assert_eq!(lab.registry.seen(digest).len(), 1);
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_pull() {
    let lab = Lab::new("left", 3).await;
    let manifest = three(&lab.registry, "x");
    lab.registry.manifest("x", "latest", &manifest);
    let base = short(&manifest, 0);
    let (top, held) = (short(&manifest, 2), base.clone());
    lab.registry
        .order(move |request, reply| match request.line.contains(&held) {
            true => Reply {
                fault: Fault::Stall(1_000),
                ..reply
            },
            false => reply,
        });
    let mut lines = lab.start("x", "latest");
    loop {
        let line = lines.recv().await.expect("a line");
        if line.id == top && line.status == "Pull complete" {
            break;
        }
    }
    drop(lines);
    // The layer that was finished goes as well, since no image came to have it.
    for _ in 0..500 {
        if lab.layers().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("left: {:?}", lab.layers());
}

#[tokio::test]
async fn log_in_is_answered_as_by_moby() {
    let lab = Lab::new("login", 3).await;
    lab.registry
        .order(|request, reply| match request.header("authorization") {
            "Basic dTpw" => reply,
            _ => Reply::new(401, "").with("WWW-Authenticate", "Basic realm=\"r\""),
        });
    let auth = |password: &str| AuthConfig {
        username: "u".into(),
        password: password.into(),
        serveraddress: format!("http://{}/v2/", lab.registry.address),
        ..AuthConfig::default()
    };
    let done = lab.engine.auth(auth("p")).await.unwrap();
    assert_eq!(done, ("Login Succeeded".to_owned(), String::new()));
    let refused = lab.engine.auth(auth("no")).await.unwrap_err();
    assert_eq!(refused.kind, engine::ErrorKind::Unauthorized);
}

#[tokio::test]
#[ignore = "needs the program docker-registry"]
async fn the_registry_that_others_use() {
    let lab = Lab::new("distribution", 3).await;
    let registry = distribution::Distribution::start(&lab.dir.0).await;
    let (a, b) = (tar("a", &noise(1, 3_000_000)), tar("b", &noise(2, 70_000)));
    let zstd = zstd::encode_all(b.as_slice(), 1).unwrap();
    let config = json!({
        "os": "linux", "architecture": host(),
        "rootfs": {"type": "layers", "diff_ids": [digest(&a), digest(&b)]},
    });
    let config = serde_json::to_vec(&config).unwrap();
    let mut blobs = Vec::new();
    let kinds = [
        CONFIG,
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
    ];
    for (kind, bytes) in kinds.into_iter().zip([config, gzip(&a), zstd]) {
        let digest = registry.blob("a/b", &bytes).await;
        blobs.push(json!({"mediaType": kind, "digest": digest, "size": bytes.len()}));
    }
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": blobs[0], "layers": blobs[1..],
    });
    let inner = registry.manifest("a/b", "plain", &manifest).await;
    let platform = json!({"os": "linux", "architecture": host()});
    let size = serde_json::to_vec(&manifest).unwrap().len();
    let entry = json!({"mediaType": MANIFEST, "digest": inner, "size": size, "platform": platform});
    let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
    let top = registry.manifest("a/b", "list", &list).await;
    let name = format!("{}/a/b", registry.address);
    let mut lines = lab.engine.image_pull(&name, "list", None, None).unwrap();
    let lines = rest(&mut lines).await;
    let status = format!("Status: Downloaded newer image for {name}:list");
    assert_eq!(texts(&lines, ""), [format!("Digest: {top}"), status]);
    // All tags, of which one is known.
    let mut lines = lab.engine.image_pull(&name, "", None, None).unwrap();
    rest(&mut lines).await;
    let image = lab.engine.image_inspect(&format!("{name}:plain")).unwrap();
    assert_eq!(image.repo_tags.len(), 2);
    assert_eq!(image.repo_digests.len(), 2);
    let found = lab
        .engine
        .distribution_inspect(&format!("{name}:list"), None)
        .await
        .unwrap();
    assert_eq!(found.descriptor.digest.as_str(), top);
    assert_eq!(found.platforms[0].architecture, host());
    let mut lines = lab.engine.image_pull(&name, "none", None, None).unwrap();
    let lines = rest(&mut lines).await;
    assert_eq!(error(&lines).error_detail.as_ref().unwrap().code, 404);
    assert!(
        error(&lines).error.contains("manifest unknown"),
        "{lines:?}"
    );
}
