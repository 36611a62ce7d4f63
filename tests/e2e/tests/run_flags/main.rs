//! Every flag of the stock client's `docker run`, each with what shows that it has its effect: in
//! the container or in the kernel, not in what `inspect` repeats. What combinations of flags do, and
//! what wrong ones are answered, is in the other files named `run_*`.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails loudly"
)]

mod files;
mod life;
mod limits;
mod networks;
mod process;
mod row;

use std::collections::BTreeSet;

use e2e::{Lab, Options, root};

/// All of the table.
fn tables() -> [&'static [row::Row]; 5] {
    [
        files::ROWS,
        life::ROWS,
        limits::ROWS,
        networks::ROWS,
        process::ROWS,
    ]
}

/// A flag without an effect of its own.
const HELP: &str = "help";

#[test]
fn every_flag_of_the_client_has_a_row() {
    let help = std::process::Command::new("docker")
        .args(["run", "--help"])
        .output();
    let Ok(help) = help else {
        eprintln!("there is no docker CLI: not run");
        return;
    };
    let help = String::from_utf8(help.stdout).unwrap();
    let flag = |line: &str| {
        let (_, rest) = line.split_once("--")?;
        line.trim_start()
            .starts_with('-')
            .then(|| rest.split_whitespace().next().unwrap().to_owned())
    };
    let flags: BTreeSet<String> = help.lines().filter_map(flag).collect();
    assert!(flags.len() > 90, "not understood:\n{help}");
    let mut rows = BTreeSet::from([HELP.to_owned()]);
    for row in tables().into_iter().flatten() {
        assert!(
            rows.insert(row.flag.to_owned()),
            "--{} has two rows",
            row.flag
        );
    }
    let without: Vec<_> = flags.difference(&rows).collect();
    assert!(without.is_empty(), "flags without a row: {without:?}");
    let unknown: Vec<_> = rows.difference(&flags).collect();
    assert!(unknown.is_empty(), "rows of no flag: {unknown:?}");
}

#[test]
fn files_have_their_effect() {
    on_a_lab(files::ROWS);
}

#[test]
fn life_has_its_effect() {
    on_a_lab(life::ROWS);
}

#[test]
fn limits_have_their_effect() {
    on_a_lab(limits::ROWS);
}

#[test]
fn networks_have_their_effect() {
    on_a_lab(networks::ROWS);
}

#[test]
fn processes_have_their_effect() {
    on_a_lab(process::ROWS);
}

fn on_a_lab(rows: &[row::Row]) {
    if !root() {
        return;
    }
    let specifications = tempfile::tempdir().unwrap();
    std::fs::write(specifications.path().join("gpu.json"), process::GPU).unwrap();
    let lab = Lab::with(Options {
        flags: vec![format!(
            "--cdi-spec-dir={}",
            specifications.path().display()
        )],
        ..Options::default()
    });
    row::check(&lab, rows);
}
