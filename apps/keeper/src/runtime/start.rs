//! `start`: releases the process that waits.

use std::os::fd::AsFd;

use runtime::hooks::Stage;

use super::args::Args;
use super::delete;
use super::fail::{Fail, Result};
use super::notify::Notify;
use super::state::{Container, Status};
use super::{Global, id_of};

pub(crate) fn start(global: &Global, args: &Args) -> Result<u8> {
    let (container, lock) = Container::load_locked(&global.root, id_of(args))?;
    match container.status() {
        Status::Created => {}
        Status::Stopped => return Err(Fail::said("cannot start a container that has stopped")),
        Status::Running => return Err(Fail::said("cannot start an already running container")),
        other => {
            return Err(Fail::Said(format!(
                "cannot start a container in the {} state",
                other.name()
            )));
        }
    }
    let notify = Notify::listen(&container.place.file("notify"))?;
    let init = container.init().ok_or(Fail::NotRunning)?;
    let fifo = container.place.file("exec.fifo");
    let released = runtime::release(&fifo);
    let _ = rustix::fs::unlink(&fifo);
    released?;
    if let Some(spec) = container.hook_spec() {
        let pid = container.state.init_process_pid.unsigned_abs();
        if let Err(error) = runtime::hooks::run(Stage::Poststart, &spec, &container.name(), pid) {
            let _ = sys::process::pidfd_signal(init.as_fd(), super::kill::SIGKILL);
            let _ = super::state::wait_end(&init, delete::PATIENCE);
            // runtime.md#lifecycle, step 9: the container is stopped and goes the way of a delete.
            delete::finish(global, &container)?;
            return Err(error.into());
        }
    }
    // Whatever comes from its service can take long, and others must be able to end it.
    drop(lock);
    if let Some(notify) = notify {
        notify.forward(&init, container.state.init_process_pid.unsigned_abs())?;
    }
    Ok(0)
}
