//! Corten beside the peers that are installed, one workload after the other, turn by turn in the
//! same run: medians, ratios, processor time, memory.
//!
//! Everything happens in network, mount and pid namespaces of its own, so that what is measured is
//! all that is there, and all of it is gone at the end.

mod engines;
mod listing;
mod logs;
mod measure;
mod runtime;
mod workloads;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::run;
use engines::Engine;
use measure::Table;

/// Set in the run inside the namespaces.
const INSIDE: &str = "CORTEN_BENCH_INSIDE";

/// What to run.
#[derive(Debug)]
struct Options {
    runs: usize,
    containers: usize,
    corten: Option<PathBuf>,
    only: Vec<String>,
    /// Engines that run already: name, command line, socket.
    given: Vec<String>,
    here: bool,
    root: Option<PathBuf>,
    keeper: Option<PathBuf>,
}

const USAGE: &str =
    "cargo xtask bench [-n RUNS] [--containers N] [--only WORKLOAD,…] [--corten FILE]
                  [--here] [--engine 'NAME SOCKET COMMAND…']…
                  [--root DIR] [--keeper FILE]
  workloads: run, exec, detach, api, cpu, daemon, ps; only when named: logs; alone: runtime
  --here     use the namespaces as they are
  --engine   one that runs already, as seen from --here
  --root     with runtime: a Debian system that has crun and runc; without it one is made
  --keeper   with runtime: the program; without it it is built";

/// `cargo xtask bench`.
pub(crate) fn bench(args: &[String]) -> Result<()> {
    let options = parse(args)?;
    if options.only == ["runtime"] {
        let (root, keeper) = (options.root.as_deref(), options.keeper.as_deref());
        return runtime::bench(options.runs, root, keeper);
    }
    let corten = match &options.corten {
        Some(path) => path.clone(),
        None => {
            run::run(&["cargo", "build", "--release", "--locked", "-p", "corten"])?;
            run::root().join("target/release/corten")
        }
    };
    if !options.here && std::env::var_os(INSIDE).is_none() {
        return enter(args, &corten);
    }
    inside(&options, &corten)
}

fn parse(args: &[String]) -> Result<Options> {
    let mut options = Options {
        runs: 15,
        containers: 100,
        corten: None,
        only: Vec::new(),
        given: Vec::new(),
        here: false,
        root: None,
        keeper: None,
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || {
            args.next()
                .cloned()
                .with_context(|| format!("{arg} needs a value"))
        };
        match arg.as_str() {
            "-n" => options.runs = value()?.parse().context("-n")?,
            "--containers" => options.containers = value()?.parse().context("--containers")?,
            "--corten" => options.corten = Some(value()?.into()),
            "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
            "--engine" => options.given.push(value()?),
            "--root" => options.root = Some(value()?.into()),
            "--keeper" => options.keeper = Some(value()?.into()),
            "--here" => options.here = true,
            _ => bail!("unknown argument {arg}\n{USAGE}"),
        }
    }
    Ok(options)
}

/// Starts the same again inside namespaces; they end with it, and with them all that it left.
fn enter(args: &[String], corten: &std::path::Path) -> Result<()> {
    let this = std::env::current_exe()?.display().to_string();
    let corten = corten.display().to_string();
    let mut words = vec!["unshare", "--net", "--mount", "--pid", "--ipc", "--fork"];
    words.extend(["--kill-child", "--mount-proc", "--propagation", "private"]);
    words.extend([&*this, "bench", "--corten", &corten]);
    words.extend(args.iter().map(String::as_str));
    let status = run::command(&words)
        .env(INSIDE, "1")
        .status()
        .context("unshare")?;
    if !status.success() {
        bail!("the benchmark failed: {status}");
    }
    Ok(())
}

fn inside(options: &Options, corten: &std::path::Path) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("corten-bench-").tempdir()?;
    if !options.here {
        run::run(&["ip", "link", "set", "lo", "up"])?;
        run::run(&["mount", "-t", "tmpfs", "tmpfs", "/run"])?;
    }
    let mut engines = vec![Engine::corten(corten, dir.path())?];
    if options.given.is_empty() && !options.here {
        engines.extend(Engine::found(dir.path())?);
    }
    for given in &options.given {
        engines.push(Engine::given(given)?);
    }
    let names: Vec<&str> = engines.iter().map(|engine| engine.name.as_str()).collect();
    println!(
        "engines: {}; {} runs of each, turn by turn",
        names.join(", "),
        options.runs
    );
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|o| o == name);
    let mut table = Table::new(engines.iter().map(|engine| engine.name.clone()).collect());
    let result = (|| -> Result<()> {
        for engine in &engines {
            engine.import(dir.path())?;
        }
        for (name, workload) in workloads::ALL {
            if wanted(name) {
                workload(&engines, options.runs, &mut table)
                    .with_context(|| format!("workload {name}"))?;
            }
        }
        if options.only.iter().any(|only| only == "logs") {
            logs::logs(&engines, options.runs, &mut table).context("workload logs")?;
        }
        if wanted("daemon") {
            workloads::daemon(&mut engines[0], options.containers, &mut table)?;
        }
        if wanted("ps") {
            listing::ps(&engines[0], options.runs, &mut table)?;
        }
        Ok(())
    })();
    for engine in &mut engines {
        engine.end();
    }
    engines::remove_cgroups();
    println!("{table}");
    result
}
