use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use archive::{Item, ItemKind, Metadata};
use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};

use super::{Devices, LazyFiles};
use crate::{Expected, Images, Policy};

/// Supplies a file; remembers what it was told.
#[derive(Debug)]
struct Supplied {
    device: PathBuf,
    forgotten: Mutex<Vec<String>>,
}

impl Devices for Supplied {
    fn open(&self, _: &str, dir: &Path) -> std::io::Result<OwnedFd> {
        assert!(dir.join("map").exists(), "with the supplier's files");
        File::open(&self.device).map(Into::into)
    }

    fn forget(&self, chain: &str) {
        self.forgotten.lock().expect("list").push(chain.to_owned());
    }
}

struct Bed {
    dir: tempfile::TempDir,
    images: Images,
    supplied: Arc<Supplied>,
    tar: Vec<u8>,
    chain: String,
    config: Vec<u8>,
}

impl Bed {
    fn forgotten(&self) -> Vec<String> {
        self.supplied.forgotten.lock().expect("list").clone()
    }
}

const TEXT: &[u8] = b"what the file has";

/// A store with an image whose one layer has not come; its device has the file at 0.
fn bed() -> Bed {
    let dir = tempfile::tempdir().expect("temp dir");
    let database = redb::Database::create(dir.path().join("db")).expect("database");
    let images = Images::open(dir.path(), Arc::new(database)).expect("store");
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(TEXT.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "file", TEXT).expect("tar");
    let tar = tar.into_inner().expect("tar");
    let hash: [u8; 32] = Sha256::digest(&tar).into();
    let diff_id = oci::Digest::sha256(&hash);
    let device = dir.path().join("device");
    let mut bytes = TEXT.to_vec();
    bytes.resize(512, 0);
    std::fs::write(&device, bytes).expect("device");
    let supplied = Arc::new(Supplied {
        device,
        forgotten: Mutex::default(),
    });
    images.set_devices(Arc::clone(&supplied) as _);
    let item = Item {
        path: "file".into(),
        metadata: Metadata {
            mode: 0o644,
            owner: Some((0, 0)),
            ..Metadata::default()
        },
        kind: ItemKind::File {
            size: TEXT.len() as u64,
            offset: Some(0),
        },
    };
    let lazy = LazyFiles {
        items: vec![item],
        device: 512,
        files: vec![("map", b"of the supplier".to_vec())],
    };
    let chain = diff_id.hex().to_owned();
    let size = images.begin_lazy(&chain, lazy).expect("begun");
    assert_eq!(size, TEXT.len() as u64);
    let config =
        format!(r#"{{"os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#);
    Bed {
        dir,
        images,
        supplied,
        tar,
        chain,
        config: config.into(),
    }
}

fn read(images: &Images, id: &oci::Digest) -> Vec<u8> {
    let image = images.resolve(id.as_str()).expect("image");
    let view = images.view(&image).expect("view");
    let file = sys::rooted::open(
        view.as_fd(),
        Path::new("file"),
        OFlags::RDONLY,
        Mode::empty(),
    );
    let mut found = Vec::new();
    File::from(file.expect("file"))
        .read_to_end(&mut found)
        .expect("read");
    found
}

#[test]
fn a_layer_is_used_from_its_device_and_then_from_its_tar() {
    let bed = bed();
    let images = &bed.images;
    let id = images.commit(&bed.config, None, &[]).expect("image");
    let image = images.resolve(id.as_str()).expect("image");
    assert!(images.is_whole(&image), "as far as anybody can tell");
    assert_eq!(images.lazy_chains(), std::slice::from_ref(&bed.chain));
    let diff_id: oci::Digest = format!("sha256:{}", bed.chain).parse().expect("digest");
    let refused = images.layer_tar(&diff_id).expect_err("not there");
    assert_eq!(refused.kind(), crate::Kind::Conflict);
    let mountable = images.can_be_lazy() && rustix::process::geteuid().is_root();
    if mountable {
        assert_eq!(read(images, &id), TEXT);
        let lazy = bed.dir.path().join("lazy");
        assert_eq!(images.0.mounts.below(&lazy), 1);
        images.devices_died();
        assert_eq!(images.0.mounts.below(&lazy), 0);
        assert_eq!(read(images, &id), TEXT, "by another mount");
    }
    images
        .ingest_layer(bed.tar.as_slice(), &Expected::default())
        .expect("whole");
    assert!(images.kept_its_word(&bed.chain));
    images.settle(&bed.chain);
    assert_eq!(images.lazy(&bed.chain), None);
    assert_eq!(bed.forgotten(), std::slice::from_ref(&bed.chain));
    std::fs::remove_file(&bed.supplied.device).expect("gone");
    if mountable {
        assert_eq!(read(images, &id), TEXT);
    }
    images.layer_tar(&diff_id).expect("there");
}

#[test]
fn a_layer_goes_with_its_image() {
    let bed = bed();
    let id = bed.images.commit(&bed.config, None, &[]).expect("image");
    bed.images.settle(&bed.chain);
    assert!(bed.images.lazy(&bed.chain).is_some(), "it is not whole");
    bed.images.remove(&id).expect("removed");
    assert_eq!(bed.images.layer(&bed.chain), None);
    assert_eq!(bed.forgotten(), std::slice::from_ref(&bed.chain));
}

#[test]
fn a_removed_image_comes_back_with_what_has_not_come() {
    let bed = bed();
    let images = &bed.images;
    images.set_policy(Policy {
        keep_for: std::time::Duration::from_secs(3600),
        ..Policy::default()
    });
    let id = images.commit(&bed.config, None, &[]).expect("image");
    images.remove(&id).expect("removed");
    assert!(images.lazy(&bed.chain).is_some(), "kept like any other");
    assert!(bed.forgotten().is_empty());
    let (image, _) = images.restore(id.hex()).expect("restored");
    assert!(images.is_whole(&image));
    assert_eq!(images.lazy_chains(), std::slice::from_ref(&bed.chain));
    images.remove(&id).expect("removed");
    images.expire(true).expect("expired");
    assert_eq!(bed.forgotten(), std::slice::from_ref(&bed.chain));
}

#[test]
fn a_scrub_finds_nothing_wrong_with_what_has_not_come() {
    let bed = bed();
    bed.images.commit(&bed.config, None, &[]).expect("image");
    let found = bed.images.scrub().expect("scrubbed");
    assert_eq!((found.layers, found.damaged), (0, vec![]));
}

#[test]
fn what_no_image_has_is_swept() {
    let bed = bed();
    let place = bed.dir.path().join("lazy").join(&bed.chain);
    assert!(place.exists());
    bed.images.0.sweep();
    assert!(!place.exists());
}
