//! The way of output: a million lines into the log, out of it again, its end, and a reader who
//! does not read.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, ChildStdout};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::engines::Engine;
use super::measure::Table;

const LINES: usize = 1_000_000;
/// Without the newline.
const WIDTH: usize = 73;
/// Rounds at most: each writes the lines twice, of every engine and driver.
const MOST_RUNS: usize = 5;
const NAME: &str = "written";

/// By log driver: those that engines have in common, and Docker's compact one.
pub(crate) fn logs(engines: &[Engine], runs: usize, table: &mut Table) -> Result<()> {
    for driver in ["json-file", "local"] {
        for round in 0..=runs.min(MOST_RUNS) {
            for engine in engines {
                // Podman, which is spoken to by its command line alone, has no such driver.
                if driver == "local" && engine.name == "podman" {
                    continue;
                }
                let figures = one(engine, driver, runs)?;
                if round > 0 {
                    for (row, took) in figures {
                        table.time(&format!("{driver}: {row}, ms"), &engine.name, took);
                    }
                }
            }
        }
    }
    Ok(())
}

fn one(engine: &Engine, driver: &str, runs: usize) -> Result<Vec<(&'static str, Duration)>> {
    let mut figures = Vec::new();
    let write = writer("");
    let began = Instant::now();
    engine.time(&run(driver, &[], &write))?;
    engine.time(&["wait", NAME])?;
    figures.push(("a million lines written", began.elapsed()));

    let began = Instant::now();
    let mut reader = engine.client(&["logs", NAME]).spawn()?;
    let lines = count(reader.stdout.take().context("no output")?)?;
    reader.wait()?;
    figures.push(("a million lines read", began.elapsed()));
    if lines != LINES {
        bail!("{}: {lines} of {LINES} lines are in the log", engine.name);
    }
    for _ in 0..runs {
        figures.push((
            "logs --tail 10",
            engine.time(&["logs", "--tail", "10", NAME])?,
        ));
    }
    engine.time(&["rm", NAME])?;
    figures.push((
        "written beside a reader who does not read",
        stalled(engine, driver)?,
    ));
    Ok(figures)
}

/// A reader takes the first line and then nothing; the container, whose log must not keep it
/// waiting, writes the rest.
fn stalled(engine: &Engine, driver: &str) -> Result<Duration> {
    let options = ["--log-opt", "mode=non-blocking"];
    // Podman's containers never wait for their log; it has no such option.
    let options: &[&str] = if engine.name == "podman" {
        &[]
    } else {
        &options
    };
    let write = writer("echo ready; until [ -e /go ]; do busybox usleep 1000; done; ");
    engine.time(&run(driver, options, &write))?;
    let mut reader = Follower(engine.client(&["logs", "-f", NAME]).spawn()?);
    let mut output = BufReader::with_capacity(1, reader.0.stdout.take().context("no output")?);
    let mut line = String::new();
    output.read_line(&mut line)?;
    if line != "ready\n" {
        bail!("{}: logs -f begins with {line:?}", engine.name);
    }
    let began = Instant::now();
    engine.time(&["exec", NAME, "busybox", "touch", "/go"])?;
    engine.time(&["wait", NAME])?;
    let took = began.elapsed();
    drop(reader);
    engine.time(&["rm", NAME])?;
    Ok(took)
}

/// A `logs -f` that ends with this.
struct Follower(Child);

impl Drop for Follower {
    fn drop(&mut self) {
        // One that has ended cannot be killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run<'a>(driver: &'a str, options: &[&'a str], script: &'a str) -> Vec<&'a str> {
    let head = ["run", "-d", "--name", NAME, "--log-driver", driver];
    let tail = ["bb", "busybox", "sh", "-c", script];
    [&head, options, &tail].concat()
}

fn writer(before: &str) -> String {
    let line = "x".repeat(WIDTH);
    format!("{before}busybox yes {line} | busybox head -n {LINES}")
}

/// Counts whole lines, holding little.
fn count(mut output: ChildStdout) -> Result<usize> {
    let (mut lines, mut buffer) = (0, vec![0; 1 << 20]);
    loop {
        match output.read(&mut buffer)? {
            0 => return Ok(lines),
            read => lines += buffer[..read].iter().filter(|byte| **byte == b'\n').count(),
        }
    }
}
