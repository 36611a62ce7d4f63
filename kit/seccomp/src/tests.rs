//! The compiled program, run by an interpreter, against the rules read directly.

use super::*;
use crate::tables::{X32_BIT, table};

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

fn run(program: &[Instruction], arch: u32, number: u32, args: [u64; 6]) -> u32 {
    let call = reference::Call { arch, number, args };
    reference::interpret(program, &call).expect("a program that the kernel loads")
}

fn rule(names: &[&str], action: Action, args: &[(u32, Compare, u64)]) -> Rule {
    Rule {
        names: names.iter().map(|n| (*n).to_owned()).collect(),
        action,
        args: args
            .iter()
            .map(|&(index, compare, value)| Arg {
                index,
                compare,
                value,
            })
            .collect(),
    }
}

fn profile(archs: &[Arch], rules: Vec<Rule>) -> Profile {
    Profile {
        default: Action::Errno(1),
        archs: archs.to_vec(),
        rules,
        enosys: false,
    }
}

fn holds(compare: Compare, argument: u64, value: u64) -> bool {
    match compare {
        Compare::Ne => argument != value,
        Compare::Lt => argument < value,
        Compare::Le => argument <= value,
        Compare::Eq => argument == value,
        Compare::Ge => argument >= value,
        Compare::Gt => argument > value,
        Compare::MaskedEq(mask) => argument & mask == value & mask,
    }
}

#[test]
fn comparisons_are_64_bit_and_unsigned() {
    let edge = [
        0,
        1,
        2,
        37,
        38,
        39,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        0x1_0000_0000,
        0x1_0000_0026,
        0x25_ffff_ffff,
        0x26_0000_0000,
        0x26_0000_0026,
        u64::MAX - 1,
        u64::MAX,
    ];
    use Compare::*;
    for compare in [
        Ne,
        Lt,
        Le,
        Eq,
        Ge,
        Gt,
        MaskedEq(0x7e02_0000),
        MaskedEq(0xff_0000_00ff),
    ] {
        for value in edge {
            let one = rule(&["socket"], Action::Allow, &[(3, compare, value)]);
            let program = compile(&profile(&[Arch::X86_64], vec![one])).unwrap();
            for argument in edge {
                let got = run(&program, X86_64, 41, [9, 9, 9, argument, 9, 9]);
                let want = if holds(compare, argument, value) {
                    ALLOW
                } else {
                    EPERM
                };
                assert_eq!(got, want, "{argument:#x} {compare:?} {value:#x}");
            }
        }
    }
}

#[test]
fn every_number_gets_its_verdict() {
    // Every third call, so that ranges are short and the tree is deep.
    let archs = [Arch::X86_64, Arch::X86, Arch::X32];
    let mut names: Vec<&str> = table(Arch::X86_64)
        .keys()
        .chain(table(Arch::X86).keys())
        .copied()
        .collect();
    names.sort_unstable();
    names.dedup();
    let allowed: Vec<&str> = names
        .into_iter()
        .step_by(3)
        .filter(|n| !matches!(*n, "ipc" | "socketcall"))
        .collect();
    let program = compile(&profile(&archs, vec![rule(&allowed, Action::Allow, &[])])).unwrap();
    for (arch, audit, bit) in [
        (Arch::X86_64, X86_64, 0),
        (Arch::X86, X86, 0),
        (Arch::X32, X86_64, X32_BIT),
    ] {
        let numbers: Vec<u32> = table(arch)
            .iter()
            .filter(|(n, _)| allowed.contains(n))
            .map(|(_, n)| *n)
            .collect();
        for number in (0..600)
            .map(|n| n | bit)
            .filter(|n| arch != Arch::X86 || !matches!(n, 102 | 117))
        {
            let want = if numbers.contains(&number) {
                ALLOW
            } else {
                EPERM
            };
            assert_eq!(
                run(&program, audit, number, [0; 6]),
                want,
                "{arch:?} {number:#x}"
            );
        }
        assert_eq!(run(&program, audit, u32::MAX, [0; 6]), EPERM);
    }
    assert_eq!(
        run(&program, 0xc000_00b7, 56, [0; 6]),
        0,
        "a foreign architecture is killed"
    );
}

#[test]
fn x32_is_killed_unless_listed() {
    let program = compile(&profile(
        &[Arch::X86_64],
        vec![rule(&["read"], Action::Allow, &[])],
    ))
    .unwrap();
    assert_eq!(run(&program, X86_64, 0, [0; 6]), ALLOW);
    assert_eq!(run(&program, X86_64, X32_BIT, [0; 6]), 0);
    let program = compile(&profile(
        &[Arch::X32],
        vec![rule(&["read"], Action::Allow, &[])],
    ))
    .unwrap();
    assert_eq!(run(&program, X86_64, 0, [0; 6]), 0);
    assert_eq!(run(&program, X86_64, X32_BIT, [0; 6]), ALLOW);
}

#[test]
fn precedence() {
    let rules = vec![
        rule(
            &["clone"],
            Action::Allow,
            &[(0, Compare::Eq, 1), (1, Compare::Eq, 2)],
        ),
        rule(&["clone"], Action::Errno(5), &[(0, Compare::Eq, 1)]),
        rule(&["read"], Action::Allow, &[(0, Compare::Eq, 1)]),
        rule(&["read"], Action::Errno(9), &[]),
        // Two conditions on one argument: either will do.
        rule(
            &["write"],
            Action::Allow,
            &[(0, Compare::Eq, 1), (0, Compare::Eq, 2)],
        ),
        rule(&["no_such_call"], Action::Allow, &[]),
    ];
    let program = compile(&profile(&[Arch::X86_64], rules)).unwrap();
    let at = |number, a, b| run(&program, X86_64, number, [a, b, 0, 0, 0, 0]);
    assert_eq!(at(56, 1, 2), ALLOW);
    assert_eq!(at(56, 1, 3), 0x0005_0005);
    assert_eq!(at(56, 2, 2), EPERM);
    assert_eq!(at(0, 1, 0), 0x0005_0009);
    assert_eq!(
        (at(1, 1, 0), at(1, 2, 0), at(1, 3, 0)),
        (ALLOW, ALLOW, EPERM)
    );
}

#[test]
fn multiplexed_calls_of_x86() {
    let rules = vec![rule(&["connect", "semop"], Action::Allow, &[])];
    let program = compile(&profile(&[Arch::X86], rules)).unwrap();
    assert_eq!(run(&program, X86, 362, [0; 6]), ALLOW);
    assert_eq!(run(&program, X86, 102, [3, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(run(&program, X86, 102, [1, 0, 0, 0, 0, 0]), EPERM);
    assert_eq!(run(&program, X86, 117, [1, 0, 0, 0, 0, 0]), ALLOW);
}

#[test]
fn newer_calls_are_unknown() {
    let mut p = profile(
        &[Arch::X86_64, Arch::X86],
        vec![rule(&["read", "openat2"], Action::Allow, &[])],
    );
    p.enosys = true;
    let program = compile(&p).unwrap();
    for arch in [X86_64, X86] {
        assert_eq!(run(&program, arch, 436, [0; 6]), EPERM);
        assert_eq!(run(&program, arch, 437, [0; 6]), ALLOW);
        assert_eq!(run(&program, arch, 438, [0; 6]), ENOSYS);
        assert_eq!(run(&program, arch, 9999, [0; 6]), ENOSYS);
    }
    assert_eq!(run(&program, X86_64, X32_BIT, [0; 6]), 0);
}

#[test]
fn words() {
    assert_eq!(action("SCMP_ACT_ERRNO", None), Ok(Action::Errno(1)));
    assert_eq!(action("SCMP_ACT_TRACE", Some(7)), Ok(Action::Trace(7)));
    assert!(action("SCMP_ACT_NOPE", None).is_err());
    assert_eq!(arch("SCMP_ARCH_S390X"), Ok(None));
    assert!(arch("x86").is_err());
    assert_eq!(flag("SECCOMP_FILTER_FLAG_LOG"), Ok(2));
}

/// As libseccomp has both: bits outside of a mask do not count, of x32 only the lower half does.
#[test]
fn masks_and_halves() {
    let verdict = |arch, number, compare, value, seen| {
        let arg = Arg {
            index: 0,
            compare,
            value,
        };
        let profile = Profile {
            default: Action::KillThread,
            archs: vec![arch],
            enosys: false,
            rules: vec![Rule {
                names: vec!["read".into()],
                action: Action::Allow,
                args: vec![arg],
            }],
        };
        let call = crate::reference::Call {
            arch: crate::reference::AUDIT_X86_64,
            number,
            args: [seen, 0, 0, 0, 0, 0],
        };
        let program = compile(&profile).unwrap();
        let found = crate::reference::interpret(&program, &call).unwrap();
        let meant = crate::reference::verdict(&profile, &call);
        assert_eq!(found, crate::reference::value(meant));
        meant == Action::Allow
    };
    assert!(verdict(Arch::X86_64, 0, Compare::MaskedEq(3), !3, 4));
    assert!(!verdict(Arch::X86_64, 0, Compare::MaskedEq(3), !3, 5));
    let x32 = 0x4000_0000;
    assert!(verdict(Arch::X32, x32, Compare::Eq, 5, 1 << 32 | 5));
    assert!(!verdict(Arch::X86_64, 0, Compare::Eq, 5, 1 << 32 | 5));
}
