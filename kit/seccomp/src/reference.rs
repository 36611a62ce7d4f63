//! What a profile means, said twice and slowly: rule by rule, and instruction by instruction.
//!
//! [`verdict`] reads the rules as they are written; [`interpret`] runs a compiled program as the
//! kernel would. Where they differ the compiler is wrong: tests and fuzzers compare them.

use crate::tables::{self, X32_BIT};
use crate::{Action, Arch, Arg, Compare, Instruction, Profile};

/// One system call, as the kernel shows it to a filter (struct seccomp_data).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Its number; of x32 with its marking bit.
    pub number: u32,
    /// Its arguments.
    pub args: [u64; 6],
}

/// `AUDIT_ARCH_X86_64`, of x32 as well.
pub const AUDIT_X86_64: u32 = 0xc000_003e;
/// `AUDIT_ARCH_I386`.
pub const AUDIT_X86: u32 = 0x4000_0003;
/// `AUDIT_ARCH_AARCH64`.
pub const AUDIT_AARCH64: u32 = 0xc000_00b7;

/// What the profile wants done with a call.
pub fn verdict(profile: &Profile, call: &Call) -> Action {
    let mut archs = profile.archs.clone();
    if archs.is_empty() {
        archs.extend(Arch::native());
    }
    let Some(arch) = arch_of(call).filter(|arch| archs.contains(arch)) else {
        return Action::KillThread;
    };
    let table = tables::table(arch);
    let (mut conditional, mut newest) = (None, 0);
    for rule in &profile.rules {
        for name in &rule.names {
            let number = table.get(name.as_str()).copied();
            newest = newest.max(number.unwrap_or(0));
            if let Some((mux, _)) = tables::multiplexed(arch, name).filter(|_| rule.args.is_empty())
            {
                newest = newest.max(mux);
            }
            // What says no more than the default is no rule.
            if rule.action == profile.default {
                continue;
            }
            let sub = tables::multiplexed(arch, name)
                .filter(|(mux, sub)| {
                    let first = call.args.first().copied().unwrap_or(0);
                    rule.args.is_empty() && *mux == call.number && first as u32 == *sub
                })
                .is_some();
            if number == Some(call.number) && rule.args.is_empty() {
                // The first without conditions is final.
                return rule.action;
            }
            let direct = number == Some(call.number) && holds(&rule.args, call, arch);
            if conditional.is_none() && (sub || direct) {
                conditional = Some(rule.action);
            }
        }
    }
    match conditional {
        Some(action) => action,
        None if unknown(profile, call, newest) => Action::Errno(38),
        None => profile.default,
    }
}

/// Newer than everything the profile names on this architecture, if it names anything.
fn unknown(profile: &Profile, call: &Call, newest: u32) -> bool {
    let permissive = matches!(
        profile.default,
        Action::Allow | Action::Log | Action::Trace(_)
    );
    profile.enosys && !permissive && newest != 0 && call.number > newest
}

fn arch_of(call: &Call) -> Option<Arch> {
    Some(match (call.arch, call.number >= X32_BIT) {
        (AUDIT_X86_64, false) => Arch::X86_64,
        (AUDIT_X86_64, true) => Arch::X32,
        (AUDIT_X86, _) => Arch::X86,
        (AUDIT_AARCH64, _) => Arch::Aarch64,
        _ => return None,
    })
}

/// All conditions, or any where two are on the same argument.
fn holds(args: &[Arg], call: &Call, arch: Arch) -> bool {
    let twice = args
        .iter()
        .enumerate()
        .any(|(n, a)| args.iter().take(n).any(|b| a.index == b.index));
    let one = |arg: &Arg| {
        let seen = call.args.get(arg.index as usize).copied().unwrap_or(0);
        // A 32-bit architecture has no more of an argument; of x32 no more is compared.
        let cut = |value: u64| match arch {
            Arch::X86 | Arch::X32 => u64::from(value as u32),
            _ => value,
        };
        let (seen, value) = (cut(seen), cut(arg.value));
        match arg.compare {
            Compare::Ne => seen != value,
            Compare::Lt => seen < value,
            Compare::Le => seen <= value,
            Compare::Eq => seen == value,
            Compare::Ge => seen >= value,
            Compare::Gt => seen > value,
            // Bits of the value that the mask leaves out do not count.
            Compare::MaskedEq(mask) => seen & cut(mask) == value & cut(mask),
        }
    };
    match twice {
        true => args.iter().any(one),
        false => args.iter().all(one),
    }
}

/// Runs a program over a call and gives what it returns; `None` for a program that the kernel
/// would not have loaded (Documentation/userspace-api/seccomp_filter.rst).
pub fn interpret(program: &[Instruction], call: &Call) -> Option<u32> {
    let mut data = Vec::with_capacity(64);
    data.extend(call.number.to_le_bytes());
    data.extend(call.arch.to_le_bytes());
    data.extend(0u64.to_le_bytes());
    call.args.iter().for_each(|a| data.extend(a.to_le_bytes()));
    let (mut accumulator, mut at) = (0u32, 0usize);
    loop {
        let i = program.get(at)?;
        at += 1;
        let branch = |yes: bool| usize::from(if yes { i.jt } else { i.jf });
        match i.code {
            0x20 if i.k.is_multiple_of(4) => {
                let from = i.k as usize;
                let word = data.get(from..from + 4)?;
                accumulator = u32::from_le_bytes(word.try_into().ok()?);
            }
            0x54 => accumulator &= i.k,
            0x05 => at += i.k as usize,
            0x15 => at += branch(accumulator == i.k),
            0x25 => at += branch(accumulator > i.k),
            0x35 => at += branch(accumulator >= i.k),
            0x06 => return Some(i.k),
            _ => return None,
        }
    }
}

/// What a filter returns for an action (`SECCOMP_RET_*` with its data).
pub fn value(action: Action) -> u32 {
    match action {
        Action::KillProcess => 0x8000_0000,
        Action::KillThread => 0,
        Action::Trap => 0x0003_0000,
        Action::Errno(n) => 0x0005_0000 | u32::from(n),
        Action::Notify => 0x7fc0_0000,
        Action::Trace(n) => 0x7ff0_0000 | u32::from(n),
        Action::Log => 0x7ffc_0000,
        Action::Allow => 0x7fff_0000,
    }
}

/// Names of all calls of an architecture with their numbers, for choosing some.
pub fn calls(arch: Arch) -> Vec<(&'static str, u32)> {
    let all = tables::table(arch).iter();
    let mut all: Vec<_> = all.map(|(name, number)| (*name, *number)).collect();
    all.sort_unstable();
    all
}
