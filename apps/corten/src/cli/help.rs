//! Help texts in docker's layout.

use std::fmt::Write as _;

use super::spec::{self, Command, Flag, GLOBAL, GROUPS};

/// Usage line and the lines after it, for a command called by `path`.
pub(crate) fn usage(program: &str, path: &str, command: &Command) -> String {
    let mut out = String::new();
    for (n, args) in command.args.split('\n').enumerate() {
        if n == 0 {
            out.push_str(format!("Usage:  {program} {path} {args}").trim_end());
        } else {
            let _ = write!(out, "\n\t{program} {args}");
        }
    }
    out
}

/// `--help` of a command.
pub(crate) fn command(program: &str, path: &str, command: &Command) -> String {
    let mut out = usage(program, path, command);
    let _ = write!(out, "\n\n{}\n", command.text);
    if !command.shown.is_empty() {
        let names: Vec<String> = command
            .shown
            .split(", ")
            .map(|name| format!("{program} {name}"))
            .collect();
        let _ = write!(out, "\nAliases:\n  {}\n", names.join(", "));
    }
    let own = |flag: &&Flag| program != "docker" || !OWN.contains(&(command.path, flag.name));
    if !command.flags.is_empty() {
        let flags = command.flags.iter().filter(own);
        let _ = write!(out, "\nOptions:\n{}", options(flags));
    }
    out
}

/// What stands after a group's name in errors; docker says it of one group only.
pub(crate) fn group_usage(group: &str) -> &'static str {
    if group == "volume" { " COMMAND" } else { "" }
}

/// `--help` of a group.
pub(crate) fn group(program: &str, group: &str) -> String {
    let about = GROUPS
        .iter()
        .find(|(name, _)| *name == group)
        .map_or("", |(_, about)| *about);
    let prefix = format!("{group} ");
    let rows: Vec<(&str, &str)> = spec::commands()
        .filter_map(|command| Some((command.path.strip_prefix(&prefix)?, command.about)))
        .collect();
    format!(
        "Usage:  {program} {group} COMMAND\n\n{about}\n\nCommands:\n{}\nRun '{program} {group} COMMAND --help' for more information on a command.\n",
        columns(&rows)
    )
}

/// `--help` of the program.
pub(crate) fn program(program: &str) -> String {
    const COMMON: &[&str] = &[
        "run", "exec", "ps", "pull", "images", "login", "logout", "version", "info",
    ];
    let mut common = Vec::new();
    let mut others = Vec::new();
    for command in spec::commands() {
        let top = std::iter::once(&command.path)
            .chain(command.aliases)
            .find(|name| !name.contains(' '));
        if let Some(name) = top {
            if COMMON.contains(name) {
                common.push((*name, command.about));
            } else {
                others.push((*name, command.about));
            }
        }
    }
    common.sort_by_key(|(name, _)| COMMON.iter().position(|common| common == name));
    others.sort_unstable();
    if program == "corten" {
        others.push(("daemon", "Run the engine (takes dockerd's options)"));
        others.sort_unstable();
    }
    format!(
        "Usage:  {program} [OPTIONS] COMMAND\n\nA self-sufficient runtime for containers\n\nCommon Commands:\n{}\nManagement Commands:\n{}\nCommands:\n{}\nGlobal Options:\n{}\nRun '{program} COMMAND --help' for more information on a command.\n",
        columns(&common),
        columns(GROUPS),
        columns(&others),
        options(GLOBAL),
    )
}

fn columns(rows: &[(&str, &str)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let width = width.max(11);
    let mut out = String::new();
    for (name, about) in rows {
        let _ = writeln!(out, "  {name:width$} {about}");
    }
    out
}

/// Options that docker shows only where the engine has what they are for: Windows, experiments,
/// Swarm.
const HIDDEN: &[&str] = &[
    "checkpoint",
    "checkpoint-dir",
    "cluster",
    "cpu-count",
    "cpu-percent",
    "io-maxbandwidth",
    "io-maxiops",
    // Corten's own, of `update`.
    "label-add",
    "label-rm",
    "mount-add",
    "mount-rm",
];

/// Options of docker's commands that docker has not: not shown to who called for docker.
const OWN: &[(&str, &str)] = &[("image pull", "dry-run")];

/// pflag's `FlagUsagesWrapped`.
fn options<'a>(flags: impl IntoIterator<Item = &'a Flag>) -> String {
    let flags: Vec<&Flag> = flags
        .into_iter()
        .filter(|flag| !HIDDEN.contains(&flag.name))
        .collect();
    let heads: Vec<String> = flags
        .iter()
        .map(|flag| {
            let short = match flag.short {
                '\0' => "      ".to_owned(),
                letter => format!("  -{letter}, "),
            };
            let space = if flag.value.is_empty() { "" } else { " " };
            format!("{short}--{}{space}{}", flag.name, flag.value)
        })
        .collect();
    let column = heads.iter().map(|head| head.len()).max().unwrap_or(0) + 1;
    let mut out = String::new();
    let columns = terminal_width() - 1;
    for (flag, head) in flags.into_iter().zip(heads) {
        let pad = column - head.len();
        let text = wrap(column + 2, columns, flag.usage);
        let _ = writeln!(out, "{head}{:pad$}  {text}", "");
    }
    out
}

fn terminal_width() -> usize {
    rustix::termios::tcgetwinsize(rustix::stdio::stdin())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|width| *width > 0)
        .unwrap_or(80)
}

/// pflag's `wrap`: breaks at spaces near the width, with a slop of 5 columns.
fn wrap(indent: usize, width: usize, text: &str) -> String {
    const SLOP: usize = 5;
    let margin = " ".repeat(indent);
    let newline = format!("\n{margin}");
    let mut room = width.saturating_sub(indent);
    let mut out = String::new();
    // Too narrow to be readable beside the names: then below them.
    let margin = if room < 24 {
        let margin = "\n".to_owned() + &" ".repeat(16);
        room = width.saturating_sub(16);
        out.push_str(&margin);
        margin
    } else {
        newline
    };
    if room < 24 {
        return text.replace('\n', &margin);
    }
    let room = room - SLOP;
    let (line, mut rest) = cut(room, SLOP, text);
    out.push_str(&line.replace('\n', &margin));
    while !rest.is_empty() {
        let (line, tail) = cut(room, SLOP, rest);
        out.push_str(&margin);
        out.push_str(&line.replace('\n', &margin));
        rest = tail;
    }
    out
}

fn cut(room: usize, slop: usize, text: &str) -> (&str, &str) {
    if room + slop > text.len() {
        return (text, "");
    }
    let head = &text[..text.floor_char_boundary(room)];
    let Some(space) = head.rfind([' ', '\t', '\n']).filter(|at| *at > 0) else {
        return (text, "");
    };
    if let Some(line) = head.find('\n').filter(|at| *at > 0 && *at < space) {
        return (&text[..line], &text[line + 1..]);
    }
    (&text[..space], &text[space + 1..])
}
