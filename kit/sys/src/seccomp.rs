#![expect(unsafe_code, reason = "seccomp(2) takes a raw program")]
//! Loading of seccomp filters.

use std::os::fd::{FromRawFd, OwnedFd};

use crate::{Errno, Result, check};

/// One instruction of classic BPF (`struct sock_filter`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Opcode.
    pub code: u16,
    /// Jump when true.
    pub jt: u8,
    /// Jump when false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Installs a filter on the calling thread. `flags` are `SECCOMP_FILTER_FLAG_*`; with
/// `NEW_LISTENER` the notification descriptor is returned.
pub fn load(program: &[Instruction], flags: u32) -> Result<Option<OwnedFd>> {
    #[repr(C)]
    struct Program {
        len: u16,
        filter: *const Instruction,
    }
    let len = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let raw = Program {
        len,
        filter: program.as_ptr(),
    };
    // SAFETY: `raw` is a sock_fprog that describes `program`; both outlive the call.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const raw,
        )
    };
    let fd = check(ret)?;
    if u64::from(flags) & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: with NEW_LISTENER the result is a descriptor made for us.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
}
