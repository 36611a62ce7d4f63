#![expect(unsafe_code, reason = "raw system calls that rustix lacks")]
//! Making processes and shaping the calling one.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::process::Pid;

use crate::{Result, check};

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `CLONE_NEWNS`, for [`unshare`].
pub const NEW_MOUNT_NAMESPACE: i32 = libc::CLONE_NEWNS;

/// `CLONE_FS`, for [`unshare`]: root and working directory of one's own.
pub const OWN_PATHS: i32 = libc::CLONE_FS;

/// What [`clone3`] makes; the flags are `libc::CLONE_*`, `CLONE_PIDFD` is implied.
#[derive(Debug, Default)]
pub struct CloneArgs<'a> {
    /// `CLONE_NEW*`, `CLONE_PARENT`. Flags that share memory or stacks are refused.
    pub flags: u64,
    /// cgroup v2 directory to be born in (`CLONE_INTO_CGROUP`).
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// Which side of [`clone3`] one is on.
#[derive(Debug)]
pub enum Cloned {
    /// In the new process.
    Child,
    /// In the caller.
    Parent {
        /// Pid of the child in the caller's pid namespace.
        pid: Pid,
        /// Its pidfd, close-on-exec.
        pidfd: OwnedFd,
    },
}

/// Creates a process in new namespaces, like fork(2) with a copy of memory.
///
/// The C library's fork handlers do not run: call it from a process with one thread, or do
/// nothing in the child that takes a lock (allocation included).
pub fn clone3(args: &CloneArgs<'_>) -> Result<Cloned> {
    const SHARING: u64 = (libc::CLONE_VM
        | libc::CLONE_THREAD
        | libc::CLONE_SIGHAND
        | libc::CLONE_SETTLS
        | libc::CLONE_PARENT_SETTID
        | libc::CLONE_CHILD_SETTID
        | libc::CLONE_CHILD_CLEARTID
        | libc::CLONE_VFORK) as u64;
    if args.flags & SHARING != 0 {
        return Err(crate::Errno::INVAL);
    }
    let mut pidfd: RawFd = -1;
    // SAFETY: an all-zero clone_args is valid: every field is an integer.
    let mut raw: libc::clone_args = unsafe { std::mem::zeroed() };
    raw.flags = args.flags | libc::CLONE_PIDFD as u64;
    raw.pidfd = (&raw mut pidfd) as u64;
    if args.flags & libc::CLONE_PARENT as u64 == 0 {
        raw.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = args.cgroup {
        raw.flags |= CLONE_INTO_CGROUP;
        raw.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: no stack is given and no memory is shared, so the child runs on a copy of this
    // one; `raw` and `pidfd` outlive the call, which writes the pidfd only.
    let ret = unsafe { libc::syscall(libc::SYS_clone3, &raw const raw, size_of_val(&raw)) };
    match check(ret)? {
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: the kernel has just made this descriptor for us.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            let pid = Pid::from_raw(pid as i32).ok_or(crate::Errno::SRCH)?;
            Ok(Cloned::Parent { pid, pidfd })
        }
    }
}

/// fork(2), for where clone3 may be denied: seccomp profiles cannot look into its arguments.
///
/// Call it from a process with one thread only. The child gets `None`.
pub fn fork() -> Result<Option<Pid>> {
    // SAFETY: no memory is shared with the child, and by contract no other thread holds a lock.
    let pid = check(unsafe { libc::fork() }.into())?;
    Ok(Pid::from_raw(pid as i32))
}

/// Ends the process at once, without running exit handlers.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) has no preconditions.
    unsafe { libc::_exit(code) }
}

/// setns(2): `fd` is a namespace file or a pidfd, `flags` are `CLONE_NEW*`.
pub fn setns(fd: BorrowedFd<'_>, flags: i32) -> Result<()> {
    // SAFETY: changes kernel-side state of this thread only.
    check(unsafe { libc::setns(fd.as_raw_fd(), flags) }.into()).map(drop)
}

/// The kind of namespace behind a descriptor, as its `CLONE_NEW*` flag (`NS_GET_NSTYPE`,
/// ioctl_ns(2)); `ENOTTY` for what is none.
pub fn namespace_type(fd: BorrowedFd<'_>) -> Result<i32> {
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: the request takes no argument.
    let ret = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) };
    check(ret.into()).map(|kind| kind as i32)
}

/// unshare(2) of namespaces; flags that would unshare descriptor tables are refused.
pub fn unshare(flags: i32) -> Result<()> {
    if flags & libc::CLONE_FILES != 0 {
        return Err(crate::Errno::INVAL);
    }
    // SAFETY: without CLONE_FILES no descriptor changes owner.
    check(unsafe { libc::unshare(flags) }.into()).map(drop)
}

/// Marks every descriptor from `first` on close-on-exec.
pub fn cloexec_from(first: RawFd) -> Result<()> {
    // SAFETY: CLOSE_RANGE_CLOEXEC only sets a flag, nothing is closed.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    check(ret).map(drop)
}

/// Closes every descriptor from `first` to `last`.
///
/// For a copy of a process that is about to execve: whatever owned them in it must never be used
/// or dropped again.
pub fn close_range(first: RawFd, last: RawFd) -> Result<()> {
    // SAFETY: no memory is involved; the caller gives up the descriptors.
    let ret = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    check(ret).map(drop)
}

/// Sets every signal that can be to its default disposition and empties the signal mask.
///
/// For a process that is about to execve: handlers do not survive, but ignored signals (the Rust
/// runtime ignores SIGPIPE) and the mask do.
pub fn reset_signals() {
    // SAFETY: all-zero is a valid sigaction (SIG_DFL, empty mask) and sigset_t; errors are only
    // "this signal cannot be changed".
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        for signal in 1..=64 {
            libc::sigaction(signal, &raw const default, std::ptr::null_mut());
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Ends the process with `128 + signal` when one of these comes, until the next execve.
///
/// For the first process of a pid namespace: the kernel keeps signals from it that it has no
/// handler for.
pub fn exit_on(signals: &[i32]) {
    extern "C" fn end(signal: libc::c_int) {
        exit_now(128 + signal);
    }
    let handler = end as extern "C" fn(libc::c_int) as libc::sighandler_t;
    for &signal in signals {
        // SAFETY: the handler only calls _exit(2), which is async-signal-safe.
        unsafe { libc::signal(signal, handler) };
    }
}

/// Blocks the given signals in this thread, as a signalfd wants them.
pub fn block_signals(signals: &[i32]) -> Result<()> {
    let set = signal_set(signals);
    // SAFETY: `set` is an initialised sigset_t.
    let ret = unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    check(ret.into()).map(drop)
}

/// A close-on-exec, non-blocking signalfd(2) for the given signals.
pub fn signalfd(signals: &[i32]) -> Result<OwnedFd> {
    let set = signal_set(signals);
    // SAFETY: `set` is an initialised sigset_t; -1 asks for a new descriptor.
    let ret = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    let fd = check(ret.into())?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Takes one signal number from a [`signalfd`]; `None` when none is pending.
pub fn read_signal(fd: BorrowedFd<'_>) -> Result<Option<i32>> {
    let mut buffer = [0u8; size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(fd, &mut buffer) {
        Ok(n) if n == buffer.len() => {
            let [a, b, c, d, ..] = buffer;
            Ok(Some(u32::from_ne_bytes([a, b, c, d]) as i32))
        }
        Ok(_) => Ok(None),
        Err(crate::Errno::AGAIN) => Ok(None),
        Err(error) => Err(error),
    }
}

fn signal_set(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: sigemptyset initialises the set; sigaddset refuses bad numbers.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for &signal in signals {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}

/// pidfd_send_signal(2) with any number, also real-time ones; 0 only tests.
pub fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // SAFETY: a null siginfo is allowed.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    check(ret).map(drop)
}

/// kill(2) with any signal number and any pid form.
pub fn kill(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::kill(pid, signal) }.into()).map(drop)
}

/// personality(2).
pub fn personality(persona: u32) -> Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::personality(persona.into()) }.into()).map(drop)
}

/// Leaves the session keyring for a new, empty, anonymous one (`KEYCTL_JOIN_SESSION_KEYRING`).
pub fn new_session_keyring() -> Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_JOIN_SESSION_KEYRING,
            0usize,
            0,
            0,
            0,
        )
    };
    check(ret).map(drop)
}

/// The mount namespace of the process behind a pidfd (`PIDFD_GET_MNT_NAMESPACE`, Linux 6.11).
pub fn pidfd_mount_namespace(pidfd: BorrowedFd<'_>) -> Result<OwnedFd> {
    const PIDFD_GET_MNT_NAMESPACE: libc::c_ulong = 0xff03;
    // SAFETY: the request takes no argument and returns a new descriptor.
    let ret = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_MNT_NAMESPACE as _, 0) };
    let fd = check(ret.into())?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// I/O priority of the calling process: class 1 to 3, level 0 to 7 (ioprio_set(2)).
pub fn set_io_priority(class: u16, level: u16) -> Result<()> {
    const WHO_PROCESS: libc::c_int = 1;
    let value = (libc::c_int::from(class) << 13) | libc::c_int::from(level);
    // SAFETY: no memory is involved.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) }).map(drop)
}

/// Processors that the calling thread may run on, as bits (sched_getaffinity(2)).
pub fn affinity() -> Result<Vec<u64>> {
    let mut mask = vec![0u64; 128];
    // SAFETY: the length is that of `mask`, of which the kernel writes at most so much.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_sched_getaffinity,
            0,
            size_of_val(mask.as_slice()),
            mask.as_mut_ptr(),
        )
    };
    let bytes = check(ret)? as usize;
    mask.truncate(bytes.div_ceil(8));
    Ok(mask)
}

/// sched_setaffinity(2) of the calling thread; processors that do not exist are ignored.
pub fn set_affinity(mask: &[u64]) -> Result<()> {
    // SAFETY: pointer and length describe `mask`.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_sched_setaffinity,
            0,
            size_of_val(mask),
            mask.as_ptr(),
        )
    };
    check(ret).map(drop)
}

/// set_mempolicy(2) of the calling thread; `mode` is `MPOL_*` with its flags.
pub fn set_memory_policy(mode: i32, nodes: &[u32]) -> Result<()> {
    let mut mask = vec![0u64; nodes.iter().max().map_or(0, |n| *n as usize / 64 + 1)];
    for n in nodes {
        if let Some(word) = mask.get_mut(*n as usize / 64) {
            *word |= 1 << (n % 64);
        }
    }
    let pointer = match mask.is_empty() {
        true => std::ptr::null(),
        false => mask.as_ptr(),
    };
    // The kernel takes one bit less than it is told.
    let bits = mask.len() * 64 + usize::from(!mask.is_empty());
    // SAFETY: the pointer is null with a count of 0, or to as many bits as are told.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) }).map(drop)
}

/// sched_setattr(2) attributes, version 1.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct SchedAttr {
    /// Filled in by [`set_scheduler`].
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For SCHED_OTHER and SCHED_BATCH.
    pub nice: i32,
    /// For SCHED_FIFO and SCHED_RR.
    pub priority: u32,
    /// For SCHED_DEADLINE, nanoseconds.
    pub runtime: u64,
    /// Nanoseconds.
    pub deadline: u64,
    /// Nanoseconds.
    pub period: u64,
    /// Lower clamp of utilization, for SCHED_FLAG_UTIL_CLAMP_MIN.
    pub util_min: u32,
    /// Upper clamp.
    pub util_max: u32,
}

/// sched_setattr(2) on the calling thread.
pub fn set_scheduler(mut attr: SchedAttr) -> Result<()> {
    attr.size = size_of::<SchedAttr>() as u32;
    // SAFETY: `attr` has the kernel's layout and its own size, and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) }).map(drop)
}

/// A limit of the calling process by its `RLIMIT_*` number; `u64::MAX` is unlimited.
pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: `limit` outlives the call; a null old limit is allowed.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            &raw const limit,
            std::ptr::null_mut::<libc::rlimit64>(),
        )
    };
    check(ret).map(drop)
}

/// `(soft, hard)` of a limit of the calling process.
pub fn rlimit(resource: u32) -> Result<(u64, u64)> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` outlives the call, which writes it; a null new limit is allowed.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            std::ptr::null::<libc::rlimit64>(),
            &raw mut limit,
        )
    };
    check(ret).map(|_| (limit.rlim_cur, limit.rlim_max))
}

/// Host name of the calling thread's UTS namespace.
pub fn set_hostname(name: &[u8]) -> Result<()> {
    // SAFETY: pointer and length describe `name`.
    check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }.into()).map(drop)
}

/// NIS domain name of the calling thread's UTS namespace.
pub fn set_domainname(name: &[u8]) -> Result<()> {
    // SAFETY: pointer and length describe `name`.
    check(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }.into()).map(drop)
}

/// Makes the terminal on `fd` the controlling one of this session.
pub fn set_controlling_terminal(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: TIOCSCTTY takes an integer.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSCTTY, 0) }.into()).map(drop)
}

/// Puts `fd` at the descriptor number `target`, which stays open across execve.
pub fn place_fd(fd: BorrowedFd<'_>, target: RawFd) -> Result<()> {
    if fd.as_raw_fd() == target {
        return rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty());
    }
    // SAFETY: the caller gives up what was at `target`; used for 0 to 2 before execve, where the
    // standard library never owns the number.
    check(unsafe { libc::dup2(fd.as_raw_fd(), target) }.into()).map(drop)
}

/// Drops every supplementary group and takes these; raw, without signalling other threads.
pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: pointer and length describe `groups`; gid_t is u32.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}
