//! The keeper of one container.
//!
//! ```text
//!   waiting ──Launch──► running ──first process ends──► ended ──clients have all──► gone
//!      │ daemon gone       │ daemon gone: goes on; its socket takes the next one
//!      ▼                   ▼
//!    exit                 exit file, then Event::Ended, then the mount namespace goes
//! ```
//!
//! Crash story: what a later daemon needs is in the run directory before it matters: the cgroup's
//! path before the cgroup is made (by the daemon), the socket before the program runs, the exit
//! status before it is told. If the keeper is killed, the daemon sees its connection end and
//! kills the cgroup.

mod build;
mod client;
mod control;
mod encode;
mod end;
mod foreign;
mod log;
mod poll;
mod process;
mod requests;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use keeper_protocol::{Event, Frame, Message};
use rustix::io::Errno;

use self::build::Held;
use self::control::Control;
use self::poll::{IN, Token};
use self::process::{Context, Process};

/// Everything of a running keeper.
#[derive(Debug)]
struct Keeper {
    context: Context,
    /// By number; 0 is the container's first.
    processes: BTreeMap<u32, Process>,
    next_number: u32,
    control: Option<Control>,
    /// Where a new daemon connects; closed at the end.
    listener: Option<OwnedFd>,
    /// Run directory.
    dir: OwnedFd,
    held: Held,
    started_at: u64,
    oom_kills: u64,
    /// Shortages told whose victims were not counted yet.
    ooms_told: u64,
}

/// `keeper keep`, a socket of the daemon on stdin.
pub(crate) fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run() -> keeper_protocol::Result<()> {
    let mut control = Control::new(prepare()?);
    let Some(frame) = control.first()? else {
        return Ok(());
    };
    let Some(mut keeper) = build::launch(control, frame) else {
        return Ok(());
    };
    keeper.serve()
}

/// Makes this process a proper keeper and gives the daemon's socket.
fn prepare() -> Result<OwnedFd, Errno> {
    let socket = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3)?;
    let null = build::null()?;
    rustix::stdio::dup2_stdin(&null)?;
    // The daemon's terminal and its signals are not ours.
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(c"keeper");
    sys::keeper::ignore_signals();
    // The last to be killed when memory is short: it is small, and its container dies with it.
    // Not every host permits it.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-999");
    Ok(socket)
}

impl Keeper {
    fn serve(&mut self) -> keeper_protocol::Result<()> {
        let mut events = Vec::with_capacity(16);
        self.send_news();
        while !self.is_done() {
            self.context.poll.wait(&mut events)?;
            for &(token, flags) in &events {
                self.dispatch(token, flags);
            }
            self.processes.retain(|_, p| !p.is_done() || p.number == 0);
            self.send_news();
        }
        Ok(())
    }

    fn dispatch(&mut self, token: Token, flags: rustix::event::epoll::EventFlags) {
        let context = &mut self.context;
        match token {
            Token::Control => self.control_ready(flags),
            Token::Listener => self.accept(),
            Token::Oom => self.look_for_oom(),
            Token::Compressed => self.context.log_compressed(),
            Token::Process(0) => self.container_ended(),
            Token::Process(number) => self.exec_ended(number),
            Token::Output(number, which) => {
                if let Some(process) = self.processes.get_mut(&number) {
                    process.output_ready(which as usize, context);
                }
            }
            Token::Stdin(number) => {
                if let Some(process) = self.processes.get_mut(&number) {
                    process.stdin_ready(context);
                }
            }
            Token::Client(number, _) => {
                if let Some(process) = self.processes.get_mut(&number) {
                    process.client_ready(token, flags, context);
                }
            }
        }
    }

    /// Nothing is left to do: the container has ended, its clients have everything, and so has
    /// the daemon.
    fn is_done(&self) -> bool {
        self.processes.values().all(Process::is_done)
            && self.control.as_ref().is_none_or(Control::is_idle)
    }

    fn send_news(&mut self) {
        for event in std::mem::take(&mut self.context.news) {
            self.send(Frame::new(Message::Event(event)));
        }
    }

    fn send(&mut self, frame: Frame<Message>) {
        if let Some(control) = &mut self.control
            && control.send(frame, &self.context.poll).is_err()
        {
            self.drop_control();
        }
    }

    fn drop_control(&mut self) {
        if let Some(control) = self.control.take() {
            self.context.poll.delete(control.as_fd());
        }
    }

    /// A daemon connects anew; it takes the place of the one before.
    fn accept(&mut self) {
        let Some(listener) = &self.listener else {
            return;
        };
        let flags = rustix::net::SocketFlags::CLOEXEC;
        let Ok(socket) = rustix::net::accept_with(listener, flags) else {
            return;
        };
        let trusted = rustix::net::sockopt::socket_peercred(&socket)
            .is_ok_and(|peer| peer.uid == rustix::process::geteuid());
        if !trusted {
            return;
        }
        self.drop_control();
        let control = Control::new(socket);
        if self.context.poll.add(&control, Token::Control, IN).is_ok() {
            self.control = Some(control);
        }
    }

    fn look_for_oom(&mut self) {
        let told = self.held.oom.as_ref().is_some_and(cgroup::OomWatch::drain);
        let kills = self.held.cgroup.as_ref().map_or(0, |c| c.oom_kills());
        // A victim that is counted only now may have been told of before.
        let new = kills.saturating_sub(self.oom_kills);
        let known = std::mem::take(&mut self.ooms_told).min(new);
        self.oom_kills = kills;
        if told && new == 0 {
            self.ooms_told += 1;
        }
        if told || new > known {
            self.context.news.push(Event::Oom);
        }
    }
}
