//! An archive onto a directory: whatever is in it, nothing beside the directory changes.
#![no_main]

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::OnceLock;

use archive::Target;
use libfuzzer_sys::fuzz_target;
use rustix::fs::{Mode, OFlags};

/// A directory with `root` and, beside it, `outside` with one file.
fn dir() -> &'static PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = std::env::temp_dir().join(format!("fuzz-untar-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("outside")).expect("a directory");
        std::fs::write(dir.join("outside/file"), "untouched").expect("a file");
        dir
    })
}

fn open(path: &std::path::Path) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).expect("open")
}

fuzz_target!(|data: (u8, &[u8])| {
    let (kind, bytes) = data;
    // Sparse files would fill the disk, not the parser.
    if bytes.len() > 64 << 10 {
        return;
    }
    let root = dir().join("root");
    std::fs::create_dir_all(&root).expect("a directory");
    let out = dir().join("outside");
    // Ways out that an archive may find in the tree already.
    let _ = std::os::unix::fs::symlink("../outside", root.join("relative"));
    let _ = std::os::unix::fs::symlink(&out, root.join("absolute"));
    let target = match kind % 3 {
        0 => Target::Layer,
        n => Target::Files {
            keep_types: n == 1,
            owner: (kind & 4 != 0).then_some((0, 0)),
        },
    };
    let _ = archive::apply(bytes, open(&root).as_fd(), target);
    let names = |path: &std::path::Path| -> Vec<_> {
        let read = std::fs::read_dir(path).expect("read");
        let mut names: Vec<_> = read.flatten().map(|e| e.file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(dir()), ["outside", "root"]);
    assert_eq!(names(&out), ["file"]);
    let text = std::fs::read(out.join("file")).expect("read");
    assert_eq!(text, b"untouched");
    std::fs::remove_dir_all(&root).expect("remove");
});
