//! Commands about manifests.

use super::{Args, Command, Flag, Kind};

/// Options of `manifest annotate`.
#[rustfmt::skip]
static ANNOTATE: &[Flag] = &[
    Flag { short: '\0', name: "arch", kind: Kind::Text, value: "string", default: "", usage: "Set architecture" },
    Flag { short: '\0', name: "os", kind: Kind::Text, value: "string", default: "", usage: "Set operating system" },
    Flag { short: '\0', name: "os-features", kind: Kind::Strings, value: "strings", default: "", usage: "Set operating system feature" },
    Flag { short: '\0', name: "os-version", kind: Kind::Text, value: "string", default: "", usage: "Set operating system version" },
    Flag { short: '\0', name: "variant", kind: Kind::Text, value: "string", default: "", usage: "Set architecture variant" },
];

/// Options of `manifest create`.
#[rustfmt::skip]
static CREATE: &[Flag] = &[
    Flag { short: 'a', name: "amend", kind: Kind::Bool, value: "", default: "", usage: "Amend an existing manifest list" },
    Flag { short: '\0', name: "insecure", kind: Kind::Bool, value: "", default: "", usage: "Allow communication with an insecure registry" },
];

/// Options of `manifest inspect`.
#[rustfmt::skip]
static INSPECT: &[Flag] = &[
    Flag { short: '\0', name: "insecure", kind: Kind::Bool, value: "", default: "", usage: "Allow communication with an insecure registry" },
    Flag { short: 'v', name: "verbose", kind: Kind::Bool, value: "", default: "", usage: "Output additional info including layers and platform" },
];

/// Options of `manifest push`.
#[rustfmt::skip]
static PUSH: &[Flag] = &[
    Flag { short: '\0', name: "insecure", kind: Kind::Bool, value: "", default: "", usage: "Allow push to an insecure registry" },
    Flag { short: 'p', name: "purge", kind: Kind::Bool, value: "", default: "", usage: "Remove the local manifest list after push" },
];

/// Options of `manifest rm`.
#[rustfmt::skip]
static RM: &[Flag] = &[
];

/// The commands.
#[rustfmt::skip]
pub(super) static COMMANDS: &[Command] = &[
    Command {
        path: "manifest annotate",
        aliases: &[],
        shown: "",
        args: "[OPTIONS] MANIFEST_LIST MANIFEST",
        about: "Add additional information to a local image manifest",
        text: "Add additional information to a local image manifest\n\nEXPERIMENTAL:\n  docker manifest annotate is an experimental feature.\n  Experimental features provide early access to product functionality. These\n  features may change between releases without warning, or can be removed from a\n  future release. Learn more about experimental features in our documentation:\n  https://docs.docker.com/go/experimental/",
        count: Args::Exactly(2),
        interspersed: true,
        flags: ANNOTATE,
    },
    Command {
        path: "manifest create",
        aliases: &[],
        shown: "",
        args: "MANIFEST_LIST MANIFEST [MANIFEST...]",
        about: "Create a local manifest list for annotating and pushing to a registry",
        text: "Create a local manifest list for annotating and pushing to a registry\n\nEXPERIMENTAL:\n  docker manifest create is an experimental feature.\n  Experimental features provide early access to product functionality. These\n  features may change between releases without warning, or can be removed from a\n  future release. Learn more about experimental features in our documentation:\n  https://docs.docker.com/go/experimental/",
        count: Args::AtLeast(2),
        interspersed: true,
        flags: CREATE,
    },
    Command {
        path: "manifest inspect",
        aliases: &[],
        shown: "",
        args: "[OPTIONS] [MANIFEST_LIST] MANIFEST",
        about: "Display an image manifest, or manifest list",
        text: "Display an image manifest, or manifest list\n\nEXPERIMENTAL:\n  docker manifest inspect is an experimental feature.\n  Experimental features provide early access to product functionality. These\n  features may change between releases without warning, or can be removed from a\n  future release. Learn more about experimental features in our documentation:\n  https://docs.docker.com/go/experimental/",
        count: Args::Between(1, 2),
        interspersed: true,
        flags: INSPECT,
    },
    Command {
        path: "manifest push",
        aliases: &[],
        shown: "",
        args: "[OPTIONS] MANIFEST_LIST",
        about: "Push a manifest list to a repository",
        text: "Push a manifest list to a repository\n\nEXPERIMENTAL:\n  docker manifest push is an experimental feature.\n  Experimental features provide early access to product functionality. These\n  features may change between releases without warning, or can be removed from a\n  future release. Learn more about experimental features in our documentation:\n  https://docs.docker.com/go/experimental/",
        count: Args::Exactly(1),
        interspersed: true,
        flags: PUSH,
    },
    Command {
        path: "manifest rm",
        aliases: &[],
        shown: "",
        args: "MANIFEST_LIST [MANIFEST_LIST...]",
        about: "Delete one or more manifest lists from local storage",
        text: "Delete one or more manifest lists from local storage\n\nEXPERIMENTAL:\n  docker manifest rm is an experimental feature.\n  Experimental features provide early access to product functionality. These\n  features may change between releases without warning, or can be removed from a\n  future release. Learn more about experimental features in our documentation:\n  https://docs.docker.com/go/experimental/",
        count: Args::AtLeast(1),
        interspersed: true,
        flags: RM,
    },
];
