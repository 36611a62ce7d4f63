//! A profile made of the bytes: its program decides as the profile reads.
#![no_main]

mod profiles;

use std::sync::OnceLock;

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use seccomp::reference::{
    AUDIT_AARCH64, AUDIT_X86, AUDIT_X86_64, Call, calls, interpret, value, verdict,
};
use seccomp::{Action, Arch, Profile, Rule, compile};

use profiles::{arg, some, value as value_of};

/// Bits by which values are off an edge.
const NEAR: u8 = 255;
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

fn rule(u: &mut Unstructured<'_>) -> arbitrary::Result<Rule> {
    Ok(Rule {
        names: some(u, 6, |u| u.choose(names()).map(|n| (*n).to_owned()))?,
        action: action(u)?,
        args: some(u, 4, |u| arg(u, NEAR))?,
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
                *slot = value_of(u, NEAR)?;
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
