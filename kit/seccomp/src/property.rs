//! Generated profiles: what is compiled is what is written.

use proptest::prelude::*;

use crate::reference::{
    AUDIT_AARCH64, AUDIT_X86, AUDIT_X86_64, Call, calls, interpret, value, verdict,
};
use crate::tables::X32_BIT;
use crate::{Action, Arch, Arg, Compare, Profile, Rule, compile};

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::KillProcess),
        Just(Action::KillThread),
        Just(Action::Trap),
        Just(Action::Log),
        Just(Action::Allow),
        Just(Action::Notify),
        (0u16..200).prop_map(Action::Errno),
        (0u16..200).prop_map(Action::Trace),
    ]
}

/// Values around the edges of the halves, so that comparisons often meet.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        prop::sample::select(vec![
            0,
            1,
            2,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            0x1_0000_0000,
            0x1_0000_0001,
            0xffff_ffff_0000_0000,
            u64::MAX,
        ]),
        0u64..8,
        any::<u64>(),
    ]
}

fn arg() -> impl Strategy<Value = Arg> {
    let compare = prop_oneof![
        Just(Compare::Ne),
        Just(Compare::Lt),
        Just(Compare::Le),
        Just(Compare::Eq),
        Just(Compare::Ge),
        Just(Compare::Gt),
        number().prop_map(Compare::MaskedEq),
    ];
    (0u32..6, compare, number()).prop_map(|(index, compare, value)| Arg {
        index,
        compare,
        value,
    })
}

fn names() -> impl Strategy<Value = String> {
    let mut pool: Vec<&str> = [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64]
        .into_iter()
        .flat_map(calls)
        .map(|(name, _)| name)
        // The multiplexers themselves, next to what they stand for, have no meaning of their own.
        .filter(|name| !matches!(*name, "socketcall" | "ipc"))
        .collect();
    pool.sort_unstable();
    pool.dedup();
    let few = vec![
        "read",
        "write",
        "clone",
        "socket",
        "connect",
        "semop",
        "ioctl",
        "no_such_call",
    ];
    prop_oneof![prop::sample::select(few), prop::sample::select(pool)].prop_map(str::to_owned)
}

fn rule() -> impl Strategy<Value = Rule> {
    (
        prop::collection::vec(names(), 1..6),
        action(),
        prop::collection::vec(arg(), 0..4),
    )
        .prop_map(|(names, action, args)| Rule {
            names,
            action,
            args,
        })
}

fn profile() -> impl Strategy<Value = Profile> {
    let archs = vec![Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64];
    (
        action(),
        prop::sample::subsequence(archs, 0..=4),
        prop::collection::vec(rule(), 0..24),
        any::<bool>(),
    )
        .prop_map(|(default, archs, rules, enosys)| Profile {
            default,
            archs,
            rules,
            enosys,
        })
}

/// Every number that the profile could treat in its own way, and its neighbours.
fn interesting(profile: &Profile) -> Vec<(u32, u32)> {
    let mut out = vec![(0, 0), (AUDIT_X86_64, u32::MAX), (0x1234, 1)];
    for (arch, audit) in [
        (Arch::X86_64, AUDIT_X86_64),
        (Arch::X32, AUDIT_X86_64),
        (Arch::X86, AUDIT_X86),
        (Arch::Aarch64, AUDIT_AARCH64),
    ] {
        let mut numbers = vec![0, 102, 117, 5000];
        let named = |name: &&str| {
            profile
                .rules
                .iter()
                .any(|r| r.names.iter().any(|n| n == name))
        };
        for (_, number) in calls(arch).into_iter().filter(|(name, _)| named(name)) {
            numbers.extend([number.saturating_sub(1), number, number + 1]);
        }
        let bit = if arch == Arch::X32 { X32_BIT } else { 0 };
        out.extend(numbers.into_iter().map(|n| (audit, n | bit)));
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn compiled_is_what_is_written(
        profile in profile(),
        args in prop::collection::vec(prop::array::uniform6(number()), 1..4),
    ) {
        let program = compile(&profile).expect("small profiles compile");
        let mut own: Vec<[u64; 6]> = args;
        // Arguments that some rule is just about.
        own.extend(profile.rules.iter().filter(|r| !r.args.is_empty()).take(4).map(|r| {
            let mut args = [0; 6];
            for arg in &r.args {
                args[arg.index as usize] = arg.value;
            }
            args
        }));
        for (arch, number) in interesting(&profile) {
            for args in &own {
                let call = Call { arch, number, args: *args };
                prop_assert_eq!(
                    interpret(&program, &call),
                    Some(value(verdict(&profile, &call))),
                    "{:?}", call
                );
            }
        }
    }
}
