//! The daemon.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the engine with dockerd's arguments.
pub(crate) fn main(_args: Vec<OsString>) -> ExitCode {
    ExitCode::FAILURE
}
