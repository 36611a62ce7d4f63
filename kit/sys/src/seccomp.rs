#![expect(unsafe_code, reason = "seccomp(2) takes a raw program")]
//! Loading of seccomp filters.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

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

/// Takes the next notification from a listener and gives its id; waits for one.
pub fn receive(listener: BorrowedFd<'_>) -> Result<u64> {
    // SAFETY: all-zero is what the kernel wants to see in this plain structure.
    let mut notification: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one structure of this size.
    let ret = unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_RECV, &raw mut notification) };
    check(ret.into()).map(|_| notification.id)
}

/// Answers a notification: the call fails with `errno`.
pub fn answer(listener: BorrowedFd<'_>, id: u64, errno: i32) -> Result<()> {
    let mut response = libc::seccomp_notif_resp {
        id,
        val: 0,
        error: -errno,
        flags: 0,
    };
    // SAFETY: the kernel reads one structure of this size.
    let ret = unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_SEND, &raw mut response) };
    check(ret.into()).map(drop)
}

/// `SECCOMP_IOCTL_NOTIF_RECV`: `_IOWR('!', 0, struct seccomp_notif)`.
const NOTIF_RECV: libc::Ioctl = 0xc050_2100_u32 as libc::Ioctl;
/// `SECCOMP_IOCTL_NOTIF_SEND`: `_IOWR('!', 1, struct seccomp_notif_resp)`.
const NOTIF_SEND: libc::Ioctl = 0xc018_2101_u32 as libc::Ioctl;
