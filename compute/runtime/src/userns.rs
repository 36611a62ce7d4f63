//! Mappings of ids: of a container's user namespace, and of mounts.

use oci::runtime::{IdMapping, Linux};
use rustix::fs::{Mode, OFlags};

use crate::Result;
use crate::error::Context;

/// Writes the maps of a new user namespace that `pid` is in.
pub(crate) fn map(linux: Option<&Linux>, pid: u32) -> Result<()> {
    let Some(linux) = linux else {
        return Ok(());
    };
    for (file, list) in [
        ("uid_map", &linux.uid_mappings),
        ("gid_map", &linux.gid_mappings),
    ] {
        write_map(&format!("/proc/{pid}/{file}"), list)?;
    }
    Ok(())
}

/// The kernel takes the whole map in one write.
fn write_map(path: &str, list: &[IdMapping]) -> Result<()> {
    let lines: String = list
        .iter()
        .map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.size))
        .collect();
    let fd = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .context(|| format!("open {path}"))?;
    rustix::io::write(&fd, lines.as_bytes())
        .map(drop)
        .context(|| format!("write {path}"))
}
