//! The harness of the end-to-end tests: a [`Lab`] is one engine in network and mount namespaces of
//! its own, with its own data root and cgroup parent, and clients run beside it. When a lab ends it
//! looks for everything an engine could have left on the host, and panics naming it.
//!
//! Tests need root and Linux; without root they say so and pass nothing: see [`root`].
#![allow(clippy::print_stderr, reason = "a harness talks to whoever runs it")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a harness fails loudly"
)]

mod group;
mod http;
mod image;
mod lab;
mod leaks;
mod network;
pub mod registry;
mod terminal;
mod twin;

pub use http::Response;
pub use lab::{Lab, Options, Ran, corten as program, parent, signal, wait_for};
pub use network::{Outside, ask_tcp, ask_udp, serve_tcp, serve_udp};
pub use terminal::Terminal;
pub use twin::Twin;

/// Whether labs can be made here; says why not.
pub fn root() -> bool {
    let uid = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let root = uid
        .lines()
        .any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"));
    if !root {
        eprintln!("needs root: not run");
    }
    root
}
