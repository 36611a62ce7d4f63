//! What is measured.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::engines::Engine;
use super::measure::{Table, processor_time, pss};

type Workload = fn(&[Engine], usize, &mut Table) -> Result<()>;

/// By name.
pub(crate) const ALL: [(&str, Workload); 5] = [
    ("run", run),
    ("exec", exec),
    ("detach", detach),
    ("api", api),
    ("cpu", cpu),
];

const RUN: [&str; 4] = ["run", "--rm", "bb", "true"];

/// One warm-up, then turn by turn.
fn rounds(
    engines: &[Engine],
    runs: usize,
    mut one: impl FnMut(&Engine, bool) -> Result<()>,
) -> Result<()> {
    for round in 0..=runs {
        for engine in engines {
            one(engine, round > 0)?;
        }
    }
    Ok(())
}

fn run(engines: &[Engine], runs: usize, table: &mut Table) -> Result<()> {
    let alone = ["run", "--rm", "--network", "none", "bb", "true"];
    for (row, args) in [
        ("run --rm true, ms", &RUN[..]),
        ("run --rm --network none true, ms", &alone),
    ] {
        rounds(engines, runs, |engine, counts| {
            let took = engine.time(args)?;
            if counts {
                table.time(row, &engine.name, took);
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn exec(engines: &[Engine], runs: usize, table: &mut Table) -> Result<()> {
    with_sleepers(engines, |engines| {
        rounds(engines, runs, |engine, counts| {
            let took = engine.time(&["exec", &sleeper(engine), "true"])?;
            if counts {
                table.time("exec true, ms", &engine.name, took);
            }
            Ok(())
        })
    })
}

fn detach(engines: &[Engine], runs: usize, table: &mut Table) -> Result<()> {
    rounds(engines, runs, |engine, counts| {
        let name = format!("d-{}", sleeper(engine));
        let up = engine.time(&["run", "-d", "--name", &name, "bb", "sleep", "1000"])?;
        let down = engine.time(&["rm", "-f", &name])?;
        if counts {
            table.time("run -d, ms", &engine.name, up);
            table.time("rm -f of a running one, ms", &engine.name, down);
        }
        Ok(())
    })
}

fn api(engines: &[Engine], runs: usize, table: &mut Table) -> Result<()> {
    rounds(engines, runs, |engine, counts| {
        if engine.socket.is_none() {
            return Ok(());
        }
        let mut step = Instant::now();
        let mut steps: Vec<(&str, Duration)> = Vec::new();
        let mut lap = |name| {
            steps.push((name, step.elapsed()));
            step = Instant::now();
        };
        let body = r#"{"Image":"bb","Cmd":["true"]}"#;
        let answer = engine.request("POST", "/v1.41/containers/create", body)?;
        let id = answer.split('"').nth(3).context("no id")?.to_owned();
        lap("API create, ms");
        engine.request("POST", &format!("/v1.41/containers/{id}/start"), "")?;
        lap("API start, ms");
        engine.request("POST", &format!("/v1.41/containers/{id}/wait"), "")?;
        lap("API wait, ms");
        engine.request("DELETE", &format!("/v1.41/containers/{id}"), "")?;
        lap("API rm, ms");
        if counts {
            let all = steps.iter().map(|(_, took)| *took).sum();
            for (name, took) in steps {
                table.time(name, &engine.name, took);
            }
            table.time("API create+start+wait+rm, ms", &engine.name, all);
        }
        Ok(())
    })
}

/// Processor time, which other load on the machine disturbs less than wall time.
fn cpu(engines: &[Engine], runs: usize, table: &mut Table) -> Result<()> {
    let mut measured = |row: &str, engine: &Engine, args: &[&str]| -> Result<()> {
        let before = settled();
        for _ in 0..runs {
            engine.time(args)?;
        }
        let spent = (settled() - before) / runs as f64;
        table.add(row, &engine.name, spent);
        Ok(())
    };
    for _ in 0..3 {
        for engine in engines {
            measured("run --rm true, ms of processor", engine, &RUN)?;
        }
    }
    with_sleepers(engines, |engines| {
        for _ in 0..3 {
            for engine in engines {
                let name = sleeper(engine);
                measured(
                    "exec true, ms of processor",
                    engine,
                    &["exec", &name, "true"],
                )?;
            }
        }
        Ok(())
    })
}

/// Processor time once the work that engines do behind their answers is done.
fn settled() -> f64 {
    let mut last = processor_time();
    loop {
        // Nothing tells when an engine has nothing left to do.
        std::thread::sleep(Duration::from_millis(300));
        let now = processor_time();
        if now - last < 10.0 {
            return now;
        }
        last = now;
    }
}

/// Start-up and memory, of Corten alone: peers want their own environment for that.
pub(crate) fn daemon(engine: &mut Engine, containers: usize, table: &mut Table) -> Result<()> {
    let name = engine.name.clone();
    let processes = ["corten", "keeper"];
    for _ in 0..5 {
        engine.stop("TERM")?;
        let took = engine.start()?;
        table.time("daemon ready, ms", &name, took);
    }
    table.add("idle, MiB of PSS", &name, pss(&processes));
    let names: Vec<String> = (0..containers).map(|n| format!("m{n}")).collect();
    for one in &names {
        engine.time(&["run", "-d", "--name", one, "bb", "sleep", "100000"])?;
    }
    let row = format!("with {containers} containers, MiB of PSS");
    table.add(&row, &name, pss(&processes));
    for signal in ["TERM", "KILL", "TERM", "KILL", "TERM"] {
        engine.stop(signal)?;
        let took = engine.start()?;
        table.time(&format!("ready with {containers} running, ms"), &name, took);
    }
    for some in names.chunks(20) {
        let mut args = vec!["rm", "-f"];
        args.extend(some.iter().map(String::as_str));
        engine.time(&args)?;
    }
    Ok(())
}

fn sleeper(engine: &Engine) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    format!("s-{}", engine.name.chars().map(plain).collect::<String>())
}

fn with_sleepers(engines: &[Engine], work: impl FnOnce(&[Engine]) -> Result<()>) -> Result<()> {
    for engine in engines {
        let name = sleeper(engine);
        engine.time(&["run", "-d", "--name", &name, "bb", "sleep", "100000"])?;
    }
    let result = work(engines);
    for engine in engines {
        engine.time(&["rm", "-f", &sleeper(engine)])?;
    }
    result
}
