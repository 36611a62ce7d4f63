//! The end of a process, and of the container.

use std::io::Write;

use keeper_protocol::{Event, Exit, directory, nanoseconds};
use rustix::fs::{Mode, OFlags};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::Keeper;
use super::process::Process;

/// Reaps; `None` while it runs.
fn reap(process: &Process) -> Option<Exit> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let status = waitid(
        WaitId::PidFd(std::os::fd::AsFd::as_fd(&process.pidfd)),
        options,
    );
    let code = match status {
        Ok(None) => return None,
        Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => code,
            (None, Some(signal)) => 128 + signal,
            (None, None) => 255,
        },
        // Reaped by nobody else: only a kernel without pidfd waiting gets here.
        Err(_) => 255,
    };
    Some(Exit {
        code,
        oom_killed: false,
        finished_at: nanoseconds(std::time::SystemTime::now()),
    })
}

impl Keeper {
    /// An exec may have ended.
    pub(crate) fn exec_ended(&mut self, number: u32) {
        let Some(process) = self.processes.get_mut(&number).filter(|p| !p.ended) else {
            return;
        };
        let Some(mut exit) = reap(process) else {
            return;
        };
        let exec_id = process.exec_id.clone().unwrap_or_default();
        // Told before the ends of its clients, so that an attachment that ends first is one that
        // left.
        let before = self.context.news.len();
        process.finish(&mut self.context);
        self.look_for_oom();
        exit.oom_killed = self.oom_kills > 0;
        let told = Event::ExecEnded { exec_id, exit };
        self.context.news.insert(before, told);
    }

    /// The container's first process may have ended, and with it the container.
    pub(crate) fn container_ended(&mut self) {
        let Some(first) = self.processes.get_mut(&0).filter(|p| !p.ended) else {
            return;
        };
        let Some(mut exit) = reap(first) else { return };
        if !self.held.own_pid_namespace
            && let Some(cgroup) = &self.held.cgroup
            && let Err(error) = cgroup.kill()
        {
            self.context.news.push(Event::Warning {
                message: format!("kill what is left of the container: {error}"),
            });
        }
        if let Some(foreign) = &self.held.foreign {
            foreign.delete();
        }
        first.finish(&mut self.context);
        self.context.log.close();
        // Its execs are dead too, or about to be.
        let execs: Vec<u32> = self.processes.keys().copied().filter(|n| *n != 0).collect();
        for number in execs {
            self.exec_ended(number);
        }
        self.look_for_oom();
        exit.oom_killed = self.oom_kills > 0;
        // The ports must be free when the end is told: the next start binds them.
        if let Some(proxy) = self.held.proxy.take() {
            proxy.stop();
        }
        self.held.ports.clear();
        self.listener = None;
        if let Err(error) = self.write_exit(&exit) {
            self.context.news.push(Event::Warning {
                message: format!("write exit file: {error}"),
            });
        }
        self.context.news.push(Event::Ended(exit));
        self.send_news();
    }

    /// For a daemon that is not there now; whole or not at all.
    fn write_exit(&self, exit: &Exit) -> std::io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let file = rustix::fs::openat(&self.dir, directory::EXIT_PARTIAL, flags, mode)?;
        std::fs::File::from(file).write_all(&serde_json::to_vec(exit)?)?;
        rustix::fs::renameat(
            &self.dir,
            directory::EXIT_PARTIAL,
            &self.dir,
            directory::EXIT,
        )?;
        Ok(())
    }
}
