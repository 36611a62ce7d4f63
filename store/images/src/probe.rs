//! Whether this kernel can mount what `merged` makes: found out by doing it once.

use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::path::Path;

use erofs::{Marks, Meta, Node, Stack, Tree};
use rustix::fs::{Mode, OFlags};

use crate::rootfs::{Lower, overlay};
use crate::{Error, RootfsOptions, Store, merged};

const TEXT: &[u8] = b"it works";

impl Store {
    /// Whether layers that come are kept as tars.
    pub(crate) fn indexes(&self) -> bool {
        *self.indexes.get_or_init(|| {
            let Ok(dir) = self.temporary("layers") else {
                return false;
            };
            let works = works(&dir).unwrap_or(false);
            self.trash.take(&dir);
            works
        })
    }
}

/// A file of a tar, seen through EROFS and a writable overlay.
fn works(dir: &Path) -> Result<bool, Error> {
    let (tar, image, writable) = (dir.join("tar"), dir.join("image"), dir.join("writable"));
    let io = |error: io::Error| Error::io("probing in", dir)(error);
    // Whole blocks, as in every tar: the kernel answers EIO for one that is cut off.
    let mut block = TEXT.to_vec();
    block.resize(erofs::BLOCK as usize, 0);
    std::fs::write(&tar, block).map_err(io)?;
    for name in ["diff", "work"] {
        std::fs::create_dir_all(writable.join(name)).map_err(io)?;
    }
    let mut tree = Tree::new();
    let file = Node::File {
        size: TEXT.len() as u64,
        offset: 0,
    };
    let mode = Meta {
        mode: 0o644,
        ..Meta::default()
    };
    let mut stack = Stack::new(Marks::Drop);
    let made = tree
        .add(b"file", mode, file)
        .and_then(|()| stack.push(tree, "", TEXT.len() as u64));
    if made.is_err() {
        return Ok(false);
    }
    merged::write(&stack, &image)?;
    let errno = |error: rustix::io::Errno| Error::errno("probing in", dir)(error);
    let mount = std::sync::Arc::new(merged::mount(&image, &[tar]).map_err(errno)?);
    let root = overlay(
        &[Lower::Mount(mount)],
        Some(&writable),
        RootfsOptions::default(),
    )
    .map_err(errno)?;
    let file = sys::rooted::open(
        root.as_fd(),
        Path::new("file"),
        OFlags::RDONLY,
        Mode::empty(),
    );
    let mut found = Vec::new();
    std::fs::File::from(file.map_err(errno)?)
        .read_to_end(&mut found)
        .map_err(io)?;
    Ok(found == TEXT)
}
