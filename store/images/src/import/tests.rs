use std::os::fd::AsFd as _;
use std::sync::Arc;

use oci::image::Execution;

use crate::{ChangeKind, Images, RootfsOptions};

fn store(root: &std::path::Path) -> Images {
    let database = redb::Database::create(root.join("db")).expect("database");
    Images::open(root, Arc::new(database)).expect("store")
}

#[test]
fn the_builtin_image_is_always_the_same_and_found_by_every_name() {
    let dir = tempfile::tempdir().expect("temp dir");
    let images = store(dir.path());
    let name = "corten/hello:latest".parse().expect("name");
    let files: [(&str, u32, &[u8]); 1] = [("/hello", 0o755, b"#!")];
    let id = images
        .builtin(&name, &files, Execution::default())
        .expect("made");
    let again = images
        .builtin(&name, &files, Execution::default())
        .expect("made again");
    assert_eq!(id, again);
    for text in [
        "corten/hello",
        "corten/hello:latest",
        id.as_str(),
        id.hex(),
        &id.hex()[..12],
    ] {
        assert_eq!(images.resolve(text).expect(text).id, id);
    }
    assert_eq!(
        images
            .resolve("corten/other")
            .expect_err("unknown")
            .to_string(),
        "No such image: corten/other:latest"
    );
    let freed = images.remove(&id).expect("removed");
    assert_eq!(freed.len(), 1);
    assert!(images.resolve("corten/hello").is_err());
}

#[test]
fn a_root_shows_the_image_and_keeps_what_is_written() {
    assert!(rustix::process::geteuid().is_root(), "mounts need root");
    let dir = tempfile::tempdir().expect("temp dir");
    let images = store(dir.path());
    let name = "x:latest".parse().expect("name");
    let files: [(&str, u32, &[u8]); 2] = [("a/file", 0o644, b"one"), ("b", 0o644, b"two")];
    let id = images
        .builtin(&name, &files, Execution::default())
        .expect("made");
    let image = images.resolve(id.as_str()).expect("there");
    let writable = dir.path().join("w");
    images.create_writable(&writable).expect("directories");
    for volatile in [false, true, true] {
        let options = RootfsOptions {
            volatile,
            readonly: false,
        };
        let root = images.rootfs(&image, &writable, options).expect("mounted");
        let flags = rustix::fs::OFlags::RDONLY;
        let file = sys::rooted::open(
            root.as_fd(),
            "a/file".as_ref(),
            flags,
            rustix::fs::Mode::empty(),
        )
        .expect("the image's file");
        let bytes = sys::rooted::read_all(file.as_fd(), 100).expect("read");
        assert_eq!(bytes, b"one");
        let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
        rustix::fs::openat(&root, "new", flags, rustix::fs::Mode::from_raw_mode(0o600))
            .expect("written");
        let _ = rustix::fs::unlinkat(&root, "b", rustix::fs::AtFlags::empty());
    }
    let changes = images.upper_changes(&image, &writable).expect("changes");
    let found: Vec<_> = changes
        .iter()
        .map(|c| (c.path.to_string_lossy().into_owned(), c.kind))
        .collect();
    assert_eq!(
        found,
        [
            ("/b".to_owned(), ChangeKind::Deleted),
            ("/new".to_owned(), ChangeKind::Added)
        ]
    );
}
