//! keeper: one small static program, in several roles by its first argument.
//!
//! - `keep`: one per container; builds it, holds its stdio, writes its log, tells its end
//! - `proxy`: forwards published ports in user space, where the kernel does not
//! - `init` (as `argv[0]`, or argument): pid 1 inside a container
//! - `runtime` (or when called `corten-runtime` or `runc`): the OCI runtime's command line
//!
//! It has one thread and no async runtime: its memory is paid once per container.

mod init;
mod keep;
mod proxy;
mod runtime;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<std::ffi::OsString> = std::env::args_os().collect();
    // pid 1 of a container is started as `init -- program args…`, its name being the role.
    if args.first().is_some_and(|a| a == "init") {
        return init::main(&args[1..]);
    }
    let called = args.first().map(|a| a.to_string_lossy().into_owned());
    let called = called.unwrap_or_default();
    if matches!(called.rsplit('/').next(), Some("corten-runtime" | "runc")) {
        return runtime::main(&called, args.get(1..).unwrap_or_default());
    }
    match args.get(1).and_then(|a| a.to_str()) {
        Some("keep") => keep::main(),
        Some("proxy") => proxy::main(),
        Some("init") => init::main(&args[2..]),
        Some("runtime") => runtime::main(&called, &args[2..]),
        _ => refuse("usage: keeper keep | proxy | runtime | init -- PROGRAM [ARGUMENT…]"),
    }
}

#[expect(clippy::print_stderr, reason = "a command line's own answer")]
fn refuse(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::FAILURE
}
