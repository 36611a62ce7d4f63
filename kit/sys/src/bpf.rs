#![expect(unsafe_code, reason = "bpf(2) takes raw attributes")]
//! Device programs of cgroup v2 (`BPF_PROG_TYPE_CGROUP_DEVICE`).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::{Result, check};

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 1 << 1;

/// One eBPF instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Opcode.
    pub code: u8,
    /// Destination register in the low, source register in the high four bits.
    pub registers: u8,
    /// Jump or memory offset.
    pub offset: i16,
    /// Immediate operand.
    pub immediate: i32,
}

/// Loads a device program.
pub fn load_device_program(program: &[Instruction]) -> Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
    }
    let mut attr = Attr {
        kind: TYPE_CGROUP_DEVICE,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    let fd = bpf(PROG_LOAD, &mut attr)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Attaches a device program to a cgroup v2 directory and takes away those that were there, so
/// that no moment is without one.
pub fn replace_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    let old = device_programs(cgroup)?;
    attach(PROG_ATTACH, cgroup, program, ALLOW_MULTI)?;
    for fd in old {
        attach(PROG_DETACH, cgroup, std::os::fd::AsFd::as_fd(&fd), 0)?;
    }
    Ok(())
}

fn attach(
    command: libc::c_int,
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    flags: u32,
) -> Result<()> {
    #[repr(C)]
    struct Attr {
        target: u32,
        program: u32,
        kind: u32,
        flags: u32,
        replace: u32,
    }
    let mut attr = Attr {
        target: cgroup.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: ATTACH_CGROUP_DEVICE,
        flags,
        replace: 0,
    };
    bpf(command, &mut attr).map(drop)
}

fn device_programs(cgroup: BorrowedFd<'_>) -> Result<Vec<OwnedFd>> {
    #[repr(C)]
    struct Attr {
        target: u32,
        kind: u32,
        query_flags: u32,
        attach_flags: u32,
        ids: u64,
        count: u32,
        padding: u32,
    }
    let mut ids = [0u32; 64];
    let mut attr = Attr {
        target: cgroup.as_raw_fd() as u32,
        kind: ATTACH_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: ids.len() as u32,
        padding: 0,
    };
    bpf(PROG_QUERY, &mut attr)?;
    ids.iter()
        .take(attr.count as usize)
        .map(|&id| program_by_id(id))
        .collect()
}

fn program_by_id(id: u32) -> Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        id: u32,
        next: u32,
        flags: u32,
    }
    let fd = bpf(
        PROG_GET_FD_BY_ID,
        &mut Attr {
            id,
            next: 0,
            flags: 0,
        },
    )?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn bpf<T>(command: libc::c_int, attr: &mut T) -> Result<libc::c_long> {
    // SAFETY: every caller passes the kernel's layout for its command (a prefix of the union is
    // allowed) whose pointers outlive the call.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, attr as *mut T, size_of::<T>()) })
}
