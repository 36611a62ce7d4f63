//! Commands and options as tables: nothing is built at start-up, and one command's options are
//! looked at when that command is called.

mod container;
mod image;
mod manifest;
mod rest;

/// How an option's value is read. Names are docker's own type words where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Present or `=true`/`=false`.
    Bool,
    /// Any text.
    Text,
    /// Given any number of times.
    List,
    /// Given any number of times, each `key=value`.
    Map,
    /// Given any number of times, each a comma-separated list.
    Strings,
    /// Signed number.
    Int,
    /// Unsigned number.
    Uint,
    /// Unsigned 16-bit number.
    Uint16,
    /// Size with a unit.
    Bytes,
    /// The same, or -1.
    MemorySwap,
    /// Decimal number in billionths.
    Decimal,
    /// Go duration.
    Duration,
    /// `--mount`.
    Mount,
    /// `--network`.
    Network,
    /// `--ulimit`.
    Ulimit,
    /// `--gpus`.
    Gpu,
    /// `--filter`.
    Filter,
}

/// One option.
#[derive(Debug)]
pub(crate) struct Flag {
    /// Letter, or NUL.
    pub(crate) short: char,
    /// Name without dashes.
    pub(crate) name: &'static str,
    /// How its value is read.
    pub(crate) kind: Kind,
    /// Word for the value in the help text.
    pub(crate) value: &'static str,
    /// Value when not given.
    pub(crate) default: &'static str,
    /// Help text, with docker's remark about the default.
    pub(crate) usage: &'static str,
}

/// How many arguments a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Args {
    /// None at all.
    None,
    /// So many.
    Exactly(usize),
    /// So many or more.
    AtLeast(usize),
    /// So many or fewer.
    AtMost(usize),
    /// From the first to the second.
    Between(usize, usize),
}

/// One command.
#[derive(Debug)]
pub(crate) struct Command {
    /// Full name: `container run`.
    pub(crate) path: &'static str,
    /// Other names: `run`.
    pub(crate) aliases: &'static [&'static str],
    /// Names shown under `Aliases:`; empty shows none.
    pub(crate) shown: &'static str,
    /// What follows the name in the usage line.
    pub(crate) args: &'static str,
    /// One line for lists of commands.
    pub(crate) about: &'static str,
    /// Text of its own help.
    pub(crate) text: &'static str,
    /// Number of arguments.
    pub(crate) count: Args,
    /// Whether options may follow arguments.
    pub(crate) interspersed: bool,
    /// Options.
    pub(crate) flags: &'static [Flag],
}

/// Groups of commands and their line in the help.
pub(crate) static GROUPS: &[(&str, &str)] = &[
    ("container", "Manage containers"),
    ("image", "Manage images"),
    (
        "manifest",
        "Manage Docker image manifests and manifest lists",
    ),
    ("network", "Manage networks"),
    ("system", "Manage Docker"),
    ("volume", "Manage volumes"),
];

/// Commands that docker has and this program has not yet.
static ABSENT: &[&str] = &[
    "bake",
    "build",
    "builder",
    "buildx",
    "checkpoint",
    "compose",
    "config",
    "context",
    "image build",
    "network connect",
    "network create",
    "network disconnect",
    "network prune",
    "network rm",
    "node",
    "plugin",
    "scout",
    "secret",
    "service",
    "stack",
    "swarm",
    "system dial-stdio",
    "trust",
    "volume update",
];

/// Options before the command.
#[rustfmt::skip]
pub(crate) static GLOBAL: &[Flag] = &[
    Flag { short: '\0', name: "config", kind: Kind::Text, value: "string", default: "", usage: "Location of client config files (default \"~/.docker\")" },
    Flag { short: 'c', name: "context", kind: Kind::Text, value: "string", default: "", usage: "Name of the context to use to connect to the daemon (overrides DOCKER_HOST env var and default context set with \"docker context use\")" },
    Flag { short: 'D', name: "debug", kind: Kind::Bool, value: "", default: "", usage: "Enable debug mode" },
    Flag { short: 'H', name: "host", kind: Kind::List, value: "list", default: "", usage: "Daemon socket to connect to" },
    Flag { short: 'l', name: "log-level", kind: Kind::Text, value: "string", default: "info", usage: "Set the logging level (\"debug\", \"info\", \"warn\", \"error\", \"fatal\") (default \"info\")" },
    Flag { short: '\0', name: "tls", kind: Kind::Bool, value: "", default: "", usage: "Use TLS; implied by --tlsverify" },
    Flag { short: '\0', name: "tlscacert", kind: Kind::Text, value: "string", default: "", usage: "Trust certs signed only by this CA (default \"~/.docker/ca.pem\")" },
    Flag { short: '\0', name: "tlscert", kind: Kind::Text, value: "string", default: "", usage: "Path to TLS certificate file (default \"~/.docker/cert.pem\")" },
    Flag { short: '\0', name: "tlskey", kind: Kind::Text, value: "string", default: "", usage: "Path to TLS key file (default \"~/.docker/key.pem\")" },
    Flag { short: '\0', name: "tlsverify", kind: Kind::Bool, value: "", default: "", usage: "Use TLS and verify the remote" },
    Flag { short: 'v', name: "version", kind: Kind::Bool, value: "", default: "", usage: "Print version information and quit" },
];

/// What the first words of a command line name.
#[derive(Debug)]
pub(crate) enum Found {
    /// A command, called by these words; so many words were used.
    Command(&'static Command, String, usize),
    /// A group alone, or a group and a word it does not know.
    Group(&'static str),
    /// Known, but not there yet.
    Absent(String),
    /// Nothing.
    Unknown,
}

/// All commands.
pub(crate) fn commands() -> impl Iterator<Item = &'static Command> {
    container::COMMANDS
        .iter()
        .chain(image::COMMANDS)
        .chain(manifest::COMMANDS)
        .chain(rest::COMMANDS)
}

/// Finds the command that `words` begin with.
pub(crate) fn find(words: &[String]) -> Found {
    let Some(first) = words.first() else {
        return Found::Unknown;
    };
    let named = |name: &str| {
        commands().find(|command| command.path == name || command.aliases.contains(&name))
    };
    let absent = |name: &str| ABSENT.contains(&name);
    if let Some(second) = words.get(1) {
        let both = format!("{first} {second}");
        if let Some(command) = named(&both) {
            // Another name within the group stands for the first one, in every text.
            return Found::Command(command, command.path.to_owned(), 2);
        }
        if absent(&both) {
            return Found::Absent(both);
        }
    }
    if let Some(command) = named(first) {
        return Found::Command(command, first.clone(), 1);
    }
    if let Some((group, _)) = GROUPS.iter().find(|(group, _)| group == first) {
        return Found::Group(group);
    }
    if absent(first) {
        return Found::Absent(first.clone());
    }
    Found::Unknown
}
