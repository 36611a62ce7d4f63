//! OCI runtimes beside each other: the same bundle, command by command, turn by turn.
//!
//! They run where `cargo xtask drivers` has its engines: below cgroups and in namespaces of this
//! run's own, the meters of which count everything, the dead included.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::measure::Table;
use crate::drivers::room::{Groups, Room, run_here, until};
use crate::drivers::{RUNTIME, debian};
use crate::run;

/// Set in the run inside the namespaces.
const INSIDE: &str = "CORTEN_BENCH_RUNTIME_INSIDE";

const BUNDLE: &str = "/var/lib/lab/bundle";

/// Runs a command and writes down what it needed.
const METER: [&str; 6] = ["/bin/busybox", "time", "-f", "most %M", "-o", TOLD];

const TOLD: &str = "/tmp/most";

/// `cargo xtask bench --only runtime`.
pub(crate) fn bench(runs: usize, root: Option<&Path>, keeper: Option<&Path>) -> Result<()> {
    if let (true, Some(root), Some(keeper)) = (std::env::var_os(INSIDE).is_some(), root, keeper) {
        return inside(runs, root, keeper);
    }
    let root = match root {
        Some(root) => std::fs::canonicalize(root)?,
        None => debian()?,
    };
    let keeper = match keeper {
        Some(keeper) => std::fs::canonicalize(keeper)?,
        None => run::keeper()?,
    };
    let (runs, root) = (runs.to_string(), root.display().to_string());
    let keeper = keeper.display().to_string();
    let words = [
        "bench", "--only", "runtime", "-n", &runs, "--root", &root, "--keeper", &keeper,
    ];
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let groups = Groups::make()?;
    let status = groups.enter(&words, INSIDE);
    groups.remove()?;
    match status?.success() {
        true => Ok(()),
        false => bail!("the benchmark failed"),
    }
}

#[derive(Debug)]
struct Runtime {
    name: &'static str,
    program: PathBuf,
}

fn inside(runs: usize, root: &Path, keeper: &Path) -> Result<()> {
    let _room = Room::enter(root, keeper)?;
    check_meter()?;
    let mut runtimes = vec![Runtime {
        name: "keeper",
        program: RUNTIME.into(),
    }];
    for name in ["crun", "runc"] {
        match run::which(name) {
            Ok(program) => runtimes.push(Runtime { name, program }),
            Err(_) => println!("{name} is not there"),
        }
    }
    bundle()?;
    let load = std::fs::read_to_string("/proc/loadavg")?;
    println!("load {}; {runs} runs of each, turn by turn", load.trim());
    let mut table = Table::new(runtimes.iter().map(|r| r.name.to_owned()).collect());
    for round in 0..=runs {
        for runtime in &runtimes {
            let figures = runtime.round()?;
            // The first round warms up.
            for (row, figure) in figures.into_iter().filter(|_| round > 0) {
                table.add(row, runtime.name, figure);
            }
        }
    }
    let load = std::fs::read_to_string("/proc/loadavg")?;
    println!("{table}\nload {}", load.trim());
    Ok(())
}

/// busybox, and what the runtime's `spec` writes, without a terminal.
fn bundle() -> Result<()> {
    let bin = Path::new(BUNDLE).join("rootfs/bin");
    std::fs::create_dir_all(&bin)?;
    std::fs::copy("/bin/busybox", bin.join("busybox"))?;
    for applet in ["true", "sleep"] {
        std::os::unix::fs::symlink("busybox", bin.join(applet))?;
    }
    run_here(&[RUNTIME, "spec", "--bundle", BUNDLE])?;
    let path = Path::new(BUNDLE).join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    config["process"]["terminal"] = false.into();
    for (file, args) in [
        ("sleep.json", ["sleep", "1000"].as_slice()),
        ("true.json", &["true"]),
    ] {
        config["process"]["args"] = args.into();
        std::fs::write(Path::new(BUNDLE).join(file), config.to_string())?;
    }
    Ok(())
}

impl Runtime {
    /// One of everything.
    fn round(&self) -> Result<Vec<(&'static str, f64)>> {
        let mut out = Vec::new();
        let milliseconds = |took: Duration| took.as_secs_f64() * 1e3;
        let configure = |file: &str| {
            let dir = Path::new(BUNDLE);
            std::fs::copy(dir.join(file), dir.join("config.json"))
        };
        configure("sleep.json")?;
        out.push((
            "create, ms",
            milliseconds(self.time(&["create", "-b", BUNDLE, "c"])?),
        ));
        let (rss, pss) = self.waiting("c")?;
        out.push(("the created process, KiB resident", rss));
        out.push(("the created process, KiB its own share", pss));
        out.push(("start, ms", milliseconds(self.time(&["start", "c"])?)));
        out.push((
            "exec true, ms",
            milliseconds(self.time(&["exec", "c", "true"])?),
        ));
        out.push((
            "delete -f, ms",
            milliseconds(self.time(&["delete", "-f", "c"])?),
        ));
        // Again for the processor, without what was measured between.
        let before = processor()?;
        self.time(&["create", "-b", BUNDLE, "c"])?;
        self.time(&["start", "c"])?;
        self.time(&["delete", "-f", "c"])?;
        out.push((
            "create, start, delete -f, ms of processor",
            processor()? - before,
        ));
        // And for memory.
        out.push((
            "create, KiB at most",
            self.most(&["create", "-b", BUNDLE, "c"])?,
        ));
        out.push(("start, KiB at most", self.most(&["start", "c"])?));
        out.push(("exec true, KiB at most", self.most(&["exec", "c", "true"])?));
        out.push(("delete -f, KiB at most", self.most(&["delete", "-f", "c"])?));
        configure("true.json")?;
        out.push((
            "run true, ms",
            milliseconds(self.time(&["run", "-b", BUNDLE, "r"])?),
        ));
        self.gone("r")?;
        out.push((
            "run true, KiB at most",
            self.most(&["run", "-b", BUNDLE, "r"])?,
        ));
        self.gone("r")?;
        Ok(out)
    }

    fn command(&self, before: &[&str], words: &[&str]) -> Command {
        let program = self.program.display().to_string();
        let root = format!("/run/bench-{}", self.name);
        let all = [before, &[&program, "--root", &root], words].concat();
        let mut command = Command::new(all[0]);
        command
            .args(&all[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    fn time(&self, words: &[&str]) -> Result<Duration> {
        let mut command = self.command(&[], words);
        let began = Instant::now();
        let status = command.status()?;
        let took = began.elapsed();
        match status.success() {
            true => Ok(took),
            false => bail!("{} {words:?}: {status}", self.name),
        }
    }

    /// Most memory that the command's process had at once, KiB. It is busybox that starts it: of
    /// what a process has before it becomes another the kernel counts the most, too, and that
    /// of busybox is below everything here.
    fn most(&self, words: &[&str]) -> Result<f64> {
        let status = self.command(&METER, words).status()?;
        match status.success() {
            true => told(),
            false => bail!("{} {words:?}: {status}", self.name),
        }
    }

    /// Resident memory and its share of it of the process that waits for `start`, KiB.
    fn waiting(&self, id: &str) -> Result<(f64, f64)> {
        let root = format!("/run/bench-{}", self.name);
        let program = self.program.display().to_string();
        let state = run_here(&[&program, "--root", &root, "state", id])?;
        let state: Value = serde_json::from_str(&state)?;
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", state["pid"]))?;
        let line = |key: &str| -> Result<f64> {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(key))
                .context("no line")?;
            Ok(line.trim().trim_end_matches(" kB").parse()?)
        };
        Ok((line("Rss:")?, line("Pss:")?))
    }

    /// Waits until what `run` left behind is gone, which it takes away itself.
    fn gone(&self, id: &str) -> Result<()> {
        let state = PathBuf::from(format!("/run/bench-{}", self.name)).join(id);
        until("the end of a container", || {
            Ok((!state.exists()).then_some(()))
        })
    }
}

/// What [`METER`] told last.
fn told() -> Result<f64> {
    let text = std::fs::read_to_string(TOLD)?;
    let figure = text.lines().find_map(|line| line.strip_prefix("most "));
    Ok(figure.context("no figure")?.trim().parse()?)
}

/// Older busyboxes take the kernel's KiB for pages, and tell four times too much.
fn check_meter() -> Result<()> {
    let own = ["/bin/busybox", "grep", "VmHWM:", "/proc/self/status"];
    let status = run_here(&[METER.as_slice(), &own].concat())?;
    let kernel = status.trim().trim_start_matches("VmHWM:");
    let kernel: f64 = kernel.trim_end_matches("kB").trim().parse()?;
    let told = told()?;
    match told > 2.0 * kernel {
        true => bail!("busybox tells {told} KiB of itself, the kernel {kernel}: take a newer one"),
        false => Ok(()),
    }
}

/// Processor milliseconds of everything below our cgroup so far.
fn processor() -> Result<f64> {
    let one = "/sys/fs/cgroup/cpuacct/cpuacct.usage";
    let both = "/sys/fs/cgroup/cpu,cpuacct/cpuacct.usage";
    for file in [one, both] {
        if let Ok(text) = std::fs::read_to_string(file) {
            return Ok(text.trim().parse::<f64>()? / 1e6);
        }
    }
    let text = std::fs::read_to_string("/sys/fs/cgroup/cpu.stat").context("no processor meter")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec "));
    Ok(line.context("no usage")?.parse::<f64>()? / 1e3)
}
