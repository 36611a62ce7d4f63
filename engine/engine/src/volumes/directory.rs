//! The directories of volumes, and their names on the way in and out.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::clock;

/// Directory of the files inside a volume's directory.
pub(super) const DATA: &str = "_data";

pub(super) fn make_root(root: &Path) -> io::Result<()> {
    // Others may pass through, to volumes they can name.
    DirBuilder::new().recursive(true).mode(0o701).create(root)
}

/// Where a volume is until its row is durable.
pub(super) fn unpublished(root: &Path, name: &str) -> PathBuf {
    root.join(format!(".{name}.new"))
}

fn retired(root: &Path, name: &str) -> PathBuf {
    root.join(format!(".{name}.gone"))
}

/// Makes an empty volume, unpublished.
pub(super) fn make(root: &Path, name: &str) -> io::Result<()> {
    let path = unpublished(root, name);
    remove_all(&path)?;
    let made = || {
        DirBuilder::new().mode(0o701).create(&path)?;
        DirBuilder::new().create(path.join(DATA))?;
        // Whatever the umask says.
        fs::set_permissions(path.join(DATA), PermissionsExt::from_mode(0o755))
    };
    made().inspect_err(|_| {
        let _ = remove_all(&path);
    })
}

pub(super) fn abandon(root: &Path, name: &str) -> io::Result<()> {
    remove_all(&unpublished(root, name))
}

pub(super) fn publish(root: &Path, name: &str) -> io::Result<()> {
    fs::rename(unpublished(root, name), root.join(name))
}

/// Takes the volume's directory out of sight, to be removed once its row is.
pub(super) fn retire(root: &Path, name: &str) -> io::Result<()> {
    match fs::rename(root.join(name), retired(root, name)) {
        // Somebody removed it by hand: then only the row is left.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

pub(super) fn discard(root: &Path, name: &str) -> io::Result<()> {
    remove_all(&retired(root, name))
}

/// There is a row: the directory gets its place whatever was under way.
pub(super) fn recover(root: &Path, name: &str) -> io::Result<()> {
    if root.join(name).try_exists()? {
        return Ok(());
    }
    for from in [retired(root, name), unpublished(root, name)] {
        match fs::rename(from, root.join(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            done => return done,
        }
    }
    make(root, name)?;
    publish(root, name)
}

/// Removes what is left over; answers the volumes there are and when they were made.
pub(super) fn sweep(root: &Path) -> io::Result<Vec<(String, i64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if name.starts_with('.') && (name.ends_with(".new") || name.ends_with(".gone")) {
            remove_all(&entry.path())?;
        } else if entry.path().join(DATA).is_dir() && super::check_name(&name).is_ok() {
            found.push((name, clock::nanos(entry.metadata()?.modified()?)));
        }
    }
    Ok(found)
}

/// Removes everything in a directory.
pub(super) fn empty(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

fn remove_all(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
