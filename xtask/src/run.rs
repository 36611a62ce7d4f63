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
    run_with(&[], words)
}

/// The same, with these variables.
pub(crate) fn run_with(variables: &[(&str, &str)], words: &[&str]) -> Result<()> {
    let set = variables
        .iter()
        .map(|(name, value)| format!("{name}={value} "));
    println!("+ {}{}", set.collect::<String>(), words.join(" "));
    let status = command(words)
        .envs(variables.iter().copied())
        .status()
        .with_context(|| format!("starting {}", words[0]))?;
    if !status.success() {
        bail!("{} failed: {status}", words.join(" "));
    }
    Ok(())
}

/// As [`run`], unannounced.
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
    which(program).is_ok()
}

/// Where a program is.
pub(crate) fn which(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
        .with_context(|| format!("there is no program {program}"))
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// What a program that must succeed wrote.
pub(crate) fn output(words: &[&str]) -> Result<Vec<u8>> {
    let output = command(words)
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("starting {}", words[0]))?;
    if !output.status.success() {
        bail!("{} failed: {}", words.join(" "), output.status);
    }
    Ok(output.stdout)
}

/// A line of sources.list for another suite, at the mirror that this machine takes Debian from.
pub(crate) fn debian_source(suite: &str) -> Result<String> {
    let format = "$(ORIGIN) $(COMPONENT) $(REPO_URI)";
    let targets = output(&[
        "apt-get",
        "indextargets",
        "--format",
        format,
        "Created-By: Packages",
    ])?;
    let targets = String::from_utf8_lossy(&targets).into_owned();
    let mirror = targets
        .lines()
        .filter_map(|line| line.strip_prefix("Debian main "))
        .find(|mirror| !mirror.contains("security"))
        .context("apt is not configured for Debian")?;
    Ok(format!("deb {mirror} {suite} main\n"))
}

/// Installs the Debian packages of programs that are missing: (program, package).
pub(crate) fn need(tools: &[(&str, &str)]) -> Result<()> {
    let missing = tools.iter().filter(|(program, _)| !has(program));
    let missing: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    run(&["apt-get", "update", "-q"])?;
    let mut words = vec!["apt-get", "install", "-y", "-q", "--no-install-recommends"];
    words.extend(missing.into_iter().map(|package| match package {
        // Before Debian 13 the client comes with its engine only.
        "docker-cli" if !is_known(package) => "docker.io",
        package => package,
    }));
    run(&words)
}

/// Whether apt has a package.
fn is_known(package: &str) -> bool {
    command(&["apt-cache", "show", package])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Builds the keeper as it is delivered: small, static.
pub(crate) fn keeper() -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let words = [
        "cargo",
        "build",
        "--locked",
        "--profile",
        "keeper",
        "-p",
        "keeper",
        "--target",
    ];
    let words = [&words[..], &[&target]].concat();
    run_with(&[("RUSTFLAGS", "-Ctarget-feature=+crt-static")], &words)
        .context("building the keeper")?;
    Ok(self::target().join(target).join("keeper/keeper"))
}
