//! `state`, `list` and `ps`: what there is.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use serde::Serialize;

use super::args::Args;
use super::fail::{During, Fail, Result};
use super::state::{self, Container};
use super::{Global, id_of, print};

/// One container, keys in runc's order.
#[derive(Debug, Serialize)]
struct Row<'a> {
    #[serde(rename = "ociVersion")]
    oci_version: &'a str,
    id: &'a str,
    pid: i32,
    status: &'a str,
    bundle: &'a str,
    rootfs: &'a str,
    created: &'a str,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    annotations: &'a std::collections::BTreeMap<String, String>,
    owner: &'a str,
}

impl<'a> Row<'a> {
    fn new(container: &'a Container, owner: &'a str) -> Self {
        let status = container.status();
        let state = &container.state;
        Self {
            oci_version: &state.oci_version,
            id: &state.id,
            pid: container.shown_pid(status),
            status: status.name(),
            bundle: state.bundle.to_str().unwrap_or_default(),
            rootfs: state.rootfs.to_str().unwrap_or_default(),
            created: &state.created,
            annotations: &state.annotations,
            owner,
        }
    }
}

pub(crate) fn state(global: &Global, args: &Args) -> Result<u8> {
    let container = Container::load(&global.root, id_of(args))?;
    let text = serde_json::to_string_pretty(&Row::new(&container, ""))
        .map_err(|e| Fail::Said(e.to_string()))?;
    print(&text);
    Ok(0)
}

pub(crate) fn list(global: &Global, args: &Args) -> Result<u8> {
    let ids = match state::ids(&global.root) {
        // No container was ever made.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !global.root_given => Vec::new(),
        other => other.during("open", global.root.display())?,
    };
    let mut containers = Vec::new();
    for id in ids {
        match Container::load(&global.root, &id) {
            Ok(container) => {
                let owner = owner(&container);
                containers.push((container, owner));
            }
            Err(e) => drop(writeln!(std::io::stderr(), "load container {id}: {e}")),
        }
    }
    let rows = containers.iter().map(|(c, owner)| Row::new(c, owner));
    let rows: Vec<Row<'_>> = rows.collect();
    if args.has("quiet") {
        let lines: String = rows.iter().map(|r| format!("{}\n", r.id)).collect();
        print(&lines);
        return Ok(0);
    }
    match args.get("format").unwrap_or("table") {
        "table" => print(&table(&rows)),
        // An empty list of Go's.
        "json" if rows.is_empty() => print("null\n"),
        "json" => {
            let text = serde_json::to_string(&rows).map_err(|e| Fail::Said(e.to_string()))?;
            print(&format!("{text}\n"));
        }
        _ => return Err(Fail::said("invalid format option")),
    }
    Ok(0)
}

/// Columns at least 12 wide, three spaces between.
fn table(rows: &[Row<'_>]) -> String {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let mut lines = vec![head];
    for r in rows {
        lines.push([
            r.id.to_owned(),
            r.pid.to_string(),
            r.status.to_owned(),
            r.bundle.to_owned(),
            r.created.to_owned(),
            r.owner.to_owned(),
        ]);
    }
    let mut widths = [12usize; 6];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count() + 3);
        }
    }
    let mut out = String::new();
    for line in &lines {
        let last = line.len() - 1;
        for (cell, width) in line.iter().zip(widths).take(last) {
            let _ = write!(out, "{cell:width$}");
        }
        let _ = writeln!(out, "{}", line[last]);
    }
    out
}

/// Who the directory belongs to, by name where /etc/passwd has one.
fn owner(container: &Container) -> String {
    let uid = std::fs::metadata(&container.place.dir).map_or(0, |m| m.uid());
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("#{uid}"))
}

pub(crate) fn ps(global: &Global, args: &Args) -> Result<u8> {
    let container = Container::load(&global.root, id_of(args))?;
    let mut pids = match container.cgroup()? {
        Some(cgroup) => cgroup
            .procs()
            .map_err(|e| Fail::from(e).during("unable to get all container pids"))?,
        None => Vec::new(),
    };
    pids.sort_unstable();
    match args.get("format").unwrap_or("table") {
        "json" if pids.is_empty() => print("null\n"),
        "json" => {
            let text = serde_json::to_string(&pids).map_err(|e| Fail::Said(e.to_string()))?;
            print(&format!("{text}\n"));
        }
        "table" => print(&ps_table(&pids, args.rest.get(1..).unwrap_or_default())?),
        _ => return Err(Fail::said("invalid format option")),
    }
    Ok(0)
}

/// The lines of the host's ps(1) that are about these processes: its options are the caller's.
fn ps_table(pids: &[u32], options: &[String]) -> Result<String> {
    let mut command = Command::new("ps");
    match options.is_empty() {
        true => command.arg("-ef"),
        false => command.args(options),
    };
    let output = command.output().during("run", "ps")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(Fail::Said(format!("{}: {}", output.status, why.trim())));
    }
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let Some(column) = head.split_whitespace().position(|t| t == "PID") else {
        return Err(Fail::said("couldn't find PID field in ps output"));
    };
    let mut out = format!("{head}\n");
    for line in lines {
        let pid = line.split_whitespace().nth(column).map(str::parse::<u32>);
        match pid {
            Some(Ok(pid)) if pids.contains(&pid) => {
                let _ = writeln!(out, "{line}");
            }
            Some(Err(e)) => return Err(Fail::Said(format!("unable to parse pid: {e}"))),
            _ => {}
        }
    }
    Ok(out)
}
