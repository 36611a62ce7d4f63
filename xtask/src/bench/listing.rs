//! How long a list of many containers takes, of Corten alone: filling a peer takes minutes.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::engines::Engine;
use super::measure::Table;

/// Containers that there are.
const ALL: usize = 2000;
/// Those of them that run.
const RUNNING: usize = 200;
/// Lists for each run that was asked for: one is short.
const EACH: usize = 10;

/// Real containers, each with a process where it runs; each request on a connection of its own, from
/// before it is made to the last byte.
pub(crate) fn ps(engine: &Engine, runs: usize, table: &mut Table) -> Result<()> {
    for n in 0..ALL {
        let path = format!("/v1.51/containers/create?name=l{n}");
        let labels = format!(r#"{{"com.example.number":"{n}","com.example.kind":"listed"}}"#);
        let body = format!(r#"{{"Image":"bb","Cmd":["sleep","100000"],"Labels":{labels}}}"#);
        engine.request("POST", &path, &body)?;
        if n % (ALL / RUNNING) == 0 {
            engine.request("POST", &format!("/v1.51/containers/l{n}/start"), "")?;
        }
    }
    for (row, path, count) in [
        (
            format!("list {RUNNING} that run of {ALL}, ms"),
            "/v1.51/containers/json",
            RUNNING,
        ),
        (
            format!("list all {ALL}, {RUNNING} run, ms"),
            "/v1.51/containers/json?all=1",
            ALL,
        ),
    ] {
        for round in 0..=runs * EACH {
            let began = Instant::now();
            let answer = engine.request("GET", path, "")?;
            let took = began.elapsed();
            if round == 0 {
                let listed = answer.matches("\"Status\":").count();
                ensure!(listed == count, "{listed} of {count} are listed");
            } else {
                table.time(&row, &engine.name, took);
            }
        }
    }
    remove(engine).context("removing them")
}

fn remove(engine: &Engine) -> Result<()> {
    for n in 0..ALL {
        engine.request("DELETE", &format!("/v1.51/containers/l{n}?force=1"), "")?;
    }
    Ok(())
}
