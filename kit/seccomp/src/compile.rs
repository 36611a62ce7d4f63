//! From rules to instructions.

use std::collections::BTreeMap;

use crate::tables::{self, X32_BIT};
use crate::{Action, Arch, Arg, Compare, Error, Instruction, Profile, Result, Rule};

const LOAD: u16 = 0x20; // ld [k]
const AND: u16 = 0x54; // and #k
const JUMP: u16 = 0x05; // ja k
const EQUAL: u16 = 0x15; // jeq #k
const GREATER: u16 = 0x25; // jgt #k
const AT_LEAST: u16 = 0x35; // jge #k
const RETURN: u16 = 0x06; // ret #k

// Offsets in struct seccomp_data.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

const MAX_INSTRUCTIONS: usize = 4096;
const ENOSYS: u16 = 38;

/// The program for [`sys::seccomp::load`].
pub fn compile(profile: &Profile) -> Result<Vec<Instruction>> {
    let mut archs = profile.archs.clone();
    if archs.is_empty() {
        archs.extend(Arch::native());
    }
    let has = |arch| archs.contains(&arch);
    let mut out = vec![op(LOAD, ARCH)];
    for arch in [Arch::X86_64, Arch::Aarch64, Arch::X86] {
        // x32 has no mark of its own but a bit in the number.
        let x32 = arch == Arch::X86_64 && has(Arch::X32);
        if has(arch) || x32 {
            let body = section(profile, arch, has(arch), x32)?;
            unless_equal(audit_arch(arch), body.len(), &mut out);
            out.extend(body);
        }
    }
    out.push(ret(Action::KillThread));
    if out.len() > MAX_INSTRUCTIONS {
        return Err(Error::TooLarge(out.len()));
    }
    Ok(out)
}

/// What happens to one number.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Always(Action),
    /// The first whose conditions hold, else the default.
    When(Vec<(Vec<Arg>, Action)>),
}

/// Everything for one AUDIT_ARCH value; ends in returns on every path.
fn section(profile: &Profile, arch: Arch, plain: bool, x32: bool) -> Result<Vec<Instruction>> {
    let mut ranges = vec![(0, Verdict::Always(Action::KillThread))];
    if plain {
        ranges.clear();
        add_ranges(profile, arch, 0, &mut ranges)?;
    }
    if arch == Arch::X86_64 {
        match x32 {
            true => add_ranges(profile, Arch::X32, X32_BIT, &mut ranges)?,
            false => ranges.push((X32_BIT, Verdict::Always(Action::KillThread))),
        }
    }
    let narrow = arch == Arch::X86;
    let mut out = vec![op(LOAD, NUMBER)];
    out.extend(tree(&ranges, profile.default, narrow));
    Ok(out)
}

/// Appends `(first number, verdict)`, ascending from `base`; each holds up to the next one.
fn add_ranges(
    profile: &Profile,
    arch: Arch,
    base: u32,
    out: &mut Vec<(u32, Verdict)>,
) -> Result<()> {
    let (calls, newest) = verdicts(profile, arch)?;
    let default = Verdict::Always(profile.default);
    // Joined with what is before it when nothing changes; in place of it when that is empty.
    let mut push = |from: u32, verdict: Verdict| {
        out.pop_if(|last| last.0 == from);
        if out.last().is_none_or(|last| last.1 != verdict) {
            out.push((from, verdict));
        }
    };
    push(base, default.clone());
    for (number, verdict) in calls {
        push(number, verdict);
        push(number + 1, default.clone());
    }
    // An architecture that the profile names nothing of keeps its default.
    if profile.enosys && newest != 0 && !permissive(profile.default) {
        push(newest + 1, Verdict::Always(Action::Errno(ENOSYS)));
    }
    Ok(())
}

/// Verdicts by number, and the highest number that the profile names on this architecture.
fn verdicts(profile: &Profile, arch: Arch) -> Result<(BTreeMap<u32, Verdict>, u32)> {
    let table = tables::table(arch);
    let mut calls = BTreeMap::new();
    let mut newest = 0;
    for rule in &profile.rules {
        for name in &rule.names {
            let number = table.get(name.as_str()).copied();
            newest = newest.max(number.unwrap_or(0));
            if let Some((mux, _)) = tables::multiplexed(arch, name).filter(|_| rule.args.is_empty())
            {
                newest = newest.max(mux);
            }
            if rule.action == profile.default {
                continue;
            }
            for args in alternatives(name, rule)? {
                if let Some((mux, sub)) = tables::multiplexed(arch, name)
                    && args.is_empty()
                {
                    let compare = Compare::Eq;
                    let arg = Arg {
                        index: 0,
                        compare,
                        value: sub.into(),
                    };
                    insert(&mut calls, mux, vec![arg], rule.action);
                }
                if let Some(number) = number {
                    insert(&mut calls, number, args, rule.action);
                }
            }
        }
    }
    Ok((calls, newest))
}

fn insert(calls: &mut BTreeMap<u32, Verdict>, number: u32, args: Vec<Arg>, action: Action) {
    match (calls.get_mut(&number), args.is_empty()) {
        (Some(Verdict::Always(_)), _) => {}
        (_, true) => {
            calls.insert(number, Verdict::Always(action));
        }
        (Some(Verdict::When(list)), false) => list.push((args, action)),
        (None, false) => {
            calls.insert(number, Verdict::When(vec![(args, action)]));
        }
    }
}

/// The rule's conditions: one list of all, or one of each when an argument is named twice.
fn alternatives(name: &str, rule: &Rule) -> Result<Vec<Vec<Arg>>> {
    let mut seen = [false; 6];
    let mut twice = false;
    for arg in &rule.args {
        let slot = seen
            .get_mut(arg.index as usize)
            .ok_or_else(|| Error::Index(name.into(), arg.index))?;
        twice |= std::mem::replace(slot, true);
    }
    Ok(match twice {
        true => rule.args.iter().map(|a| vec![*a]).collect(),
        false => vec![rule.args.clone()],
    })
}

/// With these a newer call is let through anyway.
fn permissive(default: Action) -> bool {
    matches!(default, Action::Allow | Action::Log | Action::Trace(_))
}

/// Binary search by first numbers; the accumulator holds the number.
fn tree(ranges: &[(u32, Verdict)], default: Action, narrow: bool) -> Vec<Instruction> {
    match ranges {
        [] => vec![ret(default)],
        // x32 passes its arguments in whole registers; of those that callers of libseccomp compare
        // only the lower half is looked at, and so it is here.
        [(first, verdict)] => leaf(verdict, default, narrow || *first >= X32_BIT),
        _ => {
            let (left, right) = ranges.split_at(ranges.len() / 2);
            let first = right.first().map_or(0, |r| r.0);
            let left = tree(left, default, narrow);
            let mut out = Vec::new();
            match u8::try_from(left.len()) {
                Ok(over) => out.push(jump(AT_LEAST, first, over, 0)),
                Err(_) => {
                    out.push(jump(AT_LEAST, first, 0, 1));
                    out.push(op(JUMP, left.len() as u32));
                }
            }
            out.extend(left);
            out.extend(tree(right, default, narrow));
            out
        }
    }
}

fn leaf(verdict: &Verdict, default: Action, narrow: bool) -> Vec<Instruction> {
    match verdict {
        Verdict::Always(action) => vec![ret(*action)],
        Verdict::When(list) => {
            let mut out = Vec::new();
            for (args, action) in list {
                out.extend(conditions(args, *action, narrow));
            }
            out.push(ret(default));
            out
        }
    }
}

/// Where a test goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    Next,
    /// The condition holds: over to the next condition.
    Pass,
    /// It does not: over to the next rule.
    Fail,
}

/// Tests that end in the action, or fall out at the end when a condition does not hold.
fn conditions(args: &[Arg], action: Action, narrow: bool) -> Vec<Instruction> {
    let blocks: Vec<_> = args.iter().map(|a| condition(a, narrow)).collect();
    let mut left: usize = blocks.iter().map(Vec::len).sum();
    let mut out = Vec::with_capacity(left + 1);
    for block in blocks {
        let len = block.len();
        left -= len;
        for (at, (code, k, yes, no)) in block.into_iter().enumerate() {
            let distance = |to| match to {
                To::Next => 0,
                To::Pass => len - at - 1,
                // Over what is left of the conditions and over the return.
                To::Fail => len - at - 1 + left + 1,
            };
            // Six arguments of six instructions stay far below 255.
            out.push(jump(code, k, distance(yes) as u8, distance(no) as u8));
        }
    }
    out.push(ret(action));
    out
}

/// One comparison in 32-bit halves, the high one first; a 32-bit architecture has no high one.
fn condition(arg: &Arg, narrow: bool) -> Vec<(u16, u32, To, To)> {
    use To::{Fail, Next, Pass};
    let low_at = ARGS + 8 * arg.index;
    let load = |offset| (LOAD, offset, Next, Next);
    let (high, low) = ((arg.value >> 32) as u32, arg.value as u32);
    let mut out = Vec::with_capacity(6);
    // Ordered comparisons: `yes` is where a greater value goes, the rest is its mirror image.
    let (code, yes, no) = match arg.compare {
        Compare::MaskedEq(mask) => {
            if !narrow {
                let test = (EQUAL, high & (mask >> 32) as u32, Next, Fail);
                out.extend([
                    load(low_at + 4),
                    (AND, (mask >> 32) as u32, Next, Next),
                    test,
                ]);
            }
            out.extend([
                load(low_at),
                (AND, mask as u32, Next, Next),
                (EQUAL, low & mask as u32, Pass, Fail),
            ]);
            return out;
        }
        Compare::Eq => {
            if !narrow {
                out.extend([load(low_at + 4), (EQUAL, high, Next, Fail)]);
            }
            out.extend([load(low_at), (EQUAL, low, Pass, Fail)]);
            return out;
        }
        Compare::Ne => {
            if !narrow {
                out.extend([load(low_at + 4), (EQUAL, high, Next, Pass)]);
            }
            out.extend([load(low_at), (EQUAL, low, Fail, Pass)]);
            return out;
        }
        Compare::Gt => (GREATER, Pass, Fail),
        Compare::Ge => (AT_LEAST, Pass, Fail),
        Compare::Le => (GREATER, Fail, Pass),
        Compare::Lt => (AT_LEAST, Fail, Pass),
    };
    if !narrow {
        out.extend([
            load(low_at + 4),
            (GREATER, high, yes, Next),
            (EQUAL, high, Next, no),
        ]);
    }
    out.extend([load(low_at), (code, low, yes, no)]);
    out
}

/// Skips `len` instructions when the accumulator differs from `k`.
fn unless_equal(k: u32, len: usize, out: &mut Vec<Instruction>) {
    match u8::try_from(len) {
        Ok(over) => out.push(jump(EQUAL, k, 0, over)),
        Err(_) => {
            out.push(jump(EQUAL, k, 1, 0));
            out.push(op(JUMP, len as u32));
        }
    }
}

fn audit_arch(arch: Arch) -> u32 {
    match arch {
        Arch::X86_64 | Arch::X32 => 0xc000_003e,
        Arch::X86 => 0x4000_0003,
        Arch::Aarch64 => 0xc000_00b7,
    }
}

fn ret(action: Action) -> Instruction {
    op(RETURN, crate::reference::value(action))
}

fn op(code: u16, k: u32) -> Instruction {
    jump(code, k, 0, 0)
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}
