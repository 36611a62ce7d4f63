//! Two command lines against one engine: the stock docker and Corten called by its name.

use std::process::{Command, Stdio};

use crate::Lab;
use crate::lab::{Ran, corten};

/// Which command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twin {
    /// The stock docker.
    Stock,
    /// Corten, by a link named `docker`.
    Ours,
}

impl Twin {
    /// The command; both get the same environment.
    pub fn command(self, lab: &Lab, args: &[&str]) -> Command {
        let program = match self {
            Self::Stock => "docker".to_owned(),
            Self::Ours => link(lab),
        };
        let dir = lab.path("").display().to_string();
        // Entering a mount namespace loses the directory. And a command line that hangs is a
        // difference, not a test without an end.
        let mut command = lab.entered("env");
        command.args(["-C", &dir, "timeout", "60", &program]);
        command.args(args);
        command
            .env("DOCKER_HOST", lab.host())
            .env("DOCKER_CONFIG", lab.path("docker-config"))
            .env("DOCKER_CLI_HINTS", "false")
            // The older of the two command lines decides, or the engine would answer differently.
            .env("DOCKER_API_VERSION", "1.50")
            .stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn run(self, lab: &Lab, args: &[&str]) -> Ran {
        let output = self.command(lab, args).output();
        output.expect("a command line").into()
    }
}

/// `docker`, a link to the program under test.
fn link(lab: &Lab) -> String {
    let dir = lab.path("ours");
    let link = dir.join("docker");
    if !link.exists() {
        std::fs::create_dir_all(&dir).expect("directory of the link");
        std::os::unix::fs::symlink(corten(), &link).expect("link to corten");
    }
    link.display().to_string()
}
