//! Several platforms of one image: pulled one by one, shown, run, pushed, saved, loaded and removed,
//! with the stock docker CLI and Corten's own.
#![allow(clippy::expect_used, reason = "a test fails loudly")]

use e2e::registry::{Registry, sha256};
use e2e::{Lab, Options, root};
use serde_json::{Value, json};

const NAME: &str = "127.0.0.1:5000/multi:1";
const FOREIGN: &str = if cfg!(target_arch = "aarch64") {
    "linux/amd64"
} else {
    "linux/arm64"
};
const HOST: &str = if cfg!(target_arch = "aarch64") {
    "linux/arm64"
} else {
    "linux/amd64"
};
const OCI: &str = "application/vnd.oci.image";

/// An index in a registry: this machine's image, another one's, and an attestation of the first.
struct Multi {
    index: String,
    host: String,
    foreign: String,
    attestation: String,
}

fn platform(text: &str) -> Value {
    let (os, architecture) = text.split_once('/').expect("platform");
    json!({"architecture": architecture, "os": os})
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).expect("gzip");
    gzip.finish().expect("gzip")
}

fn described(kind: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": format!("{OCI}.{kind}"), "digest": sha256(bytes), "size": bytes.len()})
}

/// Puts it there.
fn publish(lab: &Lab) -> Multi {
    let busybox = std::fs::read("/bin/busybox").expect("busybox-static");
    let (mut blobs, mut manifests, mut entries) = (Vec::new(), Vec::new(), Vec::new());
    for of in [HOST, FOREIGN] {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, bytes) in [("cat", busybox.as_slice()), ("platform", of.as_bytes())] {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o755);
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, path, bytes).expect("entry");
        }
        let tar = tar.into_inner().expect("archive");
        let layer = gzip(&tar);
        let mut config = platform(of);
        config["config"] = json!({"Cmd": ["/cat", "/platform"]});
        config["rootfs"] = json!({"type": "layers", "diff_ids": [sha256(&tar)]});
        config["history"] = json!([{"created_by": format!("made for {of}")}]);
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": format!("{OCI}.manifest.v1+json"),
            "config": described("config.v1+json", &config),
            "layers": [described("layer.v1.tar+gzip", &layer)],
        });
        let manifest = manifest.to_string().into_bytes();
        let mut entry = described("manifest.v1+json", &manifest);
        entry["platform"] = platform(of);
        entries.push(entry);
        manifests.push(manifest);
        blobs.extend([layer, config]);
    }
    let (statement, empty) = (br#"{"_type":"statement"}"#.to_vec(), b"{}".to_vec());
    let attestation = json!({
        "schemaVersion": 2, "mediaType": format!("{OCI}.manifest.v1+json"),
        "config": described("config.v1+json", &empty),
        "layers": [{"mediaType": "application/vnd.in-toto+json", "digest": sha256(&statement),
            "size": statement.len()}],
    });
    let attestation = attestation.to_string().into_bytes();
    let mut entry = described("manifest.v1+json", &attestation);
    entry["platform"] = platform("unknown/unknown");
    entry["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": sha256(&manifests[0]),
    });
    entries.push(entry);
    manifests.push(attestation);
    blobs.extend([statement, empty]);
    let index = json!({
        "schemaVersion": 2, "mediaType": format!("{OCI}.index.v1+json"), "manifests": entries,
    });
    manifests.push(index.to_string().into_bytes());
    Registry::put(lab, "multi", "1", &blobs, &manifests);
    let digests: Vec<String> = manifests.iter().map(|bytes| sha256(bytes)).collect();
    Multi {
        index: digests[3].clone(),
        host: digests[0].clone(),
        foreign: digests[1].clone(),
        attestation: digests[2].clone(),
    }
}

fn encoded(platform_of: &str) -> String {
    let text = platform(platform_of).to_string();
    let escaped = text.bytes().map(|byte| format!("%{byte:02X}"));
    escaped.collect()
}

fn get(lab: &Lab, path: &str) -> Value {
    let answer = lab.get(path);
    serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{path}: {answer:?}"))
}

/// The rows of an image's manifests by their kind: ID and whether it is here.
fn manifests(row: &Value) -> Vec<(String, String, bool)> {
    let rows = row["Manifests"].as_array().expect("manifests").iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    rows.map(|row| {
        let available = row["Available"].as_bool().expect("available");
        (text(&row["Kind"]), text(&row["ID"]), available)
    })
    .collect()
}

#[test]
fn platforms_are_pulled_shown_run_and_removed() {
    if !root() || !Registry::is_there() {
        return;
    }
    let mut lab = Lab::with(Options {
        flags: ["--image-keep", "1h"].map(str::to_owned).to_vec(),
        ..Options::default()
    });
    let _registry = Registry::start(&lab);
    let multi = publish(&lab);
    lab.ok(&["pull", "-q", "--platform", FOREIGN, NAME]);
    // The only one there is.
    assert_eq!(lab.inspect(NAME, "{{.Os}}/{{.Architecture}}"), FOREIGN);
    let made = lab.docker(&["create", "--name", "strange", NAME]);
    assert!(
        made.err
            .contains("does not match the detected host platform"),
        "{made:?}"
    );
    lab.ok(&["rm", "strange"]);
    let foreign = lab.inspect(NAME, "{{.Id}}");
    let again = lab.ok(&["pull", NAME]);
    assert!(again.contains("Status: Image is up to date"), "{again}");
    assert_eq!(lab.inspect(NAME, "{{.Os}}/{{.Architecture}}"), HOST);
    let host = lab.inspect(NAME, "{{.Id}}");
    assert_ne!(host, foreign);
    assert_eq!(
        lab.ok(&["images", "-q", "--no-trunc"])
            .matches(&host)
            .count(),
        1
    );
    assert!(!lab.ok(&["images", "-q", "--no-trunc"]).contains(&foreign));
    assert_eq!(lab.ok(&["run", "--rm", NAME]), HOST);
    for cli in ["docker", "corten"] {
        let args = [
            "image",
            "inspect",
            "--platform",
            FOREIGN,
            "-f",
            "{{.Id}} {{json .Descriptor}}",
            NAME,
        ];
        let ran = match cli {
            "docker" => lab.docker(&args),
            _ => lab.corten(&args),
        };
        let is_it = ran.out.starts_with(&foreign) && ran.out.contains(&multi.foreign);
        assert!(is_it, "{cli}: {ran:?}");
        let args = [
            "history",
            "--no-trunc",
            "--platform",
            FOREIGN,
            "--format",
            "{{.CreatedBy}}",
            NAME,
        ];
        let ran = match cli {
            "docker" => lab.docker(&args),
            _ => lab.corten(&args),
        };
        assert_eq!(
            ran.out.trim_end(),
            format!("made for {FOREIGN}"),
            "{cli}: {ran:?}"
        );
    }
    let absent = lab.fails(1, &["image", "inspect", "--platform", "linux/s390x", NAME]);
    assert!(
        absent.contains("was found but does not provide the specified platform (linux/s390x)"),
        "{absent}"
    );

    // What the index lists, over HTTP.
    lab.ok(&["create", "--name", "user", "--platform", FOREIGN, NAME]);
    let list = get(&lab, "/v1.47/images/json?manifests=1");
    let row = list
        .as_array()
        .expect("rows")
        .iter()
        .find(|row| row["Id"] == host);
    let row = row.expect("a row");
    assert_eq!(row["Descriptor"], Value::Null);
    let rows = manifests(row);
    let kinds = |kind: &str, id: &String| (kind.to_owned(), id.clone(), true);
    assert_eq!(
        rows,
        [
            kinds("image", &multi.host),
            kinds("image", &multi.foreign),
            kinds("attestation", &multi.attestation)
        ]
    );
    let user = lab.inspect("user", "{{.Id}}");
    assert_eq!(
        row["Manifests"][1]["ImageData"]["Containers"],
        json!([user])
    );
    assert_eq!(row["Manifests"][0]["ImageData"]["Containers"], Value::Null);
    assert_eq!(
        row["Manifests"][2]["AttestationData"]["For"],
        multi.host.as_str()
    );
    let path = format!("/v1.48/images/{NAME}/json?manifests=1");
    let found = get(&lab, &path);
    assert_eq!(found["Descriptor"]["digest"], multi.index.as_str());
    assert_eq!(manifests(&found), rows);
    let found = get(&lab, &format!("/v1.47/images/{NAME}/json?manifests=1"));
    assert_eq!(
        (&found["Descriptor"], &found["Manifests"]),
        (&Value::Null, &Value::Null)
    );
    let both = format!(
        "/v1.49/images/{NAME}/json?manifests=1&platform={}",
        encoded(HOST)
    );
    assert_eq!(lab.get(&both).status, 400);
    let container = get(&lab, "/v1.48/containers/user/json");
    assert_eq!(
        container["ImageManifestDescriptor"]["digest"],
        multi.foreign.as_str()
    );
    assert_eq!(container["Image"], foreign.as_str());
    let container = get(&lab, "/v1.47/containers/user/json");
    assert_eq!(container["ImageManifestDescriptor"], Value::Null);
    assert!(
        lab.ok(&["ps", "-a", "--format", "{{.Image}}"])
            .contains(NAME)
    );

    for args in [&["images", "--tree"][..], &["image", "ls", "--tree", "-a"]] {
        let (stock, own) = (lab.docker(args), lab.corten(args));
        assert!(
            stock.out.contains(FOREIGN) && stock.out.contains(NAME),
            "{stock:?}"
        );
        assert_eq!((stock.code, stock.out), (own.code, own.out), "{args:?}");
    }

    // A kill of the engine changes nothing.
    lab.kill_daemon();
    lab.start_daemon();
    let found = get(&lab, &path);
    assert_eq!(manifests(&found), rows);
    assert_eq!(lab.corten(&["image", "scrub"]).code, 0);

    // One platform goes; what a container has stays without a name.
    let careful = lab.fails(1, &["rmi", "--platform", FOREIGN, NAME]);
    assert!(
        careful.contains("Content will be removed from all images"),
        "{careful}"
    );
    let gone = lab.ok(&["rmi", "-f", "--platform", FOREIGN, NAME]);
    assert!(
        gone.contains(&format!("Deleted: {}", multi.foreign)),
        "{gone}"
    );
    assert!(!manifests(&get(&lab, &path))[1].2);
    assert_eq!(lab.inspect(&foreign, "{{.RepoTags}}"), "[]");
    lab.ok(&["rm", "user"]);
    lab.ok(&["rmi", &foreign]);
    lab.ok(&["pull", "-q", "--platform", FOREIGN, NAME]);
    assert!(manifests(&get(&lab, &path))[1].2);

    // All go by the name, and come back by it.
    let before = lab.ok(&["system", "df", "--format", "{{.Type}} {{.TotalCount}}"]);
    lab.ok(&["rmi", NAME]);
    assert!(lab.docker(&["image", "inspect", &foreign]).code != 0);
    lab.kill_daemon();
    lab.start_daemon();
    let restored = lab.corten(&["image", "restore", NAME]);
    assert_eq!(restored.code, 0, "{restored:?}");
    assert_eq!(manifests(&get(&lab, &path)), rows);
    assert_eq!(
        lab.ok(&["system", "df", "--format", "{{.Type}} {{.TotalCount}}"]),
        before
    );
    lab.ok(&["image", "prune", "-af"]);
    assert_eq!(lab.ok(&["images", "-aq"]), "");
    assert_eq!(lab.corten(&["image", "scrub"]).code, 0);
    let layers = std::fs::read_dir(lab.data_root().join("layers"))
        .expect("layers")
        .flatten();
    let names = layers.map(|layer| layer.file_name().to_string_lossy().into_owned());
    let left: Vec<String> = names.filter(|name| name.len() == 64).collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn an_index_is_pushed_saved_and_loaded_as_it_came() {
    if !root() || !Registry::is_there() {
        return;
    }
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    let multi = publish(&lab);
    lab.ok(&["pull", "-q", NAME]);
    let copy = "127.0.0.1:5000/copy:1";
    lab.ok(&["tag", NAME, copy]);
    // Not all of it is here.
    let pushed = lab.docker(&["push", copy]);
    assert!(
        pushed.out.contains(&format!("1: digest: {}", multi.host)),
        "{pushed:?}"
    );
    assert!(
        pushed
            .out
            .contains("Not all multiplatform-content is present"),
        "{pushed:?}"
    );
    let missing = lab.docker(&["push", "--platform", FOREIGN, copy]);
    assert!(
        missing.code == 1
            && missing
                .err
                .contains("does not provide the specified platform"),
        "{missing:?}"
    );
    lab.ok(&["pull", "-q", "--platform", FOREIGN, NAME]);
    let pushed = lab.ok(&["push", copy]);
    assert!(
        pushed.contains(&format!("1: digest: {}", multi.index)),
        "{pushed}"
    );
    let pushed = lab.corten(&["push", "--platform", FOREIGN, copy]);
    assert!(
        pushed
            .out
            .contains(&format!("1: digest: {}", multi.foreign)),
        "{pushed:?}"
    );

    // Saved and loaded: everything, and one.
    let (all, one) = (lab.path("all.tar"), lab.path("one.tar"));
    let (all, one) = (all.display().to_string(), one.display().to_string());
    lab.ok(&["save", "-o", &all, NAME]);
    lab.corten(&["save", "--platform", FOREIGN, "-o", &one, NAME]);
    let absent = lab.fails(1, &["save", "--platform", "linux/s390x", "-o", &one, NAME]);
    assert!(absent.contains("linux/s390x"), "{absent}");
    lab.ok(&["rmi", NAME, copy]);
    let descriptor = |name: &str| lab.inspect(name, "{{.Descriptor.Digest}}");
    lab.ok(&["load", "-q", "-i", &all]);
    assert_eq!(descriptor(NAME), multi.index);
    let path = format!("/v1.48/images/{NAME}/json?manifests=1");
    assert!(manifests(&get(&lab, &path)).iter().all(|row| row.2));
    assert_eq!(lab.ok(&["run", "--rm", NAME]), HOST);
    // Nothing had to be made anew: the registry has the layers that the index speaks of.
    let pushed = lab.ok(&["push", NAME]);
    assert!(
        pushed.contains(&format!("1: digest: {}", multi.index)),
        "{pushed}"
    );
    // Where it has not, the index is made anew, without what was said of the old manifest.
    let other = "localhost:5000/other:1";
    lab.ok(&["tag", NAME, other]);
    let pushed = lab.ok(&["push", other]);
    assert!(pushed.contains("layers were compressed anew"), "{pushed}");
    assert!(!pushed.contains(&multi.index), "{pushed}");
    lab.ok(&["rmi", NAME, other]);
    for of in [HOST, FOREIGN] {
        lab.ok(&["pull", "-q", "--platform", of, other]);
    }
    let found = get(&lab, &format!("/v1.48/images/{other}/json?manifests=1"));
    let kinds: Vec<_> = manifests(&found)
        .into_iter()
        .map(|row| (row.0, row.2))
        .collect();
    let image = || ("image".to_owned(), true);
    assert_eq!(kinds, [image(), image()]);
    assert_eq!(lab.ok(&["run", "--rm", other]), HOST);
    lab.ok(&["rmi", other]);
    lab.ok(&["load", "-q", "-i", &all]);
    lab.ok(&["rmi", NAME]);
    lab.ok(&["load", "-q", "--platform", FOREIGN, "-i", &all]);
    let here: Vec<bool> = manifests(&get(&lab, &path))
        .iter()
        .map(|row| row.2)
        .collect();
    assert_eq!(here, [false, true, false]);
    let refused = lab.fails(1, &["load", "--platform", "linux/s390x", "-i", &all]);
    assert!(
        refused.contains("requested platform(s) ([linux/s390x]) not found"),
        "{refused}"
    );
    lab.ok(&["rmi", NAME]);
    lab.ok(&["load", "-q", "-i", &one]);
    assert_eq!(lab.inspect(NAME, "{{.Os}}/{{.Architecture}}"), FOREIGN);
    let refused = lab.corten(&["load", "--platform", HOST, "-i", &one]);
    assert!(
        refused.code != 0 && refused.err.contains("not found"),
        "{refused:?}"
    );
}
