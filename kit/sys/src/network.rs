//! Network namespaces and netlink sockets: the two calls that have no safe wrapper elsewhere.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::thread::UnshareFlags;

/// Puts the calling thread into a new, empty network namespace. Other threads stay where they are,
/// so this is for a thread that ends soon or goes back by itself.
pub fn unshare_network() -> io::Result<()> {
    #[expect(
        unsafe_code,
        reason = "rustix marks all unsharing unsafe because of CLONE_FILES"
    )]
    // SAFETY: only the flag CLONE_NEWNET is passed; descriptor tables, memory and the working
    // directory stay shared between threads, which is what the call is unsafe about.
    let done = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) };
    done.map_err(io::Error::from)
}

/// How much of what was sent on a unix socket its other end has not read yet, as the kernel counts
/// it: with its own overhead, and at times one byte too many while it is counting. Zero, or one,
/// means that all was read. (On TCP, what the other host has not acknowledged.)
pub fn unread_by_peer(socket: impl AsFd) -> io::Result<usize> {
    let mut unread: libc::c_int = 0;
    #[expect(unsafe_code, reason = "rustix has no SIOCOUTQ")]
    // SAFETY: the descriptor is open for the call, and the kernel writes one int to the pointer,
    // which is that of `unread`.
    let done = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut unread) };
    match done {
        0 => Ok(usize::try_from(unread).unwrap_or_default()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Switches an integer option of level `SOL_NETLINK` on, such as `NETLINK_EXT_ACK`.
pub fn enable_netlink_option(socket: impl AsFd, option: i32) -> io::Result<()> {
    let on: libc::c_int = 1;
    #[expect(unsafe_code, reason = "rustix knows no options of level SOL_NETLINK")]
    // SAFETY: the pointer and the length describe `on`, which outlives the call; the kernel only
    // reads from it.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
