//! `--pidfile`: tells others our pid, and us whether another daemon uses it.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// Takes the file away again.
#[derive(Debug)]
pub(crate) struct PidFile(PathBuf);

impl Drop for PidFile {
    fn drop(&mut self) {
        // Nothing to be done about a directory that is gone.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Whether a process runs our program: a number that a killed daemon left may be anybody's by now.
fn is_daemon(pid: u32) -> bool {
    let program = |pid: &str| {
        let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        let name = path.file_name()?.to_string_lossy().into_owned();
        // An upgrade may have replaced the file meanwhile.
        Some(name.trim_end_matches(" (deleted)").to_owned())
    };
    program(&pid.to_string()).is_some_and(|theirs| Some(theirs) == program("self"))
}

/// Writes our pid, unless the file names another daemon that lives.
///
/// # Errors
/// When it does, or when the file cannot be written.
pub(crate) fn write(path: &Path) -> Result<PidFile> {
    let ours = std::process::id();
    if let Some(pid) = std::fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse::<u32>().ok())
        && pid != ours
        && is_daemon(pid)
    {
        bail!(
            "process with PID {pid} is still running (according to {})",
            path.display()
        );
    }
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    }
    // A new name, so that a link in its place leads nowhere.
    let _ = std::fs::remove_file(path);
    let mut file = std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)
        .with_context(|| path.display().to_string())?;
    std::io::Write::write_all(&mut file, ours.to_string().as_bytes())
        .with_context(|| path.display().to_string())?;
    Ok(PidFile(path.to_owned()))
}
