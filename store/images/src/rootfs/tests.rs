//! The same layers kept both ways must give the same root file system.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use tar::EntryType;

use crate::{Error, Expected, Form, Images, RootfsOptions};

fn store(root: &Path, form: Form) -> Images {
    std::fs::create_dir_all(root).expect("root");
    let database = redb::Database::create(root.join("db")).expect("database");
    Images::open_with(root, Arc::new(database), form).expect("store")
}

/// Puts layers into a store as one image.
fn image(images: &Images, layers: &[Vec<u8>]) -> Result<crate::Image, Error> {
    let (mut below, mut ids) = (String::new(), Vec::new());
    let lease = |chain: &str| images.lease(vec![chain.to_owned()]);
    let mut leases = Vec::new();
    for layer in layers {
        let expected = Expected {
            below: below.clone(),
            ..Expected::default()
        };
        let layer = images.ingest_layer(layer.as_slice(), &expected)?;
        leases.push(lease(&layer.chain));
        below = layer.chain;
        ids.push(format!("\"{}\"", layer.diff_id));
    }
    let ids = ids.join(",");
    let config = format!(r#"{{"os":"linux","rootfs":{{"type":"layers","diff_ids":[{ids}]}}}}"#);
    let id = images.commit(config.as_bytes(), None, &[])?;
    images.resolve(id.as_str())
}

/// A tar in the making.
struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn entry(
        &mut self,
        kind: EntryType,
        path: &[u8],
        link: Option<&[u8]>,
        mode: u32,
        content: &[u8],
        attributes: &[(&str, Vec<u8>)],
    ) {
        let seconds = 1_000_000_000 + u64::from(mode);
        let fraction = format!("{seconds}.00{mode}");
        let mut records: Vec<(String, &[u8])> =
            vec![("path".into(), path), ("mtime".into(), fraction.as_bytes())];
        records.extend(link.map(|link| ("linkpath".into(), link)));
        for (name, value) in attributes {
            records.push((format!("SCHILY.xattr.{name}"), value));
        }
        let records = records.iter().map(|(name, value)| (name.as_str(), *value));
        self.0.append_pax_extensions(records).expect("records");
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(u64::from(mode) * 3);
        header.set_gid(5);
        header.set_mtime(seconds);
        header.set_size(content.len() as u64);
        if matches!(kind, EntryType::Char | EntryType::Block) {
            header.set_device_major(1).expect("major");
            header.set_device_minor(mode & 7).expect("minor");
        }
        header.set_cksum();
        self.0.append(&header, content).expect("entry");
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().expect("archive")
    }
}

/// Everything that can be seen of a file; hard links by the paths that share an inode.
type Seen = BTreeMap<PathBuf, String>;

fn look(root: &OwnedFd) -> Seen {
    let mut seen = Seen::new();
    let mut inodes: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    walk(root.as_fd(), Path::new("/"), &mut seen, &mut inodes);
    // The writable directory's own.
    seen.remove(Path::new("/"));
    seen
}

fn walk(
    dir: BorrowedFd<'_>,
    path: &Path,
    seen: &mut Seen,
    inodes: &mut BTreeMap<(u64, u64), PathBuf>,
) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(dir, ".", flags, Mode::empty()).expect("directory");
    seen.insert(
        path.to_owned(),
        describe(&dir, Path::new("."), path, inodes),
    );
    let mut names: Vec<Vec<u8>> = Dir::read_from(&dir)
        .expect("entries")
        .map(|entry| entry.expect("entry").file_name().to_bytes().to_vec())
        .filter(|name| !matches!(name.as_slice(), b"." | b".."))
        .collect();
    names.sort();
    for name in names {
        let name = Path::new(std::ffi::OsStr::from_bytes(&name));
        // overlayfs lists whiteouts of directories that it need not merge.
        let Ok(facts) = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        if FileType::from_raw_mode(facts.st_mode) == FileType::Directory {
            let below = rustix::fs::openat(&dir, name, flags, Mode::empty()).expect("subdirectory");
            walk(below.as_fd(), &path.join(name), seen, inodes);
        } else {
            let text = describe(&dir, name, &path.join(name), inodes);
            seen.insert(path.join(name), text);
        }
    }
}

fn describe(
    dir: &OwnedFd,
    name: &Path,
    path: &Path,
    inodes: &mut BTreeMap<(u64, u64), PathBuf>,
) -> String {
    let facts = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).expect("facts");
    let kind = FileType::from_raw_mode(facts.st_mode);
    let first = inodes
        .entry((facts.st_dev, facts.st_ino))
        .or_insert_with(|| path.to_owned());
    let content = match kind {
        FileType::RegularFile => {
            let file = rustix::fs::openat(dir, name, OFlags::RDONLY, Mode::empty()).expect("open");
            let mut content = Vec::new();
            File::from(file).read_to_end(&mut content).expect("read");
            format!("{} {:x?}", content.len(), &content[..content.len().min(8)])
        }
        FileType::Symlink => {
            format!(
                "{:?}",
                rustix::fs::readlinkat(dir, name, Vec::new()).expect("link")
            )
        }
        FileType::Directory => String::new(),
        _ => format!("device {}", facts.st_rdev),
    };
    format!(
        "{:o} {}:{} {}.{} {content} {:?} {first:?}",
        facts.st_mode,
        facts.st_uid,
        facts.st_gid,
        facts.st_mtime,
        facts.st_mtime_nsec,
        attributes(dir, name),
    )
}

fn attributes(dir: &OwnedFd, name: &Path) -> BTreeMap<String, Vec<u8>> {
    let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name);
    let mut names = vec![0; 8192];
    let length = rustix::fs::llistxattr(&path, names.as_mut_slice()).unwrap_or(0);
    let names = names[..length].split(|byte| *byte == 0);
    let names = names.filter(|name| !name.is_empty());
    names
        .map(|name| {
            let name = String::from_utf8_lossy(name).into_owned();
            let mut value = vec![0; 8192];
            let length = rustix::fs::lgetxattr(&path, name.as_str(), value.as_mut_slice());
            value.truncate(length.expect("value"));
            (name, value)
        })
        // overlayfs's own, of merged directories.
        .filter(|(name, _)| !name.starts_with("trusted.overlay."))
        .collect()
}

/// One entry of a random layer. Names come from a small set, so that they meet.
#[derive(Clone)]
struct Step {
    kind: u8,
    path: Vec<u8>,
    other: Vec<u8>,
    mode: u32,
    size: usize,
    attribute: u8,
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (path, other) = (self.path.escape_ascii(), self.other.escape_ascii());
        let (kind, mode, size, attribute) = (self.kind, self.mode, self.size, self.attribute);
        write!(f, "{kind} {path} ({other}) {mode:o} {size} {attribute}")
    }
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let plain = prop::sample::select(vec![
        &b"a"[..],
        b"b",
        b"c",
        b"d",
        b"!",
        b"-",
        b"\xff\x01",
        b"...",
    ]);
    prop_oneof![
        8 => plain.prop_map(<[u8]>::to_vec),
        1 => Just(vec![b'l'; 255]),
        1 => Just(vec![b'l'; 254]),
    ]
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(name(), 1..4).prop_map(|names| names.join(&b'/'))
}

fn step() -> impl Strategy<Value = Step> {
    (
        0..10u8,
        path(),
        path(),
        1..0o7777u32,
        0..3000usize,
        any::<u8>(),
    )
        .prop_map(|(kind, path, other, mode, size, attribute)| Step {
            kind,
            path,
            other,
            mode,
            size,
            attribute,
        })
}

/// The steps as a tar whose parents are always there, as real archives have it: what extraction
/// makes of implied ones is told by the clock. Steps that extraction would refuse are left out.
fn layer(steps: &[Step]) -> Vec<u8> {
    let mut tar = Tar::new();
    let mut made: BTreeMap<Vec<u8>, bool> = BTreeMap::new();
    tar.entry(EntryType::Directory, b"./", None, 0o755, b"", &[]);
    for step in steps {
        let parents: Vec<usize> = step
            .path
            .iter()
            .enumerate()
            .filter_map(|(at, byte)| (*byte == b'/').then_some(at))
            .collect();
        if parents
            .iter()
            .any(|at| made.get(&step.path[..*at]) == Some(&false))
        {
            continue;
        }
        // Hard links that lead nowhere: see the other tests.
        let is_own = made.contains_key(&step.path);
        if step.kind == 4 && (made.get(&step.other) != Some(&false) || is_own) {
            continue;
        }
        for at in parents {
            let parent = &step.path[..at];
            if !made.contains_key(parent) {
                tar.entry(
                    EntryType::Directory,
                    parent,
                    None,
                    0o700 + at as u32,
                    b"",
                    &[],
                );
                made.insert(parent.to_vec(), true);
            }
        }
        let is_dir = put(&mut tar, step);
        if is_dir == Some(false) {
            made.retain(|path, _| {
                !(path.starts_with(&step.path) && path.get(step.path.len()) == Some(&b'/'))
            });
        }
        if let Some(is_dir) = is_dir {
            made.insert(step.path.clone(), is_dir);
        }
    }
    tar.bytes()
}

/// Whether it is a directory; `None` for whiteouts.
fn put(tar: &mut Tar, step: &Step) -> Option<bool> {
    let attributes: &[(&str, Vec<u8>)] = &[
        ("user.one", vec![step.attribute & 1; 40]),
        (
            "user.own",
            vec![step.attribute; usize::from(step.attribute)],
        ),
    ];
    let attributes = if step.attribute.is_multiple_of(3) {
        attributes
    } else {
        &[]
    };
    let mut put = |kind, link: Option<&[u8]>, content: &[u8], attributes| {
        tar.entry(kind, &step.path, link, step.mode, content, attributes);
    };
    match step.kind {
        0 | 1 => put(
            EntryType::Regular,
            None,
            &vec![step.attribute; step.size],
            attributes,
        ),
        2 | 3 => {
            put(EntryType::Directory, None, b"", attributes);
            return Some(true);
        }
        4 => put(EntryType::Link, Some(&step.other), b"", &[]),
        5 => {
            let target = step.other.iter().cycle().take(step.size % 1500 + 1);
            put(
                EntryType::Symlink,
                Some(&target.copied().collect::<Vec<u8>>()),
                b"",
                &[],
            );
        }
        6 => put(EntryType::Char, None, b"", &[]),
        7 => put(EntryType::Fifo, None, b"", &[]),
        kind => {
            let at = step
                .path
                .iter()
                .rposition(|byte| *byte == b'/')
                .map_or(0, |at| at + 1);
            let (parent, name) = step.path.split_at(at);
            // A name that is too long with the prefix cannot be hidden.
            let name = if kind == 8 && name.len() < 250 {
                name
            } else {
                b".wh..opq"
            };
            let path = [parent, b".wh.", name].concat();
            tar.entry(EntryType::Regular, &path, None, 0, b"", &[]);
            return None;
        }
    }
    Some(false)
}

/// Whether this kernel can do it at all; where it should, it must.
fn can(images: &Images) -> bool {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy().into_owned();
    let mut numbers = release
        .split('.')
        .map_while(|part| part.parse::<u32>().ok());
    let new = (numbers.next(), numbers.next()) >= (Some(6), Some(15));
    let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let can = images.0.indexes();
    assert!(
        can || !new || !filesystems.contains("erofs"),
        "the probe failed"
    );
    can
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn both_ways_look_the_same(
        layers in prop::collection::vec(prop::collection::vec(step(), 1..40), 1..4),
        split in 0..3usize,
    ) {
        let dir = tempfile::tempdir().expect("temp dir");
        let plain = store(&dir.path().join("plain"), Form::Directories);
        let indexed = store(&dir.path().join("indexed"), Form::Best);
        if !can(&indexed) {
            return Ok(());
        }
        let layers: Vec<Vec<u8>> = layers.iter().map(|steps| layer(steps)).collect();
        let wanted = image(&plain, &layers).expect("plain");
        let found = image(&indexed, &layers).expect("indexed");
        prop_assert!(indexed.0.has_tar(found.layers[0].hex()));
        prop_assert_eq!(found.layer_sizes.clone(), wanted.layer_sizes.clone());
        let wanted_root = mounted(&plain, &wanted, &dir.path().join("w1"));
        let wanted = look(&wanted_root);
        let found_root = mounted(&indexed, &found, &dir.path().join("w2"));
        prop_assert_eq!(&look(&found_root), &wanted);
        prop_assert_eq!(&look(&indexed.view(&found).expect("view")), &wanted);
        // Some layers as directories among the others, as in a store that is older.
        let row = indexed.0.catalog.row(&found.id).expect("row");
        if let Some(chain) = row.chains.get(split) {
            indexed.0.unpack_beside(chain).expect("unpacked");
            let mixed = mounted(&indexed, &found, &dir.path().join("w3"));
            prop_assert_eq!(&look(&mixed), &wanted);
        }
    }
}

fn mounted(images: &Images, image: &crate::Image, writable: &Path) -> OwnedFd {
    images.create_writable(writable).expect("writable");
    images
        .rootfs(image, writable, RootfsOptions::default())
        .expect("mounted")
}
