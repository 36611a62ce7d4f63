//! The command line: finds the command, reads its options and runs it.

pub(crate) mod app;
mod autostart;
mod commands;
mod configfile;
mod credentials;
pub(crate) mod failure;
mod filters;
pub(crate) mod flags;
mod help;
mod jsontext;
mod listing;
pub(crate) mod options;
mod out;
mod paths;
mod portlist;
mod progress;
mod signals;
pub(crate) mod spec;
mod stream;
mod tabwriter;
mod timestamp;
mod tty;
mod units;
pub(crate) mod values;

pub(crate) use autostart::detach_if_spawned;

use std::ffi::OsString;
use std::process::ExitCode;

use app::App;
use failure::Failure;
use spec::{Args, Command, Found};

/// What a command is given.
#[derive(Debug)]
pub(crate) struct Call {
    /// The program and its engine.
    pub(crate) app: App,
    /// Name by which the command was called: `ps` or `container ls`.
    pub(crate) name: String,
    /// Options and arguments.
    pub(crate) flags: flags::Parsed,
}

/// Runs one command line.
pub(crate) fn main(program: &'static str, args: Vec<OsString>) -> ExitCode {
    let args: Vec<String> = args
        .into_iter()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    match run(program, &args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tty::restore();
            if !failure.text.is_empty() {
                out::error(&failure.text);
            }
            ExitCode::from(failure.code)
        }
    }
}

fn run(program: &'static str, args: &[String]) -> Result<(), Failure> {
    let root_usage = format!(
        "\n\nUsage:  {program} [OPTIONS] COMMAND [ARG...]\n\nRun '{program} --help' for more information"
    );
    let globals = flags::parse(spec::GLOBAL, args, false)
        .map_err(|text| Failure::new(text + &root_usage).with_code(125))?;
    if globals.on("version") {
        out::line(&commands::version::line(program));
        return Ok(());
    }
    let level = globals.text("log-level");
    if !matches!(
        level,
        "trace" | "debug" | "info" | "warn" | "warning" | "error" | "fatal" | "panic"
    ) {
        return Err(Failure::new(format!(
            "Unable to parse logging level: {level}"
        )));
    }
    let mut words = globals.args.clone();
    let mut help = globals.help;
    if words.first().is_some_and(|word| word == "help") {
        words.remove(0);
        help = true;
    }
    if words.is_empty() {
        out::print(&help::program(program));
        return Ok(());
    }
    match spec::find(&words) {
        Found::Command(command, name, used) if help => {
            drop((used, globals));
            out::print(&help::command(program, &name, command));
            Ok(())
        }
        Found::Command(command, name, used) => {
            let app = App::new(program, globals);
            call(app, command, name, &words[used..])
        }
        Found::Group(group) => group_alone(program, group, &words, help),
        Found::Absent(name) => Err(Failure::new(format!(
            "{program}: '{name}' is not supported yet"
        ))),
        Found::Unknown if help => Err(Failure::new(format!(
            "unknown help topic: {}",
            words.join(" ")
        ))),
        Found::Unknown => Err(Failure::new(format!(
            "{program}: unknown command: {program} {}\n\nRun '{program} --help' for more information",
            words[0]
        ))),
    }
}

fn group_alone(program: &str, group: &str, words: &[String], help: bool) -> Result<(), Failure> {
    match words.get(1).map(String::as_str) {
        Some(word) if !word.starts_with('-') && words.iter().any(|word| word == "--help") => {
            out::print(&help::group(program, group));
            Ok(())
        }
        None => {
            let text = help::group(program, group);
            if help {
                out::print(&text);
            } else {
                out::write_error(text.as_bytes());
            }
            Ok(())
        }
        Some("--help" | "-h") => {
            out::print(&help::group(program, group));
            Ok(())
        }
        Some(word) => {
            let (text, code) = match flags::parse(&[], &words[1..2], false) {
                Err(text) => (text, 125),
                Ok(_) => (
                    format!("{program}: unknown command: {program} {group} {word}"),
                    1,
                ),
            };
            let usage = help::group_usage(group);
            Err(Failure::new(format!(
                "{text}\n\nUsage:  {program} {group}{usage}\n\nRun '{program} {group} --help' for more information"
            ))
            .with_code(code))
        }
    }
}

fn call(app: App, command: &'static Command, name: String, args: &[String]) -> Result<(), Failure> {
    let program = app.program;
    let usage = help::usage(program, &name, command);
    let more = format!("Run '{program} {name} --help' for more information");
    let flags = flags::parse(command.flags, args, command.interspersed)
        .map_err(|text| Failure::new(format!("{text}\n\n{usage}\n\n{more}")).with_code(125))?;
    if flags.help {
        if flags.short_help {
            out::error("Flag shorthand -h has been deprecated, use --help");
        }
        out::print(&help::command(program, &name, command));
        return Ok(());
    }
    if let Some(wrong) = wrong_count(command.count, flags.args.len()) {
        let see = match command.count {
            Args::AtLeast(_) => format!("See '{program} {name} --help' for more information"),
            _ => more,
        };
        return Err(Failure::new(format!(
            "{program}: '{program} {name}' {wrong}\n\n{usage}\n\n{see}"
        )));
    }
    let call = Call { app, name, flags };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(commands::run(command.path, &call));
    // Nothing is waited for: what is left has no reader.
    runtime.shutdown_background();
    outcome
}

fn wrong_count(count: Args, given: usize) -> Option<String> {
    let arguments = |n: usize| if n == 1 { "argument" } else { "arguments" };
    match count {
        Args::None if given > 0 => Some("accepts no arguments".into()),
        Args::Exactly(n) if given != n => Some(format!("requires {n} {}", arguments(n))),
        Args::AtLeast(n) if given < n => Some(format!("requires at least {n} {}", arguments(n))),
        Args::AtMost(n) if given > n => Some(format!("requires at most {n} {}", arguments(n))),
        Args::Between(least, most) if given < least || given > most => Some(format!(
            "requires at least {least} and at most {most} {}",
            arguments(most)
        )),
        _ => None,
    }
}
