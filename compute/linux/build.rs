//! Builds the keeper as a small static program, for `include_bytes!`.
//!
//! It is a build of its own (own profile, own flags, own target directory below `OUT_DIR`), by
//! the cargo that runs this script. `--frozen`: everything it needs is among what this crate
//! depends on, so it has been fetched and locked already.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the keeper is made of, relative to the workspace.
const SOURCES: [&str; 9] = [
    "Cargo.toml",
    "Cargo.lock",
    "apps/keeper",
    "compute/protocol",
    "compute/runtime",
    "kit/cgroup",
    "kit/seccomp",
    "kit/sys",
    "model/oci",
];

/// Set for this script by the build around it; they would change the keeper's.
const FOREIGN: [&str; 9] = [
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTFLAGS",
    "RUSTDOCFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_DIR",
    "CLIPPY_ARGS",
    "CLIPPY_CONF_DIR",
    "LLVM_PROFILE_FILE",
];

fn main() {
    let workspace = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("../..");
    for source in SOURCES {
        println!(
            "cargo::rerun-if-changed={}",
            workspace.join(source).display()
        );
    }
    let target = variable("TARGET");
    let out = PathBuf::from(variable("OUT_DIR"));
    let build = out.join("keeper");
    run_cargo(&workspace, &target, &build);
    let program = build.join(&target).join("keeper/keeper");
    println!("cargo::rustc-env=KEEPER_PROGRAM={}", program.display());
}

fn run_cargo(workspace: &Path, target: &str, build: &Path) {
    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .current_dir(workspace)
        .args(["build", "--package", "keeper", "--bin", "keeper"])
        .args(["--profile", "keeper", "--frozen", "--target", target])
        .arg("--target-dir")
        .arg(build);
    for name in FOREIGN {
        cargo.env_remove(name);
    }
    // Static, and at a fixed address: no relocations, so its data stays shared until written.
    let flags = [
        "-C",
        "target-feature=+crt-static",
        "-C",
        "relocation-model=static",
    ];
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    let status = cargo.status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "building the keeper failed ({status:?}); its messages are above"
    );
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"))
}
