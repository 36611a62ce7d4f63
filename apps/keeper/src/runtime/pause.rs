//! `pause` and `resume`: the freezer.

use super::args::Args;
use super::fail::{Fail, Result};
use super::state::{Container, Status};
use super::{Global, id_of};

pub(crate) fn pause(global: &Global, args: &Args) -> Result<u8> {
    let (container, _lock) = Container::load_locked(&global.root, id_of(args))?;
    match container.status() {
        Status::Running | Status::Created => {}
        _ => return Err(Fail::NotRunning),
    }
    cgroup(&container)?.freeze()?;
    Ok(0)
}

pub(crate) fn resume(global: &Global, args: &Args) -> Result<u8> {
    let (container, _lock) = Container::load_locked(&global.root, id_of(args))?;
    match container.status() {
        Status::Paused => {}
        Status::Stopped => return Err(Fail::NotRunning),
        _ => return Err(Fail::said("container not paused")),
    }
    cgroup(&container)?.thaw()?;
    Ok(0)
}

pub(crate) fn cgroup(container: &Container) -> Result<cgroup::Cgroup> {
    container
        .cgroup()?
        .ok_or_else(|| Fail::said("the container has no cgroup"))
}
