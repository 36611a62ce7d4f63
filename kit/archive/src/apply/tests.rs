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
    tree.layer(Tar::new().file("a/../b/./c", "x"))
        .expect("dots inside");
    assert_eq!(tree.read("b/c"), "x");
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
    let everything = Pack {
        user_attributes: true,
        ..Pack::default()
    };
    let packed = pack(&tree.fd().as_fd(), &everything, Vec::new()).expect("packed");
    let again = Tree::new();
    again.apply(&packed, Target::Layer).expect("applied");
    let repacked = pack(&again.fd().as_fd(), &everything, Vec::new()).expect("packed");
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

/// Sparse as tar(1) writes it: the map in the header, one piece of data at `offset`.
fn sparse(name: &[u8], offset: u64, real: u64) -> Vec<u8> {
    let mut header = Tar::header(EntryType::GNUSparse);
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    let gnu = header.as_gnu_mut().expect("gnu");
    let number = |field: &mut [u8], value: u64| {
        field[0] = 0x80;
        field[4..12].copy_from_slice(&value.to_be_bytes());
    };
    number(&mut gnu.sparse[0].offset, offset);
    number(&mut gnu.sparse[0].numbytes, 4);
    number(&mut gnu.sparse[1].offset, real);
    number(&mut gnu.sparse[1].numbytes, 0);
    number(&mut gnu.realsize, real);
    header.set_size(4);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(b"data");
    bytes.resize(1024 + 1024, 0);
    bytes
}

#[test]
fn sparse_files_stay_sparse_and_do_not_fill_the_disk() {
    let tree = Tree::new();
    let applied = tree
        .apply(&sparse(b"holes", 64 << 20, 80 << 20), Target::Layer)
        .expect("applied");
    assert_eq!(applied.bytes, 80 << 20);
    let facts = std::fs::metadata(tree.path("holes")).expect("facts");
    assert_eq!(facts.len(), 80 << 20);
    assert!(facts.blocks() * 512 < 1 << 20, "{}", facts.blocks());
    let text = std::fs::read(tree.path("holes")).expect("read");
    assert_eq!(&text[64 << 20..(64 << 20) + 5], b"data\0");
    let error = tree
        .apply(&sparse(b"bomb", 1 << 61, 1 << 62), Target::Layer)
        .expect_err("more than any disk");
    assert!(error.is_full(), "{error}");
    // Nobody reads through the holes to count them.
    let mut found = Vec::new();
    crate::scan(
        Cursor::new(sparse(b"bomb", 1 << 61, 1 << 62)),
        &mut |item| {
            found.push(item.kind);
            Ok(())
        },
    )
    .expect("scanned");
    let hole = crate::ItemKind::File {
        size: 1 << 62,
        offset: None,
    };
    assert_eq!(found, [hole]);
}

#[test]
fn headers_are_not_kept_whatever_their_size() {
    for kind in [
        EntryType::XHeader,
        EntryType::GNULongName,
        EntryType::GNULongLink,
    ] {
        let mut header = Tar::header(kind);
        header.set_size(1 << 40);
        header.set_cksum();
        let stream = Cursor::new(header.as_bytes().to_vec()).chain(std::io::repeat(b'x'));
        let tree = Tree::new();
        let error = apply(stream, tree.fd().as_fd(), Target::Layer).expect_err("too large");
        assert!(error.to_string().contains("headers of an entry"), "{error}");
    }
    // Content may be as large as it likes, and may be followed by more.
    let tree = Tree::new();
    let tar = Tar::new()
        .file("large", &"x".repeat(9 << 20))
        .file("after", "1");
    tree.layer(tar).expect("applied");
    assert_eq!(tree.read("after"), "1");
}

#[test]
fn the_size_of_pax_is_the_one_that_counts() {
    let tree = Tree::new();
    let mut tar = Tar::new();
    tar.0
        .append_pax_extensions([("size", &b"700"[..])])
        .expect("records");
    // By its own header it is empty, and what follows would be entries.
    let mut header = Tar::header(EntryType::Regular);
    header.as_old_mut().name[..4].copy_from_slice(b"file");
    header.set_size(0);
    header.set_cksum();
    let mut bytes = tar.bytes();
    bytes.truncate(1024);
    bytes.extend(header.as_bytes());
    let hidden = Tar::new().file("hidden", "").bytes();
    bytes.extend(&hidden[..1024]);
    bytes.extend(Tar::new().file("next", "1").bytes());
    tree.apply(&bytes, Target::Layer).expect("applied");
    assert_eq!(
        std::fs::metadata(tree.path("file")).expect("file").len(),
        700
    );
    assert_eq!(tree.read("next"), "1");
    assert!(!tree.path("hidden").exists());
}

#[test]
fn links_to_what_comes_later_and_loops_are_the_archives_fault() {
    let tree = Tree::new();
    let error = tree
        .layer(Tar::new().link("hard", "later").file("later", "1"))
        .expect_err("not there yet");
    assert_eq!(error.kind(), crate::Kind::Invalid, "{error}");
    let tar = Tar::new()
        .symlink("a", "b")
        .symlink("b", "a")
        .file("a/file", "x");
    assert!(tree.layer(tar).is_err());
    // The same name twice: the later one is it.
    tree.layer(Tar::new().file("twice", "1").file("twice", "22"))
        .expect("applied");
    assert_eq!(tree.read("twice"), "22");
    // Deeper than a path may be, by way of links.
    let deep = "d/".repeat(40);
    let mut tar = Tar::new().dir(&deep);
    for step in 0..30 {
        let below = match step {
            0 => deep.clone(),
            _ => format!("l{}/{deep}", step - 1),
        };
        tar = tar
            .symlink(&format!("l{step}"), &below)
            .dir(&format!("l{step}/{deep}"));
    }
    // As far as the kernel follows links; then an error, not a crash.
    let _ = tree.layer(tar);
    let _ = tree.layer(Tar::new().file("d", "no directory"));
}

#[test]
fn a_whiteout_hides_only_what_is_below_the_layer() {
    let tree = Tree::new();
    let tar = Tar::new()
        // Before and after the directory, told of and implied, with and without one of its files.
        .file(".wh.before", "")
        .dir("before")
        .dir("after")
        .file("after/kept", "1")
        .file(".wh.after", "")
        .file(".wh.implied", "")
        .file("implied/deeper/file", "2")
        .file("file", "3")
        .file(".wh.file", "")
        .file(".wh.replaced", "")
        .file("replaced", "4");
    tree.layer(tar).expect("applied");
    for name in ["before", "after", "implied"] {
        let mut value = [0u8; 8];
        let read = rustix::fs::getxattr(tree.path(name), OPAQUE, &mut value[..]);
        assert_eq!(&value[..read.expect(name)], b"y", "{name}");
    }
    let files = ["after/kept", "implied/deeper/file", "file", "replaced"];
    assert_eq!(files.map(|name| tree.read(name)).concat(), "1234");
    let deeper = rustix::fs::getxattr(tree.path("implied/deeper"), OPAQUE, &mut [0u8; 8][..]);
    assert_eq!(deeper, Err(Errno::NODATA));
    // It is no file that a link could lead to.
    let error = tree.layer(Tar::new().file(".wh.gone", "").link("link", "gone"));
    assert_eq!(error.expect_err("a link").kind(), crate::Kind::Invalid);
}

#[test]
fn a_tree_deeper_than_any_stack_is_packed_or_refused() {
    let tree = Tree::new();
    let mut at = tree.fd();
    let deepen = |at: &mut OwnedFd, levels: usize| {
        for _ in 0..levels {
            rustix::fs::mkdirat(at.as_fd(), "d", 0o700.into()).expect("mkdir");
            let below = rustix::fs::openat(&*at, "d", OFlags::DIRECTORY, Mode::empty());
            *at = below.expect("open");
        }
    };
    let packed = || pack(&tree.fd().as_fd(), &Pack::default(), Vec::new());
    // "d/d" and so on, as long as a path may be; what is beside the way comes on the way back.
    deepen(&mut at, 2047);
    std::fs::write(tree.path("d/d/z"), "beside").expect("file");
    let archive = packed().expect("packed");
    let mut names = Vec::new();
    crate::scan(archive.as_slice(), &mut |item| {
        names.push(item.path);
        Ok(())
    })
    .expect("an archive");
    assert_eq!(names.len(), 2048);
    assert_eq!(names.last().expect("names"), Path::new("d/d/z"));
    deepen(&mut at, 10);
    let error = packed().expect_err("too deep").to_string();
    assert!(error.contains("File name too long"), "{error}");
}
