//! Cgroups that are systemd's: known by their path, which is `slice:prefix:name`.

use cgroup::systemd::{Manager, Unit};
use cgroup::{Cgroup, Resources};
use compute::Result;

use crate::internal;

/// The unit that a path in a specification names; `None` for a plain path.
pub(crate) fn unit(path: &str) -> Result<Option<Unit>> {
    Unit::of_path(path, "system.slice").map_err(internal)
}

/// Stops the unit, if it is one that is still there.
pub(crate) fn stop(path: &str) -> Result<()> {
    match unit(path)? {
        Some(unit) => connect()?.stop(&unit).map_err(internal),
        None => Ok(()),
    }
}

/// Other limits, told systemd first where the cgroup is its own.
pub(crate) fn limit(path: &str, cgroup: &Cgroup, limits: &Resources) -> Result<()> {
    match unit(path)? {
        Some(unit) => connect()?.set(&unit, cgroup, limits).map_err(internal),
        None => cgroup.apply(limits).map_err(internal),
    }
}

fn connect() -> Result<Manager> {
    Manager::connect(false).map_err(internal)
}
