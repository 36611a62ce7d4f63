//! Dependencies point one way, files stay short, `unsafe` stays in its room.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::run;

/// Folder → folders it may use besides itself.
const MAY_USE: [(&str, &[&str]); 11] = [
    ("kit", &[]),
    ("model", &["kit"]),
    ("store", &["kit", "model"]),
    ("wire", &["kit", "model"]),
    ("net", &["kit", "model"]),
    ("compute", &["kit", "model"]),
    (
        "engine",
        &["kit", "model", "store", "wire", "net", "compute"],
    ),
    (
        "api",
        &["kit", "model", "store", "wire", "net", "compute", "engine"],
    ),
    (
        "apps",
        &[
            "kit", "model", "store", "wire", "net", "compute", "engine", "api",
        ],
    ),
    (
        "tests",
        &[
            "kit", "model", "store", "wire", "net", "compute", "engine", "api", "apps",
        ],
    ),
    (
        "xtask",
        &[
            "kit", "model", "store", "wire", "net", "compute", "engine", "api", "apps",
        ],
    ),
];
const LONGEST_FILE: usize = 800;

pub(crate) fn check() -> Result<()> {
    let mut wrong = dependencies()?;
    wrong.extend(files()?);
    if wrong.is_empty() {
        println!("layers: fine");
        return Ok(());
    }
    for line in &wrong {
        eprintln!("layers: {line}");
    }
    bail!("{} breaches", wrong.len())
}

fn dependencies() -> Result<Vec<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = run::command(&[&cargo, "metadata", "--no-deps", "--format-version=1"])
        .output()
        .context("cargo metadata")?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let root = run::root();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut folder_of: BTreeMap<String, String> = BTreeMap::new();
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    for package in &packages {
        let manifest = text(&package["manifest_path"]);
        let relative = Path::new(&manifest)
            .strip_prefix(&root)
            .unwrap_or(Path::new(""));
        let folder = relative
            .components()
            .next()
            .map(|part| part.as_os_str().to_string_lossy());
        folder_of.insert(
            text(&package["name"]),
            folder.unwrap_or_default().into_owned(),
        );
    }
    let mut wrong = Vec::new();
    for package in &packages {
        let name = text(&package["name"]);
        let folder = &folder_of[&name];
        let Some((_, allowed)) = MAY_USE.iter().find(|(known, _)| known == folder) else {
            wrong.push(format!("{name} is in {folder:?}, which is no layer"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            // What tests of a crate use points wherever it needs to.
            if dependency["kind"].as_str() == Some("dev") {
                continue;
            }
            let other = text(&dependency["name"]);
            let Some(target) = folder_of.get(&other) else {
                continue;
            };
            if target != folder && !allowed.contains(&target.as_str()) {
                wrong.push(format!("{name} ({folder}) may not use {other} ({target})"));
            }
        }
    }
    Ok(wrong)
}

fn files() -> Result<Vec<String>> {
    let root = run::root();
    let mut wrong = Vec::new();
    let mut pending = vec![root.clone()];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    pending.push(path);
                }
                continue;
            }
            if !name.ends_with(".rs") {
                continue;
            }
            let shown = path
                .strip_prefix(&root)
                .unwrap_or(&path)
                .display()
                .to_string();
            let text = std::fs::read_to_string(&path).with_context(|| shown.clone())?;
            let lines = text.lines().count();
            if lines > LONGEST_FILE {
                wrong.push(format!("{shown} has {lines} lines: split it"));
            }
            let has_unsafe = text.lines().any(|line| {
                let code = line.split("//").next().unwrap_or_default();
                code.contains("unsafe {")
                    || code.contains("unsafe fn")
                    || code.contains("unsafe impl")
            });
            if has_unsafe && !shown.starts_with("kit/sys/") && !shown.starts_with("xtask/") {
                wrong.push(format!("{shown} has unsafe code: its room is kit/sys"));
            }
        }
    }
    Ok(wrong)
}
