//! Compiles seccomp profiles to BPF.
//!
//! One section per architecture, each a binary search over ranges of numbers with the same
//! verdict: a list of some 360 allowed calls is about 60 ranges, so a verdict takes about seven
//! comparisons. Names that an architecture does not have are skipped.

mod compile;
mod parse;
#[cfg(test)]
mod property;
pub mod reference;
mod tables;

pub use compile::compile;
pub use parse::{action, arch, compare, flag};
pub use sys::seccomp::Instruction;

/// Why a profile cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A word of the profile is not known.
    #[error("unknown seccomp {0} {1:?}")]
    Unknown(&'static str, String),
    /// Arguments are numbered 0 to 5.
    #[error("seccomp rule for {0:?}: argument index {1} is not in 0 to 5")]
    Index(String, u32),
    /// The program is longer than the kernel takes.
    #[error("seccomp profile is too large: {0} instructions, the kernel takes 4096")]
    TooLarge(usize),
}

/// Result of compiling.
pub type Result<T> = std::result::Result<T, Error>;

/// What is done with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The process dies by SIGSYS.
    KillProcess,
    /// The thread dies.
    KillThread,
    /// SIGSYS.
    Trap,
    /// The call fails with this errno.
    Errno(u16),
    /// A tracer is told, with this value.
    Trace(u16),
    /// Logged and allowed.
    Log,
    /// Allowed.
    Allow,
    /// A listener decides.
    Notify,
}

/// Architectures that this crate knows calls of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86.
    X86,
    /// 64-bit x86 with 32-bit pointers.
    X32,
    /// 64-bit ARM.
    Aarch64,
}

/// A comparison of an argument; values are unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compare {
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `==`
    Eq,
    /// `>=`
    Ge,
    /// `>`
    Gt,
    /// `argument & mask == value & mask`, the mask being this.
    MaskedEq(u64),
}

/// One condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Arg {
    /// 0 to 5.
    pub index: u32,
    /// How.
    pub compare: Compare,
    /// With what.
    pub value: u64,
}

/// One rule; all of its conditions must hold, unless two are on the same argument: then each is
/// a rule of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// System calls.
    pub names: Vec<String>,
    /// What is done.
    pub action: Action,
    /// Conditions; none means always.
    pub args: Vec<Arg>,
}

/// A whole profile. A rule without conditions beats those with; else the first that matches wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// For what no rule matches.
    pub default: Action,
    /// Architectures it allows at all; empty means this machine's own. Calls of others kill.
    pub archs: Vec<Arch>,
    /// Rules.
    pub rules: Vec<Rule>,
    /// Calls newer than the newest that the profile names fail with ENOSYS instead of the
    /// default, so that programs fall back as on an older kernel.
    pub enosys: bool,
}

impl Arch {
    /// This machine's.
    pub fn native() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "x86" => Some(Self::X86),
            "aarch64" => Some(Self::Aarch64),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
