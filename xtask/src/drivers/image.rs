//! An image of busybox alone, as an archive that all engines load.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::room::run_here;

/// Its name, whole, as containerd wants it.
pub(crate) const NAME: &str = "docker.io/library/bb:latest";

const APPLETS: [&str; 30] = [
    "sh", "true", "false", "cat", "echo", "sleep", "id", "ls", "env", "pwd", "tty", "stat", "kill",
    "head", "ps", "hostname", "touch", "mount", "dd", "grep", "ip", "test", "mkdir", "rm", "df",
    "nproc", "printf", "wc", "stty", "readlink",
];

/// Writes the archive.
pub(crate) fn write(busybox: &Path, to: &Path) -> Result<()> {
    let program = std::fs::read(busybox).with_context(|| busybox.display().to_string())?;
    let mut layer = tar::Builder::new(Vec::new());
    for dir in ["bin", "etc", "tmp", "proc", "sys", "dev"] {
        let mut header = header(tar::EntryType::Directory, 0o755, 0);
        layer.append_data(&mut header, format!("{dir}/"), &[][..])?;
    }
    add(&mut layer, "bin/busybox", 0o755, &program)?;
    for applet in APPLETS {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        layer.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    let passwd = b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/tmp:/bin/sh\n";
    add(&mut layer, "etc/passwd", 0o644, passwd)?;
    add(
        &mut layer,
        "etc/group",
        0o644,
        b"root:x:0:\nwww:x:34:\naudio:x:29:web\n",
    )?;
    let layer = layer.into_inner()?;
    let digest = sha256(&layer)?;
    let config = json!({
        "architecture": std::env::consts::ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64"),
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        "history": [{"created_by": "corten"}],
    });
    let config = config.to_string().into_bytes();
    let config_name = format!("{}.json", sha256(&config)?);
    let manifest = json!([{
        "Config": config_name,
        "RepoTags": ["bb:latest"],
        "Layers": ["layer.tar"],
    }]);
    let mut archive = tar::Builder::new(std::fs::File::create(to)?);
    add(&mut archive, &config_name, 0o644, &config)?;
    add(&mut archive, "layer.tar", 0o644, &layer)?;
    add(
        &mut archive,
        "manifest.json",
        0o644,
        manifest.to_string().as_bytes(),
    )?;
    archive.finish()?;
    Ok(())
}

fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size as u64);
    header
}

fn add<W: std::io::Write>(
    to: &mut tar::Builder<W>,
    name: &str,
    mode: u32,
    bytes: &[u8],
) -> Result<()> {
    let mut header = header(tar::EntryType::Regular, mode, bytes.len());
    Ok(to.append_data(&mut header, name, bytes)?)
}

fn sha256(bytes: &[u8]) -> Result<String> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), bytes)?;
    let said = run_here(&["sha256sum", &file.path().display().to_string()])?;
    Ok(said.split(' ').next().unwrap_or_default().to_owned())
}
