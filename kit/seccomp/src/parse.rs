//! The words that profiles are written in.

use crate::{Action, Arch, Compare, Error, Result};

/// `SCMP_ACT_*`, with the errno (or tracer's value) of those that have one; EPERM when absent.
pub fn action(name: &str, errno: Option<u32>) -> Result<Action> {
    let value = match errno {
        None => 1,
        Some(n) => u16::try_from(n).map_err(|_| Error::Unknown("errno", n.to_string()))?,
    };
    Ok(match name {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_ERRNO" => Action::Errno(value),
        "SCMP_ACT_TRACE" => Action::Trace(value),
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_NOTIFY" => Action::Notify,
        _ => return Err(Error::Unknown("action", name.into())),
    })
}

/// `SCMP_ARCH_*`. `None` for one that exists but has no calls known here: its programs are killed
/// as those of every architecture that a profile does not list.
pub fn arch(name: &str) -> Result<Option<Arch>> {
    const OTHERS: [&str; 19] = [
        "ARM",
        "MIPS",
        "MIPS64",
        "MIPS64N32",
        "MIPSEL",
        "MIPSEL64",
        "MIPSEL64N32",
        "PPC",
        "PPC64",
        "PPC64LE",
        "S390",
        "S390X",
        "PARISC",
        "PARISC64",
        "RISCV64",
        "LOONGARCH64",
        "M68K",
        "SH",
        "SHEB",
    ];
    match name.strip_prefix("SCMP_ARCH_") {
        Some("NATIVE") => Ok(Arch::native()),
        Some("X86_64") => Ok(Some(Arch::X86_64)),
        Some("X86") => Ok(Some(Arch::X86)),
        Some("X32") => Ok(Some(Arch::X32)),
        Some("AARCH64") => Ok(Some(Arch::Aarch64)),
        Some(other) if OTHERS.contains(&other) => Ok(None),
        _ => Err(Error::Unknown("architecture", name.into())),
    }
}

/// `SCMP_CMP_*` with both values of the profile; gives the comparison and what to compare with.
pub fn compare(name: &str, value: u64, value_two: u64) -> Result<(Compare, u64)> {
    Ok(match name {
        "SCMP_CMP_NE" => (Compare::Ne, value),
        "SCMP_CMP_LT" => (Compare::Lt, value),
        "SCMP_CMP_LE" => (Compare::Le, value),
        "SCMP_CMP_EQ" => (Compare::Eq, value),
        "SCMP_CMP_GE" => (Compare::Ge, value),
        "SCMP_CMP_GT" => (Compare::Gt, value),
        "SCMP_CMP_MASKED_EQ" => (Compare::MaskedEq(value), value_two),
        _ => return Err(Error::Unknown("comparison", name.into())),
    })
}

/// `SECCOMP_FILTER_FLAG_*` as the kernel's bit.
pub fn flag(name: &str) -> Result<u32> {
    Ok(match name {
        "SECCOMP_FILTER_FLAG_TSYNC" => 1,
        "SECCOMP_FILTER_FLAG_LOG" => 2,
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => 4,
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => 1 << 5,
        _ => return Err(Error::Unknown("flag", name.into())),
    })
}
