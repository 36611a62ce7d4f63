//! Key by key through config.json, in real containers: `cargo test -p runtime --test spec`.
//!
//! Not under libtest: the runtime clones its caller, which must have one thread.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a test"
)]
#![allow(unreachable_pub, reason = "shared with other tests")]

mod escapes;
mod hooks;
mod mounts;
mod namespaces;
mod process;
mod seccomp;
#[path = "../support/mod.rs"]
mod support;

use support::bed::Bed;

fn main() {
    let Some(bed) = Bed::new() else { return };
    for tests in [
        hooks::TESTS,
        mounts::TESTS,
        process::TESTS,
        seccomp::TESTS,
        escapes::TESTS,
        namespaces::TESTS,
    ] {
        bed.run_all(tests);
    }
}
