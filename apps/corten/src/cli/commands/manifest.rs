//! `manifest`: lists of images for several platforms, put together here and pushed to a registry.
//! Lists are kept where docker's CLI keeps them, in its format, until they are pushed.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::image::{Descriptor, ImageConfig, media};
use oci::{Platform, Reference};
use registry::{Begun, Client, Config, Content, Credentials, Document, Kind, Repository};
use serde_json::{Map, Value, json};

use crate::cli::Call;
use crate::cli::failure::{Failure, Outcome, os_text};
use crate::cli::{credentials, out};

/// Systems and processors that docker knows to go together.
#[rustfmt::skip]
const KNOWN: &[(&str, &[&str])] = &[
    ("aix", &["ppc64"]),
    ("android", &["386", "amd64", "arm", "arm64"]),
    ("darwin", &["386", "amd64", "arm", "arm64"]),
    ("dragonfly", &["amd64"]),
    ("freebsd", &["386", "amd64", "arm", "arm64", "riscv64"]),
    ("illumos", &["amd64"]),
    ("ios", &["arm64"]),
    ("js", &["wasm"]),
    ("linux", &["386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64", "s390x"]),
    ("netbsd", &["386", "amd64", "arm", "arm64"]),
    ("openbsd", &["386", "amd64", "arm", "arm64"]),
    ("plan9", &["386", "amd64", "arm"]),
    ("solaris", &["amd64"]),
    ("wasip1", &["wasm"]),
    ("windows", &["386", "amd64", "arm", "arm64"]),
];

/// One entry of a list: docker's `ImageManifest`, as it is kept.
struct Entry {
    reference: Reference,
    /// Media type, digest, size and platform.
    descriptor: Map<String, Value>,
    raw: Vec<u8>,
}

/// `manifest create`.
pub(super) async fn create(call: &Call) -> Outcome {
    let names = &call.flags.args;
    let list = named(&names[0]).map_err(|error| {
        format!(
            "error parsing name for manifest list {}: {}",
            names[0], error.text
        )
    })?;
    let store = Store::of(call);
    if !store.list(&list)?.is_empty() && !call.flags.on("amend") {
        return Err("refusing to amend an existing manifest list with no --amend flag".into());
    }
    for name in &names[1..] {
        let reference = named(name)?;
        let entry = match store.get(&list, &reference)? {
            Some(known) => known,
            None => fetch_one(call, &reference).await?,
        };
        store.save(&list, &entry)?;
    }
    out::line(&format!("Created manifest list {list}"));
    Ok(())
}

/// `manifest annotate`.
pub(super) fn annotate(call: &Call) -> Outcome {
    let flags = &call.flags;
    let (list_name, image_name) = (&flags.args[0], &flags.args[1]);
    let list = named(list_name).map_err(|error| {
        format!(
            "annotate: error parsing name for manifest list {list_name}: {}",
            error.text
        )
    })?;
    let image = named(image_name).map_err(|error| {
        format!(
            "annotate: error parsing name for manifest {image_name}: {}",
            error.text
        )
    })?;
    let store = Store::of(call);
    let Some(mut entry) = store.get(&list, &image)? else {
        return Err(
            format!("manifest for image {image_name} does not exist in {list_name}").into(),
        );
    };
    let platform = entry
        .descriptor
        .entry("platform")
        .or_insert_with(|| json!({}));
    let mut text = |flag: &str, key: &str| {
        if !flags.text(flag).is_empty() {
            platform[key] = flags.text(flag).into();
        }
    };
    for (flag, key) in [
        ("os", "os"),
        ("arch", "architecture"),
        ("variant", "variant"),
        ("os-version", "os.version"),
    ] {
        text(flag, key);
    }
    let added = flags.strings("os-features");
    if !added.is_empty() {
        let mut features: Vec<String> =
            serde_json::from_value(platform["os.features"].clone()).unwrap_or_default();
        for feature in added {
            if !features.contains(&feature) {
                features.push(feature);
            }
        }
        platform["os.features"] = features.into();
    }
    let of = |key: &str| platform[key].as_str().unwrap_or_default();
    let (os, arch) = (of("os"), of("architecture"));
    let known = KNOWN
        .iter()
        .any(|(system, all)| *system == os && all.contains(&arch));
    if !known {
        return Err(format!(
            "manifest entry for image has unsupported os/arch combination: {os}/{arch}"
        )
        .into());
    }
    store.save(&list, &entry)
}

/// `manifest inspect`.
pub(super) async fn inspect(call: &Call) -> Outcome {
    let flags = &call.flags;
    let verbose = flags.on("verbose");
    let (list, name) = match flags.args.as_slice() {
        [list, name] => (Some(list), name),
        [name, ..] => (None, name),
        [] => return Ok(()),
    };
    let reference = named(name)?;
    let store = Store::of(call);
    if let Some(list) = list {
        let list = named(list)?;
        let Some(entry) = store.get(&list, &reference)? else {
            return Err(format!("No such manifest: {reference}").into());
        };
        return print_one(&entry, verbose);
    }
    let local = store.list(&reference)?;
    if !local.is_empty() {
        return print_list(&local, verbose);
    }
    let repository = repository(call, &reference, false)?;
    let document = document(&repository, &reference).await?;
    match &document.content {
        Content::Manifest(_) => {
            let entry = entry_of(&repository, &reference, document).await?;
            print_one(&entry, verbose)
        }
        Content::Index(index) => {
            let mut entries = Vec::new();
            for image in &index.manifests {
                let by_digest = reference.with_digest(image.digest.clone());
                let found = repository.manifest(image.digest.as_str()).await;
                let found = found.map_err(|error| Failure::new(error.to_string()))?;
                let mut entry = entry_of(&repository, &by_digest, found).await?;
                // What the list says is what counts.
                if let Some(platform) = &image.platform {
                    entry
                        .descriptor
                        .insert("platform".into(), platform_json(platform));
                }
                entries.push(entry);
            }
            if verbose || document.media_type == media::DOCKER_LIST {
                return print_list(&entries, verbose);
            }
            out::line(&String::from_utf8_lossy(&indented(&document.bytes)?));
            Ok(())
        }
    }
}

/// `manifest push`.
pub(super) async fn push(call: &Call) -> Outcome {
    let name = &call.flags.args[0];
    let target = named(name)?;
    let store = Store::of(call);
    let entries = store.list(&target)?;
    if entries.is_empty() {
        return Err(format!("{target} not found").into());
    }
    for entry in &entries {
        if entry.reference.domain() != target.domain() {
            return Err(format!(
                "cannot use source images from a different registry than the target image: {} != {}",
                entry.reference.domain(),
                target.domain()
            )
            .into());
        }
    }
    let bytes = list_document(&entries)?;
    let to = repository(call, &target, true)?;
    for entry in &entries {
        if entry.reference.path() == target.path() {
            continue;
        }
        copy_blobs(&to, entry).await?;
        let (digest, kind) = (entry.text("digest"), entry.text("mediaType"));
        let pushed = to.put_manifest(digest, kind, entry.raw.clone()).await;
        let pushed = pushed.map_err(|error| Failure::new(error.to_string()))?;
        let named = target.with_digest(pushed.clone());
        out::line(&format!("Pushed ref {named} with digest: {pushed}"));
    }
    let tag = target.tag().unwrap_or("latest");
    let digest = to.put_manifest(tag, media::DOCKER_LIST, bytes).await;
    let digest = digest.map_err(|error| Failure::new(error.to_string()))?;
    out::line(digest.as_str());
    match call.flags.on("purge") {
        true => store.remove(&target),
        false => Ok(()),
    }
}

/// `manifest rm`.
pub(super) fn rm(call: &Call) -> Outcome {
    let store = Store::of(call);
    let mut errors = Vec::new();
    for name in &call.flags.args {
        let removed = named(name).and_then(|list| match store.list(&list)?.is_empty() {
            true => Err(Failure::new(format!("No such manifest: {list}"))),
            false => store.remove(&list),
        });
        if let Err(error) = removed {
            errors.push(error.text);
        }
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(errors.join("\n").into()),
    }
}

/// With docker's default tag.
fn named(name: &str) -> Outcome<Reference> {
    let parsed: Result<Reference, _> = name.parse();
    let reference = parsed.map_err(|error| Failure::new(error.to_string()))?;
    Ok(reference.or_latest())
}

fn repository(call: &Call, reference: &Reference, writable: bool) -> Outcome<Repository> {
    let auth = credentials::lookup(call.app.config(), &credentials::key(reference.domain()))?;
    let who = Credentials {
        username: auth.username,
        password: auth.password,
        identity_token: auth.identitytoken,
        registry_token: auth.registrytoken,
    };
    let mut config = Config {
        proxy: registry::Proxy::from_env(),
        ..Config::default()
    };
    if call.flags.on("insecure") {
        config.insecure.push(reference.domain().to_owned());
    }
    let client = Client::new(config);
    Ok(match writable {
        true => client.writable(reference, &who),
        false => client.repository(reference, &who),
    })
}

async fn document(repository: &Repository, reference: &Reference) -> Outcome<Document> {
    let name = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.as_str(),
        (None, tag) => tag.unwrap_or("latest"),
    };
    repository
        .manifest(name)
        .await
        .map_err(|error| match error.kind {
            Kind::NotFound => Failure::new(format!("no such manifest: {reference}")),
            _ => Failure::new(error.to_string()),
        })
}

async fn fetch_one(call: &Call, reference: &Reference) -> Outcome<Entry> {
    let repository = repository(call, reference, false)?;
    let document = document(&repository, reference).await?;
    if matches!(document.content, Content::Index(_)) {
        return Err(format!("{reference} is a manifest list").into());
    }
    entry_of(&repository, reference, document).await
}

/// The manifest's entry: its platform is that of its configuration.
async fn entry_of(
    repository: &Repository,
    reference: &Reference,
    document: Document,
) -> Outcome<Entry> {
    let mut descriptor = Map::new();
    descriptor.insert("mediaType".into(), document.media_type.as_str().into());
    descriptor.insert("digest".into(), document.digest.as_str().into());
    descriptor.insert("size".into(), document.bytes.len().into());
    if let Content::Manifest(manifest) = &document.content {
        let config = repository.config(&manifest.config).await;
        let config = config.map_err(|error| Failure::new(error.to_string()))?;
        if let Ok(config) = serde_json::from_slice::<ImageConfig>(&config) {
            descriptor.insert("platform".into(), platform_json(&config.platform()));
        }
    }
    Ok(Entry {
        reference: reference.clone(),
        descriptor,
        raw: document.bytes,
    })
}

fn platform_json(platform: &Platform) -> Value {
    serde_json::to_value(platform).unwrap_or_default()
}

/// Makes the target's repository have an image's blobs: they are in the same registry.
async fn copy_blobs(to: &Repository, entry: &Entry) -> Outcome {
    let manifest: oci::image::Manifest =
        serde_json::from_slice(&entry.raw).map_err(|error| Failure::new(error.to_string()))?;
    let failed = |error: registry::Error| Failure::new(error.to_string());
    let blobs: Vec<&Descriptor> = manifest.layers.iter().chain([&manifest.config]).collect();
    for blob in blobs {
        if to.has_blob(&blob.digest).await.map_err(failed)? {
            continue;
        }
        let from = entry.reference.path();
        match to.begin(Some((&blob.digest, from))).await.map_err(failed)? {
            Begun::Mounted => {}
            Begun::Upload(_) => {
                return Err(
                    format!("the registry does not mount {} from {from}", blob.digest).into(),
                );
            }
        }
    }
    Ok(())
}

impl Entry {
    fn text(&self, key: &str) -> &str {
        self.descriptor
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// As docker keeps and shows it.
    fn json(&self) -> Value {
        let manifest: Value = serde_json::from_slice(&self.raw).unwrap_or_default();
        let key = match self.text("mediaType") {
            media::OCI_MANIFEST => "OCIManifest",
            _ => "SchemaV2Manifest",
        };
        json!({
            "Ref": self.reference.to_string(),
            "Descriptor": self.descriptor,
            "Raw": STANDARD.encode(&self.raw),
            key: manifest,
        })
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        Some(Self {
            reference: value["Ref"].as_str()?.parse().ok()?,
            descriptor: value["Descriptor"].as_object()?.clone(),
            raw: STANDARD.decode(value["Raw"].as_str()?).ok()?,
        })
    }
}

fn print_one(entry: &Entry, verbose: bool) -> Outcome {
    let text = match verbose {
        true => with_indent(&entry.json(), b"\t")?,
        false => indented(&entry.raw)?,
    };
    out::line(&String::from_utf8_lossy(&text));
    Ok(())
}

fn print_list(entries: &[Entry], verbose: bool) -> Outcome {
    let text = match verbose {
        true => {
            let all: Vec<Value> = entries.iter().map(Entry::json).collect();
            with_indent(&Value::from(all), b"\t")?
        }
        false => list_document(entries)?,
    };
    out::line(&String::from_utf8_lossy(&text));
    Ok(())
}

/// The same JSON with tabs.
fn indented(raw: &[u8]) -> Outcome<Vec<u8>> {
    let value: Value =
        serde_json::from_slice(raw).map_err(|error| Failure::new(error.to_string()))?;
    with_indent(&value, b"\t")
}

fn with_indent(value: &Value, indent: &[u8]) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent);
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    serde::Serialize::serialize(value, &mut serializer)
        .map_err(|error| Failure::new(error.to_string()))?;
    Ok(bytes)
}

/// docker's manifest list of these images.
fn list_document(entries: &[Entry]) -> Outcome<Vec<u8>> {
    let mut manifests = Vec::new();
    for entry in entries {
        let platform = entry
            .descriptor
            .get("platform")
            .cloned()
            .unwrap_or_default();
        let of = |key: &str| platform[key].as_str().unwrap_or_default();
        if of("os").is_empty() || of("architecture").is_empty() {
            return Err(format!(
                "manifest {} must have an OS and Architecture to be pushed to a registry",
                entry.reference
            )
            .into());
        }
        manifests.push(json!({
            "mediaType": entry.descriptor["mediaType"],
            "size": entry.descriptor["size"],
            "digest": entry.descriptor["digest"],
            "platform": platform,
        }));
    }
    let list = json!({
        "schemaVersion": 2,
        "mediaType": media::DOCKER_LIST,
        "manifests": manifests,
    });
    with_indent(&list, b"   ")
}

/// Lists under way: a directory for each, a file for each image.
struct Store(PathBuf);

impl Store {
    fn of(call: &Call) -> Self {
        let config = call.app.config().path();
        Self(config.parent().unwrap_or(Path::new(".")).join("manifests"))
    }

    /// Entries of a list, by name; none when there is no such list.
    fn list(&self, list: &Reference) -> Outcome<Vec<Entry>> {
        let dir = self.0.join(file_name(list));
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(&dir, &error)),
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths.iter().map(|path| read(path)).collect()
    }

    fn get(&self, list: &Reference, image: &Reference) -> Outcome<Option<Entry>> {
        let path = self.0.join(file_name(list)).join(file_name(image));
        match path.exists() {
            true => read(&path).map(Some),
            false => Ok(None),
        }
    }

    fn save(&self, list: &Reference, entry: &Entry) -> Outcome {
        let dir = self.0.join(file_name(list));
        std::fs::create_dir_all(&dir).map_err(|error| failed(&dir, &error))?;
        let path = dir.join(file_name(&entry.reference));
        let text = serde_json::to_vec(&entry.json()).unwrap_or_default();
        std::fs::write(&path, text).map_err(|error| failed(&path, &error))
    }

    fn remove(&self, list: &Reference) -> Outcome {
        let dir = self.0.join(file_name(list));
        std::fs::remove_dir_all(&dir).map_err(|error| failed(&dir, &error))
    }
}

fn read(path: &Path) -> Outcome<Entry> {
    let bytes = std::fs::read(path).map_err(|error| failed(path, &error))?;
    Entry::parse(&bytes).ok_or_else(|| {
        Failure::new(format!(
            "{}: no manifest in docker's format",
            path.display()
        ))
    })
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: {}", path.display(), os_text(error)))
}

/// docker's name of a reference's file.
fn file_name(reference: &Reference) -> String {
    reference.to_string().replace(':', "-").replace('/', "_")
}
