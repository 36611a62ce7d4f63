//! Commands about the engine, networks and volumes, and those of no group.

use super::{Args, Command, Flag, Kind};

/// Options of `system df`.
#[rustfmt::skip]
static SYSTEM_DF: &[Flag] = &[
    Flag { short: '\0', name: "format", kind: Kind::Text, value: "string", default: "", usage: "Format output using a custom template:\n'table':            Print output in table format with column headers (default)\n'table TEMPLATE':   Print output in table format using the given Go template\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates" },
    Flag { short: 'v', name: "verbose", kind: Kind::Bool, value: "", default: "", usage: "Show detailed information on space usage" },
];

/// Options of `system events`.
#[rustfmt::skip]
static SYSTEM_EVENTS: &[Flag] = &[
    Flag { short: 'f', name: "filter", kind: Kind::Filter, value: "filter", default: "", usage: "Filter output based on conditions provided" },
    Flag { short: '\0', name: "format", kind: Kind::Text, value: "string", default: "", usage: "Format output using a custom template:\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates" },
    Flag { short: '\0', name: "since", kind: Kind::Text, value: "string", default: "", usage: "Show all events created since timestamp" },
    Flag { short: '\0', name: "until", kind: Kind::Text, value: "string", default: "", usage: "Stream events until this timestamp" },
];

/// Options of `system info`.
#[rustfmt::skip]
static SYSTEM_INFO: &[Flag] = &[
    Flag { short: 'f', name: "format", kind: Kind::Text, value: "string", default: "", usage: "Format output using a custom template:\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates" },
];

/// Options of `system prune`.
#[rustfmt::skip]
static SYSTEM_PRUNE: &[Flag] = &[
    Flag { short: 'a', name: "all", kind: Kind::Bool, value: "", default: "", usage: "Remove all unused images not just dangling ones" },
    Flag { short: '\0', name: "filter", kind: Kind::Filter, value: "filter", default: "", usage: "Provide filter values (e.g. \"label=<key>=<value>\")" },
    Flag { short: 'f', name: "force", kind: Kind::Bool, value: "", default: "", usage: "Do not prompt for confirmation" },
    Flag { short: '\0', name: "volumes", kind: Kind::Bool, value: "", default: "", usage: "Prune anonymous volumes" },
];

/// Options of `network ls`.
#[rustfmt::skip]
static NETWORK_LS: &[Flag] = &[
    Flag { short: 'f', name: "filter", kind: Kind::Filter, value: "filter", default: "", usage: "Provide filter values (e.g. \"driver=bridge\")" },
    Flag { short: '\0', name: "format", kind: Kind::Text, value: "string", default: "", usage: "Format output using a custom template:\n'table':            Print output in table format with column headers (default)\n'table TEMPLATE':   Print output in table format using the given Go template\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates" },
    Flag { short: '\0', name: "no-trunc", kind: Kind::Bool, value: "", default: "", usage: "Do not truncate the output" },
    Flag { short: 'q', name: "quiet", kind: Kind::Bool, value: "", default: "", usage: "Only display network IDs" },
];

/// Options of `volume create`.
#[rustfmt::skip]
static VOLUME_CREATE: &[Flag] = &[
    Flag { short: 'd', name: "driver", kind: Kind::Text, value: "string", default: "local", usage: "Specify volume driver name (default \"local\")" },
    Flag { short: '\0', name: "label", kind: Kind::List, value: "list", default: "", usage: "Set metadata for a volume" },
    Flag { short: 'o', name: "opt", kind: Kind::Map, value: "map", default: "", usage: "Set driver specific options (default map[])" },
];

/// Options of `volume inspect`.
#[rustfmt::skip]
static VOLUME_INSPECT: &[Flag] = &[
    Flag { short: 'f', name: "format", kind: Kind::Text, value: "string", default: "", usage: "Format output using a custom template:\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates" },
];

/// Options of `volume prune`.
#[rustfmt::skip]
static VOLUME_PRUNE: &[Flag] = &[
    Flag { short: 'a', name: "all", kind: Kind::Bool, value: "", default: "", usage: "Remove all unused volumes, not just anonymous ones" },
    Flag { short: '\0', name: "filter", kind: Kind::Filter, value: "filter", default: "", usage: "Provide filter values (e.g. \"label=<label>\")" },
    Flag { short: 'f', name: "force", kind: Kind::Bool, value: "", default: "", usage: "Do not prompt for confirmation" },
];

/// Options of `volume rm`.
#[rustfmt::skip]
static VOLUME_RM: &[Flag] = &[
    Flag { short: 'f', name: "force", kind: Kind::Bool, value: "", default: "", usage: "Force the removal of one or more volumes" },
];

/// Options of `network inspect`.
#[rustfmt::skip]
static NETWORK_INSPECT: &[Flag] = &[
    Flag { short: 'f', name: "format", kind: Kind::Text, value: "string", default: "", usage: "Format output using a custom template:\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates" },
    Flag { short: 'v', name: "verbose", kind: Kind::Bool, value: "", default: "", usage: "Verbose output for diagnostics" },
];

/// Options of `volume ls`.
#[rustfmt::skip]
static VOLUME_LS: &[Flag] = &[
    Flag { short: '\0', name: "cluster", kind: Kind::Bool, value: "", default: "", usage: "Display only cluster volumes, and use cluster volume list formatting" },
    Flag { short: 'f', name: "filter", kind: Kind::Filter, value: "filter", default: "", usage: "Provide filter values (e.g. \"dangling=true\")" },
    Flag { short: '\0', name: "format", kind: Kind::Text, value: "string", default: "", usage: "Format output using a custom template:\n'table':            Print output in table format with column headers (default)\n'table TEMPLATE':   Print output in table format using the given Go template\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates" },
    Flag { short: 'q', name: "quiet", kind: Kind::Bool, value: "", default: "", usage: "Only display volume names" },
];

/// Options of `version`.
#[rustfmt::skip]
static VERSION: &[Flag] = &[
    Flag { short: 'f', name: "format", kind: Kind::Text, value: "string", default: "", usage: "Format output using a custom template:\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates" },
];

/// Options of `inspect`.
#[rustfmt::skip]
static INSPECT: &[Flag] = &[
    Flag { short: 'f', name: "format", kind: Kind::Text, value: "string", default: "", usage: "Format output using a custom template:\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates" },
    Flag { short: 's', name: "size", kind: Kind::Bool, value: "", default: "", usage: "Display total file sizes if the type is container" },
    Flag { short: '\0', name: "type", kind: Kind::Text, value: "string", default: "", usage: "Only inspect objects of the given type" },
];

/// Options of `login`.
#[rustfmt::skip]
static LOGIN: &[Flag] = &[
    Flag { short: 'p', name: "password", kind: Kind::Text, value: "string", default: "", usage: "Password or Personal Access Token (PAT)" },
    Flag { short: '\0', name: "password-stdin", kind: Kind::Bool, value: "", default: "", usage: "Take the Password or Personal Access Token (PAT) from stdin" },
    Flag { short: 'u', name: "username", kind: Kind::Text, value: "string", default: "", usage: "Username" },
];

/// Options of `logout`.
#[rustfmt::skip]
static LOGOUT: &[Flag] = &[
];

/// Options of `search`.
#[rustfmt::skip]
static SEARCH: &[Flag] = &[
    Flag { short: 'f', name: "filter", kind: Kind::Filter, value: "filter", default: "", usage: "Filter output based on conditions provided" },
    Flag { short: '\0', name: "format", kind: Kind::Text, value: "string", default: "", usage: "Pretty-print search using a Go template" },
    Flag { short: '\0', name: "limit", kind: Kind::Int, value: "int", default: "", usage: "Max number of search results" },
    Flag { short: '\0', name: "no-trunc", kind: Kind::Bool, value: "", default: "", usage: "Don't truncate output" },
];

/// The commands.
#[rustfmt::skip]
pub(super) static COMMANDS: &[Command] = &[
    Command {
        path: "system df",
        aliases: &[],
        shown: "",
        args: "[OPTIONS]",
        about: "Show docker disk usage",
        text: "Show docker disk usage",
        count: Args::None,
        interspersed: true,
        flags: SYSTEM_DF,
    },
    Command {
        path: "system events",
        aliases: &["events"],
        shown: "system events, events",
        args: "[OPTIONS]",
        about: "Get real time events from the server",
        text: "Get real time events from the server",
        count: Args::None,
        interspersed: true,
        flags: SYSTEM_EVENTS,
    },
    Command {
        path: "system info",
        aliases: &["info"],
        shown: "system info, info",
        args: "[OPTIONS]",
        about: "Display system-wide information",
        text: "Display system-wide information",
        count: Args::None,
        interspersed: true,
        flags: SYSTEM_INFO,
    },
    Command {
        path: "system prune",
        aliases: &[],
        shown: "",
        args: "[OPTIONS]",
        about: "Remove unused data",
        text: "Remove unused data",
        count: Args::None,
        interspersed: true,
        flags: SYSTEM_PRUNE,
    },
    Command {
        path: "network inspect",
        aliases: &[],
        shown: "",
        args: "[OPTIONS] NETWORK [NETWORK...]",
        about: "Display detailed information on one or more networks",
        text: "Display detailed information on one or more networks",
        count: Args::AtLeast(1),
        interspersed: true,
        flags: NETWORK_INSPECT,
    },
    Command {
        path: "network ls",
        aliases: &["network list"],
        shown: "network ls, network list",
        args: "[OPTIONS]",
        about: "List networks",
        text: "List networks",
        count: Args::None,
        interspersed: true,
        flags: NETWORK_LS,
    },
    Command {
        path: "volume create",
        aliases: &[],
        shown: "",
        args: "[OPTIONS] [VOLUME]",
        about: "Create a volume",
        text: "Create a volume",
        count: Args::AtMost(1),
        interspersed: true,
        flags: VOLUME_CREATE,
    },
    Command {
        path: "volume inspect",
        aliases: &[],
        shown: "",
        args: "[OPTIONS] VOLUME [VOLUME...]",
        about: "Display detailed information on one or more volumes",
        text: "Display detailed information on one or more volumes",
        count: Args::AtLeast(1),
        interspersed: true,
        flags: VOLUME_INSPECT,
    },
    Command {
        path: "volume ls",
        aliases: &["volume list"],
        shown: "volume ls, volume list",
        args: "[OPTIONS]",
        about: "List volumes",
        text: "List volumes",
        count: Args::None,
        interspersed: true,
        flags: VOLUME_LS,
    },
    Command {
        path: "volume prune",
        aliases: &[],
        shown: "",
        args: "[OPTIONS]",
        about: "Remove unused local volumes",
        text: "Remove unused local volumes",
        count: Args::None,
        interspersed: true,
        flags: VOLUME_PRUNE,
    },
    Command {
        path: "volume rm",
        aliases: &["volume remove"],
        shown: "volume rm, volume remove",
        args: "[OPTIONS] VOLUME [VOLUME...]",
        about: "Remove one or more volumes",
        text: "Remove one or more volumes. You cannot remove a volume that is in use by a container.",
        count: Args::AtLeast(1),
        interspersed: true,
        flags: VOLUME_RM,
    },
    Command {
        path: "version",
        aliases: &[],
        shown: "",
        args: "[OPTIONS]",
        about: "Show the Docker version information",
        text: "Show the Docker version information",
        count: Args::None,
        interspersed: true,
        flags: VERSION,
    },
    Command {
        path: "inspect",
        aliases: &[],
        shown: "",
        args: "[OPTIONS] NAME|ID [NAME|ID...]",
        about: "Return low-level information on Docker objects",
        text: "Return low-level information on Docker objects",
        count: Args::AtLeast(1),
        interspersed: true,
        flags: INSPECT,
    },
    Command {
        path: "search",
        aliases: &[],
        shown: "",
        args: "[OPTIONS] TERM",
        about: "Search Docker Hub for images",
        text: "Search Docker Hub for images",
        count: Args::Exactly(1),
        interspersed: true,
        flags: SEARCH,
    },
    Command {
        path: "login",
        aliases: &[],
        shown: "",
        args: "[OPTIONS] [SERVER]",
        about: "Authenticate to a registry",
        text: "Authenticate to a registry.\nDefaults to Docker Hub if no server is specified.",
        count: Args::AtMost(1),
        interspersed: true,
        flags: LOGIN,
    },
    Command {
        path: "logout",
        aliases: &[],
        shown: "",
        args: "[SERVER]",
        about: "Log out from a registry",
        text: "Log out from a registry.\nIf no server is specified, the default is defined by the daemon.",
        count: Args::AtMost(1),
        interspersed: true,
        flags: LOGOUT,
    },
];
