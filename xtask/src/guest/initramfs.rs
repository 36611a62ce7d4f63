//! The guest's files: a cpio archive as the kernel unpacks it
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::run;

const DIRECTORY: u32 = 0o040_755;
const LINK: u32 = 0o120_777;
const FILE: u32 = 0o100_000;

/// An archive being written.
#[derive(Debug)]
pub(crate) struct Initramfs<W> {
    out: W,
    count: u32,
    there: BTreeSet<PathBuf>,
}

impl<W: Write> Initramfs<W> {
    pub(crate) fn new(out: W) -> Self {
        Self {
            out,
            count: 0,
            there: BTreeSet::new(),
        }
    }

    /// A file, with the directories above it; one that is there already stays.
    pub(crate) fn file(&mut self, path: &Path, bytes: &[u8], permissions: u32) -> Result<()> {
        self.parents(path)?;
        self.entry(path, FILE | permissions, bytes)
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, path: &Path, target: &str) -> Result<()> {
        self.parents(path)?;
        self.entry(path, LINK, target.as_bytes())
    }

    /// An empty directory.
    pub(crate) fn directory(&mut self, path: &Path) -> Result<()> {
        self.parents(path)?;
        self.entry(path, DIRECTORY, b"")
    }

    /// A program of this machine under another path, without its symbols, and the libraries that
    /// it is linked with, where they are here.
    pub(crate) fn program(&mut self, from: &Path, to: &Path) -> Result<()> {
        let stripped = tempfile::NamedTempFile::new()?;
        let (source, target) = (
            from.display().to_string(),
            stripped.path().display().to_string(),
        );
        run::run_quietly(&["objcopy", "--strip-all", &source, &target])?;
        self.file(to, &std::fs::read(stripped.path())?, 0o755)?;
        // Of a static program it fails, and says that there are none.
        let listed = run::command(&["ldd", &source]).output().context("ldd")?;
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        for library in text.split_whitespace().filter(|word| word.starts_with('/')) {
            self.file(Path::new(library), &std::fs::read(library)?, 0o755)?;
        }
        Ok(())
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.entry(Path::new("/TRAILER!!!"), 0, b"")?;
        self.out.flush()?;
        Ok(())
    }

    fn parents(&mut self, path: &Path) -> Result<()> {
        let above: Vec<&Path> = path.ancestors().skip(1).collect();
        for dir in above.into_iter().rev().filter(|dir| *dir != Path::new("/")) {
            self.entry(dir, DIRECTORY, b"")?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, mode: u32, bytes: &[u8]) -> Result<()> {
        if !self.there.insert(path.to_owned()) {
            return Ok(());
        }
        let name = path.strip_prefix("/").unwrap_or(path);
        let name = name.to_str().context("a name that is not UTF-8")?;
        self.count += 1;
        let size = u32::try_from(bytes.len()).context("a file over 4 GiB")?;
        let links = if mode == DIRECTORY { 2 } else { 1 };
        let length = u32::try_from(name.len() + 1)?;
        // ino, mode, uid, gid, nlink, mtime, filesize, four device numbers, namesize, check.
        let fields = [
            self.count, mode, 0, 0, links, 0, size, 0, 0, 0, 0, length, 0,
        ];
        let mut head = b"070701".to_vec();
        for field in fields {
            head.extend(format!("{field:08x}").bytes());
        }
        head.extend(name.bytes().chain([0]));
        head.resize(head.len().next_multiple_of(4), 0);
        self.out.write_all(&head)?;
        self.out.write_all(bytes)?;
        let over = bytes.len().next_multiple_of(4) - bytes.len();
        self.out.write_all(&[0; 3][..over])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_each_is_there_once() {
        let mut out = Vec::new();
        let mut archive = Initramfs::new(&mut out);
        archive.file(Path::new("/a/b"), b"12345", 0o644).unwrap();
        archive.file(Path::new("/a/c"), b"", 0o755).unwrap();
        archive.link(Path::new("/a/b"), "late").unwrap();
        archive.finish().unwrap();
        assert_eq!(out.len() % 4, 0);
        let text = String::from_utf8_lossy(&out);
        // a, a/b, a/c and the end.
        assert_eq!(text.matches("070701").count(), 4);
        assert!(text.contains("000081a4") && !text.contains("late"));
    }
}
