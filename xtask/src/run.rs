//! Running programs, with their output shown and failures named.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(PathBuf::from).unwrap_or(here)
}

/// A command in the workspace's root.
pub(crate) fn command(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(root());
    command
}

/// Runs a command to its end; its output goes where ours goes.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    println!("+ {}", words.join(" "));
    let status = command(words)
        .status()
        .with_context(|| format!("starting {}", words[0]))?;
    if !status.success() {
        bail!("{} failed: {status}", words.join(" "));
    }
    Ok(())
}

/// The same, unannounced.
pub(crate) fn run_quietly(words: &[&str]) -> Result<()> {
    let status = command(words)
        .status()
        .with_context(|| words[0].to_owned())?;
    if !status.success() {
        bail!("{} failed: {status}", words.join(" "));
    }
    Ok(())
}

/// Whether a program is on the PATH.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir| dir.join(program).is_file())
}
