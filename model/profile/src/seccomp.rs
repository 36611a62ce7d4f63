//! The default system call filter, as our own table.
//!
//! Everything a container may call without asking for more, what each capability opens, and the
//! few calls that depend on their arguments. The rest fails with EPERM.

use oci::runtime::{Seccomp, SeccompArg, SeccompRule};

use crate::Host;

/// Open to every container.
const ALWAYS: &str = "\
    _llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset \
    chdir chmod chown chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 \
    clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range \
    connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl \
    epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve \
    execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark \
    fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr \
    flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync \
    ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake \
    futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid \
    getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername \
    getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid \
    getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid \
    getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch \
    io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit \
    ioctl ioprio_get ioprio_set ipc kill landlock_add_rule landlock_create_ruleset \
    landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr \
    listxattrat llistxattr lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack \
    membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 \
    mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive \
    mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget \
    msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat open \
    openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free \
    pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 \
    process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink \
    readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr \
    removexattrat rename renameat renameat2 restart_syscall riscv_hwprobe rmdir rseq \
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend \
    rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max \
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler \
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr \
    sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop \
    semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list \
    set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 \
    setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid \
    setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid \
    setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd \
    signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 \
    statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time \
    timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime \
    timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime \
    timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat \
    uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write \
    writev";

/// Opened by a capability.
const BY_CAPABILITY: [(&str, &str); 14] = [
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "\
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie \
        lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount \
        open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog \
        umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module finit_module init_module"),
    ("CAP_SYS_PACCT", "acct"),
    (
        "CAP_SYS_PTRACE",
        "\
        kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    ),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    (
        "CAP_SYS_TIME",
        "clock_settime clock_settime64 settimeofday stime",
    ),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    (
        "CAP_SYS_NICE",
        "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    ),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

/// Of some architectures only, in Go's names.
const BY_ARCHITECTURE: [(&[&str], &str); 6] = [
    (&["ppc64le"], "swapcontext sync_file_range2"),
    (
        &["arm", "arm64"],
        "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    ),
    (&["amd64", "x32"], "arch_prctl"),
    (&["amd64", "x32", "x86"], "modify_ldt"),
    (
        &["s390", "s390x"],
        "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
    ),
    (&["riscv64"], "riscv_flush_icache"),
];

/// Harmless since ptrace cannot get round a filter any more (Linux 4.8).
const TRACING: &str = "process_vm_readv process_vm_writev ptrace";

/// Clone flags that make namespaces.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;

/// Linux, the 32-bit and the UNAME26 personalities, and asking for the present one.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

const AF_ALG: u64 = 38;
const AF_NFC: u64 = 39;
const AF_VSOCK: u64 = 40;
const ENOSYS: u32 = 38;

/// The default filter for a container with these bounding capabilities on this host.
pub fn default_seccomp(host: Host<'_>, capabilities: &[String]) -> Seccomp {
    let has = |name: &str| capabilities.iter().any(|c| c == name);
    let mut rules = vec![allow(ALWAYS)];
    if host.kernel >= (4, 8) {
        rules.push(allow(TRACING));
    }
    // Every family but AF_ALG and AF_VSOCK, which are not confined to the network namespace.
    rules.push(when("socket", 0, "LT", AF_ALG, 0));
    rules.push(when("socket", 0, "EQ", AF_NFC, 0));
    rules.push(when("socket", 0, "GT", AF_VSOCK, 0));
    rules.extend(PERSONALITIES.map(|p| when("personality", 0, "EQ", p, 0)));
    for (architectures, names) in BY_ARCHITECTURE {
        if architectures.contains(&host.architecture) {
            rules.push(allow(names));
        }
    }
    for (_, names) in BY_CAPABILITY
        .iter()
        .filter(|(capability, _)| has(capability))
    {
        rules.push(allow(names));
    }
    if !has("CAP_SYS_ADMIN") {
        // Flags are the second argument on s390.
        let index = u32::from(matches!(host.architecture, "s390" | "s390x"));
        rules.push(when("clone", index, "MASKED_EQ", NAMESPACE_FLAGS, 0));
        // Its flags are behind a pointer: told to be missing, programs fall back to clone.
        rules.push(SeccompRule {
            names: vec!["clone3".into()],
            action: "SCMP_ACT_ERRNO".into(),
            errno_ret: Some(ENOSYS),
            args: Vec::new(),
        });
    }
    Seccomp {
        default_action: "SCMP_ACT_ERRNO".into(),
        default_errno_ret: Some(1),
        architectures: architectures(host.architecture),
        syscalls: rules,
        ..Seccomp::default()
    }
}

/// The machine's own and those it can run as well.
fn architectures(architecture: &str) -> Vec<String> {
    let list: &[&str] = match architecture {
        "amd64" => &["X86_64", "X86", "X32"],
        "arm64" => &["AARCH64", "ARM"],
        _ => &[],
    };
    list.iter().map(|a| format!("SCMP_ARCH_{a}")).collect()
}

fn allow(names: &str) -> SeccompRule {
    SeccompRule {
        names: names.split_whitespace().map(str::to_owned).collect(),
        action: "SCMP_ACT_ALLOW".into(),
        ..SeccompRule::default()
    }
}

fn when(name: &str, index: u32, op: &str, value: u64, value_two: u64) -> SeccompRule {
    let op = format!("SCMP_CMP_{op}");
    SeccompRule {
        args: vec![SeccompArg {
            index,
            value,
            value_two,
            op,
        }],
        ..allow(name)
    }
}

#[cfg(test)]
mod tests;
