//! What a daemon asks of a running container's keeper.

use std::os::fd::AsFd;

use keeper_protocol::{
    Attach, Call, Exec, ExecState, Failure, FailureKind, Frame, Message, Order, Reply, Request,
};
use oci::runtime::ConsoleSize;
use rustix::event::epoll::EventFlags;

use super::Keeper;
use super::build::{Streams, failure, finish_start, from_runtime, internal};
use super::control::Arrived;
use super::process::Process;

impl Keeper {
    /// The daemon's connection has something, or takes more.
    pub(crate) fn control_ready(&mut self, flags: EventFlags) {
        let Some(control) = &mut self.control else {
            return;
        };
        if flags.contains(EventFlags::OUT) && control.flush(&self.context.poll).is_err() {
            return self.drop_control();
        }
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return;
        }
        let Ok((calls, closed)) = control.receive() else {
            return self.drop_control();
        };
        for call in calls {
            match call {
                Arrived::Call(call) => self.answer(call),
                Arrived::Unknown(seq) => {
                    let text = "the container's keeper is of an earlier version that cannot do this: \
                                it can after a restart of the container";
                    let reply = Reply::Failed(failure(FailureKind::Unsupported, text));
                    self.send(Frame::new(Message::Reply { seq, reply }));
                }
            }
        }
        if closed {
            self.drop_control();
        }
    }

    fn answer(&mut self, mut frame: Frame<Call>) {
        let seq = frame.message.seq;
        let request = std::mem::replace(&mut frame.message.request, Request::Adopt);
        let mut answer = Frame::new(());
        let reply = match request {
            Request::Launch(_) => Err(failure(FailureKind::Invalid, "launched already")),
            Request::Adopt => self.state(&mut answer),
            Request::Exec(exec) => self.exec(*exec, &mut frame, &mut answer),
            Request::Attach { exec, attach } => self.attach(exec.as_deref(), attach, &mut frame),
            Request::Resize { exec, size } => self.resize(exec.as_deref(), size),
            Request::Runtime(order) => self.order(&order),
        };
        let reply = reply.unwrap_or_else(Reply::Failed);
        self.send(Frame {
            message: Message::Reply { seq, reply },
            bytes: Vec::new(),
            fds: answer.fds,
        });
    }

    fn state(&mut self, answer: &mut Frame<()>) -> Result<Reply, Failure> {
        let first = self.find(None)?;
        let pid = first.pid;
        answer
            .fds
            .push_back(first.pidfd.try_clone().map_err(internal)?);
        let mut execs = Vec::new();
        for process in self.processes.values().filter(|p| !p.ended) {
            if let Some(exec_id) = &process.exec_id {
                execs.push(ExecState {
                    exec_id: exec_id.clone(),
                    pid: process.pid,
                });
                answer
                    .fds
                    .push_back(process.pidfd.try_clone().map_err(internal)?);
            }
        }
        Ok(Reply::State {
            pid,
            started_at: self.started_at,
            execs,
            version: keeper_protocol::VERSION,
        })
    }

    fn exec(
        &mut self,
        exec: Exec,
        frame: &mut Frame<Call>,
        answer: &mut Frame<()>,
    ) -> Result<Reply, Failure> {
        let target = self.find(None)?.pidfd.as_fd();
        let terminal = exec.process.terminal;
        let wanted = exec.attach.as_ref();
        let outputs = wanted.map_or([false; 2], |a| [a.stdout, a.stderr]);
        let streams = Streams::new(terminal, exec.open_stdin && wanted.is_some(), outputs)
            .map_err(|e| internal(format!("stdio: {e}")))?;
        let exec_of = runtime::Exec {
            target,
            process: &exec.process,
            identity: Some(runtime::Identity {
                user: &exec.identity.user,
                extra_groups: &exec.identity.extra_groups,
            }),
            create_cwd: false,
            stdio: streams.child(exec.process.console_size),
            cgroup: self.held.cgroup.as_ref(),
            seccomp: self.held.filter.as_ref().filter(|_| !exec.unconfined),
            extras: runtime::Extras {
                die_with_parent: true,
                ..runtime::Extras::default()
            },
        };
        let pid = self.find(None)?.pid;
        let started = match (&self.held.foreign, &self.held.state) {
            (Some(foreign), _) => foreign.exec(&exec, pid, &exec_of.stdio)?,
            (None, Some(state)) => runtime::exec_named(&exec_of, state).map_err(from_runtime)?,
            (None, None) => runtime::exec(&exec_of).map_err(from_runtime)?,
        };
        let (started, ends) = finish_start(started, streams)?;
        answer
            .fds
            .push_back(started.pidfd.try_clone().map_err(internal)?);
        let (number, pid) = (self.free_number(), started.pid);
        let mut process = Process::new(number, pid, started.pidfd, ends, true, &self.context)
            .map_err(|e| internal(format!("epoll: {e}")))?;
        process.exec_id = Some(exec.exec_id);
        if let Some(attach) = exec.attach {
            let stream = frame.take_fd().map_err(internal)?;
            process
                .attach(attach, stream, &frame.bytes, &mut self.context)
                .map_err(|e| internal(format!("epoll: {e}")))?;
        }
        self.processes.insert(number, process);
        Ok(Reply::Executed { pid })
    }

    fn order(&self, order: &Order) -> Result<Reply, Failure> {
        let first = self.find(None)?;
        let Some(foreign) = &self.held.foreign else {
            let text = "the container has no runtime of its own";
            return Err(failure(FailureKind::Invalid, text));
        };
        match foreign.order(order) {
            Ok(()) => Ok(Reply::Done),
            // It ended meanwhile: each runtime has words of its own for that.
            Err(_) if first.has_ended() => Err(ended()),
            Err(failure) => Err(failure),
        }
    }

    /// Numbers come round after 2^24 execs.
    fn free_number(&mut self) -> u32 {
        loop {
            let number = self.next_number;
            self.next_number = (self.next_number % 0xff_ffff) + 1;
            if !self.processes.contains_key(&number) {
                return number;
            }
        }
    }

    fn attach(
        &mut self,
        exec: Option<&str>,
        attach: Attach,
        frame: &mut Frame<Call>,
    ) -> Result<Reply, Failure> {
        let number = self.find(exec)?.number;
        let stream = frame.take_fd().map_err(internal)?;
        if let Some(process) = self.processes.get_mut(&number) {
            process
                .attach(attach, stream, &frame.bytes, &mut self.context)
                .map_err(|e| internal(format!("epoll: {e}")))?;
        }
        Ok(Reply::Done)
    }

    fn resize(&mut self, exec: Option<&str>, size: ConsoleSize) -> Result<Reply, Failure> {
        let terminal = self.find(exec)?.terminal.as_ref();
        let terminal =
            terminal.ok_or_else(|| failure(FailureKind::Invalid, "the process has no terminal"))?;
        rustix::termios::tcsetwinsize(
            terminal,
            rustix::termios::Winsize {
                ws_row: size.height,
                ws_col: size.width,
                ws_xpixel: 0,
                ws_ypixel: 0,
            },
        )
        .map_err(|e| internal(format!("resize terminal: {e}")))?;
        Ok(Reply::Done)
    }

    /// The exec named, or the first process.
    fn find(&self, exec: Option<&str>) -> Result<&Process, Failure> {
        let found = match exec {
            None => self.processes.get(&0),
            Some(id) => self
                .processes
                .values()
                .find(|p| p.exec_id.as_deref() == Some(id)),
        };
        match found {
            Some(process) if !process.ended => Ok(process),
            None if exec.is_some() => Err(failure(FailureKind::NotFound, "no such exec")),
            _ => Err(ended()),
        }
    }
}

fn ended() -> Failure {
    failure(FailureKind::NotRunning, "the process has ended")
}
