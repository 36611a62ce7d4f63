use super::*;
use crate::{Facts, Marks, Stack};

fn meta(mode: u16) -> Meta {
    Meta {
        mode,
        ..Meta::default()
    }
}

fn file(tree: &mut Tree, path: &str, size: u64) {
    let node = Node::File { size, offset: 512 };
    tree.add(path.as_bytes(), meta(0o644), node).expect(path);
}

fn dir(tree: &mut Tree, path: &str, mode: u16) {
    tree.add(path.as_bytes(), meta(mode), Node::Directory)
        .expect(path);
}

fn link(tree: &mut Tree, path: &str, target: &str) {
    let node = Node::Symlink(target.as_bytes().to_vec());
    tree.add(path.as_bytes(), meta(0), node).expect(path);
}

/// `path kind` lines of everything, in order.
fn listed(inodes: &[Inode]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending = vec![(String::new(), ROOT)];
    while let Some((path, id)) = pending.pop() {
        let inode = &inodes[id as usize];
        let what = match &inode.content {
            Content::Directory(dir) if dir.opaque => format!("opaque {:o}", inode.meta.mode),
            Content::Directory(_) => format!("dir {:o}", inode.meta.mode),
            Content::File(file) => format!("file {} of {}", file.size, file.layer),
            Content::Symlink(to) => format!("-> {}", String::from_utf8_lossy(to)),
            Content::Whiteout => "whiteout".into(),
            other => format!("{other:?}"),
        };
        lines.push(format!("{path}/ {what}"));
        for (name, id) in inode.directory().into_iter().flat_map(|dir| &dir.entries) {
            pending.push((format!("{path}/{}", String::from_utf8_lossy(name)), *id));
        }
    }
    lines.sort();
    lines
}

#[test]
fn paths_are_followed_inside() {
    let mut tree = Tree::new();
    dir(&mut tree, "usr/lib", 0o700);
    link(&mut tree, "lib", "/usr/lib");
    link(&mut tree, "up", "../../../usr");
    file(&mut tree, "./lib/a", 1);
    file(&mut tree, "/up/lib/b", 2);
    file(&mut tree, "new/deep/c", 3);
    assert_eq!(
        listed(&tree.inodes),
        [
            "/ dir 755",
            "/lib/ -> /usr/lib",
            "/new/ dir 755",
            "/new/deep/ dir 755",
            "/new/deep/c/ file 3 of 0",
            "/up/ -> ../../../usr",
            "/usr/ dir 755",
            "/usr/lib/ dir 700",
            "/usr/lib/a/ file 1 of 0",
            "/usr/lib/b/ file 2 of 0",
        ]
    );
    link(&mut tree, "loop", "loop");
    link(&mut tree, "nowhere", "missing/x");
    let add = |tree: &mut Tree, path: &str| {
        tree.add(path.as_bytes(), meta(0), Node::Fifo)
            .expect_err(path)
            .to_string()
    };
    assert!(add(&mut tree, "loop/x").contains("too many"));
    assert!(add(&mut tree, "nowhere/x").contains("not there"));
    assert!(add(&mut tree, "lib/a/x").contains("not a directory"));
    assert!(add(&mut tree, "a/../../x").contains("outside"));
    assert!(add(&mut tree, "").contains("not a name"));
    assert!(add(&mut tree, &"n".repeat(256)).contains("too long"));
}

#[test]
fn later_entries_win() {
    let mut tree = Tree::new();
    file(&mut tree, "d/x", 1);
    dir(&mut tree, "d", 0o711);
    file(&mut tree, "d/x/../y".replace("x/../", "").as_str(), 2);
    file(&mut tree, "d", 3);
    dir(&mut tree, "d", 0o700);
    file(&mut tree, "d/z", 4);
    tree.hard_link(b"e", b"d/z").expect("link");
    tree.hard_link(b"d/missing", b"d/y").expect_err("gone");
    tree.hard_link(b"f", b"d").expect_err("a directory");
    assert_eq!(
        listed(&tree.inodes),
        [
            "/ dir 755",
            "/d/ dir 700",
            "/d/z/ file 4 of 0",
            "/e/ file 4 of 0"
        ]
    );
    assert_eq!(
        tree.child(ROOT, b"e"),
        tree.child(tree.child(ROOT, b"d").expect("d"), b"z")
    );
}

fn two() -> (Tree, Tree) {
    let mut lower = Tree::new();
    dir(&mut lower, "a", 0o700);
    file(&mut lower, "a/gone", 1);
    file(&mut lower, "a/kept", 2);
    dir(&mut lower, "b", 0o700);
    file(&mut lower, "b/hidden", 3);
    file(&mut lower, "c", 4);
    dir(&mut lower, "e/f", 0o700);
    let mut upper = Tree::new();
    upper.whiteout(b"a/gone").expect("whiteout");
    upper.opaque(b"b").expect("opaque");
    file(&mut upper, "b/new", 5);
    dir(&mut upper, "c", 0o711);
    file(&mut upper, "e", 6);
    upper.hard_link(b"b/same", b"e").expect("link");
    (lower, upper)
}

#[test]
fn layers_over_each_other() {
    let (lower, upper) = two();
    let mut stack = Stack::new(Marks::Drop);
    stack.push(lower, "", 0).expect("lower");
    stack.push(upper, "", 0).expect("upper");
    assert_eq!(
        listed(&stack.inodes),
        [
            "/ dir 755",
            // Only implied above: the entry below counts.
            "/a/ dir 700",
            "/a/kept/ file 2 of 0",
            "/b/ opaque 755",
            "/b/new/ file 5 of 1",
            "/b/same/ file 6 of 1",
            "/c/ opaque 711",
            "/e/ file 6 of 1",
        ]
    );
}

#[test]
fn marks_are_kept_for_what_is_below() {
    let (lower, upper) = two();
    let mut stack = Stack::new(Marks::Keep);
    stack.push(upper, "", 0).expect("first");
    let mut third = Tree::new();
    file(&mut third, "a/gone/again", 7);
    third.whiteout(b"b").expect("whiteout");
    stack.push(third, "", 0).expect("third");
    drop(lower);
    assert_eq!(
        listed(&stack.inodes),
        [
            "/ dir 755",
            "/a/ dir 755",
            "/a/gone/ opaque 755",
            "/a/gone/again/ file 7 of 1",
            "/b/ whiteout",
            "/c/ dir 711",
            "/e/ file 6 of 0",
        ]
    );
}

#[test]
fn encoded_trees_come_back_and_damage_is_seen() {
    let (_, mut tree) = two();
    let attributes = vec![(Box::from(&b"user.x"[..]), Box::from(&b"y"[..]))];
    let with = Meta {
        mode: 0o4755,
        uid: 70_000,
        gid: 5,
        mtime: -3,
        nanos: 999,
        xattrs: attributes,
    };
    tree.add(b"dev/null", with.clone(), Node::Char(1, 3))
        .expect("node");
    tree.add(b"with", with, Node::Directory).expect("dir");
    let facts = Facts {
        tar: 10_240,
        files: 77,
    };
    let bytes = tree.encode(facts);
    assert_eq!(Facts::read(&bytes[..Facts::HEADER]), Some(facts));
    let (back, told) = Tree::decode(&bytes).expect("decoded");
    assert_eq!((listed(&back.inodes), told), (listed(&tree.inodes), facts));
    assert_eq!(back.encode(facts), bytes);
    for at in 0..bytes.len() {
        let mut broken = bytes.clone();
        broken[at] ^= 0x10;
        // Facts and version are told without the sum.
        assert!(Tree::decode(&broken).is_err(), "byte {at}");
        assert!(Tree::decode(&bytes[..at]).is_err(), "cut at {at}");
    }
}
