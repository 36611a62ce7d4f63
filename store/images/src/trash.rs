//! Removal off the caller's path: rename now, unlink later.
//!
//! Unlinking can wait for the disk (a synchronous discard, a journal); renaming does not. A thread
//! empties the trash; what a crash leaves in it is emptied at the next open.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use crate::Error;

#[derive(Debug)]
pub(crate) struct Trash {
    dir: PathBuf,
    next: AtomicU64,
    wake: SyncSender<()>,
}

impl Trash {
    pub(crate) fn open(dir: PathBuf) -> Result<Self, Error> {
        std::fs::create_dir_all(&dir).map_err(Error::io("making", &dir))?;
        // One waiting wake-up is enough: the thread takes all there is.
        let (wake, awake) = sync_channel(1);
        let emptied = dir.clone();
        std::thread::Builder::new()
            .name("trash".into())
            .spawn(move || {
                empty(&emptied);
                while awake.recv() == Ok(()) {
                    empty(&emptied);
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

    /// Takes a file or directory away. One that is not there is fine.
    pub(crate) fn take(&self, path: &Path) {
        let to = self
            .dir
            .join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        match std::fs::rename(path, &to) {
            Ok(()) => {
                // Full means that a wake-up is waiting already.
                let _ = self.wake.try_send(());
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            // Another file system, or no room for the entry: unlinking here is slow but right.
            Err(_) => {
                let _ = std::fs::remove_dir_all(path).or_else(|_| std::fs::remove_file(path));
            }
        }
    }
}

fn empty(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        // What cannot go now is tried again at the next wake-up.
        let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
    }
}
