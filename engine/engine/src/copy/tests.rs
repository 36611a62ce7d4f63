use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::stream::Reader;
use super::unpack::{self, Options};
use super::view::View;
use super::{owner, pack, stat, wants_target};
use crate::record::Mounted;

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("copy-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("root/etc")).expect("make directory");
        fs::write(
            path.join("root/etc/passwd"),
            "root:x:0:0\nweb:x:33:44::/:\n",
        )
        .expect("passwd");
        fs::write(path.join("root/etc/group"), "root:x:0:\nstaff:x:50:web\n").expect("group");
        Self(path)
    }

    fn root(&self, path: &str) -> PathBuf {
        self.0.join("root").join(path)
    }

    fn view(&self) -> View {
        View::new(
            fs::File::open(self.0.join("root"))
                .expect("open root")
                .into(),
            None,
        )
    }

    /// With `volume/` of the test directory mounted at `destination`.
    fn mounted(&self, destination: &str) -> View {
        let mut mounted = Mounted::default();
        mounted.point.kind = "volume".into();
        mounted.point.source = self.0.join("volume").display().to_string();
        mounted.point.destination = destination.into();
        let mut view = self.view();
        view.mount(&mounted).expect("mount");
        view
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn logical(view: &View, path: &str) -> std::io::Result<String> {
    let logical = view.resolve(path, wants_target(path))?;
    Ok(super::view::shown(&logical).display().to_string())
}

#[test]
fn links_stay_inside() {
    let dir = Dir::new("links");
    fs::create_dir_all(dir.root("run/x")).expect("make");
    fs::create_dir_all(dir.root("var")).expect("make");
    symlink("/run", dir.root("var/run")).expect("link");
    symlink("../../../../../etc", dir.root("up")).expect("link");
    symlink("loop", dir.root("loop")).expect("link");
    symlink("/nowhere/at/all", dir.root("broken")).expect("link");
    let view = dir.view();
    assert_eq!(logical(&view, "/var/run/x").expect("x"), "/run/x");
    assert_eq!(logical(&view, "up/passwd").expect("passwd"), "/etc/passwd");
    assert_eq!(logical(&view, "/var/run").expect("the link"), "/var/run");
    assert_eq!(logical(&view, "/var/run/").expect("its target"), "/run");
    assert_eq!(logical(&view, "/../..").expect("root"), "/");
    assert!(logical(&view, "/loop/").is_err());
    assert!(logical(&view, "/etc/passwd/").is_err());
    assert_eq!(
        logical(&view, "/none").expect_err("not there").kind(),
        std::io::ErrorKind::NotFound
    );
    assert_eq!(
        view.target("/broken").expect("target"),
        Path::new("/nowhere/at/all")
    );
    assert_eq!(view.target("/up").expect("target"), Path::new("/etc"));
}

#[test]
fn stats() {
    let dir = Dir::new("stats");
    symlink("/etc", dir.root("link")).expect("link");
    fs::set_permissions(dir.root("etc"), PermissionsExt::from_mode(0o1750)).expect("chmod");
    let view = dir.view();
    let of = |path: &str| {
        let logical = view.resolve(path, wants_target(path)).expect(path);
        stat::of(&view, path, &logical).expect(path)
    };
    let link = of("/link");
    assert_eq!(
        (link.name.as_str(), link.link_target.as_str()),
        ("link", "/etc")
    );
    assert_eq!(link.mode, 1 << 27 | 0o777);
    let directory = of("/link/");
    assert_eq!(
        (directory.name.as_str(), directory.mode),
        ("link", 1 << 31 | 1 << 20 | 0o750)
    );
    assert_eq!(of("/etc/passwd").size, 27);
    assert_eq!(of("/").name, "/");
}

fn packed(view: &View, path: &str, base: &str) -> BTreeMap<String, (u8, String)> {
    let logical = view.resolve(path, wants_target(path)).expect(path);
    let mut bytes = Vec::new();
    pack::tree(view, &logical, base, &mut bytes).expect("pack");
    listed(&bytes)
}

/// Name → kind and content or target.
fn listed(tar: &[u8]) -> BTreeMap<String, (u8, String)> {
    let mut archive = tar::Archive::new(tar);
    let mut found = BTreeMap::new();
    for entry in archive.entries().expect("entries") {
        let mut entry = entry.expect("entry");
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut text = String::new();
        if let Some(link) = entry.link_name_bytes() {
            text = String::from_utf8_lossy(&link).into_owned();
        }
        entry.read_to_string(&mut text).expect("content");
        found.insert(name, (entry.header().entry_type().as_byte(), text));
    }
    found
}

#[test]
fn packs_a_tree_with_what_is_mounted_in_it() {
    let dir = Dir::new("pack");
    let long = "n".repeat(180);
    fs::create_dir_all(dir.root("data/sub")).expect("make");
    fs::create_dir_all(dir.root("data/vol")).expect("make");
    fs::write(dir.root("data/sub").join(&long), "long").expect("write");
    fs::write(dir.root("data/a"), "one").expect("write");
    fs::hard_link(dir.root("data/a"), dir.root("data/b")).expect("link");
    symlink("/etc", dir.root("data/l")).expect("link");
    fs::write(dir.root("data/vol/hidden"), "").expect("write");
    fs::create_dir_all(dir.0.join("volume/deep")).expect("make");
    fs::write(dir.0.join("volume/deep/f"), "volume's").expect("write");

    let view = dir.mounted("/data/vol");
    let found = packed(&view, "/data", "data");
    let text = |name: &str| found.get(name).map(|(kind, text)| (*kind, text.as_str()));
    assert_eq!(text("data/"), Some((b'5', "")));
    assert_eq!(text("data/a"), Some((b'0', "one")));
    assert_eq!(text("data/b"), Some((b'1', "data/a")));
    assert_eq!(text("data/l"), Some((b'2', "/etc")));
    assert_eq!(text(&format!("data/sub/{long}")), Some((b'0', "long")));
    assert_eq!(text("data/vol/deep/f"), Some((b'0', "volume's")));
    assert_eq!(text("data/vol/hidden"), None);
    assert_eq!(
        packed(&view, "/data/l", "l").get("l"),
        Some(&(b'2', "/etc".into()))
    );
    assert!(packed(&view, "/data/l/", "l").contains_key("l/passwd"));
    assert!(packed(&view, "/", "/").contains_key("/data/a"));

    let mut whole = Vec::new();
    pack::whole(&dir.view(), &mut whole).expect("export");
    assert!(listed(&whole).contains_key("data/vol/hidden"));
}

fn reader(bytes: Vec<u8>) -> Reader {
    let (sender, receiver) = mpsc::channel(1024);
    for chunk in bytes.chunks(1000) {
        sender
            .try_send(Ok(Bytes::copy_from_slice(chunk)))
            .expect("room");
    }
    Reader::new(receiver)
}

fn entry(tar: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, name: &str, content: &str) {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o4755);
    header.set_uid(1);
    header.set_gid(2);
    header.set_mtime(1_000_000);
    let field = &mut header.as_ustar_mut().expect("ustar").name;
    field[..name.len()].copy_from_slice(name.as_bytes());
    let mut body = content.as_bytes();
    if matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link) {
        let field = &mut header.as_ustar_mut().expect("ustar").linkname;
        field[..body.len()].copy_from_slice(body);
        body = b"";
    }
    header.set_size(body.len() as u64);
    header.set_cksum();
    tar.append(&header, body).expect("append");
}

fn unpack(view: &View, at: &str, options: Options, bytes: Vec<u8>) -> crate::Result<()> {
    let logical: Vec<OsString> = view.resolve(at, true).expect(at);
    unpack::into(view, &logical, &options, reader(bytes))
}

#[test]
fn unpacks_where_the_container_would() {
    use tar::EntryType::{Directory, Link, Regular, Symlink};
    let dir = Dir::new("unpack");
    fs::create_dir_all(dir.root("data")).expect("make");
    fs::create_dir_all(dir.0.join("volume")).expect("make");
    symlink("/etc", dir.root("data/there")).expect("link");
    fs::create_dir_all(dir.root("data/old/er")).expect("make");
    let mut tar = tar::Builder::new(Vec::new());
    entry(&mut tar, Directory, "./", "");
    entry(&mut tar, Directory, "new/", "");
    entry(&mut tar, Regular, "new/file", "content");
    entry(&mut tar, Link, "new/again", "new/file");
    entry(&mut tar, Symlink, "out", "/../../../etc");
    entry(&mut tar, Regular, "there/shadow", "through the link");
    entry(&mut tar, Regular, "vol/ume", "mounted");
    entry(&mut tar, Regular, "old", "was a directory");
    let bytes = tar.into_inner().expect("archive");

    let view = dir.mounted("/data/vol");
    fs::create_dir_all(dir.root("data/vol")).expect("make");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&bytes).expect("compress");
    let gzip = gzip.finish().expect("compress");
    unpack(&view, "/data", Options::default(), gzip).expect("unpack");

    let file = dir.root("data/new/file").metadata().expect("file");
    assert_eq!(
        (file.uid(), file.gid(), file.mode() & 0o7777),
        (1, 2, 0o4755)
    );
    assert_eq!(file.mtime(), 1_000_000);
    assert_eq!(
        dir.root("data/new").metadata().expect("dir").mtime(),
        1_000_000
    );
    assert_eq!(
        file.ino(),
        dir.root("data/new/again").metadata().expect("link").ino()
    );
    assert_eq!(
        fs::read_to_string(dir.root("etc/shadow")).expect("read"),
        "through the link"
    );
    assert_eq!(
        fs::read_to_string(dir.0.join("volume/ume")).expect("read"),
        "mounted"
    );
    assert_eq!(
        fs::read_to_string(dir.root("data/old")).expect("read"),
        "was a directory"
    );

    let owner = owner::of(&view, "web").expect("known");
    assert_eq!(owner, Some((33, 44)));
    assert_eq!(
        owner::of(&view, "web:staff").expect("known"),
        Some((33, 50))
    );
    assert_eq!(owner::of(&view, "7:8").expect("numbers"), Some((7, 8)));
    assert!(owner::of(&view, "nobody-here").is_err());
    let options = Options {
        owner,
        ..Options::default()
    };
    unpack(&view, "/data", options, bytes).expect("again");
    let file = dir.root("data/new/file").metadata().expect("file");
    assert_eq!((file.uid(), file.gid()), (33, 44));
}

#[test]
fn refuses() {
    use tar::EntryType::{Directory, Link, Regular};
    let dir = Dir::new("refuse");
    fs::create_dir_all(dir.root("data/sub")).expect("make");
    fs::write(dir.root("data/file"), "").expect("write");
    fs::write(dir.0.join("outside"), "host").expect("write");
    let view = dir.view();
    let keep = Options {
        keep_kinds: true,
        ..Options::default()
    };
    for (kind, name, content, says) in [
        (Regular, "../../outside", "x", "outside"),
        (Link, "new", "../../outside", "outside"),
        (Regular, "sub", "x", "cannot overwrite directory"),
        (Directory, "file", "", "cannot overwrite non-directory"),
    ] {
        let mut tar = tar::Builder::new(Vec::new());
        entry(&mut tar, kind, name, content);
        let bytes = tar.into_inner().expect("archive");
        let error = unpack(&view, "/data", keep, bytes).expect_err(name);
        assert!(error.message.contains(says), "{error}");
    }
    assert_eq!(
        fs::read_to_string(dir.0.join("outside")).expect("read"),
        "host"
    );
    let error = unpack(&view, "/data", keep, vec![b'x'; 2000]).expect_err("rubbish");
    assert!(error.message.contains("invalid archive"), "{error}");
}
