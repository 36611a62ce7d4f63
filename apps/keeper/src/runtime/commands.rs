//! The commands with their options, and the help made from them.

use super::args::{Command, Opt, switch, value};

/// Options in front of the command.
pub(crate) const GLOBAL: &[Opt] = &[
    switch("debug", None, "enable debug logging"),
    value(
        "log",
        None,
        "set the log file to write runtime logs to (default is '/dev/stderr')",
    ),
    value(
        "log-format",
        None,
        "set the log format ('text' (default), or 'json')",
    ),
    value(
        "root",
        None,
        "root directory for storage of container state (on a tmpfs)",
    ),
    value("criu", None, ""),
    switch(
        "systemd-cgroup",
        None,
        "use the systemd cgroup driver; cgroupsPath is of the form \"slice:prefix:name\"",
    ),
    value("cgroup-manager", None, ""),
    value(
        "rootless",
        None,
        "ignore cgroup permission errors ('true', 'false', or 'auto')",
    ),
    switch("version", Some('v'), "print the version"),
];

const BUNDLE: Opt = value(
    "bundle",
    Some('b'),
    "path to the root of the bundle directory, defaults to the current directory",
);
const CONSOLE: Opt = value(
    "console-socket",
    None,
    "path to an AF_UNIX socket which will receive the master end of the pseudoterminal",
);
const PIDFD: Opt = value(
    "pidfd-socket",
    None,
    "path to an AF_UNIX socket which will receive a pidfd of the process",
);
const PID_FILE: Opt = value(
    "pid-file",
    None,
    "specify the file to write the process id to",
);
const NO_PIVOT: Opt = switch(
    "no-pivot",
    None,
    "do not use pivot_root to jail the process, where rootfs is on a ramdisk",
);
const NO_KEYRING: Opt = switch(
    "no-new-keyring",
    None,
    "do not create a new session keyring for the container",
);
const PRESERVE: Opt = value(
    "preserve-fds",
    None,
    "pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N in total)",
);
const CONFIG: Opt = value(
    "config",
    Some('f'),
    "configuration file to use, default config.json",
);
const DETACH: Opt = switch("detach", Some('d'), "detach from the container's process");
const NO_SUBREAPER: Opt = switch("no-subreaper", None, "do not reap reparented processes");
const ID: &str = "<container-id>";

/// Every command.
pub(crate) const COMMANDS: &[Command] = &[
    command(
        "checkpoint",
        "checkpoint a running container",
        ID,
        CHECKPOINT,
        false,
    ),
    command(
        "create",
        "create a container",
        ID,
        &[
            BUNDLE, CONFIG, CONSOLE, PIDFD, PID_FILE, NO_PIVOT, NO_KEYRING, PRESERVE,
        ],
        false,
    ),
    command(
        "delete",
        "delete any resources held by the container often used with detached container",
        ID,
        &[switch(
            "force",
            Some('f'),
            "delete the container even if it runs (uses SIGKILL)",
        )],
        false,
    ),
    command(
        "events",
        "display container events such as OOM notifications, cpu, memory, and IO usage statistics",
        ID,
        &[
            value(
                "interval",
                None,
                "set the stats collection interval (default: 5s)",
            ),
            switch("stats", None, "display the container's stats then exit"),
        ],
        false,
    ),
    command(
        "exec",
        "execute new process inside the container",
        "<container-id> <command> [command options]  || -p process.json <container-id>",
        EXEC,
        true,
    ),
    command("features", "show the enabled features", "", &[], false),
    command(
        "kill",
        "kill sends the specified signal (default: SIGTERM) to the container's init process",
        "<container-id> [signal]",
        &[switch("all", Some('a'), "")],
        false,
    ),
    command(
        "list",
        "lists containers started with the given root",
        "",
        &[
            value("format", Some('f'), "select one of: table or json"),
            switch("quiet", Some('q'), "display only container IDs"),
        ],
        false,
    ),
    command(
        "pause",
        "pause suspends all processes inside the container",
        ID,
        &[],
        false,
    ),
    command(
        "ps",
        "ps displays the processes running inside a container",
        "<container-id> [ps options]",
        &[value("format", Some('f'), "select one of: table or json")],
        true,
    ),
    command(
        "restore",
        "restore a container from a previous checkpoint",
        ID,
        RESTORE,
        false,
    ),
    command(
        "resume",
        "resumes all processes that have been previously paused",
        ID,
        &[],
        false,
    ),
    command(
        "run",
        "create and run a container",
        ID,
        &[
            BUNDLE,
            CONFIG,
            CONSOLE,
            PIDFD,
            DETACH,
            switch("keep", None, "do not delete the container after it exits"),
            PID_FILE,
            NO_SUBREAPER,
            NO_PIVOT,
            NO_KEYRING,
            PRESERVE,
        ],
        false,
    ),
    command(
        "spec",
        "create a new specification file",
        "",
        &[
            value(
                "bundle",
                Some('b'),
                "path to the root of the bundle directory",
            ),
            switch(
                "rootless",
                None,
                "generate a configuration for a rootless container",
            ),
        ],
        false,
    ),
    command(
        "start",
        "executes the user defined process in a created container",
        ID,
        &[],
        false,
    ),
    command("state", "output the state of a container", ID, &[], false),
    command(
        "update",
        "update container resource constraints",
        ID,
        UPDATE,
        false,
    ),
];

const IMAGE_PATH: Opt = value("image-path", None, "path to criu image files");
const WORK_PATH: Opt = value("work-path", None, "path for saving work files and logs");
const TCP_ESTABLISHED: Opt = switch("tcp-established", None, "allow open tcp connections");
const EXT_UNIX_SK: Opt = switch("ext-unix-sk", None, "allow external unix sockets");
const SHELL_JOB: Opt = switch("shell-job", None, "allow shell jobs");
const LAZY_PAGES: Opt = switch(
    "lazy-pages",
    None,
    "use userfaultfd to lazily restore memory pages",
);
const FILE_LOCKS: Opt = switch("file-locks", None, "handle file locks, for safety");
const MANAGE_CGROUPS_MODE: Opt = value(
    "manage-cgroups-mode",
    None,
    "cgroups mode: soft|full|strict|ignore (default: soft)",
);
const EMPTY_NS: Opt = value(
    "empty-ns",
    None,
    "create a namespace, but don't restore its properties",
);
const AUTO_DEDUP: Opt = switch(
    "auto-dedup",
    None,
    "enable auto deduplication of memory images",
);

const CHECKPOINT: &[Opt] = &[
    IMAGE_PATH,
    WORK_PATH,
    value(
        "parent-path",
        None,
        "path for previous criu image files in pre-dump",
    ),
    switch(
        "leave-running",
        None,
        "leave the process running after checkpointing",
    ),
    TCP_ESTABLISHED,
    switch("tcp-skip-in-flight", None, "skip in-flight tcp connections"),
    switch(
        "link-remap",
        None,
        "allow one to link unlinked files back when possible",
    ),
    EXT_UNIX_SK,
    SHELL_JOB,
    LAZY_PAGES,
    value(
        "status-fd",
        None,
        "criu writes \\0 to this FD once lazy-pages is ready",
    ),
    value("page-server", None, "ADDRESS:PORT of the page server"),
    FILE_LOCKS,
    switch(
        "pre-dump",
        None,
        "dump container's memory information only, leave the container running after this",
    ),
    MANAGE_CGROUPS_MODE,
    EMPTY_NS,
    AUTO_DEDUP,
];

const RESTORE: &[Opt] = &[
    BUNDLE,
    CONSOLE,
    DETACH,
    PID_FILE,
    NO_PIVOT,
    NO_SUBREAPER,
    IMAGE_PATH,
    WORK_PATH,
    TCP_ESTABLISHED,
    EXT_UNIX_SK,
    SHELL_JOB,
    LAZY_PAGES,
    FILE_LOCKS,
    MANAGE_CGROUPS_MODE,
    EMPTY_NS,
    AUTO_DEDUP,
    value(
        "lsm-profile",
        None,
        "Specify an LSM profile to be used during restore in the form of TYPE:NAME.",
    ),
    value(
        "lsm-mount-context",
        None,
        "Specify an LSM mount context to be used during restore.",
    ),
];

const EXEC: &[Opt] = &[
    CONSOLE,
    PIDFD,
    value("cwd", None, "current working directory in the container"),
    value("env", Some('e'), "set environment variables"),
    switch("tty", Some('t'), "allocate a pseudo-TTY"),
    value("user", Some('u'), "UID (format: <uid>[:<gid>])"),
    value("additional-gids", Some('g'), "additional gids"),
    value("process", Some('p'), "path to the process.json"),
    DETACH,
    PID_FILE,
    value(
        "process-label",
        None,
        "set the asm process label for the process",
    ),
    value("apparmor", None, "set the apparmor profile for the process"),
    switch(
        "no-new-privs",
        None,
        "set the no new privileges value for the process",
    ),
    value(
        "cap",
        Some('c'),
        "add a capability to the bounding set for the process",
    ),
    PRESERVE,
    value(
        "cgroup",
        None,
        "run the process in an (existing) sub-cgroup(s): [<controller>:]<cgroup>",
    ),
    switch("ignore-paused", None, "allow exec in a paused container"),
];

const UPDATE: &[Opt] = &[
    value(
        "resources",
        Some('r'),
        "file with the resources to update, '-' is standard input",
    ),
    value("blkio-weight", None, "weight of block I/O, 10 to 1000"),
    value("cpu-period", None, "CPU CFS period (in usecs)"),
    value("cpu-quota", None, "CPU CFS hardcap limit (in usecs)"),
    value("cpu-burst", None, "CPU CFS hardcap burst limit (in usecs)"),
    value(
        "cpu-share",
        Some('c'),
        "CPU shares (relative weight vs. other containers)",
    ),
    value("cpu-rt-period", None, "CPU realtime period (in usecs)"),
    value(
        "cpu-rt-runtime",
        None,
        "CPU realtime hardcap limit (in usecs)",
    ),
    value("cpuset-cpus", None, "CPU(s) to use"),
    value("cpuset-mems", None, "memory node(s) to use"),
    value("kernel-memory", None, ""),
    value("kernel-memory-tcp", None, ""),
    value("memory", None, "memory limit (in bytes)"),
    value(
        "cpu-idle",
        None,
        "set cgroup SCHED_IDLE or not, 0: default, 1: SCHED_IDLE",
    ),
    value(
        "memory-reservation",
        None,
        "memory reservation or soft limit (in bytes)",
    ),
    value("memory-swap", None, "memory + swap; '-1' is unlimited"),
    value(
        "pids-limit",
        None,
        "maximum number of pids allowed in the container",
    ),
    value("l3-cache-schema", None, "Intel RDT/CAT L3 cache schema"),
    value(
        "mem-bw-schema",
        None,
        "Intel RDT/MBA memory bandwidth schema",
    ),
];

const fn command(
    name: &'static str,
    about: &'static str,
    usage: &'static str,
    options: &'static [Opt],
    stop: bool,
) -> Command {
    Command {
        name,
        about,
        usage,
        options,
        stop,
    }
}

/// Help of the whole program.
pub(crate) fn overview(program: &str) -> String {
    let mut out = format!(
        "NAME:\n   {program} - Open Container Initiative runtime\n\nUSAGE:\n   {program} [global \
         options] command [command options] [arguments...]\n\nCOMMANDS:\n"
    );
    for command in COMMANDS {
        out.push_str(&format!("   {:12}{}\n", command.name, command.about));
    }
    out.push_str("\nGLOBAL OPTIONS:\n");
    options(&mut out, GLOBAL);
    out
}

/// Help of one command.
pub(crate) fn one(program: &str, command: &Command) -> String {
    let Command {
        name, about, usage, ..
    } = command;
    let mut out = format!(
        "NAME:\n   {program} {name} - {about}\n\nUSAGE:\n   {program} {name} [command options] \
         {usage}\n\nOPTIONS:\n"
    );
    options(&mut out, command.options);
    out
}

fn options(out: &mut String, list: &[Opt]) {
    for o in list.iter().filter(|o| !o.help.is_empty()) {
        let mut names = format!("--{}", o.name);
        if let Some(short) = o.short {
            names.push_str(&format!(", -{short}"));
        }
        if o.value {
            names.push_str(" value");
        }
        out.push_str(&format!("   {names:32}{}\n", o.help));
    }
    out.push_str(&format!("   {:32}{}\n", "--help, -h", "show help"));
}
