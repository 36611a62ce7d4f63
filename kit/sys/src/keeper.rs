#![expect(unsafe_code, reason = "rustix does not set dispositions")]
//! Signals of a process that must outlive whoever started it.

/// Ignores the signals by which terminals and service managers end things.
pub fn ignore_signals() {
    for signal in [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGTERM,
        libc::SIGPIPE,
    ] {
        // SAFETY: setting a disposition to SIG_IGN runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}
