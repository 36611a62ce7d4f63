//! Numbers of system calls by name.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::Arch;

mod aarch64;
mod x86;
mod x86_64;

/// Of x32, where it does not use x86_64's numbers.
const X32: &str = "@512 rt_sigaction rt_sigreturn ioctl readv writev recvfrom sendmsg recvmsg \
    execve ptrace rt_sigpending rt_sigtimedwait rt_sigqueueinfo sigaltstack timer_create \
    mq_notify kexec_load waitid set_robust_list get_robust_list vmsplice move_pages preadv \
    pwritev rt_tgsigqueueinfo recvmmsg sendmmsg process_vm_readv process_vm_writev setsockopt \
    getsockopt io_setup io_submit execveat preadv2 pwritev2";

/// Of x86_64, what x32 does not have at all.
const NOT_X32: [&str; 11] = [
    "uselib",
    "_sysctl",
    "create_module",
    "get_kernel_syms",
    "query_module",
    "nfsservctl",
    "set_thread_area",
    "get_thread_area",
    "epoll_ctl_old",
    "epoll_wait_old",
    "vserver",
];

/// Marks an x32 call in the number the kernel reports.
pub(crate) const X32_BIT: u32 = 0x4000_0000;

/// Subcalls of 32-bit x86's `socketcall`.
const SOCKETCALL: [(&str, u32); 20] = [
    ("socket", 1),
    ("bind", 2),
    ("connect", 3),
    ("listen", 4),
    ("accept", 5),
    ("getsockname", 6),
    ("getpeername", 7),
    ("socketpair", 8),
    ("send", 9),
    ("recv", 10),
    ("sendto", 11),
    ("recvfrom", 12),
    ("shutdown", 13),
    ("setsockopt", 14),
    ("getsockopt", 15),
    ("sendmsg", 16),
    ("recvmsg", 17),
    ("accept4", 18),
    ("recvmmsg", 19),
    ("sendmmsg", 20),
];

/// Subcalls of 32-bit x86's `ipc`.
const IPC: [(&str, u32); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

/// Numbers by name; x32's carry its marking bit.
pub(crate) fn table(arch: Arch) -> &'static Table {
    static TABLES: [OnceLock<Table>; 4] = [const { OnceLock::new() }; 4];
    let [x86_64, x86, x32, aarch64] = &TABLES;
    let cell = match arch {
        Arch::X86_64 => x86_64,
        Arch::X86 => x86,
        Arch::X32 => x32,
        Arch::Aarch64 => aarch64,
    };
    cell.get_or_init(|| read(arch))
}

type Table = HashMap<&'static str, u32>;

fn read(arch: Arch) -> Table {
    match arch {
        Arch::X86_64 => parse(x86_64::TABLE),
        Arch::X86 => parse(x86::TABLE),
        Arch::Aarch64 => parse(aarch64::TABLE),
        Arch::X32 => {
            let mut all = parse(x86_64::TABLE);
            all.retain(|name, _| !NOT_X32.contains(name));
            all.extend(parse(X32));
            all.values_mut().for_each(|n| *n |= X32_BIT);
            all
        }
    }
}

/// The number of a multiplexer and the value of its first argument that stand for `name`.
pub(crate) fn multiplexed(arch: Arch, name: &str) -> Option<(u32, u32)> {
    if arch != Arch::X86 {
        return None;
    }
    let find = |list: &[(&str, u32)]| list.iter().find(|(n, _)| *n == name).map(|(_, s)| *s);
    find(&SOCKETCALL)
        .map(|sub| (102, sub))
        .or_else(|| find(&IPC).map(|sub| (117, sub)))
}

fn parse(text: &'static str) -> HashMap<&'static str, u32> {
    let mut out = HashMap::with_capacity(512);
    let mut next = 0;
    for word in text.split_whitespace() {
        match word.strip_prefix('@').and_then(|n| n.parse().ok()) {
            Some(n) => next = n,
            None => {
                out.insert(word, next);
                next += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers() {
        let n = |arch, name: &str| table(arch).get(name).copied();
        assert_eq!(n(Arch::X86_64, "read"), Some(0));
        assert_eq!(n(Arch::X86_64, "clone3"), Some(435));
        assert_eq!(n(Arch::X86_64, "rseq"), Some(334));
        assert_eq!(n(Arch::X86_64, "mseal"), Some(462));
        assert_eq!(n(Arch::X86, "socketcall"), Some(102));
        assert_eq!(n(Arch::X86, "ipc"), Some(117));
        assert_eq!(n(Arch::X86, "accept4"), Some(364));
        assert_eq!(n(Arch::Aarch64, "openat"), Some(56));
        assert_eq!(n(Arch::Aarch64, "clone3"), Some(435));
        assert_eq!(n(Arch::X32, "ioctl"), Some(514 | X32_BIT));
        assert_eq!(n(Arch::X32, "write"), Some(1 | X32_BIT));
        assert_eq!(n(Arch::Aarch64, "fork"), None);
    }
}
