//! A profile made of the bytes: its program decides as the profile reads.
#![no_main]

use std::sync::OnceLock;

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use seccomp::reference::{
    AUDIT_AARCH64, AUDIT_X86, AUDIT_X86_64, Call, calls, interpret, value, verdict,
};
use seccomp::{Action, Arch, Arg, Compare, Profile, Rule, compile};

const ARCHS: [Arch; 4] = [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64];

fn names() -> &'static [&'static str] {
    static NAMES: OnceLock<Vec<&str>> = OnceLock::new();
    NAMES.get_or_init(|| {
        let all = ARCHS.into_iter().flat_map(calls).map(|(name, _)| name);
        // The multiplexers themselves, next to what they stand for, mean nothing of their own.
        let mut all: Vec<&str> = all
            .filter(|n| !matches!(*n, "ipc" | "socketcall"))
            .collect();
        all.push("no_such_call");
        all.sort_unstable();
        all.dedup();
        all
    })
}

/// All calls of an architecture, looked up once.
fn table(arch: Arch) -> &'static [(&'static str, u32)] {
    static TABLES: [OnceLock<Vec<(&str, u32)>>; 4] = [const { OnceLock::new() }; 4];
    let at = ARCHS.iter().position(|a| *a == arch).unwrap_or_default();
    TABLES[at].get_or_init(|| calls(arch))
}

fn action(u: &mut Unstructured<'_>) -> arbitrary::Result<Action> {
    Ok(match u.int_in_range(0..=7)? {
        0 => Action::KillProcess,
        1 => Action::KillThread,
        2 => Action::Trap,
        3 => Action::Errno(u.arbitrary()?),
        4 => Action::Trace(u.arbitrary()?),
        5 => Action::Log,
        6 => Action::Notify,
        _ => Action::Allow,
    })
}

/// Often near an edge, so that comparisons meet.
fn value_of(u: &mut Unstructured<'_>) -> arbitrary::Result<u64> {
    Ok(match u.int_in_range(0..=3)? {
        0 => u.arbitrary()?,
        1 => u64::from(u.arbitrary::<u8>()?),
        2 => u64::from(u.arbitrary::<u8>()?) << 32,
        _ => u64::MAX - u64::from(u.arbitrary::<u8>()?),
    })
}

fn arg(u: &mut Unstructured<'_>) -> arbitrary::Result<Arg> {
    Ok(Arg {
        index: u.int_in_range(0..=5)?,
        compare: match u.int_in_range(0..=6)? {
            0 => Compare::Ne,
            1 => Compare::Lt,
            2 => Compare::Le,
            3 => Compare::Eq,
            4 => Compare::Ge,
            5 => Compare::Gt,
            _ => Compare::MaskedEq(value_of(u)?),
        },
        value: value_of(u)?,
    })
}

fn some<T>(
    u: &mut Unstructured<'_>,
    most: usize,
    mut one: impl FnMut(&mut Unstructured<'_>) -> arbitrary::Result<T>,
) -> arbitrary::Result<Vec<T>> {
    (0..u.int_in_range(0..=most)?).map(|_| one(u)).collect()
}

fn rule(u: &mut Unstructured<'_>) -> arbitrary::Result<Rule> {
    Ok(Rule {
        names: some(u, 6, |u| u.choose(names()).map(|n| (*n).to_owned()))?,
        action: action(u)?,
        args: some(u, 4, arg)?,
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
        let archs = ARCHS.into_iter().enumerate();
        let profile = Profile {
            default: action(u)?,
            archs: archs
                .filter(|(n, _)| mask & (1 << n) != 0)
                .map(|(_, arch)| arch)
                .collect(),
            enosys: u.arbitrary()?,
            rules: some(u, 20, rule)?,
        };
        let calls = some(u, 40, |u| {
            let (audit, arch) = *u.choose(&[
                (AUDIT_X86_64, Arch::X86_64),
                (AUDIT_X86_64, Arch::X32),
                (AUDIT_X86, Arch::X86),
                (AUDIT_AARCH64, Arch::Aarch64),
            ])?;
            let named = || profile.rules.iter().flat_map(|r| &r.names);
            let number = match u.int_in_range(0..=2)? {
                0 => u.arbitrary()?,
                1 => u.int_in_range(0..=500)?,
                _ => {
                    let of_rules = named().nth(u.int_in_range(0..=30)?);
                    let mut all = table(arch).iter();
                    let found = all.find(|(n, _)| of_rules.is_some_and(|o| o == n));
                    found.map_or(0, |(_, n)| *n)
                }
            };
            let mut args = [0; 6];
            for slot in &mut args {
                *slot = value_of(u)?;
            }
            Ok(Call {
                arch: if u.ratio(1, 50)? {
                    u.arbitrary()?
                } else {
                    audit
                },
                number,
                args,
            })
        })?;
        Ok(Self { profile, calls })
    }
}

fuzz_target!(|case: Case| {
    let Ok(program) = compile(&case.profile) else {
        return;
    };
    for call in &case.calls {
        assert_eq!(
            interpret(&program, call),
            Some(value(verdict(&case.profile, call))),
            "{call:?}"
        );
    }
});
