//! Commands about containers.

use super::{Args, Command, Flag, Kind};

/// Options of `container attach`.
#[rustfmt::skip]
static CONTAINER_ATTACH: &[Flag] = &[
    Flag { short: '\0', name: "detach-keys", kind: Kind::Text, value: "string", default: "", usage: "Override the key sequence for detaching a container" },
    Flag { short: '\0', name: "no-stdin", kind: Kind::Bool, value: "", default: "", usage: "Do not attach STDIN" },
    Flag { short: '\0', name: "sig-proxy", kind: Kind::Bool, value: "", default: "true", usage: "Proxy all received signals to the process (default true)" },
];

/// Options of `container commit`.
#[rustfmt::skip]
static CONTAINER_COMMIT: &[Flag] = &[
    Flag { short: 'a', name: "author", kind: Kind::Text, value: "string", default: "", usage: "Author (e.g., \"John Hannibal Smith <hannibal@a-team.com>\")" },
    Flag { short: 'c', name: "change", kind: Kind::List, value: "list", default: "", usage: "Apply Dockerfile instruction to the created image" },
    Flag { short: 'm', name: "message", kind: Kind::Text, value: "string", default: "", usage: "Commit message" },
    Flag { short: 'p', name: "pause", kind: Kind::Bool, value: "", default: "true", usage: "Pause container during commit (default true)" },
];

/// Options of `container cp`.
#[rustfmt::skip]
static CONTAINER_CP: &[Flag] = &[
    Flag { short: 'a', name: "archive", kind: Kind::Bool, value: "", default: "", usage: "Archive mode (copy all uid/gid information)" },
    Flag { short: 'L', name: "follow-link", kind: Kind::Bool, value: "", default: "", usage: "Always follow symbol link in SRC_PATH" },
    Flag { short: 'q', name: "quiet", kind: Kind::Bool, value: "", default: "", usage: "Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached" },
];

/// Options of `container create`.
#[rustfmt::skip]
static CONTAINER_CREATE: &[Flag] = &[
    Flag { short: '\0', name: "add-host", kind: Kind::List, value: "list", default: "", usage: "Add a custom host-to-IP mapping (host:ip)" },
    Flag { short: '\0', name: "annotation", kind: Kind::Map, value: "map", default: "", usage: "Add an annotation to the container (passed through to the OCI runtime) (default map[])" },
    Flag { short: 'a', name: "attach", kind: Kind::List, value: "list", default: "", usage: "Attach to STDIN, STDOUT or STDERR" },
    Flag { short: '\0', name: "blkio-weight", kind: Kind::Uint16, value: "uint16", default: "0", usage: "Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)" },
    Flag { short: '\0', name: "blkio-weight-device", kind: Kind::List, value: "list", default: "", usage: "Block IO weight (relative device weight) (default [])" },
    Flag { short: '\0', name: "cap-add", kind: Kind::List, value: "list", default: "", usage: "Add Linux capabilities" },
    Flag { short: '\0', name: "cap-drop", kind: Kind::List, value: "list", default: "", usage: "Drop Linux capabilities" },
    Flag { short: '\0', name: "cgroup-parent", kind: Kind::Text, value: "string", default: "", usage: "Optional parent cgroup for the container" },
    Flag { short: '\0', name: "cgroupns", kind: Kind::Text, value: "string", default: "", usage: "Cgroup namespace to use (host|private)\n'host':    Run the container in the Docker host's cgroup namespace\n'private': Run the container in its own private cgroup namespace\n'':        Use the cgroup namespace as configured by the\n           default-cgroupns-mode option on the daemon (default)" },
    Flag { short: '\0', name: "cidfile", kind: Kind::Text, value: "string", default: "", usage: "Write the container ID to the file" },
    Flag { short: '\0', name: "cpu-count", kind: Kind::Int, value: "int", default: "", usage: "CPU count (Windows only)" },
    Flag { short: '\0', name: "cpu-percent", kind: Kind::Int, value: "int", default: "", usage: "CPU percent (Windows only)" },
    Flag { short: '\0', name: "cpu-period", kind: Kind::Int, value: "int", default: "", usage: "Limit CPU CFS (Completely Fair Scheduler) period" },
    Flag { short: '\0', name: "cpu-quota", kind: Kind::Int, value: "int", default: "", usage: "Limit CPU CFS (Completely Fair Scheduler) quota" },
    Flag { short: '\0', name: "cpu-rt-period", kind: Kind::Int, value: "int", default: "", usage: "Limit CPU real-time period in microseconds" },
    Flag { short: '\0', name: "cpu-rt-runtime", kind: Kind::Int, value: "int", default: "", usage: "Limit CPU real-time runtime in microseconds" },
    Flag { short: 'c', name: "cpu-shares", kind: Kind::Int, value: "int", default: "", usage: "CPU shares (relative weight)" },
    Flag { short: '\0', name: "cpus", kind: Kind::Decimal, value: "decimal", default: "", usage: "Number of CPUs" },
    Flag { short: '\0', name: "cpuset-cpus", kind: Kind::Text, value: "string", default: "", usage: "CPUs in which to allow execution (0-3, 0,1)" },
    Flag { short: '\0', name: "cpuset-mems", kind: Kind::Text, value: "string", default: "", usage: "MEMs in which to allow execution (0-3, 0,1)" },
    Flag { short: '\0', name: "device", kind: Kind::List, value: "list", default: "", usage: "Add a host device to the container" },
    Flag { short: '\0', name: "device-cgroup-rule", kind: Kind::List, value: "list", default: "", usage: "Add a rule to the cgroup allowed devices list" },
    Flag { short: '\0', name: "device-read-bps", kind: Kind::List, value: "list", default: "", usage: "Limit read rate (bytes per second) from a device (default [])" },
    Flag { short: '\0', name: "device-read-iops", kind: Kind::List, value: "list", default: "", usage: "Limit read rate (IO per second) from a device (default [])" },
    Flag { short: '\0', name: "device-write-bps", kind: Kind::List, value: "list", default: "", usage: "Limit write rate (bytes per second) to a device (default [])" },
    Flag { short: '\0', name: "device-write-iops", kind: Kind::List, value: "list", default: "", usage: "Limit write rate (IO per second) to a device (default [])" },
    Flag { short: '\0', name: "disable-content-trust", kind: Kind::Bool, value: "", default: "true", usage: "Skip image verification (default true)" },
    Flag { short: '\0', name: "dns", kind: Kind::List, value: "list", default: "", usage: "Set custom DNS servers" },
    Flag { short: '\0', name: "dns-option", kind: Kind::List, value: "list", default: "", usage: "Set DNS options" },
    Flag { short: '\0', name: "dns-search", kind: Kind::List, value: "list", default: "", usage: "Set custom DNS search domains" },
    Flag { short: '\0', name: "domainname", kind: Kind::Text, value: "string", default: "", usage: "Container NIS domain name" },
    Flag { short: '\0', name: "entrypoint", kind: Kind::Text, value: "string", default: "", usage: "Overwrite the default ENTRYPOINT of the image" },
    Flag { short: 'e', name: "env", kind: Kind::List, value: "list", default: "", usage: "Set environment variables" },
    Flag { short: '\0', name: "env-file", kind: Kind::List, value: "list", default: "", usage: "Read in a file of environment variables" },
    Flag { short: '\0', name: "expose", kind: Kind::List, value: "list", default: "", usage: "Expose a port or a range of ports" },
    Flag { short: '\0', name: "gpus", kind: Kind::Gpu, value: "gpu-request", default: "", usage: "GPU devices to add to the container ('all' to pass all GPUs)" },
    Flag { short: '\0', name: "group-add", kind: Kind::List, value: "list", default: "", usage: "Add additional groups to join" },
    Flag { short: '\0', name: "health-cmd", kind: Kind::Text, value: "string", default: "", usage: "Command to run to check health" },
    Flag { short: '\0', name: "health-interval", kind: Kind::Duration, value: "duration", default: "0s", usage: "Time between running the check (ms|s|m|h) (default 0s)" },
    Flag { short: '\0', name: "health-retries", kind: Kind::Int, value: "int", default: "", usage: "Consecutive failures needed to report unhealthy" },
    Flag { short: '\0', name: "health-start-interval", kind: Kind::Duration, value: "duration", default: "0s", usage: "Time between running the check during the start period (ms|s|m|h) (default 0s)" },
    Flag { short: '\0', name: "health-start-period", kind: Kind::Duration, value: "duration", default: "0s", usage: "Start period for the container to initialize before starting health-retries countdown (ms|s|m|h) (default 0s)" },
    Flag { short: '\0', name: "health-timeout", kind: Kind::Duration, value: "duration", default: "0s", usage: "Maximum time to allow one check to run (ms|s|m|h) (default 0s)" },
    Flag { short: '\0', name: "help", kind: Kind::Bool, value: "", default: "", usage: "Print usage" },
    Flag { short: 'h', name: "hostname", kind: Kind::Text, value: "string", default: "", usage: "Container host name" },
    Flag { short: '\0', name: "init", kind: Kind::Bool, value: "", default: "", usage: "Run an init inside the container that forwards signals and reaps processes" },
    Flag { short: 'i', name: "interactive", kind: Kind::Bool, value: "", default: "", usage: "Keep STDIN open even if not attached" },
    Flag { short: '\0', name: "io-maxbandwidth", kind: Kind::Bytes, value: "bytes", default: "", usage: "Maximum IO bandwidth limit for the system drive (Windows only)" },
    Flag { short: '\0', name: "io-maxiops", kind: Kind::Uint, value: "uint", default: "", usage: "Maximum IOps limit for the system drive (Windows only)" },
    Flag { short: '\0', name: "ip", kind: Kind::Text, value: "string", default: "", usage: "IPv4 address (e.g., 172.30.100.104)" },
    Flag { short: '\0', name: "ip6", kind: Kind::Text, value: "string", default: "", usage: "IPv6 address (e.g., 2001:db8::33)" },
    Flag { short: '\0', name: "ipc", kind: Kind::Text, value: "string", default: "", usage: "IPC mode to use" },
    Flag { short: '\0', name: "isolation", kind: Kind::Text, value: "string", default: "", usage: "Container isolation technology" },
    Flag { short: '\0', name: "kernel-memory", kind: Kind::Bytes, value: "bytes", default: "", usage: "Kernel memory limit" },
    Flag { short: 'l', name: "label", kind: Kind::List, value: "list", default: "", usage: "Set meta data on a container" },
    Flag { short: '\0', name: "label-file", kind: Kind::List, value: "list", default: "", usage: "Read in a line delimited file of labels" },
    Flag { short: '\0', name: "link", kind: Kind::List, value: "list", default: "", usage: "Add link to another container" },
    Flag { short: '\0', name: "link-local-ip", kind: Kind::List, value: "list", default: "", usage: "Container IPv4/IPv6 link-local addresses" },
    Flag { short: '\0', name: "log-driver", kind: Kind::Text, value: "string", default: "", usage: "Logging driver for the container" },
    Flag { short: '\0', name: "log-opt", kind: Kind::List, value: "list", default: "", usage: "Log driver options" },
    Flag { short: '\0', name: "mac-address", kind: Kind::Text, value: "string", default: "", usage: "Container MAC address (e.g., 92:d0:c6:0a:29:33)" },
    Flag { short: 'm', name: "memory", kind: Kind::Bytes, value: "bytes", default: "", usage: "Memory limit" },
    Flag { short: '\0', name: "memory-reservation", kind: Kind::Bytes, value: "bytes", default: "", usage: "Memory soft limit" },
    Flag { short: '\0', name: "memory-swap", kind: Kind::MemorySwap, value: "bytes", default: "", usage: "Swap limit equal to memory plus swap: '-1' to enable unlimited swap" },
    Flag { short: '\0', name: "memory-swappiness", kind: Kind::Int, value: "int", default: "-1", usage: "Tune container memory swappiness (0 to 100) (default -1)" },
    Flag { short: '\0', name: "mount", kind: Kind::Mount, value: "mount", default: "", usage: "Attach a filesystem mount to the container" },
    Flag { short: '\0', name: "name", kind: Kind::Text, value: "string", default: "", usage: "Assign a name to the container" },
    Flag { short: '\0', name: "network", kind: Kind::Network, value: "network", default: "", usage: "Connect a container to a network" },
    Flag { short: '\0', name: "network-alias", kind: Kind::List, value: "list", default: "", usage: "Add network-scoped alias for the container" },
    Flag { short: '\0', name: "no-healthcheck", kind: Kind::Bool, value: "", default: "", usage: "Disable any container-specified HEALTHCHECK" },
    Flag { short: '\0', name: "oom-kill-disable", kind: Kind::Bool, value: "", default: "", usage: "Disable OOM Killer" },
    Flag { short: '\0', name: "oom-score-adj", kind: Kind::Int, value: "int", default: "", usage: "Tune host's OOM preferences (-1000 to 1000)" },
    Flag { short: '\0', name: "pid", kind: Kind::Text, value: "string", default: "", usage: "PID namespace to use" },
    Flag { short: '\0', name: "pids-limit", kind: Kind::Int, value: "int", default: "", usage: "Tune container pids limit (set -1 for unlimited)" },
    Flag { short: '\0', name: "platform", kind: Kind::Text, value: "string", default: "", usage: "Set platform if server is multi-platform capable" },
    Flag { short: '\0', name: "privileged", kind: Kind::Bool, value: "", default: "", usage: "Give extended privileges to this container" },
    Flag { short: 'p', name: "publish", kind: Kind::List, value: "list", default: "", usage: "Publish a container's port(s) to the host" },
    Flag { short: 'P', name: "publish-all", kind: Kind::Bool, value: "", default: "", usage: "Publish all exposed ports to random ports" },
    Flag { short: '\0', name: "pull", kind: Kind::Text, value: "string", default: "missing", usage: "Pull image before creating (\"always\", \"|missing\", \"never\") (default \"missing\")" },
    Flag { short: 'q', name: "quiet", kind: Kind::Bool, value: "", default: "", usage: "Suppress the pull output" },
    Flag { short: '\0', name: "read-only", kind: Kind::Bool, value: "", default: "", usage: "Mount the container's root filesystem as read only" },
    Flag { short: '\0', name: "restart", kind: Kind::Text, value: "string", default: "no", usage: "Restart policy to apply when a container exits (default \"no\")" },
    Flag { short: '\0', name: "rm", kind: Kind::Bool, value: "", default: "", usage: "Automatically remove the container and its associated anonymous volumes when it exits" },
    Flag { short: '\0', name: "runtime", kind: Kind::Text, value: "string", default: "", usage: "Runtime to use for this container" },
    Flag { short: '\0', name: "security-opt", kind: Kind::List, value: "list", default: "", usage: "Security Options" },
    Flag { short: '\0', name: "shm-size", kind: Kind::Bytes, value: "bytes", default: "", usage: "Size of /dev/shm" },
    Flag { short: '\0', name: "stop-signal", kind: Kind::Text, value: "string", default: "", usage: "Signal to stop the container" },
    Flag { short: '\0', name: "stop-timeout", kind: Kind::Int, value: "int", default: "", usage: "Timeout (in seconds) to stop a container" },
    Flag { short: '\0', name: "storage-opt", kind: Kind::List, value: "list", default: "", usage: "Storage driver options for the container" },
    Flag { short: '\0', name: "sysctl", kind: Kind::Map, value: "map", default: "", usage: "Sysctl options (default map[])" },
    Flag { short: '\0', name: "tmpfs", kind: Kind::List, value: "list", default: "", usage: "Mount a tmpfs directory" },
    Flag { short: 't', name: "tty", kind: Kind::Bool, value: "", default: "", usage: "Allocate a pseudo-TTY" },
    Flag { short: '\0', name: "ulimit", kind: Kind::Ulimit, value: "ulimit", default: "", usage: "Ulimit options (default [])" },
    Flag { short: '\0', name: "use-api-socket", kind: Kind::Bool, value: "", default: "", usage: "Bind mount Docker API socket and required auth" },
    Flag { short: 'u', name: "user", kind: Kind::Text, value: "string", default: "", usage: "Username or UID (format: <name|uid>[:<group|gid>])" },
    Flag { short: '\0', name: "userns", kind: Kind::Text, value: "string", default: "", usage: "User namespace to use" },
    Flag { short: '\0', name: "uts", kind: Kind::Text, value: "string", default: "", usage: "UTS namespace to use" },
    Flag { short: 'v', name: "volume", kind: Kind::List, value: "list", default: "", usage: "Bind mount a volume" },
    Flag { short: '\0', name: "volume-driver", kind: Kind::Text, value: "string", default: "", usage: "Optional volume driver for the container" },
    Flag { short: '\0', name: "volumes-from", kind: Kind::List, value: "list", default: "", usage: "Mount volumes from the specified container(s)" },
    Flag { short: 'w', name: "workdir", kind: Kind::Text, value: "string", default: "", usage: "Working directory inside the container" },
];

/// Options of `container diff`.
#[rustfmt::skip]
static CONTAINER_DIFF: &[Flag] = &[
];

/// Options of `container exec`.
#[rustfmt::skip]
static CONTAINER_EXEC: &[Flag] = &[
    Flag { short: 'd', name: "detach", kind: Kind::Bool, value: "", default: "", usage: "Detached mode: run command in the background" },
    Flag { short: '\0', name: "detach-keys", kind: Kind::Text, value: "string", default: "", usage: "Override the key sequence for detaching a container" },
    Flag { short: 'e', name: "env", kind: Kind::List, value: "list", default: "", usage: "Set environment variables" },
    Flag { short: '\0', name: "env-file", kind: Kind::List, value: "list", default: "", usage: "Read in a file of environment variables" },
    Flag { short: 'i', name: "interactive", kind: Kind::Bool, value: "", default: "", usage: "Keep STDIN open even if not attached" },
    Flag { short: '\0', name: "privileged", kind: Kind::Bool, value: "", default: "", usage: "Give extended privileges to the command" },
    Flag { short: 't', name: "tty", kind: Kind::Bool, value: "", default: "", usage: "Allocate a pseudo-TTY" },
    Flag { short: 'u', name: "user", kind: Kind::Text, value: "string", default: "", usage: "Username or UID (format: \"<name|uid>[:<group|gid>]\")" },
    Flag { short: 'w', name: "workdir", kind: Kind::Text, value: "string", default: "", usage: "Working directory inside the container" },
];

/// Options of `container export`.
#[rustfmt::skip]
static CONTAINER_EXPORT: &[Flag] = &[
    Flag { short: 'o', name: "output", kind: Kind::Text, value: "string", default: "", usage: "Write to a file, instead of STDOUT" },
];

/// Options of `container inspect`.
#[rustfmt::skip]
static CONTAINER_INSPECT: &[Flag] = &[
    Flag { short: 'f', name: "format", kind: Kind::Text, value: "string", default: "", usage: "Format output using a custom template:\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates" },
    Flag { short: 's', name: "size", kind: Kind::Bool, value: "", default: "", usage: "Display total file sizes" },
];

/// Options of `container kill`.
#[rustfmt::skip]
static CONTAINER_KILL: &[Flag] = &[
    Flag { short: 's', name: "signal", kind: Kind::Text, value: "string", default: "", usage: "Signal to send to the container" },
];

/// Options of `container logs`.
#[rustfmt::skip]
static CONTAINER_LOGS: &[Flag] = &[
    Flag { short: '\0', name: "details", kind: Kind::Bool, value: "", default: "", usage: "Show extra details provided to logs" },
    Flag { short: 'f', name: "follow", kind: Kind::Bool, value: "", default: "", usage: "Follow log output" },
    Flag { short: '\0', name: "since", kind: Kind::Text, value: "string", default: "", usage: "Show logs since timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)" },
    Flag { short: 'n', name: "tail", kind: Kind::Text, value: "string", default: "all", usage: "Number of lines to show from the end of the logs (default \"all\")" },
    Flag { short: 't', name: "timestamps", kind: Kind::Bool, value: "", default: "", usage: "Show timestamps" },
    Flag { short: '\0', name: "until", kind: Kind::Text, value: "string", default: "", usage: "Show logs before a timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)" },
];

/// Options of `container ls`.
#[rustfmt::skip]
static CONTAINER_LS: &[Flag] = &[
    Flag { short: 'a', name: "all", kind: Kind::Bool, value: "", default: "shows just running", usage: "Show all containers (default shows just running)" },
    Flag { short: 'f', name: "filter", kind: Kind::Filter, value: "filter", default: "", usage: "Filter output based on conditions provided" },
    Flag { short: '\0', name: "format", kind: Kind::Text, value: "string", default: "", usage: "Format output using a custom template:\n'table':            Print output in table format with column headers (default)\n'table TEMPLATE':   Print output in table format using the given Go template\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates" },
    Flag { short: 'n', name: "last", kind: Kind::Int, value: "int", default: "-1", usage: "Show n last created containers (includes all states) (default -1)" },
    Flag { short: 'l', name: "latest", kind: Kind::Bool, value: "", default: "", usage: "Show the latest created container (includes all states)" },
    Flag { short: '\0', name: "no-trunc", kind: Kind::Bool, value: "", default: "", usage: "Don't truncate output" },
    Flag { short: 'q', name: "quiet", kind: Kind::Bool, value: "", default: "", usage: "Only display container IDs" },
    Flag { short: 's', name: "size", kind: Kind::Bool, value: "", default: "", usage: "Display total file sizes" },
];

/// Options of `container pause`.
#[rustfmt::skip]
static CONTAINER_PAUSE: &[Flag] = &[
];

/// Options of `container port`.
#[rustfmt::skip]
static CONTAINER_PORT: &[Flag] = &[
];

/// Options of `container prune`.
#[rustfmt::skip]
static CONTAINER_PRUNE: &[Flag] = &[
    Flag { short: '\0', name: "filter", kind: Kind::Filter, value: "filter", default: "", usage: "Provide filter values (e.g. \"until=<timestamp>\")" },
    Flag { short: 'f', name: "force", kind: Kind::Bool, value: "", default: "", usage: "Do not prompt for confirmation" },
];

/// Options of `container rename`.
#[rustfmt::skip]
static CONTAINER_RENAME: &[Flag] = &[
];

/// Options of `container restart`.
#[rustfmt::skip]
static CONTAINER_RESTART: &[Flag] = &[
    Flag { short: 's', name: "signal", kind: Kind::Text, value: "string", default: "", usage: "Signal to send to the container" },
    Flag { short: 't', name: "timeout", kind: Kind::Int, value: "int", default: "", usage: "Seconds to wait before killing the container" },
];

/// Options of `container rm`.
#[rustfmt::skip]
static CONTAINER_RM: &[Flag] = &[
    Flag { short: 'f', name: "force", kind: Kind::Bool, value: "", default: "", usage: "Force the removal of a running container (uses SIGKILL)" },
    Flag { short: 'l', name: "link", kind: Kind::Bool, value: "", default: "", usage: "Remove the specified link" },
    Flag { short: 'v', name: "volumes", kind: Kind::Bool, value: "", default: "", usage: "Remove anonymous volumes associated with the container" },
];

/// Options of `container run`.
#[rustfmt::skip]
static CONTAINER_RUN: &[Flag] = &[
    Flag { short: '\0', name: "add-host", kind: Kind::List, value: "list", default: "", usage: "Add a custom host-to-IP mapping (host:ip)" },
    Flag { short: '\0', name: "annotation", kind: Kind::Map, value: "map", default: "", usage: "Add an annotation to the container (passed through to the OCI runtime) (default map[])" },
    Flag { short: 'a', name: "attach", kind: Kind::List, value: "list", default: "", usage: "Attach to STDIN, STDOUT or STDERR" },
    Flag { short: '\0', name: "blkio-weight", kind: Kind::Uint16, value: "uint16", default: "0", usage: "Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)" },
    Flag { short: '\0', name: "blkio-weight-device", kind: Kind::List, value: "list", default: "", usage: "Block IO weight (relative device weight) (default [])" },
    Flag { short: '\0', name: "cap-add", kind: Kind::List, value: "list", default: "", usage: "Add Linux capabilities" },
    Flag { short: '\0', name: "cap-drop", kind: Kind::List, value: "list", default: "", usage: "Drop Linux capabilities" },
    Flag { short: '\0', name: "cgroup-parent", kind: Kind::Text, value: "string", default: "", usage: "Optional parent cgroup for the container" },
    Flag { short: '\0', name: "cgroupns", kind: Kind::Text, value: "string", default: "", usage: "Cgroup namespace to use (host|private)\n'host':    Run the container in the Docker host's cgroup namespace\n'private': Run the container in its own private cgroup namespace\n'':        Use the cgroup namespace as configured by the\n           default-cgroupns-mode option on the daemon (default)" },
    Flag { short: '\0', name: "cidfile", kind: Kind::Text, value: "string", default: "", usage: "Write the container ID to the file" },
    Flag { short: '\0', name: "cpu-count", kind: Kind::Int, value: "int", default: "", usage: "CPU count (Windows only)" },
    Flag { short: '\0', name: "cpu-percent", kind: Kind::Int, value: "int", default: "", usage: "CPU percent (Windows only)" },
    Flag { short: '\0', name: "cpu-period", kind: Kind::Int, value: "int", default: "", usage: "Limit CPU CFS (Completely Fair Scheduler) period" },
    Flag { short: '\0', name: "cpu-quota", kind: Kind::Int, value: "int", default: "", usage: "Limit CPU CFS (Completely Fair Scheduler) quota" },
    Flag { short: '\0', name: "cpu-rt-period", kind: Kind::Int, value: "int", default: "", usage: "Limit CPU real-time period in microseconds" },
    Flag { short: '\0', name: "cpu-rt-runtime", kind: Kind::Int, value: "int", default: "", usage: "Limit CPU real-time runtime in microseconds" },
    Flag { short: 'c', name: "cpu-shares", kind: Kind::Int, value: "int", default: "", usage: "CPU shares (relative weight)" },
    Flag { short: '\0', name: "cpus", kind: Kind::Decimal, value: "decimal", default: "", usage: "Number of CPUs" },
    Flag { short: '\0', name: "cpuset-cpus", kind: Kind::Text, value: "string", default: "", usage: "CPUs in which to allow execution (0-3, 0,1)" },
    Flag { short: '\0', name: "cpuset-mems", kind: Kind::Text, value: "string", default: "", usage: "MEMs in which to allow execution (0-3, 0,1)" },
    Flag { short: 'd', name: "detach", kind: Kind::Bool, value: "", default: "", usage: "Run container in background and print container ID" },
    Flag { short: '\0', name: "detach-keys", kind: Kind::Text, value: "string", default: "", usage: "Override the key sequence for detaching a container" },
    Flag { short: '\0', name: "device", kind: Kind::List, value: "list", default: "", usage: "Add a host device to the container" },
    Flag { short: '\0', name: "device-cgroup-rule", kind: Kind::List, value: "list", default: "", usage: "Add a rule to the cgroup allowed devices list" },
    Flag { short: '\0', name: "device-read-bps", kind: Kind::List, value: "list", default: "", usage: "Limit read rate (bytes per second) from a device (default [])" },
    Flag { short: '\0', name: "device-read-iops", kind: Kind::List, value: "list", default: "", usage: "Limit read rate (IO per second) from a device (default [])" },
    Flag { short: '\0', name: "device-write-bps", kind: Kind::List, value: "list", default: "", usage: "Limit write rate (bytes per second) to a device (default [])" },
    Flag { short: '\0', name: "device-write-iops", kind: Kind::List, value: "list", default: "", usage: "Limit write rate (IO per second) to a device (default [])" },
    Flag { short: '\0', name: "disable-content-trust", kind: Kind::Bool, value: "", default: "true", usage: "Skip image verification (default true)" },
    Flag { short: '\0', name: "dns", kind: Kind::List, value: "list", default: "", usage: "Set custom DNS servers" },
    Flag { short: '\0', name: "dns-option", kind: Kind::List, value: "list", default: "", usage: "Set DNS options" },
    Flag { short: '\0', name: "dns-search", kind: Kind::List, value: "list", default: "", usage: "Set custom DNS search domains" },
    Flag { short: '\0', name: "domainname", kind: Kind::Text, value: "string", default: "", usage: "Container NIS domain name" },
    Flag { short: '\0', name: "entrypoint", kind: Kind::Text, value: "string", default: "", usage: "Overwrite the default ENTRYPOINT of the image" },
    Flag { short: 'e', name: "env", kind: Kind::List, value: "list", default: "", usage: "Set environment variables" },
    Flag { short: '\0', name: "env-file", kind: Kind::List, value: "list", default: "", usage: "Read in a file of environment variables" },
    Flag { short: '\0', name: "expose", kind: Kind::List, value: "list", default: "", usage: "Expose a port or a range of ports" },
    Flag { short: '\0', name: "gpus", kind: Kind::Gpu, value: "gpu-request", default: "", usage: "GPU devices to add to the container ('all' to pass all GPUs)" },
    Flag { short: '\0', name: "group-add", kind: Kind::List, value: "list", default: "", usage: "Add additional groups to join" },
    Flag { short: '\0', name: "health-cmd", kind: Kind::Text, value: "string", default: "", usage: "Command to run to check health" },
    Flag { short: '\0', name: "health-interval", kind: Kind::Duration, value: "duration", default: "0s", usage: "Time between running the check (ms|s|m|h) (default 0s)" },
    Flag { short: '\0', name: "health-retries", kind: Kind::Int, value: "int", default: "", usage: "Consecutive failures needed to report unhealthy" },
    Flag { short: '\0', name: "health-start-interval", kind: Kind::Duration, value: "duration", default: "0s", usage: "Time between running the check during the start period (ms|s|m|h) (default 0s)" },
    Flag { short: '\0', name: "health-start-period", kind: Kind::Duration, value: "duration", default: "0s", usage: "Start period for the container to initialize before starting health-retries countdown (ms|s|m|h) (default 0s)" },
    Flag { short: '\0', name: "health-timeout", kind: Kind::Duration, value: "duration", default: "0s", usage: "Maximum time to allow one check to run (ms|s|m|h) (default 0s)" },
    Flag { short: '\0', name: "help", kind: Kind::Bool, value: "", default: "", usage: "Print usage" },
    Flag { short: 'h', name: "hostname", kind: Kind::Text, value: "string", default: "", usage: "Container host name" },
    Flag { short: '\0', name: "init", kind: Kind::Bool, value: "", default: "", usage: "Run an init inside the container that forwards signals and reaps processes" },
    Flag { short: 'i', name: "interactive", kind: Kind::Bool, value: "", default: "", usage: "Keep STDIN open even if not attached" },
    Flag { short: '\0', name: "io-maxbandwidth", kind: Kind::Bytes, value: "bytes", default: "", usage: "Maximum IO bandwidth limit for the system drive (Windows only)" },
    Flag { short: '\0', name: "io-maxiops", kind: Kind::Uint, value: "uint", default: "", usage: "Maximum IOps limit for the system drive (Windows only)" },
    Flag { short: '\0', name: "ip", kind: Kind::Text, value: "string", default: "", usage: "IPv4 address (e.g., 172.30.100.104)" },
    Flag { short: '\0', name: "ip6", kind: Kind::Text, value: "string", default: "", usage: "IPv6 address (e.g., 2001:db8::33)" },
    Flag { short: '\0', name: "ipc", kind: Kind::Text, value: "string", default: "", usage: "IPC mode to use" },
    Flag { short: '\0', name: "isolation", kind: Kind::Text, value: "string", default: "", usage: "Container isolation technology" },
    Flag { short: '\0', name: "kernel-memory", kind: Kind::Bytes, value: "bytes", default: "", usage: "Kernel memory limit" },
    Flag { short: 'l', name: "label", kind: Kind::List, value: "list", default: "", usage: "Set meta data on a container" },
    Flag { short: '\0', name: "label-file", kind: Kind::List, value: "list", default: "", usage: "Read in a line delimited file of labels" },
    Flag { short: '\0', name: "link", kind: Kind::List, value: "list", default: "", usage: "Add link to another container" },
    Flag { short: '\0', name: "link-local-ip", kind: Kind::List, value: "list", default: "", usage: "Container IPv4/IPv6 link-local addresses" },
    Flag { short: '\0', name: "log-driver", kind: Kind::Text, value: "string", default: "", usage: "Logging driver for the container" },
    Flag { short: '\0', name: "log-opt", kind: Kind::List, value: "list", default: "", usage: "Log driver options" },
    Flag { short: '\0', name: "mac-address", kind: Kind::Text, value: "string", default: "", usage: "Container MAC address (e.g., 92:d0:c6:0a:29:33)" },
    Flag { short: 'm', name: "memory", kind: Kind::Bytes, value: "bytes", default: "", usage: "Memory limit" },
    Flag { short: '\0', name: "memory-reservation", kind: Kind::Bytes, value: "bytes", default: "", usage: "Memory soft limit" },
    Flag { short: '\0', name: "memory-swap", kind: Kind::MemorySwap, value: "bytes", default: "", usage: "Swap limit equal to memory plus swap: '-1' to enable unlimited swap" },
    Flag { short: '\0', name: "memory-swappiness", kind: Kind::Int, value: "int", default: "-1", usage: "Tune container memory swappiness (0 to 100) (default -1)" },
    Flag { short: '\0', name: "mount", kind: Kind::Mount, value: "mount", default: "", usage: "Attach a filesystem mount to the container" },
    Flag { short: '\0', name: "name", kind: Kind::Text, value: "string", default: "", usage: "Assign a name to the container" },
    Flag { short: '\0', name: "network", kind: Kind::Network, value: "network", default: "", usage: "Connect a container to a network" },
    Flag { short: '\0', name: "network-alias", kind: Kind::List, value: "list", default: "", usage: "Add network-scoped alias for the container" },
    Flag { short: '\0', name: "no-healthcheck", kind: Kind::Bool, value: "", default: "", usage: "Disable any container-specified HEALTHCHECK" },
    Flag { short: '\0', name: "oom-kill-disable", kind: Kind::Bool, value: "", default: "", usage: "Disable OOM Killer" },
    Flag { short: '\0', name: "oom-score-adj", kind: Kind::Int, value: "int", default: "", usage: "Tune host's OOM preferences (-1000 to 1000)" },
    Flag { short: '\0', name: "pid", kind: Kind::Text, value: "string", default: "", usage: "PID namespace to use" },
    Flag { short: '\0', name: "pids-limit", kind: Kind::Int, value: "int", default: "", usage: "Tune container pids limit (set -1 for unlimited)" },
    Flag { short: '\0', name: "platform", kind: Kind::Text, value: "string", default: "", usage: "Set platform if server is multi-platform capable" },
    Flag { short: '\0', name: "privileged", kind: Kind::Bool, value: "", default: "", usage: "Give extended privileges to this container" },
    Flag { short: 'p', name: "publish", kind: Kind::List, value: "list", default: "", usage: "Publish a container's port(s) to the host" },
    Flag { short: 'P', name: "publish-all", kind: Kind::Bool, value: "", default: "", usage: "Publish all exposed ports to random ports" },
    Flag { short: '\0', name: "pull", kind: Kind::Text, value: "string", default: "missing", usage: "Pull image before running (\"always\", \"missing\", \"never\") (default \"missing\")" },
    Flag { short: 'q', name: "quiet", kind: Kind::Bool, value: "", default: "", usage: "Suppress the pull output" },
    Flag { short: '\0', name: "read-only", kind: Kind::Bool, value: "", default: "", usage: "Mount the container's root filesystem as read only" },
    Flag { short: '\0', name: "restart", kind: Kind::Text, value: "string", default: "no", usage: "Restart policy to apply when a container exits (default \"no\")" },
    Flag { short: '\0', name: "rm", kind: Kind::Bool, value: "", default: "", usage: "Automatically remove the container and its associated anonymous volumes when it exits" },
    Flag { short: '\0', name: "runtime", kind: Kind::Text, value: "string", default: "", usage: "Runtime to use for this container" },
    Flag { short: '\0', name: "security-opt", kind: Kind::List, value: "list", default: "", usage: "Security Options" },
    Flag { short: '\0', name: "shm-size", kind: Kind::Bytes, value: "bytes", default: "", usage: "Size of /dev/shm" },
    Flag { short: '\0', name: "sig-proxy", kind: Kind::Bool, value: "", default: "true", usage: "Proxy received signals to the process (default true)" },
    Flag { short: '\0', name: "stop-signal", kind: Kind::Text, value: "string", default: "", usage: "Signal to stop the container" },
    Flag { short: '\0', name: "stop-timeout", kind: Kind::Int, value: "int", default: "", usage: "Timeout (in seconds) to stop a container" },
    Flag { short: '\0', name: "storage-opt", kind: Kind::List, value: "list", default: "", usage: "Storage driver options for the container" },
    Flag { short: '\0', name: "sysctl", kind: Kind::Map, value: "map", default: "", usage: "Sysctl options (default map[])" },
    Flag { short: '\0', name: "tmpfs", kind: Kind::List, value: "list", default: "", usage: "Mount a tmpfs directory" },
    Flag { short: 't', name: "tty", kind: Kind::Bool, value: "", default: "", usage: "Allocate a pseudo-TTY" },
    Flag { short: '\0', name: "ulimit", kind: Kind::Ulimit, value: "ulimit", default: "", usage: "Ulimit options (default [])" },
    Flag { short: '\0', name: "use-api-socket", kind: Kind::Bool, value: "", default: "", usage: "Bind mount Docker API socket and required auth" },
    Flag { short: 'u', name: "user", kind: Kind::Text, value: "string", default: "", usage: "Username or UID (format: <name|uid>[:<group|gid>])" },
    Flag { short: '\0', name: "userns", kind: Kind::Text, value: "string", default: "", usage: "User namespace to use" },
    Flag { short: '\0', name: "uts", kind: Kind::Text, value: "string", default: "", usage: "UTS namespace to use" },
    Flag { short: 'v', name: "volume", kind: Kind::List, value: "list", default: "", usage: "Bind mount a volume" },
    Flag { short: '\0', name: "volume-driver", kind: Kind::Text, value: "string", default: "", usage: "Optional volume driver for the container" },
    Flag { short: '\0', name: "volumes-from", kind: Kind::List, value: "list", default: "", usage: "Mount volumes from the specified container(s)" },
    Flag { short: 'w', name: "workdir", kind: Kind::Text, value: "string", default: "", usage: "Working directory inside the container" },
];

/// Options of `container start`.
#[rustfmt::skip]
static CONTAINER_START: &[Flag] = &[
    Flag { short: 'a', name: "attach", kind: Kind::Bool, value: "", default: "", usage: "Attach STDOUT/STDERR and forward signals" },
    Flag { short: '\0', name: "checkpoint", kind: Kind::Text, value: "string", default: "", usage: "Restore from this checkpoint" },
    Flag { short: '\0', name: "checkpoint-dir", kind: Kind::Text, value: "string", default: "", usage: "Use a custom checkpoint storage directory" },
    Flag { short: '\0', name: "detach-keys", kind: Kind::Text, value: "string", default: "", usage: "Override the key sequence for detaching a container" },
    Flag { short: 'i', name: "interactive", kind: Kind::Bool, value: "", default: "", usage: "Attach container's STDIN" },
];

/// Options of `container stats`.
#[rustfmt::skip]
static CONTAINER_STATS: &[Flag] = &[
    Flag { short: 'a', name: "all", kind: Kind::Bool, value: "", default: "shows just running", usage: "Show all containers (default shows just running)" },
    Flag { short: '\0', name: "format", kind: Kind::Text, value: "string", default: "", usage: "Format output using a custom template:\n'table':            Print output in table format with column headers (default)\n'table TEMPLATE':   Print output in table format using the given Go template\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates" },
    Flag { short: '\0', name: "no-stream", kind: Kind::Bool, value: "", default: "", usage: "Disable streaming stats and only pull the first result" },
    Flag { short: '\0', name: "no-trunc", kind: Kind::Bool, value: "", default: "", usage: "Do not truncate output" },
];

/// Options of `container stop`.
#[rustfmt::skip]
static CONTAINER_STOP: &[Flag] = &[
    Flag { short: 's', name: "signal", kind: Kind::Text, value: "string", default: "", usage: "Signal to send to the container" },
    Flag { short: 't', name: "timeout", kind: Kind::Int, value: "int", default: "", usage: "Seconds to wait before killing the container" },
];

/// Options of `container top`.
#[rustfmt::skip]
static CONTAINER_TOP: &[Flag] = &[
];

/// Options of `container unpause`.
#[rustfmt::skip]
static CONTAINER_UNPAUSE: &[Flag] = &[
];

/// Options of `container update`.
#[rustfmt::skip]
// Options without a text are Corten's own: docker's help has none of them.
static CONTAINER_UPDATE: &[Flag] = &[
    Flag { short: '\0', name: "label-add", kind: Kind::List, value: "list", default: "", usage: "" },
    Flag { short: '\0', name: "label-rm", kind: Kind::List, value: "list", default: "", usage: "" },
    Flag { short: '\0', name: "mount-add", kind: Kind::List, value: "list", default: "", usage: "" },
    Flag { short: '\0', name: "mount-rm", kind: Kind::List, value: "list", default: "", usage: "" },
    Flag { short: '\0', name: "blkio-weight", kind: Kind::Uint16, value: "uint16", default: "0", usage: "Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)" },
    Flag { short: '\0', name: "cpu-period", kind: Kind::Int, value: "int", default: "", usage: "Limit CPU CFS (Completely Fair Scheduler) period" },
    Flag { short: '\0', name: "cpu-quota", kind: Kind::Int, value: "int", default: "", usage: "Limit CPU CFS (Completely Fair Scheduler) quota" },
    Flag { short: '\0', name: "cpu-rt-period", kind: Kind::Int, value: "int", default: "", usage: "Limit the CPU real-time period in microseconds" },
    Flag { short: '\0', name: "cpu-rt-runtime", kind: Kind::Int, value: "int", default: "", usage: "Limit the CPU real-time runtime in microseconds" },
    Flag { short: 'c', name: "cpu-shares", kind: Kind::Int, value: "int", default: "", usage: "CPU shares (relative weight)" },
    Flag { short: '\0', name: "cpus", kind: Kind::Decimal, value: "decimal", default: "", usage: "Number of CPUs" },
    Flag { short: '\0', name: "cpuset-cpus", kind: Kind::Text, value: "string", default: "", usage: "CPUs in which to allow execution (0-3, 0,1)" },
    Flag { short: '\0', name: "cpuset-mems", kind: Kind::Text, value: "string", default: "", usage: "MEMs in which to allow execution (0-3, 0,1)" },
    Flag { short: 'm', name: "memory", kind: Kind::Bytes, value: "bytes", default: "", usage: "Memory limit" },
    Flag { short: '\0', name: "memory-reservation", kind: Kind::Bytes, value: "bytes", default: "", usage: "Memory soft limit" },
    Flag { short: '\0', name: "memory-swap", kind: Kind::MemorySwap, value: "bytes", default: "", usage: "Swap limit equal to memory plus swap: -1 to enable unlimited swap" },
    Flag { short: '\0', name: "pids-limit", kind: Kind::Int, value: "int", default: "", usage: "Tune container pids limit (set -1 for unlimited)" },
    Flag { short: '\0', name: "restart", kind: Kind::Text, value: "string", default: "", usage: "Restart policy to apply when a container exits" },
];

/// Options of `container wait`.
#[rustfmt::skip]
static CONTAINER_WAIT: &[Flag] = &[
];

/// The commands.
#[rustfmt::skip]
pub(super) static COMMANDS: &[Command] = &[
    Command {
        path: "container attach",
        aliases: &["attach"],
        shown: "container attach, attach",
        args: "[OPTIONS] CONTAINER",
        about: "Attach local standard input, output, and error streams to a running container",
        text: "Attach local standard input, output, and error streams to a running container",
        count: Args::Exactly(1),
        interspersed: true,
        flags: CONTAINER_ATTACH,
    },
    Command {
        path: "container commit",
        aliases: &["commit"],
        shown: "container commit, commit",
        args: "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
        about: "Create a new image from a container's changes",
        text: "Create a new image from a container's changes",
        count: Args::Between(1, 2),
        interspersed: true,
        flags: CONTAINER_COMMIT,
    },
    Command {
        path: "container cp",
        aliases: &["cp"],
        shown: "container cp, cp",
        args: "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\ncp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
        about: "Copy files/folders between a container and the local filesystem",
        text: "Copy files/folders between a container and the local filesystem\n\nUse '-' as the source to read a tar archive from stdin\nand extract it to a directory destination in a container.\nUse '-' as the destination to stream a tar archive of a\ncontainer source to stdout.",
        count: Args::Exactly(2),
        interspersed: true,
        flags: CONTAINER_CP,
    },
    Command {
        path: "container create",
        aliases: &["create"],
        shown: "container create, create",
        args: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
        about: "Create a new container",
        text: "Create a new container",
        count: Args::AtLeast(1),
        interspersed: false,
        flags: CONTAINER_CREATE,
    },
    Command {
        path: "container diff",
        aliases: &["diff"],
        shown: "container diff, diff",
        args: "CONTAINER",
        about: "Inspect changes to files or directories on a container's filesystem",
        text: "Inspect changes to files or directories on a container's filesystem",
        count: Args::Exactly(1),
        interspersed: true,
        flags: CONTAINER_DIFF,
    },
    Command {
        path: "container exec",
        aliases: &["exec"],
        shown: "container exec, exec",
        args: "[OPTIONS] CONTAINER COMMAND [ARG...]",
        about: "Execute a command in a running container",
        text: "Execute a command in a running container",
        count: Args::AtLeast(2),
        interspersed: false,
        flags: CONTAINER_EXEC,
    },
    Command {
        path: "container export",
        aliases: &["export"],
        shown: "container export, export",
        args: "[OPTIONS] CONTAINER",
        about: "Export a container's filesystem as a tar archive",
        text: "Export a container's filesystem as a tar archive",
        count: Args::Exactly(1),
        interspersed: true,
        flags: CONTAINER_EXPORT,
    },
    Command {
        path: "container inspect",
        aliases: &[],
        shown: "",
        args: "[OPTIONS] CONTAINER [CONTAINER...]",
        about: "Display detailed information on one or more containers",
        text: "Display detailed information on one or more containers",
        count: Args::AtLeast(1),
        interspersed: true,
        flags: CONTAINER_INSPECT,
    },
    Command {
        path: "container kill",
        aliases: &["kill"],
        shown: "container kill, kill",
        args: "[OPTIONS] CONTAINER [CONTAINER...]",
        about: "Kill one or more running containers",
        text: "Kill one or more running containers",
        count: Args::AtLeast(1),
        interspersed: true,
        flags: CONTAINER_KILL,
    },
    Command {
        path: "container logs",
        aliases: &["logs"],
        shown: "container logs, logs",
        args: "[OPTIONS] CONTAINER",
        about: "Fetch the logs of a container",
        text: "Fetch the logs of a container",
        count: Args::Exactly(1),
        interspersed: true,
        flags: CONTAINER_LOGS,
    },
    Command {
        path: "container ls",
        aliases: &["container list", "container ps", "ps"],
        shown: "container ls, container list, container ps, ps",
        args: "[OPTIONS]",
        about: "List containers",
        text: "List containers",
        count: Args::None,
        interspersed: true,
        flags: CONTAINER_LS,
    },
    Command {
        path: "container pause",
        aliases: &["pause"],
        shown: "container pause, pause",
        args: "CONTAINER [CONTAINER...]",
        about: "Pause all processes within one or more containers",
        text: "Pause all processes within one or more containers",
        count: Args::AtLeast(1),
        interspersed: true,
        flags: CONTAINER_PAUSE,
    },
    Command {
        path: "container port",
        aliases: &["port"],
        shown: "container port, port",
        args: "CONTAINER [PRIVATE_PORT[/PROTO]]",
        about: "List port mappings or a specific mapping for the container",
        text: "List port mappings or a specific mapping for the container",
        count: Args::Between(1, 2),
        interspersed: true,
        flags: CONTAINER_PORT,
    },
    Command {
        path: "container prune",
        aliases: &[],
        shown: "",
        args: "[OPTIONS]",
        about: "Remove all stopped containers",
        text: "Remove all stopped containers",
        count: Args::None,
        interspersed: true,
        flags: CONTAINER_PRUNE,
    },
    Command {
        path: "container rename",
        aliases: &["rename"],
        shown: "container rename, rename",
        args: "CONTAINER NEW_NAME",
        about: "Rename a container",
        text: "Rename a container",
        count: Args::Exactly(2),
        interspersed: true,
        flags: CONTAINER_RENAME,
    },
    Command {
        path: "container restart",
        aliases: &["restart"],
        shown: "container restart, restart",
        args: "[OPTIONS] CONTAINER [CONTAINER...]",
        about: "Restart one or more containers",
        text: "Restart one or more containers",
        count: Args::AtLeast(1),
        interspersed: true,
        flags: CONTAINER_RESTART,
    },
    Command {
        path: "container rm",
        aliases: &["container remove", "rm"],
        shown: "container rm, container remove, rm",
        args: "[OPTIONS] CONTAINER [CONTAINER...]",
        about: "Remove one or more containers",
        text: "Remove one or more containers",
        count: Args::AtLeast(1),
        interspersed: true,
        flags: CONTAINER_RM,
    },
    Command {
        path: "container run",
        aliases: &["run"],
        shown: "container run, run",
        args: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
        about: "Create and run a new container from an image",
        text: "Create and run a new container from an image",
        count: Args::AtLeast(1),
        interspersed: false,
        flags: CONTAINER_RUN,
    },
    Command {
        path: "container start",
        aliases: &["start"],
        shown: "container start, start",
        args: "[OPTIONS] CONTAINER [CONTAINER...]",
        about: "Start one or more stopped containers",
        text: "Start one or more stopped containers",
        count: Args::AtLeast(1),
        interspersed: true,
        flags: CONTAINER_START,
    },
    Command {
        path: "container stats",
        aliases: &["stats"],
        shown: "container stats, stats",
        args: "[OPTIONS] [CONTAINER...]",
        about: "Display a live stream of container(s) resource usage statistics",
        text: "Display a live stream of container(s) resource usage statistics",
        count: Args::AtLeast(0),
        interspersed: true,
        flags: CONTAINER_STATS,
    },
    Command {
        path: "container stop",
        aliases: &["stop"],
        shown: "container stop, stop",
        args: "[OPTIONS] CONTAINER [CONTAINER...]",
        about: "Stop one or more running containers",
        text: "Stop one or more running containers",
        count: Args::AtLeast(1),
        interspersed: true,
        flags: CONTAINER_STOP,
    },
    Command {
        path: "container top",
        aliases: &["top"],
        shown: "container top, top",
        args: "CONTAINER [ps OPTIONS]",
        about: "Display the running processes of a container",
        text: "Display the running processes of a container",
        count: Args::AtLeast(1),
        interspersed: false,
        flags: CONTAINER_TOP,
    },
    Command {
        path: "container unpause",
        aliases: &["unpause"],
        shown: "container unpause, unpause",
        args: "CONTAINER [CONTAINER...]",
        about: "Unpause all processes within one or more containers",
        text: "Unpause all processes within one or more containers",
        count: Args::AtLeast(1),
        interspersed: true,
        flags: CONTAINER_UNPAUSE,
    },
    Command {
        path: "container update",
        aliases: &["update"],
        shown: "container update, update",
        args: "[OPTIONS] CONTAINER [CONTAINER...]",
        about: "Update configuration of one or more containers",
        text: "Update configuration of one or more containers",
        count: Args::AtLeast(1),
        interspersed: true,
        flags: CONTAINER_UPDATE,
    },
    Command {
        path: "container wait",
        aliases: &["wait"],
        shown: "container wait, wait",
        args: "CONTAINER [CONTAINER...]",
        about: "Block until one or more containers stop, then print their exit codes",
        text: "Block until one or more containers stop, then print their exit codes",
        count: Args::AtLeast(1),
        interspersed: true,
        flags: CONTAINER_WAIT,
    },
];
