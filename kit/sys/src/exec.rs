#![expect(unsafe_code, reason = "execve takes raw pointer arrays")]
//! execve(2) and execveat(2).

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::Errno;

/// Replaces the process by the program at `path`; returns only on failure.
pub fn execve(path: &CStr, args: &[CString], env: &[CString]) -> Errno {
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: both arrays are null-terminated and their strings outlive the call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    crate::last_errno()
}

/// Replaces the process by the program open at `fd`; returns only on failure.
pub fn fexecve(fd: BorrowedFd<'_>, args: &[CString], env: &[CString]) -> Errno {
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: as for execve; AT_EMPTY_PATH with an empty path names `fd` itself.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            args.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    crate::last_errno()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|s| s.as_ptr())
        .chain([ptr::null()])
        .collect()
}
