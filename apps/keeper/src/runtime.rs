//! The OCI runtime's command line (runtime-spec runtime.md; options, texts and exit codes as
//! runc's, which dockerd, containerd and podman are written against).
//!
//! Each command is a process of its own; what they know of each other is in the state directory
//! ([`state`]). Nothing stays running: a container's first process is the child of whoever calls
//! `create`, or of its reaper.

mod args;
mod bundle;
mod clock;
mod commands;
mod criu;
mod delete;
mod events;
mod exec;
mod fail;
mod features;
mod guard;
mod kill;
mod launch;
mod list;
mod log;
mod notify;
mod pause;
mod spec;
mod start;
mod state;
mod streams;
mod supervise;
mod systemd;
mod update;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use self::args::{Args, Command};
use self::fail::{During, Fail, Result};
use self::log::Log;

/// Version of the specification that is implemented.
const SPEC_VERSION: &str = "1.3.0";
const DEFAULT_ROOT: &str = "/run/corten-oci";

/// What holds for every command.
#[derive(Debug)]
struct Global {
    /// The name this program was called by.
    program: String,
    root: PathBuf,
    /// It was asked for.
    root_given: bool,
    log: Log,
    /// `--rootless`, where it says something.
    rootless: Option<bool>,
    /// Containers get cgroups.
    cgroups: bool,
    /// By systemd.
    systemd: bool,
}

impl Global {
    /// Cgroups that cannot be had are done without: by a user without privileges, or by one who
    /// has them only in a user namespace.
    fn rootless(&self) -> bool {
        self.rootless.unwrap_or_else(|| {
            let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
            let all = ["0", "0", "4294967295"];
            !rustix::process::geteuid().is_root() || !map.split_whitespace().eq(all)
        })
    }
}

/// The arguments behind `runtime`, or behind the program's name when that is the role.
pub(crate) fn main(called: &str, words: &[std::ffi::OsString]) -> ExitCode {
    let program = Path::new(called).file_name().and_then(|n| n.to_str());
    let program = match program {
        None | Some("keeper") => "corten-runtime",
        Some(name) => name,
    };
    let words: Vec<String> = words
        .iter()
        .map(|w| w.to_string_lossy().into_owned())
        .collect();
    ExitCode::from(run(program, &words))
}

fn run(program: &str, words: &[String]) -> u8 {
    let early = Log::default();
    let args = match Args::parse(words, commands::GLOBAL, true) {
        Ok(args) => args,
        Err(error) => return refuse(&early, program, None, &error),
    };
    if args.has("version") {
        print(&version(program));
        return 0;
    }
    let Some((name, rest)) = args.rest.split_first() else {
        print(&commands::overview(program));
        return 0;
    };
    if args.help {
        print(&commands::overview(program));
        return 0;
    }
    let global = match global(program, &args) {
        Ok(global) => global,
        Err(error) => return refuse(&early, program, None, &error),
    };
    let Some(command) = commands::COMMANDS.iter().find(|c| c.name == name) else {
        return unknown(&global, name, rest);
    };
    match dispatch(&global, command, rest) {
        Ok(code) => code,
        Err(error) => {
            let code = refuse(&global.log, program, Some(command), &error);
            match (command.name, error) {
                ("exec", Fail::Said(_)) => exec::FAILED,
                _ => code,
            }
        }
    }
}

fn global(program: &str, args: &Args) -> Result<Global> {
    let log = args.text("log").unwrap_or_default();
    let log = Log::open(
        log,
        args.text("log-format").unwrap_or_default(),
        args.has("debug"),
    )?;
    let manager = args.text("cgroup-manager").unwrap_or("cgroupfs");
    if !matches!(manager, "cgroupfs" | "systemd" | "disabled") {
        return Err(Fail::Said(format!("unknown cgroup manager {manager:?}")));
    }
    let user = !rustix::process::geteuid().is_root();
    let rootless = match args.text("rootless") {
        None | Some("auto") => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(other) => return Err(Fail::Said(format!("invalid value {other:?} for rootless"))),
    };
    let (root, root_given) = root(args, user)?;
    log.debug(&format!("state directories are in {}", root.display()));
    Ok(Global {
        program: program.to_owned(),
        root,
        root_given,
        log,
        rootless,
        cgroups: manager != "disabled",
        systemd: args.has("systemd-cgroup") || manager == "systemd",
    })
}

/// `--root`, or the place for this user's.
fn root(args: &Args, user: bool) -> Result<(PathBuf, bool)> {
    match (args.text("root"), std::env::var_os("XDG_RUNTIME_DIR")) {
        (Some(root), _) => {
            let root = streams::absolute(root)?;
            // By any spelling that is nothing but dots.
            let mut depth = 0usize;
            for part in root.components() {
                match part {
                    std::path::Component::Normal(_) => depth += 1,
                    std::path::Component::ParentDir => depth = depth.saturating_sub(1),
                    _ => {}
                }
            }
            if depth == 0 {
                return Err(Fail::said("Option --root argument should not be set to /"));
            }
            Ok((root, true))
        }
        (None, Some(dir)) if user && !dir.is_empty() => {
            let root = Path::new(&dir).join("corten-oci");
            std::fs::create_dir_all(&root).during("mkdir", root.display())?;
            // The sticky bit keeps what ages files in there away (XDG base directories).
            let mode = rustix::fs::Mode::from_raw_mode(0o1700);
            rustix::fs::chmod(&root, mode).during("chmod", root.display())?;
            Ok((root, false))
        }
        _ => Ok((DEFAULT_ROOT.into(), false)),
    }
}

fn dispatch(global: &Global, command: &'static Command, rest: &[String]) -> Result<u8> {
    let args =
        Args::parse(rest, command.options, command.stop).map_err(|e| Fail::Usage(e.to_string()))?;
    if args.help {
        print(&commands::one(&global.program, command));
        return Ok(0);
    }
    count(global, command, &args)?;
    global.log.debug(&format!("command {}", command.name));
    match command.name {
        "create" => launch::create(global, &args),
        "run" => launch::run(global, &args),
        "start" => start::start(global, &args),
        "state" => list::state(global, &args),
        "kill" => kill::kill(global, &args),
        "delete" => delete::delete(global, &args),
        "exec" => exec::exec(global, &args),
        "ps" => list::ps(global, &args),
        "list" => list::list(global, &args),
        "pause" => pause::pause(global, &args),
        "resume" => pause::resume(global, &args),
        "update" => update::update(global, &args),
        "events" => events::events(global, &args),
        "spec" => spec::spec(global, &args),
        "features" => features::features(global, &args),
        "checkpoint" => criu::checkpoint::checkpoint(global, &args),
        "restore" => criu::restore::restore(global, &args),
        name => Err(Fail::Said(format!("{name} is not supported yet"))),
    }
}

/// As many arguments as the command takes.
fn count(global: &Global, command: &Command, args: &Args) -> Result<()> {
    let (least, most) = match command.name {
        "list" | "spec" | "features" => (0, 0),
        "kill" => (1, 2),
        "exec" | "ps" => (1, usize::MAX),
        _ => (1, 1),
    };
    let n = args.rest.len();
    let (wanted, how) = match (n < least, n > most) {
        (false, false) => return Ok(()),
        _ if least == most => (least, "exactly"),
        (true, _) => (least, "a minimum of"),
        _ => (most, "a maximum of"),
    };
    Err(Fail::Usage(format!(
        "{}: {:?} requires {how} {wanted} argument(s)",
        global.program, command.name
    )))
}

fn unknown(global: &Global, name: &str, rest: &[String]) -> u8 {
    if rest.iter().any(|w| matches!(w.as_str(), "-h" | "--help")) {
        global.log.error(&format!("No help topic for '{name}'"));
        return 3;
    }
    let text = format!("unknown command {name:?}, see {} --help", global.program);
    global.log.error(&text);
    1
}

fn refuse(log: &Log, program: &str, command: Option<&Command>, error: &Fail) -> u8 {
    if let (Fail::Usage(..), Some(command)) = (error, command) {
        print(&format!(
            "Incorrect Usage.\n\n{}",
            commands::one(program, command)
        ));
    }
    log.error(&error.to_string());
    1
}

fn id_of(args: &Args) -> &str {
    args.rest.first().map_or("", String::as_str)
}

fn version(program: &str) -> String {
    format!(
        "{program} version {}\ncommit: {}\nspec: {SPEC_VERSION}\n",
        env!("CARGO_PKG_VERSION"),
        option_env!("CORTEN_COMMIT").unwrap_or("unknown")
    )
}

/// The answer of a command; a reader that has gone is no failure of the command.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
