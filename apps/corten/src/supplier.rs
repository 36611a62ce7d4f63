//! `corten lazy-supplier`: the process that supplies layers which have not all come. Started by the
//! daemon, never by hand.

use std::process::ExitCode;

use rustix::io::FdFlags;

/// Its word on the command line.
pub(crate) const WORD: &str = "lazy-supplier";
const VARIABLE: &str = "CORTEN_LAZY_SUPPLIER";

/// How the daemon starts it: this same file, whatever became of its name meanwhile.
pub(crate) fn program() -> engine::SupplierProgram {
    engine::SupplierProgram {
        file: "/proc/self/exe".into(),
        words: vec!["corten".into(), WORD.into()],
        variable: VARIABLE.into(),
    }
}

pub(crate) fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_max_level(tracing::Level::INFO)
        .init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            tracing::error!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let settings = std::env::var(VARIABLE)
        .map_err(|_| format!("{WORD} is started by the daemon, not by hand"))?;
    let settings = serde_json::from_str(&settings).map_err(|error| error.to_string())?;
    let failed = |errno: rustix::io::Errno| format!("standard input: {errno}");
    let listener = rustix::io::dup(rustix::stdio::stdin()).map_err(failed)?;
    rustix::io::fcntl_setfd(&listener, FdFlags::CLOEXEC).map_err(failed)?;
    lazy::main(listener, &settings)
}
