//! `corten`: the engine's daemon and its command line in one file. Called by the name `docker` it
//! is a docker CLI, by `dockerd` the daemon.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

mod cli;
mod daemon;
mod supplier;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let called = args.next().unwrap_or_else(|| "corten".into());
    let name = Path::new(&called).file_name().map_or_else(
        || "corten".into(),
        |name| name.to_string_lossy().into_owned(),
    );
    let args: Vec<OsString> = args.collect();
    if name == "dockerd" {
        return daemon::main(args, true);
    }
    if args.first().is_some_and(|first| first == "daemon") {
        cli::detach_if_spawned();
        return daemon::main(args.into_iter().skip(1).collect(), false);
    }
    if args.first().is_some_and(|first| first == supplier::WORD) {
        return supplier::main();
    }
    let program = if name == "docker" { "docker" } else { "corten" };
    cli::main(program, args)
}
