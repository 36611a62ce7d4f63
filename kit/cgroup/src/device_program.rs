//! Device rules as an eBPF program of cgroup v2.
//!
//! The program is asked `(type | access << 16, major, minor)` and answers 1 to allow. Rules are
//! tried from the last to the first, so that later ones override; what none matches is denied.
//! A rule matches a request whose access bits it covers wholly (allow) or touches (deny).

use sys::bpf::Instruction;

use crate::{DeviceKind, DeviceRule};

const BLOCK: i32 = 1;
const CHAR: i32 = 2;
const MKNOD: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;

// Registers: r1 context, then r2 type, r3 access, r4 major, r5 minor, r6 scratch.
const LOAD_WORD: u8 = 0x61;
const MOVE_IMMEDIATE: u8 = 0xb4;
const MOVE_REGISTER: u8 = 0xbc;
const AND_IMMEDIATE: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const JUMP_NOT_EQUAL: u8 = 0x56;
const JUMP_EQUAL: u8 = 0x16;
const EXIT: u8 = 0x95;

pub(crate) fn compile(rules: &[DeviceRule]) -> Vec<Instruction> {
    let mut out = vec![
        op(LOAD_WORD, 2, 1, 0, 0),
        op(AND_IMMEDIATE, 2, 0, 0, 0xffff),
        op(LOAD_WORD, 3, 1, 0, 0),
        op(SHIFT_RIGHT, 3, 0, 0, 16),
        op(LOAD_WORD, 4, 1, 4, 0),
        op(LOAD_WORD, 5, 1, 8, 0),
    ];
    let mut closed = false;
    for rule in rules.iter().rev() {
        closed = block(rule, &mut out);
        if closed {
            break;
        }
    }
    if !closed {
        verdict(false, &mut out);
    }
    out
}

/// One rule's tests and verdict; true when it matches everything, so that what follows (and what
/// the kernel would refuse as unreachable) is left out.
fn block(rule: &DeviceRule, out: &mut Vec<Instruction>) -> bool {
    let mut tests = Vec::new();
    match rule.kind {
        DeviceKind::All => {}
        DeviceKind::Char => tests.push(op(JUMP_NOT_EQUAL, 2, 0, 0, CHAR)),
        DeviceKind::Block => tests.push(op(JUMP_NOT_EQUAL, 2, 0, 0, BLOCK)),
    }
    let mut access = 0;
    for (on, bit) in [(rule.read, READ), (rule.write, WRITE), (rule.mknod, MKNOD)] {
        access |= if on { bit } else { 0 };
    }
    // No access at all means all of it, as an empty string does.
    let access = if access == 0 {
        READ | WRITE | MKNOD
    } else {
        access
    };
    if access != READ | WRITE | MKNOD {
        tests.push(op(MOVE_REGISTER, 6, 3, 0, 0));
        if rule.allow {
            tests.push(op(AND_IMMEDIATE, 6, 0, 0, !access & (READ | WRITE | MKNOD)));
            tests.push(op(JUMP_NOT_EQUAL, 6, 0, 0, 0));
        } else {
            tests.push(op(AND_IMMEDIATE, 6, 0, 0, access));
            tests.push(op(JUMP_EQUAL, 6, 0, 0, 0));
        }
    }
    if let Some(major) = rule.major {
        tests.push(op(JUMP_NOT_EQUAL, 4, 0, 0, major as i32));
    }
    if let Some(minor) = rule.minor {
        tests.push(op(JUMP_NOT_EQUAL, 5, 0, 0, minor as i32));
    }
    let total = tests.len();
    for (at, test) in tests.iter_mut().enumerate() {
        if matches!(test.code, JUMP_NOT_EQUAL | JUMP_EQUAL) {
            // Over the tests left and the two instructions of the verdict.
            test.offset = (total - at - 1 + 2) as i16;
        }
    }
    out.extend_from_slice(&tests);
    verdict(rule.allow, out);
    total == 0
}

fn verdict(allow: bool, out: &mut Vec<Instruction>) {
    out.push(op(MOVE_IMMEDIATE, 0, 0, 0, i32::from(allow)));
    out.push(op(EXIT, 0, 0, 0, 0));
}

fn op(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: dst | (src << 4),
        offset,
        immediate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the subset of eBPF that `compile` uses.
    fn run(program: &[Instruction], kind: i32, access: i32, major: i32, minor: i32) -> bool {
        let context = [kind | (access << 16), major, minor];
        let mut r = [0i32; 11];
        let mut pc = 0usize;
        loop {
            let i = program[pc];
            let (dst, src) = ((i.registers & 15) as usize, (i.registers >> 4) as usize);
            pc += 1;
            let jump = match i.code {
                LOAD_WORD => {
                    r[dst] = context[i.offset as usize / 4];
                    false
                }
                MOVE_IMMEDIATE => {
                    r[dst] = i.immediate;
                    false
                }
                MOVE_REGISTER => {
                    r[dst] = r[src];
                    false
                }
                AND_IMMEDIATE => {
                    r[dst] &= i.immediate;
                    false
                }
                SHIFT_RIGHT => {
                    r[dst] = ((r[dst] as u32) >> i.immediate) as i32;
                    false
                }
                JUMP_NOT_EQUAL => r[dst] != i.immediate,
                JUMP_EQUAL => r[dst] == i.immediate,
                EXIT => return r[0] == 1,
                other => panic!("opcode {other:#x}"),
            };
            if jump {
                pc += i.offset as usize;
            }
        }
    }

    fn rule(
        allow: bool,
        kind: DeviceKind,
        n: (Option<u32>, Option<u32>),
        access: &str,
    ) -> DeviceRule {
        DeviceRule {
            allow,
            kind,
            major: n.0,
            minor: n.1,
            read: access.contains('r'),
            write: access.contains('w'),
            mknod: access.contains('m'),
        }
    }

    #[test]
    fn later_rules_override() {
        let rules = [
            rule(false, DeviceKind::All, (None, None), "rwm"),
            rule(true, DeviceKind::Char, (None, None), "m"),
            rule(true, DeviceKind::Char, (Some(1), Some(3)), "rwm"),
            rule(true, DeviceKind::Char, (Some(136), None), "rw"),
            rule(false, DeviceKind::Char, (Some(10), Some(229)), "rwm"),
        ];
        let program = compile(&rules);
        assert!(run(&program, CHAR, READ | WRITE, 1, 3));
        assert!(run(&program, CHAR, MKNOD, 8, 0));
        assert!(!run(&program, CHAR, READ, 8, 0));
        assert!(!run(&program, BLOCK, MKNOD, 8, 0));
        assert!(run(&program, CHAR, READ, 136, 7));
        assert!(!run(&program, CHAR, READ, 10, 229));
        assert!(!run(&program, CHAR, MKNOD, 10, 229));
    }

    #[test]
    fn a_rule_for_everything_ends_the_program() {
        let program = compile(&[rule(true, DeviceKind::All, (None, None), "rwm")]);
        assert!(run(&program, BLOCK, READ | WRITE | MKNOD, 8, 1));
        assert_eq!(program.len(), 8);
    }

    #[test]
    fn partial_denial_keeps_the_rest() {
        let program = compile(&[
            rule(true, DeviceKind::All, (None, None), "rwm"),
            rule(false, DeviceKind::Block, (Some(8), None), "w"),
        ]);
        assert!(run(&program, BLOCK, READ, 8, 0));
        assert!(!run(&program, BLOCK, WRITE, 8, 0));
        assert!(!run(&program, BLOCK, READ | WRITE, 8, 0));
    }
}
