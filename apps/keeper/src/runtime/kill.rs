//! `kill`: a signal for the first process, or for all where it does not stand for the others.

use std::os::fd::AsFd;

use super::args::Args;
use super::fail::{During, Fail, Result};
use super::state::{Container, Status};
use super::{Global, id_of};

pub(crate) const SIGKILL: i32 = 9;

/// In the order of their numbers, from 1 (signal(7), x86 and ARM).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

pub(crate) fn kill(global: &Global, args: &Args) -> Result<u8> {
    let signal = number(args.rest.get(1).map_or("SIGTERM", String::as_str))?;
    let container = Container::load(&global.root, id_of(args))?;
    match send(&container, signal, args.has("all")) {
        Err(Fail::NotRunning) if args.has("all") => Ok(0),
        other => other.map(|()| 0),
    }
}

fn send(container: &Container, signal: i32, all: bool) -> Result<()> {
    let init = container.init();
    // Killing the first process takes the others along only in a pid namespace of its own.
    if all || (signal == SIGKILL && !container.state.own_pid_namespace) {
        let Some(cgroup) = container.cgroup()? else {
            return Err(Fail::NotRunning);
        };
        if init.is_none() && cgroup.procs()?.is_empty() {
            return Err(Fail::NotRunning);
        }
        let sent = match signal {
            SIGKILL => cgroup.kill(),
            signal => cgroup.signal(signal),
        };
        return sent.map_err(|e| Fail::from(e).during("unable to kill all processes"));
    }
    let Some(init) = init else {
        return Err(Fail::NotRunning);
    };
    sys::process::pidfd_signal(init.as_fd(), signal).during("unable to signal", "init")?;
    if signal == SIGKILL
        && container.status() == Status::Paused
        && let Some(cgroup) = container.cgroup()?
    {
        // On v1 even this signal waits for the thaw.
        cgroup.thaw()?;
    }
    Ok(())
}

/// `9`, `KILL`, `sigkill`, `SIGRTMIN+3`.
fn number(text: &str) -> Result<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return Ok(number);
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let synonym = match name {
        "IOT" => "ABRT",
        "CLD" => "CHLD",
        "POLL" => "IO",
        name => name,
    };
    if let Some(at) = NAMES.iter().position(|n| *n == synonym) {
        return Ok(at as i32 + 1);
    }
    // The C library keeps the first two for itself.
    let real_time = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => Some(34),
        (_, Some("")) => Some(64),
        (Some(more), _) => more
            .strip_prefix('+')
            .and_then(|n| n.parse().ok())
            .map(|n: i32| 34 + n),
        (_, Some(less)) => less
            .strip_prefix('-')
            .and_then(|n| n.parse().ok())
            .map(|n: i32| 64 - n),
        _ => None,
    };
    match real_time {
        Some(number) if (34..=64).contains(&number) => Ok(number),
        _ => Err(Fail::Said(format!("unknown signal {text:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, expected) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGTERM", 15),
            ("sigusr1", 10),
            ("0", 0),
            ("SYS", 31),
            ("SIGRTMIN", 34),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
        ] {
            assert_eq!(number(text).unwrap(), expected, "{text}");
        }
        let text = number("NOPE").unwrap_err().to_string();
        assert_eq!(text, "unknown signal \"NOPE\"");
        assert!(number("RTMIN+99").is_err());
    }
}
