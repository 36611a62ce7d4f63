use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;

use oci::Digest;
use rustix::fs::{Mode, OFlags};
use sha2::Digest as _;

use crate::{Expected, Form, Images, Kind};

fn store(root: &Path, form: Form) -> Images {
    std::fs::create_dir_all(root).expect("root");
    let database = redb::Database::create(root.join("db")).expect("database");
    Images::open_with(root, Arc::new(database), form).expect("store")
}

fn layer(name: &str, content: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o640);
    tar.append_data(&mut header, name, content).expect("entry");
    let mut bytes = tar.into_inner().expect("archive");
    // More zeros than needed, as `tar -b20` has: kept too.
    bytes.resize(bytes.len().next_multiple_of(10_240), 0);
    bytes
}

/// An image of these layers with these names.
fn put(images: &Images, layers: &[&[u8]], names: &[&str]) -> crate::Image {
    let (mut below, mut ids, mut leases) = (String::new(), Vec::new(), Vec::new());
    for layer in layers {
        let expected = Expected {
            below: below.clone(),
            ..Expected::default()
        };
        let layer = images.ingest_layer(*layer, &expected).expect("layer");
        leases.push(images.lease(vec![layer.chain.clone()]));
        below = layer.chain;
        ids.push(format!("\"{}\"", layer.diff_id));
    }
    let config = format!(
        r#"{{"created":"2024-01-02T03:04:05Z","os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        ids.join(",")
    );
    let names: Vec<oci::Reference> = names
        .iter()
        .map(|name| name.parse().expect("name"))
        .collect();
    let id = images
        .commit(config.as_bytes(), None, &names)
        .expect("image");
    images.resolve(id.as_str()).expect("there")
}

fn saved(images: &Images, names: &[&str]) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut bytes = Vec::new();
    let what = images.to_save(&names, &[]).expect("names");
    images.save(&what, &mut bytes).expect("saved");
    bytes
}

fn read(images: &Images, image: &crate::Image, path: &str) -> Vec<u8> {
    let view = images.view(image).expect("view");
    let file = sys::rooted::open(view.as_fd(), Path::new(path), OFlags::RDONLY, Mode::empty());
    let mut bytes = Vec::new();
    std::fs::File::from(file.expect(path))
        .read_to_end(&mut bytes)
        .expect("read");
    bytes
}

#[test]
fn what_is_saved_comes_back_bit_for_bit() {
    let dir = tempfile::tempdir().expect("temp dir");
    let images = store(&dir.path().join("one"), Form::Best);
    if !images.0.indexes() {
        return;
    }
    let (base, top) = (layer("a", &[7; 100_000]), layer("b", b"second"));
    let one = put(&images, &[&base, &top], &["x/one:1", "x/one:2"]);
    let two = put(&images, &[&top], &["two:latest"]);
    let archive = saved(&images, &["x/one", "two", one.id.as_str()]);
    // The same again: nothing in it depends on when.
    assert_eq!(saved(&images, &["x/one", "two", one.id.as_str()]), archive);
    for form in [Form::Best, Form::Directories] {
        let other = store(&dir.path().join(format!("{form:?}")), form);
        let loaded = other.load(archive.as_slice(), &mut |_| {}).expect("loaded");
        assert_eq!(loaded.len(), 2);
        for (name, wanted) in [("x/one:1", &one), ("x/one:2", &one), ("two", &two)] {
            let found = other.resolve(name).expect(name);
            assert_eq!(found.id, wanted.id, "{name}");
            assert_eq!(read(&other, &found, "b"), b"second");
        }
        for (tar, diff_id) in [(&base, &one.layers[0]), (&top, &one.layers[1])] {
            match other.layer_tar(diff_id) {
                Ok(found) => {
                    let mut bytes = Vec::new();
                    { found.file }.read_to_end(&mut bytes).expect("read");
                    assert_eq!(&bytes, tar);
                }
                Err(error) => {
                    assert_eq!((form, error.kind()), (Form::Directories, Kind::Unsupported));
                }
            }
        }
    }
    let missing = ["nothing".to_owned()];
    assert_eq!(
        images.to_save(&missing, &[]).expect_err("missing").kind(),
        Kind::NotFound
    );
}

#[test]
fn a_layer_on_two_chains_is_there_once_and_goes_with_the_last() {
    let dir = tempfile::tempdir().expect("temp dir");
    let images = store(dir.path(), Form::Best);
    if !images.0.indexes() {
        return;
    }
    let (base, top) = (layer("a", b"first"), layer("b", &[1; 2_000_000]));
    let one = put(&images, &[&base, &top], &[]);
    let before = images.usage().expect("usage").disk;
    let chain = crate::chain_id("", &one.layers[1]);
    assert_eq!(images.layer(&chain), None);
    let lease = images.lease(vec![chain.clone()]);
    assert_eq!(
        images.layer_or_same(&chain, &one.layers[1]),
        Some(2_000_000)
    );
    let two = put(&images, &[&top], &[]);
    drop(lease);
    let grown = images.usage().expect("usage").disk - before;
    assert!(grown < 100_000, "{grown} more bytes");
    images.remove(&one.id).expect("removed");
    assert_eq!(read(&images, &two, "b"), [1; 2_000_000]);
    images.remove(&two.id).expect("removed");
    assert_eq!(images.usage().expect("usage").disk, 0);
}

#[test]
fn sparse_files_are_unpacked_and_damage_is_mended_or_told() {
    let dir = tempfile::tempdir().expect("temp dir");
    let images = store(dir.path(), Form::Best);
    if !images.0.indexes() {
        return;
    }
    // GNU tar's form: 512 bytes at 1024 of a file of 2048.
    let mut header = tar::Header::new_gnu();
    header.set_path("sparse").expect("path");
    header.set_entry_type(tar::EntryType::GNUSparse);
    header.set_size(512);
    header.set_mode(0o644);
    let gnu = header.as_gnu_mut().expect("gnu");
    gnu.realsize[..11].copy_from_slice(b"00000004000");
    gnu.sparse[0].offset[..11].copy_from_slice(b"00000002000");
    gnu.sparse[0].numbytes[..11].copy_from_slice(b"00000001000");
    gnu.sparse[1].offset[..11].copy_from_slice(b"00000004000");
    gnu.sparse[1].numbytes[..11].copy_from_slice(b"00000000000");
    header.set_cksum();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append(&header, [9; 512].as_slice()).expect("entry");
    let sparse = tar.into_inner().expect("archive");
    let plain = layer("plain", b"text");
    let image = put(&images, &[&plain, &sparse, &plain], &[]);
    let wanted = [vec![0; 1024], vec![9; 512], vec![0; 512]].concat();
    assert_eq!(read(&images, &image, "sparse"), wanted);
    assert_eq!(read(&images, &image, "plain"), b"text");
    let row = images.0.catalog.row(&image.id).expect("row");
    let base = images.0.layer_dir(&row.chains[0]);
    // What is made of a tar can be made again.
    std::fs::write(base.join("merged.1"), b"rubbish").expect("written");
    let again = store_again(&images, dir.path());
    assert_eq!(read(&again, &image, "plain"), b"text");
    let index = std::fs::read(base.join("index")).expect("index");
    let mut broken = index.clone();
    broken[60] ^= 1;
    std::fs::write(base.join("index"), broken).expect("written");
    std::fs::remove_file(base.join("merged.1")).expect("removed");
    let again = store_again(&images, dir.path());
    assert_eq!(read(&again, &image, "plain"), b"text");
    assert_eq!(std::fs::read(base.join("index")).expect("index"), index);
    // A tar that is cut off is not.
    let tar = std::fs::File::options()
        .write(true)
        .open(base.join("tar"))
        .expect("tar");
    tar.set_len(100).expect("cut");
    assert!(!again.is_whole(&image));
}

/// The same store, as after a restart.
fn store_again(images: &Images, root: &Path) -> Images {
    let database = images.0.catalog.database();
    Images::open(root, database).expect("store")
}

#[test]
fn digests_are_checked_before_anything_else() {
    let dir = tempfile::tempdir().expect("temp dir");
    let images = store(dir.path(), Form::Best);
    let tar = layer("a", b"x");
    let digest = |bytes: &[u8]| {
        let hash: [u8; 32] = sha2::Sha256::digest(bytes).into();
        Digest::sha256(&hash)
    };
    let refused = |bytes: &[u8], stream: &[u8], diff_id: &[u8]| {
        let expected = Expected {
            stream: Some((digest(stream), stream.len() as u64)),
            diff_id: Some(digest(diff_id)),
            below: String::new(),
        };
        images
            .ingest_layer(bytes, &expected)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    assert_eq!(refused(&tar, &tar, &tar), Ok(()));
    let broken = [&tar[..700], b"rubbish"].concat();
    let said = refused(&broken, &tar, b"other").expect_err("broken");
    assert!(said.contains("verification failed"), "{said}");
    let said = refused(&tar, &tar, b"other").expect_err("other tar");
    assert!(said.contains("layer verification failed"), "{said}");
    let layers = std::fs::read_dir(dir.path().join("layers")).expect("layers");
    let left = layers.filter(|entry| {
        let name = entry.as_ref().expect("entry").file_name();
        name.to_string_lossy().starts_with("tmp-")
    });
    assert_eq!(left.count(), 0);
}
