//! `container diff`: what the container changed, without what every container gets.
//!
//! An image need not have the places that a start mounts things at; those it lacks are made in the
//! writable layer. They are nobody's change: docker keeps them in a layer of their own.

use std::path::Path;

use images::{Change, ChangeKind};

/// Made for mounts where the image has none.
const PLACES: [&str; 11] = [
    "/.dockerenv",
    "/dev",
    "/dev/console",
    "/dev/mqueue",
    "/dev/pts",
    "/dev/shm",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/proc",
    "/sys",
];

/// Leaves out the places for mounts; `upper` is the writable layer.
pub(crate) fn made_by_the_container(mut changes: Vec<Change>, upper: &Path) -> Vec<Change> {
    let is_place = |change: &Change| {
        change.kind == ChangeKind::Added
            && PLACES.iter().any(|place| change.path == Path::new(place))
            && is_bare(upper, &change.path)
    };
    let before = changes.len();
    changes.retain(|change| !is_place(change));
    if changes.len() < before {
        // Their directory is touched by making them.
        let etc = Path::new("/etc");
        let more = changes
            .iter()
            .any(|change| change.path != etc && change.path.starts_with(etc));
        changes.retain(|change| change.path != etc || more);
    }
    changes
}

/// A directory, or a file with nothing in it.
fn is_bare(upper: &Path, path: &Path) -> bool {
    let relative = path.strip_prefix("/").unwrap_or(path);
    std::fs::symlink_metadata(upper.join(relative))
        .is_ok_and(|facts| facts.is_dir() || (facts.is_file() && facts.len() == 0))
}

#[cfg(test)]
mod tests {
    use images::{Change, ChangeKind};

    use super::made_by_the_container;

    #[test]
    fn places_for_mounts_are_nobodys() {
        let upper = tempfile::tempdir().expect("dir");
        std::fs::create_dir_all(upper.path().join("etc")).expect("etc");
        std::fs::create_dir(upper.path().join("proc")).expect("proc");
        std::fs::write(upper.path().join("etc/hosts"), "").expect("hosts");
        let change = |path: &str, kind| Change {
            path: path.into(),
            kind,
        };
        let made = vec![
            change("/etc", ChangeKind::Modified),
            change("/etc/hosts", ChangeKind::Added),
            change("/proc", ChangeKind::Added),
        ];
        let shown = |changes: Vec<Change>| made_by_the_container(changes, upper.path()).len();
        assert_eq!(shown(made.clone()), 0);
        let mut more = made.clone();
        more.push(change("/etc/group", ChangeKind::Deleted));
        assert_eq!(shown(more), 2);
        // Written to, it is the container's.
        std::fs::write(upper.path().join("etc/hosts"), "x").expect("hosts");
        assert_eq!(shown(made), 2);
    }
}
