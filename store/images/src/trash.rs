//! Removal off the caller's path: rename now, unlink later.
//!
//! Unlinking can wait for the disk (a synchronous discard, a journal); renaming does not. A thread
//! empties the trash; what a crash leaves in it is emptied at the next open.

use std::ffi::CString;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::Error;

#[derive(Debug)]
pub(crate) struct Trash {
    dir: PathBuf,
    next: AtomicU64,
    wake: SyncSender<Wake>,
}

/// Why the thread wakes up: for new trash, or for one who waits until there is none.
type Wake = Option<SyncSender<()>>;

impl Trash {
    pub(crate) fn open(dir: PathBuf) -> Result<Self, Error> {
        std::fs::create_dir_all(&dir).map_err(Error::io("making", &dir))?;
        // One waiting wake-up is enough: the thread takes all there is.
        let (wake, awake) = sync_channel::<Wake>(1);
        let emptied = dir.clone();
        std::thread::Builder::new()
            .name("trash".into())
            .spawn(move || {
                empty(&emptied);
                while let Ok(waiting) = awake.recv() {
                    empty(&emptied);
                    if let Some(waiting) = waiting {
                        // Whoever waited may have gone.
                        let _ = waiting.try_send(());
                    }
                }
            })
            .map_err(Error::io("starting a thread for", &dir))?;
        let first = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(0));
        Ok(Self {
            dir,
            next: AtomicU64::new(first),
            wake,
        })
    }

    /// Waits until what is in the trash now is unlinked, as far as it can be.
    pub(crate) fn settle(&self) {
        let (done, settled) = sync_channel(1);
        if self.wake.send(Some(done)).is_ok() {
            // An error means that the thread is gone, and nothing to wait for.
            let _ = settled.recv();
        }
    }

    /// Takes a file or directory away. One that is not there is fine.
    pub(crate) fn take(&self, path: &Path) {
        let to = self
            .dir
            .join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        match std::fs::rename(path, &to) {
            Ok(()) => {
                // Full means that a wake-up is waiting already.
                let _ = self.wake.try_send(None);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            // Another file system, or no room for the entry: unlinking here is slow but right.
            Err(renaming) => {
                let removed = match std::fs::symlink_metadata(path) {
                    Ok(facts) if facts.is_dir() => std::fs::remove_dir_all(path),
                    Ok(_) => std::fs::remove_file(path),
                    Err(error) => Err(error),
                };
                if let Err(error) = removed {
                    // It is swept at the next open, if nobody needs it.
                    let path = path.display();
                    tracing::warn!(%path, %error, %renaming, "what is not needed stays on disk");
                }
            }
        }
    }
}

/// Unlinks everything in a directory. Trees are of any depth, by somebody else's choice: directories
/// that are not empty are moved up beside the others, so that neither the stack nor descriptors
/// grow with them.
fn empty(dir: &Path) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(top) = rustix::fs::open(dir, flags, Mode::empty()) else {
        return;
    };
    let mut next = 0u64;
    loop {
        let mut some = false;
        for name in names(top.as_fd()) {
            match unlink(top.as_fd(), &name) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => {
                    // What cannot go now is tried again at the next wake-up.
                    if let Ok(below) = rustix::fs::openat(&top, &name, flags, Mode::empty()) {
                        for child in names(below.as_fd()) {
                            if unlink(below.as_fd(), &child).is_err() {
                                let up = format!("below-{next}");
                                next += 1;
                                let moved = rustix::fs::renameat(&below, &child, &top, &up);
                                some |= moved.is_ok();
                            }
                        }
                        some |= unlink(top.as_fd(), &name).is_ok();
                    }
                }
                done => some |= done.is_ok(),
            }
        }
        if !some {
            return;
        }
    }
}

fn names(dir: BorrowedFd<'_>) -> Vec<CString> {
    let entries = rustix::fs::Dir::read_from(dir)
        .into_iter()
        .flatten()
        .flatten();
    let names = entries.map(|entry| entry.file_name().to_owned());
    names
        .filter(|name| !matches!(name.to_bytes(), b"." | b".."))
        .collect()
}

fn unlink(dir: BorrowedFd<'_>, name: &CString) -> Result<(), Errno> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::Trash;

    #[test]
    fn a_tree_deeper_than_any_stack_goes() {
        let dir = tempfile::tempdir().expect("temp dir");
        let trash = Trash::open(dir.path().join("trash")).expect("trash");
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).expect("tree");
        std::fs::write(tree.join("file"), "").expect("file");
        let flags = rustix::fs::OFlags::DIRECTORY;
        let mut at = rustix::fs::open(&tree, flags, rustix::fs::Mode::empty()).expect("open");
        for _ in 0..20_000 {
            rustix::fs::mkdirat(at.as_fd(), "d", 0o700.into()).expect("mkdir");
            at = rustix::fs::openat(&at, "d", flags, rustix::fs::Mode::empty()).expect("open");
        }
        drop(at);
        trash.take(&tree);
        trash.settle();
        assert!(!tree.exists());
        let left = std::fs::read_dir(dir.path().join("trash")).expect("trash");
        assert_eq!(left.count(), 0);
    }
}
