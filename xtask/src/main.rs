//! Chores as Rust code: `cargo xtask layers | test | model | kills | bench | guest | drivers`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people"
)]

mod bench;
mod drivers;
mod guest;
mod layers;
mod run;
mod series;
mod test;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let chore = args.next();
    let rest: Vec<String> = args.collect();
    let result = match chore.as_deref() {
        Some("layers") => layers::check(),
        Some("bench") => bench::bench(&rest),
        Some("drivers") => drivers::drivers(&rest),
        Some("guest") => guest::guest(&rest),
        Some("kills") => series::kills(&rest),
        Some("model") => series::model(&rest),
        Some("test") => test::test(&rest),
        _ => {
            eprintln!(
                "usage: cargo xtask layers | test [--no-e2e] | model … | kills … | bench [-n RUNS] … | \
                 guest … | drivers …"
            );
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
