//! The spec's seccomp section as a program.

use oci::runtime::Seccomp;
use sys::seccomp::Instruction;

use crate::{Error, Result};

/// A compiled seccomp filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// BPF.
    pub program: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
}

impl Filter {
    /// Compiles the spec's form for this machine's architectures.
    pub fn compile(from: &Seccomp) -> Result<Self> {
        if !from.listener_path.is_empty() || !from.listener_metadata.is_empty() {
            return Err(Error::unsupported(
                "linux.seccomp.listenerPath is not supported yet",
            ));
        }
        let program = profile(from)
            .and_then(|p| seccomp::compile(&p))
            .map_err(|e| Error::invalid(e.to_string()))?;
        let mut flags = 0;
        for flag in &from.flags {
            flags |= seccomp::flag(flag).map_err(|e| Error::invalid(e.to_string()))?;
        }
        let notify = |action: &str| action == "SCMP_ACT_NOTIFY";
        if notify(&from.default_action) || from.syscalls.iter().any(|r| notify(&r.action)) {
            return Err(Error::unsupported(
                "seccomp action SCMP_ACT_NOTIFY is not supported yet",
            ));
        }
        Ok(Self { program, flags })
    }

    /// Four bytes of flags, then eight an instruction, native endian: for handing over to another
    /// process of the same build.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + 8 * self.program.len());
        out.extend(self.flags.to_ne_bytes());
        for i in &self.program {
            out.extend(i.code.to_ne_bytes());
            out.extend([i.jt, i.jf]);
            out.extend(i.k.to_ne_bytes());
        }
        out
    }

    /// Reads back [`Filter::to_bytes`]; `None` when the length is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (flags, rest) = bytes.split_first_chunk::<4>()?;
        let (chunks, []) = rest.as_chunks::<8>() else {
            return None;
        };
        let instruction = |&[c0, c1, jt, jf, k0, k1, k2, k3]: &[u8; 8]| Instruction {
            code: u16::from_ne_bytes([c0, c1]),
            jt,
            jf,
            k: u32::from_ne_bytes([k0, k1, k2, k3]),
        };
        Some(Self {
            program: chunks.iter().map(instruction).collect(),
            flags: u32::from_ne_bytes(*flags),
        })
    }
}

fn profile(from: &Seccomp) -> seccomp::Result<seccomp::Profile> {
    let default = seccomp::action(&from.default_action, from.default_errno_ret)?;
    let mut archs = Vec::new();
    for arch in &from.architectures {
        archs.extend(seccomp::arch(arch)?);
    }
    // The machine's own is always among them, as libseccomp has it.
    if let Some(native) = seccomp::Arch::native()
        && !archs.contains(&native)
    {
        archs.push(native);
    }
    let mut rules = Vec::with_capacity(from.syscalls.len());
    for rule in &from.syscalls {
        let mut args = Vec::with_capacity(rule.args.len());
        for arg in &rule.args {
            let (compare, value) = seccomp::compare(&arg.op, arg.value, arg.value_two)?;
            args.push(seccomp::Arg {
                index: arg.index,
                compare,
                value,
            });
        }
        rules.push(seccomp::Rule {
            names: rule.names.clone(),
            action: seccomp::action(&rule.action, rule.errno_ret)?,
            args,
        });
    }
    Ok(seccomp::Profile {
        default,
        archs,
        rules,
        enosys: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_back() {
        let profile = Seccomp {
            default_action: "SCMP_ACT_ALLOW".into(),
            ..Default::default()
        };
        let filter = Filter::compile(&profile).unwrap();
        assert_eq!(Filter::from_bytes(&filter.to_bytes()), Some(filter));
        assert_eq!(Filter::from_bytes(&[0; 7]), None);
        let bad = Seccomp {
            default_action: "ALLOW".into(),
            ..Default::default()
        };
        assert!(Filter::compile(&bad).is_err());
    }
}
