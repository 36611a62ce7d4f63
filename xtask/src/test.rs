//! The whole test run on a fresh Debian machine: installs what is missing, checks, builds, tests,
//! and prints the totals.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::{layers, run};

/// Program → Debian package that has it.
const TOOLS: [(&str, &str); 9] = [
    ("docker-registry", "docker-registry"),
    ("busybox", "busybox-static"),
    ("newuidmap", "uidmap"),
    ("docker", "docker-cli"),
    ("ip", "iproute2"),
    ("mmdebstrap", "mmdebstrap"),
    ("zstd", "zstd"),
    ("bzip2", "bzip2"),
    ("xz", "xz-utils"),
];

/// How long a test command may say nothing: the slowest link step and the slowest test take a
/// fraction of it on a busy machine with two cores.
const STALL: Duration = Duration::from_secs(600);

/// What test programs said of their tests.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
    /// Those that passed in a program without a closing line.
    pub(crate) plain: u64,
}

impl Totals {
    /// Adds what a line of a test program's output says, if it is the closing one.
    pub(crate) fn count(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test result: ") else {
            return;
        };
        for part in rest.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let (Some(Ok(count)), Some(what)) = (words.next().map(str::parse::<u64>), words.next())
            else {
                continue;
            };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
    }
}

/// `cargo xtask test [--no-e2e]`.
pub(crate) fn test(args: &[String]) -> Result<()> {
    let end_to_end = !args.iter().any(|arg| arg == "--no-e2e");
    install(end_to_end)?;
    run::run(&["cargo", "fmt", "--all", "--check"])?;
    layers::check()?;
    run::run(&[
        "cargo",
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ])?;
    let mut totals = Totals::default();
    let unit = [
        "cargo",
        "test",
        "--workspace",
        "--locked",
        "--no-fail-fast",
        "--exclude",
        "e2e",
    ];
    let mut good = counted(&unit, &mut totals)?;
    if end_to_end {
        run::run(&["cargo", "build", "--locked", "-p", "corten", "-p", "keeper"])?;
        let e2e = ["cargo", "test", "--locked", "--no-fail-fast", "-p", "e2e"];
        good &= counted(&e2e, &mut totals)?;
        // Those that need Debian's docker-registry.
        let registry = [
            "cargo",
            "test",
            "--locked",
            "-p",
            "engine",
            "--test",
            "pull",
            "--",
            "--ignored",
        ];
        good &= counted(&registry, &mut totals)?;
        let registry = [
            "cargo",
            "test",
            "--locked",
            "-p",
            "e2e",
            "--test",
            "registry",
            "--",
            "--ignored",
        ];
        good &= counted(&registry, &mut totals)?;
    }
    println!(
        "{} passed, {} failed, {} skipped",
        totals.passed, totals.failed, totals.ignored
    );
    if !good || totals.failed > 0 {
        bail!("tests failed");
    }
    Ok(())
}

fn install(end_to_end: bool) -> Result<()> {
    let mut missing: Vec<(&str, &str)> = vec![("cc", "gcc")];
    if end_to_end {
        missing.extend(TOOLS);
    }
    run::need(&missing)?;
    if !std::path::Path::new("/usr/lib/x86_64-linux-gnu/libc.a").exists()
        && cfg!(target_arch = "x86_64")
    {
        run::run(&["apt-get", "install", "-y", "-q", "libc6-dev"])?;
    }
    Ok(())
}

/// Runs a test command, passing its output on and adding up its totals. One that says nothing for
/// [`STALL`] is ended: a test that hangs is then a failure with a name, not a run without an end.
fn counted(words: &[&str], totals: &mut Totals) -> Result<bool> {
    println!("+ {}", words.join(" "));
    let mut child = run::command(words)
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| format!("starting {}", words[0]))?;
    let output = child.stdout.take().context("no output")?;
    let (sender, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    loop {
        match lines.recv_timeout(STALL) {
            Ok(line) => {
                println!("{line}");
                totals.count(&line);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                println!("no output for {STALL:?}: what runs is ended");
                totals.failed += 1;
                // The group: cargo, and the test program that it runs.
                let group = format!("-{}", child.id());
                run::run(&["kill", "-KILL", "--", &group])?;
                child.wait()?;
                return Ok(false);
            }
        }
    }
    let _ = reader.join();
    Ok(child.wait()?.success())
}
