//! A profile made of the bytes: our program decides as the one does that libseccomp makes of it,
//! the library that runc and crun compile their filters with.
//!
//! A call is named by one rule here, and an argument by one condition of it: between several the
//! library does not say which one comes first, and 2.5.4 loses some (a call that is to be killed
//! when its fourth argument is not 1, or when it is not -4, is let through with neither). What
//! several mean together is the affair of `filter`.
#![no_main]

mod profiles;

use std::collections::{HashMap, HashSet};
use std::io::{Read as _, Seek as _};
use std::sync::OnceLock;

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use libseccomp::error::SeccompErrno;
use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
};
use seccomp::reference::{AUDIT_AARCH64, AUDIT_X86, AUDIT_X86_64, Call, calls, interpret};
use seccomp::{Action, Arch, Arg, Compare, Instruction, Profile, Rule, compile};

use profiles::{arg, some, value as value_of};

/// Bits by which values are off an edge.
const NEAR: u8 = 3;
const ARCHS: [(Arch, ScmpArch, u32); 4] = [
    (Arch::X86_64, ScmpArch::X8664, AUDIT_X86_64),
    (Arch::X86, ScmpArch::X86, AUDIT_X86),
    (Arch::X32, ScmpArch::X32, AUDIT_X86_64),
    (Arch::Aarch64, ScmpArch::Aarch64, AUDIT_AARCH64),
];

/// Calls that both know by the same numbers on every architecture.
fn names() -> &'static [&'static str] {
    static NAMES: OnceLock<Vec<&str>> = OnceLock::new();
    NAMES.get_or_init(|| {
        let tables = ARCHS.map(|(arch, token, _)| {
            let ours: HashMap<&str, u32> = calls(arch).into_iter().collect();
            (arch, token, ours)
        });
        let all = tables
            .iter()
            .flat_map(|(_, _, table)| table.keys().copied());
        let mut all: Vec<&str> = all.collect();
        all.sort_unstable();
        all.dedup();
        all.retain(|name| {
            // The multiplexers themselves, next to what they stand for, mean nothing of their own.
            let known = |(arch, token, ours): &(Arch, ScmpArch, HashMap<&str, u32>)| {
                let theirs = ScmpSyscall::from_name_by_arch(name, *token);
                let theirs = theirs.ok().map(ScmpSyscall::as_raw_syscall);
                match (theirs.and_then(|n| u32::try_from(n).ok()), ours.get(name)) {
                    (Some(theirs), Some(ours)) => {
                        assert_eq!(theirs, *ours, "{name} of {arch:?}");
                        true
                    }
                    (None, None) => true,
                    // One of the two is older.
                    _ => false,
                }
            };
            !matches!(*name, "ipc" | "socketcall") && tables.iter().all(known)
        });
        assert!(all.len() > 350, "{}", all.len());
        all
    })
}

fn action(u: &mut Unstructured<'_>) -> arbitrary::Result<Action> {
    Ok(match u.int_in_range(0..=6)? {
        0 => Action::KillProcess,
        1 => Action::KillThread,
        2 => Action::Trap,
        3 => Action::Errno(u.int_in_range(0..=4094)?),
        4 => Action::Trace(u.arbitrary()?),
        5 => Action::Log,
        _ => Action::Allow,
    })
}

#[derive(Debug)]
struct Case {
    profile: Profile,
    calls: Vec<Call>,
}

impl<'a> Arbitrary<'a> for Case {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let mask: u8 = u.arbitrary()?;
        let mut rules: Vec<Rule> = some(u, 10, |u| {
            Ok(Rule {
                names: some(u, 4, |u| u.choose(names()).map(|n| (*n).to_owned()))?,
                action: action(u)?,
                args: some(u, 3, |u| arg(u, NEAR))?,
            })
        })?;
        let mut named = HashSet::new();
        for rule in &mut rules {
            rule.names.retain(|name| named.insert(name.clone()));
            let mut seen = HashSet::new();
            rule.args.retain(|arg| seen.insert(arg.index));
        }
        let profile = Profile {
            default: action(u)?,
            // The machine's own is always among them.
            archs: (0..4)
                .filter(|n| *n == 0 || mask & (1 << n) != 0)
                .map(|n| ARCHS[n].0)
                .collect(),
            enosys: false,
            rules,
        };
        let calls = some(u, 40, |u| {
            let (arch, _, audit) = *u.choose(&ARCHS)?;
            let named = || profile.rules.iter().flat_map(|r| &r.names);
            let number = match u.int_in_range(0..=3)? {
                0 => u.int_in_range(0..=500)?,
                _ => {
                    let name = named().nth(u.int_in_range(0..=20)?);
                    let table = table(arch);
                    name.and_then(|name| table.get(name.as_str()).copied())
                        .unwrap_or(0)
                }
            };
            let mut args = [0; 6];
            for slot in &mut args {
                *slot = value_of(u, NEAR)?;
            }
            Ok(Call {
                arch: audit,
                number,
                args,
            })
        })?;
        Ok(Self { profile, calls })
    }
}

fn table(arch: Arch) -> &'static HashMap<&'static str, u32> {
    static TABLES: [OnceLock<HashMap<&str, u32>>; 4] = [const { OnceLock::new() }; 4];
    let at = ARCHS.iter().position(|a| a.0 == arch).unwrap_or_default();
    TABLES[at].get_or_init(|| calls(arch).into_iter().collect())
}

fn theirs_of(action: Action) -> ScmpAction {
    match action {
        Action::KillProcess => ScmpAction::KillProcess,
        Action::KillThread => ScmpAction::KillThread,
        Action::Trap => ScmpAction::Trap,
        Action::Errno(n) => ScmpAction::Errno(n.into()),
        Action::Notify => ScmpAction::Notify,
        Action::Trace(n) => ScmpAction::Trace(n),
        Action::Log => ScmpAction::Log,
        Action::Allow => ScmpAction::Allow,
    }
}

fn condition(arg: &Arg) -> ScmpArgCompare {
    let op = match arg.compare {
        Compare::Ne => ScmpCompareOp::NotEqual,
        Compare::Lt => ScmpCompareOp::Less,
        Compare::Le => ScmpCompareOp::LessOrEqual,
        Compare::Eq => ScmpCompareOp::Equal,
        Compare::Ge => ScmpCompareOp::GreaterEqual,
        Compare::Gt => ScmpCompareOp::Greater,
        Compare::MaskedEq(mask) => ScmpCompareOp::MaskedEqual(mask),
    };
    ScmpArgCompare::new(arg.index, op, arg.value)
}

/// As runc feeds the library: what says no more than the default is left out.
fn theirs(profile: &Profile) -> Vec<Instruction> {
    libseccomp::set_api(6).expect("libseccomp 2.5");
    let mut context = ScmpFilterContext::new(theirs_of(profile.default)).expect("a context");
    for arch in &profile.archs {
        let token = ARCHS.iter().find(|a| a.0 == *arch).expect("known").1;
        context.add_arch(token).expect("an architecture");
    }
    for rule in profile.rules.iter().filter(|r| r.action != profile.default) {
        let all: Vec<_> = rule.args.iter().map(condition).collect();
        for name in &rule.names {
            // Of what this machine's architecture has not, a stand-in for the others.
            let call = ScmpSyscall::from_name(name).expect("a name that it knows");
            let added = context.add_rule_conditional(theirs_of(rule.action), call, &all);
            if let Err(error) = added
                && error.errno() != Some(SeccompErrno::EEXIST)
            {
                panic!("{name}: {error}");
            }
        }
    }
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let mut file = std::fs::File::from(rustix::fs::memfd_create("filter", flags).expect("a file"));
    context.export_bpf(&file).expect("a program");
    let mut bytes = Vec::new();
    file.rewind().expect("rewind");
    file.read_to_end(&mut bytes).expect("read");
    let instruction = |&[c0, c1, jt, jf, k0, k1, k2, k3]: &[u8; 8]| Instruction {
        code: u16::from_ne_bytes([c0, c1]),
        jt,
        jf,
        k: u32::from_ne_bytes([k0, k1, k2, k3]),
    };
    bytes.as_chunks::<8>().0.iter().map(instruction).collect()
}

fuzz_target!(|case: Case| {
    let Ok(ours) = compile(&case.profile) else {
        return;
    };
    let theirs = theirs(&case.profile);
    for call in &case.calls {
        let verdict = interpret(&theirs, call);
        assert!(verdict.is_some(), "libseccomp's program cannot be run");
        assert_eq!(interpret(&ours, call), verdict, "{call:?}");
    }
});
