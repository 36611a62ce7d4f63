//! Capability names and sets.

use oci::runtime::Spec;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::error::{Context, errno_text};
use crate::{Error, Kind, Result};

/// In the order of their numbers.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Sets as bits.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sets {
    bounding: u64,
    effective: u64,
    inheritable: u64,
    permitted: u64,
    ambient: u64,
}

/// `CAP_*` names of what this process could give to a container: its own bounding set, cut to
/// what it holds.
pub fn available_capabilities() -> Vec<String> {
    let held = held().unwrap_or(0);
    NAMES
        .iter()
        .enumerate()
        .filter(|(bit, _)| held & (1 << bit) != 0)
        .map(|(_, name)| format!("CAP_{name}"))
        .collect()
}

/// Takes out of a spec the capabilities that this kernel does not know or this process does not
/// hold; gives a line about each for the log. For callers who follow the specification here
/// (config.md: a runtime should not fail for them); the others get an error.
pub fn grantable(spec: &mut Spec) -> Vec<String> {
    let held = held().unwrap_or(0);
    let mut told = std::collections::BTreeSet::new();
    let sets = spec.process.as_mut().and_then(|p| p.capabilities.as_mut());
    let Some(sets) = sets else {
        return Vec::new();
    };
    for set in [
        &mut sets.bounding,
        &mut sets.effective,
        &mut sets.inheritable,
        &mut sets.permitted,
        &mut sets.ambient,
    ] {
        set.retain(|name| {
            let short = name.strip_prefix("CAP_").unwrap_or(name);
            let bit = NAMES.iter().position(|n| *n == short);
            let known = bit.is_some_and(|bit| held & (1 << bit) != 0);
            if !known {
                told.insert(format!(
                    "process.capabilities: ignoring unknown or unavailable capabilities: [{name}]"
                ));
            }
            known
        });
    }
    told.into_iter().collect()
}

/// What is permitted to this process.
fn held() -> Result<u64> {
    rustix::thread::capabilities(None)
        .map(|sets| sets.permitted.bits())
        .context(|| "read capabilities")
}

impl Sets {
    pub(crate) fn parse(from: Option<&oci::runtime::Capabilities>) -> Result<Self> {
        let Some(from) = from else {
            return Ok(Self::default());
        };
        let held = held()?;
        let bits = |key: &str, names: &[String]| {
            let mut bits = 0u64;
            for name in names {
                let short = name.strip_prefix("CAP_").unwrap_or(name);
                let Some(bit) = NAMES.iter().position(|n| *n == short) else {
                    return Err(Error::invalid(format!(
                        "process.capabilities.{key}: unknown capability {name:?}"
                    )));
                };
                if held & (1 << bit) == 0 {
                    return Err(Error::unsupported(format!(
                        "capability not supported by your kernel or not available in the \
                         current environment: {name:?}"
                    )));
                }
                bits |= 1 << bit;
            }
            Ok(bits)
        };
        Ok(Self {
            bounding: bits("bounding", &from.bounding)?,
            effective: bits("effective", &from.effective)?,
            inheritable: bits("inheritable", &from.inheritable)?,
            permitted: bits("permitted", &from.permitted)?,
            ambient: bits("ambient", &from.ambient)?,
        })
    }

    /// Takes the rest out of the bounding set; needs CAP_SETPCAP, so before [`Sets::apply`].
    pub(crate) fn bound(&self) -> Result<()> {
        for bit in 0..64 {
            if self.bounding & (1 << bit) != 0 {
                continue;
            }
            let one = CapabilitySet::from_bits_retain(1 << bit);
            match rustix::thread::remove_capability_from_bounding_set(one) {
                Ok(()) => {}
                // Past the last capability of this kernel.
                Err(sys::Errno::INVAL) => break,
                Err(e) => {
                    return Err(Error::internal(format!(
                        "drop capability {bit} from the bounding set: {}",
                        errno_text(e)
                    )));
                }
            }
        }
        Ok(())
    }

    /// Takes on the other sets.
    pub(crate) fn apply(&self) -> Result<()> {
        let sets = CapabilitySets {
            effective: CapabilitySet::from_bits_retain(self.effective),
            permitted: CapabilitySet::from_bits_retain(self.permitted),
            inheritable: CapabilitySet::from_bits_retain(self.inheritable),
        };
        rustix::thread::set_capabilities(None, sets).map_err(|e| {
            Error::new(
                Kind::Unsupported,
                format!("unable to apply caps: {}", errno_text(e)),
            )
        })?;
        let _ = rustix::thread::clear_ambient_capability_set();
        for bit in (0..64).filter(|bit| self.ambient & (1 << bit) != 0) {
            let one = CapabilitySet::from_bits_retain(1 << bit);
            rustix::thread::configure_capability_in_ambient_set(one, true)
                .context(|| "unable to apply ambient capabilities")?;
        }
        Ok(())
    }
}
