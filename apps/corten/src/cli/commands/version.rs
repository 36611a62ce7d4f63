//! `version`.

/// The line of `--version`.
pub(crate) fn line(program: &str) -> String {
    let name = if program == "docker" {
        "Docker"
    } else {
        "Corten"
    };
    format!("{name} version {}", env!("CARGO_PKG_VERSION"))
}
