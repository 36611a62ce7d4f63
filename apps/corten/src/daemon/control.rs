//! Telling whoever started us that we are ready: our own command line through a pipe, systemd
//! through its socket (sd_notify(3)).

use std::fs::File;
use std::io::Write as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::cli::app::READY_VARIABLE;

/// How long answers under way may take once the daemon was asked to end.
pub(crate) const GRACE: Duration = Duration::from_secs(3);

/// Those who wait for us.
#[derive(Debug)]
pub(crate) struct Ready {
    starter: Option<File>,
}

impl Ready {
    /// Finds them in the environment.
    pub(crate) fn inherited() -> Self {
        let starter = std::env::var(READY_VARIABLE).ok().and_then(|number| {
            // Opening it anew needs no claim on a descriptor that somebody else may own.
            let path = format!("/proc/self/fd/{}", number.parse::<u32>().ok()?);
            File::options().write(true).open(path).ok()
        });
        Self { starter }
    }

    /// Clients can connect.
    pub(crate) fn succeeded(&self) {
        self.tell("1");
        if let Err(error) = notify("READY=1") {
            tracing::warn!(%error, "sd_notify");
        }
    }

    /// The settings were read again.
    pub(crate) fn reloaded(&self) {
        say("READY=1");
    }

    /// There will be no daemon, and why.
    pub(crate) fn failed(&self, why: &str) {
        self.tell(why);
    }

    fn tell(&self, text: &str) {
        if let Some(mut pipe) = self.starter.as_ref() {
            // A starter that went away waits for nothing.
            let _ = pipe.write_all(text.as_bytes());
        }
    }
}

/// The settings are being read again: systemd waits for the end of it.
pub(crate) fn reloading() {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
    say(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
}

/// The daemon is about to end.
pub(crate) fn stopping() {
    say("STOPPING=1");
}

fn say(text: &str) {
    if let Err(error) = notify(text) {
        tracing::warn!(%error, "sd_notify");
    }
}

fn notify(text: &str) -> std::io::Result<()> {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
        return Ok(());
    };
    let socket = UnixDatagram::unbound()?;
    let address = match name.as_encoded_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&name)?,
    };
    socket.send_to_addr(text.as_bytes(), &address)?;
    Ok(())
}
