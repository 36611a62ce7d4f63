//! Commands about images.

use super::{Args, Command, Flag, Kind};

/// Options of `image history`.
#[rustfmt::skip]
static IMAGE_HISTORY: &[Flag] = &[
    Flag { short: '\0', name: "format", kind: Kind::Text, value: "string", default: "", usage: "Format output using a custom template:\n'table':            Print output in table format with column headers (default)\n'table TEMPLATE':   Print output in table format using the given Go template\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates" },
    Flag { short: 'H', name: "human", kind: Kind::Bool, value: "", default: "true", usage: "Print sizes and dates in human readable format (default true)" },
    Flag { short: '\0', name: "no-trunc", kind: Kind::Bool, value: "", default: "", usage: "Don't truncate output" },
    Flag { short: '\0', name: "platform", kind: Kind::Text, value: "string", default: "", usage: "Show history for the given platform. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")" },
    Flag { short: 'q', name: "quiet", kind: Kind::Bool, value: "", default: "", usage: "Only show image IDs" },
];

/// Options of `image import`.
#[rustfmt::skip]
static IMAGE_IMPORT: &[Flag] = &[
    Flag { short: 'c', name: "change", kind: Kind::List, value: "list", default: "", usage: "Apply Dockerfile instruction to the created image" },
    Flag { short: 'm', name: "message", kind: Kind::Text, value: "string", default: "", usage: "Set commit message for imported image" },
    Flag { short: '\0', name: "platform", kind: Kind::Text, value: "string", default: "", usage: "Set platform if server is multi-platform capable" },
];

/// Options of `image inspect`.
#[rustfmt::skip]
static IMAGE_INSPECT: &[Flag] = &[
    Flag { short: 'f', name: "format", kind: Kind::Text, value: "string", default: "", usage: "Format output using a custom template:\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates" },
    Flag { short: '\0', name: "platform", kind: Kind::Text, value: "string", default: "", usage: "Inspect a specific platform of the multi-platform image.\nIf the image or the server is not multi-platform capable, the command will error out if the platform does not match.\n'os[/arch[/variant]]': Explicit platform (eg. linux/amd64)" },
];

/// Options of `image load`.
#[rustfmt::skip]
static IMAGE_LOAD: &[Flag] = &[
    Flag { short: 'i', name: "input", kind: Kind::Text, value: "string", default: "", usage: "Read from tar archive file, instead of STDIN" },
    Flag { short: '\0', name: "platform", kind: Kind::Text, value: "string", default: "", usage: "Load only the given platform variant. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")" },
    Flag { short: 'q', name: "quiet", kind: Kind::Bool, value: "", default: "", usage: "Suppress the load output" },
];

/// Options of `image ls`.
#[rustfmt::skip]
static IMAGE_LS: &[Flag] = &[
    Flag { short: 'a', name: "all", kind: Kind::Bool, value: "", default: "hides intermediate images", usage: "Show all images (default hides intermediate images)" },
    Flag { short: '\0', name: "digests", kind: Kind::Bool, value: "", default: "", usage: "Show digests" },
    Flag { short: 'f', name: "filter", kind: Kind::Filter, value: "filter", default: "", usage: "Filter output based on conditions provided" },
    Flag { short: '\0', name: "format", kind: Kind::Text, value: "string", default: "", usage: "Format output using a custom template:\n'table':            Print output in table format with column headers (default)\n'table TEMPLATE':   Print output in table format using the given Go template\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates" },
    Flag { short: '\0', name: "no-trunc", kind: Kind::Bool, value: "", default: "", usage: "Don't truncate output" },
    Flag { short: 'q', name: "quiet", kind: Kind::Bool, value: "", default: "", usage: "Only show image IDs" },
    Flag { short: '\0', name: "tree", kind: Kind::Bool, value: "", default: "", usage: "List multi-platform images as a tree (EXPERIMENTAL)" },
];

/// Options of `image prune`.
#[rustfmt::skip]
static IMAGE_PRUNE: &[Flag] = &[
    Flag { short: 'a', name: "all", kind: Kind::Bool, value: "", default: "", usage: "Remove all unused images, not just dangling ones" },
    Flag { short: '\0', name: "filter", kind: Kind::Filter, value: "filter", default: "", usage: "Provide filter values (e.g. \"until=<timestamp>\")" },
    Flag { short: 'f', name: "force", kind: Kind::Bool, value: "", default: "", usage: "Do not prompt for confirmation" },
];

/// Options of `image pull`.
#[rustfmt::skip]
static IMAGE_PULL: &[Flag] = &[
    Flag { short: 'a', name: "all-tags", kind: Kind::Bool, value: "", default: "", usage: "Download all tagged images in the repository" },
    Flag { short: '\0', name: "disable-content-trust", kind: Kind::Bool, value: "", default: "true", usage: "Skip image verification (default true)" },
    Flag { short: '\0', name: "dry-run", kind: Kind::Bool, value: "", default: "", usage: "Only tell what would be fetched" },
    Flag { short: '\0', name: "platform", kind: Kind::Text, value: "string", default: "", usage: "Set platform if server is multi-platform capable" },
    Flag { short: 'q', name: "quiet", kind: Kind::Bool, value: "", default: "", usage: "Suppress verbose output" },
];

/// Options of `image push`.
#[rustfmt::skip]
static IMAGE_PUSH: &[Flag] = &[
    Flag { short: 'a', name: "all-tags", kind: Kind::Bool, value: "", default: "", usage: "Push all tags of an image to the repository" },
    Flag { short: '\0', name: "disable-content-trust", kind: Kind::Bool, value: "", default: "true", usage: "Skip image signing (default true)" },
    Flag { short: '\0', name: "platform", kind: Kind::Text, value: "string", default: "", usage: "Push a platform-specific manifest as a single-platform image to the registry. Image index won't be pushed, meaning that other manifests, including attestations won't be preserved. 'os[/arch[/variant]]': Explicit platform (eg. linux/amd64)" },
    Flag { short: 'q', name: "quiet", kind: Kind::Bool, value: "", default: "", usage: "Suppress verbose output" },
];

/// Options of `image rm`.
#[rustfmt::skip]
static IMAGE_RM: &[Flag] = &[
    Flag { short: 'f', name: "force", kind: Kind::Bool, value: "", default: "", usage: "Force removal of the image" },
    Flag { short: '\0', name: "no-prune", kind: Kind::Bool, value: "", default: "", usage: "Do not delete untagged parents" },
    Flag { short: '\0', name: "platform", kind: Kind::Strings, value: "strings", default: "", usage: "Remove only the given platform variant. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")" },
];

/// Options of `image save`.
#[rustfmt::skip]
static IMAGE_SAVE: &[Flag] = &[
    Flag { short: 'o', name: "output", kind: Kind::Text, value: "string", default: "", usage: "Write to a file, instead of STDOUT" },
    Flag { short: '\0', name: "platform", kind: Kind::Text, value: "string", default: "", usage: "Save only the given platform variant. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")" },
];

/// Options of `image tag`.
#[rustfmt::skip]
static IMAGE_TAG: &[Flag] = &[
];

/// Options of `image collect`.
#[rustfmt::skip]
static IMAGE_COLLECT: &[Flag] = &[
    Flag { short: '\0', name: "dry-run", kind: Kind::Bool, value: "", default: "", usage: "Only tell what would be removed" },
    Flag { short: '\0', name: "high", kind: Kind::Int, value: "percent", default: "", usage: "Begin when more of the disk is in use (default: the daemon's --image-gc-high)" },
    Flag { short: '\0', name: "low", kind: Kind::Int, value: "percent", default: "", usage: "End when less of the disk is in use (default: the daemon's --image-gc-low)" },
];

/// The commands.
#[rustfmt::skip]
pub(super) static COMMANDS: &[Command] = &[
    Command {
        path: "image history",
        aliases: &["history"],
        shown: "image history, history",
        args: "[OPTIONS] IMAGE",
        about: "Show the history of an image",
        text: "Show the history of an image",
        count: Args::Exactly(1),
        interspersed: true,
        flags: IMAGE_HISTORY,
    },
    Command {
        path: "image import",
        aliases: &["import"],
        shown: "image import, import",
        args: "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
        about: "Import the contents from a tarball to create a filesystem image",
        text: "Import the contents from a tarball to create a filesystem image",
        count: Args::AtLeast(1),
        interspersed: true,
        flags: IMAGE_IMPORT,
    },
    Command {
        path: "image inspect",
        aliases: &[],
        shown: "",
        args: "[OPTIONS] IMAGE [IMAGE...]",
        about: "Display detailed information on one or more images",
        text: "Display detailed information on one or more images",
        count: Args::AtLeast(1),
        interspersed: true,
        flags: IMAGE_INSPECT,
    },
    Command {
        path: "image load",
        aliases: &["load"],
        shown: "image load, load",
        args: "[OPTIONS]",
        about: "Load an image from a tar archive or STDIN",
        text: "Load an image from a tar archive or STDIN",
        count: Args::None,
        interspersed: true,
        flags: IMAGE_LOAD,
    },
    Command {
        path: "image ls",
        aliases: &["image list", "images"],
        shown: "image ls, image list, images",
        args: "[OPTIONS] [REPOSITORY[:TAG]]",
        about: "List images",
        text: "List images",
        count: Args::AtMost(1),
        interspersed: true,
        flags: IMAGE_LS,
    },
    Command {
        path: "image prune",
        aliases: &[],
        shown: "",
        args: "[OPTIONS]",
        about: "Remove unused images",
        text: "Remove unused images",
        count: Args::None,
        interspersed: true,
        flags: IMAGE_PRUNE,
    },
    Command {
        path: "image pull",
        aliases: &["pull"],
        shown: "image pull, pull",
        args: "[OPTIONS] NAME[:TAG|@DIGEST]",
        about: "Download an image from a registry",
        text: "Download an image from a registry",
        count: Args::Exactly(1),
        interspersed: true,
        flags: IMAGE_PULL,
    },
    Command {
        path: "image push",
        aliases: &["push"],
        shown: "image push, push",
        args: "[OPTIONS] NAME[:TAG]",
        about: "Upload an image to a registry",
        text: "Upload an image to a registry",
        count: Args::Exactly(1),
        interspersed: true,
        flags: IMAGE_PUSH,
    },
    Command {
        path: "image rm",
        aliases: &["image remove", "rmi"],
        shown: "image rm, image remove, rmi",
        args: "[OPTIONS] IMAGE [IMAGE...]",
        about: "Remove one or more images",
        text: "Remove one or more images",
        count: Args::AtLeast(1),
        interspersed: true,
        flags: IMAGE_RM,
    },
    Command {
        path: "image save",
        aliases: &["save"],
        shown: "image save, save",
        args: "[OPTIONS] IMAGE [IMAGE...]",
        about: "Save one or more images to a tar archive (streamed to STDOUT by default)",
        text: "Save one or more images to a tar archive (streamed to STDOUT by default)",
        count: Args::AtLeast(1),
        interspersed: true,
        flags: IMAGE_SAVE,
    },
    Command {
        path: "image collect",
        aliases: &[],
        shown: "",
        args: "[OPTIONS]",
        about: "Remove images that were not used for long until the disk is below a mark",
        text: "Remove images that were not used for long until the disk is below a mark",
        count: Args::Exactly(0),
        interspersed: true,
        flags: IMAGE_COLLECT,
    },
    Command {
        path: "image removed",
        aliases: &[],
        shown: "",
        args: "",
        about: "List removed images that can be restored",
        text: "List removed images that can be restored",
        count: Args::Exactly(0),
        interspersed: true,
        flags: &[],
    },
    Command {
        path: "image restore",
        aliases: &["image undelete"],
        shown: "image restore, image undelete",
        args: "IMAGE [IMAGE...]",
        about: "Take removed images back",
        text: "Take removed images back",
        count: Args::AtLeast(1),
        interspersed: true,
        flags: &[],
    },
    Command {
        path: "image scrub",
        aliases: &[],
        shown: "",
        args: "",
        about: "Compare all stored images with their digests",
        text: "Compare all stored images with their digests",
        count: Args::Exactly(0),
        interspersed: true,
        flags: &[],
    },
    Command {
        path: "image tag",
        aliases: &["tag"],
        shown: "image tag, tag",
        args: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
        about: "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
        text: "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
        count: Args::Exactly(2),
        interspersed: true,
        flags: IMAGE_TAG,
    },
];
