//! Linux system calls as typed functions over file descriptors; the one place with `unsafe`.
//!
//! `rustix` covers most calls safely; here is only what it lacks, and small compositions that
//! several crates need (rooted paths, messages with descriptors, sealed files). Errors are plain
//! [`Errno`] values: callers know what they were doing and say so.

pub mod bpf;
pub mod datagram;
pub mod exec;
pub mod fdpass;
pub mod keeper;
pub mod memfd;
pub mod mount;
pub mod network;
pub mod process;
pub mod rooted;
pub mod seccomp;
pub mod userns;

pub use rustix::io::{Errno, Result};

/// Turns a raw system call's result into a typed one, reading the thread's errno on -1.
fn check(ret: libc::c_long) -> Result<libc::c_long> {
    if ret == -1 {
        Err(last_errno())
    } else {
        Ok(ret)
    }
}

/// The calling thread's errno.
fn last_errno() -> Errno {
    let raw = std::io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO);
    Errno::from_raw_os_error(raw)
}
