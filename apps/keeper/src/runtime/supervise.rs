//! Stays with a process until it ends: hands signals on, copies its terminal, takes its status.

use std::os::fd::{AsFd, OwnedFd};

use runtime::Started;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus};
use rustix::termios::{OptionalActions, OutputModes, Termios};
use rustix::thread::CpuSet;
use sys::Errno;

use super::fail::{During, Fail, Result, reason};

/// Signals as they come, blocked from before the process exists.
#[derive(Debug)]
pub(crate) struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Takes every signal but those of this program's own faults.
    pub(crate) fn take() -> Result<Self> {
        let own = [
            Signal::SEGV,
            Signal::BUS,
            Signal::ILL,
            Signal::FPE,
            Signal::ABORT,
            Signal::TRAP,
            Signal::SYS,
        ]
        .map(Signal::as_raw);
        let all: Vec<i32> = (1..=64).filter(|n| !own.contains(n)).collect();
        sys::process::block_signals(&all).during("block", "signals")?;
        let fd = sys::process::signalfd(&all).during("make", "signalfd")?;
        Ok(Self { fd })
    }
}

/// Waits for the end of the process and gives its exit code, 128 and the signal's number for one
/// that was killed.
pub(crate) fn stay(signals: &Signals, started: &Started) -> Result<u8> {
    let mut terminal = started.terminal.as_ref().map(Terminal::new).transpose()?;
    if let Some(terminal) = &terminal {
        terminal.resize();
    }
    let mut code = None;
    loop {
        let ended = {
            let mut polled = vec![
                PollFd::new(&signals.fd, PollFlags::IN),
                PollFd::new(&started.pidfd, PollFlags::IN),
            ];
            if let Some(terminal) = &terminal {
                terminal.watch(&mut polled);
            }
            match poll(&mut polled, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(Fail::Said(format!("poll: {}", reason(e)))),
            }
            polled.get(1).is_some_and(|p| !p.revents().is_empty())
        };
        while let Some(signal) =
            sys::process::read_signal(signals.fd.as_fd()).during("read", "signals")?
        {
            match Signal::from_named_raw(signal) {
                Some(Signal::CHILD) => code = code.or(reap_all(started)),
                Some(Signal::WINCH) if terminal.is_some() => {
                    terminal.iter().for_each(Terminal::resize);
                }
                // ESRCH: it ends just now.
                _ => drop(sys::process::pidfd_signal(started.pidfd.as_fd(), signal)),
            }
        }
        if let Some(terminal) = &mut terminal {
            terminal.copy();
        }
        if ended {
            let code = match code {
                Some(code) => code,
                None => reap(started)?,
            };
            if let Some(terminal) = &mut terminal {
                terminal.drain();
            }
            return Ok(code);
        }
    }
}

/// Takes all children that have ended: orphans of the container come to this process as a
/// subreaper. Gives the code of the container's own.
fn reap_all(started: &Started) -> Option<u8> {
    let mut code = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid.as_raw_pid().unsigned_abs() == started.pid {
            code = Some(exit_code(status));
        }
    }
    code
}

fn exit_code(status: WaitStatus) -> u8 {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, signal) => 128 + signal.unwrap_or_default(),
    };
    code as u8
}

/// Takes the status of a process that has ended.
pub(crate) fn reap(started: &Started) -> Result<u8> {
    let options = WaitIdOptions::EXITED;
    loop {
        match rustix::process::waitid(WaitId::PidFd(started.pidfd.as_fd()), options) {
            Ok(Some(status)) => {
                let code = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => code,
                    (None, signal) => 128 + signal.unwrap_or_default(),
                };
                return Ok(code as u8);
            }
            Ok(None) | Err(Errno::INTR) => {}
            Err(e) => return Err(Fail::Said(format!("wait: {}", reason(e)))),
        }
    }
}

/// Gives up the caller's CPU affinity, which is none of the container's business; what its cgroup
/// allows is taken when it is joined.
pub(crate) fn reset_affinity() {
    let mut all = CpuSet::new();
    for cpu in 0..CpuSet::MAX_CPU {
        all.set(cpu);
    }
    let _ = rustix::thread::sched_setaffinity(None, &all);
}

/// Lets orphans of the container come to this process.
pub(crate) fn become_subreaper() {
    let _ = rustix::process::set_child_subreaper(Pid::from_raw(1));
}

/// The terminal of a process in the foreground, copied to and from the caller's streams.
struct Terminal<'a> {
    master: &'a OwnedFd,
    /// The caller's own terminal and how it was.
    host: Option<(std::io::Stderr, Termios)>,
    /// Read from stdin, not yet taken by the process.
    pending: Vec<u8>,
    input_ended: bool,
    output_ended: bool,
}

const CHUNK: usize = 32 << 10;

impl<'a> Terminal<'a> {
    fn new(master: &'a OwnedFd) -> Result<Self> {
        let flags = rustix::fs::fcntl_getfl(master).during("fcntl", "terminal")?;
        rustix::fs::fcntl_setfl(master, flags | OFlags::NONBLOCK).during("fcntl", "terminal")?;
        let host = std::io::stderr();
        let host = rustix::termios::tcgetattr(&host).ok().map(|was| {
            let mut raw = was.clone();
            raw.make_raw();
            raw.output_modes.insert(OutputModes::OPOST);
            let _ = rustix::termios::tcsetattr(&host, OptionalActions::Now, &raw);
            (host, was)
        });
        Ok(Self {
            master,
            host,
            pending: Vec::new(),
            input_ended: false,
            output_ended: false,
        })
    }

    fn resize(&self) {
        if let Some((host, _)) = &self.host
            && let Ok(size) = rustix::termios::tcgetwinsize(host)
        {
            let _ = rustix::termios::tcsetwinsize(self.master, size);
        }
    }

    fn watch<'p>(&'p self, polled: &mut Vec<PollFd<'p>>) {
        let mut wanted = PollFlags::empty();
        if !self.output_ended {
            wanted |= PollFlags::IN;
        }
        if !self.pending.is_empty() {
            wanted |= PollFlags::OUT;
        }
        if !wanted.is_empty() {
            polled.push(PollFd::new(self.master, wanted));
        }
        if !self.input_ended && self.pending.is_empty() {
            polled.push(PollFd::from_borrowed_fd(
                rustix::stdio::stdin(),
                PollFlags::IN,
            ));
        }
    }

    fn copy(&mut self) {
        self.copy_output();
        if !self.input_ended && self.pending.is_empty() && readable(rustix::stdio::stdin()) {
            let mut buffer = vec![0; CHUNK];
            match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
                Ok(0) => self.input_ended = true,
                Ok(n) => self.pending.extend(buffer.iter().take(n)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => self.input_ended = true,
            }
        }
        while !self.pending.is_empty() {
            match rustix::io::write(self.master, &self.pending) {
                Ok(n) => drop(self.pending.drain(..n)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => self.pending.clear(),
            }
        }
    }

    /// Reads until there is nothing now; false at the end.
    fn copy_output(&mut self) {
        let mut buffer = vec![0; CHUNK];
        while !self.output_ended {
            match rustix::io::read(self.master, &mut buffer) {
                Ok(n) if n > 0 => write_all(buffer.get(..n).unwrap_or_default()),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                // EIO: nobody has the other end open.
                Ok(_) | Err(_) => self.output_ended = true,
            }
        }
    }

    /// The rest of what an ended process wrote.
    fn drain(&mut self) {
        self.copy_output();
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        if let Some((host, was)) = &self.host {
            let _ = rustix::termios::tcsetattr(host, OptionalActions::Now, was);
        }
    }
}

fn readable(fd: std::os::fd::BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let now = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    matches!(poll(&mut polled, Some(&now)), Ok(n) if n > 0)
}

fn write_all(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(rustix::stdio::stdout(), bytes) {
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let stdout = rustix::stdio::stdout();
                let _ = poll(
                    &mut [PollFd::from_borrowed_fd(stdout, PollFlags::OUT)],
                    None,
                );
            }
            Err(_) => return,
        }
    }
}
