//! Containers whose cgroups are systemd's (`--systemd-cgroup`): `linux.cgroupsPath` is
//! `slice:prefix:name` then, and annotations may set properties of the unit.

use cgroup::systemd::{self, Made, Manager, Property, Unit};
use cgroup::{Cgroup, Layout, Resources};
use oci::runtime::Spec;
use serde::{Deserialize, Serialize};

use super::Global;
use super::fail::{Fail, Result};

/// Annotations of this prefix name properties.
const PROPERTY: &str = "org.systemd.property.";
/// The prefix of a scope's name where nothing else is said.
const PREFIX: &str = "corten";
/// Whoever may write to it can have the system's units.
const PRIVATE: &str = "/run/systemd/private";

/// A unit, as later commands find it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SystemdUnit {
    name: String,
    slice: String,
    /// Of the user's manager.
    user: bool,
}

impl SystemdUnit {
    fn open(&self) -> Result<(Manager, Unit)> {
        let unit = Unit::new(&self.name, &self.slice)?;
        Ok((Manager::connect(self.user)?, unit))
    }

    /// Ends whoever is left in it, and it.
    pub(crate) fn stop(&self, cgroup: Option<&Cgroup>) -> Result<()> {
        if let Some(cgroup) = cgroup
            && !cgroup.all_procs()?.is_empty()
        {
            // systemd would ask them first, and wait for an answer.
            cgroup.kill()?;
        }
        let (mut manager, unit) = self.open()?;
        Ok(manager.stop(&unit)?)
    }

    /// Other limits.
    pub(crate) fn set(&self, cgroup: &Cgroup, limits: &Resources) -> Result<()> {
        let (mut manager, unit) = self.open()?;
        Ok(manager.set(&unit, cgroup, limits)?)
    }
}

/// A unit to be made.
#[derive(Debug)]
pub(crate) struct Driver {
    manager: Manager,
    unit: Unit,
    properties: Vec<Property>,
}

impl Driver {
    /// Reads what the configuration says, and connects.
    pub(crate) fn connect(global: &Global, spec: &Spec, id: &str, layout: &Layout) -> Result<Self> {
        let user = of_user(global);
        if user && layout.version == 1 {
            return Err(Fail::said(
                "cannot use rootless systemd cgroups manager on cgroup v1",
            ));
        }
        let path = spec.linux.as_ref().map_or("", |l| l.cgroups_path.as_str());
        let own = format!(":{PREFIX}:{id}");
        let path = if path.is_empty() { &own } else { path };
        let slice = if user { "user.slice" } else { "system.slice" };
        let unit = Unit::parse(path, slice)?;
        let description = systemd::Value::from(format!("Corten container {id}").as_str());
        let mut properties = vec![("Description".to_owned(), description)];
        for (key, value) in &spec.annotations {
            if let Some(name) = key.strip_prefix(PROPERTY) {
                let property = systemd::from_annotation(name, value);
                let bad = |e| Fail::Said(format!("annotation {key}={value} {e}"));
                properties.push(property.map_err(bad)?);
            }
        }
        Ok(Self {
            manager: Manager::connect(user)?,
            unit,
            properties,
        })
    }

    /// For remembering.
    pub(crate) fn unit(&self) -> SystemdUnit {
        SystemdUnit {
            name: self.unit.name().to_owned(),
            slice: self.unit.slice().to_owned(),
            user: self.manager.is_user(),
        }
    }

    /// Its cgroup in each hierarchy, relative to its root.
    pub(crate) fn paths(&self, layout: &Layout) -> Vec<String> {
        vec![self.manager.path(&self.unit); layout.hierarchies.len()]
    }

    /// Starts it.
    pub(crate) fn make(&mut self, layout: &Layout, limits: Resources) -> Result<Made> {
        let properties = std::mem::take(&mut self.properties);
        Ok(self.manager.make(layout, &self.unit, properties, limits)?)
    }
}

/// Units are had of the user's manager: by a user, or by who is root only in a user namespace, and
/// not where that has a systemd of its own.
fn of_user(global: &Global) -> bool {
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    global.rootless() && rustix::fs::access(PRIVATE, rustix::fs::Access::WRITE_OK).is_err()
}
