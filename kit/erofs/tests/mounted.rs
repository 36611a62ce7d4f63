//! Images as the kernel and erofs-utils see them. As root, on a kernel that mounts EROFS from files
//! (6.12 and later); elsewhere these tests say so and pass.

use std::fs::File;
use std::io::{BufWriter, Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use erofs::{Facts, Marks, Meta, Node, Stack, Tree};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

fn mount(image: &Path, devices: &[&Path]) -> rustix::io::Result<OwnedFd> {
    let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", image)?;
    for device in devices {
        fsconfig_set_string(&context, "device", *device)?;
    }
    fsconfig_set_flag(&context, "ro")?;
    fsconfig_create(&context)?;
    fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_RDONLY,
    )
}

/// Mounted, and its root as a path; `None` where the kernel cannot.
fn mounted(image: &Path, devices: &[&Path]) -> Option<(OwnedFd, PathBuf)> {
    match mount(image, devices) {
        Ok(mount) => {
            let path = format!("/proc/self/fd/{}/.", mount.as_raw_fd());
            Some((mount, path.into()))
        }
        Err(error) => {
            let known = [
                rustix::io::Errno::NODEV,
                rustix::io::Errno::PERM,
                rustix::io::Errno::NOTBLK,
            ];
            assert!(known.contains(&error), "mounting: {error}");
            let _ = writeln!(std::io::stderr(), "no EROFS from files here: {error}");
            None
        }
    }
}

fn write(stack: &Stack, path: &Path) {
    let mut out = BufWriter::new(File::create(path).expect("image"));
    stack.write(&mut out).expect("written");
    out.flush().expect("flushed");
    check(path);
}

/// The format's own tool, when there is a new enough one (1.7 knows blocks of 512 bytes).
fn check(image: &Path) {
    let tool = std::env::var_os("FSCK_EROFS").unwrap_or_else(|| "fsck.erofs".into());
    let Ok(output) = std::process::Command::new(tool).arg(image).output() else {
        return;
    };
    let told = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    if told.contains("blksize 512 isn't supported") || told.contains("blkszbits 9 isn't") {
        return;
    }
    assert!(output.status.success(), "fsck.erofs: {told}");
}

/// `struct vfs_cap_data` of revision 2: the kernel looks at it.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn meta(mode: u16) -> Meta {
    Meta {
        mode,
        uid: 100_000,
        gid: 7,
        mtime: 1_700_000_000,
        nanos: 123_456_789,
        xattrs: Vec::new(),
    }
}

fn attributes(pairs: &[(&str, &[u8])]) -> Vec<erofs::Attribute> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| (Box::from(name.as_bytes()), Box::from(*value)))
        .collect()
}

#[test]
fn every_kind_of_file() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (image, tar) = (dir.path().join("image"), dir.path().join("tar"));
    std::fs::write(&tar, [[b'a'; 512], [b'b'; 512], [b'c'; 512]].concat()).expect("tar");
    let mut tree = Tree::new();
    let mut add = |path: &[u8], meta: Meta, node: Node| tree.add(path, meta, node).expect("added");
    add(b"", meta(0o751), Node::Directory);
    add(b"empty", meta(0o600), Node::File { size: 0, offset: 3 });
    add(
        b"file",
        meta(0o4755),
        Node::File {
            size: 1000,
            offset: 512,
        },
    );
    add(b"null", meta(0o666), Node::Char(1, 300));
    add(b"disk", meta(0o660), Node::Block(8, 1));
    add(b"pipe", meta(0o600), Node::Fifo);
    add(b"\xff\xfe!", meta(0o1777), Node::Directory);
    let long = vec![b'n'; 255];
    add(
        &long,
        meta(0o644),
        Node::File {
            size: 512,
            offset: 0,
        },
    );
    for length in [1usize, 447, 448, 449, 511, 512, 513, 1500, 4095] {
        let target = vec![b't'; length];
        add(
            format!("link{length}").as_bytes(),
            meta(0),
            Node::Symlink(target),
        );
    }
    let with = |value: &[u8]| Meta {
        xattrs: attributes(&[
            ("user.shared", b"same"),
            ("user.own", value),
            ("security.capability", &CAPABILITY),
            ("trusted.t", b""),
            ("unknown.x", b"dropped"),
        ]),
        ..meta(0o644)
    };
    add(
        b"x/one",
        with(b"1"),
        Node::File {
            size: 1,
            offset: 512,
        },
    );
    add(b"x/two", with(&[7; 3000]), Node::Directory);
    tree.hard_link(b"x/again", b"file").expect("link");
    let mut stack = Stack::new(Marks::Drop);
    stack.push(tree, "one", 1536).expect("pushed");
    write(&stack, &image);
    let Some((_mount, root)) = mounted(&image, &[&tar]) else {
        return;
    };
    let facts = |name: &str| std::fs::symlink_metadata(root.join(name)).expect(name);
    assert_eq!(
        std::fs::metadata(&root).expect("root").mode() & 0o7777,
        0o751
    );
    assert_eq!(facts("empty").len(), 0);
    assert_eq!(std::fs::read(root.join("empty")).expect("read"), b"");
    let file = facts("file");
    assert_eq!(
        (file.mode(), file.uid(), file.gid()),
        (0o104_755, 100_000, 7)
    );
    assert_eq!(
        (file.mtime(), file.mtime_nsec()),
        (1_700_000_000, 123_456_789)
    );
    assert_eq!((file.nlink(), file.ino()), (2, facts("x/again").ino()));
    let content = std::fs::read(root.join("file")).expect("read");
    assert_eq!(content, [vec![b'b'; 512], vec![b'c'; 488]].concat());
    let null = facts("null");
    assert!(null.file_type().is_char_device());
    assert_eq!(null.rdev(), rustix::fs::makedev(1, 300));
    assert!(facts("disk").file_type().is_block_device());
    assert!(facts("pipe").file_type().is_fifo());
    assert_eq!(facts("x").nlink(), 3);
    let strange = root.join(std::ffi::OsStr::from_bytes(b"\xff\xfe!"));
    assert_eq!(std::fs::metadata(strange).expect("name").mode(), 0o041_777);
    assert_eq!(facts(std::str::from_utf8(&long).expect("ascii")).len(), 512);
    for length in [1usize, 447, 448, 449, 511, 512, 513, 1500, 4095] {
        let target = std::fs::read_link(root.join(format!("link{length}"))).expect("link");
        assert_eq!(target.as_os_str().len(), length);
    }
    let attribute = |path: &str, name: &str| {
        let mut value = vec![0; 70_000];
        let length = rustix::fs::getxattr(root.join(path), name, value.as_mut_slice());
        length.map(|length| value[..length].to_vec()).ok()
    };
    assert_eq!(
        attribute("x/one", "user.shared").as_deref(),
        Some(&b"same"[..])
    );
    assert_eq!(
        attribute("x/two", "user.shared").as_deref(),
        Some(&b"same"[..])
    );
    assert_eq!(attribute("x/one", "user.own").as_deref(), Some(&b"1"[..]));
    assert_eq!(attribute("x/two", "user.own"), Some(vec![7; 3000]));
    assert_eq!(
        attribute("x/two", "security.capability"),
        Some(CAPABILITY.to_vec())
    );
    assert_eq!(attribute("x/one", "trusted.t"), Some(Vec::new()));
    assert_eq!(attribute("x/one", "unknown.x"), None);
}

#[test]
fn large_directories_and_far_away_content() {
    const COUNT: usize = 100_000;
    const FAR: u64 = 5 << 30;
    let dir = tempfile::tempdir().expect("temp dir");
    let (image, tar) = (dir.path().join("image"), dir.path().join("tar"));
    let mut file = File::create(&tar).expect("tar");
    file.seek(std::io::SeekFrom::Start(FAR)).expect("seek");
    file.write_all(&[b'f'; 1024]).expect("written");
    drop(file);
    let mut tree = Tree::new();
    for number in 0..COUNT {
        let path = format!("many/{number:x}-{}", "x".repeat(number % 100));
        tree.add(
            path.as_bytes(),
            meta(0o644),
            Node::File { size: 0, offset: 0 },
        )
        .expect("added");
    }
    let big = Node::File {
        size: 700,
        offset: FAR,
    };
    tree.add(b"far", meta(0o644), big).expect("added");
    let huge = Node::File {
        size: FAR + 1024,
        offset: 0,
    };
    tree.add(b"huge", meta(0o644), huge).expect("added");
    let bytes = tree.encode(Facts::default());
    let (tree, _) = Tree::decode(&bytes).expect("decoded");
    let mut stack = Stack::new(Marks::Drop);
    stack.push(Tree::new(), "nothing", 0).expect("pushed");
    stack.push(tree, "one", FAR + 1024).expect("pushed");
    write(&stack, &image);
    let nothing = dir.path().join("nothing");
    std::fs::write(&nothing, b"").expect("empty");
    let Some((_mount, root)) = mounted(&image, &[&nothing, &tar]) else {
        return;
    };
    assert_eq!(std::fs::read(root.join("far")).expect("far"), [b'f'; 700]);
    let mut huge = File::open(root.join("huge")).expect("huge");
    huge.seek(std::io::SeekFrom::Start(FAR - 10)).expect("seek");
    let mut end = Vec::new();
    huge.read_to_end(&mut end).expect("read");
    assert_eq!(end, [vec![0; 10], vec![b'f'; 1024]].concat());
    let names = std::fs::read_dir(root.join("many")).expect("dir").count();
    assert_eq!(names, COUNT);
    for number in (0..COUNT).step_by(97) {
        let name = format!("many/{number:x}-{}", "x".repeat(number % 100));
        assert!(root.join(&name).exists(), "{name}");
    }
    assert!(!root.join("many/0-x").exists());
}

#[test]
fn many_layers() {
    let dir = tempfile::tempdir().expect("temp dir");
    let image = dir.path().join("image");
    let mut stack = Stack::new(Marks::Drop);
    let mut devices = Vec::new();
    for number in 0..130u32 {
        let tar = dir.path().join(number.to_string());
        let mut content = vec![0; 512];
        content[..4].copy_from_slice(&number.to_le_bytes());
        std::fs::write(&tar, content).expect("tar");
        devices.push(tar);
        let mut tree = Tree::new();
        tree.add(
            format!("d/{number}").as_bytes(),
            meta(0o644),
            Node::File { size: 4, offset: 0 },
        )
        .expect("added");
        stack.push(tree, &number.to_string(), 512).expect("pushed");
    }
    write(&stack, &image);
    let devices: Vec<&Path> = devices.iter().map(PathBuf::as_path).collect();
    let Some((_mount, root)) = mounted(&image, &devices) else {
        return;
    };
    for number in 0..130u32 {
        let content = std::fs::read(root.join(format!("d/{number}"))).expect("file");
        assert_eq!(content, number.to_le_bytes());
    }
}
