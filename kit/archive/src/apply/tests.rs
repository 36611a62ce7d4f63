//! Real trees on a real file system, as root: devices and overlay's marks need it.

use std::io::Cursor;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};

use super::*;
use crate::{Pack, pack};

/// An archive in the making.
struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn header(kind: EntryType) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_000_000_000);
        header.set_size(0);
        header
    }

    /// The name as it stands: the crate would refuse those that these tests are about.
    fn raw(mut self, kind: EntryType, name: &[u8], link: &[u8], content: &[u8]) -> Self {
        let mut header = Self::header(kind);
        header.set_size(content.len() as u64);
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
        header.set_cksum();
        self.0.append(&header, content).expect("entry");
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.raw(EntryType::Regular, name.as_bytes(), b"", content.as_bytes())
    }

    fn dir(self, name: &str) -> Self {
        self.raw(EntryType::Directory, name.as_bytes(), b"", b"")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.raw(EntryType::Symlink, name.as_bytes(), target.as_bytes(), b"")
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.raw(EntryType::Link, name.as_bytes(), target.as_bytes(), b"")
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().expect("archive")
    }
}

struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests need root"
        );
        let tree = Self(tempfile::tempdir().expect("temp dir"));
        std::fs::create_dir(tree.0.path().join("root")).expect("root");
        tree
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("root").join(name)
    }

    fn fd(&self) -> OwnedFd {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        rustix::fs::open(self.path(""), flags, Mode::empty()).expect("root")
    }

    fn apply(&self, tar: &[u8], kind: Target) -> Result<Applied, Error> {
        apply(Cursor::new(tar), self.fd().as_fd(), kind)
    }

    fn layer(&self, tar: Tar) -> Result<Applied, Error> {
        self.apply(&tar.bytes(), Target::Layer)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect(name)
    }
}

#[test]
fn whiteouts_become_the_marks_of_overlayfs() {
    let tree = Tree::new();
    let tar = Tar::new()
        .file("a/.wh.gone", "")
        .file("b/.wh..wh..opq", "")
        .file("c/.wh..wh.plnk", "");
    tree.layer(tar).expect("applied");
    let mark = std::fs::symlink_metadata(tree.path("a/gone")).expect("mark");
    assert!(mark.file_type().is_char_device());
    assert_eq!(mark.rdev(), 0);
    let mut value = [0u8; 8];
    let read = rustix::fs::getxattr(tree.path("b"), "trusted.overlay.opaque", &mut value[..]);
    assert_eq!(&value[..read.expect("attribute")], b"y");
    assert_eq!(std::fs::read_dir(tree.path("c")).expect("c").count(), 0);
    for bad in [".wh.", ".wh..", ".wh..."] {
        let error = tree.layer(Tar::new().file(bad, "")).expect_err(bad);
        assert_eq!(error.kind(), crate::Kind::Invalid, "{bad}");
    }
    // In a client's archive they are plain files.
    let files = Target::Files {
        keep_types: false,
        owner: None,
    };
    tree.apply(&Tar::new().file(".wh.x", "1").bytes(), files)
        .expect("applied");
    assert_eq!(tree.read(".wh.x"), "1");
}

#[test]
fn nothing_leads_outside() {
    let tree = Tree::new();
    let outside = tree.0.path().join("outside");
    std::fs::write(&outside, "safe").expect("outside");
    for name in ["../outside", "a/../../outside", "/../outside"] {
        let error = tree.layer(Tar::new().file(name, "x")).expect_err(name);
        assert!(matches!(error, Error::Escape(_)), "{name}: {error}");
    }
    // Links inside are followed as the container would: below the root.
    let up = outside.parent().expect("parent").display().to_string();
    let tar = Tar::new()
        .symlink("up", &up)
        .symlink("dots", "../..")
        .file("up/outside", "caught")
        .file("dots/outside", "caught");
    // The links' targets do not exist below the root.
    let _ = tree.layer(tar);
    assert_eq!(std::fs::read_to_string(&outside).expect("outside"), "safe");
    // A link in a file's place is replaced, not written through.
    let tar = Tar::new()
        .symlink("file", &outside.display().to_string())
        .file("file", "new");
    tree.layer(tar).expect("applied");
    assert_eq!(tree.read("file"), "new");
    assert_eq!(std::fs::read_to_string(&outside).expect("outside"), "safe");
    // Hard links find their target below the root, or not at all.
    for target in ["../outside", "up/outside", "dots/outside"] {
        assert!(
            tree.layer(Tar::new().link("hard", target)).is_err(),
            "{target}"
        );
    }
    assert!(!tree.path("hard").exists());
}

#[test]
fn names_links_owners_and_times_are_exact() {
    let tree = Tree::new();
    let long = format!("deep/{}", "n".repeat(200));
    let mut tar = Tar::new()
        .raw(EntryType::Regular, b"odd\xff\xfename", b"", b"1")
        .raw(EntryType::Symlink, b"odd-link", b"tar\xffget/./x/", b"")
        .dir("d/")
        .file("d/one", "content")
        .link("d/two", "d/one")
        .symlink("d/dangling", "/nowhere");
    let mut header = Tar::header(EntryType::Regular);
    header.set_mode(0o6755);
    header.set_size(4);
    tar.0
        .append_pax_extensions([
            ("SCHILY.xattr.user.test", &b"\x00value"[..]),
            ("mtime", b"1000000000.5"),
        ])
        .expect("records");
    tar.0
        .append_data(&mut header, &long, &b"long"[..])
        .expect("entry");
    let bytes = tar.bytes();
    let applied = tree.apply(&bytes, Target::Layer).expect("applied");
    assert_eq!(applied.bytes, 1 + 7 + 4);
    let odd = OsStr::from_bytes(b"odd\xff\xfename");
    assert!(tree.path("").join(odd).exists());
    let target = std::fs::read_link(tree.path("odd-link")).expect("link");
    assert_eq!(target.as_os_str().as_bytes(), b"tar\xffget/./x/");
    let (one, two) = (tree.path("d/one"), tree.path("d/two"));
    let facts = |path: &Path| std::fs::symlink_metadata(path).expect("facts");
    assert_eq!(facts(&one).ino(), facts(&two).ino());
    assert_eq!((facts(&one).uid(), facts(&one).gid()), (7, 8));
    assert_eq!(facts(&tree.path("d/dangling")).uid(), 7);
    assert_eq!(facts(&tree.path("d")).mtime(), 1_000_000_000);
    let long = tree.path(&long);
    assert_eq!(facts(&long).permissions().mode() & 0o7777, 0o6755);
    assert_eq!(facts(&long).mtime_nsec(), 500_000_000);
    let mut value = [0u8; 16];
    let read = rustix::fs::getxattr(&long, "user.test", &mut value[..]).expect("attribute");
    assert_eq!(&value[..read], b"\x00value");

    // Packed and applied again, it is the same.
    let packed = pack(tree.fd().as_fd(), &Pack::default(), Vec::new()).expect("packed");
    let again = Tree::new();
    again.apply(&packed, Target::Layer).expect("applied");
    let repacked = pack(again.fd().as_fd(), &Pack::default(), Vec::new()).expect("packed");
    assert!(packed == repacked, "an archive changes on its way");
    let target = std::fs::read_link(again.path("odd-link")).expect("link");
    assert_eq!(target.as_os_str().as_bytes(), b"tar\xffget/./x/");
}

#[test]
fn empty_fields_are_zero_and_others_must_be_numbers() {
    let tree = Tree::new();
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..1].copy_from_slice(b"f");
    header.set_mode(0o600);
    header.set_size(0);
    header.set_cksum();
    let mut tar = Tar::new();
    tar.0.append(&header, &b""[..]).expect("entry");
    tree.layer(tar).expect("applied");
    assert_eq!(std::fs::metadata(tree.path("f")).expect("f").uid(), 0);
    for (key, value) in [("uid", "nobody"), ("gid", "4294967296")] {
        let mut tar = Tar::new();
        tar.0
            .append_pax_extensions([(key, value.as_bytes())])
            .expect("records");
        let error = tree.layer(tar.file("g", "")).expect_err(key);
        assert!(error.to_string().contains("out of range"), "{error}");
    }
}

#[test]
fn types_are_kept_where_that_was_asked() {
    let tree = Tree::new();
    tree.layer(Tar::new().dir("d").file("d/f", "1"))
        .expect("applied");
    let careful = Target::Files {
        keep_types: true,
        owner: Some((1, 2)),
    };
    let error = tree
        .apply(&Tar::new().file("d", "x").bytes(), careful)
        .expect_err("a file in a directory's place");
    assert_eq!(
        error.to_string(),
        "cannot overwrite directory \"d\" with non-directory"
    );
    tree.apply(&Tar::new().file("d/f", "2").bytes(), careful)
        .expect("applied");
    assert_eq!(std::fs::metadata(tree.path("d/f")).expect("f").uid(), 1);
    tree.layer(Tar::new().file("d", "x")).expect("replaced");
    assert_eq!(tree.read("d"), "x");
}

#[test]
fn what_is_cut_off_or_foreign_is_refused() {
    let tree = Tree::new();
    let whole = Tar::new().file("f", &"x".repeat(5000)).bytes();
    let error = tree.apply(&whole[..2000], Target::Layer).expect_err("cut");
    assert_eq!(error.kind(), crate::Kind::Invalid, "{error}");
    let noise: Vec<u8> = (0..4096u32).map(|n| (n * 7 % 251) as u8).collect();
    assert!(tree.apply(&noise, Target::Layer).is_err());
    let odd = Tar::new().raw(EntryType::new(b'Z'), b"z", b"", b"").bytes();
    assert!(tree.apply(&odd, Target::Layer).is_err());
}
