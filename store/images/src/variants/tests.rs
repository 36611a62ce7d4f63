use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use oci::image::{Descriptor, media};
use oci::{Digest, Platform, Reference};
use redb::{ReadableDatabase as _, ReadableTableMetadata as _};

use crate::layers::digest;
use crate::removed::tests::{open, tar};
use crate::{Attached, Expected, Images, Indexed, Kind, Policy, VariantKind};

/// Another machine than this one.
fn foreign() -> &'static str {
    match Platform::host().architecture.as_str() {
        "arm64" => "amd64",
        _ => "arm64",
    }
}

fn host() -> String {
    Platform::host().architecture
}

fn platform(architecture: &str) -> Platform {
    format!("linux/{architecture}").parse().expect("platform")
}

fn name(text: &str) -> Reference {
    text.parse::<Reference>().expect("name").or_latest()
}

/// An image for a machine that is not in a store yet.
#[derive(Clone)]
struct Made {
    tar: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
    architecture: String,
}

impl Made {
    fn new(architecture: &str, content: &str) -> Self {
        let tar = tar(content);
        let config = serde_json::json!({
            "architecture": architecture, "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [digest(&tar).as_str()]},
        });
        let config = config.to_string().into_bytes();
        // What it is called where it comes from: compressed, nobody here has the bytes.
        let blob = digest(content.as_bytes());
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
            "config": Descriptor::new(media::OCI_CONFIG, digest(&config), config.len() as u64),
            "layers": [Descriptor::new(media::OCI_LAYER_GZIP, blob, 7)],
        });
        Self {
            tar,
            config,
            manifest: manifest.to_string().into_bytes(),
            architecture: architecture.to_owned(),
        }
    }

    fn id(&self) -> Digest {
        digest(&self.config)
    }

    fn descriptor(&self) -> Descriptor {
        let length = self.manifest.len() as u64;
        let mut made = Descriptor::new(media::OCI_MANIFEST, digest(&self.manifest), length);
        made.platform = Some(platform(&self.architecture));
        made
    }

    fn layer(&self, images: &Images) -> crate::Lease {
        let chain = digest(&self.tar).hex().to_owned();
        let lease = images.lease(vec![chain]);
        images
            .ingest_layer(self.tar.as_slice(), &Expected::default())
            .expect("layer");
        lease
    }

    fn pull(&self, images: &Images, index: &Indexed, names: &[&str]) -> Digest {
        let _lease = self.layer(images);
        let names: Vec<Reference> = names.iter().map(|text| name(text)).collect();
        let manifest = (media::OCI_MANIFEST, self.manifest.as_slice());
        let id = images.commit_in(&self.config, manifest, index, &names);
        id.expect("image")
    }
}

/// An index of these, and of an attestation of the first.
fn index(of: &[&Made]) -> Indexed {
    let blob = br#"{"_type":"https://in-toto.io/Statement/v0.1"}"#.to_vec();
    let about = digest(&of[0].manifest);
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
        "config": Descriptor::new(media::OCI_CONFIG, digest(b"{}"), 2),
        "layers": [Descriptor::new("application/vnd.in-toto+json", digest(&blob), 45)],
    });
    let manifest = manifest.to_string().into_bytes();
    let length = manifest.len() as u64;
    let mut attestation = Descriptor::new(media::OCI_MANIFEST, digest(&manifest), length);
    attestation.platform = Some(Platform {
        os: "unknown".into(),
        architecture: "unknown".into(),
        ..Platform::default()
    });
    attestation.annotations = [
        (
            "vnd.docker.reference.type".to_owned(),
            "attestation-manifest".to_owned(),
        ),
        ("vnd.docker.reference.digest".to_owned(), about.to_string()),
    ]
    .into();
    let mut manifests: Vec<Descriptor> = of.iter().map(|made| made.descriptor()).collect();
    manifests.push(attestation);
    let bytes = serde_json::json!({
        "schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": manifests,
    });
    Indexed {
        media_type: media::OCI_INDEX.into(),
        bytes: bytes.to_string().into_bytes(),
        attached: vec![Attached {
            manifest: digest(&manifest),
            blobs: vec![manifest, b"{}".to_vec(), blob],
        }],
    }
}

/// An index's images for this machine and another, both here by the name `two`.
fn pulled(images: &Images) -> (Made, Made, Indexed) {
    let (own, other) = (Made::new(&host(), "own"), Made::new(foreign(), "other"));
    let top = index(&[&own, &other]);
    own.pull(images, &top, &["two"]);
    other.pull(images, &top, &["two"]);
    (own, other, top)
}

fn database(root: &Path) -> Arc<redb::Database> {
    std::fs::create_dir_all(root).expect("root");
    Arc::new(redb::Database::create(root.join("db")).expect("database"))
}

/// Nothing is missing and nothing is left over.
fn sound(images: &Images) {
    let scrubbed = images.scrub().expect("scrubbed");
    assert_eq!((scrubbed.damaged, scrubbed.strays), (vec![], vec![]));
}

fn blobs(root: &Path) -> usize {
    let dir = root.join("content/blobs/sha256");
    std::fs::read_dir(dir).expect("blobs").count()
}

#[test]
fn platforms_come_one_by_one_and_go_and_come_back_together() {
    let dir = tempfile::tempdir().expect("temp dir");
    let database = database(dir.path());
    let images = open(dir.path(), &database);
    let (own, other) = (Made::new(&host(), "own"), Made::new(foreign(), "other"));
    let top = index(&[&other, &own]);
    let by_digest = name("two").with_digest(digest(&top.bytes)).to_string();
    let names = ["two", by_digest.as_str()];
    other.pull(&images, &top, &names);
    // The only one there is, is meant.
    assert_eq!(images.resolve("two").expect("there").id, other.id());
    let wanted = platform(&host());
    let missing = images
        .resolve_for("two", Some(&wanted))
        .expect_err("absent");
    assert_eq!(missing.kind(), Kind::NotFound);
    assert_eq!(
        missing.to_string(),
        format!(
            "image with reference two was found but does not provide the specified platform \
             ({wanted})"
        )
    );
    own.pull(&images, &top, &names);
    drop(images);
    let images = open(dir.path(), &database);
    let found = images.resolve("two").expect("there");
    assert_eq!((found.id.clone(), found.tags.len()), (own.id(), 1));
    let wanted = platform(foreign());
    let foreign = images.resolve_for("two", Some(&wanted)).expect("there");
    assert_eq!((foreign.id, foreign.digests.len()), (other.id(), 1));
    assert_eq!(images.list().expect("list").len(), 1);
    assert_eq!(images.every().len(), 2);
    // By what else it may be called.
    let top_digest = digest(&top.bytes);
    for id in [top_digest.as_str(), &top_digest.hex()[..12], &by_digest] {
        assert_eq!(images.resolve(id).expect(id).id, own.id());
    }
    let manifest = digest(&other.manifest);
    assert_eq!(
        images.resolve(manifest.as_str()).expect("there").id,
        other.id()
    );
    let kinds: Vec<_> = images.variants(&found).into_iter().collect();
    assert!(kinds.iter().all(|variant| variant.available), "{kinds:?}");
    assert_eq!(
        kinds.iter().map(|it| it.kind.clone()).collect::<Vec<_>>(),
        [
            VariantKind::Image(platform(&other.architecture)),
            VariantKind::Image(platform(&host())),
            VariantKind::Attestation(Some(digest(&other.manifest))),
        ]
    );
    sound(&images);

    let (gone, layers) = images
        .remove_but(&own.id(), &BTreeSet::new())
        .expect("removed");
    assert_eq!((gone.len(), layers.len()), (2, 2));
    assert!(images.every().is_empty());
    drop(images);
    let images = open(dir.path(), &database);
    let (restored, names) = images.restore("two").expect("restored");
    assert_eq!((restored.id, names.len()), (own.id(), 2));
    assert!(images.resolve_for("two", Some(&wanted)).is_ok());
    assert_eq!(images.removed(), []);
    sound(&images);
    images.remove(&own.id()).expect("removed");
    images.expire(true).expect("expired");
    assert_eq!(blobs(dir.path()), 0);
    sound(&images);
}

#[test]
fn one_platform_goes_and_what_others_use_stays() {
    let dir = tempfile::tempdir().expect("temp dir");
    let images = open(dir.path(), &database(dir.path()));
    let (own, other, top) = pulled(&images);
    let (of, manifest) = (digest(&top.bytes), digest(&own.manifest));
    let gone = images.remove_variant(&of, &manifest, &BTreeSet::new());
    assert_eq!(gone.expect("gone").0, [own.id()]);
    assert_eq!(images.resolve("two").expect("there").id, other.id());
    let found = images.resolve("two").expect("there");
    let available = images.variants(&found).into_iter().map(|it| it.available);
    // With the image goes what is said of it.
    assert_eq!(available.collect::<Vec<_>>(), [false, true, false]);
    sound(&images);
    // It comes back where it was.
    images.restore(own.id().as_str()).expect("restored");
    assert_eq!(images.resolve("two").expect("there").id, own.id());
    let found = images.resolve("two").expect("there");
    assert!(images.variants(&found).iter().all(|it| it.available));
    // What a container has stays when all else goes.
    let keep: BTreeSet<Digest> = [other.id()].into();
    let (gone, _) = images.remove_but(&own.id(), &keep).expect("removed");
    assert_eq!(gone, [own.id()]);
    let left = images.list().expect("list");
    assert_eq!((left.len(), &left[0].id), (1, &other.id()));
    assert!(images.is_whole(&left[0]));
    sound(&images);
}

#[test]
fn one_image_in_two_indexes_is_one_with_both_names() {
    let dir = tempfile::tempdir().expect("temp dir");
    let images = open(dir.path(), &database(dir.path()));
    let own = Made::new(&host(), "own");
    let (old, new) = (Made::new(foreign(), "old"), Made::new(foreign(), "new"));
    let (first, second) = (index(&[&own, &old]), index(&[&own, &new]));
    own.pull(&images, &first, &["x:1"]);
    old.pull(&images, &first, &["x:1"]);
    own.pull(&images, &second, &["x:2"]);
    new.pull(&images, &second, &["x:2"]);
    let found = images.list().expect("list");
    assert_eq!((found.len(), found[0].tags.len()), (1, 2));
    let of = |tag: &str| images.resolve(tag).expect(tag).index.map(|it| it.digest);
    assert_ne!(of("x:1"), of("x:2"));
    // A name given goes by the same index.
    let image = images.resolve("x:1").expect("there");
    images.tag(&image, &name("y:1")).expect("tagged");
    assert_eq!(of("y:1"), of("x:1"));
    images.untag(&name("y:1")).expect("untagged");
    let untagged = images.untag(&name("x:1")).expect("untagged").expect("name");
    assert!(untagged.named);
    assert_eq!(untagged.orphans, [old.id()]);
    let rows = images.0.catalog.database().begin_read().expect("read");
    let names: redb::TableDefinition<'_, &str, &[u8]> =
        redb::TableDefinition::new("image-names-untagged");
    let names = rows.open_table(names).expect("table");
    assert!(names.is_empty().expect("rows"), "of an index that has gone");
    drop(rows);
    images.remove(&old.id()).expect("removed");
    let untagged = images.untag(&name("x:2")).expect("untagged").expect("name");
    assert!(!untagged.named && untagged.orphans.is_empty());
    images.remove(&own.id()).expect("removed");
    assert!(images.every().is_empty());
    sound(&images);
}

#[test]
fn an_image_from_before_becomes_one_of_its_index() {
    let dir = tempfile::tempdir().expect("temp dir");
    let images = open(dir.path(), &database(dir.path()));
    let (own, other) = (Made::new(&host(), "own"), Made::new(foreign(), "other"));
    {
        let _lease = own.layer(&images);
        let manifest = (media::OCI_MANIFEST, own.manifest.as_slice());
        let names = [name("two")];
        images
            .commit(&own.config, Some(manifest), &names)
            .expect("image");
    }
    other.pull(&images, &index(&[&own, &other]), &["two"]);
    assert_eq!(images.resolve("two").expect("there").id, own.id());
    assert_eq!(images.list().expect("list").len(), 1);
    let wanted = platform(foreign());
    assert!(images.resolve_for("two", Some(&wanted)).is_ok());
    sound(&images);
}

#[test]
fn what_goes_while_all_is_read_is_not_damaged() {
    let dir = tempfile::tempdir().expect("temp dir");
    let images = open(dir.path(), &database(dir.path()));
    images.set_policy(Policy::default());
    let (own, _, top) = pulled(&images);
    let (of, manifest) = (digest(&top.bytes), digest(&own.manifest));
    let before = images.0.catalog.index(of.hex()).expect("index");
    let gone = images.remove_variant(&of, &manifest, &BTreeSet::new());
    assert_eq!(gone.expect("gone").0, [own.id()]);
    let mut found = crate::Scrubbed::default();
    images.0.scrub_index(&before, &mut found);
    assert_eq!(found.damaged, []);
}

#[test]
fn what_came_alone_is_not_let_go_of_with_what_it_was_removed_with() {
    let dir = tempfile::tempdir().expect("temp dir");
    let images = open(dir.path(), &database(dir.path()));
    let (own, other, top) = pulled(&images);
    images.remove(&own.id()).expect("removed");
    other.pull(&images, &top, &["two"]);
    images.touch(&other.id());
    let used = images.last_used(&other.id());
    let freed = images.expire(true).expect("expired");
    assert_eq!(freed.images, [own.id()]);
    assert_eq!(images.last_used(&other.id()), used);
    sound(&images);
}

#[test]
fn one_of_what_was_removed_together_comes_alone_and_the_rest_can_still_be_had() {
    let dir = tempfile::tempdir().expect("temp dir");
    let images = open(dir.path(), &database(dir.path()));
    let (own, other, top) = pulled(&images);
    images.remove(&own.id()).expect("removed");
    own.pull(&images, &top, &["two"]);
    let removed = images.removed();
    assert_eq!((removed.len(), &removed[0].id), (1, &other.id()));
    sound(&images);
    images.restore(other.id().as_str()).expect("restored");
    let wanted = platform(foreign());
    assert!(images.resolve_for("two", Some(&wanted)).is_ok());
    sound(&images);
}

#[test]
fn what_is_saved_has_all_platforms_and_keeps_its_digests() {
    let dir = tempfile::tempdir().expect("temp dir");
    let images = open(&dir.path().join("a"), &database(&dir.path().join("a")));
    if !images.0.indexes() {
        return;
    }
    let (_, other, top) = pulled(&images);
    let save = |platforms: &[Platform]| {
        let saved = images
            .to_save(&["two".to_owned()], platforms)
            .expect("names");
        let mut bytes = Vec::new();
        images.save(&saved, &mut bytes).expect("saved");
        bytes
    };
    let load = |root: &str, archive: &[u8], platforms: &[Platform]| {
        let root = dir.path().join(root);
        let images = open(&root, &database(&root));
        let loaded = images.load_for(archive, platforms, &mut |_| {});
        sound(&images);
        (images, loaded)
    };
    let all = save(&[]);
    let (loaded, told) = load("b", &all, &[]);
    assert_eq!(told.expect("loaded").len(), 1);
    let found = loaded.resolve("two").expect("there");
    let came = found.index.clone().expect("index");
    assert_eq!(came.digest, digest(&top.bytes));
    assert!(loaded.variants(&found).iter().all(|it| it.available));
    // One of them, from the same archive and from one of its own.
    let wanted = platform(foreign());
    let one = std::slice::from_ref(&wanted);
    for (root, archive) in [("c", &all), ("d", &save(one))] {
        let (loaded, told) = load(root, archive, one);
        assert_eq!(told.expect("loaded")[0].id, other.id());
        assert_eq!(loaded.every().len(), 1);
    }
    let strange = "linux/s390x".parse::<Platform>().expect("platform");
    let one = std::slice::from_ref(&strange);
    let (_, told) = load("e", &all, one);
    let refused = told.expect_err("none").to_string();
    assert_eq!(refused, "requested platform(s) ([linux/s390x]) not found");
    let refused = images.to_save(&["two".to_owned()], one).expect_err("none");
    assert_eq!(refused.kind(), Kind::NotFound);
}

#[test]
fn what_is_held_is_saved_whoever_removes_it() {
    let dir = tempfile::tempdir().expect("temp dir");
    let images = open(dir.path(), &database(dir.path()));
    if !images.0.indexes() {
        return;
    }
    images.set_policy(Policy::default());
    let (own, ..) = pulled(&images);
    let saved = images.to_save(&["two".to_owned()], &[]).expect("names");
    let mut before = Vec::new();
    images.save(&saved, &mut before).expect("saved");
    let lease = images.hold_saved(&saved).expect("held");
    images.remove(&own.id()).expect("removed");
    let mut after = Vec::new();
    images.save(&saved, &mut after).expect("saved");
    assert!(before == after, "the archive differs");
    drop(lease);
    assert_eq!(blobs(dir.path()), 0);
    assert!(images.hold_saved(&saved).is_err());
    sound(&images);
}

#[test]
fn names_that_went_one_by_one_come_back_after_a_restart() {
    let dir = tempfile::tempdir().expect("temp dir");
    let database = database(dir.path());
    let images = open(dir.path(), &database);
    let own = Made::new(&host(), "own");
    own.pull(&images, &index(&[&own]), &["x:1", "y:1"]);
    images.untag(&name("x:1")).expect("untagged");
    images.untag(&name("y:1")).expect("untagged");
    drop(images);
    let images = open(dir.path(), &database);
    images.remove(&own.id()).expect("removed");
    let (_, mut names) = images.restore("x:1").expect("restored");
    names.sort_by_key(Reference::to_string);
    assert_eq!(names, [name("x:1"), name("y:1")]);
    // A name that is given again is not one that was taken.
    images.untag(&name("x:1")).expect("untagged");
    let image = images.resolve("y:1").expect("there");
    images.tag(&image, &name("x:1")).expect("tagged");
    images.untag(&name("y:1")).expect("untagged");
    let other = Made::new(&host(), "other");
    other.pull(&images, &index(&[&other]), &["y:1"]);
    images.remove(&own.id()).expect("removed");
    let (_, names) = images.restore(own.id().as_str()).expect("restored");
    assert_eq!(names, [name("x:1")]);
}
