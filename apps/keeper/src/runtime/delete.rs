//! `delete`: takes away what is left of a container.

use std::os::fd::AsFd;

use super::args::Args;
use super::fail::{Fail, Result};
use super::kill::SIGKILL;
use super::state::{self, Container, Place, Status};
use super::{Global, id_of};

/// Seconds that a killed process may take to end.
pub(crate) const PATIENCE: i64 = 10;

pub(crate) fn delete(global: &Global, args: &Args) -> Result<u8> {
    let (id, force) = (id_of(args), args.has("force"));
    let (container, _lock) = match Container::load_locked(&global.root, id) {
        Err(Fail::NotExist) => {
            remains(global, id)?;
            return match force {
                true => Ok(0),
                false => Err(Fail::NotExist),
            };
        }
        other => other?,
    };
    let status = container.status();
    match status {
        _ if force => end(&container)?,
        Status::Stopped => {}
        Status::Created | Status::Creating => end(&container)?,
        other => {
            return Err(Fail::Said(format!(
                "cannot delete container {id} that is not stopped: {}",
                other.name()
            )));
        }
    }
    finish(global, &container)?;
    Ok(0)
}

/// [`destroy`], and the hooks for it.
pub(crate) fn finish(global: &Global, container: &Container) -> Result<()> {
    destroy(container)?;
    if let Some(spec) = container.hook_spec() {
        // They cannot bring it back; whoever reads the log is told (config.md, "Poststop").
        for error in runtime::hooks::poststop(&spec, &container.name()) {
            global.log.warn(&error.message);
        }
    }
    Ok(())
}

/// A directory without state.json: its maker was killed before there was anything else.
fn remains(global: &Global, id: &str) -> Result<()> {
    let place = Place::new(&global.root, id)?;
    if !place.dir.is_dir() {
        return Ok(());
    }
    // Whoever makes it just now is waited for.
    let _lock = place.lock()?;
    match place.load() {
        Err(Fail::NotExist) => place.remove(),
        _ => Err(Fail::Exists),
    }
}

/// Ends the first process, and with it all those of its pid namespace; the others of a container
/// without one end with its cgroup.
fn end(container: &Container) -> Result<()> {
    let Some(init) = container.init() else {
        return Ok(());
    };
    // ESRCH: it has ended just now.
    let _ = sys::process::pidfd_signal(init.as_fd(), SIGKILL);
    if container.status() == Status::Paused
        && let Some(cgroup) = container.cgroup()?
    {
        // On v1 a signal does nothing to what is frozen.
        cgroup.thaw()?;
    }
    match state::wait_end(&init, PATIENCE)? {
        true => Ok(()),
        false => Err(Fail::said("container init still running")),
    }
}

/// Removes the cgroup, with whoever is still in it, and the directory.
pub(crate) fn destroy(container: &Container) -> Result<()> {
    let cgroup = container.cgroup()?;
    if let Some(unit) = &container.state.systemd_unit {
        unit.stop(cgroup.as_ref())?;
    }
    if let Some(cgroup) = cgroup {
        cgroup
            .remove()
            .map_err(|e| Fail::from(e).during("unable to remove container's cgroup"))?;
    }
    if let Some(rdt) = &container.state.intel_rdt {
        runtime::remove_rdt_groups(rdt, &container.name())?;
    }
    if let Some(before) = container.state.host_root {
        runtime::detach_root(&container.state.rootfs, before)?;
    }
    container.place.remove()
}
