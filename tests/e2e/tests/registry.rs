//! Pulls from registries that fail, with a daemon that is killed meanwhile; and Debian's registry with
//! both CLIs.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test")]

#[path = "../../../wire/registry/tests/faulty/mod.rs"]
mod faulty;

use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use e2e::{Lab, Options, root, wait_for};
use faulty::{Fault, Registry, Reply, digest};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(60);
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// What a registry sends before it stalls.
const STEP: usize = 6 << 20;

/// A registry in the network of the lab, served by a runtime of its own.
fn registry(lab: &Lab) -> (tokio::runtime::Runtime, Registry) {
    let listener = lab.in_network(|| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    listener.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let registry = {
        let _entered = runtime.enter();
        Registry::on(tokio::net::TcpListener::from_std(listener).unwrap())
    };
    (runtime, registry)
}

/// A lab without images, and a registry in its network.
fn lab(flags: &[&str]) -> (Lab, tokio::runtime::Runtime, Registry) {
    let lab = Lab::with(Options {
        no_image: true,
        flags: flags.iter().map(|&flag| flag.into()).collect(),
        ..Options::default()
    });
    let (runtime, registry) = registry(&lab);
    (lab, runtime, registry)
}

/// An image `x:latest` of one layer of noise; answers the layer's digest.
fn publish(registry: &Registry, length: usize) -> String {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24).to_le_bytes()[0]
    };
    let noise: Vec<u8> = std::iter::repeat_with(next).take(length).collect();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(noise.len() as u64);
    tar.append_data(&mut header, "noise", noise.as_slice())
        .unwrap();
    let layer = tar.into_inner().unwrap();
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({"os": "linux", "architecture": architecture,
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]}});
    let config = serde_json::to_vec(&config).unwrap();
    let blob = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": registry.blob("x", bytes), "size": bytes.len()});
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
        "config": blob(CONFIG, &config), "layers": [blob(LAYER, &layer)]});
    registry.manifest("x", "latest", &manifest);
    digest(&layer)
}

#[test]
fn a_daemon_killed_in_mid_pull_goes_on_where_it_was() {
    if !root() {
        return;
    }
    // One connection at a time, so that what each brings is known.
    let (mut lab, _runtime, registry) = lab(&["--max-concurrent-downloads=1"]);
    let layer = publish(&registry, 5 * STEP);
    let held = layer.clone();
    // Each connection brings so much and then nothing more.
    registry.order(move |request, reply| match request.line.contains(&held) {
        true => Reply {
            fault: Fault::Stall(STEP),
            ..reply
        },
        false => reply,
    });
    let name = format!("{}/x:latest", registry.address);
    let file = lab.data_root().join("partial").join(&layer[7..]);
    for round in 1..4 {
        let mut pull = lab.spawn(&["pull", "-q", &name]);
        let there = || std::fs::metadata(&file).map_or(0, |facts| facts.blocks() * 512);
        assert!(
            wait_for(PATIENCE, || there() >= (round * STEP) as u64),
            "{}",
            lab.daemon_log()
        );
        lab.kill_daemon();
        let _ = pull.wait();
        lab.start_daemon();
    }
    registry.order(|_, reply| reply);
    lab.ok(&["pull", "-q", &name]);
    let starts: Vec<usize> = registry
        .seen(&layer)
        .iter()
        .map(|request| request.range().map_or(0, |(start, _)| start))
        .collect();
    assert_eq!(starts.len(), 4, "{starts:?}");
    // At most what was between the socket and the file when the daemon was killed came twice.
    for (round, start) in starts.iter().enumerate() {
        let all = round * STEP;
        assert!(*start <= all && start + (1 << 20) >= all, "{starts:?}");
    }
    assert!(!file.exists());
    // Whole and right: it is made of the layer that the manifest names.
    let id = lab.inspect(&name, "{{.Id}} {{index .RootFS.Layers 0}}");
    assert!(id.ends_with(&layer), "{id}");
}

#[test]
fn settings_of_registries_change_without_a_restart() {
    if !root() {
        return;
    }
    let (lab, _runtime, registry) = lab(&[]);
    publish(&registry, 1000);
    let name = format!("{}/x:latest", registry.address);
    let config = lab.path("daemon.json");
    std::fs::write(&config, r#"{"offline":true}"#).unwrap();
    let error = lab.fails(1, &["pull", "-q", &name]);
    assert!(error.contains("offline mode"), "{error}");
    assert!(registry.seen("").is_empty());
    // What cannot be read changes nothing.
    std::fs::write(&config, "{").unwrap();
    assert!(
        lab.fails(1, &["pull", "-q", &name])
            .contains("offline mode")
    );
    let mirror = format!("http://{}", registry.address);
    let text = json!({"registry-mirrors": [mirror]}).to_string();
    std::fs::write(&config, text).unwrap();
    lab.ok(&["pull", "-q", &name]);
    assert!(lab.ok(&["info"]).contains(&mirror));
}

#[test]
#[ignore = "needs the program docker-registry"]
fn search_and_manifest_lists_with_debians_registry() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let _registry = e2e::registry::Registry::start(&lab);
    let at = |name: &str| format!("{}/{name}", e2e::registry::Registry::ADDRESS);
    for name in ["bb:1", "other/bb:1", "team/tool:1"] {
        lab.ok(&["tag", "bb", &at(name)]);
        let pushed = lab.ok(&["push", &at(name)]);
        assert!(pushed.contains("digest: sha256:"), "{pushed}");
    }
    // The second repository takes the layer from the first.
    let mounted = lab.ok(&["push", &at("other/bb:1")]);
    assert!(mounted.contains("Layer already exists"), "{mounted}");
    // Its list of repositories stands in for a search.
    let found = lab.ok(&["search", "--format", "{{.Name}}", &at("bb")]);
    assert_eq!(
        found.split_whitespace().collect::<Vec<_>>(),
        ["bb", "other/bb"]
    );
    let own = lab.corten(&["search", &at("tool")]);
    let table = lab.ok(&["search", &at("tool")]);
    assert_eq!((own.code, own.out.trim_end()), (0, table.as_str()));

    let list = at("other/list:1");
    let create = ["manifest", "create", &list, &at("other/bb:1"), &at("bb:1")];
    let made = lab.corten(&create);
    assert_eq!(
        made.out,
        format!("Created manifest list {list}\n"),
        "{}",
        made.err
    );
    let again = lab.corten(&create);
    assert!(again.err.contains("--amend"), "{}", again.err);
    let annotate = ["manifest", "annotate", &list, &at("bb:1"), "--arch"];
    let wrong = lab.corten(&[&annotate[..], &["vax"]].concat());
    assert!(wrong.err.contains("unsupported os/arch"), "{}", wrong.err);
    let right = lab.corten(&[&annotate[..], &["arm", "--variant", "v7"]].concat());
    assert_eq!(right.code, 0, "{}", right.err);
    let pushed = lab.corten(&["manifest", "push", "--purge", &list]);
    assert_eq!(pushed.code, 0, "{}", pushed.err);
    let digest = pushed.out.lines().last().unwrap().to_owned();
    assert!(digest.starts_with("sha256:"), "{}", pushed.out);
    let gone = lab.corten(&["manifest", "rm", &list]);
    assert!(gone.err.contains("No such manifest"), "{}", gone.err);
    // What the other CLI sees in the registry.
    let theirs = lab.docker(&["manifest", "inspect", "--insecure", &list]);
    let ours = lab.corten(&["manifest", "inspect", &list]);
    assert_eq!(ours.out, theirs.out, "{}", ours.err);
    assert!(theirs.out.contains("\"v7\""), "{}", theirs.out);
    let one = ["manifest", "inspect", "--insecure", &at("bb:1")];
    assert_eq!(lab.corten(&one).out, lab.docker(&one).out);
    // The list pulls like any image.
    lab.ok(&["rmi", "-f", &at("other/bb:1")]);
    lab.ok(&["pull", "-q", &list]);
}

#[test]
fn a_plan_is_told_and_an_import_comes_from_a_url() {
    if !root() {
        return;
    }
    let (lab, _runtime, registry) = lab(&[]);
    let layer = publish(&registry, 2 << 20);
    let name = format!("{}/x", registry.address);
    let told = lab.corten(&["pull", "--dry-run", &name]);
    assert_eq!(told.code, 0, "{told:?}");
    let size = (2 << 20) + 2048;
    let human = format!("{:.3}MB", f64::from(size) / 1e6);
    let lines: Vec<&str> = told.out.lines().collect();
    assert_eq!(lines[0], "Using default tag: latest");
    assert!(
        lines[1].starts_with(&format!("{name}:latest: linux/")),
        "{lines:?}"
    );
    let row = format!("{}   {human}   missing   {human}", &layer[7..19]);
    assert_eq!(lines[4], row, "{lines:?}");
    let sum = format!("Would fetch {human} of {human}, 1 of 1 layers");
    assert_eq!(lines[5..], [sum.as_str()]);
    assert!(registry.seen(&layer).is_empty(), "no layer was asked for");
    lab.ok(&["pull", "-q", &name]);
    let told = lab.corten(&["pull", "--dry-run", "-q", &name]);
    assert_eq!(told.out, "Image is up to date: nothing would be fetched\n");

    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(3);
    tar.append_data(&mut header, "a", b"abc".as_slice())
        .unwrap();
    registry.put("/fs.tar", "application/x-tar", tar.into_inner().unwrap());
    let url = format!("http://{}/fs.tar", registry.address);
    // Both command lines are told the same.
    for import in [
        lab.docker(&["import", &url, "made:1"]),
        lab.corten(&["import", &url, "made:2"]),
    ] {
        assert_eq!(import.code, 0, "{import:?}");
        let lines: Vec<&str> = import.out.lines().collect();
        assert_eq!(lines[0], format!("Downloading from {url}"));
        assert_eq!(lines[1], "");
        assert!(lines[2].starts_with("sha256:"), "{lines:?}");
    }
    let comment = lab.ok(&["image", "inspect", "--format", "{{.Comment}}", "made:1"]);
    assert_eq!(comment.trim_end(), format!("Imported from {url}"));
    let missing = lab.docker(&["import", &format!("http://{}/none", registry.address)]);
    assert!(
        missing.err.contains("with status 404 Not Found"),
        "{missing:?}"
    );
}
