use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::{fs, io};

use dockerapi::Map;
use state::{Change, State, Table};

use super::{Row, Volumes, check_name, tree};

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("volumes-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("make directory");
        Self(path)
    }

    fn state(&self) -> State {
        State::open(&self.0.join("state.redb")).expect("open state")
    }

    fn load(&self, state: &State) -> Volumes {
        Volumes::load(state, &self.0).expect("load")
    }

    fn entries(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.0.join("volumes"))
            .expect("list")
            .map(|entry| {
                entry
                    .expect("entry")
                    .file_name()
                    .into_string()
                    .expect("utf-8")
            })
            .collect();
        names.sort();
        names
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn row(name: &str) -> Row {
    Row {
        name: name.into(),
        created: 1,
        labels: Map::new(),
    }
}

#[test]
fn names() {
    for name in ["ab", "A.b_c-1", &"a".repeat(64)] {
        assert!(check_name(name).is_ok(), "{name}");
    }
    for name in ["", "a", ".ab", "-ab", "a/b", "a b", "aé", &"a".repeat(300)] {
        assert!(check_name(name).is_err(), "{name}");
    }
}

#[test]
fn pins_keep_a_volume_until_the_last() {
    let dir = Dir::new("pins");
    let volumes = dir.load(&dir.state());
    let first = volumes.pin("data", Map::new()).expect("made");
    let second = volumes.pin("data", Map::new()).expect("found");
    assert_eq!(dir.entries(), [".data.new"]);
    volumes.unpin(&first);
    assert!(volumes.find("data").is_some());
    volumes.publish(&second).expect("publish");
    volumes.unpin(&second);
    assert_eq!(dir.entries(), ["data"]);
    let abandoned = volumes.pin("other", Map::new()).expect("made");
    volumes.unpin(&abandoned);
    assert!(volumes.find("other").is_none());
    assert_eq!(dir.entries(), ["data"]);
}

#[tokio::test]
async fn a_crash_at_every_step() {
    let dir = Dir::new("crash");
    let state = dir.state();
    let root = dir.0.join("volumes");
    let make = |name: &str| fs::create_dir_all(root.join(name).join("_data")).expect("make");
    // Row committed, not yet renamed; removal begun, row still there; directory lost.
    make(".fresh.new");
    make(".going.gone");
    // No row: creation not committed; removal committed; a directory of somebody.
    make(".never.new");
    make(".gone.gone");
    make("found");
    let mut change = Change::new();
    for name in ["fresh", "going", "lost"] {
        change = change.put(Table::Volumes, name, &row(name));
    }
    state.commit(change).await.expect("commit");
    let volumes = dir.load(&state);
    assert_eq!(dir.entries(), ["found", "fresh", "going", "lost"]);
    let names: Vec<_> = volumes
        .all()
        .iter()
        .map(|volume| volume.row.name.clone())
        .collect();
    assert_eq!(names, ["found", "fresh", "going", "lost"]);
}

fn open(path: &Path) -> fs::File {
    fs::File::open(path).expect("open directory")
}

#[test]
fn copies_everything() {
    let dir = Dir::new("tree");
    let (from, to) = (dir.0.join("from"), dir.0.join("to"));
    fs::create_dir_all(from.join("sub/deep")).expect("make");
    fs::create_dir_all(&to).expect("make");
    fs::write(from.join("sub/file"), vec![7; 100_000]).expect("write");
    fs::hard_link(from.join("sub/file"), from.join("sub/deep/again")).expect("link");
    symlink("/etc/passwd", from.join("link")).expect("symlink");
    fs::set_permissions(from.join("sub/file"), PermissionsExt::from_mode(0o4751)).expect("chmod");
    fs::set_permissions(&from, PermissionsExt::from_mode(0o1777)).expect("chmod");
    std::os::unix::fs::lchown(from.join("link"), Some(12), Some(13)).expect("chown");
    std::os::unix::fs::chown(from.join("sub/file"), Some(33), Some(34)).expect("chown");
    fs::set_permissions(from.join("sub/file"), PermissionsExt::from_mode(0o4751)).expect("chmod");
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::lsetxattr(from.join("sub"), "trusted.corten", b"x", flags).expect("set");

    tree::copy(open(&from).as_fd(), open(&to).as_fd(), None).expect("copy");

    let file = to.join("sub/file").metadata().expect("file");
    assert_eq!(
        (file.uid(), file.gid(), file.mode() & 0o7777),
        (33, 34, 0o4751)
    );
    assert_eq!(
        file.ino(),
        to.join("sub/deep/again").metadata().expect("link").ino()
    );
    assert_eq!(
        fs::read(to.join("sub/file")).expect("read"),
        vec![7; 100_000]
    );
    assert_eq!(
        file.modified().expect("time"),
        from.join("sub/file")
            .metadata()
            .expect("file")
            .modified()
            .expect("time")
    );
    assert_eq!(
        fs::read_link(to.join("link")).expect("link"),
        Path::new("/etc/passwd")
    );
    assert_eq!(to.join("link").symlink_metadata().expect("link").uid(), 12);
    assert_eq!(to.metadata().expect("root").mode() & 0o7777, 0o1777);
    let mut value = [0; 8];
    let length = rustix::fs::lgetxattr(to.join("sub"), "trusted.corten", &mut value).expect("get");
    assert_eq!(&value[..length], b"x");
    assert_eq!(
        images::disk_usage(&to),
        100_000 + "/etc/passwd".len() as u64
    );
}

#[test]
fn a_tree_deeper_than_any_stack_is_copied_or_refused() {
    use rustix::fs::{Mode, OFlags};
    let dir = Dir::new("deep");
    let [from, to, again] = ["from", "to", "again"].map(|name| {
        let path = dir.0.join(name);
        fs::create_dir(&path).expect("make");
        path
    });
    let mut at: std::os::fd::OwnedFd = open(&from).into();
    let mut deepen = |levels: usize| {
        for _ in 0..levels {
            rustix::fs::mkdirat(at.as_fd(), "d", 0o751.into()).expect("mkdir");
            let below = rustix::fs::openat(at.as_fd(), "d", OFlags::DIRECTORY, Mode::empty());
            at = below.expect("open");
        }
    };
    // "d/d" and so on, as long as a path may be; what is beside the way comes on the way back.
    deepen(2047);
    fs::write(from.join("d/d/z"), "beside").expect("file");
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(7);
    open(&from.join("d/d"))
        .set_modified(time)
        .expect("set the time");
    tree::copy(open(&from).as_fd(), open(&to).as_fd(), None).expect("copy");
    assert_eq!(fs::read(to.join("d/d/z")).expect("read"), b"beside");
    let facts = fs::metadata(to.join("d/d")).expect("facts");
    assert_eq!(facts.modified().expect("time"), time);
    let deepest = ["d"; 2047].join("/");
    let deepest = sys::rooted::open(
        open(&to).as_fd(),
        Path::new(&deepest),
        OFlags::PATH,
        Mode::empty(),
    );
    let facts = rustix::fs::fstat(deepest.expect("the deepest")).expect("facts");
    assert_eq!(facts.st_mode & 0o7777, 0o751);
    deepen(10);
    let error = tree::copy(open(&from).as_fd(), open(&again).as_fd(), None).expect_err("too deep");
    assert_eq!(error.kind(), io::ErrorKind::InvalidFilename);
}
