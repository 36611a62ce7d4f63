//! The spec's seccomp section as a program.

use oci::runtime::{Seccomp, SeccompRule};
use sys::seccomp::Instruction;

use crate::{Error, Result};

/// A compiled seccomp filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// BPF.
    pub program: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
    /// Who decides on calls whose action is `SCMP_ACT_NOTIFY`.
    pub agent: Option<Agent>,
}

/// A seccomp agent: it is sent the listener's descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its socket, `listenerPath`.
    pub socket: String,
    /// Text for it, `listenerMetadata`.
    pub metadata: String,
}

const TSYNC: u32 = 1;
const SPEC_ALLOW: u32 = 1 << 2;
const NEW_LISTENER: u32 = 1 << 3;
const WAIT_KILLABLE_RECV: u32 = 1 << 5;

impl Filter {
    /// Compiles the spec's form for this machine's architectures. Messages name the key.
    pub fn compile(from: &Seccomp) -> Result<Self> {
        let agent = agent(from)?;
        let program = seccomp::compile(&profile(from)?)
            .map_err(|e| Error::invalid(format!("linux.seccomp.syscalls: {e}")))?;
        // Without a word about flags the speculation control of old kernels is not asked for:
        // it costs more than the rest of the filter.
        let mut flags = if from.flags.is_none() { SPEC_ALLOW } else { 0 };
        for (n, flag) in from.flags.iter().flatten().enumerate() {
            let key = || format!("linux.seccomp.flags[{n}]");
            flags |= seccomp::flag(flag).map_err(|e| invalid(key(), e))?;
        }
        // One thread loads it for itself: there are no others to synchronise with.
        flags &= !TSYNC;
        match agent {
            Some(_) => flags |= NEW_LISTENER,
            None if flags & WAIT_KILLABLE_RECV != 0 => {
                return Err(Error::invalid(
                    "linux.seccomp.flags: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs an action \
                     SCMP_ACT_NOTIFY",
                ));
            }
            None => {}
        }
        Ok(Self {
            program,
            flags,
            agent,
        })
    }

    /// For handing over to another process of the same build, native endian: flags, the lengths of
    /// the agent's two texts (none when the first is empty), these, then eight bytes an
    /// instruction.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(12 + 8 * self.program.len());
        let (socket, metadata) = match &self.agent {
            Some(agent) => (agent.socket.as_bytes(), agent.metadata.as_bytes()),
            None => (&[][..], &[][..]),
        };
        out.extend(self.flags.to_ne_bytes());
        out.extend((socket.len() as u32).to_ne_bytes());
        out.extend((metadata.len() as u32).to_ne_bytes());
        out.extend(socket);
        out.extend(metadata);
        for i in &self.program {
            out.extend(i.code.to_ne_bytes());
            out.extend([i.jt, i.jf]);
            out.extend(i.k.to_ne_bytes());
        }
        out
    }

    /// Reads back [`Filter::to_bytes`]; `None` when a length is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (flags, rest) = bytes.split_first_chunk::<4>()?;
        let (socket, rest) = rest.split_first_chunk::<4>()?;
        let (metadata, rest) = rest.split_first_chunk::<4>()?;
        let (socket, rest) = rest.split_at_checked(u32::from_ne_bytes(*socket) as usize)?;
        let (metadata, rest) = rest.split_at_checked(u32::from_ne_bytes(*metadata) as usize)?;
        let (chunks, []) = rest.as_chunks::<8>() else {
            return None;
        };
        let instruction = |&[c0, c1, jt, jf, k0, k1, k2, k3]: &[u8; 8]| Instruction {
            code: u16::from_ne_bytes([c0, c1]),
            jt,
            jf,
            k: u32::from_ne_bytes([k0, k1, k2, k3]),
        };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        Some(Self {
            program: chunks.iter().map(instruction).collect(),
            flags: u32::from_ne_bytes(*flags),
            agent: match socket.is_empty() {
                true => None,
                false => Some(Agent {
                    socket: text(socket)?,
                    metadata: text(metadata)?,
                }),
            },
        })
    }
}

/// Who is told, when any action needs someone. `listenerPath` without such an action is ignored,
/// as the specification says.
fn agent(from: &Seccomp) -> Result<Option<Agent>> {
    const NOTIFY: &str = "SCMP_ACT_NOTIFY";
    if from.listener_path.is_empty() && !from.listener_metadata.is_empty() {
        return Err(Error::invalid(
            "linux.seccomp.listenerMetadata: must not be set without listenerPath",
        ));
    }
    if from.default_action == NOTIFY {
        // Nobody could be told of the listener then: telling takes calls.
        return Err(Error::invalid(
            "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be the default",
        ));
    }
    let rules = from.syscalls.iter().enumerate();
    let notified: Vec<_> = rules.filter(|(_, rule)| rule.action == NOTIFY).collect();
    let Some((first, _)) = notified.first() else {
        return Ok(None);
    };
    let writes = |rule: &SeccompRule| rule.names.iter().any(|name| name == "write");
    if let Some((n, _)) = notified.iter().find(|(_, rule)| writes(rule)) {
        return Err(Error::invalid(format!(
            "linux.seccomp.syscalls[{n}]: SCMP_ACT_NOTIFY cannot be used for the write syscall: the \
             listener could not be handed over"
        )));
    }
    if from.listener_path.is_empty() {
        return Err(Error::invalid(format!(
            "linux.seccomp.syscalls[{first}].action: SCMP_ACT_NOTIFY needs listenerPath"
        )));
    }
    Ok(Some(Agent {
        socket: from.listener_path.clone(),
        metadata: from.listener_metadata.clone(),
    }))
}

fn invalid(key: impl std::fmt::Display, error: seccomp::Error) -> Error {
    Error::invalid(format!("{key}: {error}"))
}

fn profile(from: &Seccomp) -> Result<seccomp::Profile> {
    let default = action(
        "linux.seccomp.defaultAction",
        "linux.seccomp.defaultErrnoRet",
        &from.default_action,
        from.default_errno_ret,
    )?;
    let mut archs = Vec::new();
    for (n, arch) in from.architectures.iter().enumerate() {
        let key = || format!("linux.seccomp.architectures[{n}]");
        archs.extend(seccomp::arch(arch).map_err(|e| invalid(key(), e))?);
    }
    // The machine's own is always among them, as libseccomp has it.
    if let Some(native) = seccomp::Arch::native()
        && !archs.contains(&native)
    {
        archs.push(native);
    }
    let mut rules = Vec::with_capacity(from.syscalls.len());
    for (n, rule) in from.syscalls.iter().enumerate() {
        rules.push(self::rule(&format!("linux.seccomp.syscalls[{n}]"), rule)?);
    }
    Ok(seccomp::Profile {
        default,
        archs,
        rules,
        enosys: true,
    })
}

fn rule(key: &str, rule: &SeccompRule) -> Result<seccomp::Rule> {
    if rule.names.iter().all(String::is_empty) {
        return Err(Error::invalid(format!("{key}.names: names no call")));
    }
    let mut args = Vec::with_capacity(rule.args.len());
    for (n, arg) in rule.args.iter().enumerate() {
        if arg.index > 5 {
            return Err(Error::invalid(format!(
                "{key}.args[{n}].index: {} is not in 0 to 5",
                arg.index
            )));
        }
        let (compare, value) = seccomp::compare(&arg.op, arg.value, arg.value_two)
            .map_err(|e| invalid(format_args!("{key}.args[{n}].op"), e))?;
        args.push(seccomp::Arg {
            index: arg.index,
            compare,
            value,
        });
    }
    Ok(seccomp::Rule {
        names: rule.names.clone(),
        action: action(
            &format!("{key}.action"),
            &format!("{key}.errnoRet"),
            &rule.action,
            rule.errno_ret,
        )?,
        args,
    })
}

/// An errno with an action that has none is an error (config-linux.md#seccomp).
fn action(key: &str, errno_key: &str, name: &str, errno: Option<u32>) -> Result<seccomp::Action> {
    let action = seccomp::action(name, None).map_err(|e| invalid(key, e))?;
    match (action, errno) {
        (action, None) => Ok(action),
        (seccomp::Action::Errno(_) | seccomp::Action::Trace(_), Some(_)) => {
            seccomp::action(name, errno).map_err(|e| invalid(errno_key, e))
        }
        (_, Some(_)) => Err(Error::invalid(format!("{errno_key}: {name} has no errno"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow() -> Seccomp {
        Seccomp {
            default_action: "SCMP_ACT_ALLOW".into(),
            ..Default::default()
        }
    }

    fn notify(names: &[&str]) -> Seccomp {
        Seccomp {
            syscalls: vec![SeccompRule {
                names: names.iter().map(|n| (*n).to_owned()).collect(),
                action: "SCMP_ACT_NOTIFY".into(),
                ..Default::default()
            }],
            listener_path: "/run/agent".into(),
            ..allow()
        }
    }

    #[test]
    fn bytes_and_back() {
        let filter = Filter::compile(&allow()).unwrap();
        assert_eq!(filter.flags, SPEC_ALLOW);
        assert_eq!(Filter::from_bytes(&filter.to_bytes()), Some(filter));
        let mut profile = notify(&["mkdir"]);
        profile.listener_metadata = "m".into();
        let filter = Filter::compile(&profile).unwrap();
        assert_eq!(filter.flags, SPEC_ALLOW | NEW_LISTENER);
        let bytes = filter.to_bytes();
        assert_eq!(Filter::from_bytes(&bytes), Some(filter));
        for n in 0..bytes.len() {
            let cut = bytes.get(..n).unwrap_or_default();
            assert!(Filter::from_bytes(cut).is_none_or(|f| f.to_bytes().len() == n));
        }
    }

    #[test]
    fn mistakes_name_their_key() {
        let text = |profile: &Seccomp| Filter::compile(profile).unwrap_err().message;
        let mut p = allow();
        p.default_errno_ret = Some(1);
        assert_eq!(
            text(&p),
            "linux.seccomp.defaultErrnoRet: SCMP_ACT_ALLOW has no errno"
        );
        p = allow();
        p.default_action = "ALLOW".into();
        assert!(text(&p).starts_with("linux.seccomp.defaultAction: "));
        p = notify(&["mkdir", "write"]);
        assert!(text(&p).starts_with("linux.seccomp.syscalls[0]: SCMP_ACT_NOTIFY"));
        p = notify(&["mkdir"]);
        p.listener_path.clear();
        assert!(text(&p).starts_with("linux.seccomp.syscalls[0].action: "));
        p.listener_metadata = "x".into();
        assert!(text(&p).starts_with("linux.seccomp.listenerMetadata: "));
        p = allow();
        p.flags = Some(vec!["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV".into()]);
        assert!(text(&p).starts_with("linux.seccomp.flags: "));
        p.flags = Some(vec!["SECCOMP_FILTER_FLAG_NEW_LISTENER".into()]);
        assert!(text(&p).starts_with("linux.seccomp.flags[0]: "));
        p = allow();
        p.architectures = vec!["SCMP_ARCH_X86_64".into(), "amd64".into()];
        assert!(text(&p).starts_with("linux.seccomp.architectures[1]: "));
        p = notify(&["mkdir"]);
        p.syscalls[0].args = vec![oci::runtime::SeccompArg {
            index: 6,
            op: "SCMP_CMP_EQ".into(),
            ..Default::default()
        }];
        assert!(text(&p).starts_with("linux.seccomp.syscalls[0].args[0].index: 6"));
    }
}
