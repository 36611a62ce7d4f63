//! Files that live in memory only.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};

use crate::Result;

/// A close-on-exec file in memory with `content`, sealed against every change: a program run
/// from it by [`crate::exec::fexecve`] cannot be overwritten through /proc/self/exe.
pub fn sealed(name: &str, content: &[u8]) -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // MFD_EXEC is refused by kernels before 6.3 and asked for by newer ones.
    let fd = rustix::fs::memfd_create(name, flags | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create(name, flags))?;
    let mut rest = content;
    while !rest.is_empty() {
        let n = rustix::io::write(&fd, rest)?;
        rest = rest.get(n..).unwrap_or_default();
    }
    seal(fd.as_fd())?;
    Ok(fd)
}

fn seal(fd: std::os::fd::BorrowedFd<'_>) -> Result<()> {
    rustix::fs::fcntl_add_seals(
        fd,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_file_cannot_be_written() {
        let fd = sealed("t", b"abc").unwrap();
        assert_eq!(rustix::io::pwrite(&fd, b"x", 0), Err(crate::Errno::PERM));
        let mut b = [0; 3];
        assert_eq!(rustix::io::pread(&fd, &mut b, 0), Ok(3));
        assert_eq!(&b, b"abc");
    }
}
