//! Against the kernel: files read through FUSE, and as a device of an EROFS image.

use std::fs;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use erofs::{Marks, Meta, Node, Stack, Tree};
use fuse::{Connection, File, Files, Reply};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

const SIZE: u64 = 3 << 20;

#[derive(Default)]
struct Numbers {
    broken: AtomicBool,
    open: AtomicU32,
}

fn byte(at: u64) -> u8 {
    (at % 251) as u8
}

impl Files for Numbers {
    fn by_name(&self, name: &[u8]) -> Option<File> {
        (name == b"numbers").then_some(File {
            number: 2,
            size: SIZE,
        })
    }

    fn by_number(&self, number: u64) -> Option<File> {
        (number == 2).then_some(File { number, size: SIZE })
    }

    fn opened(&self, _: u64) {
        self.open.fetch_add(1, Ordering::SeqCst);
    }

    fn released(&self, _: u64) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    fn read(&self, _: u64, offset: u64, size: u32, reply: Reply) {
        if self.broken.load(Ordering::SeqCst) {
            return reply.error(Errno::IO);
        }
        // Answered by another thread, later.
        std::thread::spawn(move || {
            let bytes: Vec<u8> = (offset..offset + u64::from(size)).map(byte).collect();
            reply.bytes(&bytes);
        });
    }
}

fn open(mount: &OwnedFd, name: &str) -> io::Result<fs::File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(mount, name, flags, Mode::empty())?.into())
}

fn served() -> Option<(Arc<Numbers>, OwnedFd, std::thread::JoinHandle<()>)> {
    let (connection, mount): (Connection, OwnedFd) = match fuse::mount() {
        Ok(made) => made,
        Err(error) => {
            assert!(!rustix::process::geteuid().is_root(), "as root: {error}");
            return None;
        }
    };
    let files = Arc::new(Numbers::default());
    let served: Arc<dyn Files> = Arc::clone(&files) as _;
    let thread = std::thread::spawn(move || connection.serve(&served).expect("served"));
    Some((files, mount, thread))
}

#[test]
fn files_are_read_and_errors_reach_the_reader() {
    let Some((files, mount, thread)) = served() else {
        return;
    };
    assert_eq!(
        open(&mount, "other").expect_err("none").raw_os_error(),
        Some(2)
    );
    let mut file = open(&mount, "numbers").expect("opened");
    assert_eq!(file.metadata().expect("facts").len(), SIZE);
    let mut all = Vec::new();
    file.read_to_end(&mut all).expect("read");
    assert!(
        all.iter()
            .enumerate()
            .all(|(at, it)| *it == byte(at as u64))
    );
    assert_eq!(all.len() as u64, SIZE);
    files.broken.store(true, Ordering::SeqCst);
    file.rewind().expect("rewound");
    let refused = file.read(&mut [0; 16]).expect_err("broken");
    assert_eq!(refused.raw_os_error(), Some(5));
    files.broken.store(false, Ordering::SeqCst);
    let mut some = [0; 3];
    file.read_exact_at(&mut some, 250).expect("again");
    assert_eq!(some, [250, 0, 1]);
    assert_eq!(files.open.load(Ordering::SeqCst), 1);
    drop((file, mount));
    thread.join().expect("ends with the last descriptor");
    assert_eq!(files.open.load(Ordering::SeqCst), 0);
}

/// A mount of an EROFS image that has one file, 1 MiB at 512 of a FUSE file.
fn erofs_over(mount: &OwnedFd, dir: &std::path::Path) -> OwnedFd {
    let mut tree = Tree::new();
    let node = Node::File {
        size: 1 << 20,
        offset: 512,
    };
    let meta = Meta {
        mode: 0o644,
        ..Meta::default()
    };
    tree.add(b"file", meta, node).expect("added");
    let mut stack = Stack::new(Marks::Drop);
    stack.push(tree, "numbers", SIZE).expect("pushed");
    let image = dir.join("image");
    let mut out = fs::File::create(&image).expect("image");
    stack.write(&mut out).expect("written");
    let device = open(mount, "numbers").expect("device");
    let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC).expect("erofs");
    fsconfig_set_string(&context, "source", &image).expect("source");
    let path = format!("/proc/self/fd/{}", device.as_raw_fd());
    fsconfig_set_string(&context, "device", path).expect("device");
    fsconfig_set_flag(&context, "ro").expect("ro");
    fsconfig_create(&context).expect("mountable");
    fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_RDONLY,
    )
    .expect("mounted")
}

#[test]
fn a_file_serves_as_a_device_of_an_erofs_image() {
    let Some((files, mount, thread)) = served() else {
        return;
    };
    let dir = tempfile::tempdir().expect("directory");
    let root = erofs_over(&mount, dir.path());
    drop(mount);
    let file = open(&root, "file").expect("opened");
    files.broken.store(true, Ordering::SeqCst);
    let refused = file.read_at(&mut [0; 16], 0).expect_err("broken");
    assert_eq!(refused.raw_os_error(), Some(5), "an error, not zeros");
    files.broken.store(false, Ordering::SeqCst);
    let mut all = vec![0; 1 << 20];
    file.read_exact_at(&mut all, 0).expect("read again");
    let wrong = all.iter().enumerate();
    assert!(wrong.clone().all(|(at, it)| *it == byte(at as u64 + 512)));
    drop((file, root));
    thread.join().expect("nothing holds the file system");
}
