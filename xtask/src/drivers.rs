//! Other engines with `keeper runtime` as their runtime: Debian's dockerd, containerd and podman
//! each run their containers with it, and a table tells what works.
//!
//! The engines live in a Debian root of their own, below an overlay that takes what they write, in
//! mount, pid, network, ipc and cgroup namespaces that end with them. Outside nothing changes.

mod checks;
mod containerd;
mod docker;
mod image;
pub(crate) mod room;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::run;
use checks::Checks;
use room::Room;

/// Set in the run inside the namespaces.
const INSIDE: &str = "CORTEN_DRIVERS_INSIDE";

/// Where the runtime is inside.
pub(crate) const RUNTIME: &str = "/usr/local/bin/corten-runtime";

const USAGE: &str =
    "cargo xtask drivers [--root DIR] [--keeper FILE] [--only docker,containerd,podman]
  --root     a Debian system that has the engines; without it one is made below the target directory
  --keeper   the runtime's program; without it it is built";

/// What a root needs to have.
const PACKAGES: &str = "docker.io,docker-cli,containerd,runc,crun,podman,conmon,netavark,\
    aardvark-dns,iptables,nftables,busybox-static,iproute2,tini,catatonit,ca-certificates,\
    procps,kmod,libseccomp2";

#[derive(Debug, Default)]
struct Options {
    root: Option<PathBuf>,
    keeper: Option<PathBuf>,
    only: Vec<String>,
}

/// `cargo xtask drivers`.
pub(crate) fn drivers(args: &[String]) -> Result<()> {
    let options = parse(args)?;
    if std::env::var_os(INSIDE).is_some() {
        let (Some(root), Some(keeper)) = (&options.root, &options.keeper) else {
            bail!("inside, the root and the keeper are known");
        };
        return inside(root, keeper, &options.only);
    }
    let root = match &options.root {
        Some(root) => std::fs::canonicalize(root).with_context(|| root.display().to_string())?,
        None => debian()?,
    };
    let keeper = match &options.keeper {
        Some(keeper) => std::fs::canonicalize(keeper)?,
        None => run::keeper()?,
    };
    let mut words = vec![
        "drivers".to_owned(),
        "--root".into(),
        root.display().to_string(),
    ];
    words.extend(["--keeper".into(), keeper.display().to_string()]);
    if !options.only.is_empty() {
        words.extend(["--only".into(), options.only.join(",")]);
    }
    let groups = room::Groups::make()?;
    let status = groups.enter(&words, INSIDE);
    groups.remove()?;
    match status?.success() {
        true => Ok(()),
        false => bail!("not everything works"),
    }
}

fn parse(args: &[String]) -> Result<Options> {
    let mut options = Options::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || {
            args.next()
                .cloned()
                .with_context(|| format!("{arg} needs a value"))
        };
        match arg.as_str() {
            "--root" => options.root = Some(value()?.into()),
            "--keeper" => options.keeper = Some(value()?.into()),
            "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
            _ => bail!("unknown argument {arg}\n{USAGE}"),
        }
    }
    Ok(options)
}

/// A Debian root with the engines, made once.
pub(crate) fn debian() -> Result<PathBuf> {
    let dir = run::target().join("drivers");
    let root = dir.join("root");
    if root.join("usr/sbin/dockerd").exists() {
        return Ok(root);
    }
    run::need(&[("mmdebstrap", "mmdebstrap")])?;
    std::fs::create_dir_all(&dir)?;
    let making = dir.join("making");
    if making.exists() {
        std::fs::remove_dir_all(&making)?;
    }
    let source = run::debian_source("sid")?;
    // Nothing may be started by what is installed.
    let no_services = "mkdir -p \"$1/usr/sbin\"; \
        printf '#!/bin/sh\\nexit 101\\n' >\"$1/usr/sbin/policy-rc.d\"; \
        chmod 755 \"$1/usr/sbin/policy-rc.d\"";
    run::run(&[
        "mmdebstrap",
        "--variant=minbase",
        "--aptopt=APT::Install-Recommends \"false\"",
        "--aptopt=Acquire::Check-Valid-Until \"false\"",
        &format!("--setup-hook={no_services}"),
        &format!("--include={PACKAGES}"),
        "sid",
        &making.display().to_string(),
        source.trim(),
    ])?;
    std::fs::rename(&making, &root)?;
    Ok(root)
}

type Driver = fn(&Room, &mut Checks) -> Result<()>;

const DRIVERS: [(&str, Driver); 3] = [
    ("docker", docker::docker),
    ("containerd", containerd::containerd),
    ("podman", docker::podman),
];

fn inside(root: &Path, keeper: &Path, only: &[String]) -> Result<()> {
    let room = Room::enter(root, keeper)?;
    let mut checks = Checks::default();
    for (name, driver) in DRIVERS {
        if !only.is_empty() && !only.iter().any(|o| o == name) {
            continue;
        }
        checks.driver(name);
        if let Err(error) = driver(&room, &mut checks) {
            checks.failed("the engine itself", &format!("{error:#}"));
        }
        room.end_daemons()?;
        checks.check("nothing is left", || room.left());
    }
    println!("{checks}");
    match checks.good() {
        true => Ok(()),
        false => bail!("some checks failed"),
    }
}
