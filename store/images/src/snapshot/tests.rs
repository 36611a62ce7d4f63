use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci::image::Execution;

use super::CommitOptions;
use crate::{Form, Image, Images, RootfsOptions};

fn store(root: &Path, form: Form) -> Images {
    let database = redb::Database::create(root.join("db")).expect("database");
    Images::open_with(root, Arc::new(database), form).expect("store")
}

fn base(images: &Images) -> Image {
    let name = "x:latest".parse().expect("name");
    let files: [(&str, u32, &[u8]); 4] = [
        ("a/file", 0o644, b"one"),
        ("b", 0o644, b"two"),
        ("d/old", 0o644, b"old"),
        ("keep", 0o600, b"kept"),
    ];
    let id = images
        .builtin(&name, &files, Execution::default())
        .expect("made");
    images.resolve(id.as_str()).expect("there")
}

/// Changes files as a container would, through a mount.
fn change(images: &Images, image: &Image, writable: &Path, work: impl FnOnce(&Path)) {
    images.create_writable(writable).expect("directories");
    let options = RootfsOptions::default();
    let root = images.rootfs(image, writable, options).expect("mounted");
    work(&PathBuf::from(format!(
        "/proc/self/fd/{}",
        root.as_raw_fd()
    )));
}

fn commit(
    images: &Images,
    parent: &Image,
    writable: &Path,
    left_out: &[&str],
) -> Result<Image, crate::Error> {
    let upper = fs::File::open(writable.join("diff")).expect("writable directory");
    let left_out: BTreeSet<PathBuf> = left_out.iter().map(PathBuf::from).collect();
    let options = CommitOptions {
        author: "me".into(),
        comment: "why".into(),
        created_by: "sh".into(),
        created: "2024-01-01T00:00:00Z".into(),
        ..CommitOptions::default()
    };
    let id = images.commit_changes(parent, &upper.as_fd(), left_out, options)?;
    images.resolve(id.as_str())
}

fn shown(images: &Images, image: &Image) -> BTreeSet<String> {
    let view = images.view(image).expect("mounted");
    let root = PathBuf::from(format!("/proc/self/fd/{}", view.as_raw_fd()));
    let mut found = BTreeSet::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(root.join(&dir)).expect("directory").flatten() {
            let path = dir.join(entry.file_name());
            if entry.file_type().expect("type").is_dir() {
                pending.push(path);
            } else {
                let text = fs::read_to_string(root.join(&path)).expect("file");
                found.insert(format!("{}={text}", path.display()));
            }
        }
    }
    found
}

#[test]
fn changes_become_one_more_layer_in_either_form() {
    for form in [Form::Best, Form::Directories] {
        let dir = tempfile::tempdir().expect("temp dir");
        let images = store(dir.path(), form);
        let parent = base(&images);
        let writable = dir.path().join("w");
        change(&images, &parent, &writable, |root| {
            fs::write(root.join("a/file"), "three").expect("changed");
            fs::remove_file(root.join("b")).expect("removed");
            // A directory in place of another hides what that had.
            fs::remove_dir_all(root.join("d")).expect("removed");
            fs::create_dir(root.join("d")).expect("made again");
            fs::write(root.join("d/new"), "new").expect("added");
            fs::create_dir(root.join("etc")).expect("made");
            fs::write(root.join("etc/hosts"), "").expect("a place for a mount");
        });
        let made = commit(&images, &parent, &writable, &["etc", "etc/hosts"]).expect("committed");
        let expected = ["a/file=three", "d/new=new", "keep=kept"].map(str::to_owned);
        assert_eq!(shown(&images, &made), BTreeSet::from(expected), "{form:?}");
        assert_eq!(made.layers[..1], parent.layers[..]);
        assert_eq!(made.layers.len(), 2);
        assert_eq!(made.parent.as_ref(), Some(&parent.id));
        let step = &images.history(&made)[0];
        assert_eq!(step.history.author, "me");
        assert_eq!(step.history.created_by, "sh");
        assert!(step.size > 0);
        // It can be pushed and saved.
        images.layer_tar(&made.layers[1]).expect("the same archive");
        // The same changes are the same layer, whatever time it is.
        let again = commit(&images, &parent, &writable, &["etc", "etc/hosts"]).expect("committed");
        assert_eq!(again.layers, made.layers);
        // What a commit has above a commit.
        let writable = dir.path().join("w2");
        change(&images, &made, &writable, |root| {
            fs::remove_dir_all(root.join("d")).expect("removed");
        });
        let third = commit(&images, &made, &writable, &[]).expect("committed");
        let expected = ["a/file=three", "keep=kept"].map(str::to_owned);
        assert_eq!(shown(&images, &third), BTreeSet::from(expected), "{form:?}");
    }
}

#[test]
fn without_changes_there_is_no_layer() {
    let dir = tempfile::tempdir().expect("temp dir");
    let images = store(dir.path(), Form::Best);
    let parent = base(&images);
    let writable = dir.path().join("w");
    change(&images, &parent, &writable, |_| {});
    let layers = fs::read_dir(dir.path().join("layers"))
        .expect("layers")
        .count();
    let made = commit(&images, &parent, &writable, &[]).expect("committed");
    assert_eq!(made.layers, parent.layers);
    assert_ne!(made.id, parent.id);
    assert!(images.history(&made)[0].history.empty_layer);
    let after = fs::read_dir(dir.path().join("layers"))
        .expect("layers")
        .count();
    assert_eq!(after, layers, "an empty layer was left behind");
}

#[test]
fn a_commit_that_fails_leaves_nothing() {
    let dir = tempfile::tempdir().expect("temp dir");
    let images = store(dir.path(), Form::Best);
    let parent = base(&images);
    let writable = dir.path().join("w");
    change(&images, &parent, &writable, |root| {
        fs::write(root.join("first"), vec![1; 300_000]).expect("added");
        fs::write(root.join("z.wh."), "").expect("a name that says nothing");
        fs::write(root.join(".wh.keep"), "").expect("a name that would be a whiteout");
    });
    let layers = fs::read_dir(dir.path().join("layers"))
        .expect("layers")
        .count();
    let error = commit(&images, &parent, &writable, &[]).expect_err("no layer");
    let text = error.to_string();
    assert!(
        text.contains(".wh.keep") && text.contains("in a layer"),
        "{text}"
    );
    let after = fs::read_dir(dir.path().join("layers"))
        .expect("layers")
        .count();
    assert_eq!((after, images.list().expect("images").len()), (layers, 1));
    fs::remove_file(writable.join("diff/.wh.keep")).expect("removed");
    let made = commit(&images, &parent, &writable, &[]).expect("committed");
    assert!(shown(&images, &made).contains("z.wh.="));
}
