//! pid 1 of a container started with `--init`: runs the program, hands signals on to it, reaps
//! what is left to it, and ends with the program's status.

use std::ffi::{CString, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, wait};

/// Faults of this process itself; everything else is handed on.
const OWN: [Signal; 7] = [
    Signal::FPE,
    Signal::ILL,
    Signal::SEGV,
    Signal::BUS,
    Signal::ABORT,
    Signal::TRAP,
    Signal::SYS,
];

/// `init -- PROGRAM [ARGUMENT…]`, the arguments after `init`.
pub(crate) fn main(args: &[OsString]) -> ExitCode {
    let args = match args.split_first() {
        Some((first, rest)) if first == "--" => rest,
        _ => args,
    };
    if args.is_empty() {
        return fail("no program was given", 2);
    }
    match run(args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(&error.to_string(), 1),
    }
}

fn run(args: &[OsString]) -> Result<u8, Errno> {
    // What lists processes shows; it was run from a file without a name.
    let _ = rustix::thread::set_name(c"init");
    let signals: Vec<i32> = (1..=64)
        .filter(|n| !OWN.iter().any(|s| s.as_raw() == *n))
        .collect();
    sys::process::block_signals(&signals)?;
    let arrivals = sys::process::signalfd(&signals)?;
    // One thread, so a copy of this process may do as it likes. The container's seccomp filter
    // holds here already, and the default one has no clone3.
    let Some(child) = sys::process::fork()? else {
        become_program(args)
    };
    loop {
        let mut waited = [PollFd::new(&arrivals, PollFlags::IN)];
        match poll(&mut waited, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
        while let Some(signal) = sys::process::read_signal(arrivals.as_fd())? {
            match Signal::from_named_raw(signal) {
                Some(Signal::CHILD) => {}
                // Sent by the terminal because this process is in the background of its program.
                Some(Signal::TTIN | Signal::TTOU) => {}
                // The program may be gone already.
                _ => drop(sys::process::kill(child.as_raw_nonzero().get(), signal)),
            }
        }
        if let Some(code) = reap(child) {
            return Ok(code);
        }
    }
}

/// Takes every dead child; the program's status when it is among them.
fn reap(child: Pid) -> Option<u8> {
    let mut code = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == child {
            let raw = match (status.exit_status(), status.terminating_signal()) {
                (Some(exit), _) => exit,
                (None, Some(signal)) => 128 + signal,
                (None, None) => continue,
            };
            code = Some(u8::try_from(raw).unwrap_or(255));
        }
    }
    code
}

fn become_program(args: &[OsString]) -> ! {
    // A process group of its own, in the foreground if there is a terminal.
    let _ = rustix::process::setpgid(None, None);
    let _ = rustix::termios::tcsetpgrp(std::io::stdin(), rustix::process::getpgrp());
    sys::process::reset_signals();
    let error = exec(args);
    let name = args[0].to_string_lossy();
    fail(
        &format!("exec {name:?}: {}", std::io::Error::from(error)),
        0,
    );
    sys::process::exit_now(if error == Errno::NOENT { 127 } else { 126 })
}

/// As execvp(3); returns on failure.
fn exec(args: &[OsString]) -> Errno {
    let c = |text: &[u8]| CString::new(text).map_err(|_| Errno::INVAL);
    let list: Result<Vec<_>, _> = args.iter().map(|a| c(a.as_bytes())).collect();
    let env = std::env::vars_os().map(|(key, value)| {
        let mut pair = key.into_vec();
        pair.push(b'=');
        pair.extend_from_slice(value.as_bytes());
        c(&pair)
    });
    let (list, env) = match (list, env.collect::<Result<Vec<_>, _>>()) {
        (Ok(list), Ok(env)) => (list, env),
        (Err(e), _) | (_, Err(e)) => return e,
    };
    let Some(program) = list.first() else {
        return Errno::NOENT;
    };
    if program.as_bytes().contains(&b'/') {
        return sys::exec::execve(program, &list, &env);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut worst = Errno::NOENT;
    for dir in path.as_bytes().split(|b| *b == b':') {
        let dir = if dir.is_empty() { &b"."[..] } else { dir };
        let Ok(full) = c(&[dir, b"/", program.as_bytes()].concat()) else {
            continue;
        };
        match sys::exec::execve(&full, &list, &env) {
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCESS => worst = Errno::ACCESS,
            other => return other,
        }
    }
    worst
}

#[expect(clippy::print_stderr, reason = "the container's own output")]
fn fail(message: &str, code: u8) -> ExitCode {
    eprintln!("init: {message}");
    ExitCode::from(code)
}
